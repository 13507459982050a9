//! A poller: makes the requests that `rules` names for a submitted upload, and hands the answers back.
//!
//! Owns the poll in its hands. Promises: a failed look is no failure of the file; what `rules` ends is
//! committed as it says; a failing service holds up no thread.

use std::time::{Duration, Instant};

use super::poll_queue::Poll;
use crate::client::{Client, Failure, FailureKind};
use crate::error::Error;
use crate::names::DocumentName;
use crate::pipeline::outcome::Outcomes;
use crate::pipeline::rules::{End, Heard, Step};
use crate::shutdown::{Shutdown, Stop};
use crate::state::Charge;
use crate::state::HandBack;
use crate::throttle::backoff;
use crate::waits::Waits;

/// A poller that the breaker refuses rests so long, lest it turn the whole queue over.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

pub struct Poller<'r> {
    pub store: &'r str,
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
        while let Some(poll) = self.outcomes.polls.next(self.shutdown) {
            self.follow(poll);
        }
    }

    /// From one answer to the next, until there is something to wait for.
    fn follow(&self, mut poll: Poll) {
        let polls = &self.outcomes.polls;
        loop {
            let heard = match poll.indexing.next(poll.age(Instant::now()), self.waits) {
                Step::LookAtOperation => self.look_at_operation(&mut poll),
                Step::LookAtDocument(name) => self.look_at_document(&mut poll, &name),
                Step::Delete(name) => {
                    let answer = self.client.delete_document(&name);
                    let age = poll.age(Instant::now());
                    poll.indexing.deleted(answer, age, self.waits)
                }
                Step::AwaitListing(cause) => {
                    let nothing = Charge::Nothing;
                    self.outcomes.left_in_doubt(&poll.subject, nothing, cause);
                    return polls.await_listing(poll);
                }
                Step::End(end) => return self.end(&poll, end),
            };
            match heard {
                Heard::News => {}
                Heard::StillRunning => return polls.still_running(poll, Instant::now()),
                Heard::NoAnswer { failure, in_a_row } => {
                    return self.unanswered(poll, &failure, in_a_row);
                }
                Heard::LeftToNextRun => return polls.settled(&poll),
                Heard::StopsRun(failure) => {
                    polls.settled(&poll);
                    return (self.fatal)(failure.to_error(self.store));
                }
            }
        }
    }

    fn look_at_operation(&self, poll: &mut Poll) -> Heard {
        let answer = match &poll.operation {
            Some(name) => self.client.operation(name),
            None => Err(Failure::new(FailureKind::Missing, "none is on record")),
        };
        let age = poll.age(Instant::now());
        poll.indexing.operation_answered(answer, age, self.waits)
    }

    fn look_at_document(&self, poll: &mut Poll, name: &DocumentName) -> Heard {
        let answer = self.client.document(name);
        let (bytes, age) = (poll.subject.bytes, poll.age(Instant::now()));
        let waits = self.waits;
        poll.indexing.document_answered(answer, bytes, age, waits)
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
        let mut rng = fastrand::Rng::new();
        let backoff = self
            .waits
            .scaled(backoff::delay(in_a_row, failure.delay, &mut rng));
        let due = match failure.kind {
            FailureKind::Skipped { until } => until,
            _ => Instant::now() + backoff,
        };
        self.outcomes.polls.unanswered(poll, due);
        if let FailureKind::Skipped { until } = failure.kind {
            // The next one would be refused as well.
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
