//! The crash matrix: the process dies before and after every durable step and every request, and runs
//! again: uploads, and what is deleted without one. Most scenarios are of two libraries and three stores: the crash falls into one of three commands,
//! and all three are run to their end. `SCENARIO=Lost` keeps to those that have the word in their name.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rusqlite::Connection;
use serde_json::json;

use crate::case::{self, ALONE, AT_ONCE, Case, SHARED, Step};
use crate::run::{KEY, RunToEnd};
use crate::settings::{OTHER, OTHER_FLAGS};
use crate::{Options, table};

/// What is uploaded, and how; each meets points that the others do not.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Scenario {
    /// Small files in one request, a larger one by a session.
    Direct,
    /// Every file by a session.
    Session,
    Staged,
    /// All files were indexed and have other content now.
    Changed,
    /// The same by way of temporary files.
    ChangedStaged,
    /// Died after a body; sessions have expired, so that a listing has to settle it.
    Expired,
    /// Died after an import that nobody answered.
    Imported,
    /// Died with a session open; then the files were given other content.
    Outdated,
    /// Everything had failed for good, is tried again, and fails again.
    Retried,
    /// Every second document is held a byte short.
    Torn,
    /// The direct way does not work: every file goes staged at its third try.
    Fallback,
    /// Imports get no answer.
    Unanswered,
    /// Died after an upload in one request that nobody answered.
    Delivered,
    /// Uploads in one request get no answer.
    Lost,
    /// Every second start makes an empty document. No service should, and no row can tell of it before the
    /// answer is read: what a crash then leaves, `verify --repair` finds.
    OddStart,
    /// Every second temporary file cannot be taken in.
    BadFile,
    /// All indexed, and then the database was lost: what the stores hold is taken back.
    LostDatabase,
    /// All files were indexed and have other content now; after the crash they have the first one again.
    Reverted,
    /// All indexed; then sidecars, constants and chunking are given, which alone replaces every document.
    Described,
    /// All indexed; then every small file got another path.
    Moved,
    /// All indexed, and some files are gone: it is not an upload that dies, but the purge. One of the files
    /// may be back when it is run again.
    Purged,
    /// The same of the deletion of a store.
    StoreDeleted,
    /// The same of `verify --repair`, of stores that hold second, old and unknown documents and lack others.
    Repaired,
}

const SCENARIOS: [Scenario; 23] = [
    Scenario::Direct,
    Scenario::Session,
    Scenario::Staged,
    Scenario::Changed,
    Scenario::ChangedStaged,
    Scenario::Expired,
    Scenario::Imported,
    Scenario::Outdated,
    Scenario::Retried,
    Scenario::Torn,
    Scenario::Fallback,
    Scenario::Unanswered,
    Scenario::Delivered,
    Scenario::Lost,
    Scenario::OddStart,
    Scenario::BadFile,
    Scenario::LostDatabase,
    Scenario::Reverted,
    Scenario::Described,
    Scenario::Moved,
    Scenario::Purged,
    Scenario::StoreDeleted,
    Scenario::Repaired,
];

/// One crash to be had.
#[derive(Clone)]
struct Crash {
    scenario: Scenario,
    workers: &'static str,
    step: usize,
    point: String,
    visit: u64,
}

const PURGE: &[&str] = &["purge", "--yes", "--max-share", "100"];

