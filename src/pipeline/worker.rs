//! A worker: one file at a time from intent to operation.
//!
//! Owns the job in its hands. The order of the write-ahead rules can be read here from top to bottom:
//! intent on disk → session opened → its URL on disk → body → submitted. Promises: when nothing is
//! known of what became of a body, the row keeps its session and nothing is sent again.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::outcome::{self, Outcomes, Subject};
use crate::client::{
    Body, Client, Failure, FailureKind, Finished, NewDocument, Pace, SessionState, Started,
    Submitted,
};
use crate::error::Error;
use crate::identity;
use crate::names::{SessionUrl, StoreName};
use crate::scan;
use crate::shutdown::Shutdown;
use crate::state::{Change, Charge, Durable, Job, UploadId};
use crate::throttle::bandwidth::Bandwidth;
use crate::throttle::gate::Gate;

/// What a type that the service refuses is sent as instead.
const FALLBACK_MIME: &str = "text/plain";

/// A job, and the batch that it counts in (none for what an earlier run left).
pub struct Task {
    pub job: Job,
    pub batch: Option<i64>,
}

/// What became of a task, for the thread that hands them out.
#[derive(Debug)]
pub enum Returned {
    /// It went on: submitted, handed back, failed, dropped.
    Done,
    /// The breaker is open; nothing was sent.
    Skipped,
    /// What is at the service is not known; its session is asked in a later pass.
    InDoubt,
    /// The session is gone: only a listing of the store can tell.
    Lost(UploadId),
    /// The run is stopping.
    NotStarted,
    /// Concerns every file.
    Fatal(Error),
    Panicked,
}

pub struct Worker<'r> {
    pub number: usize,
    pub store: &'r StoreName,
    pub client: &'r Client,
    pub gate: &'r Gate,
    pub shutdown: &'r Shutdown,
    pub bandwidth: Option<&'r Bandwidth>,
    pub outcomes: Outcomes,
}

