//! A poller: looks at documents when they are due, and at operations where documents do not settle it.
//!
//! The document's state is what counts (fact sheet 10, 11: some operations never say `done`, some only
//! their name), and it costs no more to ask for; the operation is asked for the document's name after an
//! import, and for the reason of a failure. Owns the poll in its hands. Promises: a failed look is no
//! failure of the file; a document that an attempt left behind is deleted before the file is tried again;
//! `indexed` is the service's word.

use std::time::{Duration, Instant};

use super::outcome::{self, Outcomes};
use super::poll_queue::{Poll, Searched};
use super::rules;
use super::subject::Subject;
use crate::client::{Client, Document, DocumentState, Failure, FailureKind, Operation};
use crate::error::Error;
use crate::names::{DocumentName, OperationName};
use crate::proof;
use crate::shutdown::{Shutdown, Stop};
use crate::state::{Cause, Charge, Durable};
use crate::throttle::backoff;

/// Without news for so long, the operation is looked at as well, by turns; an import whose document has
/// no name yet is looked for in the store. Small files end in 5 to 11 s.
const LOOK_AT_BOTH_AFTER: Duration = Duration::from_secs(30);
/// A document is seen by `get` within a second of its end (fact sheet 11); missing for longer is gone.
const SEEN_WITHIN: Duration = Duration::from_secs(15);
/// A failed document has been seen to become active within 10 to 110 s (fact sheet 11).
const FAILED_GRACE: Duration = Duration::from_secs(120);
/// Answers in a row that make no sense before a document is given up as a source.
const BAD_ANSWERS_MAX: u32 = 3;
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
        let subject = poll.subject();
        let now = Instant::now();
        let took = now.saturating_duration_since(poll.submitted);
        match news {
            News::Running | News::NoAnswer(_) if took > proof::hasten(NEWS_WITHIN) => {
                polls.settled()
            }
            News::Running
                if poll.document.is_none()
                    && poll.searched == Searched::NotYet
                    && took > proof::hasten(LOOK_AT_BOTH_AFTER) =>
            {
                polls.silent(poll);
            }
            News::Running => polls.still_running(poll, now),
            News::NoAnswer(failure) => self.unanswered(poll, &failure),
            News::Active(document) => {
                // Not needed any more; if this fails, the end of the run tries again.
                let kept = poll.temporary.as_ref().is_some_and(|file| {
                    let deleted = self.client.delete_file(file);
                    deleted.is_err()
                });
                self.outcomes.indexed(&subject, document, kept);
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

    /// The document is deleted first: should it heal later, there must not be two. An import's operation
    /// that failed has not named it, so the store is searched for it.
    fn end(&self, poll: Poll, subject: &Subject, cause: Cause, again: bool) {
        let polls = &self.outcomes.polls;
        match (&poll.document, poll.searched) {
            (Some(_), _) | (None, Searched::Absent) => {}
            (None, Searched::NotYet) => return polls.silent(poll),
            (None, Searched::InVain) => {
                self.outcomes.left_in_doubt(subject, Charge::Nothing, cause);
                return polls.settled();
            }
        }
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
            self.outcomes.attempt_failed(subject, cause, None);
        } else {
            self.outcomes.rejected(subject, cause, None);
        }
        polls.settled();
    }

    fn look(&self, poll: &mut Poll) -> News {
        let silent = poll.submitted.elapsed() >= proof::hasten(LOOK_AT_BOTH_AFTER);
        let by_turns = silent && !poll.at_operation && !poll.done;
        let operation = poll.operation.clone();
        let operation =
            operation.filter(|_| poll.document.is_none() || poll.ask_operation || by_turns);
        poll.at_operation = operation.is_some();
        poll.ask_operation = false;
        match operation {
            Some(operation) => self.look_at_operation(poll, &operation),
            None => self.look_at_document(poll),
        }
    }

    fn look_at_operation(&self, poll: &mut Poll, name: &Durable<OperationName>) -> News {
        match self.client.operation(name) {
            Ok(Operation::Running) => News::Running,
            Ok(Operation::Done { document }) => {
                poll.done = true;
                poll.document = document.or(poll.document.take());
                self.look_at_document(poll)
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
            // The service has forgotten it; the document is all there is.
            Err(failure) if failure.kind == FailureKind::Missing => {
                poll.operation = None;
                self.look_at_document(poll)
            }
            Err(failure) => self.no_answer(failure),
        }
    }

    fn look_at_document(&self, poll: &mut Poll) -> News {
        let Some(name) = poll.document.clone() else {
            return News::Lost;
        };
        let missing_is_gone = poll.operation.is_none()
            || (poll.done && poll.submitted.elapsed() > proof::hasten(SEEN_WITHIN));
        match self.client.document(&name) {
            Ok(document) => match document.state {
                DocumentState::Active => whole(poll, &document),
                DocumentState::Pending => {
                    poll.failed_since = None;
                    News::Running
                }
                DocumentState::Failed => failed_document(poll),
            },
            Err(failure) if failure.kind == FailureKind::Missing => {
                poll.ask_operation = true;
                poll.missing = true;
                match missing_is_gone {
                    true => News::Lost,
                    false => News::Running,
                }
            }
            Err(failure) if failure.makes_no_sense() => {
                // Where nothing can be learnt of documents, the operation's word has to do; not of one
                // that was missing or short, since an earlier run may have deleted it.
                let trusted = poll.done
                    && !poll.missing
                    && poll.unanswered >= BAD_ANSWERS_MAX
                    && rules::is_whole(poll.held_bytes, poll.bytes);
                poll.ask_operation = !poll.done;
                match trusted {
                    true => News::Active(name),
                    false => News::NoAnswer(failure),
                }
            }
            Err(failure) => self.no_answer(failure),
        }
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
        let backoff = proof::hasten(backoff::delay(
            poll.unanswered + 1,
            failure.delay,
            &mut fastrand::Rng::new(),
        ));
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

/// Active; but is it all of the file?
fn whole(poll: &Poll, document: &Document) -> News {
    let held = document.size_bytes.or(poll.held_bytes);
    if rules::is_whole(held, poll.bytes) {
        return News::Active(document.name.clone());
    }
    News::Broken(Cause {
        kind: "torn",
        words: format!(
            "the service holds {} bytes of {}",
            held.unwrap_or(0),
            poll.bytes
        ),
    })
}

/// It may still heal; meanwhile the operation may say why it failed.
fn failed_document(poll: &mut Poll) -> News {
    poll.ask_operation = !poll.done;
    let since = *poll.failed_since.get_or_insert_with(Instant::now);
    if since.elapsed() < proof::hasten(FAILED_GRACE) {
        return News::Running;
    }
    News::Failed(Cause {
        kind: "document",
        words: "the service reports the document as failed, without a reason".to_owned(),
    })
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
