//! `objlib upload`, and its `--dry-run`.

use std::path::Path;
use std::time::Duration;

use super::report;
use crate::app::{self, exit_of_stop};
use crate::cli::args::{self, MethodArg};
use crate::cli::settings::{self, secret};
use crate::cli::terminal::listening::Listening;
use crate::error::{Error, Kind};
use crate::panic;
use crate::pipeline::rules::MethodChoice;
use crate::report::{Event, Style, Summary};
use crate::shutdown::Shutdown;
use crate::state::RunTotals;
use crate::throttle::Concurrency;

/// The exit code; whatever happens, the last line says how it ended.
pub fn run(args: &args::Upload, database: &Path, style: Style) -> u8 {
    let grace = Duration::from_secs(args.grace);
    let listening = Listening::start(style, concurrency(args).ceiling(), grace);
    let done = panic::caught("upload", || match args.dry_run {
        true => plan(args, database, &listening),
        false => upload(args, database, &listening),
    });
    let Listening {
        reporter, shutdown, ..
    } = listening;
    let mut summary = done
        .and_then(|done| done)
        .unwrap_or_else(|error| stopped(&error, &shutdown));
    // Of a thread that is none of the run's own.
    if let (None, Some(error)) = (&summary.error, shutdown.error()) {
        summary.exit = error.kind.exit_code();
        summary.error = Some(Box::new(error));
    }
    if let Some(error) = &mut summary.error {
        let remote = &args.remote;
        let next = settings::next_typed(&remote.store.name, &remote.service, database);
        error.remedy = next.in_text(&error.remedy);
    }
    // An error that came before any run has said all there is to say.
    let is_reported = summary.run.is_some() || summary.error.is_none();
    if let Some(path) = args.report.as_ref().filter(|_| is_reported) {
        match leave_page(database, summary.run, path) {
            Ok(()) => reporter.send(Event::Notice(format!(
                "the page of this run is {}",
                path.display()
            ))),
            Err(error) => {
                // How the run itself ended counts for more.
                if summary.exit == 0 {
                    summary.exit = error.kind.exit_code();
                }
                reporter.send(Event::Warning(error.to_string()));
            }
        }
    }
    let exit = summary.exit;
    reporter.finish_with(Event::Summary(Box::new(summary)));
    exit
}

fn upload(args: &args::Upload, database: &Path, listening: &Listening) -> Result<Summary, Error> {
    let mut folders = settings::folders(&args.dirs, &args.scan)?;
    let target = settings::target(&args.remote)?;
    secret::keep_out_of(&mut folders, secret::of(&target.service))?;
    let options = app::upload::Options {
        target,
        folders,
        rpm: settings::rpm(args.rpm, args.tier),
        bandwidth: args.bwlimit.map(|rate| rate.get()),
        method: method(args.method),
        concurrency: concurrency(args),
        batch_size: args.batch_size,
        limit: args.limit,
        retry_failed: args.retry_failed,
        recreate_store: args.recreate_store,
        passes: args.passes,
        max_attempts: args.max_attempts,
    };
    if let Some(path) = &args.report {
        report::check(path)?;
    }
    listening.listen()?;
    let summary = app::upload::run(&listening.call(database), &options)?;
    let endpoint = &options.target.endpoint_name;
    Ok(Summary {
        next: settings::next(&args.remote, database, endpoint),
        ..summary
    })
}

fn leave_page(database: &Path, run: Option<i64>, path: &Path) -> Result<(), Error> {
    match run {
        Some(run) => report::write(database, run, path),
        None => Err(Error::new(
            Kind::System,
            path.display().to_string(),
            "no page was written, since no run began",
            "run the same command again",
        )),
    }
}

/// The plan is an event, and the last line comes after it.
fn plan(args: &args::Upload, database: &Path, listening: &Listening) -> Result<Summary, Error> {
    let mut folders = settings::folders(&args.dirs, &args.scan)?;
    secret::keep_out_of(&mut folders, secret::known())?;
    let options = app::upload::plan::Options {
        store: args.remote.store.name.clone(),
        endpoint_name: settings::endpoint_name(&args.remote.service)?,
        folders,
        rpm: settings::rpm(args.rpm, args.tier),
        method: method(args.method),
        limit: args.limit,
    };
    listening.listen()?;
    let shutdown = &listening.shutdown;
    let plan = app::upload::plan::plan(&options, database, shutdown)?;
    let files = plan.files;
    let stopped = exit_of_stop(shutdown);
    if stopped.is_none() {
        listening.reporter.send(Event::Plan(plan));
    }
    Ok(Summary {
        totals: RunTotals {
            pending: files,
            ..RunTotals::default()
        },
        dry_run: true,
        exit: stopped.unwrap_or(0),
        ..Summary::default()
    })
}

fn concurrency(args: &args::Upload) -> Concurrency {
    match args.concurrency {
        Some(n) => Concurrency::Asked(usize::from(n)),
        None => Concurrency::Default,
    }
}

fn method(method: MethodArg) -> MethodChoice {
    match method {
        MethodArg::Auto => MethodChoice::Auto,
        MethodArg::Direct => MethodChoice::Direct,
        MethodArg::Staged => MethodChoice::Staged,
    }
}

/// The last line after an error that came before, or instead of, a whole run.
fn stopped(error: &Error, shutdown: &Shutdown) -> Summary {
    // A signal in the middle of opening or scanning is what the user knows of.
    let exit = exit_of_stop(shutdown).unwrap_or_else(|| error.kind.exit_code());
    Summary {
        exit,
        error: (!shutdown.explains(error)).then(|| Box::new(error.clone())),
        ..Summary::default()
    }
}
