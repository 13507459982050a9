//! Uploads, with all that a worker needs of their files.
//!
//! Promises: each list comes by pages, and a page reads only the rows that it hands on.

use std::path::{Component, Path, PathBuf};

use rusqlite::{Params, Row, params};

use super::{Libraries, PAGE, Reader, count, sha256, variant};
use crate::clock::UnixMs;
use crate::error::Error;
use crate::identity::{ContentKey, Identity, MetadataEntry};
use crate::names::{DocumentName, FileName, OperationName, SessionUrl};
use crate::state::LAST_QUEUED;
use crate::state::durable::{Durable, UploadId};
use crate::state::statement::{Statement, statements};
use crate::state::upload_state::{Method, UploadState};

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
    pub metadata: Vec<MetadataEntry>,
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
    /// A request may have been sent that cannot be asked about.
    pub unaskable: bool,
    pub temporary: Option<FileName>,
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

const JOB: &str = "SELECT u.id, u.file_id, l.root, f.path, f.path_value, coalesce(u.mime, f.mime),
     f.metadata, u.size_bytes, u.sha256, u.current, u.status, u.attempts, u.queued,
     u.session_url, u.operation, u.document, u.method, u.direct_faults, u.unaskable, u.temp_file,
     u.variant, l.id, l.name, u.since_ms FROM uploads u";
const OF_FILE: &str = "JOIN files f ON f.id = u.file_id JOIN libraries l ON l.id = f.library_id";

// Where an index is named, SQLite would take another one that fits as many columns, and does not know that
// this one finds fewer rows: it has no statistics of a database that is growing.
statements! {
    PENDING: Page => JOB, OF_FILE,
        "JOIN library_stores s ON s.library_id = f.library_id AND s.store_id = u.store_id
         WHERE u.store_id = ?1 AND u.status = 'pending' AND u.current = 1 AND u.queued > ?2
         AND u.queued <= ?3 AND f.library_id IN (SELECT value FROM rarray(?4))
         ORDER BY u.queued", PAGE;
    UNFINISHED: Page => JOB, OF_FILE,
        "WHERE u.store_id = ?1 AND u.status IN ('uploading', 'processing') AND u.id > ?2
         ORDER BY u.id", PAGE;
    UNFINISHED_LIKE: Single => JOB, "INDEXED BY uploads_in_doubt", OF_FILE,
        "WHERE u.sha256 = ?3 AND u.variant = ?4 AND u.status IN ('uploading', 'processing')
         AND u.store_id = ?1 AND f.path_value = ?2 ORDER BY u.id", PAGE;
    CLAIMANT: Single => JOB, OF_FILE, "WHERE u.document = ?1";
    IS_CLAIMED: Single => "SELECT 1 FROM uploads WHERE document = ?1";
    IS_DELETED: Single =>
        "SELECT 1 FROM uploads WHERE document = ?1 AND status IN ('superseded', 'retired')";
    INDEXED: Page => JOB, OF_FILE,
        "WHERE u.store_id = ?1 AND u.status = 'indexed' AND u.id > ?2 ORDER BY u.id", PAGE;
    UNWANTED: Page => JOB, "INDEXED BY uploads_unwanted", OF_FILE,
        "WHERE u.store_id = ?1 AND u.unwanted = 1 AND u.status = 'indexed' AND u.id > ?2
         ORDER BY u.id", PAGE;
    LEFTOVERS: Page => JOB, OF_FILE,
        "WHERE u.store_id = ?1 AND u.id > ?2 AND (u.temp_file IS NOT NULL
             OR (u.document IS NOT NULL AND u.status IN ('pending', 'failed')))
         AND u.status NOT IN ('uploading', 'processing')
         AND NOT (u.status = 'pending' AND u.current = 1) ORDER BY u.id", PAGE;
    LAST_PLACE: Page => LAST_QUEUED;
    OUTDATED_ON_THE_WAY: All("of the few that are on their way, which make up its index") =>
        "SELECT count(*) FROM uploads INDEXED BY uploads_unfinished
         WHERE store_id = ?1 AND current = 0
         AND library_id IN (SELECT value FROM rarray(?2))
         AND status IN ('uploading', 'processing')";
    ON_THE_WAY: All("of the few that are on their way, which make up its index") =>
        "SELECT count(*), coalesce(sum(size_bytes), 0) FROM uploads INDEXED BY uploads_unfinished
         WHERE store_id = ?1 AND status IN ('uploading', 'processing')";
    EACH_IN_STATE: All("what filters of one call select is known by looking at each path") =>
        "SELECT u.id, u.library_id, f.path, u.size_bytes, u.queued
         FROM uploads u JOIN files f ON f.id = u.file_id
         WHERE u.store_id = ?1 AND u.library_id IN (SELECT value FROM rarray(?2))
         AND u.status = ?3 AND u.current = 1 AND u.queued > ?4";
    EACH_UNQUEUED: All("what filters of one call select is known by looking at each path") =>
        "SELECT f.library_id, f.path, f.size_bytes FROM files f
         JOIN library_stores s ON s.library_id = f.library_id AND s.store_id = ?1
         WHERE s.queued_to IS NOT NULL AND f.state = 'present'
         AND f.library_id IN (SELECT value FROM rarray(?2))
         AND NOT EXISTS (SELECT 1 FROM uploads u WHERE u.file_id = f.id AND u.store_id = ?1
             AND u.current = 1 AND u.status NOT IN ('superseded', 'retired'))";
}

