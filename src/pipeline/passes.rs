//! Pass after pass over what is pending, until nothing is left or nothing moves.
//!
//! Owns the batch that is being filled and what is known of rows in doubt. Promises: recovery comes
//! first; never more tasks about than the channel holds; what an open breaker refuses stays pending
//! for a later pass.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::outcome::Outcomes;
use super::poll_queue::{Poll, Searched};
use super::recovery::{self, LookUp, LookedUp};
use super::selection::FROM_THE_START;
use super::worker::{Returned, Task};
use super::{Parts, Settings};
use crate::error::Error;
use crate::panic;
use crate::proof;
use crate::report::Event;
use crate::state::{Change, Job, UploadId, UploadState};
use crate::throttle::gate::Starts;

/// How often a waiting run looks around.
const TICK: Duration = Duration::from_millis(100);
/// Tasks waiting for a worker, per worker: enough that none waits for the reader.
pub const QUEUED_PER_WORKER: usize = 2;
/// Pause between two passes when nothing else says how long.
const PASS_PAUSE: Duration = Duration::from_secs(1);

/// The batch that is being filled.
struct Batch {
    id: i64,
    number: i64,
    files: u64,
}

/// How far a run has come with what waited when it began.
#[derive(Debug, Clone, Copy)]
pub struct Progressed {
    /// Files that were really begun.
    pub started: u64,
    /// The end of the queue at that time: what has a place behind it has come back, or was found changed.
    pub queue_end: i64,
}

/// The thread that hands out tasks.
pub struct Passes<'r> {
    settings: &'r Settings,
    parts: &'r Parts,
    outcomes: &'r Outcomes,
    run: i64,
    tasks: Sender<Task>,
    answers: Receiver<Returned>,
    stop: &'r (dyn Fn(Error) + Sync),
    /// Tasks without an answer.
    outstanding: usize,
    batch: Option<Batch>,
    batch_number: i64,
    progressed: Progressed,
    /// Rows whose session the service no longer knows, and since when nothing of theirs can happen.
    lost: BTreeSet<UploadId>,
    lost_since: Instant,
    /// Rows of this pass that are still in doubt.
    doubts: usize,
    /// The store was listed; once a run is all it takes.
    listed: bool,
}

