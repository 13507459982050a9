//! The resumable upload session: start, send, query, cancel (fact sheet 4 to 6), the same for a document
//! and for a temporary file.
//!
//! Promises: what guards a request is durable before it is sent (the types ask for it); after a broken
//! connection the service is asked what it has, and only the rest is sent; a body is never sent again
//! blindly.

use std::sync::atomic::Ordering::Relaxed;

use serde::Deserialize;
use serde_json::json;
use ureq::SendBody;
use ureq::http;

use super::body::{Body, Broken};
use crate::client::failure::refusal::About;
use crate::client::failure::{Failure, FailureKind, names_the_key};
use crate::client::resources::documents::describe;
use crate::client::resources::files::{TemporaryFile, WireFile};
use crate::client::resources::operations::document_name;
use crate::client::wire::agent::Client;
use crate::client::wire::json::Int64;
use crate::client::wire::send::{Call, HttpMethod, Received, Response, SESSION_URL, stopping};
use crate::identity::{MetadataEntry, PATH_KEY};
use crate::names::{DocumentName, FileName, OperationName, SessionUrl, StoreName};
use crate::proof;
use crate::state::{Durable, Intent};
use crate::throttle::Class;
use crate::throttle::gate::{Pass, Verdict};

pub struct NewDocument<'a> {
    pub display_name: &'a str,
    pub mime: &'a str,
    pub size_bytes: u64,
    pub metadata: &'a [MetadataEntry],
}

impl NewDocument<'_> {
    /// The JSON of an upload, by a session or in one request (fact sheet 4).
    pub(in crate::client) fn request(&self) -> serde_json::Value {
        let mut request = json!({"displayName": self.display_name});
        describe(&mut request, self.metadata);
        request
    }
}

/// Below `/upload/`.
pub(in crate::client) fn upload_path(store: &StoreName) -> String {
    format!("{store}:uploadToFileSearchStore")
}

#[derive(Debug, PartialEq, Eq)]
pub enum Started {
    Session(SessionUrl),
    /// Ended at once (fact sheet 4). Not a byte was sent, so whatever it made is not the file.
    Final(Option<Ended>),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Finished {
    Ended(Ended),
    /// The service said that the session is over, without success.
    Dead(Failure),
    /// The file on disk is not the scanned one; nothing can come of the session any more.
    Changed,
}

/// What a session made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Document(Submitted),
    File(TemporaryFile),
}

/// A document that is being made, as the last answer names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub operation: Option<OperationName>,
    pub document: Option<DocumentName>,
    pub size_bytes: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Continue at exactly this offset.
    Active { received: u64 },
    /// `None`: ended, but the answer is not replayed.
    Final(Option<Ended>),
    /// Ended, and nothing came of it.
    Dead(Failure),
    /// Cancelled, expired or never there.
    Gone,
}

const STATUS: &str = "x-goog-upload-status";
const COMMAND: &str = "x-goog-upload-command";

/// An operation, or a file: the two never meet in one answer.
#[derive(Deserialize)]
struct WireFinal {
    #[serde(default)]
    name: String,
    #[serde(default)]
    response: WireResponse,
    file: Option<WireFile>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireResponse {
    document_name: String,
    size_bytes: Int64,
}

impl Client {
    /// A session whose end makes a document.
    pub fn start(
        &self,
        store: &StoreName,
        _intent: &Durable<Intent>,
        document: &NewDocument<'_>,
    ) -> Result<Started, Failure> {
        let path = upload_path(store);
        self.open_session(("start", About::Store, path), document, document.request())
    }

    /// A session whose end makes a temporary file of this name.
    pub fn start_file(
        &self,
        name: &FileName,
        _intent: &Durable<Intent>,
        document: &NewDocument<'_>,
    ) -> Result<Started, Failure> {
        let body = json!({"file": {
            "name": name.as_str(), "displayName": document.display_name}});
        let path = "files".to_owned();
        self.open_session(("file start", About::Account, path), document, body)
    }

