//! What `status`, the summary and a dry run show: counts, and what failed or was skipped.
//!
//! Promises: what is counted is what was committed when it was asked for. Lists come by pages, each of them
//! read at once, so that whoever reads slowly what is printed of them holds up neither the writer nor its
//! write-ahead log.

use std::collections::BTreeMap;

use rusqlite::{Row, params};

use super::{Libraries, PAGE, Reader, count};
use crate::clock::UnixMs;
use crate::error::Error;
use crate::state::statement::statements;
use crate::state::upload_state::UploadState;
use crate::state::{IS_IMAGE, TAKES_IMAGES, UploadId};

/// Uploads of present files' current content, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UploadCounts {
    pub pending: u64,
    pub pending_bytes: u64,
    pub uploading: u64,
    pub processing: u64,
    pub indexed: u64,
    pub failed: u64,
}

/// What a library has in a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Documents, those that are about to be replaced as well, and what they were made of.
    pub indexed: u64,
    pub bytes: u64,
    /// On their way to the store.
    pub under_way: u64,
    pub failed: u64,
    /// Present files of which nothing else is known there.
    pub pending: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileCounts {
    pub present: u64,
    pub missing: u64,
    /// There, and not to be sent any more.
    pub left_out: u64,
    pub skipped: u64,
    /// Of the present files.
    pub bytes: u64,
}

/// Why some files wait or failed: all of them met the same error.
#[derive(Debug, Clone)]
pub struct Reason {
    pub words: String,
    pub files: u64,
    /// Since when the first of them is in its state.
    pub since_ms: UnixMs,
}

/// A failed file.
#[derive(Debug, Clone)]
pub struct FailedFile {
    pub upload: UploadId,
    pub library: String,
    pub path: String,
    pub kind: String,
    pub error: String,
    pub since_ms: UnixMs,
    pub attempts: u32,
}

/// A path that the last scan skipped.
#[derive(Debug, Clone)]
pub struct SkippedFile {
    pub path: String,
    pub reason: String,
    pub detail: String,
}

impl UploadCounts {
    pub fn add(&mut self, state: UploadState, files: u64, bytes: u64) {
        match state {
            UploadState::Pending => {
                self.pending += files;
                self.pending_bytes += bytes;
            }
            UploadState::Uploading => self.uploading += files,
            UploadState::Processing => self.processing += files,
            UploadState::Indexed => self.indexed += files,
            UploadState::Failed => self.failed += files,
            UploadState::Superseded | UploadState::Retired => {}
        }
    }
}

impl FileCounts {
    pub fn add(&mut self, other: &FileCounts) {
        self.present += other.present;
        self.missing += other.missing;
        self.left_out += other.left_out;
        self.skipped += other.skipped;
        self.bytes += other.bytes;
    }
}

/// Of a store, what has failed and is still to be sent.
const FAILED: &str = "u.store_id = ?1 AND u.status = 'failed' AND u.current = 1";

