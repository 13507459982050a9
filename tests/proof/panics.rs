//! A panic in any thread: all of them stop, one line says so, the summary is the last thing on stdout, and
//! the next run does the rest exactly once.

use std::process::Command;

use serde_json::Value;

use crate::case::Case;
use crate::{Options, table};

/// A thread, and the places at which it panics: with something in hand, and with nothing.
const PLACES: &[(&str, &[&str])] = &[
    ("walk", &["walk"]),
    ("hash", &["hash"]),
    (
        "worker",
        &[
            "before upload",
            "after upload",
            "before start",
            "after start",
            "before body",
            "after body",
        ],
    ),
    (
        "poller",
        &[
            "before look at page",
            "after look at page",
            "before document get",
            "after document get",
        ],
    ),
    (
        "writer",
        &[
            "before commit file",
            "before commit intent",
            "after commit session",
            "before commit submitted",
            "after commit indexed",
        ],
    ),
    ("heartbeat", &["heartbeat"]),
    ("watch", &["watch"]),
    ("report", &["print", "draw"]),
    ("main", &["before store create", "before commit run end"]),
];

const FILES: usize = 25;

pub fn run(_options: &Options) {
    let mut rows = Vec::new();
    let mut failed = 0;
    for (thread, places) in PLACES {
        for place in *places {
            let verdict = panic_at(place);
            failed += usize::from(verdict.is_err());
            let verdict = match verdict {
                Ok(()) => "clean",
                Err(why) => {
                    println!("{place}: {why}");
                    "NOT clean, see above"
                }
            };
            let verdict = verdict.to_owned();
            rows.push(vec![(*thread).to_owned(), (*place).to_owned(), verdict]);
        }
    }
    table(&["thread", "panics at", "end"], &rows);
    assert_eq!(failed, 0, "{failed} ends were not clean");
}

fn panic_at(place: &str) -> Result<(), String> {
    // Long enough for a heartbeat and a frame.
    let case = Case::new(FILES, &["--latency-ms", "40"]);
    let mut command = case.upload(0, &["--concurrency", "2", "--grace", "60"]);
    command.env("OBJLIB_PANIC_AT", place);
    // Somebody who asks for it gets Rust's own message besides.
    command.env_remove("RUST_BACKTRACE");
    ended_cleanly(&mut command)?;
    let mut again = case.upload(0, &[]);
    let ended = again.output().map_err(|e| e.to_string())?;
    if !ended.status.success() {
        return Err(format!("the next run: {}", ended.status));
    }
    case.service.ledger().is_exactly(&case.place.docs());
    Ok(())
}

fn ended_cleanly(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let wrong = |what: &str| Err(format!("{what}\n{stdout}\n{stderr}"));
    if output.status.code() != Some(1) {
        return wrong(&format!("ended with {}", output.status));
    }
    let last: Value = match stdout.lines().last().map(serde_json::from_str) {
        Some(Ok(line)) => line,
        Some(Err(_)) | None => return wrong("the last line is no JSON"),
    };
    if last["event"] != "summary" || last["exit"] != 1 {
        return wrong("the last line is no summary of an error");
    }
    let errors = stderr
        .lines()
        .filter(|line| line.contains("internal error"));
    if errors.count() != 1 || stderr.contains("panicked at") {
        return wrong("not one line for people");
    }
    Ok(())
}
