//! One run from its first row to its last: enqueue, threads, passes, join.
//!
//! Owns the threads of a run. Promises: every thread is joined; a run always ends; what it says at the
//! end is what the database says.

use std::sync::{Arc, Mutex};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::outcome::Outcomes;
use super::passes::{Passes, Progressed, QUEUED_PER_WORKER};
use super::poll_queue::PollQueue;
use super::poller::Poller;
use super::selection::FROM_THE_START;
use super::tally::Tally;
use super::worker::{Returned, Task, Worker};
use super::{Parts, Settings, leftovers, take_back, watch};
use crate::error::{Error, Kind};
use crate::panic;
use crate::report::Event;
use crate::shutdown::{Shutdown, Stop};
use crate::state::Change;

/// How it ended.
pub struct Ended {
    pub run: i64,
    pub tally: Arc<Tally>,
    /// The first error that stopped it.
    pub error: Option<Error>,
    /// Files that were asked for and still wait, or were not even begun.
    pub waiting: u64,
    /// Replaced documents, remains of failed attempts and temporary files are all deleted.
    pub all_gone: bool,
    pub elapsed: Duration,
}

pub fn run(settings: &Settings, parts: Parts) -> Result<(Ended, Parts), Error> {
    let began = Instant::now();
    let store = settings.store.id;
    let run = parts.writer.commit(Change::RunStarted { store })?.row;
    let taken_back = queue(settings, &parts)?;
    let before = settings.selection.counts(&parts.reader, store)?;
    let (on_the_way, on_the_way_bytes) = parts.reader.on_the_way(store)?;
    let tally = Arc::new(Tally::default());
    tally.recovered.add(on_the_way);
    tally.adopted.add(taken_back);
    let wanted = settings
        .limit
        .map_or(before.pending, |n| n.min(before.pending));
    parts.progress.run_started(
        wanted + on_the_way,
        // Which files `--limit` will meet is not known; their share of all is.
        share(before.pending_bytes, wanted, before.pending) + on_the_way_bytes,
    );
    parts.events.send(Event::RunStart {
        run,
        store: settings.store.display_name.clone(),
        pending: wanted,
        processing: before.processing,
        recovered: on_the_way,
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
    // What was asked for waits until it is begun; then only what comes back to the queue does.
    let mut progress = Progressed {
        started: 0,
        queue_end: parts.reader.last_queued(store)?,
    };
    // Nothing to do: no thread, no request.
    if wanted + on_the_way > 0 {
        progress = with_threads(settings, &parts, &outcomes, run, &fatal);
    }
    let mut all_gone = true;
    if !parts.shutdown.is_stopping() {
        match leftovers::delete(&settings.store, &parts) {
            Ok(gone) => all_gone = gone,
            Err(error) => stop_for(&fatal, &parts.shutdown, error),
        }
    }
    if !all_gone {
        parts.events.send(Event::Notice(
            "some replaced documents or temporary files could not be deleted at the service; the next run tries again"
                .to_owned(),
        ));
    }
    // What the last outcomes changed is with the writer; if it has failed, the numbers are those of its
    // last commit.
    let _ = parts.writer.commit(Change::Flush);
    let again = |after| {
        settings
            .selection
            .pending_after(&parts.reader, store, after)
    };
    let waiting = match settings.limit {
        None => again(FROM_THE_START)?,
        Some(_) => again(progress.queue_end)? + wanted.saturating_sub(progress.started),
    };
    let ended = Ended {
        run,
        tally,
        error: fatal.into_inner().unwrap_or_else(|e| e.into_inner()),
        waiting,
        all_gone,
        elapsed: began.elapsed(),
    };
    Ok((ended, parts))
}

/// `whole` in proportion to `part` of `all`.
fn share(whole: u64, part: u64, all: u64) -> u64 {
    let product = u128::from(whole) * u128::from(part);
    product
        .checked_div(u128::from(all))
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0)
}

/// Links the selected libraries with the store, so that scans queue for it from now on, and queues what
/// was known of them before; pages of it, each a transaction. How many documents were taken back instead.
fn queue(settings: &Settings, parts: &Parts) -> Result<u64, Error> {
    let store = settings.store.id;
    let taken_back = take_back::of_new_links(settings, parts)?;
    for library in settings.selection.ids() {
        parts.writer.send(Change::Linked { library, store }, |_| {});
    }
    if settings.retry_failed {
        for upload in settings.selection.failed(&parts.reader, store)? {
            parts.writer.send(Change::RetriedFailed { upload }, |_| {});
        }
    }
    parts.writer.commit(Change::Flush)?;
    for library in parts.reader.to_queue(store)? {
        let more = || settings.selection.holds(library) && !parts.shutdown.is_stopping();
        while more() && parts.writer.commit(Change::Queued { library, store })?.row != 0 {}
    }
    Ok(taken_back)
}

/// Starts workers, pollers and the watch, runs the passes, joins all.
fn with_threads(
    settings: &Settings,
    parts: &Parts,
    outcomes: &Outcomes,
    run: i64,
    fatal: &Mutex<Option<Error>>,
) -> Progressed {
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
                method: settings.method,
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
        let mut passes = Passes::new(settings, parts, outcomes, run, tasks, answers, &stop);
        let done = panic::caught("passes", || passes.run());
        if let Err(error) = done.and_then(|done| done) {
            stop(error);
        }
        let progressed = passes.progressed();
        // Workers end when no task can come, pollers when the queue is closed.
        drop(passes);
        outcomes.polls.close();
        drop(closed.0);
        progressed
    })
}

/// A thread that cannot be started, or panics, stops the run; those that run are joined with the scope.
fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    stop: &'scope (dyn Fn(Error) + Sync),
    body: impl FnOnce() + Send + 'scope,
) {
    let builder = thread::Builder::new().name(name.clone());
    let what = name.clone();
    let body = move || {
        if let Err(error) = panic::caught(&what, body) {
            stop(error);
        }
    };
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
