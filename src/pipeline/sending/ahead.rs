//! Intents written ahead: that of a small file goes to disk while the files before it are sent.
//!
//! Owns the way from the queue over the writer to the workers. A worker that wrote the intent itself would wait
//! for a sync of the disk with each file, which a memory card takes longer for than the service for the file.
//! Promises: a file reaches a worker only once its intent is on disk, or with the error; what is then not sent
//! after all goes back to the queue.

use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::worker::{Returned, Task, Worker};
use crate::error::Error;
use crate::pipeline::outcome::subject::Subject;
use crate::state::{HandBack, Intents, Job, Writer};

/// An intent that is on record, of which nothing has been sent.
pub struct Ahead {
    pub intents: Result<Intents, Error>,
    asked: Instant,
}

impl Ahead {
    /// Hands the file to the workers once its intent is on disk. There must be room for it.
    pub fn write(writer: &Writer, tasks: &Sender<Task>, job: Job, batch: i64) {
        let (asked, tasks) = (Instant::now(), tasks.clone());
        writer.intent_ahead(job.upload, batch, move |intents| {
            let ahead = Some(Ahead { intents, asked });
            let _ = tasks.send(Task::Upload { job, batch, ahead });
        });
    }

    /// How long a worker without work, since then, has waited for the disk.
    pub fn kept_waiting(&self, since: Instant) -> Duration {
        self.asked.max(since).elapsed()
    }
}

impl Worker<'_> {
    /// A worker that waits for an intent waits for the disk.
    pub(super) fn count_wait(&self, task: &Task, idle_since: Instant) {
        if let Task::Upload {
            ahead: Some(ahead), ..
        } = task
        {
            let waited = ahead.kept_waiting(idle_since);
            self.outcomes.tally.disk_ns.add_time(waited);
            self.outcomes.tally.busy_ns.add_time(waited);
        }
    }

    /// A file whose intent is on record, and of which nothing was sent, goes back to the queue.
    pub(super) fn not_begun(&self, task: Task) -> Returned {
        match task {
            Task::Upload {
                job,
                ahead: Some(ahead),
                ..
            } => self.take_back(&job, ahead),
            task => task.not_begun(),
        }
    }

    fn take_back(&self, job: &Job, ahead: Ahead) -> Returned {
        match ahead.intents {
            Ok(_) => {
                let subject = Subject::of(job);
                self.outcomes.handed_back(&subject, HandBack::uncharged());
                Returned::Done
            }
            Err(e) => Returned::Fatal(e),
        }
    }

    /// A small file of which nothing is at the service, and whose intent is on record.
    pub(super) fn upload_as_intended(&self, job: &Job, ahead: Ahead) -> Returned {
        if self.gate.skip_until().is_some() {
            return self.take_back(job, ahead);
        }
        match ahead.intents {
            Ok(intents) if self.one_request.takes(job) => self.send_in_one_request(job, &intents),
            // Meanwhile the service has been seen to refuse such requests, or to lose their answers.
            Ok((intent, _)) => self.started(job, &Subject::of(job), self.start(job, &intent)),
            Err(e) => Returned::Fatal(e),
        }
    }
}