impl Worker<'_> {
    pub fn run(self, tasks: &Receiver<Task>, returned: &Sender<Returned>) {
        for task in tasks {
            let guard = TellOfPanic(returned);
            let result = match self.gate.job_slot() {
                Some(_slot) => self.turn(task),
                None => Returned::NotStarted,
            };
            std::mem::forget(guard);
            if returned.send(result).is_err() {
                return;
            }
        }
    }

    fn turn(&self, task: Task) -> Returned {
        if !self.outcomes.polls.wait_for_room(self.shutdown) {
            return Returned::NotStarted;
        }
        let began = Instant::now();
        let progress = Arc::clone(&self.outcomes.progress);
        progress.file_started(self.number, &task.job.path, task.job.size_bytes);
        let result = match (task.job.session.clone(), task.batch) {
            (Some(session), _) => self.resume(&task.job, &session),
            (None, Some(batch)) => self.upload(&task.job, batch),
            (None, None) => Returned::Done,
        };
        progress.file_left(self.number);
        self.outcomes.tally.busy_ns.add_time(began.elapsed());
        result
    }

    /// A file of which nothing is at the service.
    fn upload(&self, job: &Job, batch: i64) -> Returned {
        if self.gate.skip_until().is_some() {
            return self.skip(batch);
        }
        let subject = Subject::of(job);
        if let Some(document) = &job.document {
            // What an earlier, failed attempt left must be gone before there is a second one.
            match self.client.delete_document(document) {
                Ok(()) => {}
                Err(failure) => return self.not_started(batch, &failure),
            }
            if let Err(e) = self.waited(|w| w.commit(Change::Cleared { upload: job.upload })) {
                return Returned::Fatal(e);
            }
        }
        let intent = match self.waited(|w| w.intent(job.upload, batch)) {
            Ok(intent) => intent,
            Err(e) => return Returned::Fatal(e),
        };
        let mut metadata = identity::entries(&job.path_value, &job.sha256).to_vec();
        metadata.extend(job.metadata.iter().cloned());
        let document = NewDocument {
            display_name: &identity::display_name(&job.path),
            mime: &job.mime,
            size_bytes: job.size_bytes,
            metadata: &metadata,
        };
        match self.client.start(self.store, &intent, &document) {
            Ok(Started::Session(url)) => match self.waited(|w| w.session_opened(job.upload, url)) {
                Ok(session) => self.send(job, &subject, &session, 0),
                Err(e) => Returned::Fatal(e),
            },
            Ok(Started::Final(submitted)) => self.submitted(&subject, submitted),
            // No session is known to us, so nothing can have been finalized.
            Err(failure) => self.failed(job, &subject, &failure),
        }
    }

    /// A file whose session an earlier run, or an earlier pass, left open.
    fn resume(&self, job: &Job, session: &Durable<SessionUrl>) -> Returned {
        let subject = Subject::of(job);
        match self.client.query(session) {
            Ok(SessionState::Active { received }) if job.current => {
                self.outcomes.tally.resumed.add(1);
                self.send(job, &subject, session, received)
            }
            Ok(SessionState::Active { .. }) => match self.client.cancel(session) {
                Ok(()) => {
                    let why = "replaced by newer content on disk".to_owned();
                    let upload = job.upload;
                    self.outcomes
                        .skipped(&subject, Change::Dropped { upload }, why);
                    Returned::Done
                }
                Err(_) => Returned::InDoubt,
            },
            Ok(SessionState::Final(Some(submitted))) => {
                self.outcomes.tally.adopted.add(1);
                self.submitted(&subject, submitted)
            }
            Ok(SessionState::Final(None) | SessionState::Gone) => Returned::Lost(job.upload),
            Err(failure) => match outcome::fatal(&failure, self.store.as_str()) {
                Some(error) => Returned::Fatal(error),
                None => Returned::InDoubt,
            },
        }
    }

    /// The bytes, from `offset` on.
    fn send(
        &self,
        job: &Job,
        subject: &Subject,
        session: &Durable<SessionUrl>,
        offset: u64,
    ) -> Returned {
        let path = job.absolute();
        let pace = |bytes: usize| self.pace(bytes);
        let mut body = Body::new(&path, job.size_bytes, job.sha256, &pace);
        match self.client.finish(session, &mut body, offset) {
            Ok(Finished::Submitted(submitted)) => self.submitted(subject, submitted),
            Ok(Finished::Changed) => self.changed(job, subject),
            Err(failure) => self.body_failed(job, subject, session, &failure),
        }
    }

    fn submitted(&self, subject: &Subject, submitted: Submitted) -> Returned {
        if submitted.operation.is_none() && submitted.document.is_none() {
            return Returned::Lost(subject.upload);
        }
        self.outcomes.submitted(subject, submitted);
        Returned::Done
    }

    /// Nothing of this attempt is at the service.
    fn failed(&self, job: &Job, subject: &Subject, failure: &Failure) -> Returned {
        if let Some(error) = outcome::fatal(failure, self.store.as_str()) {
            self.outcomes
                .handed_back(subject, Charge::Nothing, None, None);
            return Returned::Fatal(error);
        }
        let cause = outcome::cause(failure);
        match failure.kind {
            FailureKind::Skipped { .. } => {
                self.outcomes
                    .handed_back(subject, Charge::Nothing, None, None);
                return Returned::Skipped;
            }
            FailureKind::Stopped => {
                self.outcomes
                    .handed_back(subject, Charge::Nothing, None, None);
                return Returned::NotStarted;
            }
            // The service's pace is not the file's fault.
            FailureKind::RateLimited => {
                self.outcomes
                    .handed_back(subject, Charge::Nothing, Some(cause), None);
            }
            FailureKind::UnsupportedMime if job.mime != FALLBACK_MIME => {
                let mime = Some(FALLBACK_MIME);
                self.outcomes
                    .handed_back(subject, Charge::Nothing, None, mime);
            }
            FailureKind::Permanent | FailureKind::UnsupportedMime => {
                self.outcomes.rejected(subject, cause, None);
            }
            FailureKind::LocalFile => return self.changed(job, subject),
            FailureKind::Transient
            | FailureKind::CountTokens
            | FailureKind::Missing
            | FailureKind::SessionDead
            | FailureKind::InDoubt
            | FailureKind::BadAnswer
            | FailureKind::KeyRefused
            | FailureKind::StoreRefused
            | FailureKind::StorageFull
            | FailureKind::DailyQuota => {
                self.outcomes.attempt_failed(subject, cause);
            }
        }
        Returned::Done
    }

    /// The body did not get through. Only where the service itself has said that the session ended
    /// without a document may the file start over.
    fn body_failed(
        &self,
        job: &Job,
        subject: &Subject,
        session: &Durable<SessionUrl>,
        failure: &Failure,
    ) -> Returned {
        match failure.kind {
            FailureKind::Permanent
            | FailureKind::UnsupportedMime
            | FailureKind::CountTokens
            | FailureKind::SessionDead
            | FailureKind::StorageFull
            | FailureKind::DailyQuota
            | FailureKind::KeyRefused
            | FailureKind::StoreRefused => self.failed(job, subject, failure),
            FailureKind::LocalFile => match self.client.cancel(session) {
                Ok(()) => self.changed(job, subject),
                Err(_) => self.in_doubt(subject, Charge::Nothing, failure),
            },
            FailureKind::Skipped { .. } | FailureKind::Stopped | FailureKind::RateLimited => {
                self.in_doubt(subject, Charge::Nothing, failure)
            }
            FailureKind::Transient
            | FailureKind::Missing
            | FailureKind::InDoubt
            | FailureKind::BadAnswer => {
                let last = subject.attempts >= self.outcomes.max_attempts;
                if last && self.client.cancel(session).is_ok() {
                    return self.failed(job, subject, failure);
                }
                self.in_doubt(subject, Charge::Attempt, failure)
            }
        }
    }

    fn in_doubt(&self, subject: &Subject, charge: Charge, failure: &Failure) -> Returned {
        self.outcomes
            .left_in_doubt(subject, charge, outcome::cause(failure));
        Returned::InDoubt
    }

    /// The file is not what was scanned; nothing of it is at the service. Its new content takes a new
    /// place at the end of the queue.
    fn changed(&self, job: &Job, subject: &Subject) -> Returned {
        match scan::rescan(&job.absolute()) {
            Ok(seen) => self.outcomes.rescheduled(Change::Rescanned {
                upload: job.upload,
                file: job.file,
                size_bytes: seen.size_bytes,
                mtime_ns: seen.mtime_ns,
                hashed_ms: seen.hashed_ms,
                sha256: seen.sha256,
            }),
            Err(skip) => {
                let why = format!("{}: {}", skip.reason.label(), skip.detail);
                // The scan decides what is missing; here only this upload ends.
                let upload = job.upload;
                self.outcomes
                    .skipped(subject, Change::Dropped { upload }, why);
            }
        }
        Returned::Done
    }

    fn skip(&self, batch: i64) -> Returned {
        let after = self.outcomes.clone();
        self.outcomes
            .writer
            .send(Change::BatchSkipped { batch }, move |done| {
                after.committed(&done);
            });
        Returned::Skipped
    }

    fn not_started(&self, batch: i64, failure: &Failure) -> Returned {
        match outcome::fatal(failure, self.store.as_str()) {
            Some(error) => Returned::Fatal(error),
            None => self.skip(batch),
        }
    }

    fn pace(&self, bytes: usize) -> Pace {
        if let Some(bandwidth) = self.bandwidth {
            let wait = bandwidth.reserve(Instant::now(), bytes);
            self.outcomes.tally.bandwidth_ns.add_time(wait);
            if !self.shutdown.sleep_in_grace(wait) {
                return Pace::Stop;
            }
        } else if self.shutdown.is_over() {
            return Pace::Stop;
        }
        self.outcomes.progress.sent(self.number, bytes as u64);
        Pace::Go
    }

    /// A commit that is waited for, timed.
    fn waited<T>(
        &self,
        commit: impl FnOnce(&crate::state::Writer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let done = commit(&self.outcomes.writer);
        self.outcomes.tally.disk_ns.add_time(began.elapsed());
        done
    }
}

/// Dropped only if the turn panics: whoever waits for this worker must not wait for ever.
struct TellOfPanic<'s>(&'s Sender<Returned>);

impl Drop for TellOfPanic<'_> {
    fn drop(&mut self) {
        let _ = self.0.send(Returned::Panicked);
    }
}
