//! An upload in one request: metadata and body together, as `multipart/related` (fact sheet 7).
//!
//! There is no session, so the service cannot be asked afterwards what became of it. Promises: sent once, and
//! again only where the service says that it took nothing in; not whole before the body is what was scanned;
//! what is known of a request without a usable answer is told, and judged by nobody here.

use std::io::{self, Chain, Cursor, Read};
use std::sync::atomic::Ordering::Relaxed;

use fastrand::Rng;
use ureq::SendBody;

use super::body::{Body, Broken};
use super::session::{Ended, NewDocument, Submitted, ended, odd, upload_path};
use crate::client::failure::refusal::About;
use crate::client::failure::{Failure, FailureKind};
use crate::client::wire::agent::Client;
use crate::client::wire::send::stopping;
use crate::names::StoreName;
use crate::proof;
use crate::state::{Durable, Unaskable};
use crate::throttle::Class;
use crate::throttle::core::Verdict;

/// How the request ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivered {
    Document(Submitted),
    /// This side broke off before the end, since the file is not what was scanned.
    Changed,
    Unanswered(Unanswered),
}

/// No answer that names a document.
#[derive(Debug, PartialEq, Eq)]
pub struct Unanswered {
    pub failure: Failure,
    /// The last byte was handed to a connection: the service may have all of it.
    pub was_whole: bool,
}

impl Unanswered {
    fn unsent(failure: Failure) -> Delivered {
        Delivered::Unanswered(Unanswered {
            failure,
            was_whole: false,
        })
    }
}

impl Client {
    pub fn upload(
        &self,
        store: &StoreName,
        _intent: &Durable<Unaskable>,
        document: &NewDocument<'_>,
        body: &mut Body<'_>,
    ) -> Delivered {
        let json = document.request().to_string();
        if let Err(failure) = self.keep_key_out(&json, document.metadata) {
            return Unanswered::unsent(failure);
        }
        let mut tries = 1;
        loop {
            let form = Form::new(&json, document.mime, &mut Rng::new());
            let delivered = self.send_form(store, form, body);
            let failure = match &delivered {
                Delivered::Unanswered(Unanswered { failure, .. }) => failure,
                Delivered::Document(_) | Delivered::Changed => return delivered,
            };
            // A request that the service's quota refuses was not taken in.
            if failure.kind != FailureKind::RateLimited || !self.may_repeat(tries) {
                return delivered;
            }
            if let Err(stopped) = self.wait(tries, failure) {
                return Unanswered::unsent(stopped);
            }
            tries += 1;
            self.sent.retries.fetch_add(1, Relaxed);
        }
    }

    fn send_form(&self, store: &StoreName, form: Form, body: &mut Body<'_>) -> Delivered {
        let url = format!(
            "{}/upload/v1beta/{}",
            self.endpoint.as_str(),
            upload_path(store)
        );
        if let Err(broken) = body.begin(0) {
            return broken_off(broken);
        }
        let pass = match self.enter(Class::Write) {
            Ok(pass) => pass,
            Err(failure) => return Unanswered::unsent(failure),
        };
        let (content_type, bytes) = (form.content_type(), form.bytes_around() + body.size_bytes());
        let mut form = form.around(&mut *body);
        proof::point("before", "upload");
        self.sent.requests.fetch_add(1, Relaxed);
        let result = self
            .agent(Class::Write)
            .post(&url)
            .header("x-goog-api-key", self.key.expose())
            .header("x-goog-upload-protocol", "multipart")
            .header("content-type", content_type)
            .header("content-length", bytes.to_string())
            .config()
            .timeout_recv_response(Some(self.waits.final_answer))
            .build()
            .send(SendBody::from_reader(&mut form));
        proof::point("after", "upload");
        let was_whole = form.is_read();
        if let Some(broken) = body.broken() {
            self.gate.report(pass, Verdict::Answered);
            return broken_off(broken);
        }
        let got = self.received(result, Class::Write, None);
        let answer = self.judged(pass, got, ("upload", About::Store));
        match answer.and_then(|answer| ended(&answer)) {
            Ok(Ended::Document(submitted)) => Delivered::Document(submitted),
            Ok(Ended::File(_)) => Delivered::Unanswered(Unanswered {
                failure: odd("a file instead of a document"),
                was_whole,
            }),
            Err(failure) => Delivered::Unanswered(Unanswered { failure, was_whole }),
        }
    }
}

