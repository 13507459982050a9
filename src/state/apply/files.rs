//! Libraries and their files, as scans find them.

use rusqlite::params;

use super::{At, Outcome};
use crate::identity::Sha256;
use crate::state::change::{FileRow, Refusal};

impl At<'_> {
    pub(super) fn library_added(&self, root: &str) -> Outcome {
        self.run(
            "INSERT INTO libraries (root) VALUES (?1) ON CONFLICT DO NOTHING",
            params![root],
        )?;
        let id = self
            .conn
            .prepare_cached("SELECT id FROM libraries WHERE root = ?1")?
            .query_row([root], |r| r.get(0))?;
        self.touched(id)
    }

    pub(super) fn file_seen(&self, library: i64, file: &FileRow) -> Outcome {
        let id: i64 = self
            .conn
            .prepare_cached(
                "INSERT INTO files (library_id, path, path_value, size_bytes, mtime_ns, hashed_ms,
                     sha256, mime, state, first_seen_ms, last_seen_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'present', ?9, ?9)
                 ON CONFLICT (library_id, path) DO UPDATE SET
                     path_value = excluded.path_value, size_bytes = excluded.size_bytes,
                     mtime_ns = excluded.mtime_ns, hashed_ms = excluded.hashed_ms,
                     sha256 = excluded.sha256, mime = excluded.mime, state = 'present',
                     last_seen_ms = excluded.last_seen_ms, missing_since_ms = NULL
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
                    file.sha256.as_bytes(),
                    file.mime,
                    self.now
                ],
                |r| r.get(0),
            )?;
        self.mark_current(id, Some(&file.sha256))?;
        self.touched(id)
    }

    pub(super) fn file_missing(&self, file: i64) -> Outcome {
        self.run(
            "UPDATE files SET state = 'missing', missing_since_ms = ?2
             WHERE id = ?1 AND state = 'present'",
            params![file, self.now],
        )?;
        self.mark_current(file, None)?;
        self.touched(file)
    }

    /// `current` says which of a file's rows is for the content that is on disk now. Rows of which
    /// nothing was ever sent are not kept for content that is gone.
    pub(super) fn mark_current(&self, file: i64, content: Option<&Sha256>) -> Result<(), Refusal> {
        let content = content.map(Sha256::as_bytes);
        self.run(
            "UPDATE uploads SET current = (sha256 IS ?2) WHERE file_id = ?1",
            params![file, content],
        )?;
        self.run(
            "DELETE FROM uploads WHERE file_id = ?1 AND current = 0 AND document IS NULL
             AND temp_file IS NULL AND status IN ('pending', 'failed')",
            params![file],
        )?;
        Ok(())
    }
}
