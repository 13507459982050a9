//! (tests) What is opened, and what is refused.

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
