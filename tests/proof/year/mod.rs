//! A year of nights in miniature: two libraries, of which one goes into two stores and the other into one of
//! them, are changed by day and uploaded by night; rules, constants, sidecars and chunking change now and
//! then. Most nights have faults, a hidden quota and kills. After every night the ledger equals the folders
//! exactly: each present file has one active document of its content and its metadata, as they are worked
//! out here; each missing one has its last; nothing else is there but what others have put there.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Instant;

use fastrand::Rng;
use serde_json::{Value, json};

use self::folder::{DEEDS, Deed, Folder};
use self::ledger::{Expected, OnDisk, Wrong};
use crate::case::{HASTE, Step};
use crate::run::{KEY, Ledger, Place, RunToEnd, Service};
use crate::settings::{Settings, carried};
use crate::{Options, table};

mod folder;
mod ledger;

const LIBRARIES: [&str; 2] = ["docs", "more"];
const STEPS: [Step; 2] = [
    Step {
        folders: &["docs"],
        store: "archive",
    },
    Step {
        folders: &["docs", "more"],
        store: "all",
    },
];
/// What is done to a library in a day, at the most; a whole shelf beside it.
const DEEDS_MAX: usize = 30;
/// Runs of one command that are not killed.
const RUNS_MAX: usize = 30;
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

/// What is wrong by night.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weather {
    Calm,
    /// Faults, a hidden quota, kills.
    Rough,
}

/// What one kind of night has cost.
#[derive(Default)]
struct Sum {
    nights: usize,
    /// Documents that had to be sent.
    changed: usize,
    runs: usize,
    kills: usize,
    requests: BTreeMap<String, u64>,
}

pub fn run(options: &Options) {
    let (files, nights) = if options.long {
        ([1_000, 2_000], 60)
    } else {
        ([100, 200], 12)
    };
    let mut year = Year::new(files, options.seed);
    for night in 0..nights {
        year.day(night);
        year.night(night);
    }
    year.print(options.seed);
    if options.long {
        unchanged(10_000);
    }
}

struct Year {
    place: Place,
    service: Service,
    rng: Rng,
    folders: [Folder; 2],
    settings: [Settings; 2],
    /// Flags that the next command about the library is given, and whether it is a scan.
    flags: [Option<(Vec<String>, bool)>; 2],
    expected: Expected,
    /// Documents of others.
    others: BTreeSet<String>,
    deeds: BTreeMap<Deed, usize>,
    is_quiet: bool,
    purged: usize,
    damaged: usize,
    sums: BTreeMap<(bool, Weather), Sum>,
    faults: BTreeMap<String, u64>,
}

/// One line of the crontab.
struct Job {
    args: Vec<String>,
    /// Of which store documents are deleted whose files are missing since so many nights.
    purge: Option<(&'static str, usize)>,
}

impl Year {
    fn new(files: [usize; 2], seed: u64) -> Year {
        let mut rng = Rng::with_seed(seed);
        let place = Place::new();
        let folder = |i: usize, rng: &mut Rng| Folder::new(&place, LIBRARIES[i], files[i], rng);
        let folders = [folder(0, &mut rng), folder(1, &mut rng)];
        let flags = ["--seed", &seed.to_string(), "--stall-ms", "2000"];
        let service = Service::start(&place, &flags);
        Year {
            place,
            service,
            rng,
            folders,
            settings: [Settings::default(); 2],
            flags: [None, None],
            expected: Expected::default(),
            others: BTreeSet::new(),
            deeds: BTreeMap::new(),
            is_quiet: false,
            purged: 0,
            damaged: 0,
            sums: BTreeMap::new(),
            faults: BTreeMap::new(),
        }
    }

    /// What people do.
    fn day(&mut self, night: usize) {
        // The first night, and then every fifth day, nobody touches anything.
        self.is_quiet = night > 0 && night.is_multiple_of(5);
        if night == 0 || self.is_quiet {
            return;
        }
        let all: usize = DEEDS.iter().map(|(_, weight)| weight).sum();
        for i in 0..LIBRARIES.len() {
            let most = (self.folders[i].len() / 12).min(DEEDS_MAX);
            for _ in 0..self.rng.usize(2..=most.max(3)) {
                let mut at = self.rng.usize(..all);
                let deed = DEEDS.iter().find(|(_, weight)| {
                    let is_it = at < *weight;
                    at = at.wrapping_sub(*weight);
                    is_it
                });
                self.act(i, deed.unwrap().0);
            }
            match self.rng.usize(..10) {
                0 => self.act(i, Deed::RenameShelf),
                1..=3 => self.folders[i].mend(),
                4 => {
                    let flags = self.settings[i].change(self.place.path(), &mut self.rng);
                    self.flags[i] = Some((flags, self.rng.bool()));
                }
                _ => {}
            }
        }
    }

