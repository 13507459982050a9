//! What describes a file besides its bytes: the user's metadata entries, by which a search can filter.
//!
//! They come from three sources. The nearer to the file wins, a whole entry at a time: its sidecar, then the
//! rules of the library, of which the first that gives a key counts, then `--set`.
//! Owns the forms of all three and their limits. Promises: pure, so that equal files under equal paths and
//! settings are described alike on every machine; what `of` gives fits what the service takes; no text
//! makes it fail in another way than with a `Problem`, and none takes it long.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fmt;

use unicode_normalization::UnicodeNormalization;

use crate::identity::{MetadataEntry, Value};

mod entry;
mod rules;
mod sidecar;
#[cfg(test)]
mod tests;

pub use entry::{DOCUMENT_BYTES_MAX, KEY_BYTES_MAX, LIST_ITEMS_MAX, NUMBER_MAX, set_entry};
pub use rules::{RULES_BYTES_MAX, Rules, RulesError};
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
    /// The sidecar is no flat object with keys that can be used.
    Sidecar { why: String },
    /// The service would not take the entry as it is meant.
    Entry {
        key: String,
        source: Source,
        why: String,
    },
    /// There are more entries than the document has room for.
    TooMany { count: usize, room: usize },
    /// The entries together have more bytes than a document may.
    TooLarge { bytes: usize },
    /// The API key stands in an entry.
    Key,
}

/// What a key is given.
struct Given {
    /// By the nearest source. What others would give does not matter, so it may as well be wrong.
    value: Result<Value, String>,
    source: Source,
    over: Vec<Source>,
}

/// What a file is given, by key.
struct Gathered {
    keys: BTreeMap<String, Given>,
    is_matched: bool,
}

impl Describing {
    /// # Errors
    /// A key that `set` gives twice.
    pub fn new(rules: Option<Rules>, set: Vec<MetadataEntry>) -> Result<Describing, String> {
        let mut keys = BTreeSet::new();
        match set.iter().find(|entry| !keys.insert(&entry.key)) {
            Some(twice) => Err(format!("{} is given twice", twice.key)),
            None => Ok(Describing { rules, set }),
        }
    }

    /// Whether nothing is given to files that have no sidecar.
    pub fn is_empty(&self) -> bool {
        self.rules.is_none() && self.set.is_empty()
    }

    /// `path`: relative to the root, `/`-separated, in any normal form. `sidecar`: the bytes of the file's
    /// sidecar, where there is one. `room`: how many entries the document has left for the user's.
    ///
    /// # Errors
    /// Why this file cannot be described.
    pub fn of(
        &self,
        path: &str,
        sidecar: Option<&[u8]>,
        room: usize,
    ) -> Result<Described, Problem> {
        let Gathered { keys, is_matched } = self.gather(path, sidecar)?;
        if keys.len() > room {
            let count = keys.len();
            return Err(Problem::TooMany { count, room });
        }
        let explained = keys.into_iter().map(explained);
        let entries: Vec<MetadataEntry> = explained
            .map(|e| Ok(e?.entry))
            .collect::<Result<_, Problem>>()?;
        let bytes = entries.iter().map(entry::bytes).sum();
        if bytes > DOCUMENT_BYTES_MAX {
            return Err(Problem::TooLarge { bytes });
        }
        Ok(Described {
            entries,
            is_matched,
        })
    }

    /// The same entries by key, each with its sources.
    ///
    /// # Errors
    /// As `of`, for any one entry.
    pub fn explain(&self, path: &str, sidecar: Option<&[u8]>) -> Result<Vec<Explained>, Problem> {
        let gathered = self.gather(path, sidecar)?;
        gathered.keys.into_iter().map(explained).collect()
    }

    fn gather(&self, path: &str, sidecar: Option<&[u8]>) -> Result<Gathered, Problem> {
        let path: Cow<'_, str> = match path.is_ascii() {
            true => path.into(),
            false => path.nfc().collect(),
        };
        let mut keys = BTreeMap::new();
        let mut add = |source, key, value| match keys.entry(key) {
            Entry::Vacant(place) => {
                let over = Vec::new();
                place.insert(Given {
                    value,
                    source,
                    over,
                });
            }
            Entry::Occupied(mut nearer) => nearer.get_mut().over.push(source),
        };
        for (key, value) in sidecar.map(sidecar::parse).transpose()?.unwrap_or_default() {
            add(Source::Sidecar, key, entry::fit(value));
        }
        let mut is_matched = false;
        let rules = self.rules.iter().flat_map(Rules::iter);
        for (number, rule) in (1..).zip(rules) {
            let Some(given) = rule.give(&path) else {
                continue;
            };
            is_matched = true;
            let line = rule.line;
            for (key, value) in given {
                add(Source::Rule { number, line }, key, value);
            }
        }
        for entry in &self.set {
            add(Source::Set, entry.key.clone(), Ok(entry.value.clone()));
        }
        Ok(Gathered { keys, is_matched })
    }
}

fn explained((key, given): (String, Given)) -> Result<Explained, Problem> {
    let Given {
        value,
        source,
        over,
    } = given;
    match value {
        Ok(value) => Ok(Explained {
            entry: MetadataEntry { key, value },
            source,
            over,
        }),
        Err(why) => Err(Problem::Entry { key, source, why }),
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
            Problem::Sidecar { why } => write!(f, "its {SIDECAR_SUFFIX}: {why}"),
            Problem::Entry { key, source, why } => write!(f, "{key} ({source}): {why}"),
            Problem::Key => f.write_str("they contain the API key"),
            Problem::TooMany { count, room } => {
                write!(f, "{count} entries, a document has room for {room}")
            }
            Problem::TooLarge { bytes } => write!(
                f,
                "{bytes} bytes of keys and values, {DOCUMENT_BYTES_MAX} is the limit"
            ),
        }
    }
}
