//! What each change does to the rows, inside the writer's transaction.
//!
//! Promises: the state machine is asked before a status changes; one change is applied whole or not
//! at all.

use rusqlite::{Connection, Params, Row, params};

use self::runs::BatchColumn;
use super::LAST_QUEUED;
use super::change::{Applied, Change, Refusal};
use super::durable::UploadId;
use super::lock::Holder;
use super::statement::{Statement, statements};
use super::upload_state::{Event, UploadState};
use crate::clock::{self, UnixMs};

/// Libraries, and which stores they go into.
mod libraries;

/// Files, as scans find them.
mod files;

/// Files that are at another path now, or nowhere.
mod gone;

/// One upload, from intent to its end.
mod uploads;

/// What the store was found to hold.
mod found;

/// Stores, runs, batches and the queue.
mod runs;

type ApplyResult = Result<Applied, Refusal>;

statements! {
    SAVEPOINT: Single => "SAVEPOINT change";
    ROLLBACK: Single => "ROLLBACK TO change";
    RELEASE: Single => "RELEASE change";
    UPLOAD: Single => "SELECT store_id, status, batch_id, file_id FROM uploads WHERE id = ?1";
    LAST_PLACE: Page => LAST_QUEUED;
    CHANGE_STATUS: Single =>
        "UPDATE uploads SET status = ?2, since_ms = ?3, updated_ms = ?3 WHERE id = ?1";
}

/// The statements of this folder, for the test that explains all.
#[cfg(test)]
pub(super) fn all_declared() -> Vec<super::tests::explain::Declared> {
    let topics = [
        declared(),
        libraries::declared(),
        files::declared(),
        gone::declared(),
        uploads::declared(),
        found::declared(),
        runs::declared(),
    ];
    topics.into_iter().flatten().collect()
}

impl Change {
    /// Applies the change inside the writer's transaction: whole, or not at all if it is refused.
    pub(super) fn apply_whole(&self, conn: &Connection, me: &Holder) -> ApplyResult {
        SAVEPOINT.run(conn, [])?;
        let done = self.apply(conn, me);
        if done.is_err() {
            ROLLBACK.run(conn, [])?;
        }
        RELEASE.run(conn, [])?;
        done
    }

    /// The same without the savepoint: half of a change that is refused may be left in the transaction.
    ///
    /// The table of contents of this folder: each change and what it does, in the order of a file's life.
    pub(super) fn apply(&self, conn: &Connection, me: &Holder) -> ApplyResult {
        let at = At {
            conn,
            now: clock::now_ms(),
        };
        match self {
            Change::LibraryAdded { name, root } => at.library_added(name, root),
            Change::LibraryMoved { library, root } => at.library_moved(*library, root),
            Change::LibraryRenamed { library, name } => at.library_renamed(*library, name),
            Change::LibrarySettings { library, settings } => {
                at.library_settings(*library, settings)
            }
            Change::FileDescribed {
                library,
                file,
                path,
                described,
            } => at.file_described((*library, path), *file, described),
            Change::LibraryForgotten { library } => at.library_forgotten(*library),
            Change::FileSeen { library, file } => at.file_seen(*library, file),
            Change::FileSkipped(skip) => at.skipped(skip),
            Change::FileMissing { file } => at.file_gone(*file, "missing"),
            Change::FileLeftOut { file } => at.file_gone(*file, "left_out"),
            Change::MovesMatched { library } => at.moves_matched(*library),
            Change::ScanEnded {
                library,
                scan,
                whole,
            } => at.scan_ended(*library, *scan, *whole),
            Change::StorePinned(store) => at.store_pinned(store),
            Change::StoreReplaced { store, name } => at.store_replaced(*store, name),
            Change::StoreForgotten { store } => at.store_forgotten(*store),
            Change::SupportSeen { store, support } => at.support_seen(*store, *support),
            Change::RunStarted { store } => at.run_started(*store, me),
            Change::Linked { library, store } => at.linked(*library, *store),
            Change::Queued { library, store } => at.queued(*library, *store),
            Change::RetriedFailed { upload } => at.retried(*upload),
            Change::BatchOpened { run, number } => at.batch_opened(*run, *number),
            Change::BatchFilled { batch, files } => at.batch_filled(*batch, *files),
            Change::BatchSkipped { batch } => at.batch_counts(Some(*batch), BatchColumn::Skipped),
            Change::Intent { upload, batch, way } => at.intent(*upload, *batch, way),
            Change::SessionOpened { upload, url } => at.session_opened(*upload, url),
            Change::Staged { upload, file } => at.staged(*upload, file),
            Change::ImportStarted { upload } => at.import_started(*upload),
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
            Change::HandedBack { upload, back } => at.handed_back(*upload, back),
            Change::LeftInDoubt {
                upload,
                charge,
                cause,
            } => at.left_in_doubt(*upload, *charge, cause),
            Change::Rejected {
                upload,
                cause,
                document,
            } => at.rejected(*upload, cause, document.as_ref()),
            Change::Cleared { upload } => at.cleared(*upload),
            Change::Dropped { upload } => at.dropped(*upload),
            Change::FileLost { upload, file, skip } => at.file_lost(*upload, *file, skip.as_ref()),
            Change::Rescanned {
                upload,
                file,
                reading,
            } => at.rescanned(*upload, *file, reading),
            Change::Purged {
                store,
                missing,
                after,
            } => at.purged(*store, missing, *after),
            Change::Deleted { upload } => at.deleted(*upload),
            Change::FileForgotten { file } => at.file_forgotten(*file),
            Change::EndedForgotten { store, before } => at.ended_forgotten(*store, *before),
            Change::Retired { upload } => at.document_gone(*upload, Event::Purged),
            Change::Relabelled {
                upload,
                size_bytes,
                content,
            } => at.relabelled(*upload, *size_bytes, content),
            Change::Remembered(found) => at.remembered(found),
            Change::Adopted(adopted) => at.adopted(adopted),
            Change::RateFound {
                endpoint,
                class,
                per_minute,
            } => at.rate_found(endpoint, class, *per_minute),
            Change::OperationTimes { endpoint, times_ms } => at.operation_times(endpoint, times_ms),
            Change::Bookmarked { store, bookmark } => at.bookmarked(*store, bookmark),
            Change::Sampled { run, details } => at.sampled(*run, details),
            Change::Flush => Ok(Applied::default()),
            Change::RunEnded {
                run,
                outcome,
                exit,
                totals,
                limited_by,
            } => at.run_ended(*run, (outcome, *exit, limited_by), totals),
        }
    }
}

