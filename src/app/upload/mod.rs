//! An upload: the lock, a scan if folders are given, the store, a run, and what came of it.

use std::num::NonZeroU64;
use std::sync::Arc;

use self::bottleneck::Ran;
use super::connect::{self, Pace, Reached};
use super::folders::Folders;
use super::scan;
use super::{Call, EXIT_INTERRUPTED, EXIT_TERMINATED, Target, exit_of_stop};
use crate::app::folders::describe;
use crate::error::Error;
use crate::library;
use crate::pipeline::dispatch::selection::Selection;
use crate::pipeline::reconcile::store::{Resolve, Resolved};
use crate::pipeline::rules::MethodChoice;
use crate::pipeline::run::{self, Ended};
use crate::pipeline::{self, Parts};
use crate::report::{Event, EventSink, Next, Summary};
use crate::scan::{Filter, SkipReason};
use crate::shutdown::Shutdown;
use crate::state::reader::figures::{FailedFile, Reason, UploadCounts};
use crate::state::reader::{LibraryRow, StoreRow};
use crate::state::{Change, Lease, Reader, RunTotals, UploadId, UploadState, Writer, writer};
use crate::throttle::bandwidth::Bandwidth;
use crate::throttle::{Concurrency, Rpm};

/// What held a run back.
mod bottleneck;

/// What an upload would send.
pub mod plan;

/// What was asked for.
pub struct Options {
    pub target: Target,
    /// Scanned first; without any, what is recorded is sent.
    pub folders: Folders,
    pub rpm: Rpm,
    /// Bytes a second, all uploads together.
    pub bandwidth: Option<NonZeroU64>,
    pub method: MethodChoice,
    pub concurrency: Concurrency,
    pub batch_size: u64,
    pub limit: Option<u64>,
    pub retry_failed: bool,
    pub recreate_store: bool,
    pub passes: u32,
    pub max_attempts: u32,
}

/// # Errors
/// What kept the run from beginning; one that stopped it is in the summary, with what was done until then.
pub fn run(call: &Call<'_>, options: &Options) -> Result<Summary, Error> {
    let started = writer::start(call.database, Arc::clone(call.shutdown), &call.waits)?;
    if let Some(dead) = &started.taken_over {
        call.events.send(Event::Warning(format!(
            "took the lock over from a dead objlib (pid {} on {})",
            dead.pid, dead.host
        )));
    }
    if started.looks_again {
        call.events.send(Event::Notice(format!(
            "{} may be an older copy of itself: what its stores hold is looked at before anything is sent",
            call.database.display()
        )));
    }
    let done = scan_then_run(&Upload {
        call,
        options,
        writer: started.thread.writer(),
        lease: started.thread.lease(),
    });
    let closed = started.thread.close();
    let mut summary = done?;
    if let Err(error) = closed {
        stopped(&mut summary, error);
    }
    Ok(summary)
}

/// One upload, with the lock in its hands.
struct Upload<'a> {
    call: &'a Call<'a>,
    options: &'a Options,
    writer: Writer,
    lease: Arc<Lease>,
}

fn scan_then_run(upload: &Upload<'_>) -> Result<Summary, Error> {
    let Upload { call, options, .. } = upload;
    let reader = Reader::open(call.database)?;
    let target = &options.target;
    let into = connect::known_store(&reader, &target.endpoint_name, &target.store)?;
    let scanned = scan::record(call, &options.folders, &upload.writer, into.as_ref())?;
    if call.shutdown.is_stopping() {
        return Ok(Summary {
            exit: exit_of_stop(call.shutdown).unwrap_or(0),
            ..Summary::default()
        });
    }
    connect::with_service(&options.target.service, call.database, |reached| {
        transfer(upload, &scanned.libraries, reader, reached)
    })
}

fn transfer(
    upload: &Upload<'_>,
    scanned: &[LibraryRow],
    reader: Reader,
    reached: Reached,
) -> Result<Summary, Error> {
    let Upload { call, options, .. } = upload;
    let target = &options.target;
    let pace = Pace {
        rpm: options.rpm,
        concurrency: options.concurrency,
        lease: Arc::clone(&upload.lease),
        shutdown: call.shutdown,
        waits: call.waits,
    };
    let (gate, client) = connect::client(target, reached, pace, &reader)?;
    let resolve = Resolve {
        wanted: &target.store,
        endpoint: &target.endpoint_name,
        reader: &reader,
        writer: &upload.writer,
        client: &client,
        events: &*call.events,
        shutdown: call.shutdown,
        waits: &call.waits,
        patience: options.passes,
    };
    let Resolved {
        row: store,
        documents,
    } = resolve.or_create(options.recreate_store)?;
    let folders = &options.folders;
    let libraries = match folders.dirs.is_empty() {
        true => libraries_for(&store, folders.name.as_deref(), &reader, &*call.events)?,
        false => scanned.to_vec(),
    };
    let settings = pipeline::RunSettings {
        store,
        documents,
        selection: selection(&libraries, folders)?,
        purge: None,
        purge_documents: 0,
        concurrency: options.concurrency.ceiling(),
        batch_size: options.batch_size,
        limit: options.limit,
        retry_failed: options.retry_failed,
        passes: options.passes,
        max_attempts: options.max_attempts,
        bandwidth: options.bandwidth.map(Bandwidth::new),
        method: options.method,
        types: describe::types(&reader)?,
    };
    let parts = Parts {
        client,
        gate,
        shutdown: Arc::clone(call.shutdown),
        writer: upload.writer.clone(),
        reader,
        progress: Arc::clone(call.progress),
        events: Arc::clone(&call.events),
        waits: call.waits,
    };
    let (ended, parts) = run::run(&settings, parts)?;
    Ok(finish(&settings, ended, &parts, options))
}

