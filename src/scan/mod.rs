//! A folder becomes rows: walk, compare with what is known, hash what is new, record.
//!
//! Reaches the database only through `Known` and `Record` (`catalog` is both), used by the calling thread
//! alone.
//! Promises: memory does not grow with the number of files (but for one bit each); what cannot be read
//! is a skip with its reason, never a deletion; nothing is marked missing unless the whole walk went
//! well; what one call does not ask for keeps its marks.

use std::collections::BTreeMap;
use std::path::Path;

use crate::disk::{Presence, Root};
use crate::error::{Error, Kind};
use crate::metadata::SIDECAR_SUFFIX;
use crate::state::{Described, KnownFile, Reading, SeenFile};

pub mod filter;

pub mod walk;

pub mod mime;

pub mod describe;

pub mod hash;

pub mod diff;

pub mod catalog;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod memory;

pub use catalog::{Catalog, Recorder};
pub use describe::{Describer, GivenSettings, LibrarySettings};
pub use diff::run;
pub use filter::Filter;
pub use filter::list::List;
pub use hash::rescan;

/// More is refused by the service: "100 MB", whichever way it counts (fact sheet 17).
pub const FILE_BYTES_MAX: u64 = 100_000_000;

/// What the database knows of a library.
pub trait Known {
    /// By relative path as on disk.
    fn file(&self, path: &str) -> Result<Option<KnownFile>, Error>;
    /// Number of present files, and the highest id of any.
    fn extent(&self) -> Result<(u64, i64), Error>;
    /// Whether a file that is new to this scan, as far as it is recorded, holds what the file of this id held.
    fn is_found_again(&self, _id: i64) -> Result<bool, Error> {
        Ok(false)
    }
    /// Calls `each` with id and path of every present file.
    fn each_present(&self, each: &mut dyn FnMut(i64, &str)) -> Result<(), Error>;
    /// What describes its files.
    fn describer(&self) -> &Describer;
}

/// Where the findings go. A call may block.
pub trait Record {
    fn file(&mut self, file: SeenFile) -> Result<(), Error>;
    fn skip(&mut self, skip: Skip) -> Result<(), Error>;
    /// The file is not there any more.
    fn missing(&mut self, id: i64) -> Result<(), Error>;
    /// The file is there, and must not or cannot be sent any more: an ignore file names it now, or it has
    /// become too large, empty, a pipe, …
    fn left_out(&mut self, id: i64) -> Result<(), Error>;
    /// The file holds what it held, and its document is to carry something else besides.
    fn described(
        &mut self,
        known: &KnownFile,
        path: &str,
        described: Described,
    ) -> Result<(), Error>;
    /// Waits until all that was told is recorded.
    fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }
    /// The file is as it is known, so that `file` is not called for it.
    fn unchanged(&mut self, _known: &KnownFile, _path: &str) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(Debug, Clone)]
pub struct Skip {
    /// Lossy, where the name is not UTF-8.
    pub path: String,
    pub reason: SkipReason,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    TooLarge,
    Empty,
    UnsupportedType,
    Unreadable,
    NotUtf8,
    DanglingSymlink,
    SymlinkLoop,
    /// A socket, pipe or device.
    NotAFile,
    /// Another file has the same name in another Unicode normal form.
    SameName,
    ChangedWhileRead,
    /// What describes it is more than the service takes, or its sidecar makes no sense.
    Metadata,
    /// It describes a file that is not there.
    LoneSidecar,
}

