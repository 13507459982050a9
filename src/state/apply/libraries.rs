//! Libraries, and which stores they go into.

use rusqlite::{Row, params};

use super::{ApplyResult, At};
use crate::identity::{MetadataEntry, Variant};
use crate::state::change::{Applied, QUEUE_FILES, Refusal};
use crate::state::statement::statements;
use crate::state::{IS_IMAGE, SAME_CONTENT, TAKES_IMAGES};

statements! {
    ADDED: Single => "INSERT INTO libraries (name, root, added_ms) VALUES (?1, ?2, ?3)";
    MOVED: Single => "UPDATE libraries SET root = ?2 WHERE id = ?1";
    SETTINGS: Single => "UPDATE libraries SET settings = ?2 WHERE id = ?1";
    RENAMED: Single => "UPDATE libraries SET name = ?2 WHERE id = ?1";
    VARIANTS: All("the name is part of each document of the library") =>
        "UPDATE files SET variant = ?2 WHERE library_id = ?1 AND metadata = '[]'";
    DESCRIBED: All("the name is part of each document of the library") =>
        "SELECT id, metadata FROM files WHERE library_id = ?1 AND metadata != '[]'";
    VARIANT: Single => "UPDATE files SET variant = ?2 WHERE id = ?1";
    NOT_CURRENT: All("the name is part of each document of the library") =>
        "UPDATE uploads SET current = 0 WHERE library_id = ?1";
    NEVER_SENT: All("what waits under the old name is queued anew under the new one") =>
        "DELETE FROM uploads WHERE library_id = ?1 AND document IS NULL AND temp_file IS NULL
         AND status IN ('pending', 'failed')";
    QUEUE_ALL: Single => "UPDATE library_stores SET queued_to = '' WHERE library_id = ?1";
    FORGET_UPLOADS: All("all of a library is forgotten") => "DELETE FROM uploads WHERE library_id = ?1";
    FORGET_LINKS: Single => "DELETE FROM library_stores WHERE library_id = ?1";
    FORGET_SKIPS: All("all of a library is forgotten") =>
        "DELETE FROM skipped_files WHERE library_id = ?1";
    FORGET_FILES: All("all of a library is forgotten") => "DELETE FROM files WHERE library_id = ?1";
    FORGET: Single => "DELETE FROM libraries WHERE id = ?1";
    LINKED: Single =>
        "INSERT INTO library_stores (library_id, store_id, linked_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT DO NOTHING";
    QUEUED_TO: Single =>
        "SELECT queued_to FROM library_stores WHERE library_id = ?1 AND store_id = ?2";
    LAST_OF_PAGE: Page =>
        "SELECT max(path) FROM (SELECT path FROM files WHERE library_id = ?1 AND path > ?2
         ORDER BY path LIMIT ?3)";
    QUEUE_PAGE: Page =>
        "INSERT INTO uploads (file_id, library_id, store_id, sha256, variant, size_bytes,
             status, queued, since_ms, created_ms, updated_ms)
         SELECT f.id, f.library_id, ?2, f.sha256, f.variant, f.size_bytes, 'pending',
             ?5 - 1 + row_number() OVER (ORDER BY f.path), ?6, ?6, ?6
         FROM files f JOIN stores s ON s.id = ?2 WHERE f.library_id = ?1 AND f.state = 'present'
         AND f.path > ?3 AND f.path <= ?4 AND (NOT", IS_IMAGE, "OR", TAKES_IMAGES, ") AND NOT EXISTS (
             SELECT 1 FROM uploads u WHERE", SAME_CONTENT, "AND u.store_id = ?2)";
    QUEUED: Single =>
        "UPDATE library_stores SET queued_to = ?3 WHERE library_id = ?1 AND store_id = ?2";
}

impl At<'_> {
    pub(super) fn library_added(&self, name: &str, root: &str) -> ApplyResult {
        self.run(&ADDED, params![name, root, self.now])
    }

    pub(super) fn library_moved(&self, library: i64, root: &str) -> ApplyResult {
        self.run(&MOVED, params![library, root])
    }

    pub(super) fn library_settings(&self, library: i64, settings: &str) -> ApplyResult {
        self.run(&SETTINGS, params![library, settings])
    }

    /// Every document carries the name, so each is made anew and replaces the old one, which is known as
    /// before by its row.
    pub(super) fn library_renamed(&self, library: i64, name: &str) -> ApplyResult {
        self.run(&RENAMED, params![library, name])?;
        let variant = Variant::of(name, &[]);
        self.run(&VARIANTS, params![library, variant.as_bytes()])?;
        self.variants_of_described_files(library, name)?;
        self.run(&NOT_CURRENT, [library])?;
        self.run(&NEVER_SENT, [library])?;
        // The next run queues all of it.
        self.run(&QUEUE_ALL, [library])
    }

    fn variants_of_described_files(&self, library: i64, name: &str) -> Result<(), Refusal> {
        DESCRIBED.each(self.conn, [library], |r| {
            let metadata: Vec<MetadataEntry> = serde_json::from_str(&r.get::<_, String>(1)?)
                .map_err(|e| Refusal::Illegal(format!("metadata that are none: {e}")))?;
            let id: i64 = r.get(0)?;
            self.run(
                &VARIANT,
                params![id, Variant::of(name, &metadata).as_bytes()],
            )?;
            Ok(())
        })
    }

    pub(super) fn library_forgotten(&self, library: i64) -> ApplyResult {
        self.run(&FORGET_UPLOADS, [library])?;
        self.run(&FORGET_LINKS, [library])?;
        self.run(&FORGET_SKIPS, [library])?;
        self.run(&FORGET_FILES, [library])?;
        self.run(&FORGET, [library])
    }

    pub(super) fn linked(&self, library: i64, store: i64) -> ApplyResult {
        self.run(&LINKED, params![library, store, self.now])
    }

    /// Files that were known before the link was made, or before the store was made anew, or under another
    /// name: up to a page of them get their upload. What scans find later is queued by `content_changed`.
    pub(super) fn queued(&self, library: i64, store: i64) -> ApplyResult {
        let queued_to = |r: &Row<'_>| r.get::<_, Option<String>>(0);
        let from = QUEUED_TO.first(self.conn, [library, store], queued_to)?;
        let Some(from) = from.flatten() else {
            return Ok(Applied::default());
        };
        let page = params![library, from, QUEUE_FILES];
        let last: Option<String> = LAST_OF_PAGE.one(self.conn, page, |r| r.get(0))?;
        let done = match &last {
            Some(last) => {
                let row = self.next_place(store)?;
                let page = params![library, store, from, last, row, self.now];
                Applied {
                    row,
                    ..self.run(&QUEUE_PAGE, page)?
                }
            }
            None => Applied::default(),
        };
        self.run(&QUEUED, params![library, store, last])?;
        Ok(done)
    }
}
