//! What describes a file besides its bytes: the user's metadata entries, by which a search can filter.
//!
//! They come from three sources. The nearer to the file wins, a whole entry at a time: its sidecar, then the
//! rules of the library, of which the first that gives a key counts, then `--set`.
//! Owns the forms of all three and their limits. Promises: pure, so that equal files under equal paths and
//! settings are described alike on every machine; what `of` gives fits what the service takes; no text
//! makes it fail in another way than with a `Problem`, and none takes it long.

use std::fmt;

use crate::identity::MetadataEntry;

mod entry;
mod rules;
mod sidecar;

pub use entry::{KEY_BYTES_MAX, LIST_ITEMS_MAX, NUMBER_MAX, set_entry};
pub use rules::{Rules, RulesError};
pub use sidecar::SIDECAR_BYTES_MAX;

/// The sidecar of `a.md` is `a.md.meta.json`.
pub const SIDECAR_SUFFIX: &str = ".meta.json";

/// What describes the files of a library.
#[derive(Debug, Default)]
pub struct Describing {
    rules: Option<Rules>,
    set: Vec<MetadataEntry>,
}

/// The entries of one file.
#[derive(Debug, PartialEq)]
pub struct Described {
    /// By key.
    pub entries: Vec<MetadataEntry>,
    /// Whether a rule met the path.
    pub is_matched: bool,
}

/// An entry, and where it comes from.
#[derive(Debug, PartialEq)]
pub struct Explained {
    pub entry: MetadataEntry,
    pub source: Source,
    /// What would have given the key as well, nearest first.
    pub over: Vec<Source>,
}

/// Nearest to the file first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Sidecar,
    Rule {
        /// From 1.
        number: usize,
        /// Where it begins in the rules file, from 1.
        line: usize,
    },
    Set,
}

/// Why a file cannot be described. It concerns that file alone.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// The sidecar is not a flat object with keys that can be used.
    Sidecar { line: usize, why: String },
    /// The service would not take the entry as it is meant.
    Entry {
        key: String,
        source: Source,
        why: String,
    },
    /// There are more entries than the document has room for.
    TooMany { count: usize, room: usize },
}

impl Describing {
    /// # Errors
    /// The key that `set` holds twice.
    pub fn new(rules: Option<Rules>, set: Vec<MetadataEntry>) -> Result<Describing, String> {
        Ok(Describing { rules, set })
    }

    /// Whether it gives nothing to any file that has no sidecar.
    pub fn is_empty(&self) -> bool {
        self.rules.is_none() && self.set.is_empty()
    }

    /// `path`: relative to the root, `/`-separated, in any normal form. `sidecar`: the bytes of the sidecar,
    /// where there is one. `room`: how many entries the document has left for the user's.
    ///
    /// # Errors
    /// Why this file cannot be described.
    pub fn of(
        &self,
        path: &str,
        sidecar: Option<&[u8]>,
        room: usize,
    ) -> Result<Described, Problem> {
        let (_, _, _) = (path, sidecar, room);
        Ok(Described {
            entries: Vec::new(),
            is_matched: false,
        })
    }

    /// The same entries by key, and which source gave which.
    ///
    /// # Errors
    /// As `of`, but for the room.
    pub fn explain(&self, path: &str, sidecar: Option<&[u8]>) -> Result<Vec<Explained>, Problem> {
        let (_, _) = (path, sidecar);
        Ok(Vec::new())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Sidecar => f.write_str("sidecar"),
            Source::Rule { number, line } => write!(f, "rule {number} (line {line})"),
            Source::Set => f.write_str("--set"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Sidecar { line, why } => {
                write!(f, "line {line} of its {SIDECAR_SUFFIX}: {why}")
            }
            Problem::Entry { key, source, why } => write!(f, "{key}, from {source}: {why}"),
            Problem::TooMany { count, room } => {
                write!(f, "{count} entries, {room} is what a document has room for")
            }
        }
    }
}
