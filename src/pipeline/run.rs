//! One run: recover, pass after pass, join, report.
//!
//! Owns the threads of a run and the order of its stages. Promises: every thread is joined; a run
//! always ends; what it says at the end is what the database says.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::outcome::{self, Outcomes};
use super::poll_queue::PollQueue;
use super::poller::Poller;
use super::recovery::{self, Listed, Listing, Next};
use super::replace;
use super::shutdown::{Shutdown, Stop};
use super::tally::Tally;
use super::watch;
use super::worker::{Returned, Task, Worker};
use crate::client::Client;
use crate::error::{Error, Kind};
use crate::report::{Event, EventSender, Progress};
use crate::state::reader::StoreRow;
use crate::state::{Change, Reader, UploadId, UploadState, Writer};
use crate::throttle::bandwidth::Bandwidth;
use crate::throttle::gate::{Gate, Starts};

/// How often a waiting run looks around.
const TICK: Duration = Duration::from_millis(100);
/// Tasks waiting for a worker, per worker: enough that none waits for the reader.
const QUEUED_PER_WORKER: usize = 2;
/// Pause between two passes when nothing else says how long.
const PASS_PAUSE: Duration = Duration::from_secs(1);

pub struct Settings {
    pub store: StoreRow,
    pub concurrency: usize,
    pub batch_size: u64,
    pub limit: Option<u64>,
    pub retry_failed: bool,
    pub passes: u32,
    pub max_attempts: u32,
    pub bandwidth: Option<Bandwidth>,
}

/// What the run is built from; every part has its one owner elsewhere.
pub struct Parts {
    pub client: Client,
    pub gate: Arc<Gate>,
    pub shutdown: Arc<Shutdown>,
    pub writer: Writer,
    pub reader: Reader,
    pub progress: Arc<Progress>,
    pub events: EventSender,
}

/// How it ended.
pub struct Ended {
    pub run: i64,
    pub tally: Arc<Tally>,
    /// The first error that stopped it.
    pub error: Option<Error>,
    /// Ended because `--limit` files were started.
    pub limited: bool,
    pub elapsed: Duration,
}

pub fn run(settings: &Settings, parts: Parts) -> Result<(Ended, Parts), Error> {
    let began = Instant::now();
    let store = settings.store.id;
    let run = parts.writer.commit(Change::RunStarted { store })?.row;
    enqueue(&parts, store, settings.retry_failed)?;
    let (pending, pending_bytes) = parts.reader.in_state(store, UploadState::Pending)?;
    let (uploading, uploading_bytes) = parts.reader.in_state(store, UploadState::Uploading)?;
    let (processing, processing_bytes) = parts.reader.in_state(store, UploadState::Processing)?;
    let tally = Arc::new(Tally::default());
    tally.recovered.add(uploading + processing);
    let wanted = settings.limit.map_or(pending, |limit| limit.min(pending));
    parts.progress.run_started(
        wanted + uploading + processing,
        pending_bytes + uploading_bytes + processing_bytes,
    );
    parts.events.send(Event::RunStart {
        run,
        store: settings.store.display_name.clone(),
        pending,
        processing,
        recovered: uploading + processing,
    });
    let outcomes = Outcomes {
        writer: parts.writer.clone(),
        polls: Arc::new(PollQueue::new()),
        tally: Arc::clone(&tally),
        progress: Arc::clone(&parts.progress),
        events: parts.events.clone(),
        max_attempts: settings.max_attempts,
    };
    let fatal = Mutex::new(None);
    let mut limited = false;
    // Nothing to do: no thread, no request.
    if pending + uploading + processing > 0 {
        limited = with_threads(settings, &parts, &outcomes, run, &fatal);
    }
    if !parts.shutdown.is_stopping() {
        let replaced = replace::replaced(&settings.store, &parts, &outcomes);
        if let Err(error) = replaced {
            stop_for(&fatal, &parts.shutdown, error);
        }
    }
    let ended = Ended {
        run,
        tally,
        error: fatal.into_inner().unwrap_or_else(|e| e.into_inner()),
        limited,
        elapsed: began.elapsed(),
    };
    Ok((ended, parts))
}

