//! One upload, from intent to its end.

use rusqlite::{Params, params};

use super::runs::BatchColumn;
use super::{ApplyResult, At};
use crate::names::{DocumentName, FileName, OperationName, SessionUrl};
use crate::state::change::{Adopted, Cause, Charge, HandBack, NextTime, Refusal, Way};
use crate::state::durable::UploadId;
use crate::state::statement::{Statement, statements};
use crate::state::upload_state::Event;

/// The next status, in the one update that a step makes: each costs a place in many indexes.
const STATUS: &str = "UPDATE uploads SET status = ?2, since_ms = ?3, updated_ms = ?3,";

statements! {
    INTENT: Single => STATUS,
        "batch_id = ?4, session_url = NULL, operation = NULL, method = ?5, temp_file = ?6,
             unaskable = ?7 WHERE id = ?1";
    SESSION_OPENED: Single =>
        "UPDATE uploads SET session_url = ?2, unaskable = 0, updated_ms = ?3
         WHERE id = ?1 AND status = 'uploading'";
    STAGED: Single =>
        "UPDATE uploads SET temp_file = ?2, updated_ms = ?3
         WHERE id = ?1 AND status = 'uploading' AND method = 'staged'";
    IMPORT_STARTED: Single =>
        "UPDATE uploads SET unaskable = 1, session_url = NULL, updated_ms = ?2
         WHERE id = ?1 AND status = 'uploading' AND temp_file IS NOT NULL";
    SUBMITTED: Single => STATUS,
        "operation = ?4, document = ?5, unaskable = 0 WHERE id = ?1";
    ACTIVATED: Single => STATUS,
        "document = ?4, session_url = NULL, error = NULL, error_kind = NULL,
             temp_file = CASE ?5 WHEN 1 THEN temp_file END WHERE id = ?1";
    HANDED_BACK: Single => STATUS,
        "session_url = NULL, operation = NULL, document = ?9, unaskable = 0,
             batch_id = NULL, attempts = attempts + ?4, mime = coalesce(?5, mime),
             error_kind = coalesce(?6, error_kind), error = coalesce(?7, error),
             direct_faults = direct_faults + ?8, queued = ?10 WHERE id = ?1";
    IN_DOUBT: Single =>
        "UPDATE uploads SET attempts = attempts + ?2, error_kind = ?3, error = ?4, updated_ms = ?5
         WHERE id = ?1";
    REJECTED: Single => STATUS,
        "session_url = NULL, operation = NULL, document = ?6, unaskable = 0,
             attempts = attempts + 1, error_kind = ?4, error = ?5 WHERE id = ?1";
    TRIED_ANEW: Single => "UPDATE uploads SET attempts = 0 WHERE id = ?1";
    TEMPORARY_GONE: Single => "UPDATE uploads SET temp_file = NULL WHERE id = ?1";
    DOCUMENT_GONE: Single => "UPDATE uploads SET document = NULL WHERE id = ?1";
    UNNEEDED: Single =>
        "DELETE FROM uploads WHERE id = ?1 AND current = 0 AND document IS NULL
         AND temp_file IS NULL AND status IN ('pending', 'failed')";
    DROPPED: Single =>
        "DELETE FROM uploads WHERE id = ?1 AND temp_file IS NULL AND document IS NULL";
    KEPT_AS_REMAINS: Single =>
        "UPDATE uploads SET current = 0, session_url = NULL, batch_id = NULL WHERE id = ?1";
    IS_GONE: Single => "SELECT state IN ('missing', 'left_out') FROM files WHERE id = ?1";
    LINKED_BY_DOCUMENT: Single =>
        "INSERT INTO library_stores (library_id, store_id, linked_ms)
         SELECT library_id, ?2, ?3 FROM files WHERE id = ?1 ON CONFLICT DO NOTHING";
    GIVES_WAY: Single =>
        "DELETE FROM uploads WHERE file_id = ?1 AND store_id = ?2 AND sha256 = ?3
         AND variant = ?4 AND status IN ('pending', 'failed', 'indexed') AND unwanted = 0
         RETURNING temp_file";
    ADOPTED: Single =>
        "INSERT INTO uploads (file_id, library_id, store_id, sha256, variant, size_bytes, status,
             queued, document, current, temp_file, since_ms, created_ms, updated_ms)
         SELECT id, library_id, ?2, ?3, ?4, ?5, 'indexed', 0, ?6,
             sha256 = ?3 AND variant = ?4 AND state = 'present', ?7, ?8, ?8, ?8
         FROM files WHERE id = ?1
         ON CONFLICT DO NOTHING";
}

