//! One upload, from intent to its end.

use rusqlite::{OptionalExtension, params};

use super::runs::BatchColumn;
use super::{At, Outcome};
use crate::identity::ContentKey;
use crate::names::{DocumentName, FileName, OperationName, SessionUrl};
use crate::state::change::{Cause, Charge, NextTime, Refusal};
use crate::state::durable::UploadId;
use crate::state::upload_state::{Event, Method};

impl At<'_> {
    pub(super) fn intent(
        &self,
        upload: UploadId,
        batch: i64,
        method: Method,
        temporary: Option<&FileName>,
    ) -> Outcome {
        let row = self.row(upload)?;
        self.change_status(&row, Event::Started)?;
        self.run(
            "UPDATE uploads SET batch_id = ?2, session_url = NULL, operation = NULL, importing = 0,
                 method = ?3, temp_file = ?4, temp_expires_ms = NULL WHERE id = ?1",
            params![
                row.id,
                batch,
                method.as_str(),
                temporary.map(FileName::as_str)
            ],
        )
    }

    pub(super) fn session_opened(&self, upload: UploadId, url: &SessionUrl) -> Outcome {
        self.under_way(
            upload,
            "UPDATE uploads SET session_url = ?2, updated_ms = ?3
             WHERE id = ?1 AND status = 'uploading'",
            params![upload.0, url.expose(), self.now],
        )
    }

    /// A step within `uploading`: the row must be there for it.
    pub(super) fn under_way(
        &self,
        upload: UploadId,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Outcome {
        let done = self.run(sql, params)?;
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
    ) -> Outcome {
        let row = self.row(upload)?;
        self.change_status(&row, Event::Submitted)?;
        self.run(
            "UPDATE uploads SET operation = ?2, document = ?3, importing = 0 WHERE id = ?1",
            params![
                row.id,
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
    ) -> Outcome {
        let row = self.row(upload)?;
        self.change_status(&row, Event::Activated)?;
        self.run(
            "UPDATE uploads SET document = ?2, session_url = NULL, error = NULL, error_kind = NULL,
                 temp_file = CASE ?3 WHEN 1 THEN temp_file END WHERE id = ?1",
            params![row.id, document.as_str(), keeps_temporary],
        )?;
        self.batch_counts(row.batch, BatchColumn::Succeeded)
    }

    pub(super) fn handed_back(
        &self,
        upload: UploadId,
        charge: Charge,
        cause: Option<&Cause>,
        next: NextTime,
        document: Option<&DocumentName>,
    ) -> Outcome {
        let row = self.row(upload)?;
        self.change_status(&row, Event::HandedBack)?;
        let mime = match next {
            NextTime::AsMime(mime) => Some(mime),
            NextTime::Same | NextTime::LessDirect => None,
        };
        let store = self
            .conn
            .prepare_cached("SELECT store_id FROM uploads WHERE id = ?1")?
            .query_row([row.id], |r| r.get(0))?;
        let place = self.last_place(store)? + 1;
        self.run(
            "UPDATE uploads SET session_url = NULL, operation = NULL, document = ?7, importing = 0,
                 batch_id = NULL, attempts = attempts + ?2, mime = coalesce(?3, mime),
                 error_kind = coalesce(?4, error_kind), error = coalesce(?5, error),
                 direct_faults = direct_faults + ?6,
                 queued = ?8 WHERE id = ?1",
            params![
                row.id,
                i64::from(charge == Charge::Attempt),
                mime,
                cause.map(|c| c.kind),
                cause.map(|c| c.words.as_str()),
                i64::from(next == NextTime::LessDirect),
                document.map(DocumentName::as_str),
                place
            ],
        )?;
        self.batch_counts(row.batch, BatchColumn::Skipped)
    }

    pub(super) fn rejected(
        &self,
        upload: UploadId,
        cause: &Cause,
        document: Option<&DocumentName>,
    ) -> Outcome {
        let row = self.row(upload)?;
        self.change_status(&row, Event::Rejected)?;
        self.run(
            "UPDATE uploads SET session_url = NULL, operation = NULL, document = ?4, importing = 0,
                 attempts = attempts + 1, error_kind = ?2, error = ?3 WHERE id = ?1",
            params![
                row.id,
                cause.kind,
                cause.words,
                document.map(DocumentName::as_str)
            ],
        )?;
        self.batch_counts(row.batch, BatchColumn::Failed)
    }

    /// A file that is there with just this content (put back meanwhile, say) is sent again.
    pub(super) fn document_gone(&self, upload: UploadId, event: Event) -> Outcome {
        let row = self.row(upload)?;
        self.change_status(&row, event)?;
        let file = self
            .conn
            .prepare_cached("SELECT file_id FROM uploads WHERE id = ?1")?
            .query_row([row.id], |r| r.get(0))?;
        self.queue_content(file)?;
        self.touched(row.id)
    }

    pub(super) fn temporary_gone(&self, upload: UploadId) -> Outcome {
        self.run(
            "UPDATE uploads SET temp_file = NULL, temp_expires_ms = NULL WHERE id = ?1",
            params![upload.0],
        )?;
        self.unneeded(upload)
    }

    /// A row that was only kept for what it had left at the service goes with it.
    pub(super) fn unneeded(&self, upload: UploadId) -> Outcome {
        self.run(
            "DELETE FROM uploads WHERE id = ?1 AND current = 0 AND document IS NULL
             AND temp_file IS NULL AND status IN ('pending', 'failed')",
            params![upload.0],
        )
    }

    pub(super) fn dropped(&self, upload: UploadId) -> Outcome {
        let row = self.row(upload)?;
        let gone = self.run(
            "DELETE FROM uploads WHERE id = ?1 AND temp_file IS NULL AND document IS NULL",
            params![row.id],
        )?;
        // What is left at the service keeps its row until it is deleted.
        if gone.rows == 0 {
            self.change_status(&row, Event::HandedBack)?;
            self.run(
                "UPDATE uploads SET current = 0, session_url = NULL, batch_id = NULL WHERE id = ?1",
                params![row.id],
            )?;
        }
        self.batch_counts(row.batch, BatchColumn::Skipped)
    }

    /// What was known of this content before gives way: nothing of it is under way when this is asked
    /// for. A row that says `indexed` gets the document in place of its own, which is gone. Another row
    /// that claims the same document keeps it. That the document is in the store proves that its library
    /// goes there.
    pub(super) fn adopted(
        &self,
        file: i64,
        store: i64,
        size_bytes: u64,
        content: &ContentKey,
        document: &DocumentName,
    ) -> Outcome {
        self.run(
            "INSERT INTO library_stores (library_id, store_id, linked_ms)
             SELECT library_id, ?2, ?3 FROM files WHERE id = ?1 ON CONFLICT DO NOTHING",
            params![file, store, self.now],
        )?;
        let key = params![
            file,
            store,
            content.sha256.as_bytes(),
            content.variant.as_bytes()
        ];
        let temporary: Option<Option<String>> = self
            .conn
            .prepare_cached(
                "DELETE FROM uploads WHERE file_id = ?1 AND store_id = ?2 AND sha256 = ?3
                 AND variant = ?4 AND status IN ('pending', 'failed', 'indexed') RETURNING temp_file",
            )?
            .query_row(key, |r| r.get(0))
            .optional()?;
        self.run(
            "INSERT INTO uploads (file_id, library_id, store_id, sha256, variant, size_bytes, status,
                 queued, document, current, temp_file, since_ms, created_ms, updated_ms)
             SELECT id, library_id, ?2, ?3, ?4, ?5, 'indexed', 0, ?6,
                 sha256 = ?3 AND variant = ?4 AND state = 'present', ?7, ?8, ?8, ?8
             FROM files WHERE id = ?1
             ON CONFLICT DO NOTHING",
            params![
                file,
                store,
                content.sha256.as_bytes(),
                content.variant.as_bytes(),
                size_bytes as i64,
                document.as_str(),
                temporary.flatten(),
                self.now
            ],
        )
    }
}
