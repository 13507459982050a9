//! Several hosts, a database and a library each, fill one store at once, under a hidden quota that they
//! share, and are killed again and again. Afterwards all is exact, and no repair touches what is another's.
//! And a host that has lost its database takes its own back, beside the others.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::case::{Case, HASTE, SHARED, Step, TOGETHER, Verdict, verdict_of};
use crate::run::{KEY, Place, RunToEnd, Service};
use crate::settings::Settings;
use crate::{Options, table};

const STORE: &str = "shared";
const HOSTS: [Step; 3] = [host(&["papers"]), host(&["letters"]), host(&["notes"])];
/// Requests of all hosts that a run lives for, at the most.
const LIFE_MAX: u64 = 60;
/// Runs of one host until it is done, beyond those that are killed.
const RUNS_MAX: usize = 20;

const fn host(folders: &'static [&'static str]) -> Step {
    Step {
        folders,
        store: STORE,
    }
}

pub fn run(options: &Options) {
    one_store_for_all(options);
    println!();
    a_database_lost_among_others();
}

/// Names are those of the other hosts, and every second content is.
fn fill(place: &Place, step: Step, files: usize) {
    let [folder] = step.folders else {
        panic!("one folder a host");
    };
    for i in 0..files {
        let words = match i % 2 {
            0 => format!("words of note {i}"),
            _ => format!("words of note {i} of the {folder}"),
        };
        place.file_in(folder, &format!("part {}/note-{i}.md", i % 3), words);
    }
}

