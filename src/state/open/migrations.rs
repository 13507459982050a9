//! The schema, one step a version.
//!
//! A step that was ever released is never edited; a change is a new step at the end.

use rusqlite::Connection;

/// `application_id` of the file: "objl". Tells our database from any other SQLite file.
pub const APPLICATION_ID: i32 = 0x6f62_6a6c;

/// The schema of step 0. Versions 1 to 6 were those of objlibs before the first release: they lack
/// libraries, stores, columns or indexes that this one rests on, and are refused.
const FIRST: i32 = 7;

const STEPS: &[&str] = &[V1, V2];

/// The newest schema this program knows.
pub fn newest() -> i32 {
    FIRST + STEPS.len() as i32 - 1
}

/// Whether runs of this database may have details: what only reads finds it as an older objlib has left it.
pub fn has_details(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("PRAGMA user_version", [], |r| r.get::<_, i32>(0))
        .map(|version| version > FIRST)
}

/// Whether a database of this version is one that no released objlib has written.
pub fn is_before_release(version: i32) -> bool {
    (1..FIRST).contains(&version)
}

/// Brings the database to the newest schema. The caller's transaction holds all of it, so a second
/// objlib that opens the same new file waits, and then finds it done.
pub fn apply(tx: &Connection) -> rusqlite::Result<()> {
    let version: i32 = tx.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let done = usize::try_from(version - FIRST + 1).unwrap_or(0);
    for step in STEPS.iter().skip(done) {
        tx.execute_batch(step)?;
    }
    if version < newest() {
        tx.pragma_update(None, "user_version", newest())?;
    }
    Ok(())
}

// For a list of more than two values SQLite builds a table at each run of a statement: such checks are written out.
// (Databases that are older have them as lists, which allow the same.)
const V1: &str = "
PRAGMA application_id = 0x6f626a6c;

CREATE TABLE libraries (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,       -- NFC; in the identity of each of its documents
    root TEXT NOT NULL UNIQUE,       -- absolute, without symlinks
    settings TEXT NOT NULL DEFAULT '{}',  -- rules, constants, types, chunking: JSON
    added_ms INTEGER NOT NULL,
    scanned_ms INTEGER               -- the last scan that came to its end
) STRICT;

-- The service's names are global, so a store is one row however it was spelled.
CREATE TABLE stores (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,       -- fileSearchStores/...
    display_name TEXT NOT NULL,
    endpoint TEXT NOT NULL,          -- canonical, or 'emulator'
    by_display_name INTEGER NOT NULL CHECK (by_display_name IN (0, 1)),  -- found, or made, by it
    pinned_ms INTEGER NOT NULL,
    embedding_model TEXT,            -- NULL: the service does not say
    -- Whether its service takes uploads of one request, with their metadata.
    one_request TEXT NOT NULL DEFAULT 'untried' CHECK (one_request IN ('untried', 'works', 'refused')),
    page_token TEXT,                 -- where the next run goes on to read its listing
    documents_before INTEGER NOT NULL DEFAULT 0  -- how many documents stand before that place
) STRICT;
CREATE INDEX stores_by_display_name ON stores (endpoint, display_name);

