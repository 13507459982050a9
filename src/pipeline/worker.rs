//! A worker: one file at a time from intent to operation.
//!
//! Owns the job in its hands. The order of the write-ahead rules can be read here from top to bottom:
//! intent on disk → session opened → its URL on disk → body → submitted; and for the staged way, between
//! body and submitted: temporary file on disk → import on record → import. What follows from an answer is
//! decided in `rules`. Promises: when nothing is known of what became of a body or an import, the row
//! keeps what it knows and nothing is sent again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::outcome::{self, HandBack, Outcomes};
use super::rules::{self, Asked, MethodChoice, Next, Standing};
use super::subject::Subject;
use crate::client::{
    Body, Client, Ended, Failure, FailureKind, Finished, NewDocument, Pace, Started,
};
use crate::clock;
use crate::error::{Error, Kind};
use crate::identity::{self, Entry};
use crate::names::{DocumentName, SessionUrl, StoreName};
use crate::scan::{self, Skip, SkipReason};
use crate::shutdown::Shutdown;
use crate::state::{Cause, Change, Charge, Durable, Job, Method, NextTime, SkipRow, UploadId};
use crate::throttle::bandwidth::Bandwidth;
use crate::throttle::gate::Gate;

/// What a type that the service refuses is sent as instead.
const FALLBACK_MIME: &str = "text/plain";

/// A session that gives no usable answer for so long, counted from the intent of its upload, is settled by
/// the listing of the store. No request of its own is under way any more after that time.
const ASK_WITHIN: Duration = Duration::from_secs(3600);

/// A job, and the batch that it counts in (none for what an earlier run left).
pub struct Task {
    pub job: Job,
    pub batch: Option<i64>,
}

impl Task {
    fn not_begun(&self) -> Returned {
        Returned::NotBegun(self.batch.map(|_| self.job.queued))
    }
}

/// What became of a task, for the thread that hands them out.
#[derive(Debug)]
pub enum Returned {
    /// It went on: submitted, handed back, failed, dropped.
    Done,
    /// Nothing was begun, because the breaker is open or the run is stopping: it keeps its place in the
    /// queue, which is given here for a file that was to be begun.
    NotBegun(Option<i64>),
    /// What is at the service is not known; its session is asked in a later pass.
    InDoubt,
    /// The session is gone: only a listing of the store can tell.
    Lost(UploadId),
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
    pub method: MethodChoice,
    pub outcomes: Outcomes,
}

