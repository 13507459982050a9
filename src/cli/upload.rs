//! `objlib upload`: scan, plan or run, report.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::args::{self, MethodArg};
use super::connect::{self, Pace};
use super::scan;
use super::settings::{self, Service};
use super::signals;
use crate::client::Endpoint;
use crate::error::Error;
use crate::names::ApiKey;
use crate::pipeline::bottleneck;
use crate::pipeline::rules::MethodChoice;
use crate::pipeline::run::{self, Ended};
use crate::pipeline::store;
use crate::pipeline::{self, Parts};
use crate::report::{Event, Plan, Progress, Reporter, Style, Summary};
use crate::shutdown::{Shutdown, Stop};
use crate::state::figures::UploadCounts;
use crate::state::{Change, Lease, Reader, RunTotals, UploadState, Writer, writer};
use crate::throttle::Rpm;
use crate::throttle::bandwidth::Bandwidth;

/// Requests a file: start, body, one look at the document; and staged besides the import, one poll of its
/// operation, and the temporary file's deletion. All but the body take a token.
fn requests_per_file(method: MethodArg) -> u64 {
    match method {
        MethodArg::Auto | MethodArg::Direct => 3,
        MethodArg::Staged => 6,
    }
}
/// The service counts about three times the input (fact sheet 3).
const STORAGE_FACTOR: u64 = 3;
/// USD 0.15 per million tokens (fact sheet 13), some four bytes a token.
const USD_PER_BYTE: f64 = 0.15 / 1e6 / 4.0;

/// The exit code; whatever happens, the last line says how it ended.
pub fn run(args: &args::Upload, database: &Path, style: Style) -> u8 {
    let progress = Arc::new(Progress::new(usize::from(args.concurrency)));
    let reporter = Reporter::start(style, Arc::clone(&progress));
    let shutdown = Arc::new(Shutdown::new(Duration::from_secs(args.grace)));
    let summary = upload(args, database, &reporter, &progress, &shutdown)
        .unwrap_or_else(|error| stopped(&error, &shutdown));
    let exit = summary.exit;
    reporter.send(Event::Summary(summary));
    reporter.finish();
    exit
}

fn upload(
    args: &args::Upload,
    database: &Path,
    reporter: &Reporter,
    progress: &Arc<Progress>,
    shutdown: &Arc<Shutdown>,
) -> Result<Summary, Error> {
    let endpoint_name = settings::endpoint_name(&args.remote)?;
    let scan_options = settings::scan_options(&args.scan)?;
    let service = match args.dry_run {
        true => None,
        false => Some(settings::service(&args.remote)?),
    };
    signals::listen(shutdown)?;
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
        scan_options: &scan_options,
        service,
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
    scan_options: &'a crate::scan::Options,
    service: Option<Service>,
    reporter: &'a Reporter,
    progress: &'a Arc<Progress>,
    shutdown: &'a Arc<Shutdown>,
    writer: &'a Writer,
    lease: Arc<Lease>,
}

fn scan_then_run(session: &Session<'_>) -> Result<Summary, Error> {
    if !session.args.dirs.is_empty() {
        scan::folders(
            &session.args.dirs,
            session.scan_options,
            session.database,
            session.writer,
            session.shutdown,
            &session.reporter.sender(),
        )?;
    }
    let reader = Reader::open(session.database)?;
    let Some(service) = &session.service else {
        let plan = plan(session, &reader)?;
        let planned = Summary {
            total: plan.files,
            pending: plan.files,
            dry_run: true,
            ..Summary::default()
        };
        session.reporter.send(Event::Plan(plan));
        return Ok(planned);
    };
    if session.shutdown.is_stopping() {
        return Ok(Summary {
            exit: exit_of_stop(session.shutdown).unwrap_or(0),
            ..Summary::default()
        });
    }
    connect::with_service(service, session.database, |endpoint, key| {
        transfer(session, reader, endpoint, key)
    })
}

fn transfer(
    session: &Session<'_>,
    reader: Reader,
    endpoint: Endpoint,
    key: ApiKey,
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
        (endpoint, key),
        &pace,
        &reader,
        Arc::clone(&session.lease),
        session.shutdown,
    )?;
    let events = session.reporter.sender();
    let store = store::resolve(
        &args.remote.store.name,
        session.endpoint_name,
        &reader,
        session.writer,
        &client,
        &events,
        session.shutdown,
    )?;
    let settings = pipeline::Settings {
        store,
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
    finish(&settings, &ended, &parts, session.endpoint_name)
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
    let counts = parts.reader.upload_counts(settings.store.id)?;
    let in_state = |state| parts.reader.in_state(settings.store.id, state);
    let (uploading, _) = in_state(UploadState::Uploading)?;
    let (processing, _) = in_state(UploadState::Processing)?;
    let requests = parts.client.counts();
    let throttle = parts.gate.snapshot();
    let exit = exit(ended, &counts, uploading + processing, &parts.shutdown);
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

/// `on_the_way`: uploads that have begun and not ended, those of content that has since changed as well.
fn exit(ended: &Ended, counts: &UploadCounts, on_the_way: u64, shutdown: &Shutdown) -> u8 {
    if let Some(error) = &ended.error {
        return error.kind.exit_code();
    }
    if let Some(exit) = exit_of_stop(shutdown) {
        return exit;
    }
    // Files beyond `--limit` were not asked for.
    let waiting = match ended.limited {
        true => 0,
        false => counts.pending,
    };
    match (waiting + on_the_way, ended.all_gone, counts.failed) {
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

fn plan(session: &Session<'_>, reader: &Reader) -> Result<Plan, Error> {
    let name = &session.args.remote.store.name;
    let store = reader.store(session.endpoint_name, name)?;
    let rows = reader.plan(store.as_ref().map(|s| s.id))?;
    let files = rows.by_type.iter().map(|(_, files, _)| files).sum();
    let bytes: u64 = rows.by_type.iter().map(|(_, _, bytes)| bytes).sum();
    let in_flight = match &store {
        Some(store) => {
            let counts = reader.upload_counts(store.id)?;
            counts.uploading + counts.processing
        }
        None => 0,
    };
    let rate_per_min = match connect::rpm(session.args.rpm, session.args.tier) {
        Rpm::Ceiling(n) => Some(f64::from(n.get())),
        Rpm::Auto => connect::peaks(reader, session.endpoint_name)?.write,
        Rpm::Unlimited => None,
    };
    let requests = files * requests_per_file(session.args.method);
    Ok(Plan {
        store: name.clone(),
        // Unless it is pinned, only the service could tell, and a dry run asks nothing.
        store_exists: store.map(|_| true),
        files,
        bytes,
        by_type: rows.by_type,
        largest: rows.largest,
        requests,
        rate_per_min,
        seconds: rate_per_min.map(|rate| (requests - files) as f64 / rate * 60.0),
        storage_bytes: bytes * STORAGE_FACTOR,
        cost_usd: bytes as f64 * USD_PER_BYTE,
        in_flight,
        skipped: reader.file_counts()?.skipped,
    })
}
