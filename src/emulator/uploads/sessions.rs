//! The resumable upload protocol: start, upload, finalize, query, cancel.
//!
//! A session that has ended answers `query` with its last answer again, and anything else with
//! "Upload has already been terminated."

use std::io::Read;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::finish::{self, NewDocument};
use crate::emulator::data::records::{Content, Session};
use crate::emulator::http::answer::{Answer, error, invalid};
use crate::emulator::http::{BodyReader, Head};
use crate::emulator::service::{Call, Live, Service, whole};
use crate::emulator::stores::documents::Made;
use crate::emulator::stores::no_store;
use crate::emulator::strict::rules::Rule;
use crate::emulator::strict::{check, shapes};

const GRANULARITY: u64 = 8_388_608;
pub const DOCUMENT_BYTES_MAX: u64 = 104_857_600;
const FILE_BYTES_MAX: u64 = 2_147_483_648;
/// Nobody listens there.
const FOREIGN_ORIGIN: &str = "http://127.0.0.2:9";
/// Sessions whose bytes are kept: more than there can be connections that send some.
const LIVE_MAX: usize = 1_000;

type Result = rusqlite::Result<Answer>;

pub fn start(service: &Service, call: &Call<'_>) -> Result {
    let header = |name: &str| call.head.header(name);
    let store = call.path.strip_suffix(":uploadToFileSearchStore");
    let (target, shape) = match store {
        Some(store) => (store, shapes::UPLOAD),
        None => ("files", shapes::CREATE_FILE),
    };
    let found = match store {
        Some(store) => whole(&service.database).store(store)?,
        None => None,
    };
    if let (Some(store), None) = (store, &found) {
        return Ok(no_store(store));
    }
    let (protocol, command) = (
        header("x-goog-upload-protocol"),
        header("x-goog-upload-command"),
    );
    if store.is_some() {
        let were_never_sent = protocol.is_empty() && command.is_empty();
        if were_never_sent
            || service.roll(call.kind, "upload_headers_lost", |p| p.upload_headers_lost)
        {
            return metadata_as_document(service, call, target);
        }
    }
    if protocol != "resumable" || !command.eq_ignore_ascii_case("start") {
        return Ok(invalid(
            "Only the resumable upload protocol is served here: X-Goog-Upload-Protocol: resumable, \
             X-Goog-Upload-Command: start.",
        ));
    }
    let request = match check::read(&call.body, shape, service.loose) {
        Ok(request) => request,
        Err(refused) => return Ok(refused),
    };
    let mime = header("x-goog-upload-header-content-type");
    let checked = match &found {
        Some(store) => check::document("UploadToFileSearchStoreRequest", &request, service.loose)
            .and_then(|()| service.check_mime(mime, &store.embedding_model)),
        None => check::file(&request, service.loose),
    };
    if let Err(refused) = checked {
        return Ok(refused);
    }
    let length: Option<u64> = header("x-goog-upload-header-content-length").parse().ok();
    if length.is_some_and(|n| n > bytes_max(target)) {
        return Ok(too_large(bytes_max(target)));
    }
    let session = Session {
        id: service.token(32),
        target: target.to_owned(),
        request,
        mime: mime.to_owned(),
        length,
        status: "active".to_owned(),
        answer: None,
        created_ms: service.now(),
    };
    whole(&service.database).add_session(&session)?;
    if found.is_some() && service.roll(call.kind, "start_final", |p| p.start_final) {
        let new = NewDocument::of(&session);
        let answer = match finish::document(service, call.kind, &new, Content::empty())? {
            Made::Whole(answer) => answer,
            Made::Refused(answer) => finish::failed(service, &session, answer)?,
        };
        return Ok(answer.with("X-Goog-Upload-Status", "final"));
    }
    Ok(started(service, call, &session))
}

/// Without its upload headers a request is a whole upload, and the JSON of its body the document (fact sheet 16).
fn metadata_as_document(service: &Service, call: &Call<'_>, store: &str) -> Result {
    let mut live = Live::default();
    live.take(&call.body);
    let new = NewDocument {
        store,
        request: &json!({}),
        mime: "application/json",
        session: None,
    };
    match finish::made(service, call.kind, &new, &mut live)? {
        Made::Whole(answer) | Made::Refused(answer) => Ok(answer),
    }
}

fn bytes_max(target: &str) -> u64 {
    match target {
        "files" => FILE_BYTES_MAX,
        _ => DOCUMENT_BYTES_MAX,
    }
}

fn longer(announced: u64) -> Answer {
    invalid(&format!(
        "The upload is longer than the {announced} bytes that were announced."
    ))
}

pub fn too_large(bytes_max: u64) -> Answer {
    invalid(&format!(
        "File size exceeds the limit of {bytes_max} bytes."
    ))
}

