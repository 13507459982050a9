use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::run::{KEY, Place, RunToEnd, Seen, Service};

/// `check: state`, in their order.
fn states(seen: &Seen) -> Vec<String> {
    let text = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
    let events = seen.events();
    assert!(events.iter().all(|line| line["event"] == "check"));
    let has_hint = |line: &&Value| line.get("hint").is_some();
    let bad = events.iter().filter(|line| line["state"] != "ok");
    assert_eq!(bad.count(), events.iter().filter(has_hint).count());
    let line = |line: &Value| format!("{}: {}", text(line, "check"), text(line, "state"));
    events.iter().map(line).collect()
}

fn doctor(place: &Place, endpoint: &str, args: &[&str]) -> Seen {
    let mut command = place.objlib(&["doctor", "--json", "--endpoint", endpoint]);
    command.args(args).env("GEMINI_API_KEY", KEY).seen()
}

#[test]
fn it_says_what_an_upload_would_meet_and_changes_nothing() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &[]);
    let seen = doctor(&place, &service.url, &[]).exit(0);
    let fine = [
        "program", "proxy", "key", "database", "disk", "service", "clock", "store",
    ];
    let fine: Vec<String> = fine.iter().map(|check| format!("{check}: ok")).collect();
    assert_eq!(states(&seen), fine);
    assert!(
        seen.stdout.contains("none yet; the first upload makes it"),
        "{}",
        seen.stdout
    );
    assert!(!place.db().exists());
    assert_eq!(service.requests().len(), 2);

    place.upload(&service, &[]).seen().exit(0);
    let before = std::fs::read(place.db()).unwrap();
    let seen = doctor(&place, &service.url, &[]).exit(0);
    assert!(
        states(&seen).contains(&"quota: ok".to_owned()),
        "{}",
        seen.stdout
    );
    assert!(seen.stdout.contains("3 documents"), "{}", seen.stdout);
    assert_eq!(std::fs::read(place.db()).unwrap(), before);
    let requests = service.requests().len();
    doctor(&place, &service.url, &["--offline"]).exit(0);
    assert_eq!(service.requests().len(), requests);
}

#[test]
fn what_would_stop_an_upload_is_its_exit_code() {
    let place = Place::new();
    place.files(2);
    let service = Service::start(&place, &["--refuse-key", KEY]);
    let wrong = |seen: Seen, exit: i32, check: &str| {
        let seen = seen.exit(exit);
        let states = states(&seen);
        let check = format!("{check}: wrong");
        assert!(states.contains(&check), "{check} is not in {states:?}");
    };
    wrong(doctor(&place, &service.url, &[]), 6, "key");
    let no_key = place.objlib(&["doctor", "--json", "--offline"]).seen();
    wrong(no_key, 6, "key");
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    wrong(
        doctor(&place, &format!("http://{nobody}"), &[]),
        4,
        "service",
    );
    wrong(doctor(&place, "gopher://x", &[]), 2, "service");
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let db = rusqlite::Connection::open(place.db()).unwrap();
    let pid = i64::from(std::process::id());
    let lock = "INSERT INTO upload_locks VALUES (1, 'other', ?1, ?2, ?3, ?3)";
    let now = objlib::clock::now_ms();
    db.execute(lock, ("elsewhere", pid, now)).unwrap();
    wrong(doctor(&place, &service.url, &["--offline"]), 5, "lock");
    drop(db);
    std::fs::write(place.db(), "not a database at all".repeat(60)).unwrap();
    wrong(doctor(&place, &service.url, &["--offline"]), 1, "database");
}

#[test]
fn what_would_not_stop_it_is_a_warning() {
    let place = Place::new();
    let key = place.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let args = ["doctor", "--offline", "--api-key-file", "key"];
    let seen = place.objlib(&args).seen().exit(0);
    assert!(seen.stdout.contains("warning  key"), "{}", seen.stdout);
    assert!(
        seen.stdout.contains("hint: chmod 600 'key'"),
        "{}",
        seen.stdout
    );
    let quiet = place.objlib(&args).arg("-q").seen().exit(0).stdout;
    assert_eq!(quiet.lines().count(), 2, "{quiet}");
}

/// A service of ten years ago.
#[test]
fn a_clock_that_is_wrong_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut from = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while from.read_line(&mut line).unwrap_or(0) > 2 {
                line.clear();
            }
            let answer = "HTTP/1.1 200 OK\r\nDate: Thu, 26 Nov 2015 04:43:41 GMT\r\n\
                          Content-Type: application/json\r\nContent-Length: 2\r\n\
                          Connection: close\r\n\r\n{}";
            let _ = from.get_mut().write_all(answer.as_bytes());
        }
    });
    let seen = doctor(&Place::new(), &format!("http://{address}"), &[]).exit(0);
    assert!(
        states(&seen).contains(&"clock: warning".to_owned()),
        "{}",
        seen.stdout
    );
}

#[test]
fn an_empty_file_is_as_good_as_no_database() {
    let place = Place::new();
    place.files(1);
    std::fs::write(place.db(), "").unwrap();
    let service = Service::start(&place, &[]);
    let seen = doctor(&place, &service.url, &[]).exit(0);
    assert!(seen.stdout.contains("none yet; the first scan makes it"));
    place.upload(&service, &[]).seen().exit(0);
}

/// As where packages are built.
#[test]
fn what_needs_no_database_needs_no_home() {
    let place = Place::new();
    let homeless = |args: &[&str]| {
        let mut command = place.objlib(args);
        for name in ["HOME", "XDG_DATA_HOME", "OBJLIB_DB"] {
            command.env_remove(name);
        }
        command.seen()
    };
    for args in [
        &["completions", "bash"][..],
        &["man"],
        &["complete", "--", "objlib", "up"],
    ] {
        let seen = homeless(args).exit(0);
        assert!(!seen.stdout.is_empty(), "{args:?}");
    }
    let seen = homeless(&["doctor", "--json", "--offline"]);
    let states = states(&seen);
    assert!(states.contains(&"proxy: ok".to_owned()), "{states:?}");
    assert!(states.contains(&"database: wrong".to_owned()), "{states:?}");
    homeless(&["status"]).exit(2);
}

#[test]
fn what_is_wrong_with_what_was_typed_is_seen_offline_too() {
    let place = Place::new();
    let url = "http://127.0.0.1:9";
    let no_file = ["--offline", "--ca-file", "nowhere.pem"];
    let seen = doctor(&place, url, &no_file).exit(2);
    assert!(
        seen.stdout.contains("nowhere.pem: cannot be read"),
        "{}",
        seen.stdout
    );
    let seen = doctor(&place, url, &["--offline", "--store", &format!("my {KEY}")]).exit(2);
    assert!(
        seen.stdout.contains("it contains the API key"),
        "{}",
        seen.stdout
    );
    let mut ceiling = place.objlib(&["doctor", "--json", "--offline", "--endpoint", url]);
    ceiling.env("GEMINI_API_KEY", KEY).env("OBJLIB_RPM", "60");
    let seen = ceiling.seen().exit(0);
    assert!(seen.stdout.contains("OBJLIB_RPM=60"), "{}", seen.stdout);
}
