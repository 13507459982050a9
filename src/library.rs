//! A folder becomes a library: it gets a name, keeps it, and keeps it when the folder is moved.
//!
//! The name is part of each document's identity, so no two folders may share one, and a folder may not take
//! another name by accident. Promises: `resolve` changes nothing; what it finds is recorded by `record`, or
//! only looked at by a dry run.

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind};
use crate::identity;
use crate::scan::{self, Filter};
use crate::state::reader::LibraryRow;
use crate::state::{Change, Reader, Writer};

/// As the database keeps that nothing was asked for.
const NO_SETTINGS: &str = "{}";

/// What a folder is to the database.
#[derive(Debug)]
pub enum Found {
    Known(LibraryRow),
    /// The library lay somewhere else, where it is no more; it lies here now.
    Moved {
        library: LibraryRow,
        from: PathBuf,
    },
    New {
        name: String,
        root: PathBuf,
    },
}

impl Found {
    /// As it would be, or is, recorded. Nothing is known of the files of a new one.
    pub fn row(&self) -> Option<&LibraryRow> {
        match self {
            Found::Known(library) | Found::Moved { library, .. } => Some(library),
            Found::New { .. } => None,
        }
    }

    /// What is kept of what was asked for, as it was written.
    pub fn settings(&self) -> &str {
        self.row().map_or(NO_SETTINGS, |library| &library.settings)
    }

    pub fn name(&self) -> &str {
        match self {
            Found::Known(library) | Found::Moved { library, .. } => &library.name,
            Found::New { name, .. } => name,
        }
    }
}

/// `dir` without `..` and symlinks, so that one folder is one library however it is spelled.
pub fn root(dir: &Path) -> Result<PathBuf, Error> {
    let fail =
        |why: String, remedy: &str| Error::new(Kind::Input, dir.display().to_string(), why, remedy);
    let root = std::fs::canonicalize(dir).map_err(|e| {
        fail(
            format!("cannot be scanned: {e}"),
            "check the path; nothing was marked as missing",
        )
    })?;
    match root.to_str() {
        Some(_) => Ok(root),
        None => Err(fail(
            "the name of the folder is not UTF-8".to_owned(),
            "rename it",
        )),
    }
}

/// Which library a folder is. `name`: what was given with `--library`; `filter`: of this call.
///
/// # Errors
/// The name is another folder's, the folder has another name, or one library would lie inside another
/// (`Kind::Input`); the name cannot be one (`Kind::Usage`).
pub fn resolve(
    reader: &Reader,
    root: &Path,
    name: Option<&str>,
    filter: &Filter,
) -> Result<Found, Error> {
    let given = name.map(checked_name).transpose()?;
    let libraries = reader.libraries()?;
    for other in libraries.iter().filter(|l| l.root != root) {
        refuse_nested(reader, root, other, filter)?;
    }
    if let Some(known) = libraries.iter().find(|l| l.root == root) {
        return match given {
            Some(name) if name != known.name => Err(input(
                root,
                format!("it is the library `{}`", known.name),
                format!(
                    "leave --library out, or rename it first: objlib library rename '{}' '{name}'",
                    known.name
                ),
            )),
            _ => Ok(Found::Known(known.clone())),
        };
    }
    let wanted = match &given {
        Some(name) => name.clone(),
        None => default_name(root)?,
    };
    let moved = |library: &LibraryRow| Found::Moved {
        library: LibraryRow {
            root: root.to_owned(),
            ..library.clone()
        },
        from: library.root.clone(),
    };
    if let Some(other) = libraries.iter().find(|l| l.name == wanted) {
        let is_it = is_gone(&other.root) && (given.is_some() || holds_most(reader, other, root)?);
        return match is_it {
            true => Ok(moved(other)),
            false => Err(input(
                root,
                format!(
                    "the library name `{wanted}` belongs to {}",
                    other.root.display()
                ),
                "give this folder a name of its own with --library NAME".to_owned(),
            )),
        };
    }
    if given.is_none() {
        for other in libraries.iter().filter(|l| is_gone(&l.root)) {
            if holds_most(reader, other, root)? {
                return Ok(moved(other));
            }
        }
    }
    Ok(Found::New {
        name: wanted,
        root: root.to_owned(),
    })
}

