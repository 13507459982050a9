//! What may be wrong with a database, as a person can act on it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::{Error, Kind};

pub fn damaged(path: &Path, words: &str) -> Error {
    Error::new(
        Kind::Database,
        path.display().to_string(),
        format!("the database is damaged ({words})"),
        "put a backup of it back; or move it away, then `objlib scan` and `objlib verify --repair` rebuild it from the store",
    )
}

pub fn read_only(path: &Path) -> Error {
    Error::new(
        Kind::Database,
        path.display().to_string(),
        "the database is read-only",
        "make the file and its folder writable, or name another one with --db",
    )
}

fn is_read_only(path: &Path) -> bool {
    let written = fs::OpenOptions::new().append(true).open(path);
    written.is_err_and(|e| e.kind() == ErrorKind::ReadOnlyFilesystem)
}

pub fn no_wal(path: &Path) -> Error {
    Error::new(
        Kind::Database,
        path.display().to_string(),
        "cannot be switched to write-ahead logging: the disk is full or failing, or its file system cannot \
         share memory (NFS)",
        "free some space, or name a file on a local disk with --db, and run again; nothing is lost",
    )
}

/// SQLite's error as a person can act on it.
pub fn error(path: &Path, e: &rusqlite::Error) -> Error {
    // A value that no objlib has written.
    if let rusqlite::Error::FromSqlConversionFailure(..)
    | rusqlite::Error::InvalidColumnType(..)
    | rusqlite::Error::IntegralValueOutOfRange(..)
    | rusqlite::Error::Utf8Error(..) = e
    {
        return damaged(path, &format!("a row makes no sense: {e}"));
    }
    let (why, remedy) = match e.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => (
            "this is not an SQLite database".to_owned(),
            "name another file with --db",
        ),
        Some(ErrorCode::DatabaseCorrupt) => return damaged(path, &e.to_string()),
        Some(ErrorCode::ReadOnly) => return read_only(path),
        Some(ErrorCode::CannotOpen) if is_read_only(path) => return read_only(path),
        Some(ErrorCode::DiskFull) => (
            "the disk is full".to_owned(),
            "free some space and run again; nothing is lost",
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            "another program holds the database".to_owned(),
            "close it and run again",
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
            format!("cannot be opened ({e})"),
            "check the path and its permissions, or name another file with --db",
        ),
        Some(ErrorCode::SystemIoFailure) => (
            format!("the disk failed ({e})"),
            "check the disk and run again; the database stands at its last commit",
        ),
        _ => (
            format!("{e}"),
            "please report this; nothing that was confirmed is lost",
        ),
    };
    Error::new(Kind::Database, path.display().to_string(), why, remedy)
}