statements! {
    UPLOAD_COUNTS: All("counts uploads, on an index that holds all it needs") =>
        "SELECT status, count(*), sum(size_bytes) FROM uploads INDEXED BY uploads_counts
         WHERE store_id = ?1
         AND library_id IN (SELECT value FROM rarray(?2)) AND current = 1
         GROUP BY library_id, status";
    SHARES: All("counts uploads, on an index that holds all it needs") =>
        "SELECT library_id, current, status, count(*), sum(size_bytes)
         FROM uploads INDEXED BY uploads_counts WHERE store_id = ?1
         AND library_id IN (SELECT value FROM rarray(?2)) GROUP BY library_id, current, status";
    // Without bytes and groups, each of which takes as long as the counting.
    SETTLED: All("counts uploads, on an index that holds all it needs") =>
        "SELECT count(*) FROM uploads INDEXED BY uploads_counts
         WHERE library_id = ?1 AND store_id = ?2 AND current = ?3 AND status = ?4";
    // Its index has one short column.
    INDEXED: All("counts documents, on an index of just those") =>
        "SELECT count(*) FROM uploads INDEXED BY uploads_indexed
         WHERE store_id = ?1 AND status = 'indexed'";
    FILE_COUNTS: All("counts files, on an index that holds all it needs") =>
        "SELECT count(*), coalesce(sum(size_bytes), 0) FROM files INDEXED BY files_by_state
         WHERE library_id = ?1 AND state = ?2";
    IMAGES: All("counts images, on an index of just those") =>
        "SELECT f.library_id, count(*), sum(f.size_bytes) FROM files f INDEXED BY files_images
         WHERE f.library_id IN (SELECT value FROM rarray(?2)) AND f.state = 'present' AND", IS_IMAGE, "
         AND NOT EXISTS (SELECT 1 FROM stores s WHERE s.id = ?1 AND", TAKES_IMAGES, ")
         GROUP BY f.library_id";
    SKIPPED_COUNTS: All("counts skips, on an index") =>
        "SELECT library_id, count(*) FROM skipped_files
         WHERE library_id IN (SELECT value FROM rarray(?1)) GROUP BY library_id";
    SKIPPED: Page =>
        "SELECT path, reason, detail FROM skipped_files WHERE library_id = ?1 AND path >= ?2
         ORDER BY path", PAGE;
    UNMATCHED: Page =>
        "SELECT path FROM files INDEXED BY files_unmatched
         WHERE library_id = ?1 AND path >= ?2 AND unmatched = 1 AND state = 'present' ORDER BY path", PAGE;
    EACH_SKIPPED_FOR: All("what could not be read is looked for among what this call selects") =>
        "SELECT library_id, path FROM skipped_files
         WHERE library_id IN (SELECT value FROM rarray(?1)) AND reason = ?2";
    REASONS: All("groups the files that have met an error, which make up its index") =>
        "SELECT u.error, count(*), min(u.since_ms) FROM uploads u
         WHERE u.store_id = ?1 AND u.current = 1 AND u.status = ?2 AND u.error IS NOT NULL
         GROUP BY u.error ORDER BY 2 DESC LIMIT 20";
    NEXT_ERROR: All("counts the files of one error, on an index") =>
        "SELECT u.error, count(*) FROM uploads u
         WHERE", FAILED, "AND u.error >= ?2 GROUP BY u.error ORDER BY u.error LIMIT 1";
    FAILED_FOR: Page =>
        "SELECT u.id, l.name, f.path, coalesce(u.error_kind, ''), u.error, u.since_ms, u.attempts
         FROM uploads u JOIN files f ON f.id = u.file_id JOIN libraries l ON l.id = u.library_id
         WHERE", FAILED, "AND u.error = ?2 AND u.id > ?3 ORDER BY u.id", PAGE;
}

impl Reader {
    /// Of the present files of these libraries; one that is still to be queued for the store is pending.
    pub fn upload_counts(&self, store: i64, libraries: &Libraries) -> Result<UploadCounts, Error> {
        let mut counts = UploadCounts::default();
        self.each_count(store, libraries, |state, files, bytes| {
            counts.add(state, files, bytes);
        })?;
        let partly_queued = self.to_queue(store, libraries)?;
        if partly_queued.is_empty() {
            return Ok(counts);
        }
        // A present file has one current row in a store, or none yet: so two sums tell how many have none,
        // and no file is looked at.
        let partly_queued = Libraries::from_iter(partly_queued);
        let present = self.file_counts(&partly_queued)?;
        let (mut files, mut bytes) = (present.present, present.bytes);
        for (images, image_bytes) in self.images_not_for(store, &partly_queued)?.values() {
            files = files.saturating_sub(*images);
            bytes = bytes.saturating_sub(*image_bytes);
        }
        self.each_count(store, &partly_queued, |state, rows, row_bytes| {
            if !state.is_ended() {
                files = files.saturating_sub(rows);
                bytes = bytes.saturating_sub(row_bytes);
            }
        })?;
        counts.add(UploadState::Pending, files, bytes);
        Ok(counts)
    }

