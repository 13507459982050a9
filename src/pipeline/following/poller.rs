//! A poller: makes the requests that `rules` names for a submitted upload, and hands the answers back; reads
//! pages of the listing, each of which answers for many.
//!
//! Owns the polls in its hands. Promises: a failed look is no failure of the file; a page is no news of what it
//! does not show; what `rules` ends is
//! committed as it says; a failing service holds up no thread.

use std::time::{Duration, Instant};

use super::poll::Poll;
use super::poll_queue::{Look, PageLook};
use crate::client::{Client, Document, Failure, FailureKind};
use crate::error::Error;
use crate::names::StoreName;
use crate::pipeline::outcome::Outcomes;
use crate::pipeline::rules::{self, End, Heard, Step};
use crate::shutdown::{Shutdown, Stop};
use crate::state::Charge;
use crate::state::HandBack;
use crate::throttle::backoff;
use crate::waits::Waits;

/// A poller that the breaker refuses rests so long, lest it turn the whole queue over.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

pub struct Poller<'r> {
    pub store: &'r StoreName,
    pub client: &'r Client,
    pub shutdown: &'r Shutdown,
    pub waits: &'r Waits,
    pub outcomes: Outcomes,
    /// Where an error that concerns every file goes.
    pub fatal: &'r (dyn Fn(Error) + Sync),
}

