//! How much of a hidden quota an upload with default flags uses, in real time, and how many 429s that costs.
//!
//!     cargo bench --bench quotas              # all shapes, side by side, in some 90 s
//!     cargo bench --bench quotas -- bucket    # those whose name holds the word
//!
//! Prints a Markdown table; truth is the emulator's ledger. The share is of what a perfectly paced client
//! would have been granted from the first request on: burst + rate × time of a bucket, rate × time of a
//! window.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use objlib::emulator::{Emulator, Faults, Options};
use serde_json::{Value, json};

const OBJLIB: &str = env!("CARGO_BIN_EXE_objlib");
const SECONDS: f64 = 75.0;
/// More than any quota here grants in that time.
const FILES: usize = 4000;
/// Requests that the quota of starts, and of writes, counts.
const STARTS: [&str; 3] = ["upload.start", "upload.multipart", "upload.raw"];
const WRITES: [&str; 4] = [
    "upload.start",
    "upload.multipart",
    "upload.raw",
    "upload.body",
];

/// A quota, and what a perfectly paced client gets of it.
struct Shape {
    name: &'static str,
    quota: Value,
    flags: &'static [&'static str],
    /// Requests a minute, and those saved up before the first.
    per_minute: f64,
    burst: f64,
    /// Which requests count; all if none is named.
    kinds: &'static [&'static str],
}

fn shapes() -> Vec<Shape> {
    let shape = |name, quota, per_minute, burst| Shape {
        name,
        quota,
        flags: &[],
        per_minute,
        burst,
        kinds: &[],
    };
    vec![
        shape(
            "bucket, 1,200 a minute, burst 20",
            json!({"quota_per_min": 1200, "quota_shape": "bucket", "quota_burst": 20}),
            1200.0,
            20.0,
        ),
        shape(
            "bucket, 1,200 a minute, burst 200, no RetryInfo",
            json!({"quota_per_min": 1200, "quota_shape": "bucket", "quota_no_retry_info": true}),
            1200.0,
            200.0,
        ),
        shape(
            "fixed window, 600 a minute",
            json!({"quota_per_min": 600}),
            600.0,
            0.0,
        ),
        shape(
            "sliding window, 600 a minute, no RetryInfo",
            json!({"quota_per_min": 600, "quota_shape": "sliding", "quota_no_retry_info": true}),
            600.0,
            0.0,
        ),
        Shape {
            kinds: &WRITES,
            ..shape(
                "writes and reads apart, fixed windows, 600 and 300 a minute",
                json!({"quota_write_per_min": 600, "quota_read_per_min": 300}),
                600.0,
                0.0,
            )
        },
        Shape {
            kinds: &STARTS,
            ..shape(
                "starts only, bucket, 600 a minute",
                json!({"quota_per_min": 600, "quota_shape": "bucket", "quota_counts": "starts"}),
                600.0,
                100.0,
            )
        },
        shape(
            "fixed window, 60 a minute",
            json!({"quota_per_min": 60}),
            60.0,
            0.0,
        ),
        Shape {
            flags: &["--rpm", "1200"],
            ..shape(
                "`--rpm 1200`, fixed window, 1,224 a minute",
                json!({"quota_per_min": 1224}),
                1200.0,
                0.0,
            )
        },
    ]
}

/// What the ledger says of the first `SECONDS`.
struct Seen {
    granted: f64,
    sent: f64,
    limited: f64,
}

fn main() {
    // `cargo bench` passes flags of its own.
    let only: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| name.contains(o));
    println!("| hidden quota | share of it from the first request | 429s | of all requests |");
    println!("| --- | --- | --- | --- |");
    thread::scope(|scope| {
        let runs: Vec<_> = shapes()
            .into_iter()
            .filter(|shape| wanted(shape.name))
            .map(|shape| {
                scope.spawn(move || {
                    let seen = measure(&shape);
                    (shape, seen)
                })
            })
            .collect();
        for run in runs {
            let (shape, seen) = run.join().expect("a run");
            let due = shape.burst + shape.per_minute * SECONDS / 60.0;
            println!(
                "| {} | {:.2} | {} | {:.1} % |",
                shape.name,
                seen.granted / due,
                seen.limited,
                100.0 * seen.limited / seen.sent
            );
        }
    });
}

fn measure(shape: &Shape) -> Seen {
    let place = tempfile::tempdir().expect("a temporary folder");
    let docs = place.path().join("docs");
    fs::create_dir(&docs).expect("a folder");
    for i in 0..FILES {
        let text = format!("# Note {i}\n\n{}", "some words of a note ".repeat(40));
        fs::write(docs.join(format!("note-{i}.md")), text).expect("a file");
    }
    let mut faults = shape.quota.clone();
    faults["latency_ms"] = json!(50);
    faults["operation_delay_ms"] = json!(1500);
    let faults: Faults = serde_json::from_value(faults).expect("a plan");
    let options = Options {
        faults,
        ..Options::default()
    };
    let service = Emulator::start(options).expect("the emulator starts");
    let child = Command::new(OBJLIB)
        .args(["upload", "-q", "--endpoint", &service.url()])
        .args(shape.flags)
        .arg("--db")
        .arg(place.path().join("l.db"))
        .arg(&docs)
        .env("GEMINI_API_KEY", "a-key-of-nobody")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("objlib starts");
    let mut child = Killed(child);
    while ledger(&service)["requestsTotal"] == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    let began = Instant::now();
    thread::sleep(Duration::from_secs_f64(SECONDS).saturating_sub(began.elapsed()));
    let ledger = ledger(&service);
    let is_running = child.0.try_wait().expect("its state").is_none();
    assert!(is_running, "{}: all was sent before the end", shape.name);
    drop(child);
    service.stop();
    let limited = ledger["answers"]["429"].as_f64().unwrap_or(0.0);
    let sent = match shape.kinds {
        [] => ledger["requestsTotal"].as_f64().expect("a number"),
        kinds => kinds
            .iter()
            .filter_map(|kind| ledger["requests"][kind].as_f64())
            .sum(),
    };
    Seen {
        granted: sent - limited,
        sent,
        limited,
    }
}

/// A run that is not needed any longer.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ledger(service: &Emulator) -> Value {
    let url = format!("{}/_emulator/ledger", service.url());
    let mut answer = ureq::get(&url).call().expect("an answer");
    let text = answer
        .body_mut()
        .with_config()
        .limit(1 << 28)
        .read_to_string();
    serde_json::from_str(&text.expect("a ledger")).expect("JSON")
}
