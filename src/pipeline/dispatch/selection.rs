//! Which files a run is about: the libraries that were asked for, narrowed by the filters of this one call.
//!
//! Promises: what is not selected is neither sent nor marked by the run, whatever was recorded before.

use std::collections::BTreeMap;

use super::backlog::Backlog;
use crate::error::Error;
use crate::scan::Filter;
use crate::state::reader::figures::UploadCounts;
use crate::state::reader::{Libraries, Queued};
use crate::state::{Reader, UploadId, UploadState};

/// The start of every queue.
pub const FROM_THE_START: i64 = i64::MIN;

#[derive(Default)]
pub struct Selection {
    libraries: BTreeMap<i64, Filter>,
}

impl FromIterator<(i64, Filter)> for Selection {
    fn from_iter<I: IntoIterator<Item = (i64, Filter)>>(libraries: I) -> Selection {
        Selection {
            libraries: libraries.into_iter().collect(),
        }
    }
}

impl Selection {
    pub fn libraries(&self) -> Libraries {
        self.ids().collect()
    }

    pub fn ids(&self) -> impl Iterator<Item = i64> {
        self.libraries.keys().copied()
    }

    pub fn selects(&self, library: i64, path: &str) -> bool {
        self.libraries
            .get(&library)
            .is_some_and(|filter| filter.selects(path))
    }

    /// Uploads of what is selected, by state; a file that is still to be queued is pending.
    pub fn counts(&self, reader: &Reader, store: i64) -> Result<UploadCounts, Error> {
        let libraries = self.libraries();
        if !self.libraries.values().any(Filter::is_active) {
            return reader.upload_counts(store, &libraries);
        }
        let mut counts = UploadCounts::default();
        for state in UploadState::ALL {
            self.each(reader, store, (state, FROM_THE_START), &mut |upload| {
                counts.add(state, 1, upload.bytes);
            })?;
        }
        reader.each_unqueued(store, &libraries, &mut |library, path, bytes| {
            if self.selects(library, path) {
                counts.add(UploadState::Pending, 1, bytes);
            }
        })?;
        Ok(counts)
    }

    /// How many selected files have come back to the queue in this run, or were found changed, and wait.
    pub fn come_back(&self, reader: &Reader, store: i64, backlog: &Backlog) -> Result<u64, Error> {
        let mut waiting = 0;
        let place = (UploadState::Pending, backlog.start_of_the_rest());
        self.each(reader, store, place, &mut |upload| {
            waiting += u64::from(!backlog.holds(upload.place));
        })?;
        Ok(waiting)
    }

    /// The selected uploads that have failed.
    pub fn failed(&self, reader: &Reader, store: i64) -> Result<Vec<UploadId>, Error> {
        let mut failed = Vec::new();
        let place = (UploadState::Failed, FROM_THE_START);
        self.each(reader, store, place, &mut |row| failed.push(row.upload))?;
        Ok(failed)
    }

    /// Calls `each` with every selected upload in a state, behind a place in the queue.
    fn each(
        &self,
        reader: &Reader,
        store: i64,
        place: (UploadState, i64),
        each: &mut dyn FnMut(Queued<'_>),
    ) -> Result<(), Error> {
        let libraries = self.libraries();
        reader.each_in_state(store, &libraries, place, &mut |upload| {
            if self.selects(upload.library, upload.path) {
                each(upload);
            }
        })
    }
}
