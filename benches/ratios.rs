//! Ratios of two things measured side by side, in one run, several times, alternating; the median of
//! the ratios and their range are printed. Machines are noisy: no time is ever asserted.
//!
//!     cargo bench                  # all of them
//!     cargo bench -- latency       # those whose name holds the word

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use objlib::emulator::{Emulator, Faults, Options};

const OBJLIB: &str = env!("CARGO_BIN_EXE_objlib");
const ROUNDS: usize = 5;

/// Name, what it says, how it is measured.
type Ratio = (&'static str, &'static str, fn() -> f64);

fn main() {
    // `cargo bench` and `cargo test --benches` pass flags of their own.
    let only: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| name.contains(o));
    let all: [Ratio; 4] = [
        (
            "latency",
            "files/s at 200 ms a request, concurrency 8, as a share of the ideal 20",
            latency,
        ),
        ("polls", "polls a file when operations take 300 ms", polls),
        (
            "durability",
            "files/s with the database on disk as a share of that in memory, 10 ms a request",
            durability,
        ),
        (
            "rescan",
            "time of an unchanged scan as a multiple of `find -printf`",
            rescan,
        ),
    ];
    for (name, what, run) in all.into_iter().filter(|(name, ..)| wanted(name)) {
        let mut ratios: Vec<f64> = (0..ROUNDS).map(|_| run()).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "{name:<11} {:>7.3}   ({:.3} to {:.3}, {ROUNDS} rounds)   {what}",
            ratios[ROUNDS / 2],
            ratios[0],
            ratios[ROUNDS - 1]
        );
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn fill(docs: &Path, files: usize) {
    for i in 0..files {
        let folder = docs.join(format!("part-{}", i % 50));
        std::fs::create_dir_all(&folder).expect("a folder");
        let text = format!("# Note {i}\n\n{}\n", "some words of a note ".repeat(40));
        let path = folder.join(format!("note-{i}.md"));
        std::fs::write(&path, text).expect("a file");
        // Of yesterday: what is as young as its scan is read once more by the next.
        let file = std::fs::File::options().append(true).open(path);
        let yesterday = SystemTime::now() - Duration::from_secs(86_400);
        file.and_then(|f| f.set_modified(yesterday))
            .expect("a time");
    }
}

/// Uploads `files` small files through an emulator; the summary.
fn upload(place: &Path, files: usize, concurrency: u32, faults: Faults) -> serde_json::Value {
    let docs = place.join("docs");
    fill(&docs, files);
    let service = Emulator::start(Options {
        faults,
        ..Options::default()
    })
    .expect("the emulator starts");
    let output = Command::new(OBJLIB)
        .args([
            "upload",
            "--json",
            "--rpm",
            "0",
            "--endpoint",
            &service.url(),
        ])
        .args(["--concurrency", &concurrency.to_string(), "--db"])
        .arg(place.join("l.db"))
        .arg(&docs)
        .env("GEMINI_API_KEY", "a-key-of-nobody")
        .stderr(Stdio::null())
        .output()
        .expect("objlib runs");
    service.stop();
    assert!(output.status.success(), "objlib failed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("a summary")
}

fn latency() -> f64 {
    let faults = Faults {
        latency_ms: 200,
        ..Faults::default()
    };
    let files = 300;
    let summary = upload(folder().path(), files, 8, faults);
    let seconds = summary["seconds"].as_f64().expect("seconds");
    files as f64 / seconds / 20.0
}

fn polls() -> f64 {
    let faults = Faults {
        latency_ms: 5,
        operation_delay_ms: 300,
        ..Faults::default()
    };
    let files = 500;
    let summary = upload(folder().path(), files, 8, faults);
    summary["polls"].as_f64().expect("polls") / files as f64
}

fn durability() -> f64 {
    let faults = || Faults {
        latency_ms: 10,
        ..Faults::default()
    };
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on disk");
    let memory = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let seconds = |place: &Path| {
        let summary = upload(place, 1000, 8, faults());
        summary["seconds"].as_f64().expect("seconds")
    };
    seconds(memory.path()) / seconds(disk.path())
}

fn rescan() -> f64 {
    let place = folder();
    let docs = place.path().join("docs");
    fill(&docs, 20_000);
    let db = place.path().join("l.db");
    let timed = |command: &mut Command| {
        let began = Instant::now();
        let status = command.stdout(Stdio::null()).status().expect("it runs");
        assert!(status.success());
        began.elapsed().as_secs_f64()
    };
    let mut scan = Command::new(OBJLIB);
    scan.arg("scan").arg("--db").arg(&db).arg(&docs);
    timed(&mut scan);
    let mut find = Command::new("find");
    find.arg(&docs).args(["-printf", "%s %T@ %p\n"]);
    timed(&mut find);
    timed(&mut scan) / timed(&mut find)
}
