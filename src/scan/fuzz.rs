//! Whatever ignore files, globs and lists hold, a walk ends, and gives nothing but files that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use super::Options;
use super::walk::{Item, relative, walk};

const FILES: [&str; 5] = ["a.md", "b.txt", "sub/a.md", "sub/deep/c.md", "sub dir/d.md"];

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in FILES {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "words").unwrap();
    }
    dir
}

/// The files of a walk; every one of them is there and none comes twice.
fn files(root: &Path, options: &Options) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Ok(items) = walk(root, options) else {
        return found;
    };
    for item in items {
        if let Item::File(entry) = item {
            assert!(root.join(&entry.path).is_file(), "{:?}", entry.path);
            assert!(FILES.contains(&entry.path.as_str()), "{:?}", entry.path);
            assert!(found.insert(entry.path.clone()), "{:?} twice", entry.path);
        }
    }
    found
}

/// Text that a glob parser has to think about.
fn glob() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-d*?\\[\\]{},!\\\\/. -]{0,20}",
        1 => "(?s).{0,20}",
        1 => (1usize..300, proptest::sample::select(&["{", "[", "*", "**/", "{a,", "\\", "[!", "?"][..]))
            .prop_map(|(n, text)| text.repeat(n)),
    ]
}

fn ignore_file() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => vec(glob(), 0..8).prop_map(|lines| lines.join("\n").into_bytes()),
        1 => vec(any::<u8>(), 0..400),
        1 => (1usize..20_000, any::<u8>()).prop_map(|(n, byte)| vec![byte; n]),
    ]
}

/// Spellings of paths, of files that are there and of others.
fn line() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => proptest::sample::select(&["a.md", "b.txt", "sub", "deep", "c.md", "sub dir"][..])
            .prop_map(str::to_owned),
        2 => proptest::sample::select(&["", ".", "..", "~", "\0", " "][..]).prop_map(str::to_owned),
        1 => "(?s).{0,8}",
        1 => (1usize..6000).prop_map(|n| "n".repeat(n)),
    ];
    vec(part, 0..5).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_ignore_file_only_leaves_files_out(
        git in ignore_file(), own in ignore_file(), below in ignore_file(),
    ) {
        let dir = folder();
        fs::write(dir.path().join(".gitignore"), git).unwrap();
        fs::write(dir.path().join(".objlibignore"), own).unwrap();
        fs::write(dir.path().join("sub/.objlibignore"), below).unwrap();
        files(dir.path(), &Options::default());
    }

    #[test]
    fn any_globs_are_refused_or_leave_files_out(
        include in vec(glob(), 0..4), exclude in vec(glob(), 0..4),
    ) {
        let dir = folder();
        let options = Options { include, exclude, ..Options::default() };
        files(dir.path(), &options);
    }

    /// However a file is spelled, it is the file that a walk finds.
    #[test]
    fn any_list_gives_files_under_their_one_name(lines in vec(line(), 0..12)) {
        let dir = folder();
        let options = Options { files_from: Some(lines.clone()), ..Options::default() };
        let found = files(dir.path(), &options);
        for path in lines.iter().filter_map(|line| relative(dir.path(), line)) {
            let there = FILES.contains(&path.as_str());
            prop_assert_eq!(found.contains(&path), there, "{:?}", path);
        }
    }
}

#[test]
fn an_ignore_file_that_is_a_folder_or_a_dangling_link_leaves_nothing_out() {
    let dir = folder();
    fs::create_dir(dir.path().join(".gitignore")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join(".objlibignore")).unwrap();
    assert_eq!(files(dir.path(), &Options::default()).len(), FILES.len());
}

#[test]
fn nothing_brings_hidden_files_back() {
    let dir = folder();
    fs::write(
        dir.path().join(".objlibignore"),
        "*\n!.objlibignore\n!a.md\n",
    )
    .unwrap();
    fs::write(dir.path().join(".hidden.md"), "words").unwrap();
    assert_eq!(files(dir.path(), &Options::default()).len(), 1);
    fs::remove_file(dir.path().join(".objlibignore")).unwrap();
    let include = vec!["*.md".to_owned(), ".hidden.md".to_owned()];
    let options = Options {
        include,
        ..Options::default()
    };
    assert_eq!(files(dir.path(), &options).len(), 4);
}
