//! Through the gate: one request out, one answer in.
//!
//! Owns the rules every request obeys: pass, time-outs, one origin for the key, bounded answers, the
//! verdict for the throttle, and the retries of what may simply be sent again.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::{DeserializeOwned, IgnoredAny};
use std::borrow::Cow;
use std::io::{ErrorKind, Read};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use ureq::http::{self, HeaderMap, HeaderValue};

use super::agent::Client;
use super::json::unmarked;
use super::secrets::Cut;
use crate::client::failure::refusal::{About, Refusal, classify, not_the_service};
use crate::client::failure::{Failure, FailureKind};
use crate::names::SessionUrl;
use crate::proof;
use crate::throttle::Class;
use crate::throttle::backoff;
use crate::throttle::gate::{Pass, Refused, Verdict};

/// An answer is read up to here; a page of documents has some 20 KiB.
pub const RESPONSE_BYTES_MAX: u64 = 8 << 20;
pub(in crate::client) const SESSION_URL: &str = "x-goog-upload-url";
/// How often a request that waits for the lock looks again.
const LOCK_CHECK: Duration = Duration::from_millis(10);
/// Tries of one request.
const TRIES_MAX: u32 = 5;
/// Of a run's requests so many may be repetitions, and a short run may have some in any case: beyond it a
/// service in trouble is not asked more than once for the same, and files go back to the queue.
const REQUESTS_PER_RETRY: u64 = 5;
const RETRIES_MIN: u64 = 10;
/// Answers of one request that make no sense before they are believed to be no accident.
pub(in crate::client) const BAD_ANSWERS_MAX: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum HttpMethod {
    Get,
    Post,
    Delete,
}

/// A plain call: its body, if any, is small and in memory.
pub(in crate::client) struct Call<'a> {
    /// What it is, for the proof programs.
    pub step: &'static str,
    pub class: Class,
    pub about: About,
    pub method: HttpMethod,
    /// Behind the version, with its query.
    pub path: String,
    pub headers: &'a [(&'a str, String)],
    pub body: Option<String>,
    /// Below `/upload/`.
    pub upload: bool,
    /// A model works on the answer, which takes longer than a look-up.
    pub thinking: bool,
}

impl<'a> Call<'a> {
    pub fn new(
        step: &'static str,
        class: Class,
        about: About,
        method: HttpMethod,
        path: String,
    ) -> Call<'a> {
        Call {
            step,
            class,
            about,
            method,
            path,
            headers: &[],
            body: None,
            upload: false,
            thinking: false,
        }
    }
}

