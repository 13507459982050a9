//! The machine itself fails: a full or broken disk, a locked, deleted or replaced database, a clock
//! that jumps, a process that is suspended past its lock's life. The run stops with one line that says
//! so, or goes on; nothing is lost, nothing is sent on the strength of what was not written.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use fastrand::Rng;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::case::TOGETHER;
use crate::disk::{self, Disk, Shim, What};
use crate::power::{Named, WAYS, Way, each, is_whole, library, order, spread, until_done, upload};
use crate::run::{Place, RunToEnd, Seen, Service, seen};
use crate::{Options, table};

/// Failing calls of the short form, for each way to fail.
const FAILS: usize = 12;
const DAY_SECONDS: i64 = 24 * 3600;
/// Makes a run slow enough to be met in the middle.
const SLOW_MS: &str = "40";

pub fn machine(options: &Options) {
    let shim = Shim::build();
    failing_disk(options, &shim);
    let mut rows = Vec::new();
    let mut case = |name: &str, exits: Vec<Option<i32>>| {
        let exits: Vec<String> = exits.iter().map(|e| format!("{}", e.unwrap())).collect();
        rows.push(vec![name.to_owned(), exits.join(", ")]);
    };
    case("locked before the run", vec![locked_before()]);
    case("locked during the run", vec![locked_during()]);
    case("deleted during the run", vec![taken_away(&shim, false)]);
    case("replaced during the run", vec![taken_away(&shim, true)]);
    for jump in [DAY_SECONDS, -DAY_SECONDS] {
        let way = if jump > 0 { "forward" } else { "back" };
        case(
            &format!("clock a day {way} between runs"),
            clock_between(&shim, jump),
        );
        case(
            &format!("clock a day {way} during a run"),
            vec![clock_during(&shim, jump)],
        );
    }
    case("suspended past its lock's life", vec![suspended(&shim)]);
    println!();
    table(&["what happens", "exit of the run it happens to"], &rows);
}

/// The error of a failed run says that it is the database, and names it.
#[track_caller]
fn names_the_database(place: &Place, seen: &Seen) {
    let errors: Vec<&str> = seen.stderr.lines().filter(|l| !is_notice(l)).collect();
    let [error, _hint] = errors.as_slice() else {
        panic!("not an error and its hint:\n{}", seen.stderr);
    };
    let database = place.db();
    assert!(error.contains(database.to_str().unwrap()), "{error}");
}

/// What is said before anything went wrong.
fn is_notice(line: &str) -> bool {
    line.contains("created the store") || line.contains("took the lock over")
}

// A full or broken disk.

struct Fail {
    errno: &'static str,
    once: bool,
    at: u64,
    way: Way,
}

