//! The reader: pages of rows over a connection that cannot write.
//!
//! Promises: never more than a page in memory, whatever the size of the library.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::durable::{Durable, UploadId};
use super::open;
use super::upload_state::{Method, UploadState};
use crate::clock::UnixMs;
use crate::error::Error;
use crate::identity::{Entry, Sha256};
use crate::names::{DocumentName, FileName, OperationName, SessionUrl, StoreName};

/// Rows read at once: enough to keep the workers fed between two reads, small in memory.
pub const PAGE_ROWS: usize = 256;

/// One upload with all that a worker needs of its file.
#[derive(Debug, Clone)]
pub struct Job {
    pub upload: UploadId,
    pub file: i64,
    pub root: PathBuf,
    /// Relative, as on disk.
    pub path: String,
    pub path_value: String,
    pub mime: String,
    pub metadata: Vec<Entry>,
    pub size_bytes: u64,
    pub sha256: Sha256,
    /// The file is there and has this content, as far as the last scan knows.
    pub current: bool,
    pub state: UploadState,
    pub attempts: u32,
    pub queued: i64,
    pub session: Option<Durable<SessionUrl>>,
    pub operation: Option<Durable<OperationName>>,
    pub document: Option<DocumentName>,
    /// The way the attempt under way takes.
    pub method: Method,
    /// How often the direct way failed with its known fault.
    pub direct_faults: u32,
    /// An import may have been sent.
    pub importing: bool,
    pub temporary: Option<FileName>,
}

/// A file that a document may belong to.
#[derive(Debug, Clone)]
pub struct FileLike {
    pub file: i64,
    pub path: String,
    pub size_bytes: u64,
    /// The file is there with the document's content.
    pub current: bool,
    /// Of its row for the document's content.
    pub state: Option<UploadState>,
    pub document: Option<DocumentName>,
}

/// What is known of a file, for the next scan.
#[derive(Debug, Clone)]
pub struct FileRecord {
    pub id: i64,
    pub size_bytes: u64,
    pub mtime_ns: i64,
    pub hashed_ms: UnixMs,
    pub sha256: Sha256,
    pub present: bool,
}

/// A store's pin.
#[derive(Debug, Clone)]
pub struct StoreRow {
    pub id: i64,
    pub endpoint: String,
    pub display_name: String,
    pub name: StoreName,
}

pub struct Reader {
    pub(super) conn: Connection,
    path: PathBuf,
}

const JOB: &str = "SELECT u.id, u.file_id, l.root, f.path, f.path_value, coalesce(u.mime, f.mime),
     f.metadata, u.size_bytes, u.sha256, u.current, u.status, u.attempts, u.queued,
     u.session_url, u.operation, u.document, u.method, u.direct_faults, u.importing, u.temp_file
     FROM uploads u JOIN files f ON f.id = u.file_id JOIN libraries l ON l.id = f.library_id";

impl Reader {
    pub fn open(path: &Path) -> Result<Reader, Error> {
        Ok(Reader {
            conn: open::reading(path)?,
            path: path.to_owned(),
        })
    }

    /// Pending rows with a place in the queue after `after` and up to `last`.
    pub fn pending(&self, store: i64, after: i64, last: i64) -> Result<Vec<Job>, Error> {
        self.jobs(
            "WHERE u.store_id = ?1 AND u.status = 'pending' AND u.current = 1 AND u.queued > ?2
             AND u.queued <= ?3 ORDER BY u.queued",
            params![store, after, last],
        )
    }

    /// Rows that an earlier run left on the way, by id.
    pub fn unfinished(&self, store: i64, after: UploadId) -> Result<Vec<Job>, Error> {
        self.jobs(
            "WHERE u.store_id = ?1 AND u.status IN ('uploading', 'processing') AND u.id > ?2
             ORDER BY u.id",
            params![store, after.0],
        )
    }

    /// Rows on the way whose identity a document in the store carries.
    pub fn unfinished_like(
        &self,
        store: i64,
        path_value: &str,
        sha256: &Sha256,
    ) -> Result<Vec<Job>, Error> {
        self.jobs(
            "WHERE u.sha256 = ?3 AND u.status IN ('uploading', 'processing')
             AND u.store_id = ?1 AND f.path_value = ?2 ORDER BY u.id",
            params![store, path_value, sha256.as_bytes()],
        )
    }

    /// The row that claims a document.
    pub fn claimant(&self, document: &DocumentName) -> Result<Option<Job>, Error> {
        let rows = self.jobs("WHERE u.document = ?1", params![document.as_str()])?;
        Ok(rows.into_iter().next())
    }

