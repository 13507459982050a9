//! (tests) A scan against what is known in memory: what it counts, asks and tells.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::mime::Types;
use super::{
    Described, Describer, Error, Filter, Found, Known, KnownFile, LibrarySettings, List, Options,
    Record, SeenFile, Skip,
};
use crate::identity::{ContentKey, Variant};

/// The files of a library, by path, and what describes them.
struct Memory(BTreeMap<String, KnownFile>, Describer);

impl Default for Memory {
    fn default() -> Memory {
        let nothing = LibrarySettings::default();
        Memory(BTreeMap::new(), Describer::new("docs", &nothing).unwrap())
    }
}

/// What a scan told, in order, by path or id.
#[derive(Default)]
struct Told(Vec<(&'static str, String)>);

impl Known for Memory {
    fn file(&self, path: &str) -> Result<Option<KnownFile>, Error> {
        Ok(self.0.get(path).cloned())
    }

    fn extent(&self) -> Result<(u64, i64), Error> {
        Ok((self.0.len() as u64, self.0.len() as i64))
    }

    fn each_present(&self, each: &mut dyn FnMut(i64, &str)) -> Result<(), Error> {
        self.0.iter().for_each(|(path, file)| each(file.id, path));
        Ok(())
    }

    fn describer(&self) -> &Describer {
        &self.1
    }
}

impl Record for Told {
    fn file(&mut self, file: SeenFile) -> Result<(), Error> {
        self.0.push(("file", file.path));
        Ok(())
    }

    fn described(&mut self, _: &KnownFile, path: &str, _: Described) -> Result<(), Error> {
        self.0.push(("described", path.to_owned()));
        Ok(())
    }

    fn skip(&mut self, skip: Skip) -> Result<(), Error> {
        self.0.push((skip.reason.label(), skip.path));
        Ok(())
    }

    fn missing(&mut self, id: i64) -> Result<(), Error> {
        self.0.push(("missing", id.to_string()));
        Ok(())
    }

    fn left_out(&mut self, id: i64) -> Result<(), Error> {
        self.0.push(("left out", id.to_string()));
        Ok(())
    }

    fn unchanged(&mut self, _: &KnownFile, path: &str) -> Result<(), Error> {
        self.0.push(("unchanged", path.to_owned()));
        Ok(())
    }
}

fn scan(
    root: &Path,
    options: &Options,
    known: &Memory,
    stop: &(dyn Fn() -> bool + Sync),
) -> (Result<Found, Error>, Vec<(&'static str, String)>) {
    let mut told = Told::default();
    let found = super::run(root, options, known, &mut told, stop);
    told.0.sort();
    (found, told.0)
}

/// A folder with these files, of yesterday, and all of them known.
fn known(paths: &[&str]) -> (tempfile::TempDir, Memory) {
    let dir = tempfile::tempdir().unwrap();
    let mut memory = Memory::default();
    let types = Types::default();
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    for (id, path) in (1..).zip(paths) {
        let absolute = dir.path().join(path);
        fs::create_dir_all(absolute.parent().unwrap()).unwrap();
        fs::write(&absolute, path).unwrap();
        let file = fs::File::options().append(true).open(&absolute).unwrap();
        file.set_modified(yesterday).unwrap();
        let content = super::rescan(dir.path(), path, &types).unwrap();
        let file = KnownFile {
            id,
            size_bytes: content.size_bytes,
            mtime_ns: content.mtime_ns,
            hashed_ms: content.hashed_ms,
            content: ContentKey {
                sha256: content.sha256,
                variant: Variant::of("docs", &[]),
            },
            mime: content.mime,
            is_unmatched: false,
            present: true,
        };
        memory.0.insert((*path).to_owned(), file);
    }
    (dir, memory)
}

fn told(list: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    list.iter()
        .map(|(what, of)| (*what, (*of).to_owned()))
        .collect()
}

#[test]
fn what_is_not_seen_is_gone_or_left_out_or_not_asked_for() {
    let paths = [
        "a.md", "b.md", "c.md", "d.txt", "sub/e.md", "sub/f.md", "g.md",
    ];
    let (dir, known) = known(&paths);
    fs::remove_file(dir.path().join("b.md")).unwrap();
    fs::write(dir.path().join("c.md"), "").unwrap();
    fs::remove_file(dir.path().join("d.txt")).unwrap();
    fs::write(dir.path().join(".gitignore"), "sub/\n").unwrap();
    fs::remove_file(dir.path().join("sub/f.md")).unwrap();
    fs::remove_file(dir.path().join("g.md")).unwrap();
    fs::create_dir(dir.path().join("g.md")).unwrap();
    let options = Options {
        exclude: vec!["*.txt".to_owned()],
        ..Options::default()
    };
    let (found, seen) = scan(dir.path(), &options, &known, &|| false);
    let found = found.unwrap();
    let marks = [
        ("empty", "c.md"),
        ("left out", "3"),
        ("left out", "5"),
        ("missing", "2"),
        ("missing", "6"),
        ("missing", "7"),
        ("unchanged", "a.md"),
    ];
    assert_eq!(seen, told(&marks));
    assert_eq!((found.missing, found.left_out, found.unchanged), (3, 2, 1));
    assert_eq!(found.skipped_by, BTreeMap::from([("empty", 1)]));
}

#[test]
fn files_that_are_too_large_are_named_a_few_and_counted_all() {
    let (dir, known) = known(&["a.md"]);
    for i in 0..8 {
        let file = fs::File::create(dir.path().join(format!("{i}.bin"))).unwrap();
        file.set_len(super::FILE_BYTES_MAX + 1).unwrap();
    }
    let (found, _) = scan(dir.path(), &Options::default(), &known, &|| false);
    let found = found.unwrap();
    assert_eq!(found.skipped_by["too large"], 8);
    assert_eq!((found.too_large.len(), found.unreadable), (5, 0));
    let list = super::List::of(b"a.md\nnone.md\n");
    let options = Options {
        files_from: Some(list),
        ..Options::default()
    };
    let (found, _) = scan(dir.path(), &options, &known, &|| false);
    assert_eq!(found.unwrap().unreadable, 1);
}

/// A root of links into a disk that is not mounted has lost its files, though the names are all there.
#[test]
fn links_to_nothing_count_as_gone() {
    let (dir, known) = known(&["a.md", "b.md", "c.md"]);
    for name in ["a.md", "b.md"] {
        fs::remove_file(dir.path().join(name)).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join(name)).unwrap();
    }
    let (found, _) = scan(dir.path(), &Options::default(), &known, &|| false);
    assert!(
        found
            .unwrap_err()
            .why
            .contains("2 of 3 known files are gone")
    );
}

#[test]
fn a_scan_that_is_stopped_takes_no_more_files_and_marks_nothing() {
    let (dir, known) = known(&["gone.md"]);
    fs::remove_file(dir.path().join("gone.md")).unwrap();
    // Each takes a good part of a second to read: none may be read to its end.
    for i in 0..100 {
        let file = fs::File::create(dir.path().join(format!("{i}.md"))).unwrap();
        file.set_len(super::FILE_BYTES_MAX).unwrap();
    }
    let asked = AtomicU64::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) >= 300;
    let (found, seen) = scan(dir.path(), &Options::default(), &known, &stop);
    let found = found.unwrap();
    assert!(found.interrupted && found.missing == 0);
    assert_eq!(seen, []);
    assert!(asked.into_inner() < 3_000, "it went on reading");
}

/// Somebody who stops the scan with the first file that is told to be gone.
struct Stops<'s>(&'s AtomicBool, u64);

