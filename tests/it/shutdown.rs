use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{Place, RunToEnd, Seen, Service, begun, seen};

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.unwrap().success());
}

fn stopped_by(name: &str, exit: i32) {
    let place = Place::new();
    place.files(150);
    let service = Service::start(
        &place,
        &["--latency-ms", "20", "--operation-delay-ms", "100"],
    );
    let run = begun(&place, &service, &[]);
    signal(&run, name);
    let first = seen(run.wait_with_output().unwrap()).exit(exit);
    let summary = first.summary();
    assert_eq!(summary["exit"], exit);
    let left = summary["pending"].as_u64().unwrap() + summary["processing"].as_u64().unwrap();
    assert!(left > 0, "{summary}");
    // What the last line says is what happened: nothing was begun and then left without a word.
    let indexed = summary["indexed"].as_u64().unwrap();
    assert_eq!(indexed + left, 150, "{summary}");

    let second = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(second.summary()["indexed"].as_u64().unwrap(), left);
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    // Transfers in flight were finished, so none had to be begun twice.
    assert_eq!(ledger.uploads(), 150);
}

#[test]
fn ctrl_c_finishes_what_is_in_flight_and_the_next_run_the_rest() {
    stopped_by("INT", 130);
}

#[test]
fn sigterm_is_the_same_with_its_own_exit_code() {
    stopped_by("TERM", 143);
}

