//! What is known of libraries and stores, and who works on them: read from the database, and nothing asked
//! of any service.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::now_ms;
use crate::error::Error;
use crate::report::status::{LastRun, LibraryLine, Status, StoreLine, StoreStatus, Waiting};
use crate::scan::LibrarySettings;
use crate::state::reader::figures::{FileCounts, Reason};
use crate::state::reader::{LibraryRow, RUNNING, StoreRow};
use crate::state::{Reader, UploadState};

/// The stores that a name means, the one that a run used last first. What nobody has named means all: those
/// of the name that is taken by itself come first, and of the others those that libraries go into.
pub fn stores(reader: &Reader, name: &str, is_named: bool) -> Result<Vec<StoreRow>, Error> {
    let (mut called, others): (Vec<StoreRow>, Vec<StoreRow>) = reader
        .stores()?
        .into_iter()
        .partition(|store| store.is_called(name));
    if !is_named {
        for store in others {
            if !reader.linked(store.id)?.is_empty() {
                called.push(store);
            }
        }
    }
    Ok(called)
}

/// The libraries that an upload into this store is about.
pub fn libraries(reader: &Reader, store: Option<&StoreRow>) -> Result<Vec<LibraryRow>, Error> {
    let mut libraries = match store {
        Some(store) => reader.linked(store.id)?,
        None => Vec::new(),
    };
    libraries.extend(reader.never_sent()?);
    Ok(libraries)
}

/// `stale_after`: how long an objlib without a heartbeat is taken to be alive.
pub fn look(reader: &Reader, stores: &[StoreRow], stale_after: Duration) -> Result<Status, Error> {
    reader.at_once(|| seen(reader, stores, stale_after))
}

fn seen(reader: &Reader, stores: &[StoreRow], stale_after: Duration) -> Result<Status, Error> {
    let all = reader.libraries()?;
    let files_of = reader.file_counts_by_library(&all.iter().map(|row| row.id).collect())?;
    let first = stores.first();
    let mut filled = vec![store_status(
        reader,
        first,
        libraries(reader, first)?,
        &files_of,
    )?];
    // What was never sent anywhere goes into one of them, and is shown once.
    for store in stores.iter().skip(1) {
        let linked = reader.linked(store.id)?;
        filled.push(store_status(reader, Some(store), linked, &files_of)?);
    }
    let worker = reader.worker(stale_after)?;
    let known = reader.stores()?;
    let last_run = reader.last_run(stale_after)?.map(|run| LastRun {
        into: known
            .iter()
            .find(|store| Some(store.id) == run.store_id)
            .map(|store| store_line(store.clone(), &known)),
        started: reader.local(run.started_ms),
        heard: run.heard_ms.map(|ms| reader.local(ms)),
        run,
    });
    let is_of_worker = |last: &LastRun| {
        let instance = worker.as_ref().map(|w| w.holder.instance.as_str());
        last.run.outcome == RUNNING && instance == Some(&last.run.instance)
    };
    Ok(Status {
        now: reader.local(now_ms()),
        libraries: all
            .iter()
            .map(|row| library_line(reader, row, &of(row, &files_of)))
            .collect::<Result<_, _>>()?,
        stores: filled,
        is_running: last_run.as_ref().is_some_and(is_of_worker),
        worker: worker.map(|worker| (reader.local(worker.since_ms), worker)),
        last_run,
        is_watched: false,
    })
}

fn store_status(
    reader: &Reader,
    store: Option<&StoreRow>,
    libraries: Vec<LibraryRow>,
    files_of: &BTreeMap<i64, FileCounts>,
) -> Result<StoreStatus, Error> {
    let mut files = FileCounts::default();
    for library in &libraries {
        files.add(&of(library, files_of));
    }
    let mut status = StoreStatus {
        missing: files.missing,
        left_out: files.left_out,
        skipped: files.skipped,
        ..StoreStatus::default()
    };
    if let Some(store) = store {
        let ids = libraries.iter().map(|library| library.id).collect();
        // What never goes into this store is none of its files.
        for (images, bytes) in reader.images_not_for(store.id, &ids)?.values() {
            files.present = files.present.saturating_sub(*images);
            files.bytes = files.bytes.saturating_sub(*bytes);
        }
        let counts = reader.settled_counts(store.id)?;
        status.uploading = counts.uploading;
        status.processing = counts.processing;
        status.indexed = counts.indexed;
        status.failed = counts.failed;
        status.gone = reader.purgeable_files(store.id, &ids)?;
        for state in [UploadState::Pending, UploadState::Uploading] {
            status.waiting.extend(waiting(reader, store.id, state)?);
        }
        status.id = Some(store.id);
        status.store = Some(store_line(store.clone(), &[]));
    }
    status.files = files.present;
    status.bytes = files.bytes;
    // A file waits from the moment it was scanned, whether or not it has a row yet.
    let settled = status.uploading + status.processing + status.indexed + status.failed;
    status.pending = files.present.saturating_sub(settled);
    Ok(status)
}

/// A library of which nothing is recorded yet has no counts.
fn of(library: &LibraryRow, files_of: &BTreeMap<i64, FileCounts>) -> FileCounts {
    files_of.get(&library.id).copied().unwrap_or_default()
}

fn waiting(reader: &Reader, store: i64, state: UploadState) -> Result<Vec<Waiting>, Error> {
    let reasons = reader.reasons(store, state)?.into_iter();
    let waiting = |reason: Reason| Waiting {
        files: reason.files,
        since: reader.local(reason.since_ms),
        cause: reason.words,
    };
    Ok(reasons.map(waiting).collect())
}

/// `known`: all that the database knows.
fn store_line(store: StoreRow, known: &[StoreRow]) -> StoreLine {
    let is_twin =
        |other: &StoreRow| other.id != store.id && other.display_name == store.display_name;
    StoreLine {
        has_twin: known.iter().any(is_twin),
        display_name: store.display_name,
        name: store.name.to_string(),
        endpoint: store.endpoint,
    }
}

pub fn library_line(
    reader: &Reader,
    library: &LibraryRow,
    files: &FileCounts,
) -> Result<LibraryLine, Error> {
    let stores = reader.stores_of(library.id)?;
    let known = match stores.is_empty() {
        true => Vec::new(),
        false => reader.stores()?,
    };
    Ok(LibraryLine {
        name: library.name.clone(),
        root: library.root.display().to_string(),
        files: files.present,
        bytes: files.bytes,
        missing: files.missing,
        left_out: files.left_out,
        skipped: files.skipped,
        stores: stores
            .into_iter()
            .map(|store| store_line(store, &known))
            .collect(),
        settings: LibrarySettings::read(&library.name, &library.settings)?,
    })
}
