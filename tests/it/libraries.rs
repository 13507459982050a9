//! Two of everything: folders, stores, databases, spellings of one thing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::run::{KEY, OBJLIB, Place, RunToEnd, Seen, Service};

/// Store, library and path of every document, and how often.
fn documents(service: &Service) -> BTreeMap<(String, String, String), u32> {
    let ledger = service.ledger().0;
    let mut all = BTreeMap::new();
    for document in ledger["documents"].as_array().unwrap() {
        assert_eq!(document["state"], "STATE_ACTIVE", "{document}");
        let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        let key = (
            text("storeDisplayName"),
            text("objlibLibrary"),
            text("objlibPath"),
        );
        *all.entry(key).or_default() += 1;
    }
    all
}

/// The same as lines: `store library/path`, each of them once.
#[track_caller]
fn once_each(service: &Service) -> Vec<String> {
    let line = |((store, library, path), n): ((String, String, String), u32)| {
        assert_eq!(n, 1, "{store} {library}/{path} is there {n} times");
        format!("{store} {library}/{path}")
    };
    documents(service).into_iter().map(line).collect()
}

/// A folder beside `docs`.
fn folder(place: &Place, name: &str, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = place.path().join(name).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn objlib(place: &Place, service: &Service, args: &[&str]) -> Seen {
    let mut command = place.objlib(args);
    command.args(["--endpoint", &service.url]);
    command.env("GEMINI_API_KEY", KEY).seen()
}

fn upload(place: &Place, service: &Service, args: &[&str]) -> Seen {
    objlib(
        place,
        service,
        &[&["upload", "--json", "--rpm", "0"], args].concat(),
    )
}

fn status(place: &Place, args: &[&str]) -> Value {
    let seen = place.objlib(&[&["status", "--json"], args].concat());
    let mut seen = seen;
    serde_json::from_str(&seen.seen().exit(0).stdout).unwrap()
}

#[test]
fn each_folder_goes_into_its_own_store() {
    let place = Place::new();
    folder(&place, "a", &[("same.md", "same words"), ("a.md", "a")]);
    folder(&place, "b", &[("same.md", "same words"), ("b.md", "b")]);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["a", "--store", "A"]).exit(0);
    upload(&place, &service, &["b", "--store", "B"]).exit(0);
    let apart = ["A a/a.md", "A a/same.md", "B b/b.md", "B b/same.md"];
    assert_eq!(once_each(&service), apart);
    // Nor do the stores' own runs mix them up.
    upload(&place, &service, &["--store", "A"]).exit(0);
    upload(&place, &service, &["--store", "B"]).exit(0);
    assert_eq!(once_each(&service), apart);
    // Until it is asked for.
    upload(&place, &service, &["a", "--store", "B"]).exit(0);
    let more = [
        "A a/a.md",
        "A a/same.md",
        "B a/a.md",
        "B a/same.md",
        "B b/b.md",
        "B b/same.md",
    ];
    assert_eq!(once_each(&service), more);
    // From then on what is new goes into both.
    folder(&place, "a", &[("new.md", "new")]);
    place.objlib(&["scan", "a"]).seen().exit(0);
    upload(&place, &service, &["--store", "A"]).exit(0);
    upload(&place, &service, &["--store", "B"]).exit(0);
    assert_eq!(once_each(&service).len(), 8);
}

#[test]
fn one_folder_of_a_store_is_sent_without_the_others() {
    let place = Place::new();
    folder(&place, "a", &[("a.md", "a")]);
    folder(&place, "b", &[("b.md", "b")]);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["a", "b"]).exit(0);
    folder(&place, "a", &[("a2.md", "a")]);
    folder(&place, "b", &[("b2.md", "b")]);
    place.objlib(&["scan", "a", "b"]).seen().exit(0);
    let seen = upload(&place, &service, &["a"]).exit(0);
    assert_eq!(seen.summary()["indexed"], 1);
    assert!(!once_each(&service).contains(&"objlib b/b2.md".to_owned()));
    let seen = upload(&place, &service, &["--library", "b"]).exit(0);
    assert_eq!(seen.summary()["indexed"], 1);
    assert_eq!(once_each(&service).len(), 4);
}

