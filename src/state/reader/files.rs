//! Files, as scans have recorded them.
//!
//! Promises: what is read of every file of a library is handed on row by row, never collected.

use rusqlite::{Row, params};

use super::{Libraries, Reader, count, sha256, variant};
use crate::clock::UnixMs;
use crate::error::Error;
use crate::identity::{ContentKey, Identity};
use crate::names::DocumentName;
use crate::state::statement::statements;
use crate::state::upload_state::UploadState;
use crate::state::{IS_IMAGE, SAME_CONTENT, TAKES_IMAGES};

/// What is known of a file, for the next scan.
#[derive(Debug, Clone)]
pub struct KnownFile {
    pub id: i64,
    pub size_bytes: u64,
    pub mtime_ns: i64,
    /// When its content was read, by the wall clock.
    pub hashed_ms: UnixMs,
    pub content: ContentKey,
    pub mime: String,
    /// There are rules, and none met its path.
    pub is_unmatched: bool,
    pub present: bool,
}

/// A file that a document may belong to.
#[derive(Debug, Clone)]
pub struct FileLike {
    pub file: i64,
    pub path: String,
    pub size_bytes: u64,
    /// The file is there with the document's content.
    pub current: bool,
    /// What the file holds, or held when it was there.
    pub content: ContentKey,
    /// Of its row for the document's content.
    pub state: Option<UploadState>,
    pub document: Option<DocumentName>,
    /// Of the file's content as it is now, if its row says `indexed`.
    pub current_document: Option<DocumentName>,
}

impl FileLike {
    /// Whether this database knows the file with the content of the document, which is `content`.
    pub fn has_had(&self, content: &ContentKey) -> bool {
        self.content == *content || self.state.is_some()
    }
}

/// A path as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath {
    /// Relative.
    pub path: String,
    pub present: bool,
}

statements! {
    FILE: Single =>
        "SELECT id, size_bytes, mtime_ns, hashed_ms, sha256, variant, mime, unmatched, state FROM files
         WHERE library_id = ?1 AND path = ?2";
    FILES_VALUED: Single =>
        "SELECT path, state FROM files WHERE path_value = ?1 AND library_id = ?2 ORDER BY id LIMIT 100";
    KNOWS_ANY: Page => "SELECT 1 FROM files WHERE library_id = ?1 AND path > '' LIMIT 1";
    PRESENT_COUNT: All("a scan that has lost more than half of the files marks nothing") =>
        "SELECT count(*) FROM files WHERE library_id = ?1 AND state = 'present'";
    HIGHEST_ID: Single => "SELECT coalesce(max(id), 0) FROM files";
    EACH_PRESENT: All("a scan ends by looking for files that it has not met") =>
        "SELECT id, path FROM files WHERE library_id = ?1 AND state = 'present'";
    EACH_PRESENT_SIZE: All("a moved root is told by most of its files being there") =>
        "SELECT path, size_bytes FROM files WHERE library_id = ?1 AND state = 'present'";
    IS_FOUND_AGAIN: Single =>
        "SELECT EXISTS (SELECT 1 FROM files n INDEXED BY files_fresh WHERE n.library_id = f.library_id
             AND n.fresh = 1 AND n.state = 'present' AND n.sha256 = f.sha256)
         FROM files f WHERE f.id = ?1";
    // A slash is followed by a zero: whatever begins with the folder and a slash lies in between.
    HOLDS_BELOW: Page =>
        "SELECT 1 FROM files WHERE library_id = ?1 AND path > ?2 || '/' AND path < ?2 || '0'
         AND state = 'present' LIMIT 1";
    SETTLED: Single =>
        "SELECT 1 FROM files f JOIN uploads u ON u.file_id = f.id
         WHERE f.library_id = ?1 AND f.path = ?2 AND u.store_id = ?5 AND u.sha256 = ?3 AND u.variant = ?4
         AND u.unwanted = 0 AND u.status IN ('uploading', 'processing', 'indexed', 'failed')";
    EACH_UNSETTLED: All("a dry run adds up every file that would be sent") =>
        "SELECT f.library_id, f.path, f.mime, f.size_bytes FROM files f LEFT JOIN stores s ON s.id = ?1
         WHERE (NOT", IS_IMAGE, "OR", TAKES_IMAGES, ") AND f.library_id IN (SELECT value FROM rarray(?2)) AND f.state = 'present'
         AND NOT EXISTS (SELECT 1 FROM uploads u WHERE", SAME_CONTENT, "AND u.store_id = ?1
             AND u.status != 'pending') ORDER BY f.library_id, f.path";
    FILES_LIKE: Single =>
        "SELECT f.id, f.path, f.size_bytes,
             f.sha256 = ?3 AND f.variant = ?4 AND f.state = 'present', u.status, u.document,
             f.sha256, f.variant, c.document
         FROM files f LEFT JOIN uploads u ON u.file_id = f.id AND u.store_id = ?1 AND u.sha256 = ?3
             AND u.variant = ?4 AND u.status NOT IN ('superseded', 'retired') AND u.unwanted = 0
         LEFT JOIN uploads c INDEXED BY uploads_by_file ON c.file_id = f.id AND c.store_id = ?1
             AND c.current = 1 AND c.status = 'indexed'
         WHERE f.path_value = ?2 AND f.library_id = (SELECT id FROM libraries WHERE name = ?5)
         ORDER BY f.id LIMIT 100";
}