impl SkipReason {
    pub fn label(self) -> &'static str {
        match self {
            SkipReason::TooLarge => "too large",
            SkipReason::Empty => "empty",
            SkipReason::UnsupportedType => "unsupported type",
            SkipReason::Unreadable => "unreadable",
            SkipReason::NotUtf8 => "name is not UTF-8",
            SkipReason::DanglingSymlink => "dangling symlink",
            SkipReason::SymlinkLoop => "symlink loop",
            SkipReason::NotAFile => "not a file",
            SkipReason::SameName => "same name as another file",
            SkipReason::ChangedWhileRead => "changed while it was read",
            SkipReason::Metadata => "metadata that cannot be used",
            SkipReason::LoneSidecar => "sidecar without its file",
        }
    }

    /// The file is there; what it holds now could not be seen. What was known of it stays.
    fn keeps_what_is_known(self) -> bool {
        match self {
            SkipReason::Unreadable | SkipReason::ChangedWhileRead | SkipReason::Metadata => true,
            SkipReason::TooLarge
            | SkipReason::Empty
            | SkipReason::UnsupportedType
            | SkipReason::NotUtf8
            | SkipReason::DanglingSymlink
            | SkipReason::SymlinkLoop
            | SkipReason::NotAFile
            | SkipReason::SameName
            | SkipReason::LoneSidecar => false,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Options {
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    /// Only these paths.
    pub files_from: Option<List>,
    /// Read every file, whatever size and time say.
    pub rehash: bool,
    pub accept_missing: bool,
    /// What is to hold for each library from now on.
    pub given: GivenSettings,
}

/// Names of files that are too large: enough to show what is meant.
const TOO_LARGE_NAMES_MAX: usize = 5;

/// `files` = `new` + `changed` + `moved` + `unchanged`; a file that is back again is `changed` or `unchanged`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub files: u64,
    pub new: u64,
    /// `described` among them.
    pub changed: u64,
    /// Files that hold what they held, and whose documents are to carry something else besides.
    pub described: u64,
    /// At another path than before; neither end of the move is new, or missing.
    pub moved: u64,
    pub missing: u64,
    /// Known files that are there, and must not or cannot be sent any more.
    pub left_out: u64,
    pub unchanged: u64,
    pub skipped: u64,
    /// `skipped` by the label of the reason.
    pub skipped_by: BTreeMap<&'static str, u64>,
    /// Those skips that somebody has to look after: files and folders that could not be read, and files that
    /// cannot be described.
    pub unreadable: u64,
    /// The first few files that are too large.
    pub too_large: Vec<String>,
    pub bytes: u64,
    pub interrupted: bool,
}

impl Found {
    /// So many of the files that came hold what files that went have held.
    pub fn count_moved(&mut self, moved: u64) {
        let new = moved.min(self.new);
        self.new -= new;
        // Some may have been recorded by a scan that did not come to its end, or be back again.
        self.unchanged = self.unchanged.saturating_sub(moved - new);
        self.missing = self.missing.saturating_sub(moved);
        self.moved = moved;
    }
}

/// The sidecar of a file, where there is one.
pub fn sidecar(root: &Path, path: &str) -> Result<Option<Vec<u8>>, Error> {
    let root = open(root)?;
    match root.presence(Path::new(&format!("{path}{SIDECAR_SUFFIX}"))) {
        Ok(Presence::There) => hash::sidecar(&root, path).map(Some).map_err(|skip| {
            let remedy = "make it readable";
            Error::new(Kind::Input, skip.path, skip.detail, remedy)
        }),
        _ => Ok(None),
    }
}

/// Whether a scan of `root` would never enter `folder`, an absolute path below it: the filter, a hidden
/// name, an ignore file or a symlink on the way keeps it out.
pub fn leaves_out(root: &Path, folder: &Path, filter: &Filter) -> Result<bool, Error> {
    let Ok(below) = folder.strip_prefix(root) else {
        return Ok(true);
    };
    let out = |way: &Path| filter.leaves_out_folder(&way.to_string_lossy());
    walk::rules::keep_from(&open(root)?, below, true, &out)
}

/// Why a scan of `root` would not come to a file, if so; `path` is relative to the root.
pub fn why_left_out(root: &Path, path: &str, filter: &Filter) -> Result<Option<String>, Error> {
    let out = |way: &Path| filter.leaves_out_folder(&way.to_string_lossy());
    let why = walk::rules::why_kept_from(&open(root)?, Path::new(path), false, &out)?;
    Ok(why.or_else(|| (!filter.selects(path)).then(|| "the filters of this call".to_owned())))
}

fn open(root: &Path) -> Result<Root, Error> {
    Root::open(root).map_err(|e| unusable(root, &e.to_string()))
}

fn unusable(root: &Path, why: &str) -> Error {
    Error::new(
        Kind::Input,
        root.display().to_string(),
        format!("cannot be scanned: {why}"),
        "check the path (is the disk mounted?); nothing was marked as missing",
    )
}
