//! What is read from disk, and what is not: ignore files that make no sense, links, lists, filters.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::run::{KEY, Place, RunToEnd, Seen, Service};

/// `scan docs`, killed if it waits for something that never comes; `timeout` then exits with 137.
fn scan(place: &Place, args: &[&str]) -> Seen {
    guarded(&mut place.objlib(&["scan", "docs", "--json"]), args)
}

fn guarded(objlib: &mut Command, args: &[&str]) -> Seen {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "60"]);
    command
        .arg(objlib.get_program())
        .args(objlib.get_args())
        .args(args);
    for (name, value) in objlib.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(objlib.get_current_dir().unwrap());
    command.stdin(std::process::Stdio::null()).seen()
}

/// Each column of a table by its first.
fn rows(place: &Place, sql: &str) -> BTreeMap<String, String> {
    let db = rusqlite::Connection::open(place.db()).unwrap();
    let mut rows = db.prepare(sql).unwrap();
    let rows = rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn states(place: &Place) -> BTreeMap<String, String> {
    rows(place, "SELECT path, state FROM files")
}

/// Paths of all present files.
fn present(place: &Place) -> Vec<String> {
    let present = states(place).into_iter().filter(|(_, s)| s == "present");
    present.map(|(path, _)| path).collect()
}

fn skipped(place: &Place) -> BTreeMap<String, String> {
    rows(
        place,
        "SELECT path, reason || ': ' || detail FROM skipped_files",
    )
}

/// One line on stderr, that begins with the path of the ignore file below `docs` and then this.
#[track_caller]
fn refuses(place: &Place, seen: Seen, ignore_file: &str, why: &str) {
    let seen = seen.exit(1);
    let path = fs::canonicalize(place.docs()).unwrap().join(ignore_file);
    let line = format!("{}{why}", path.display());
    let told = seen.stderr.lines().any(|l| l.contains(&line));
    assert!(told, "not told: {line}\n--- stderr\n{}", seen.stderr);
}

#[test]
fn an_ignore_file_that_makes_no_sense_is_an_error_with_its_line_and_marks_nothing() {
    let bad: [(&[u8], &str); 5] = [
        (b"*.log\ncaf\xe9.md\n", " line 2: not UTF-8"),
        (b"\xff\xfes\0e\0c\0", " line 1: written as UTF-16"),
        (b"*.log\ns\0e\0c\0\n", " line 2: holds a NUL byte"),
        (b"# fine\n\n{a,b\n", " line 3: error parsing glob '{a,b'"),
        (
            &[b'#'; 2 << 20],
            ": too large for an ignore file: 2097152 bytes",
        ),
    ];
    for name in [".gitignore", ".objlibignore", "sub/.objlibignore"] {
        let place = Place::new();
        place.files(7).file("sub/a.md", "a").file("sub/b.md", "b");
        scan(&place, &[]).exit(0);
        let before = states(&place);
        fs::remove_file(place.docs().join("sub/a.md")).unwrap();
        place.file("sub/new.md", "words");
        for (bytes, why) in bad {
            place.file(name, bytes);
            refuses(&place, scan(&place, &[]), name, why);
            assert_eq!(states(&place), before, "{name}{why}");
        }
        // A folder that is not walked is not asked for its rules.
        let left_out = scan(&place, &["--exclude", "sub"]);
        assert_eq!(left_out.exit, Some(i32::from(!name.starts_with("sub"))));
    }
}

#[test]
fn what_is_no_file_is_no_ignore_file_and_is_not_waited_for() {
    for name in [".gitignore", ".objlibignore"] {
        for kind in [
            "pipe",
            "socket",
            "device",
            "folder",
            "dangling",
            "link to a pipe",
        ] {
            let place = Place::new();
            place.file("a.md", "a");
            let path = place.docs().join(name);
            let pipe = |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            let why = match kind {
                "pipe" => {
                    pipe(&path);
                    ": a pipe, socket or device, "
                }
                "socket" => {
                    UnixListener::bind(&path).unwrap();
                    ": a pipe, socket or device, "
                }
                "device" => {
                    symlink("/dev/zero", &path).unwrap();
                    ": a pipe, socket or device, "
                }
                "folder" => {
                    fs::create_dir(&path).unwrap();
                    ": a folder, not an ignore file"
                }
                "dangling" => {
                    symlink("nowhere", &path).unwrap();
                    ": a symlink to nothing"
                }
                _ => {
                    pipe(&place.path().join("pipe"));
                    symlink("../pipe", &path).unwrap();
                    ": a pipe, socket or device, "
                }
            };
            refuses(&place, scan(&place, &[]), name, why);
            assert_eq!(states(&place), BTreeMap::new(), "{kind}");
        }
    }
}

#[test]
fn an_ignore_file_that_may_not_be_read_is_an_error() {
    let place = Place::new();
    place.file("a.md", "a").file(".gitignore", "secret.md\n");
    let mode = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(place.path().to_owned(), 0o777);
    mode(place.docs().join(".gitignore"), 0o000);
    let mut command = place.objlib(&["scan", "docs", "--json"]);
    // To the superuser, who may run this test, no mode is unreadable.
    if fs::metadata(place.path()).unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    let seen = command.seen();
    refuses(
        &place,
        seen,
        ".gitignore",
        ": cannot be read: Permission denied",
    );
}

#[test]
fn an_ignore_file_may_begin_with_a_mark_and_end_lines_as_on_windows() {
    let place = Place::new();
    place.file(".gitignore", "\u{feff}secret.md\r\nbüro/\r\n");
    place
        .file("secret.md", "s")
        .file("büro/a.md", "a")
        .file("b.md", "b");
    scan(&place, &[]).exit(0);
    assert_eq!(present(&place), ["b.md"]);
}

#[test]
fn no_filter_brings_back_what_is_ignored_or_hidden() {
    let place = Place::new();
    place
        .file(".objlibignore", "secret.md\n/private/\n")
        .file("secret.md", "s")
        .file("private/a.md", "a")
        .file(".hidden.md", "h")
        .file("sub/.git/b.md", "b")
        .file("c.md", "c")
        .file("d.txt", "d");
    let globs = [
        "*.md",
        "secret.md",
        "private/**",
        ".hidden.md",
        "**/.git/**",
    ];
    for glob in globs {
        let _ = scan(&place, &["--include", glob, "--accept-missing"]).exit(0);
    }
    assert_eq!(present(&place), ["c.md"]);
    fs::write(
        place.path().join("list"),
        "secret.md\nprivate/a.md\n.hidden.md\nsub/.git/b.md\nc.md\nd.txt\n",
    )
    .unwrap();
    scan(&place, &["--files-from", "list"]).exit(0);
    assert_eq!(present(&place), ["c.md", "d.txt"]);
    assert_eq!(skipped(&place), BTreeMap::new());
}

#[test]
fn a_filter_marks_nothing_and_an_ignore_file_does() {
    let place = Place::new();
    for path in ["a.md", "b.txt", "drafts/c.md", "drafts/d.md"] {
        place.file(path, path);
    }
    scan(&place, &[]).exit(0);
    let all = present(&place);
    // One file is gone, and so is a file that nobody asks about.
    fs::remove_file(place.docs().join("drafts/d.md")).unwrap();
    for filter in [["--exclude", "drafts"], ["--include", "*.txt"]] {
        let found = scan(&place, &filter).exit(0).events().remove(0);
        assert_eq!(found["missing"], 0, "{filter:?}");
        assert_eq!(present(&place), all, "{filter:?}");
    }
    place.file(".gitignore", "a.md\ndrafts/\n");
    let found = scan(&place, &[]).exit(0).events().remove(0);
    // Half is left out and a quarter gone: only what is gone counts against the root.
    assert_eq!((&found["files"], &found["missing"]), (&1.into(), &1.into()));
    assert_eq!(present(&place), ["b.txt"]);
}

#[test]
fn a_root_whose_files_are_all_ignored_now_is_no_mistake_and_one_that_lost_them_is() {
    let place = Place::new();
    place.files(8).file(".objlibignore", "");
    scan(&place, &[]).exit(0);
    fs::rename(place.docs().join("part 0"), place.path().join("away")).unwrap();
    place.file(".objlibignore", "*\n");
    scan(&place, &[]).exit(0);
    assert_eq!(present(&place).len(), 0);
    let place = Place::new();
    place.files(8);
    scan(&place, &[]).exit(0);
    let away = place.path().join("away");
    fs::rename(place.docs(), &away).unwrap();
    fs::create_dir(place.docs()).unwrap();
    fs::rename(away.join("part 1"), place.docs().join("part 1")).unwrap();
    let seen = scan(&place, &[]).exit(1);
    assert!(
        seen.stderr.contains("7 of 8 known files are gone"),
        "{}",
        seen.stderr
    );
    assert_eq!(present(&place).len(), 8);
}

#[test]
fn a_link_to_a_hidden_or_ignored_file_is_what_its_target_is() {
    let place = Place::new();
    place
        .file(".gitignore", "secret.md\nprivate/\n")
        .file(".env", "KEY=1")
        .file("secret.md", "s")
        .file("private/a.md", "a")
        .file("fine.md", "f");
    for (path, text) in [("beside/.ssh/key", "k"), ("beside/plain.md", "p")] {
        let path = place.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let links = [
        ("to-env.md", ".env"),
        ("to-secret.md", "secret.md"),
        ("to-private.md", "private/a.md"),
        ("to-link.md", "to-secret.md"),
        ("to-key.md", "../beside/.ssh/key"),
        ("to-fine.md", "fine.md"),
        ("to-plain.md", "../beside/plain.md"),
    ];
    for (name, target) in links {
        symlink(target, place.docs().join(name)).unwrap();
    }
    let wanted = ["fine.md", "to-fine.md", "to-plain.md"];
    scan(&place, &[]).exit(0);
    assert_eq!(present(&place), wanted);
    assert_eq!(skipped(&place), BTreeMap::new());
    // Naming them does not help.
    let list: String = links.iter().map(|(name, _)| format!("{name}\n")).collect();
    fs::write(place.path().join("list"), list).unwrap();
    scan(&place, &["--files-from", "list"]).exit(0);
    assert_eq!(present(&place), wanted);
}

#[test]
fn a_list_does_not_lead_through_a_link_and_names_what_is_not_there() {
    let place = Place::new();
    place
        .file("a.md", "a")
        .file("sub/b.md", "b")
        .file("c.md", "c");
    let beside = place.path().join("beside");
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("secret.md"), "s").unwrap();
    symlink("../beside", place.docs().join("out")).unwrap();
    symlink("sub", place.docs().join("in")).unwrap();
    scan(&place, &["--exclude", "a.md"]).exit(0);
    assert_eq!(present(&place), ["c.md", "sub/b.md"]);
    fs::remove_file(place.docs().join("c.md")).unwrap();
    let docs = fs::canonicalize(place.docs()).unwrap();
    let list = format!(
        "./a.md\n\nout/secret.md\nin/b.md\nsub\nnone.md\nnone.md\nc.md\n{}/sub//b.md\n",
        docs.display()
    );
    fs::write(place.path().join("list"), list).unwrap();
    // Two of the lines name what could not be read.
    let found = scan(&place, &["--files-from", "list"])
        .exit(3)
        .events()
        .remove(0);
    assert_eq!((&found["files"], &found["missing"]), (&2.into(), &1.into()));
    assert_eq!(present(&place), ["a.md", "sub/b.md"]);
    let skipped = skipped(&place);
    let skipped: Vec<(&str, &str)> = skipped.iter().map(|(p, r)| (&**p, &**r)).collect();
    // What the first call met and this list leaves out is as it was.
    assert_eq!(
        skipped,
        [
            ("in", "not a file: a folder, or a link to one"),
            ("in/b.md", "not a file: leads through a symlink"),
            ("none.md", "unreadable: there is no such file"),
            ("out", "not a file: a folder, or a link to one"),
            ("out/secret.md", "not a file: leads through a symlink"),
            ("sub", "unreadable: there is no such file"),
        ]
    );
}

#[test]
fn a_line_that_cannot_be_meant_is_named_with_its_number_and_nothing_is_recorded() {
    let place = Place::new();
    place.file("a.md", "a");
    fs::create_dir(place.path().join("more")).unwrap();
    fs::write(place.path().join("more/b.md"), "b").unwrap();
    let more = fs::canonicalize(place.path().join("more")).unwrap();
    for (text, why) in [
        (
            "a.md\n../more/b.md\n".to_owned(),
            "list line 2: `../more/b.md` has a `..` in it",
        ),
        (
            "a.md\0b.md\0".to_owned(),
            "list line 1: `a.md\\u{0}b.md\\u{0}` holds a NUL byte",
        ),
        (
            format!("a.md\n\n{}/b.md\n", more.display()),
            "list line 3: `",
        ),
        ("x".repeat(70_000), "list line 1: is far too long"),
    ] {
        fs::write(place.path().join("list"), text).unwrap();
        let seen = scan(&place, &["--files-from", "list"]).exit(1);
        assert!(seen.stderr.contains(why), "{why}\n{}", seen.stderr);
        assert_eq!(states(&place), BTreeMap::new());
    }
    // Of two folders, a line may belong to either; the relative one is there in the first only.
    fs::write(
        place.path().join("list"),
        format!("a.md\n{}/b.md\n", more.display()),
    )
    .unwrap();
    let mut both = place.objlib(&["scan", "docs", "more", "--files-from", "list"]);
    both.seen().exit(3);
    assert_eq!(present(&place), ["a.md", "b.md"]);
}

/// The swap is made by whoever may write to the folder, after the scan and before the upload.
#[test]
fn a_folder_swapped_for_a_link_after_the_scan_sends_nothing_of_what_is_behind_it() {
    let place = Place::new();
    place
        .file("sub/note.md", "words")
        .file("other.md", "more words");
    let service = Service::start(&place, &[]);
    scan(&place, &[]).exit(0);
    let beside = place.path().join("beside");
    fs::rename(place.docs().join("sub"), &beside).unwrap();
    symlink(&beside, place.docs().join("sub")).unwrap();
    // The same bytes in one run, others in the next.
    for text in ["words", "a secret of the same name"] {
        fs::write(beside.join("note.md"), text).unwrap();
        let mut upload = place.objlib(&["upload", "--json", "--rpm", "0"]);
        upload.args(["--endpoint", &service.url]);
        upload.env("GEMINI_API_KEY", KEY).seen();
        let ledger = service.ledger();
        let documents = ledger.0["documents"].as_array().unwrap();
        let paths: Vec<&str> = documents
            .iter()
            .map(|d| d["objlibPath"].as_str().unwrap())
            .collect();
        assert_eq!(paths, ["other.md"]);
        assert_eq!(ledger.body_bytes(), "more words".len() as u64);
    }
}
