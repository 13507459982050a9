use std::process::Stdio;

use serde_json::json;

use crate::run::{Place, RunToEnd, Service};

/// Runs until nothing is left, as a cron job would.
fn until_done(place: &Place, service: &Service, args: &[&str]) {
    for _ in 0..10 {
        let seen = place.upload(service, args).seen();
        match seen.exit {
            Some(0) => return,
            Some(4) => {}
            other => panic!("exit {other:?}\n{}\n{}", seen.stdout, seen.stderr),
        }
    }
    panic!("not done after ten runs");
}

#[test]
fn errors_resets_and_lost_answers_lose_and_double_nothing() {
    let place = Place::new();
    place.files(120);
    let service = Service::start(&place, &["--fault-seed", "7", "--operation-delay-ms", "20"]);
    service.set_faults(json!({
        "error_503": 0.10, "reset_before": 0.05, "reset_within": 0.05, "reset_after": 0.05,
        "lose_final_answer": 0.05, "lose_answer": 0.02
    }));
    until_done(&place, &service, &["--rpm", "0", "--max-attempts", "20"]);
    for fault in [
        "error_503",
        "reset_before",
        "reset_within",
        "reset_after",
        "lose_final_answer",
    ] {
        assert!(service.fired(fault) > 0, "{fault} never fired");
    }
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn every_final_answer_lost_is_found_again_by_asking() {
    let place = Place::new();
    place.files(15);
    let service = Service::start(&place, &["--lose-final-answer", "1"]);
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(seen.summary()["failed"], 0);
    assert!(service.fired("lose_final_answer") >= 15);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn operations_that_never_say_done_end_by_their_documents() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &["--operation-never-done", "1"]);
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(seen.summary()["indexed"], 3);
    assert!(service.fired("operation_never_done") > 0);
}

#[test]
fn a_failed_operation_is_a_failed_file_with_the_services_words() {
    let place = Place::new();
    place.files(4);
    let service = Service::start(&place, &["--operation-fail", "1"]);
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(3);
    assert_eq!(seen.summary()["failed"], 4);
    assert_eq!(service.fired("operation_fail"), 4);
    let failed = place.objlib(&["status", "--failed"]).seen().exit(0);
    assert!(failed.stdout.contains("note-0.md"), "{}", failed.stdout);
    // Nothing of a failed attempt stays behind, and another try starts clean.
    assert_eq!(service.ledger().0["documents"], json!([]));
    service.set_faults(json!({"operation_fail": 0.0}));
    place
        .upload(&service, &["--rpm", "0", "--retry-failed"])
        .seen()
        .exit(0);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_hidden_quota_slows_the_run_and_fails_nothing() {
    let place = Place::new();
    // More than the bucket has saved up.
    place.files(60);
    let service = Service::start(
        &place,
        &["--quota-write-per-min", "240", "--quota-shape", "bucket"],
    );
    until_done(&place, &service, &["--rpm", "0"]);
    assert!(service.fired("quota_write_per_min") > 0, "it never fired");
    let status = place.objlib(&["status", "--json"]).seen().exit(0).stdout;
    assert!(status.contains("\"failed\":0"), "{status}");
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn the_quota_of_the_day_stops_the_run_with_files_left() {
    let place = Place::new();
    place.files(20);
    let service = Service::start(&place, &["--quota-per-day", "15"]);
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(4);
    assert!(seen.summary()["pending"].as_u64().unwrap() > 0);
    assert!((1..20).contains(&service.fired("quota_per_day")));
    service.set_faults(json!({"quota_per_day": null}));
    until_done(&place, &service, &["--rpm", "0"]);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_full_store_stops_the_run_and_says_so() {
    let place = Place::new();
    place.files(20);
    let service = Service::start(&place, &["--storage-limit-bytes", "3000"]);
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(1);
    assert!(seen.summary()["pending"].as_u64().unwrap() > 0);
    assert!(service.fired("storage_limit_bytes") > 0);
}

#[test]
fn a_refused_key_ends_the_run_after_one_request() {
    let place = Place::new();
    place.files(20);
    let service = Service::start(&place, &["--refuse-key", crate::run::KEY]);
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(6);
    assert_eq!(seen.summary()["exit"], 6);
    assert_eq!(service.requests().len(), 1);
}

#[test]
fn a_session_that_expired_is_settled_by_a_listing() {
    let place = Place::new();
    place.files(6);
    // The answer is lost, and before the session can be asked the client dies.
    let service = Service::start(&place, &["--lose-final-answer", "1", "--latency-ms", "300"]);
    let mut run = place
        .upload(&service, &["--rpm", "0"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while service.fired("lose_final_answer") == 0 {
        assert!(run.try_wait().unwrap().is_none(), "ended too early");
        std::thread::yield_now();
    }
    run.kill().unwrap();
    run.wait().unwrap();
    // Now the service knows nothing of any session.
    service.set_faults(json!({"lose_final_answer": 0.0, "latency_ms": 0, "session_expiry_ms": 1}));
    let asked = place
        .upload(&service, &["--rpm", "0", "--limit", "1"])
        .seen();
    assert!(asked.summary()["adopted"].as_u64().unwrap() > 0);
    service.set_faults(json!({"session_expiry_ms": null}));
    until_done(&place, &service, &["--rpm", "0"]);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn uploads_whose_headers_are_lost_double_nothing_and_delete_nothing() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &["--upload-headers-lost", "1"]);
    until_done(&place, &service, &["--rpm", "0"]);
    let lost = service.fired("upload_headers_lost");
    assert!(lost > 0);
    // The JSON that became documents is nobody's: nothing says whose it is, so it stays.
    let ledger = service.ledger().0;
    let documents = ledger["documents"].as_array().unwrap();
    let is_ours = |d: &&serde_json::Value| d["objlibPath"].is_string();
    assert_eq!(documents.iter().filter(is_ours).count(), 3);
    assert_eq!(documents.len() as u64, 3 + lost);
    assert_eq!(ledger["duplicates"], 0);
}
