//! Every message the writer takes, in the order of a file's life, and what each does to the rows.
//!
//! Promises: the state machine is asked before a status changes; one change is applied whole or not
//! at all.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::durable::UploadId;
use super::upload_state::{Event, Method, UploadState};
use crate::clock::{self, UnixMs};
use crate::identity::Sha256;
use crate::names::{DocumentName, FileName, OperationName, SessionUrl, StoreName};

/// A file as a scan found it.
#[derive(Debug, Clone)]
pub struct FileRow {
    pub path: String,
    pub path_value: String,
    pub size_bytes: u64,
    pub mtime_ns: i64,
    pub hashed_ms: UnixMs,
    pub sha256: Sha256,
    pub mime: String,
}

/// Why an attempt ended, as `status` shows it.
#[derive(Debug, Clone)]
pub struct Cause {
    pub kind: &'static str,
    pub words: String,
}

/// How the attempt counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// The file was tried and it did not work.
    Attempt,
    /// Not the file's doing: an open breaker, a shutdown, a crash.
    Nothing,
}

/// What the next attempt does differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTime {
    Same,
    /// The file's own type was refused.
    AsMime(&'static str),
    /// The direct way failed with its known fault.
    LessDirect,
}

/// Totals of a run, as its row keeps them.
#[derive(Debug, Clone, Default)]
pub struct RunTotals {
    pub recovered: u64,
    pub indexed: u64,
    pub failed: u64,
    pub skipped: u64,
    pub pending: u64,
    pub processing: u64,
    pub bytes: u64,
    pub requests: u64,
    pub polls: u64,
    pub retries: u64,
    pub throttled: u64,
    pub resumed: u64,
    pub adopted: u64,
    pub limited_by: &'static str,
}

#[derive(Debug, Clone)]
pub enum Change {
    LibraryAdded {
        root: String,
    },
    /// A scan begins: what it skipped last time is forgotten.
    ScanStarted {
        library: i64,
    },
    FileSeen {
        library: i64,
        file: FileRow,
    },
    FileSkipped {
        library: i64,
        path: String,
        reason: &'static str,
        detail: String,
    },
    FileMissing {
        file: i64,
    },
    ScanEnded {
        library: i64,
    },
    StorePinned {
        endpoint: String,
        display_name: String,
        name: StoreName,
    },
    RunStarted {
        store: i64,
    },
    /// Rows for files above `after` that have none yet, up to a page of them.
    Enqueued {
        store: i64,
        after: i64,
        base: i64,
    },
    RetriedFailed {
        store: i64,
    },
    BatchOpened {
        run: i64,
        number: i64,
    },
    BatchFilled {
        batch: i64,
        files: u64,
    },
    /// A file of the batch was not started: the breaker is open.
    BatchSkipped {
        batch: i64,
    },
    Intent {
        upload: UploadId,
        batch: i64,
        method: Method,
        /// The temporary file of the staged way: on record before it can exist.
        temporary: Option<FileName>,
    },
    SessionOpened {
        upload: UploadId,
        url: SessionUrl,
    },
    /// The temporary file is complete.
    Staged {
        upload: UploadId,
        file: FileName,
        /// By the service's clock.
        expires_ms: Option<UnixMs>,
    },
    /// Its import is about to be sent.
    ImportStarted {
        upload: UploadId,
    },
    Submitted {
        upload: UploadId,
        operation: Option<OperationName>,
        document: Option<DocumentName>,
    },
    Activated {
        upload: UploadId,
        document: DocumentName,
        /// A temporary file is still there, and is to be deleted later.
        keeps_temporary: bool,
    },
    /// The temporary file is confirmed deleted.
    TemporaryGone {
        upload: UploadId,
    },
    HandedBack {
        upload: UploadId,
        charge: Charge,
        cause: Option<Cause>,
        next: NextTime,
        /// What the attempt left at the service.
        document: Option<DocumentName>,
    },
    /// The attempt ended, but what became of it at the service is not known: the row stays as it is,
    /// its session is asked later.
    LeftInDoubt {
        upload: UploadId,
        charge: Charge,
        cause: Cause,
    },
    Rejected {
        upload: UploadId,
        cause: Cause,
        /// What the service still holds of it.
        document: Option<DocumentName>,
    },
    /// The document that a failed attempt had left is confirmed deleted.
    Cleared {
        upload: UploadId,
    },
    /// The content this row is for is gone from disk and nothing of it is at the service.
    Dropped {
        upload: UploadId,
    },
    /// The file turned out to have other content than scanned; the new content takes a new row.
    Rescanned {
        upload: UploadId,
        file: i64,
        size_bytes: u64,
        mtime_ns: i64,
        hashed_ms: UnixMs,
        sha256: Sha256,
    },
    Superseded {
        upload: UploadId,
    },
    /// The document is confirmed to be gone from the store.
    Retired {
        upload: UploadId,
    },
    /// The store holds this content of a file already: its row is `indexed`, whatever it was.
    Adopted {
        file: i64,
        store: i64,
        size_bytes: u64,
        sha256: Sha256,
        document: DocumentName,
    },
    RateFound {
        endpoint: String,
        class: &'static str,
        per_minute: f64,
    },
    /// Nothing; its acknowledgement says that all that was sent before is on disk.
    Flush,
    RunEnded {
        run: i64,
        outcome: &'static str,
        exit: u8,
        totals: Box<RunTotals>,
    },
}

