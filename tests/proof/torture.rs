//! The torture run: kill -9 at random events under all faults at once, over two libraries
//! that go into three stores, until done.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::process::Stdio;

use serde_json::json;

use crate::case::{Case, HASTE, SHARED, Step};
use crate::run::RunToEnd;
use crate::{Options, table};

/// Requests that a run lives for, at the most.
const LIFE_MAX: u64 = 60;
const PURGE: [&str; 4] = ["purge", "--yes", "--max-share", "100"];

pub fn run(options: &Options) {
    let mut rng = fastrand::Rng::with_seed(options.seed);
    let (files, kills_wanted) = if options.long { (130, 200) } else { (12, 20) };
    let seed = options.seed.to_string();
    let mut case = Case::of(
        SHARED,
        files,
        &["--fault-seed", &seed, "--stall-ms", "2000"],
    );
    let faults = json!({
        "error_503": 0.04, "error_500": 0.02, "error_408": 0.01, "reset_before": 0.02,
        "reset_within": 0.03, "reset_after": 0.02, "lose_answer": 0.03, "lose_final_answer": 0.05,
        "wrong_json": 0.01, "cut_answer": 0.01, "empty_answer": 0.01, "stall": 0.001,
        "html_502": 0.01, "count_tokens_503": 0.05, "poll_name_only": 0.10,
        "operation_never_done": 0.02, "document_fail": 0.03, "document_heals_ms": 100,
        "operation_delay_ms": 20, "operation_jitter_ms": 60, "list_lag_ms": 200,
        "list_error_page2": 0.10, "list_repeat_page": 0.10, "list_lose_page": 0.05,
        "list_lose_one": 0.05, "list_ghost_ms": 300, "final_not_replayed": 0.10,
        "session_expiry_ms": 1500, "start_no_url": 0.01, "final_size_wrong": 0.01,
        "missing_403": 0.5, "file_no_body": 0.02, "file_processing_ms": 20,
    });
    case.service.set_faults(faults);
    let mut args = vec!["--max-attempts", "100", "--passes", "100"];
    args.extend(["--concurrency", "6"]);
    // The short form has the limits that a person has who types none; the long one would wait for hours.
    if options.long {
        args.extend(["--rpm", "0"]);
    }
    let (mut kills, mut runs, mut rewritten, mut described, mut purges) = (0, 0, 0, 0, 0);
    // Flags of what is kept with the libraries, by the first of them.
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Notes that are deleted.
    let mut gone = BTreeSet::new();
    // Which commands have come to an end once: their links are made.
    let mut linked = [false; SHARED.len()];
    while kills < kills_wanted {
        runs += 1;
        let step = rng.usize(..SHARED.len());
        let is_purge = linked[step] && rng.usize(..6) == 0;
        let mut command = match (is_purge, linked[step] && rng.bool()) {
            (true, _) => case.about(step, &PURGE),
            // Without its folders: what is linked with the store.
            (false, true) => Step {
                folders: &[],
                ..SHARED[step]
            }
            .upload(&case.place, &case.service),
            (false, false) => {
                let mut command = SHARED[step].upload(&case.place, &case.service);
                command.args(settings.values().flatten());
                command
            }
        };
        if !is_purge {
            // The direct way, and by way of temporary files.
            let method = ["auto", "staged"][rng.usize(..2)];
            command.args(&args).args(["--method", method]);
        }
        let mut run = command
            .env("OBJLIB_HASTE", HASTE)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let until = case.requests() + rng.u64(1..=LIFE_MAX);
        let ended = loop {
            if let Some(ended) = run.try_wait().unwrap() {
                break Some(ended);
            }
            if case.requests() >= until {
                break None;
            }
            std::thread::yield_now();
        };
        match ended {
            None => {
                run.kill().unwrap();
                run.wait().unwrap();
                kills += 1;
            }
            Some(ended) => {
                // A purge is refused while a file that was missing is there again and was not scanned since.
                let mut words = String::new();
                let mut stderr = run.stderr.take().unwrap();
                stderr.read_to_string(&mut words).unwrap();
                let is_back = words.contains("missing files are there again");
                let refused = is_purge && is_back && ended.code() == Some(1);
                assert!(
                    refused || matches!(ended.code(), Some(0 | 4)),
                    "{ended}: {words}"
                );
                linked[step] = true;
                purges += usize::from(is_purge && !refused);
                // It got to its end first: a file is deleted, some get other words, and maybe it comes back so.
                let i = rng.usize(..files);
                if gone.insert(i) {
                    for folder in case.folders() {
                        case.delete(folder, i);
                    }
                }
                for _ in 0..files / 8 + 1 {
                    let i = rng.usize(..files);
                    rewritten += 1;
                    gone.remove(&i);
                    // What a file held before comes back, too.
                    let words = format!("words number {} of note {i}", rewritten % 3);
                    for folder in case.folders() {
                        case.write(folder, i, &words);
                    }
                }
            }
        }
        // Now and then files are described otherwise: the next commands with folders say so.
        if rng.usize(..4) == 0 {
            described += 1;
            case.describe(rng.usize(..files), &format!(r#"{{"mark": {described}}}"#));
            let flags = case.settings.change(case.place.path(), &mut rng);
            settings.insert(flags[0].clone(), flags);
        }
    }
    let fired = case.fired();
    assert!(!fired.is_empty(), "no fault fired");
    case.calm();
    args.extend(settings.values().flatten().map(String::as_str));
    let last = case.finish(&args);
    for step in 0..SHARED.len() {
        case.about(step, &PURGE).seen().exit(0);
    }
    let verdict = case.verdict();
    let cells = [
        ("kills", kills),
        ("runs", runs + last),
        ("rewritten", rewritten),
        ("described anew", described),
        ("whole purges", purges),
        ("files", verdict.files),
        ("documents", verdict.documents),
        ("lost", verdict.lost),
        ("duplicates", verdict.doubled),
        ("orphans", verdict.orphans),
        ("wrong store", verdict.wrong_store),
        ("misreported", verdict.misreported),
        ("misdescribed", verdict.misdescribed),
    ];
    table(
        &cells.map(|(name, _)| name),
        &[cells.map(|(_, n)| n.to_string()).to_vec()],
    );
    println!("faults that fired: {fired}\nagain: --seed {}", options.seed);
    assert!(verdict.is_exact(), "{verdict:?}");
}