impl Stops<'_> {
    fn told(&mut self) -> Result<(), Error> {
        self.0.store(true, Ordering::Relaxed);
        self.1 += 1;
        Ok(())
    }
}

impl Record for Stops<'_> {
    fn file(&mut self, _: SeenFile) -> Result<(), Error> {
        Ok(())
    }

    fn described(&mut self, _: &KnownFile, _: &str, _: Described) -> Result<(), Error> {
        Ok(())
    }

    fn skip(&mut self, _: Skip) -> Result<(), Error> {
        self.told()
    }

    fn missing(&mut self, _: i64) -> Result<(), Error> {
        self.told()
    }

    fn left_out(&mut self, _: i64) -> Result<(), Error> {
        self.told()
    }
}

#[test]
fn a_stop_at_the_end_of_a_scan_ends_it_between_two_files() {
    let (dir, known) = known(&["here.md", "a.md", "b.md", "c.md"]);
    for name in ["a.md", "b.md", "c.md"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let whole = Options {
        accept_missing: true,
        ..Options::default()
    };
    let listed = Options {
        files_from: Some(List::of(b"a.md\nb.md\nnever.md\nneither.md\n")),
        ..Options::default()
    };
    for options in [whole, listed] {
        let stopped = AtomicBool::new(false);
        let stop = || stopped.load(Ordering::Relaxed);
        let mut record = Stops(&stopped, 0);
        let found = super::run(dir.path(), &options, &known, &mut record, &stop).unwrap();
        assert!(found.interrupted);
        assert_eq!((record.1, found.missing), (1, 1));
    }
}

#[test]
fn a_bad_ignore_file_at_the_far_end_is_found_before_anything_is_told() {
    let (dir, known) = known(&["a.md", "b.md"]);
    fs::write(dir.path().join("new.md"), "new").unwrap();
    fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
    fs::write(dir.path().join("sub/deep/.gitignore"), "{a\n").unwrap();
    let (found, seen) = scan(dir.path(), &Options::default(), &known, &|| false);
    let what = found.unwrap_err().what;
    assert!(what.ends_with("sub/deep/.gitignore line 1"), "{what}");
    assert_eq!(seen, []);
}

/// A database that is full.
struct Full;

impl Record for Full {
    fn file(&mut self, file: SeenFile) -> Result<(), Error> {
        Err(super::unusable(Path::new(&file.path), "full"))
    }

    fn described(&mut self, _: &KnownFile, _: &str, _: Described) -> Result<(), Error> {
        Ok(())
    }

    fn skip(&mut self, skip: Skip) -> Result<(), Error> {
        Err(super::unusable(Path::new(&skip.path), "full"))
    }

    fn missing(&mut self, _: i64) -> Result<(), Error> {
        Ok(())
    }

    fn left_out(&mut self, _: i64) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn an_error_ends_the_scan_without_reading_what_waits() {
    let (dir, known) = known(&[]);
    for i in 0..100 {
        let file = fs::File::create(dir.path().join(format!("{i}.md"))).unwrap();
        file.set_len(super::FILE_BYTES_MAX).unwrap();
    }
    let blocks = AtomicU64::new(0);
    let count = || {
        blocks.fetch_add(1, Ordering::Relaxed);
        false
    };
    let options = Options::default();
    let found = super::run(dir.path(), &options, &known, &mut Full, &count);
    assert!(found.unwrap_err().why.ends_with("full"));
    // All of them together have 76,300 blocks.
    assert!(blocks.into_inner() < 40_000, "it went on reading");
}

#[test]
fn a_folder_that_no_scan_enters_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for folder in ["kept/deep", "drafts/deep", "build/deep", ".git/deep"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join(".gitignore"), "build/\n").unwrap();
    std::os::unix::fs::symlink("kept", root.join("link")).unwrap();
    let options = Options {
        exclude: vec!["drafts".to_owned()],
        ..Options::default()
    };
    let filter = Filter::new(root, &options).unwrap();
    let out = |folder: &str| super::leaves_out(root, &root.join(folder), &filter).unwrap();
    for folder in [
        "drafts/deep",
        "build",
        "build/deep",
        ".git/deep",
        "link/deep",
        "../beside",
    ] {
        assert!(out(folder), "{folder}");
    }
    for folder in ["kept", "kept/deep", "kept/none"] {
        assert!(!out(folder), "{folder}");
    }
    fs::write(root.join("kept/.objlibignore"), b"\xff\n").unwrap();
    assert!(super::leaves_out(root, &root.join("kept/deep"), &filter).is_err());
}

/// Between the scan and the upload, a file may become a link.
#[test]
fn a_file_that_became_a_link_to_an_ignored_one_is_not_read_again() {
    let (dir, _) = known(&["secret.md", "fine.md"]);
    fs::write(dir.path().join(".objlibignore"), "secret.md\n").unwrap();
    for (name, target) in [("bad.md", "secret.md"), ("good.md", "fine.md")] {
        std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
    }
    let refused = super::rescan(dir.path(), "bad.md", &Types::default()).unwrap_err();
    assert_eq!(refused.detail, "a symlink to a file that is left out");
    assert!(super::rescan(dir.path(), "good.md", &Types::default()).is_ok());
}