impl<'r> Passes<'r> {
    pub fn new(
        settings: &'r Settings,
        parts: &'r Parts,
        outcomes: &'r Outcomes,
        run: i64,
        tasks: Sender<Task>,
        answers: Receiver<Returned>,
        stop: &'r (dyn Fn(Error) + Sync),
    ) -> Passes<'r> {
        Passes {
            settings,
            parts,
            outcomes,
            run,
            tasks,
            answers,
            stop,
            outstanding: 0,
            batch: None,
            batch_number: 0,
            progressed: Progressed {
                started: 0,
                queue_end: i64::MAX,
            },
            lost: BTreeSet::new(),
            lost_since: Instant::now(),
            doubts: 0,
            listed: false,
        }
    }

    /// All of them; returns when nothing is left to hand out, or the run stops.
    pub fn run(&mut self) -> Result<(), Error> {
        self.progressed.queue_end = self.parts.reader.last_queued(self.settings.store.id)?;
        self.recover()?;
        let mut idle = 0;
        loop {
            let before = self.outcomes.tally.progress();
            self.pass()?;
            if self.is_stopping() {
                return Ok(());
            }
            if !self.is_work_left()? {
                self.wait_for_operations();
                if self.is_stopping() {
                    return Ok(());
                }
                if self.settle_lost() {
                    continue;
                }
                // Outcomes are with the writer before they count as settled; so it is asked once more.
                if !self.is_work_left()? {
                    return Ok(());
                }
            }
            idle = match self.outcomes.tally.progress() > before {
                true => 0,
                false => idle + 1,
            };
            if idle >= self.settings.passes {
                if self.parts.gate.starts() == Starts::Refused {
                    return Ok(());
                }
                self.wait_for_operations();
                if !self.settle_lost() {
                    return Ok(());
                }
                idle = 0;
            }
            if !self.pause() {
                return Ok(());
            }
            self.ask_doubts()?;
        }
    }

    /// The first stage: everything that an earlier run left on the way.
    fn recover(&mut self) -> Result<(), Error> {
        self.each_unfinished(|passes, job| {
            if let Some(job) = recovery::settle(job, passes.outcomes)
                && passes.is_wanted(&job)
            {
                passes.hand_out(job, None);
            }
        })
    }

    /// Rows of this run whose sessions are to be asked (again). What the poll queue holds is not in
    /// doubt.
    fn ask_doubts(&mut self) -> Result<(), Error> {
        if self.doubts == 0 {
            return Ok(());
        }
        self.doubts = 0;
        self.each_unfinished(|passes, job| {
            let doubtful = job.state == UploadState::Uploading && job.session.is_some();
            if doubtful && passes.is_wanted(&job) && !passes.lost.contains(&job.upload) {
                passes.hand_out(job, None);
            }
        })
    }

    /// Bytes of a current file are sent only if this call is about it. Content that is not current has to be
    /// cleared away whatever the call is about.
    fn is_wanted(&self, job: &Job) -> bool {
        !job.current || self.settings.selection.selects(job.library, &job.path)
    }

    /// Pages through the rows that are on the way, and waits for what came of it.
    fn each_unfinished(&mut self, mut each: impl FnMut(&mut Self, Job)) -> Result<(), Error> {
        let mut after = UploadId(0);
        loop {
            let store = self.settings.store.id;
            let page = self.parts.reader.unfinished(store, after)?;
            let Some(last) = page.last() else { break };
            after = last.upload;
            for job in page {
                if self.is_stopping() {
                    break;
                }
                each(self, job);
            }
        }
        self.drain();
        Ok(())
    }

    /// Once through everything that is pending now. With `--limit` reached only what has come back to the
    /// queue is tried again: it is what was asked for.
    fn pass(&mut self) -> Result<(), Error> {
        let store = self.settings.store.id;
        let selection = &self.settings.selection;
        let libraries = selection.libraries();
        let last = self.parts.reader.last_queued(store)?;
        let mut after = match self.limit_reached() {
            true => self.progressed.queue_end,
            false => FROM_THE_START,
        };
        'pages: loop {
            let page = self.parts.reader.pending(store, &libraries, after, last)?;
            let Some(end) = page.last() else { break };
            after = end.queued;
            for job in page {
                if !selection.selects(job.library, &job.path) {
                    continue;
                }
                let is_fresh = job.queued <= self.progressed.queue_end;
                if is_fresh && self.limit_reached() {
                    break 'pages;
                }
                if !self.may_start() {
                    break 'pages;
                }
                let batch = self.batch()?;
                self.progressed.started += u64::from(is_fresh);
                self.hand_out(job, Some(batch));
            }
        }
        self.close_batch()?;
        self.drain();
        Ok(())
    }

    /// Waits while a probe decides; `false` if the breaker is open or the run stops. What is left is
    /// then skipped: it stays pending for a later pass.
    fn may_start(&mut self) -> bool {
        loop {
            match self.parts.gate.starts() {
                _ if self.is_stopping() => return false,
                Starts::Free => return true,
                Starts::Refused => return false,
                Starts::OneAtATime if self.outstanding == 0 => return true,
                Starts::OneAtATime => self.take_answer(),
            }
        }
    }

    /// The batch that the next file counts in.
    fn batch(&mut self) -> Result<i64, Error> {
        if self
            .batch
            .as_ref()
            .is_some_and(|b| b.files >= self.settings.batch_size)
        {
            self.close_batch()?;
        }
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => {
                self.batch_number += 1;
                let number = self.batch_number;
                let run = self.run;
                let change = Change::BatchOpened { run, number };
                let id = self.parts.writer.commit(change)?.row;
                self.parts
                    .progress
                    .batch_opened(number, self.settings.batch_size);
                Batch {
                    id,
                    number,
                    files: 0,
                }
            }
        };
        batch.files += 1;
        let id = batch.id;
        self.batch = Some(batch);
        Ok(id)
    }

    fn close_batch(&mut self) -> Result<(), Error> {
        if let Some(batch) = self.batch.take() {
            self.parts.progress.batch_opened(batch.number, batch.files);
            let change = Change::BatchFilled {
                batch: batch.id,
                files: batch.files,
            };
            let done = self.parts.writer.commit(change);
            self.outcomes.committed(&done);
            done?;
        }
        Ok(())
    }

    fn hand_out(&mut self, job: Job, batch: Option<i64>) {
        let capacity = self.settings.concurrency * QUEUED_PER_WORKER;
        while self.outstanding >= capacity {
            self.take_answer();
        }
        // There is room: there are never more tasks about than the channel holds.
        if self.tasks.send(Task { job, batch }).is_ok() {
            self.outstanding += 1;
        }
    }

    /// Waits until no worker has anything in hand.
    fn drain(&mut self) {
        while self.outstanding > 0 {
            self.take_answer();
        }
    }

    fn take_answer(&mut self) {
        match self.answers.recv_timeout(TICK) {
            Ok(answer) => {
                self.outstanding -= 1;
                self.answered(answer);
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Every worker is gone: nothing more will come.
            Err(RecvTimeoutError::Disconnected) => self.outstanding = 0,
        }
    }

    fn answered(&mut self, answer: Returned) {
        match answer {
            Returned::Done => {}
            // It keeps its place in the queue, and does not count for `--limit`.
            Returned::NotBegun(place) => {
                let was_counted = place.is_some_and(|place| place <= self.progressed.queue_end);
                self.progressed.started -= u64::from(was_counted);
            }
            Returned::InDoubt => self.doubts += 1,
            Returned::Lost(upload) => {
                self.lost.insert(upload);
                self.lost_since = Instant::now();
            }
            Returned::Fatal(error) => (self.stop)(error),
            Returned::Panicked => (self.stop)(panic::error("worker")),
        }
    }

    /// For what the service itself could not tell: one listing a run, and so as late as can be. Says
    /// whether anything may come of it.
    fn settle_lost(&mut self) -> bool {
        let lost = self.outcomes.polls.take_lost();
        if !lost.is_empty() {
            self.lost.extend(lost);
            self.lost_since = Instant::now();
        }
        let mut silent = self.outcomes.polls.take_silent();
        if !silent.is_empty() {
            self.lost_since = Instant::now();
        }
        let wanted = !self.lost.is_empty() || !silent.is_empty();
        let lists = wanted && !self.listed && !self.is_stopping();
        let searched = match lists {
            true => self.look_up(&mut silent),
            false => Searched::InVain,
        };
        let polled_on = !silent.is_empty();
        // Not found: their operations are polled on.
        for poll in silent {
            self.outcomes.polls.push(Poll { searched, ..poll });
        }
        lists || polled_on
    }

    /// Leaves in `silent` what was not found, and says what that proves.
    fn look_up(&mut self, silent: &mut Vec<Poll>) -> Searched {
        self.listed = true;
        let look_up = LookUp {
            store: &self.settings.store.name,
            store_id: self.settings.store.id,
            client: &self.parts.client,
            reader: &self.parts.reader,
            shutdown: &self.parts.shutdown,
            outcomes: self.outcomes,
        };
        let mut silent_rows: BTreeSet<UploadId> = silent.iter().map(|p| p.upload).collect();
        let found = look_up.settle(&mut self.lost, &mut silent_rows, self.lost_since);
        silent.retain(|poll| silent_rows.contains(&poll.upload));
        match found {
            Ok(LookedUp::Settled) => return Searched::Absent,
            Ok(LookedUp::Stopped) => {}
            Ok(LookedUp::Unknown(why)) => {
                self.parts.events.send(Event::Notice(format!(
                    "{} files stay in doubt, and nothing of theirs is sent again: {why}",
                    self.lost.len() + silent.len()
                )));
            }
            Err(error) => (self.stop)(error),
        }
        Searched::InVain
    }

    /// Files that are pending, or whose session can be asked once more.
    fn is_work_left(&self) -> Result<bool, Error> {
        // What was sent to the writer must be there before it is counted.
        let store = self.settings.store.id;
        self.parts.writer.commit(Change::Flush)?;
        let after = match self.limit_reached() {
            true => self.progressed.queue_end,
            false => FROM_THE_START,
        };
        let pending = self
            .settings
            .selection
            .pending_after(&self.parts.reader, store, after)?;
        Ok(pending > 0 || self.doubts > 0)
    }

    /// Nothing is left to send: the rest is the service's time.
    fn wait_for_operations(&self) {
        let began = Instant::now();
        while self.outcomes.polls.unsettled() > 0 && !self.is_stopping() {
            self.outcomes.polls.wait_settled(&self.parts.shutdown, TICK);
        }
        self.outcomes.tally.indexing_ns.add_time(began.elapsed());
    }

    /// Until the breaker lets something through; `false` if the run stops.
    fn pause(&self) -> bool {
        let mut wait = proof::hasten(PASS_PAUSE);
        while self.parts.shutdown.sleep(wait) {
            if self.parts.gate.starts() != Starts::Refused {
                return true;
            }
            wait = TICK;
        }
        false
    }

    pub fn progressed(&self) -> Progressed {
        self.progressed
    }

    fn limit_reached(&self) -> bool {
        self.settings
            .limit
            .is_some_and(|limit| self.progressed.started >= limit)
    }

    fn is_stopping(&self) -> bool {
        self.parts.shutdown.is_stopping()
    }
}
