//! Libraries, and which stores they go into.

use rusqlite::{OptionalExtension, params};

use super::{At, Outcome};
use crate::identity::{Entry, Variant};
use crate::state::SAME_CONTENT;
use crate::state::change::{Applied, QUEUE_FILES, Refusal};

impl At<'_> {
    pub(super) fn library_added(&self, name: &str, root: &str) -> Outcome {
        self.run(
            "INSERT INTO libraries (name, root, added_ms) VALUES (?1, ?2, ?3)",
            params![name, root, self.now],
        )
    }

    /// Every document carries the name, so each is made anew and replaces the old one, which is known as
    /// before by its row.
    pub(super) fn library_renamed(&self, library: i64, name: &str) -> Outcome {
        self.run(
            "UPDATE libraries SET name = ?2 WHERE id = ?1",
            params![library, name],
        )?;
        self.run(
            "UPDATE files SET variant = ?2 WHERE library_id = ?1 AND metadata = '[]'",
            params![library, Variant::of(name, &[]).as_bytes()],
        )?;
        self.variants_of_described_files(library, name)?;
        self.run(
            "UPDATE uploads SET current = 0 WHERE library_id = ?1",
            params![library],
        )?;
        self.run(
            "DELETE FROM uploads WHERE library_id = ?1 AND document IS NULL AND temp_file IS NULL
             AND status IN ('pending', 'failed')",
            params![library],
        )?;
        // The next run queues all of it.
        self.run(
            "UPDATE library_stores SET queued_to = '' WHERE library_id = ?1",
            params![library],
        )
    }

    fn variants_of_described_files(&self, library: i64, name: &str) -> Result<(), Refusal> {
        let mut files = self.conn.prepare_cached(
            "SELECT id, metadata FROM files WHERE library_id = ?1 AND metadata != '[]'",
        )?;
        let mut rows = files.query([library])?;
        while let Some(row) = rows.next()? {
            let metadata: Vec<Entry> = serde_json::from_str(&row.get::<_, String>(1)?)
                .map_err(|e| Refusal::Illegal(format!("metadata that are none: {e}")))?;
            let id: i64 = row.get(0)?;
            self.run(
                "UPDATE files SET variant = ?2 WHERE id = ?1",
                params![id, Variant::of(name, &metadata).as_bytes()],
            )?;
        }
        Ok(())
    }

    pub(super) fn library_forgotten(&self, library: i64) -> Outcome {
        for table in ["uploads", "library_stores", "skipped_files", "files"] {
            self.run(
                &format!("DELETE FROM {table} WHERE library_id = ?1"),
                params![library],
            )?;
        }
        self.run("DELETE FROM libraries WHERE id = ?1", params![library])
    }

    pub(super) fn linked(&self, library: i64, store: i64) -> Outcome {
        self.run(
            "INSERT INTO library_stores (library_id, store_id, linked_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
            params![library, store, self.now],
        )
    }

    /// Files that were known before the link was made, or before the store was made anew, or under another
    /// name: up to a page of them get their upload. What scans find later is queued by `content_changed`.
    pub(super) fn queued(&self, library: i64, store: i64) -> Outcome {
        let from: Option<String> = self
            .conn
            .prepare_cached(
                "SELECT queued_to FROM library_stores WHERE library_id = ?1 AND store_id = ?2",
            )?
            .query_row([library, store], |r| r.get(0))
            .optional()?
            .flatten();
        let Some(from) = from else {
            return Ok(Applied::default());
        };
        let last: Option<String> = self
            .conn
            .prepare_cached(
                "SELECT max(path) FROM (SELECT path FROM files WHERE library_id = ?1 AND path > ?2
                 ORDER BY path LIMIT ?3)",
            )?
            .query_row(params![library, from, QUEUE_FILES], |r| r.get(0))?;
        let done = match &last {
            Some(last) => self.queue_files(library, store, &from, last)?,
            None => Applied::default(),
        };
        self.run(
            "UPDATE library_stores SET queued_to = ?3 WHERE library_id = ?1 AND store_id = ?2",
            params![library, store, last],
        )?;
        Ok(done)
    }

    fn queue_files(&self, library: i64, store: i64, from: &str, last: &str) -> Outcome {
        let end = self.last_place(store)?;
        let done = self.run(
            &format!(
                "INSERT INTO uploads (file_id, library_id, store_id, sha256, variant, size_bytes,
                     status, queued, since_ms, created_ms, updated_ms)
                 SELECT f.id, f.library_id, ?2, f.sha256, f.variant, f.size_bytes, 'pending',
                     ?5 + row_number() OVER (ORDER BY f.path), ?6, ?6, ?6
                 FROM files f WHERE f.library_id = ?1 AND f.state = 'present'
                 AND f.path > ?3 AND f.path <= ?4 AND NOT EXISTS (
                     SELECT 1 FROM uploads u WHERE {SAME_CONTENT} AND u.store_id = ?2)"
            ),
            params![library, store, from, last, end, self.now],
        )?;
        Ok(Applied {
            row: end + 1,
            ..done
        })
    }
}
