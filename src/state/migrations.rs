//! The schema, one step a version.
//!
//! A step that was ever released is never edited; a change is a new step at the end.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// `application_id` of the file: "objl". Tells our database from any other SQLite file.
pub const APPLICATION_ID: i32 = 0x6f62_6a6c;

const STEPS: &[&str] = &[V1, V2];

/// The newest schema this program knows.
pub fn newest() -> i32 {
    STEPS.len() as i32
}

/// Brings the database from `user_version` to the newest schema, each step in its own transaction.
pub fn apply(conn: &mut Connection) -> rusqlite::Result<()> {
    loop {
        // Asked for inside the transaction: two processes may open a new database at once.
        let tx = Transaction::new(conn, TransactionBehavior::Immediate)?;
        let version: i32 = tx.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        let Some(step) = usize::try_from(version).ok().and_then(|v| STEPS.get(v)) else {
            return Ok(());
        };
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", version + 1)?;
        tx.commit()?;
    }
}

const V1: &str = "
PRAGMA application_id = 0x6f626a6c;

CREATE TABLE libraries (
    id INTEGER PRIMARY KEY,
    root TEXT NOT NULL UNIQUE,
    scanned_ms INTEGER
) STRICT;

CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    library_id INTEGER NOT NULL REFERENCES libraries(id),
    path TEXT NOT NULL,              -- relative, as on disk
    path_value TEXT NOT NULL,        -- the identity's value of it
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    hashed_ms INTEGER NOT NULL,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    mime TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '[]',
    state TEXT NOT NULL CHECK (state IN ('present', 'missing')),
    first_seen_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    missing_since_ms INTEGER,
    UNIQUE (library_id, path)
) STRICT;
CREATE INDEX files_by_state ON files (state, size_bytes);

CREATE TABLE skipped_files (
    id INTEGER PRIMARY KEY,
    library_id INTEGER NOT NULL REFERENCES libraries(id),
    path TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX skipped_by_library ON skipped_files (library_id);

CREATE TABLE stores (
    id INTEGER PRIMARY KEY,
    endpoint TEXT NOT NULL,
    display_name TEXT NOT NULL,
    name TEXT NOT NULL,
    pinned_ms INTEGER NOT NULL,
    UNIQUE (endpoint, display_name)
) STRICT;

CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    instance TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    store_id INTEGER REFERENCES stores(id),
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    outcome TEXT,
    exit INTEGER,
    recovered INTEGER NOT NULL DEFAULT 0,
    indexed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0,
    processing INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL DEFAULT 0,
    polls INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    throttled INTEGER NOT NULL DEFAULT 0,
    resumed INTEGER NOT NULL DEFAULT 0,
    adopted INTEGER NOT NULL DEFAULT 0,
    limited_by TEXT
) STRICT;

CREATE TABLE upload_batches (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs(id),
    number INTEGER NOT NULL,
    files INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL CHECK (status IN ('filling', 'filled', 'done', 'interrupted')),
    started_ms INTEGER NOT NULL,
    completed_ms INTEGER,
    UNIQUE (run_id, number)
) STRICT;

