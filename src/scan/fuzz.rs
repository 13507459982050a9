//! Whatever ignore files, globs and lists hold, a walk ends, and gives nothing but files that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use super::walk::{Item, Sidecars, walk};
use super::{Filter, List, Options};
use crate::disk::Root;
use crate::error::Error;
use crate::scan::filter::list::{Meant, meant};

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
fn files(root: &Path, options: &Options) -> Result<BTreeSet<String>, Error> {
    let mut found = BTreeSet::new();
    let filter = Filter::new(root, options)?;
    for item in walk(&Root::open(root).unwrap(), &filter, Sidecars::Some, &|| {
        false
    }) {
        if let Item::File(entry) = item? {
            assert!(root.join(&entry.path).is_file(), "{:?}", entry.path);
            assert!(FILES.contains(&entry.path.as_str()), "{:?}", entry.path);
            assert!(found.insert(entry.path.clone()), "{:?} twice", entry.path);
        }
    }
    Ok(found)
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
        // Or it is refused, with its line.
        let _ = files(dir.path(), &Options::default());
    }

    #[test]
    fn any_globs_are_refused_or_leave_files_out(
        include in vec(glob(), 0..4), exclude in vec(glob(), 0..4),
    ) {
        let dir = folder();
        let options = Options { include, exclude, ..Options::default() };
        let _ = files(dir.path(), &options);
    }

    /// However a file is spelled, it is the file that a walk finds.
    #[test]
    fn any_list_gives_files_under_their_one_name(lines in vec(line(), 0..12)) {
        let dir = folder();
        let text = lines.join("\n");
        let options = Options { files_from: Some(List::of(text.as_bytes())), ..Options::default() };
        // A line that has a line end in it is two lines, and may end in a carriage return.
        let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
        let meant: Vec<Meant> = lines
            .filter(|line| !line.is_empty())
            .map(|line| meant(dir.path(), line))
            .collect();
        let good = !meant.iter().any(|meant| matches!(meant, Meant::Nothing(_)));
        let found = files(dir.path(), &options);
        prop_assert_eq!(found.is_ok(), good);
        let Ok(found) = found else { return Ok(()) };
        for path in FILES {
            let listed = meant.contains(&Meant::Below(path.to_owned()));
            prop_assert_eq!(found.contains(path), listed, "{:?}", path);
        }
    }
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
    assert_eq!(files(dir.path(), &Options::default()).unwrap().len(), 1);
    fs::remove_file(dir.path().join(".objlibignore")).unwrap();
    let include = vec!["*.md".to_owned(), ".hidden.md".to_owned()];
    let options = Options {
        include,
        ..Options::default()
    };
    assert_eq!(files(dir.path(), &options).unwrap().len(), 4);
}
