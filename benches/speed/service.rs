//! A folder of small files, a service for them, and one upload of the whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use objlib::emulator::{Emulator, Faults, Options};
use serde_json::Value;

use super::measure::{self, Run};

const OBJLIB: &str = env!("CARGO_BIN_EXE_objlib");

/// Deleted at the end.
pub struct Folder {
    place: tempfile::TempDir,
    pub files: usize,
}

/// Bytes of a small file, about.
pub const SMALL: usize = 900;
/// Too large for one request.
pub const LARGE: usize = 300 * 1024;

impl Folder {
    pub fn new(files: usize, bytes: usize) -> Folder {
        Folder::below(&std::env::temp_dir(), files, bytes)
    }

    pub fn below(place: &Path, files: usize, bytes: usize) -> Folder {
        let place = tempfile::tempdir_in(place).expect("a temporary folder");
        let folder = Folder { place, files };
        for i in 0..files {
            let part = folder.docs().join(format!("part-{}", i % 50));
            fs::create_dir_all(&part).expect("a folder");
            let words = "some words of a note ";
            let text = format!("# Note {i}\n\n{}\n", words.repeat(bytes / words.len()));
            let path = part.join(format!("note-{i}.md"));
            fs::write(&path, text).expect("a file");
            // Of yesterday: what is as young as its scan is read once more by the next.
            let yesterday = SystemTime::now() - Duration::from_secs(86_400);
            let file = File::options().append(true).open(path);
            file.and_then(|f| f.set_modified(yesterday))
                .expect("a time");
        }
        folder
    }

    pub fn docs(&self) -> PathBuf {
        self.place.path().join("docs")
    }
}

pub fn service(faults: Faults) -> Emulator {
    let options = Options {
        faults,
        ..Options::default()
    };
    Emulator::start(options).expect("the emulator starts")
}

/// What the service saw.
pub fn ledger(service: &Emulator) -> Value {
    let answer = ureq::get(format!("{}/_emulator/ledger", service.url())).call();
    let text = answer.and_then(|mut answer| {
        let body = answer.body_mut().with_config().limit(1 << 30);
        body.read_to_string()
    });
    serde_json::from_str(&text.expect("the ledger")).expect("JSON")
}

pub struct Uploaded {
    pub run: Run,
    /// The last line, and the lines before it.
    pub summary: Value,
    pub events: Vec<Value>,
}

impl Uploaded {
    pub fn number(&self, field: &str) -> f64 {
        self.summary[field].as_f64().expect("a number")
    }
}

/// Scans the folder and uploads it, with a database of its own. Whatever the run did not finish is in its
/// summary.
pub fn upload(folder: &Folder, service: &Emulator, flags: &[&str]) -> Uploaded {
    let database = folder.place.path().join("l.db");
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", database.display()));
    }
    let said = folder.place.path().join("events");
    let out = File::create(&said).expect("a file for events");
    let mut command = Command::new(OBJLIB);
    command
        .args(["upload", "--json", "--endpoint", &service.url()])
        .args(flags)
        .arg("--db")
        .arg(database)
        .arg(folder.docs())
        .env("GEMINI_API_KEY", "a-key-of-nobody");
    let run = measure::run(&mut command, Stdio::from(out));
    let text = fs::read_to_string(said).expect("events");
    let mut events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    Uploaded {
        run,
        summary: events.pop().expect("a summary"),
        events,
    }
}