/// An upload's row, as far as a transition needs it.
struct UploadRow {
    id: i64,
    store: i64,
    status: UploadState,
    batch: Option<i64>,
    file: i64,
}

impl UploadRow {
    /// What the state machine says.
    fn next_status(&self, event: Event) -> Result<&'static str, Refusal> {
        let next = self.status.after(event);
        let next = next.map_err(|e| Refusal::Illegal(format!("upload {}: {e}", self.id)))?;
        Ok(next.as_str())
    }
}

/// The connection inside a transaction, and the time of the change.
struct At<'c> {
    conn: &'c Connection,
    now: UnixMs,
}

impl At<'_> {
    fn run(&self, statement: &Statement, params: impl Params) -> ApplyResult {
        let rows = statement.run(self.conn, params)?;
        Ok(Applied {
            row: self.conn.last_insert_rowid(),
            rows: rows as u64,
            batch_done: None,
        })
    }

    fn touched(&self, row: i64) -> ApplyResult {
        Ok(Applied {
            row,
            rows: 1,
            batch_done: None,
        })
    }

    fn row(&self, upload: UploadId) -> Result<UploadRow, Refusal> {
        let read = |r: &Row<'_>| Ok((r.get(0)?, r.get::<_, String>(1)?, r.get(2)?, r.get(3)?));
        let Some((store, status, batch, file)) = UPLOAD.first(self.conn, [upload.0], read)? else {
            return Err(Refusal::Illegal(format!("upload {} is gone", upload.0)));
        };
        let status = UploadState::parse(&status)
            .ok_or_else(|| Refusal::Illegal(format!("unknown status {status}")))?;
        Ok(UploadRow {
            id: upload.0,
            store,
            status,
            batch,
            file,
        })
    }

    /// A place at the end of a store's queue.
    fn next_place(&self, store: i64) -> Result<i64, Refusal> {
        let last: i64 = LAST_PLACE.one(self.conn, [store], |r| r.get(0))?;
        Ok(last + 1)
    }

    fn change_status(&self, row: &UploadRow, event: Event) -> Result<(), Refusal> {
        let next = row.next_status(event)?;
        self.run(&CHANGE_STATUS, params![row.id, next, self.now])?;
        Ok(())
    }
}
