use std::time::Duration;

use serde_json::json;

use crate::run::{Place, RunToEnd, Service};

#[test]
fn a_folder_goes_up_whole_and_a_second_run_has_nothing_to_do() {
    let place = Place::new();
    place.files(60);
    place.file("name with\nnewline.txt", "a file name may hold anything");
    place.file("größe/übung.md", "Unicode");
    let service = Service::start(&place, &[]);

    let first = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    let summary = first.summary();
    assert_eq!(summary["indexed"], 62);
    assert_eq!(summary["total"], 62);
    assert_eq!(summary["pending"], 0);
    service.ledger().is_exactly(&place.docs());

    let second = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(second.summary()["indexed"], 0);
    // One look at the store, lest it be gone.
    assert_eq!(second.summary()["requests"], 1);
    assert_eq!(service.ledger().requests("store.get"), 1);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn status_and_ledger_agree() {
    let place = Place::new();
    place.files(25);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    let status = place.objlib(&["status", "--json"]).seen().exit(0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["files"], 25);
    assert_eq!(status["indexed"], 25);
    for state in ["pending", "uploading", "processing", "failed", "missing"] {
        assert_eq!(status[state], 0, "{state}");
    }
}

#[test]
fn a_dry_run_sends_nothing_at_all() {
    let place = Place::new();
    place.files(10);
    let service = Service::start(&place, &[]);
    let seen = place.upload(&service, &["--dry-run"]).seen().exit(0);
    assert!(seen.stdout.contains("\"plan\""), "{}", seen.stdout);
    assert_eq!(seen.summary()["pending"], 10);
    assert_eq!(seen.summary()["requests"], 0);
    let ledger = service.ledger();
    assert_eq!(ledger.0["connections"], 0);
    assert_eq!(ledger.0["requests"], serde_json::json!({}));
}

#[test]
fn a_dry_run_knows_the_requests_of_a_run() {
    for method in ["direct", "staged"] {
        let place = Place::new();
        place.file("note.md", "words");
        let service = Service::start(&place, &[]);
        let args = ["--rpm", "0", "--method", method];
        // From then on it is known that the service takes small files in one request.
        place.upload(&service, &args).seen().exit(0);
        place.files(10);
        place.file("larger.txt", "a larger file\n".repeat(20_000));
        let planned = place.upload(&service, &args).arg("--dry-run").seen();
        let events = planned.exit(0).events();
        let plan = events.iter().find(|e| e["event"] == "plan").unwrap();
        let summary = place.upload(&service, &args).seen().exit(0).summary();
        // Besides, the store is looked at. How many documents one look tells of depends on when they end.
        let requests = summary["requests"].as_u64().unwrap() - 1;
        let planned = plan["requests"].as_u64().unwrap();
        assert!(
            planned.abs_diff(requests) <= 2,
            "{method}: {planned} {requests}"
        );
    }
}

#[test]
fn a_changed_file_replaces_its_document() {
    let place = Place::new();
    place.files(5).file("living.md", "old words");
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    place.file("living.md", "new words, and more of them");
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(seen.summary()["indexed"], 1);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn batches_count_every_file_once() {
    let place = Place::new();
    place.files(23);
    let service = Service::start(&place, &[]);
    let seen = place
        .upload(&service, &["--rpm", "0", "--batch-size", "10"])
        .seen()
        .exit(0);
    let mut batches: Vec<(i64, i64)> = seen
        .events()
        .iter()
        .filter(|e| e["event"] == "batch_done")
        .map(|e| {
            (
                e["files"].as_i64().unwrap(),
                e["succeeded"].as_i64().unwrap(),
            )
        })
        .collect();
    batches.sort();
    assert_eq!(batches, [(3, 3), (10, 10), (10, 10)]);
}

#[test]
fn the_embedded_service_needs_no_key_and_keeps_its_documents() {
    let place = Place::new();
    place.files(8);
    let upload = ["upload", "docs", "--emulator", "--rpm", "0", "--json"];
    let first = place.objlib(&upload).seen().exit(0);
    assert_eq!(first.summary()["indexed"], 8);
    place.file("one more.md", "words");
    let second = place.objlib(&upload).seen().exit(0);
    assert_eq!(second.summary()["indexed"], 1);
}

#[test]
fn limit_starts_no_more_than_it_says() {
    let place = Place::new();
    place.files(12);
    let service = Service::start(&place, &[]);
    let seen = place
        .upload(&service, &["--rpm", "0", "--limit", "5"])
        .seen()
        .exit(0);
    assert_eq!(seen.summary()["indexed"], 5);
    assert_eq!(seen.summary()["pending"], 7);
}

#[test]
fn a_large_file_is_streamed_whole() {
    let place = Place::new();
    let line = "a line of a large file, with some words in it\n";
    place.file("large.txt", line.repeat(20 * 1024 * 1024 / line.len()));
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    assert_eq!(ledger.requests("upload.body"), 1);
}

#[test]
fn a_small_file_goes_in_one_request_and_a_larger_one_by_a_session() {
    let place = Place::new();
    place.files(10);
    place.file("just.txt", "x".repeat(256 * 1024));
    place.file("larger.txt", "x".repeat(256 * 1024 + 1));
    let service = Service::start(&place, &[]);
    let args = ["--rpm", "0", "--concurrency", "1"];
    place.upload(&service, &args).seen().exit(0);
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    assert_eq!(ledger.requests("upload.multipart"), 11);
    assert_eq!(ledger.requests("upload.start"), 1);
}

/// One file finds out, for this run and for all others.
#[test]
fn a_service_that_takes_no_such_request_is_tried_once() {
    for (fault, left) in [
        ("--multipart-refused", 0),
        ("--multipart-metadata-dropped", 1),
    ] {
        let place = Place::new();
        place.files(8);
        // Its document is looked at until the service is through with it.
        let service = Service::start(&place, &[fault, "1", "--operation-delay-ms", "1200"]);
        let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
        assert!(seen.stderr.contains("by sessions"), "{}", seen.stderr);
        assert_eq!(seen.summary()["failed"], 0);
        place.file("one more.md", "words");
        let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
        assert!(!seen.stderr.contains("by sessions"), "{}", seen.stderr);
        let ledger = service.ledger();
        ledger.is_exactly(&place.docs());
        assert_eq!(ledger.requests("upload.multipart"), 1, "{fault}");
        assert_eq!(ledger.requests("upload.start"), 9, "{fault}");
        assert_eq!(ledger.requests("document.delete"), left, "{fault}");
    }
}

/// While one body takes its time: files that need several passes get them, and replaced documents go.
#[test]
fn a_slow_transfer_keeps_its_worker_and_nobody_else() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    for i in 0..3 {
        let name = format!("changed-{i}.txt");
        place.file(&name, "the first content");
    }
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    for i in 0..3 {
        place.file(&format!("changed-{i}.txt"), "the second content");
    }
    // At this rate it takes half a minute, which is cut short below.
    place.file("a-slow-one.txt", "slow\n".repeat(800_000));
    // A direct upload meets its known fault: each file needs three passes until it is through.
    service.set_faults(json!({"count_tokens_503": 1.0}));
    let mut slow = place
        .upload(&service, &["--rpm", "0", "--bwlimit", "131072"])
        .spawn()
        .unwrap();
    let is_done = || {
        let ledger = service.ledger();
        let documents = ledger.0["documents"].as_array().unwrap().clone();
        let is_active = |path: &str| documents.iter().any(|d| d["objlibPath"] == path);
        assert!(
            !is_active("a-slow-one.txt"),
            "it is through before the others"
        );
        ledger.requests("document.delete") == 3 && ledger.requests("import") == 3
    };
    while !is_done() {
        assert!(slow.try_wait().unwrap().is_none(), "the run has ended");
        std::thread::sleep(Duration::from_millis(50));
    }
    slow.kill().unwrap();
    slow.wait().unwrap();
    service.set_faults(json!({}));
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
}
