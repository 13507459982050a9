//! How a file's turn ends: the change that is committed, and what is said of it afterwards.
//!
//! Promises: an event, a counter or a bar moves only after the outcome is on disk.

use std::sync::Arc;
use std::time::Instant;

use self::notes::Notes;
use self::subject::Subject;
use self::tally::Tally;
use crate::client::Failure;
use crate::error::Error;
use crate::names::{DocumentName, FileName};
use crate::pipeline::following::poll::{Looks, Poll};
use crate::pipeline::following::poll_queue::PollQueue;
use crate::pipeline::rules::{self, Indexing};
use crate::report::{Event, EventSink, FileStatus, Progress};
use crate::state::{Applied, Cause, Change, Charge, HandBack, NextTime, Writer};

/// The file that something is said of.
pub mod subject;

/// Plain counters.
pub mod tally;

/// Causes and slow files.
pub mod notes;

/// Commits outcomes; one each for workers and pollers, cheap to clone.
#[derive(Clone)]
pub struct Outcomes {
    pub writer: Writer,
    pub polls: Arc<PollQueue>,
    pub tally: Arc<Tally>,
    pub notes: Arc<Notes>,
    pub progress: Arc<Progress>,
    pub events: Arc<dyn EventSink>,
    pub max_attempts: u32,
}

impl Outcomes {
    /// The service has every byte: from here on the poll queue owns it.
    pub fn submitted(
        &self,
        subject: &Subject,
        submitted: crate::client::Submitted,
        temporary: Option<FileName>,
    ) {
        let after = self.clone();
        let subject = subject.clone();
        self.writer.submitted(
            subject.upload,
            submitted.operation,
            submitted.document,
            move |done| {
                if let Ok((operation, document)) = done {
                    after.tally.submitted.add(1);
                    after.progress.submitted();
                    let held = submitted.size_bytes;
                    after.polls.push(Poll {
                        indexing: Indexing::submitted(operation.is_some(), document, held),
                        subject,
                        operation,
                        temporary,
                        submitted: Instant::now(),
                        looks: Looks::default(),
                    });
                }
            },
        );
    }

    pub fn indexed(&self, subject: &Subject, document: DocumentName, keeps_temporary: bool) {
        let after = self.clone();
        let subject = subject.clone();
        let change = Change::Activated {
            upload: subject.upload,
            document: document.clone(),
            keeps_temporary,
        };
        self.writer.send(change, move |done| {
            if after.committed(&done) {
                after.tally.indexed.add(1);
                after.tally.bytes.add(subject.bytes);
                after.say(&subject, FileStatus::Indexed, Some(document), None);
            }
        });
    }

    /// The attempt ended without success; `document`: what it left at the service.
    pub fn attempt_failed(&self, subject: &Subject, cause: Cause, document: Option<DocumentName>) {
        if subject.attempts < self.max_attempts {
            let back = HandBack {
                charge: Charge::Attempt,
                cause: Some(cause),
                next: NextTime::Same,
                document,
            };
            self.handed_back(subject, back);
        } else {
            let words = format!("{} (after {} attempts)", cause.words, subject.attempts);
            self.rejected(subject, Cause { words, ..cause }, document);
        }
    }

    pub fn handed_back(&self, subject: &Subject, back: HandBack) {
        let after = self.clone();
        let subject = subject.clone();
        let said = back.cause.clone();
        let upload = subject.upload;
        let change = Change::HandedBack { upload, back };
        self.writer.send(change, move |done| {
            if after.committed(&done) {
                after.tally.requeued.add(1);
                if said.is_some() {
                    after.say(&subject, FileStatus::Pending, None, said);
                }
            }
        });
    }

    pub fn left_in_doubt(&self, subject: &Subject, charge: Charge, cause: Cause) {
        let after = self.clone();
        let change = Change::LeftInDoubt {
            upload: subject.upload,
            charge,
            cause,
        };
        self.writer.send(change, move |done| {
            after.committed(&done);
        });
    }

    pub fn rejected(&self, subject: &Subject, cause: Cause, document: Option<DocumentName>) {
        let after = self.clone();
        let subject = subject.clone();
        let said = cause.clone();
        let change = Change::Rejected {
            upload: subject.upload,
            cause,
            document: document.clone(),
        };
        self.writer.send(change, move |done| {
            if after.committed(&done) {
                after.tally.failed.add(1);
                after.say(&subject, FileStatus::Failed, document, Some(said));
            }
        });
    }

    /// The file is gone or is no longer what it was: this upload ends without a word at the service.
    pub fn skipped(&self, subject: &Subject, change: Change, words: String) {
        let after = self.clone();
        let subject = subject.clone();
        let kind = "changed or gone";
        self.writer.send(change, move |done| {
            if after.committed(&done) {
                after.tally.skipped.add(1);
                let why = Cause { kind, words };
                after.say(&subject, FileStatus::Skipped, None, Some(why));
            }
        });
    }

    /// New content found on disk took the place of this upload at the end of the queue.
    pub fn rescheduled(&self, change: Change) {
        let after = self.clone();
        self.writer.send(change, move |done| {
            if after.committed(&done) {
                after.tally.requeued.add(1);
            }
        });
    }

    /// A batch that this change completed is reported; an error is the writer's to keep.
    pub fn committed(&self, done: &Result<Applied, Error>) -> bool {
        let Ok(applied) = done else {
            return false;
        };
        if let Some(b) = applied.batch_done {
            self.events.send(Event::BatchDone {
                batch: b.number,
                files: b.files,
                succeeded: b.succeeded,
                failed: b.failed,
                skipped: b.skipped,
            });
        }
        true
    }

    fn say(
        &self,
        subject: &Subject,
        status: FileStatus,
        document: Option<DocumentName>,
        cause: Option<Cause>,
    ) {
        self.notes.take(subject, status, cause.as_ref());
        self.progress.outcome(status, subject.bytes);
        self.events.send(Event::File {
            library: Arc::clone(&subject.library),
            path: subject.path.clone(),
            status,
            bytes: subject.bytes,
            attempts: subject.attempts,
            seconds: subject.started.elapsed().as_secs_f64(),
            document: document.map(|d| d.to_string()),
            error: cause.map(|cause| cause.words),
        });
    }
}

/// A failure as the database keeps it and `status` shows it.
pub fn cause(failure: &Failure) -> Cause {
    Cause {
        kind: failure.label(),
        words: failure.to_string(),
    }
}

/// A failure that stops the run, as a user is told.
pub fn fatal(failure: &Failure, store: &str) -> Option<Error> {
    rules::stops_run(failure.kind).then(|| failure.to_error(store))
}
