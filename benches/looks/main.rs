//! What it costs to see operations end, and how late that is seen: looks a file by kind from the service's own
//! ledger, and the time from an operation's end to the line that says `indexed`. Prints a Markdown table;
//! machines are noisy, so nothing is asserted.
//!
//!     cargo bench --bench looks              # all rows
//!     cargo bench --bench looks -- 0.5       # those whose name holds the words

#[expect(dead_code, reason = "other benches measure more")]
#[path = "../shared/measure.rs"]
mod measure;
#[expect(dead_code, reason = "the bench `speed` needs more of it")]
#[path = "../speed/service.rs"]
mod service;

use std::collections::HashMap;

use jiff::Timestamp;
use objlib::emulator::Faults;
use serde_json::Value;
use service::{Folder, SMALL, Uploaded, ledger, service, upload};

/// Name; files; milliseconds a request, an operation at least, and up to so many more.
type Row = (&'static str, usize, u64, u64, u64);

const ROWS: [Row; 8] = [
    ("0.2 s", 1000, 50, 200, 0),
    ("1 s", 1000, 50, 1000, 0),
    ("1 s, 300 files", 300, 100, 1000, 0),
    ("1.5 to 1.8 s", 1000, 50, 1500, 300),
    ("1.5 to 1.8 s, no latency", 5000, 0, 1500, 300),
    ("0.5 to 9.5 s", 1000, 50, 500, 9000),
    ("0.5 to 9.5 s, no latency", 5000, 0, 500, 9000),
    ("10 s", 1000, 50, 10_000, 0),
];

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    println!(
        "| operations | files | ms a request | files/s | looks a file | get | list | poll | late, median | p95 |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in ROWS {
        if words.is_empty() || words.iter().any(|word| row.0.contains(word.as_str())) {
            measured(row);
        }
    }
}

fn measured((name, files, latency_ms, operation_delay_ms, operation_jitter_ms): Row) {
    let service = service(Faults {
        latency_ms,
        operation_delay_ms,
        operation_jitter_ms,
        ..Faults::default()
    });
    let flags = ["--rpm", "0", "--concurrency", "8"];
    let uploaded = upload(&Folder::new(files, SMALL), &service, &flags);
    assert_eq!(uploaded.summary["exit"], 0, "{}", uploaded.summary);
    let ledger = ledger(&service);
    let [get, list, poll] = ["document.get", "document.list", "operation.get"]
        .map(|kind| ledger["requests"][kind].as_u64().unwrap_or(0));
    let looks = (get + list + poll) as f64 / files as f64;
    let late = lateness(&uploaded, &ledger);
    let rate = files as f64 / uploaded.number("seconds");
    println!(
        "| {name} | {files} | {latency_ms} | {rate:.0} | {looks:.3} | {get} | {list} | {poll} | {:.2} s | {:.2} s |",
        late[late.len() / 2],
        late[late.len() * 95 / 100]
    );
}

/// Seconds from the end of each operation to the line that says so, in rising order.
fn lateness(uploaded: &Uploaded, ledger: &Value) -> Vec<f64> {
    let time = |value: &Value| -> Timestamp {
        let text = value.as_str().expect("a time");
        text.parse().expect("a time")
    };
    let documents = ledger["documents"].as_array().expect("documents");
    let ends: HashMap<&str, Timestamp> = documents
        .iter()
        .map(|d| {
            (
                d["objlibPath"].as_str().expect("a path"),
                time(&d["updateTime"]),
            )
        })
        .collect();
    let said = uploaded.events.iter().filter(|e| e["status"] == "indexed");
    let mut late: Vec<f64> = said
        .map(|e| {
            let end = ends[e["path"].as_str().expect("a path")];
            time(&e["time"]).duration_since(end).as_secs_f64()
        })
        .collect();
    late.sort_by(f64::total_cmp);
    late
}