/// What the failing run did, and whether it met its failure.
struct Failed {
    way: (&'static str, bool),
    met: bool,
    exit: i32,
    sent_after: u64,
}

fn failing_disk(options: &Options, shim: &Shim) {
    let calls = disk_calls(shim);
    let mut rng = Rng::with_seed(options.seed);
    let mut cases = Vec::new();
    for errno in ["ENOSPC", "EIO"] {
        for once in [false, true] {
            let numbers = match options.long {
                true => (1..=calls + 1).collect(),
                false => spread(calls, FAILS, &mut rng),
            };
            cases.extend(numbers.into_iter().map(|at| Fail {
                errno,
                once,
                at,
                way: WAYS[at as usize % WAYS.len()],
            }));
        }
    }
    let seen = each(cases, |fail| fail.run(shim));
    let rows: Vec<Vec<String>> = ["ENOSPC", "EIO"]
        .into_iter()
        .flat_map(|errno| [(errno, false), (errno, true)])
        .map(|way| {
            let of: Vec<&Failed> = seen.iter().filter(|f| f.way == way).collect();
            let met = of.iter().filter(|f| f.met).count();
            let stopped = of.iter().filter(|f| f.met && f.exit == 1).count();
            let sent: u64 = of.iter().map(|f| f.sent_after).sum();
            vec![
                format!("{}{}", way.0, if way.1 { ", once" } else { "" }),
                of.len().to_string(),
                met.to_string(),
                stopped.to_string(),
                (met - stopped).to_string(),
                sent.to_string(),
            ]
        })
        .collect();
    println!("{calls} writes, truncations and syncs in a whole run");
    table(
        &[
            "from the n-th call on",
            "runs",
            "met it",
            "exit 1",
            "made good",
            "requests in flight",
        ],
        &rows,
    );
}

/// How often a whole run asks something of the disk that may be refused.
fn disk_calls(shim: &Shim) -> u64 {
    let place = Place::new();
    library(&place);
    let service = Service::start(&place, &[]);
    let log = place.path().join("disk.log");
    shim.watch(&mut upload(&place, &service, TOGETHER, WAYS[0]), &log)
        .seen()
        .exit(0);
    let calls = disk::read_log(&log).into_iter().filter(|event| {
        matches!(
            event.what,
            What::Written { .. } | What::Truncated(_) | What::Synced
        )
    });
    calls.count() as u64
}

impl Fail {
    fn run(&self, shim: &Shim) -> Failed {
        let once = if self.once { ":once" } else { "" };
        let fail = format!("{}:{}{once}", self.at, self.errno);
        let _named = Named(format!("{fail} of {:?}", self.way));
        let place = Place::new();
        library(&place);
        let service = Service::start(&place, &[]);
        let log = place.path().join("disk.log");
        let mut first = upload(&place, &service, TOGETHER, self.way);
        shim.watch(&mut first, &log).env("OBJLIB_DISK_FAIL", fail);
        let first = first.seen();
        let events = disk::read_log(&log);
        let failed = events.iter().position(|e| e.what == What::Failed);
        let met = failed.is_some();
        // What was sent, before and after, rests on what was written.
        order(&events, Disk::default(), TOGETHER);
        let after = events.iter().skip(failed.unwrap_or(events.len()));
        let begins = |text: &str| {
            let head = text.to_lowercase();
            [": start\r\n", "upload, finalize", ":importfile"]
                .iter()
                .any(|begin| head.contains(begin))
        };
        let sent_after = after
            .filter(|e| matches!(&e.what, What::Sent(text) if begins(text)))
            .count() as u64;
        match first.exit {
            Some(1) if met => {
                // A worker whose commit was on disk before may be on its way into its request; no other.
                assert!(
                    sent_after <= self.way.1 as u64,
                    "{sent_after} after the failure"
                );
                names_the_database(&place, &first);
            }
            // A checkpoint can wait, since the WAL has everything; and a folder was synced again.
            Some(0) => is_whole(&place, &service, &[TOGETHER]),
            _ => panic!("exit {:?}, met: {met}\n{}", first.exit, first.stderr),
        }
        until_done(&place, &service, &[TOGETHER], self.way);
        is_whole(&place, &service, &[TOGETHER]);
        Failed {
            way: (self.errno, self.once),
            met,
            exit: first.exit.unwrap(),
            sent_after,
        }
    }
}

// The database in other hands.

/// A run that has sent some bodies and is far from its end.
fn begun(service: &Service, command: &mut Command) -> Child {
    let mut run = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while service.ledger().uploads() < 3 {
        assert!(run.try_wait().unwrap().is_none(), "ended too early");
        std::thread::yield_now();
    }
    run
}

fn ended(run: Child) -> Seen {
    seen(run.wait_with_output().unwrap())
}

fn slow(files: usize) -> (Place, Service) {
    let place = Place::new();
    place.files(files - 1);
    place.file_in(
        "more",
        "part 0/note-0.md",
        "the same name in the other library",
    );
    let service = Service::start(&place, &["--latency-ms", SLOW_MS]);
    (place, service)
}

/// Holds the database for writing, as another program would, until it is dropped.
fn hold(database: &Path) -> Connection {
    let db = Connection::open(database).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    db
}

#[track_caller]
fn says_locked(place: &Place, seen: Seen) -> Option<i32> {
    let seen = seen.exit(1);
    names_the_database(place, &seen);
    assert!(seen.stderr.contains("another program"), "{}", seen.stderr);
    seen.exit
}

fn locked_before() -> Option<i32> {
    let _named = Named("locked before the run".to_owned());
    let (place, service) = slow(6);
    place.objlib(&["scan", "docs", "more"]).seen().exit(0);
    let held = hold(&place.db());
    let exit = says_locked(&place, upload(&place, &service, TOGETHER, WAYS[1]).seen());
    assert_eq!(service.ledger().uploads(), 0);
    drop(held);
    until_done(&place, &service, &[TOGETHER], WAYS[1]);
    is_whole(&place, &service, &[TOGETHER]);
    exit
}

fn locked_during() -> Option<i32> {
    let _named = Named("locked during the run".to_owned());
    let (place, service) = slow(60);
    let run = begun(&service, &mut upload(&place, &service, TOGETHER, WAYS[1]));
    let held = hold(&place.db());
    let exit = says_locked(&place, ended(run));
    drop(held);
    until_done(&place, &service, &[TOGETHER], WAYS[1]);
    is_whole(&place, &service, &[TOGETHER]);
    exit
}

/// Deleted, or another library put in its place. What the store holds then is for `verify` to take
/// back; here it counts that the run stops, and that its last requests rest on what was written.
fn taken_away(shim: &Shim, replaced: bool) -> Option<i32> {
    let _named = Named(format!("database taken away, replaced: {replaced}"));
    let (place, service) = slow(200);
    let other = Place::new();
    other.files(3);
    other.objlib(&["scan", "docs"]).seen().exit(0);
    let log = place.path().join("disk.log");
    let run = begun(
        &service,
        shim.watch(&mut upload(&place, &service, TOGETHER, WAYS[1]), &log),
    );
    for name in disk::NAMES.into_iter().chain(["library.db-shm"]) {
        let _ = std::fs::remove_file(place.path().join(name));
    }
    if replaced {
        std::fs::rename(other.db(), place.db()).unwrap();
    }
    let seen = ended(run).exit(1);
    names_the_database(&place, &seen);
    assert!(
        seen.stderr.contains("deleted or replaced"),
        "{}",
        seen.stderr
    );
    let ledger = service.ledger();
    let starts = ledger.uploads();
    assert!(starts < 200, "it went on to the end: {starts} starts");
    assert_eq!(ledger.0["violations"], json!([]));
    order(&disk::read_log(&log), Disk::default(), TOGETHER);
    if replaced {
        // The stranger was left as it was.
        let db = Connection::open(place.db()).unwrap();
        let rows: i64 = db
            .query_row("SELECT count(*) FROM uploads", [], |r| r.get(0))
            .unwrap();
        assert_eq!(rows, 0);
    }
    seen.exit
}

// The clock.

/// Killed half way; the next run is on another day.
fn clock_between(shim: &Shim, jump: i64) -> Vec<Option<i32>> {
    let _named = Named(format!("clock {jump} s between runs"));
    let (place, service) = slow(40);
    let mut run = begun(&service, &mut upload(&place, &service, TOGETHER, WAYS[1]));
    run.kill().unwrap();
    run.wait().unwrap();
    let clock = place.path().join("clock");
    std::fs::write(&clock, jump.to_string()).unwrap();
    place.file("part 0/note-0.md", "new content on another day\n");
    let mut second = upload(&place, &service, TOGETHER, WAYS[1]);
    let log = place.path().join("disk.log");
    let second = shim
        .watch(&mut second, &log)
        .env("OBJLIB_CLOCK", &clock)
        .seen();
    let second = second.exit(0).exit;
    is_whole(&place, &service, &[TOGETHER]);
    // And back to today.
    let third = upload(&place, &service, TOGETHER, WAYS[1])
        .seen()
        .exit(0)
        .exit;
    is_whole(&place, &service, &[TOGETHER]);
    vec![second, third]
}

fn clock_during(shim: &Shim, jump: i64) -> Option<i32> {
    let _named = Named(format!("clock {jump} s during a run"));
    let (place, service) = slow(40);
    let clock = place.path().join("clock");
    let log = place.path().join("disk.log");
    let mut command = upload(&place, &service, TOGETHER, WAYS[1]);
    let run = begun(
        &service,
        shim.watch(&mut command, &log).env("OBJLIB_CLOCK", &clock),
    );
    std::fs::write(&clock, jump.to_string()).unwrap();
    let exit = ended(run).exit(0).exit;
    is_whole(&place, &service, &[TOGETHER]);
    // The jump was seen: rows from before and after it are a day apart.
    let db = Connection::open(place.db()).unwrap();
    let apart: i64 = db
        .query_row(
            "SELECT max(updated_ms) - min(created_ms) FROM uploads",
            [],
            |r| r.get(0),
        )
        .unwrap();
    let apart_back: i64 = db
        .query_row(
            "SELECT max(created_ms) - min(updated_ms) FROM uploads",
            [],
            |r| r.get(0),
        )
        .unwrap();
    assert!(
        apart.max(apart_back) > DAY_SECONDS * 900,
        "{apart} {apart_back}"
    );
    exit
}

// Suspended.

fn signal(run: &Child, name: &str) {
    let pid = run.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.unwrap().success());
}