#[test]
fn a_store_is_the_same_however_it_is_spelled() {
    let place = Place::new();
    place.files(20);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs", "--store", "hand book"]).exit(0);
    let name = status(&place, &["--store", "hand book"])["store"]["name"].clone();
    let name = name.as_str().unwrap();
    let localhost = service.url.replace("127.0.0.1", "localhost");
    for (store, endpoint) in [
        (name, service.url.clone()),
        ("  hand book ", service.url.clone()),
        ("hand book", format!("{localhost}/")),
        (name, localhost.replace("localhost", "LocalHost")),
    ] {
        let mut command = place.objlib(&["upload", "docs", "--json", "--store", store]);
        command.args(["--endpoint", &endpoint]);
        let seen = command.env("GEMINI_API_KEY", KEY).seen().exit(0);
        assert_eq!(seen.summary()["indexed"], 0, "{store} at {endpoint}");
        let json = status(&place, &["--store", store]);
        assert_eq!(
            (&json["indexed"], &json["pending"]),
            (&json!(20), &json!(0))
        );
    }
    assert_eq!(service.ledger().uploads(), 20);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_store_that_was_named_by_its_resource_name_is_found_by_its_own() {
    let place = Place::new();
    place.files(3);
    let other = Place::new();
    other.files(1);
    let service = Service::start(&place, &[]);
    upload(
        &other,
        &service,
        &["docs", "--store", "shared", "--library", "others"],
    )
    .exit(0);
    let name = status(&other, &["--store", "shared"])["store"]["name"].clone();
    upload(
        &place,
        &service,
        &["docs", "--store", name.as_str().unwrap()],
    )
    .exit(0);
    let seen = upload(&place, &service, &["docs", "--store", "shared"]).exit(0);
    assert_eq!(seen.summary()["indexed"], 0);
    assert_eq!(once_each(&service).len(), 4);
}

#[test]
fn a_folder_that_was_moved_keeps_its_name_and_nothing_is_sent() {
    let place = Place::new();
    place.files(30);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"]).exit(0);
    let moved = place.path().join("elsewhere/papers");
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    fs::rename(place.docs(), &moved).unwrap();
    let plan = upload(&place, &service, &["elsewhere/papers", "--dry-run"]).exit(0);
    assert_eq!(plan.summary()["total"], 0);
    let seen = upload(&place, &service, &["elsewhere/papers"]).exit(0);
    assert_eq!(seen.summary()["indexed"], 0);
    assert!(seen.stderr.contains("library `docs`"), "{}", seen.stderr);
    assert_eq!(service.ledger().uploads(), 30);
    // Another folder at the old place is another library, and says how to name it.
    place.file("other.md", "other words");
    let seen = upload(&place, &service, &["docs"]).exit(1);
    for word in ["docs", "elsewhere/papers", "--library"] {
        assert!(seen.stderr.contains(word), "{}", seen.stderr);
    }
    upload(&place, &service, &["docs", "--library", "new docs"]).exit(0);
    let all = once_each(&service);
    assert!(
        all.contains(&"objlib new docs/other.md".to_owned()),
        "{all:?}"
    );
    assert_eq!(all.len(), 31);
}

#[test]
fn a_folder_of_other_content_is_not_taken_for_one_that_is_gone() {
    let place = Place::new();
    folder(&place, "a", &[("readme.md", "words of a"), ("x.md", "x")]);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["a"]).exit(0);
    fs::remove_dir_all(place.path().join("a")).unwrap();
    folder(
        &place,
        "b",
        &[("readme.md", "other words of b"), ("x.md", "longer")],
    );
    upload(&place, &service, &["b"]).exit(0);
    let all = once_each(&service);
    assert_eq!(
        all,
        [
            "objlib a/readme.md",
            "objlib a/x.md",
            "objlib b/readme.md",
            "objlib b/x.md"
        ]
    );
    // By its name it is taken over, which is the user's word.
    fs::rename(place.path().join("b"), place.path().join("c")).unwrap();
    let seen = upload(&place, &service, &["c", "--library", "b"]).exit(0);
    assert_eq!(seen.summary()["indexed"], 0);
}

