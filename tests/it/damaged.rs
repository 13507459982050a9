//! Stores in which somebody has made, changed or deleted documents by hand.

use std::collections::BTreeSet;

use objlib::identity::Sha256;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::run::{KEY, Place, RunToEnd, Service};

/// Somebody with the same key, who knows nothing of objlib.
struct Hand<'s> {
    service: &'s Service,
    /// Resource name.
    store: String,
}

impl Hand<'_> {
    /// In the store of this display name.
    fn into<'s>(service: &'s Service, store: &str) -> Hand<'s> {
        let ledger = service.ledger().0;
        let documents = ledger["documents"].as_array().unwrap();
        let one = documents.iter().find(|d| d["storeDisplayName"] == store);
        Hand {
            service,
            store: one.unwrap()["store"].as_str().unwrap().to_owned(),
        }
    }

    /// A document with this metadata; its name.
    fn document(&self, metadata: &[(&str, &str)], content: &str) -> String {
        let entry = |(key, value): &(&str, &str)| json!({"key": key, "stringValue": value});
        let metadata: Vec<Value> = metadata.iter().map(entry).collect();
        let head = json!({"displayName": "by hand", "customMetadata": metadata});
        let body = format!(
            "--B\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{head}\r\n\
             --B\r\nContent-Type: text/plain\r\n\r\n{content}\r\n--B--\r\n"
        );
        let url = format!(
            "{}/upload/v1beta/{}:uploadToFileSearchStore",
            self.service.url, self.store
        );
        let answer = ureq::post(url)
            .header("x-goog-api-key", KEY)
            .header("x-goog-upload-protocol", "multipart")
            .header("content-type", "multipart/related; boundary=B")
            .send(body)
            .unwrap();
        let operation: Value = serde_json::from_reader(answer.into_body().into_reader()).unwrap();
        let name = &operation["response"]["documentName"];
        name.as_str().unwrap().to_owned()
    }

    /// As objlib would make it, of a file of the library `docs`; `says` is what its hash is of.
    fn own(&self, path: &str, says: &str, content: &str) -> String {
        self.own_with(&[], path, says, content)
    }

    fn own_with(&self, more: &[(&str, &str)], path: &str, says: &str, content: &str) -> String {
        let sha256 = Sha256::of(says.as_bytes()).to_string();
        let mut metadata = vec![
            ("objlib_library", "docs"),
            ("objlib_path", path),
            ("objlib_sha256", &sha256),
        ];
        metadata.extend(more);
        self.document(&metadata, content)
    }

    fn delete(&self, name: &str) {
        ureq::delete(format!("{}/v1beta/{name}?force=true", self.service.url))
            .header("x-goog-api-key", KEY)
            .call()
            .unwrap();
    }

    /// Names of what the store holds of a library (or of none) and path.
    fn held(&self, library: Option<&str>, path: Option<&str>) -> Vec<String> {
        let ledger = self.service.ledger().0;
        let documents = ledger["documents"].as_array().unwrap().iter();
        let held = documents.filter(|d| {
            d["store"] == self.store
                && d["objlibLibrary"].as_str() == library
                && (path.is_none() || d["objlibPath"].as_str() == path)
        });
        held.map(|d| d["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn upload(place: &Place, service: &Service, folders: &[&str], store: &str) {
    let mut command = place.objlib(&["upload", "--store", store, "--endpoint", &service.url]);
    let command = command.args(folders).env("GEMINI_API_KEY", KEY);
    command.seen().exit(0);
}

/// The last line of `verify`, which must end so.
#[track_caller]
fn verify(place: &Place, service: &Service, store: &str, args: &[&str], exit: i32) -> Value {
    let mut command = place.objlib(&["verify", "--json", "--store", store]);
    command.args(["--endpoint", &service.url]).args(args);
    let seen = command.env("GEMINI_API_KEY", KEY).seen().exit(exit);
    seen.events().pop().expect("a line")
}

fn counts(line: &Value) -> [u64; 10] {
    let classes = [
        "gone",
        "duplicates",
        "stale",
        "metadata",
        "failed",
        "broken",
        "unknown",
        "taken_back",
        "foreign",
        "elsewhere",
    ];
    classes.map(|class| line[class].as_u64().unwrap())
}

fn note(place: &Place, i: usize) -> (String, String) {
    let path = format!("part {}/note-{i}.md", i % 7);
    let content = std::fs::read_to_string(place.docs().join(&path)).unwrap();
    (path, content)
}

#[test]
fn damage_of_every_class_is_found_and_repaired_and_others_are_left_alone() {
    let place = Place::new();
    place.files(20);
    for i in 0..5 {
        place.file_in("more", &format!("m{i}.md"), format!("more {i}"));
    }
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"], "other");
    upload(&place, &service, &["docs", "more"], "both");
    let hand = Hand::into(&service, "both");
    let other: BTreeSet<String> = Hand::into(&service, "other")
        .held(Some("docs"), None)
        .into_iter()
        .collect();
    let clean = verify(&place, &service, "both", &[], 0);
    assert_eq!(clean["matching"], 25);

    let (path, _) = note(&place, 4);
    hand.delete(&hand.held(Some("docs"), Some(&path))[0]);
    let (path, content) = note(&place, 5);
    hand.own(&path, &content, &content);
    let (stale, _) = note(&place, 6);
    hand.own(&stale, "old words", "old words");
    let (other_metadata, content) = note(&place, 7);
    hand.own_with(&[("course", "7")], &other_metadata, &content, &content);
    let (path, content) = note(&place, 8);
    service.set_faults(json!({"document_fail": 1.0}));
    hand.own(&path, &content, &content);
    service.set_faults(json!({"document_fail": 0.0}));
    place.file("new.md", "whole");
    place.objlib(&["scan", "docs"]).seen().exit(0);
    hand.own("new.md", "whole", "who");
    // Of no scan: one that is there, one that is not, and one that can be no file's.
    place.file("never.md", "of no scan");
    hand.own("never.md", "of no scan", "of no scan");
    hand.own("gone.md", "of old", "of old");
    hand.own("../above.md", "of old", "of old");
    let foreign = hand.document(&[], "of somebody else");
    let sha256 = Sha256::of(b"x").to_string();
    let elsewhere = hand.document(
        &[
            ("objlib_library", "others"),
            ("objlib_path", "x.md"),
            ("objlib_sha256", &sha256),
        ],
        "x",
    );
    // The database says other things of two documents than they do.
    let db = Connection::open(place.db()).unwrap();
    for (i, change) in [(9, "variant = zeroblob(16)"), (10, "sha256 = zeroblob(32)")] {
        let changed = db.execute(
            &format!(
                "UPDATE uploads SET {change} WHERE store_id = (SELECT id FROM stores WHERE
                 display_name = 'both') AND file_id = (SELECT id FROM files WHERE path = ?1)"
            ),
            [note(&place, i).0],
        );
        assert_eq!(changed, Ok(1));
    }
    drop(db);

    let found = [1, 1, 2, 2, 1, 1, 3, 0, 1, 1];
    for _ in 0..2 {
        assert_eq!(counts(&verify(&place, &service, "both", &[], 3)), found);
    }
    let mut named = place.objlib(&["verify", "--store", "both", "--endpoint", &service.url]);
    let page = named.env("GEMINI_API_KEY", KEY).seen().exit(3).stdout;
    assert!(page.contains(&format!("docs: {other_metadata}")), "{page}");
    let each = {
        let mut command = place.objlib(&["verify", "-v", "--json", "--store", "both"]);
        command.args(["--endpoint", &service.url]);
        command.env("GEMINI_API_KEY", KEY).seen().exit(3).events()
    };
    let is_stale = |d: &&Value| d["kind"] == "stale" && d["path"] == stale.as_str();
    assert_eq!((each.len(), each.iter().filter(is_stale).count()), (12, 1));
    assert_eq!(service.ledger().requests("document.delete"), 1, "by hand");

    let repaired = verify(&place, &service, "both", &["--repair"], 3);
    assert_eq!(repaired["repaired"], 9);
    let left = counts(&verify(&place, &service, "both", &[], 3));
    assert_eq!(left, [0, 0, 0, 0, 0, 0, 2, 0, 1, 1]);
    // One is a file's after all.
    place.objlib(&["scan", "docs"]).seen().exit(0);
    verify(&place, &service, "both", &["--repair"], 3);
    let sent = service.ledger().uploads();
    upload(&place, &service, &["docs", "more"], "both");
    // What was gone or not whole, and the new file.
    assert_eq!(service.ledger().uploads(), sent + 2);
    let clean = verify(&place, &service, "both", &[], 3);
    assert_eq!(counts(&clean), [0, 0, 0, 0, 0, 0, 1, 0, 1, 1]);
    assert_eq!(clean["matching"], 28);
    // It is missing, until it is there again: then it is its file's, and nothing is sent.
    let missing = |n: i64| {
        let db = Connection::open(place.db()).unwrap();
        let sql = "SELECT count(*) FROM files WHERE state = 'missing' AND path = 'gone.md'";
        assert_eq!(db.query_row(sql, [], |r| r.get::<_, i64>(0)), Ok(n));
    };
    missing(1);
    place.file("gone.md", "of old");
    let sent = service.ledger().uploads();
    upload(&place, &service, &["docs", "more"], "both");
    assert_eq!(service.ledger().uploads(), sent);
    missing(0);
    assert_eq!(hand.held(Some("docs"), None).len(), 24);
    assert_eq!(hand.held(Some("more"), None).len(), 5);
    assert_eq!(hand.held(None, None), [foreign]);
    assert_eq!(hand.held(Some("others"), None), [elsewhere]);
    // Nothing of it was done to another store.
    let now = Hand::into(&service, "other").held(Some("docs"), None);
    assert_eq!(now.into_iter().collect::<BTreeSet<String>>(), other);
    assert_eq!(service.ledger().0["duplicates"], 0);
}

#[test]
fn old_content_stays_until_the_new_is_there() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"], "objlib");
    let hand = Hand::into(&service, "objlib");
    let (path, old) = note(&place, 1);
    let document = hand.held(Some("docs"), Some(&path)).remove(0);
    place.file(&path, "new words");
    std::fs::remove_file(place.db()).unwrap();
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let found = verify(&place, &service, "objlib", &["--repair"], 0);
    assert_eq!(counts(&found), [0, 0, 1, 0, 0, 0, 0, 2, 0, 0]);
    // It is all that a search can find of the file.
    assert_eq!(hand.held(Some("docs"), Some(&path)), [document.as_str()]);
    verify(&place, &service, "objlib", &[], 0);
    upload(&place, &service, &["docs"], "objlib");
    service.ledger().is_exactly(&place.docs());
    // Now that the new is there, old copies go at once.
    let copy = hand.own(&path, &old, &old);
    let found = verify(&place, &service, "objlib", &["--repair"], 0);
    assert_eq!(
        (&found["stale"], &found["repaired"]),
        (&json!(1), &json!(1))
    );
    assert!(!hand.held(Some("docs"), None).contains(&copy));
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn the_good_one_of_two_takes_the_place_of_a_failed_one() {
    let place = Place::new();
    place.files(2);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"], "objlib");
    let hand = Hand::into(&service, "objlib");
    let (path, content) = note(&place, 1);
    let good = hand.held(Some("docs"), Some(&path)).remove(0);
    service.set_faults(json!({"document_fail": 1.0}));
    let failed = hand.own(&path, &content, &content);
    service.set_faults(json!({"document_fail": 0.0}));
    let db = Connection::open(place.db()).unwrap();
    let changed = db.execute(
        "UPDATE uploads SET document = ?1 WHERE document = ?2",
        [&failed, &good],
    );
    assert_eq!(changed, Ok(1));
    drop(db);
    let found = verify(&place, &service, "objlib", &["--repair"], 0);
    assert_eq!(counts(&found), [0, 0, 0, 0, 1, 0, 0, 1, 0, 0]);
    assert_eq!(hand.held(Some("docs"), Some(&path)), [good]);
    assert_eq!(verify(&place, &service, "objlib", &[], 0)["matching"], 2);
    service.ledger().is_exactly(&place.docs());
}

/// As a script does it.
#[test]
fn an_upload_can_be_verified_at_once_although_lists_lag() {
    let place = Place::new();
    place.files(25);
    let service = Service::start(&place, &["--list-lag-ms", "1500"]);
    upload(&place, &service, &["docs"], "objlib");
    let clean = verify(&place, &service, "objlib", &[], 0);
    assert_eq!(clean["matching"], 25);
    assert!(service.fired("list_lag_ms") > 0);
}

#[test]
fn many_documents_are_deleted_at_once() {
    let place = Place::new();
    place.files(60);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"], "objlib");
    let hand = Hand::into(&service, "objlib");
    for i in 0..60 {
        let (path, content) = note(&place, i);
        hand.own(&path, &content, &content);
    }
    service.set_faults(json!({"latency_ms": 20}));
    let connections = || service.ledger().0["connections"].as_u64().unwrap();
    let before = connections();
    let found = verify(&place, &service, "objlib", &["--repair"], 0);
    assert_eq!(
        (&found["duplicates"], &found["repaired"]),
        (&json!(60), &json!(60))
    );
    assert!(connections() > before + 3, "one after the other");
    service.ledger().is_exactly(&place.docs());
}

/// A service that refuses some deletions: the rest is done, and another repair ends it.
#[test]
fn a_repair_that_fails_in_the_middle_goes_on() {
    let place = Place::new();
    place.files(30);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"], "objlib");
    let hand = Hand::into(&service, "objlib");
    for i in 0..30 {
        let (path, content) = note(&place, i);
        hand.own(&path, &content, &content);
    }
    service.set_faults(json!({"error_503": 0.7, "only_kinds": ["document.delete"]}));
    let mut command = place.objlib(&["verify", "--repair", "--endpoint", &service.url]);
    let seen = command.env("GEMINI_API_KEY", KEY).seen().exit(1);
    assert!(seen.stderr.contains("run again"), "{}", seen.stderr);
    service.set_faults(json!({"error_503": 0.0}));
    let left = verify(&place, &service, "objlib", &["--repair"], 0);
    assert!(left["duplicates"].as_u64().unwrap() <= 30);
    service.ledger().is_exactly(&place.docs());
    verify(&place, &service, "objlib", &[], 0);
}

/// Deletions without an answer: whoever waits for them is let go, and another repair ends it.
#[test]
fn a_repair_that_is_interrupted_goes_on() {
    let place = Place::new();
    place.files(15);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"], "objlib");
    let hand = Hand::into(&service, "objlib");
    for i in 0..15 {
        let (path, content) = note(&place, i);
        hand.own(&path, &content, &content);
    }
    service.set_faults(json!({"stall": 1.0, "only_kinds": ["document.delete"]}));
    let mut command = place.objlib(&["verify", "--repair", "--endpoint", &service.url]);
    let mut repair = command.env("GEMINI_API_KEY", KEY).spawn().unwrap();
    while service.fired("stall") == 0 {
        assert!(repair.try_wait().unwrap().is_none(), "it ended early");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&repair), Signal::TERM).unwrap();
    assert_eq!(repair.wait().unwrap().code(), Some(143));
    service.set_faults(json!({"stall": 0.0}));
    verify(&place, &service, "objlib", &["--repair"], 0);
    service.ledger().is_exactly(&place.docs());
    verify(&place, &service, "objlib", &[], 0);
}

/// The file went while there was no database; its document is what a purge is about.
#[test]
fn what_went_while_the_database_was_lost_is_purged() {
    let place = Place::new();
    place.files(5);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"], "objlib");
    std::fs::remove_file(place.db()).unwrap();
    let (path, _) = note(&place, 1);
    std::fs::remove_file(place.docs().join(path)).unwrap();
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let found = verify(&place, &service, "objlib", &["--repair"], 0);
    assert_eq!(counts(&found), [0, 0, 0, 0, 0, 0, 1, 4, 0, 0]);
    assert_eq!(service.ledger().requests("document.delete"), 0);
    let mut purge = place.objlib(&["purge", "--older-than", "0d", "--yes"]);
    purge.args(["--endpoint", &service.url]);
    purge.env("GEMINI_API_KEY", KEY).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
    assert_eq!(verify(&place, &service, "objlib", &[], 0)["matching"], 4);
}
