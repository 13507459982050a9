//! A poller: looks at operations when they are due, and at documents where operations stay silent.
//!
//! Owns the poll in its hands. Promises: a failed look is no failure of the file; a document that an
//! attempt left behind is deleted before the file is tried again; `indexed` is the service's word.

use std::time::{Duration, Instant};

use super::outcome::{self, Outcomes, Subject};
use super::poll_queue::Poll;
use crate::client::{Client, Document, DocumentState, Failure, FailureKind, Operation};
use crate::error::Error;
use crate::names::DocumentName;
use crate::shutdown::{Shutdown, Stop};
use crate::state::{Cause, Charge};
use crate::throttle::backoff;

/// Without news for so long, the document itself is looked at: some operations never say `done`
/// (fact sheet 10). Small files end in 5 to 11 s.
const LOOK_AT_DOCUMENT_AFTER: Duration = Duration::from_secs(30);
/// A failed document has been seen to become active within 10 to 110 s (fact sheet 11).
const FAILED_GRACE: Duration = Duration::from_secs(120);
/// An upload without news for so long is left to the next run.
const NEWS_WITHIN: Duration = Duration::from_secs(30 * 60);

/// A poller that the breaker refuses rests so long, lest it turn the whole queue over.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

/// What one look told.
enum News {
    Running,
    NoAnswer(Failure),
    Active(DocumentName),
    /// For good, with the service's words.
    Failed(Cause),
    /// Worth another attempt.
    Broken(Cause),
    /// The service knows neither the operation nor the document.
    Lost,
    Stopped,
    Fatal(Error),
}

pub struct Poller<'r> {
    pub store: &'r str,
    pub client: &'r Client,
    pub shutdown: &'r Shutdown,
    pub outcomes: Outcomes,
    /// Where an error that concerns every file goes.
    pub fatal: &'r (dyn Fn(Error) + Sync),
}

impl Poller<'_> {
    pub fn run(self) {
        let _guard = StopOnPanic(self.shutdown);
        while let Some(mut poll) = self.outcomes.polls.next(self.shutdown) {
            let news = self.look(&mut poll);
            self.act(poll, news);
        }
    }

    fn act(&self, poll: Poll, news: News) {
        let polls = &self.outcomes.polls;
        let subject = Subject::of_poll(&poll);
        let now = Instant::now();
        let took = now.saturating_duration_since(poll.submitted);
        match news {
            News::Running | News::NoAnswer(_) if took > NEWS_WITHIN => polls.settled(),
            News::Running => polls.still_running(poll, now),
            News::NoAnswer(failure) => self.unanswered(poll, &failure),
            News::Active(document) => {
                self.outcomes.indexed(&subject, document);
                polls.finished(&poll, now);
            }
            News::Failed(cause) => self.end(poll, &subject, cause, false),
            News::Broken(cause) => self.end(poll, &subject, cause, true),
            News::Lost => {
                let words = "the service no longer knows its operation".to_owned();
                let cause = Cause {
                    kind: "in doubt",
                    words,
                };
                self.outcomes
                    .left_in_doubt(&subject, Charge::Nothing, cause);
                polls.lost(poll.upload);
            }
            News::Stopped => polls.settled(),
            News::Fatal(error) => {
                polls.settled();
                (self.fatal)(error);
            }
        }
    }

    /// The document is deleted first: should it heal later, there must not be two.
    fn end(&self, poll: Poll, subject: &Subject, cause: Cause, again: bool) {
        let polls = &self.outcomes.polls;
        if let Some(document) = &poll.document
            && let Err(failure) = self.client.delete_document(document)
        {
            match outcome::fatal(&failure, self.store) {
                Some(error) => {
                    polls.settled();
                    (self.fatal)(error);
                }
                None => self.unanswered(poll, &failure),
            }
            return;
        }
        if again {
            self.outcomes.attempt_failed(subject, cause);
        } else {
            self.outcomes.rejected(subject, cause, None);
        }
        polls.settled();
    }

    fn look(&self, poll: &mut Poll) -> News {
        // Every other look, once the operation has been silent for long.
        poll.at_document = poll.submitted.elapsed() >= LOOK_AT_DOCUMENT_AFTER && !poll.at_document;
        match &poll.operation {
            Some(operation) if !poll.at_document => match self.client.operation(operation) {
                Ok(Operation::Running) => News::Running,
                Ok(Operation::Done { document }) => {
                    poll.document = document.or(poll.document.take());
                    match &poll.document {
                        Some(name) => News::Active(name.clone()),
                        None => News::Lost,
                    }
                }
                Ok(Operation::Failed { code, message }) => {
                    let cause = Cause {
                        kind: "operation",
                        words: format!("the service could not index it: {message} (code {code})"),
                    };
                    match is_transient(code) {
                        true => News::Broken(cause),
                        false => News::Failed(cause),
                    }
                }
                Err(failure) if failure.kind == FailureKind::Missing => self.look_at_document(poll),
                Err(failure) => self.no_answer(failure),
            },
            _ => self.look_at_document(poll),
        }
    }

    fn look_at_document(&self, poll: &mut Poll) -> News {
        let Some(name) = &poll.document else {
            return match poll.operation {
                Some(_) => News::Running,
                None => News::Lost,
            };
        };
        match self.client.document(name) {
            Ok(Document { state, .. }) => match state {
                DocumentState::Active => News::Active(name.clone()),
                DocumentState::Pending => {
                    poll.failed_since = None;
                    News::Running
                }
                DocumentState::Failed => self.failed_document(poll),
            },
            Err(failure) if failure.kind == FailureKind::Missing => News::Lost,
            Err(failure) => self.no_answer(failure),
        }
    }

    fn failed_document(&self, poll: &mut Poll) -> News {
        let since = *poll.failed_since.get_or_insert_with(Instant::now);
        if since.elapsed() < FAILED_GRACE {
            return News::Running;
        }
        News::Failed(Cause {
            kind: "document",
            words: "the service reports the document as failed, without a reason".to_owned(),
        })
    }

    fn no_answer(&self, failure: Failure) -> News {
        if let Some(error) = outcome::fatal(&failure, self.store) {
            return News::Fatal(error);
        }
        match failure.kind {
            FailureKind::Stopped => News::Stopped,
            _ => News::NoAnswer(failure),
        }
    }

    /// Back into the queue, so that a failing service holds up no thread.
    fn unanswered(&self, poll: Poll, failure: &Failure) {
        let backoff = backoff::delay(
            poll.unanswered + 1,
            failure.delay,
            &mut fastrand::Rng::new(),
        );
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

/// gRPC codes that name the service's state, not the content (google.rpc.Code): deadline exceeded,
/// resource exhausted, aborted, internal, unavailable.
fn is_transient(code: i32) -> bool {
    matches!(code, 4 | 8 | 10 | 13 | 14)
}

struct StopOnPanic<'s>(&'s Shutdown);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(Stop::Error);
        }
    }
}