    /// Files with this identity's path, those with the content first; of each the row for the content in
    /// this store, unless it has ended.
    pub fn files_like(
        &self,
        store: i64,
        path_value: &str,
        sha256: &Sha256,
    ) -> Result<Vec<FileLike>, Error> {
        self.many(
            "SELECT f.id, f.path, f.size_bytes, f.sha256 = ?3 AND f.state = 'present', u.status,
                 u.document
             FROM files f LEFT JOIN uploads u ON u.file_id = f.id AND u.store_id = ?1
                 AND u.sha256 = ?3 AND u.status NOT IN ('superseded', 'retired')
             WHERE f.path_value = ?2 ORDER BY 4 DESC, f.id LIMIT 100",
            params![store, path_value, sha256.as_bytes()],
            |r| {
                let state: Option<String> = r.get(4)?;
                Ok(FileLike {
                    file: r.get(0)?,
                    path: r.get(1)?,
                    size_bytes: count(r, 2)?,
                    current: r.get(3)?,
                    state: state.as_deref().and_then(UploadState::parse),
                    document: r.get::<_, Option<String>>(5)?.map(DocumentName::new),
                })
            },
        )
    }

    /// Rows that say `indexed`, by id.
    pub fn indexed(&self, store: i64, after: UploadId) -> Result<Vec<Job>, Error> {
        self.jobs(
            "WHERE u.store_id = ?1 AND u.status = 'indexed' AND u.id > ?2 ORDER BY u.id",
            params![store, after.0],
        )
    }

    /// Rows with a document that newer, already indexed content of the same file replaces.
    pub fn replaced(&self, store: i64, after: UploadId) -> Result<Vec<Job>, Error> {
        self.jobs(
            "WHERE u.store_id = ?1 AND u.current = 0 AND u.status = 'indexed' AND u.id > ?2
             AND EXISTS (SELECT 1 FROM uploads n WHERE n.file_id = u.file_id
                 AND n.store_id = u.store_id AND n.current = 1 AND n.status = 'indexed')
             ORDER BY u.id",
            params![store, after.0],
        )
    }

    /// Rows with something at the service that nothing needs any more: a temporary file, or what a
    /// failed attempt made.
    pub fn leftovers(&self, store: i64, after: UploadId) -> Result<Vec<Job>, Error> {
        self.jobs(
            "WHERE u.store_id = ?1 AND u.id > ?2 AND (u.temp_file IS NOT NULL
                 OR (u.document IS NOT NULL AND u.status IN ('pending', 'failed')))
             AND u.status NOT IN ('uploading', 'processing')
             AND NOT (u.status = 'pending' AND u.current = 1) ORDER BY u.id",
            params![store, after.0],
        )
    }

    pub fn last_queued(&self, store: i64) -> Result<i64, Error> {
        self.one(
            "SELECT coalesce(max(queued), 0) FROM uploads WHERE store_id = ?1 AND status = 'pending'",
            params![store],
            |r| r.get(0),
        )
    }

    /// Number and bytes of the uploads in one state.
    pub fn in_state(&self, store: i64, state: UploadState) -> Result<(u64, u64), Error> {
        self.one(
            "SELECT count(*), coalesce(sum(size_bytes), 0) FROM uploads
             WHERE store_id = ?1 AND status = ?2 AND (current = 1 OR status != 'pending')",
            params![store, state.as_str()],
            |r| Ok((count(r, 0)?, count(r, 1)?)),
        )
    }

    /// Whether some upload claims this document.
    pub fn is_claimed(&self, document: &DocumentName) -> Result<bool, Error> {
        self.conn
            .prepare_cached("SELECT 1 FROM uploads WHERE document = ?1")
            .and_then(|mut s| s.exists([document.as_str()]))
            .map_err(|e| self.error(&e))
    }

    pub fn library(&self, root: &str) -> Result<Option<i64>, Error> {
        self.maybe(
            "SELECT id FROM libraries WHERE root = ?1",
            params![root],
            |r| r.get(0),
        )
    }

    /// One read transaction from here to the next call: the database is seen as it is now.
    pub fn renew(&self) -> Result<(), Error> {
        let sql = match self.conn.is_autocommit() {
            true => "BEGIN",
            false => "COMMIT; BEGIN",
        };
        self.conn.execute_batch(sql).map_err(|e| self.error(&e))
    }

    pub fn file(&self, library: i64, path: &str) -> Result<Option<FileRecord>, Error> {
        self.maybe(
            "SELECT id, size_bytes, mtime_ns, hashed_ms, sha256, state FROM files
             WHERE library_id = ?1 AND path = ?2",
            params![library, path],
            |r| {
                Ok(FileRecord {
                    id: r.get(0)?,
                    size_bytes: count(r, 1)?,
                    mtime_ns: r.get(2)?,
                    hashed_ms: r.get(3)?,
                    sha256: sha256(r, 4)?,
                    present: r.get::<_, String>(5)? == "present",
                })
            },
        )
    }

    /// Present files of a library, and the highest id of any file.
    pub fn extent(&self, library: i64) -> Result<(u64, i64), Error> {
        self.one(
            "SELECT count(*), (SELECT coalesce(max(id), 0) FROM files) FROM files
             WHERE library_id = ?1 AND state = 'present'",
            params![library],
            |r| Ok((count(r, 0)?, r.get(1)?)),
        )
    }

    /// Calls `each` for every present file of a library.
    pub fn each_present(&self, library: i64, each: &mut dyn FnMut(i64, &str)) -> Result<(), Error> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.conn.prepare_cached(
                "SELECT id, path FROM files WHERE library_id = ?1 AND state = 'present'",
            )?;
            let mut rows = statement.query([library])?;
            while let Some(row) = rows.next()? {
                each(row.get(0)?, row.get_ref(1)?.as_str()?);
            }
            Ok(())
        };
        read().map_err(|e| self.error(&e))
    }

    pub fn store(&self, endpoint: &str, display_name: &str) -> Result<Option<StoreRow>, Error> {
        self.maybe(
            "SELECT id, endpoint, display_name, name FROM stores
             WHERE endpoint = ?1 AND display_name = ?2",
            params![endpoint, display_name],
            store_row,
        )
    }

    /// The store of that name that a run used last, wherever it is.
    pub fn store_used_last(&self, display_name: &str) -> Result<Option<StoreRow>, Error> {
        self.maybe(
            "SELECT s.id, endpoint, display_name, name FROM stores s
             LEFT JOIN runs r ON r.store_id = s.id WHERE display_name = ?1
             ORDER BY r.id DESC LIMIT 1",
            params![display_name],
            store_row,
        )
    }

    /// The rate that was found for a class of requests, and when.
    pub fn rate(&self, endpoint: &str, class: &str) -> Result<Option<(f64, UnixMs)>, Error> {
        self.maybe(
            "SELECT per_minute, found_ms FROM rates WHERE endpoint = ?1 AND class = ?2",
            params![endpoint, class],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )
    }

    fn jobs(&self, rest: &str, params: impl rusqlite::Params) -> Result<Vec<Job>, Error> {
        self.many(&format!("{JOB} {rest} LIMIT {PAGE_ROWS}"), params, job)
    }

    pub(super) fn many<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let rows = || -> rusqlite::Result<Vec<T>> {
            self.conn
                .prepare_cached(sql)?
                .query_map(params, read)?
                .collect()
        };
        rows().map_err(|e| self.error(&e))
    }

    pub(super) fn one<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row(params, read))
            .map_err(|e| self.error(&e))
    }

    pub(super) fn maybe<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row(params, read).optional())
            .map_err(|e| self.error(&e))
    }

    pub(super) fn error(&self, e: &rusqlite::Error) -> Error {
        open::error(&self.path, e)
    }
}

