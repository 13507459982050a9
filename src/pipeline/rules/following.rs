//! What follows from each answer about an upload that the service has taken in, until its document is
//! active or its row goes another way.
//!
//! `Indexing` is a state machine: it knows what was heard of the operation and of the document, and whether
//! the store was listed. `next` names the one request that is due, or how the upload ends; the answer goes
//! back in through `operation_answered`, `document_answered`, `deleted` or `listed`. Time comes in as the
//! age of the submission. Promises: an upload is tried again, or given up as failed, only after nothing of
//! it is left in the store; `Indexed` rests on the service's word, of a document that nobody asked to be
//! deleted; absence is concluded only from a listing made after the service was through with the upload.

use std::time::Duration;

use super::{is_whole, stops_run};
use crate::client::{Document, DocumentState, Failure, FailureKind, Operation};
use crate::names::DocumentName;
use crate::state::Cause;
use crate::waits::Waits;

/// After so many answers in a row that make no sense a document is given up as a source, and the word of its
/// operation has to do.
const SENSELESS_MAX: u32 = 3;
/// Where news of an upload can come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Operation,
    Document,
}

/// How far the upload has come at the service.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// The service works on it, as far as is known.
    Running,
    Active(DocumentName),
    /// It came to nothing. No document of it may stay: should one become active later, there would be
    /// two. `again`: another attempt may end better.
    Failed {
        cause: Cause,
        again: bool,
    },
    /// The service knows neither its operation nor its document.
    Lost,
}

/// What was heard of the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OperationSeen {
    /// None is on record, or the service has forgotten it.
    Unknown,
    /// It has not said that it ended.
    Running,
    /// It said that it ended well.
    Done,
}

/// What was heard of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DocumentSeen {
    /// Nothing, but this run submitted it: nobody can have deleted it.
    Submitted,
    /// Nothing, and an earlier run may have deleted it.
    Inherited,
    /// A listing shows it. Listings also show what was deleted a while ago.
    Listed,
    /// It is there, and has not failed.
    Present,
    /// It was not there.
    Missing,
    /// It failed, and was first seen so at this age; it may still heal.
    Failed { since: Duration },
}

/// What is known of the store beyond a document whose name is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    /// It can still be listed; a run does so once.
    NotListed,
    /// It was listed, which proved nothing.
    InDoubt,
    /// Nothing of this upload is left in it.
    Cleared,
}

/// What the listing of the store told of an upload that waited for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    Found(DocumentName),
    /// A whole listing did not show it.
    Absent,
    /// It was not shown, and that proves nothing.
    InVain,
}

/// What an upload needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    LookAtOperation,
    LookAtDocument(DocumentName),
    Delete(DocumentName),
    /// Only the listing of the store can tell; why.
    AwaitListing(Cause),
    End(End),
}

/// How an upload ends in this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Indexed(DocumentName),
    /// The attempt failed; another may pass.
    TryAgain(Cause),
    /// It fails for good.
    Reject(Cause),
    /// Nothing came of it and nobody knows why: back to the queue, as if it had not been sent.
    HandBack,
    /// What is in the store is not known: the next run sees to it.
    InDoubt(Cause),
}

/// What an answer says of when the next step is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Something new: the next step is taken at once.
    News,
    /// The service is at work.
    StillRunning,
    /// Nothing usable, for so many looks in a row: the step is taken again after a backoff.
    NoAnswer { failure: Failure, in_a_row: u32 },
    /// It concerns every file, so the run stops.
    StopsRun(Failure),
    /// Not in this run any more: the row stays as it is for the next one.
    LeftToNextRun,
}

/// All that is known of one upload that the service has taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexing {
    stage: Stage,
    operation: OperationSeen,
    name: Option<DocumentName>,
    document: DocumentSeen,
    store: Store,
    asked_last: Source,
    /// The age at which the document was last seen pending.
    pending_at: Duration,
    /// Looks in a row without a usable answer.
    unanswered: u32,
    /// Answers about the document in a row that made no sense.
    senseless: u32,
    /// How many bytes the service said it took.
    held_bytes: Option<u64>,
}

