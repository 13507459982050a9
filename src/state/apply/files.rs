//! Files, as scans find them.

use rusqlite::params;

use super::{ApplyResult, At};
use crate::clock::UnixMs;
use crate::state::change::{Applied, Described, Reading, Refusal, SeenFile, SkipRow};
use crate::state::durable::UploadId;
use crate::state::statement::statements;
use crate::state::{IS_IMAGE, SAME_CONTENT, TAKES_IMAGES};

statements! {
    KNOWN: Single =>
        "SELECT id, sha256 = ?3 AND variant = ?4 AND state = 'present' FROM files
         WHERE library_id = ?1 AND path = ?2";
    SEEN_AGAIN: Single =>
        "UPDATE files SET path_value = ?2, size_bytes = ?3, mtime_ns = ?4, hashed_ms = ?5,
             sha256 = ?6, variant = ?7, mime = ?8, fresh = CASE state WHEN 'present' THEN fresh ELSE 1 END,
             state = 'present', moved_to = NULL, last_seen_ms = ?9, metadata = ?10, unmatched = ?11,
             missing_since_ms = NULL WHERE id = ?1";
    DESCRIBED: Single =>
        "UPDATE files SET variant = ?2, metadata = ?3, unmatched = ?4, last_seen_ms = ?5 WHERE id = ?1";
    NEW: Single =>
        "INSERT INTO files (library_id, path, path_value, size_bytes, mtime_ns, hashed_ms,
             sha256, variant, mime, metadata, unmatched, state, fresh, first_seen_ms, last_seen_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?11, ?12, 'present',
             (SELECT scanned_ms IS NOT NULL FROM libraries WHERE id = ?1), ?10, ?10)
         ON CONFLICT DO NOTHING";
    RESCANNED: Single =>
        "UPDATE files SET size_bytes = ?2, mtime_ns = ?3, hashed_ms = ?4, sha256 = ?5 WHERE id = ?1";
    // It was there when a scan last saw it, and a clock that was set back since makes it gone no sooner.
    GONE: Single =>
        "UPDATE files SET fresh = CASE state WHEN 'present' THEN 1 ELSE fresh END, state = ?2,
             moved_to = NULL, missing_since_ms = coalesce(missing_since_ms, max(?3, last_seen_ms,
                 (SELECT coalesce(l.scanned_ms, 0) FROM libraries l WHERE l.id = files.library_id),
                 coalesce((SELECT started_ms FROM runs WHERE id = (SELECT max(id) FROM runs)), 0)))
         WHERE id = ?1";
    SKIPPED: Single =>
        "INSERT INTO skipped_files (library_id, path, reason, detail, scan)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET reason = excluded.reason,
             detail = excluded.detail, scan = excluded.scan";
    NOT_SKIPPED: Single => "DELETE FROM skipped_files WHERE library_id = ?1 AND path = ?2";
    OLD_SKIPS: All("the end of a whole scan forgets the skips that it has not met again") =>
        "DELETE FROM skipped_files WHERE library_id = ?1 AND scan != ?2";
    SCANNED: Single => "UPDATE libraries SET scanned_ms = ?2 WHERE id = ?1";
    CURRENT: Single =>
        "UPDATE uploads AS u SET current = EXISTS (SELECT 1 FROM files f WHERE",
        SAME_CONTENT, "AND f.state = 'present') WHERE u.file_id = ?1";
    // A file that has moved gives way to the one that it is now. Most have nothing to replace.
    REPLACES: Single =>
        "SELECT n.id FROM files f JOIN files n ON n.id = coalesce(f.moved_to, f.id) WHERE f.id = ?1
         AND (EXISTS (SELECT 1 FROM uploads u WHERE u.file_id = n.id AND u.current = 0)
             OR EXISTS (SELECT 1 FROM files m WHERE m.moved_to = n.id))";
    // The order matters: a search must find the one or the other.
    REPLACED: Single =>
        "UPDATE uploads AS u SET unwanted = 1
         WHERE u.file_id IN (SELECT id FROM files WHERE id = ?1 OR moved_to = ?1)
         AND u.current = 0 AND u.unwanted = 0 AND u.status = 'indexed'
         AND EXISTS (SELECT 1 FROM uploads n INDEXED BY uploads_by_file WHERE n.file_id = ?1
             AND n.store_id = u.store_id AND n.current = 1 AND n.status = 'indexed')";
    NEVER_SENT: Single =>
        "DELETE FROM uploads WHERE file_id = ?1 AND current = 0 AND document IS NULL
         AND temp_file IS NULL AND status IN ('pending', 'failed')";
    STORES: Single =>
        "SELECT s.id FROM files f JOIN library_stores l ON l.library_id = f.library_id
         JOIN stores s ON s.id = l.store_id WHERE f.id = ?1 AND f.state = 'present'
         AND (NOT", IS_IMAGE, "OR", TAKES_IMAGES, ")";
    QUEUE: Single =>
        "INSERT INTO uploads (file_id, library_id, store_id, sha256, variant, size_bytes,
             status, queued, since_ms, created_ms, updated_ms)
         SELECT id, library_id, ?2, sha256, variant, size_bytes, 'pending', ?3, ?4, ?4, ?4
         FROM files WHERE id = ?1 ON CONFLICT DO NOTHING";
}

