use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::run::{KEY, Place, RunToEnd, Seen, Service};

fn store(place: &Place, service: &Service, args: &[&str]) -> Seen {
    let mut command = place.objlib(&["store"]);
    command.args(args).args(["--endpoint", &service.url]);
    command.env("GEMINI_API_KEY", KEY).seen()
}

fn json_of(place: &Place, service: &Service, args: &[&str]) -> Vec<Value> {
    let args = [args, &["--json"]].concat();
    store(place, service, &args).exit(0).events()
}

fn one(place: &Place, service: &Service, name: &str) -> Value {
    let mut lines = json_of(place, service, &["show", name]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

fn upload(place: &Place, service: &Service, folder: &str, name: &str) {
    place
        .objlib(&[
            "upload",
            folder,
            "--store",
            name,
            "--endpoint",
            &service.url,
        ])
        .env("GEMINI_API_KEY", KEY)
        .seen()
        .exit(0);
}

/// By somebody else, who has the same key.
fn create_by_hand(service: &Service, name: &str) -> String {
    let url = format!("{}/v1beta/fileSearchStores", service.url);
    let answer = ureq::post(url)
        .header("x-goog-api-key", KEY)
        .send(json!({ "displayName": name }).to_string())
        .unwrap();
    let store: Value = serde_json::from_reader(answer.into_body().into_reader()).unwrap();
    store["name"].as_str().unwrap().to_owned()
}

fn delete_by_hand(service: &Service, name: &str) {
    ureq::delete(format!("{}/v1beta/{name}?force=true", service.url))
        .header("x-goog-api-key", KEY)
        .call()
        .unwrap();
}

/// Rows of a table of the database.
fn rows(place: &Place, table: &str) -> i64 {
    let db = Connection::open(place.db()).unwrap();
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0))
        .unwrap()
}

#[test]
fn the_services_counters_stand_beside_what_is_known_here() {
    let place = Place::new();
    place.files(12);
    place.file_in("more", "a.md", "of the other library");
    let service = Service::start(&place, &[]);
    assert_eq!(json_of(&place, &service, &["list"]), Vec::<Value>::new());
    assert!(!place.db().exists(), "looking made a database");
    upload(&place, &service, "docs", "first");
    upload(&place, &service, "docs", "both");
    upload(&place, &service, "more", "both");
    // More than a page of others.
    for i in 0..25 {
        create_by_hand(&service, &format!("other {i}"));
    }
    let all = json_of(&place, &service, &["list"]);
    assert_eq!(all.len(), 27);
    let known: Vec<&Value> = all.iter().filter(|s| s["known"] == true).collect();
    assert_eq!(known.len(), 2);
    for (store, documents) in known.iter().zip([12, 13]) {
        assert_eq!(store["event"], "store");
        assert_eq!(store["active"], documents);
        assert_eq!(store["indexed"], documents);
        assert_eq!(store["size_bytes"], store["bytes"]);
        assert_eq!(store["differs"], false);
        assert_eq!(store["embedding_model"], "models/gemini-embedding-001");
    }
    let both = one(&place, &service, "both");
    let libraries: Vec<&str> = both["libraries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["name"].as_str().unwrap())
        .collect();
    assert_eq!(libraries, ["docs", "more"]);
    let page = store(&place, &service, &["show", "both"]).exit(0).stdout;
    assert!(page.contains("13 documents"), "{page}");
    assert!(page.contains("the counters agree"), "{page}");
    // By resource name as well; and a document that is not known here makes them differ.
    let name = both["name"].as_str().unwrap();
    assert_eq!(one(&place, &service, name)["display_name"], "both");
    let other = place.path().join("other.db");
    std::fs::create_dir(place.path().join("third")).unwrap();
    place.file_in("third", "b.md", "of another host");
    place
        .objlib(&[
            "upload",
            "third",
            "--store",
            "both",
            "--endpoint",
            &service.url,
        ])
        .env("GEMINI_API_KEY", KEY)
        .env("OBJLIB_DB", &other)
        .seen()
        .exit(0);
    assert_eq!(one(&place, &service, "both")["differs"], true);
    let page = store(&place, &service, &["show", "both"]).exit(0).stdout;
    assert!(
        page.contains("14 active there, 13 known here: `objlib verify"),
        "{page}"
    );
    store(&place, &service, &["show", "none"]).exit(1);
    store(&place, &service, &["show", "fileSearchStores/../x"]).exit(2);
}

#[test]
fn looking_needs_no_lock() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &[]);
    upload(&place, &service, "docs", "objlib");
    let db = Connection::open(place.db()).unwrap();
    let now = objlib::clock::now_ms();
    db.execute(
        "INSERT INTO upload_locks VALUES (1, 'i', 'another host', 1, ?1, ?1)",
        [now],
    )
    .unwrap();
    store(&place, &service, &["list"]).exit(0);
    store(&place, &service, &["show", "objlib"]).exit(0);
    store(&place, &service, &["delete", "objlib", "--yes", "--force"]).exit(5);
    store(&place, &service, &["create", "second"]).exit(5);
    assert_eq!(service.ledger().requests("store.delete"), 0);
    assert_eq!(service.ledger().requests("store.create"), 1);
}

