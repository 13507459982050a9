use std::process::Stdio;

use crate::run::{Place, RunToEnd, Service};

/// Kills the run once the service has seen so many uploads begin.
fn kill_after(place: &Place, service: &Service, starts: u64) {
    let mut run = place
        .upload(service, &["--rpm", "0", "--concurrency", "4"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while service.ledger().uploads() < starts {
        if run.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::yield_now();
    }
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn killed_in_the_middle_and_run_again_is_exact() {
    let place = Place::new();
    place.files(80);
    let service = Service::start(&place, &["--latency-ms", "3", "--operation-delay-ms", "50"]);
    for starts in [5, 25, 60] {
        kill_after(&place, &service, starts);
    }
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(seen.summary()["pending"], 0);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_large_body_is_continued_not_sent_again() {
    let place = Place::new();
    let size = 24 * 1024 * 1024;
    let text: String = (0..size / 16).map(|i| format!("{i:>15}\n")).collect();
    place.file("large.txt", &text);
    let service = Service::start(&place, &[]);
    // The limit makes the transfer slow enough to be met half way.
    let mut run = place
        .upload(&service, &["--rpm", "0", "--bwlimit", "12M"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while service.ledger().body_bytes() < size / 2 {
        assert!(run.try_wait().unwrap().is_none(), "ended too early");
        std::thread::yield_now();
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(seen.summary()["resumed"], 1);
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    // What was on its way into the service when the client died may be lost, no more.
    assert!(
        ledger.body_bytes() < size + size / 4,
        "{} bytes for a file of {size}",
        ledger.body_bytes()
    );
}

#[test]
fn a_stopped_service_costs_nothing_but_time() {
    let place = Place::new();
    place.files(6);
    let dead = Service::start(&place, &[]);
    let url = dead.url.clone();
    drop(dead);
    let seen = place
        .objlib(&["upload", "docs", "--json", "--endpoint", &url])
        .env("GEMINI_API_KEY", crate::run::KEY)
        .seen();
    assert_eq!(seen.exit, Some(4), "{}", seen.stderr);
    let service = Service::start(&place, &[]);
    place.upload(&service, &[]).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn what_the_service_forgot_is_settled_by_one_listing() {
    let place = Place::new();
    place.files(4);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    // As after a crash long ago: two operations that nobody knows any more. One document is there,
    // the other is not.
    let db = rusqlite::Connection::open(place.db()).unwrap();
    let gone: String = db
        .query_row("SELECT document FROM uploads WHERE id = 2", [], |r| {
            r.get(0)
        })
        .unwrap();
    db.execute(
        "UPDATE uploads SET status = 'processing', operation = replace(document, '/documents/', '/upload/operations/') || '-none',
             document = document || '-none' WHERE id <= 2",
        [],
    )
    .unwrap();
    drop(db);
    ureq::delete(format!("{}/v1beta/{gone}?force=true", service.url))
        .header("x-goog-api-key", crate::run::KEY)
        .call()
        .unwrap();
    let lists = service.ledger().requests("document.list");
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    let summary = seen.summary();
    assert_eq!(
        (&summary["adopted"], &summary["indexed"]),
        (&1.into(), &2.into())
    );
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    assert_eq!(ledger.uploads(), 5);
    assert_eq!(ledger.requests("document.list") - lists, 1);
}

/// Two libraries hold the same file, `get` sees neither document, and nobody knows the operations any more.
#[test]
fn two_libraries_with_the_same_file_keep_their_own_documents() {
    let place = Place::new();
    place.file("one/note.md", "the same words");
    place.file("two/note.md", "the same words");
    let service = Service::start(&place, &[]);
    let upload = || {
        let args = ["upload", "docs/one", "docs/two", "--json", "--rpm", "0"];
        let mut command = place.objlib(&args);
        command.args(["--endpoint", &service.url]);
        command.env("GEMINI_API_KEY", crate::run::KEY).seen()
    };
    upload().exit(0);
    let db = rusqlite::Connection::open(place.db()).unwrap();
    let lost = "UPDATE uploads SET status = 'processing', operation = document || '-none'";
    assert_eq!(db.execute(lost, []).unwrap(), 2);
    drop(db);
    service.set_faults(serde_json::json!({"get_lag_ms": 3_600_000}));
    assert_eq!(upload().exit, Some(4));
    assert!(service.fired("get_lag_ms") > 0);
    service.set_faults(serde_json::json!({"get_lag_ms": 0}));
    upload().exit(0);
    let ledger = service.ledger();
    assert_eq!(ledger.uploads(), 2, "sent again");
    assert_eq!(ledger.0["documents"].as_array().unwrap().len(), 2);
}

/// Somebody has written another host into the database: nothing of the file goes there, and the store says
/// that nothing of it was taken.
#[test]
fn a_session_on_another_host_is_never_followed() {
    let place = Place::new();
    place.file("secret.txt", "words for one service only\n".repeat(400));
    let service = Service::start(&place, &["--multipart-refused", "1"]);
    let limit = ["--rpm", "0", "--bwlimit", "4K"];
    let mut run = place.upload(&service, &limit);
    let mut run = run.stdout(std::process::Stdio::null()).spawn().unwrap();
    let session = || {
        let db = rusqlite::Connection::open(place.db()).ok()?;
        let sql = "SELECT session_url FROM uploads";
        db.query_row(sql, [], |r| r.get::<_, Option<String>>(0))
            .ok()?
    };
    while session().is_none() {
        assert!(run.try_wait().unwrap().is_none(), "it ended early");
        std::thread::yield_now();
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "http://{}/upload?upload_id=1",
        stranger.local_addr().unwrap()
    );
    let called = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let calls = std::sync::Arc::clone(&called);
    std::thread::spawn(move || {
        for mut stream in stranger.incoming().flatten() {
            calls.store(true, std::sync::atomic::Ordering::SeqCst);
            let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
            let _ = std::io::Write::write_all(&mut stream, answer);
        }
    });
    let db = rusqlite::Connection::open(place.db()).unwrap();
    db.execute("UPDATE uploads SET session_url = ?1", [&url])
        .unwrap();
    drop(db);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
    let called = called.load(std::sync::atomic::Ordering::SeqCst);
    assert!(!called, "somebody called the stranger");
}
