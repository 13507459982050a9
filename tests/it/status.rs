use std::io::Read;
use std::process::Stdio;

use rusqlite::Connection;

use crate::run::{Place, RunToEnd};

/// More rows than a page of the reader holds, of each kind, and errors one of which is empty.
const FILES: usize = 700;

/// A database whose files have all failed, with one of three errors, and as many skips.
fn failed() -> Place {
    let place = Place::new();
    place.file("one.md", "one");
    place.objlib(&["scan", "docs", "-q"]).seen().exit(0);
    let db = Connection::open(place.db()).unwrap();
    db.execute_batch(&format!(
        "DELETE FROM files;
         INSERT INTO stores (id, name, display_name, endpoint, by_display_name, pinned_ms)
         VALUES (1, 'fileSearchStores/objlib-1', 'objlib', 'e', 1, 0);
         INSERT INTO library_stores VALUES (1, 1, 0, NULL);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {FILES})
         INSERT INTO files (id, library_id, path, path_value, size_bytes, mtime_ns, hashed_ms, sha256,
             variant, mime, state, first_seen_ms, last_seen_ms)
         SELECT i, 1, 'f' || i, 'f' || i, 1, 0, 0, zeroblob(32), zeroblob(16), 'text/plain', 'present',
             0, 0 FROM n;
         INSERT INTO uploads (file_id, library_id, store_id, sha256, variant, size_bytes, status, queued,
             error_kind, error, since_ms, created_ms, updated_ms)
         SELECT id, 1, 1, sha256, variant, 1, 'failed', id, 'refused',
             CASE id % 3 WHEN 0 THEN '' WHEN 1 THEN 'no' ELSE 'never' END, 0, 0, 0 FROM files;
         INSERT INTO skipped_files SELECT 1, path, 'empty', '0 bytes', 0 FROM files;"
    ))
    .unwrap();
    place
}

/// Each path from the first number on, in some order.
#[track_caller]
fn is_each_file_once<'a>(paths: impl Iterator<Item = &'a str>) {
    let mut numbers: Vec<usize> = paths.map(|path| path[1..].parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=FILES).collect::<Vec<_>>());
}

#[test]
fn each_failed_file_is_named_once_below_its_error() {
    let place = failed();
    let seen = place.objlib(&["status", "--failed"]).seen().exit(0);
    let headings: Vec<&str> = seen
        .stdout
        .lines()
        .filter(|l| !l.starts_with(' '))
        .collect();
    let next = headings[3];
    assert_eq!(
        headings[..3],
        ["233 files: ", "233 files: never", "234 files: no"]
    );
    assert!(
        next.starts_with("next: mend the cause, then `objlib upload --retry-failed"),
        "{next}"
    );
    is_each_file_once(
        seen.stdout
            .lines()
            .filter_map(|l| l.strip_prefix("  docs: ")),
    );

    let seen = place
        .objlib(&["status", "--failed", "--json"])
        .seen()
        .exit(0);
    let rows = seen.events();
    is_each_file_once(rows.iter().map(|row| row["path"].as_str().unwrap()));
}

#[test]
fn each_skipped_path_is_named_once() {
    let place = failed();
    let seen = place.objlib(&["status", "--skipped"]).seen().exit(0);
    is_each_file_once(seen.stdout.lines().map(|line| {
        let line = line.strip_prefix("docs: ").unwrap();
        line.strip_suffix(": empty (0 bytes)").unwrap()
    }));
    let seen = place
        .objlib(&["status", "--skipped", "--json"])
        .seen()
        .exit(0);
    let rows = seen.events();
    is_each_file_once(rows.iter().map(|row| row["path"].as_str().unwrap()));
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_list() {
    let place = failed();
    let mut status = place.objlib(&["status", "--failed"]);
    let mut status = status
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(status.stdout.take());
    let mut words = String::new();
    status
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut words)
        .unwrap();
    assert_eq!(
        (status.wait().unwrap().code(), words.as_str()),
        (Some(0), "")
    );
}

#[test]
fn a_run_whose_objlib_is_dead_is_not_said_to_be_running() {
    let place = failed();
    let db = Connection::open(place.db()).unwrap();
    db.execute_batch(
        "INSERT INTO runs (instance, host, pid, version, store_id, started_ms)
         VALUES ('i', 'far', 1, '0', 1, 0)",
    )
    .unwrap();
    let outcome = || {
        let seen = place.objlib(&["status", "--json"]).seen().exit(0);
        seen.events()[0]["last_run"]["outcome"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(outcome(), "killed");
    // On another host, only the heartbeat can tell.
    let beat = |ms: i64| {
        let sql = "INSERT OR REPLACE INTO upload_locks VALUES (1, 'i', 'far', 1, 0, ?1)";
        db.execute(sql, [ms]).unwrap();
    };
    beat(0);
    assert_eq!(outcome(), "killed");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    beat(now.unwrap().as_millis() as i64);
    assert_eq!(outcome(), "running");
}