CREATE TABLE uploads (
    id INTEGER PRIMARY KEY,
    file_id INTEGER NOT NULL REFERENCES files(id),
    store_id INTEGER NOT NULL REFERENCES stores(id),
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    size_bytes INTEGER NOT NULL,
    mime TEXT,                       -- set when the file's own type was refused
    current INTEGER NOT NULL DEFAULT 1 CHECK (current IN (0, 1)),  -- the file is there, with this content
    status TEXT NOT NULL CHECK (status IN
        ('pending', 'uploading', 'processing', 'indexed', 'failed', 'superseded', 'retired')),
    queued INTEGER NOT NULL,         -- place in the queue; handed back = a new place at its end
    attempts INTEGER NOT NULL DEFAULT 0,  -- that ended without success
    session_url TEXT,
    operation TEXT,
    document TEXT,
    temp_file TEXT,
    temp_expires_ms INTEGER,
    error_kind TEXT,
    error TEXT,
    since_ms INTEGER NOT NULL,       -- in this status
    batch_id INTEGER REFERENCES upload_batches(id),
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;
-- One row a (file, store, content); what has ended may come back as a new row.
CREATE UNIQUE INDEX uploads_once ON uploads (file_id, store_id, sha256)
    WHERE status NOT IN ('superseded', 'retired');
CREATE UNIQUE INDEX uploads_document ON uploads (document) WHERE document IS NOT NULL;
CREATE INDEX uploads_queue ON uploads (store_id, status, queued);
CREATE INDEX uploads_counts ON uploads (store_id, current, status);

-- Documents found in a listing are matched against the few rows in doubt.
CREATE INDEX uploads_in_doubt ON uploads (sha256) WHERE status IN ('uploading', 'processing');

CREATE TABLE rates (
    endpoint TEXT NOT NULL,
    class TEXT NOT NULL CHECK (class IN ('write', 'read')),
    per_minute REAL NOT NULL,
    found_ms INTEGER NOT NULL,
    PRIMARY KEY (endpoint, class)
) STRICT;

CREATE TABLE upload_locks (
    lock_id INTEGER PRIMARY KEY CHECK (lock_id = 1),
    instance TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    acquired_ms INTEGER NOT NULL,
    heartbeat_ms INTEGER NOT NULL
) STRICT;
";

/// The staged way: how a row is sent, and whether its import may have been.
const V2: &str = "
ALTER TABLE uploads ADD COLUMN method TEXT NOT NULL DEFAULT 'direct'
    CHECK (method IN ('direct', 'staged'));
-- How often the direct way failed with its known fault.
ALTER TABLE uploads ADD COLUMN direct_faults INTEGER NOT NULL DEFAULT 0;
-- An import may have been sent: only a look at the store can tell.
ALTER TABLE uploads ADD COLUMN importing INTEGER NOT NULL DEFAULT 0 CHECK (importing IN (0, 1));
CREATE INDEX uploads_leftovers ON uploads (store_id, id)
    WHERE temp_file IS NOT NULL OR (document IS NOT NULL AND status IN ('pending', 'failed'));
-- A document in the store is matched with the file that its identity names.
CREATE INDEX files_by_identity ON files (path_value);
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applying_twice_is_applying_once() {
        let mut conn = Connection::open_in_memory().unwrap();
        apply(&mut conn).unwrap();
        apply(&mut conn).unwrap();
        let version: i32 = conn
            .query_row("PRAGMA user_version", [], |r| r.get(0))
            .unwrap();
        let id: i32 = conn
            .query_row("PRAGMA application_id", [], |r| r.get(0))
            .unwrap();
        assert_eq!((version, id), (newest(), APPLICATION_ID));
    }

    /// Every older schema, with rows in it, becomes the newest without losing one.
    #[test]
    fn every_older_version_is_brought_up_to_date() {
        for version in 1..STEPS.len() {
            let mut conn = Connection::open_in_memory().unwrap();
            for (i, step) in STEPS[..version].iter().enumerate() {
                conn.execute_batch(step).unwrap();
                conn.pragma_update(None, "user_version", i as i32 + 1)
                    .unwrap();
            }
            conn.execute_batch(
                "INSERT INTO libraries (id, root) VALUES (1, '/docs');
                 INSERT INTO files (id, library_id, path, path_value, size_bytes, mtime_ns, hashed_ms,
                     sha256, mime, state, first_seen_ms, last_seen_ms)
                 VALUES (1, 1, 'a', 'a', 1, 0, 0, zeroblob(32), 'text/plain', 'present', 0, 0);
                 INSERT INTO stores VALUES (1, 'e', 's', 'fileSearchStores/s', 0);
                 INSERT INTO uploads (id, file_id, store_id, sha256, size_bytes, status, queued,
                     session_url, since_ms, created_ms, updated_ms)
                 VALUES (1, 1, 1, zeroblob(32), 1, 'uploading', 1, 'url', 0, 0, 0);",
            )
            .unwrap();
            apply(&mut conn).unwrap();
            let row: (String, String, i64) = conn
                .query_row(
                    "SELECT session_url, method, importing FROM uploads",
                    [],
                    |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
                )
                .unwrap();
            assert_eq!(row, ("url".to_owned(), "direct".to_owned(), 0));
            let found: i32 = conn
                .query_row("PRAGMA user_version", [], |r| r.get(0))
                .unwrap();
            assert_eq!(found, newest());
        }
    }

    #[test]
    fn a_second_lock_row_cannot_exist() {
        let mut conn = Connection::open_in_memory().unwrap();
        apply(&mut conn).unwrap();
        let insert = "INSERT INTO upload_locks VALUES (?1, 'i', 'h', 1, 0, 0)";
        conn.execute(insert, [1]).unwrap();
        assert!(conn.execute(insert, [2]).is_err());
    }
}