impl At<'_> {
    pub(super) fn intent(&self, upload: UploadId, batch: i64, way: &Way) -> ApplyResult {
        let row = self.row(upload)?;
        self.run(
            &INTENT,
            params![
                row.id,
                row.next_status(Event::Started)?,
                self.now,
                batch,
                way.method().as_str(),
                way.temporary().map(FileName::as_str),
                *way == Way::OneRequest
            ],
        )
    }

    pub(super) fn session_opened(&self, upload: UploadId, url: &SessionUrl) -> ApplyResult {
        self.under_way(
            upload,
            &SESSION_OPENED,
            params![upload.0, url.expose(), self.now],
        )
    }

    pub(super) fn staged(&self, upload: UploadId, file: &FileName) -> ApplyResult {
        let params = params![upload.0, file.as_str(), self.now];
        self.under_way(upload, &STAGED, params)
    }

    pub(super) fn import_started(&self, upload: UploadId) -> ApplyResult {
        self.under_way(upload, &IMPORT_STARTED, params![upload.0, self.now])
    }

    /// A step within `uploading`: the row must be there for it.
    fn under_way(&self, upload: UploadId, step: &Statement, params: impl Params) -> ApplyResult {
        let done = self.run(step, params)?;
        match done.rows {
            1 => Ok(done),
            _ => Err(Refusal::Illegal(format!(
                "upload {} made a step while it was not uploading",
                upload.0
            ))),
        }
    }

    pub(super) fn submitted(
        &self,
        upload: UploadId,
        operation: Option<&OperationName>,
        document: Option<&DocumentName>,
    ) -> ApplyResult {
        let row = self.row(upload)?;
        self.run(
            &SUBMITTED,
            params![
                row.id,
                row.next_status(Event::Submitted)?,
                self.now,
                operation.map(OperationName::as_str),
                document.map(DocumentName::as_str)
            ],
        )
    }

    pub(super) fn activated(
        &self,
        upload: UploadId,
        document: &DocumentName,
        keeps_temporary: bool,
    ) -> ApplyResult {
        let row = self.row(upload)?;
        self.run(
            &ACTIVATED,
            params![
                row.id,
                row.next_status(Event::Activated)?,
                self.now,
                document.as_str(),
                keeps_temporary
            ],
        )?;
        self.replaced(row.file)?;
        self.batch_counts(row.batch, BatchColumn::Succeeded)
    }

    pub(super) fn handed_back(&self, upload: UploadId, back: &HandBack) -> ApplyResult {
        let row = self.row(upload)?;
        let mime = match back.next {
            NextTime::AsMime(mime) => Some(mime),
            NextTime::Same | NextTime::LessDirect => None,
        };
        self.run(
            &HANDED_BACK,
            params![
                row.id,
                row.next_status(Event::HandedBack)?,
                self.now,
                i64::from(back.charge == Charge::Attempt),
                mime,
                back.cause.as_ref().map(|c| c.kind),
                back.cause.as_ref().map(|c| c.words.as_str()),
                i64::from(back.next == NextTime::LessDirect),
                back.document.as_ref().map(DocumentName::as_str),
                self.next_place(row.store)?
            ],
        )?;
        self.batch_counts(row.batch, BatchColumn::Skipped)
    }

    pub(super) fn left_in_doubt(
        &self,
        upload: UploadId,
        charge: Charge,
        cause: &Cause,
    ) -> ApplyResult {
        self.run(
            &IN_DOUBT,
            params![
                upload.0,
                i64::from(charge == Charge::Attempt),
                cause.kind,
                cause.words,
                self.now
            ],
        )
    }

    pub(super) fn rejected(
        &self,
        upload: UploadId,
        cause: &Cause,
        document: Option<&DocumentName>,
    ) -> ApplyResult {
        let row = self.row(upload)?;
        self.run(
            &REJECTED,
            params![
                row.id,
                row.next_status(Event::Rejected)?,
                self.now,
                cause.kind,
                cause.words,
                document.map(DocumentName::as_str)
            ],
        )?;
        self.batch_counts(row.batch, BatchColumn::Failed)
    }

    pub(super) fn retried(&self, upload: UploadId) -> ApplyResult {
        let row = self.row(upload)?;
        self.change_status(&row, Event::Retried)?;
        self.run(&TRIED_ANEW, [row.id])
    }

    /// A file that is there with just this content (put back meanwhile, say) is sent again.
    pub(super) fn document_gone(&self, upload: UploadId, event: Event) -> ApplyResult {
        let row = self.row(upload)?;
        self.change_status(&row, event)?;
        self.queue_content(row.file)?;
        self.touched(row.id)
    }

    /// What was to be deleted is: it was replaced, or its file is gone.
    pub(super) fn deleted(&self, upload: UploadId) -> ApplyResult {
        let file = self.row(upload)?.file;
        let is_gone = IS_GONE.one(self.conn, [file], |r| r.get(0))?;
        let event = if is_gone {
            Event::Purged
        } else {
            Event::Replaced
        };
        self.document_gone(upload, event)
    }

    /// The document that a failed attempt had left is deleted.
    pub(super) fn cleared(&self, upload: UploadId) -> ApplyResult {
        self.run(&DOCUMENT_GONE, [upload.0])?;
        self.unneeded(upload)
    }

    pub(super) fn temporary_gone(&self, upload: UploadId) -> ApplyResult {
        self.run(&TEMPORARY_GONE, [upload.0])?;
        self.unneeded(upload)
    }

    /// A row that was only kept for what it had left at the service goes with it.
    fn unneeded(&self, upload: UploadId) -> ApplyResult {
        self.run(&UNNEEDED, [upload.0])
    }

    pub(super) fn dropped(&self, upload: UploadId) -> ApplyResult {
        let row = self.row(upload)?;
        let gone = self.run(&DROPPED, [row.id])?;
        // What is left at the service keeps its row until it is deleted.
        if gone.rows == 0 {
            self.change_status(&row, Event::HandedBack)?;
            self.run(&KEPT_AS_REMAINS, [row.id])?;
        }
        self.batch_counts(row.batch, BatchColumn::Skipped)
    }

    /// What was known of this content before gives way: nothing of it is under way when this is asked
    /// for. A row that says `indexed` gets the document in place of its own, which is gone. Another row
    /// that claims the same document keeps it. That the document is in the store proves that its library
    /// goes there.
    pub(super) fn adopted(&self, adopted: &Adopted) -> ApplyResult {
        let Adopted {
            file,
            store,
            size_bytes,
            content,
            document,
        } = adopted;
        self.run(&LINKED_BY_DOCUMENT, params![file, store, self.now])?;
        let key = params![
            file,
            store,
            content.sha256.as_bytes(),
            content.variant.as_bytes()
        ];
        let temporary: Option<Option<String>> = GIVES_WAY.first(self.conn, key, |r| r.get(0))?;
        self.run(
            &ADOPTED,
            params![
                file,
                store,
                content.sha256.as_bytes(),
                content.variant.as_bytes(),
                *size_bytes as i64,
                document.as_str(),
                temporary.flatten(),
                self.now
            ],
        )?;
        self.replaced(*file)
    }
}
