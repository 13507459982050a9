//! One case of a proof: a folder, a service of its own, runs until nothing is left, and the verdict.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::run::{Place, RunToEnd, Seen, Service};

/// Protocol waits are a fiftieth of what they are.
pub const HASTE: &str = "50";
/// Runs that a cron job may need.
const RUNS_MAX: usize = 6;

pub struct Case {
    pub place: Place,
    pub service: Service,
}

impl Case {
    /// `files` small ones and a larger one, which takes several writes.
    pub fn new(files: usize, flags: &[&str]) -> Case {
        let place = Place::new();
        place.files(files);
        place.file("larger.txt", "a larger file\n".repeat(9_000));
        let service = Service::start(&place, flags);
        Case { place, service }
    }

    pub fn upload(&self, args: &[&str]) -> Command {
        let mut command = self.place.upload(&self.service, &["--rpm", "0"]);
        command.args(args).env("OBJLIB_HASTE", HASTE);
        command
    }

    /// Runs to the point, and says whether it was met.
    pub fn crash(&self, args: &[&str], point: &str) -> bool {
        let mut command = self.upload(args);
        command.env("OBJLIB_CRASH_AT", point);
        let ended = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        ended.code().is_none()
    }

    /// Runs until nothing is left; how many runs it took.
    pub fn finish(&self, args: &[&str]) -> usize {
        for run in 1..=RUNS_MAX {
            let seen: Seen = self.upload(args).seen();
            match seen.exit {
                Some(0) => return run,
                Some(4) => {}
                other => panic!("exit {other:?}\n{}\n{}", seen.stdout, seen.stderr),
            }
        }
        panic!("not done after {RUNS_MAX} runs");
    }

    /// Exactly one active document a file, nothing temporary left, and `status` says the same.
    #[track_caller]
    pub fn exact(&self) {
        let ledger = self.service.ledger();
        ledger.is_exactly(&self.place.docs());
        assert_eq!(ledger.0["temporaryFiles"], serde_json::json!([]));
        let status = self.place.objlib(&["status", "--json"]).seen().exit(0);
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        let documents = ledger.0["documents"].as_array().unwrap().len();
        assert_eq!(status["indexed"], documents, "{status}");
        assert_eq!(status["files"], documents, "{status}");
    }
}
