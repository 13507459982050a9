//! Which files a run is about: the libraries that were asked for, narrowed by the filters of this one call.
//!
//! Promises: what is not selected is neither sent nor marked by the run, whatever was recorded before.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::scan::Filter;
use crate::state::figures::UploadCounts;
use crate::state::reader::Libraries;
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

    pub fn holds(&self, library: i64) -> bool {
        self.libraries.contains_key(&library)
    }

    pub fn selects(&self, library: i64, path: &str) -> bool {
        self.libraries
            .get(&library)
            .is_some_and(|filter| filter.selects(path))
    }

    /// Current uploads of what is selected, by state.
    pub fn counts(&self, reader: &Reader, store: i64) -> Result<UploadCounts, Error> {
        if !self.libraries.values().any(Filter::is_active) {
            return reader.upload_counts(store, &self.libraries());
        }
        let mut counts = UploadCounts::default();
        for state in UploadState::ALL {
            self.each(reader, store, (state, FROM_THE_START), &mut |_, bytes| {
                counts.add(state, 1, bytes);
            })?;
        }
        Ok(counts)
    }

    /// How many selected files are pending, of those with a place behind `after` in the queue.
    pub fn pending_after(&self, reader: &Reader, store: i64, after: i64) -> Result<u64, Error> {
        let mut pending = 0;
        let place = (UploadState::Pending, after);
        self.each(reader, store, place, &mut |_, _| pending += 1)?;
        Ok(pending)
    }

    /// The selected uploads that have failed.
    pub fn failed(&self, reader: &Reader, store: i64) -> Result<Vec<UploadId>, Error> {
        let mut failed = Vec::new();
        let place = (UploadState::Failed, FROM_THE_START);
        self.each(reader, store, place, &mut |upload, _| failed.push(upload))?;
        Ok(failed)
    }

    /// Calls `each` with every selected upload in a state, behind a place in the queue, and its bytes.
    fn each(
        &self,
        reader: &Reader,
        store: i64,
        place: (UploadState, i64),
        each: &mut dyn FnMut(UploadId, u64),
    ) -> Result<(), Error> {
        let libraries = self.libraries();
        reader.each_in_state(
            store,
            &libraries,
            place,
            &mut |upload, library, path, bytes| {
                if self.selects(library, path) {
                    each(upload, bytes);
                }
            },
        )
    }
}