/// A successful answer.
pub(in crate::client) struct Response {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let unusable = |why: &str| {
            let text = String::from_utf8_lossy(&self.body);
            Failure::new(
                FailureKind::BadAnswer,
                format!("HTTP 200 with an answer that cannot be used ({why}): {text}"),
            )
        };
        let json = unmarked(&self.body);
        // Every answer is an object. To serde an array is a struct as well, and `[]` an empty list.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(unusable("not a JSON object"));
        }
        serde_json::from_slice(json).map_err(|e| unusable(&e.to_string()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Client {
    /// One call, up to `TRIES_MAX` tries while the failure is transient.
    pub(in crate::client) fn call(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let mut tries = 1;
        loop {
            match self.call_once(call) {
                Err(failure) if failure.is_transient() && self.may_repeat(tries) => {
                    self.wait(tries, &failure)?;
                    tries += 1;
                    self.sent.retries.fetch_add(1, Relaxed);
                }
                result => return result,
            }
        }
    }

    /// A call that changes nothing when it is repeated, for an answer that can be used.
    pub(in crate::client) fn ask<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
    ) -> Result<T, Failure> {
        let mut tries = 1;
        loop {
            match self.call(call).and_then(|answer| answer.json()) {
                // At once: that an answer makes no sense is no sign of load.
                Err(failure) if failure.makes_no_sense() && tries < BAD_ANSWERS_MAX => {
                    tries += 1;
                    self.sent.retries.fetch_add(1, Relaxed);
                }
                result => return result,
            }
        }
    }

    /// Deletes; what is not there is deleted.
    pub(in crate::client) fn delete(&self, call: &Call<'_>) -> Result<(), Failure> {
        match self.ask::<IgnoredAny>(call) {
            Err(failure) if failure.kind != FailureKind::Missing => Err(failure),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    pub(in crate::client) fn call_once(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let pass = self.enter(call.class)?;
        proof::point("before", call.step);
        let answer = self.exchange(call);
        let answer = self.received(answer, call.class, None);
        proof::point("after", call.step);
        self.judged(pass, answer, (call.step, call.about))
    }

    /// Leave to send one request: by the throttle, and by the lock.
    pub(in crate::client) fn enter(&self, class: Class) -> Result<Pass, Failure> {
        let pass = self.gate.enter(class).map_err(refused)?;
        match self.hold_lock() {
            Ok(()) => Ok(pass),
            Err(failure) => {
                self.gate.report(pass, Verdict::Answered);
                Err(failure)
            }
        }
    }

    /// Nothing is sent while it is not certain that the lock is still ours: a process that was suspended
    /// may find it taken over.
    pub fn hold_lock(&self) -> Result<(), Failure> {
        while !self.lease.is_fresh() {
            if !self.gate.sleep(LOCK_CHECK) {
                return Err(stopping());
            }
        }
        Ok(())
    }

    /// Whether a request that was tried so often, and may pass a little later, is sent again at once.
    pub(in crate::client) fn may_repeat(&self, tries: u32) -> bool {
        let sent = &self.sent;
        tries < TRIES_MAX && has_retry_left(sent.requests.load(Relaxed), sent.retries.load(Relaxed))
    }

    /// The wait before another try; an error if the run stops.
    pub(in crate::client) fn wait(&self, tries: u32, failure: &Failure) -> Result<(), Failure> {
        // The gate holds back the whole class after a 429.
        if failure.kind == FailureKind::RateLimited {
            return Ok(());
        }
        let wait = backoff::delay(tries, failure.delay, &mut fastrand::Rng::new());
        match self.gate.sleep(self.waits.scaled(wait)) {
            true => Ok(()),
            false => Err(Failure::new(FailureKind::Stopped, failure.to_string())),
        }
    }

    /// Reports to the throttle and turns the answer into success or failure.
    pub(in crate::client) fn judged(
        &self,
        pass: Pass,
        answer: Result<Received, Failure>,
        (step, about): (&str, About),
    ) -> Result<Response, Failure> {
        let result = answer.and_then(|received| received.judged(about));
        self.meter.count(step, &result, pass.sent_at().elapsed());
        self.gate.report(pass, verdict(&result));
        result
    }

    /// Sends it; the answer's body is still to be read.
    pub(in crate::client) fn exchange(
        &self,
        call: &Call<'_>,
    ) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let upload = if call.upload { "/upload" } else { "" };
        let url = format!("{}{upload}/v1beta/{}", self.endpoint.as_str(), call.path);
        self.sent.requests.fetch_add(1, Relaxed);
        let key = self.key.expose();
        let agent = self.agent(call.class);
        let time = match call.thinking {
            true => self.waits.final_answer,
            false => self.waits.request,
        };
        match call.method {
            HttpMethod::Get | HttpMethod::Delete => {
                let request = match call.method {
                    HttpMethod::Get => agent.get(&url),
                    _ => agent.delete(&url),
                };
                request
                    .header("x-goog-api-key", key)
                    .config()
                    .timeout_per_call(Some(time))
                    .timeout_recv_body(Some(time))
                    .build()
                    .call()
            }
            HttpMethod::Post => {
                let mut request = agent
                    .post(&url)
                    .header("x-goog-api-key", key)
                    .header("content-type", "application/json");
                for (name, value) in call.headers {
                    request = request.header(*name, value);
                }
                let request = request
                    .config()
                    .timeout_per_call(Some(time))
                    .timeout_recv_body(Some(time))
                    .build();
                request.send(call.body.as_deref().unwrap_or_default())
            }
        }
    }
}

/// An answer of any status.
pub(in crate::client) struct Received {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Received {
    fn without(mut self, cut: &Cut<'_>) -> Received {
        let left = cut.all(&self.body);
        if let Cow::Owned(left) = left {
            self.body = left;
        }
        for (name, value) in &mut self.headers {
            let left = match name == SESSION_URL {
                // A session is opened by its address, which goes to the database and nowhere else.
                true => cut.key_only(value.as_bytes()),
                false => cut.all(value.as_bytes()),
            };
            if let Cow::Owned(left) = left {
                // The words that stand for a secret are legal in a header.
                *value = HeaderValue::from_bytes(&left).unwrap_or(HeaderValue::from_static(""));
            }
        }
        self
    }

    /// Every answer of the API is a JSON object, and whatever is said of a session has headers of its own.
    fn is_the_services(&self) -> bool {
        let mut names = self.headers.keys();
        self.body.trim_ascii_start().starts_with(b"{")
            || names.any(|name| name.as_str().starts_with("x-goog-upload-"))
    }

    fn judged(self, about: About) -> Result<Response, Failure> {
        if self.status == 200 {
            return match self.is_the_services() {
                true => Ok(Response {
                    headers: self.headers,
                    body: self.body,
                }),
                false => Err(not_the_service(200, None, &self.body)),
            };
        }
        let header = |name: &str| self.headers.get(name).and_then(|v| v.to_str().ok());
        Err(classify(Refusal {
            status: self.status,
            retry_after: header("retry-after"),
            location: header("location"),
            body: &self.body,
            about,
        }))
    }
}

impl Client {
    /// Reads an answer whole, and takes the secrets out of it. `session`: the one that was asked. A read
    /// without an answer while the run stops was interrupted on this side, which says nothing of the service;
    /// a write without one may have taken effect, and is judged as a lost answer always is.
    pub(in crate::client) fn received(
        &self,
        result: Result<http::Response<ureq::Body>, ureq::Error>,
        class: Class,
        session: Option<&SessionUrl>,
    ) -> Result<Received, Failure> {
        let opened = result.as_ref().ok();
        let opened = opened.and_then(|answer| answer.headers().get(SESSION_URL)?.to_str().ok());
        let urls = session.map(SessionUrl::expose).into_iter().chain(opened);
        let cut = self.secrets.and_sessions(urls);
        let received =
            read(result, self.endpoint.host(), &self.proxy).map_err(|failure| match class {
                Class::Read if self.gate.cuts_off(class) => stopping(),
                Class::Read | Class::Write => Failure {
                    words: cut.words(&failure.words),
                    ..failure
                },
            })?;
        Ok(received.without(&cut))
    }
}

fn read(
    result: Result<http::Response<ureq::Body>, ureq::Error>,
    host: &str,
    proxy: &str,
) -> Result<Received, Failure> {
    let response = result.map_err(|e| transport(&e, host, proxy))?;
    let (parts, body) = response.into_parts();
    let mut bytes = Vec::new();
    body.into_reader()
        .take(RESPONSE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::new(FailureKind::Transient, format!("the answer was cut: {e}")))?;
    if bytes.len() as u64 > RESPONSE_BYTES_MAX {
        return Err(Failure::new(
            FailureKind::NotTheService,
            format!("an answer of more than {RESPONSE_BYTES_MAX} bytes"),
        ));
    }
    Ok(Received {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: bytes,
    })
}

/// No answer. Never names a URL: that of a session is a secret.
fn transport(e: &ureq::Error, host: &str, proxy: &str) -> Failure {
    let (kind, words) = match e {
        ureq::Error::HostNotFound => (
            FailureKind::Transient,
            format!("the host name {host} is not known here"),
        ),
        ureq::Error::Timeout(phase) => (
            FailureKind::Transient,
            format!("no answer from {host} in time ({phase:?})"),
        ),
        // Errors of TLS come wrapped.
        ureq::Error::Io(e) if e.to_string().contains("certificate") => (
            FailureKind::NoTrust,
            format!("no trust in the certificate of {host} ({e})"),
        ),
        ureq::Error::Io(e) if e.kind() == ErrorKind::InvalidData => (
            FailureKind::NotTheService,
            format!("what answers at {host} does not speak TLS as it should ({e})"),
        ),
        ureq::Error::Io(e) => (
            FailureKind::Transient,
            format!("connection to {host} failed: {e}"),
        ),
        ureq::Error::Protocol(e) => (
            FailureKind::NotTheService,
            format!("what answers at {host} does not speak HTTP ({e})"),
        ),
        ureq::Error::ConnectProxyFailed(why) => (
            FailureKind::NotTheService,
            format!("the proxy at {proxy} does not connect: {why}"),
        ),
        ureq::Error::LargeResponseHeader(..) => (
            FailureKind::NotTheService,
            "an answer with too large a head".to_owned(),
        ),
        _ => (
            FailureKind::Transient,
            format!("connection to {host} failed: {e}"),
        ),
    };
    Failure::new(kind, words)
}

fn verdict(result: &Result<Response, Failure>) -> Verdict {
    let Err(failure) = result else {
        return Verdict::Answered;
    };
    let delay = failure.delay;
    match failure.kind {
        FailureKind::RateLimited => Verdict::RateLimited { delay },
        FailureKind::Transient if failure.status != Some(400) => Verdict::Fault { delay },
        // Five in a row from a login page open the breaker as five of an outage do.
        FailureKind::NotTheService => Verdict::Fault { delay },
        _ => Verdict::Answered,
    }
}

pub(in crate::client) fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::Open { until } => Failure::new(
            FailureKind::Skipped { until },
            "the service is left alone for a while",
        ),
        Refused::Stopping => stopping(),
    }
}

pub(in crate::client) fn stopping() -> Failure {
    Failure::new(FailureKind::Stopped, "the run is stopping")
}

/// What is escaped in a query value: all but letters, digits and these four (RFC 3986, "unreserved").
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A query value, with everything escaped that is not unreserved.
pub(in crate::client) fn escaped(value: &str) -> String {
    utf8_percent_encode(value, RESERVED).to_string()
}

/// Whether a run that has sent so many requests, so many of them again, may send another one again.
fn has_retry_left(requests: u64, retries: u64) -> bool {
    retries < RETRIES_MIN.max(requests / REQUESTS_PER_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_a_fifth_of_a_long_runs_requests_are_repetitions() {
        assert!(has_retry_left(1, 9) && !has_retry_left(1, 10));
        assert!(has_retry_left(1000, 199) && !has_retry_left(1000, 200));
        // Whatever fails is sent again as long as it may be: a request each, and each once more.
        let (mut requests, mut retries) = (0, 0);
        for _ in 0..10_000 {
            requests += 1;
            while has_retry_left(requests, retries) {
                requests += 1;
                retries += 1;
            }
        }
        assert!(
            retries * REQUESTS_PER_RETRY <= requests,
            "{retries} of {requests}"
        );
    }
}
