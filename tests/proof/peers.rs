//! What other tools of the field were seen to do wrong, done to objlib while two libraries go into one
//! store. Nothing is hastened here: these are the waits that a user has.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::case::{Case, Step, TOGETHER};
use crate::run::{RunToEnd, Seen};
use crate::{Options, table};

/// What an expired session is by now.
const EXPIRY: Duration = Duration::from_millis(1500);
const RUNS_MAX: usize = 6;
const STEPS: &[Step] = &[TOGETHER];

struct Peers {
    what: &'static str,
    /// In each library.
    files: usize,
    args: &'static [&'static str],
    faults: Value,
    /// Killed half way, and the sessions expired: a listing has to tell.
    killed: bool,
    fault: &'static str,
    /// It is over after the run that met it.
    passes: bool,
}

fn peers(files: usize, long: bool) -> Vec<Peers> {
    let of = |what, fault, faults| Peers {
        what,
        files,
        args: &["--rpm", "0"],
        faults,
        killed: false,
        fault,
        passes: false,
    };
    let expired = EXPIRY.as_millis() as u64;
    let mut all = vec![
        of(
            "10 % of the last answers lost",
            "lose_final_answer",
            json!({"lose_final_answer": 0.1}),
        ),
        of("10 % 503", "error_503", json!({"error_503": 0.1})),
        Peers {
            killed: true,
            ..of(
                "kill -9, then lists lag 5 s",
                "list_lag_ms",
                json!({"list_lag_ms": 5000, "session_expiry_ms": expired}),
            )
        },
        Peers {
            killed: true,
            passes: true,
            ..of(
                "kill -9, then lists answer 503",
                "error_503",
                json!({"error_503": 1.0, "only_kinds": ["document.list"],
                    "session_expiry_ms": expired}),
            )
        },
    ];
    if long {
        all.push(Peers {
            files: 37,
            args: &[],
            ..of(
                "a hidden quota of 60 a minute",
                "quota_per_min",
                json!({"quota_per_min": 60, "quota_shape": "sliding"}),
            )
        });
    }
    all
}

impl Peers {
    fn upload(&self, case: &Case) -> Seen {
        let mut command = TOGETHER.upload(&case.place, &case.service);
        command.args(self.args).seen()
    }

    fn kill_half_way(&self, case: &Case) {
        let mut command = TOGETHER.upload(&case.place, &case.service);
        let quiet = command
            .args(self.args)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut run = quiet.spawn().unwrap();
        while case.service.ledger().uploads() < self.files as u64 {
            assert!(run.try_wait().unwrap().is_none(), "ended too early");
            std::thread::yield_now();
        }
        run.kill().unwrap();
        run.wait().unwrap();
        std::thread::sleep(EXPIRY);
    }

    fn run(&self, seed: &str) -> Vec<String> {
        let case = Case::of(STEPS, self.files, &["--fault-seed", seed]);
        if self.killed {
            // What is at the service and not in the database yet: as much as can be.
            case.service.set_faults(json!({"latency_ms": 30}));
            self.kill_half_way(&case);
            case.service.set_faults(json!({"latency_ms": 0}));
        }
        case.service.set_faults(self.faults.clone());
        let mut exits = Vec::new();
        loop {
            let exit = self.upload(&case).exit.expect("an exit code");
            exits.push(exit.to_string());
            match exit {
                0 => break,
                4 if exits.len() < RUNS_MAX => {}
                other => panic!("{}: exit {other}", self.what),
            }
            if self.passes {
                case.service.set_faults(json!({"error_503": 0.0}));
            }
        }
        let fired = match self.fault {
            // Waited out before the store is listed, so that it has nothing to hide.
            "list_lag_ms" => case.service.ledger().requests("document.list"),
            fault => case.service.fired(fault),
        };
        assert!(fired > 0, "{} never fired", self.fault);
        let verdict = case.exact();
        vec![
            self.what.to_owned(),
            verdict.files.to_string(),
            fired.to_string(),
            exits.join(", "),
            verdict.lost.to_string(),
            verdict.doubled.to_string(),
            verdict.wrong_store.to_string(),
            verdict.misreported.to_string(),
        ]
    }
}

pub fn run(options: &Options) {
    let files = if options.long { 149 } else { 29 };
    let seed = options.seed.to_string();
    let rows: Vec<_> = std::thread::scope(|scope| {
        let seed = &seed;
        let runs: Vec<_> = peers(files, options.long)
            .into_iter()
            .map(|peers| scope.spawn(move || peers.run(seed)))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let head = [
        "what happens",
        "files",
        "fired",
        "exits",
        "lost",
        "doubled",
        "wrong store",
        "misreported",
    ];
    table(&head, &rows);
}
