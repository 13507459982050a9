use serde_json::{Value, json};

use crate::run::{KEY, Place, RunToEnd, Seen, Service};

fn verify(place: &Place, service: &Service, args: &[&str]) -> Seen {
    let mut command = place.objlib(&["verify", "--json", "--endpoint", &service.url]);
    command.args(args).env("GEMINI_API_KEY", KEY).seen()
}

fn found(seen: &Seen) -> Value {
    let line = seen.events().pop().expect("a line");
    assert_eq!(line["event"], "verify");
    line
}

/// A document of the store, deleted behind objlib's back.
fn delete_by_hand(service: &Service, path: &str) {
    let ledger = service.ledger();
    let documents = ledger.0["documents"].as_array().unwrap();
    let document = documents.iter().find(|d| d["objlibPath"] == path).unwrap();
    let name = document["name"].as_str().unwrap();
    ureq::delete(format!("{}/v1beta/{name}?force=true", service.url))
        .header("x-goog-api-key", KEY)
        .call()
        .unwrap();
}

#[test]
fn a_lost_database_is_rebuilt_without_sending_anything_again() {
    let place = Place::new();
    place.files(70);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", place.db().display()));
    }
    place.objlib(&["scan", "docs"]).seen().exit(0);
    assert_eq!(
        found(&verify(&place, &service, &[]).exit(3))["taken_back"],
        70
    );
    let repaired = found(&verify(&place, &service, &["--repair"]).exit(0));
    assert_eq!(repaired["repaired"], 70);
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(seen.summary()["requests"], 1, "a look at the store");
    assert_eq!(
        found(&verify(&place, &service, &[]).exit(0))["matching"],
        70
    );
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    assert_eq!(ledger.uploads(), 70);
}

#[test]
fn what_changed_while_the_database_was_lost_is_sent_and_the_old_content_goes() {
    let place = Place::new();
    place.files(12);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    std::fs::remove_file(place.db()).unwrap();
    place.file("part 3/note-3.md", "other words than before");
    place.objlib(&["scan", "docs"]).seen().exit(0);
    verify(&place, &service, &["--repair"]).exit(0);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    assert_eq!(ledger.uploads(), 13);
}

#[test]
fn a_document_that_was_deleted_by_hand_is_sent_again_after_the_repair() {
    let place = Place::new();
    place.files(25);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    delete_by_hand(&service, "part 4/note-4.md");
    assert_eq!(found(&verify(&place, &service, &[]).exit(3))["gone"], 1);
    // Only shown, so nothing was done.
    assert_eq!(found(&verify(&place, &service, &[]).exit(3))["gone"], 1);
    verify(&place, &service, &["--repair"]).exit(0);
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(seen.summary()["indexed"], 1);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_second_document_of_the_same_identity_is_deleted() {
    let place = Place::new();
    place.files(20);
    let service = Service::start(&place, &[]);
    // The same files into the same store, by somebody with another database, who has begun earlier: so
    // neither sees all that the other sends.
    let other = place.path().join("other.db");
    let others = |limit: &str| {
        place
            .upload(&service, &["--rpm", "0", "--limit", limit])
            .env("OBJLIB_DB", &other)
            .seen()
            .exit(0);
    };
    others("1");
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(seen.summary()["adopted"], 1);
    others("7");
    assert_eq!(service.ledger().0["duplicates"], 7);
    assert_eq!(
        found(&verify(&place, &service, &[]).exit(3))["duplicates"],
        7
    );
    verify(&place, &service, &["--repair"]).exit(0);
    service.ledger().is_exactly(&place.docs());
    assert_eq!(
        found(&verify(&place, &service, &[]).exit(0))["matching"],
        20
    );
}

#[test]
fn a_listing_that_is_not_whole_proves_nothing() {
    let met = |fault: &str, exit: i32| {
        let place = Place::new();
        place.files(45);
        let service = Service::start(&place, &[]);
        place.upload(&service, &["--rpm", "0"]).seen().exit(0);
        service.set_faults(json!({ fault: 1.0 }));
        let seen = verify(&place, &service, &["--repair"]).exit(exit);
        assert!(service.fired(fault) > 0, "{fault} never fired");
        let ledger = service.ledger();
        ledger.is_exactly(&place.docs());
        assert_eq!(ledger.requests("document.delete"), 0);
        seen
    };
    // Until it is no lag any more, what a listing lacks is waited for.
    std::thread::scope(|scope| {
        for fault in ["list_lose_page", "list_lose_one", "list_error_page2"] {
            scope.spawn(move || {
                let seen = met(fault, 1);
                assert!(seen.stderr.contains("cannot tell"), "{}", seen.stderr);
            });
        }
        assert_eq!(found(&met("list_repeat_page", 0))["matching"], 45);
    });
}

#[test]
fn a_repair_that_would_delete_most_of_the_store_is_refused() {
    let place = Place::new();
    place.files(15);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    // Every row's hash is off by one: every document looks foreign to its row.
    let db = rusqlite::Connection::open(place.db()).unwrap();
    db.execute("UPDATE uploads SET size_bytes = size_bytes + 1", [])
        .unwrap();
    drop(db);
    let seen = verify(&place, &service, &["--repair"]).exit(1);
    assert!(seen.stderr.contains("refused"), "{}", seen.stderr);
    assert_eq!(service.ledger().requests("document.delete"), 0);
}

/// Documents were lost and uploaded again, then an older copy of the database came back: it names documents
/// that are gone, and knows nothing of their good successors.
#[test]
fn the_successor_of_a_lost_document_is_taken_back_and_not_deleted() {
    let place = Place::new();
    place.files(8);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    let backup = place.path().join("backup.db");
    std::fs::copy(place.db(), &backup).unwrap();
    for i in 0..8 {
        delete_by_hand(&service, &format!("part {}/note-{i}.md", i % 7));
    }
    verify(&place, &service, &["--repair"]).exit(0);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
    let deleted = service.ledger().requests("document.delete");
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", place.db().display()));
    }
    std::fs::copy(&backup, place.db()).unwrap();
    let line = found(&verify(&place, &service, &["--repair"]).exit(0));
    assert_eq!(
        (&line["taken_back"], &line["duplicates"]),
        (&json!(8), &json!(0))
    );
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    assert_eq!(ledger.requests("document.delete"), deleted);
    assert_eq!(found(&verify(&place, &service, &[]).exit(0))["matching"], 8);
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(seen.summary()["indexed"], 0);
}