fn store_row(r: &Row<'_>) -> rusqlite::Result<StoreRow> {
    Ok(StoreRow {
        id: r.get(0)?,
        endpoint: r.get(1)?,
        display_name: r.get(2)?,
        name: StoreName::new(r.get::<_, String>(3)?),
    })
}

fn job(r: &Row<'_>) -> rusqlite::Result<Job> {
    let text = |i| r.get::<_, Option<String>>(i);
    let damaged = |i, e: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(i, rusqlite::types::Type::Text, e)
    };
    let metadata =
        serde_json::from_str(r.get_ref(6)?.as_str()?).map_err(|e| damaged(6, Box::new(e)))?;
    let state = UploadState::parse(r.get_ref(10)?.as_str()?)
        .ok_or_else(|| damaged(10, "unknown status".into()))?;
    Ok(Job {
        upload: UploadId(r.get(0)?),
        file: r.get(1)?,
        root: PathBuf::from(r.get::<_, String>(2)?),
        path: r.get(3)?,
        path_value: r.get(4)?,
        mime: r.get(5)?,
        metadata,
        size_bytes: count(r, 7)?,
        sha256: sha256(r, 8)?,
        current: r.get(9)?,
        state,
        attempts: r.get(11)?,
        queued: r.get(12)?,
        session: text(13)?.map(|url| Durable::committed(SessionUrl::new(url))),
        operation: text(14)?.map(|name| Durable::committed(OperationName::new(name))),
        document: text(15)?.map(DocumentName::new),
        method: Method::parse(r.get_ref(16)?.as_str()?)
            .ok_or_else(|| damaged(16, "unknown method".into()))?,
        direct_faults: r.get(17)?,
        importing: r.get(18)?,
        temporary: text(19)?.map(FileName::new),
    })
}

/// A column that is never negative.
pub(super) fn count(r: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = r.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

fn sha256(r: &Row<'_>, column: usize) -> rusqlite::Result<Sha256> {
    Sha256::from_slice(r.get_ref(column)?.as_blob()?).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Blob,
            "not a SHA-256".into(),
        )
    })
}