/// Suspended until another run has taken the lock over, done something and left much to do; then it
/// goes on, and must not.
fn suspended(shim: &Shim) -> Option<i32> {
    let _named = Named("suspended past its lock's life".to_owned());
    let (place, service) = slow(60);
    let log = place.path().join("disk.log");
    let mut command = upload(&place, &service, TOGETHER, WAYS[1]);
    let run = begun(&service, shim.watch(&mut command, &log));
    signal(&run, "STOP");
    // 5: the lock is still alive.
    let second = loop {
        let second = upload(&place, &service, TOGETHER, WAYS[1])
            .args(["--limit", "5"])
            .seen();
        if second.exit != Some(5) {
            break second.exit(0);
        }
    };
    assert!(
        second.stderr.contains("took the lock over"),
        "{}",
        second.stderr
    );
    let before = service.requests().len();
    signal(&run, "CONT");
    let first = ended(run).exit(5);
    assert!(
        first.stderr.contains("has taken the lock over"),
        "{}",
        first.stderr
    );
    let later = service.requests().split_off(before);
    let with_effect = |request: &&Value| {
        let kind = request["kind"].as_str().unwrap();
        request["status"] == 200
            && !matches!(kind, "upload.query" | "operation.get")
            && (request["method"] != "GET")
    };
    let effects: Vec<&Value> = later.iter().filter(with_effect).collect();
    assert!(effects.is_empty(), "after it was resumed: {effects:#?}");
    until_done(&place, &service, &[TOGETHER], WAYS[1]);
    is_whole(&place, &service, &[TOGETHER]);
    first.exit
}
