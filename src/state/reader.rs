//! The reader: pages of rows over a connection that cannot write.
//!
//! Promises: never more than a page in memory, whatever the size of the library.

use std::path::{Component, Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::durable::{Durable, UploadId};
use super::open;
use super::upload_state::{Method, UploadState};
use super::{LAST_PLACE, SAME_CONTENT};
use crate::clock::UnixMs;
use crate::error::Error;
use crate::identity::{ContentKey, Entry, Identity, Sha256, Variant};
use crate::names::{DocumentName, FileName, OperationName, SessionUrl, StoreName};

/// Rows read at once: enough to keep the workers fed between two reads, small in memory.
pub const PAGE_ROWS: usize = 256;

/// One upload with all that a worker needs of its file.
#[derive(Debug, Clone)]
pub struct Job {
    pub upload: UploadId,
    pub file: i64,
    pub library: i64,
    pub library_name: String,
    pub root: PathBuf,
    /// Relative, as on disk.
    pub path: String,
    pub path_value: String,
    pub mime: String,
    pub metadata: Vec<Entry>,
    pub size_bytes: u64,
    pub content: ContentKey,
    /// The file is there and has this content, as far as the last scan knows.
    pub current: bool,
    pub state: UploadState,
    pub attempts: u32,
    pub queued: i64,
    /// In this state.
    pub since_ms: UnixMs,
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

/// A folder under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryRow {
    pub id: i64,
    pub name: String,
    pub root: PathBuf,
    /// A scan of it has come to its end.
    pub scanned_ms: Option<UnixMs>,
}

/// A store's pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRow {
    pub id: i64,
    /// Canonical, or `emulator`.
    pub endpoint: String,
    pub display_name: String,
    pub name: StoreName,
    /// It was found, or made, by its display name.
    pub by_display_name: bool,
}

/// An upload and its place in the queue.
#[derive(Debug, Clone, Copy)]
pub struct Queued<'r> {
    pub upload: UploadId,
    pub library: i64,
    pub path: &'r str,
    pub bytes: u64,
    pub place: i64,
}

/// Some libraries, as statements take them.
#[derive(Debug, Clone)]
pub struct Libraries(String);

impl FromIterator<i64> for Libraries {
    fn from_iter<I: IntoIterator<Item = i64>>(ids: I) -> Libraries {
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        Libraries(format!("[{}]", ids.join(",")))
    }
}

impl rusqlite::ToSql for Libraries {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

pub struct Reader {
    pub(super) conn: Connection,
    path: PathBuf,
}

const JOB: &str = "SELECT u.id, u.file_id, l.root, f.path, f.path_value, coalesce(u.mime, f.mime),
     f.metadata, u.size_bytes, u.sha256, u.current, u.status, u.attempts, u.queued,
     u.session_url, u.operation, u.document, u.method, u.direct_faults, u.importing, u.temp_file,
     u.variant, l.id, l.name, u.since_ms
     FROM uploads u JOIN files f ON f.id = u.file_id JOIN libraries l ON l.id = f.library_id";

const LIBRARY: &str = "SELECT id, name, root, scanned_ms FROM libraries";
const STORE: &str = "SELECT id, endpoint, display_name, name, by_display_name FROM stores";

impl Reader {
    pub fn open(path: &Path) -> Result<Reader, Error> {
        Ok(Reader {
            conn: open::reading(path)?,
            path: path.to_owned(),
        })
    }

    /// A database that holds nothing, in memory: for a dry run where there is none yet.
    pub fn of_nothing() -> Result<Reader, Error> {
        Ok(Reader {
            conn: open::nothing()?,
            path: PathBuf::from("memory"),
        })
    }

    /// Pending rows of these libraries with a place in the queue after `after` and up to `last`. A file
    /// whose library is not linked with the store is not among them, whatever the rows say.
    pub fn pending(
        &self,
        store: i64,
        libraries: &Libraries,
        after: i64,
        last: i64,
    ) -> Result<Vec<Job>, Error> {
        self.jobs(
            "JOIN library_stores s ON s.library_id = f.library_id AND s.store_id = u.store_id
             WHERE u.store_id = ?1 AND u.status = 'pending' AND u.current = 1 AND u.queued > ?2
             AND u.queued <= ?3 AND f.library_id IN (SELECT value FROM json_each(?4))
             ORDER BY u.queued",
            params![store, after, last, libraries],
        )
    }