    fn act(&mut self, i: usize, deed: Deed) {
        if self.folders[i].act(deed, &mut self.rng) {
            *self.deeds.entry(deed).or_default() += 1;
        }
    }

    fn night(&mut self, night: usize) {
        let weather = match night % 4 {
            3 => Weather::Calm,
            _ => Weather::Rough,
        };
        if weather == Weather::Rough {
            self.service.set_faults(faults(&mut self.rng));
        }
        self.expected.night_begins();
        let disks = [0, 1].map(|i| {
            let root = self.place.path().join(LIBRARIES[i]);
            OnDisk::read(&root, &self.settings[i])
        });
        let is_garbled = disks.iter().any(OnDisk::is_garbled);
        let mut jobs = Vec::new();
        let mut changed = 0;
        if weather == Weather::Calm {
            changed += self.damage(&disks, &mut jobs);
        }
        self.jobs(&mut jobs);
        if night > 0 {
            self.purges(&mut jobs);
        }
        let before = self.service.ledger();
        let (mut runs, mut kills) = (0, 0);
        for job in &jobs {
            kills += usize::from(weather == Weather::Rough && self.die(job));
            runs += self.finish(job, is_garbled, night);
        }
        self.calm();
        for (library, disk) in LIBRARIES.into_iter().zip(&disks) {
            self.expected.moved(library, disk);
            for step in STEPS.iter().filter(|step| step.folders.contains(&library)) {
                let place = (step.store, library);
                changed += self.expected.uploaded(place, disk, night);
            }
        }
        for (store, nights) in jobs.iter().filter_map(|job| job.purge) {
            self.purged += self.expected.purged(store, nights, night);
        }
        let after = self.service.ledger();
        let deleted = before.0["lastDeleted"].as_array().unwrap().len();
        let wrong = self.expected.compare(&after, &self.others, deleted);
        assert_eq!(wrong, Wrong::default(), "night {night}, {weather:?}");
        self.chunks_are_as_said(&before);
        if !is_garbled {
            self.status_is_true();
        }
        if weather == Weather::Calm {
            self.verify_is_clean(night);
        }
        self.a_day_passes();
        let sent = after.uploads() - before.uploads();
        if weather == Weather::Calm || self.is_quiet {
            let what = format!("night {night}, {weather:?}: sent in vain");
            assert_eq!(sent, changed as u64, "{what}");
        }
        let sum = self.sums.entry((self.is_quiet, weather)).or_default();
        sum.nights += 1;
        sum.changed += changed;
        sum.runs += runs;
        sum.kills += kills;
        for (kind, n) in after.0["requests"].as_object().unwrap() {
            *sum.requests.entry(kind.clone()).or_default() +=
                n.as_u64().unwrap() - before.requests(kind);
        }
        if night == 0 {
            self.strangers();
        }
    }

