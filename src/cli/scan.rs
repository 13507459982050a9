//! `objlib scan`.

use std::path::Path;
use std::time::Duration;

use super::listening::Listening;
use super::{args, settings};
use crate::app;
use crate::error::Error;
use crate::report::Style;

/// Something could not be read: the same exit code as for files that failed.
const EXIT_UNREADABLE: u8 = 3;

pub fn run(args: &args::Scan, database: &Path, style: Style) -> Result<u8, Error> {
    let folders = settings::folders(&args.dirs, &args.options)?;
    let listening = Listening::start(style, 0, Duration::ZERO);
    listening.listen()?;
    let scanned = app::scan::run(&listening.call(database), &folders);
    let Listening {
        reporter, shutdown, ..
    } = listening;
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
