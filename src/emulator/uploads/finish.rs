//! The end of an upload: a document or a file comes to be. What a session has ended with is kept for `query`.

use serde_json::{Value, json};

use crate::emulator::data::records::{Chunking, Content, Document, Searchable, Session};
use crate::emulator::http::answer::{Answer, error, invalid};
use crate::emulator::service::{Live, Service, whole};
use crate::emulator::stores::documents::{Made, blank, metadata, storage_full};
use crate::emulator::stores::{files, id_from, no_store, text};

type Result = rusqlite::Result<Answer>;

/// What is to become a document.
pub struct NewDocument<'a> {
    pub store: &'a str,
    pub request: &'a Value,
    /// Empty: none was given.
    pub mime: &'a str,
    /// The session that ends by it.
    pub session: Option<&'a str>,
}

impl NewDocument<'_> {
    pub fn of(session: &Session) -> NewDocument<'_> {
        NewDocument {
            store: &session.target,
            request: &session.request,
            mime: &session.mime,
            session: Some(&session.id),
        }
    }
}

/// The last byte of a session is here. `origin`: what the client calls this service by.
pub fn finalize(service: &Service, session: &Session, live: &mut Live, origin: &str) -> Result {
    let kind = "upload.body";
    let made = match session.target.as_str() {
        "files" => files::uploaded(service, session, content(service, kind, live), origin)?,
        _ => made(service, kind, &NewDocument::of(session), live)?,
    };
    match made {
        Made::Whole(answer) => Ok(answer),
        Made::Refused(answer) => failed(service, session, answer),
    }
}

/// All of it, or, by a fault, all but its last byte.
fn content(service: &Service, kind: &str, live: &mut Live) -> Content {
    let short = live.received > 0 && service.roll(kind, "final_size_wrong", |p| p.final_size_wrong);
    live.content(short)
}

/// The document of all that was received.
pub fn made(
    service: &Service,
    kind: &str,
    new: &NewDocument<'_>,
    live: &mut Live,
) -> rusqlite::Result<Made> {
    let is_empty = live.received == 0;
    let content = content(service, kind, live);
    if service.roll(kind, "count_tokens_503", |p| p.count_tokens_503) {
        let words = "Failed to count tokens.";
        return Ok(Made::Refused(error(503, words, Vec::new())));
    }
    if let Some(full) = storage_full(service, content.size)? {
        return Ok(Made::Refused(full));
    }
    if is_empty {
        return Ok(Made::Refused(invalid("The file is empty.")));
    }
    document(service, kind, new, content)
}

/// The end of a session with an error, which `query` tells again.
pub fn failed(service: &Service, session: &Session, answer: Answer) -> Result {
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    whole(&service.database).end_session(&session.id, "final", Some((answer.status, &body)))?;
    Ok(answer)
}

/// The document; its operation is the answer. There is none if the store was deleted meanwhile.
pub fn document(
    service: &Service,
    kind: &str,
    new: &NewDocument<'_>,
    content: Content,
) -> rusqlite::Result<Made> {
    let display_name = new.request["displayName"].as_str().unwrap_or_default();
    let id = id_from(&mut whole(&service.source), display_name, false);
    let document = Document {
        name: format!("{}/documents/{id}", new.store),
        store: new.store.to_owned(),
        display_name: display_name.to_owned(),
        metadata: metadata(new.request),
        mime: match (new.mime, new.request["mimeType"].as_str()) {
            ("", Some(mime)) => mime.to_owned(),
            ("", None) => "text/plain".to_owned(),
            (mime, _) => mime.to_owned(),
        },
        size: content.size,
        sha256: content.sha256,
        ..blank(service, kind)?
    };
    let searchable = Searchable {
        text: text::searchable(&document.mime, content.text),
        chunking: Chunking::of(new.request),
    };
    let operation = format!("{}/upload/operations/{id}", new.store);
    let response = json!({
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.UploadToFileSearchStoreResponse",
        "parent": new.store, "documentName": document.name,
        "mimeType": document.mime, "sizeBytes": document.size.to_string()});
    // As captured: already with its response, and without `done`.
    let answer = json!({"name": operation, "response": response});
    let never_done = service.roll(kind, "operation_never_done", |p| p.operation_never_done);
    let database = whole(&service.database);
    let added = database.together(|| {
        let added = database.add_document(&document, &searchable)?;
        if added {
            database.add_operation(&operation, &document, never_done, &response)?;
            if let Some(session) = new.session {
                database.end_session(session, "final", Some((200, &answer.to_string())))?;
            }
        }
        Ok(added)
    })?;
    drop(database);
    Ok(match added {
        true => Made::Whole(Answer::json(&answer)),
        false => Made::Refused(no_store(new.store)),
    })
}
