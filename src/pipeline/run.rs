//! One run from its first row to its last: links, threads, passes, join.
//!
//! Owns the threads of a run. Promises: every thread is joined; a run always ends; what it says at the
//! end is what the database says.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::dispatch::passes::{Passes, Progressed, QUEUED_PER_WORKER};
use super::following::pages::Pages;
use super::following::poll_queue::{Known, PollQueue};
use super::following::poller::Poller;
use super::following::times::OperationTimes;
use super::outcome::Outcomes;
use super::outcome::notes::Notes;
use super::outcome::tally::Tally;
use super::reconcile::take_back;
use super::record::{Counted, Record};
use super::sending::support::InOneRequest;
use super::sending::worker::{Returned, Task, Worker};
use super::{Parts, Run, RunSettings, forget, watch};
use crate::error::{Error, Kind};
use crate::panic;
use crate::poison;
use crate::report::Event;
use crate::report::progress::reading::What;
use crate::shutdown::{Shutdown, Stop};
use crate::state::{Change, UploadId};

/// Libraries that the report of a run names: its record is bounded.
const NAMED_MAX: usize = 20;

impl Run<'_> {
    fn counted(&self) -> Counted<'_> {
        Counted {
            run: self.id,
            client: &self.parts.client,
            gate: &self.parts.gate,
            outcomes: self.outcomes,
        }
    }

    /// Of the files that were asked for, `wanted`, how many still wait.
    fn waiting(&self, wanted: u64, progressed: Option<&Progressed>) -> Result<u64, Error> {
        let (selection, reader) = (&self.settings.selection, &self.parts.reader);
        let store = self.settings.store.id;
        match (self.limit, progressed) {
            (None, _) => Ok(selection.counts(reader, store)?.pending),
            // What was asked for waits until it is begun; then only what comes back to the queue does.
            (Some(_), Some(Progressed { started, backlog })) => {
                let come_back = selection.come_back(reader, store, backlog)?;
                Ok(come_back + wanted.saturating_sub(*started))
            }
            (Some(_), None) => Ok(wanted),
        }
    }
}

/// How it ended.
pub struct Ended {
    pub run: i64,
    pub tally: Arc<Tally>,
    /// The first error that stopped it.
    pub error: Option<Error>,
    /// Files that it was about at its start, those as well that an earlier run had left on the way.
    pub wanted: u64,
    /// Files that were asked for and still wait, or were not even begun.
    pub waiting: u64,
    /// Replaced documents, remains of failed attempts and temporary files are all deleted.
    pub all_gone: bool,
    pub elapsed: Duration,
}

/// # Errors
/// It has no row. Whatever comes after that is how the run ended.
pub fn run(settings: &RunSettings, parts: Parts) -> Result<(Ended, Parts), Error> {
    let began = Instant::now();
    let store = settings.store.id;
    let run = parts.writer.commit(Change::RunStarted { store })?.row;
    let mut ended = Ended {
        run,
        tally: Arc::default(),
        error: None,
        wanted: 0,
        waiting: 0,
        all_gone: false,
        elapsed: Duration::ZERO,
    };
    if let Err(error) = go(settings, &parts, began, &mut ended) {
        // It may be the database that cannot be read.
        let counts = settings.selection.counts(&parts.reader, store);
        let pending = counts.map_or(0, |counts| counts.pending);
        ended.elapsed = began.elapsed();
        ended.waiting = pending.min(settings.limit.unwrap_or(u64::MAX));
        if !parts.shutdown.explains(&error) {
            ended.error.get_or_insert(error);
        }
    }
    Ok((ended, parts))
}

