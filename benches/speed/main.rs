//! How fast an upload is, beside the ideal, beside the official SDK and beside a raw load generator: both
//! sides in one run, one after the other, several times. Prints a Markdown table of the medians of the ratios
//! and their range; machines are noisy, so no time is ever asserted.
//!
//!     cargo bench --bench speed                # all rows
//!     cargo bench --bench speed -- latency     # those whose name holds the word
//!     cargo bench --bench speed -- --plots     # draws docs/plots/*.svg instead
//!
//! The rows beside the SDK need the virtual environment that `tests/sdk/run.sh` makes.

mod load;
#[path = "../shared/measure.rs"]
mod measure;
mod plots;
mod service;

use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use objlib::emulator::Faults;
use service::{Folder, LARGE, SMALL, Uploaded, ledger, service, upload};

const ROUNDS: usize = 3;
const SDK_PYTHON: &str = "target/sdk-venv/bin/python";

/// Name, what its number says, and one measurement; `None`: it cannot be measured here.
type Row = (&'static str, &'static str, fn() -> Option<f64>);

const ROWS: [Row; 12] = [
    (
        "first try",
        "300 files, 100 ms a request, operations of 1 s, default flags: seconds",
        first_try,
    ),
    (
        "first try: limiter",
        "the same as a multiple of `--rpm 0`",
        against_no_limiter,
    ),
    (
        "first try: sdk",
        "the same as a share of the SDK's time",
        against_sdk,
    ),
    (
        "latency",
        "small files/s at 200 ms a request, 8 at once, from the first document to the last, as a share of the ideal 40",
        latency,
    ),
    (
        "latency: whole run",
        "the same with the start and the end of the run",
        latency_of_the_run,
    ),
    (
        "latency: sessions",
        "files of 300 KiB, from the first document to the last, as a share of the ideal 20",
        latency_of_sessions,
    ),
    (
        "requests",
        "requests a file, operations of 1.5 to 1.8 s, default flags",
        steady_operations,
    ),
    (
        "requests: varied",
        "requests a file, operations of 0.5 to 9.5 s, default flags",
        varied_operations,
    ),
    (
        "loopback",
        "small files/s without latency as a share of a raw load generator that sends the same requests",
        loopback,
    ),
    (
        "durability",
        "files/s with the database on disk as a share of that in memory, 10 ms a request",
        durability,
    ),
    ("cpu", "processor milliseconds a small file, no TLS", cpu),
    (
        "memory",
        "peak MiB of an upload of 2,000 small files",
        memory,
    ),
];

fn main() {
    // `cargo bench` passes flags of its own.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if words.iter().any(|word| word == "--plots") {
        return plots::draw(Path::new("docs/plots"));
    }
    println!("| | median ({ROUNDS} rounds) | range | |\n| --- | --- | --- | --- |");
    for (name, what, measured) in ROWS {
        if !words.is_empty() && !words.iter().any(|word| name.contains(word)) {
            continue;
        }
        let mut ratios: Vec<f64> = (0..ROUNDS).filter_map(|_| measured()).collect();
        ratios.sort_by(f64::total_cmp);
        match ratios.as_slice() {
            [least, .., most] => {
                let median = ratios[ratios.len() / 2];
                println!("| {name} | {median:.3} | {least:.3} to {most:.3} | {what} |");
            }
            _ => println!("| {name} | not measured: `tests/sdk/run.sh` first | | {what} |"),
        }
    }
}

fn done(uploaded: &Uploaded) {
    assert_eq!(uploaded.summary["exit"], 0, "{}", uploaded.summary);
}

fn typical() -> Faults {
    Faults {
        latency_ms: 100,
        operation_delay_ms: 1000,
        ..Faults::default()
    }
}

fn first_try_with(flags: &[&str]) -> f64 {
    let uploaded = upload(&Folder::new(300, SMALL), &service(typical()), flags);
    done(&uploaded);
    uploaded.run.seconds
}

fn first_try() -> Option<f64> {
    Some(first_try_with(&[]))
}

fn against_no_limiter() -> Option<f64> {
    Some(first_try_with(&[]) / first_try_with(&["--rpm", "0"]))
}

fn against_sdk() -> Option<f64> {
    let (sdk, _) = by_sdk(&Folder::new(300, SMALL), typical())?;
    Some(first_try_with(&[]) / sdk)
}

