//! What the store was found to hold, where the database knew better, or nothing.

use rusqlite::params;

use super::{ApplyResult, At};
use crate::identity::ContentKey;
use crate::state::change::{Adopted, Applied, Remembered};
use crate::state::durable::UploadId;
use crate::state::statement::statements;

statements! {
    /// Another row of the file that is for this content keeps it.
    RELABELLED: Single =>
        "UPDATE OR IGNORE uploads SET sha256 = ?2, variant = ?3, size_bytes = coalesce(?4, size_bytes),
             updated_ms = ?5 WHERE id = ?1 AND status = 'indexed'";
    FILE_OF: Single => "SELECT file_id FROM uploads WHERE id = ?1";
    REMEMBERED: Single =>
        "INSERT INTO files (library_id, path, path_value, size_bytes, mtime_ns, hashed_ms, sha256,
             variant, mime, state, first_seen_ms, last_seen_ms, missing_since_ms)
         VALUES (?1, ?2, ?2, ?3, 0, 0, ?4, ?5, 'text/plain', 'missing', ?6, ?6, ?6)
         ON CONFLICT DO NOTHING RETURNING id";
}

impl At<'_> {
    pub(super) fn relabelled(
        &self,
        upload: UploadId,
        size_bytes: Option<u64>,
        content: &ContentKey,
    ) -> ApplyResult {
        let ContentKey { sha256, variant } = content;
        let size = size_bytes.map(|n| n as i64);
        self.run(
            &RELABELLED,
            params![
                upload.0,
                sha256.as_bytes(),
                variant.as_bytes(),
                size,
                self.now
            ],
        )?;
        let file = FILE_OF.one(self.conn, [upload.0], |r| r.get(0))?;
        self.content_changed(file)?;
        self.touched(upload.0)
    }

    /// A path that is known keeps what is known of it.
    pub(super) fn remembered(&self, found: &Remembered) -> ApplyResult {
        let ContentKey { sha256, variant } = &found.content;
        let file = REMEMBERED.first(
            self.conn,
            params![
                found.library,
                found.path,
                found.size_bytes as i64,
                sha256.as_bytes(),
                variant.as_bytes(),
                self.now
            ],
            |r| r.get(0),
        )?;
        match file {
            None => Ok(Applied::default()),
            Some(file) => self.adopted(&Adopted {
                file,
                store: found.store,
                size_bytes: found.size_bytes,
                content: found.content,
                document: found.document.clone(),
            }),
        }
    }
}
