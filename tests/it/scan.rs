use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::run::{Place, RunToEnd};

/// `scan docs`, and its one event as (files, new, changed, missing, unchanged, skipped).
#[track_caller]
fn scan(place: &Place, args: &[&str]) -> [u64; 6] {
    let seen = place
        .objlib(&["scan", "docs", "--json"])
        .args(args)
        .seen()
        .exit(0);
    found(&seen.events()[0])
}

fn found(event: &Value) -> [u64; 6] {
    assert_eq!(event["event"], "scan_done");
    ["files", "new", "changed", "missing", "unchanged", "skipped"]
        .map(|f| event[f].as_u64().unwrap())
}

fn query(place: &Place, sql: &str) -> BTreeMap<String, String> {
    let db = rusqlite::Connection::open(place.db()).unwrap();
    let mut rows = db.prepare(sql).unwrap();
    let rows = rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn skipped(place: &Place) -> BTreeMap<String, String> {
    query(place, "SELECT path, reason FROM skipped_files")
}

fn states(place: &Place) -> BTreeMap<String, String> {
    query(place, "SELECT path, state FROM files")
}

fn set_mtime(place: &Place, path: &str, back: Duration) {
    let file = fs::File::options()
        .append(true)
        .open(place.docs().join(path))
        .unwrap();
    file.set_modified(SystemTime::now() - back).unwrap();
}

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn new_changed_unchanged_missing_and_back_again() {
    let place = Place::new();
    place.files(8);
    assert_eq!(scan(&place, &[]), [8, 8, 0, 0, 0, 0]);
    assert_eq!(scan(&place, &[]), [8, 0, 0, 0, 8, 0]);
    place.file("part 0/note-0.md", "other words");
    fs::rename(place.docs().join("part 1"), place.path().join("away")).unwrap();
    place.file("new.md", "words");
    assert_eq!(scan(&place, &[]), [8, 1, 1, 1, 6, 0]);
    assert_eq!(states(&place)["part 1/note-1.md"], "missing");
    fs::rename(place.path().join("away"), place.docs().join("part 1")).unwrap();
    assert_eq!(scan(&place, &[]), [9, 0, 0, 0, 9, 0]);
    assert_eq!(states(&place)["part 1/note-1.md"], "present");
}

#[test]
fn a_touched_file_is_unchanged_and_rehash_sees_what_size_and_time_hide() {
    let place = Place::new();
    place.file("a.txt", "first").file("b.txt", "other");
    set_mtime(&place, "a.txt", DAY);
    set_mtime(&place, "b.txt", DAY);
    scan(&place, &[]);
    set_mtime(&place, "a.txt", DAY * 2);
    assert_eq!(scan(&place, &[]), [2, 0, 0, 0, 2, 0]);
    // The same size, and the time put back: only reading it tells.
    let before = fs::metadata(place.docs().join("b.txt"))
        .unwrap()
        .modified()
        .unwrap();
    place.file("b.txt", "OTHER");
    let file = fs::File::options()
        .append(true)
        .open(place.docs().join("b.txt"))
        .unwrap();
    file.set_modified(before).unwrap();
    assert_eq!(scan(&place, &[]), [2, 0, 0, 0, 2, 0]);
    assert_eq!(scan(&place, &["--rehash"]), [2, 0, 1, 0, 1, 0]);
}

#[test]
fn a_file_that_changes_within_the_clock_tick_of_its_reading_is_read_again() {
    let place = Place::new();
    place.file("racy.txt", "one");
    let at = fs::metadata(place.docs().join("racy.txt"))
        .unwrap()
        .modified()
        .unwrap();
    scan(&place, &[]);
    // Same size, same time: what a write right after the reading looks like.
    place.file("racy.txt", "two");
    let file = fs::File::options()
        .append(true)
        .open(place.docs().join("racy.txt"))
        .unwrap();
    file.set_modified(at).unwrap();
    assert_eq!(scan(&place, &[]), [1, 0, 1, 0, 0, 0]);
}

#[test]
fn what_is_left_out_and_what_is_skipped_with_a_reason() {
    let place = Place::new();
    place
        .file("kept.md", "words")
        .file(".hidden.md", "words")
        .file(".git/config", "words")
        .file(".gitignore", "build/\n*.log\n")
        .file("build/out.md", "words")
        .file("run.log", "words")
        .file("sub/.objlibignore", "private.md\n")
        .file("sub/private.md", "words")
        .file("sub/public.md", "words")
        .file("empty.md", "")
        .file("picture.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF")
        .file("two\nlines \u{1F41F}.md", "words");
    fs::File::create(place.docs().join("huge.txt"))
        .unwrap()
        .set_len(100_000_001)
        .unwrap();
    fs::write(
        place.docs().join(OsStr::from_bytes(b"not-\xff-utf8.md")),
        "words",
    )
    .unwrap();
    symlink("nowhere", place.docs().join("dangling.md")).unwrap();
    symlink("loop-b", place.docs().join("loop-a")).unwrap();
    symlink("loop-a", place.docs().join("loop-b")).unwrap();
    symlink("..", place.docs().join("sub/up")).unwrap();
    symlink("kept.md", place.docs().join("link.md")).unwrap();
    let pipe = Command::new("mkfifo")
        .arg(place.docs().join("pipe"))
        .status();
    assert!(pipe.unwrap().success());

    let [files, .., skips] = scan(&place, &[]);
    let kept: Vec<String> = states(&place).into_keys().collect();
    assert_eq!(
        kept,
        [
            "kept.md",
            "link.md",
            "sub/public.md",
            "two\nlines \u{1F41F}.md"
        ]
    );
    let reasons: Vec<(String, String)> = skipped(&place).into_iter().collect();
    let reasons: Vec<(&str, &str)> = reasons
        .iter()
        .map(|(p, r)| (p.as_str(), r.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            ("dangling.md", "dangling symlink"),
            ("empty.md", "empty"),
            ("huge.txt", "too large"),
            ("loop-a", "symlink loop"),
            ("loop-b", "symlink loop"),
            ("not-\u{fffd}-utf8.md", "name is not UTF-8"),
            ("picture.jpg", "unsupported type"),
            ("pipe", "not a file"),
            ("sub/up", "not a file"),
        ]
    );
    assert_eq!((files, skips), (4, 9));
}

#[test]
fn include_exclude_and_files_from_choose_and_mark_nothing_missing() {
    let place = Place::new();
    place
        .file("a.md", "a")
        .file("b.txt", "b")
        .file("sub/c.md", "c");
    assert_eq!(scan(&place, &[])[0], 3);
    assert_eq!(scan(&place, &["--include", "*.md"]), [2, 0, 0, 0, 2, 0]);
    assert_eq!(scan(&place, &["--exclude", "sub/**"]), [2, 0, 0, 0, 2, 0]);
    place.file("list", "a.md\nnew.md\n").file("new.md", "new");
    let [files, new, _, missing, ..] = scan(&place, &["--files-from", "docs/list"]);
    assert_eq!((files, new, missing), (2, 1, 0));
}

#[test]
fn the_same_name_in_two_unicode_forms_is_one_file_and_a_skip() {
    let place = Place::new();
    place
        .file("u\u{308}ber.md", "decomposed")
        .file("\u{fc}ber.md", "composed");
    let [files, .., skips] = scan(&place, &[]);
    assert_eq!((files, skips), (1, 1));
    assert_eq!(
        skipped(&place).into_values().collect::<Vec<_>>(),
        ["same name as another file"]
    );
    // And it stays the same one.
    assert_eq!(scan(&place, &[]), [1, 0, 0, 0, 1, 1]);
}

#[test]
fn what_cannot_be_read_is_a_skip_and_no_deletion() {
    let place = Place::new();
    place.files(14);
    let root = fs::metadata(place.path()).unwrap().uid() == 0;
    let scan_as_nobody = |exit: i32| {
        let mut command = place.objlib(&["scan", "docs", "--json"]);
        if root {
            command.uid(65_534).gid(65_534);
        }
        found(&command.seen().exit(exit).events()[0])
    };
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(scan_as_nobody(0)[0], 14);
    let file = place.docs().join("part 0/note-0.md");
    let folder = place.docs().join("part 1");
    for path in [&file, &folder] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    place.file("part 0/note-0.md", "");
    fs::write(&file, "other words").unwrap();
    // What could not be read is as bad as what failed.
    let [_, _, _, missing, _, skips] = scan_as_nobody(3);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!((missing, skips), (0, 2));
    assert!(states(&place).values().all(|state| state == "present"));
    let reasons = skipped(&place);
    assert_eq!(reasons["part 0/note-0.md"], "unreadable");
    assert_eq!(reasons["part 1"], "unreadable");
}

#[test]
fn a_list_from_windows_begins_with_its_first_path() {
    let place = Place::new();
    place.file("a.md", "words").file("b.md", "words");
    let list = place.path().join("list.txt");
    fs::write(&list, "\u{feff}a.md\r\nb.md\r\n").unwrap();
    assert_eq!(scan(&place, &["--files-from", "list.txt"])[0], 2);
}

#[test]
fn an_explanation_says_what_is_never_sent_and_why() {
    let place = Place::new();
    place.file("sub/a.log", "words").file("sub/b.md", "words");
    place.file("sub/.objlibignore", "*.md\n!b.md\n*.log\n");
    let explained = |path: &str, more: &[&str]| {
        let mut command = place.objlib(&["scan", "docs", "--explain", path]);
        command.args(more).seen().exit(0).stdout
    };
    let said = "  left out, not sent: the line `*.log` of sub/.objlibignore\n";
    assert!(explained("sub/a.log", &[]).contains(said));
    assert!(!explained("sub/b.md", &[]).contains("left out"));
    assert!(explained("sub/.x", &[]).contains("`sub/.x` is hidden"));
    let excluded = explained("sub/b.md", &["--exclude", "sub/**"]);
    assert!(
        excluded.contains("left out, not sent: the filters of this call"),
        "{excluded}"
    );
    let json = explained("sub/a.log", &["--json"]);
    assert!(json.contains(r#""left_out":"the line `*.log`"#), "{json}");
}