impl Scenario {
    fn args(self, workers: &'static str) -> Vec<&'static str> {
        let method = match self {
            Scenario::Staged
            | Scenario::ChangedStaged
            | Scenario::Imported
            | Scenario::Unanswered
            | Scenario::BadFile => "staged",
            Scenario::Direct
            | Scenario::Session
            | Scenario::Changed
            | Scenario::Expired
            | Scenario::Outdated
            | Scenario::Delivered
            | Scenario::Lost
            | Scenario::Retried
            | Scenario::Torn
            | Scenario::Fallback
            | Scenario::OddStart
            | Scenario::LostDatabase
            | Scenario::Moved
            | Scenario::Purged
            | Scenario::Described
            | Scenario::Reverted
            | Scenario::StoreDeleted
            | Scenario::Repaired => "auto",
        };
        let mut args = vec!["--method", method, "--concurrency", workers];
        args.extend(["--max-attempts", "30"]);
        if self == Scenario::Retried {
            args.push("--retry-failed");
        }
        if self == Scenario::Described {
            args.extend(OTHER_FLAGS);
        }
        args
    }

    /// Those about sessions have a service that takes small files in no other way.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Scenario::Session | Scenario::Expired | Scenario::Outdated | Scenario::OddStart => {
                &["--multipart-refused", "1"]
            }
            _ => &[],
        }
    }

    /// The commands of a round. Where the fault is what counts, one folder in one store is enough of them.
    fn steps(self) -> &'static [Step] {
        match self {
            Scenario::Direct
            | Scenario::Session
            | Scenario::Staged
            | Scenario::Changed
            | Scenario::Expired
            | Scenario::Imported
            | Scenario::Outdated
            | Scenario::Unanswered
            | Scenario::Delivered
            | Scenario::Lost
            | Scenario::LostDatabase
            | Scenario::Moved
            | Scenario::Purged
            | Scenario::Described
            | Scenario::Reverted
            | Scenario::StoreDeleted
            | Scenario::Repaired => SHARED,
            Scenario::ChangedStaged
            | Scenario::Retried
            | Scenario::Torn
            | Scenario::Fallback
            | Scenario::OddStart
            | Scenario::BadFile => ALONE,
        }
    }

    /// Small files in each folder.
    fn files(self, long: bool) -> usize {
        match (self.steps().len(), long) {
            (1, false) => 3,
            (_, false) => 2,
            (1, true) => 7,
            (_, true) => 4,
        }
    }

    /// Everything up to the run that is to be met by a crash.
    fn prepare(self, workers: &'static str, step: usize, files: usize) -> Case {
        let mut case = Case::of(self.steps(), files, self.flags());
        let args = self.args(workers);
        match self {
            Scenario::Reverted => {
                case.rewrite(files, "first words");
                case.finish(&args);
                case.rewrite(files, "new words");
            }
            Scenario::Described => {
                case.finish(&Scenario::Changed.args(workers));
                case.describe(0, r#"{"mark": 7, "status": "own"}"#);
                case.settings = OTHER;
            }
            Scenario::Changed | Scenario::ChangedStaged => {
                case.finish(&args);
                case.rewrite(files, "new words");
            }
            Scenario::LostDatabase => {
                case.finish(&args);
                for end in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{end}", case.place.db().display()));
                }
            }
            Scenario::Moved => {
                case.finish(&args);
                for folder in case.folders() {
                    (0..files).for_each(|i| case.rename(folder, i));
                }
            }
            Scenario::Purged => {
                case.finish(&args);
                for folder in case.folders() {
                    case.delete(folder, 0);
                }
                case.place.objlib(&["scan", "docs", "more"]).seen().exit(0);
            }
            Scenario::StoreDeleted => drop(case.finish(&args)),
            Scenario::Repaired => {
                case.finish(&args);
                damage(&case, files, &args);
            }
            _ => {}
        }
        if self != Scenario::Repaired {
            case.finish_before(step, &args);
        }
        match self {
            Scenario::Direct
            | Scenario::Session
            | Scenario::Staged
            | Scenario::Changed
            | Scenario::ChangedStaged
            | Scenario::LostDatabase
            | Scenario::Moved
            | Scenario::Purged
            | Scenario::Described
            | Scenario::Reverted
            | Scenario::StoreDeleted
            | Scenario::Repaired => {}
            Scenario::Expired => {
                assert!(case.crash(step, &args, "after body#2"), "no second body");
                case.service.set_faults(json!({"session_expiry_ms": 1}));
            }
            Scenario::Imported => {
                let import = "after import#2";
                assert!(case.crash(step, &args, import), "no second import");
            }
            Scenario::Delivered => {
                let upload = "after upload#2";
                assert!(case.crash(step, &args, upload), "no second upload");
            }
            Scenario::Outdated => {
                let session = "after commit session#2";
                assert!(case.crash(step, &args, session), "no second session");
                case.rewrite(files, "new words");
            }
            Scenario::Retried => {
                case.service.set_faults(json!({"document_fail": 1.0}));
                case.upload(step, &args).seen().exit(3);
            }
            Scenario::Torn => case.service.set_faults(json!({"final_size_wrong": 0.5})),
            Scenario::Fallback => case.service.set_faults(json!({"count_tokens_503": 1.0})),
            Scenario::Unanswered => {
                let faults = json!({"lose_answer": 1.0, "only_kinds": ["import"]});
                case.service.set_faults(faults);
            }
            Scenario::Lost => {
                let faults = json!({"lose_answer": 1.0, "only_kinds": ["upload.multipart"]});
                case.service.set_faults(faults);
            }
            Scenario::OddStart => case.service.set_faults(json!({"start_final": 0.5})),
            Scenario::BadFile => case.service.set_faults(json!({"file_fail": 0.5})),
        }
        case
    }

    /// What is to be met by a crash.
    fn command(self, case: &Case, workers: &'static str, step: usize) -> Command {
        match self {
            Scenario::StoreDeleted => {
                let store = case.steps[step].store;
                case.about(step, &["store", "delete", store, "--yes", "--force"])
            }
            Scenario::Purged => case.about(step, PURGE),
            Scenario::Repaired => case.about(step, &["verify", "--repair", "--max-share", "100"]),
            _ => case.upload(step, &self.args(workers)),
        }
    }

    /// Whether the emulator's dice decide what a run meets.
    fn is_rolled(self) -> bool {
        matches!(
            self,
            Scenario::Torn | Scenario::OddStart | Scenario::BadFile
        )
    }

    /// What is wrong with the service only while the process dies.
    fn resume(self, case: &Case) {
        let faults = match self {
            // The sessions of the crashed run are gone; those of the next one live.
            Scenario::Expired => json!({"session_expiry_ms": null}),
            Scenario::Retried => json!({"document_fail": 0.0}),
            Scenario::Unanswered | Scenario::Lost => json!({"lose_answer": 0.0}),
            _ => return,
        };
        case.service.set_faults(faults);
    }
}