impl Reader {
    /// Pending rows of these libraries with a place in the queue after `after` and up to `last`. A file
    /// whose library is not linked with the store is not among them, whatever the rows say.
    pub fn pending(
        &self,
        store: i64,
        libraries: &Libraries,
        after: i64,
        last: i64,
    ) -> Result<Vec<Job>, Error> {
        self.jobs(&PENDING, params![store, after, last, libraries])
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
        let take = |r: &Row<'_>| {
            each(Queued {
                upload: UploadId(r.get(0)?),
                library: r.get(1)?,
                path: r.get_ref(2)?.as_str()?,
                bytes: count(r, 3)?,
                place: r.get(4)?,
            });
            Ok(())
        };
        let params = params![store, libraries, state.as_str(), after];
        self.checked(EACH_IN_STATE.each(&self.conn, params, take))
    }

    /// Calls `each` with library, path and size of every present file that is still to be queued for a store.
    pub fn each_unqueued(
        &self,
        store: i64,
        libraries: &Libraries,
        each: &mut dyn FnMut(i64, &str, u64),
    ) -> Result<(), Error> {
        let take = |r: &Row<'_>| {
            each(r.get(0)?, r.get_ref(1)?.as_str()?, count(r, 2)?);
            Ok(())
        };
        self.checked(EACH_UNQUEUED.each(&self.conn, params![store, libraries], take))
    }

    /// Rows that an earlier run left on the way, by id.
    pub fn unfinished(&self, store: i64, after: UploadId) -> Result<Vec<Job>, Error> {
        self.jobs(&UNFINISHED, params![store, after.0])
    }

    /// Rows on the way whose identity a document in the store carries.
    pub fn unfinished_like(&self, store: i64, identity: &Identity) -> Result<Vec<Job>, Error> {
        let ContentKey { sha256, variant } = &identity.content;
        self.jobs(
            &UNFINISHED_LIKE,
            params![store, identity.path, sha256.as_bytes(), variant.as_bytes()],
        )
    }

    /// The row that claims a document.
    pub fn claimant(&self, document: &DocumentName) -> Result<Option<Job>, Error> {
        self.checked(CLAIMANT.first(&self.conn, [document.as_str()], job))
    }

    /// Whether some upload claims this document.
    pub fn is_claimed(&self, document: &DocumentName) -> Result<bool, Error> {
        let found = IS_CLAIMED.first(&self.conn, [document.as_str()], |_| Ok(()));
        self.checked(found).map(|found| found.is_some())
    }

    /// Whether it is an upload's that has ended: its deletion was confirmed.
    pub fn is_deleted(&self, document: &DocumentName) -> Result<bool, Error> {
        let found = IS_DELETED.first(&self.conn, [document.as_str()], |_| Ok(()));
        self.checked(found).map(|found| found.is_some())
    }

    /// Rows that say `indexed`, by id.
    pub fn indexed(&self, store: i64, after: UploadId) -> Result<Vec<Job>, Error> {
        self.jobs(&INDEXED, params![store, after.0])
    }

    /// Rows whose document is to be deleted: it was replaced, or purged.
    pub fn unwanted(&self, store: i64, after: UploadId) -> Result<Vec<Job>, Error> {
        self.jobs(&UNWANTED, params![store, after.0])
    }

    /// Rows with something at the service that nothing needs any more: a temporary file, or what a
    /// failed attempt made.
    pub fn leftovers(&self, store: i64, after: UploadId) -> Result<Vec<Job>, Error> {
        self.jobs(&LEFTOVERS, params![store, after.0])
    }

    /// The last place in the queue that was ever taken by a row which is still there.
    pub fn last_queued(&self, store: i64) -> Result<i64, Error> {
        self.checked(LAST_PLACE.one(&self.conn, [store], |r| r.get(0)))
    }

    /// Uploads of these libraries that have begun and not ended, of content that is not current any more.
    pub fn outdated_on_the_way(&self, store: i64, libraries: &Libraries) -> Result<u64, Error> {
        let params = params![store, libraries];
        self.checked(OUTDATED_ON_THE_WAY.one(&self.conn, params, |r| count(r, 0)))
    }

    /// Number and bytes of what an earlier run left on the way into a store.
    pub fn on_the_way(&self, store: i64) -> Result<(u64, u64), Error> {
        let counts = |r: &Row<'_>| Ok((count(r, 0)?, count(r, 1)?));
        self.checked(ON_THE_WAY.one(&self.conn, [store], counts))
    }

    fn jobs(&self, page: &Statement, params: impl Params) -> Result<Vec<Job>, Error> {
        self.checked(page.rows(&self.conn, params, job))
    }
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
            variant: variant(r, 20)?,
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
        unaskable: r.get(18)?,
        temporary: text(19)?.map(FileName::new),
    })
}
