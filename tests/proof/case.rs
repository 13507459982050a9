//! One case of a proof: folders, a service of their own, runs until nothing is left, and the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use objlib::identity::Sha256;
use serde_json::Value;

use crate::run::{KEY, Place, RunToEnd, Seen, Service, for_each_file};
use crate::settings::{Entries, SIDECAR, Settings, carried, entries};

/// Protocol waits are a fiftieth of what they are.
pub const HASTE: &str = "50";
/// Cases at once: most of a case is waiting.
pub const AT_ONCE: usize = 6;
/// Runs that a cron job may need.
const RUNS_MAX: usize = 6;

/// One command of a person's cron: these folders, each a library of its name, go into this store.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub folders: &'static [&'static str],
    pub store: &'static str,
}

/// One folder into one store.
pub const ALONE: &[Step] = &[Step {
    folders: &["docs"],
    store: "objlib",
}];

/// Two libraries that share names and contents: a store for each, and one that both go into.
pub const SHARED: &[Step] = &[
    Step {
        folders: &["docs"],
        store: "first",
    },
    Step {
        folders: &["more"],
        store: "second",
    },
    TOGETHER,
];

/// The step that both libraries are in.
pub const TOGETHER: Step = Step {
    folders: &["docs", "more"],
    store: "both",
};

impl Step {
    /// `upload` of the step, with nothing but the defaults.
    pub fn upload(&self, place: &Place, service: &Service) -> Command {
        let mut command = place.objlib(&["upload", "--json", "--store", self.store]);
        command.args(self.folders);
        command.args(["--endpoint", &service.url]);
        command.env("GEMINI_API_KEY", KEY);
        command
    }

    /// `verify --repair` of the step's store.
    pub fn repair(&self, place: &Place, service: &Service) -> Seen {
        let mut verify = place.objlib(&["verify", "--repair", "--json", "--store", self.store]);
        verify.args(["--endpoint", &service.url]);
        verify.env("OBJLIB_HASTE", HASTE);
        verify.env("GEMINI_API_KEY", KEY).seen()
    }
}

pub struct Case {
    pub place: Place,
    pub service: Service,
    pub steps: &'static [Step],
    /// Of all libraries.
    pub settings: Settings,
}

impl Case {
    /// One folder: `files` small ones and a larger one, which takes several writes.
    pub fn new(files: usize, flags: &[&str]) -> Case {
        Case::of(ALONE, files, flags)
    }

    /// `files` small ones in each folder, which go in one request, and the larger one in `docs`, which does not. In `more` every second file holds
    /// what the file of that name in `docs` holds.
    pub fn of(steps: &'static [Step], files: usize, flags: &[&str]) -> Case {
        let place = Place::new();
        place.files(files);
        place.file("larger.txt", "a larger file\n".repeat(20_000));
        let service = Service::start(&place, flags);
        let case = Case {
            place,
            service,
            steps,
            settings: Settings::default(),
        };
        if case.folders().contains("more") {
            for i in 0..files {
                let words = std::fs::read_to_string(case.place.docs().join(note(i))).unwrap();
                case.write("more", i, &words);
            }
        }
        case
    }

