//! The end of an upload: a document or a file comes to be, and the answer is kept for `query`.

use serde_json::json;

use super::answer::{Answer, error, invalid};
use super::documents::{blank, metadata, storage_full};
use super::files;
use super::records::{Content, Document, Session};
use super::service::{Live, Service, whole};
use super::stores::{id_from, no_store};

type Result = rusqlite::Result<Answer>;

/// The last byte is here.
pub fn finalize(service: &Service, session: &Session, live: &mut Live) -> Result {
    let kind = "upload.body";
    let short = live.received > 0 && service.roll(kind, "final_size_wrong", |p| p.final_size_wrong);
    let is_empty = live.received == 0;
    let content = live.content(short);
    if session.target == "files" {
        return files::uploaded(service, session, content);
    }
    if service.roll(kind, "count_tokens_503", |p| p.count_tokens_503) {
        return failed(
            service,
            session,
            error(503, "Failed to count tokens.", Vec::new()),
        );
    }
    if let Some(full) = storage_full(service, content.size)? {
        return failed(service, session, full);
    }
    if is_empty {
        return failed(service, session, invalid("The file is empty."));
    }
    document(service, kind, session, content)
}

/// An end with an error, which `query` tells again.
pub fn failed(service: &Service, session: &Session, answer: Answer) -> Result {
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    whole(&service.database).end_session(&session.id, "final", Some((answer.status, &body)))?;
    Ok(answer)
}

/// The document of a session, which ends by it; its operation is the answer. There is none if the store
/// was deleted meanwhile.
pub fn document(service: &Service, kind: &str, session: &Session, content: Content) -> Result {
    let display_name = session.request["displayName"].as_str().unwrap_or_default();
    let id = id_from(display_name, false);
    let document = Document {
        name: format!("{}/documents/{id}", session.target),
        store: session.target.clone(),
        display_name: display_name.to_owned(),
        metadata: metadata(&session.request),
        mime: match session.mime.as_str() {
            "" => "text/plain".to_owned(),
            mime => mime.to_owned(),
        },
        size: content.size,
        sha256: content.sha256,
        text: content.text,
        ..blank(service, kind)
    };
    let operation = format!("{}/upload/operations/{id}", session.target);
    let response = json!({
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.UploadToFileSearchStoreResponse",
        "parent": session.target, "documentName": document.name,
        "mimeType": document.mime, "sizeBytes": document.size.to_string()});
    // As captured: already with its response, and without `done`.
    let answer = json!({"name": operation, "response": response});
    let never_done = service.roll(kind, "operation_never_done", |p| p.operation_never_done);
    let database = whole(&service.database);
    let added = database.together(|| {
        let added = database.add_document(&document)?;
        if added {
            database.add_operation(&operation, &document, never_done, &response)?;
            database.end_session(&session.id, "final", Some((200, &answer.to_string())))?;
        }
        Ok(added)
    })?;
    drop(database);
    match added {
        true => Ok(Answer::json(&answer)),
        false => failed(service, session, no_store(&session.target)),
    }
}
