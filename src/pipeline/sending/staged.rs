//! The staged way: a temporary file, its import, and what becomes of it (fact sheet 8, 9).
//!
//! The order of the write-ahead rules goes on here from `worker`: the file's name on disk before it can
//! exist → its body → complete, on disk → import on record → import. Promises: an import is sent once; one
//! without an answer is settled by the store, never by another import.

use std::time::Instant;

use super::worker::{Returned, Worker, metadata, new_document};
use crate::client::{Failure, FailureKind, Submitted, TemporaryFile};
use crate::identity;
use crate::names::FileName;
use crate::pipeline::outcome;
use crate::pipeline::outcome::subject::Subject;
use crate::pipeline::rules::{self, AfterFileLook};
use crate::state::{Cause, Change, Charge, HandBack, Job, UploadId, Way};

impl Worker<'_> {
    /// By way of a temporary file, the one of an earlier attempt if it is still of use.
    pub(super) fn upload_staged(&self, job: &Job, batch: i64) -> Returned {
        let mut file = None;
        if let Some(name) = &job.temporary {
            match self.client.file(name) {
                Ok(found) => file = found,
                Err(failure) => return self.not_begun(job, batch, &failure),
            }
            let of_use = rules::staged(file.as_ref(), job.size_bytes) == AfterFileLook::Import;
            if !of_use {
                file = None;
                if let Err(returned) = self.discard(job.upload, name) {
                    return returned.unwrap_or_else(|failure| self.not_begun(job, batch, &failure));
                }
            }
        }
        let subject = Subject::of(job);
        let name = file
            .as_ref()
            .map_or_else(FileName::fresh, |f| f.name.clone());
        let way = Way::Staged(name.clone());
        let intent = match self.waited(|w| w.intent(job.upload, batch, way)) {
            Ok(intent) => intent,
            Err(e) => return Returned::Fatal(e),
        };
        if let Some(file) = file {
            return self.import(job, &subject, file);
        }
        let display_name = identity::display_name(&job.path);
        let document = new_document(job, &display_name, &[]);
        let started = self.client.start_file(&name, &intent, &document);
        self.started(job, &subject, started)
    }

    /// The session of a temporary file says nothing any more; the file has a name of our choosing.
    pub(super) fn look_at_file(&self, job: &Job, subject: &Subject) -> Returned {
        let Some(name) = &job.temporary else {
            self.outcomes.handed_back(subject, HandBack::uncharged());
            return Returned::Done;
        };
        match self.client.file(name) {
            Ok(Some(file)) => {
                self.outcomes.tally.adopted.add(1);
                self.import(job, subject, file)
            }
            // Nothing was imported, so there is no document; should the file turn up, it is deleted.
            Ok(None) => {
                self.outcomes.handed_back(subject, HandBack::uncharged());
                Returned::Done
            }
            Err(failure) => self.still_in_doubt(&failure),
        }
    }

    /// From a temporary file to a document. The import is on record before it is sent, since nobody but
    /// the store can say afterwards whether it took effect.
    pub(super) fn import(&self, job: &Job, subject: &Subject, file: TemporaryFile) -> Returned {
        // Nothing was imported yet, and what is not wanted any more never is; the file is deleted.
        if !job.current {
            self.outcomes.handed_back(subject, HandBack::uncharged());
            return Returned::Done;
        }
        let staged = Change::Staged {
            upload: job.upload,
            file: file.name.clone(),
        };
        if let Err(e) = self.waited(|w| w.commit(staged)) {
            return Returned::Fatal(e);
        }
        let name = match self.active(job, subject, file) {
            Ok(name) => name,
            Err(returned) => return returned,
        };
        let import = match self.waited(|w| w.import_started(job.upload)) {
            Ok(import) => import,
            Err(e) => return Returned::Fatal(e),
        };
        let metadata = metadata(job);
        match self.client.import(self.store, &name, &import, &metadata) {
            Ok(operation) => {
                let submitted = Submitted {
                    operation: Some(operation),
                    document: None,
                    size_bytes: None,
                };
                self.outcomes.submitted(subject, submitted, Some(name));
                Returned::Done
            }
            Err(failure) if failure.kind == FailureKind::InDoubt => {
                let cause = outcome::cause(&failure);
                self.outcomes.left_in_doubt(subject, Charge::Nothing, cause);
                Returned::Lost
            }
            // Refused: nothing came of it.
            Err(failure) => self.failed(job, subject, &failure),
        }
    }

    /// Waits until the temporary file can be imported; text is so at once (fact sheet 8).
    fn active(
        &self,
        job: &Job,
        subject: &Subject,
        mut file: TemporaryFile,
    ) -> Result<FileName, Returned> {
        let failed = |words: &str| {
            let cause = Cause {
                kind: "temporary file",
                words: words.to_owned(),
            };
            self.outcomes.attempt_failed(subject, cause, None);
            Returned::Done
        };
        let began = Instant::now();
        loop {
            match rules::staged(Some(&file), job.size_bytes) {
                AfterFileLook::Import => return Ok(file.name),
                AfterFileLook::Discard => {
                    return Err(failed("the service could not take the file in"));
                }
                AfterFileLook::Wait => {}
            }
            if began.elapsed() > self.waits.temporary_file_active_within {
                return Err(failed("the service is still taking the file in"));
            }
            if !self.shutdown.sleep(self.waits.temporary_file_look) {
                self.outcomes.handed_back(subject, HandBack::uncharged());
                return Err(Returned::Done);
            }
            match self.client.file(&file.name) {
                Ok(Some(now)) => file = now,
                Ok(None) => return Err(failed("the service has lost the file")),
                Err(failure) => return Err(self.failed(job, subject, &failure)),
            }
        }
    }

    /// Deletes a temporary file and forgets it. The inner error is the service's.
    pub(super) fn discard(
        &self,
        upload: UploadId,
        file: &FileName,
    ) -> Result<(), Result<Returned, Failure>> {
        self.client.delete_file(file).map_err(Err)?;
        self.waited(|w| w.commit(Change::TemporaryGone { upload }))
            .map(|_| ())
            .map_err(|e| Ok(Returned::Fatal(e)))
    }
}