    pub fn folders(&self) -> BTreeSet<&'static str> {
        let folders = self.steps.iter().flat_map(|step| step.folders);
        folders.copied().collect()
    }

    /// Other words in a note: in `more` every second time not those that `docs` would get.
    pub fn write(&self, folder: &str, i: usize, words: &str) {
        let own = match (folder, i % 2) {
            ("more", 1) => "of this library: ",
            _ => "",
        };
        self.place
            .file_in(folder, &note(i), format!("{own}{words}"));
    }

    /// A note at another path.
    pub fn rename(&self, folder: &str, i: usize) {
        let folder = self.place.path().join(folder);
        std::fs::create_dir_all(folder.join("moved")).unwrap();
        std::fs::rename(folder.join(note(i)), folder.join(format!("moved/{i}.md"))).unwrap();
    }

    pub fn delete(&self, folder: &str, i: usize) {
        std::fs::remove_file(self.place.path().join(folder).join(note(i))).unwrap();
    }

    /// A note of `docs`, as it was when the case began.
    pub fn write_as_new(&self, i: usize) {
        let other = Place::new();
        other.files(i + 1);
        let words = std::fs::read(other.docs().join(note(i))).unwrap();
        self.place.file(&note(i), words);
    }

    /// Other words in the first `files` notes of every folder.
    pub fn rewrite(&self, files: usize, words: &str) {
        for folder in self.folders() {
            for i in 0..files {
                self.write(folder, i, &format!("{words} of note {i}"));
            }
        }
    }

    /// A sidecar of a note in every folder.
    pub fn describe(&self, i: usize, entries: &str) {
        for folder in self.folders() {
            let sidecar = format!("{}{SIDECAR}", note(i));
            self.place.file_in(folder, &sidecar, entries);
        }
    }

    /// A step's command, hastened. No limit of requests is given: what a person types first is proven.
    pub fn upload(&self, step: usize, args: &[&str]) -> Command {
        let mut command = self.steps[step].upload(&self.place, &self.service);
        command.args(args).env("OBJLIB_HASTE", HASTE);
        command
    }

    /// Runs a step to the point, and says whether it was met.
    pub fn crash(&self, step: usize, args: &[&str], point: &str) -> bool {
        crash(self.upload(step, args), point)
    }

    /// Another command about the step's store, hastened.
    pub fn about(&self, step: usize, words: &[&str]) -> Command {
        let mut command = self.place.objlib(words);
        command.args(["--json", "--endpoint", &self.service.url]);
        if words[0] != "store" {
            command.args(["--store", self.steps[step].store]);
        }
        command.env("OBJLIB_HASTE", HASTE);
        command.env("GEMINI_API_KEY", KEY);
        command
    }

    /// Runs step after step until nothing is left; how many runs it took.
    pub fn finish(&self, args: &[&str]) -> usize {
        self.finish_before(self.steps.len(), args)
    }

    /// The steps before this one.
    pub fn finish_before(&self, step: usize, args: &[&str]) -> usize {
        (0..step).map(|step| self.finish_step(step, args)).sum()
    }

    fn finish_step(&self, step: usize, args: &[&str]) -> usize {
        for run in 1..=RUNS_MAX {
            let seen: Seen = self.upload(step, args).seen();
            match seen.exit {
                Some(0) => return run,
                Some(4) => {}
                Some(3) if args.contains(&"--retry-failed") => {}
                other => panic!("exit {other:?}\n{}\n{}", seen.stdout, seen.stderr),
            }
        }
        panic!("not done after {RUNS_MAX} runs");
    }

    /// `verify --repair` of every store, after which database and stores agree.
    pub fn repair(&self) {
        for step in self.steps {
            step.repair(&self.place, &self.service).exit(0);
        }
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

    pub fn verdict(&self) -> Verdict {
        verdict(&self.place, &self.service, self.steps, &self.settings)
    }

    /// Exactly one active document a file and store, nothing else left, and `status` says the same.
    #[track_caller]
    pub fn exact(&self) -> Verdict {
        let verdict = self.verdict();
        let ledger = self.service.ledger().0;
        assert!(verdict.is_exact(), "{verdict:?}\n{}", ledger["violations"]);
        verdict
    }
}

/// Runs a command to the point, and says whether it was met.
pub fn crash(mut command: Command, point: &str) -> bool {
    command.env("OBJLIB_CRASH_AT", point);
    let ended = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    ended.code().is_none()
}

/// As `Place::files` names them.
pub fn note(i: usize) -> String {
    format!("part {}/note-{i}.md", i % 7)
}

/// What is wrong, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Each as often as there are stores that it goes into.
    pub files: usize,
    pub documents: usize,
    /// Files without an active document of their content.
    pub lost: usize,
    /// Files with more than one.
    pub doubled: usize,
    /// Documents that are no file's content (torn, old, failed), and temporary files.
    pub orphans: usize,
    /// Documents in a store that their library never went into, and second stores of one name.
    pub wrong_store: usize,
    /// As `status` says.
    pub indexed: usize,
    /// By how many files it is wrong.
    pub misreported: usize,
    /// Documents with other metadata than their files' sidecars and the settings give.
    pub misdescribed: usize,
    /// Requests that no client should send.
    pub violations: usize,
}