impl Reader {
    pub fn file(&self, library: i64, path: &str) -> Result<Option<KnownFile>, Error> {
        self.checked(FILE.first(&self.conn, params![library, path], |r| {
            Ok(KnownFile {
                id: r.get(0)?,
                size_bytes: count(r, 1)?,
                mtime_ns: r.get(2)?,
                hashed_ms: r.get(3)?,
                content: ContentKey {
                    sha256: sha256(r, 4)?,
                    variant: variant(r, 5)?,
                },
                mime: r.get(6)?,
                is_unmatched: r.get(7)?,
                present: r.get_ref(8)?.as_str()? == "present",
            })
        }))
    }

    /// The file whose documents have this `objlib_path`; of several, one that is there.
    pub fn file_valued(&self, library: i64, path_value: &str) -> Result<Option<FilePath>, Error> {
        let file = |r: &Row<'_>| {
            Ok(FilePath {
                path: r.get(0)?,
                present: r.get_ref(1)?.as_str()? == "present",
            })
        };
        let found = FILES_VALUED.rows(&self.conn, params![path_value, library], file);
        let mut found = self.checked(found)?;
        found.sort_by_key(|file| !file.present);
        Ok(found.into_iter().next())
    }

    /// Whether a file of this library was ever recorded.
    pub fn knows_any(&self, library: i64) -> Result<bool, Error> {
        let any = KNOWS_ANY.first(&self.conn, [library], |_| Ok(()));
        Ok(self.checked(any)?.is_some())
    }

    /// Present files of a library, and the highest id of any file.
    pub fn extent(&self, library: i64) -> Result<(u64, i64), Error> {
        let present = PRESENT_COUNT.one(&self.conn, [library], |r| count(r, 0));
        let highest = HIGHEST_ID.one(&self.conn, [], |r| r.get(0));
        Ok((self.checked(present)?, self.checked(highest)?))
    }

    /// Calls `each` for every present file of a library.
    pub fn each_present(&self, library: i64, each: &mut dyn FnMut(i64, &str)) -> Result<(), Error> {
        let take = |r: &Row<'_>| {
            each(r.get(0)?, r.get_ref(1)?.as_str()?);
            Ok(())
        };
        self.checked(EACH_PRESENT.each(&self.conn, [library], take))
    }

    /// Whether a file that has come since the last whole scan of its library holds what this one held.
    pub fn is_found_again(&self, file: i64) -> Result<bool, Error> {
        let found = IS_FOUND_AGAIN.first(&self.conn, [file], |r| r.get(0));
        Ok(self.checked(found)?.unwrap_or(false))
    }

    /// Calls `each` with path and size of every present file of a library.
    pub fn each_present_size(
        &self,
        library: i64,
        each: &mut dyn FnMut(&str, u64),
    ) -> Result<(), Error> {
        let take = |r: &Row<'_>| {
            each(r.get_ref(0)?.as_str()?, count(r, 1)?);
            Ok(())
        };
        self.checked(EACH_PRESENT_SIZE.each(&self.conn, [library], take))
    }

    /// Whether a library has present files below a folder of it (relative, without a slash at its end).
    pub fn holds_below(&self, library: i64, folder: &str) -> Result<bool, Error> {
        let found = HOLDS_BELOW.first(&self.conn, params![library, folder], |_| Ok(()));
        self.checked(found).map(|found| found.is_some())
    }

    /// Whether this content of a file has been sent into the store, or has failed there.
    pub fn settled(
        &self,
        library: i64,
        path: &str,
        content: &ContentKey,
        store: Option<i64>,
    ) -> Result<bool, Error> {
        let ContentKey { sha256, variant } = content;
        let params = params![library, path, sha256.as_bytes(), variant.as_bytes(), store];
        let found = SETTLED.first(&self.conn, params, |_| Ok(()));
        Ok(self.checked(found)?.is_some())
    }

    /// Calls `each` with library, path, type and size of every present file that the store has not got, and
    /// for which nothing is under way there.
    pub fn each_unsettled(
        &self,
        store: Option<i64>,
        libraries: &Libraries,
        each: &mut dyn FnMut(i64, &str, &str, u64),
    ) -> Result<(), Error> {
        let take = |r: &Row<'_>| {
            let (path, mime) = (r.get_ref(1)?.as_str()?, r.get_ref(2)?.as_str()?);
            each(r.get(0)?, path, mime, count(r, 3)?);
            Ok(())
        };
        self.checked(EACH_UNSETTLED.each(&self.conn, params![store, libraries], take))
    }

    /// The files of its library that have this identity's path, one with the content first; of each the
    /// row for the content in this store, unless it has ended.
    pub fn files_like(&self, store: i64, identity: &Identity) -> Result<Vec<FileLike>, Error> {
        let ContentKey { sha256, variant } = &identity.content;
        let found = FILES_LIKE.rows(
            &self.conn,
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
                    content: ContentKey {
                        sha256: super::sha256(r, 6)?,
                        variant: super::variant(r, 7)?,
                    },
                    current_document: r.get::<_, Option<String>>(8)?.map(DocumentName::new),
                })
            },
        );
        let mut files = self.checked(found)?;
        files.sort_by_key(|file| !file.current);
        Ok(files)
    }
}