/// Without a folder, what goes into the store is what is linked with it, and libraries that were scanned
/// and never sent anywhere.
fn libraries_for(
    store: &StoreRow,
    name: Option<&str>,
    reader: &Reader,
    events: &dyn EventSink,
) -> Result<Vec<LibraryRow>, Error> {
    if let Some(name) = name {
        return Ok(vec![library::named(reader, name)?]);
    }
    let mut libraries = reader.linked(store.id)?;
    for library in reader.never_sent()? {
        let whole = library.scanned_ms.is_some();
        events.send(Event::Notice(match whole {
            true => format!(
                "library `{}` ({}) was never sent anywhere: from now on it goes into store `{}`",
                library.name,
                library.root.display(),
                store.display_name
            ),
            false => format!(
                "library `{}` ({}) is left out: no scan of it has come to its end yet",
                library.name,
                library.root.display()
            ),
        }));
        libraries.extend(whole.then_some(library));
    }
    Ok(libraries)
}

/// The filters of this call, for each library.
pub(super) fn selection(libraries: &[LibraryRow], folders: &Folders) -> Result<Selection, Error> {
    libraries
        .iter()
        .map(|library| Ok((library.id, Filter::new(&library.root, &folders.options)?)))
        .collect()
}

/// The first error is why it stopped.
fn stopped(summary: &mut Summary, error: Error) {
    if summary.error.is_none() {
        summary.exit = error.kind.exit_code();
        summary.error = Some(Box::new(error));
    }
}

/// What the database says at the end of a run.
#[derive(Default)]
struct Known {
    counts: UploadCounts,
    /// Uploads on their way, those of content that has since changed as well.
    on_the_way: u64,
    failed_by: Vec<(Reason, Vec<String>)>,
    waiting_by: Vec<Reason>,
    unreadable: u64,
    gone: u64,
    beyond_limit: u64,
}

impl Known {
    fn read(
        settings: &pipeline::RunSettings,
        ended: &Ended,
        reader: &Reader,
    ) -> Result<Known, Error> {
        let (store, selection) = (settings.store.id, &settings.selection);
        let counts = selection.counts(reader, store)?;
        let libraries = selection.libraries();
        let outdated = reader.outdated_on_the_way(store, &libraries)?;
        let waiting = counts.pending + counts.uploading;
        Ok(Known {
            on_the_way: counts.uploading + counts.processing + outdated,
            failed_by: failed_by(reader, store, counts.failed)?,
            waiting_by: causes_of(reader, store, UploadState::Pending, waiting)?,
            unreadable: unreadable(selection, reader)?,
            gone: reader.purgeable_files(store, &libraries)?,
            beyond_limit: counts.pending.saturating_sub(ended.waiting),
            counts,
        })
    }

    /// What the run itself has seen, of a database that cannot be read any more.
    fn seen(ended: &Ended) -> Known {
        let tally = &ended.tally;
        let (indexed, failed) = (tally.indexed.get(), tally.failed.get());
        let done = indexed + failed + tally.skipped.get();
        let counts = UploadCounts {
            pending: ended.wanted.saturating_sub(done),
            indexed,
            failed,
            ..UploadCounts::default()
        };
        Known {
            counts,
            ..Known::default()
        }
    }
}

