//! `objlib scan`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{args, settings, signals};
use crate::app::{self, Call};
use crate::error::Error;
use crate::report::{Progress, Reporter, Style};
use crate::shutdown::Shutdown;

/// Something could not be read: the same exit code as for files that failed.
const EXIT_UNREADABLE: u8 = 3;

pub fn run(args: &args::Scan, database: &Path, style: Style) -> Result<u8, Error> {
    let folders = settings::folders(&args.dirs, &args.options)?;
    let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
    let progress = Arc::new(Progress::new(0));
    let reporter = Reporter::start(style, Arc::clone(&progress), &shutdown);
    signals::listen(&shutdown, reporter.urgent())?;
    let scanned = app::scan::run(
        &Call {
            database,
            events: reporter.sender(),
            progress: &progress,
            shutdown: &shutdown,
            waits: settings::waits(),
            verbose: style.verbose,
        },
        &folders,
    );
    reporter.finish();
    let unreadable = scanned?.unreadable > 0;
    if let Some(error) = shutdown.error() {
        return Err(error);
    }
    Ok(match app::exit_of_stop(&shutdown) {
        Some(exit) => exit,
        None if unreadable => EXIT_UNREADABLE,
        None => 0,
    })
}
