//! Reading: pages and rows over a connection that cannot write.
//!
//! Owns that connection. What is read of uploads, files, libraries and stores is in the files beside this
//! one; counts are in `figures`. Promises: never more than a page in memory, whatever the size of the
//! library.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Row};

use super::lock::{self, Holder};
use super::open;
use super::statement::statements;
use crate::error::Error;
use crate::identity::{Sha256, Variant};

/// Counts.
pub mod figures;

/// Libraries: their names, their roots, where they go.
mod libraries;

/// Stores, and the rates that were found at them.
mod stores;

/// Files, as scans have recorded them.
mod files;

/// Files that are not there any more, and what is left of them in stores.
mod gone;

/// Uploads, with all that a worker needs of their files.
mod uploads;

/// Runs, who works now, and what reports draw.
mod runs;

pub use files::{FileLike, FilePath, KnownFile};
pub(super) use gone::PURGEABLE;
pub use gone::{GoneFile, Missing};
pub use libraries::{Libraries, LibraryRow};
pub use runs::{KILLED, RUNNING, Run, Worker};
pub use stores::StoreRow;
pub use uploads::{Job, Queued};

/// Rows read at once: enough to keep the workers fed between two reads, small in memory.
pub(super) const PAGE: &str = "LIMIT 256";

pub struct Reader {
    pub(super) conn: Connection,
    path: PathBuf,
}

statements! {
    BEGIN: Single => "BEGIN";
    COMMIT: Single => "COMMIT";
}

/// The statements of this folder, for the test that explains all.
#[cfg(test)]
pub(super) fn all_declared() -> Vec<super::tests::explain::Declared> {
    let topics = [
        declared(),
        libraries::declared(),
        stores::declared(),
        files::declared(),
        gone::declared(),
        uploads::declared(),
        runs::declared(),
        figures::declared(),
    ];
    topics.into_iter().flatten().collect()
}

impl Reader {
    pub fn open(path: &Path) -> Result<Reader, Error> {
        Ok(Reader {
            conn: open::reading(path)?,
            path: path.to_owned(),
        })
    }

    /// For what records nothing: where there is no database yet, one that holds nothing is read.
    pub fn of(path: &Path) -> Result<Reader, Error> {
        match Reader::is_there(path) {
            true => Reader::open(path),
            false => Reader::of_nothing(),
        }
    }

    /// An empty file is as good as none: SQLite makes a database of it.
    pub fn is_there(path: &Path) -> bool {
        path.exists() && !path.metadata().is_ok_and(|f| f.is_file() && f.len() == 0)
    }

    fn of_nothing() -> Result<Reader, Error> {
        Ok(Reader {
            conn: open::nothing()?,
            path: PathBuf::from("memory"),
        })
    }

    /// Reads the whole file through: whether it is sound.
    pub fn check(&self) -> Result<(), Error> {
        open::check(&self.conn, &self.path)
    }

    /// The living objlib that holds the lock, if one does. `stale_after`: how long one without a heartbeat is
    /// taken to be alive.
    pub fn held_by(&self, stale_after: Duration) -> Result<Option<Holder>, Error> {
        self.checked(lock::held_by(&self.conn, stale_after))
    }

    /// One read transaction from here to the next call: the database is seen as it is now.
    pub fn renew(&self) -> Result<(), Error> {
        self.end()?;
        self.checked(BEGIN.run(&self.conn, [])).map(|_| ())
    }

    fn end(&self) -> Result<(), Error> {
        match self.conn.is_autocommit() {
            true => Ok(()),
            false => self.checked(COMMIT.run(&self.conn, [])).map(|_| ()),
        }
    }

    /// All that `look` reads is of one moment.
    pub fn at_once<T>(&self, look: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        self.renew()?;
        let seen = look();
        let ended = self.end();
        seen.and_then(|seen| ended.map(|()| seen))
    }

    /// The answer, or SQLite's error in words that name the database.
    pub(super) fn checked<T>(&self, answer: rusqlite::Result<T>) -> Result<T, Error> {
        answer.map_err(|e| open::error(&self.path, &e))
    }
}

/// A column that is never negative.
pub(super) fn count(r: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = r.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

fn sha256(r: &Row<'_>, column: usize) -> rusqlite::Result<Sha256> {
    let found = Sha256::from_slice(r.get_ref(column)?.as_blob()?);
    found.ok_or_else(|| damaged(column, "not a SHA-256"))
}

fn variant(r: &Row<'_>, column: usize) -> rusqlite::Result<Variant> {
    let found = Variant::from_slice(r.get_ref(column)?.as_blob()?);
    found.ok_or_else(|| damaged(column, "not a variant"))
}

fn damaged(column: usize, what: &str) -> rusqlite::Error {
    let blob = rusqlite::types::Type::Blob;
    rusqlite::Error::FromSqlConversionFailure(column, blob, what.into())
}