impl Poller<'_> {
    pub fn run(self) {
        let _guard = StopOnPanic(self.shutdown);
        let mut pages_unanswered = 0;
        let paces = || self.client.paces();
        while let Some(look) = self.outcomes.polls.next(self.shutdown, paces) {
            match look {
                Look::One(poll) => self.follow(*poll),
                Look::Page(look) => self.look_at_page(look, &mut pages_unanswered),
            }
        }
    }

    /// From one answer to the next, until there is something to wait for.
    fn follow(&self, poll: Poll) {
        let mut in_hand = Some(poll);
        while let Some(mut poll) = in_hand {
            let heard = match poll.indexing.next(self.waits) {
                Step::LookAtOperation => self.look_at_operation(&mut poll),
                Step::LookAtDocument(name) => {
                    let answer = self.client.document(&name);
                    self.document_answered(&mut poll, answer)
                }
                Step::Delete(name) => {
                    let answer = self.client.delete_document(&name);
                    let age = poll.age(Instant::now());
                    poll.indexing.deleted(answer, age, self.waits)
                }
                Step::AwaitListing(cause) => {
                    let nothing = Charge::Nothing;
                    self.outcomes.left_in_doubt(&poll.subject, nothing, cause);
                    return self.outcomes.polls.await_listing(poll);
                }
                Step::End(end) => return self.end(&poll, end),
            };
            in_hand = self.unless_it_waits(poll, heard);
        }
    }

    /// What has news stays in hand; all else is handed on.
    fn unless_it_waits(&self, poll: Poll, heard: Heard) -> Option<Poll> {
        let polls = &self.outcomes.polls;
        match heard {
            Heard::News => return Some(poll),
            Heard::StillRunning => polls.still_running(poll, Instant::now()),
            Heard::NoAnswer { failure, in_a_row } => self.unanswered(poll, &failure, in_a_row),
            Heard::LeftToNextRun => polls.settled(&poll),
            Heard::StopsRun(failure) => {
                polls.settled(&poll);
                (self.fatal)(failure.to_error(self.store.as_str()));
            }
        }
        None
    }

    fn look_at_operation(&self, poll: &mut Poll) -> Heard {
        let answer = match &poll.operation {
            Some(name) => self.client.operation(name),
            None => Err(Failure::new(FailureKind::Missing, "none is on record")),
        };
        let age = poll.age(Instant::now());
        poll.indexing.operation_answered(answer, age, self.waits)
    }

    fn document_answered(&self, poll: &mut Poll, answer: Result<Document, Failure>) -> Heard {
        poll.looks.took = answer.as_ref().ok().and_then(|d| d.changed_after);
        let now = Instant::now();
        let (bytes, age) = (poll.subject.bytes, poll.age(now));
        let waits = self.waits;
        let heard = poll.indexing.document_answered(answer, bytes, age, waits);
        if poll.indexing.document_has_failed() {
            self.outcomes.polls.document_failed(poll, now);
        }
        heard
    }

    /// `unanswered`: pages in a row that this poller had no usable answer for.
    fn look_at_page(&self, look: PageLook, unanswered: &mut u32) {
        let token = look.page.token.as_deref();
        match self.client.look_at_page(self.store, token) {
            Ok(answer) => {
                *unanswered = 0;
                let polls = &self.outcomes.polls;
                for (poll, document) in polls.page_shown(look, answer, Instant::now()) {
                    self.shown(poll, document);
                }
            }
            Err(failure) => {
                *unanswered += 1;
                self.page_unanswered(look, &failure, *unanswered);
            }
        }
    }

    /// A page tells of many: what takes another request is left to whoever is free.
    fn shown(&self, mut poll: Poll, document: Document) {
        let heard = self.document_answered(&mut poll, Ok(document));
        let Some(poll) = self.unless_it_waits(poll, heard) else {
            return;
        };
        let now = Instant::now();
        match poll.indexing.next(self.waits) {
            Step::End(end) if poll.temporary.is_none() => self.end(&poll, end),
            _ => self.outcomes.polls.again(poll, now),
        }
    }

    fn page_unanswered(&self, look: PageLook, failure: &Failure, in_a_row: u32) {
        let polls = &self.outcomes.polls;
        match failure.kind {
            kind if rules::stops_run(kind) => {
                polls.page_put_off(look, Instant::now());
                (self.fatal)(failure.to_error(self.store.as_str()));
            }
            FailureKind::Stopped => polls.page_put_off(look, Instant::now()),
            FailureKind::Skipped { until } => {
                polls.page_put_off(look, until);
                self.rest_if_refused(failure);
            }
            FailureKind::Permanent | FailureKind::Missing => {
                polls.page_refused(look, Instant::now());
            }
            _ => polls.page_failed(look, self.try_again_at(failure, in_a_row)),
        }
    }

    fn end(&self, poll: &Poll, end: End) {
        let (outcomes, subject) = (&self.outcomes, &poll.subject);
        match end {
            End::Indexed(document) => {
                // Not needed any more; if this fails, the end of the run tries again.
                let kept = poll.temporary.as_ref().is_some_and(|file| {
                    let deleted = self.client.delete_file(file);
                    deleted.is_err()
                });
                outcomes.indexed(subject, document, kept);
                return outcomes.polls.finished(poll, Instant::now());
            }
            End::TryAgain(cause) => outcomes.attempt_failed(subject, cause, None),
            End::Reject(cause) => outcomes.rejected(subject, cause, None),
            End::HandBack => outcomes.handed_back(subject, HandBack::uncharged()),
            End::InDoubt(cause) => outcomes.left_in_doubt(subject, Charge::Nothing, cause),
        }
        outcomes.polls.settled(poll);
    }

    /// Back into the queue, so that a failing service holds up no thread.
    fn unanswered(&self, poll: Poll, failure: &Failure, in_a_row: u32) {
        let due = self.try_again_at(failure, in_a_row);
        self.outcomes.polls.unanswered(poll, failure.kind, due);
        self.rest_if_refused(failure);
    }

    fn try_again_at(&self, failure: &Failure, in_a_row: u32) -> Instant {
        match failure.kind {
            FailureKind::Skipped { until } => until,
            _ => {
                let mut rng = fastrand::Rng::new();
                let backoff = backoff::delay(in_a_row, failure.delay, &mut rng);
                Instant::now() + self.waits.scaled(backoff)
            }
        }
    }

    /// The next one would be refused by the breaker as well.
    fn rest_if_refused(&self, failure: &Failure) {
        if let FailureKind::Skipped { until } = failure.kind {
            let wait = until.saturating_duration_since(Instant::now());
            self.shutdown.sleep(wait.min(REFUSED_PAUSE));
        }
    }
}

struct StopOnPanic<'s>(&'s Shutdown);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(Stop::Error);
        }
    }
}