fn started(service: &Service, call: &Call<'_>, session: &Session) -> Answer {
    let granularity = whole(&service.dice).plan.chunk_granularity;
    let answer = Answer::text(200, "")
        .with("X-GUploader-UploadID", session.id.clone())
        .with("X-Goog-Upload-Status", "active")
        .with(
            "X-Goog-Upload-Chunk-Granularity",
            granularity.unwrap_or(GRANULARITY).to_string(),
        );
    if service.roll(call.kind, "start_no_url", |p| p.start_no_url) {
        return answer;
    }
    let origin = match service.roll(call.kind, "start_foreign_url", |p| p.start_foreign_url) {
        true => FOREIGN_ORIGIN.to_owned(),
        false => service.origin(call.head),
    };
    let url = format!(
        "{origin}{}?upload_id={}&upload_protocol=resumable",
        call.head.path, session.id
    );
    answer
        .with("X-Goog-Upload-URL", url.clone())
        .with("X-Goog-Upload-Control-URL", url)
}

/// The session a request names, unless it has expired.
fn session(service: &Service, head: &Head) -> rusqlite::Result<Option<Session>> {
    let Some(id) = head.query.get("upload_id") else {
        return Ok(None);
    };
    let expiry = whole(&service.dice).plan.session_expiry_ms;
    let session = whole(&service.database).session(id)?;
    let Some(session) = session else {
        return Ok(None);
    };
    let age = u64::try_from(service.now().saturating_sub(session.created_ms)).unwrap_or(0);
    if expiry.is_some_and(|expiry| age > expiry) {
        whole(&service.dice).fire("session_expiry_ms");
        return Ok(None);
    }
    Ok(Some(session))
}

/// What is here of a session's bytes, if anything is.
fn seen(service: &Service, id: &str) -> Option<Arc<Mutex<Live>>> {
    whole(&service.live).get(id).map(Arc::clone)
}

/// The same, for a body that comes now.
fn live(service: &Service, id: &str) -> Arc<Mutex<Live>> {
    let mut all = whole(&service.live);
    if all.len() >= LIVE_MAX {
        // Of those that nobody sends to at this moment the bytes are forgotten: `query` says 0.
        all.retain(|_, live| Arc::strong_count(live) > 1);
    }
    Arc::clone(all.entry(id.to_owned()).or_default())
}

pub fn query(service: &Service, call: &Call<'_>) -> Result {
    let Some(session) = session(service, call.head)? else {
        return Ok(error(404, "Upload session not found.", Vec::new()));
    };
    Ok(match (session.status.as_str(), session.answer) {
        ("active", _) => {
            let seen = seen(service, &session.id);
            let received = seen.map_or(0, |live| whole(&live).received);
            whole(&service.ledger).invite(&session.id);
            Answer::text(200, "")
                .with("X-Goog-Upload-Status", "active")
                .with("X-Goog-Upload-Size-Received", received.to_string())
        }
        ("final", Some(_))
            if service.roll(call.kind, "final_not_replayed", |p| p.final_not_replayed) =>
        {
            Answer::text(200, "").with("X-Goog-Upload-Status", "final")
        }
        ("final", Some((status, body))) => replay(status, &body),
        _ => Answer::text(410, "Gone").with("X-Goog-Upload-Status", "cancelled"),
    })
}

fn replay(status: u16, body: &str) -> Answer {
    Answer {
        status,
        content_type: "application/json; charset=UTF-8",
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    }
    .with("X-Goog-Upload-Status", "final")
}

pub fn cancel(service: &Service, call: &Call<'_>) -> Result {
    let Some(session) = session(service, call.head)? else {
        return Ok(error(404, "Upload session not found.", Vec::new()));
    };
    if session.status == "final" {
        return Ok(invalid("Upload is already final."));
    }
    // The first body may still be on its way: a client that breaks off and cancels at once does so on
    // two connections, and the second may be faster.
    let seen = seen(service, &session.id);
    if seen.is_none_or(|live| live.try_lock().is_ok_and(|live| live.bodies == 0)) {
        whole(&service.ledger).invite(&session.id);
    }
    whole(&service.live).remove(&session.id);
    whole(&service.database).end_session(&session.id, "cancelled", None)?;
    Ok(Answer::text(200, "").with("X-Goog-Upload-Status", "cancelled"))
}

/// Where a fault cuts the connection: within the body, or after it and before any effect.
#[derive(Debug, Clone, Copy)]
pub struct Reset {
    pub within: bool,
    pub after: bool,
}