#[test]
fn a_library_inside_another_is_refused_with_what_leaves_it_out() {
    let place = Place::new();
    place.file("inner/a.md", "a").file("b.md", "b");
    let service = Service::start(&place, &[]);
    let inner = place.docs().join("inner");
    let inner = inner.to_str().unwrap();
    upload(&place, &service, &[inner]).exit(0);
    let seen = upload(&place, &service, &["docs"]).exit(1);
    assert!(
        seen.stderr.contains("--exclude '/inner'"),
        "{}",
        seen.stderr
    );
    upload(&place, &service, &["docs", "--exclude", "/inner"]).exit(0);
    assert_eq!(
        once_each(&service),
        ["objlib docs/b.md", "objlib inner/a.md"]
    );
    // An ignore file says it for good.
    place.file(".objlibignore", "/inner/\n");
    upload(&place, &service, &["docs"]).exit(0);
    upload(&place, &service, &[inner]).exit(0);
    assert_eq!(once_each(&service).len(), 2);
    // The other way round: a part of what is known already.
    let place = Place::new();
    place.file("inner/a.md", "a").file("b.md", "b");
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"]).exit(0);
    let inner = place.docs().join("inner");
    let seen = upload(&place, &service, &[inner.to_str().unwrap()]).exit(1);
    for word in ["inside the library `docs`", ".objlibignore"] {
        assert!(seen.stderr.contains(word), "{}", seen.stderr);
    }
    assert_eq!(once_each(&service).len(), 2);
}

#[test]
fn library_names_are_one_folders_each() {
    let place = Place::new();
    folder(&place, "x/docs", &[("a.md", "a")]);
    folder(&place, "y/docs", &[("b.md", "b")]);
    let refused = |args: &[&str], exit: i32, words: &[&str]| {
        let seen = place.objlib(args).seen().exit(exit);
        assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
        for word in words {
            assert!(seen.stderr.contains(word), "{word}: {}", seen.stderr);
        }
    };
    place.objlib(&["scan", "x/docs"]).seen().exit(0);
    refused(&["scan", "y/docs"], 1, &["`docs`", "x/docs", "--library"]);
    refused(&["scan", "y/docs", "--library", " "], 2, &["library name"]);
    refused(
        &["scan", "x/docs", "y/docs", "--library", "z"],
        2,
        &["--library"],
    );
    refused(
        &["scan", "x/docs", "--library", "z"],
        1,
        &["`docs`", "rename"],
    );
    refused(
        &["upload", "--library", "nobody", "--dry-run"],
        1,
        &["`nobody`", "library list"],
    );
    place
        .objlib(&["scan", "y/docs", "--library", "cafe\u{301}"])
        .seen()
        .exit(0);
    let list = place.objlib(&["library", "list", "--json"]).seen().exit(0);
    let names: Vec<Value> = list.events().iter().map(|l| l["name"].clone()).collect();
    assert_eq!(names, ["caf\u{e9}", "docs"]);
    refused(
        &["library", "rename", "docs", "cafe\u{301}"],
        1,
        &["caf\u{e9}", "y/docs"],
    );
    refused(&["library", "forget", "nobody"], 1, &["`nobody`"]);
}

#[test]
fn a_renamed_library_is_replaced_document_by_document() {
    let place = Place::new();
    place.files(9);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"]).exit(0);
    let seen = place
        .objlib(&["library", "rename", "docs", "papers"])
        .seen()
        .exit(0);
    assert!(seen.stdout.contains("sends them again"), "{}", seen.stdout);
    assert_eq!(status(&place, &[])["pending"], 9);
    let seen = upload(&place, &service, &["docs"]).exit(0);
    assert_eq!(seen.summary()["indexed"], 9);
    let all = once_each(&service);
    assert!(
        all.iter().all(|line| line.starts_with("objlib papers/")),
        "{all:?}"
    );
    assert_eq!(all.len(), 9);
    let seen = objlib(&place, &service, &["verify"]).exit(0);
    assert!(seen.stdout.contains("they agree"), "{}", seen.stdout);
}

