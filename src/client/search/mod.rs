//! A question to a model that looks into stores: `streamGenerateContent` with the file-search tool (fact sheet 13).
//!
//! Promises: a question is asked again only while nothing of an answer has come.

use std::io::BufReader;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};
use ureq::http::header::CONTENT_TYPE;

use self::reply::{Reply, ReplyReader};
use super::failure::{Failure, FailureKind};
use crate::client::failure::refusal::About;
use crate::client::wire::agent::Client;
use crate::client::wire::send::{BAD_ANSWERS_MAX, Call, HttpMethod, stopping};
use crate::names::StoreName;
use crate::throttle::Class;
use crate::throttle::core::Verdict;

pub mod reply;

/// What is asked, and where an answer may be found.
pub struct Question<'a> {
    pub text: &'a str,
    /// Without `models/` in front.
    pub model: &'a str,
    /// One to five.
    pub stores: &'a [StoreName],
    /// `metadataFilter`.
    pub filter: Option<&'a str>,
    /// Passages that the model gets to read.
    pub top_k: Option<u16>,
}

/// Of a question that is not sent.
pub const HOLDS_THE_KEY: &str = "it contains the API key";

impl Question<'_> {
    fn request(&self) -> Value {
        let names: Vec<&str> = self.stores.iter().map(StoreName::as_str).collect();
        let mut tool = json!({ "fileSearchStoreNames": names });
        if let Some(filter) = self.filter {
            tool["metadataFilter"] = json!(filter);
        }
        if let Some(top_k) = self.top_k {
            tool["topK"] = json!(top_k);
        }
        json!({"contents": [{"role": "user", "parts": [{"text": self.text}]}],
               "tools": [{ "fileSearch": tool }]})
    }
}

impl Client {
    /// Hands on the answer's text as it comes, whole words at a time.
    pub fn search(
        &self,
        question: &Question<'_>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Reply, Failure> {
        let body = question.request().to_string();
        // The model becomes part of the address.
        if self.secrets.appear_in(&body) || self.secrets.appear_in(question.model) {
            return Err(Failure::new(FailureKind::Permanent, HOLDS_THE_KEY));
        }
        let path = format!("models/{}:streamGenerateContent?alt=sse", question.model);
        let mut call = Call::new("search", Class::Read, About::Store, HttpMethod::Post, path);
        call.body = Some(body);
        call.thinking = true;
        let cut = self.secrets.and_sessions(std::iter::empty());
        let mut tries = 1;
        loop {
            let mut answer = ReplyReader::new(&cut, say);
            let failure = match self.read_answer(&call, &mut answer) {
                Ok(()) => return Ok(answer.finish()),
                Err(failure) => failure,
            };
            let again = match failure.makes_no_sense() {
                true => tries < BAD_ANSWERS_MAX,
                false => failure.is_transient() && self.may_repeat(tries),
            };
            if !again || answer.has_begun {
                return Err(failure);
            }
            self.wait(tries, &failure)?;
            tries += 1;
            self.sent.retries.fetch_add(1, Relaxed);
        }
    }

    fn read_answer(&self, call: &Call<'_>, answer: &mut ReplyReader<'_>) -> Result<(), Failure> {
        let pass = self.enter(call.class)?;
        let result = self.exchange(call);
        let is_stream = result.as_ref().is_ok_and(|answer| {
            let form = answer.headers().get(CONTENT_TYPE);
            let form = form.and_then(|form| form.to_str().ok()).unwrap_or_default();
            answer.status() == 200 && form.starts_with("text/event-stream")
        });
        match result {
            Ok(response) if is_stream => {
                self.gate.report(pass, Verdict::Answered);
                let body = response.into_body().into_reader();
                let read = answer.read(BufReader::new(body));
                read.map_err(|failure| match self.gate.cuts_off(call.class) {
                    true => stopping(),
                    false => failure,
                })
            }
            result => {
                let received = self.received(result, call.class, None);
                let response = self.judged(pass, received, (call.step, call.about))?;
                answer.take(&response.json()?)
            }
        }
    }
}