impl Indexing {
    /// Of an upload that was submitted in this run.
    pub fn submitted(
        has_operation: bool,
        document: Option<DocumentName>,
        held_bytes: Option<u64>,
    ) -> Indexing {
        Indexing {
            document: DocumentSeen::Submitted,
            held_bytes,
            ..Indexing::inherited(has_operation, document)
        }
    }

    /// Of an upload that an earlier run left `processing`.
    pub fn inherited(has_operation: bool, document: Option<DocumentName>) -> Indexing {
        Indexing {
            stage: match has_operation || document.is_some() {
                true => Stage::Running,
                false => Stage::Lost,
            },
            operation: match has_operation {
                true => OperationSeen::Running,
                false => OperationSeen::Unknown,
            },
            name: document,
            document: DocumentSeen::Inherited,
            store: Store::NotListed,
            // The document has the first turn.
            asked_last: Source::Operation,
            pending_at: Duration::ZERO,
            unanswered: 0,
            senseless: 0,
            held_bytes: None,
        }
    }

    /// The document that it is followed by, if that has a name yet.
    pub fn document(&self) -> Option<&DocumentName> {
        self.name.as_ref()
    }

    pub fn next(&self, waits: &Waits) -> Step {
        match (&self.stage, &self.name) {
            (Stage::Running, Some(name)) if !self.is_operations_turn(waits) => {
                Step::LookAtDocument(name.clone())
            }
            (Stage::Running, _) => Step::LookAtOperation,
            (Stage::Active(name), _) => Step::End(End::Indexed(name.clone())),
            // It may be none of this upload: that it is gone does not say that nothing is left.
            (Stage::Failed { .. }, Some(name)) if self.document == DocumentSeen::Listed => {
                Step::LookAtDocument(name.clone())
            }
            (Stage::Failed { .. }, Some(name)) => Step::Delete(name.clone()),
            (Stage::Failed { cause, again }, None) => {
                let end = match again {
                    true => End::TryAgain(cause.clone()),
                    false => End::Reject(cause.clone()),
                };
                self.end_once_cleared(cause.clone(), end)
            }
            (Stage::Lost, _) => {
                let words = "the service no longer knows its operation".to_owned();
                let kind = "in doubt";
                self.end_once_cleared(Cause { kind, words }, End::HandBack)
            }
        }
    }

    /// Nothing is sent again while the store may hold something of it.
    fn end_once_cleared(&self, cause: Cause, end: End) -> Step {
        match self.store {
            Store::NotListed => Step::AwaitListing(cause),
            Store::InDoubt => Step::End(End::InDoubt(cause)),
            Store::Cleared => Step::End(end),
        }
    }

    /// The document's state is what counts, and costs no more to ask for. The operation has its turn where
    /// the document alone does not settle it: the look at it had no answer, it is missing, it has failed (the
    /// operation may say why), or it was still pending after long.
    fn is_operations_turn(&self, waits: &Waits) -> bool {
        let is_unsettled = match self.document {
            DocumentSeen::Missing | DocumentSeen::Failed { .. } => true,
            _ => self.unanswered > 0 || self.pending_at >= waits.look_at_both_after,
        };
        self.operation == OperationSeen::Running
            && self.asked_last == Source::Document
            && is_unsettled
    }

    /// Whether the listing of the store may have news: nothing else can tell, or an import has not named its
    /// document for long.
    pub fn awaits_listing(&self, age: Duration, waits: &Waits) -> bool {
        let is_due = match self.stage {
            Stage::Running => age >= waits.look_at_both_after,
            Stage::Failed { .. } | Stage::Lost => true,
            Stage::Active(_) => false,
        };
        is_due && self.name.is_none() && self.store == Store::NotListed
    }

