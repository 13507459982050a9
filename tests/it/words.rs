use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::{KEY, Place, RunToEnd, Seen, Service};

/// An error and its hint on stderr, with all of these words in them, and this exit code.
#[track_caller]
fn says(mut command: Command, exit: i32, words: &[&str]) {
    let seen = command.seen().exit(exit);
    one_error(&seen, words);
}

#[track_caller]
fn one_error(seen: &Seen, words: &[&str]) {
    let lines: Vec<&str> = seen.stderr.lines().collect();
    let [error, hint] = lines.as_slice() else {
        panic!("not an error and its hint: {lines:#?}");
    };
    assert!(error.starts_with("error: "), "{error}");
    assert!(hint.starts_with("hint: "), "{hint}");
    for word in words {
        assert!(seen.stderr.contains(word), "`{word}` is not in: {lines:#?}");
    }
}

#[test]
fn no_key() {
    let place = Place::new();
    place.files(3);
    says(
        place.objlib(&["upload", "docs"]),
        6,
        &["key", "GEMINI_API_KEY", "--emulator"],
    );
}

#[test]
fn a_refused_key() {
    let place = Place::new();
    place.files(30);
    let service = Service::start(&place, &["--refuse-key", KEY]);
    let mut command = place.objlib(&["upload", "docs", "--endpoint", &service.url, "-q"]);
    command.env("GEMINI_API_KEY", KEY);
    says(command, 6, &["API key", "not valid", "check the key"]);
    assert_eq!(service.requests().len(), 1);
    // What a report to the service needs.
    let mut command = place.objlib(&["store", "list", "--endpoint", &service.url, "-v"]);
    let seen = command.env("GEMINI_API_KEY", KEY).seen().exit(6);
    let details = seen.stderr.lines().nth(2).unwrap();
    assert!(
        details.starts_with("service: HTTP 400 INVALID_ARGUMENT, API_KEY_INVALID: API key not"),
        "{details}"
    );
}

#[test]
fn wrong_usage() {
    let place = Place::new();
    place.files(3);
    for (args, words) in [
        (
            &["upload", "docs", "--tier", "gold"][..],
            &["--tier", "gold", "tier1"][..],
        ),
        (
            &["upload", "docs", "--concurrency", "0"],
            &["--concurrency", "0"],
        ),
        (
            &["upload", "docs", "--batch-size", "0"],
            &["--batch-size", "0"],
        ),
        (
            &["upload", "docs", "--concurrency", "10000"],
            &["--concurrency", "10000", "1..=256"],
        ),
        (&["upload", "docs", "--rpm", "many"], &["--rpm", "many"]),
        (
            &["upload", "docs", "--rpm", "-1"],
            &["--rpm", "-1", "from 1 to 1000000"],
        ),
        (
            &["upload", "docs", "--rpm", "1e9"],
            &["--rpm", "1e9", "from 1 to 1000000"],
        ),
        (
            &["upload", "docs", "--rpm", "5", "--tier", "free"],
            &["--rpm", "--tier"],
        ),
        (
            &["upload", "docs", "--bwlimit", "fast"],
            &["--bwlimit", "fast"],
        ),
        (&["upload", "--no-such-flag"], &["--no-such-flag"]),
        (&["scan"], &["DIR"]),
        (&["no-such-command"], &["no-such-command"]),
        (&["scan", "docs", "--include", "[a"], &["[a"]),
    ] {
        says(place.objlib(args), 2, words);
    }
}

#[test]
fn a_folder_that_is_not_there_or_empty_marks_nothing() {
    let place = Place::new();
    place.files(10);
    place.objlib(&["scan", "docs"]).seen().exit(0);
    says(
        place.objlib(&["scan", "nowhere"]),
        1,
        &["nowhere", "No such file", "check the path"],
    );
    fs::rename(place.docs(), place.path().join("away")).unwrap();
    says(
        place.objlib(&["scan", "docs"]),
        1,
        &["docs", "No such file"],
    );
    fs::create_dir(place.docs()).unwrap();
    says(
        place.objlib(&["scan", "docs"]),
        1,
        &["docs", "empty", "--accept-missing"],
    );
    place.file("note.md", "one left of ten");
    says(
        place.objlib(&["scan", "docs"]),
        1,
        &["docs", "10 of 10 known files are gone", "--accept-missing"],
    );
    let status = place.objlib(&["status", "--json"]).seen().exit(0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (status["files"].as_u64(), status["missing"].as_u64()),
        (Some(11), Some(0))
    );
    place
        .objlib(&["scan", "docs", "--accept-missing"])
        .seen()
        .exit(0);
    let status = place.objlib(&["status", "--json"]).seen().exit(0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (status["files"].as_u64(), status["missing"].as_u64()),
        (Some(1), Some(10))
    );
}

