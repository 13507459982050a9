use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::run::{KEY, Place, RunToEnd, Seen, Service};
use crate::store::answered;

fn purge(place: &Place, service: &Service, args: &[&str]) -> Seen {
    let mut command = place.objlib(&["purge", "--json", "--endpoint", &service.url]);
    command.args(args).env("GEMINI_API_KEY", KEY).seen()
}

fn line(seen: &Seen) -> Value {
    let line = seen.events().pop().expect("a line");
    assert_eq!(line["event"], "purge");
    line
}

fn upload(place: &Place, service: &Service, args: &[&str]) -> Seen {
    place.upload(service, args).seen().exit(0)
}

fn found(seen: &Seen) -> Value {
    let events = seen.events();
    let found = events.iter().find(|e| e["event"] == "scan_done").unwrap();
    found.clone()
}

fn delete(place: &Place, paths: &[&str]) {
    for path in paths {
        fs::remove_file(place.docs().join(path)).unwrap();
    }
}

fn rename(place: &Place, from: &str, to: &str) {
    let to = place.docs().join(to);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::rename(place.docs().join(from), to).unwrap();
}

/// Paths of the documents, a path as often as it has documents.
fn documents(service: &Service) -> Vec<String> {
    let ledger = service.ledger().0;
    let documents = ledger["documents"].as_array().unwrap();
    let path = |d: &Value| d["objlibPath"].as_str().unwrap().to_owned();
    let mut paths: Vec<String> = documents.iter().map(path).collect();
    paths.sort();
    paths
}

