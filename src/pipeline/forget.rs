//! What is over is forgotten, so that the database does not grow from year to year: files that are gone and of
//! which nothing is left in any store (those that have moved by every run, those that were missing by a purge),
//! and rows of documents that were deleted a day ago.
//!
//! Only at the end of a run: as long as one lists the store, it knows by their rows which of the documents
//! that are still shown were deleted. Promises: a page in memory, however many there are; can be cut off
//! anywhere, and the next run goes on.

use super::{Parts, RunSettings};
use crate::clock::{self, UnixMs};
use crate::error::Error;
use crate::state::reader::Missing;
use crate::state::{Change, Reader, Writer};

/// For so long a listing may show what is deleted: it lags by seconds, and this is far beyond.
const SHOWN_WITHIN_MS: i64 = 24 * 3600 * 1000;
/// No file went missing before it.
const NEVER: UnixMs = UnixMs::MIN;

/// At the end of a run, unless it was stopped.
pub(super) fn after(settings: &RunSettings, parts: &Parts) -> Result<(), Error> {
    parts.writer.commit(Change::Flush)?;
    if parts.shutdown.is_stopping() {
        return Ok(());
    }
    ended(settings.store.id, clock::now_ms(), &parts.writer)?;
    let moved = || Missing {
        libraries: settings.selection.ids().collect(),
        before: NEVER,
    };
    let missing = settings.purge.clone().unwrap_or_else(moved);
    files(&missing, &parts.reader, &parts.writer)
}

/// Rows of documents whose deletion was confirmed long enough ago.
fn ended(store: i64, now: UnixMs, writer: &Writer) -> Result<(), Error> {
    let before = now - SHOWN_WITHIN_MS;
    while writer
        .commit(Change::EndedForgotten { store, before })?
        .rows
        > 0
    {}
    Ok(())
}

pub fn files(missing: &Missing, reader: &Reader, writer: &Writer) -> Result<(), Error> {
    for library in &missing.libraries {
        let mut last = 0;
        loop {
            let page = reader.over(*library, missing.before, last)?;
            let Some(end) = page.last() else {
                break;
            };
            last = *end;
            for file in page {
                writer.send(Change::FileForgotten { file }, |_| {});
            }
        }
    }
    writer.commit(Change::Flush).map(|_| ())
}
