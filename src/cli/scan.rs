//! `objlib scan`, and the first stage of `objlib upload DIR`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::args;
use super::settings;
use super::signals;
use crate::error::{Error, Kind};
use crate::report::{Event, EventSender, Progress, Reporter, Style};
use crate::scan::{self, Found, Options};
use crate::shutdown::{Shutdown, Stop};
use crate::state::catalog::{Catalog, Recorder};
use crate::state::{Change, Reader, Writer, writer};

pub fn run(args: &args::Scan, database: &Path, style: Style) -> Result<u8, Error> {
    let options = settings::scan_options(&args.options)?;
    let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
    signals::listen(&shutdown)?;
    let started = writer::start(database, Arc::clone(&shutdown))?;
    let reporter = Reporter::start(style, Arc::new(Progress::new(0)));
    let scanned = folders(
        &args.dirs,
        &options,
        database,
        &started.thread.writer(),
        &shutdown,
        &reporter.sender(),
    );
    let closed = started.thread.close();
    reporter.finish();
    scanned?;
    closed?;
    Ok(match shutdown.reason() {
        Some(Stop::Interrupt) => signals::EXIT_INTERRUPTED,
        Some(Stop::Terminate) => signals::EXIT_TERMINATED,
        Some(Stop::Error) | None => 0,
    })
}

/// Scans every folder and says what was found, all together.
pub fn folders(
    dirs: &[PathBuf],
    options: &Options,
    database: &Path,
    writer: &Writer,
    shutdown: &Arc<Shutdown>,
    events: &EventSender,
) -> Result<(), Error> {
    let began = Instant::now();
    let roots = dirs.iter().map(|dir| root(dir));
    let roots = roots.collect::<Result<Vec<PathBuf>, Error>>()?;
    if let Some(list) = &options.files_from {
        list.check(&roots)?;
    }
    let mut all = Found::default();
    for root in &roots {
        let found = one(root, options, database, writer, shutdown)?;
        all.files += found.files;
        all.new += found.new;
        all.changed += found.changed;
        all.missing += found.missing;
        all.unchanged += found.unchanged;
        all.skipped += found.skipped;
        all.bytes += found.bytes;
    }
    events.send(Event::ScanDone {
        files: all.files,
        new: all.new,
        changed: all.changed,
        missing: all.missing,
        unchanged: all.unchanged,
        skipped: all.skipped,
        bytes: all.bytes,
        seconds: began.elapsed().as_secs_f64(),
    });
    Ok(())
}

fn one(
    root: &Path,
    options: &Options,
    database: &Path,
    writer: &Writer,
    shutdown: &Arc<Shutdown>,
) -> Result<Found, Error> {
    let Some(name) = root.to_str() else {
        return Err(Error::new(
            Kind::Input,
            root.display().to_string(),
            "the name of the folder is not UTF-8",
            "rename it",
        ));
    };
    let library = writer
        .commit(Change::LibraryAdded {
            root: name.to_owned(),
        })?
        .row;
    let reader = Reader::open(database)?;
    let catalog = Catalog::new(&reader, library);
    let mut recorder = Recorder::new(writer, library);
    let stop = || shutdown.is_stopping();
    let found = scan::run(root, options, &catalog, &mut recorder, &stop)?;
    recorder.finish(!found.interrupted)?;
    Ok(found)
}

/// Absolute, without `..` and symlinks, so that one folder is one library however it is spelled.
fn root(dir: &Path) -> Result<PathBuf, Error> {
    std::fs::canonicalize(dir).map_err(|e| {
        Error::new(
            Kind::Input,
            dir.display().to_string(),
            format!("cannot be scanned: {e}"),
            "check the path; nothing was marked as missing",
        )
    })
}