/// Seconds of the same by the official SDK, and of the processor; `None`: it is not installed.
fn by_sdk(folder: &Folder, faults: Faults) -> Option<(f64, f64)> {
    if !Path::new(SDK_PYTHON).exists() {
        return None;
    }
    let service = service(faults);
    let output = Command::new(SDK_PYTHON)
        .arg("benches/speed/sdk.py")
        .arg(service.url())
        .arg(folder.docs())
        .output()
        .expect("Python runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text
        .split_whitespace()
        .map(|n| n.parse().expect("a number"));
    Some((numbers.next()?, numbers.next()?))
}

/// Files a second at 200 ms a request, 8 at once: between the first and the last document, and of the whole run.
fn files_a_second(files: usize, bytes: usize) -> (f64, f64) {
    let service = service(Faults {
        latency_ms: 200,
        ..Faults::default()
    });
    let folder = Folder::new(files, bytes);
    let uploaded = upload(&folder, &service, &["--concurrency", "8"]);
    done(&uploaded);
    let ledger = ledger(&service);
    let documents = ledger["documents"].as_array().expect("documents");
    let made = documents.iter().map(|d| -> Timestamp {
        let text = d["createTime"].as_str().expect("a time");
        text.parse().expect("a time")
    });
    let (first, last) = (made.clone().min(), made.max());
    let between = last
        .expect("a document")
        .duration_since(first.expect("a document"));
    let steady = (files - 1) as f64 / between.as_secs_f64();
    (steady, files as f64 / uploaded.number("seconds"))
}

fn latency() -> Option<f64> {
    Some(files_a_second(600, SMALL).0 / 40.0)
}

fn latency_of_the_run() -> Option<f64> {
    Some(files_a_second(600, SMALL).1 / 40.0)
}

fn latency_of_sessions() -> Option<f64> {
    Some(files_a_second(300, LARGE).0 / 20.0)
}

fn requests_a_file(operation_delay_ms: u64, operation_jitter_ms: u64) -> f64 {
    let faults = Faults {
        latency_ms: 50,
        operation_delay_ms,
        operation_jitter_ms,
        ..Faults::default()
    };
    let folder = Folder::new(1000, SMALL);
    let uploaded = upload(&folder, &service(faults), &[]);
    done(&uploaded);
    uploaded.number("requests") / folder.files as f64
}

fn steady_operations() -> Option<f64> {
    Some(requests_a_file(1500, 300))
}

fn varied_operations() -> Option<f64> {
    Some(requests_a_file(500, 9000))
}

fn loopback() -> Option<f64> {
    const WORKERS: usize = 8;
    let folder = Folder::new(10_000, SMALL);
    let flags = ["--concurrency", "8", "--rpm", "0"];
    let uploaded = upload(&folder, &service(Faults::default()), &flags);
    done(&uploaded);
    let service = service(Faults::default());
    let store = ureq::post(format!("{}/v1beta/fileSearchStores", service.url()))
        .header("x-goog-api-key", "a-key-of-nobody")
        .send(r#"{"displayName": "load"}"#)
        .and_then(|mut answer| answer.body_mut().read_to_string())
        .expect("a store");
    let store: serde_json::Value = serde_json::from_str(&store).expect("JSON");
    let store = store["name"].as_str().expect("a name");
    let looks = uploaded.number("polls") as usize;
    let raw = load::files_a_second(&service.url(), store, (&folder, looks), WORKERS);
    Some(folder.files as f64 / uploaded.number("seconds") / raw)
}

fn durability() -> Option<f64> {
    let seconds = |place: &Path| {
        let faults = Faults {
            latency_ms: 10,
            ..Faults::default()
        };
        let folder = Folder::below(place, 1000, SMALL);
        let uploaded = upload(&folder, &service(faults), &["--concurrency", "8"]);
        done(&uploaded);
        uploaded.number("seconds")
    };
    let disk = seconds(Path::new(env!("CARGO_TARGET_TMPDIR")));
    Some(seconds(Path::new("/dev/shm")) / disk)
}

fn on_loopback() -> (Folder, Uploaded) {
    let folder = Folder::new(2000, SMALL);
    let uploaded = upload(&folder, &service(Faults::default()), &[]);
    done(&uploaded);
    (folder, uploaded)
}

fn cpu() -> Option<f64> {
    let (folder, uploaded) = on_loopback();
    Some(uploaded.run.cpu_seconds * 1000.0 / folder.files as f64)
}

fn memory() -> Option<f64> {
    Some(on_loopback().1.run.peak_mib)
}