#[test]
fn two_stores_of_one_name() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &[]);
    let create = |name: &str| {
        let answer = ureq::post(format!("{}/v1beta/fileSearchStores", service.url))
            .header("x-goog-api-key", KEY)
            .header("content-type", "application/json")
            .send(format!(r#"{{"displayName": "{name}"}}"#))
            .unwrap();
        let body: serde_json::Value =
            serde_json::from_reader(answer.into_body().into_reader()).unwrap();
        body["name"].as_str().unwrap().to_owned()
    };
    let (first, second) = (create("twins"), create("twins"));
    let upload = |store: &str| {
        let args = [
            "upload",
            "docs",
            "-q",
            "--endpoint",
            &service.url,
            "--store",
            store,
        ];
        let mut command = place.objlib(&args);
        command.env("GEMINI_API_KEY", KEY);
        command
    };
    says(upload("twins"), 1, &["twins", &first, &second, "--store"]);
    assert_eq!(service.ledger().uploads(), 0);
    upload(&second).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
}

/// A service that cannot be reached: one word that it is waited for, one that it was in vain, and nothing
/// sent.
#[track_caller]
fn waited_for(mut command: Command, why: &str) {
    let seen = command.args(["--passes", "2"]).seen().exit(4);
    let lines: Vec<&str> = seen.stderr.lines().collect();
    let [notice, error, hint] = lines.as_slice() else {
        panic!("not three lines: {lines:#?}");
    };
    assert!(notice.contains("waited for"), "{notice}");
    for word in [why, "--endpoint", "nothing was sent"] {
        assert!(
            format!("{error} {hint}").contains(word),
            "`{word}` is not in: {lines:#?}"
        );
    }
}

#[test]
fn endpoints_that_are_none() {
    let place = Place::new();
    place.files(3);
    let upload = |endpoint: &str| {
        let mut command = place.objlib(&["upload", "docs", "-q", "--endpoint", endpoint]);
        command.env("GEMINI_API_KEY", KEY);
        command
    };
    // A port where nobody is.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    // Waited for, as a service that fails later is: it may only be restarting.
    waited_for(upload(&format!("http://{nobody}")), "refused");
    says(
        upload("http://service.invalid"),
        2,
        &["plain HTTP", "https://"],
    );
    waited_for(upload("https://service.invalid"), "service.invalid");
    says(upload("gopher://127.0.0.1"), 2, &["gopher", "http"]);
    // Somebody who speaks another language.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in other.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    says(upload(&format!("http://{address}")), 1, &["HTTP"]);
}

#[test]
fn databases_that_cannot_be_used() {
    let place = Place::new();
    place.files(3);
    fs::write(
        place.db(),
        "certainly not a database, but long enough to be taken for one. ".repeat(20),
    )
    .unwrap();
    says(
        place.objlib(&["scan", "docs"]),
        1,
        &["library.db", "not an SQLite database", "--db"],
    );
    fs::remove_file(place.db()).unwrap();

    place.objlib(&["scan", "docs"]).seen().exit(0);
    let db = rusqlite::Connection::open(place.db()).unwrap();
    db.pragma_update(None, "user_version", 999).unwrap();
    drop(db);
    says(
        place.objlib(&["scan", "docs"]),
        1,
        &["library.db", "newer objlib", "update"],
    );
    says(
        place.objlib(&["status"]),
        1,
        &["library.db", "newer objlib", "update"],
    );

    says(
        place.objlib(&["status", "--db", "no-such.db"]),
        1,
        &["no-such.db", "scan"],
    );
    says(
        place.objlib(&["scan", "docs", "--db", "docs"]),
        1,
        &["docs"],
    );
}

/// A run was killed and the disk has lost a part of what it held.
#[test]
fn a_damaged_database_is_refused_before_anything_is_sent() {
    let place = Place::new();
    place.files(400);
    let service = Service::start(&place, &[]);
    let half = ["--rpm", "0", "--limit", "200"];
    place.upload(&service, &half).seen().exit(0);
    let whole = fs::read(place.db()).unwrap();
    let before = service.requests().len();
    let middle = whole.len() / 2;
    for damaged in [
        // A page in the middle; everything from the middle on; the first page, behind its header.
        [&whole[..middle], &[0xa5; 4096], &whole[middle + 4096..]].concat(),
        whole[..middle].to_vec(),
        [&whole[..100], &[0xa5; 2000], &whole[2100..]].concat(),
    ] {
        fs::write(place.db(), &damaged).unwrap();
        // As the kill left it: held by a process that is gone.
        let _ = rusqlite::Connection::open(place.db()).and_then(|db| {
            db.execute(
                "INSERT INTO upload_locks VALUES (1, 'dead', 'elsewhere', 1, 0, 0)",
                [],
            )
        });
        let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(1);
        one_error(
            &seen,
            &["library.db", "damaged", "backup", "verify --repair"],
        );
        for end in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", place.db().display()));
        }
    }
    assert_eq!(service.requests().len(), before, "something was sent");
    // What the message says works.
    fs::remove_file(place.db()).unwrap();
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let repair = ["verify", "--repair", "--endpoint", &service.url];
    let mut repair = place.objlib(&repair);
    repair.env("GEMINI_API_KEY", KEY).seen().exit(0);
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(seen.summary()["indexed"], 200);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_store_that_was_deleted_ends_the_run_and_fails_no_file() {
    let place = Place::new();
    place.files(12);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--limit", "6"]).seen().exit(0);
    let store = service.ledger().0["documents"][0]["store"].clone();
    let url = format!("{}/v1beta/{}", service.url, store.as_str().unwrap());
    let deleted = ureq::delete(format!("{url}?force=true")).header("x-goog-api-key", KEY);
    deleted.call().unwrap();
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(1);
    one_error(
        &seen,
        &["fileSearchStores/objlib-", "deleted", "--recreate-store"],
    );
    let status = place.objlib(&["status", "--json"]).seen().exit(0).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (&status["failed"], &status["pending"]),
        (&0.into(), &6.into())
    );
    // What the message says works.
    let other = ["--rpm", "0", "--store", "another"];
    place.upload(&service, &other).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_database_on_a_read_only_or_full_disk() {
    let place = Place::new();
    place.files(200);
    let disk = place.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |options| mount(&disk, options);
    if !mount("size=48k") {
        // Without the right to mount there is no small disk; a folder that cannot be written must do.
        eprintln!("no right to mount: only the read-only folder is tried");
        if fs::metadata("/proc/self").is_ok_and(|_| is_root()) {
            return;
        }
        fs::set_permissions(&disk, Permissions::from_mode(0o500)).unwrap();
        says(
            place.objlib(&["scan", "docs", "--db", "disk/l.db"]),
            1,
            &["disk/l.db"],
        );
        return;
    }
    let _unmount = Unmount(&disk);
    says(
        place.objlib(&["scan", "docs", "--db", "disk/l.db"]),
        1,
        &["disk/l.db", "full"],
    );
    Command::new("umount").arg(&disk).output().unwrap();
    assert!(mount("size=4m"));
    place
        .objlib(&["scan", "docs", "--db", "disk/l.db"])
        .seen()
        .exit(0);
    let remount = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&disk)
        .output();
    assert!(remount.unwrap().status.success());
    says(
        place.objlib(&["scan", "docs", "--db", "disk/l.db"]),
        1,
        &["disk/l.db", "read-only"],
    );
}

