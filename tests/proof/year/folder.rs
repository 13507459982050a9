//! A library's folder, and what people do to it between two nights.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use fastrand::Rng;
use serde_json::json;

use crate::run::Place;
use crate::settings::SIDECAR;

/// What is done to a file, and how often beside the others.
pub const DEEDS: [(Deed, usize); 18] = [
    (Deed::Add, 4),
    (Deed::Edit, 6),
    (Deed::Enlarge, 1),
    (Deed::Rename, 3),
    (Deed::Move, 3),
    (Deed::Swap, 1),
    (Deed::Supplant, 1),
    (Deed::Delete, 4),
    (Deed::Restore, 3),
    (Deed::RestoreOther, 1),
    (Deed::Revert, 3),
    (Deed::Touch, 3),
    (Deed::Copy, 2),
    (Deed::Describe, 3),
    (Deed::Undescribe, 2),
    (Deed::Garble, 1),
    (Deed::Ignore, 1),
    (Deed::Heed, 1),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    Add,
    Edit,
    /// More than goes in one request.
    Enlarge,
    /// Another name in the same folder.
    Rename,
    /// Into another folder.
    Move,
    /// Two files take each other's names.
    Swap,
    /// One goes to a new name, and something else takes its old one.
    Supplant,
    Delete,
    /// A deleted file comes back as it was.
    Restore,
    /// It comes back with other words.
    RestoreOther,
    /// A file holds again what it held before.
    Revert,
    /// Another time, the same words.
    Touch,
    Copy,
    /// A sidecar is written, or written anew.
    Describe,
    Undescribe,
    /// A sidecar that cannot be used, until somebody mends or deletes it.
    Garble,
    /// A file is there and must not be sent any more.
    Ignore,
    Heed,
    /// A whole shelf gets another name.
    RenameShelf,
}

/// Names what must not be sent, a path from the root a line.
pub const IGNORE: &str = ".objlibignore";

pub struct Folder {
    root: PathBuf,
    /// Words of each file, by path.
    files: BTreeMap<String, String>,
    /// What deleted files held.
    deleted: BTreeMap<String, String>,
    /// What files held before.
    earlier: BTreeMap<String, String>,
    described: BTreeSet<String>,
    /// What `.objlibignore` names, there or not.
    ignored: BTreeSet<String>,
    /// Of names and of words; none comes twice.
    made: usize,
}

const COLOURS: [&str; 3] = ["red", "grün", "blue"];

impl Folder {
    /// Every second file holds what the file of that name holds in any other folder made so.
    pub fn new(place: &Place, name: &str, files: usize, rng: &mut Rng) -> Folder {
        let root = place.path().join(name);
        fs::create_dir_all(&root).unwrap();
        let mut folder = Folder {
            root,
            files: BTreeMap::new(),
            deleted: BTreeMap::new(),
            earlier: BTreeMap::new(),
            described: BTreeSet::new(),
            ignored: BTreeSet::new(),
            made: 0,
        };
        for i in 0..files {
            let shelf = 1 + i % 5;
            let path = format!("shelf {shelf}/{}/note {i}.md", COLOURS[i % 3]);
            folder.made = i;
            let words = match i % 2 {
                0 => format!("words of note {i}\n"),
                _ => format!("words of note {i} of {name}\n"),
            };
            folder.put(&path, words.repeat(1 + i % 9));
        }
        folder.made = files;
        for _ in 0..files / 100 {
            let path = format!("shelf 1/red/{}.txt", folder.name());
            let words = folder.many_words(rng);
            folder.put(&path, words);
        }
        folder
    }

    /// `false`: there is no file that it could be done to.
    pub fn act(&mut self, deed: Deed, rng: &mut Rng) -> bool {
        self.try_to(deed, rng).is_some()
    }