impl Worker<'_> {
    pub fn run(self, tasks: &Receiver<Task>, returned: &Sender<Returned>) {
        for task in tasks {
            let guard = TellOfPanic(returned);
            let result = match self.gate.job_slot() {
                Some(_slot) => self.turn(task),
                None => task.not_begun(),
            };
            std::mem::forget(guard);
            if returned.send(result).is_err() {
                return;
            }
        }
    }

    fn turn(&self, task: Task) -> Returned {
        if !self.outcomes.polls.wait_for_room(self.shutdown) {
            return task.not_begun();
        }
        let began = Instant::now();
        let progress = Arc::clone(&self.outcomes.progress);
        progress.file_started(self.number, &task.job.path, task.job.size_bytes);
        let result = match task.batch {
            Some(batch) => self.upload(&task.job, batch),
            None => self.resume(&task.job),
        };
        progress.file_left(self.number);
        self.outcomes.tally.busy_ns.add_time(began.elapsed());
        result
    }

    /// A file of which nothing is at the service but what an earlier attempt left.
    fn upload(&self, job: &Job, batch: i64) -> Returned {
        if self.gate.skip_until().is_some() {
            return self.skip(job, batch);
        }
        if let Some(document) = &job.document {
            // Delete what an earlier attempt left: two documents of one file must never be active together.
            if let Err(failure) = self.client.delete_document(document) {
                return self.not_begun(job, batch, &failure);
            }
            if let Err(e) = self.waited(|w| w.commit(Change::Cleared { upload: job.upload })) {
                return Returned::Fatal(e);
            }
        }
        match self.method.method(job.direct_faults) {
            Method::Direct => self.upload_directly(job, batch),
            Method::Staged => self.upload_staged(job, batch),
        }
    }

    fn upload_directly(&self, job: &Job, batch: i64) -> Returned {
        if let Some(file) = &job.temporary
            && let Err(returned) = self.discard(job.upload, file)
        {
            return returned.unwrap_or_else(|failure| self.not_begun(job, batch, &failure));
        }
        let subject = Subject::of(job);
        let intent = self.waited(|w| w.intent(job.upload, batch, Method::Direct, None));
        let intent = match intent {
            Ok(intent) => intent,
            Err(e) => return Returned::Fatal(e),
        };
        let metadata = metadata(job);
        let name = identity::display_name(&job.path);
        let document = new_document(job, &name, &metadata);
        let started = self.client.start(self.store, &intent, &document);
        self.started(job, &subject, started)
    }

    pub(super) fn started(
        &self,
        job: &Job,
        subject: &Subject,
        started: Result<Started, Failure>,
    ) -> Returned {
        match started {
            Ok(Started::Session(url)) => match self.waited(|w| w.session_opened(job.upload, url)) {
                Ok(session) => {
                    let pace = |bytes: usize| self.pace(bytes);
                    let body = Body::new(
                        &job.root,
                        &job.path,
                        job.size_bytes,
                        job.content.sha256,
                        &pace,
                    );
                    self.send(job, subject, &session, body, 0)
                }
                Err(e) => Returned::Fatal(e),
            },
            // Not a byte was sent, so what it made is not the file; it is deleted before the next try.
            Ok(Started::Final(ended)) => {
                let cause = Cause {
                    kind: "bad answer",
                    words: "the service ended the upload before it began".to_owned(),
                };
                let document = match ended {
                    Some(Ended::Document(submitted)) => submitted.document,
                    Some(Ended::File(_)) | None => None,
                };
                self.outcomes.attempt_failed(subject, cause, document);
                Returned::Done
            }
            // No session is known to us, so nothing can have been finalized.
            Err(failure) => self.failed(job, subject, &failure),
        }
    }

    /// A file that an earlier run, or an earlier pass, left on its way.
    fn resume(&self, job: &Job) -> Returned {
        let subject = Subject::of(job);
        let session = match (rules::next(Standing::of(job)), &job.session) {
            (Next::Ask, Some(session)) => session,
            (Next::LookUp, _) => return Returned::Lost(job.upload),
            _ => return Returned::Done,
        };
        let state = match self.client.query(session) {
            Ok(state) => state,
            Err(failure) => return self.unasked(job, &failure),
        };
        match rules::asked(state, job.method, job.current) {
            Asked::Resume(offset) => {
                self.outcomes.tally.resumed.add(1);
                let pace = |bytes: usize| self.pace(bytes);
                let body = Body::new(
                    &job.root,
                    &job.path,
                    job.size_bytes,
                    job.content.sha256,
                    &pace,
                )
                .resumed();
                self.send(job, &subject, session, body, offset)
            }
            Asked::Cancel => match self.client.cancel(session) {
                Ok(()) => {
                    let why = "replaced by newer content on disk".to_owned();
                    let upload = job.upload;
                    self.outcomes
                        .skipped(&subject, Change::Dropped { upload }, why);
                    Returned::Done
                }
                Err(failure) => self.still_in_doubt(&failure),
            },
            Asked::Take(ended) => {
                self.outcomes.tally.adopted.add(1);
                self.ended(job, &subject, ended)
            }
            Asked::Fail(failure) => self.failed(job, &subject, &failure),
            Asked::LookAtFile => self.look_at_file(job, &subject),
            Asked::LookUp => Returned::Lost(job.upload),
        }
    }

    /// A session that cannot be asked is asked again later, but not for ever.
    fn unasked(&self, job: &Job, failure: &Failure) -> Returned {
        let age_ms = clock::now_ms().saturating_sub(job.since_ms);
        match self.still_in_doubt(failure) {
            Returned::InDoubt if age_ms > ASK_WITHIN.as_millis() as i64 => {
                Returned::Lost(job.upload)
            }
            returned => returned,
        }
    }

    pub(super) fn still_in_doubt(&self, failure: &Failure) -> Returned {
        match outcome::fatal(failure, self.store.as_str()) {
            Some(error) => Returned::Fatal(error),
            None => Returned::InDoubt,
        }
    }

    /// The bytes, from `offset` on.
    fn send(
        &self,
        job: &Job,
        subject: &Subject,
        session: &Durable<SessionUrl>,
        mut body: Body<'_>,
        offset: u64,
    ) -> Returned {
        match self.client.finish(session, &mut body, offset) {
            Ok(Finished::Ended(ended)) => self.ended(job, subject, ended),
            Ok(Finished::Dead(failure)) => self.failed(job, subject, &failure),
            Ok(Finished::Changed) => self.changed(job, subject),
            Err(failure) => self.unclear(job, subject, session, &failure),
        }
    }

    /// The service has every byte.
    fn ended(&self, job: &Job, subject: &Subject, ended: Ended) -> Returned {
        match ended {
            Ended::Document(submitted) => {
                if submitted.operation.is_none() && submitted.document.is_none() {
                    return Returned::Lost(subject.upload);
                }
                // A document of another store is not what was sent; only this store can tell.
                let foreign = |name: &DocumentName| {
                    DocumentName::of_store(self.store, name.as_str()).is_none()
                };
                if submitted.document.as_ref().is_some_and(foreign) {
                    return Returned::Lost(subject.upload);
                }
                self.outcomes.submitted(subject, submitted, None);
                Returned::Done
            }
            Ended::File(file) => self.import(job, subject, file),
        }
    }

    /// No document came of this attempt.
    pub(super) fn failed(&self, job: &Job, subject: &Subject, failure: &Failure) -> Returned {
        if let Some(error) = outcome::fatal(failure, self.store.as_str()) {
            self.outcomes.handed_back(subject, HandBack::uncharged());
            return Returned::Fatal(error);
        }
        let cause = outcome::cause(failure);
        match failure.kind {
            FailureKind::Skipped { .. } | FailureKind::Stopped => {
                self.outcomes.handed_back(subject, HandBack::uncharged());
            }
            // Neither the service's pace nor who answers in its place is the file's fault.
            FailureKind::RateLimited | FailureKind::NotTheService => {
                let back = HandBack::uncharged().because(cause);
                self.outcomes.handed_back(subject, back);
            }
            FailureKind::UnsupportedMime if job.mime != FALLBACK_MIME => {
                let back = HandBack::uncharged().next_time(NextTime::AsMime(FALLBACK_MIME));
                self.outcomes.handed_back(subject, back);
            }
            FailureKind::CountTokens
                if self
                    .method
                    .has_another_way(self.method.method(job.direct_faults)) =>
            {
                let back = HandBack::uncharged().because(cause);
                let back = back.next_time(NextTime::LessDirect);
                self.outcomes.handed_back(subject, back);
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
            | FailureKind::NoTrust
            | FailureKind::KeyRefused
            | FailureKind::StoreRefused
            | FailureKind::StorageFull
            | FailureKind::DailyQuota => {
                self.outcomes.attempt_failed(subject, cause, None);
            }
        }
        Returned::Done
    }

    /// The body did not get through, and nobody has said that the session is over: unless the service
    /// confirms that it is cancelled, the file does not start over.
    fn unclear(
        &self,
        job: &Job,
        subject: &Subject,
        session: &Durable<SessionUrl>,
        failure: &Failure,
    ) -> Returned {
        if let Some(error) = outcome::fatal(failure, self.store.as_str()) {
            self.in_doubt(subject, Charge::Nothing, failure);
            return Returned::Fatal(error);
        }
        match failure.kind {
            FailureKind::LocalFile => match self.client.cancel(session) {
                Ok(()) => self.changed(job, subject),
                Err(_) => self.in_doubt(subject, Charge::Nothing, failure),
            },
            FailureKind::Skipped { .. }
            | FailureKind::Stopped
            | FailureKind::RateLimited
            | FailureKind::NotTheService => self.in_doubt(subject, Charge::Nothing, failure),
            _ => {
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
        match scan::rescan(&job.root, &job.path) {
            // Put back, or replaced by a copy of itself: tried again, but not for ever.
            Ok(seen) if seen.sha256 == job.content.sha256 => {
                let cause = Cause {
                    kind: "changed",
                    words: "it was replaced, or could not be read, while it was sent".to_owned(),
                };
                self.outcomes.attempt_failed(subject, cause, None);
            }
            Ok(reading) => self.outcomes.rescheduled(Change::Rescanned {
                upload: job.upload,
                file: job.file,
                reading,
            }),
            Err(skip) => return self.unfit(job, subject, skip),
        }
        Returned::Done
    }

    /// What was scanned is gone, or cannot be sent as it is now; nothing of it is at the service.
    fn unfit(&self, job: &Job, subject: &Subject, skip: Skip) -> Returned {
        let why = format!("{}: {}", skip.reason.label(), skip.detail);
        let is_gone = std::fs::symlink_metadata(job.root.join(&job.path))
            .is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
        let skip = match skip.reason {
            _ if is_gone => {
                if let Some(error) = unmounted(&job.root) {
                    self.outcomes.handed_back(subject, HandBack::uncharged());
                    return Returned::Fatal(error);
                }
                None
            }
            // It may be readable at another try; if it never is, it ends as failed, with its cause.
            SkipReason::Unreadable | SkipReason::ChangedWhileRead => {
                let kind = "unreadable";
                let cause = Cause { kind, words: why };
                self.outcomes.attempt_failed(subject, cause, None);
                return Returned::Done;
            }
            reason => Some(SkipRow {
                library: job.library,
                path: job.path.clone(),
                reason: reason.label(),
                detail: skip.detail,
                scan: clock::now_ms(),
            }),
        };
        let change = Change::FileLost {
            upload: job.upload,
            file: job.file,
            skip,
        };
        self.outcomes.skipped(subject, change, why);
        Returned::Done
    }

    fn skip(&self, job: &Job, batch: i64) -> Returned {
        let after = self.outcomes.clone();
        self.outcomes
            .writer
            .send(Change::BatchSkipped { batch }, move |done| {
                after.committed(&done);
            });
        Returned::NotBegun(Some(job.queued))
    }

    pub(super) fn not_begun(&self, job: &Job, batch: i64, failure: &Failure) -> Returned {
        match outcome::fatal(failure, self.store.as_str()) {
            Some(error) => Returned::Fatal(error),
            None => self.skip(job, batch),
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
        // Suspended in the middle of a body: another process may have its session by now.
        if self.client.hold_lock().is_err() {
            return Pace::Stop;
        }
        self.outcomes.progress.sent(self.number, bytes as u64);
        Pace::Go
    }

    /// A commit that is waited for, timed.
    pub(super) fn waited<T>(
        &self,
        commit: impl FnOnce(&crate::state::Writer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let done = commit(&self.outcomes.writer);
        self.outcomes.tally.disk_ns.add_time(began.elapsed());
        done
    }
}

/// A file that is gone proves nothing about the others, unless its whole folder is gone: then no other is
/// sent, and none is taken for deleted.
fn unmounted(root: &Path) -> Option<Error> {
    let why = match std::fs::read_dir(root).map(|mut entries| entries.next().is_none()) {
        Ok(false) => return None,
        Ok(true) => "the folder is suddenly empty".to_owned(),
        Err(e) => format!("the folder cannot be read any more: {e}"),
    };
    Some(Error::new(
        Kind::Input,
        root.display().to_string(),
        why,
        "check that its disk is mounted, then run again; nothing was marked as missing",
    ))
}

pub(super) fn metadata(job: &Job) -> Vec<Entry> {
    let sha256 = &job.content.sha256;
    let mut metadata = identity::entries(&job.library_name, &job.path_value, sha256).to_vec();
    metadata.extend(job.metadata.iter().cloned());
    metadata
}

pub(super) fn new_document<'a>(
    job: &'a Job,
    name: &'a str,
    metadata: &'a [Entry],
) -> NewDocument<'a> {
    NewDocument {
        display_name: name,
        mime: &job.mime,
        size_bytes: job.size_bytes,
        metadata,
    }
}

/// Dropped only if the turn panics: whoever waits for this worker must not wait for ever.
struct TellOfPanic<'s>(&'s Sender<Returned>);

impl Drop for TellOfPanic<'_> {
    fn drop(&mut self) {
        let _ = self.0.send(Returned::Panicked);
    }
}