    /// # Errors
    /// The key stands in what is about to be sent of a document.
    pub(in crate::client) fn keep_key_out(
        &self,
        body: &str,
        metadata: &[MetadataEntry],
    ) -> Result<(), Failure> {
        let holds = |entry: &MetadataEntry| {
            entry.key != PATH_KEY && self.secrets.appear_in(&json!(entry).to_string())
        };
        match self.secrets.appear_in(body) {
            true => Err(names_the_key(!metadata.iter().any(holds))),
            false => Ok(()),
        }
    }

    fn open_session(
        &self,
        (step, about, path): (&'static str, About, String),
        document: &NewDocument<'_>,
        body: serde_json::Value,
    ) -> Result<Started, Failure> {
        let headers = [
            ("x-goog-upload-protocol", "resumable".to_owned()),
            (COMMAND, "start".to_owned()),
            (
                "x-goog-upload-header-content-length",
                document.size_bytes.to_string(),
            ),
            // Not in the JSON body, which refuses valid types (fact sheet 16).
            (
                "x-goog-upload-header-content-type",
                document.mime.to_owned(),
            ),
        ];
        let mut call = Call::new(step, Class::Write, about, HttpMethod::Post, path);
        call.upload = true;
        call.headers = &headers;
        let body = body.to_string();
        // What a temporary file does not carry yet is sent in the end.
        self.keep_key_out(&document.request().to_string(), document.metadata)?;
        call.body = Some(body);
        let answer = self.call(&call)?;
        if answer.header(STATUS) == Some("final") {
            return Ok(Started::Final(ended(&answer).ok()));
        }
        let Some(url) = answer.header(SESSION_URL) else {
            let kind = match answer.header(STATUS) {
                Some(_) => FailureKind::BadAnswer,
                None => FailureKind::NotTheService,
            };
            let words = "the service opened an upload without saying where it is";
            return Err(Failure::new(kind, words));
        };
        self.endpoint
            .own_session(url)
            .map(Started::Session)
            .ok_or_else(|| {
                Failure::new(
                    FailureKind::BadAnswer,
                    "the service names another host for the upload; nothing was sent there",
                )
            })
    }

    /// Sends the body from `offset` on and ends the session. After a broken connection it asks how far
    /// the service got, and continues there.
    ///
    /// # Errors
    /// It is not known whether the session made something: its URL must be kept.
    pub fn finish(
        &self,
        session: &Durable<SessionUrl>,
        body: &mut Body<'_>,
        offset: u64,
    ) -> Result<Finished, Failure> {
        let mut at = offset;
        let mut tries = 1;
        loop {
            let failure = match self.send_from(session, body, at) {
                Sent::Ended(ended) => return Ok(Finished::Ended(ended)),
                Sent::Dead(failure) => return Ok(Finished::Dead(failure)),
                Sent::Broken(Broken::Changed) => {
                    return match self.cancel(session) {
                        // Some earlier connection may have delivered all of the old content.
                        Err(failure) if body.is_whole() => Err(failure),
                        // It expires by itself: nothing in it is complete.
                        Ok(()) | Err(_) => Ok(Finished::Changed),
                    };
                }
                Sent::Broken(Broken::Stopped) => return Err(stopping()),
                Sent::Broken(Broken::Unreadable(e)) => {
                    let words = format!("cannot be read: {e}");
                    return Err(Failure::new(FailureKind::LocalFile, words));
                }
                Sent::Unclear(failure) => failure,
            };
            if let FailureKind::Skipped { .. } | FailureKind::Stopped = failure.kind {
                return Err(failure);
            }
            if !self.may_repeat(tries) {
                return Err(failure);
            }
            self.wait(tries, &failure)?;
            self.sent.retries.fetch_add(1, Relaxed);
            match self.query(session)? {
                SessionState::Active { received } => {
                    tries = match received > at {
                        true => 1,
                        false => tries + 1,
                    };
                    at = received;
                }
                SessionState::Final(Some(ended)) => return Ok(Finished::Ended(ended)),
                SessionState::Dead(failure) => return Ok(Finished::Dead(failure)),
                SessionState::Gone if !body.is_whole() => {
                    return Ok(Finished::Dead(Failure {
                        kind: FailureKind::SessionDead,
                        ..failure
                    }));
                }
                SessionState::Final(None) | SessionState::Gone => {
                    return Err(Failure {
                        kind: FailureKind::InDoubt,
                        ..failure
                    });
                }
            }
        }
    }

    pub fn query(&self, session: &SessionUrl) -> Result<SessionState, Failure> {
        let mut tries = 1;
        loop {
            match self.query_once(session) {
                Err(failure) if failure.is_transient() && self.may_repeat(tries) => {
                    self.wait(tries, &failure)?;
                    tries += 1;
                    self.sent.retries.fetch_add(1, Relaxed);
                }
                result => return result,
            }
        }
    }

    /// The session ends without a document.
    pub fn cancel(&self, session: &SessionUrl) -> Result<(), Failure> {
        let (_, answer) = self.command(session, "cancel", Class::Write)?;
        match answer?.header(STATUS) {
            Some("cancelled") => Ok(()),
            other => Err(Failure::new(
                FailureKind::BadAnswer,
                format!(
                    "cancelling left the session {}",
                    other.unwrap_or("as it was")
                ),
            )),
        }
    }

    fn query_once(&self, session: &SessionUrl) -> Result<SessionState, Failure> {
        let answer = match self.command(session, "query", Class::Read) {
            Ok((_, Ok(answer))) => answer,
            Ok((true, Err(failure))) => return Ok(SessionState::Dead(dead(failure))),
            // A session that is not on this service can never be asked: to it, it is gone as well.
            Ok((false, Err(failure))) | Err(failure) => {
                return match failure.kind {
                    FailureKind::Missing | FailureKind::SessionDead => Ok(SessionState::Gone),
                    _ => Err(failure),
                };
            }
        };
        match answer.header(STATUS) {
            Some("active") => {
                let received = answer.header("x-goog-upload-size-received");
                // Absent is zero, which is always legal (fact sheet 5).
                let received = received.map_or(Some(0), |text| text.parse().ok());
                received
                    .map(|received| SessionState::Active { received })
                    .ok_or_else(|| odd("a number of bytes that is none"))
            }
            Some("final") => Ok(SessionState::Final(ended(&answer).ok())),
            Some("cancelled") => Ok(SessionState::Gone),
            _ => Err(odd("no state of the upload")),
        }
    }

    /// Where requests of a session go: always to the service itself.
    fn address(&self, session: &SessionUrl) -> Result<String, Failure> {
        self.endpoint.session(session).ok_or_else(|| {
            Failure::new(
                FailureKind::Missing,
                "the session on record lies on another host; nothing was sent there",
            )
        })
    }

    /// A command without a body, and whether its answer says that the session has ended. The URL is the
    /// credential; the key does not go along.
    fn command(
        &self,
        session: &SessionUrl,
        command: &'static str,
        class: Class,
    ) -> Result<(bool, Result<Response, Failure>), Failure> {
        let url = self.address(session)?;
        let pass = self.enter(class)?;
        proof::point("before", command);
        self.sent.requests.fetch_add(1, Relaxed);
        let result = self
            .agent(class)
            .post(&url)
            .header(COMMAND, command)
            .config()
            .timeout_per_call(Some(self.waits.request))
            .build()
            .send_empty();
        proof::point("after", command);
        Ok(self.of_session((command, pass), result, session))
    }

    /// The answer of a session, and whether the service said in it that the session is over.
    fn of_session(
        &self,
        (step, pass): (&str, Pass),
        result: Result<http::Response<ureq::Body>, ureq::Error>,
        session: &SessionUrl,
    ) -> (bool, Result<Response, Failure>) {
        let got = self.received(result, pass.class(), Some(session));
        let is_final = got.as_ref().is_ok_and(Received::is_final);
        let result = self.judged(pass, got, (step, About::Session));
        let foreign = |failure: &Failure| failure.kind == FailureKind::NotTheService;
        // Nobody but the service can end a session: what it has received must not be sent again.
        let is_final = is_final && !result.as_ref().is_err_and(foreign);
        (is_final, result)
    }

    fn send_from(&self, session: &SessionUrl, body: &mut Body<'_>, offset: u64) -> Sent {
        let url = match self.address(session) {
            Ok(url) => url,
            Err(failure) => return Sent::Unclear(failure),
        };
        if let Err(broken) = body.begin(offset) {
            return Sent::Broken(broken);
        }
        let pass = match self.enter(Class::Write) {
            Ok(pass) => pass,
            Err(failure) => return Sent::Unclear(failure),
        };
        proof::point("before", "body");
        self.sent.requests.fetch_add(1, Relaxed);
        let left = body.size_bytes() - offset;
        let result = self
            .agent(Class::Write)
            .post(&url)
            .header(COMMAND, "upload, finalize")
            .header("x-goog-upload-offset", offset.to_string())
            // A length makes it a plain body; without one it would be sent in chunks.
            .header("content-length", left.to_string())
            .config()
            .timeout_recv_response(Some(self.waits.final_answer))
            .build()
            .send(SendBody::from_reader(body));
        proof::point("after", "body");
        if let Some(broken) = body.broken() {
            self.gate.report(pass, Verdict::Answered);
            return Sent::Broken(broken);
        }
        match self.of_session(("body", pass), result, session) {
            (true, Ok(answer)) => match ended(&answer) {
                Ok(ended) => Sent::Ended(ended),
                Err(failure) => Sent::Unclear(failure),
            },
            (true, Err(failure)) => Sent::Dead(dead(failure)),
            (false, Ok(_)) => Sent::Unclear(odd("no end of the upload")),
            (false, Err(failure)) => Sent::Unclear(failure),
        }
    }
}

/// What one try to send the body led to.
enum Sent {
    Ended(Ended),
    /// The service said that the session ended without a document.
    Dead(Failure),
    /// This side broke off.
    Broken(Broken),
    /// Only the service can say how far it got.
    Unclear(Failure),
}

/// The header decides: this session is over, and without success (fact sheet 5). It cannot be tried
/// again, whatever the words say.
fn dead(failure: Failure) -> Failure {
    Failure {
        kind: match failure.is_transient() {
            true => FailureKind::SessionDead,
            false => failure.kind,
        },
        ..failure
    }
}

impl Received {
    fn is_final(&self) -> bool {
        self.headers
            .get(STATUS)
            .is_some_and(|status| status.as_bytes() == b"final")
    }
}

pub(in crate::client) fn ended(answer: &Response) -> Result<Ended, Failure> {
    let wire: WireFinal = answer.json()?;
    if let Some(file) = wire.file {
        return Ok(Ended::File(file.try_into()?));
    }
    if wire.name.is_empty() && wire.response.document_name.is_empty() {
        return Err(odd("neither an operation nor a document nor a file"));
    }
    let operation = OperationName::parse(&wire.name);
    let store = operation.as_ref().and_then(OperationName::store);
    Ok(Ended::Document(Submitted {
        document: DocumentName::parse(&wire.response.document_name)
            .or_else(|| document_name(store, &wire.response.document_name)),
        operation,
        size_bytes: wire.response.size_bytes.0,
    }))
}

pub(in crate::client) fn odd(what: &str) -> Failure {
    let words = format!("the service answered HTTP 200 with {what}");
    Failure::new(FailureKind::BadAnswer, words)
}