/// kill -9, once it has come so far.
fn killed_after(command: &mut Command, has_come: impl Fn() -> bool) {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = command.spawn().unwrap();
    while !has_come() {
        assert!(running.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    running.kill().unwrap();
    running.wait().unwrap();
}

fn status(place: &Place, args: &[&str]) -> Value {
    let mut command = place.objlib(&["status", "--json"]);
    serde_json::from_str(&command.args(args).seen().exit(0).stdout).unwrap()
}

/// As many rows as the database holds of files, whatever their state.
fn files_known(place: &Place) -> i64 {
    let db = rusqlite::Connection::open(place.db()).unwrap();
    db.query_row("SELECT count(*) FROM files", [], |r| r.get(0))
        .unwrap()
}

#[test]
fn documents_of_missing_files_stay_until_they_are_purged() {
    let place = Place::new();
    place.files(8);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    delete(&place, &["part 1/note-1.md", "part 2/note-2.md"]);
    let seen = upload(&place, &service, &[]);
    assert_eq!(found(&seen)["missing"], 2);
    assert_eq!(seen.summary()["requests"], 1);
    assert_eq!(documents(&service).len(), 8);

    let before = service.ledger();
    let shown = line(&purge(&place, &service, &["--dry-run"]).exit(0));
    assert_eq!(
        (&shown["files"], &shown["documents"]),
        (&json!(2), &json!(2))
    );
    assert_eq!((&shown["deleted"], &shown["left"]), (&json!(0), &json!(2)));
    // Nobody is there to be asked.
    let refused = purge(&place, &service, &[]).exit(2);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert_eq!(service.ledger().0["requests"], before.0["requests"]);

    let done = line(&purge(&place, &service, &["--yes"]).exit(0));
    assert_eq!((&done["deleted"], &done["left"]), (&json!(2), &json!(0)));
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    assert_eq!(ledger.requests("document.delete"), 2);
    assert_eq!(
        (status(&place, &[])["missing"].clone(), files_known(&place)),
        (json!(0), 6)
    );

    // Again: nothing, and no request.
    let again = line(&purge(&place, &service, &["--yes"]).exit(0));
    assert_eq!(
        (&again["documents"], &again["deleted"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(service.ledger().0["requests"], ledger.0["requests"]);
}

#[test]
fn the_table_names_what_would_go() {
    let place = Place::new();
    place.files(20);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    for i in 0..7 {
        delete(&place, &[&format!("part {i}/note-{i}.md")]);
    }
    place.file(".objlibignore", "note-19.md\n");
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let table = |args: &[&str]| {
        let mut command = place.objlib(&["purge", "--dry-run", "--endpoint", &service.url]);
        command.args(args).seen().exit(0).stdout
    };
    let short = table(&[]);
    let words: Vec<&str> = short.split_whitespace().collect();
    let row = ["docs", "missing", "7", "7", "20"];
    assert!(words.windows(5).any(|w| w == row), "{short}");
    assert!(short.contains("left out"), "{short}");
    assert!(short.contains("docs: part 0/note-0.md"), "{short}");
    assert!(short.contains("3 more: --verbose"), "{short}");
    assert!(short.contains("next: `objlib purge "), "{short}");
    let long = table(&["--verbose"]);
    assert!(
        long.contains("part 5/note-19.md") && !long.contains("more:"),
        "{long}"
    );
    assert_eq!(table(&["--quiet"]), "");
    let narrow = table(&["--library", "docs", "--older-than", "0s"]);
    let next = "next: `objlib purge --library docs --older-than 0s --db";
    assert!(narrow.contains(next), "{narrow}");
}

#[test]
fn a_file_that_is_back_before_the_purge_is_not_sent_and_one_that_is_back_after_it_is() {
    let place = Place::new();
    place.files(6);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    let words = fs::read(place.docs().join("part 1/note-1.md")).unwrap();
    delete(&place, &["part 1/note-1.md"]);
    upload(&place, &service, &[]);
    place.file("part 1/note-1.md", &words);
    let seen = upload(&place, &service, &[]);
    assert_eq!(
        (
            seen.summary()["requests"].clone(),
            service.ledger().uploads()
        ),
        (json!(1), 6)
    );
    let nothing = line(&purge(&place, &service, &["--yes"]).exit(0));
    assert_eq!(
        (&nothing["deleted"], &nothing["left"]),
        (&json!(0), &json!(0))
    );
    service.ledger().is_exactly(&place.docs());

    delete(&place, &["part 1/note-1.md"]);
    upload(&place, &service, &[]);
    purge(&place, &service, &["--yes"]).exit(0);
    place.file("part 1/note-1.md", &words);
    let seen = upload(&place, &service, &[]);
    assert_eq!(found(&seen)["new"], 1);
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    assert_eq!(ledger.uploads(), 7);
}

#[test]
fn a_file_that_is_back_and_was_not_scanned_since_is_not_purged() {
    let place = Place::new();
    place.files(6);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    let words = fs::read(place.docs().join("part 1/note-1.md")).unwrap();
    delete(&place, &["part 1/note-1.md", "part 2/note-2.md"]);
    upload(&place, &service, &[]);
    place.file("part 1/note-1.md", &words);
    for args in [&["--yes"][..], &["--dry-run"]] {
        let refused = purge(&place, &service, args).exit(1).stderr;
        assert!(refused.contains("`part 1/note-1.md` first"), "{refused}");
        assert!(refused.contains("objlib scan '"), "{refused}");
    }
    assert_eq!(service.ledger().requests("document.delete"), 0);
    place.objlib(&["scan", "docs"]).seen().exit(0);
    purge(&place, &service, &["--yes"]).exit(0);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn on_a_terminal_only_a_yes_purges() {
    let place = Place::new();
    place.files(6);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    delete(&place, &["part 1/note-1.md"]);
    upload(&place, &service, &[]);
    let purge = |keys| {
        let mut command = place.objlib(&["purge", "--endpoint", &service.url]);
        answered(&mut command, &["1 document"], keys)
    };
    let ends = [Some("n\n"), Some("\n"), None].map(purge);
    assert_eq!(ends, [Some(1), Some(1), Some(130)]);
    assert_eq!(service.ledger().requests("document.delete"), 0);
    assert_eq!(purge(Some("y\n")), Some(0));
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_file_that_is_back_and_cannot_be_described_is_not_purged() {
    let place = Place::new();
    place.files(6);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    let words = fs::read(place.docs().join("part 1/note-1.md")).unwrap();
    delete(&place, &["part 1/note-1.md", "part 2/note-2.md"]);
    upload(&place, &service, &[]);
    place.file("part 1/note-1.md", &words);
    place.file("part 1/note-1.md.meta.json", "{");
    place.upload(&service, &[]).seen().exit(3);
    let done = line(&purge(&place, &service, &["--yes"]).exit(0));
    assert_eq!(done["deleted"], 1, "{done}");
    let mut left = documents(&service);
    left.retain(|path| path == "part 1/note-1.md");
    assert_eq!(left.len(), 1);
    // Mended, it is as it was, and nothing is sent.
    fs::remove_file(place.docs().join("part 1/note-1.md.meta.json")).unwrap();
    let sent = service.ledger().uploads();
    upload(&place, &service, &[]);
    assert_eq!(service.ledger().uploads(), sent);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn what_became_a_link_or_came_back_as_what_cannot_be_sent_is_purged() {
    let place = Place::new();
    for i in 0..6 {
        place.file_in("docs", &format!("{i}.md"), format!("note {i}"));
    }
    place.file_in("docs", "folder/in.md", "in a folder");
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    delete(&place, &["0.md", "1.md", "2.md"]);
    let link = |to, path| std::os::unix::fs::symlink(to, place.docs().join(path)).unwrap();
    link("nowhere", "0.md");
    link("folder", "1.md");
    upload(&place, &service, &[]);
    // It was gone at the last scan, and is there now.
    place.file_in("docs", "2.md", "");
    upload(&place, &service, &[]);
    assert_eq!(status(&place, &[])["missing"], 3);
    let args = ["--yes", "--max-share", "100"];
    let done = line(&purge(&place, &service, &args).exit(0));
    assert_eq!((&done["deleted"], &done["left"]), (&json!(3), &json!(0)));
    assert_eq!(
        documents(&service),
        ["3.md", "4.md", "5.md", "folder/in.md"]
    );
    assert_eq!(status(&place, &[])["missing"], 0);
}

/// The clock was set back since the files were last seen.
#[test]
fn no_file_is_missing_since_before_it_was_last_seen() {
    let place = Place::new();
    for i in 0..4 {
        place.file_in("docs", &format!("{i}.md"), format!("note {i}"));
    }
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    let ask = |sql: &str| {
        let db = rusqlite::Connection::open(place.db()).unwrap();
        db.execute_batch(sql).unwrap();
        db.query_row(
            "SELECT count(*) FROM files WHERE missing_since_ms < last_seen_ms",
            [],
            |r| r.get::<_, i64>(0),
        )
        .unwrap()
    };
    let ahead = 400_i64 * 86_400_000;
    ask(&format!(
        "UPDATE files SET last_seen_ms = last_seen_ms + {ahead}"
    ));
    delete(&place, &["0.md"]);
    upload(&place, &service, &[]);
    // A scan that saw only a part of it; its library's time is what is known.
    ask(&format!(
        "UPDATE files SET last_seen_ms = last_seen_ms - {ahead} WHERE path = '1.md';
         UPDATE libraries SET scanned_ms = scanned_ms + {ahead}"
    ));
    delete(&place, &["1.md"]);
    upload(&place, &service, &[]);
    let recent = format!(
        "SELECT count(*) FROM files WHERE missing_since_ms > {}",
        objlib::clock::now_ms() + ahead / 2
    );
    let db = rusqlite::Connection::open(place.db()).unwrap();
    let recent: i64 = db.query_row(&recent, [], |r| r.get(0)).unwrap();
    assert_eq!(recent, 2);
    drop(db);
    assert_eq!(ask(""), 0);
    let old = ["--dry-run", "--older-than", "30d"];
    assert_eq!(line(&purge(&place, &service, &old).exit(0))["files"], 0);
    // Whoever asks for no age means all of them.
    let all = ["--yes", "--max-share", "100"];
    assert_eq!(line(&purge(&place, &service, &all).exit(0))["deleted"], 2);
    assert_eq!(documents(&service), ["2.md", "3.md"]);
}

#[test]
fn a_larger_share_than_allowed_is_refused_as_a_whole() {
    let place = Place::new();
    place.files(10);
    for i in 0..10 {
        place.file_in("more", &format!("{i}.md"), format!("more of {i}"));
    }
    let service = Service::start(&place, &[]);
    let both = |args: &[&str]| {
        let mut command = place.objlib(&["upload", "docs", "more", "--json"]);
        command.args(["--endpoint", &service.url, "--accept-missing"]);
        command.args(args).env("GEMINI_API_KEY", KEY).seen().exit(0)
    };
    both(&[]);
    // Six of ten here, and one of ten there: of all it is 35 %.
    for i in 0..6 {
        delete(&place, &[&format!("part {i}/note-{i}.md")]);
    }
    fs::remove_file(place.path().join("more/0.md")).unwrap();
    both(&[]);
    for args in [
        &["--yes"][..],
        &["--dry-run"],
        &["--yes", "--max-share", "59"],
    ] {
        let refused = purge(&place, &service, args).exit(1);
        assert!(
            refused.stderr.contains("library `docs`") && refused.stderr.contains("6 of its 10"),
            "{}",
            refused.stderr
        );
        assert!(refused.stderr.contains("--max-share"), "{}", refused.stderr);
        assert_eq!(line(&refused)["exit"], 1);
    }
    assert_eq!(documents(&service).len(), 20);
    // The other library alone may go.
    let done = line(&purge(&place, &service, &["--yes", "--library", "more"]).exit(0));
    assert_eq!(done["deleted"], 1);
    assert_eq!(documents(&service).len(), 19);
    let done = line(&purge(&place, &service, &["--yes", "--max-share", "60"]).exit(0));
    assert_eq!(
        (&done["deleted"], documents(&service).len()),
        (&json!(6), 13)
    );
}

#[test]
fn a_purge_is_about_one_store_and_one_age() {
    let place = Place::new();
    place.files(6);
    let service = Service::start(&place, &[]);
    for store in ["first", "second"] {
        upload(&place, &service, &["--store", store]);
    }
    delete(&place, &["part 1/note-1.md"]);
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let refused = purge(&place, &service, &["--older-than", "30", "--yes"]).exit(2);
    assert!(refused.stderr.contains("as in 30d"), "{}", refused.stderr);
    let old = line(
        &purge(
            &place,
            &service,
            &["--store", "first", "--older-than", "30d", "--yes"],
        )
        .exit(0),
    );
    assert_eq!(
        (&old["documents"], documents(&service).len()),
        (&json!(0), 12)
    );
    let done = line(
        &purge(
            &place,
            &service,
            &["--store", "first", "--yes", "--older-than", "0s"],
        )
        .exit(0),
    );
    assert_eq!(
        (&done["deleted"], documents(&service).len()),
        (&json!(1), 11)
    );
    // It is still missing there.
    assert_eq!(
        (
            status(&place, &["--store", "second"])["missing"].clone(),
            files_known(&place)
        ),
        (json!(1), 6)
    );
    purge(&place, &service, &["--store", "second", "--yes"]).exit(0);
    assert_eq!((documents(&service).len(), files_known(&place)), (10, 5));
    let unknown = purge(&place, &service, &["--store", "third", "--yes"]).exit(1);
    assert!(
        unknown.stderr.contains("store `third`"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn what_an_ignore_file_names_now_is_purged_and_what_was_never_sent_is_forgotten() {
    let place = Place::new();
    place.files(6);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    place.file(".objlibignore", "note-2.md\n");
    place.file("never sent.md", "words");
    place.objlib(&["scan", "docs"]).seen().exit(0);
    delete(&place, &["never sent.md"]);
    place.objlib(&["scan", "docs"]).seen().exit(0);
    assert_eq!(
        (status(&place, &[])["missing"].clone(), files_known(&place)),
        (json!(1), 7)
    );
    let done = line(&purge(&place, &service, &["--yes"]).exit(0));
    assert_eq!((&done["deleted"], files_known(&place)), (&json!(1), 5));
    fs::remove_file(place.docs().join("part 2/note-2.md")).unwrap();
    fs::remove_file(place.docs().join(".objlibignore")).unwrap();
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_purge_that_meets_faults_goes_on_where_it_stopped() {
    let place = Place::new();
    place.files(30);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    for i in 0..10 {
        delete(&place, &[&format!("part {}/note-{i}.md", i % 7)]);
    }
    place.objlib(&["scan", "docs"]).seen().exit(0);
    // Deletions take effect, and nobody hears of it; or they fail.
    let faults = json!({"lose_answer": 0.2, "error_503": 0.1, "only_kinds": ["document.delete"]});
    service.set_faults(faults);
    let mut runs = 0;
    loop {
        let seen = purge(&place, &service, &["--yes"]);
        runs += 1;
        match seen.exit {
            Some(0) => break,
            Some(4) if runs < 20 => {}
            _ => panic!("{}\n{}", seen.stdout, seen.stderr),
        }
    }
    assert!(service.fired("lose_answer") + service.fired("error_503") > 0);
    service.ledger().is_exactly(&place.docs());
    assert_eq!(files_known(&place), 20);
}

#[test]
fn an_upload_finishes_what_a_purge_has_begun() {
    let place = Place::new();
    place.files(12);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    let words = fs::read(place.docs().join("part 2/note-2.md")).unwrap();
    delete(&place, &["part 1/note-1.md", "part 2/note-2.md"]);
    place.objlib(&["scan", "docs"]).seen().exit(0);
    service.set_faults(json!({"error_503": 1.0, "only_kinds": ["document.delete"]}));
    let mut purge = place.objlib(&["purge", "--yes", "--endpoint", &service.url]);
    killed_after(purge.env("GEMINI_API_KEY", KEY), || {
        service.fired("error_503") > 1
    });
    service.set_faults(json!({"error_503": 0.0}));
    // One is back, but the deletion of its document may be on its way: it is sent again.
    place.file("part 2/note-2.md", words);
    upload(&place, &service, &[]);
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    assert_eq!(ledger.uploads(), 13);
}

#[test]
fn an_upload_that_was_under_way_is_settled_before_its_document_goes() {
    let place = Place::new();
    place.files(9);
    let service = Service::start(&place, &["--operation-delay-ms", "4000"]);
    killed_after(&mut place.upload(&service, &[]), || {
        service.ledger().uploads() == 9
    });
    delete(&place, &["part 1/note-1.md", "part 2/note-2.md"]);
    service.set_faults(json!({"operation_delay_ms": 0}));
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let done = line(&purge(&place, &service, &["--yes"]).exit(0));
    assert_eq!(done["left"], 0);
    upload(&place, &service, &[]);
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    assert!(ledger.uploads() <= 10, "{}", ledger.uploads());
}

/// Content that comes back while the deletion of its document is not confirmed.
#[test]
fn a_document_that_may_be_deleted_already_is_nobodys_own() {
    let place = Place::new();
    place.files(3).file("living.md", "old words");
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    place.file("living.md", "new words, and more of them");
    // The deletion takes effect, and its answer is lost, as often as it is tried.
    service.set_faults(json!({"lose_answer": 1.0, "only_kinds": ["document.delete"]}));
    killed_after(&mut place.upload(&service, &[]), || {
        service.fired("lose_answer") > 0
    });
    service.set_faults(json!({"lose_answer": 0.0}));
    place.file("living.md", "old words");
    upload(&place, &service, &[]);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_renamed_file_is_a_move_and_its_document_is_replaced() {
    let place = Place::new();
    place.files(12);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    rename(&place, "part 3/note-3.md", "new home/renamed.md");
    let content = fs::read(place.docs().join("part 4/note-4.md")).unwrap();
    place.file("a copy.md", content);
    delete(&place, &["part 5/note-5.md"]);
    let seen = upload(&place, &service, &[]);
    let found = found(&seen);
    let count = |field: &str| found[field].as_u64().unwrap();
    assert_eq!((count("moved"), count("new"), count("missing")), (1, 1, 1));
    assert_eq!(
        count("files"),
        count("new") + count("changed") + count("moved") + count("unchanged")
    );
    assert_eq!(seen.summary()["indexed"], 2);
    // The old path is gone without a purge, the file that is missing is not.
    let paths = documents(&service);
    assert!(!paths.contains(&"part 3/note-3.md".to_owned()));
    assert!(paths.contains(&"part 5/note-5.md".to_owned()));
    assert_eq!((paths.len(), files_known(&place)), (13, 13));
    purge(&place, &service, &["--yes"]).exit(0);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_renamed_folder_is_no_loss() {
    let place = Place::new();
    for i in 0..40 {
        // Half of them hold the same.
        place.file(
            &format!("old/{}/note-{i}.md", i % 3),
            format!("words of {}", i / 2),
        );
    }
    let service = Service::start(&place, &[]);
    for store in ["first", "second"] {
        upload(&place, &service, &["--store", store]);
    }
    rename(&place, "old", "new");
    let seen = upload(&place, &service, &["--store", "first"]);
    assert_eq!(found(&seen)["moved"], 40);
    // What is still to be replaced in the other store is not for a purge.
    let nothing = line(&purge(&place, &service, &["--store", "second", "--yes"]).exit(0));
    assert_eq!(
        (&nothing["documents"], files_known(&place)),
        (&json!(0), 80)
    );
    upload(&place, &service, &["--store", "second"]);
    let paths: BTreeSet<String> = documents(&service).into_iter().collect();
    assert_eq!(
        (paths.len(), documents(&service).len(), files_known(&place)),
        (40, 80, 40)
    );
    assert!(paths.iter().all(|path| path.starts_with("new/")));
    // An empty disk in its place is one.
    fs::remove_dir_all(place.docs().join("new")).unwrap();
    place.file("one.md", "words of 1");
    place.objlib(&["scan", "docs"]).seen().exit(1);
}

#[test]
fn the_old_document_stays_until_the_new_one_is_active() {
    let place = Place::new();
    place.files(4).file("living.md", "old words");
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    rename(&place, "part 1/note-1.md", "moved.md");
    place.file("living.md", "new words");
    service.set_faults(json!({"operation_fail": 1.0}));
    place
        .upload(&service, &["--max-attempts", "1"])
        .seen()
        .exit(3);
    let ledger = service.ledger().0;
    let documents = ledger["documents"].as_array().unwrap().iter();
    let is_active = |d: &&Value| d["state"] == "STATE_ACTIVE";
    assert_eq!(documents.filter(is_active).count(), 5, "{ledger}");
    service.set_faults(json!({"operation_fail": 0.0}));
    upload(&place, &service, &["--retry-failed"]);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_file_that_moves_on_or_back_before_it_is_sent_leaves_nothing_behind() {
    let place = Place::new();
    place.files(4);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    let scan = |moved: u64| {
        let seen = place.objlib(&["scan", "docs", "--json"]).seen().exit(0);
        assert_eq!(found(&seen)["moved"], moved);
    };
    rename(&place, "part 1/note-1.md", "second.md");
    scan(1);
    rename(&place, "second.md", "third.md");
    scan(1);
    upload(&place, &service, &[]);
    service.ledger().is_exactly(&place.docs());
    assert_eq!(files_known(&place), 4);
    // Back before anything is sent: its document is still there.
    rename(&place, "third.md", "fourth.md");
    scan(1);
    rename(&place, "fourth.md", "third.md");
    scan(1);
    let before = service.ledger().uploads();
    upload(&place, &service, &[]);
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    assert_eq!((ledger.uploads(), files_known(&place)), (before, 4));
    // Gone at the place that it moved to: it is missing, and a purge takes its document.
    rename(&place, "third.md", "fifth.md");
    scan(1);
    delete(&place, &["fifth.md"]);
    scan(0);
    upload(&place, &service, &[]);
    assert_eq!(documents(&service).len(), 4);
    purge(&place, &service, &["--yes"]).exit(0);
    service.ledger().is_exactly(&place.docs());
    assert_eq!(files_known(&place), 3);
}

#[test]
fn a_scan_of_a_part_tells_no_moves() {
    let place = Place::new();
    place.files(7);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]);
    rename(&place, "part 1/note-1.md", "part 2/moved.md");
    let part = ["scan", "docs", "--json", "--include", "part 2/**"];
    let seen = place.objlib(&part).seen().exit(0);
    assert_eq!(
        (&found(&seen)["new"], &found(&seen)["moved"]),
        (&json!(1), &json!(0))
    );
    // The whole one does.
    let seen = upload(&place, &service, &[]);
    assert_eq!(
        (&found(&seen)["moved"], &found(&seen)["missing"]),
        (&json!(1), &json!(0))
    );
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_quiet_run_says_only_what_is_wrong_and_in_one_line() {
    let place = Place::new();
    place.files(5);
    let service = Service::start(&place, &[]);
    // The first of them makes the store, which is as it should be.
    let run = |exit: i32| {
        let mut command = place.objlib(&["upload", "docs", "--quiet", "--endpoint", &service.url]);
        let seen = command.env("GEMINI_API_KEY", KEY).seen().exit(exit);
        (seen.stdout, seen.stderr)
    };
    assert_eq!(run(0), (String::new(), String::new()));
    place.file("new.md", "words");
    service.set_faults(json!({"operation_fail": 1.0}));
    let (stdout, _) = run(3);
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(
        stdout.starts_with("1 file failed: see `objlib status --failed"),
        "{stdout}"
    );
}

/// Years of nights: what was replaced long ago is not remembered, what was replaced just now is.
#[test]
fn rows_of_documents_that_were_deleted_long_ago_are_forgotten() {
    let place = Place::new();
    place.file("a.md", "first");
    let service = Service::start(&place, &[]);
    let night = |content: &str| {
        place.file("a.md", content);
        place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    };
    let rows = || {
        let db = rusqlite::Connection::open(place.db()).unwrap();
        let rows = "SELECT group_concat(status, ' ') FROM (SELECT status FROM uploads ORDER BY id)";
        db.query_row(rows, [], |r| r.get::<_, String>(0)).unwrap()
    };
    night("first");
    night("second words");
    night("third of the words");
    assert_eq!(rows(), "superseded superseded indexed");
    let db = rusqlite::Connection::open(place.db()).unwrap();
    let back = "UPDATE uploads SET since_ms = since_ms - 2 * 24 * 3600 * 1000 WHERE id = 1";
    assert_eq!(db.execute(back, []).unwrap(), 1);
    night("third of the words");
    assert_eq!(rows(), "superseded indexed");
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_store_of_the_embedded_service_is_pointed_to() {
    let place = Place::new();
    place.files(2);
    let upload = ["upload", "docs", "-q", "--emulator", "--store", "mine"];
    place.objlib(&upload).seen().exit(0);
    let purge = place
        .objlib(&["purge", "--store", "mine", "--dry-run"])
        .seen();
    assert!(purge.exit(1).stderr.contains("--emulator"));
}