#[test]
fn a_store_is_made_once_with_the_model_that_was_asked_for() {
    let place = Place::new();
    place.files(2);
    let service = Service::start(&place, &[]);
    let model = ["--embedding-model", "gemini-embedding-2"];
    let made = json_of(
        &place,
        &service,
        &[&["create", "pictures"][..], &model].concat(),
    );
    assert_eq!(made[0]["created"], true);
    assert_eq!(made[0]["known"], true);
    assert_eq!(made[0]["embedding_model"], "models/gemini-embedding-2");
    let again = store(&place, &service, &["create", "pictures"]).exit(1);
    assert!(
        again.stderr.contains("there is one already"),
        "{}",
        again.stderr
    );
    // One that this database does not know counts as well.
    create_by_hand(&service, "theirs");
    store(&place, &service, &["create", "theirs"]).exit(1);
    store(&place, &service, &["create", "fileSearchStores/mine-1"]).exit(2);
    store(&place, &service, &["create", " "]).exit(2);
    store(
        &place,
        &service,
        &["create", "x", "--embedding-model", "no-such"],
    )
    .exit(2);
    assert_eq!(service.ledger().requests("store.create"), 2);
    // An upload goes into it.
    upload(&place, &service, "docs", "pictures");
    assert_eq!(service.ledger().requests("store.create"), 2);
    assert_eq!(one(&place, &service, "pictures")["active"], 2);
}

#[test]
fn a_deletion_asks_and_takes_only_what_it_was_told_to() {
    let place = Place::new();
    place.files(5);
    place.file_in("more", "a.md", "of the other library");
    let service = Service::start(&place, &[]);
    upload(&place, &service, "docs", "first");
    upload(&place, &service, "more", "second");
    // Nobody to be asked, then no --force.
    let seen = store(&place, &service, &["delete", "first", "--force"]).exit(2);
    assert!(seen.stderr.contains("--yes"), "{}", seen.stderr);
    let seen = store(&place, &service, &["delete", "first", "--yes"]).exit(1);
    assert!(
        seen.stderr
            .contains("it is not empty: it holds 5 documents"),
        "{}",
        seen.stderr
    );
    store(&place, &service, &["delete", "none", "--yes", "--force"]).exit(1);
    assert_eq!(service.ledger().requests("store.delete"), 0);
    let gone = json_of(&place, &service, &["delete", "first", "--yes", "--force"]);
    assert_eq!(
        (&gone[0]["deleted"], &gone[0]["active"]),
        (&json!(true), &json!(5))
    );
    assert_eq!(rows(&place, "stores"), 1);
    assert_eq!(rows(&place, "uploads"), 1);
    assert_eq!(rows(&place, "library_stores"), 1);
    // The files are known as before; what is uploaded next is a new store.
    assert_eq!(rows(&place, "files"), 6);
    assert_eq!(service.ledger().0["documents"].as_array().unwrap().len(), 1);
    upload(&place, &service, "docs", "first");
    assert_eq!(one(&place, &service, "first")["active"], 5);
}

