//! What `status`, the summary and a dry run count.
//!
//! Promises: what is counted is what was committed when it was asked for; lists come a page or a row at a
//! time.

use std::collections::BTreeMap;

use rusqlite::{Row, params};

use super::reader::{Libraries, Reader, count};
use super::upload_state::UploadState;
use crate::clock::UnixMs;
use crate::error::Error;

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

/// The last run, for `status`.
#[derive(Debug, Clone)]
pub struct RunRow {
    pub run: i64,
    pub started_ms: UnixMs,
    pub ended_ms: Option<UnixMs>,
    pub outcome: Option<String>,
    pub indexed: u64,
    pub failed: u64,
    pub pending: u64,
    pub processing: u64,
}

/// Files that wait or failed for one reason.
#[derive(Debug, Clone)]
pub struct CauseRow {
    pub kind: String,
    pub words: String,
    pub count: u64,
    pub since_ms: UnixMs,
}

/// A failed file.
#[derive(Debug, Clone)]
pub struct FailedRow {
    pub library: String,
    pub path: String,
    pub kind: String,
    pub error: String,
    pub since_ms: UnixMs,
    pub attempts: u32,
}

/// A path that the last scan skipped.
#[derive(Debug, Clone)]
pub struct SkippedRow {
    pub library: String,
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

impl Reader {
    /// Of the present files of these libraries; one that is still to be queued for the store is pending.
    pub fn upload_counts(&self, store: i64, libraries: &Libraries) -> Result<UploadCounts, Error> {
        let mut counts = UploadCounts::default();
        for (state, files, bytes) in self.rows_by_state(store, libraries)? {
            counts.add(state, files, bytes);
        }
        // A present file has one current row in a store, or none yet: so two sums tell how many have none,
        // and no file is looked at.
        let partly_queued = self.to_queue(store, libraries)?;
        if partly_queued.is_empty() {
            return Ok(counts);
        }
        let partly_queued = Libraries::from_iter(partly_queued);
        let present = self.file_counts(&partly_queued)?;
        let (mut files, mut bytes) = (present.present, present.bytes);
        for (state, rows, row_bytes) in self.rows_by_state(store, &partly_queued)? {
            if !state.is_ended() {
                files = files.saturating_sub(rows);
                bytes = bytes.saturating_sub(row_bytes);
            }
        }
        counts.add(UploadState::Pending, files, bytes);
        Ok(counts)
    }

    /// Calls `each` with library, path and size of every present file that is still to be queued for a store.
    pub fn each_unqueued(
        &self,
        store: i64,
        libraries: &Libraries,
        each: &mut dyn FnMut(i64, &str, u64),
    ) -> Result<(), Error> {
        self.each_row(
            "SELECT f.library_id, f.path, f.size_bytes FROM files f
             JOIN library_stores s ON s.library_id = f.library_id AND s.store_id = ?1
             WHERE s.queued_to IS NOT NULL AND f.state = 'present'
             AND f.library_id IN (SELECT value FROM json_each(?2))
             AND NOT EXISTS (SELECT 1 FROM uploads u WHERE u.file_id = f.id AND u.store_id = ?1
                 AND u.current = 1 AND u.status NOT IN ('superseded', 'retired'))",
            params![store, libraries],
            &mut |r| {
                each(r.get(0)?, r.get_ref(1)?.as_str()?, count(r, 2)?);
                Ok(())
            },
            &mut |()| Ok(()),
        )
    }

    fn rows_by_state(
        &self,
        store: i64,
        libraries: &Libraries,
    ) -> Result<Vec<(UploadState, u64, u64)>, Error> {
        let rows = self.many(
            "SELECT status, count(*), sum(size_bytes) FROM uploads WHERE store_id = ?1
             AND library_id IN (SELECT value FROM json_each(?2)) AND current = 1 GROUP BY status",
            params![store, libraries],
            |r| Ok((r.get::<_, String>(0)?, count(r, 1)?, count(r, 2)?)),
        )?;
        let known = |(state, files, bytes): (String, u64, u64)| {
            UploadState::parse(&state).map(|state| (state, files, bytes))
        };
        Ok(rows.into_iter().filter_map(known).collect())
    }

    pub fn file_counts(&self, libraries: &Libraries) -> Result<FileCounts, Error> {
        let mut counts = FileCounts::default();
        let rows = self.many(
            "SELECT state, count(*), sum(size_bytes) FROM files
             WHERE library_id IN (SELECT value FROM json_each(?1)) GROUP BY state",
            [libraries],
            |r| Ok((r.get::<_, String>(0)?, count(r, 1)?, count(r, 2)?)),
        )?;
        for (state, files, bytes) in rows {
            match state.as_str() {
                "present" => (counts.present, counts.bytes) = (files, bytes),
                "missing" => counts.missing = files,
                _ => counts.left_out = files,
            }
        }
        counts.skipped = self.skipped_by(libraries)?.values().sum();
        Ok(counts)
    }

