//! What each change does to the rows, inside the writer's transaction.
//!
//! Promises: the state machine is asked before a status changes; one change is applied whole or not
//! at all.

use rusqlite::{Connection, OptionalExtension, Row, params};

use self::runs::BatchColumn;
use super::LAST_PLACE;
use super::change::{Applied, Change, Charge, Refusal};
use super::durable::UploadId;
use super::lock::Holder;
use super::upload_state::{Event, UploadState};
use crate::clock::{self, UnixMs};

/// Libraries, and which stores they go into.
mod libraries;

/// Files, as scans find them.
mod files;

/// One upload, from intent to its end.
mod uploads;

/// Stores, runs, batches and the queue.
mod runs;

type Outcome = Result<Applied, Refusal>;

impl Change {
    /// Applies the change inside the writer's transaction: whole, or not at all if it is refused.
    pub(super) fn apply_whole(&self, conn: &Connection, me: &Holder) -> Outcome {
        let step = |sql: &str| conn.prepare_cached(sql)?.execute([]);
        step("SAVEPOINT change")?;
        let done = self.apply(conn, me);
        if done.is_err() {
            step("ROLLBACK TO change")?;
        }
        step("RELEASE change")?;
        done
    }

    fn apply(&self, conn: &Connection, me: &Holder) -> Outcome {
        let at = At {
            conn,
            now: clock::now_ms(),
        };
        match self {
            Change::LibraryAdded { name, root } => at.library_added(name, root),
            Change::LibraryMoved { library, root } => at.run(
                "UPDATE libraries SET root = ?2 WHERE id = ?1",
                params![library, root],
            ),
            Change::LibraryRenamed { library, name } => at.library_renamed(*library, name),
            Change::LibraryForgotten { library } => at.library_forgotten(*library),
            Change::FileSeen { library, file } => at.file_seen(*library, file),
            Change::FileSkipped(skip) => at.skipped(skip),
            Change::FileMissing { file } => at.file_gone(*file, "missing"),
            Change::FileLeftOut { file } => at.file_gone(*file, "left_out"),
            Change::ScanEnded {
                library,
                scan,
                whole,
            } => at.scan_ended(*library, *scan, *whole),
            Change::StorePinned {
                endpoint,
                display_name,
                name,
                by_display_name,
            } => at.store_pinned(endpoint, display_name, name, *by_display_name),
            Change::StoreReplaced { store, name } => at.store_replaced(*store, name),
            Change::RunStarted { store } => at.run_started(*store, me),
            Change::Linked { library, store } => at.linked(*library, *store),
            Change::Queued { library, store } => at.queued(*library, *store),
            Change::RetriedFailed { upload } => {
                let row = at.row(*upload)?;
                at.change_status(&row, Event::Retried)?;
                at.run(
                    "UPDATE uploads SET attempts = 0 WHERE id = ?1",
                    params![row.id],
                )
            }
            Change::BatchOpened { run, number } => at.run(
                "INSERT INTO upload_batches (run_id, number, status, started_ms)
                 VALUES (?1, ?2, 'filling', ?3)",
                params![run, number, at.now],
            ),
            Change::BatchFilled { batch, files } => {
                at.run(
                    "UPDATE upload_batches SET files = ?2, status = 'filled' WHERE id = ?1",
                    params![batch, *files as i64],
                )?;
                at.batch_settled(Some(*batch))
            }
            Change::BatchSkipped { batch } => at.batch_counts(Some(*batch), BatchColumn::Skipped),
            Change::Intent {
                upload,
                batch,
                method,
                temporary,
            } => at.intent(*upload, *batch, *method, temporary.as_ref()),
            Change::SessionOpened { upload, url } => at.session_opened(*upload, url),
            Change::Staged {
                upload,
                file,
                expires_ms,
            } => at.under_way(
                *upload,
                "UPDATE uploads SET temp_file = ?2, temp_expires_ms = ?3, updated_ms = ?4
                 WHERE id = ?1 AND status = 'uploading' AND method = 'staged'",
                params![upload.0, file.as_str(), expires_ms, at.now],
            ),
            Change::ImportStarted { upload } => at.under_way(
                *upload,
                "UPDATE uploads SET importing = 1, session_url = NULL, updated_ms = ?2
                 WHERE id = ?1 AND status = 'uploading' AND temp_file IS NOT NULL",
                params![upload.0, at.now],
            ),
            Change::Submitted {
                upload,
                operation,
                document,
            } => at.submitted(*upload, operation.as_ref(), document.as_ref()),
            Change::Activated {
                upload,
                document,
                keeps_temporary,
            } => at.activated(*upload, document, *keeps_temporary),
            Change::TemporaryGone { upload } => at.temporary_gone(*upload),
            Change::HandedBack {
                upload,
                charge,
                cause,
                next,
                document,
            } => at.handed_back(*upload, *charge, cause.as_ref(), *next, document.as_ref()),
            Change::LeftInDoubt {
                upload,
                charge,
                cause,
            } => at.run(
                "UPDATE uploads SET attempts = attempts + ?2, error_kind = ?3, error = ?4,
                     updated_ms = ?5 WHERE id = ?1",
                params![
                    upload.0,
                    i64::from(*charge == Charge::Attempt),
                    cause.kind,
                    cause.words,
                    at.now
                ],
            ),
            Change::Rejected {
                upload,
                cause,
                document,
            } => at.rejected(*upload, cause, document.as_ref()),
            Change::Cleared { upload } => {
                at.run(
                    "UPDATE uploads SET document = NULL WHERE id = ?1",
                    params![upload.0],
                )?;
                at.unneeded(*upload)
            }
            Change::Dropped { upload } => at.dropped(*upload),
            Change::FileLost { upload, file, skip } => {
                let done = at.dropped(*upload)?;
                at.file_gone(*file, "missing")?;
                if let Some(skip) = skip {
                    at.skipped(skip)?;
                }
                Ok(done)
            }
            Change::Rescanned {
                upload,
                file,
                size_bytes,
                mtime_ns,
                hashed_ms,
                sha256,
            } => {
                // A row that is gone is refused before anything is changed.
                let done = at.dropped(*upload)?;
                at.run(
                    "UPDATE files SET size_bytes = ?2, mtime_ns = ?3, hashed_ms = ?4, sha256 = ?5
                     WHERE id = ?1",
                    params![
                        file,
                        *size_bytes as i64,
                        mtime_ns,
                        hashed_ms,
                        sha256.as_bytes()
                    ],
                )?;
                at.content_changed(*file)?;
                Ok(done)
            }
            Change::Superseded { upload } => at.document_gone(*upload, Event::Replaced),
            Change::Retired { upload } => at.document_gone(*upload, Event::Purged),
            Change::Adopted {
                file,
                store,
                size_bytes,
                content,
                document,
            } => at.adopted(*file, *store, *size_bytes, content, document),
            Change::RateFound {
                endpoint,
                class,
                per_minute,
            } => at.run(
                "INSERT INTO rates VALUES (?1, ?2, ?3, ?4) ON CONFLICT (endpoint, class)
                 DO UPDATE SET per_minute = excluded.per_minute, found_ms = excluded.found_ms",
                params![endpoint, class, per_minute, at.now],
            ),
            Change::Flush => Ok(Applied::default()),
            Change::RunEnded {
                run,
                outcome,
                exit,
                totals,
            } => at.run_ended(*run, outcome, *exit, totals),
        }
    }
}

