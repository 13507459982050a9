//! Files, as scans find them.

use rusqlite::params;

use super::{At, Outcome};
use crate::clock::UnixMs;
use crate::state::SAME_CONTENT;
use crate::state::change::{FileRow, Refusal, SkipRow};

impl At<'_> {
    pub(super) fn file_seen(&self, library: i64, file: &FileRow) -> Outcome {
        let id: i64 = self
            .conn
            .prepare_cached(
                "INSERT INTO files (library_id, path, path_value, size_bytes, mtime_ns, hashed_ms,
                     sha256, variant, mime, state, first_seen_ms, last_seen_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'present', ?10, ?10)
                 ON CONFLICT (library_id, path) DO UPDATE SET
                     path_value = excluded.path_value, size_bytes = excluded.size_bytes,
                     mtime_ns = excluded.mtime_ns, hashed_ms = excluded.hashed_ms,
                     sha256 = excluded.sha256, variant = excluded.variant, mime = excluded.mime,
                     state = 'present', last_seen_ms = excluded.last_seen_ms, missing_since_ms = NULL
                 RETURNING id",
            )?
            .query_row(
                params![
                    library,
                    file.path,
                    file.path_value,
                    file.size_bytes as i64,
                    file.mtime_ns,
                    file.hashed_ms,
                    file.content.sha256.as_bytes(),
                    file.content.variant.as_bytes(),
                    file.mime,
                    self.now
                ],
                |r| r.get(0),
            )?;
        self.run(
            "DELETE FROM skipped_files WHERE library_id = ?1 AND path = ?2",
            params![library, file.path],
        )?;
        self.content_changed(id)?;
        self.touched(id)
    }

    /// `state`: why it is not sent any more. Since when is kept where it was so already.
    pub(super) fn file_gone(&self, file: i64, state: &str) -> Outcome {
        self.run(
            "UPDATE files SET state = ?2, missing_since_ms = coalesce(missing_since_ms, ?3)
             WHERE id = ?1",
            params![file, state, self.now],
        )?;
        self.content_changed(file)?;
        self.touched(file)
    }

    pub(super) fn skipped(&self, skip: &SkipRow) -> Outcome {
        self.run(
            "INSERT INTO skipped_files (library_id, path, reason, detail, scan)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET reason = excluded.reason,
                 detail = excluded.detail, scan = excluded.scan",
            params![skip.library, skip.path, skip.reason, skip.detail, skip.scan],
        )
    }

    pub(super) fn scan_ended(&self, library: i64, scan: UnixMs, whole: bool) -> Outcome {
        if whole {
            self.run(
                "DELETE FROM skipped_files WHERE library_id = ?1 AND scan < ?2",
                params![library, scan],
            )?;
        }
        self.run(
            "UPDATE libraries SET scanned_ms = ?2 WHERE id = ?1",
            params![library, self.now],
        )
    }

    /// After any change of what a file holds, or whether it is there: `current` says which of its rows is
    /// for that; rows of which nothing was ever sent are not kept for content that is gone; and each store
    /// that its library goes into gets a row at the end of its queue, unless it has one.
    pub(super) fn content_changed(&self, file: i64) -> Result<(), Refusal> {
        self.run(
            &format!(
                "UPDATE uploads AS u SET current = EXISTS (SELECT 1 FROM files f WHERE
                     {SAME_CONTENT} AND f.state = 'present') WHERE u.file_id = ?1"
            ),
            params![file],
        )?;
        self.run(
            "DELETE FROM uploads WHERE file_id = ?1 AND current = 0 AND document IS NULL
             AND temp_file IS NULL AND status IN ('pending', 'failed')",
            params![file],
        )?;
        self.run(
            &format!(
                "INSERT INTO uploads (file_id, library_id, store_id, sha256, variant, size_bytes,
                     status, queued, since_ms, created_ms, updated_ms)
                 SELECT f.id, f.library_id, l.store_id, f.sha256, f.variant, f.size_bytes, 'pending',
                     coalesce((SELECT max(queued) FROM uploads p WHERE p.store_id = l.store_id
                         AND p.status = 'pending'), 0) + 1, ?2, ?2, ?2
                 FROM files f JOIN library_stores l ON l.library_id = f.library_id
                 WHERE f.id = ?1 AND f.state = 'present' AND NOT EXISTS (
                     SELECT 1 FROM uploads u WHERE {SAME_CONTENT} AND u.store_id = l.store_id)"
            ),
            params![file, self.now],
        )?;
        Ok(())
    }
}