    /// Calls `each` with every current upload in this state of these libraries that has a place behind
    /// `after` in the queue.
    pub fn each_in_state(
        &self,
        store: i64,
        libraries: &Libraries,
        (state, after): (UploadState, i64),
        each: &mut dyn FnMut(Queued<'_>),
    ) -> Result<(), Error> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.conn.prepare_cached(
                "SELECT u.id, u.library_id, f.path, u.size_bytes, u.queued
                 FROM uploads u JOIN files f ON f.id = u.file_id
                 WHERE u.store_id = ?1 AND u.library_id IN (SELECT value FROM json_each(?2))
                 AND u.status = ?3 AND u.current = 1 AND u.queued > ?4",
            )?;
            let mut rows = statement.query(params![store, libraries, state.as_str(), after])?;
            while let Some(r) = rows.next()? {
                each(Queued {
                    upload: UploadId(r.get(0)?),
                    library: r.get(1)?,
                    path: r.get_ref(2)?.as_str()?,
                    bytes: count(r, 3)?,
                    place: r.get(4)?,
                });
            }
            Ok(())
        };
        read().map_err(|e| self.error(&e))
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
    pub fn unfinished_like(&self, store: i64, identity: &Identity) -> Result<Vec<Job>, Error> {
        let ContentKey { sha256, variant } = &identity.content;
        self.jobs(
            "WHERE u.sha256 = ?3 AND u.variant = ?4 AND u.status IN ('uploading', 'processing')
             AND u.store_id = ?1 AND f.path_value = ?2 ORDER BY u.id",
            params![store, identity.path, sha256.as_bytes(), variant.as_bytes()],
        )
    }

    /// The row that claims a document.
    pub fn claimant(&self, document: &DocumentName) -> Result<Option<Job>, Error> {
        let rows = self.jobs("WHERE u.document = ?1", params![document.as_str()])?;
        Ok(rows.into_iter().next())
    }

