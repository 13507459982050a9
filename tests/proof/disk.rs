//! The disk as a power cut leaves it: what `disk.c` logged, replayed up to a moment.
//!
//! Owns the library that watches a program's disk, and the model of a file system. The model is
//! strict: a file's bytes are safe once the file is synced, its name once the folder is synced;
//! everything else may be lost, and come back in any order or cut at a sector.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use fastrand::Rng;
use tempfile::TempDir;

/// The names of a database, in the order of `disk.c`. The `-shm` file is memory.
pub const NAMES: [&str; 3] = ["library.db", "library.db-wal", "library.db-journal"];
const SHARED_MEMORY: &str = "library.db-shm";
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// The compiled library; deleted at the end.
pub struct Shim {
    folder: TempDir,
}

impl Shim {
    pub fn build() -> Shim {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/disk.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(folder.path().join("disk.so"))
            .arg(source)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "cc: {words}");
        Shim { folder }
    }

    /// The command's disk is watched, its events go to `log`.
    pub fn watch<'c>(&self, command: &'c mut Command, log: &Path) -> &'c mut Command {
        let _ = std::fs::remove_file(log);
        command
            .env("LD_PRELOAD", self.folder.path().join("disk.so"))
            .env("OBJLIB_DISK_LOG", log)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Was there before.
    Opened(usize),
    Created(usize),
    Written {
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncated(usize),
    Synced,
    FolderSynced,
    Unlinked(usize),
    /// The first bytes of what is about to be sent on a socket.
    Sent(String),
    /// The library made the call fail.
    Failed,
}

#[derive(Debug, Clone)]
pub struct Event {
    pub number: u64,
    /// The file, or the socket of `Sent`.
    pub file: u32,
    pub what: What,
}

/// The events of a log. A record that was cut short, with its process, did not happen.
pub fn read_log(path: &Path) -> Vec<Event> {
    let log = std::fs::read(path).unwrap();
    let mut rest = log.as_slice();
    let mut events = Vec::new();
    while let Some((head, after)) = rest.split_at_checked(32) {
        let u32_at = |i: usize| u32::from_le_bytes(head[i..i + 4].try_into().unwrap());
        let u64_at = |i: usize| u64::from_le_bytes(head[i..i + 8].try_into().unwrap());
        let offset = u64_at(16) as usize;
        let Some((bytes, after)) = after.split_at_checked(u64_at(24) as usize) else {
            break;
        };
        rest = after;
        let what = match u32_at(0) {
            1 => What::Opened(offset),
            2 => What::Created(offset),
            3 => What::Written {
                offset,
                bytes: bytes.to_vec(),
            },
            4 => What::Truncated(offset),
            5 => What::Synced,
            6 => What::FolderSynced,
            7 => What::Unlinked(offset),
            8 => What::Sent(String::from_utf8_lossy(bytes).into_owned()),
            9 => What::Failed,
            other => panic!("a record of kind {other}"),
        };
        events.push(Event {
            number: u64_at(8),
            file: u32_at(4),
            what,
        });
    }
    events
}

/// What became of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// All of it is gone.
    Lost,
    /// Some of it is there, written in another order.
    Reordered,
    /// The same, and one write is there in part.
    Torn,
    /// All of it is there, as after kill -9.
    Kept,
}

pub const TREATMENTS: [Unsynced; 4] = [
    Unsynced::Lost,
    Unsynced::Reordered,
    Unsynced::Torn,
    Unsynced::Kept,
];

/// Changes the bytes of a file, or which file a name means.
#[derive(Debug, Clone)]
enum Step {
    Write(u32, usize, Vec<u8>),
    Truncate(u32, usize),
    Link(usize, u32),
    Unlink(usize),
}

impl Step {
    fn is_of(&self, synced: u32) -> bool {
        matches!(self, Step::Write(file, ..) | Step::Truncate(file, _) if *file == synced)
    }

    fn is_of_folder(&self) -> bool {
        matches!(self, Step::Link(..) | Step::Unlink(_))
    }
}

/// Files and their names.
#[derive(Debug, Clone, Default)]
struct Files {
    bytes: BTreeMap<u32, Vec<u8>>,
    names: BTreeMap<usize, u32>,
}

impl Files {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Write(file, offset, new) => {
                let bytes = self.bytes.entry(*file).or_default();
                let end = offset + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(new);
            }
            Step::Truncate(file, length) => self.bytes.entry(*file).or_default().resize(*length, 0),
            Step::Link(name, file) => drop(self.names.insert(*name, *file)),
            Step::Unlink(name) => drop(self.names.remove(name)),
        }
    }
}

