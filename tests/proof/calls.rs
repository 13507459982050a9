//! The N-th call fails: for every N and every kind of failure, until a run ends without meeting it. Two
//! libraries go into three stores, and the calls of all three commands are counted through.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::json;

use crate::case::{AT_ONCE, Case, SHARED};
use crate::{Options, table};

/// As the fault plan calls them.
const KINDS: [&str; 11] = [
    "reset_before",
    "reset_after",
    "lose_answer",
    "429",
    "500",
    "503",
    "408",
    "cut_answer",
    "wrong_json",
    "empty_answer",
    "stall",
];

/// In one request where a file is small, by sessions alone, and by way of temporary files.
const WAYS: [&str; 3] = ["direct", "session", "staged"];

/// The short form meets every so manieth call; which of them, the seed says.
const SHORT_STEP: u64 = 7;

/// Whether the N-th call was made at all; panics if what is left is not exact.
fn try_one(way: &str, kind: &str, call: u64) -> bool {
    let (method, refused) = match way {
        "session" => ("direct", "1"),
        method => (method, "0"),
    };
    let flags = ["--stall-ms", "3000", "--multipart-refused", refused];
    let case = Case::of(SHARED, 1, &flags);
    case.service
        .set_faults(json!({"calls": [{"call": call, "kind": kind}]}));
    case.finish(&["--method", method, "--concurrency", "1"]);
    case.exact();
    case.service.fired("calls") == 1
}

pub fn run(options: &Options) {
    let mut rows = Vec::new();
    let (first, step) = match options.long {
        true => (1, 1),
        false => (1 + options.seed % SHORT_STEP, SHORT_STEP),
    };
    for way in WAYS {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let Some(kind) = KINDS.get(next.fetch_add(1, Relaxed)) {
                        let (mut met, mut call) = (0, first);
                        loop {
                            let one = AssertUnwindSafe(|| try_one(way, kind, call));
                            match catch_unwind(one) {
                                Ok(true) => met += 1,
                                Ok(false) => break,
                                Err(_) => panic!("NOT EXACT: {way}, {kind} at call {call}"),
                            }
                            call += step;
                        }
                        done.lock().unwrap().push((kind, met));
                    }
                });
            }
        });
        for (kind, met) in done.into_inner().unwrap() {
            assert!(met > 0, "{kind} was never met");
            rows.push(vec![
                way.to_owned(),
                (*kind).to_owned(),
                met.to_string(),
                met.to_string(),
            ]);
        }
    }
    rows.sort();
    table(&["way", "failure", "calls that met it", "exact"], &rows);
}