    /// The files of its library that have this identity's path, one with the content first; of each the
    /// row for the content in this store, unless it has ended.
    pub fn files_like(&self, store: i64, identity: &Identity) -> Result<Vec<FileLike>, Error> {
        let ContentKey { sha256, variant } = &identity.content;
        self.many(
            "SELECT f.id, f.path, f.size_bytes,
                 f.sha256 = ?3 AND f.variant = ?4 AND f.state = 'present', u.status, u.document
             FROM files f JOIN libraries l ON l.id = f.library_id
             LEFT JOIN uploads u ON u.file_id = f.id AND u.store_id = ?1 AND u.sha256 = ?3
                 AND u.variant = ?4 AND u.status NOT IN ('superseded', 'retired')
             WHERE f.path_value = ?2 AND l.name = ?5 ORDER BY 4 DESC, f.id LIMIT 100",
            params![
                store,
                identity.path,
                sha256.as_bytes(),
                variant.as_bytes(),
                identity.library
            ],
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
        self.one(LAST_PLACE, params![store], |r| r.get(0))
    }

    /// Uploads of these libraries that have begun and not ended, of content that is not current any more.
    pub fn outdated_on_the_way(&self, store: i64, libraries: &Libraries) -> Result<u64, Error> {
        self.one(
            "SELECT count(*) FROM uploads WHERE store_id = ?1 AND current = 0
             AND library_id IN (SELECT value FROM json_each(?2))
             AND status IN ('uploading', 'processing')",
            params![store, libraries],
            |r| count(r, 0),
        )
    }

    /// Number and bytes of what an earlier run left on the way into a store.
    pub fn on_the_way(&self, store: i64) -> Result<(u64, u64), Error> {
        self.one(
            "SELECT count(*), coalesce(sum(size_bytes), 0) FROM uploads
             WHERE store_id = ?1 AND status IN ('uploading', 'processing')",
            params![store],
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

    /// Every library, by name.
    pub fn libraries(&self) -> Result<Vec<LibraryRow>, Error> {
        self.many(&format!("{LIBRARY} ORDER BY name"), [], library_row)
    }

    pub fn library_named(&self, name: &str) -> Result<Option<LibraryRow>, Error> {
        self.maybe(&format!("{LIBRARY} WHERE name = ?1"), [name], library_row)
    }

    pub fn library_at(&self, root: &str) -> Result<Option<LibraryRow>, Error> {
        self.maybe(&format!("{LIBRARY} WHERE root = ?1"), [root], library_row)
    }

    /// Libraries that go into a store.
    pub fn linked(&self, store: i64) -> Result<Vec<LibraryRow>, Error> {
        self.many(
            &format!(
                "{LIBRARY} JOIN library_stores ON library_id = id WHERE store_id = ?1 ORDER BY name"
            ),
            [store],
            library_row,
        )
    }

    /// Libraries that go nowhere yet.
    pub fn never_sent(&self) -> Result<Vec<LibraryRow>, Error> {
        self.many(
            &format!(
                "{LIBRARY} WHERE NOT EXISTS (SELECT 1 FROM library_stores WHERE library_id = id)
                 ORDER BY name"
            ),
            [],
            library_row,
        )
    }

    /// Stores that a library goes into.
    pub fn stores_of(&self, library: i64) -> Result<Vec<StoreRow>, Error> {
        self.many(
            &format!(
                "{STORE} JOIN library_stores ON store_id = id WHERE library_id = ?1
                 ORDER BY display_name, name"
            ),
            [library],
            store_row,
        )
    }

    /// Those of these libraries that are linked with a store and of whose files none is queued yet.
    pub fn not_begun_to_queue(&self, store: i64, libraries: &Libraries) -> Result<Vec<i64>, Error> {
        self.many(
            "SELECT library_id FROM library_stores WHERE store_id = ?1 AND queued_to = ''
             AND library_id IN (SELECT value FROM json_each(?2))",
            params![store, libraries],
            |r| r.get(0),
        )
    }

    /// Those of these libraries that are linked with a store and whose files are not all queued yet.
    pub fn to_queue(&self, store: i64, libraries: &Libraries) -> Result<Vec<i64>, Error> {
        self.many(
            "SELECT library_id FROM library_stores WHERE store_id = ?1 AND queued_to IS NOT NULL
             AND library_id IN (SELECT value FROM json_each(?2))",
            params![store, libraries],
            |r| r.get(0),
        )
    }

    /// Whether a library has present files below a folder of it (relative, without a slash at its end).
    pub fn holds_below(&self, library: i64, folder: &str) -> Result<bool, Error> {
        // A slash is followed by a zero: whatever begins with the folder and a slash lies in between.
        self.maybe(
            "SELECT 1 FROM files WHERE library_id = ?1 AND path > ?2 || '/' AND path < ?2 || '0'
             AND state = 'present' LIMIT 1",
            params![library, folder],
            |_| Ok(()),
        )
        .map(|found| found.is_some())
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

    /// Calls `each` with path and size of every present file of a library.
    pub fn each_present_size(
        &self,
        library: i64,
        each: &mut dyn FnMut(&str, u64),
    ) -> Result<(), Error> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.conn.prepare_cached(
                "SELECT path, size_bytes FROM files WHERE library_id = ?1 AND state = 'present'",
            )?;
            let mut rows = statement.query([library])?;
            while let Some(row) = rows.next()? {
                each(row.get_ref(0)?.as_str()?, count(row, 1)?);
            }
            Ok(())
        };
        read().map_err(|e| self.error(&e))
    }

    /// What is known of a file as a dry run found it: its type, if the database knows it, and whether this
    /// content of it has been sent into the store, or has failed there.
    pub fn settled(
        &self,
        library: i64,
        path: &str,
        content: &ContentKey,
        store: Option<i64>,
    ) -> Result<(Option<String>, bool), Error> {
        let found = self.maybe(
            "SELECT f.mime, EXISTS (SELECT 1 FROM uploads u WHERE u.file_id = f.id
                 AND u.store_id = ?5 AND u.sha256 = ?3 AND u.variant = ?4
                 AND u.status IN ('uploading', 'processing', 'indexed', 'failed'))
             FROM files f WHERE f.library_id = ?1 AND f.path = ?2",
            params![
                library,
                path,
                content.sha256.as_bytes(),
                content.variant.as_bytes(),
                store
            ],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )?;
        Ok(found.map_or((None, false), |(mime, settled)| (Some(mime), settled)))
    }

    /// Calls `each` with library, path, type and size of every present file that the store has not got, and
    /// for which nothing is under way there.
    pub fn each_unsettled(
        &self,
        store: Option<i64>,
        libraries: &Libraries,
        each: &mut dyn FnMut(i64, &str, &str, u64),
    ) -> Result<(), Error> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.conn.prepare_cached(&format!(
                "SELECT f.library_id, f.path, f.mime, f.size_bytes FROM files f
                 WHERE f.library_id IN (SELECT value FROM json_each(?2)) AND f.state = 'present'
                 AND NOT EXISTS (SELECT 1 FROM uploads u WHERE {SAME_CONTENT} AND u.store_id = ?1
                     AND u.status != 'pending') ORDER BY f.library_id, f.path"
            ))?;
            let mut rows = statement.query(params![store, libraries])?;
            while let Some(r) = rows.next()? {
                let (path, mime) = (r.get_ref(1)?.as_str()?, r.get_ref(2)?.as_str()?);
                each(r.get(0)?, path, mime, count(r, 3)?);
            }
            Ok(())
        };
        read().map_err(|e| self.error(&e))
    }