/// Counts what the database says now, and has it recorded.
fn finish(
    settings: &pipeline::RunSettings,
    mut ended: Ended,
    parts: &Parts,
    options: &Options,
) -> Summary {
    let known = Known::read(settings, &ended, &parts.reader).unwrap_or_else(|error| {
        ended.error.get_or_insert(error);
        Known::seen(&ended)
    });
    let counts = &known.counts;
    let requests = parts.client.counts();
    let throttle = parts.gate.snapshot();
    let left = Left {
        waiting: ended.waiting + known.on_the_way,
        failed: counts.failed + known.unreadable,
    };
    let exit = exit(&ended, &left, &parts.shutdown);
    let limited_by = bottleneck::find(&Ran {
        tally: &ended.tally,
        throttle,
        elapsed: ended.elapsed,
        workers: settings.concurrency,
        has_ceiling: matches!(options.rpm, Rpm::Ceiling(_)),
        error: ended.error.as_ref(),
    });
    let tally = &ended.tally;
    let totals = RunTotals {
        recovered: tally.recovered.get(),
        indexed: tally.indexed.get(),
        failed: tally.failed.get(),
        skipped: tally.skipped.get(),
        pending: counts.pending + counts.uploading,
        processing: counts.processing,
        bytes: tally.bytes.get(),
        requests: requests.requests,
        polls: requests.polls,
        retries: requests.retries,
        throttled: throttle.throttled,
        resumed: tally.resumed.get(),
        adopted: tally.adopted.get(),
    };
    let mut summary = Summary {
        totals,
        seconds: ended.elapsed.as_secs_f64(),
        limited_by,
        exit,
        dry_run: false,
        error: ended.error.clone().map(Box::new),
        indexed_in_all: counts.indexed,
        failed_in_all: counts.failed,
        failed_by: known.failed_by,
        waiting_by: known.waiting_by,
        unreadable: known.unreadable,
        gone: known.gone,
        beyond_limit: known.beyond_limit,
        run: Some(ended.run),
        next: Next::default(),
    };
    // After a failed commit nothing can be written; the numbers are those of the last one.
    if parts.writer.commit(Change::Flush).is_ok()
        && let Err(error) = record(&summary, &ended, parts, &options.target.endpoint_name)
    {
        stopped(&mut summary, error);
    }
    summary
}

/// Files of the selection that the scan could not read, or not describe.
fn unreadable(selection: &Selection, reader: &Reader) -> Result<u64, Error> {
    let libraries = selection.libraries();
    let mut unreadable = 0;
    for reason in [SkipReason::Unreadable, SkipReason::Metadata] {
        let mut count = |library, path: &str| {
            unreadable += u64::from(selection.selects(library, path));
        };
        reader.each_skipped_for(reason.label(), &libraries, &mut count)?;
    }
    Ok(unreadable)
}

/// Causes that are told, and files that are named of each; `status --failed` names all.
const CAUSES_MAX: usize = 3;
const NAMED_MAX: usize = 3;

/// Why files have failed; nothing where other libraries' files are among them, which this run was not about.
fn failed_by(
    reader: &Reader,
    store: i64,
    failed: u64,
) -> Result<Vec<(Reason, Vec<String>)>, Error> {
    let mut causes = Vec::new();
    for reason in causes_of(reader, store, UploadState::Failed, failed)? {
        let files = reader.failed_for(store, &reason.words, UploadId(0))?;
        let name = |file: FailedFile| format!("{}: {}", file.library, file.path);
        let named = files.into_iter().take(NAMED_MAX).map(name).collect();
        causes.push((reason, named));
    }
    Ok(causes)
}

/// The most frequent causes of the files in a state of which there are so many.
fn causes_of(
    reader: &Reader,
    store: i64,
    state: UploadState,
    files: u64,
) -> Result<Vec<Reason>, Error> {
    let mut causes = reader.reasons(store, state)?;
    if causes.iter().map(|cause| cause.files).sum::<u64>() > files {
        causes.clear();
    }
    causes.truncate(CAUSES_MAX);
    Ok(causes)
}

/// The rates that were found, for the next run, and this run's row.
fn record(
    summary: &Summary,
    ended: &Ended,
    parts: &Parts,
    endpoint_name: &str,
) -> Result<(), Error> {
    let peaks = parts.gate.peaks();
    for (class, found) in [("write", peaks.write), ("read", peaks.read)] {
        if let Some(per_minute) = found {
            parts.writer.commit(Change::RateFound {
                endpoint: endpoint_name.to_owned(),
                class,
                per_minute,
            })?;
        }
    }
    parts.writer.commit(Change::RunEnded {
        run: ended.run,
        outcome: outcome(summary.exit),
        exit: summary.exit,
        totals: Box::new(summary.totals.clone()),
        limited_by: summary.limited_by.as_str(),
    })?;
    Ok(())
}

/// What is not as it was asked for.
struct Left {
    /// Files that wait, or have begun and not ended, those of content that has since changed as well.
    waiting: u64,
    /// Files that failed for good, or could not be read.
    failed: u64,
}

fn exit(ended: &Ended, left: &Left, shutdown: &Shutdown) -> u8 {
    if let Some(error) = &ended.error {
        return error.kind.exit_code();
    }
    if let Some(exit) = exit_of_stop(shutdown) {
        return exit;
    }
    match (left.waiting, ended.all_gone, left.failed) {
        (1.., ..) | (0, false, _) => 4,
        (0, true, 1..) => 3,
        (0, true, 0) => 0,
    }
}

fn outcome(exit: u8) -> &'static str {
    match exit {
        0 => "done",
        3 => "done, some failed",
        4 => "incomplete",
        EXIT_INTERRUPTED => "interrupted",
        EXIT_TERMINATED => "terminated",
        _ => "error",
    }
}
