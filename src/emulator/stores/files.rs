//! The Files API, and the import of a file into a store.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use super::documents::{Made, blank, metadata, storage_full};
use super::text;
use crate::clock::rfc3339;
use crate::emulator::data::records::{
    Chunking, Content, Document, Searchable, Session, StoredFile,
};
use crate::emulator::http::answer::{Answer, error, forbidden, invalid, precondition};
use crate::emulator::service::{Call, Service, whole};
use crate::emulator::stores::{PageSizes, no_store, page};
use crate::emulator::strict::{check, shapes};

type Result = rusqlite::Result<Answer>;

fn wire(service: &Service, file: &StoredFile, origin: &str) -> Value {
    let at = service.moment();
    let state = file.state(&at);
    if state == "PROCESSING" {
        whole(&service.dice).fire("file_processing_ms");
    }
    let is_registered = file.sha256.is_empty();
    let source = match is_registered {
        true => "REGISTERED",
        false => "UPLOADED",
    };
    let mut wire = json!({
        "name": file.name,
        "createTime": rfc3339(file.created_ms), "updateTime": rfc3339(file.created_ms),
        "expirationTime": rfc3339(file.expires_ms(&at)),
        "uri": format!("{origin}/v1beta/{}", file.name), "state": state, "source": source});
    let texts = [
        ("displayName", &file.display_name),
        ("mimeType", &file.mime),
    ];
    for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        wire[field] = json!(text);
    }
    if !is_registered {
        // The base64 of the hex text, as the service really sends it.
        wire["sha256Hash"] = json!(BASE64_STANDARD.encode(&file.sha256));
        wire["sizeBytes"] = json!(file.size.to_string());
    }
    if state == "FAILED" {
        wire["error"] = json!({"code": 3, "message": "The file could not be processed."});
    }
    wire
}

/// The end of an upload to the Files API.
pub fn uploaded(
    service: &Service,
    session: &Session,
    content: Content,
    origin: &str,
) -> rusqlite::Result<Made> {
    let mut file = new_file(service, session, content);
    file.fails = service.roll("upload.body", "file_fail", |p| p.file_fail);
    let answer = match service.roll("upload.body", "file_no_body", |p| p.file_no_body) {
        true => json!({}),
        false => json!({"file": wire(service, &file, origin)}),
    };
    let database = whole(&service.database);
    if database.file(&file.name)?.is_some() {
        let taken = error(409, "Requested entity already exists", Vec::new());
        return Ok(Made::Refused(taken));
    }
    database.together(|| {
        database.add_file(&file)?;
        database.end_session(&session.id, "final", Some((200, &answer.to_string())))
    })?;
    Ok(Made::Whole(Answer::json(&answer)))
}

fn no_file(name: &str) -> Answer {
    let id = name.trim_start_matches("files/");
    forbidden(&format!(
        "You do not have permission to access the File {id} or it may not exist."
    ))
}

/// A file that is there and has not expired.
fn find(service: &Service, name: &str) -> rusqlite::Result<Option<StoredFile>> {
    let file = whole(&service.database).file(name)?;
    let at = service.moment();
    if file.as_ref().is_some_and(|f| f.went_early(&at)) {
        whole(&service.dice).fire("file_kept_ms");
    }
    Ok(file.filter(|f| f.is_kept(&at)))
}

pub fn get(service: &Service, call: &Call<'_>) -> Result {
    let file = find(service, call.path)?;
    Ok(match file {
        Some(file) => Answer::json(&wire(service, &file, &service.origin(call.head))),
        None => no_file(call.path),
    })
}

pub fn delete(service: &Service, call: &Call<'_>) -> Result {
    let found = find(service, call.path)?;
    // One that has expired too, lest another plan bring it back.
    whole(&service.database).delete_file(call.path)?;
    Ok(match found {
        Some(_) => Answer::json(&json!({})),
        None => no_file(call.path),
    })
}

pub fn list(service: &Service, call: &Call<'_>) -> Result {
    let (size, after) = match page(
        service,
        call,
        "ListFilesRequest",
        PageSizes {
            default: 10,
            max: 100,
        },
    ) {
        Ok(page) => page,
        Err(refused) => return Ok(refused),
    };
    let since = service.moment().kept_since();
    let mut files = whole(&service.database).files(after, since, size + 1)?;
    let more = files.len() as u64 > size;
    files.truncate(size as usize);
    let origin = service.origin(call.head);
    let mut out = json!({});
    if more {
        let last = files.last().map_or(after, |(number, _)| *number);
        out["nextPageToken"] = json!(format!("after-{last}"));
    }
    if !files.is_empty() {
        out["files"] = files
            .iter()
            .map(|(_, f)| wire(service, f, &origin))
            .collect();
    }
    Ok(Answer::json(&out))
}

