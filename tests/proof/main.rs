//! The proof that no crash, power cut, lost answer or fault loses, doubles or tears a document.
//!
//! `cargo test --features proof --test proof -- PROGRAM [--long] [--seed N]`; without a program all
//! of them run but `points`, which only lists. Every program prints its seed first and a table at the end,
//! and ends with an error if a single case is not exact. Truth is the emulator's ledger.

#![allow(clippy::unwrap_used)]

/// The builder of the integration tests: a folder, a service, a command, what was seen.
#[path = "../it/run.rs"]
#[allow(dead_code)]
mod run;

/// A service that a program writes, answer by answer.
#[path = "../it/scripted.rs"]
#[allow(dead_code)]
mod scripted;

/// What is kept with a library, and what that makes of a file's metadata.
mod settings;

/// A folder, a service, runs until nothing is left, the verdict.
mod case;

/// Crashes before and after every step and request.
mod matrix;

/// Rows and service in memory: one life of theirs.
mod life;

/// Millions of steps of them.
mod model;

/// The N-th call fails.
mod calls;

/// Odd answers, each with its rule.
mod odd;

/// kill -9 under all faults at once.
mod torture;

/// A panic in each thread.
mod panics;

/// The throttle against hidden quotas, in virtual time.
mod throttle;

/// The faults of other tools.
mod peers;

/// Several hosts fill one store.
mod hosts;

/// A year of nights.
mod year;

/// A lost database, a half-sent file, thousands of rows in doubt.
mod recovery;

/// A disk that forgets, fails or is cut off, as a library loaded into objlib.
mod disk;

/// A power cut at any event.
mod power;

/// A failing disk, a locked or lost database, a jumping clock, a long sleep.
mod machine;

/// What was asked for on the command line.
pub struct Options {
    /// The thorough form, in minutes instead of seconds.
    pub long: bool,
    pub seed: u64,
}

/// Name, what it proves, and the program.
type Program = (&'static str, &'static str, fn(&Options));

const PROGRAMS: &[Program] = &[
    ("points", "where a run can be made to crash", matrix::list),
    ("matrix", "a crash at every point", matrix::run),
    ("model", "random lives, in memory", model::run),
    ("calls", "the N-th call fails", calls::run),
    ("odd", "odd answers, each with its rule", odd::run),
    ("torture", "kill -9 under all faults", torture::run),
    ("hosts", "several hosts fill one store", hosts::run),
    ("year", "a year of nights in miniature", year::run),
    ("power", "a power cut at any event", power::power),
    (
        "machine",
        "disk, database, clock and sleep",
        machine::machine,
    ),
    ("panics", "a panic in any thread", panics::run),
    ("throttle", "hidden quotas, in virtual time", throttle::run),
    ("peers", "the faults of other tools", peers::run),
    ("recovery", "what recovery costs", recovery::run),
];

fn main() {
    let mut options = Options {
        long: false,
        seed: fastrand::u64(..),
    };
    let mut wanted = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--long" => options.long = true,
            "--seed" => options.seed = args.next().unwrap().parse().unwrap(),
            name => wanted.push(name.to_owned()),
        }
    }
    for name in &wanted {
        let known = PROGRAMS.iter().any(|(n, ..)| n == name);
        assert!(known, "no program `{name}`");
    }
    for (name, what, program) in PROGRAMS {
        let all = wanted.is_empty() && *name != "points";
        if all || wanted.iter().any(|w| w == name) {
            println!("\n== {name}: {what}\nseed {}", options.seed);
            program(&options);
        }
    }
}

/// A table for people: columns as wide as their widest cell.
pub fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |i: usize| {
        let cells = rows.iter().map(|row| row[i].chars().count());
        cells.chain([head[i].len()]).max().unwrap_or(0)
    };
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().enumerate();
        let padded: Vec<String> = cells
            .map(|(i, c)| format!("{c:<w$}", w = width(i)))
            .collect();
        println!("{}", padded.join("  ").trim_end());
    };
    line(head.to_vec());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
}
