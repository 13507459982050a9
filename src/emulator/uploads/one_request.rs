//! Uploads of one request (fact sheet 7): `multipart`, with metadata and payload, and `raw`, with the payload
//! alone. There is no session, so nobody can ask afterwards what became of one.
//!
//! Promises: the payload is hashed as it comes and never held; nothing is made of a request that did not come
//! to its end.

use std::io::{self, Read};

use serde_json::{Value, json};

use super::finish::{self, NewDocument};
use super::multipart::{Broken, ContentType, PartHead, Parts};
use super::sessions::{DOCUMENT_BYTES_MAX, Reset, too_large};
use crate::emulator::http::answer::{Answer, error, invalid};
use crate::emulator::http::{BodyReader, Head};
use crate::emulator::service::{Asked, JSON_BYTES_MAX, Live, Service, whole};
use crate::emulator::stores::documents::Made;
use crate::emulator::stores::no_store;
use crate::emulator::strict::{check, shapes};

/// `resumable`, `multipart` or `raw`; empty if the request names none.
pub fn protocol(head: &Head) -> String {
    let query = |name: &str| head.query.get(name).map_or("", String::as_str);
    let named = match head.header("x-goog-upload-protocol") {
        "" => query("upload_protocol"),
        named => named,
    };
    match (named, query("uploadType")) {
        ("", "media") => "raw".to_owned(),
        ("", named) | (named, _) => named.to_ascii_lowercase(),
    }
}

/// How an upload ends that makes nothing.
enum End {
    Refused(Answer),
    /// By the client or by a fault.
    CutOff,
    /// Our own database fails.
    Database(rusqlite::Error),
}

impl From<Answer> for End {
    fn from(refusal: Answer) -> End {
        End::Refused(refusal)
    }
}

impl From<Broken> for End {
    fn from(broken: Broken) -> End {
        match broken {
            Broken::Connection => End::CutOff,
            Broken::Malformed(why) => End::Refused(invalid(why)),
        }
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::CutOff
    }
}

impl From<rusqlite::Error> for End {
    fn from(e: rusqlite::Error) -> End {
        End::Database(e)
    }
}

/// `None`: the connection is reset.
pub fn upload(
    service: &Service,
    asked: &Asked<'_>,
    body: &mut BodyReader<'_>,
    reset: Reset,
) -> Option<Answer> {
    match taken(service, asked, body, reset) {
        Ok(answer) | Err(End::Refused(answer)) => Some(answer),
        Err(End::CutOff) => None,
        Err(End::Database(e)) => Some(error(500, &e.to_string(), Vec::new())),
    }
}

/// What came in one request.
struct Payload {
    request: Value,
    mime: String,
    live: Live,
}

fn taken(
    service: &Service,
    asked: &Asked<'_>,
    body: &mut BodyReader<'_>,
    reset: Reset,
) -> Result<Answer, End> {
    let store = asked.path.strip_suffix(":uploadToFileSearchStore");
    let store = store.unwrap_or(asked.path);
    let Some(found) = whole(&service.database).store(store)? else {
        return Err(no_store(store).into());
    };
    let is_multipart = asked.kind == "upload.multipart";
    if is_multipart && service.roll(asked.kind, "multipart_refused", |p| p.multipart_refused) {
        return Err(invalid("Request contains an invalid argument.").into());
    }
    let left = reset.within.then(|| body.announced().unwrap_or(0) / 2);
    let body = CutShort { from: body, left };
    let mut payload = match is_multipart {
        true => related(service, asked, body, &found.embedding_model)?,
        false => raw(service, asked, body, &found.embedding_model)?,
    };
    if reset.after {
        return Err(End::CutOff);
    }
    let drops = |p: &crate::emulator::Faults| p.multipart_metadata_dropped;
    if is_multipart && service.roll(asked.kind, "multipart_metadata_dropped", drops) {
        payload.request["customMetadata"] = json!([]);
    }
    let new = NewDocument {
        store,
        request: &payload.request,
        mime: &payload.mime,
        session: None,
    };
    match finish::made(service, asked.kind, &new, &mut payload.live)? {
        Made::Whole(answer) | Made::Refused(answer) => Ok(answer),
    }
}