/// Makes it so in the database.
pub fn record(found: Found, writer: &Writer) -> Result<LibraryRow, Error> {
    match found {
        Found::Known(library) => Ok(library),
        Found::Moved { library, .. } => {
            writer.commit(Change::LibraryMoved {
                library: library.id,
                root: library.root.to_string_lossy().into_owned(),
            })?;
            Ok(library)
        }
        Found::New { name, root } => {
            let added = Change::LibraryAdded {
                name: name.clone(),
                root: root.to_string_lossy().into_owned(),
            };
            Ok(LibraryRow {
                id: writer.commit(added)?.row,
                name,
                root,
                settings: NO_SETTINGS.to_owned(),
                scanned_ms: None,
            })
        }
    }
}

/// A library by the name that was typed.
pub fn named(reader: &Reader, name: &str) -> Result<LibraryRow, Error> {
    let name = checked_name(name)?;
    reader.library_named(&name)?.ok_or_else(|| {
        Error::new(
            Kind::Input,
            format!("library `{name}`"),
            "there is none of this name",
            "see `objlib library list`",
        )
    })
}

pub fn checked_name(given: &str) -> Result<String, Error> {
    identity::library_name(given).map_err(|why| {
        Error::new(
            Kind::Usage,
            format!("library name `{given}`"),
            why,
            "give a name like `handbook`",
        )
    })
}

/// The last component of the path.
fn default_name(root: &Path) -> Result<String, Error> {
    let last = root.file_name().and_then(|name| name.to_str());
    let name = last.map(identity::library_name);
    name.and_then(Result::ok).ok_or_else(|| {
        input(
            root,
            "its path gives no name for a library".to_owned(),
            "give one with --library NAME".to_owned(),
        )
    })
}

/// A file that two libraries record would be sent as two documents.
fn refuse_nested(
    reader: &Reader,
    root: &Path,
    other: &LibraryRow,
    filter: &Filter,
) -> Result<(), Error> {
    if let Ok(below) = root.strip_prefix(&other.root) {
        let below = below.to_string_lossy();
        if reader.holds_below(other.id, &below)? {
            return Err(input(
                root,
                format!(
                    "it lies inside the library `{}` ({}), which holds its files",
                    other.name,
                    other.root.display()
                ),
                format!(
                    "upload {0} instead; or add /{below}/ to {0}/.objlibignore, and scan {0} first",
                    other.root.display()
                ),
            ));
        }
    }
    if let Ok(below) = other.root.strip_prefix(root)
        && other.root.is_dir()
        && !scan::leaves_out(root, &other.root, filter)?
    {
        return Err(input(
            root,
            format!(
                "the library `{}` ({}) lies inside it",
                other.name,
                other.root.display()
            ),
            format!("leave it out with --exclude '/{}'", below.display()),
        ));
    }
    Ok(())
}

/// Not there, or what is left of it is an empty place, as a disk that is not mounted leaves one.
fn is_gone(root: &Path) -> bool {
    std::fs::read_dir(root).map_or(true, |mut entries| entries.next().is_none())
}

/// Whether more than half of a library's known files lie at the same places below another folder, with
/// their size. A folder of other content that happens to use the same names is not taken for it.
fn holds_most(reader: &Reader, library: &LibraryRow, root: &Path) -> Result<bool, Error> {
    let (mut known, mut held) = (0u64, 0u64);
    reader.each_present_size(library.id, &mut |path, size_bytes| {
        known += 1;
        let metadata = std::fs::metadata(root.join(path));
        held += u64::from(metadata.is_ok_and(|m| m.is_file() && m.len() == size_bytes));
    })?;
    Ok(held * 2 > known)
}

fn input(root: &Path, why: String, remedy: String) -> Error {
    Error::new(Kind::Input, root.display().to_string(), why, remedy)
}