/// A file that is gone while repairs are made, and where it is kept meanwhile.
fn away(case: &Case, files: usize) -> (PathBuf, PathBuf) {
    let file = case.place.docs().join(case::note(files - 1));
    (file, case.place.path().join("away"))
}

/// Of every store: a third of what it holds is forgotten, a third is sent twice, one document is gone, and of
/// one the database says what it is not. Most notes change in between, so that what was forgotten of them is
/// old; one is gone, and the database has never heard of it.
fn damage(case: &Case, files: usize, args: &[&str]) {
    let change = |sql: &str| {
        let db = Connection::open(case.place.db()).unwrap();
        db.execute(sql, []).unwrap();
    };
    change("UPDATE uploads SET status = 'pending', document = NULL WHERE id % 3 = 0");
    case.finish(args);
    change("DELETE FROM uploads WHERE id % 3 = 1");
    case.rewrite(files - 1, "new words");
    case.finish(args);
    change(
        "UPDATE uploads SET variant = zeroblob(16) WHERE id IN
             (SELECT min(id) FROM uploads WHERE status = 'indexed' GROUP BY store_id)",
    );
    let path = case::note(files - 1);
    change(&format!(
        "DELETE FROM uploads WHERE library_id = 1 AND file_id =
             (SELECT id FROM files WHERE library_id = 1 AND path = '{path}')"
    ));
    change(&format!(
        "DELETE FROM files WHERE library_id = 1 AND path = '{path}'"
    ));
    let (file, kept) = away(case, files);
    std::fs::rename(file, kept).unwrap();
    let ledger = case.service.ledger().0;
    for step in case.steps {
        let documents = ledger["documents"].as_array().unwrap().iter();
        let mut of_store = documents.filter(|d| d["storeDisplayName"] == step.store);
        let last = of_store.next_back().unwrap()["name"].as_str().unwrap();
        ureq::delete(format!("{}/v1beta/{last}?force=true", case.service.url))
            .header("x-goog-api-key", KEY)
            .call()
            .unwrap();
    }
}

/// Every point that a run of this step meets, and how often.
fn points(
    scenario: Scenario,
    workers: &'static str,
    step: usize,
    long: bool,
) -> BTreeMap<String, u64> {
    let case = scenario.prepare(workers, step, scenario.files(long));
    let log = case.place.path().join("points");
    let mut command = scenario.command(&case, workers, step);
    let ended = command.env("OBJLIB_POINTS", &log).output().unwrap();
    assert!(matches!(ended.status.code(), Some(0 | 3 | 4)));
    let mut visits = BTreeMap::new();
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        *visits.entry(line.to_owned()).or_default() += 1;
    }
    visits
}

/// First, middle and last visit of each point in every command; of the short form the middle one, in one of
/// the commands that meet the point: which, the seed says.
fn plan(scenario: Scenario, workers: &'static str, options: &Options) -> Vec<Crash> {
    let mut met: BTreeMap<String, Vec<(usize, u64)>> = BTreeMap::new();
    for step in 0..scenario.steps().len() {
        for (point, visits) in points(scenario, workers, step, options.long) {
            met.entry(point).or_default().push((step, visits));
        }
    }
    let mut crashes = Vec::new();
    for (i, (point, met)) in met.into_iter().enumerate() {
        let one = (options.seed as usize).wrapping_add(i) % met.len();
        for (_, (step, visits)) in met
            .into_iter()
            .enumerate()
            .filter(|(n, _)| options.long || *n == one)
        {
            let mut chosen = match options.long {
                true => vec![1, visits.div_ceil(2), visits],
                false => vec![visits.div_ceil(2)],
            };
            chosen.dedup();
            crashes.extend(chosen.into_iter().map(|visit| Crash {
                scenario,
                workers,
                step,
                point: point.clone(),
                visit,
            }));
        }
    }
    crashes
}

