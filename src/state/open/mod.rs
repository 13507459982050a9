//! Opening the database: pragmas, file mode, and the refusal of what is not ours.
//!
//! Promises: a connection handed out is in WAL mode with `synchronous=FULL`, of a schema this program
//! knows; a damaged, foreign, older or newer file, one of another user, and one that somebody else may
//! have written to, is refused before a byte of it is changed.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::vtab::array;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use rustix::fs::{Access, access};

pub use self::failure::error;
use self::failure::{damaged, no_wal, read_only};
pub use self::files::DatabaseFiles;
use self::files::{beside, log_of};
use crate::error::{Error, Kind};

mod failure;
mod files;
pub(in crate::state) mod mark;
pub(in crate::state) mod migrations;

/// How long a statement waits for another program that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements kept prepared; more than there are, so that none is ever prepared twice.
pub(super) const STATEMENTS_CACHED: usize = 200;
/// Pages kept in memory: the working set of a commit, and of a page of rows.
const WRITER_CACHE_KIB: i64 = 1024;
const READER_CACHE_KIB: i64 = 512;

/// The one connection that writes. Creates the file (mode 0600) and its folder (0700) if needed.
///
/// `first` is what takes the lock: it runs in the transaction that brings the schema up to date, so a
/// database that another objlib works on is not even migrated.
pub fn writing<T>(
    path: &Path,
    first: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
) -> Result<(Connection, T), Error> {
    let fail = |e: rusqlite::Error| error(path, &e);
    create(path)?;
    let mut conn = connect(path)?;
    if conn.is_readonly("main").map_err(fail)? {
        return Err(read_only(path));
    }
    let settle = |conn: &Connection| -> rusqlite::Result<String> {
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "foreign_keys", "ON")?;
        conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        write_ahead_logging(conn)
    };
    if !settle(&conn).map_err(fail)?.eq_ignore_ascii_case("wal") {
        return Err(no_wal(path));
    }
    let tx = Transaction::new(&mut conn, TransactionBehavior::Immediate).map_err(fail)?;
    migrations::apply(&tx).map_err(fail)?;
    let first = first(&tx)?;
    tx.commit().map_err(fail)?;
    sync_folder(path)?;
    Ok((conn, first))
}

/// The journal mode that results. What is durable rests on it: with another one, a commit is taken back by the
/// journal that a power cut brings back. The statement answers with the new mode before that is on disk, so it
/// is run to its end, where it fails if it has to.
fn write_ahead_logging(conn: &Connection) -> rusqlite::Result<String> {
    let mut statement = conn.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = statement.query([])?;
    let mut mode = String::new();
    while let Some(row) = rows.next()? {
        mode = row.get(0)?;
    }
    Ok(mode)
}

/// What a database holds that does not exist: for a dry run, which makes none.
pub fn nothing() -> Result<Connection, Error> {
    let open = || -> rusqlite::Result<Connection> {
        let conn = Connection::open_in_memory()?;
        array::load_module(&conn)?;
        migrations::apply(&conn)?;
        Ok(conn)
    };
    open().map_err(|e| error(Path::new("memory"), &e))
}

/// A connection that cannot write. The file must exist.
pub fn reading(path: &Path) -> Result<Connection, Error> {
    let none = || {
        Error::new(
            Kind::Database,
            path.display().to_string(),
            "there is no database yet",
            "run `objlib scan DIR` first, or name another one with --db",
        )
    };
    if !path.exists() {
        return Err(none());
    }
    // Not SQLITE_OPEN_READ_ONLY: a reader of a WAL database has to be able to make its -shm file.
    let conn = connect(path)?;
    conn.pragma_update(None, "query_only", "ON")
        .and_then(|()| conn.pragma_update(None, "cache_size", -READER_CACHE_KIB))
        .map_err(|e| error(path, &e))?;
    // Another objlib is about to make it.
    let version = conn.query_row("PRAGMA user_version", [], |r| r.get(0));
    match version.map_err(|e| error(path, &e))? {
        0 => Err(none()),
        _ => Ok(conn),
    }
}