/// How many rows one `Enqueued` makes: some 20 ms of the writer's time.
pub const ENQUEUE_ROWS: i64 = 4000;

/// A batch whose last file has its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchDone {
    pub batch: i64,
    pub number: i64,
    pub files: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub skipped: u64,
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// The row it made or touched; for `Enqueued` the last file looked at (0 = no more).
    pub row: i64,
    /// How many rows changed, where that is of interest.
    pub rows: u64,
    pub batch_done: Option<BatchDone>,
}

#[derive(Debug)]
pub enum Refusal {
    Sql(rusqlite::Error),
    /// The state machine lacks this transition, or the row is not there: our mistake.
    Illegal(String),
}

impl From<rusqlite::Error> for Refusal {
    fn from(e: rusqlite::Error) -> Refusal {
        Refusal::Sql(e)
    }
}

type Outcome = Result<Applied, Refusal>;

impl Change {
    /// What it is, for the proof programs.
    pub(super) fn step(&self) -> &'static str {
        match self {
            Change::LibraryAdded { .. } => "commit library",
            Change::ScanStarted { .. } | Change::ScanEnded { .. } => "commit scan",
            Change::FileSeen { .. } => "commit file",
            Change::FileSkipped { .. } => "commit skip",
            Change::FileMissing { .. } => "commit missing",
            Change::StorePinned { .. } => "commit store",
            Change::RunStarted { .. } => "commit run",
            Change::Enqueued { .. } => "commit queue",
            Change::RetriedFailed { .. } => "commit retry",
            Change::BatchOpened { .. } => "commit batch",
            Change::BatchFilled { .. } | Change::BatchSkipped { .. } => "commit batch count",
            Change::Intent { .. } => "commit intent",
            Change::SessionOpened { .. } => "commit session",
            Change::Staged { .. } => "commit staged",
            Change::ImportStarted { .. } => "commit import",
            Change::Submitted { .. } => "commit submitted",
            Change::Activated { .. } => "commit indexed",
            Change::TemporaryGone { .. } => "commit temporary gone",
            Change::HandedBack { .. } => "commit handed back",
            Change::LeftInDoubt { .. } => "commit in doubt",
            Change::Rejected { .. } => "commit failed",
            Change::Cleared { .. } => "commit cleared",
            Change::Dropped { .. } => "commit dropped",
            Change::Rescanned { .. } => "commit rescanned",
            Change::Superseded { .. } => "commit superseded",
            Change::Retired { .. } => "commit retired",
            Change::Adopted { .. } => "commit adopted",
            Change::RateFound { .. } => "commit rate",
            Change::Flush => "flush",
            Change::RunEnded { .. } => "commit run end",
        }
    }

    /// Applies the change inside the writer's transaction.
    pub(super) fn apply(&self, conn: &Connection, me: &super::lock::Holder) -> Outcome {
        let at = At {
            conn,
            now: clock::now_ms(),
        };
        match self {
            Change::LibraryAdded { root } => at.library_added(root),
            Change::ScanStarted { library } => at.run(
                "DELETE FROM skipped_files WHERE library_id = ?1",
                params![library],
            ),
            Change::FileSeen { library, file } => at.file_seen(*library, file),
            Change::FileSkipped {
                library,
                path,
                reason,
                detail,
            } => at.run(
                "INSERT INTO skipped_files (library_id, path, reason, detail) VALUES (?1, ?2, ?3, ?4)",
                params![library, path, reason, detail],
            ),
            Change::FileMissing { file } => at.file_missing(*file),
            Change::ScanEnded { library } => at.run(
                "UPDATE libraries SET scanned_ms = ?2 WHERE id = ?1",
                params![library, at.now],
            ),
            Change::StorePinned {
                endpoint,
                display_name,
                name,
            } => at.store_pinned(endpoint, display_name, name),
            Change::RunStarted { store } => at.run_started(*store, me),
            Change::Enqueued { store, after, base } => at.enqueued(*store, *after, *base),
            Change::RetriedFailed { store } => at.retried_failed(*store),
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
            Change::Rescanned {
                upload,
                file,
                size_bytes,
                mtime_ns,
                hashed_ms,
                sha256,
            } => {
                // Refused before anything is changed.
                at.row(*upload)?;
                at.run(
                    "UPDATE files SET size_bytes = ?2, mtime_ns = ?3, hashed_ms = ?4, sha256 = ?5
                     WHERE id = ?1",
                    params![file, *size_bytes as i64, mtime_ns, hashed_ms, sha256.as_bytes()],
                )?;
                at.requeue_as(*upload, *size_bytes, sha256)?;
                let done = at.dropped(*upload)?;
                at.mark_current(*file, Some(sha256))?;
                Ok(done)
            }
            Change::Superseded { upload } => {
                let row = at.row(*upload)?;
                at.change_status(&row, Event::Replaced)?;
                at.touched(row.id)
            }
            Change::Retired { upload } => {
                let row = at.row(*upload)?;
                at.change_status(&row, Event::Purged)?;
                at.touched(row.id)
            }
            Change::Adopted {
                file,
                store,
                size_bytes,
                sha256,
                document,
            } => at.adopted(*file, *store, *size_bytes, sha256, document),
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

#[derive(Clone, Copy)]
enum BatchColumn {
    Succeeded,
    Failed,
    Skipped,
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

    fn library_added(&self, root: &str) -> Outcome {
        self.run(
            "INSERT INTO libraries (root) VALUES (?1) ON CONFLICT DO NOTHING",
            params![root],
        )?;
        let id = self
            .conn
            .prepare_cached("SELECT id FROM libraries WHERE root = ?1")?
            .query_row([root], |r| r.get(0))?;
        self.touched(id)
    }

    fn file_seen(&self, library: i64, file: &FileRow) -> Outcome {
        let id: i64 = self
            .conn
            .prepare_cached(
                "INSERT INTO files (library_id, path, path_value, size_bytes, mtime_ns, hashed_ms,
                     sha256, mime, state, first_seen_ms, last_seen_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'present', ?9, ?9)
                 ON CONFLICT (library_id, path) DO UPDATE SET
                     path_value = excluded.path_value, size_bytes = excluded.size_bytes,
                     mtime_ns = excluded.mtime_ns, hashed_ms = excluded.hashed_ms,
                     sha256 = excluded.sha256, mime = excluded.mime, state = 'present',
                     last_seen_ms = excluded.last_seen_ms, missing_since_ms = NULL
                 RETURNING id",
            )?
            .query_row(
                params![
                    library,
                    file.path,
                    file.path_value,
                    file.size_bytes as i64,
                    file.mtime_ns,
                    file.hashed_ms,
                    file.sha256.as_bytes(),
                    file.mime,
                    self.now
                ],
                |r| r.get(0),
            )?;
        self.mark_current(id, Some(&file.sha256))?;
        self.touched(id)
    }

    fn file_missing(&self, file: i64) -> Outcome {
        self.run(
            "UPDATE files SET state = 'missing', missing_since_ms = ?2
             WHERE id = ?1 AND state = 'present'",
            params![file, self.now],
        )?;
        self.mark_current(file, None)?;
        self.touched(file)
    }

    /// `current` says which of a file's rows is for the content that is on disk now. Rows of which
    /// nothing was ever sent are not kept for content that is gone.
    fn mark_current(&self, file: i64, content: Option<&Sha256>) -> Result<(), Refusal> {
        let content = content.map(Sha256::as_bytes);
        self.run(
            "UPDATE uploads SET current = (sha256 IS ?2) WHERE file_id = ?1",
            params![file, content],
        )?;
        self.run(
            "DELETE FROM uploads WHERE file_id = ?1 AND current = 0 AND document IS NULL
             AND temp_file IS NULL AND status IN ('pending', 'failed')",
            params![file],
        )?;
        Ok(())
    }

    fn store_pinned(&self, endpoint: &str, display_name: &str, name: &StoreName) -> Outcome {
        self.run(
            "INSERT INTO stores (endpoint, display_name, name, pinned_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (endpoint, display_name) DO NOTHING",
            params![endpoint, display_name, name.as_str(), self.now],
        )?;
        let id = self
            .conn
            .prepare_cached("SELECT id FROM stores WHERE endpoint = ?1 AND display_name = ?2")?
            .query_row([endpoint, display_name], |r| r.get(0))?;
        self.touched(id)
    }

    fn run_started(&self, store: i64, me: &super::lock::Holder) -> Outcome {
        // Batches and runs that a crash left open belong to no one any more.
        self.run(
            "UPDATE upload_batches SET status = 'interrupted' WHERE status IN ('filling', 'filled')",
            [],
        )?;
        self.run(
            "UPDATE uploads SET batch_id = NULL WHERE store_id = ?1 AND status IN ('uploading', 'processing')",
            params![store],
        )?;
        self.run(
            "UPDATE runs SET outcome = 'crashed' WHERE ended_ms IS NULL AND outcome IS NULL",
            [],
        )?;
        self.run(
            "INSERT INTO runs (instance, host, pid, version, store_id, started_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                me.instance,
                me.host,
                me.pid,
                env!("CARGO_PKG_VERSION"),
                store,
                self.now
            ],
        )
    }

    fn enqueued(&self, store: i64, after: i64, base: i64) -> Outcome {
        let last: Option<i64> = self
            .conn
            .prepare_cached(
                "SELECT max(id) FROM (SELECT id FROM files WHERE id > ?1 ORDER BY id LIMIT ?2)",
            )?
            .query_row([after, ENQUEUE_ROWS], |r| r.get(0))?;
        let Some(last) = last else {
            return Ok(Applied::default());
        };
        let done = self.run(
            "INSERT INTO uploads (file_id, store_id, sha256, size_bytes, status, queued,
                 since_ms, created_ms, updated_ms)
             SELECT id, ?1, sha256, size_bytes, 'pending', ?4 + id, ?5, ?5, ?5 FROM files f
             WHERE id > ?2 AND id <= ?3 AND state = 'present' AND NOT EXISTS (
                 SELECT 1 FROM uploads u WHERE u.file_id = f.id AND u.store_id = ?1
                 AND u.sha256 = f.sha256 AND u.status NOT IN ('superseded', 'retired'))",
            params![store, after, last, base, self.now],
        )?;
        Ok(Applied { row: last, ..done })
    }

    fn retried_failed(&self, store: i64) -> Outcome {
        debug_assert_eq!(
            UploadState::Failed.after(Event::Retried).ok(),
            Some(UploadState::Pending)
        );
        self.run(
            "UPDATE uploads SET status = 'pending', attempts = 0, since_ms = ?2, updated_ms = ?2
             WHERE store_id = ?1 AND status = 'failed'",
            params![store, self.now],
        )
    }

    fn intent(
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

    fn session_opened(&self, upload: UploadId, url: &SessionUrl) -> Outcome {
        self.under_way(
            upload,
            "UPDATE uploads SET session_url = ?2, updated_ms = ?3
             WHERE id = ?1 AND status = 'uploading'",
            params![upload.0, url.expose(), self.now],
        )
    }

    /// A step within `uploading`: the row must be there for it.
    fn under_way(&self, upload: UploadId, sql: &str, params: impl rusqlite::Params) -> Outcome {
        let done = self.run(sql, params)?;
        match done.rows {
            1 => Ok(done),
            _ => Err(Refusal::Illegal(format!(
                "upload {} made a step while it was not uploading",
                upload.0
            ))),
        }
    }

    fn submitted(
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

    fn activated(
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

    fn temporary_gone(&self, upload: UploadId) -> Outcome {
        self.run(
            "UPDATE uploads SET temp_file = NULL, temp_expires_ms = NULL WHERE id = ?1",
            params![upload.0],
        )?;
        self.unneeded(upload)
    }

    /// A row that was only kept for what it had left at the service goes with it.
    fn unneeded(&self, upload: UploadId) -> Outcome {
        self.run(
            "DELETE FROM uploads WHERE id = ?1 AND current = 0 AND document IS NULL
             AND temp_file IS NULL AND status IN ('pending', 'failed')",
            params![upload.0],
        )
    }

    /// What was known of this content before gives way: nothing of it is under way when this is asked
    /// for. A row that claims the same document keeps it.
    fn adopted(
        &self,
        file: i64,
        store: i64,
        size_bytes: u64,
        sha256: &Sha256,
        document: &DocumentName,
    ) -> Outcome {
        let temporary: Option<Option<String>> = self
            .conn
            .prepare_cached(
                "DELETE FROM uploads WHERE file_id = ?1 AND store_id = ?2 AND sha256 = ?3
                 AND status IN ('pending', 'failed') RETURNING temp_file",
            )?
            .query_row(params![file, store, sha256.as_bytes()], |r| r.get(0))
            .optional()?;
        self.run(
            "INSERT INTO uploads (file_id, store_id, sha256, size_bytes, status, queued, document,
                 current, temp_file, since_ms, created_ms, updated_ms)
             SELECT id, ?2, ?3, ?4, 'indexed', 0, ?5, sha256 = ?3 AND state = 'present', ?6,
                 ?7, ?7, ?7
             FROM files WHERE id = ?1
             ON CONFLICT DO NOTHING",
            params![
                file,
                store,
                sha256.as_bytes(),
                size_bytes as i64,
                document.as_str(),
                temporary.flatten(),
                self.now
            ],
        )
    }

    fn handed_back(
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
        self.run(
            "UPDATE uploads SET session_url = NULL, operation = NULL, document = ?7, importing = 0,
                 batch_id = NULL, attempts = attempts + ?2, mime = coalesce(?3, mime),
                 error_kind = coalesce(?4, error_kind), error = coalesce(?5, error),
                 direct_faults = direct_faults + ?6,
                 queued = (SELECT max(queued) + 1 FROM uploads WHERE store_id =
                     (SELECT store_id FROM uploads WHERE id = ?1) AND status = 'pending')
             WHERE id = ?1",
            params![
                row.id,
                i64::from(charge == Charge::Attempt),
                mime,
                cause.map(|c| c.kind),
                cause.map(|c| c.words.as_str()),
                i64::from(next == NextTime::LessDirect),
                document.map(DocumentName::as_str)
            ],
        )?;
        self.batch_counts(row.batch, BatchColumn::Skipped)
    }

    fn rejected(
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

    fn dropped(&self, upload: UploadId) -> Outcome {
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

    /// A fresh row at the end of the queue for the content that a file has now, unless it has one.
    fn requeue_as(&self, upload: UploadId, size_bytes: u64, sha256: &Sha256) -> Outcome {
        self.run(
            "INSERT INTO uploads (file_id, store_id, sha256, size_bytes, status, queued,
                 since_ms, created_ms, updated_ms)
             SELECT file_id, store_id, ?2, ?3, 'pending',
                 coalesce((SELECT max(queued) + 1 FROM uploads p
                     WHERE p.store_id = u.store_id AND p.status = 'pending'), 1), ?4, ?4, ?4
             FROM uploads u WHERE id = ?1
             ON CONFLICT DO NOTHING",
            params![upload.0, sha256.as_bytes(), size_bytes as i64, self.now],
        )
    }

    fn run_ended(&self, run: i64, outcome: &str, exit: u8, t: &RunTotals) -> Outcome {
        self.run(
            "UPDATE upload_batches SET status = 'interrupted', completed_ms = ?2
             WHERE run_id = ?1 AND status IN ('filling', 'filled')",
            params![run, self.now],
        )?;
        self.run(
            "UPDATE runs SET ended_ms = ?2, outcome = ?3, exit = ?4, recovered = ?5, indexed = ?6,
                 failed = ?7, skipped = ?8, pending = ?9, processing = ?10, bytes = ?11,
                 requests = ?12, polls = ?13, retries = ?14, throttled = ?15, resumed = ?16,
                 adopted = ?17, limited_by = ?18 WHERE id = ?1",
            params![
                run,
                self.now,
                outcome,
                exit,
                t.recovered as i64,
                t.indexed as i64,
                t.failed as i64,
                t.skipped as i64,
                t.pending as i64,
                t.processing as i64,
                t.bytes as i64,
                t.requests as i64,
                t.polls as i64,
                t.retries as i64,
                t.throttled as i64,
                t.resumed as i64,
                t.adopted as i64,
                t.limited_by
            ],
        )
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

    fn batch_counts(&self, batch: Option<i64>, column: BatchColumn) -> Outcome {
        let Some(id) = batch else {
            return Ok(Applied::default());
        };
        let sql = match column {
            BatchColumn::Succeeded => {
                "UPDATE upload_batches SET succeeded = succeeded + 1 WHERE id = ?1"
            }
            BatchColumn::Failed => "UPDATE upload_batches SET failed = failed + 1 WHERE id = ?1",
            BatchColumn::Skipped => "UPDATE upload_batches SET skipped = skipped + 1 WHERE id = ?1",
        };
        self.run(sql, params![id])?;
        self.batch_settled(Some(id))
    }

    /// The batch is done once all its files have an outcome and no more will come.
    fn batch_settled(&self, batch: Option<i64>) -> Outcome {
        let done = self
            .conn
            .prepare_cached(
                "UPDATE upload_batches SET status = 'done', completed_ms = ?2
                 WHERE id = ?1 AND status = 'filled' AND succeeded + failed + skipped >= files
                 RETURNING id, number, files, succeeded, failed, skipped",
            )?
            .query_row(params![batch, self.now], |r| {
                let count = |i| r.get::<_, i64>(i).map(|n| n.max(0) as u64);
                Ok(BatchDone {
                    batch: r.get(0)?,
                    number: r.get(1)?,
                    files: count(2)?,
                    succeeded: count(3)?,
                    failed: count(4)?,
                    skipped: count(5)?,
                })
            })
            .optional()?;
        Ok(Applied {
            row: batch.unwrap_or(0),
            rows: 1,
            batch_done: done,
        })
    }
}