fn go(
    settings: &RunSettings,
    parts: &Parts,
    began: Instant,
    ended: &mut Ended,
) -> Result<(), Error> {
    let (run, store) = (ended.run, settings.store.id);
    let tally = Arc::clone(&ended.tally);
    let taken_back = link(settings, parts)?;
    let before = settings.selection.counts(&parts.reader, store)?;
    let (on_the_way, on_the_way_bytes) = parts.reader.on_the_way(store)?;
    tally.recovered.add(on_the_way);
    tally.adopted.add(taken_back);
    let limit = settings.limit.filter(|n| *n < before.pending);
    let wanted = limit.unwrap_or(before.pending);
    ended.wanted = wanted + on_the_way;
    parts.progress.run_started(
        wanted + on_the_way,
        // Which files `--limit` will meet is not known; their share of all is.
        share(before.pending_bytes, wanted, before.pending) + on_the_way_bytes,
    );
    if settings.purge.is_none() {
        parts.events.send(Event::RunStart {
            run,
            store: settings.store.display_name.clone(),
            pending: wanted,
            processing: before.processing,
            recovered: on_the_way,
        });
    }
    let known = known(settings, parts, wanted + on_the_way)?;
    let outcomes = outcomes(settings, parts, tally, known);
    let fatal = Mutex::new(None);
    let shutdown = &parts.shutdown;
    let stop = |error: Error| stop_for(&fatal, shutdown, error);
    // Nothing to do: no thread, no request.
    let is_idle = wanted + on_the_way == 0 && settings.purge.is_none();
    let this = Run {
        id: run,
        settings,
        parts,
        outcomes: &outcomes,
        wanted,
        limit,
        stop: &stop,
    };
    let counted = this.counted();
    let mut record = Record::new(began, names(settings, parts)?);
    let deleting = parts.progress.deleting();
    let shown = deleting.begin(What::Deletion(settings.store.name.to_string()));
    deleting.expects(unneeded(settings, parts)?);
    let progressed = match !is_idle || is_anything_unneeded(settings, parts)? {
        true => with_threads(&this, &mut record),
        false => None,
    };
    drop(shown);
    keep(settings, parts, &outcomes);
    // What the last outcomes changed is with the writer; if it has failed, the numbers are those of its
    // last commit, and that is why the run stopped.
    if let Err(error) = forget::after(settings, parts) {
        stop(error);
    }
    ended.error = poison::lock(&fatal).take();
    let why = ended.error.as_ref().map(Error::to_string);
    let now = Instant::now();
    ended.elapsed = now - began;
    let details = record.end(&counted, now, why);
    parts.writer.send(Change::Sampled { run, details }, |_| {});
    ended.all_gone = parts.shutdown.is_stopping() || !is_anything_unneeded(settings, parts)?;
    if !ended.all_gone {
        parts.events.send(Event::Warning(
            "some replaced documents or temporary files could not be deleted at the service; the next run tries again"
                .to_owned(),
        ));
    }
    ended.waiting = this.waiting(wanted, progressed.as_ref())?;
    Ok(())
}

/// Where whatever becomes of a file is recorded, counted and said.
fn outcomes(settings: &RunSettings, parts: &Parts, tally: Arc<Tally>, known: Known) -> Outcomes {
    Outcomes {
        writer: parts.writer.clone(),
        polls: Arc::new(PollQueue::new(parts.waits, known)),
        tally,
        notes: Arc::new(Notes::default()),
        progress: Arc::clone(&parts.progress),
        events: Arc::clone(&parts.events),
        max_attempts: settings.max_attempts,
    }
}

/// What earlier runs have learned of the service. `files`: how many documents will be looked for.
fn known(settings: &RunSettings, parts: &Parts, files: u64) -> Result<Known, Error> {
    let (store, reader) = (&settings.store, &parts.reader);
    Ok(Known {
        times: OperationTimes::new(&reader.operation_times(&store.endpoint)?),
        pages: Pages::new(reader.bookmark(store.id)?, settings.documents, files),
    })
}

/// What this run has learned, for the next one.
fn keep(settings: &RunSettings, parts: &Parts, outcomes: &Outcomes) {
    let (store, polls) = (&settings.store, &outcomes.polls);
    let times_ms = polls.times();
    if !times_ms.is_empty() {
        let endpoint = store.endpoint.clone();
        let learned = Change::OperationTimes { endpoint, times_ms };
        parts.writer.send(learned, |_| {});
    }
    if let Some(bookmark) = polls.bookmark() {
        let store = store.id;
        parts
            .writer
            .send(Change::Bookmarked { store, bookmark }, |_| {});
    }
}