fn related(
    service: &Service,
    asked: &Asked<'_>,
    body: impl Read,
    model: &str,
) -> Result<Payload, End> {
    let malformed = |why: &'static str| End::from(Broken::Malformed(why));
    let form = ContentType::parse(asked.head.header("content-type"))
        .filter(|form| form.essence == "multipart/related")
        .ok_or_else(|| malformed("A multipart upload has the Content-Type multipart/related."))?;
    let boundary = form
        .boundary()
        .ok_or_else(|| malformed("The Content-Type has no boundary."))?;
    let mut parts = Parts::new(body, boundary);
    let two = "A multipart upload has exactly two parts.";

    let head = parts.next()?.ok_or_else(|| malformed(two))?;
    let is_json = type_of(&head).is_some_and(|form| form.essence == "application/json");
    if !is_json {
        return Err(malformed(
            "The first part must be of the type application/json.",
        ));
    }
    let mut json = Vec::new();
    parts.content(&mut |piece| -> Result<(), End> {
        json.extend_from_slice(piece);
        match json.len() as u64 > JSON_BYTES_MAX {
            true => Err(malformed("The metadata is too large.")),
            false => Ok(()),
        }
    })?;
    whole(&service.ledger).body(asked.number, &json);
    let request = check::read(&json, shapes::UPLOAD, service.loose)?;
    check::document("UploadToFileSearchStoreRequest", &request, service.loose)?;

    let head = parts.next()?.ok_or_else(|| malformed(two))?;
    let form = type_of(&head).ok_or_else(|| malformed("The second part has no Content-Type."))?;
    service.check_mime(&form.essence, model)?;
    let encoding = head.get("content-transfer-encoding");
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("binary")) {
        return Err(malformed("The payload can only be encoded as binary."));
    }
    let mut live = Live::default();
    parts.content(&mut |piece| take(service, &mut live, piece))?;
    if parts.next()?.is_some() {
        return Err(malformed(two));
    }
    Ok(Payload {
        request,
        mime: form.essence,
        live,
    })
}

fn type_of(head: &PartHead) -> Option<ContentType> {
    ContentType::parse(head.get("content-type")?)
}

fn raw(
    service: &Service,
    asked: &Asked<'_>,
    mut body: impl Read,
    model: &str,
) -> Result<Payload, End> {
    let form = ContentType::parse(asked.head.header("content-type"));
    let mime = form.map(|form| form.essence).unwrap_or_default();
    service.check_mime(&mime, model)?;
    let mut live = Live::default();
    let mut block = vec![0; 64 * 1024];
    loop {
        match body.read(&mut block)? {
            0 => break,
            n => take(service, &mut live, &block[..n])?,
        }
    }
    Ok(Payload {
        request: json!({}),
        mime,
        live,
    })
}

fn take(service: &Service, live: &mut Live, piece: &[u8]) -> Result<(), End> {
    live.take(piece);
    whole(&service.ledger).body_bytes(piece.len() as u64);
    match live.received > DOCUMENT_BYTES_MAX {
        true => Err(too_large(DOCUMENT_BYTES_MAX).into()),
        false => Ok(()),
    }
}

/// A body that breaks off after so many bytes.
struct CutShort<'b, 'c> {
    from: &'b mut BodyReader<'c>,
    /// `None`: it does not.
    left: Option<u64>,
}

impl Read for CutShort<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let room = match self.left {
            Some(0) => return Err(io::ErrorKind::ConnectionReset.into()),
            Some(left) => out.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => out.len(),
        };
        let n = self.from.read(&mut out[..room])?;
        self.left = self.left.map(|left| left - n as u64);
        Ok(n)
    }
}
