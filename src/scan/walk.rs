//! A root becomes entries, and skips with their reasons.
//!
//! Hidden names and what `.gitignore` and `.objlibignore` name are left out; folder symlinks are not
//! followed, file symlinks are. Promises: any name, any type of file and any unreadable folder is an
//! item, never an error that ends the walk.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use ignore::overrides::{Override, OverrideBuilder};
use ignore::{DirEntry, WalkBuilder};

use super::{FILE_BYTES_MAX, Options, Skip, SkipReason};
use crate::error::{Error, Kind};

/// Errors that say "a link in a circle"; Rust has no stable name for it yet.
const ELOOP: i32 = 40;

#[derive(Debug)]
pub enum Item {
    File(Entry),
    Skip(Skip),
    /// A folder that could not be read: what is known below it may well be there.
    Unseen(String),
}

#[derive(Debug)]
pub struct Entry {
    pub path: String,
    pub absolute: PathBuf,
    pub size_bytes: u64,
    pub mtime_ns: i64,
}

/// # Errors
/// The root cannot be used, or a glob makes no sense.
pub fn walk(
    root: &Path,
    options: &Options,
) -> Result<Box<dyn Iterator<Item = Item> + Send>, Error> {
    let unusable = |why: String| {
        Error::new(
            Kind::Input,
            root.display().to_string(),
            why,
            "check the path (is the disk mounted?); nothing was marked as missing",
        )
    };
    let metadata = fs::metadata(root).map_err(|e| unusable(format!("cannot be scanned: {e}")))?;
    if !metadata.is_dir() {
        return Err(Error::new(
            Kind::Input,
            root.display().to_string(),
            "this is not a folder",
            "name the folder that it is in",
        ));
    }
    fs::read_dir(root).map_err(|e| unusable(format!("cannot be read: {e}")))?;
    let overrides = overrides(root, options)?;
    let root = root.to_owned();
    if let Some(list) = &options.files_from {
        let list = list.clone();
        let mut seen = HashSet::new();
        return Ok(Box::new(list.into_iter().filter_map(move |given| {
            match relative(&root, &given) {
                // A file that is listed twice is one file.
                Some(path) if !seen.insert(path.clone()) => None,
                Some(path) => Some(look(&root.join(&path), Path::new(&path))),
                None => Some(skip(given, SkipReason::NotAFile, "not below the folder")),
            }
        })));
    }
    let walker = WalkBuilder::new(&root)
        .hidden(true)
        .parents(false)
        .ignore(false)
        .git_ignore(true)
        .git_global(false)
        .git_exclude(false)
        .require_git(false)
        .add_custom_ignore_filename(".objlibignore")
        .follow_links(false)
        .overrides(overrides)
        // To the walker a `!pattern` or an `--include` brings hidden names back; here nothing does.
        .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry))
        .build();
    Ok(Box::new(walker.filter_map(move |entry| match entry {
        Ok(entry) => item(&root, &entry),
        Err(e) => unreadable(&root, &e),
    })))
}

fn overrides(root: &Path, options: &Options) -> Result<Override, Error> {
    let mut builder = OverrideBuilder::new(root);
    let globs = options
        .include
        .iter()
        .map(|glob| ("--include", glob.clone(), glob))
        // The last match wins, so exclusions come last. `!` excludes here.
        .chain(
            options
                .exclude
                .iter()
                .map(|g| ("--exclude", format!("!{g}"), g)),
        );
    for (flag, glob, given) in globs {
        builder.add(&glob).map_err(|e| {
            Error::new(
                Kind::Usage,
                format!("{flag} {given}"),
                e.to_string(),
                "give a glob like '*.md' or 'drafts/**'",
            )
        })?;
    }
    builder.build().map_err(|e| {
        Error::new(
            Kind::Usage,
            "--include/--exclude",
            e.to_string(),
            "give fewer or simpler globs",
        )
    })
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// `None` for folders.
fn item(root: &Path, entry: &DirEntry) -> Option<Item> {
    let relative = entry.path().strip_prefix(root).ok()?;
    if relative.as_os_str().is_empty() || entry.file_type().is_some_and(|t| t.is_dir()) {
        return None;
    }
    Some(look(entry.path(), relative))
}

/// A path of `--files-from` as a walk would give it: relative, and without the `//` and `/./` that
/// would make one file two. `None` if it is not below the root.
pub fn relative(root: &Path, given: &str) -> Option<String> {
    let path = Path::new(given);
    let path = match path.is_absolute() {
        true => path.strip_prefix(root).ok()?,
        false => path,
    };
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!names.is_empty()).then(|| names.join("/"))
}

fn look(absolute: &Path, relative: &Path) -> Item {
    let Some(path) = relative.to_str() else {
        let lossy = relative.to_string_lossy().into_owned();
        return skip(lossy, SkipReason::NotUtf8, "rename it");
    };
    let path = path.to_owned();
    // Follows a symlink to a file.
    let metadata = match fs::metadata(absolute) {
        Ok(metadata) => metadata,
        Err(e) => {
            let link = fs::symlink_metadata(absolute).is_ok_and(|m| m.is_symlink());
            let reason = match (link, e.raw_os_error()) {
                (true, Some(ELOOP)) => SkipReason::SymlinkLoop,
                (true, _) if e.kind() == io::ErrorKind::NotFound => SkipReason::DanglingSymlink,
                _ => SkipReason::Unreadable,
            };
            return skip(path, reason, &e.to_string());
        }
    };
    if metadata.is_dir() {
        return skip(
            path,
            SkipReason::NotAFile,
            "a symlink to a folder is not followed",
        );
    }
    if !metadata.is_file() {
        return skip(path, SkipReason::NotAFile, "a pipe, socket or device");
    }
    match metadata.len() {
        0 => skip(path, SkipReason::Empty, "0 bytes"),
        n if n > FILE_BYTES_MAX => {
            let detail = format!("{n} bytes; the service takes {FILE_BYTES_MAX}");
            skip(path, SkipReason::TooLarge, &detail)
        }
        size_bytes => Item::File(Entry {
            path,
            absolute: absolute.to_owned(),
            size_bytes,
            mtime_ns: mtime_ns(&metadata),
        }),
    }
}

pub fn mtime_ns(metadata: &fs::Metadata) -> i64 {
    metadata
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(metadata.mtime_nsec())
}

fn skip(path: String, reason: SkipReason, detail: &str) -> Item {
    Item::Skip(Skip {
        path,
        reason,
        detail: detail.to_owned(),
    })
}

/// An error of the walk: a folder that cannot be read, or an ignore file that makes no sense.
fn unreadable(root: &Path, error: &ignore::Error) -> Option<Item> {
    let relative = path_of(error)?.strip_prefix(root).ok()?;
    Some(Item::Unseen(relative.to_string_lossy().into_owned()))
}

fn path_of(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            path_of(err)
        }
        ignore::Error::Loop { child, .. } => Some(child),
        ignore::Error::Partial(errors) => errors.iter().find_map(path_of),
        _ => None,
    }
}
