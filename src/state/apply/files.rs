//! Files, as scans find them.

use rusqlite::{OptionalExtension, params};

use super::{At, Outcome};
use crate::clock::UnixMs;
use crate::state::SAME_CONTENT;
use crate::state::change::{FileRow, Refusal, SkipRow};

impl At<'_> {
    /// Only a change of what it holds, or of whether it is there, concerns its uploads: a file that was
    /// merely touched costs one statement more than a look.
    pub(super) fn file_seen(&self, library: i64, file: &FileRow) -> Outcome {
        let known = self
            .conn
            .prepare_cached(
                "SELECT id, sha256 = ?3 AND variant = ?4 AND state = 'present' FROM files
                 WHERE library_id = ?1 AND path = ?2",
            )?
            .query_row(
                params![
                    library,
                    file.path,
                    file.content.sha256.as_bytes(),
                    file.content.variant.as_bytes()
                ],
                |r| Ok((r.get::<_, i64>(0)?, r.get::<_, bool>(1)?)),
            )
            .optional()?;
        let Some((id, is_same)) = known else {
            return self.file_new(library, file);
        };
        self.run(
            "UPDATE files SET path_value = ?2, size_bytes = ?3, mtime_ns = ?4, hashed_ms = ?5,
                 sha256 = ?6, variant = ?7, mime = ?8, state = 'present', last_seen_ms = ?9,
                 missing_since_ms = NULL WHERE id = ?1",
            params![
                id,
                file.path_value,
                file.size_bytes as i64,
                file.mtime_ns,
                file.hashed_ms,
                file.content.sha256.as_bytes(),
                file.content.variant.as_bytes(),
                file.mime,
                self.now
            ],
        )?;
        self.fit_again(library, &file.path)?;
        if !is_same {
            self.content_changed(id)?;
        }
        self.touched(id)
    }

    fn file_new(&self, library: i64, file: &FileRow) -> Outcome {
        let id = self
            .run(
                "INSERT INTO files (library_id, path, path_value, size_bytes, mtime_ns, hashed_ms,
                     sha256, variant, mime, state, first_seen_ms, last_seen_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'present', ?10, ?10)",
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
            )?
            .row;
        self.fit_again(library, &file.path)?;
        self.queue_content(id)?;
        self.touched(id)
    }

    /// What is recorded as a file is no skip any more.
    fn fit_again(&self, library: i64, path: &str) -> Outcome {
        self.run(
            "DELETE FROM skipped_files WHERE library_id = ?1 AND path = ?2",
            params![library, path],
        )
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
    /// that its library goes into gets its row.
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
        self.queue_content(file)
    }

    /// A row for what the file holds now, at the end of the queue of each store that its library goes into,
    /// unless there is one. In single steps: SQLite prepares a statement anew, each time, whose parameters
    /// meet the conditions of partial indexes inside of a query.
    pub(super) fn queue_content(&self, file: i64) -> Result<(), Refusal> {
        let mut links = self.conn.prepare_cached(
            "SELECT store_id FROM library_stores WHERE library_id =
                 (SELECT library_id FROM files WHERE id = ?1 AND state = 'present')",
        )?;
        let mut stores = links.query([file])?;
        while let Some(store) = stores.next()? {
            let store: i64 = store.get(0)?;
            let place = self.last_place(store)? + 1;
            self.run(
                "INSERT INTO uploads (file_id, library_id, store_id, sha256, variant, size_bytes,
                     status, queued, since_ms, created_ms, updated_ms)
                 SELECT id, library_id, ?2, sha256, variant, size_bytes, 'pending', ?3, ?4, ?4, ?4
                 FROM files WHERE id = ?1 ON CONFLICT DO NOTHING",
                params![file, store, place, self.now],
            )?;
        }
        Ok(())
    }
}
