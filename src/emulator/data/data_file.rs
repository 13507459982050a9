//! The file that the service keeps its data in: private, its own, and nothing but data.
//!
//! Promises: the file and those that SQLite puts beside it have mode 0600, whatever the umask; no symbolic
//! link is followed to them; a file that is not regular, that another user owns, that another program
//! wrote, or whose schema is not exactly the one that is made here, is refused before a byte of it is
//! changed. The last matters since a schema can hold code: a trigger or a view that somebody put into the
//! file would run inside this process. Nobody else has it open meanwhile, but for those that share it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::error::{Error, Kind};

/// What SQLite's header says of this program's files: "oemu".
const APPLICATION_ID: i32 = 0x6f65_6d75;
const PRIVATE: u32 = 0o600;
/// Files that SQLite keeps beside the data while it is open, or leaves there after a crash.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Why a file cannot be used, for a person.
type Why = String;

pub struct DataFile<'p> {
    pub path: &'p Path,
    /// Whether other services that share it may have it open as well.
    pub shared: bool,
}

impl DataFile<'_> {
    /// The second is the lock, which ends with it.
    ///
    /// # Errors
    /// `Kind::Database`: see the module. `Kind::Locked`: another service has it open.
    pub fn open(&self, schema: &str) -> Result<(Connection, File), Error> {
        let unfit = |why: Why| {
            Error::new(
                Kind::Database,
                self.path.display().to_string(),
                format!("cannot hold the emulator's data: {why}"),
                "move it away, or name another file with --data (for --emulator: another database with --db)",
            )
        };
        let (real, lock, mode) = private(self.path).map_err(unfit)?;
        let how = match self.shared {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(&lock, how) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::new(
                    Kind::Locked,
                    self.path.display().to_string(),
                    "another emulator has these data open",
                    "stop that one, or name another file with --data (for --emulator: another database with --db)",
                ));
            }
            Err(e) => return Err(unfit(format!("it cannot be locked: {e}"))),
        }
        match connect(&real, schema) {
            Ok(conn) => Ok((conn, lock)),
            Err(why) => {
                // It is somebody else's, and so is who may read it.
                let _ = lock.set_permissions(mode);
                Err(unfit(why))
            }
        }
    }
}

pub fn in_memory(schema: &str) -> Result<Connection, Error> {
    let open = || {
        let conn = Connection::open_in_memory()?;
        conn.execute_batch(schema)?;
        Ok(conn)
    };
    open().map_err(|e: rusqlite::Error| {
        Error::new(
            Kind::Database,
            "the emulator's data",
            e.to_string(),
            "check the memory of this machine",
        )
    })
}

/// Makes sure of the files; the open one, its mode of before, and its path with its folder's links resolved, since SQLite, told to follow no
/// link, refuses one anywhere in a path.
fn private(path: &Path) -> Result<(PathBuf, File, Permissions), Why> {
    let name = path.file_name().ok_or("it names no file")?;
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let real = fs::canonicalize(folder).map_err(|e| format!("its folder: {e}"))?;
    let real = real.join(name);
    let (file, mode) = own(&real, true)?.ok_or("it is gone")?;
    for suffix in BESIDE {
        let mut beside = real.clone().into_os_string();
        beside.push(suffix);
        own(Path::new(&beside), false).map_err(|why| format!("{suffix} beside it: {why}"))?;
    }
    Ok((real, file, mode))
}

/// Looks at the open file and not at its name, so that nobody can exchange it in between.
fn own(path: &Path, create: bool) -> Result<Option<(File, Permissions)>, Why> {
    // A FIFO or a device is opened without waiting for anybody.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(PRIVATE)
        .custom_flags(flags.bits() as i32)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound && !create => return Ok(None),
        Err(e) if path.is_symlink() => return Err(format!("it is a symbolic link ({e})")),
        Err(e) => return Err(e.to_string()),
    };
    let found = file.metadata().map_err(|e| e.to_string())?;
    if !found.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user".to_owned());
    }
    // SQLite gives the files that it makes beside it the same mode.
    file.set_permissions(Permissions::from_mode(PRIVATE))
        .map_err(|e| e.to_string())?;
    Ok(Some((file, found.permissions())))
}

fn connect(path: &Path, schema: &str) -> Result<Connection, Why> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<(Connection, bool)> {
        let conn = Connection::open_with_flags(path, flags)?;
        conn.pragma_update(None, "trusted_schema", false)?;
        let id: i32 = conn.query_row("PRAGMA application_id", [], |r| r.get(0))?;
        let found = schema_of(&conn)?;
        let is_new = id == 0 && found.is_empty();
        let is_ours = id == APPLICATION_ID && found == expected(schema)?;
        if is_new {
            conn.pragma_update(None, "journal_mode", "WAL")?;
            // In one transaction: after a crash the file is still new, or it is ours.
            conn.execute_batch(&format!(
                "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; {schema} COMMIT;"
            ))?;
        }
        Ok((conn, is_new || is_ours))
    };
    let (conn, is_ours) = open().map_err(|e| e.to_string())?;
    if !is_ours {
        return Err(
            "another program, or another version of this one, made it or changed it".into(),
        );
    }
    conn.pragma_update(None, "synchronous", "OFF")
        .map_err(|e| e.to_string())?;
    Ok(conn)
}

