//! A worker: one file at a time from intent to operation.
//!
//! Owns the job in its hands. The order of the write-ahead rules can be read here from top to bottom:
//! intent on disk → session opened → its URL on disk → body → submitted; and for the staged way, between
//! body and submitted: temporary file on disk → import on record → import. A small file goes in one request
//! (`one_request`). What follows from an answer is
//! decided in `rules`. Promises: when nothing is known of what became of a body or an import, the row
//! keeps what it knows and nothing is sent again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::support::InOneRequest;
use crate::client::{Body, Client, Ended, Failure, Finished, NewDocument, Pace, Started};
use crate::clock;
use crate::error::Error;
use crate::identity::{self, MetadataEntry};
use crate::names::{SessionUrl, StoreName};
use crate::pipeline::outcome::subject::Subject;
use crate::pipeline::outcome::{self, Outcomes};
use crate::pipeline::rules::{
    self, AfterNoQuery, AfterQuery, MethodChoice, Next, NoDocument, RowState, Unclear,
};
use crate::scan::mime::Types;
use crate::shutdown::Shutdown;
use crate::state::{
    Cause, Change, Charge, Durable, HandBack, Job, Method, NextTime, UploadId, Way,
};
use crate::throttle::bandwidth::Bandwidth;
use crate::throttle::gate::Gate;
use crate::waits::Waits;

/// What a type that the service refuses is sent as instead.
const FALLBACK_MIME: &str = "text/plain";

/// What a worker is given.
pub enum Task {
    /// A file whose turn has come, and the batch that it counts in.
    Upload { job: Job, batch: i64 },
    /// What an earlier run, or an earlier pass, left on its way.
    Resume(Job),
    /// A document that was replaced by newer content, which is indexed, or purged.
    DeleteUnwanted(Job),
    /// A temporary file, or what a failed attempt made.
    DeleteRemains(Job),
}

impl Task {
    pub fn job(&self) -> &Job {
        match self {
            Task::Upload { job, .. }
            | Task::Resume(job)
            | Task::DeleteUnwanted(job)
            | Task::DeleteRemains(job) => job,
        }
    }

    fn not_begun(&self) -> Returned {
        match self {
            Task::Upload { job, .. } => Returned::NotBegun(job.queued),
            Task::Resume(_) => Returned::InDoubt,
            Task::DeleteUnwanted(_) | Task::DeleteRemains(_) => Returned::Undeleted,
        }
    }
}

/// What became of a task, for the thread that hands them out.
#[derive(Debug)]
pub enum Returned {
    /// It went on: submitted, handed back, failed, dropped, deleted.
    Done,
    /// Nothing was begun, because the breaker is open or the run is stopping: the file keeps its place in
    /// the queue, which is given here.
    NotBegun(i64),
    /// What is at the service is not known; its session is asked in a later pass.
    InDoubt,
    /// Nobody can be asked what became of it: only a listing of the store can tell.
    Lost,
    /// The service fails: the deletion is tried again in a later pass.
    Undeleted,
    /// The service refuses to delete it: the next run tries again.
    Undeletable,
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
    pub one_request: &'r InOneRequest,
    /// Of the files of each library.
    pub types: &'r BTreeMap<i64, Types>,
    pub waits: &'r Waits,
    pub outcomes: Outcomes,
}