#[test]
fn a_grace_of_nothing_leaves_a_session_that_is_continued() {
    let place = Place::new();
    let size = 8 * 1024 * 1024;
    let text: String = (0..size / 16).map(|i| format!("{i:>15}\n")).collect();
    place.file("large.txt", text);
    let service = Service::start(&place, &[]);
    let run = place
        .upload(&service, &["--rpm", "0", "--bwlimit", "4M", "--grace", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while service.ledger().body_bytes() < size / 4 {
        std::thread::yield_now();
    }
    signal(&run, "INT");
    let first = seen(run.wait_with_output().unwrap()).exit(130);
    assert_eq!(first.summary()["pending"], 1);
    let second = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert_eq!(second.summary()["resumed"], 1);
    service.ledger().is_exactly(&place.docs());
    assert_eq!(service.ledger().uploads(), 1);
}

#[test]
fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let place = Place::new();
    place.files(60);
    let service = Service::start(&place, &["--latency-ms", "400"]);
    let mut run = begun(&place, &service, &["--grace", "300"]);
    signal(&run, "INT");
    // The second is one only after the first was taken.
    let stderr = BufReader::new(run.stderr.take().unwrap());
    let said = stderr.lines().map(Result::unwrap);
    assert!(said.into_iter().any(|line| line.contains("stopping")));
    signal(&run, "INT");
    assert_eq!(run.wait().unwrap().code(), Some(130));
    service.set_faults(serde_json::json!({"latency_ms": 0}));
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn a_lock_that_a_dead_process_left_is_taken_over_with_a_notice() {
    let place = Place::new();
    place.files(60);
    let service = Service::start(&place, &["--latency-ms", "20"]);
    let mut run = begun(&place, &service, &[]);
    run.kill().unwrap();
    run.wait().unwrap();
    let seen = place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    assert!(
        seen.stderr.contains("took the lock over"),
        "{}",
        seen.stderr
    );
    service.ledger().is_exactly(&place.docs());
}

/// Sends the signal and waits for the end. A run that waits out what the service does to it in these tests
/// takes a minute or more, so the bound only tells that from one that does not.
#[track_caller]
fn ends_soon(run: Child, name: &str, exit: i32) -> Seen {
    let began = Instant::now();
    signal(&run, name);
    let seen = seen(run.wait_with_output().unwrap()).exit(exit);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(25), "prompt after {took:?}");
    seen
}

/// A run that has met this fault.
fn met(place: &Place, service: &Service, args: &[&str], fault: &str) -> Child {
    let mut run = place
        .upload(service, args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while service.fired(fault) == 0 {
        assert!(run.try_wait().unwrap().is_none(), "it ended early");
        std::thread::yield_now();
    }
    run
}

/// It cannot be resumed, and nobody has to ask what became of it: its last byte never left.
#[test]
fn one_request_that_is_stopped_half_way_made_nothing() {
    let place = Place::new();
    place.file("note.txt", "x".repeat(200 * 1024));
    let service = Service::start(&place, &[]);
    let args = ["--rpm", "0", "--bwlimit", "32K", "--grace", "1"];
    let mut command = place.upload(&service, &args);
    let run = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while service.ledger().body_bytes() < 60_000 {
        std::thread::yield_now();
    }
    signal(&run, "INT");
    let first = seen(run.wait_with_output().unwrap()).exit(130);
    assert_eq!(first.summary()["pending"], 1);
    assert_eq!(service.ledger().0["documents"], serde_json::json!([]));
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    let ledger = service.ledger();
    ledger.is_exactly(&place.docs());
    assert_eq!(ledger.requests("upload.multipart"), 2);
    assert_eq!(ledger.requests("document.list"), 0);
}

/// A token is not waited for: the next one would come after six seconds, and all of them after minutes.
#[test]
fn nothing_waits_for_a_token_after_ctrl_c() {
    let place = Place::new();
    place.files(40);
    let service = Service::start(&place, &[]);
    let mut run = place
        .upload(&service, &["--rpm", "10", "--grace", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while service.ledger().uploads() == 0 {
        assert!(run.try_wait().unwrap().is_none(), "it ended early");
        std::thread::yield_now();
    }
    let seen = ends_soon(run, "INT", 130);
    assert!(seen.stderr.contains("objlib: stopping"), "{}", seen.stderr);
    assert!(service.requests().len() < 12, "{}", seen.stdout);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
}

/// Everybody waits for a quota, for as long as the service asked.
#[test]
fn nothing_waits_for_a_quota_after_ctrl_c() {
    let place = Place::new();
    place.files(40);
    let flags = ["--quota-per-min", "8", "--quota-retry-delay-s", "55"];
    let service = Service::start(&place, &flags);
    let run = met(&place, &service, &["--grace", "60"], "quota_per_min");
    ends_soon(run, "INT", 130);
    service.set_faults(serde_json::json!({"quota_per_min": null}));
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
}

/// The service takes a request and never answers: the grace period is all that it gets, and a row that knows
/// what to ask for is left. Nothing is in flight while a document is looked at, or the store is listed.
#[test]
fn the_grace_period_bounds_a_service_that_never_answers() {
    for (kind, method, files) in [
        ("upload.multipart", "direct", 6),
        ("upload.start", "direct", 6),
        ("upload.body", "direct", 6),
        ("document.list", "direct", 6),
        // One by itself is in no page.
        ("document.get", "direct", 1),
        ("import", "staged", 6),
        ("store.list", "direct", 6),
    ] {
        let place = Place::new();
        place.files(files);
        let service = Service::start(&place, &[]);
        service.set_faults(serde_json::json!({"stall": 1.0, "only_kinds": [kind]}));
        let args = ["--rpm", "0", "--grace", "1", "--method", method];
        let run = met(&place, &service, &args, "stall");
        let first = ends_soon(run, "INT", 130);
        assert_eq!(first.summary()["exit"], 130, "{kind}");
        service.set_faults(serde_json::json!({"stall": 0.0}));
        place.upload(&service, &["--rpm", "0"]).seen().exit(0);
        service.ledger().is_exactly(&place.docs());
    }
}

/// A new database, and a store that others have filled: what it holds is read before anything is sent.
#[test]
fn ctrl_c_during_the_first_look_ends_the_run_like_any_other() {
    for (name, exit, outcome) in [("INT", 130, "interrupted"), ("TERM", 143, "terminated")] {
        let place = Place::new();
        place.files(6);
        let service = Service::start(&place, &[]);
        place.upload(&service, &["--rpm", "0"]).seen().exit(0);
        let flags = ["--rpm", "0", "--db", "new.db", "--report", "page.html"];
        let args = [&flags[..], &["--grace", "1"]].concat();
        service.set_faults(serde_json::json!({"stall": 1.0, "only_kinds": ["document.list"]}));
        let run = met(&place, &service, &args, "stall");
        let first = ends_soon(run, name, exit);
        assert!(!first.stderr.contains("error:"), "{}", first.stderr);
        assert_eq!(first.summary()["exit"], exit);
        let page = std::fs::read_to_string(place.path().join("page.html")).unwrap();
        assert!(page.contains("It ended before it sent anything"), "{page}");
        let status = place.objlib(&["status", "--json", "--db", "new.db"]).seen();
        assert!(
            status
                .stdout
                .contains(&format!("\"outcome\":\"{outcome}\""))
        );
        service.set_faults(serde_json::json!({"stall": 0.0}));
        let mut second = place.upload(&service, &["--rpm", "0", "--db", "new.db"]);
        assert_eq!(second.seen().exit(0).summary()["adopted"], 6);
        assert_eq!(service.ledger().uploads(), 6);
    }
}

/// An answer that comes a byte every five seconds is as good as none.
#[test]
fn the_grace_period_bounds_an_answer_that_trickles() {
    let place = Place::new();
    place.files(6);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--limit", "1"]).seen().exit(0);
    service.set_faults(serde_json::json!({"drip_ms": 5000}));
    let run = met(&place, &service, &["--rpm", "0", "--grace", "1"], "drip_ms");
    ends_soon(run, "TERM", 143);
    service.set_faults(serde_json::json!({"drip_ms": 0}));
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
}

#[test]
fn the_first_signal_says_what_is_waited_for_and_the_second_that_it_is_over() {
    let place = Place::new();
    place.files(6);
    let service = Service::start(&place, &[]);
    service.set_faults(serde_json::json!({"stall": 1.0, "only_kinds": ["upload.multipart"]}));
    let args = ["--rpm", "0", "--grace", "300", "--concurrency", "1"];
    let mut run = met(&place, &service, &args, "stall");
    signal(&run, "INT");
    let mut said = BufReader::new(run.stderr.take().unwrap()).lines();
    let mut line = || said.next().unwrap().unwrap();
    while !line().starts_with("objlib: created the store") {}
    let waits = "up to 300 s for 1 transfer in flight (Ctrl-C again: at once)";
    assert_eq!(line(), format!("objlib: stopping: {waits}"));
    signal(&run, "INT");
    let over = "stopped at once: run the same command again to continue";
    assert_eq!(line(), format!("objlib: {over}"));
    assert_eq!(run.wait().unwrap().code(), Some(130));
    service.set_faults(serde_json::json!({"stall": 0.0}));
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
}

/// Nothing is in flight while the store is compared, however long its answers take.
#[test]
fn ctrl_c_ends_a_comparison_at_once() {
    let place = Place::new();
    place.files(6);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    service.set_faults(serde_json::json!({"stall": 1.0, "only_kinds": ["document.list"]}));
    let mut run = place
        .objlib(&["verify", "--repair", "--endpoint", &service.url])
        .env("GEMINI_API_KEY", crate::run::KEY)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while service.fired("stall") == 0 {
        assert!(run.try_wait().unwrap().is_none(), "it ended early");
        std::thread::yield_now();
    }
    ends_soon(run, "TERM", 143);
    service.ledger().is_exactly(&place.docs());
}

/// All is sent, and the service goes away with it: what is waited for is said, and nobody has to.
#[test]
fn a_service_that_is_gone_with_documents_is_waited_for_no_longer_than_is_wanted() {
    let place = Place::new();
    place.files(6);
    let service = Service::start(&place, &["--operation-delay-ms", "600000"]);
    let mut run = begun(&place, &service, &[]);
    service.set_faults(serde_json::json!({"error_503": 1.0}));
    let mut said = String::new();
    let mut lines = BufReader::new(run.stderr.take().unwrap());
    while !said.contains("waited for, up to 30 min; Ctrl-C ends the run at once") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
    }
    assert_eq!(said.matches("the service fails while it has").count(), 1);
    ends_soon(run, "INT", 130);
}

/// The same while a session of the run waits to be asked again: looks at documents take every probe.
#[test]
fn a_service_that_is_gone_with_a_session_in_doubt_is_told_as_well() {
    let place = Place::new();
    place.files(6);
    let service = Service::start(&place, &["--operation-delay-ms", "600000"]);
    let failing = [
        "upload.body",
        "upload.query",
        "document.get",
        "document.list",
        "operation.get",
    ];
    service.set_faults(serde_json::json!({"error_503": 1.0, "only_kinds": failing}));
    let mut run = place
        .upload(
            &service,
            &["--rpm", "0", "--concurrency", "4", "--passes", "100"],
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(run.stderr.take().unwrap());
    while !said.contains("waited for, up to 30 min; Ctrl-C ends the run at once") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
    }
    ends_soon(run, "INT", 130);
}

/// A list without end, on a pipe that nobody closes.
#[test]
fn ctrl_c_ends_a_list_that_does_not_end() {
    let place = Place::new();
    place.files(6);
    let mut run = place
        .objlib(&["scan", "docs", "--files-from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _open = run.stdin.take();
    signal(&run, "INT");
    // Nothing has begun, so nothing has to be said: the signal itself ends it.
    assert!(!run.wait().unwrap().success());
}

/// Somebody who stopped reading: the run goes on, and ends with its exit code.
#[test]
fn a_reader_that_does_not_read_holds_nothing_up() {
    let place = Place::new();
    place.files(600);
    let service = Service::start(&place, &[]);
    // Far less than what is to be said fits into the pipe.
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    let mut command = place.upload(&service, &["--rpm", "0"]);
    let mut run = command
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(command);
    assert_eq!(run.wait().unwrap().code(), Some(0));
    service.ledger().is_exactly(&place.docs());
    drop(reader);
}

/// Standard error on a full disk, or closed: that costs the words, not the run.
#[test]
fn a_standard_error_that_takes_nothing_costs_only_the_words() {
    let place = Place::new();
    place.files(30);
    let service = Service::start(&place, &[]);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = place.upload(&service, &["--rpm", "0"]);
    let ended = command.stdout(Stdio::null()).stderr(full).status().unwrap();
    assert_eq!(ended.code(), Some(0));
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = place.objlib(&["status", "--no-such-flag"]);
    assert_eq!(command.stderr(full).status().unwrap().code(), Some(2));
    service.ledger().is_exactly(&place.docs());
}

/// Whoever reads has seen enough, or the disk is full.
#[test]
fn output_that_cannot_be_written_is_an_error_and_a_closed_pipe_is_none() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &[]);
    place.upload(&service, &[]).seen().exit(0);
    let remote = ["--endpoint", &service.url];
    for words in [
        &["--help"][..],
        &["--version"],
        &["scan", "--help"],
        &["man"],
        &["completions", "bash"],
        &["status"],
        &["report", "--html", "-"],
        &["purge", "--dry-run", remote[0], remote[1]],
        &["verify", remote[0], remote[1]],
    ] {
        let mut command = place.objlib(words);
        command.env("GEMINI_API_KEY", crate::run::KEY);
        let full = std::fs::File::options().write(true).open("/dev/full");
        let full = command.stdout(full.unwrap()).stderr(Stdio::piped());
        let full = seen(full.output().unwrap()).exit(1);
        assert!(
            full.stderr.starts_with("error: stdout: "),
            "{}",
            full.stderr
        );
        assert_eq!(full.stderr.lines().count(), 2, "{}", full.stderr);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = seen(command.stdout(writer).output().unwrap()).exit(0);
        assert_eq!(closed.stderr, "", "{words:?}");
    }
}
