use std::io::{BufRead, Read};
use std::process::Stdio;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

use crate::run::{Place, RunToEnd, Service};

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

/// A run is killed in the middle: the page says so, and how far it was, while a living one says that it runs.
#[test]
fn a_run_is_seen_while_it_runs_and_said_to_be_killed_when_it_was() {
    let place = Place::new();
    place.files(40);
    let service = Service::start(&place, &["--latency-ms", "200"]);
    let args = ["--rpm", "0", "--concurrency", "2", "--batch-size", "5"];
    let mut upload = place.upload(&service, &args);
    let upload = upload.stdout(Stdio::null()).stderr(Stdio::null());
    let mut upload = upload.spawn().unwrap();
    let status = || {
        let json = place.objlib(&["status", "--json"]).seen().exit(0).events();
        let page = place.objlib(&["status"]).seen().exit(0).stdout;
        (json[0].clone(), page)
    };
    // Not there yet, or empty yet.
    while place.objlib(&["status"]).seen().exit != Some(0) {}
    let (json, page) = loop {
        let (json, page) = status();
        if json["last_run"]["indexed"].as_u64() > Some(4) {
            break (json, page);
        }
    };
    assert_eq!(json["last_run"]["outcome"], "running", "{page}");
    assert_eq!(json["worker"]["pid"], upload.id(), "{page}");
    let running = format!("running   run 1, pid {} on ", upload.id());
    assert!(page.contains(&running), "{page}");
    upload.kill().unwrap();
    upload.wait().unwrap();
    let (json, page) = status();
    assert_eq!(json["last_run"]["outcome"], "killed", "{page}");
    assert_eq!(json["worker"], serde_json::Value::Null, "{page}");
    assert!(page.contains(", killed (last seen alive "), "{page}");
    assert!(!page.contains("running"), "{page}");
}

#[test]
fn times_are_those_of_the_clocks_here() {
    let place = failed();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ago = now.unwrap().as_millis() as i64 - 5 * 60_000;
    let db = Connection::open(place.db()).unwrap();
    let run = |started_ms: i64| {
        db.execute(
            "INSERT INTO runs (instance, host, pid, version, store_id, started_ms, ended_ms, outcome)
             VALUES ('i', 'far', 1, '0', 1, ?1, ?1, 'done')",
            [started_ms],
        )
        .unwrap();
    };
    let page = |zone: &str| {
        let mut status = place.objlib(&["status"]);
        status.env("TZ", zone).seen().exit(0).stdout
    };
    run(1_764_000_000_000);
    for (zone, time) in [
        ("UTC0", "2025-11-24 16:00 UTC"),
        ("<+0530>-5:30", "2025-11-24 21:30"),
        ("EST5EDT,M3.2.0,M11.1.0", "2025-11-24 11:00"),
    ] {
        let page = page(zone);
        let line = format!("last run  began {time}, took 0 ms, done: ");
        assert!(page.contains(&line), "{zone}: {page}");
    }
    run(ago);
    assert!(
        page("UTC0").contains("began 5 minutes ago"),
        "{}",
        page("UTC0")
    );
}

