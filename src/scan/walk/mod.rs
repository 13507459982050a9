//! A root becomes entries, and skips with their reasons.
//!
//! Hidden names and what `.gitignore` and `.objlibignore` name are left out, always; then what the filter
//! does not select. Folder symlinks are not followed, file symlinks are. One folder is open at a time:
//! the folders in it are visited after it, so that no depth uses up descriptors.
//! Promises: any name, any type of file and any unreadable folder is an item, never an error that ends
//! the walk; but an ignore file that cannot be understood is one. Nothing outside of the root is read but
//! what a symlink to a plain file names.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Dir, FileType};

use self::rules::Ruled;
use super::{FILE_BYTES_MAX, Filter, Skip, SkipReason};
use crate::disk::{self, Refusal, Root};
use crate::error::Error;
use crate::metadata::SIDECAR_SUFFIX;

pub mod rules;

#[derive(Debug)]
pub enum Item {
    File(WalkedFile),
    Skip(Skip),
    /// A folder that could not be read: what is known below it may well be there.
    Unseen(String),
}

#[derive(Debug)]
pub struct WalkedFile {
    pub path: String,
    pub size_bytes: u64,
    pub mtime_ns: i64,
    /// There is a sidecar beside it, at least as a name.
    pub has_sidecar: bool,
}

pub struct Walk<'a> {
    root: &'a Root,
    filter: &'a Filter,
    /// Asked for each name; once it says yes, the walk ends.
    stop: &'a (dyn Fn() -> bool + Sync),
    /// Still to be visited, with what rules their names.
    folders: Vec<(PathBuf, Ruled)>,
    reading: Option<Reading>,
    /// No name is an item; only ignore files are read.
    rules_only: bool,
    sidecars: Sidecars,
}

/// Whether there is a sidecar anywhere below the root. Only then is it worth a look beside each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sidecars {
    None,
    Some,
}

/// The folder that is open.
struct Reading {
    names: Dir,
    path: PathBuf,
    ruled: Ruled,
}

pub fn walk<'a>(
    root: &'a Root,
    filter: &'a Filter,
    sidecars: Sidecars,
    stop: &'a (dyn Fn() -> bool + Sync),
) -> Walk<'a> {
    Walk {
        root,
        filter,
        stop,
        folders: vec![(PathBuf::new(), None)],
        reading: None,
        rules_only: false,
        sidecars,
    }
}

/// Reads every ignore file that a walk will obey. Done before it, so that one that cannot be understood is
/// found while nothing has been recorded yet; names alone are cheap to read. Answers whether one of them is a
/// sidecar's.
pub fn check(
    root: &Root,
    filter: &Filter,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Sidecars, Error> {
    let mut folders = Walk {
        rules_only: true,
        ..walk(root, filter, Sidecars::None, stop)
    };
    folders.try_for_each(|item| item.map(drop))?;
    Ok(folders.sidecars)
}

impl Iterator for Walk<'_> {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Result<Item, Error>> {
        let item = self.find().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.folders.clear();
            self.reading = None;
        }
        item
    }
}

impl Walk<'_> {
    fn find(&mut self) -> Result<Option<Item>, Error> {
        while !(self.stop)() {
            let Some(mut reading) = self.reading.take() else {
                let Some((path, above)) = self.folders.pop() else {
                    return Ok(None);
                };
                self.reading = self.enter(&path, &above)?;
                if self.reading.is_none() {
                    return Ok(Some(unseen(&path)));
                }
                continue;
            };
            match reading.names.next() {
                None => continue,
                Some(Err(_)) => return Ok(Some(unseen(&reading.path))),
                Some(Ok(name)) => {
                    let item = self.name(
                        &reading,
                        OsStr::from_bytes(name.file_name().to_bytes()),
                        name.file_type(),
                    )?;
                    self.reading = Some(reading);
                    if item.is_some() {
                        return Ok(item);
                    }
                }
            }
        }
        Ok(None)
    }

    /// `None`: it cannot be read.
    fn enter(&self, path: &Path, above: &Ruled) -> Result<Option<Reading>, Error> {
        let Ok(folder) = self.root.listing(path) else {
            return Ok(None);
        };
        let ruled = rules::enter(self.root, folder.as_fd(), path, above)?;
        let path = path.to_owned();
        let reading = Dir::new(folder).map(|names| Reading { names, path, ruled });
        Ok(reading.ok())
    }

    /// `None` for what is left out, and for folders, which come later.
    fn name(
        &mut self,
        reading: &Reading,
        name: &OsStr,
        file_type: FileType,
    ) -> Result<Option<Item>, Error> {
        if disk::is_hidden(name) {
            return Ok(None);
        }
        let file_type = match file_type {
            // Some file systems do not tell it with the name.
            FileType::Unknown => file_type_of(reading, name),
            known => known,
        };
        let is_folder = file_type == FileType::Directory;
        let described = match is_folder {
            true => None,
            false => name.to_str().and_then(|n| n.strip_suffix(SIDECAR_SUFFIX)),
        };
        if self.rules_only && !is_folder {
            if described.is_some() {
                self.sidecars = Sidecars::Some;
            }
            return Ok(None);
        }
        let path = reading.path.join(name);
        let shown = path.to_string_lossy();
        let out = match is_folder {
            true => self.filter.leaves_out_folder(&shown),
            false => !self.filter.selects(&shown),
        };
        if out || rules::leave_out(&reading.ruled, &path, is_folder) {
            return Ok(None);
        }
        if is_folder {
            self.folders.push((path, reading.ruled.clone()));
            return Ok(None);
        }
        let Some(utf8) = path.to_str() else {
            return Ok(Some(skip(&shown, SkipReason::NotUtf8, "rename it")));
        };
        if let Some(described) = described {
            let is_alone = !is_there(reading, OsStr::new(described));
            return Ok(is_alone.then(|| skip(utf8, SkipReason::LoneSidecar, LONE_SIDECAR)));
        }
        let has_sidecar = self.sidecars == Sidecars::Some && {
            let mut sidecar = name.to_owned();
            sidecar.push(SIDECAR_SUFFIX);
            is_there(reading, &sidecar)
        };
        match file_type {
            FileType::RegularFile => Ok(Some(look(reading, name, utf8, has_sidecar))),
            FileType::Symlink => self.link(utf8, has_sidecar),
            _ => Ok(Some(skip(utf8, SkipReason::NotAFile, NOT_A_FILE))),
        }
    }

    /// A link to a hidden file, or to one that an ignore file names, is left out as that file is.
    fn link(&self, path: &str, has_sidecar: bool) -> Result<Option<Item>, Error> {
        let opened = match self.root.file(Path::new(path)) {
            Ok(opened) => opened,
            Err(refusal) => {
                return Ok(reason(refusal).map(|(reason, detail)| skip(path, reason, &detail)));
            }
        };
        if let Some(target) = &opened.target
            && rules::keep_from(self.root, target, false, &|_| false)?
        {
            return Ok(None);
        }
        let mtime_ns = mtime_ns(&opened.metadata);
        let size_bytes = opened.metadata.len();
        Ok(Some(sized(path, size_bytes, mtime_ns, has_sidecar)))
    }
}

