//! What one call asks for: `--include`, `--exclude`, `--files-from`.
//!
//! Apart from ignore files, which hold always: a filter chooses among what they leave, and brings nothing
//! back. Promises: it can be asked about any path at any time, for the price of matching a few globs, so
//! that what was recorded by an earlier call is held back as well; memory does not grow with the length of
//! a list.

use std::io;
use std::path::Path;

use self::list::List;
use self::path_set::PathSet;
use super::Options;
use crate::error::{Error, Kind};
use crate::globs::{BadGlob, Given, Globs, folders_of};

pub mod list;
mod path_set;

const GIVE_A_GLOB: &str = "give a glob like '*.md' or 'drafts/**'";

#[derive(Debug)]
pub struct Filter {
    globs: Globs,
    listed: Option<Listed>,
}

/// What a list names.
#[derive(Debug)]
struct Listed {
    /// For messages.
    list: List,
    files: PathSet,
    /// Those on the way to the files.
    folders: PathSet,
}

impl Filter {
    /// # Errors
    /// A glob, or a line of the list, makes no sense.
    pub fn new(root: &Path, options: &Options) -> Result<Filter, Error> {
        let list = options.files_from.as_ref();
        Ok(Filter {
            globs: Globs::new(&options.include, &options.exclude).map_err(refused)?,
            listed: list.map(|list| Listed::new(root, list)).transpose()?,
        })
    }

    /// Whether it may leave anything out at all.
    pub fn is_active(&self) -> bool {
        !self.globs.is_empty() || self.listed.is_some()
    }

    /// Whether the file at this path, relative to the root, is asked for.
    pub fn selects(&self, path: &str) -> bool {
        let listed = |listed: &Listed| listed.files.contains(path);
        self.globs.selects(path) && self.listed.as_ref().is_none_or(listed)
    }

    /// Whether no file below this folder is asked for, so that a walk need not enter it.
    pub fn leaves_out_folder(&self, path: &str) -> bool {
        self.globs.leaves_out_folder(path)
            || self
                .listed
                .as_ref()
                .is_some_and(|listed| !listed.folders.contains(path))
    }

    /// A number for each path of the list; `None` if it is not on it, or there is no list.
    pub fn position(&self, path: &str) -> Option<usize> {
        self.listed.as_ref()?.files.position(path)
    }

    /// Asked at the end of what rests on the answers.
    ///
    /// # Errors
    /// The list could not be looked into at some time, so that a path that is on it was not selected.
    pub fn check(&self) -> Result<(), Error> {
        let Some(Listed {
            list,
            files,
            folders,
        }) = &self.listed
        else {
            return Ok(());
        };
        let checked = files.check().and_then(|()| folders.check());
        checked.map_err(|why| list.unkept(why))
    }
}

impl Listed {
    fn new(root: &Path, list: &List) -> Result<Listed, Error> {
        let unkept = |e: io::Error| list.unkept(&e.to_string());
        let mut files = path_set::Builder::new().map_err(unkept)?;
        let mut folders = path_set::Builder::new().map_err(unkept)?;
        // Most lines name a file beside that of the line before.
        let mut folder = String::new();
        list.each_below(root, |path| {
            files.add(path).map_err(unkept)?;
            let (above, _) = path.rsplit_once('/').unwrap_or_default();
            if above != folder {
                above.clone_into(&mut folder);
                for folder in folders_of(path) {
                    folders.add(folder).map_err(unkept)?;
                }
            }
            Ok(())
        })?;
        Ok(Listed {
            list: list.clone(),
            files: files.build().map_err(unkept)?,
            folders: folders.build().map_err(unkept)?,
        })
    }
}

fn refused(bad: BadGlob) -> Error {
    let BadGlob { glob, why } = bad;
    let (what, remedy) = match glob {
        Some(Given::Include(glob)) => (format!("--include {glob}"), GIVE_A_GLOB),
        Some(Given::Exclude(glob)) => (format!("--exclude {glob}"), GIVE_A_GLOB),
        None => (
            "--include/--exclude".to_owned(),
            "give fewer or simpler globs",
        ),
    };
    Error::new(Kind::Usage, what, why, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str], list: Option<&str>) -> Filter {
        let owned = |globs: &[&str]| globs.iter().map(|g| (*g).to_owned()).collect();
        let options = Options {
            include: owned(include),
            exclude: owned(exclude),
            files_from: list.map(|text| List::of(text.as_bytes())),
            ..Options::default()
        };
        Filter::new(Path::new("/root"), &options).unwrap()
    }

    #[test]
    fn an_excluded_folder_excludes_what_is_below_it() {
        for glob in ["drafts", "drafts/", "drafts/**", "/drafts"] {
            let filter = filter(&[], &[glob], None);
            for path in ["drafts/a.md", "drafts/deep/er/a.md"] {
                assert!(!filter.selects(path), "{glob}: {path}");
            }
            assert!(
                filter.selects("a.md") && filter.selects("draftsmen/a.md"),
                "{glob}"
            );
            assert!(filter.leaves_out_folder("drafts/deep"), "{glob}");
            assert!(!filter.leaves_out_folder("other"), "{glob}");
        }
    }

    #[test]
    fn include_selects_only_what_matches_and_exclude_has_the_last_word() {
        let filter = filter(&["*.md", "pdf/**"], &["old.md", "!x.md"], None);
        for path in ["a.md", "sub/a.md", "pdf/a.txt"] {
            assert!(filter.selects(path), "{path}");
        }
        for path in ["a.txt", "old.md", "sub/old.md", "!x.md"] {
            assert!(!filter.selects(path), "{path}");
        }
        assert!(!filter.leaves_out_folder("sub"));
        assert!(filter.is_active() && !self::filter(&[], &[], None).is_active());
    }

    #[test]
    fn a_glob_means_what_is_typed() {
        assert!(filter(&["#a.md", "!b.md"], &[], None).selects("#a.md"));
        assert!(filter(&["#a.md", "!b.md"], &[], None).selects("!b.md"));
        assert!(!filter(&["#a.md", "!b.md"], &[], None).selects("b.md"));
        for glob in ["", "  ", "{a", "[z-a]"] {
            let given = || vec![glob.to_owned()];
            for (flag, include, exclude) in [
                ("--include", given(), vec![]),
                ("--exclude", vec![], given()),
            ] {
                let options = Options {
                    include,
                    exclude,
                    ..Options::default()
                };
                let error = Filter::new(Path::new("/root"), &options).unwrap_err();
                assert_eq!(error.kind, Kind::Usage, "{glob:?}");
                assert_eq!(error.what, format!("{flag} {glob}"));
            }
        }
    }

    #[test]
    fn a_list_selects_what_is_on_it_and_the_folders_on_the_way() {
        let filter = filter(
            &[],
            &["*.txt"],
            Some("a.md\n./sub//deep/b.md\n/root/c.txt\n"),
        );
        assert!(filter.selects("a.md") && filter.selects("sub/deep/b.md"));
        // A folder on the way is not itself on the list.
        for path in ["b.md", "sub", "sub/deep", "c.txt", "a.md/x"] {
            assert!(!filter.selects(path), "{path}");
        }
        assert!(!filter.leaves_out_folder("sub/deep") && filter.leaves_out_folder("other"));
        assert_ne!(filter.position("a.md"), filter.position("sub/deep/b.md"));
    }
}