/// Every present file gets its row; pages of them, each a transaction.
fn enqueue(parts: &Parts, store: i64, retry_failed: bool) -> Result<(), Error> {
    if retry_failed {
        parts.writer.commit(Change::RetriedFailed { store })?;
    }
    let base = parts.reader.last_queued(store)?;
    let mut after = 0;
    while !parts.shutdown.is_stopping() {
        let change = Change::Enqueued { store, after, base };
        after = match parts.writer.commit(change)?.row {
            0 => break,
            last => last,
        };
    }
    Ok(())
}

/// Starts workers, pollers and the watch, runs the passes, joins all. Says whether `--limit` ended it.
fn with_threads(
    settings: &Settings,
    parts: &Parts,
    outcomes: &Outcomes,
    run: i64,
    fatal: &Mutex<Option<Error>>,
) -> bool {
    let workers = settings.concurrency;
    let capacity = workers * (QUEUED_PER_WORKER + 1);
    let (tasks, task_queue) = bounded::<Task>(capacity);
    // One answer a task: it can never be full.
    let (returned, answers) = bounded::<Returned>(capacity);
    let shutdown = &parts.shutdown;
    let stop = |error: Error| stop_for(fatal, shutdown, error);
    let closed = crossbeam_channel::bounded::<()>(0);
    thread::scope(|scope| {
        for number in 0..workers {
            let worker = Worker {
                number,
                store: &settings.store.name,
                client: &parts.client,
                gate: &parts.gate,
                shutdown: &parts.shutdown,
                bandwidth: settings.bandwidth.as_ref(),
                outcomes: outcomes.clone(),
            };
            let (queue, returned) = (task_queue.clone(), returned.clone());
            let body = move || worker.run(&queue, &returned);
            spawn(scope, format!("worker-{number}"), &stop, body);
        }
        // A file costs a worker two round trips and a poller one.
        for number in 0..workers.div_ceil(2) + 1 {
            let poller = Poller {
                store: settings.store.name.as_str(),
                client: &parts.client,
                shutdown: &parts.shutdown,
                outcomes: outcomes.clone(),
                fatal: &stop,
            };
            let body = move || poller.run();
            spawn(scope, format!("poller-{number}"), &stop, body);
        }
        let watching = closed.1;
        let (gate, client) = (&parts.gate, &parts.client);
        let (progress, events) = (&parts.progress, &parts.events);
        let body = move || watch::run(gate, client, progress, events, &watching);
        spawn(scope, "watch".to_owned(), &stop, body);
        drop((task_queue, returned));
        let mut passes = Passes {
            settings,
            parts,
            outcomes,
            run,
            tasks,
            answers,
            stop: &stop,
            outstanding: 0,
            batch: None,
            batch_number: 0,
            started: 0,
            lost: BTreeSet::new(),
            lost_since: Instant::now(),
            doubts: 0,
            listed: false,
        };
        if let Err(error) = passes.run() {
            stop(error);
        }
        let limited = passes.limit_reached();
        // Workers end when no task can come, pollers when the queue is closed.
        drop(passes);
        outcomes.polls.close();
        drop(closed.0);
        limited
    })
}

/// A thread that cannot be started stops the run; those that run are joined with the scope.
fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    stop: &dyn Fn(Error),
    body: impl FnOnce() + Send + 'scope,
) {
    let builder = thread::Builder::new().name(name.clone());
    if let Err(e) = builder.spawn_scoped(scope, body) {
        stop(Error::new(
            Kind::System,
            name,
            format!("thread cannot be started: {e}"),
            "lower --concurrency",
        ));
    }
}

fn stop_for(fatal: &Mutex<Option<Error>>, shutdown: &Shutdown, error: Error) {
    fatal
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .get_or_insert(error);
    shutdown.stop(Stop::Error);
}

/// The batch that is being filled.
struct Batch {
    id: i64,
    number: i64,
    files: u64,
}

/// The thread that hands out tasks.
struct Passes<'r> {
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
    /// Fresh files handed out, for `--limit`.
    started: u64,
    /// Rows whose session the service no longer knows, and since when nothing of theirs can happen.
    lost: BTreeSet<UploadId>,
    lost_since: Instant,
    /// Rows of this pass that are still in doubt.
    doubts: usize,
    /// The store was listed; once a run is all it takes.
    listed: bool,
}