impl Worker<'_> {
    pub fn run(self, tasks: &Receiver<Task>, returned: &Sender<(UploadId, Returned)>) {
        for task in tasks {
            let upload = task.job().upload;
            let guard = TellOfPanic(upload, returned);
            let result = match self.gate.job_slot() {
                Some(_slot) => self.turn(task),
                None => task.not_begun(),
            };
            std::mem::forget(guard);
            if returned.send((upload, result)).is_err() {
                return;
            }
        }
    }

    fn turn(&self, task: Task) -> Returned {
        let began = Instant::now();
        let returned = match &task {
            Task::DeleteUnwanted(job) => self.delete_unwanted(job),
            Task::DeleteRemains(job) => self.delete_remains(job),
            Task::Upload { .. } | Task::Resume(_) => {
                if !self.outcomes.polls.wait_for_room(self.shutdown) {
                    return task.not_begun();
                }
                self.send_file(&task)
            }
        };
        self.outcomes.tally.busy_ns.add_time(began.elapsed());
        returned
    }

    fn send_file(&self, task: &Task) -> Returned {
        let progress = Arc::clone(&self.outcomes.progress);
        let job = task.job();
        progress.file_started(self.number, &job.path, job.size_bytes);
        let returned = match task {
            Task::Upload { batch, .. } => self.upload(job, *batch),
            _ => self.resume(job),
        };
        progress.file_left(self.number);
        returned
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
        if self.one_request.takes(job) {
            return self.upload_in_one_request(job, batch);
        }
        let subject = Subject::of(job);
        let intent = match self.waited(|w| w.intent(job.upload, batch, Way::Session)) {
            Ok(intent) => intent,
            Err(e) => return Returned::Fatal(e),
        };
        self.started(job, &subject, self.start(job, &intent))
    }

    pub(super) fn started(
        &self,
        job: &Job,
        subject: &Subject,
        started: Result<Started, Failure>,
    ) -> Returned {
        match started {
            Ok(Started::Session(url)) => match self.waited(|w| w.session_opened(job.upload, url)) {
                Ok(session) => self.send(job, subject, &session, None),
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
        let session = match (rules::next(RowState::of(job)), &job.session) {
            (Next::Ask, Some(session)) => session,
            (Next::LookUp, _) => return Returned::Lost,
            _ => return Returned::Done,
        };
        let state = match self.client.query(session) {
            Ok(state) => state,
            Err(failure) => return self.unasked(job, &failure),
        };
        match rules::asked(state, job.method, job.current) {
            AfterQuery::Resume(offset) => {
                self.outcomes.tally.resumed.add(1);
                self.send(job, &subject, session, Some(offset))
            }
            AfterQuery::Cancel => match self.client.cancel(session) {
                Ok(()) => {
                    let why = "replaced by newer content on disk".to_owned();
                    let upload = job.upload;
                    self.outcomes
                        .skipped(&subject, Change::Dropped { upload }, why);
                    Returned::Done
                }
                Err(failure) => self.still_in_doubt(&failure),
            },
            AfterQuery::Take(ended) => {
                self.outcomes.tally.adopted.add(1);
                self.ended(job, &subject, ended)
            }
            AfterQuery::Fail(failure) => self.failed(job, &subject, &failure),
            AfterQuery::LookAtFile => self.look_at_file(job, &subject),
            AfterQuery::LookUp => Returned::Lost,
        }
    }

    /// A session that cannot be asked is asked again later, but not for ever.
    fn unasked(&self, job: &Job, failure: &Failure) -> Returned {
        let age_ms = clock::now_ms().saturating_sub(job.since_ms);
        let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
        match rules::unasked(failure.kind, age) {
            AfterNoQuery::StopRun => Returned::Fatal(failure.to_error(self.store.as_str())),
            AfterNoQuery::AskAgain => Returned::InDoubt,
            AfterNoQuery::LookUp => Returned::Lost,
        }
    }

    pub(super) fn still_in_doubt(&self, failure: &Failure) -> Returned {
        match outcome::fatal(failure, self.store.as_str()) {
            Some(error) => Returned::Fatal(error),
            None => Returned::InDoubt,
        }
    }

    /// The bytes: all of them, or what is missing of a session that was sent to before, from an offset on.
    fn send(
        &self,
        job: &Job,
        subject: &Subject,
        session: &Durable<SessionUrl>,
        resumed_at: Option<u64>,
    ) -> Returned {
        let pace = |bytes: usize| self.pace(bytes);
        let body = self.body(job, &pace);
        let (mut body, offset) = match resumed_at {
            Some(offset) => (body.resumed(), offset),
            None => (body, 0),
        };
        if offset > 0 {
            self.outcomes.progress.sent_from(self.number, offset);
        }
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
                if !rules::can_be_followed(&submitted, self.store) {
                    return Returned::Lost;
                }
                self.outcomes.submitted(subject, submitted, None);
                Returned::Done
            }
            Ended::File(file) => self.import(job, subject, file),
        }
    }

    /// No document came of this attempt.
    pub(super) fn failed(&self, job: &Job, subject: &Subject, failure: &Failure) -> Returned {
        let has_other_type = job.mime != FALLBACK_MIME;
        let method = self.method.method(job.direct_faults);
        let has_other_way = self.method.has_another_way(method);
        let uncharged = HandBack::uncharged();
        let cause = outcome::cause(failure);
        let back = match rules::no_document(failure.kind, has_other_type, has_other_way) {
            NoDocument::StopRun => {
                self.outcomes.handed_back(subject, uncharged);
                return Returned::Fatal(failure.to_error(self.store.as_str()));
            }
            NoDocument::HandBack => uncharged,
            NoDocument::Excuse => uncharged.because(cause),
            NoDocument::AsPlainText => uncharged.next_time(NextTime::AsMime(FALLBACK_MIME)),
            NoDocument::LessDirect => uncharged.because(cause).next_time(NextTime::LessDirect),
            NoDocument::AttemptFailed => {
                self.outcomes.attempt_failed(subject, cause, None);
                return Returned::Done;
            }
            NoDocument::Reject => {
                self.outcomes.rejected(subject, cause, None);
                return Returned::Done;
            }
            NoDocument::Rescan => return self.changed(job, subject),
        };
        self.outcomes.handed_back(subject, back);
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
        let is_last = subject.attempts >= self.outcomes.max_attempts;
        let is_cancelled = || self.client.cancel(session).is_ok();
        match rules::unclear(failure.kind, is_last) {
            Unclear::StopRun => {
                self.in_doubt(subject, Charge::Nothing, failure);
                Returned::Fatal(failure.to_error(self.store.as_str()))
            }
            Unclear::CancelAndRescan if is_cancelled() => self.changed(job, subject),
            Unclear::CancelAndRescan => self.in_doubt(subject, Charge::Nothing, failure),
            Unclear::CancelAndFail if is_cancelled() => self.failed(job, subject, failure),
            Unclear::CancelAndFail => self.in_doubt(subject, Charge::Attempt, failure),
            Unclear::InDoubt(charge) => self.in_doubt(subject, charge, failure),
        }
    }

    fn in_doubt(&self, subject: &Subject, charge: Charge, failure: &Failure) -> Returned {
        self.outcomes
            .left_in_doubt(subject, charge, outcome::cause(failure));
        Returned::InDoubt
    }

    fn skip(&self, job: &Job, batch: i64) -> Returned {
        let after = self.outcomes.clone();
        self.outcomes
            .writer
            .send(Change::BatchSkipped { batch }, move |done| {
                after.committed(&done);
            });
        Returned::NotBegun(job.queued)
    }

    pub(super) fn not_begun(&self, job: &Job, batch: i64, failure: &Failure) -> Returned {
        match outcome::fatal(failure, self.store.as_str()) {
            Some(error) => Returned::Fatal(error),
            None => self.skip(job, batch),
        }
    }

    pub(super) fn body<'b>(&self, job: &'b Job, pace: &'b dyn Fn(usize) -> Pace) -> Body<'b> {
        let sha256 = job.content.sha256;
        Body::new(&job.root, &job.path, job.size_bytes, sha256, pace)
    }

    pub(super) fn pace(&self, bytes: usize) -> Pace {
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

pub(super) fn metadata(job: &Job) -> Vec<MetadataEntry> {
    let sha256 = &job.content.sha256;
    let mut metadata = identity::entries(&job.library_name, &job.path_value, sha256).to_vec();
    metadata.extend(job.metadata.iter().cloned());
    metadata
}

pub(super) fn new_document<'a>(
    job: &'a Job,
    name: &'a str,
    metadata: &'a [MetadataEntry],
) -> NewDocument<'a> {
    NewDocument {
        display_name: name,
        mime: &job.mime,
        size_bytes: job.size_bytes,
        metadata,
    }
}

/// Dropped only if the turn panics: whoever waits for this worker must not wait for ever.
struct TellOfPanic<'s>(UploadId, &'s Sender<(UploadId, Returned)>);

impl Drop for TellOfPanic<'_> {
    fn drop(&mut self) {
        let _ = self.1.send((self.0, Returned::Panicked));
    }
}
