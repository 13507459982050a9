//! `objlib upload`: scan, plan or run, report.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::args::{self, MethodArg};
use super::connect::{self, Pace};
use super::dry_run;
use super::scan::{self, Around, Asked};
use super::settings::{self, Service};
use super::signals;
use crate::client::Endpoint;
use crate::error::Error;
use crate::library;
use crate::names::ApiKey;
use crate::panic;
use crate::pipeline::bottleneck;
use crate::pipeline::rules::MethodChoice;
use crate::pipeline::run::{self, Ended};
use crate::pipeline::selection::Selection;
use crate::pipeline::store::{Resolve, Resolved};
use crate::pipeline::{self, Parts};
use crate::report::{Event, EventSender, Next, Progress, Reporter, Style, Summary};
use crate::scan::{Filter, SkipReason};
use crate::shutdown::{Shutdown, Stop};
use crate::state::reader::{LibraryRow, StoreRow};
use crate::state::{Change, Lease, Reader, RunTotals, Writer, writer};
use crate::throttle::bandwidth::Bandwidth;

/// The exit code; whatever happens, the last line says how it ended.
pub fn run(args: &args::Upload, database: &Path, style: Style) -> u8 {
    let progress = Arc::new(Progress::new(usize::from(args.concurrency)));
    let shutdown = Arc::new(Shutdown::new(Duration::from_secs(args.grace)));
    let reporter = Reporter::start(style, Arc::clone(&progress), &shutdown);
    let verbose = style.verbose;
    let done = panic::caught("upload", || {
        upload(args, database, verbose, &reporter, &progress, &shutdown)
    });
    let mut summary = done
        .and_then(|done| done)
        .unwrap_or_else(|error| stopped(&error, &shutdown));
    // Of a thread that is none of the run's own.
    if let (None, Some(error)) = (&summary.error, shutdown.error()) {
        summary.exit = error.kind.exit_code();
        summary.error = Some(error.to_string());
    }
    let exit = summary.exit;
    reporter.finish_with(Event::Summary(summary));
    exit
}

fn upload(
    args: &args::Upload,
    database: &Path,
    verbose: bool,
    reporter: &Reporter,
    progress: &Arc<Progress>,
    shutdown: &Arc<Shutdown>,
) -> Result<Summary, Error> {
    let endpoint_name = settings::endpoint_name(&args.remote)?;
    let asked = scan::asked(&args.dirs, &args.scan)?;
    if args.dry_run {
        signals::listen(shutdown, reporter.urgent())?;
        let plan = dry_run::plan(args, database, &endpoint_name, &asked, shutdown)?;
        return Ok(dry_run::said(plan, reporter, exit_of_stop(shutdown)));
    }
    let service = settings::service(&args.remote)?;
    signals::listen(shutdown, reporter.urgent())?;
    let started = writer::start(database, Arc::clone(shutdown))?;
    if let Some(dead) = &started.taken_over {
        reporter.send(Event::Notice(format!(
            "took the lock over from a dead objlib (pid {} on {})",
            dead.pid, dead.host
        )));
    }
    let writer = started.thread.writer();
    let done = scan_then_run(&Session {
        args,
        database,
        endpoint_name: &endpoint_name,
        asked: &asked,
        service,
        verbose,
        reporter,
        progress,
        shutdown,
        writer: &writer,
        lease: started.thread.lease(),
    });
    drop(writer);
    let closed = started.thread.close();
    let summary = done?;
    closed?;
    Ok(summary)
}

/// What one call of `upload` was given, looked up once.
struct Session<'a> {
    args: &'a args::Upload,
    database: &'a Path,
    endpoint_name: &'a str,
    asked: &'a Asked,
    service: Service,
    verbose: bool,
    reporter: &'a Reporter,
    progress: &'a Arc<Progress>,
    shutdown: &'a Arc<Shutdown>,
    writer: &'a Writer,
    lease: Arc<Lease>,
}

fn scan_then_run(session: &Session<'_>) -> Result<Summary, Error> {
    let around = Around {
        shutdown: session.shutdown,
        events: &session.reporter.sender(),
        verbose: session.verbose,
    };
    let scanned = scan::folders(session.asked, session.database, session.writer, &around)?;
    let reader = Reader::open(session.database)?;
    if session.shutdown.is_stopping() {
        return Ok(Summary {
            exit: exit_of_stop(session.shutdown).unwrap_or(0),
            ..Summary::default()
        });
    }
    connect::with_service(&session.service, session.database, |endpoint, key| {
        transfer(session, &scanned.libraries, reader, (endpoint, key))
    })
}

fn transfer(
    session: &Session<'_>,
    scanned: &[LibraryRow],
    reader: Reader,
    service: (Endpoint, ApiKey),
) -> Result<Summary, Error> {
    let args = session.args;
    let concurrency = usize::from(args.concurrency);
    let pace = Pace {
        rpm: connect::rpm(args.rpm, args.tier),
        concurrency,
        endpoint_name: session.endpoint_name,
    };
    let (gate, client) = connect::client(
        &args.remote,
        service,
        &pace,
        &reader,
        Arc::clone(&session.lease),
        session.shutdown,
    )?;
    let events = session.reporter.sender();
    let resolve = Resolve {
        wanted: &args.remote.store.name,
        endpoint: session.endpoint_name,
        reader: &reader,
        writer: session.writer,
        client: &client,
        events: &events,
        shutdown: session.shutdown,
        patience: args.passes,
    };
    let Resolved {
        row: store,
        documents,
    } = resolve.or_create(args.recreate_store)?;
    let libraries = match session.asked.dirs.is_empty() {
        true => libraries_for(&store, session.asked.name.as_deref(), &reader, &events)?,
        false => scanned.to_vec(),
    };
    let settings = pipeline::Settings {
        store,
        documents,
        selection: selection(&libraries, session.asked)?,
        concurrency,
        batch_size: args.batch_size,
        limit: args.limit,
        retry_failed: args.retry_failed,
        passes: args.passes,
        max_attempts: args.max_attempts,
        bandwidth: args.bwlimit.map(|rate| Bandwidth::new(rate.get())),
        method: match args.method {
            MethodArg::Auto => MethodChoice::Auto,
            MethodArg::Direct => MethodChoice::Direct,
            MethodArg::Staged => MethodChoice::Staged,
        },
    };
    let parts = Parts {
        client,
        gate,
        shutdown: Arc::clone(session.shutdown),
        writer: session.writer.clone(),
        reader,
        progress: Arc::clone(session.progress),
        events,
    };
    let (ended, parts) = run::run(&settings, parts)?;
    let mut summary = finish(&settings, &ended, &parts, session.endpoint_name)?;
    let next = settings::next(&args.remote, session.database, session.endpoint_name);
    summary.next = next;
    Ok(summary)
}