impl Passes<'_> {
    fn run(&mut self) -> Result<(), Error> {
        self.recover()?;
        let mut idle = 0;
        loop {
            let before = self.outcomes.tally.progress();
            self.pass()?;
            if self.is_stopping() {
                return Ok(());
            }
            self.settle_lost();
            if !self.is_work_left()? || self.limit_reached() {
                self.wait_for_operations();
                if self.is_stopping() || self.limit_reached() || !self.is_work_left()? {
                    return Ok(());
                }
            }
            idle = match self.outcomes.tally.progress() > before {
                true => 0,
                false => idle + 1,
            };
            if idle >= self.settings.passes {
                if self.parts.gate.starts() != Starts::Refused {
                    self.wait_for_operations();
                }
                return Ok(());
            }
            if !self.pause() {
                return Ok(());
            }
            self.ask_doubts()?;
        }
    }

    /// The first stage: everything that an earlier run left on the way.
    fn recover(&mut self) -> Result<(), Error> {
        let mut after = UploadId(0);
        loop {
            let page = self
                .parts
                .reader
                .unfinished(self.settings.store.id, after)?;
            let Some(last) = page.last() else { break };
            after = last.upload;
            for job in page {
                if self.is_stopping() {
                    break;
                }
                match recovery::settle(job, self.outcomes) {
                    Next::Settled => {}
                    Next::Ask(job) => self.hand_out(*job, None),
                }
            }
        }
        self.drain();
        Ok(())
    }

    /// Rows of this run whose sessions are to be asked (again). What the poll queue holds is not in
    /// doubt.
    fn ask_doubts(&mut self) -> Result<(), Error> {
        if self.doubts == 0 {
            return Ok(());
        }
        self.doubts = 0;
        let mut after = UploadId(0);
        loop {
            let page = self
                .parts
                .reader
                .unfinished(self.settings.store.id, after)?;
            let Some(last) = page.last() else { break };
            after = last.upload;
            for job in page {
                let doubtful = job.state == UploadState::Uploading && job.session.is_some();
                if doubtful && !self.lost.contains(&job.upload) && !self.is_stopping() {
                    self.hand_out(job, None);
                }
            }
        }
        self.drain();
        Ok(())
    }

    /// Once through everything that is pending now.
    fn pass(&mut self) -> Result<(), Error> {
        let store = self.settings.store.id;
        let last = self.parts.reader.last_queued(store)?;
        let mut after = i64::MIN;
        'pages: loop {
            let page = self.parts.reader.pending(store, after, last)?;
            let Some(end) = page.last() else { break };
            after = end.queued;
            for job in page {
                if self.limit_reached() || !self.may_start() {
                    break 'pages;
                }
                let batch = self.batch()?;
                self.started += 1;
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

    fn hand_out(&mut self, job: crate::state::Job, batch: Option<i64>) {
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
            Returned::Done | Returned::Skipped | Returned::NotStarted => {}
            Returned::InDoubt => self.doubts += 1,
            Returned::Lost(upload) => {
                self.lost.insert(upload);
                self.lost_since = Instant::now();
            }
            Returned::Fatal(error) => (self.stop)(error),
            Returned::Panicked => (self.stop)(outcome::panicked("worker")),
        }
    }

    /// One listing a run, for what the service itself could not tell.
    fn settle_lost(&mut self) {
        if self.lost.is_empty() || self.listed {
            return;
        }
        self.listed = true;
        let listing = Listing {
            store: &self.settings.store.name,
            store_id: self.settings.store.id,
            client: &self.parts.client,
            reader: &self.parts.reader,
            shutdown: &self.parts.shutdown,
            outcomes: self.outcomes,
        };
        match listing.settle(self.lost.clone(), self.lost_since) {
            Listed::Settled => self.lost.clear(),
            Listed::Unknown => {}
            Listed::Fatal(error) => (self.stop)(error),
        }
    }

    /// Files that are pending, or whose session can be asked once more.
    fn is_work_left(&self) -> Result<bool, Error> {
        // What was sent to the writer must be there before it is counted.
        let store = self.settings.store.id;
        self.parts.writer.commit(Change::Flush)?;
        let (pending, _) = self.parts.reader.in_state(store, UploadState::Pending)?;
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
        let mut wait = PASS_PAUSE;
        while self.parts.shutdown.sleep(wait) {
            if self.parts.gate.starts() != Starts::Refused {
                return true;
            }
            wait = TICK;
        }
        false
    }

    fn limit_reached(&self) -> bool {
        self.settings
            .limit
            .is_some_and(|limit| self.started >= limit)
    }

    fn is_stopping(&self) -> bool {
        self.parts.shutdown.is_stopping()
    }
}