    /// Of the present files of all libraries that go into a store, those that do not wait any more.
    pub fn settled_counts(&self, store: i64) -> Result<UploadCounts, Error> {
        let mut counts = UploadCounts {
            indexed: self.checked(INDEXED.one(&self.conn, [store], |r| count(r, 0)))?,
            ..UploadCounts::default()
        };
        for library in self.linked(store)? {
            let of = |current: bool, state: UploadState| {
                let params = params![library.id, store, current, state.as_str()];
                self.checked(SETTLED.one(&self.conn, params, |r| count(r, 0)))
            };
            let old = of(false, UploadState::Indexed)?;
            counts.indexed = counts.indexed.saturating_sub(old);
            counts.uploading += of(true, UploadState::Uploading)?;
            counts.processing += of(true, UploadState::Processing)?;
            counts.failed += of(true, UploadState::Failed)?;
        }
        Ok(counts)
    }

    /// What each of these libraries has in a store.
    pub fn shares(&self, store: i64, libraries: &Libraries) -> Result<BTreeMap<i64, Share>, Error> {
        let mut shares: BTreeMap<i64, Share> = BTreeMap::new();
        let files = self.file_counts_by_library(libraries)?;
        for (library, files) in files {
            shares.entry(library).or_default().pending = files.present;
        }
        for (library, (images, _)) in self.images_not_for(store, libraries)? {
            let share = shares.entry(library).or_default();
            share.pending = share.pending.saturating_sub(images);
        }
        let add = |r: &Row<'_>| {
            let share = shares.entry(r.get(0)?).or_default();
            let (current, rows): (bool, u64) = (r.get(1)?, count(r, 3)?);
            let state = UploadState::parse(r.get_ref(2)?.as_str()?);
            match state {
                Some(UploadState::Indexed) => {
                    share.indexed += rows;
                    share.bytes += count(r, 4)?;
                }
                Some(UploadState::Uploading | UploadState::Processing) => share.under_way += rows,
                Some(UploadState::Failed) if current => share.failed += rows,
                _ => return Ok(()),
            }
            if current {
                share.pending = share.pending.saturating_sub(rows);
            }
            Ok(())
        };
        self.checked(SHARES.each(&self.conn, params![store, libraries], add))?;
        Ok(shares)
    }

    fn each_count(
        &self,
        store: i64,
        libraries: &Libraries,
        mut each: impl FnMut(UploadState, u64, u64),
    ) -> Result<(), Error> {
        let take = |r: &Row<'_>| {
            if let Some(state) = UploadState::parse(r.get_ref(0)?.as_str()?) {
                each(state, count(r, 1)?, count(r, 2)?);
            }
            Ok(())
        };
        self.checked(UPLOAD_COUNTS.each(&self.conn, params![store, libraries], take))
    }

    /// Of some libraries together.
    pub fn file_counts(&self, libraries: &Libraries) -> Result<FileCounts, Error> {
        let mut sum = FileCounts::default();
        for counts in self.file_counts_by_library(libraries)?.values() {
            sum.add(counts);
        }
        Ok(sum)
    }

    /// Of each of some libraries; one of which nothing is recorded is not among them.
    pub fn file_counts_by_library(
        &self,
        libraries: &Libraries,
    ) -> Result<BTreeMap<i64, FileCounts>, Error> {
        let mut all: BTreeMap<i64, FileCounts> = BTreeMap::new();
        for &library in libraries.ids() {
            let of = |state: &str| {
                let counts = |r: &Row<'_>| Ok((count(r, 0)?, count(r, 1)?));
                self.checked(FILE_COUNTS.one(&self.conn, params![library, state], counts))
            };
            // Of those that have moved the content is at another path.
            let (present, bytes) = of("present")?;
            let (missing, left_out) = (of("missing")?.0, of("left_out")?.0);
            if present + missing + left_out > 0 {
                let counts = FileCounts {
                    present,
                    bytes,
                    missing,
                    left_out,
                    skipped: 0,
                };
                all.insert(library, counts);
            }
        }
        for (library, skipped) in self.skipped_counts(libraries)? {
            all.entry(library).or_default().skipped = skipped;
        }
        Ok(all)
    }

    /// How many images each of some libraries has that a store does not take, and their bytes.
    pub fn images_not_for(
        &self,
        store: i64,
        libraries: &Libraries,
    ) -> Result<BTreeMap<i64, (u64, u64)>, Error> {
        let images = |r: &Row<'_>| Ok((r.get(0)?, (count(r, 1)?, count(r, 2)?)));
        let images = self.checked(IMAGES.rows(&self.conn, params![store, libraries], images))?;
        Ok(images.into_iter().collect())
    }

    /// How many paths the last scan skipped of each of some libraries.
    pub fn skipped_counts(&self, libraries: &Libraries) -> Result<BTreeMap<i64, u64>, Error> {
        let counts = |r: &Row<'_>| Ok((r.get(0)?, count(r, 1)?));
        let counts = self.checked(SKIPPED_COUNTS.rows(&self.conn, [libraries], counts))?;
        Ok(counts.into_iter().collect())
    }

    /// Skipped paths of a library from this one on, by path.
    pub fn skipped(&self, library: i64, from: &str) -> Result<Vec<SkippedFile>, Error> {
        let skipped = SKIPPED.rows(&self.conn, params![library, from], |r| {
            Ok(SkippedFile {
                path: r.get(0)?,
                reason: r.get(1)?,
                detail: r.get(2)?,
            })
        });
        self.checked(skipped)
    }

    /// Present files of a library, from this path on, that no rule met.
    pub fn unmatched(&self, library: i64, from: &str) -> Result<Vec<String>, Error> {
        let params = params![library, from];
        self.checked(UNMATCHED.rows(&self.conn, params, |r| r.get(0)))
    }

    /// Calls `each` with library and path of all that was skipped for one reason.
    pub fn each_skipped_for(
        &self,
        reason: &str,
        libraries: &Libraries,
        each: &mut dyn FnMut(i64, &str),
    ) -> Result<(), Error> {
        let take = |r: &Row<'_>| {
            each(r.get(0)?, r.get_ref(1)?.as_str()?);
            Ok(())
        };
        self.checked(EACH_SKIPPED_FOR.each(&self.conn, params![libraries, reason], take))
    }

    /// Why uploads in this state are there, most frequent first; the first twenty.
    pub fn reasons(&self, store: i64, state: UploadState) -> Result<Vec<Reason>, Error> {
        let reasons = REASONS.rows(&self.conn, params![store, state.as_str()], |r| {
            Ok(Reason {
                words: r.get(0)?,
                files: count(r, 1)?,
                since_ms: r.get(2)?,
            })
        });
        self.checked(reasons)
    }

    /// Of the errors that files have failed with, by their words, the first from these on, and how many
    /// files have met it.
    pub fn next_error(&self, store: i64, from: &str) -> Result<Option<(String, u64)>, Error> {
        let error = |r: &Row<'_>| Ok((r.get(0)?, count(r, 1)?));
        self.checked(NEXT_ERROR.first(&self.conn, params![store, from], error))
    }

    /// Files that have failed with this error, in the order in which they were first queued.
    pub fn failed_for(
        &self,
        store: i64,
        error: &str,
        after: UploadId,
    ) -> Result<Vec<FailedFile>, Error> {
        let failed = FAILED_FOR.rows(&self.conn, params![store, error, after.0], |r| {
            Ok(FailedFile {
                upload: UploadId(r.get(0)?),
                library: r.get(1)?,
                path: r.get(2)?,
                kind: r.get(3)?,
                error: r.get(4)?,
                since_ms: r.get(5)?,
                attempts: r.get(6)?,
            })
        });
        self.checked(failed)
    }
}

/// The first text that sorts behind this one: where a list goes on.
pub fn behind(text: &str) -> String {
    format!("{text}\0")
}
