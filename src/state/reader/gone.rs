//! Files that are not there any more, and what is left of them in stores.
//!
//! Promises: what is read of all of them is handed on page by page, never collected.

use rusqlite::{Row, params};

use super::{Libraries, PAGE, Reader, count};
use crate::clock::UnixMs;
use crate::error::Error;
use crate::state::statement::statements;
use crate::state::{IS_AT_THE_SERVICE, UploadId};

/// Which documents `purge` is about.
#[derive(Debug, Clone)]
pub struct Missing {
    pub libraries: Vec<i64>,
    /// Of files that were missing, or left out, at this time.
    pub before: UnixMs,
}

impl Missing {
    pub(in crate::state) fn libraries(&self) -> Libraries {
        self.libraries.iter().copied().collect()
    }
}

/// A document whose file is not there any more.
#[derive(Debug, Clone)]
pub struct GoneFile {
    pub upload: UploadId,
    pub library: i64,
    pub path: String,
    pub bytes: u64,
    /// It is there, and must not be sent any more.
    pub is_left_out: bool,
    pub since_ms: UnixMs,
    /// The file has no other document before this one.
    pub is_first: bool,
}

/// Of the files `f`, in SQL: gone at the time ?3. One that is skipped for a reason that keeps what is known of it
/// is there again.
macro_rules! gone {
    () => {
        "f.state IN ('missing', 'left_out') AND f.missing_since_ms <= ?3
         AND NOT (f.state = 'missing' AND EXISTS (SELECT 1 FROM skipped_files s
             WHERE s.library_id = f.library_id AND s.path = f.path AND s.reason IN
                 ('unreadable', 'changed while it was read', 'metadata that cannot be used')))"
    };
}

/// Of the uploads `u`, in SQL: store, libraries and time are the first parameters.
pub const PURGEABLE: &str = concat!(
    "INDEXED BY uploads_outdated JOIN files f ON f.id = u.file_id
     WHERE u.store_id = ?1 AND u.library_id IN (SELECT value FROM rarray(?2)) AND u.current = 0
     AND u.unwanted = 0 AND u.status = 'indexed' AND ",
    gone!()
);
const GONE: &str = gone!();

statements! {
    PURGEABLE_FILES: Page =>
        // One that came back as what cannot be sent is there, and yet to be deleted.
        "SELECT u.id, u.library_id, f.path, u.size_bytes,
             f.state = 'left_out' OR EXISTS (SELECT 1 FROM skipped_files s
                 WHERE s.library_id = f.library_id AND s.path = f.path AND s.reason NOT IN
                     ('not a file', 'dangling symlink', 'symlink loop')),
             f.missing_since_ms,
             NOT EXISTS (SELECT 1 FROM uploads o INDEXED BY uploads_by_file WHERE o.file_id = u.file_id
                 AND o.store_id = u.store_id AND o.current = 0 AND o.unwanted = 0
                 AND o.status = 'indexed' AND o.id < u.id)
         FROM uploads u", PURGEABLE, "AND u.id > ?4 ORDER BY u.id", PAGE;
    PURGEABLE_COUNT: All("counts documents of files that are gone, among those that wait for a replacement") =>
        "SELECT count(DISTINCT u.file_id) FROM uploads u", PURGEABLE;
    GONE_ON_THE_WAY: All("of the few that are on their way, which make up its index") =>
        "SELECT u.library_id FROM uploads u INDEXED BY uploads_unfinished
         JOIN files f ON f.id = u.file_id
         WHERE u.store_id = ?1 AND u.library_id IN (SELECT value FROM rarray(?2))
         AND u.status IN ('uploading', 'processing') AND", GONE;
    UNWANTED_COUNT: All("counts what was to be deleted and is not yet, on its own index") =>
        "SELECT count(*) FROM uploads INDEXED BY uploads_unwanted
         WHERE store_id = ?1 AND unwanted = 1 AND status = 'indexed'";
    OVER: Page =>
        "SELECT f.id FROM files f INDEXED BY files_gone
         WHERE f.library_id = ?1 AND f.state != 'present' AND f.id > ?3
         AND (f.state = 'moved' OR f.missing_since_ms <= ?2)
         AND NOT EXISTS (SELECT 1 FROM uploads u WHERE u.file_id = f.id AND", IS_AT_THE_SERVICE, ")
         ORDER BY f.id", PAGE;
}

impl Reader {
    /// Documents in a store that a purge would delete, by id.
    pub fn purgeable(
        &self,
        store: i64,
        missing: &Missing,
        after: UploadId,
    ) -> Result<Vec<GoneFile>, Error> {
        let params = params![store, missing.libraries(), missing.before, after.0];
        let file = |r: &Row<'_>| {
            Ok(GoneFile {
                upload: UploadId(r.get(0)?),
                library: r.get(1)?,
                path: r.get(2)?,
                bytes: count(r, 3)?,
                is_left_out: r.get(4)?,
                since_ms: r.get(5)?,
                is_first: r.get(6)?,
            })
        };
        self.checked(PURGEABLE_FILES.rows(&self.conn, params, file))
    }

    /// Of how many files that are gone a purge would delete the documents from a store.
    pub fn purgeable_files(&self, store: i64, libraries: &Libraries) -> Result<u64, Error> {
        let params = params![store, libraries, UnixMs::MAX];
        self.checked(PURGEABLE_COUNT.one(&self.conn, params, |r| count(r, 0)))
    }

    /// Calls `each` with the library of every upload of such a file that is on its way into the store.
    pub fn gone_on_the_way(
        &self,
        store: i64,
        missing: &Missing,
        each: &mut dyn FnMut(i64),
    ) -> Result<(), Error> {
        let params = params![store, missing.libraries(), missing.before];
        let take = |r: &Row<'_>| {
            each(r.get(0)?);
            Ok(())
        };
        self.checked(GONE_ON_THE_WAY.each(&self.conn, params, take))
    }

    /// How many documents of a store are to be deleted and are not yet.
    pub fn unwanted_count(&self, store: i64) -> Result<u64, Error> {
        self.checked(UNWANTED_COUNT.one(&self.conn, [store], |r| count(r, 0)))
    }

    /// Files of a library, by id, that were missing or left out at a time, or have moved, and of which
    /// nothing is left in any store.
    pub fn over(&self, library: i64, before: UnixMs, after: i64) -> Result<Vec<i64>, Error> {
        let params = params![library, before, after];
        self.checked(OVER.rows(&self.conn, params, |r| r.get(0)))
    }
}
