//! Files that are at another path now, or nowhere: moves, purges, and what is forgotten.
//!
//! Promises: one file that went pairs with at most one that came, in the order of their paths; nothing is
//! forgotten of which something may still be at the service.

use rusqlite::params;

use super::{ApplyResult, At};
use crate::clock::UnixMs;
use crate::state::IS_AT_THE_SERVICE;
use crate::state::change::{Applied, MATCH_FILES, Refusal};
use crate::state::durable::UploadId;
use crate::state::reader::{Missing, PAGE, PURGEABLE};
use crate::state::statement::statements;

statements! {
    CAME: Page =>
        "SELECT id, sha256 FROM files INDEXED BY files_fresh WHERE library_id = ?1 AND fresh = 1
         AND state = 'present' AND sha256 >= x'' ORDER BY sha256, path LIMIT ?2";
    WENT: Single =>
        "SELECT id FROM files INDEXED BY files_fresh WHERE library_id = ?1 AND fresh = 1
         AND state = 'missing' AND sha256 = ?2 ORDER BY path LIMIT 1";
    NOT_FOUND_AGAIN: Page =>
        "SELECT id FROM files INDEXED BY files_fresh WHERE library_id = ?1 AND fresh = 1
         AND state > '' LIMIT ?2";
    NOT_FRESH: Single => "UPDATE files SET fresh = 0 WHERE id = ?1";
    MOVED: Single =>
        "UPDATE files SET state = 'moved', moved_to = ?2, fresh = 0 WHERE id = ?1";
    MOVED_ON: Single => "UPDATE files SET moved_to = ?2 WHERE moved_to = ?1";
    NOT_MOVED: Single => "UPDATE files SET state = 'missing', moved_to = NULL WHERE moved_to = ?1";
    PURGED: Page => "SELECT u.id FROM uploads u", PURGEABLE, "AND u.id > ?4 ORDER BY u.id", PAGE;
    UNWANTED: Single => "UPDATE uploads SET unwanted = 1 WHERE id = ?1";
    IS_OVER: Single =>
        "SELECT 1 FROM files f WHERE f.id = ?1 AND f.state != 'present' AND NOT EXISTS
             (SELECT 1 FROM uploads u WHERE u.file_id = f.id AND", IS_AT_THE_SERVICE, ")";
    FORGET_ENDED: Page =>
        "DELETE FROM uploads WHERE id IN (SELECT id FROM uploads INDEXED BY uploads_ended
             WHERE store_id = ?1 AND since_ms < ?2 AND status IN ('superseded', 'retired')
             AND temp_file IS NULL", PAGE, ")";
    FORGET_UPLOADS: Single => "DELETE FROM uploads WHERE file_id = ?1";
    FORGET: Single => "DELETE FROM files WHERE id = ?1";
}

impl At<'_> {
    pub(super) fn moves_matched(&self, library: i64) -> ApplyResult {
        let page = params![library, MATCH_FILES];
        let came = CAME.rows(self.conn, page, |r| {
            Ok((r.get::<_, i64>(0)?, r.get::<_, Vec<u8>>(1)?))
        })?;
        if came.is_empty() {
            return self.not_found_again(library);
        }
        let mut moved = 0;
        for (new, sha256) in &came {
            let went = WENT.first(self.conn, params![library, sha256], |r| r.get(0))?;
            if let Some(old) = went {
                self.moved(old, *new)?;
                moved += 1;
            }
            self.run(&NOT_FRESH, [new])?;
        }
        Ok(Applied {
            row: came.len() as i64,
            rows: moved,
            batch_done: None,
        })
    }

    /// Its document goes once the new one is active.
    fn moved(&self, old: i64, new: i64) -> Result<(), Refusal> {
        // It may have moved there itself, and its first document not be replaced yet.
        self.run(&MOVED_ON, [old, new])?;
        self.run(&MOVED, [old, new])?;
        self.replaced(new)?;
        Ok(())
    }

    /// What went and was not found again.
    fn not_found_again(&self, library: i64) -> ApplyResult {
        let page = params![library, MATCH_FILES];
        let left = NOT_FOUND_AGAIN.rows(self.conn, page, |r| r.get::<_, i64>(0))?;
        for file in &left {
            self.run(&NOT_MOVED, [file])?;
            self.run(&NOT_FRESH, [file])?;
        }
        Ok(Applied {
            row: left.len() as i64,
            ..Applied::default()
        })
    }

    pub(super) fn purged(&self, store: i64, missing: &Missing, after: UploadId) -> ApplyResult {
        let page = params![store, missing.libraries(), missing.before, after.0];
        let purged = PURGED.rows(self.conn, page, |r| r.get::<_, i64>(0))?;
        for upload in &purged {
            self.run(&UNWANTED, [upload])?;
        }
        Ok(Applied {
            row: purged.last().copied().unwrap_or(0),
            rows: purged.len() as u64,
            batch_done: None,
        })
    }

    pub(super) fn ended_forgotten(&self, store: i64, before: UnixMs) -> ApplyResult {
        self.run(&FORGET_ENDED, params![store, before])
    }

    /// A file that is back, or of which something is still anywhere, is kept.
    pub(super) fn file_forgotten(&self, file: i64) -> ApplyResult {
        if IS_OVER.first(self.conn, [file], |_| Ok(()))?.is_none() {
            return Ok(Applied::default());
        }
        self.run(&NOT_MOVED, [file])?;
        self.run(&FORGET_UPLOADS, [file])?;
        self.run(&FORGET, [file])
    }
}