/// Without a folder, what goes into the store is what is linked with it, and libraries that were scanned
/// and never sent anywhere.
fn libraries_for(
    store: &StoreRow,
    name: Option<&str>,
    reader: &Reader,
    events: &EventSender,
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
pub fn selection(libraries: &[LibraryRow], asked: &Asked) -> Result<Selection, Error> {
    libraries
        .iter()
        .map(|library| Ok((library.id, Filter::new(&library.root, &asked.options)?)))
        .collect()
}

/// Counts what the database says now, writes the run's row, and words the result.
fn finish(
    settings: &pipeline::Settings,
    ended: &Ended,
    parts: &Parts,
    endpoint_name: &str,
) -> Result<Summary, Error> {
    // After a failed commit nothing can be written; the numbers are those of the last one.
    let writable = parts.writer.commit(Change::Flush);
    let (store, selection) = (settings.store.id, &settings.selection);
    let counts = selection.counts(&parts.reader, store)?;
    let libraries = selection.libraries();
    let outdated = parts.reader.outdated_on_the_way(store, &libraries)?;
    let on_the_way = counts.uploading + counts.processing + outdated;
    let mut unreadable = 0;
    let unread = SkipReason::Unreadable.label();
    parts
        .reader
        .each_skipped_for(unread, &libraries, &mut |library, path| {
            unreadable += u64::from(selection.selects(library, path));
        })?;
    let requests = parts.client.counts();
    let throttle = parts.gate.snapshot();
    let left = Left {
        waiting: ended.waiting + on_the_way,
        failed: counts.failed + unreadable,
    };
    let exit = exit(ended, &left, &parts.shutdown);
    let limited_by = bottleneck::find(
        &ended.tally,
        throttle.waited,
        ended.elapsed,
        settings.concurrency,
    );
    let pending = counts.pending + counts.uploading;
    let tally = &ended.tally;
    let summary = Summary {
        total: tally.indexed.get()
            + tally.failed.get()
            + tally.skipped.get()
            + pending
            + counts.processing,
        indexed: tally.indexed.get(),
        failed: tally.failed.get(),
        skipped: tally.skipped.get(),
        pending,
        processing: counts.processing,
        bytes: tally.bytes.get(),
        seconds: ended.elapsed.as_secs_f64(),
        requests: requests.requests,
        polls: requests.polls,
        retries: requests.retries,
        throttled: throttle.throttled,
        resumed: tally.resumed.get(),
        adopted: tally.adopted.get(),
        limited_by,
        exit,
        dry_run: false,
        error: ended.error.as_ref().map(Error::to_string),
        indexed_in_all: counts.indexed,
        failed_in_all: counts.failed,
        unreadable,
        beyond_limit: counts.pending.saturating_sub(ended.waiting),
        next: Next::default(),
    };
    if writable.is_ok() {
        for (class, found) in [
            ("write", parts.gate.peaks().write),
            ("read", parts.gate.peaks().read),
        ] {
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
            outcome: outcome(exit),
            exit,
            totals: Box::new(totals(&summary, tally.recovered.get())),
        })?;
    }
    match (&ended.error, writable) {
        (None, Err(error)) => Err(error),
        _ => Ok(summary),
    }
}

fn totals(s: &Summary, recovered: u64) -> RunTotals {
    RunTotals {
        recovered,
        indexed: s.indexed,
        failed: s.failed,
        skipped: s.skipped,
        pending: s.pending,
        processing: s.processing,
        bytes: s.bytes,
        requests: s.requests,
        polls: s.polls,
        retries: s.retries,
        throttled: s.throttled,
        resumed: s.resumed,
        adopted: s.adopted,
        limited_by: s.limited_by.as_str(),
    }
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

fn exit_of_stop(shutdown: &Shutdown) -> Option<u8> {
    match shutdown.reason()? {
        Stop::Interrupt => Some(signals::EXIT_INTERRUPTED),
        Stop::Terminate => Some(signals::EXIT_TERMINATED),
        Stop::Error => None,
    }
}

fn outcome(exit: u8) -> &'static str {
    match exit {
        0 => "done",
        3 => "done, some failed",
        4 => "incomplete",
        signals::EXIT_INTERRUPTED => "interrupted",
        signals::EXIT_TERMINATED => "terminated",
        _ => "error",
    }
}

/// The last line after an error that came before, or instead of, a whole run.
fn stopped(error: &Error, shutdown: &Shutdown) -> Summary {
    // A signal in the middle of opening or scanning is what the user knows of.
    let exit = exit_of_stop(shutdown).unwrap_or_else(|| error.kind.exit_code());
    Summary {
        exit,
        error: Some(error.to_string()),
        ..Summary::default()
    }
}