    pub fn operation_answered(
        &mut self,
        answer: Result<Operation, Failure>,
        age: Duration,
        waits: &Waits,
    ) -> Heard {
        if !was_refused(&answer) {
            self.asked_last = Source::Operation;
        }
        match answer {
            Ok(Operation::Running) => return self.still_running(age, waits),
            Ok(Operation::Done { document }) => self.operation_done(document),
            Ok(Operation::Failed { code, message }) => {
                let words = format!("the service could not index it: {message} (code {code})");
                let kind = "operation";
                self.stage = Stage::Failed {
                    cause: Cause { kind, words },
                    again: is_transient(code),
                };
            }
            // The service has forgotten it; the document is all there is.
            Err(failure) if failure.kind == FailureKind::Missing => {
                self.operation = OperationSeen::Unknown;
                self.lost_without_name();
            }
            Err(failure) => return self.no_answer(failure, age, waits),
        }
        Heard::News
    }

    /// `file_bytes`: the size of the file that was sent.
    pub fn document_answered(
        &mut self,
        answer: Result<Document, Failure>,
        file_bytes: u64,
        age: Duration,
        waits: &Waits,
    ) -> Heard {
        if !was_refused(&answer) {
            self.asked_last = Source::Document;
        }
        let makes_sense = !answer.as_ref().is_err_and(Failure::makes_no_sense);
        self.senseless = match makes_sense {
            true => 0,
            false => self.senseless + 1,
        };
        match answer {
            Ok(document) => match document.state {
                DocumentState::Active => self.document_active(document, file_bytes),
                DocumentState::Pending => {
                    self.document = DocumentSeen::Present;
                    self.pending_at = age;
                    self.still_running(age, waits)
                }
                DocumentState::Failed => self.document_failed(age, waits),
            },
            Err(failure) if failure.kind == FailureKind::Missing => {
                self.document_missing(age, waits)
            }
            Err(failure) => match self.name.clone() {
                Some(name) if self.is_operation_trusted(file_bytes) => {
                    self.stage = Stage::Active(name);
                    Heard::News
                }
                _ => self.no_answer(failure, age, waits),
            },
        }
    }

    /// The answer to the deletion of its document; that there was none any more is success.
    pub fn deleted(&mut self, answer: Result<(), Failure>, age: Duration, waits: &Waits) -> Heard {
        match answer {
            Ok(()) => {
                self.name = None;
                self.store = Store::Cleared;
                Heard::News
            }
            Err(failure) => self.no_answer(failure, age, waits),
        }
    }

    /// The listing is over. While an operation runs its document may be yet to come, so that its absence
    /// proves something only of an upload that has failed or is lost.
    pub fn listed(&mut self, listed: Listed) {
        self.store = match listed {
            Listed::Absent if self.stage != Stage::Running => Store::Cleared,
            Listed::Absent | Listed::InVain | Listed::Found(_) => Store::InDoubt,
        };
        if let Listed::Found(name) = listed {
            self.name = Some(name);
            self.document = DocumentSeen::Listed;
            if self.stage == Stage::Lost {
                self.stage = Stage::Running;
            }
        }
    }

    fn operation_done(&mut self, document: Option<DocumentName>) {
        self.operation = OperationSeen::Done;
        if document.is_some() {
            self.name = document;
            // It is this upload's own now, whatever the listing showed.
            if self.document == DocumentSeen::Listed {
                self.document = DocumentSeen::Inherited;
            }
        }
        self.lost_without_name();
    }

    /// Active; but is it all of the file?
    fn document_active(&mut self, document: Document, file_bytes: u64) -> Heard {
        self.document = DocumentSeen::Present;
        let held = document.size_bytes.or(self.held_bytes);
        self.stage = match held {
            Some(held) if !is_whole(Some(held), file_bytes) => Stage::Failed {
                cause: Cause {
                    kind: "torn",
                    words: format!("the service holds {held} bytes of {file_bytes}"),
                },
                again: true,
            },
            _ => Stage::Active(document.name),
        };
        Heard::News
    }