fn connect(path: &Path) -> Result<Connection, Error> {
    check_owner(path)?;
    let refused = |why: &str, remedy: &str| {
        Error::new(Kind::Database, path.display().to_string(), why, remedy)
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match is_still(path) {
        true => Connection::open_with_flags(unchanging(path), flags | OpenFlags::SQLITE_OPEN_URI),
        false => Connection::open_with_flags(path, flags),
    };
    let conn = opened.map_err(|e| error(path, &e))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    let identify = || -> rusqlite::Result<(i32, i32, i64, i64)> {
        // The plan of a statement is the one that `explain.rs` has seen, whatever the values of its
        // parameters. Else those that might fit a partial index have it prepared anew at each run.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        // Lists of libraries are handed to statements as tables.
        array::load_module(&conn)?;
        // What the file says of functions and tables is not run on its word.
        conn.pragma_update(None, "trusted_schema", "OFF")?;
        let id = conn.query_row("PRAGMA application_id", [], |r| r.get(0))?;
        let version = conn.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        let (tables, others) = conn.query_row(
            "SELECT count(*), count(*) FILTER (WHERE type IN ('trigger', 'view')
                 OR sql LIKE 'CREATE VIRTUAL%') FROM sqlite_schema",
            [],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )?;
        Ok((id, version, tables, others))
    };
    let (id, version, tables, others) = identify().map_err(|e| error(path, &e))?;
    if tables > 0 && id != migrations::APPLICATION_ID {
        return Err(refused(
            "this is a database of another program",
            "name another file with --db",
        ));
    }
    if others > 0 {
        return Err(refused(
            "it holds triggers, views or virtual tables, which no objlib has made: somebody has changed it",
            "put a backup back, or move it away and name another file with --db",
        ));
    }
    if version > migrations::newest() {
        let why = format!(
            "written by a newer objlib (schema {version}, this one knows {})",
            migrations::newest()
        );
        return Err(refused(&why, "update objlib"));
    }
    if migrations::is_before_release(version) {
        let why = format!("written by an objlib from before the first release (schema {version})");
        return Err(refused(
            &why,
            "move it away and run the same command again; what that objlib has put into stores names no \
             library and is left alone there",
        ));
    }
    Ok(conn)
}

/// Whether SQLite could not make beside it what it reads such a database with, and nothing is there that
/// only that would show: then all of it is in the file, and nobody who works on it has it open.
fn is_still(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    let is_there = |end| beside(&path, end).exists();
    let folder = path.parent().unwrap_or(Path::new("/"));
    access(folder, Access::WRITE_OK).is_err() && !is_there("-wal") && !is_there("-shm")
}

/// The address of a database that is read as it is, without a log or locks.
fn unchanging(path: &Path) -> String {
    let escaped = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    format!("file:{escaped}?immutable=1")
}

/// Whoever may write to the database, or to what SQLite keeps beside it, could have objlib send any file
/// of this user anywhere. Those who may only read it no longer may.
fn check_owner(path: &Path) -> Result<(), Error> {
    let me = rustix::process::geteuid().as_raw();
    for (file, is_main) in [
        (path.to_owned(), true),
        (log_of(path), false),
        (beside(path, "-shm"), false),
    ] {
        let metadata = match is_main {
            true => fs::metadata(&file),
            false => fs::symlink_metadata(&file),
        };
        let Ok(metadata) = metadata else { continue };
        let refused = |why: String, remedy: String| {
            Err(Error::new(
                Kind::Database,
                file.display().to_string(),
                why,
                remedy,
            ))
        };
        if is_main && metadata.is_dir() {
            // SQLite's own words for it are good enough.
            continue;
        }
        if !metadata.is_file() {
            return refused(
                "this is not a regular file".to_owned(),
                "move it away, or name another database with --db".to_owned(),
            );
        }
        if metadata.uid() != me {
            return refused(
                format!("it belongs to another user (uid {})", metadata.uid()),
                "run objlib as that user, or name another database with --db".to_owned(),
            );
        }
        if metadata.mode() & 0o022 != 0 {
            return refused(
                "other users may write to it".to_owned(),
                format!(
                    "look at what it holds, then `chmod 600 '{}'`",
                    file.display()
                ),
            );
        }
        if metadata.mode() & 0o077 != 0 {
            let private = fs::Permissions::from_mode(0o600);
            match fs::set_permissions(&file, private) {
                // A disk that cannot be written to stays as it is.
                Err(e) if e.kind() != ErrorKind::ReadOnlyFilesystem => {
                    return refused(
                        format!("it cannot be made private: {e}"),
                        "check the disk, or name another database with --db".to_owned(),
                    );
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn create(path: &Path) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    make_folder(path)?;
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| cannot_create(path, &e))?;
    Ok(())
}

/// The folder that the database, and what is kept beside it, lies in.
pub fn make_folder(path: &Path) -> Result<(), Error> {
    let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(|e| cannot_create(path, &e))
}

fn cannot_create(path: &Path, e: &std::io::Error) -> Error {
    Error::new(
        Kind::Database,
        path.display().to_string(),
        format!("cannot be created: {e}"),
        "check the folder and its permissions, or name another file with --db",
    )
}

/// Reads the whole file through and looks whether it is sound: for when an objlib died over it.
///
/// # Errors
/// `Kind::Database`: it is damaged.
pub fn check(conn: &Connection, path: &Path) -> Result<(), Error> {
    let found: rusqlite::Result<String> = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0));
    match found {
        Ok(words) if words == "ok" => Ok(()),
        // The first line only says which database.
        Ok(words) => Err(damaged(path, words.lines().last().unwrap_or_default())),
        Err(e) => Err(error(path, &e)),
    }
}

/// A file that is synced can still be lost by name until its folder is; SQLite passes over a failure here.
fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    match fs::File::open(folder).and_then(|f| f.sync_all()) {
        Ok(()) => Ok(()),
        // Some file systems have no such thing.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        Err(e) => Err(Error::new(
            Kind::Database,
            path.display().to_string(),
            format!("its folder cannot be synced: {e}"),
            "check the disk, or name another file with --db",
        )),
    }
}

#[cfg(test)]
mod tests;
