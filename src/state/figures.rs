//! What `status`, the summary and a dry run count.
//!
//! Promises: what is counted is what was committed when it was asked for; lists come a page or a row at a
//! time.

use rusqlite::params;

use super::reader::{Reader, count};
use super::upload_state::UploadState;
use crate::clock::UnixMs;
use crate::error::Error;

/// Uploads of present files' current content, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UploadCounts {
    pub pending: u64,
    pub uploading: u64,
    pub processing: u64,
    pub indexed: u64,
    pub failed: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileCounts {
    pub present: u64,
    pub missing: u64,
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
    pub path: String,
    pub kind: String,
    pub error: String,
    pub since_ms: UnixMs,
    pub attempts: u32,
}

/// What an upload would send.
#[derive(Debug, Clone)]
pub struct PlanRows {
    /// MIME type, files, bytes; most bytes first.
    pub by_type: Vec<(String, u64, u64)>,
    /// Path and bytes.
    pub largest: Vec<(String, u64)>,
}

impl Reader {
    pub fn upload_counts(&self, store: i64) -> Result<UploadCounts, Error> {
        let read = || -> rusqlite::Result<UploadCounts> {
            let mut counts = UploadCounts::default();
            let mut statement = self.conn.prepare_cached(
                "SELECT status, count(*) FROM uploads
                 WHERE store_id = ?1 AND current = 1 GROUP BY status",
            )?;
            let mut rows = statement.query([store])?;
            while let Some(row) = rows.next()? {
                let number = count(row, 1)?;
                match UploadState::parse(row.get_ref(0)?.as_str()?) {
                    Some(UploadState::Pending) => counts.pending = number,
                    Some(UploadState::Uploading) => counts.uploading = number,
                    Some(UploadState::Processing) => counts.processing = number,
                    Some(UploadState::Indexed) => counts.indexed = number,
                    Some(UploadState::Failed) => counts.failed = number,
                    Some(UploadState::Superseded | UploadState::Retired) | None => {}
                }
            }
            Ok(counts)
        };
        read().map_err(|e| self.error(&e))
    }

    pub fn file_counts(&self) -> Result<FileCounts, Error> {
        let (present, bytes) = self.one(
            "SELECT count(*), coalesce(sum(size_bytes), 0) FROM files WHERE state = 'present'",
            [],
            |r| Ok((count(r, 0)?, count(r, 1)?)),
        )?;
        let missing = self.one(
            "SELECT count(*) FROM files WHERE state = 'missing'",
            [],
            |r| count(r, 0),
        )?;
        let skipped = self.one("SELECT count(*) FROM skipped_files", [], |r| count(r, 0))?;
        Ok(FileCounts {
            present,
            missing,
            skipped,
            bytes,
        })
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

    /// Calls `each` for every failed file, by path.
    pub fn each_failed(&self, store: i64, each: &mut dyn FnMut(FailedRow)) -> Result<(), Error> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.conn.prepare_cached(
                "SELECT f.path, coalesce(u.error_kind, ''), coalesce(u.error, ''), u.since_ms,
                     u.attempts
                 FROM uploads u JOIN files f ON f.id = u.file_id
                 WHERE u.store_id = ?1 AND u.current = 1 AND u.status = 'failed' ORDER BY f.path",
            )?;
            let mut rows = statement.query([store])?;
            while let Some(r) = rows.next()? {
                each(FailedRow {
                    path: r.get(0)?,
                    kind: r.get(1)?,
                    error: r.get(2)?,
                    since_ms: r.get(3)?,
                    attempts: r.get(4)?,
                });
            }
            Ok(())
        };
        read().map_err(|e| self.error(&e))
    }

    /// Present files without a settled upload into this store: by type, and the largest.
    pub fn plan(&self, store: Option<i64>) -> Result<PlanRows, Error> {
        let todo = "FROM files f WHERE f.state = 'present' AND NOT EXISTS (
             SELECT 1 FROM uploads u WHERE u.file_id = f.id AND u.store_id IS ?1
             AND u.sha256 = f.sha256 AND u.status IN ('uploading', 'processing', 'indexed', 'failed'))";
        let by_type = self.many(
            &format!("SELECT mime, count(*), sum(size_bytes) {todo} GROUP BY mime ORDER BY 3 DESC"),
            params![store],
            |r| Ok((r.get(0)?, count(r, 1)?, count(r, 2)?)),
        )?;
        let largest = self.many(
            &format!("SELECT path, size_bytes {todo} ORDER BY size_bytes DESC LIMIT 5"),
            params![store],
            |r| Ok((r.get(0)?, count(r, 1)?)),
        )?;
        Ok(PlanRows { by_type, largest })
    }
}
