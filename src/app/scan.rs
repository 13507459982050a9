//! Folders → libraries and their files: the first stage of `upload`, and all of `scan`.
//!
//! Promises: a folder that cannot be scanned leaves nothing behind; a scan that was broken off is not taken
//! for a whole one.

use std::time::Instant;

use super::Call;
use super::folders::{Folders, roots};
use crate::app::folders::describe;
use crate::error::Error;
use crate::library::{self, Found};
use crate::report::Event;
use crate::report::progress::reading::What;
use crate::scan::{self, Catalog, Filter, Record, Recorder, Skip};
use crate::state::reader::{LibraryRow, StoreRow};
use crate::state::{Change, Described, KnownFile, Reader, SeenFile, Writer, writer};

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
    let scanned = record(call, folders, &started.thread.writer(), None);
    let closed = started.thread.close();
    let scanned = scanned?;
    closed?;
    Ok(scanned)
}

/// Scans every folder and says of each what was found. `into`: the store that they are about to go into, if it
/// is known.
pub(super) fn record(
    call: &Call<'_>,
    folders: &Folders,
    writer: &Writer,
    into: Option<&StoreRow>,
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
        let described = describe::library(&reader, &library, &folders.options.given, into)?;
        let library = library::record(library, writer)?;
        if described.settings != described.kept {
            writer.commit(Change::LibrarySettings {
                library: library.id,
                settings: described.settings.to_text(),
            })?;
        }
        if let Some(moved) = moved {
            call.events.send(moved);
        }
        let catalog = Catalog::new(&reader, library.id, described.describer)?;
        let mut telling = Telling {
            recorder: Recorder::new(writer, &library),
            library: &library.name,
            call,
        };
        let _reading = call
            .progress
            .reading()
            .begin(What::Folder(library.name.clone()));
        let stop = || call.shutdown.is_stopping();
        let found = scan::run(&root, &folders.options, &catalog, &mut telling, &stop);
        let recorder = telling.recorder;
        if let (Err(_), true) = (&found, is_new) {
            forget_if_empty(&library, &reader, writer)?;
        }
        let mut found = found?;
        let moves = recorder.finish(!found.interrupted, !filter.is_active())?;
        found.count_moved(moves);
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
        let reading = self.call.progress.reading();
        reading.saw(1);
        reading.hashed(file.reading.size_bytes);
        self.recorder.file(file)
    }

    fn skip(&mut self, skip: Skip) -> Result<(), Error> {
        self.call.progress.reading().saw(1);
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

    fn settle(&mut self) -> Result<(), Error> {
        self.recorder.settle()
    }

    fn unchanged(&mut self, known: &KnownFile, path: &str) -> Result<(), Error> {
        self.call.progress.reading().saw(1);
        self.recorder.unchanged(known, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{EventSink, Progress};
    use crate::scan::Options;
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