/// What was recorded before is whole, what was not is found by the next scan, and nothing is marked as gone.
#[test]
fn a_disk_that_fills_up_in_the_middle_of_a_scan_leaves_nothing_half_recorded() {
    let place = Place::new();
    place.files(4000);
    let disk = place.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |options| mount(&disk, options);
    if !mount("size=1m") {
        eprintln!("no right to mount: skipped");
        return;
    }
    let _unmount = Unmount(&disk);
    let scan = || place.objlib(&["scan", "docs", "--db", "disk/l.db", "--json"]);
    says(scan(), 1, &["disk/l.db", "full"]);
    assert!(mount("remount,size=16m"));
    let db = rusqlite::Connection::open(disk.join("l.db")).unwrap();
    let ask = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let recorded = ask("SELECT count(*) FROM files");
    assert!((1..4000).contains(&recorded), "{recorded} files");
    assert_eq!(
        ask("SELECT count(*) FROM files WHERE state <> 'present'"),
        0
    );
    drop(db);
    let done = scan().seen().exit(0).events().pop().unwrap();
    assert_eq!(done["files"], 4000);
    assert_eq!(done["new"].as_i64(), Some(4000 - recorded));
    assert_eq!(done["missing"], 0);
}

/// A disk of memory in place of the folder; whether there is the right to.
fn mount(disk: &Path, options: &str) -> bool {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", options, "tmpfs"]);
    let mounted = command.arg(disk).output();
    mounted.is_ok_and(|o| o.status.success())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// Nothing can be made beside it, and its log was folded in when it was closed.
#[test]
fn a_database_on_a_disk_that_cannot_be_written_to_is_read() {
    let place = Place::new();
    place.files(3);
    let disk = place.path().join("a disk?%");
    fs::create_dir(&disk).unwrap();
    let mount = |options| mount(&disk, options);
    if !mount("size=4m") {
        eprintln!("no right to mount: skipped");
        return;
    }
    let _unmount = Unmount(&disk);
    let service = Service::start(&place, &[]);
    let here = ["--db", "a disk?%/l.db"];
    place.upload(&service, &here).seen().exit(0);
    assert!(mount("remount,ro"));
    for args in [
        &["status", "--json"][..],
        &["library", "list"],
        &["store", "show", "objlib", "--endpoint", &service.url],
        &["search", "note", "--endpoint", &service.url],
    ] {
        let mut command = place.objlib(args);
        let seen = command
            .args(here)
            .env("GEMINI_API_KEY", crate::run::KEY)
            .seen();
        assert!(!seen.exit(0).stdout.is_empty());
    }
    says(
        place.objlib(&["scan", "docs", "--db", here[1]]),
        1,
        &["read-only"],
    );
}

struct Unmount<'p>(&'p std::path::Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).output();
    }
}