fn broken_off(broken: Broken) -> Delivered {
    match broken {
        Broken::Changed => Delivered::Changed,
        Broken::Stopped => Unanswered::unsent(stopping()),
        Broken::Unreadable(e) => {
            let words = format!("cannot be read: {e}");
            Unanswered::unsent(Failure::new(FailureKind::LocalFile, words))
        }
    }
}

/// What stands before and after the body.
struct Form {
    boundary: String,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Form {
    /// The boundary must not occur in the body, which nobody has read before it is sent. As in mail, a random one
    /// is taken. The generator has 2^64 states, and a file of 256 KiB has 2^18 places: of a million such files
    /// one meets its boundary with a chance of 2^-26, and whoever writes a file cannot know which it will get.
    fn new(json: &str, mime: &str, rng: &mut Rng) -> Form {
        let boundary = format!("objlib-{:032x}", rng.u128(..));
        let before = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json}\r\n\
             --{boundary}\r\nContent-Type: {mime}\r\n\r\n"
        );
        Form {
            after: format!("\r\n--{boundary}--\r\n").into_bytes(),
            before: before.into_bytes(),
            boundary,
        }
    }

    fn content_type(&self) -> String {
        format!("multipart/related; boundary={}", self.boundary)
    }

    /// Without the body.
    fn bytes_around(&self) -> u64 {
        (self.before.len() + self.after.len()) as u64
    }

    fn around<B: Read>(self, body: B) -> Enclosed<B> {
        let (before, after) = (Cursor::new(self.before), Cursor::new(self.after));
        Enclosed(before.chain(body).chain(after))
    }
}

type Bytes = Cursor<Vec<u8>>;

/// Before, body, after.
struct Enclosed<B>(Chain<Chain<Bytes, B>, Bytes>);

impl<B> Enclosed<B> {
    /// To the last byte.
    fn is_read(&self) -> bool {
        let (_, after) = self.0.get_ref();
        after.position() == after.get_ref().len() as u64
    }
}

impl<B: Read> Read for Enclosed<B> {
    /// As much as there is room for: each read becomes a write to the connection.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            match self.0.read(&mut out[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(seed: u64) -> Form {
        Form::new(
            r#"{"displayName":"x"}"#,
            "text/plain",
            &mut Rng::with_seed(seed),
        )
    }

    #[test]
    fn the_form_is_that_of_the_fact_sheet_and_its_length_is_known() {
        let form = form(7);
        let (boundary, bytes) = (form.boundary.clone(), form.bytes_around() + 5);
        assert_eq!(
            form.content_type(),
            format!("multipart/related; boundary={boundary}")
        );
        let mut sent = String::new();
        let mut form = form.around(&b"words"[..]);
        assert!(!form.is_read());
        form.read_to_string(&mut sent).unwrap();
        assert!(form.is_read());
        assert_eq!(sent.len() as u64, bytes);
        let expected = [
            &format!("--{boundary}"),
            "Content-Type: application/json; charset=UTF-8",
            "",
            r#"{"displayName":"x"}"#,
            &format!("--{boundary}"),
            "Content-Type: text/plain",
            "",
            "words",
            &format!("--{boundary}--"),
            "",
        ];
        assert_eq!(sent, expected.join("\r\n"));
    }

    #[test]
    fn no_two_requests_have_one_boundary() {
        let boundaries: std::collections::BTreeSet<String> =
            (0..100).map(|seed| form(seed).boundary).collect();
        assert_eq!(boundaries.len(), 100);
        // RFC 2046: up to 70 characters.
        assert!(boundaries.iter().all(|b| b.len() <= 70));
    }

    /// Gives nothing to its end.
    struct BreaksOff;

    impl Read for BreaksOff {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken off"))
        }
    }

    #[test]
    fn a_body_that_breaks_off_leaves_the_form_open() {
        let mut form = form(1).around(BreaksOff);
        assert!(form.read_to_end(&mut Vec::new()).is_err());
        assert!(!form.is_read());
    }
}