/// What waits to be sent, or is on its way, is no difference; but nobody is to take it for being there.
#[test]
fn what_is_not_in_the_store_yet_is_said_to_be_missing_there() {
    let place = Place::new();
    place.files(6);
    let service = Service::start(&place, &[]);
    let some = ["--rpm", "0", "--limit", "4"];
    place.upload(&service, &some).seen().exit(0);
    let said = |words: &str| {
        let mut command = place.objlib(&["verify", "--endpoint", &service.url]);
        let seen = command.env("GEMINI_API_KEY", KEY).seen().exit(0);
        let last = seen.stdout.lines().last().unwrap();
        assert!(last.starts_with(words), "{last}");
    };
    said("they agree; 2 files still to be sent: `objlib upload ");
    let line = found(&verify(&place, &service, &[]).exit(0));
    assert_eq!(
        (&line["unsent"], &line["under_way"]),
        (&json!(2), &json!(0))
    );
}

/// Two machines, or two databases of one, whose folders happen to have one name.
#[test]
fn two_databases_with_one_library_name_are_told_of_each_other() {
    let (here, there) = (Place::new(), Place::new());
    here.file("a.md", "of here").file("README.md", "here");
    there.file("b.md", "of there").file("README.md", "there");
    let service = Service::start(&here, &[]);
    here.upload(&service, &[]).seen().exit(0);
    let warned = there.upload(&service, &[]).seen().exit(0).stderr;
    let told = "holds 2 documents of library `docs` that this database has never sent";
    assert!(warned.contains(told), "{warned}");
    let mend = "objlib library rename docs OTHER";
    assert!(warned.contains(mend), "{warned}");
    for place in [&here, &there] {
        let mut page = place.objlib(&["verify", "--endpoint", &service.url]);
        let page = page.env("GEMINI_API_KEY", KEY).seen().exit(3).stdout;
        let told = "2 of these were never sent from here";
        assert!(page.contains(told), "{page}");
        let next = "next, if they are this database's own: `objlib verify --repair";
        assert!(page.contains(next), "{page}");
        place.upload(&service, &[]).seen().exit(0);
        let mut purge = place.objlib(&["purge", "--yes", "--max-share", "100"]);
        purge.args(["--endpoint", &service.url]);
        purge.env("GEMINI_API_KEY", KEY).seen().exit(0);
    }
    let ledger = service.ledger();
    let deleted = ledger.requests("document.delete");
    assert_eq!((ledger.uploads(), deleted), (4, 0));
}
