//! The commands of a night: what they are, and how they are killed and run again.

use std::process::{Command, Stdio};

use super::ledger::OnDisk;
use super::{LIBRARIES, STEPS, Year};
use crate::case::HASTE;
use crate::run::{KEY, RunToEnd};

/// Runs of one command that are not killed. A run that has to read a large store through begins its listing
/// anew, and one that breaks off proves nothing: under the worst weather that takes many.
const RUNS_MAX: usize = 200;
/// Steps that a kill may fall beside, and how often they are met before that, at the most.
const STEPS_TO_DIE_AT: [(&str, u64); 13] = [
    ("commit library", 1),
    ("commit file", 6),
    ("commit missing", 3),
    ("commit scan", 1),
    ("commit queue", 1),
    ("commit intent", 12),
    ("upload", 12),
    ("commit submitted", 12),
    ("commit indexed", 12),
    ("delete", 8),
    ("commit deleted", 8),
    ("commit batch count", 3),
    ("commit run end", 1),
];
/// The same of a purge.
const STEPS_TO_PURGE: [(&str, u64); 4] = [
    ("commit purge", 2),
    ("delete", 6),
    ("commit deleted", 6),
    ("commit forgotten", 4),
];

/// One line of the crontab.
pub struct Job {
    pub args: Vec<String>,
    /// Of which store documents are deleted whose files are missing since so many nights.
    pub purge: Option<(&'static str, usize)>,
}

impl Year {
    /// The crontab, and what somebody types before it.
    pub fn jobs(&mut self, jobs: &mut Vec<Job>) {
        for (library, flags) in LIBRARIES.into_iter().zip(std::mem::take(&mut self.flags)) {
            let Some((flags, is_scan)) = flags else {
                continue;
            };
            let mut job = match is_scan {
                true => self.local(&["scan", library]),
                false => self.remote(&["upload", library, "--store", "all"]),
            };
            job.args.extend(flags);
            jobs.push(job);
        }
        for step in STEPS {
            let words = [&["upload", "--store", step.store], step.folders].concat();
            jobs.push(self.remote(&words));
        }
    }

    pub fn purges(&mut self, jobs: &mut Vec<Job>) {
        for step in STEPS {
            if self.rng.bool() {
                continue;
            }
            let nights = self.rng.usize(..5);
            let mut job = self.remote(&["purge", "--yes", "--store", step.store]);
            job.args
                .extend(["--max-share".to_owned(), "100".to_owned()]);
            if nights > 0 {
                job.args
                    .extend(["--older-than".to_owned(), format!("{nights}d")]);
            }
            job.purge = Some((step.store, nights));
            jobs.push(job);
        }
    }

    /// Some documents are deleted behind objlib's back; the repair of their store comes first then. How many.
    pub fn damage(&mut self, disks: &[OnDisk; 2], jobs: &mut Vec<Job>) -> usize {
        let step = STEPS[self.rng.usize(..STEPS.len())];
        let library = step.folders[0];
        let disk = &disks[LIBRARIES.iter().position(|l| *l == library).unwrap()];
        let mut paths = self.expected.unchanged(step.store, library, disk);
        self.rng.shuffle(&mut paths);
        paths.truncate(self.rng.usize(..4));
        let ledger = self.service.ledger().0;
        for document in ledger["documents"].as_array().unwrap() {
            let text = |field: &str| document[field].as_str().unwrap_or_default();
            let is_it = (text("storeDisplayName"), text("objlibLibrary")) == (step.store, library);
            if is_it && paths.contains(&text("objlibPath")) {
                let url = format!("{}/v1beta/{}?force=true", self.service.url, text("name"));
                ureq::delete(url)
                    .header("x-goog-api-key", KEY)
                    .call()
                    .unwrap();
            }
        }
        self.damaged += paths.len();
        let n = paths.len();
        if n > 0 {
            jobs.push(self.remote(&["verify", "--repair", "--store", step.store]));
        }
        n
    }

    fn local(&self, args: &[&str]) -> Job {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Job { args, purge: None }
    }

    pub fn remote(&self, args: &[&str]) -> Job {
        let mut job = self.local(args);
        let more: &[&str] = match args[0] {
            "upload" => &["--max-attempts", "100", "--passes", "100"],
            _ => &[],
        };
        let endpoint = ["--endpoint", &self.service.url];
        job.args
            .extend(more.iter().chain(&endpoint).map(|arg| (*arg).to_owned()));
        job
    }

    pub fn command(&self, job: &Job) -> Command {
        let args: Vec<&str> = job.args.iter().map(String::as_str).collect();
        let mut command = self.place.objlib(&args);
        command
            .env("GEMINI_API_KEY", KEY)
            .env("OBJLIB_HASTE", HASTE);
        command.arg("--json");
        command
    }

    /// Killed at a step, or at a request; whether it lived for so long.
    pub fn die(&mut self, job: &Job) -> bool {
        let mut command = self.command(job);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if self.rng.bool() {
            let steps: &[(&str, u64)] = match job.purge {
                None => &STEPS_TO_DIE_AT,
                Some(_) => &STEPS_TO_PURGE,
            };
            let (step, visits) = steps[self.rng.usize(..steps.len())];
            let when = ["before", "after"][self.rng.usize(..2)];
            let at = format!("{when} {step}#{}", self.rng.u64(1..=visits));
            let ended = command.env("OBJLIB_CRASH_AT", at).status().unwrap();
            return ended.code().is_none();
        }
        let calls = || self.service.get("faults")["calls_seen"].as_u64().unwrap();
        let until = calls() + self.rng.u64(1..=60);
        let mut run = command.spawn().unwrap();
        loop {
            if run.try_wait().unwrap().is_some() {
                return false;
            }
            if calls() >= until {
                run.kill().unwrap();
                run.wait().unwrap();
                return true;
            }
            std::thread::yield_now();
        }
    }

    /// The same again until it is done; how many runs that took.
    pub fn finish(&self, job: &Job, is_garbled: bool, night: usize) -> usize {
        for run in 1..=RUNS_MAX {
            let seen = self.command(job).seen();
            match seen.exit {
                Some(0) => return run,
                // Files whose sidecars cannot be used are named in the exit code.
                Some(3) if is_garbled => return run,
                Some(4) => {}
                other => panic!(
                    "night {night}: {:?}: exit {other:?}\n{}\n{}",
                    job.args, seen.stdout, seen.stderr
                ),
            }
        }
        panic!(
            "night {night}: {:?}: not done after {RUNS_MAX} runs",
            job.args
        );
    }
}