pub fn import(service: &Service, call: &Call<'_>) -> Result {
    let store = call.path.trim_end_matches(":importFile");
    let request = match check::read(&call.body, shapes::IMPORT, service.loose) {
        Ok(request) => request,
        Err(refused) => return Ok(refused),
    };
    let Some(found) = whole(&service.database).store(store)? else {
        return Ok(no_store(store));
    };
    if let Err(refused) = check::document("ImportFileRequest", &request, service.loose) {
        return Ok(refused);
    }
    let Some(name) = request["fileName"].as_str() else {
        return Ok(invalid(
            "* ImportFileRequest.file_name: file_name is required.\n",
        ));
    };
    let Some(file) = find(service, name)? else {
        return Ok(no_file(name));
    };
    if file.state(&service.moment()) != "ACTIVE" {
        return Ok(precondition(&format!(
            "The File {} is not in an ACTIVE state and usage is not allowed.",
            name.trim_start_matches("files/")
        )));
    }
    if let Err(refused) = service.check_mime(&file.mime, &found.embedding_model) {
        return Ok(refused);
    }
    if let Some(full) = storage_full(service, file.size)? {
        return Ok(full);
    }
    let file_id = name.trim_start_matches("files/");
    let start: String = file_id.chars().take(27).collect();
    let id = format!("{start}-{}", service.token(12));
    let text = text::searchable(&file.mime, file.text);
    let document = Document {
        name: format!("{store}/documents/{id}"),
        store: store.to_owned(),
        // Not the file's display name: that is how it is.
        display_name: file_id.to_owned(),
        metadata: metadata(&request),
        mime: file.mime,
        size: file.size,
        sha256: file.sha256,
        ..blank(service, call.kind)?
    };
    let searchable = Searchable {
        text,
        chunking: Chunking::of(&request),
    };
    let operation = format!("{store}/operations/{id}");
    // Without prefixes, unlike that of a direct upload.
    let response = json!({
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.ImportFileResponse",
        "parent": store.trim_start_matches("fileSearchStores/"), "documentName": id});
    let never_done = service.roll(call.kind, "operation_never_done", |p| {
        p.operation_never_done
    });
    let database = whole(&service.database);
    let added = database.together(|| {
        let added = database.add_document(&document, &searchable)?;
        if added {
            database.add_operation(&operation, &document, never_done, &response)?;
        }
        Ok(added)
    })?;
    Ok(match added {
        true => Answer::json(&json!({ "name": operation })),
        // Deleted since this request looked for it.
        false => no_store(store),
    })
}

/// `files/*:download`. Only generated files can be downloaded, and nothing generates any here.
pub fn download(service: &Service, call: &Call<'_>) -> Result {
    let name = call.path.trim_end_matches(":download");
    Ok(match find(service, name)? {
        Some(_) => precondition(&format!(
            "The File {} was uploaded, and only generated files can be downloaded.",
            name.trim_start_matches("files/")
        )),
        None => no_file(name),
    })
}

/// `files:register`: files of Cloud Storage. Nobody fetches them here, so they have no content.
pub fn register(service: &Service, call: &Call<'_>) -> Result {
    let request = match check::read(&call.body, shapes::REGISTER, service.loose) {
        Ok(request) => request,
        Err(refused) => return Ok(refused),
    };
    let uris = request["uris"].as_array().map_or(&[][..], Vec::as_slice);
    let object = |uri: &Value| {
        let (bucket, object) = uri.as_str()?.strip_prefix("gs://")?.split_once('/')?;
        (!bucket.is_empty() && !object.is_empty()).then(|| object.to_owned())
    };
    let objects: Option<Vec<String>> = uris.iter().map(object).collect();
    let Some(objects) = objects.filter(|objects| !objects.is_empty()) else {
        let words = "* RegisterFilesRequest.uris: at least one is required, each like gs://bucket/object.\n";
        return Ok(invalid(words));
    };
    let files = objects.into_iter().map(|object| StoredFile {
        name: format!("files/{}", service.token(12)),
        display_name: object.rsplit('/').next().unwrap_or_default().to_owned(),
        mime: String::new(),
        size: 0,
        // What marks it as registered.
        sha256: String::new(),
        created_ms: service.now(),
        text: String::new(),
        fails: false,
    });
    let files: Vec<StoredFile> = files.collect();
    let database = whole(&service.database);
    database.together(|| files.iter().try_for_each(|file| database.add_file(file)))?;
    drop(database);
    let origin = service.origin(call.head);
    let files: Vec<Value> = files
        .iter()
        .map(|file| wire(service, file, &origin))
        .collect();
    Ok(Answer::json(&json!({ "files": files })))
}

/// What a file of the Files API is called that names itself.
fn chosen_file(request: &Value) -> Option<&str> {
    request["file"]["name"].as_str().filter(|n| !n.is_empty())
}

fn new_file(service: &Service, session: &Session, content: Content) -> StoredFile {
    let file = &session.request["file"];
    let text_of = |field: &str| file[field].as_str().unwrap_or_default().to_owned();
    StoredFile {
        name: match chosen_file(&session.request) {
            Some(name) if name.starts_with("files/") => name.to_owned(),
            Some(name) => format!("files/{name}"),
            None => format!("files/{}", service.token(12)),
        },
        display_name: text_of("displayName"),
        mime: match (text_of("mimeType"), session.mime.as_str()) {
            (mime, "") => mime,
            (_, mime) => mime.to_owned(),
        },
        size: content.size,
        sha256: content.sha256,
        created_ms: service.now(),
        text: content.text,
        fails: false,
    }
}
