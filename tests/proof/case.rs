//! One case of a proof: a folder, a service of its own, runs until nothing is left, and the verdict.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use objlib::identity::Sha256;
use serde_json::Value;

use crate::run::{KEY, Place, RunToEnd, Seen, Service, for_each_file};

/// Protocol waits are a fiftieth of what they are.
pub const HASTE: &str = "50";
/// Cases at once: most of a case is waiting.
pub const AT_ONCE: usize = 6;
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
                Some(3) if args.contains(&"--retry-failed") => {}
                other => panic!("exit {other:?}\n{}\n{}", seen.stdout, seen.stderr),
            }
        }
        panic!("not done after {RUNS_MAX} runs");
    }

    /// `verify --repair`, after which database and store agree.
    pub fn repair(&self) {
        let mut verify = self.place.objlib(&["verify", "--repair", "--endpoint"]);
        verify.arg(&self.service.url).env("GEMINI_API_KEY", KEY);
        verify.seen().exit(0);
    }

    /// Requests since the last plan with `calls`, or since the start.
    pub fn requests(&self) -> u64 {
        self.service.get("faults")["calls_seen"].as_u64().unwrap()
    }

    /// Every fault that fired, and how often.
    pub fn fired(&self) -> String {
        let plan = self.service.get("faults");
        let fired = plan["fired"].as_object().unwrap();
        let fired: Vec<String> = fired
            .iter()
            .map(|(name, n)| format!("{n} {name}"))
            .collect();
        fired.join(", ")
    }

    /// All rolled faults off, and no time limits.
    pub fn calm(&self) {
        let plan = self.service.get("faults");
        let mut calm = serde_json::Map::new();
        for (name, value) in plan.as_object().unwrap() {
            if value.is_f64() {
                calm.insert(name.clone(), 0.0.into());
            }
        }
        for name in ["session_expiry_ms", "file_kept_ms"] {
            calm.insert(name.to_owned(), Value::Null);
        }
        // What is to heal is healed.
        calm.insert("document_heals_ms".to_owned(), 0.into());
        self.service.set_faults(Value::Object(calm));
    }

    /// The ledger against the folder, and `status` against the ledger.
    pub fn verdict(&self) -> Verdict {
        let mut wanted = BTreeMap::new();
        let docs = self.place.docs();
        for_each_file(&docs, &mut |path| {
            let name = path.strip_prefix(&docs).unwrap().to_str().unwrap();
            let sha256 = Sha256::of(&std::fs::read(path).unwrap()).to_string();
            wanted.insert(name.to_owned(), (sha256, 0));
        });
        let files = wanted.len();
        let ledger = self.service.ledger().0;
        let documents = ledger["documents"].as_array().unwrap();
        let mut orphans = ledger["temporaryFiles"].as_array().unwrap().len();
        for document in documents {
            let path = document["objlibPath"].as_str().unwrap_or_default();
            match wanted.get_mut(path) {
                Some((sha256, found))
                    if document["state"] == "STATE_ACTIVE" && document["sha256"] == **sha256 =>
                {
                    *found += 1;
                }
                _ => orphans += 1,
            }
        }
        let status = self.place.objlib(&["status", "--json"]).seen().exit(0);
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        let indexed = status["indexed"].as_u64().unwrap() as usize;
        let really = wanted.values().filter(|(_, found)| *found > 0).count();
        Verdict {
            files,
            documents: documents.len(),
            lost: files - really,
            doubled: wanted.values().filter(|(_, found)| *found > 1).count(),
            orphans,
            indexed,
            misreported: indexed.abs_diff(really),
            violations: ledger["violations"].as_array().unwrap().len(),
        }
    }

    /// Exactly one active document a file, nothing else left, and `status` says the same.
    #[track_caller]
    pub fn exact(&self) -> Verdict {
        let verdict = self.verdict();
        let ledger = self.service.ledger().0;
        assert!(verdict.is_exact(), "{verdict:?}\n{}", ledger["violations"]);
        verdict
    }
}

/// What is wrong, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub files: usize,
    pub documents: usize,
    /// Files without an active document of their content.
    pub lost: usize,
    /// Files with more than one.
    pub doubled: usize,
    /// Documents that are no file's content (torn, old, failed), and temporary files.
    pub orphans: usize,
    /// As `status` says.
    pub indexed: usize,
    /// By how many files it is wrong.
    pub misreported: usize,
    /// Requests that no client should send.
    pub violations: usize,
}

impl Verdict {
    pub fn is_exact(&self) -> bool {
        self.lost + self.doubled + self.orphans + self.misreported + self.violations == 0
            && self.files == self.documents
    }
}