/// The same name at two services are two stores, and each has its own next command.
#[test]
fn every_store_that_may_be_meant_is_shown() {
    let place = failed();
    let db = Connection::open(place.db()).unwrap();
    db.execute_batch(
        "INSERT INTO stores (id, name, display_name, endpoint, by_display_name, pinned_ms)
         VALUES (2, 'fileSearchStores/objlib-2', 'objlib', 'emulator', 1, 0),
             (3, 'fileSearchStores/other', 'other', 'emulator', 1, 0);
         INSERT INTO library_stores VALUES (1, 2, 0, ''), (1, 3, 0, '');
         INSERT INTO runs (instance, host, pid, version, store_id, started_ms, ended_ms, outcome)
         VALUES ('i', 'far', 1, '0', 2, 0, 0, 'done')",
    )
    .unwrap();
    let seen = |args: &[&str]| {
        let seen = place.objlib(&[&["status"], args].concat()).seen().exit(0);
        let lines = seen.stdout.lines();
        let stores = lines.filter(|line| line.starts_with("store "));
        let stores: Vec<String> = stores.map(str::to_owned).collect();
        (stores, seen)
    };
    let line = |name: &str, id: &str, at: &str| {
        format!("store     {name} (fileSearchStores/{id}) at {at}")
    };
    let [first, second] = [
        line("objlib", "objlib-2", "emulator"),
        line("objlib", "objlib-1", "e"),
    ];
    let other = line("other", "other", "emulator");
    // The one that was used last comes first, and those of the name before others.
    let (stores, page) = seen(&[]);
    assert_eq!(stores, [first.clone(), second, other.clone()]);
    let next: Vec<&str> = page
        .stdout
        .lines()
        .filter(|l| l.starts_with("next "))
        .collect();
    assert_eq!(next.len(), 3, "{}", page.stdout);
    assert!(next[0].ends_with(" --emulator`"), "{}", next[0]);
    assert!(next[1].ends_with(" --endpoint e`"), "{}", next[1]);
    assert_eq!(seen(&["--store", "other"]).0, [other]);
    assert_eq!(
        seen(&["--store", "no-such"]).0,
        ["store     nothing is known here of a store `no-such`"]
    );
    assert_eq!(
        seen(&["--store", "othr"]).0,
        ["store     nothing is known here of a store `othr`; did you mean `other`?"]
    );
    let (_, json) = seen(&["--json"]);
    let object = &json.events()[0];
    assert_eq!(object["store"]["name"], "fileSearchStores/objlib-2");
    assert_eq!(object["stores"].as_array().unwrap().len(), 3);
    assert_eq!(object["stores"][1]["failed"], FILES);
}

#[test]
fn a_watched_status_says_only_what_changes_to_programs_and_ends_with_ctrl_c() {
    let place = failed();
    let db = Connection::open(place.db()).unwrap();
    let mut watch = place.objlib(&["status", "--watch", "--json"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut failed = || {
        let line: serde_json::Value = serde_json::from_str(&lines.next()?.unwrap()).unwrap();
        assert!(
            line["time"].is_string() && line["event"] == "status",
            "{line}"
        );
        line["failed"].as_u64()
    };
    assert_eq!(failed(), Some(FILES as u64));
    let sql = "UPDATE uploads SET status = 'indexed' WHERE id = 1";
    db.execute(sql, []).unwrap();
    assert_eq!(failed(), Some(FILES as u64 - 1));
    kill_process(Pid::from_child(&watch), Signal::INT).unwrap();
    assert_eq!(failed(), None);
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}

/// One name at two services, as it happens to whoever tries with `--emulator` first.
#[test]
fn stores_of_one_name_are_told_apart() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &[]);
    place
        .objlib(&["upload", "docs", "-q", "--emulator"])
        .seen()
        .exit(0);
    let alone = place.objlib(&["library", "list"]).seen().exit(0).stdout;
    assert!(alone.trim_end().ends_with("goes into objlib"), "{alone}");
    place.upload(&service, &[]).seen().exit(0);
    let both = place.objlib(&["library", "list"]).seen().exit(0).stdout;
    for endpoint in ["emulator", &service.url.replace("127.0.0.1", "localhost")] {
        assert!(both.contains(&format!(") at {endpoint}")), "{both}");
    }
    let status = |args: &[&str]| {
        let seen = place.objlib(&["status"]).args(args).seen().exit(0).stdout;
        let lines = seen.lines().filter(|line| line.starts_with("store "));
        lines.map(str::to_owned).collect::<Vec<String>>()
    };
    assert_eq!(status(&[]).len(), 2);
    let [embedded] = &status(&["--emulator"])[..] else {
        panic!()
    };
    assert!(embedded.ends_with(" at emulator"), "{embedded}");
    let [remote] = &status(&["--endpoint", &service.url])[..] else {
        panic!()
    };
    assert!(!remote.ends_with(" at emulator"), "{remote}");
}