/// A command on a terminal: what it asks has these words, and then this is typed, or Ctrl-C; how it ended.
pub fn answered(command: &mut Command, words: &[&str], keys: Option<&str>) -> Option<i32> {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let mut line = File::options();
    let line = line.read(true).write(true).open(name.to_str().unwrap());
    let line = line.unwrap();
    command.env("GEMINI_API_KEY", KEY).stdout(Stdio::null());
    command.stdin(line.try_clone().unwrap()).stderr(line);
    let mut child = command.spawn().unwrap();
    // Or its end of the terminal would stay open.
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let mut terminal = File::from(terminal);
    let mut asked = Vec::new();
    while !String::from_utf8_lossy(&asked).contains("[y/N]") {
        let mut bytes = [0; 256];
        let n = terminal.read(&mut bytes).unwrap();
        asked.extend_from_slice(&bytes[..n]);
    }
    let asked = String::from_utf8(asked).unwrap();
    assert!(words.iter().all(|words| asked.contains(words)), "{asked}");
    match keys {
        Some(keys) => terminal.write_all(keys.as_bytes()).unwrap(),
        None => kill_process(Pid::from_child(&child), Signal::INT).unwrap(),
    }
    child.wait().unwrap().code()
}

#[test]
fn on_a_terminal_only_a_yes_deletes() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &[]);
    upload(&place, &service, "docs", "objlib");
    let delete = |keys| {
        let mut command = place.objlib(&["store", "delete", "objlib", "--force"]);
        command.args(["--endpoint", &service.url]);
        answered(
            &mut command,
            &["Delete store `objlib`", "3 documents"],
            keys,
        )
    };
    let ends = [Some("n\n"), Some("\n"), None].map(delete);
    assert_eq!(ends, [Some(1), Some(1), Some(130)]);
    assert_eq!(service.ledger().requests("store.delete"), 0);
    assert_eq!(delete(Some("y\n")), Some(0));
    assert_eq!(rows(&place, "stores"), 0);
}

#[test]
fn an_ambiguous_name_deletes_nothing() {
    let place = Place::new();
    place.files(2);
    let service = Service::start(&place, &[]);
    upload(&place, &service, "docs", "twice");
    let other = create_by_hand(&service, "twice");
    let seen = store(&place, &service, &["delete", "twice", "--yes", "--force"]).exit(1);
    assert!(seen.stderr.contains(&other), "{}", seen.stderr);
    assert_eq!(service.ledger().requests("store.delete"), 0);
    // Both are shown.
    assert_eq!(json_of(&place, &service, &["show", "twice"]).len(), 2);
    let gone = json_of(&place, &service, &["delete", &other, "--yes"]);
    assert_eq!(gone[0]["known"], false);
    assert_eq!(rows(&place, "uploads"), 2);
    // Ours is gone, another has its name: that is two meanings as well.
    let own = one(&place, &service, "twice")["name"]
        .as_str()
        .unwrap()
        .to_owned();
    delete_by_hand(&service, &own);
    let third = create_by_hand(&service, "twice");
    store(&place, &service, &["delete", "twice", "--yes"]).exit(1);
    let all = json_of(&place, &service, &["list"]);
    let gone: Vec<&Value> = all.iter().filter(|s| s["gone"] == true).collect();
    assert_eq!((gone.len(), &gone[0]["name"]), (1, &json!(own)));
    json_of(&place, &service, &["delete", &own, "--yes"]);
    assert_eq!(rows(&place, "uploads"), 0);
    assert_eq!(one(&place, &service, "twice")["name"], third);
}

