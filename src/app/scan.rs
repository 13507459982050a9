//! Folders → libraries and their files: the first stage of `upload`, and all of `scan`.
//!
//! Promises: a folder that cannot be scanned leaves nothing behind; a scan that was broken off is not taken
//! for a whole one.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Call;
use crate::error::{Error, Kind};
use crate::library::{self, Found};
use crate::metadata::Explained;
use crate::report::Event;
use crate::scan::{
    self, Catalog, Describer, Filter, LibrarySettings, Options, Record, Recorder, Skip,
};
use crate::state::reader::LibraryRow;
use crate::state::{Change, Described, KnownFile, Reader, SeenFile, Writer, writer};

/// The folders of one call, and what holds for each of them.
pub struct Folders {
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

/// Takes the lock, and scans every folder.
pub fn run(call: &Call<'_>, folders: &Folders) -> Result<Scanned, Error> {
    let started = writer::start(
        call.database,
        std::sync::Arc::clone(call.shutdown),
        &call.waits,
    )?;
    let scanned = record(call, folders, &started.thread.writer());
    let closed = started.thread.close();
    let scanned = scanned?;
    closed?;
    Ok(scanned)
}

/// What describes one file, and where that comes from.
pub struct Explanation {
    pub library: String,
    /// Relative to the library's folder.
    pub path: String,
    pub entries: Vec<Explained>,
    /// Some rule met it, or there are no rules.
    pub is_matched: bool,
}

/// By the settings that are given, or else kept. Nothing is recorded; the file need not be there.
///
/// # Errors
/// The path lies in none of the folders; its sidecar cannot be used, or what describes it is too much.
pub fn explain(database: &Path, folders: &Folders, path: &Path) -> Result<Explanation, Error> {
    let reader = Reader::of(database)?;
    let (root, path) = below(&roots(folders)?, path)?;
    let filter = Filter::new(&root, &folders.options)?;
    let library = library::resolve(&reader, &root, folders.name.as_deref(), &filter)?;
    let (_, _, describer) = settings(&library, folders)?;
    let sidecar = scan::sidecar(&root, &path)?;
    let unusable = |skip: Skip| {
        let remedy = "mend it; a scan skips the file until then";
        Error::new(Kind::Input, skip.path, skip.detail, remedy)
    };
    let described = describer.of(&path, sidecar.as_deref()).map_err(unusable)?;
    let entries = describer
        .explain(&path, sidecar.as_deref())
        .map_err(unusable)?;
    Ok(Explanation {
        library: library.name().to_owned(),
        path,
        entries,
        is_matched: described.is_matched,
    })
}

/// The folder in which a path lies, and the path relative to it. It may be absolute, relative to the folder,
/// or relative to where the user stands.
fn below(roots: &[PathBuf], path: &Path) -> Result<(PathBuf, String), Error> {
    let inside = |path: &Path| {
        roots.iter().find_map(|root| {
            let relative = path.strip_prefix(root).ok()?.to_str()?;
            (!relative.is_empty()).then(|| (root.clone(), relative.to_owned()))
        })
    };
    let in_root = roots.iter().map(|root| root.join(path));
    let there = in_root.clone().find(|path| path.exists());
    let from_here = || path.canonicalize().ok();
    let found = there
        .and_then(|path| inside(&path))
        .or_else(|| inside(&from_here()?))
        // A file that is not there is described by its path all the same.
        .or_else(|| in_root.clone().find_map(|path| inside(&path)));
    found.ok_or_else(|| {
        Error::new(
            Kind::Usage,
            path.display().to_string(),
            "it lies in none of the folders",
            "name the folder that holds it, and the path below it",
        )
    })
}

/// What is kept of a library's settings, what holds from now on, and what that makes of its files.
pub(super) fn settings(
    library: &Found,
    folders: &Folders,
) -> Result<(LibrarySettings, LibrarySettings, Describer), Error> {
    let kept = LibrarySettings::read(library.name(), library.settings())?;
    let settings = folders.options.given.over(&kept)?;
    let describer = Describer::new(library.name(), &settings)?;
    Ok((kept, settings, describer))
}

/// The folders, canonical, and each once; what `--files-from` names must be below one of them.
pub fn roots(folders: &Folders) -> Result<Vec<PathBuf>, Error> {
    let mut roots: Vec<PathBuf> = Vec::new();
    for dir in &folders.dirs {
        let root = library::root(dir)?;
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    if let Some(list) = &folders.options.files_from {
        list.check(&roots)?;
    }
    Ok(roots)
}

/// Scans every folder and says of each what was found.
pub(super) fn record(
    call: &Call<'_>,
    folders: &Folders,
    writer: &Writer,
) -> Result<Scanned, Error> {
    let mut all = Scanned::default();
    for root in roots(folders)? {
        if call.shutdown.is_stopping() {
            break;
        }
        let began = Instant::now();
        let filter = Filter::new(&root, &folders.options)?;
        let reader = Reader::open(call.database)?;
        let library = library::resolve(&reader, &root, folders.name.as_deref(), &filter)?;
        let moved = moved(&library);
        let is_new = library.row().is_none();
        // Nothing is recorded of a folder with settings that make no sense.
        let (kept, settings, describer) = settings(&library, folders)?;
        let library = library::record(library, writer)?;
        if settings != kept {
            writer.commit(Change::LibrarySettings {
                library: library.id,
                settings: settings.to_text(),
            })?;
        }
        if let Some(moved) = moved {
            call.events.send(moved);
        }
        let catalog = Catalog::new(&reader, library.id, describer)?;
        let mut telling = Telling {
            recorder: Recorder::new(writer, &library),
            library: &library.name,
            call,
        };
        let stop = || call.shutdown.is_stopping();
        let found = scan::run(&root, &folders.options, &catalog, &mut telling, &stop);
        let recorder = telling.recorder;
        if let (Err(_), true) = (&found, is_new) {
            forget_if_empty(&library, &reader, writer)?;
        }
        let found = found?;
        recorder.finish(!found.interrupted, !filter.is_active())?;
        all.unreadable += found.unreadable;
        call.events.send(Event::ScanDone {
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
fn moved(found: &Found) -> Option<Event> {
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

/// Records, and names what is skipped where somebody wants to know.
struct Telling<'a, 'w> {
    recorder: Recorder<'w>,
    library: &'a str,
    call: &'a Call<'a>,
}

impl Record for Telling<'_, '_> {
    fn file(&mut self, file: SeenFile) -> Result<(), Error> {
        self.recorder.file(file)
    }

    fn skip(&mut self, skip: Skip) -> Result<(), Error> {
        if self.call.verbose {
            self.call.events.send(Event::Skip {
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

    fn described(
        &mut self,
        known: &KnownFile,
        path: &str,
        described: Described,
    ) -> Result<(), Error> {
        self.recorder.described(known, path, described)
    }

    fn unchanged(&mut self, known: &KnownFile, path: &str) -> Result<(), Error> {
        self.recorder.unchanged(known, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{EventSink, Progress};
    use crate::shutdown::Shutdown;
    use crate::waits::Waits;
    use std::fs;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// Neither a terminal nor a program's pipe.
    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl EventSink for Heard {
        fn send(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    #[test]
    fn whoever_calls_hears_what_was_found() {
        let place = tempfile::tempdir().unwrap();
        let docs = place.path().join("docs");
        fs::create_dir(&docs).unwrap();
        fs::write(docs.join("note.md"), "words").unwrap();
        let heard = Arc::new(Heard::default());
        let call = Call {
            database: &place.path().join("library.db"),
            events: Arc::clone(&heard) as Arc<dyn EventSink>,
            progress: &Arc::new(Progress::new(0)),
            shutdown: &Arc::new(Shutdown::new(Duration::ZERO)),
            waits: Waits::default(),
            verbose: false,
        };
        let folders = Folders {
            dirs: vec![docs],
            name: None,
            options: Options::default(),
        };
        let scanned = run(&call, &folders).unwrap();
        assert_eq!(scanned.libraries[0].name, "docs");
        let heard = heard.0.lock().unwrap();
        let [Event::ScanDone { library, found, .. }] = &heard[..] else {
            panic!("{heard:?}");
        };
        assert_eq!((library.as_str(), found.new), ("docs", 1));
    }
}
