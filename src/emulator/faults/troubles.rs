//! What a request meets instead of its answer: resets, an overloaded service, broken answers.
//!
//! Owns nothing; the dice and the plan do. Promises: a request that the plan names by its number meets
//! that trouble and no other of these.

use std::time::Duration;

use serde_json::json;

use super::plan::{Faults, Trouble};
use crate::emulator::faults::Limited;
use crate::emulator::http::answer::{self, Answer, Fate};
use crate::emulator::service::{Service, whole};

/// How long a connection stays open on which no answer comes.
const STALL_MS: u64 = 120_000;
/// A broken answer announces at least so many bytes.
const CUT_BYTES_MIN: usize = 16;

type Probability = fn(&Faults) -> f64;

impl Trouble {
    /// Its name in the plan, where it is rolled for.
    fn rolled(self) -> (&'static str, Probability) {
        match self {
            Trouble::ResetBefore => ("reset_before", |p| p.reset_before),
            Trouble::ResetAfter => ("reset_after", |p| p.reset_after),
            Trouble::LoseAnswer => ("lose_answer", |p| p.lose_answer),
            Trouble::Timeout => ("error_408", |p| p.error_408),
            Trouble::TooMany => ("error_429", |p| p.error_429),
            Trouble::Internal => ("error_500", |p| p.error_500),
            Trouble::Unavailable => ("error_503", |p| p.error_503),
            Trouble::CutAnswer => ("cut_answer", |p| p.cut_answer),
            Trouble::WrongJson => ("wrong_json", |p| p.wrong_json),
            Trouble::EmptyAnswer => ("empty_answer", |p| p.empty_answer),
            Trouble::Stall => ("stall", |p| p.stall),
        }
    }
}

/// The luck of one request.
pub struct Luck<'s> {
    service: &'s Service,
    kind: &'static str,
    /// What the plan has for its number.
    named: Option<Trouble>,
}

impl Luck<'_> {
    /// Counts the request.
    pub fn of<'s>(service: &'s Service, kind: &'static str) -> Luck<'s> {
        Luck {
            service,
            kind,
            named: whole(&service.dice).next_call(),
        }
    }

    pub fn meets(&self, trouble: Trouble) -> bool {
        let (name, probability) = trouble.rolled();
        match self.named {
            Some(named) => named == trouble,
            None => self.service.roll(self.kind, name, probability),
        }
    }

    /// The same for what can only be rolled.
    pub fn rolls(&self, name: &'static str, probability: Probability) -> bool {
        self.named.is_none() && self.service.roll(self.kind, name, probability)
    }

    /// What an overloaded or limited service says instead of doing anything.
    pub fn refusal(&self) -> Option<Answer> {
        let refused = self.overload()?;
        if self.rolls("array_envelope", |p| p.array_envelope) {
            let body = [b"[", refused.body.as_slice(), b"]"].concat();
            return Some(Answer { body, ..refused });
        }
        Some(refused)
    }

    fn overload(&self) -> Option<Answer> {
        let error = |status, message| Some(answer::error(status, message, Vec::new()));
        if self.outage() {
            return error(503, "The service is currently unavailable.");
        }
        if self.meets(Trouble::Unavailable) {
            return error(503, "The model is overloaded.");
        }
        if self.rolls("empty_503", |p| p.empty_503) {
            return Some(Answer {
                status: 503,
                ..Answer::json(&json!({"error": {"message": "", "code": 503,
                    "status": "Service Unavailable"}}))
            });
        }
        if self.rolls("html_502", |p| p.html_502) {
            return Some(html(502, "502 Bad Gateway"));
        }
        // Not the service's own, but that of a proxy before it.
        if self.meets(Trouble::Timeout) {
            return Some(html(408, "408 Request Timeout"));
        }
        if self.meets(Trouble::Internal) {
            return error(500, "An internal error has occurred.");
        }
        if self.meets(Trouble::TooMany) {
            return Some(answer::quota("RequestsPerMinutePerProject", 60.0, None));
        }
        self.limited()
    }

    fn outage(&self) -> bool {
        let now = self.service.started.elapsed().as_millis() as u64;
        let mut dice = whole(&self.service.dice);
        let mut outages = dice.plan.outages.iter();
        let out = self.named.is_none() && outages.any(|o| (o.from_ms..o.to_ms).contains(&now));
        if out {
            dice.fire("outages");
        }
        out
    }

    fn limited(&self) -> Option<Answer> {
        if self.named.is_some() {
            return None;
        }
        let mut dice = whole(&self.service.dice);
        if !dice.plan.quota_counts.includes(self.kind) {
            return None;
        }
        let is_write = !(self.kind.ends_with(".get")
            || self.kind.ends_with(".list")
            || self.kind == "upload.query");
        let at = self.service.started.elapsed();
        match dice.count(is_write, at) {
            Ok(()) => None,
            Err(Limited::Minute { limit, retry }) => {
                Some(answer::quota("RequestsPerMinutePerProject", limit, retry))
            }
            Err(Limited::Day(limit)) => Some(answer::quota(
                "RequestsPerDayPerProject",
                limit as f64,
                None,
            )),
        }
    }

    /// What becomes of an answer on its way. `is_end`: that of an upload's last byte.
    pub fn deliver(&self, answer: Answer, is_end: bool) -> Fate {
        if is_end && self.rolls("lose_final_answer", |p| p.lose_final_answer)
            || self.meets(Trouble::LoseAnswer)
        {
            return Fate::Reset;
        }
        if self.meets(Trouble::Stall) {
            let given = whole(&self.service.dice).plan.stall_ms;
            return Fate::Stall(Duration::from_millis(given.unwrap_or(STALL_MS)));
        }
        if self.meets(Trouble::CutAnswer) {
            let announced = answer.body.len().max(CUT_BYTES_MIN);
            return Fate::Cut(answer, announced);
        }
        let answer = if self.meets(Trouble::EmptyAnswer) {
            Answer::text(200, "")
        } else if self.meets(Trouble::WrongJson) {
            let body = whole(&self.service.dice).wrong_body().as_bytes().to_vec();
            Answer {
                status: 200,
                body,
                ..answer
            }
        } else {
            answer
        };
        self.drip(answer)
    }

    fn drip(&self, answer: Answer) -> Fate {
        let mut dice = whole(&self.service.dice);
        match dice.plan.drip_ms {
            ms if ms > 0 && !answer.body.is_empty() => {
                dice.fire("drip_ms");
                Fate::Drip(answer, Duration::from_millis(ms))
            }
            _ => Fate::Answer(answer),
        }
    }
}

fn html(status: u16, title: &str) -> Answer {
    let mut answer = Answer::text(status, &format!("<html><title>{title}</title></html>"));
    answer.content_type = "text/html";
    answer
}