#[test]
fn a_forgotten_library_keeps_its_documents_and_is_taken_back() {
    let place = Place::new();
    place.files(12);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"]).exit(0);
    let seen = place.objlib(&["library", "forget", "docs"]).seen().exit(0);
    assert!(seen.stdout.contains("stay in objlib"), "{}", seen.stdout);
    assert_eq!(status(&place, &[])["files"], 0);
    // Nobody's now: neither an upload nor a repair touches them.
    upload(&place, &service, &[]).exit(0);
    let seen = objlib(&place, &service, &["verify", "--repair"]).exit(0);
    assert!(
        seen.stdout
            .contains("12 of libraries that this database does not know")
    );
    place.objlib(&["scan", "docs"]).seen().exit(0);
    objlib(&place, &service, &["verify", "--repair"]).exit(0);
    upload(&place, &service, &["docs"]).exit(0);
    service.ledger().is_exactly(&place.docs());
    assert_eq!(service.ledger().uploads(), 12);
}

#[test]
fn whoever_lost_the_database_and_just_uploads_sends_nothing_again() {
    let place = Place::new();
    place.files(45);
    folder(
        &place,
        "more",
        &[("note.md", "words"), ("part 1/note-1.md", "other words")],
    );
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs", "more"]).exit(0);
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", place.db().display()));
    }
    place.file("part 2/note-2.md", "changed since");
    let seen = upload(&place, &service, &["docs", "more"]).exit(0);
    let summary = seen.summary();
    assert_eq!(
        (&summary["adopted"], &summary["indexed"]),
        (&json!(46), &json!(1))
    );
    assert_eq!(service.ledger().uploads(), 48);
    // What has changed meanwhile left an old document behind, which only `verify` may judge.
    let seen = objlib(&place, &service, &["verify", "--repair"]).exit(0);
    assert!(
        seen.stdout.contains("1 in the store, of older content"),
        "{}",
        seen.stdout
    );
    upload(&place, &service, &["docs"]).exit(0);
    assert_eq!(once_each(&service).len(), 47);
}

/// As from a nightly backup: what was sent since then is in the stores and not in the database.
#[test]
fn an_old_copy_of_the_database_put_back_sends_nothing_again() {
    let place = Place::new();
    place.files(45);
    let service = Service::start(&place, &[]);
    let into = |store| upload(&place, &service, &["docs", "--store", store]).exit(0);
    let (one, two) = ("one", "two");
    into(one);
    into(two);
    let copy = place.path().join("copy.db");
    fs::copy(place.db(), &copy).unwrap();
    folder(
        &place,
        "docs/new",
        &[("a.md", "a"), ("b.md", "b"), ("c.md", "c")],
    );
    place.file("part 2/note-2.md", "changed since");
    into(one);
    into(two);
    let uploads = service.ledger().uploads();
    assert_eq!(uploads, 2 * (45 + 4));
    fs::rename(&copy, place.db()).unwrap();
    for store in [one, two] {
        let seen = into(store);
        assert_eq!(seen.stderr.contains("older copy"), store == one);
        let summary = seen.summary();
        assert_eq!(
            (&summary["adopted"], &summary["indexed"]),
            (&json!(4), &json!(0))
        );
    }
    assert_eq!(service.ledger().uploads(), uploads);
    // From then on it is the newest again, and no store is looked at without need.
    let lists = service.ledger().requests("document.list");
    folder(&place, "docs/new", &[("d.md", "d")]);
    let seen = into(one);
    assert!(!seen.stderr.contains("older copy"));
    assert_eq!(service.ledger().uploads(), uploads + 1);
    assert!(service.ledger().requests("document.list") <= lists + 2);
}

#[test]
fn a_look_that_cannot_see_everything_sends_nothing() {
    let place = Place::new();
    place.files(45);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"]).exit(0);
    fs::remove_file(place.db()).unwrap();
    service.set_faults(json!({"list_lose_one": 1.0}));
    let seen = upload(&place, &service, &["docs"]).exit(4);
    assert!(seen.stderr.contains("cannot tell"), "{}", seen.stderr);
    assert!(service.fired("list_lose_one") > 0);
    service.set_faults(json!({"list_lose_one": 0.0}));
    let seen = upload(&place, &service, &["docs"]).exit(0);
    assert_eq!(seen.summary()["adopted"], 45);
    assert_eq!(service.ledger().uploads(), 45);
}