-- Which libraries go into which store: nothing is queued, or sent, without such a row.
CREATE TABLE library_stores (
    library_id INTEGER NOT NULL REFERENCES libraries(id),
    store_id INTEGER NOT NULL REFERENCES stores(id),
    linked_ms INTEGER NOT NULL,
    queued_to TEXT DEFAULT '',       -- files up to this path have their upload; NULL: all have
    PRIMARY KEY (library_id, store_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX library_stores_by_store ON library_stores (store_id);

CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    library_id INTEGER NOT NULL REFERENCES libraries(id),
    path TEXT NOT NULL,              -- relative, as on disk
    path_value TEXT NOT NULL,        -- the identity's value of it
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    hashed_ms INTEGER NOT NULL,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    variant BLOB NOT NULL CHECK (length(variant) = 16),
    mime TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '[]',  -- the user's entries and that of the chunking
    unmatched INTEGER NOT NULL DEFAULT 0 CHECK (unmatched IN (0, 1)),  -- there are rules, and none met it
    -- left_out: there, but an ignore file, or what it is, keeps it from being sent
    -- moved: gone from this path, and found again at another
    state TEXT NOT NULL CHECK (state = 'present' OR state = 'missing' OR state = 'left_out' OR state = 'moved'),
    first_seen_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    missing_since_ms INTEGER,
    moved_to INTEGER,                -- the file that holds its content now
    -- It came or went, and no whole scan has ended since, which would see whether it moved.
    fresh INTEGER NOT NULL DEFAULT 0 CHECK (fresh IN (0, 1)),
    CHECK ((state = 'moved') = (moved_to IS NOT NULL)),
    UNIQUE (library_id, path)
) STRICT;
CREATE INDEX files_by_state ON files (library_id, state, size_bytes);
CREATE INDEX files_images ON files (library_id, size_bytes)
    WHERE state = 'present' AND mime IN ('image/png', 'image/jpeg');
CREATE INDEX files_unmatched ON files (library_id, path) WHERE unmatched = 1;
-- A document in the store is matched with the file that its identity names.
CREATE INDEX files_by_identity ON files (path_value, library_id);
CREATE INDEX files_fresh ON files (library_id, state, sha256, path) WHERE fresh = 1;
CREATE INDEX files_moved ON files (moved_to) WHERE moved_to IS NOT NULL;
CREATE INDEX files_gone ON files (library_id, id) WHERE state != 'present';

CREATE TABLE skipped_files (
    library_id INTEGER NOT NULL REFERENCES libraries(id),
    path TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    scan INTEGER NOT NULL,           -- the start of the scan that skipped it, in ms
    PRIMARY KEY (library_id, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX skipped_by_reason ON skipped_files (library_id, reason);

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
CREATE INDEX runs_by_store ON runs (store_id);
CREATE INDEX runs_open ON runs (id) WHERE ended_ms IS NULL AND outcome IS NULL;

CREATE TABLE upload_batches (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs(id),
    number INTEGER NOT NULL,
    files INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL CHECK (status = 'filling' OR status = 'filled' OR status = 'done'
        OR status = 'interrupted'),
    started_ms INTEGER NOT NULL,
    completed_ms INTEGER,
    UNIQUE (run_id, number)
) STRICT;
CREATE INDEX upload_batches_open ON upload_batches (run_id) WHERE status IN ('filling', 'filled');

CREATE TABLE uploads (
    id INTEGER PRIMARY KEY,
    file_id INTEGER NOT NULL REFERENCES files(id),
    library_id INTEGER NOT NULL,
    store_id INTEGER NOT NULL,
    -- The key of what is uploaded of the file: its bytes, and what its document carries besides.
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    variant BLOB NOT NULL CHECK (length(variant) = 16),
    size_bytes INTEGER NOT NULL,
    mime TEXT,                       -- set when the file's own type was refused
    current INTEGER NOT NULL DEFAULT 1 CHECK (current IN (0, 1)),  -- the file is there, with this content
    -- Its document is to be deleted: newer content has taken its place, or it was purged. On disk before the
    -- deletion is sent, and for good: should the content come back, it gets another row.
    unwanted INTEGER NOT NULL DEFAULT 0 CHECK (unwanted IN (0, 1)),
    status TEXT NOT NULL CHECK (status = 'pending' OR status = 'uploading' OR status = 'processing'
        OR status = 'indexed' OR status = 'failed' OR status = 'superseded' OR status = 'retired'),
    queued INTEGER NOT NULL,         -- place in the queue; handed back = a new place at its end
    attempts INTEGER NOT NULL DEFAULT 0,  -- that ended without success
    method TEXT NOT NULL DEFAULT 'direct' CHECK (method IN ('direct', 'staged')),
    direct_faults INTEGER NOT NULL DEFAULT 0,  -- how often the direct way met its known fault
    -- A request may have been sent that cannot be asked about (an import, or an upload in one request):
    -- only a look at the store can tell.
    unaskable INTEGER NOT NULL DEFAULT 0 CHECK (unaskable IN (0, 1)),
    session_url TEXT,                -- path and query on the store's own service, never a host
    operation TEXT,
    document TEXT,
    temp_file TEXT,
    error_kind TEXT,
    error TEXT,                      -- of the last attempt; whatever has failed has one
    since_ms INTEGER NOT NULL,       -- in this status
    batch_id INTEGER REFERENCES upload_batches(id),
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    -- A file never goes to a store its library was not linked with.
    FOREIGN KEY (library_id, store_id) REFERENCES library_stores (library_id, store_id)
) STRICT;
-- One row a (file, store, content); what has ended may come back as a new row.
CREATE UNIQUE INDEX uploads_once ON uploads (file_id, store_id, sha256, variant)
    WHERE status NOT IN ('superseded', 'retired') AND unwanted = 0;
CREATE UNIQUE INDEX uploads_document ON uploads (document) WHERE document IS NOT NULL;
CREATE INDEX uploads_by_file ON uploads (file_id, store_id);
CREATE INDEX uploads_queue ON uploads (store_id, status, queued);
CREATE INDEX uploads_counts ON uploads (library_id, store_id, current, status, size_bytes);
-- Lists by pages: each of these indexes holds its rows in the order of their ids.
CREATE INDEX uploads_unfinished ON uploads (store_id) WHERE status IN ('uploading', 'processing');
CREATE INDEX uploads_indexed ON uploads (store_id) WHERE status = 'indexed';
CREATE INDEX uploads_by_error ON uploads (store_id, status, current, error) WHERE error IS NOT NULL;
-- Documents found in a listing are matched against the few rows in doubt.
CREATE INDEX uploads_in_doubt ON uploads (sha256) WHERE status IN ('uploading', 'processing');
CREATE INDEX uploads_ended ON uploads (store_id, since_ms) WHERE status IN ('superseded', 'retired');
CREATE INDEX uploads_unwanted ON uploads (store_id, id) WHERE unwanted = 1 AND status = 'indexed';
CREATE INDEX uploads_outdated ON uploads (store_id, id)
    WHERE current = 0 AND unwanted = 0 AND status = 'indexed';
CREATE INDEX uploads_leftovers ON uploads (store_id, id)
    WHERE temp_file IS NOT NULL OR (document IS NOT NULL AND status IN ('pending', 'failed'));

CREATE TABLE rates (
    endpoint TEXT NOT NULL,
    class TEXT NOT NULL CHECK (class IN ('write', 'read')),
    per_minute REAL NOT NULL,
    found_ms INTEGER NOT NULL,
    PRIMARY KEY (endpoint, class)
) STRICT, WITHOUT ROWID;

CREATE TABLE operation_times (
    endpoint TEXT PRIMARY KEY,
    times_ms TEXT NOT NULL,          -- as many shorter than each as longer than the next; spaces between
    learned_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE upload_locks (
    lock_id INTEGER PRIMARY KEY CHECK (lock_id = 1),
    instance TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    acquired_ms INTEGER NOT NULL,
    heartbeat_ms INTEGER NOT NULL
) STRICT;
";

/// What a run did over time: JSON, as `pipeline/record.rs` writes it.
const V2: &str = "
CREATE TABLE run_details (
    run_id INTEGER PRIMARY KEY REFERENCES runs(id),
    details TEXT NOT NULL
) STRICT;
";

#[cfg(test)]
mod tests {
    use super::*;

    fn version(conn: &Connection) -> i32 {
        conn.query_row("PRAGMA user_version", [], |r| r.get(0))
            .unwrap()
    }

    #[test]
    fn applying_twice_is_applying_once() {
        let conn = Connection::open_in_memory().unwrap();
        apply(&conn).unwrap();
        apply(&conn).unwrap();
        let id: i32 = conn
            .query_row("PRAGMA application_id", [], |r| r.get(0))
            .unwrap();
        assert_eq!((version(&conn), id), (newest(), APPLICATION_ID));
    }

    #[test]
    fn only_what_was_never_released_is_before_the_release() {
        let before: Vec<i32> = (-1..7).filter(|v| is_before_release(*v)).collect();
        assert_eq!(before, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_second_lock_row_cannot_exist() {
        let conn = Connection::open_in_memory().unwrap();
        apply(&conn).unwrap();
        let insert = "INSERT INTO upload_locks VALUES (?1, 'i', 'h', 1, 0, 0)";
        conn.execute(insert, [1]).unwrap();
        assert!(conn.execute(insert, [2]).is_err());
    }

    #[test]
    fn an_upload_into_a_store_that_its_library_is_not_linked_with_cannot_exist() {
        let conn = Connection::open_in_memory().unwrap();
        conn.pragma_update(None, "foreign_keys", "ON").unwrap();
        apply(&conn).unwrap();
        conn.execute_batch(
            "INSERT INTO libraries VALUES (1, 'docs', '/docs', '{}', 0, 0);
             INSERT INTO stores VALUES (1, 'fileSearchStores/s', 's', 'e', 1, 0, NULL, 'works', NULL, 0);
             INSERT INTO stores VALUES (2, 'fileSearchStores/t', 't', 'e', 1, 0, NULL, 'untried', NULL, 0);
             INSERT INTO library_stores VALUES (1, 1, 0, NULL);
             INSERT INTO files (id, library_id, path, path_value, size_bytes, mtime_ns, hashed_ms,
                 sha256, variant, mime, state, first_seen_ms, last_seen_ms)
             VALUES (1, 1, 'a', 'a', 1, 0, 0, zeroblob(32), zeroblob(16), 'text/plain', 'present', 0, 0);",
        )
        .unwrap();
        let insert =
            "INSERT INTO uploads (file_id, library_id, store_id, sha256, variant, size_bytes,
             status, queued, since_ms, created_ms, updated_ms)
             VALUES (1, 1, ?1, zeroblob(32), zeroblob(16), 1, 'pending', 1, 0, 0, 0)";
        conn.execute(insert, [1]).unwrap();
        assert!(conn.execute(insert, [2]).is_err());
    }
}