/// Whether something is left at the service that nothing needs any more.
fn is_anything_unneeded(settings: &RunSettings, parts: &Parts) -> Result<bool, Error> {
    let (reader, store, start) = (&parts.reader, settings.store.id, UploadId(0));
    Ok(!reader.unwanted(store, start)?.is_empty() || !reader.leftovers(store, start)?.is_empty())
}

/// The first few of the libraries that the run is about, by name.
fn names(settings: &RunSettings, parts: &Parts) -> Result<Vec<String>, Error> {
    let ids: BTreeSet<i64> = match &settings.purge {
        Some(missing) => missing.libraries.iter().copied().collect(),
        None => settings.selection.ids().collect(),
    };
    let all = parts.reader.libraries()?.into_iter();
    let about = all.filter(|library| ids.contains(&library.id));
    Ok(about.map(|library| library.name).take(NAMED_MAX).collect())
}

/// Documents that are to be deleted, as far as that is known before the run: all that a purge is about.
fn unneeded(settings: &RunSettings, parts: &Parts) -> Result<u64, Error> {
    let store = settings.store.id;
    let begun = parts.reader.unwanted_count(store)?;
    Ok(begun + settings.purge_documents)
}

/// `whole` in proportion to `part` of `all`.
fn share(whole: u64, part: u64, all: u64) -> u64 {
    let product = u128::from(whole) * u128::from(part);
    product
        .checked_div(u128::from(all))
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0)
}

/// Links the selected libraries with the store, so that scans queue for it from now on; what was known of
/// them before is queued while the run is under way. How many documents were taken back instead of sent.
fn link(settings: &RunSettings, parts: &Parts) -> Result<u64, Error> {
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
    Ok(taken_back)
}

/// Starts workers, pollers and the watch, runs the passes, joins all.
fn with_threads(run: &Run<'_>, record: &mut Record) -> Option<Progressed> {
    let (settings, parts) = (run.settings, run.parts);
    let (outcomes, stop) = (run.outcomes, run.stop);
    let workers = settings.concurrency;
    let capacity = workers * (QUEUED_PER_WORKER + 1);
    let (tasks, task_queue) = bounded::<Task>(capacity);
    // One answer a task: it can never be full.
    let (returned, answers) = bounded::<(UploadId, Returned)>(capacity);
    let closed = bounded::<()>(0);
    let one_request = InOneRequest::of(settings.store.id, settings.store.one_request);
    let one_request = &one_request;
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
                one_request,
                types: &settings.types,
                waits: &parts.waits,
                outcomes: outcomes.clone(),
            };
            let (queue, returned) = (task_queue.clone(), returned.clone());
            let body = move || worker.run(&queue, &returned);
            spawn(scope, format!("worker-{number}"), stop, body);
        }
        // A page looks at twenty files, and a file costs a worker a whole request.
        for number in 0..workers.div_ceil(2) + 1 {
            let poller = Poller {
                store: &settings.store.name,
                client: &parts.client,
                shutdown: &parts.shutdown,
                waits: &parts.waits,
                outcomes: outcomes.clone(),
                fatal: stop,
            };
            let body = move || poller.run();
            spawn(scope, format!("poller-{number}"), stop, body);
        }
        let watching = closed.1;
        let counted = run.counted();
        let body = move || watch::run(&counted, record, &watching);
        spawn(scope, "watch".to_owned(), stop, body);
        drop((task_queue, returned));
        let mut progressed = None;
        let done = panic::caught("passes", || -> Result<(), Error> {
            let mut passes = Passes::new(run, tasks, answers)?;
            let done = passes.run();
            progressed = Some(passes.progressed());
            done
        });
        if let Err(error) = done.and_then(|done| done) {
            stop(error);
        }
        // Workers end when no task can come; pollers end when the queue is closed.
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
    poison::lock(fatal).get_or_insert(error);
    shutdown.stop(Stop::Error);
}