    pub fn store_named(&self, name: &StoreName) -> Result<Option<StoreRow>, Error> {
        self.maybe(
            &format!("{STORE} WHERE name = ?1"),
            [name.as_str()],
            store_row,
        )
    }

    /// The store that was found, or made, by its display name at a service.
    pub fn store_pinned(
        &self,
        endpoint: &str,
        display_name: &str,
    ) -> Result<Option<StoreRow>, Error> {
        self.maybe(
            &format!(
                "{STORE} WHERE endpoint = ?1 AND display_name = ?2 AND by_display_name = 1
                 ORDER BY pinned_ms DESC, id DESC LIMIT 1"
            ),
            [endpoint, display_name],
            store_row,
        )
    }

    /// Of the stores of a display name, or of this resource name, the one that a run used last, wherever
    /// it is.
    pub fn store_used_last(&self, name: &str) -> Result<Option<StoreRow>, Error> {
        self.maybe(
            "SELECT s.id, endpoint, display_name, name, by_display_name FROM stores s
             LEFT JOIN runs r ON r.store_id = s.id WHERE display_name = ?1 OR name = ?1
             ORDER BY r.id DESC, s.id DESC LIMIT 1",
            params![name],
            store_row,
        )
    }

    /// Every store, the last pinned first.
    pub fn stores(&self) -> Result<Vec<StoreRow>, Error> {
        self.many(&format!("{STORE} ORDER BY pinned_ms DESC"), [], store_row)
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

fn library_row(r: &Row<'_>) -> rusqlite::Result<LibraryRow> {
    Ok(LibraryRow {
        id: r.get(0)?,
        name: r.get(1)?,
        root: PathBuf::from(r.get::<_, String>(2)?),
        scanned_ms: r.get(3)?,
    })
}

fn store_row(r: &Row<'_>) -> rusqlite::Result<StoreRow> {
    Ok(StoreRow {
        id: r.get(0)?,
        endpoint: r.get(1)?,
        display_name: r.get(2)?,
        name: StoreName::new(r.get::<_, String>(3)?),
        by_display_name: r.get(4)?,
    })
}

fn job(r: &Row<'_>) -> rusqlite::Result<Job> {
    let text = |i| r.get::<_, Option<String>>(i);
    let damaged = |i, e: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(i, rusqlite::types::Type::Text, e)
    };
    let path: String = r.get(3)?;
    // No scan has ever found such a path, and it would lead out of the folder.
    let normal = |c: Component<'_>| matches!(c, Component::Normal(_));
    if !Path::new(&path).components().all(normal) {
        return Err(damaged(3, "a path that leads out of its folder".into()));
    }
    let metadata =
        serde_json::from_str(r.get_ref(6)?.as_str()?).map_err(|e| damaged(6, Box::new(e)))?;
    let variant = Variant::from_slice(r.get_ref(20)?.as_blob()?)
        .ok_or_else(|| damaged(20, "not a variant".into()))?;
    let state = UploadState::parse(r.get_ref(10)?.as_str()?)
        .ok_or_else(|| damaged(10, "unknown status".into()))?;
    Ok(Job {
        upload: UploadId(r.get(0)?),
        file: r.get(1)?,
        library: r.get(21)?,
        library_name: r.get(22)?,
        root: PathBuf::from(r.get::<_, String>(2)?),
        path,
        path_value: r.get(4)?,
        mime: r.get(5)?,
        metadata,
        size_bytes: count(r, 7)?,
        content: ContentKey {
            sha256: sha256(r, 8)?,
            variant,
        },
        current: r.get(9)?,
        state,
        attempts: r.get(11)?,
        queued: r.get(12)?,
        since_ms: r.get(23)?,
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