    /// What the last scans skipped, by reason.
    pub fn skipped_by(&self, libraries: &Libraries) -> Result<BTreeMap<String, u64>, Error> {
        let rows = self.many(
            "SELECT reason, count(*) FROM skipped_files
             WHERE library_id IN (SELECT value FROM json_each(?1)) GROUP BY reason",
            [libraries],
            |r| Ok((r.get(0)?, count(r, 1)?)),
        )?;
        Ok(rows.into_iter().collect())
    }

    /// Calls `each` for every skipped path, by library and path.
    pub fn each_skipped(
        &self,
        libraries: &Libraries,
        each: &mut dyn FnMut(SkippedRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.each_row(
            "SELECT l.name, s.path, s.reason, s.detail
             FROM skipped_files s JOIN libraries l ON l.id = s.library_id
             WHERE s.library_id IN (SELECT value FROM json_each(?1)) ORDER BY s.library_id, s.path",
            [libraries],
            &mut |r| {
                Ok(SkippedRow {
                    library: r.get(0)?,
                    path: r.get(1)?,
                    reason: r.get(2)?,
                    detail: r.get(3)?,
                })
            },
            each,
        )
    }

    pub fn last_run(&self) -> Result<Option<RunRow>, Error> {
        self.maybe(
            "SELECT id, started_ms, ended_ms, outcome, indexed, failed, pending, processing
             FROM runs ORDER BY id DESC LIMIT 1",
            [],
            |r| {
                Ok(RunRow {
                    run: r.get(0)?,
                    started_ms: r.get(1)?,
                    ended_ms: r.get(2)?,
                    outcome: r.get(3)?,
                    indexed: count(r, 4)?,
                    failed: count(r, 5)?,
                    pending: count(r, 6)?,
                    processing: count(r, 7)?,
                })
            },
        )
    }

    /// Why uploads in this state are there, most frequent first; up to a page.
    pub fn causes(&self, store: i64, state: UploadState) -> Result<Vec<CauseRow>, Error> {
        self.many(
            "SELECT coalesce(error_kind, ''), coalesce(error, ''), count(*) AS n, min(since_ms)
             FROM uploads WHERE store_id = ?1 AND current = 1 AND status = ?2
             AND error_kind IS NOT NULL GROUP BY 1, 2 ORDER BY n DESC LIMIT 20",
            params![store, state.as_str()],
            |r| {
                Ok(CauseRow {
                    kind: r.get(0)?,
                    words: r.get(1)?,
                    count: count(r, 2)?,
                    since_ms: r.get(3)?,
                })
            },
        )
    }

    /// Calls `each` with library and path of all that was skipped for one reason.
    pub fn each_skipped_for(
        &self,
        reason: &str,
        libraries: &Libraries,
        each: &mut dyn FnMut(i64, &str),
    ) -> Result<(), Error> {
        self.each_row(
            "SELECT library_id, path FROM skipped_files
             WHERE library_id IN (SELECT value FROM json_each(?1)) AND reason = ?2",
            params![libraries, reason],
            &mut |r| Ok((r.get(0)?, r.get::<_, String>(1)?)),
            &mut |(library, path)| {
                each(library, &path);
                Ok(())
            },
        )
    }

    /// Calls `each` for every failed file, by library and path.
    pub fn each_failed(
        &self,
        store: i64,
        each: &mut dyn FnMut(FailedRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.each_row(
            "SELECT l.name, f.path, coalesce(u.error_kind, ''), coalesce(u.error, ''), u.since_ms,
                 u.attempts
             FROM uploads u JOIN files f ON f.id = u.file_id JOIN libraries l ON l.id = u.library_id
             WHERE u.store_id = ?1 AND u.current = 1 AND u.status = 'failed' ORDER BY l.name, f.path",
            [store],
            &mut |r| {
                Ok(FailedRow {
                    library: r.get(0)?,
                    path: r.get(1)?,
                    kind: r.get(2)?,
                    error: r.get(3)?,
                    since_ms: r.get(4)?,
                    attempts: r.get(5)?,
                })
            },
            each,
        )
    }

    fn each_row<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<T>,
        each: &mut dyn FnMut(T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let fail = |e: rusqlite::Error| self.error(&e);
        let mut statement = self.conn.prepare_cached(sql).map_err(fail)?;
        let mut rows = statement.query(params).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            each(read(row).map_err(fail)?)?;
        }
        Ok(())
    }
}
