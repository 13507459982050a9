//! Hands out what there is to do, pass after pass, until nothing is left or nothing moves.
//!
//! Owns what is in the workers' hands, the batch that is being filled, and what is known of rows in doubt.
//! Uploads, resumptions and deletions are tasks of the same workers, and nothing waits until all of them
//! are idle: a transfer that takes an hour keeps one worker and nobody else. Promises: recovery comes
//! first; a row is never in two hands; never more tasks about than the channel holds; what an open breaker
//! refuses stays pending for a later pass.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::backlog::Backlog;
use super::batch::Batches;
use super::selection::FROM_THE_START;
use crate::error::Error;
use crate::panic;
use crate::pipeline::Run;
use crate::pipeline::sending::worker::{Returned, Task};
use crate::report::{Event, units::count};
use crate::state::{Change, Job, UploadId};
use crate::throttle::gate::{PauseReason, Starts};

/// How often a waiting run looks around.
const TICK: Duration = Duration::from_millis(100);
/// The breaker's first two cool-downs, and some: an outage that is over by then needs no words.
const OUTAGE_TOLD_AFTER: Duration = Duration::from_secs(20);
/// Tasks waiting for a worker, per worker: enough that none waits for the reader.
pub const QUEUED_PER_WORKER: usize = 2;

/// How far a run has come with what waited when it began.
#[derive(Debug, Clone)]
pub struct Progressed {
    /// Files of the backlog that were really begun.
    pub started: u64,
    pub backlog: Backlog,
}

/// The thread that hands out tasks.
pub struct Passes<'r> {
    pub(super) run: &'r Run<'r>,
    tasks: Sender<Task>,
    answers: Receiver<(UploadId, Returned)>,
    /// Handed out, and not answered yet.
    in_hand: BTreeSet<UploadId>,
    /// Of these, what the pass handed out that is judged next.
    awaited: BTreeSet<UploadId>,
    /// While the breaker is half-open, the one whose outcome decides.
    probe: Option<UploadId>,
    batches: Batches,
    progressed: Progressed,
    /// Libraries whose files are not all queued yet.
    to_queue: Vec<i64>,
    /// Tasks that were handed out and have to be handed out again.
    put_off: u64,
    /// Rows whose session could not be asked: asked again in the next pass.
    pub(super) doubts: BTreeSet<UploadId>,
    /// What had moved when it was last looked what can be deleted, and when that was.
    cleaned_up: (u64, Instant),
    /// Rows of which something is left at the service that it refuses to delete: left to the next run.
    undeletable: BTreeSet<UploadId>,
    /// Rows whose session the service no longer knows, and since when nothing of theirs can happen.
    pub(super) lost: BTreeSet<UploadId>,
    pub(super) lost_since: Instant,
    /// That the service is gone while it has documents was said.
    told_of_outage: bool,
    /// The store was listed; once a run is all it takes.
    pub(super) listed: bool,
}

