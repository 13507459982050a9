//! Power cuts: at every event of a run the disk is left as it would be without power, and the next
//! runs have to end with exactly one document a file. Two libraries go into three stores; the cut falls into
//! one of the three commands.
//!
//! Beside it the order itself: before a request is sent, what it rests on is on the synced disk.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use fastrand::Rng;
use rusqlite::Connection;
use serde_json::Value;

use crate::case::{AT_ONCE, SHARED, Step, TOGETHER, verdict};
use crate::disk::{self, Disk, Event, Image, Shim, TREATMENTS, Unsynced, What};
use crate::run::{Place, RunToEnd, Service};
use crate::settings::{OTHER, OTHER_FLAGS};
use crate::{Options, table};

/// Cuts of the short form, all ways together.
const CUTS: usize = 27;
/// How a run uploads: its `--method` and `--concurrency`.
#[derive(Debug, Clone, Copy)]
pub struct Way(pub &'static str, pub usize);

pub const WAYS: [Way; 3] = [Way("direct", 1), Way("direct", 4), Way("staged", 4)];

/// Runs that a library may take after a cut.
const RUNS_MAX: u32 = 5;

pub fn power(options: &Options) {
    let shim = Shim::build();
    let mut cases = Vec::new();
    let mut rng = Rng::with_seed(options.seed);
    for (i, way) in WAYS.into_iter().enumerate() {
        for step in 0..SHARED.len() {
            let events = in_order(&shim, step, way);
            let cuts = match options.long {
                true => (1..=events).collect(),
                false => spread(events, CUTS / WAYS.len() / SHARED.len(), &mut rng),
            };
            for at in cuts {
                cases.extend(TREATMENTS.map(|treatment| Case {
                    step,
                    way,
                    at,
                    treatment,
                    // One number says it all: what is asked for with `--seed` comes again.
                    seed: options.seed ^ (at << 8 | (i as u64) << 4 | treatment as u64),
                }));
            }
        }
    }
    let n = cases.len();
    let found = each(cases, |case| case.run(&shim));
    assert_eq!(found.len(), n);
    let rows: Vec<Vec<String>> = TREATMENTS
        .iter()
        .map(|treatment| {
            let of: Vec<&Found> = found.iter().filter(|f| f.treatment == *treatment).collect();
            let sum = |number: &dyn Fn(&Found) -> u64| {
                let sum: u64 = of.iter().map(|f| number(f)).sum();
                sum.to_string()
            };
            vec![
                format!("{treatment:?}").to_lowercase(),
                sum(&|f| u64::from(f.cut)),
                sum(&|f| u64::from(f.cut_again)),
                sum(&|f| f.syncs),
                sum(&|f| u64::from(f.in_doubt)),
                sum(&|f| u64::from(f.runs)),
                of.len().to_string(),
            ]
        })
        .collect();
    table(
        &[
            "unsynced",
            "cut",
            "cut again",
            "syncs seen",
            "left on the way",
            "runs after",
            "exact",
        ],
        &rows,
    );
}

/// Numbers from 1 to `last`, one of each of `n` equal parts.
pub fn spread(last: u64, n: usize, rng: &mut Rng) -> Vec<u64> {
    let n = (n as u64).min(last);
    (0..n)
        .map(|i| 1 + rng.u64(i * last / n..(i + 1) * last / n))
        .collect()
}

/// Runs all cases, a few at once; the first that fails ends it.
pub fn each<C: Send, F: Send>(cases: Vec<C>, run: impl Fn(C) -> F + Sync) -> Vec<F> {
    let (left, found) = (Mutex::new(cases.into_iter()), Mutex::new(Vec::new()));
    let failed = AtomicBool::new(false);
    let work = || {
        // The guard must not live while the case runs.
        while let Some(case) = { left.lock().unwrap().next() } {
            match catch_unwind(AssertUnwindSafe(|| run(case))) {
                Ok(seen) => found.lock().unwrap().push(seen),
                Err(_) => failed.store(true, Relaxed),
            }
            if failed.load(Relaxed) {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    assert!(
        !failed.into_inner(),
        "a case was not exact; it is named above"
    );
    found.into_inner().unwrap()
}

/// Says which case it was, if the case panics.
pub struct Named(pub String);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("not exact: {}", self.0);
        }
    }
}

/// Three small files in each library, with equal names and one content of two, and one that is sent in many
/// pieces.
pub fn library(place: &Place) {
    for folder in TOGETHER.folders {
        place.file_in(folder, "notes/shared.md", "the same words in both");
        place.file_in(folder, "notes/own.md", format!("words of {folder}"));
        place.file_in(folder, "readme.txt", format!("about {folder}"));
        place.file_in(folder, "readme.txt.meta.json", r#"{"mark": 7}"#);
    }
    let text: String = (0..20_000).map(|i| format!("{i:>14}\n")).collect();
    place.file("large.txt", text);
}

/// `plain`, and what the libraries' documents are to carry: it is kept by the first run that asks for it.
pub fn upload(place: &Place, service: &Service, step: Step, way: Way) -> Command {
    let mut command = plain(place, service, step, way);
    command.args(OTHER_FLAGS);
    command
}

/// Without a limit of requests: what a person types first is proven.
fn plain(place: &Place, service: &Service, step: Step, way: Way) -> Command {
    let concurrency = way.1.to_string();
    let mut command = step.upload(place, service);
    command.args(["--method", way.0, "--concurrency", &concurrency]);
    command.env("OBJLIB_HASTE", "20");
    command
}

/// Runs each command until it ends with 0; how many runs it took.
#[track_caller]
pub fn until_done(place: &Place, service: &Service, steps: &[Step], way: Way) -> u32 {
    let mut runs = 0;
    for step in steps {
        let mut exit = None;
        for _ in 0..RUNS_MAX {
            runs += 1;
            let seen = upload(place, service, *step, way).seen();
            exit = seen.exit;
            if exit == Some(0) {
                break;
            }
            eprintln!("exit {exit:?}: {}", seen.stderr);
        }
        assert_eq!(exit, Some(0), "not done after {RUNS_MAX} runs");
    }
    runs
}

/// The service holds the libraries in their stores and nothing else, and the database knows it.
#[track_caller]
pub fn is_whole(place: &Place, service: &Service, steps: &[Step]) {
    let found = verdict(place, service, steps, &OTHER);
    assert!(found.is_exact(), "{found:?}");
    assert_eq!(service.ledger().0["files"], 0, "temporary files are left");
    for step in steps {
        let mut status = place.objlib(&["status", "--json", "--store", step.store]);
        let status: Value = serde_json::from_str(&status.seen().exit(0).stdout).unwrap();
        for state in ["pending", "uploading", "processing", "failed", "missing"] {
            assert_eq!(status[state], 0, "{status}");
        }
        assert_eq!(status["indexed"], status["files"], "{status}");
    }
}

struct Case {
    step: usize,
    way: Way,
    at: u64,
    treatment: Unsynced,
    seed: u64,
}

struct Found {
    treatment: Unsynced,
    /// The run met the event, and ended there.
    cut: bool,
    /// So did the run after it.
    cut_again: bool,
    syncs: u64,
    /// The image has rows of uploads that had begun and not ended.
    in_doubt: bool,
    runs: u32,
}

impl Case {
    fn run(&self, shim: &Shim) -> Found {
        let _named = Named(format!(
            "event {} of command {}, {:?}, then event {} of the next run, unsynced {:?} (seed of the case {})",
            self.at,
            self.step + 1,
            self.way,
            self.again_at(),
            self.treatment,
            self.seed
        ));
        let place = Place::new();
        library(&place);
        let service = Service::start(&place, &[]);
        // What was sent until then is described otherwise from now on, and sent again.
        for step in &SHARED[..self.step] {
            plain(&place, &service, *step, self.way).seen().exit(0);
        }
        let before = disk::image_of(place.path());
        let log = place.path().join("disk.log");
        let mut first = upload(&place, &service, SHARED[self.step], self.way);
        shim.watch(&mut first, &log)
            .env("OBJLIB_DISK_KILL", self.at.to_string());
        let seen = first.seen();
        let cut = seen.exit.is_none();
        assert!(cut || seen.exit == Some(0), "{}", seen.stderr);
        let mut drive = Disk::with(before);
        for event in disk::read_log(&log) {
            drive.happens(&event);
        }
        let image = drive.image(self.treatment, &mut Rng::with_seed(self.seed));
        if self.treatment == Unsynced::Kept {
            assert!(
                image == disk::image_of(place.path()),
                "the log does not tell all that was written"
            );
        }
        disk::put(&image, place.path());
        let in_doubt =
            Rows::of(place.path(), SHARED[self.step]).is_some_and(|rows| rows.in_doubt());
        // Looking at it must not have settled it.
        disk::put(&image, place.path());
        let cut_again = cut && self.again(shim, &place, &service, image);
        let runs = until_done(&place, &service, SHARED, self.way);
        is_whole(&place, &service, SHARED);
        Found {
            treatment: self.treatment,
            cut,
            syncs: drive.syncs,
            cut_again,
            in_doubt,
            runs,
        }
    }

    /// Recovery is cut as well, somewhere.
    fn again_at(&self) -> u64 {
        Rng::with_seed(!self.seed).u64(1..=self.at)
    }

    fn again(&self, shim: &Shim, place: &Place, service: &Service, before: Image) -> bool {
        let log = place.path().join("again.log");
        let mut second = upload(place, service, SHARED[self.step], self.way);
        shim.watch(&mut second, &log)
            .env("OBJLIB_DISK_KILL", self.again_at().to_string());
        let seen = second.seen();
        let mut drive = Disk::with(before);
        for event in disk::read_log(&log) {
            drive.happens(&event);
        }
        disk::put(
            &drive.image(self.treatment, &mut Rng::with_seed(!self.seed)),
            place.path(),
        );
        seen.exit.is_none()
    }
}

/// What the database in a folder says of its uploads into one store.
#[derive(Default)]
struct Rows(Vec<Row>);

struct Row {
    library: String,
    path: String,
    store: String,
    state: String,
    session: Option<String>,
    temporary: Option<String>,
    unaskable: bool,
}

impl Rows {
    /// `None`: there is no database yet.
    fn of(folder: &Path, step: Step) -> Option<Rows> {
        let path = folder.join(disk::NAMES[0]);
        if !path.exists() {
            return None;
        }
        let db = Connection::open(path).unwrap();
        let check: String = db
            .query_row("PRAGMA integrity_check", [], |r| r.get(0))
            .unwrap();
        assert_eq!(check, "ok");
        let query = "SELECT l.name, f.path_value, s.name, u.status, u.session_url, u.temp_file,
            u.unaskable FROM uploads u JOIN files f ON f.id = u.file_id JOIN libraries l ON l.id = f.library_id
            JOIN stores s ON s.id = u.store_id WHERE s.display_name = ?1";
        // No table: cut before the schema was there.
        let mut query = db.prepare(query).ok()?;
        let row = |r: &rusqlite::Row<'_>| {
            Ok(Row {
                library: r.get(0)?,
                path: r.get(1)?,
                store: r.get(2)?,
                state: r.get(3)?,
                session: r.get(4)?,
                temporary: r.get(5)?,
                unaskable: r.get(6)?,
            })
        };
        let rows = query.query_map([step.store], row).unwrap();
        Some(Rows(rows.map(Result::unwrap).collect()))
    }

    fn in_doubt(&self) -> bool {
        let mut rows = self.0.iter();
        rows.any(|row| matches!(row.state.as_str(), "uploading" | "processing"))
    }

    fn begun(&self) -> u64 {
        let begun = |row: &&Row| row.state != "pending";
        self.0.iter().filter(begun).count() as u64
    }

    /// Whether the row of this start, import or upload in one request has begun, holds the temporary file's name,
    /// is for the store that the request names, if it names one, and says so if nobody can be asked about it.
    fn guards(&self, head: &str, json: &Value) -> bool {
        let entry = |key: &str| {
            let entries = json["customMetadata"].as_array()?;
            entries.iter().find(|e| e["key"] == key)?["stringValue"].as_str()
        };
        let (library, path) = (entry("objlib_library"), entry("objlib_path"));
        let temporary = json["fileName"].as_str().or(json["file"]["name"].as_str());
        let is_unaskable = is_one_request(head) || head.contains(":importFile");
        let is_it = |row: &Row| {
            row.state == "uploading"
                && row.unaskable == is_unaskable
                && (!head.contains("fileSearchStores/")
                    || head.contains(&format!("{}:", row.store)))
                && library.is_none_or(|library| library == row.library)
                && path.is_none_or(|path| path == row.path)
                && temporary.is_none_or(|name| row.temporary.as_deref() == Some(name))
        };
        (path.is_some() || temporary.is_some()) && self.0.iter().any(is_it)
    }
}

/// One run to its end, and its order; how many events it has.
fn in_order(shim: &Shim, step: usize, way: Way) -> u64 {
    let _named = Named(format!("the order of command {}, {way:?}", step + 1));
    let place = Place::new();
    library(&place);
    let service = Service::start(&place, &[]);
    let log = place.path().join("disk.log");
    until_done(&place, &service, &SHARED[..step], way);
    let before = disk::image_of(place.path());
    let ledger = service.ledger();
    let mut whole = upload(&place, &service, SHARED[step], way);
    shim.watch(&mut whole, &log).seen().exit(0);
    is_whole(&place, &service, &SHARED[..=step]);
    let events = disk::read_log(&log);
    let seen = order(&events, Disk::with(before), SHARED[step]);
    let now = service.ledger();
    let since = |kind: &str| now.requests(kind) - ledger.requests(kind);
    let started = since("upload.start") + since("file.start");
    assert_eq!(seen.starts, started, "unseen");
    assert_eq!(seen.uploads, since("upload.multipart"), "unseen");
    assert_eq!(seen.imports, since("import"), "unseen");
    assert_eq!(seen.bodies, since("upload.body"), "unseen");
    println!(
        "order of command {}, {} at concurrency {}: {} events, {} syncs; {} starts, {} uploads in one request \
         and {} imports with their intent on the synced disk, {} bodies with their session",
        step + 1,
        way.0,
        way.1,
        events.last().unwrap().number,
        seen.syncs,
        seen.starts,
        seen.uploads,
        seen.imports,
        seen.bodies
    );
    events.last().unwrap().number
}

/// Requests that were checked.
pub struct Order {
    pub starts: u64,
    pub uploads: u64,
    pub bodies: u64,
    pub imports: u64,
    pub syncs: u64,
}

/// Before a start, an upload in one request or an import is sent, the file's row on the synced disk has begun,
/// with the name that the temporary file will have; before a body is sent, its session's URL is there.
#[track_caller]
pub fn order(events: &[Event], mut drive: Disk, step: Step) -> Order {
    let folder = tempfile::tempdir().unwrap();
    let rows_of = |drive: &Disk| {
        let image = drive.image(Unsynced::Lost, &mut Rng::with_seed(0));
        disk::put(&image, folder.path());
        Rows::of(folder.path(), step).unwrap_or_default()
    };
    let (mut starts, mut uploads, mut bodies, mut imports) = (0, 0, 0, 0);
    // By socket: the disk as it was when the head was sent, and the head, for the JSON that names the file.
    let mut begun: BTreeMap<u32, (Rows, &str)> = BTreeMap::new();
    for event in events {
        drive.happens(event);
        let What::Sent(text) = &event.what else {
            continue;
        };
        let lower = text.to_lowercase();
        let number = event.number;
        if lower.contains("upload, finalize") && lower.contains("upload_id=") {
            let id = text.split("upload_id=").nth(1).unwrap();
            let id = id.split([' ', '&']).next().unwrap();
            let rows = rows_of(&drive);
            let mut urls = rows.0.iter().filter_map(|row| row.session.as_ref());
            assert!(
                urls.any(|url| url.contains(id)),
                "event {number}: the body of session {id} was sent before its URL was synced"
            );
            bodies += 1;
        } else if lower.contains("x-goog-upload-command: start") {
            starts += 1;
            let rows = rows_of(&drive);
            assert!(
                rows.begun() >= starts,
                "event {number}: start {starts} was sent with {} intents synced",
                rows.begun()
            );
            begun.insert(event.file, (rows, text));
        } else if is_one_request(&lower) {
            uploads += 1;
            begun.insert(event.file, (rows_of(&drive), text));
        } else if lower.contains(":importfile") {
            imports += 1;
            begun.insert(event.file, (rows_of(&drive), text));
        }
        if let Some(json) = json_in(text)
            && let Some((rows, head)) = begun.remove(&event.file)
        {
            let head = head.split("\r\n\r\n").next().unwrap_or_default();
            assert!(
                rows.guards(head, &json),
                "event {number}: sent before what it rests on was synced: {json}"
            );
        }
    }
    // A run that fails may end between a head and its JSON.
    assert!(begun.is_empty() || events.iter().any(|e| e.what == What::Failed));
    Order {
        starts,
        uploads,
        bodies,
        imports,
        syncs: drive.syncs,
    }
}

fn is_one_request(head: &str) -> bool {
    head.contains("x-goog-upload-protocol: multipart")
}

/// The JSON of a request, whether it comes with the head or after it, and whatever comes after it.
fn json_in(text: &str) -> Option<Value> {
    let json = serde_json::Deserializer::from_str(&text[text.find("{\"")?..]);
    json.into_iter().next()?.ok()
}