/// An upload's row, as far as a transition needs it.
struct UploadRow {
    id: i64,
    status: UploadState,
    batch: Option<i64>,
}

/// The connection inside a transaction, and the time of the change.
struct At<'c> {
    conn: &'c Connection,
    now: UnixMs,
}

impl At<'_> {
    fn run(&self, sql: &str, params: impl rusqlite::Params) -> Outcome {
        let rows = self.conn.prepare_cached(sql)?.execute(params)?;
        Ok(Applied {
            row: self.conn.last_insert_rowid(),
            rows: rows as u64,
            batch_done: None,
        })
    }

    fn touched(&self, row: i64) -> Outcome {
        Ok(Applied {
            row,
            rows: 1,
            batch_done: None,
        })
    }

    fn last_place(&self, store: i64) -> rusqlite::Result<i64> {
        let mut statement = self.conn.prepare_cached(LAST_PLACE)?;
        statement.query_row([store], |r| r.get(0))
    }

    fn row(&self, upload: UploadId) -> Result<UploadRow, Refusal> {
        let read = |r: &Row<'_>| Ok((r.get::<_, String>(0)?, r.get(1)?));
        let found = self
            .conn
            .prepare_cached("SELECT status, batch_id FROM uploads WHERE id = ?1")?
            .query_row([upload.0], read)
            .optional()?;
        let Some((status, batch)) = found else {
            return Err(Refusal::Illegal(format!("upload {} is gone", upload.0)));
        };
        let status = UploadState::parse(&status)
            .ok_or_else(|| Refusal::Illegal(format!("unknown status {status}")))?;
        Ok(UploadRow {
            id: upload.0,
            status,
            batch,
        })
    }

    fn change_status(&self, row: &UploadRow, event: Event) -> Result<(), Refusal> {
        let next = row
            .status
            .after(event)
            .map_err(|e| Refusal::Illegal(format!("upload {}: {e}", row.id)))?;
        self.run(
            "UPDATE uploads SET status = ?2, since_ms = ?3, updated_ms = ?3 WHERE id = ?1",
            params![row.id, next.as_str(), self.now],
        )?;
        Ok(())
    }
}