impl<'r> Passes<'r> {
    /// # Errors
    /// The database cannot be read.
    pub fn new(
        run: &'r Run<'r>,
        tasks: Sender<Task>,
        answers: Receiver<(UploadId, Returned)>,
    ) -> Result<Passes<'r>, Error> {
        Ok(Passes {
            run,
            tasks,
            answers,
            in_hand: BTreeSet::new(),
            awaited: BTreeSet::new(),
            probe: None,
            batches: Batches::default(),
            progressed: Progressed {
                started: 0,
                backlog: Backlog::up_to(run.last_queued()?),
            },
            to_queue: run.to_queue()?,
            put_off: 0,
            doubts: BTreeSet::new(),
            cleaned_up: (0, Instant::now()),
            undeletable: BTreeSet::new(),
            lost: BTreeSet::new(),
            lost_since: Instant::now(),
            told_of_outage: false,
            listed: false,
        })
    }

    /// All of it; returns when nothing is left to hand out and nothing is in anybody's hands, or when the
    /// run stops.
    pub fn run(&mut self) -> Result<(), Error> {
        let done = self.all();
        while !self.in_hand.is_empty() {
            self.take_answer();
        }
        done
    }

    fn all(&mut self) -> Result<(), Error> {
        self.recover()?;
        let mut idle = 0;
        let mut moved = self.moved();
        loop {
            let returned = self.returned();
            self.pass()?;
            if self.awaited.is_empty() {
                self.awaited = self.in_hand.clone();
            }
            if !self.wait_for_more(returned)? {
                return Ok(());
            }
            // What a pass was good for is known when all that it handed out is answered; until then other
            // passes follow it.
            if self.awaited.is_empty() {
                idle = match self.moved() > moved {
                    true => 0,
                    false => idle + 1,
                };
                moved = self.moved();
            }
            if idle >= self.run.settings.passes {
                if self.run.parts.gate.starts() == Starts::Refused {
                    return Ok(());
                }
                // What is still under way may be the progress that the passes lacked.
                self.wait_for_outcomes()?;
                if self.moved() == moved && !self.settle_lost() {
                    return Ok(());
                }
                idle = 0;
            }
            if !self.pause() {
                return Ok(());
            }
        }
    }

    /// Grows with every outcome.
    fn moved(&self) -> u64 {
        self.run.outcomes.tally.progress()
    }

    /// Grows with everything that has to be handed out once more.
    fn returned(&self) -> u64 {
        self.put_off + self.run.outcomes.tally.requeued.get()
    }

    /// Once through everything that is pending now. With `--limit` reached only what has come back to the
    /// queue is tried again: it is what was asked for.
    fn pass(&mut self) -> Result<(), Error> {
        // What was sent to the writer is there when the queue is read.
        self.run.parts.writer.commit(Change::Flush)?;
        self.ask_doubts()?;
        let (store, selection) = (self.run.settings.store.id, &self.run.settings.selection);
        let libraries = selection.libraries();
        let mut last = self.run.last_queued()?;
        let mut after = FROM_THE_START;
        loop {
            self.clean_up()?;
            if self.limit_reached() {
                after = after.max(self.progressed.backlog.start_of_the_rest());
            }
            let reader = &self.run.parts.reader;
            let mut page = reader.pending(store, &libraries, after, last)?;
            let Some(end) = page.last().map(|job| job.queued) else {
                if self.is_stopping() || self.limit_reached() || !self.queue_more()? {
                    break;
                }
                last = self.run.last_queued()?;
                continue;
            };
            after = end;
            // What a worker has in hand may have changed by the time that it is answered.
            page.retain(|job| !self.in_hand.contains(&job.upload));
            if !self.hand_out_page(page)? {
                break;
            }
        }
        self.batches.close(self.run)
    }

    /// `false` if nothing may start now.
    fn hand_out_page(&mut self, page: Vec<Job>) -> Result<bool, Error> {
        for job in page {
            if !self.run.settings.selection.selects(job.library, &job.path) {
                continue;
            }
            let is_of_backlog = self.progressed.backlog.holds(job.queued);
            if is_of_backlog && self.limit_reached() {
                continue;
            }
            if !self.may_start() {
                return Ok(false);
            }
            let left = self.run.wanted.saturating_sub(self.progressed.started);
            let batch = self.batches.place(self.run, left)?;
            self.progressed.started += u64::from(is_of_backlog);
            self.hand_out(Task::Upload { job, batch });
        }
        Ok(!self.is_stopping())
    }

    /// Queues one more page of the files that were known before their library was linked with the store;
    /// `false` if all are queued.
    fn queue_more(&mut self) -> Result<bool, Error> {
        let Some(&library) = self.to_queue.last() else {
            return Ok(false);
        };
        let store = self.run.settings.store.id;
        let queued = Change::Queued { library, store };
        let page = self.run.parts.writer.commit(queued)?;
        match page.row {
            0 => drop(self.to_queue.pop()),
            first => self.progressed.backlog.add(first, page.rows),
        }
        Ok(true)
    }

    /// Hands out the deletion of what nothing needs any more at the service: documents that newer content
    /// has replaced or that are purged, what failed attempts made, temporary files. How many there were.
    fn clean_up(&mut self) -> Result<usize, Error> {
        let (reader, store) = (&self.run.parts.reader, self.run.settings.store.id);
        let unwanted = self.delete_unwanted()? + self.purge()?;
        let remains =
            self.clean_up_with(Task::DeleteRemains, &|after| reader.leftovers(store, after))?;
        Ok(unwanted + remains)
    }

    fn delete_unwanted(&mut self) -> Result<usize, Error> {
        let (reader, store) = (&self.run.parts.reader, self.run.settings.store.id);
        self.clean_up_with(Task::DeleteUnwanted, &|after| reader.unwanted(store, after))
    }

    /// A page after the other is marked and handed out, so that a stop leaves the rest as it was.
    fn purge(&mut self) -> Result<usize, Error> {
        let Some(missing) = &self.run.settings.purge else {
            return Ok(0);
        };
        let store = self.run.settings.store.id;
        let mut handed_out = 0;
        let mut after = UploadId(0);
        while self.may_start() {
            let missing = missing.clone();
            let page = self.run.parts.writer.commit(Change::Purged {
                store,
                missing,
                after,
            })?;
            if page.rows == 0 {
                return Ok(handed_out);
            }
            after = UploadId(page.row);
            handed_out += self.delete_unwanted()?;
        }
        self.put_off += 1;
        Ok(handed_out)
    }

    fn clean_up_with(
        &mut self,
        task: fn(Job) -> Task,
        page: &dyn Fn(UploadId) -> Result<Vec<Job>, Error>,
    ) -> Result<usize, Error> {
        let mut handed_out = 0;
        let mut after = UploadId(0);
        loop {
            let mut page = page(after)?;
            let Some(last) = page.last() else {
                return Ok(handed_out);
            };
            after = last.upload;
            page.retain(|job| {
                !self.in_hand.contains(&job.upload) && !self.undeletable.contains(&job.upload)
            });
            for job in page {
                if !self.may_start() {
                    self.put_off += 1;
                    return Ok(handed_out);
                }
                self.hand_out(task(job));
                handed_out += 1;
            }
        }
    }

    /// Waits while a probe decides; `false` if the breaker is open or the run stops. What is left is
    /// then skipped: it stays as it is for a later pass.
    fn may_start(&mut self) -> bool {
        loop {
            match self.run.parts.gate.starts() {
                _ if self.is_stopping() => return false,
                Starts::Free => return true,
                Starts::Refused if self.probe.is_none() => return false,
                Starts::OneAtATime if self.probe.is_none() => return true,
                // Its answer is taken also where it was what shut the way: a pass is judged when all that it
                // handed out is answered.
                Starts::Refused | Starts::OneAtATime => self.take_answer(),
            }
        }
    }

    pub(super) fn hand_out(&mut self, task: Task) {
        let capacity = self.run.settings.concurrency * QUEUED_PER_WORKER;
        while self.in_hand.len() >= capacity {
            self.take_answer();
        }
        let upload = task.job().upload;
        if self.run.parts.gate.starts() == Starts::OneAtATime {
            self.probe = Some(upload);
        }
        // There is room: there are never more tasks about than the channel holds.
        if self.tasks.send(task).is_ok() {
            self.in_hand.insert(upload);
        }
    }

    /// Waits for one, but not for long.
    fn take_answer(&mut self) {
        match self.answers.recv_timeout(TICK) {
            Ok((upload, returned)) => {
                self.in_hand.remove(&upload);
                self.awaited.remove(&upload);
                if self.probe == Some(upload) {
                    self.probe = None;
                }
                self.answered(upload, returned);
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Every worker is gone: nothing more will come.
            Err(RecvTimeoutError::Disconnected) => {
                self.in_hand.clear();
                self.awaited.clear();
            }
        }
    }

    fn answered(&mut self, upload: UploadId, returned: Returned) {
        match returned {
            Returned::Done => {}
            // It keeps its place in the queue, and does not count for `--limit`.
            Returned::NotBegun(place) => {
                self.put_off += 1;
                let was_counted = self.progressed.backlog.holds(place);
                self.progressed.started -= u64::from(was_counted);
            }
            Returned::InDoubt => {
                self.put_off += 1;
                self.doubts.insert(upload);
            }
            Returned::Lost => {
                self.lost.insert(upload);
                self.lost_since = Instant::now();
            }
            Returned::Undeleted => self.put_off += 1,
            Returned::Undeletable => {
                self.undeletable.insert(upload);
            }
            Returned::Fatal(error) => (self.run.stop)(error),
            Returned::Panicked => (self.run.stop)(panic::error("worker")),
        }
    }

    /// While something is under way, its outcomes may make other things unneeded.
    fn clean_up_at_times(&mut self) -> Result<(), Error> {
        let moved = self.moved();
        if moved > self.cleaned_up.0 && self.cleaned_up.1.elapsed() >= TICK {
            self.clean_up()?;
            self.cleaned_up = (moved, Instant::now());
        }
        Ok(())
    }

    /// Until something has to be handed out once more; `false` if nothing can come any more, or the run
    /// stops.
    fn wait_for_more(&mut self, returned: u64) -> Result<bool, Error> {
        loop {
            if self.is_stopping() {
                return Ok(false);
            }
            if self.returned() > returned {
                return Ok(true);
            }
            if self.is_under_way()? {
                self.clean_up_at_times()?;
                self.wait_for_an_outcome();
                continue;
            }
            if self.returned() > returned {
                return Ok(true);
            }
            // The last outcomes may have made something unneeded.
            if self.clean_up()? == 0 && self.returned() == returned && !self.settle_lost() {
                return self.is_work_left();
            }
        }
    }

    /// Some outcome is still to come.
    fn is_under_way(&self) -> Result<bool, Error> {
        let any = || !self.in_hand.is_empty() || self.run.outcomes.polls.unsettled() > 0;
        if any() {
            return Ok(true);
        }
        // What workers have told the writer reaches the poll queue only with its commit.
        self.run.parts.writer.commit(Change::Flush)?;
        Ok(any())
    }

    fn wait_for_an_outcome(&mut self) {
        if !self.in_hand.is_empty() {
            return self.take_answer();
        }
        // Nothing is left to send: the rest is the service's time.
        self.tell_of_outage();
        let began = Instant::now();
        let outcomes = self.run.outcomes;
        let shutdown = &self.run.parts.shutdown;
        outcomes.polls.wait_settled(shutdown, TICK);
        outcomes.tally.indexing_ns.add_time(began.elapsed());
    }

    /// Once; whoever looks at a run that only waits wants to know for how long.
    fn tell_of_outage(&mut self) {
        let parts = self.run.parts;
        let paused = parts.gate.snapshot().paused;
        let is_gone = paused.is_some_and(|(why, _)| why == PauseReason::Outage);
        if !is_gone || std::mem::replace(&mut self.told_of_outage, true) {
            return;
        }
        parts.events.send(Event::Warning(format!(
            "the service fails while it has {} of this run: its word on each is waited for, up to {} min; Ctrl-C ends \
             the run at once, and the next one goes on",
            count(self.run.outcomes.polls.unsettled() as u64, "document"),
            parts.waits.news_within.as_secs().div_ceil(60)
        )));
    }

    fn wait_for_outcomes(&mut self) -> Result<(), Error> {
        while !self.is_stopping() && self.is_under_way()? {
            self.wait_for_an_outcome();
        }
        Ok(())
    }

    /// Until the breaker lets something through; `false` if the run stops.
    fn pause(&mut self) -> bool {
        let waits = &self.run.parts.waits;
        let until = Instant::now() + waits.pass_pause;
        let told_from = until + waits.scaled(OUTAGE_TOLD_AFTER);
        loop {
            match self.in_hand.is_empty() {
                true => drop(self.run.parts.shutdown.sleep(waits.scaled(TICK))),
                false => self.take_answer(),
            }
            // Looks at documents take each probe before a pass can, and so this may last.
            if Instant::now() >= told_from && self.run.outcomes.polls.unsettled() > 0 {
                self.tell_of_outage();
            }
            if self.is_stopping() {
                return false;
            }
            let refused = self.run.parts.gate.starts() == Starts::Refused;
            if Instant::now() >= until && !refused {
                return true;
            }
        }
    }

    /// Files that are pending, come what may have been missed.
    fn is_work_left(&self) -> Result<bool, Error> {
        let (reader, store) = (&self.run.parts.reader, self.run.settings.store.id);
        let selection = &self.run.settings.selection;
        let waiting = match self.limit_reached() {
            true => selection.come_back(reader, store, &self.progressed.backlog)?,
            false => selection.counts(reader, store)?.pending,
        };
        Ok(waiting > 0)
    }

    pub fn progressed(&self) -> Progressed {
        self.progressed.clone()
    }

    fn limit_reached(&self) -> bool {
        self.run
            .limit
            .is_some_and(|limit| self.progressed.started >= limit)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.run.parts.shutdown.is_stopping()
    }
}