/// Bytes, an end, or both. `None`: the connection is reset.
pub fn body(
    service: &Service,
    head: &Head,
    command: &str,
    body: &mut BodyReader<'_>,
    reset: Reset,
) -> Option<Answer> {
    match transfer(service, head, command, body, reset) {
        Ok(answer) => answer,
        Err(e) => Some(error(500, &e.to_string(), Vec::new())),
    }
}

fn transfer(
    service: &Service,
    head: &Head,
    command: &str,
    body: &mut BodyReader<'_>,
    reset: Reset,
) -> rusqlite::Result<Option<Answer>> {
    let Some(session) = session(service, head)? else {
        return Ok(Some(error(404, "Upload session not found.", Vec::new())));
    };
    if session.status != "active" {
        return Ok(Some(terminated(service, &session)));
    }
    let live = live(service, &session.id);
    let mut live = whole(&live);
    live.bodies += 1;
    if live.bodies > 1 {
        whole(&service.ledger).accept(&session.id);
    }
    let is_exact = !service.loose.has(Rule::AnnouncedLength);
    let announced = session.length.filter(|_| is_exact);
    if command.split(',').any(|c| c.trim() == "upload") {
        if let Some(refused) = misplaced(service, head, live.received) {
            return Ok(Some(refused));
        }
        let stop_at = reset.within.then(|| body.announced().unwrap_or(0) / 2);
        let most = bytes_max(&session.target).min(announced.unwrap_or(u64::MAX));
        match live.receive(service, body, stop_at, most) {
            Received::Whole => {}
            Received::BrokenOff => return Ok(None),
            Received::TooMuch => {
                let refused = announced.map_or_else(|| too_large(most), longer);
                let answer = finish::failed(service, &session, refused)?;
                return Ok(Some(ended(service, &session, answer)));
            }
        }
    }
    if reset.after {
        return Ok(None);
    }
    if !command.contains("finalize") {
        return Ok(Some(
            Answer::text(200, "")
                .with("X-Goog-Upload-Status", "active")
                .with("X-Goog-Upload-Size-Received", live.received.to_string()),
        ));
    }
    if announced.is_some_and(|n| n != live.received) {
        whole(&service.ledger).violation(format!(
            "finalized with {} of {announced:?} announced bytes",
            live.received
        ));
        let answer = invalid("The upload's size is not the announced one.");
        return Ok(Some(answer.with("X-Goog-Upload-Status", "active")));
    }
    let answer = finish::finalize(service, &session, &mut live, &service.origin(head))?;
    Ok(Some(ended(service, &session, answer)))
}

/// The refusal of a body for a session that has ended.
fn terminated(service: &Service, session: &Session) -> Answer {
    let mut ledger = whole(&service.ledger);
    // An earlier body may still have been on its way when `query` said "active".
    if !ledger.accept(&session.id) {
        ledger.violation(format!("body for a session that is {}", session.status));
    }
    let gone = json!({"error": {"code": 400, "message": "Upload has already been terminated.",
        "status": "Bad Request"}});
    Answer {
        status: 400,
        ..Answer::json(&gone)
    }
}

/// The refusal of a body that does not go on where the bytes end that are here.
fn misplaced(service: &Service, head: &Head, received: u64) -> Option<Answer> {
    let offset = head.header("x-goog-upload-offset").parse::<u64>();
    (offset != Ok(received)).then(|| {
        whole(&service.ledger)
            .violation(format!("offset {offset:?} where {received} bytes are here"));
        Answer::text(409, "Offset mismatch.").with("X-Goog-Upload-Status", "active")
    })
}

/// Nothing more comes in this session.
fn ended(service: &Service, session: &Session, answer: Answer) -> Answer {
    whole(&service.live).remove(&session.id);
    answer.with("X-Goog-Upload-Status", "final")
}

/// How a body ended.
enum Received {
    Whole,
    /// By the client or by a fault.
    BrokenOff,
    /// The upload is longer than it may be, whatever was announced.
    TooMuch,
}

impl Live {
    fn receive(
        &mut self,
        service: &Service,
        body: &mut BodyReader<'_>,
        stop_at: Option<u64>,
        bytes_max: u64,
    ) -> Received {
        let mut buffer = vec![0; 64 * 1024];
        let mut taken = 0;
        loop {
            let room = stop_at.map_or(buffer.len() as u64, |stop| stop - taken);
            if room == 0 {
                return Received::BrokenOff;
            }
            let room = buffer.len().min(room as usize);
            let n = match body.read(&mut buffer[..room]) {
                Ok(0) => return Received::Whole,
                Ok(n) => n,
                Err(_) => return Received::BrokenOff,
            };
            taken += n as u64;
            self.take(&buffer[..n]);
            whole(&service.ledger).body_bytes(n as u64);
            if self.received > bytes_max {
                return Received::TooMuch;
            }
        }
    }
}