/// The database's files, by name.
pub type Image = BTreeMap<&'static str, Vec<u8>>;

/// The files as they are on disk now, without `-shm`.
pub fn image_of(folder: &Path) -> Image {
    let read = |name: &'static str| Some((name, std::fs::read(folder.join(name)).ok()?));
    NAMES.into_iter().filter_map(read).collect()
}

/// Puts the files in place of those that are there.
pub fn put(image: &Image, folder: &Path) {
    for name in NAMES.into_iter().chain([SHARED_MEMORY]) {
        let _ = std::fs::remove_file(folder.join(name));
        if let Some(bytes) = image.get(name) {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

/// A disk to which things happen, one event after the other.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    safe: Files,
    /// Not synced yet, oldest first.
    unsafe_yet: Vec<Step>,
    /// What was there before the first event.
    before: Image,
    pub syncs: u64,
}

impl Disk {
    /// A disk on which these files are, all of it synced.
    pub fn with(before: Image) -> Disk {
        Disk {
            before,
            ..Disk::default()
        }
    }

    pub fn happens(&mut self, event: &Event) {
        let file = event.file;
        match &event.what {
            What::Opened(name) => {
                let bytes = self.before.get(NAMES[*name]).cloned().unwrap_or_default();
                self.safe.bytes.insert(file, bytes);
                self.safe.names.insert(*name, file);
            }
            What::Created(name) => self.unsafe_yet.push(Step::Link(*name, file)),
            What::Written { offset, bytes } => {
                self.unsafe_yet
                    .push(Step::Write(file, *offset, bytes.clone()));
            }
            What::Truncated(length) => self.unsafe_yet.push(Step::Truncate(file, *length)),
            What::Unlinked(name) => self.unsafe_yet.push(Step::Unlink(*name)),
            What::Synced => self.is_safe(|step| step.is_of(file)),
            What::FolderSynced => self.is_safe(Step::is_of_folder),
            What::Sent(_) | What::Failed => {}
        }
    }

    fn is_safe(&mut self, which: impl Fn(&Step) -> bool) {
        self.syncs += 1;
        for step in std::mem::take(&mut self.unsafe_yet) {
            match which(&step) {
                true => self.safe.apply(&step),
                false => self.unsafe_yet.push(step),
            }
        }
    }

    /// What is there when the power comes back.
    pub fn image(&self, treatment: Unsynced, rng: &mut Rng) -> Image {
        let mut files = self.safe.clone();
        let steps = match treatment {
            Unsynced::Lost => Vec::new(),
            Unsynced::Kept => self.unsafe_yet.clone(),
            Unsynced::Reordered => self.survivors(rng),
            Unsynced::Torn => torn(self.survivors(rng), &self.unsafe_yet, rng),
        };
        for step in &steps {
            files.apply(step);
        }
        let named = files.names.iter();
        named
            .map(|(name, file)| {
                let bytes = files.bytes.get(file).cloned().unwrap_or_default();
                (NAMES[*name], bytes)
            })
            .collect()
    }

    /// Names change in order, as the file systems' journals have it, up to some moment; bytes in none.
    fn survivors(&self, rng: &mut Rng) -> Vec<Step> {
        let (names, mut bytes): (Vec<Step>, Vec<Step>) = self
            .unsafe_yet
            .iter()
            .cloned()
            .partition(Step::is_of_folder);
        let names_left = rng.usize(..=names.len());
        bytes.retain(|_| rng.bool());
        rng.shuffle(&mut bytes);
        names.into_iter().take(names_left).chain(bytes).collect()
    }
}

/// One write more, of which only a part got to the disk.
fn torn(mut steps: Vec<Step>, all: &[Step], rng: &mut Rng) -> Vec<Step> {
    let long = |step: &&Step| matches!(step, Step::Write(_, _, bytes) if bytes.len() > SECTOR);
    let long: Vec<&Step> = all.iter().filter(long).collect();
    if let Some(Step::Write(file, offset, bytes)) = rng.choice(long) {
        let first = SECTOR - offset % SECTOR;
        let cut = first + rng.usize(..=(bytes.len() - 1 - first) / SECTOR) * SECTOR;
        let whole = |s: &Step| matches!(s, Step::Write(f, o, _) if (f, o) == (file, offset));
        steps.retain(|step| !whole(step));
        steps.push(match rng.bool() {
            true => Step::Write(*file, *offset, bytes[..cut].to_vec()),
            false => Step::Write(*file, offset + cut, bytes[cut..].to_vec()),
        });
    }
    steps
}