    fn try_to(&mut self, deed: Deed, rng: &mut Rng) -> Option<()> {
        match deed {
            Deed::Add => {
                let path = self.new_path(rng);
                let words = self.words();
                self.put(&path, words);
            }
            Deed::Edit => {
                let path = self.any(rng)?;
                let words = self.words();
                self.put(&path, words);
            }
            Deed::Enlarge => {
                let path = self.any(rng)?;
                let words = self.many_words(rng);
                self.put(&path, words);
            }
            Deed::Rename => {
                let path = self.any(rng)?;
                let (folder, old) = path.rsplit_once('/').unwrap();
                let ending = old.rsplit_once('.').unwrap().1;
                let new = format!("{folder}/{}.{ending}", self.name());
                self.rename(&path, &new);
            }
            Deed::Move => {
                let (path, new) = (self.any(rng)?, self.new_path(rng));
                self.rename(&path, &new);
            }
            Deed::Swap => {
                let (one, other) = (self.any(rng)?, self.any(rng)?);
                if one == other {
                    return None;
                }
                let aside = self.new_path(rng);
                self.rename(&one, &aside);
                self.rename(&other, &one);
                self.rename(&aside, &other);
            }
            Deed::Supplant => {
                let (path, new) = (self.any(rng)?, self.new_path(rng));
                self.rename(&path, &new);
                let words = self.words();
                self.put(&path, words);
            }
            Deed::Delete => {
                let path = self.any(rng)?;
                self.undescribe(&path);
                fs::remove_file(self.root.join(&path)).unwrap();
                let words = self.files.remove(&path).unwrap();
                self.deleted.insert(path, words);
            }
            Deed::Restore => {
                let (path, words) = self.any_deleted(rng)?;
                self.put(&path, words);
            }
            Deed::RestoreOther => {
                let (path, _) = self.any_deleted(rng)?;
                let words = self.words();
                self.put(&path, words);
            }
            Deed::Revert => {
                let n = self.earlier.len();
                let path = self.earlier.keys().nth(rng.usize(..n.max(1)))?.clone();
                let words = self.earlier.remove(&path).unwrap();
                if !self.files.contains_key(&path) {
                    return None;
                }
                self.put(&path, words);
            }
            Deed::Touch => {
                let path = self.any(rng)?;
                let file = fs::File::options().append(true).open(self.root.join(path));
                file.unwrap().set_modified(SystemTime::now()).unwrap();
            }
            Deed::Copy => {
                let (path, new) = (self.any(rng)?, self.new_path(rng));
                let words = self.files[&path].clone();
                self.put(&new, words);
            }
            Deed::Describe => {
                let path = self.any(rng)?;
                let entries = match rng.usize(..3) {
                    0 => json!({"mark": rng.u32(..100)}),
                    // It wins over rules and constants.
                    1 => json!({"shelf": 99, "status": "own"}),
                    _ => json!({"tags": ["seen", format!("by {}", rng.u32(..9))], "mark": 1.5}),
                };
                self.describe(&path, &entries.to_string());
            }
            Deed::Undescribe => {
                let n = self.described.len();
                let path = self.described.iter().nth(rng.usize(..n.max(1)))?.clone();
                self.undescribe(&path);
            }
            Deed::Garble => {
                let path = self.any(rng)?;
                self.describe(&path, "{\"mark\": ");
            }
            Deed::Ignore => {
                let path = self.any(rng)?;
                self.ignored.insert(path);
                self.write_ignored();
            }
            Deed::Heed => {
                let n = self.ignored.len();
                let path = self.ignored.iter().nth(rng.usize(..n.max(1)))?.clone();
                self.ignored.remove(&path);
                self.write_ignored();
            }
            Deed::RenameShelf => {
                let path = self.any(rng)?;
                let (old, _) = path.split_once('/').unwrap();
                let (old, new) = (old.to_owned(), format!("shelf {}", 10 + self.made));
                self.made += 1;
                fs::rename(self.root.join(&old), self.root.join(&new)).unwrap();
                let moved = |path: &str| match path.strip_prefix(&format!("{old}/")) {
                    Some(rest) => format!("{new}/{rest}"),
                    None => path.to_owned(),
                };
                let files = std::mem::take(&mut self.files).into_iter();
                self.files = files.map(|(path, words)| (moved(&path), words)).collect();
                self.described = self.described.iter().map(|path| moved(path)).collect();
            }
        }
        Some(())
    }

    /// Sidecars that cannot be used are deleted.
    pub fn mend(&mut self) {
        for path in self.described.clone() {
            let sidecar = fs::read_to_string(self.root.join(format!("{path}{SIDECAR}"))).unwrap();
            if !sidecar.ends_with('}') {
                self.undescribe(&path);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    fn any(&self, rng: &mut Rng) -> Option<String> {
        let n = self.files.len();
        self.files.keys().nth(rng.usize(..n.max(1))).cloned()
    }

    fn any_deleted(&mut self, rng: &mut Rng) -> Option<(String, String)> {
        let n = self.deleted.len();
        let path = self.deleted.keys().nth(rng.usize(..n.max(1)))?.clone();
        let words = self.deleted.remove(&path).unwrap();
        // Its place may have been taken meanwhile.
        (!self.files.contains_key(&path)).then_some((path, words))
    }

    fn name(&mut self) -> String {
        self.made += 1;
        format!("note {}", self.made)
    }

    fn new_path(&mut self, rng: &mut Rng) -> String {
        let (shelf, colour) = (1 + rng.usize(..5), COLOURS[rng.usize(..3)]);
        format!("shelf {shelf}/{colour}/{}.md", self.name())
    }

    fn words(&mut self) -> String {
        self.made += 1;
        format!("words number {}\n", self.made).repeat(1 + self.made % 7)
    }

    fn many_words(&mut self, rng: &mut Rng) -> String {
        let lines = 16_000 + rng.usize(..4_000);
        format!("{}\n", self.words().trim_end()).repeat(lines)
    }

    fn put(&mut self, path: &str, words: String) {
        let file = self.root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, &words).unwrap();
        if let Some(before) = self.files.insert(path.to_owned(), words) {
            self.earlier.insert(path.to_owned(), before);
        }
    }

    /// Its sidecar goes along.
    fn rename(&mut self, old: &str, new: &str) {
        let at = |path: &str| self.root.join(path);
        fs::create_dir_all(at(new).parent().unwrap()).unwrap();
        fs::rename(at(old), at(new)).unwrap();
        let words = self.files.remove(old).unwrap();
        if self.described.remove(old) {
            let sidecar = |path: &str| self.root.join(format!("{path}{SIDECAR}"));
            fs::rename(sidecar(old), sidecar(new)).unwrap();
            self.described.insert(new.to_owned());
        }
        self.files.insert(new.to_owned(), words);
    }

    fn write_ignored(&self) {
        let lines: String = self
            .ignored
            .iter()
            .map(|path| format!("/{path}\n"))
            .collect();
        fs::write(self.root.join(IGNORE), lines).unwrap();
    }

    fn describe(&mut self, path: &str, entries: &str) {
        fs::write(self.root.join(format!("{path}{SIDECAR}")), entries).unwrap();
        self.described.insert(path.to_owned());
    }

    fn undescribe(&mut self, path: &str) {
        if self.described.remove(path) {
            fs::remove_file(self.root.join(format!("{path}{SIDECAR}"))).unwrap();
        }
    }
}
