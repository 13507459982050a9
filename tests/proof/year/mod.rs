//! A year of nights in miniature: two libraries, of which one goes into two stores and the other into one of
//! them, are changed by day and uploaded by night; rules, constants, sidecars and chunking change now and
//! then. Most nights have faults, a hidden quota and kills. After every night the ledger equals the folders
//! exactly: each present file has one active document of its content and its metadata, as they are worked
//! out here; each missing one has its last; nothing else is there but what others have put there.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use serde_json::{Value, json};

use self::figures::{Sum, unchanged};
use self::folder::{DEEDS, Deed, Folder};
use self::ledger::{Expected, OnDisk, Wrong};
use self::weather::faults;
use crate::Options;
use crate::case::Step;
use crate::run::{KEY, Ledger, Place, RunToEnd, Service};
use crate::settings::{Settings, carried};

mod crontab;
mod figures;
mod folder;
mod ledger;
mod weather;

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

/// What is wrong by night.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weather {
    Calm,
    /// Faults, a hidden quota, kills.
    Rough,
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

impl Year {
    fn new(files: [usize; 2], seed: u64) -> Year {
        let mut rng = Rng::with_seed(seed);
        let place = Place::new();
        let folder = |i: usize, rng: &mut Rng| Folder::new(&place, LIBRARIES[i], files[i], rng);
        let folders = [folder(0, &mut rng), folder(1, &mut rng)];
        let flags = ["--fault-seed", &seed.to_string(), "--stall-ms", "2000"];
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
            let files = self.folders.iter().map(Folder::len).sum();
            self.service.set_faults(faults(&mut self.rng, files));
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
        // Else it would not have come to this.
        sum.exact += 1;
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
}