impl Verdict {
    pub fn is_exact(&self) -> bool {
        let wrong = self.lost + self.doubled + self.orphans + self.wrong_store;
        wrong + self.misreported + self.misdescribed + self.violations == 0
            && self.files == self.documents
    }
}

/// The ledger against the folders, and `status` against the ledger, store by store.
pub fn verdict(place: &Place, service: &Service, steps: &[Step], settings: &Settings) -> Verdict {
    verdict_of(&[(place, steps)], service, settings)
}

/// The same of several hosts, each with its folders and its database.
pub fn verdict_of(hosts: &[(&Place, &[Step])], service: &Service, settings: &Settings) -> Verdict {
    let ledger = service.ledger().0;
    let documents = ledger["documents"].as_array().unwrap();
    let mut verdict = Verdict {
        documents: documents.len(),
        orphans: ledger["temporaryFiles"].as_array().unwrap().len(),
        violations: ledger["violations"].as_array().unwrap().len(),
        ..Verdict::default()
    };
    let mut stores: BTreeMap<&str, &str> = BTreeMap::new();
    for document in documents {
        let (store, library) = (text(document, "storeDisplayName"), library(document));
        let links = |step: &Step| step.store == store && step.folders.contains(&library);
        let is_linked = hosts.iter().any(|(_, steps)| steps.iter().any(links));
        let name = text(document, "store");
        let is_first = *stores.entry(store).or_insert(name) == name;
        verdict.wrong_store += usize::from(!is_linked || !is_first);
    }
    for (place, step) in hosts
        .iter()
        .flat_map(|(place, steps)| steps.iter().map(move |step| (place, step)))
    {
        let mut wanted = wanted(place, step, settings);
        let is_of_step = |document: &&Value| {
            text(document, "storeDisplayName") == step.store
                && step.folders.contains(&library(document))
        };
        for document in documents.iter().filter(is_of_step) {
            let file = (library(document), text(document, "objlibPath"));
            match wanted.get_mut(&(file.0.to_owned(), file.1.to_owned())) {
                Some((sha256, entries, found))
                    if text(document, "state") == "STATE_ACTIVE"
                        && text(document, "sha256") == sha256
                        && text(document, "metadataSha256") == sha256 =>
                {
                    *found += 1;
                    let carried = carried(&document["customMetadata"]);
                    verdict.misdescribed += usize::from(carried != *entries);
                }
                _ => verdict.orphans += 1,
            }
        }
        let status = place.objlib(&["status", "--json", "--store", step.store]);
        let indexed = indexed(status);
        let really = wanted.values().filter(|(.., found)| *found > 0).count();
        verdict.files += wanted.len();
        verdict.lost += wanted.len() - really;
        verdict.doubled += wanted.values().filter(|(.., found)| *found > 1).count();
        verdict.indexed += indexed;
        verdict.misreported += indexed.abs_diff(really);
    }
    verdict
}

fn text<'v>(document: &'v Value, field: &str) -> &'v str {
    document[field].as_str().unwrap_or_default()
}

fn library(document: &Value) -> &str {
    text(document, "objlibLibrary")
}

/// By library and path: the hash of what is on disk, what describes it, and a counter.
fn wanted(
    place: &Place,
    step: &Step,
    settings: &Settings,
) -> BTreeMap<(String, String), (String, Entries, usize)> {
    let mut wanted = BTreeMap::new();
    for folder in step.folders {
        let root = place.path().join(folder);
        for_each_file(&root, &mut |path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
            if name.ends_with(SIDECAR) {
                return;
            }
            let sha256 = Sha256::of(&std::fs::read(path).unwrap()).to_string();
            let sidecar = std::fs::read(root.join(format!("{name}{SIDECAR}"))).ok();
            let sidecar = sidecar.map(|bytes| entries(serde_json::from_slice(&bytes).unwrap()));
            let entries = settings.entries(name, sidecar.as_ref());
            let file = ((*folder).to_owned(), name.to_owned());
            wanted.insert(file, (sha256, entries, 0));
        });
    }
    wanted
}

fn indexed(mut status: Command) -> usize {
    let status = status.seen().exit(0);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    status["indexed"].as_u64().unwrap() as usize
}
