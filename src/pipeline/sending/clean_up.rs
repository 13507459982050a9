//! What nothing needs any more is deleted at the service, and only then forgotten: documents that newer
//! content has replaced, what failed attempts made, temporary files.
//!
//! Promises: an old document goes after the new one is active, so a search never finds none; that it is to go
//! is on disk before, so that it is never taken for the file's own again; a deletion is on disk before its task
//! is answered, so that none is handed out twice; one that could not be confirmed is
//! tried again by the next run, and this one does not say that all is done.

use super::worker::{Returned, Worker};
use crate::client::{Failure, FailureKind};
use crate::pipeline::outcome;
use crate::state::{Change, Job, UploadState};

impl Worker<'_> {
    pub(super) fn delete_unwanted(&self, job: &Job) -> Returned {
        let Some(document) = &job.document else {
            return Returned::Done;
        };
        let deleted = self.client.delete_document(document);
        let upload = job.upload;
        self.deleted(deleted, Change::Deleted { upload })
    }

    /// A row may have left both; the document stays if it is the file's own.
    pub(super) fn delete_remains(&self, job: &Job) -> Returned {
        let upload = job.upload;
        if let Some(file) = &job.temporary {
            let deleted = self.client.delete_file(file);
            match self.deleted(deleted, Change::TemporaryGone { upload }) {
                Returned::Done => {}
                returned => return returned,
            }
        }
        match &job.document {
            Some(document) if job.state != UploadState::Indexed => {
                let deleted = self.client.delete_document(document);
                self.deleted(deleted, Change::Cleared { upload })
            }
            _ => Returned::Done,
        }
    }

    fn deleted(&self, deleted: Result<(), Failure>, change: Change) -> Returned {
        let failure = match deleted {
            Ok(()) => {
                return match self.waited(|w| w.commit(change)) {
                    Ok(_) => {
                        self.outcomes.tally.deleted.add(1);
                        self.outcomes.progress.deleting().saw(1);
                        Returned::Done
                    }
                    Err(error) => Returned::Fatal(error),
                };
            }
            Err(failure) => failure,
        };
        if let Some(error) = outcome::fatal(&failure, self.store.as_str()) {
            return Returned::Fatal(error);
        }
        match failure.kind {
            FailureKind::Transient
            | FailureKind::RateLimited
            | FailureKind::NotTheService
            | FailureKind::Stopped
            | FailureKind::Skipped { .. } => Returned::Undeleted,
            // What concerns one document does not keep the others.
            _ => Returned::Undeletable,
        }
    }
}
