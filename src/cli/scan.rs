//! `objlib scan`, and the first stage of `objlib upload DIR`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::args;
use super::settings;
use super::signals;
use crate::error::{Error, Kind};
use crate::library::{self, Found};
use crate::report::{Event, EventSender, Progress, Reporter, Style};
use crate::scan::{self, Filter, KnownFile, Options, Record, Seen, Skip};
use crate::shutdown::{Shutdown, Stop};
use crate::state::catalog::{Catalog, Recorder};
use crate::state::reader::LibraryRow;
use crate::state::{Change, Reader, Writer, writer};

/// What is asked for, of every folder of one call.
pub struct Asked {
    pub dirs: Vec<PathBuf>,
    /// Of `--library`.
    pub name: Option<String>,
    pub options: Options,
}

/// What a scan leaves to say at the end.
#[derive(Default)]
pub struct Scanned {
    pub libraries: Vec<LibraryRow>,
    /// Files and folders that could not be read.
    pub unreadable: u64,
}

/// Who listens, and when it is to stop.
pub struct Around<'a> {
    pub shutdown: &'a Arc<Shutdown>,
    pub events: &'a EventSender,
    pub verbose: bool,
}

pub fn run(args: &args::Scan, database: &Path, style: Style) -> Result<u8, Error> {
    let asked = asked(&args.dirs, &args.options)?;
    let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
    let reporter = Reporter::start(style, Arc::new(Progress::new(0)), &shutdown);
    signals::listen(&shutdown, reporter.urgent())?;
    let started = writer::start(database, Arc::clone(&shutdown))?;
    let events = reporter.sender();
    let around = Around {
        shutdown: &shutdown,
        events: &events,
        verbose: style.verbose,
    };
    let scanned = folders(&asked, database, &started.thread.writer(), &around);
    drop(events);
    let closed = started.thread.close();
    reporter.finish();
    let scanned = scanned?;
    closed?;
    if let Some(error) = shutdown.error() {
        return Err(error);
    }
    Ok(match shutdown.reason() {
        Some(Stop::Interrupt) => signals::EXIT_INTERRUPTED,
        Some(Stop::Terminate) => signals::EXIT_TERMINATED,
        Some(Stop::Error) | None if scanned.unreadable > 0 => EXIT_UNREADABLE,
        Some(Stop::Error) | None => 0,
    })
}

/// Something could not be read: the same exit code as for files that failed.
pub const EXIT_UNREADABLE: u8 = 3;

/// # Errors
/// One name for several folders; a list that cannot be read.
pub fn asked(dirs: &[PathBuf], options: &args::ScanOptions) -> Result<Asked, Error> {
    if options.library.is_some() && dirs.len() > 1 {
        return Err(Error::new(
            Kind::Usage,
            "--library",
            "one name for several folders",
            "scan one folder at a time, or leave it out",
        ));
    }
    Ok(Asked {
        dirs: dirs.to_vec(),
        name: options.library.clone(),
        options: settings::scan_options(options)?,
    })
}

/// The folders, canonical, and each once; what `--files-from` names must be below one of them.
pub fn roots(asked: &Asked) -> Result<Vec<PathBuf>, Error> {
    let mut roots: Vec<PathBuf> = Vec::new();
    for dir in &asked.dirs {
        let root = library::root(dir)?;
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    if let Some(list) = &asked.options.files_from {
        list.check(&roots)?;
    }
    Ok(roots)
}

/// Scans every folder and says of each what was found.
pub fn folders(
    asked: &Asked,
    database: &Path,
    writer: &Writer,
    around: &Around<'_>,
) -> Result<Scanned, Error> {
    let mut all = Scanned::default();
    for root in roots(asked)? {
        if around.shutdown.is_stopping() {
            break;
        }
        let began = Instant::now();
        let filter = Filter::new(&root, &asked.options)?;
        let reader = Reader::open(database)?;
        let library = library::resolve(&reader, &root, asked.name.as_deref(), &filter)?;
        let moved = moved(&library);
        let is_new = library.row().is_none();
        let library = library::record(library, writer)?;
        around.events_all(moved);
        let catalog = Catalog::new(&reader, library.id);
        let mut telling = Telling {
            recorder: Recorder::new(writer, &library),
            library: &library.name,
            around,
        };
        let stop = || around.shutdown.is_stopping();
        let found = scan::run(&root, &asked.options, &catalog, &mut telling, &stop);
        let recorder = telling.recorder;
        if let (Err(_), true) = (&found, is_new) {
            forget_if_empty(&library, &reader, writer)?;
        }
        let found = found?;
        recorder.finish(!found.interrupted, !filter.is_active())?;
        all.unreadable += found.unreadable;
        around.events.send(Event::ScanDone {
            library: library.name.clone(),
            found,
            seconds: began.elapsed().as_secs_f64(),
        });
        all.libraries.push(library);
    }
    Ok(all)
}

/// A folder that turned out to be none that can be scanned does not keep a name.
fn forget_if_empty(library: &LibraryRow, reader: &Reader, writer: &Writer) -> Result<(), Error> {
    writer.commit(Change::Flush)?;
    let files = reader.file_counts(&[library.id].into_iter().collect())?;
    if files.present == 0 {
        let library = library.id;
        writer.commit(Change::LibraryForgotten { library })?;
    }
    Ok(())
}

/// What is said of a folder that lies somewhere else now.
pub fn moved(found: &Found) -> Option<Event> {
    let Found::Moved { library, from } = found else {
        return None;
    };
    Some(Event::Notice(format!(
        "library `{}`: its folder was {} and is {} now",
        library.name,
        from.display(),
        library.root.display()
    )))
}

impl Around<'_> {
    pub fn events_all(&self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.events.send(event);
        }
    }
}

/// Records, and names what is skipped where somebody wants to know.
struct Telling<'a, 'w> {
    recorder: Recorder<'w>,
    library: &'a str,
    around: &'a Around<'a>,
}

impl Record for Telling<'_, '_> {
    fn file(&mut self, file: Seen) -> Result<(), Error> {
        self.recorder.file(file)
    }

    fn skip(&mut self, skip: Skip) -> Result<(), Error> {
        if self.around.verbose {
            self.around.events.send(Event::Skip {
                library: self.library.to_owned(),
                skip: skip.clone(),
            });
        }
        self.recorder.skip(skip)
    }

    fn missing(&mut self, id: i64) -> Result<(), Error> {
        self.recorder.missing(id)
    }

    fn left_out(&mut self, id: i64) -> Result<(), Error> {
        self.recorder.left_out(id)
    }

    fn unchanged(&mut self, known: &KnownFile, path: &str) -> Result<(), Error> {
        self.recorder.unchanged(known, path)
    }
}