/// Whether the point was met; panics if what is left is not exact.
fn try_one(crash: &Crash, long: bool) -> bool {
    let scenario = crash.scenario;
    let case = scenario.prepare(crash.workers, crash.step, scenario.files(long));
    let args = scenario.args(crash.workers);
    let at = format!("{}#{}", crash.point, crash.visit);
    let sent = case.service.ledger().uploads();
    let command = || scenario.command(&case, crash.workers, crash.step);
    let met = case::crash(command(), &at);
    scenario.resume(&case);
    match scenario {
        Scenario::Reverted => case.rewrite(scenario.files(long), "first words"),
        // Gone at both ends already, or now.
        Scenario::StoreDeleted => assert!(matches!(command().seen().exit, Some(0 | 1))),
        Scenario::Repaired => {
            case.repair();
            let (file, kept) = away(&case, scenario.files(long));
            std::fs::rename(kept, file).unwrap();
        }
        Scenario::Purged => {
            if crash.point.starts_with("after") {
                case.write_as_new(0);
                case.place.objlib(&["scan", "docs", "more"]).seen().exit(0);
            }
            for step in 0..case.steps.len() {
                case.about(step, PURGE).seen().exit(0);
            }
        }
        _ => {}
    }
    case.finish(&args);
    match scenario {
        Scenario::OddStart => {
            case.service.set_faults(json!({"start_final": 0.0}));
            case.repair();
        }
        Scenario::LostDatabase => {
            let again = case.service.ledger().uploads() - sent;
            assert_eq!(again, 0, "sent again");
        }
        _ => {}
    }
    case.exact();
    met
}

pub fn run(options: &Options) {
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let workers: &[&'static str] = if options.long { &["1", "8"] } else { &["1"] };
    let mut rows = Vec::new();
    let wanted = |scenario: &Scenario| format!("{scenario:?}").contains(&only);
    for scenario in SCENARIOS.into_iter().filter(wanted) {
        for workers in workers {
            let crashes = plan(scenario, workers, options);
            let next = AtomicUsize::new(0);
            let met = AtomicUsize::new(0);
            let failures = Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for _ in 0..AT_ONCE {
                    scope.spawn(|| {
                        while let Some(crash) = crashes.get(next.fetch_add(1, Relaxed)) {
                            match catch_unwind(AssertUnwindSafe(|| try_one(crash, options.long))) {
                                Ok(was_met) => drop(met.fetch_add(usize::from(was_met), Relaxed)),
                                Err(_) => failures.lock().unwrap().push(crash.clone()),
                            }
                        }
                    });
                }
            });
            for crash in failures.lock().unwrap().iter() {
                let Crash {
                    step, point, visit, ..
                } = crash;
                println!(
                    "NOT EXACT: {scenario:?}, {workers} workers, command {}, {point}#{visit}",
                    step + 1
                );
            }
            let failed = failures.lock().unwrap().len();
            let mut points: Vec<&str> = crashes.iter().map(|c| c.point.as_str()).collect();
            points.dedup();
            rows.push(vec![
                format!("{scenario:?}"),
                scenario.steps().len().to_string(),
                (*workers).to_owned(),
                points.len().to_string(),
                crashes.len().to_string(),
                met.load(Relaxed).to_string(),
                (crashes.len() - failed).to_string(),
            ]);
        }
    }
    table(
        &[
            "scenario", "stores", "workers", "points", "crashes", "met", "exact",
        ],
        &rows,
    );
    for row in &rows {
        assert_eq!(row[4], row[6], "not exact");
        // With one worker almost everything happens in the same order every time, unless dice are rolled.
        let (met, crashes): (f64, f64) = (row[5].parse().unwrap(), row[4].parse().unwrap());
        let is_rolled = SCENARIOS
            .iter()
            .any(|s| s.is_rolled() && row[0] == format!("{s:?}"));
        let share = if row[2] == "1" && !is_rolled {
            0.85
        } else {
            0.5
        };
        assert!(met >= crashes * share, "{}: points not met", row[0]);
    }
}

/// All points of all scenarios, with their visits.
pub fn list(_: &Options) {
    let mut rows = Vec::new();
    for scenario in SCENARIOS {
        for step in 0..scenario.steps().len() {
            for (point, visits) in points(scenario, "1", step, false) {
                let command = (step + 1).to_string();
                rows.push(vec![
                    format!("{scenario:?}"),
                    command,
                    point,
                    visits.to_string(),
                ]);
            }
        }
    }
    table(&["scenario", "command", "point", "visits"], &rows);
}