#[test]
fn a_disk_that_fills_up_in_the_middle_stops_the_run_and_nothing_is_lost() {
    let place = Place::new();
    place.files(300);
    let disk = place.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&disk)
        .output()
        .is_ok_and(|o| o.status.success());
    if !mounted {
        eprintln!("no right to mount: skipped");
        return;
    }
    let _unmount = Unmount(&disk);
    let service = Service::start(&place, &[]);
    place
        .objlib(&["scan", "docs", "--db", "disk/l.db"])
        .seen()
        .exit(0);
    let used = |name: &str| fs::metadata(disk.join(name)).map_or(0, |m| m.len());
    let upload = || place.upload(&service, &["--rpm", "0", "--db", "disk/l.db"]);
    // What is left is enough to begin with, not to end.
    let ballast = disk.join("ballast");
    let free = (1 << 20) - used("l.db") - used("l.db-wal") - used("l.db-shm");
    fs::write(&ballast, vec![0u8; free as usize - 400 * 1024]).unwrap();
    let seen = upload().seen().exit(1);
    let summary = seen.summary();
    assert_eq!(summary["exit"], 1);
    assert!(seen.stderr.contains("full"), "{}", seen.stderr);
    // What was said of the files is what is said of them at the end.
    let events = seen.events();
    let indexed = events
        .iter()
        .filter(|e| e["event"] == "file" && e["status"] == "indexed");
    assert_eq!(summary["indexed"], indexed.count());
    assert_eq!(summary["total"], 300);
    let begun = service.ledger().uploads();
    assert!(begun > 0 && begun < 300, "{begun} uploads began");
    fs::remove_file(&ballast).unwrap();
    // Room for the rest of this test, not for a real library.
    let grown = Command::new("mount")
        .args(["-o", "remount,size=8m"])
        .arg(&disk)
        .output();
    assert!(grown.unwrap().status.success());
    upload().seen().exit(0);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_second_process_on_the_same_database() {
    let place = Place::new();
    place.files(40);
    let service = Service::start(&place, &["--latency-ms", "200"]);
    let mut first = place
        .upload(&service, &["--rpm", "0", "--concurrency", "2"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while service.ledger().uploads() == 0 {
        assert!(first.try_wait().unwrap().is_none(), "ended too early");
        std::thread::yield_now();
    }
    let mut second = place.objlib(&["upload", "docs", "-q", "--endpoint", &service.url]);
    second.env("GEMINI_API_KEY", KEY);
    says(second, 5, &["objlib", "pid", "library.db"]);
    // Looking is free.
    place.objlib(&["status"]).seen().exit(0);
    assert!(first.wait().unwrap().success());
    service.ledger().is_exactly(&place.docs());
}