fn one_store_for_all(options: &Options) {
    let (files, kills) = if options.long { (60, 20) } else { (15, 4) };
    let places = HOSTS.map(|step| {
        let place = Place::new();
        fill(&place, step, files);
        place
    });
    let seed = options.seed.to_string();
    let quota = ["--quota-per-min", "600", "--quota-shape", "bucket"];
    let service = Service::start(&places[0], &[&["--fault-seed", &seed][..], &quota].concat());
    service.set_faults(
        json!({"quota_per_min": 600, "quota_shape": "bucket", "list_lag_ms": 200,
        "operation_delay_ms": 50, "lose_final_answer": 0.05, "error_503": 0.02}),
    );
    // The service lets several stores have one name, so one host makes the store before the others begin.
    let mut first = HOSTS[0].upload(&places[0], &service);
    first.args(["--limit", "1"]).env("OBJLIB_HASTE", HASTE);
    first.args(["--passes", "100"]).seen().exit(0);
    let runs: Vec<Runs> = std::thread::scope(|scope| {
        let service = &service;
        let threads: Vec<_> = places
            .iter()
            .zip(HOSTS)
            .enumerate()
            .map(|(n, (place, step))| {
                let rng = fastrand::Rng::with_seed(options.seed ^ n as u64);
                scope.spawn(move || killed_until_done(place, step, service, kills, rng))
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(runs.iter().any(|runs| runs.killed > 0), "nobody was killed");
    let throttled = service.fired("quota_per_min");
    assert!(throttled > 0, "the quota was never met");
    service.set_faults(json!({"quota_per_min": null, "lose_final_answer": 0.0, "error_503": 0.0}));
    let steps = HOSTS.map(|step| [step]);
    let hosts: Vec<(&Place, &[Step])> = places
        .iter()
        .zip(&steps)
        .map(|(place, step)| (place, step.as_slice()))
        .collect();
    let verdict = verdict_of(&hosts, &service, &Settings::default());
    assert!(verdict.is_exact(), "{verdict:?}");
    let before = names(&service);
    let rows: Vec<Vec<String>> = hosts
        .iter()
        .zip(&runs)
        .map(|((place, steps), runs)| {
            let seen = steps[0].repair(place, &service).exit(0);
            let found = seen.events().pop().expect("a line");
            let [folder] = steps[0].folders else {
                panic!("one folder a host");
            };
            assert_eq!(found["matching"], files, "{found}");
            assert_eq!(found["elsewhere"], 2 * files, "{found}");
            assert_eq!(found["repaired"], 0, "{found}");
            vec![
                (*folder).to_owned(),
                files.to_string(),
                runs.killed.to_string(),
                runs.whole.to_string(),
                found["matching"].to_string(),
                found["elsewhere"].to_string(),
            ]
        })
        .collect();
    assert_eq!(names(&service), before, "a repair touched a document");
    println!("three hosts, one store, a hidden quota of 600 a minute: {throttled} answers 429");
    table(
        &[
            "library",
            "files",
            "killed runs",
            "other runs",
            "own in the store",
            "left alone by its repair",
        ],
        &rows,
    );
    println!();
    let Verdict {
        documents,
        lost,
        doubled,
        orphans,
        wrong_store,
        misreported,
        ..
    } = verdict;
    let cells = [documents, lost, doubled, orphans, wrong_store, misreported];
    table(
        &[
            "documents",
            "lost",
            "duplicates",
            "orphans",
            "wrong store",
            "misreported",
        ],
        &[cells.map(|n| n.to_string()).to_vec()],
    );
}

/// How many there were of one host.
struct Runs {
    killed: usize,
    whole: usize,
}

/// With the flags that a person types first.
fn killed_until_done(
    place: &Place,
    step: Step,
    service: &Service,
    kills: usize,
    mut rng: fastrand::Rng,
) -> Runs {
    let calls = || service.get("faults")["calls_seen"].as_u64().unwrap();
    let (mut killed, mut whole) = (0, 0);
    loop {
        let mut run = step
            .upload(place, service)
            .env("OBJLIB_HASTE", HASTE)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = calls() + rng.u64(1..=LIFE_MAX);
        while killed < kills && calls() < until && run.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        if killed < kills && run.try_wait().unwrap().is_none() {
            killed += 1;
            run.kill().unwrap();
            run.wait().unwrap();
            continue;
        }
        whole += 1;
        match run.wait().unwrap().code() {
            Some(0) => return Runs { killed, whole },
            Some(4) if whole < RUNS_MAX => {}
            other => panic!("{}: exit {other:?}", step.folders[0]),
        }
    }
}

/// Every document of the service.
fn names(service: &Service) -> BTreeSet<String> {
    let ledger = service.ledger().0;
    let documents = ledger["documents"].as_array().unwrap();
    documents
        .iter()
        .map(|d| d["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Two libraries in one store, and another host's beside them: scanned, repaired, uploaded, and nothing was
/// sent.
fn a_database_lost_among_others() {
    const FILES: usize = 30;
    let case = Case::of(SHARED, FILES, &[]);
    case.finish(&[]);
    let other = Place::new();
    let step = Step {
        folders: &["papers"],
        store: TOGETHER.store,
    };
    fill(&other, step, FILES);
    let mut upload = step.upload(&other, &case.service);
    upload.env("OBJLIB_HASTE", HASTE).seen().exit(0);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", case.place.db().display()));
    }
    let before = names(&case.service);
    let mut rows = Vec::new();
    let url = case.service.url.as_str();
    let to = ["--endpoint", url, "--store", TOGETHER.store];
    let mut command = |words: &[&str], args: &[&str]| {
        let ledger = case.service.ledger();
        let mut command = case.place.objlib(&[words, args].concat());
        command
            .env("GEMINI_API_KEY", KEY)
            .env("OBJLIB_HASTE", HASTE);
        command.seen().exit(0);
        let now = case.service.ledger();
        let sum = |ledger: &crate::run::Ledger| -> u64 {
            let kinds = ledger.0["requests"].as_object().unwrap();
            kinds.values().filter_map(Value::as_u64).sum()
        };
        let sent = now.uploads() - ledger.uploads();
        assert_eq!(sent, 0, "{words:?} sent a file again");
        rows.push(vec![
            words.join(" "),
            (sum(&now) - sum(&ledger)).to_string(),
            sent.to_string(),
        ]);
    };
    command(&["scan", "docs", "more"], &[]);
    command(&["verify", "--repair"], &to);
    command(&["upload", "docs", "more"], &to);
    assert_eq!(names(&case.service), before, "a document was touched");
    println!(
        "a database lost, two of three libraries in a store of {} documents",
        3 * FILES + 1
    );
    table(&["command", "requests", "files sent"], &rows);
}