impl At<'_> {
    /// Only a change of what it holds, or of whether it is there, concerns its uploads: a file that was
    /// merely touched costs one statement more than a look, one that is new costs no look.
    pub(super) fn file_seen(&self, library: i64, file: &SeenFile) -> ApplyResult {
        if file.is_new
            && let Some(id) = self.file_new(library, file)?
        {
            return self.touched(id);
        }
        let Reading { sha256, .. } = &file.reading;
        let Described {
            variant,
            metadata,
            is_matched,
        } = &file.described;
        let known = KNOWN.first(
            self.conn,
            params![library, file.path, sha256.as_bytes(), variant.as_bytes()],
            |r| Ok((r.get::<_, i64>(0)?, r.get::<_, bool>(1)?)),
        )?;
        let Some((id, is_same)) = known else {
            let new = self.file_new(library, file)?;
            let twice = || Refusal::Illegal(format!("{} is there and is not", file.path));
            return self.touched(new.ok_or_else(twice)?);
        };
        self.run(
            &SEEN_AGAIN,
            params![
                id,
                file.path_value,
                file.reading.size_bytes as i64,
                file.reading.mtime_ns,
                file.reading.hashed_ms,
                sha256.as_bytes(),
                variant.as_bytes(),
                file.reading.mime,
                self.now,
                metadata,
                !is_matched
            ],
        )?;
        self.run(&NOT_SKIPPED, params![library, file.path])?;
        if !is_same {
            self.content_changed(id)?;
        }
        self.touched(id)
    }

    /// Its row; `None` if there is one already.
    fn file_new(&self, library: i64, file: &SeenFile) -> Result<Option<i64>, Refusal> {
        let Described {
            variant,
            metadata,
            is_matched,
        } = &file.described;
        let new = self.run(
            &NEW,
            params![
                library,
                file.path,
                file.path_value,
                file.reading.size_bytes as i64,
                file.reading.mtime_ns,
                file.reading.hashed_ms,
                file.reading.sha256.as_bytes(),
                variant.as_bytes(),
                file.reading.mime,
                self.now,
                metadata,
                !is_matched
            ],
        )?;
        if new.rows == 0 {
            return Ok(None);
        }
        self.run(&NOT_SKIPPED, params![library, file.path])?;
        self.queue_content(new.row)?;
        Ok(Some(new.row))
    }

    /// Its document is to be made anew, unless only rules came or went that give it nothing.
    pub(super) fn file_described(
        &self,
        (library, path): (i64, &str),
        file: i64,
        described: &Described,
    ) -> ApplyResult {
        let Described {
            variant,
            metadata,
            is_matched,
        } = described;
        let params = params![file, variant.as_bytes(), metadata, !is_matched, self.now];
        self.run(&DESCRIBED, params)?;
        self.run(&NOT_SKIPPED, params![library, path])?;
        self.content_changed(file)?;
        self.touched(file)
    }

    /// The file turned out to hold something else than what was scanned.
    pub(super) fn rescanned(&self, upload: UploadId, file: i64, reading: &Reading) -> ApplyResult {
        // A row that is gone is refused before anything is changed.
        let done = self.dropped(upload)?;
        self.run(
            &RESCANNED,
            params![
                file,
                reading.size_bytes as i64,
                reading.mtime_ns,
                reading.hashed_ms,
                reading.sha256.as_bytes()
            ],
        )?;
        self.content_changed(file)?;
        Ok(done)
    }

    pub(super) fn file_lost(
        &self,
        upload: UploadId,
        file: i64,
        skip: Option<&SkipRow>,
    ) -> ApplyResult {
        let done = self.dropped(upload)?;
        self.file_gone(file, "missing")?;
        if let Some(skip) = skip {
            self.skipped(skip)?;
        }
        Ok(done)
    }

    /// `state`: why it is not sent any more. Since when is kept where it was so already.
    pub(super) fn file_gone(&self, file: i64, state: &str) -> ApplyResult {
        self.run(&GONE, params![file, state, self.now])?;
        self.content_changed(file)?;
        self.touched(file)
    }

    pub(super) fn skipped(&self, skip: &SkipRow) -> ApplyResult {
        self.run(
            &SKIPPED,
            params![skip.library, skip.path, skip.reason, skip.detail, skip.scan],
        )
    }

    pub(super) fn scan_ended(&self, library: i64, scan: UnixMs, whole: bool) -> ApplyResult {
        if whole {
            self.run(&OLD_SKIPS, params![library, scan])?;
        }
        self.run(&SCANNED, params![library, self.now])
    }

    /// After any change of what a file holds, or whether it is there: `current` says which of its rows is
    /// for that; rows of which nothing was ever sent are not kept for content that is gone; and each store
    /// that its library goes into gets its row.
    pub(super) fn content_changed(&self, file: i64) -> Result<(), Refusal> {
        self.run(&CURRENT, [file])?;
        self.never_sent(file)?;
        self.replaced(file)?;
        self.queue_content(file)
    }

    /// Rows that nothing came of are not kept for content that is gone.
    pub(super) fn never_sent(&self, file: i64) -> ApplyResult {
        self.run(&NEVER_SENT, [file])
    }

    /// Where the content that the file has now is indexed, documents of its older content are to be deleted,
    /// and those of the paths that it had before; whichever of them is indexed last.
    pub(super) fn replaced(&self, file: i64) -> ApplyResult {
        match REPLACES.first(self.conn, [file], |r| r.get::<_, i64>(0))? {
            Some(file) => self.run(&REPLACED, [file]),
            None => Ok(Applied::default()),
        }
    }

    /// A row for what the file holds now, at the end of the queue of each store that its library goes into,
    /// unless there is one.
    pub(super) fn queue_content(&self, file: i64) -> Result<(), Refusal> {
        STORES.each(self.conn, [file], |r| {
            let store: i64 = r.get(0)?;
            let place = self.next_place(store)?;
            self.run(&QUEUE, params![file, store, place, self.now])?;
            Ok(())
        })
    }
}
