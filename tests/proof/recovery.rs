//! What recovery costs: requests, bytes and time, of a lost database, a half-sent file, and thousands of
//! rows in doubt.

use std::process::Stdio;
use std::time::Instant;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::case::Case;
use crate::run::{KEY, RunToEnd};
use crate::{Options, table};

/// Documents on a page of a listing.
const PAGE: u64 = 20;

pub fn run(options: &Options) {
    let (files, mebibytes, rows) = match options.long {
        true => (1999, 86, 4999),
        false => (199, 9, 499),
    };
    lost_database(files, 0.0);
    println!();
    lost_database(files.max(999), 0.35);
    println!();
    half_sent(mebibytes);
    println!();
    in_doubt(rows);
}

/// Requests since the start that may make something, and all.
fn requests(case: &Case) -> (u64, u64) {
    let ledger = case.service.ledger();
    let all = ledger.0["requests"].as_object().unwrap();
    let sum = all.values().filter_map(Value::as_u64).sum();
    (ledger.uploads(), sum)
}

/// `failing`: so many of the pages of a listing fail, more than a run may ask for again.
fn lost_database(files: usize, failing: f64) {
    let case = Case::new(files, &["--fault-seed", "7"]);
    case.finish(&[]);
    case.service
        .set_faults(json!({"error_503": failing, "only_kinds": ["document.list"]}));
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", case.place.db().display()));
    }
    let mut rows = Vec::new();
    let mut step = |name: &str, args: &[&str]| {
        let before = requests(&case);
        let began = Instant::now();
        let mut command = case.place.objlib(args);
        command
            .env("GEMINI_API_KEY", KEY)
            .env("OBJLIB_HASTE", if failing > 0.0 { "100" } else { "1" });
        command.seen().exit(0);
        let seconds = began.elapsed().as_secs_f64();
        let after = requests(&case);
        assert_eq!(after.0, before.0, "{name} sent a file again");
        let asked = after.1 - before.1;
        rows.push(vec![
            name.to_owned(),
            asked.to_string(),
            (after.0 - before.0).to_string(),
            format!("{seconds:.2}"),
        ]);
    };
    let url = case.service.url.as_str();
    step("scan", &["scan", "docs"]);
    step(
        "verify --repair",
        &["verify", "--repair", "--endpoint", url],
    );
    step("upload", &["upload", "docs", "--endpoint", url]);
    case.exact();
    if failing > 0.0 {
        assert!(case.service.fired("error_503") > 16);
    }
    println!(
        "a lost database of {} files, {failing} of the pages fail",
        files + 1
    );
    table(&["command", "requests", "files sent", "seconds"], &rows);
}

/// Killed when 60 % of a large file had arrived.
fn half_sent(mebibytes: u64) {
    let case = Case::new(0, &[]);
    std::fs::remove_file(case.place.docs().join("larger.txt")).unwrap();
    let size = mebibytes << 20;
    let text: String = (0..size / 16).map(|i| format!("{i:>15}\n")).collect();
    case.place.file("large.txt", text);
    let mut slow = case.upload(0, &["--bwlimit", "8M"]);
    let mut run = slow.stdout(Stdio::null()).spawn().unwrap();
    while case.service.ledger().body_bytes() < size * 6 / 10 {
        assert!(run.try_wait().unwrap().is_none(), "ended too early");
        std::thread::yield_now();
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let before = case.service.ledger().body_bytes();
    let summary = case.upload(0, &[]).seen().exit(0).summary();
    assert_eq!(summary["resumed"], 1);
    case.exact();
    let sent = case.service.ledger().body_bytes() - before;
    // What was under way to the service when the process died.
    let twice = (before + sent).saturating_sub(size);
    assert!(twice < size / 50, "{twice} bytes were sent twice");
    println!("killed at 60 % of a file of {size} bytes");
    table(
        &["bytes before", "bytes after", "sent twice"],
        &[vec![
            before.to_string(),
            sent.to_string(),
            twice.to_string(),
        ]],
    );
}

/// Of every five rows three had a session that nobody knows any more, one an import without an answer,
/// one an operation.
fn in_doubt(files: usize) {
    let case = Case::new(files, &[]);
    case.finish(&[]);
    let db = Connection::open(case.place.db()).unwrap();
    let session = "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore?upload_id=gone-";
    db.execute(
        "UPDATE uploads SET status = 'uploading', operation = NULL, document = NULL,
             session_url = ?1 || id WHERE id % 5 < 3",
        [session],
    )
    .unwrap();
    db.execute_batch(
        "UPDATE uploads SET status = 'uploading', operation = NULL, document = NULL,
             method = 'staged', unaskable = 1, temp_file = 'files/gone-' || id WHERE id % 5 = 3;
         UPDATE uploads SET status = 'processing' WHERE id % 5 = 4",
    )
    .unwrap();
    drop(db);
    let before = requests(&case);
    let lists_before = case.service.ledger().requests("document.list");
    let began = Instant::now();
    // Nothing is hastened.
    let mut command = case.place.upload(&case.service, &["--rpm", "0"]);
    let log = case.place.path().join("points");
    command.env("OBJLIB_POINTS", &log);
    let summary = command.seen().exit(0).summary();
    let seconds = began.elapsed().as_secs_f64();
    let after = requests(&case);
    case.exact();
    let ledger = case.service.ledger();
    let rows = files as u64 + 1;
    assert_eq!(after.0, before.0, "a file was sent again");
    assert_eq!(summary["indexed"], rows);
    // Those that are only slow are looked at by pages as well. To the service these are lists too, so that
    // only the two together can be counted there.
    let points = std::fs::read_to_string(&log).unwrap();
    let sent = |step: &str| {
        let point = format!("before {step}");
        points.lines().filter(|line| *line == point).count() as u64
    };
    let pages = sent("list");
    assert_eq!(pages, rows.div_ceil(PAGE), "not one listing");
    let lists = ledger.requests("document.list") - lists_before;
    assert_eq!(
        lists,
        pages + sent("look at page"),
        "a list of another sort"
    );
    println!("{rows} rows in doubt");
    table(
        &[
            "requests",
            "queries",
            "pages of one listing",
            "documents looked at",
            "adopted",
            "seconds",
        ],
        &[vec![
            (after.1 - before.1).to_string(),
            ledger.requests("upload.query").to_string(),
            pages.to_string(),
            summary["polls"].to_string(),
            summary["adopted"].to_string(),
            format!("{seconds:.1}"),
        ]],
    );
}