    /// Some documents are deleted behind objlib's back; the repair of their store comes first then. How many.
    fn damage(&mut self, disks: &[OnDisk; 2], jobs: &mut Vec<Job>) -> usize {
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

    fn purges(&mut self, jobs: &mut Vec<Job>) {
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

    /// For the database: what is missing is so since a day longer.
    fn a_day_passes(&self) {
        let database = rusqlite::Connection::open(self.place.db()).unwrap();
        let older = "UPDATE files SET missing_since_ms = missing_since_ms - 86400000";
        database.execute(older, []).unwrap();
    }

    fn verify_is_clean(&self, night: usize) {
        for step in STEPS {
            let job = self.remote(&["verify", "--store", step.store]);
            let seen = self.command(&job).seen();
            let what = format!(
                "night {night}, {}: {}{}",
                step.store, seen.stdout, seen.stderr
            );
            assert_eq!(seen.exit, Some(0), "{what}");
        }
    }

    /// The crontab, and what somebody types before it.
    fn jobs(&mut self, jobs: &mut Vec<Job>) {
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

    fn local(&self, args: &[&str]) -> Job {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Job { args, purge: None }
    }

    fn remote(&self, args: &[&str]) -> Job {
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

    fn command(&self, job: &Job) -> std::process::Command {
        let args: Vec<&str> = job.args.iter().map(String::as_str).collect();
        let mut command = self.place.objlib(&args);
        command
            .env("GEMINI_API_KEY", KEY)
            .env("OBJLIB_HASTE", HASTE);
        command.arg("--json");
        command
    }

    /// Killed at a step, or at a request; whether it lived for so long.
    fn die(&mut self, job: &Job) -> bool {
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
    fn finish(&self, job: &Job, is_garbled: bool, night: usize) -> usize {
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

    /// What was asked of the service is what the documents say: it does not tell.
    fn chunks_are_as_said(&self, before: &Ledger) {
        let after = &before.0["requestsTotal"];
        let requests = self.service.get(&format!("requests?after={after}"));
        for request in requests["requests"].as_array().unwrap() {
            let (body, kind) = (&request["body"], request["kind"].as_str().unwrap());
            if !["upload.start", "upload.multipart", "import"].contains(&kind) || body.is_null() {
                continue;
            }
            let config = &body["chunkingConfig"]["whiteSpaceConfig"];
            let said = carried(&body["customMetadata"]).remove("objlib_chunking");
            let asked = config["maxTokensPerChunk"].as_u64().map(|tokens| {
                let overlap = config["maxOverlapTokens"].as_u64().unwrap_or(0);
                json!(format!("{tokens}/{overlap}"))
            });
            assert_eq!(said, asked, "{request}");
        }
    }

    fn status_is_true(&self) {
        for step in STEPS {
            let args = ["status", "--json", "--store", step.store];
            let status = self.place.objlib(&args).seen().exit(0);
            let status: Value = serde_json::from_str(&status.stdout).unwrap();
            let all = ["pending", "uploading", "processing", "failed", "indexed"];
            let seen = all.map(|state| status[state].as_u64().unwrap());
            let indexed = self.expected.present(step.store) as u64;
            assert_eq!(seen, [0, 0, 0, 0, indexed], "{status}");
        }
    }

    /// No faults any more; which fired is kept.
    fn calm(&mut self) {
        let plan = self.service.get("faults");
        for (name, n) in plan["fired"].as_object().unwrap() {
            self.faults.insert(name.clone(), n.as_u64().unwrap());
        }
        let mut calm = serde_json::Map::new();
        for (name, value) in plan.as_object().unwrap() {
            let is_time = name.ends_with("_ms") && value.is_u64();
            if value.is_f64() || is_time {
                calm.insert(name.clone(), 0.into());
            }
        }
        for name in ["quota_per_min", "session_expiry_ms", "stall_ms"] {
            calm.insert(name.to_owned(), Value::Null);
        }
        // What is to heal is healed.
        calm.insert("document_heals_ms".to_owned(), 0.into());
        self.service.set_faults(Value::Object(calm));
    }

    /// In each store a document that somebody put there by hand, and one of a library that is not known here.
    fn strangers(&mut self) {
        let ledger = self.service.ledger().0;
        let documents = ledger["documents"].as_array().unwrap();
        let known: BTreeSet<&str> = documents
            .iter()
            .map(|d| d["name"].as_str().unwrap())
            .collect();
        let stores: BTreeSet<&str> = documents
            .iter()
            .map(|d| d["store"].as_str().unwrap())
            .collect();
        let entry = |key: &str, value: &str| json!({"key": key, "stringValue": value});
        let elsewhere = json!([
            entry("objlib_library", "elsewhere"),
            entry("objlib_path", "shelf 1/red/note 0.md"),
            entry("objlib_sha256", &"0".repeat(64))
        ]);
        for store in stores {
            for metadata in [json!([]), elsewhere.clone()] {
                let request = json!({"displayName": "shelf 1/red/note 0.md", "mimeType": "text/plain",
                    "customMetadata": metadata});
                let body = format!(
                    "--B\r\ncontent-type: application/json\r\n\r\n{request}\r\n\
                     --B\r\ncontent-type: text/plain\r\n\r\nsomebody else's\r\n--B--\r\n"
                );
                let url = &self.service.url;
                ureq::post(format!(
                    "{url}/upload/v1beta/{store}:uploadToFileSearchStore"
                ))
                .header("x-goog-api-key", KEY)
                .header("x-goog-upload-protocol", "multipart")
                .content_type("multipart/related; boundary=B")
                .send(body)
                .unwrap();
            }
        }
        let now = self.service.ledger().0;
        let names = now["documents"].as_array().unwrap().iter();
        let names = names.map(|d| d["name"].as_str().unwrap());
        self.others = names
            .filter(|n| !known.contains(n))
            .map(str::to_owned)
            .collect();
        assert_eq!(self.others.len(), 2 * STEPS.len());
    }

    fn print(&self, seed: u64) {
        let files: usize = self.folders.iter().map(Folder::len).sum();
        let deeds: Vec<String> = self
            .deeds
            .iter()
            .map(|(deed, n)| format!("{n} {deed:?}"))
            .collect();
        println!(
            "{files} files in two libraries, {} documents in two stores, of them {} of missing files",
            self.expected.len(),
            self.expected.missing()
        );
        println!("by day: {}", deeds.join(", "));
        println!(
            "by night: {} documents purged, {} deleted by hand and sent again after `verify --repair`",
            self.purged, self.damaged
        );
        let mut head = vec!["nights", "number", "documents to send", "runs", "kills"];
        let kinds: BTreeSet<&str> = self
            .sums
            .values()
            .flat_map(|sum| sum.requests.iter().filter(|(_, n)| **n > 0))
            .map(|(kind, _)| kind.as_str())
            .collect();
        head.extend(["upload requests", "inexact"]);
        let name = |(is_quiet, weather): (bool, Weather)| {
            let what = if is_quiet {
                "nothing changed"
            } else {
                "changes"
            };
            match weather {
                Weather::Calm => format!("{what}, calm"),
                Weather::Rough => format!("{what}, faults"),
            }
        };
        let rows: Vec<Vec<String>> = self
            .sums
            .iter()
            .map(|(kind, sum)| {
                let sent = sum.requests_of("upload.start") + sum.requests_of("upload.multipart");
                let numbers = [
                    sum.nights,
                    sum.changed,
                    sum.runs,
                    sum.kills,
                    sent as usize,
                    0,
                ];
                let numbers = numbers.iter().map(usize::to_string);
                std::iter::once(name(*kind)).chain(numbers).collect()
            })
            .collect();
        table(&head, &rows);
        println!("\nrequests a document that had to be sent");
        let busy: Vec<_> = self
            .sums
            .iter()
            .filter(|(_, sum)| sum.changed > 0)
            .collect();
        let names: Vec<String> = busy.iter().map(|(kind, _)| name(**kind)).collect();
        let head: Vec<&str> = ["request"]
            .into_iter()
            .chain(names.iter().map(String::as_str))
            .collect();
        let rows: Vec<Vec<String>> = kinds
            .iter()
            .map(|kind| {
                let cells = busy.iter().map(|(_, sum)| {
                    format!("{:.2}", sum.requests_of(kind) as f64 / sum.changed as f64)
                });
                std::iter::once((*kind).to_owned()).chain(cells).collect()
            })
            .collect();
        table(&head, &rows);
        let faults: Vec<String> = self
            .faults
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(f, n)| format!("{n} {f}"))
            .collect();
        println!(
            "\nfaults that fired: {}\nagain: --seed {seed}",
            faults.join(", ")
        );
        assert!(!faults.is_empty(), "no fault fired");
    }
}

impl Sum {
    fn requests_of(&self, kind: &str) -> u64 {
        self.requests.get(kind).copied().unwrap_or(0)
    }
}

/// What a night may meet.
fn faults(rng: &mut Rng) -> Value {
    let mut plan = json!({
        "error_503": 0.03, "error_500": 0.01, "error_408": 0.01, "reset_before": 0.02,
        "reset_within": 0.02, "reset_after": 0.01, "lose_answer": 0.02, "lose_final_answer": 0.05,
        "wrong_json": 0.01, "cut_answer": 0.01, "empty_answer": 0.01, "html_502": 0.01,
        "count_tokens_503": 0.03, "poll_name_only": 0.05, "document_fail": 0.02,
        "document_heals_ms": 100, "operation_delay_ms": 20, "operation_jitter_ms": 60,
        "list_lag_ms": 200, "list_ghost_ms": 300, "missing_403": 0.5,
    });
    // Either the service is slow to give, or its lists are not to be trusted.
    let more = match rng.usize(..3) {
        0 => json!({"quota_per_min": 3_000 + rng.u32(..3_000), "quota_shape": "bucket"}),
        1 => {
            json!({"list_error_page2": 0.01, "list_repeat_page": 0.02, "list_lose_page": 0.005, "list_lose_one": 0.005, "session_expiry_ms": 1500, "final_not_replayed": 0.10})
        }
        _ => json!({"start_no_url": 0.02, "final_size_wrong": 0.02, "file_processing_ms": 20}),
    };
    let more = more.as_object().unwrap().clone();
    plan.as_object_mut().unwrap().extend(more);
    plan
}

/// What a night costs in which nothing has changed, in time and in requests.
fn unchanged(files: usize) {
    let place = Place::new();
    place.files(files);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    let before = service.ledger();
    let began = Instant::now();
    place.upload(&service, &[]).seen().exit(0);
    let seconds = began.elapsed().as_secs_f64();
    let after = service.ledger();
    let all = |ledger: &Ledger| ledger.0["requestsTotal"].as_u64().unwrap();
    println!();
    table(
        &["unchanged files", "upload requests", "requests", "seconds"],
        &[vec![
            files.to_string(),
            (after.uploads() - before.uploads()).to_string(),
            (all(&after) - all(&before)).to_string(),
            format!("{seconds:.2}"),
        ]],
    );
}
