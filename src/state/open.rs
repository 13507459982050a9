//! Opening the database: pragmas, file mode, and the refusal of what is not ours.
//!
//! Promises: a connection handed out is in WAL mode with `synchronous=FULL`, of a schema this program
//! knows; a damaged, foreign, older or newer file, one of another user, and one that somebody else may
//! have written to, is refused before a byte of it is changed.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::migrations;
use crate::error::{Error, Kind};

/// How long a statement waits for another program that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements kept prepared; more than there are, so that none is ever prepared twice.
pub(super) const STATEMENTS_CACHED: usize = 200;
/// Pages kept in memory: the working set of a commit, and of a page of rows.
const WRITER_CACHE_KIB: i64 = 1024;
const READER_CACHE_KIB: i64 = 512;

/// Where the files of an open database are, and which they were: a deleted or replaced database takes
/// commits that nobody will ever see.
pub struct Place {
    path: PathBuf,
    main: Option<(u64, u64)>,
    /// The write-ahead log, once there is one.
    log: Option<(u64, u64)>,
}

impl Place {
    pub fn of(path: &Path) -> Place {
        Place {
            path: path.to_owned(),
            main: which(path),
            log: which(&log_of(path)),
        }
    }

    /// # Errors
    /// The database, or its write-ahead log, is not the file that was opened.
    pub fn check(&mut self) -> Result<(), Error> {
        let log = which(&log_of(&self.path));
        let log_changed = self.log.is_some() && log != self.log;
        self.log = log;
        if which(&self.path) == self.main && !log_changed {
            return Ok(());
        }
        Err(Error::new(
            Kind::Database,
            self.path.display().to_string(),
            "the database was deleted or replaced while objlib worked on it",
            "put it back if you can, then `objlib scan` and `objlib verify --repair`: the store knows what it holds",
        ))
    }
}

fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Device and number of a file.
fn which(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

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
    let conn = Connection::open_with_flags(path, flags).map_err(|e| error(path, &e))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    let identify = || -> rusqlite::Result<(i32, i32, i64, i64)> {
        // The plan of a statement is the one that `explain.rs` has seen, whatever the values of its
        // parameters. Else those that might fit a partial index have it prepared anew at each run.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
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
            fs::set_permissions(&file, private).map_err(|e| {
                Error::new(
                    Kind::Database,
                    file.display().to_string(),
                    format!("it cannot be made private: {e}"),
                    "check the disk, or name another database with --db",
                )
            })?;
        }
    }
    Ok(())
}

fn create(path: &Path) -> Result<(), Error> {
    let fail = |e: std::io::Error| {
        Error::new(
            Kind::Database,
            path.display().to_string(),
            format!("cannot be created: {e}"),
            "check the folder and its permissions, or name another file with --db",
        )
    };
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(fail)?;
    }
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(fail)?;
    Ok(())
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

fn damaged(path: &Path, words: &str) -> Error {
    Error::new(
        Kind::Database,
        path.display().to_string(),
        format!("the database is damaged ({words})"),
        "put a backup of it back; or move it away, then `objlib scan` and `objlib verify --repair` rebuild it from the store",
    )
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

fn read_only(path: &Path) -> Error {
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

fn no_wal(path: &Path) -> Error {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn made(path: &Path) -> Connection {
        writing(path, |_| Ok(())).unwrap().0
    }

    fn refusal(path: &Path) -> String {
        writing(path, |_| Ok(())).unwrap_err().to_string()
    }

    #[test]
    fn a_new_database_is_private_synced_and_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/library.db");
        let conn = made(&path);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let sync: i32 = conn
            .query_row("PRAGMA synchronous", [], |r| r.get(0))
            .unwrap();
        let journal: String = conn
            .query_row("PRAGMA journal_mode", [], |r| r.get(0))
            .unwrap();
        assert_eq!((sync, journal.as_str()), (2, "wal"));
    }

    #[test]
    fn what_is_not_a_database_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        let text = "not a database at all, but long enough to have a header\n".repeat(20);
        fs::write(&path, &text).unwrap();
        assert!(refusal(&path).contains("not an SQLite database"));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_foreign_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (x)")
            .unwrap();
        assert!(refusal(&path).contains("another program"));
    }

    #[test]
    fn a_newer_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("library.db");
        let conn = made(&path);
        conn.pragma_update(None, "user_version", 999).unwrap();
        drop(conn);
        assert!(refusal(&path).contains("newer objlib (schema 999"));
    }

    #[test]
    fn a_database_from_before_the_release_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("library.db");
        let conn = made(&path);
        conn.pragma_update(None, "user_version", 2).unwrap();
        drop(conn);
        assert!(refusal(&path).contains("before the first release (schema 2)"));
        assert!(reading(&path).is_err());
    }

    #[test]
    fn what_runs_by_itself_in_a_database_is_refused() {
        for planted in [
            "CREATE VIEW v AS SELECT * FROM files",
            "CREATE TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM uploads; END",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("library.db");
            let conn = made(&path);
            conn.execute_batch(planted).unwrap();
            drop(conn);
            assert!(refusal(&path).contains("triggers, views"), "{planted}");
        }
    }

    #[test]
    fn a_database_that_others_may_write_to_is_refused_and_a_readable_one_made_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("library.db");
        drop(made(&path));
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        set(0o662);
        assert!(refusal(&path).contains("other users may write"));
        set(0o644);
        drop(made(&path));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_refused_lock_leaves_the_schema_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("library.db");
        let refuse = |_: &Transaction<'_>| -> Result<(), Error> { Err(read_only(Path::new("x"))) };
        assert!(writing(&path, refuse).is_err());
        let conn = Connection::open(&path).unwrap();
        let tables: i64 = conn
            .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
            .unwrap();
        assert_eq!(tables, 0);
    }

    #[test]
    fn a_reader_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("library.db");
        assert!(reading(&path).is_err());
        drop(made(&path));
        let conn = reading(&path).unwrap();
        assert!(conn.execute("DELETE FROM files", []).is_err());
    }
}