/// A listing lags: it still shows what was deleted a moment ago, and that is no document any more.
#[test]
fn a_document_that_is_deleted_and_still_listed_is_not_taken_back() {
    let place = Place::new();
    place.files(5);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"]).exit(0);
    service.set_faults(json!({"list_ghost_ms": 3_600_000}));
    let name = service.ledger().0["documents"][0]["name"].clone();
    let url = format!(
        "{}/v1beta/{}?force=true",
        service.url,
        name.as_str().unwrap()
    );
    let delete = ureq::delete(&url).header("x-goog-api-key", KEY).call();
    delete.unwrap();
    fs::remove_file(place.db()).unwrap();
    // By a repair, and by an upload.
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let seen = objlib(&place, &service, &["verify", "--json"]).exit(3);
    assert_eq!(seen.events().pop().unwrap()["taken_back"], 4);
    let seen = upload(&place, &service, &["docs"]).exit(0);
    let summary = seen.summary();
    assert_eq!(
        (&summary["adopted"], &summary["indexed"]),
        (&json!(4), &json!(1))
    );
    assert!(service.fired("list_ghost_ms") > 0);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn filters_hold_back_what_was_recorded_before() {
    let place = Place::new();
    place
        .file("a.md", "a")
        .file("drafts/b.md", "b")
        .file("c.txt", "c");
    let service = Service::start(&place, &[]);
    // A dry run records nothing.
    upload(&place, &service, &["docs", "--dry-run"]).exit(0);
    assert!(!place.db().exists());
    // A scan does, and a later call still decides.
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let exclude = ["docs", "--exclude", "drafts/**"];
    let seen = upload(&place, &service, &[&exclude[..], &["--dry-run"]].concat()).exit(0);
    assert_eq!(seen.summary()["total"], 2);
    upload(&place, &service, &exclude).exit(0);
    assert_eq!(
        once_each(&service),
        ["objlib docs/a.md", "objlib docs/c.txt"]
    );
    let json = status(&place, &[]);
    assert_eq!((&json["files"], &json["pending"]), (&json!(3), &json!(1)));
    // Without a folder as well.
    upload(&place, &service, &["--include", "*.txt"]).exit(0);
    assert_eq!(once_each(&service).len(), 2);
    // What an ignore file names now is not pending, and comes back without it.
    place.file(".objlibignore", "drafts/\n");
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let json = status(&place, &[]);
    assert_eq!((&json["files"], &json["pending"]), (&json!(2), &json!(0)));
    upload(&place, &service, &["docs"]).exit(0);
    assert_eq!(once_each(&service).len(), 2);
    fs::remove_file(place.docs().join(".objlibignore")).unwrap();
    upload(&place, &service, &["docs"]).exit(0);
    assert_eq!(once_each(&service).len(), 3);
}

#[test]
fn retries_are_for_what_this_call_is_about() {
    let place = Place::new();
    place.file("a.md", "a").file("b.txt", "b");
    let service = Service::start(&place, &["--operation-fail", "1"]);
    upload(&place, &service, &["docs", "--max-attempts", "1"]).exit(3);
    service.set_faults(json!({"operation_fail": 0.0}));
    upload(&place, &service, &["--retry-failed", "--include", "*.md"]).exit(0);
    assert_eq!(once_each(&service), ["objlib docs/a.md"]);
    assert_eq!(status(&place, &[])["failed"], 1);
}

#[test]
fn what_was_tried_with_the_embedded_service_stays_there() {
    let place = Place::new();
    folder(&place, "trial", &[("t.md", "a trial")]);
    place.file("a.md", "a");
    let trial = ["upload", "trial", "--emulator", "--rpm", "0"];
    place.objlib(&trial).seen().exit(0);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"]).exit(0);
    upload(&place, &service, &[]).exit(0);
    assert_eq!(once_each(&service), ["objlib docs/a.md"]);
    // And the other way round.
    let seen = place
        .objlib(&["upload", "--emulator", "--json"])
        .seen()
        .exit(0);
    assert_eq!(seen.summary()["indexed"], 0);
}

#[test]
fn a_scan_that_did_not_end_is_not_sent_unasked() {
    let place = Place::new();
    place.files(4);
    folder(&place, "big", &[("b.md", "b")]);
    place.objlib(&["scan", "big"]).seen().exit(0);
    let db = rusqlite::Connection::open(place.db()).unwrap();
    db.execute("UPDATE libraries SET scanned_ms = NULL", [])
        .unwrap();
    drop(db);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"]).exit(0);
    let seen = upload(&place, &service, &[]).exit(0);
    assert!(seen.stderr.contains("`big`"), "{}", seen.stderr);
    assert_eq!(once_each(&service).len(), 4);
    place.objlib(&["library", "forget", "big"]).seen().exit(0);
    assert_eq!(
        status(&place, &[])["libraries"].as_array().unwrap().len(),
        1
    );
}

/// Runs a line as a person would paste it, in a shell that knows no other variable.
fn paste(place: &Place, line: &str) -> Seen {
    let line = line.replacen("objlib", OBJLIB, 1);
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(place.path());
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command.env("HOME", place.path()).env("GEMINI_API_KEY", KEY);
    command.stdin(Stdio::null()).seen()
}

/// The lines in backquotes that begin with `objlib`.
fn typed(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let lines = quoted.filter(|line| line.starts_with("objlib "));
    lines.map(str::to_owned).collect()
}

#[test]
fn what_is_said_to_type_next_means_the_same_store() {
    let place = Place::new();
    place.files(9);
    let service = Service::start(&place, &[]);
    let store = ["--store", "my hand book"];
    let limit = ["docs", "--limit", "4", "--rpm", "0"];
    objlib(
        &place,
        &service,
        &[&["upload"], &limit[..], &store].concat(),
    )
    .exit(0);
    let page = place
        .objlib(&[&["status"], &store[..]].concat())
        .seen()
        .exit(0);
    let lines = typed(&page.stdout);
    assert!(!lines.is_empty(), "{}", page.stdout);
    for line in &lines {
        paste(&place, line).exit(0);
    }
    let all = once_each(&service);
    assert!(
        all.iter().all(|l| l.starts_with("my hand book docs/")),
        "{all:?}"
    );
    assert_eq!(all.len(), 9);
    // What failed, and what could not be read.
    service.set_faults(json!({"operation_fail": 1.0}));
    place.file("bad.md", "bad").file("empty.md", "");
    let args = ["upload", "docs", "--max-attempts", "1", "--rpm", "0"];
    let seen = objlib(&place, &service, &[&args[..], &store].concat()).exit(3);
    service.set_faults(json!({"operation_fail": 0.0}));
    let lines = typed(&seen.stdout);
    assert_eq!(lines.len(), 2, "{}", seen.stdout);
    let failed = paste(&place, &lines[0]).exit(0);
    assert!(failed.stdout.contains("bad.md"), "{}", failed.stdout);
    let again = typed(&failed.stdout);
    paste(&place, &again[0]).exit(0);
    assert_eq!(once_each(&service).len(), 10);
    // verify's own words.
    let db = rusqlite::Connection::open(place.db()).unwrap();
    db.execute(
        "DELETE FROM uploads WHERE id = (SELECT min(id) FROM uploads)",
        [],
    )
    .unwrap();
    drop(db);
    let seen = objlib(&place, &service, &[&["verify"], &store[..]].concat()).exit(3);
    paste(&place, &typed(&seen.stdout)[0]).exit(0);
    objlib(&place, &service, &[&["verify"], &store[..]].concat()).exit(0);
}

#[test]
fn what_is_said_to_type_next_stays_with_the_embedded_service() {
    let place = Place::new();
    place.files(6);
    let first = ["upload", "docs", "--emulator", "--limit", "2", "--rpm", "0"];
    place.objlib(&first).seen().exit(0);
    let page = place.objlib(&["status"]).seen().exit(0);
    let line = typed(&page.stdout).pop().unwrap();
    assert!(line.contains("--emulator"), "{line}");
    paste(&place, &line).exit(0);
    assert_eq!(status(&place, &[])["indexed"], 6);
}

#[test]
fn a_store_that_is_gone_is_noticed_and_can_be_made_anew() {
    let place = Place::new();
    place.files(8);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"]).exit(0);
    let name = status(&place, &[])["store"]["name"].clone();
    let url = format!(
        "{}/v1beta/{}?force=true",
        service.url,
        name.as_str().unwrap()
    );
    let delete = || ureq::delete(&url).header("x-goog-api-key", KEY).call();
    delete().unwrap();
    for args in [&["docs"][..], &[]] {
        let seen = upload(&place, &service, args).exit(1);
        assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
        assert!(seen.stderr.contains("--recreate-store"), "{}", seen.stderr);
    }
    objlib(&place, &service, &["verify"]).exit(1);
    let seen = upload(&place, &service, &["docs", "--recreate-store"]).exit(0);
    assert_eq!(seen.summary()["indexed"], 8);
    service.ledger().is_exactly(&place.docs());
    upload(&place, &service, &["docs"]).exit(0);
    assert_eq!(once_each(&service).len(), 8);
    // With a store that is there the flag changes nothing.
    let seen = upload(&place, &service, &["docs", "--recreate-store"]).exit(0);
    assert_eq!(seen.summary()["indexed"], 0);
}

#[test]
fn a_store_that_somebody_made_anew_is_taken_and_not_doubled() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"]).exit(0);
    let name = status(&place, &[])["store"]["name"].clone();
    let url = format!(
        "{}/v1beta/{}?force=true",
        service.url,
        name.as_str().unwrap()
    );
    ureq::delete(&url)
        .header("x-goog-api-key", KEY)
        .call()
        .unwrap();
    ureq::post(format!("{}/v1beta/fileSearchStores", service.url))
        .header("x-goog-api-key", KEY)
        .header("content-type", "application/json")
        .send(r#"{"displayName": "objlib"}"#)
        .unwrap();
    let seen = upload(&place, &service, &["docs"]).exit(1);
    assert!(seen.stderr.contains("--recreate-store"), "{}", seen.stderr);
    upload(&place, &service, &["docs", "--recreate-store"]).exit(0);
    service.ledger().is_exactly(&place.docs());
    assert_eq!(service.ledger().requests("store.create"), 2);
}

#[test]
fn a_blank_store_is_wrong_usage() {
    let place = Place::new();
    place.files(1);
    for store in ["", "  "] {
        let seen = place
            .objlib(&["upload", "docs", "--store", store])
            .seen()
            .exit(2);
        assert!(seen.stderr.contains("blank"), "{}", seen.stderr);
    }
}

#[test]
fn a_limit_is_kept_only_by_files_that_were_begun() {
    let place = Place::new();
    place.files(4);
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs", "--limit", "1"]).exit(0);
    // The service dies behind the store's back: nothing is begun, and it is not said to be done.
    service
        .set_faults(json!({"error_503": 1.0, "only_kinds": ["upload.start", "upload.multipart"]}));
    let seen = upload(&place, &service, &["--limit", "5", "--passes", "1"]).exit(4);
    assert_eq!(seen.summary()["indexed"], 0);
    service.set_faults(json!({"error_503": 0.0, "only_kinds": []}));
    // Two of the others are begun, and are brought to their end although one fails at first.
    let failing: Vec<Value> = (2..=6).map(|n| json!({"call": n, "kind": "503"})).collect();
    service.set_faults(json!({"calls": failing}));
    let plan = upload(&place, &service, &["--limit", "2", "--dry-run"]).exit(0);
    assert_eq!(plan.summary()["total"], 2);
    let seen = upload(&place, &service, &["--limit", "2"]);
    assert_eq!(seen.exit, Some(0), "{}", seen.stderr);
    assert_eq!(once_each(&service).len(), 3);
    assert_eq!(status(&place, &[])["pending"], 1);
}

#[test]
fn a_service_that_fails_from_the_first_call_is_waited_for() {
    let place = Place::new();
    place.files(2);
    let service = Service::start(&place, &["--error-503", "1"]);
    let seen = upload(&place, &service, &["docs", "--passes", "2"]).exit(4);
    assert!(seen.stderr.contains("503"), "{}", seen.stderr);
    assert_eq!(seen.summary()["exit"], 4);
    // And back within its passes, the run goes on.
    service.set_faults(
        json!({"error_503": 0.0, "calls": [{"call": 1, "kind": "503"},
        {"call": 2, "kind": "503"}, {"call": 3, "kind": "503"}]}),
    );
    upload(&place, &service, &["docs"]).exit(0);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn every_skip_has_its_name_and_reason() {
    let place = Place::new();
    place
        .file("a.md", "a")
        .file("empty.md", "")
        .file("pic.bin", [0u8, 159, 146, 150, 0, 1]);
    let huge = fs::File::create(place.docs().join("huge.txt")).unwrap();
    huge.set_len(108_000_000).unwrap();
    std::os::unix::fs::symlink("loop", place.docs().join("loop")).unwrap();
    let seen = place.objlib(&["scan", "docs", "--json"]).seen().exit(0);
    let by = &seen.events()[0]["skipped_by"];
    assert_eq!((&by["empty"], &by["too large"]), (&json!(1), &json!(1)));
    let seen = place.objlib(&["scan", "docs", "-v"]).seen().exit(0);
    for name in ["empty.md", "pic.bin", "huge.txt", "loop"] {
        assert!(seen.stderr.contains(name), "{name}: {}", seen.stderr);
    }
    assert!(
        seen.stdout.contains("too large for the service: huge.txt"),
        "{}",
        seen.stdout
    );
    let listed = place
        .objlib(&["status", "--skipped", "--json"])
        .seen()
        .exit(0);
    let mut paths: Vec<Value> = listed.events().iter().map(|l| l["path"].clone()).collect();
    paths.sort_by_key(Value::to_string);
    assert_eq!(paths, ["empty.md", "huge.txt", "loop", "pic.bin"]);
    // What becomes fit is no skip any more.
    place.file("empty.md", "words");
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let listed = place.objlib(&["status", "--skipped"]).seen().exit(0);
    assert!(!listed.stdout.contains("empty.md"), "{}", listed.stdout);
}

#[test]
fn what_could_not_be_read_makes_exit_3() {
    let place = Place::new();
    place.files(5);
    let service = Service::start(&place, &[]);
    // A file that no right can open: it leads through a link to itself only when it is opened.
    fs::write(place.path().join("list"), "part 0/note-0.md\nno-such.md\n").unwrap();
    let args = ["docs", "--files-from", "list"];
    upload(&place, &service, &args).exit(3);
    assert_eq!(once_each(&service).len(), 1);
}

/// Whoever may write to the database has to be its owner.
#[test]
fn a_database_of_another_owner_is_refused() {
    let place = Place::new();
    place.files(1);
    place.objlib(&["scan", "docs"]).seen().exit(0);
    if std::os::unix::fs::chown(place.db(), Some(65_534), Some(65_534)).is_err() {
        // Only root can give a file away.
        return;
    }
    let seen = place.objlib(&["scan", "docs"]).seen().exit(1);
    assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
    for word in ["library.db", "another user (uid 65534)", "--db"] {
        assert!(seen.stderr.contains(word), "{}", seen.stderr);
    }
}

/// Its port is another one after the restart; its session is the same.
#[test]
fn a_body_that_the_embedded_service_was_killed_under_goes_on_at_its_new_port() {
    let place = Place::new();
    place.file("large.txt", "a line of some words\n".repeat(300_000));
    let args = ["upload", "docs", "--emulator", "--rpm", "0", "--json"];
    let mut run = place
        .objlib(&[&args[..], &["--bwlimit", "2M"]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let session = || {
        let db = rusqlite::Connection::open(place.db()).ok()?;
        db.query_row("SELECT session_url FROM uploads", [], |r| {
            r.get::<_, Option<String>>(0)
        })
        .ok()?
    };
    let url = loop {
        assert!(run.try_wait().unwrap().is_none(), "it ended early");
        if let Some(url) = session() {
            break url;
        }
        std::thread::yield_now();
    };
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(url.starts_with('/'), "{url}");
    let seen = place.objlib(&args).seen().exit(0);
    assert_eq!(seen.summary()["indexed"], 1);
    let data = place.path().join("library.db.emulator");
    assert!(Path::new(&data).exists());
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&data).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}