/// Two that found none at the same moment both make one: the list shows neither to the other for a while.
fn made_twice(other_first: bool) -> (Place, Service, Seen, String) {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &[]);
    service.set_faults(json!({"store_lag_ms": 600_000}));
    let made = |other| service.ledger().requests("store.create") >= u64::from(other);
    let first = other_first.then(|| create_by_hand(&service, "twice"));
    let (seen, other) = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let args = ["upload", "docs", "--json", "--store", "twice", "--endpoint"];
            let mut command = place.objlib(&args);
            command.arg(&service.url).env("GEMINI_API_KEY", KEY).seen()
        });
        while !made(1 + u8::from(other_first)) && !running.is_finished() {
            std::thread::yield_now();
        }
        let other = first.unwrap_or_else(|| create_by_hand(&service, "twice"));
        service.set_faults(json!({"store_lag_ms": 0}));
        (running.join().unwrap(), other)
    });
    (place, service, seen.exit(0), other)
}

#[test]
fn of_two_stores_made_at_the_same_moment_the_older_one_is_used() {
    let (place, service, seen, other) = made_twice(true);
    assert!(
        seen.stderr.contains("at the same moment"),
        "{}",
        seen.stderr
    );
    let ledger = service.ledger();
    assert_eq!(ledger.requests("store.create"), 2);
    assert_eq!(ledger.requests("store.delete"), 1);
    assert_eq!(one(&place, &service, "twice")["name"], other);
    assert_eq!(one(&place, &service, &other)["active"], 3);
    assert_eq!(rows(&place, "stores"), 1);
}

#[test]
fn of_two_stores_made_at_the_same_moment_the_own_older_one_stays() {
    let (place, service, _, other) = made_twice(false);
    let ledger = service.ledger();
    assert_eq!(ledger.requests("store.create"), 2);
    assert_eq!(ledger.requests("store.delete"), 0);
    assert_eq!(one(&place, &service, &other)["known"], false);
    assert_eq!(rows(&place, "stores"), 1);
}

/// As after a crash between the creation of a second one and its deletion.
#[test]
fn of_several_stores_of_a_name_the_empty_ones_are_told() {
    let place = Place::new();
    place.files(2);
    let service = Service::start(&place, &[]);
    create_by_hand(&service, "twice");
    let other = create_by_hand(&service, "twice");
    let upload = || {
        let args = ["upload", "docs", "--store", "twice", "--endpoint"];
        let mut command = place.objlib(&args);
        command.arg(&service.url).env("GEMINI_API_KEY", KEY).seen()
    };
    let seen = upload().exit(1);
    assert!(
        seen.stderr.contains(&format!("{other} (empty)")),
        "{}",
        seen.stderr
    );
    json_of(&place, &service, &["delete", &other, "--yes"]);
    upload().exit(0);
}

/// As after a crash between the service's deletion and the database's.
#[test]
fn a_store_that_is_gone_is_forgotten_by_the_same_command() {
    let place = Place::new();
    place.files(4);
    let service = Service::start(&place, &[]);
    upload(&place, &service, "docs", "objlib");
    let name = one(&place, &service, "objlib")["name"]
        .as_str()
        .unwrap()
        .to_owned();
    delete_by_hand(&service, &name);
    let seen = place.upload(&service, &[]).seen().exit(1);
    assert!(seen.stderr.contains("--recreate-store"), "{}", seen.stderr);
    let page = store(&place, &service, &["show", "objlib"]).exit(0).stdout;
    assert!(page.contains("has no such store"), "{page}");
    store(&place, &service, &["create", "objlib"]).exit(1);
    let gone = json_of(&place, &service, &["delete", "objlib", "--yes"]);
    assert_eq!(gone[0]["gone"], true);
    assert_eq!(rows(&place, "stores"), 0);
    store(&place, &service, &["delete", "objlib", "--yes"]).exit(1);
    place.upload(&service, &[]).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn the_embedded_service_has_stores_too() {
    let place = Place::new();
    place.files(2);
    let store = |args: &[&str]| place.objlib(args).seen().exit(0).stdout;
    assert!(store(&["store", "list", "--emulator"]).contains("no store yet"));
    assert!(store(&["store", "create", "mine", "--emulator"]).contains("created store `mine`"));
    store(&["upload", "docs", "--store", "mine", "--emulator"]);
    assert!(store(&["store", "list", "--emulator"]).contains("2 documents"));
    store(&["store", "delete", "mine", "--yes", "--force", "--emulator"]);
    assert!(store(&["store", "list", "--emulator"]).contains("no store yet"));
}