    /// The last look saw it failed; it may still heal.
    pub fn document_has_failed(&self) -> bool {
        matches!(self.document, DocumentSeen::Failed { .. })
    }

    fn document_failed(&mut self, age: Duration, waits: &Waits) -> Heard {
        let since = match self.document {
            DocumentSeen::Failed { since } => since,
            _ => age,
        };
        self.document = DocumentSeen::Failed { since };
        if age.saturating_sub(since) < waits.failed_grace {
            return self.still_running(age, waits);
        }
        let words = "the service reports the document as failed, without a reason".to_owned();
        let kind = "document";
        self.stage = Stage::Failed {
            cause: Cause { kind, words },
            again: false,
        };
        Heard::News
    }

    /// It may only not be seen yet, as long as its operation runs or has just ended.
    fn document_missing(&mut self, age: Duration, waits: &Waits) -> Heard {
        let may_be_late = match self.operation {
            _ if self.document == DocumentSeen::Listed => false,
            OperationSeen::Unknown => false,
            OperationSeen::Running => true,
            OperationSeen::Done => age < waits.document_seen_within,
        };
        self.document = DocumentSeen::Missing;
        if may_be_late {
            return self.still_running(age, waits);
        }
        self.name = None;
        self.lost_without_name();
        Heard::News
    }

    /// Without a document's name and a running operation there is nothing left to look at.
    fn lost_without_name(&mut self) {
        let is_over = self.operation != OperationSeen::Running && self.name.is_none();
        if is_over && self.stage == Stage::Running {
            self.stage = Stage::Lost;
        }
    }

    /// Where nothing can be learnt of documents, the operation's word has to do; not of one that may have
    /// been deleted since, nor of one that was seen to be missing, failed or short.
    fn is_operation_trusted(&self, file_bytes: u64) -> bool {
        let may_be_there = matches!(
            self.document,
            DocumentSeen::Submitted | DocumentSeen::Present
        );
        self.operation == OperationSeen::Done
            && may_be_there
            && self.senseless > SENSELESS_MAX
            && is_whole(self.held_bytes, file_bytes)
    }

    fn still_running(&mut self, age: Duration, waits: &Waits) -> Heard {
        self.unanswered = 0;
        if age <= waits.news_within {
            return Heard::StillRunning;
        }
        if self.document != DocumentSeen::Missing || self.name.is_none() {
            return Heard::LeftToNextRun;
        }
        // Not there for all that time, it is gone, though its operation says that it is being made.
        self.name = None;
        self.stage = Stage::Lost;
        Heard::News
    }

    fn no_answer(&mut self, failure: Failure, age: Duration, waits: &Waits) -> Heard {
        if stops_run(failure.kind) {
            return Heard::StopsRun(failure);
        }
        if failure.kind == FailureKind::Stopped || age > waits.news_within {
            return Heard::LeftToNextRun;
        }
        if !matches!(failure.kind, FailureKind::Skipped { .. }) {
            self.unanswered += 1;
        }
        let in_a_row = self.unanswered;
        Heard::NoAnswer { failure, in_a_row }
    }
}

/// The throttle did not let the request out: nobody was asked.
fn was_refused<T>(answer: &Result<T, Failure>) -> bool {
    let kind = answer.as_ref().err().map(|failure| failure.kind);
    matches!(kind, Some(FailureKind::Skipped { .. }))
}

/// gRPC codes that name the service's state, not the content (google.rpc.Code): deadline exceeded,
/// resource exhausted, aborted, internal, unavailable.
fn is_transient(code: i32) -> bool {
    matches!(code, 4 | 8 | 10 | 13 | 14)
}

#[cfg(test)]
mod tests;