const NOT_A_FILE: &str = "a pipe, socket or device";
const LONE_SIDECAR: &str = "it describes a file that is not there, and is never sent itself";

/// Whether the folder that is open has such a name.
fn is_there(reading: &Reading, name: &OsStr) -> bool {
    let folder = reading.names.fd();
    folder.is_ok_and(|fd| rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
}

fn file_type_of(reading: &Reading, name: &OsStr) -> FileType {
    let folder = reading.names.fd();
    let found = folder.and_then(|fd| rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW));
    found.map_or(FileType::Unknown, |found| {
        FileType::from_raw_mode(found.st_mode)
    })
}

fn look(reading: &Reading, name: &OsStr, path: &str, has_sidecar: bool) -> Item {
    let folder = reading.names.fd();
    match folder.and_then(|fd| rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
        // What has become something else since its name was read is found out when it is opened.
        Ok(found) => {
            let seconds = found.st_mtime.saturating_mul(1_000_000_000);
            let mtime_ns = seconds.saturating_add(found.st_mtime_nsec as i64);
            sized(path, found.st_size as u64, mtime_ns, has_sidecar)
        }
        Err(e) => {
            let why = std::io::Error::from(e).to_string();
            skip(path, SkipReason::Unreadable, &why)
        }
    }
}

fn sized(path: &str, size_bytes: u64, mtime_ns: i64, has_sidecar: bool) -> Item {
    match size_bytes {
        0 => skip(path, SkipReason::Empty, "0 bytes"),
        n if n > FILE_BYTES_MAX => skip(path, SkipReason::TooLarge, &too_large(n)),
        size_bytes => Item::File(WalkedFile {
            path: path.to_owned(),
            size_bytes,
            mtime_ns,
            has_sidecar,
        }),
    }
}

pub fn too_large(bytes: u64) -> String {
    format!("{bytes} bytes; the service takes {FILE_BYTES_MAX}")
}

pub fn mtime_ns(metadata: &Metadata) -> i64 {
    metadata
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(metadata.mtime_nsec())
}

/// `None`: it is a link to what is left out, and left out itself.
pub fn reason(refusal: Refusal) -> Option<(SkipReason, String)> {
    Some(match refusal {
        Refusal::Folder => (
            SkipReason::NotAFile,
            "a folder, or a link to one".to_owned(),
        ),
        Refusal::NotAFile => (SkipReason::NotAFile, NOT_A_FILE.to_owned()),
        Refusal::ThroughLink => (SkipReason::NotAFile, THROUGH_LINK.to_owned()),
        Refusal::ToHidden => return None,
        Refusal::Dangling => (SkipReason::DanglingSymlink, "leads to nothing".to_owned()),
        Refusal::Loop => (SkipReason::SymlinkLoop, "leads back to itself".to_owned()),
        Refusal::Io(e) => (SkipReason::Unreadable, e.to_string()),
    })
}

pub const THROUGH_LINK: &str = "leads through a symlink";

fn skip(path: &str, reason: SkipReason, detail: &str) -> Item {
    Item::Skip(Skip {
        path: path.to_owned(),
        reason,
        detail: detail.to_owned(),
    })
}

fn unseen(path: &Path) -> Item {
    Item::Unseen(path.to_string_lossy().into_owned())
}