/// Every table, index, view and trigger, as it was made.
fn schema_of(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    conn.prepare("SELECT concat_ws(' ', type, name, tbl_name, sql) FROM sqlite_schema ORDER BY 1")?
        .query_map([], |r| r.get(0))?
        .collect()
}

/// The same of a file that was just made.
fn expected(schema: &str) -> rusqlite::Result<Vec<String>> {
    let fresh = Connection::open_in_memory()?;
    fresh.execute_batch(schema)?;
    schema_of(&fresh)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn open(path: &Path, schema: &str) -> Result<Connection, Error> {
        let shared = false;
        DataFile { path, shared }.open(schema).map(|(conn, _)| conn)
    }

    #[test]
    fn only_those_that_share_it_have_it_open_together() {
        let (_dir, path) = used();
        let open = |shared| {
            DataFile {
                path: &path,
                shared,
            }
            .open(SCHEMA)
        };
        let (first, second) = (open(true).unwrap(), open(true).unwrap());
        assert_eq!(open(false).unwrap_err().kind, Kind::Locked);
        drop((first, second));
        let _alone = open(false).unwrap();
        for shared in [false, true] {
            assert_eq!(open(shared).unwrap_err().kind, Kind::Locked);
        }
    }

    const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS t (x TEXT NOT NULL);";

    /// A folder and a data file in it that was used before.
    fn used() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("service.db");
        let conn = open(&path, SCHEMA).unwrap();
        conn.execute("INSERT INTO t VALUES ('kept')", []).unwrap();
        (dir, path)
    }

    #[track_caller]
    fn refused(path: &Path, why: &str) {
        let e = open(path, SCHEMA).unwrap_err();
        assert_eq!(e.kind, Kind::Database);
        assert!(e.to_string().contains(why), "{e}");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_was_kept_is_there_again_and_private() {
        let (_dir, path) = used();
        // An older copy that everybody could read.
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let conn = open(&path, SCHEMA).unwrap();
        let kept: String = conn.query_row("SELECT x FROM t", [], |r| r.get(0)).unwrap();
        assert_eq!(kept, "kept");
        assert_eq!(mode(&path), PRIVATE);
    }

    #[test]
    fn a_link_is_not_followed_but_that_of_a_folder_is() {
        let (dir, path) = used();
        let link = dir.path().join("link.db");
        symlink(&path, &link).unwrap();
        refused(&link, "symbolic link");
        let dangling = dir.path().join("dangling.db");
        symlink(dir.path().join("nothing"), &dangling).unwrap();
        refused(&dangling, "symbolic link");
        assert!(!dir.path().join("nothing").exists());
        let folder = dir.path().join("folder");
        symlink(dir.path(), &folder).unwrap();
        assert!(open(&folder.join("service.db"), SCHEMA).is_ok());
    }

    #[test]
    fn a_link_beside_it_is_not_followed() {
        let (dir, path) = used();
        let target = dir.path().join("target");
        fs::write(&target, "another file").unwrap();
        for suffix in BESIDE {
            let link = dir.path().join(format!("service.db{suffix}"));
            symlink(&target, &link).unwrap();
            refused(&path, suffix);
            fs::remove_file(link).unwrap();
        }
        assert_eq!(fs::read_to_string(target).unwrap(), "another file");
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        refused(dir.path(), "directory");
        refused(Path::new("/dev/null"), "not a regular file");
        refused(&dir.path().join("missing/service.db"), "its folder");
        refused(Path::new("/"), "names no file");
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let (_dir, path) = used();
        // Only root can give a file away; everybody else has root's files to try.
        match chown(&path, Some(12345), None) {
            Ok(()) => refused(&path, "belongs to another user"),
            Err(_) => refused(Path::new("/etc/passwd"), "ermission denied"),
        }
    }

    #[test]
    fn what_another_program_wrote_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.db");
        let other = Connection::open(&path).unwrap();
        other.execute_batch("CREATE TABLE t (x TEXT)").unwrap();
        drop(other);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let before = fs::read(&path).unwrap();
        refused(&path, "another program");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(mode(&path), 0o644);
        fs::write(
            &path,
            "no database at all, and longer than the header of one. ".repeat(20),
        )
        .unwrap();
        refused(&path, "not a database");
    }

    #[test]
    fn a_file_with_a_trigger_a_view_or_another_table_is_refused() {
        for planted in [
            "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t; END",
            "CREATE VIEW v AS SELECT 1",
            "CREATE TABLE u (x)",
            "ALTER TABLE t ADD COLUMN y",
            "DROP TABLE t",
        ] {
            let (_dir, path) = used();
            Connection::open(&path)
                .unwrap()
                .execute_batch(planted)
                .unwrap();
            refused(&path, "changed it");
        }
    }
}
