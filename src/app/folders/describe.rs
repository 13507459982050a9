//! What holds for a library, kept or given anew, and what it makes of a file.
//!
//! Records nothing: a scan does that with what is found here, a dry run and an explanation only look.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::{Folders, roots};
use crate::client::Secrets;
use crate::error::{Error, Kind};
use crate::library::{self, Found};
use crate::metadata::Explained;
use crate::scan::mime::Types;
use crate::scan::{self, Describer, Filter, GivenSettings, LibrarySettings, Skip};
use crate::state::Reader;
use crate::state::reader::StoreRow;

/// A library's settings, and what describes its files by them.
pub(in crate::app) struct Described {
    pub kept: LibrarySettings,
    /// From now on.
    pub settings: LibrarySettings,
    pub describer: Describer,
}

/// `into`: the store that it is about to go into, if it is known.
pub(in crate::app) fn library(
    reader: &Reader,
    library: &Found,
    given: &GivenSettings,
    into: Option<&StoreRow>,
) -> Result<Described, Error> {
    let kept = LibrarySettings::read(library.name(), library.settings())?;
    let settings = given.over(&kept)?;
    let mut describer = Describer::new(library.name(), &settings)?;
    let id = library.row().map(|row| row.id);
    describer.secrets = given.key.as_ref().map(Secrets::new);
    describer.types.images = takes_images(reader, id, into)?;
    Ok(Described {
        kept,
        settings,
        describer,
    })
}

/// The types of each library's files. A file may turn out to have changed while it is sent; they hold then, too.
pub(in crate::app) fn types(reader: &Reader) -> Result<BTreeMap<i64, Types>, Error> {
    let libraries = reader.libraries()?.into_iter();
    libraries
        .map(|library| {
            let mut types = LibrarySettings::read(&library.name, &library.settings)?.types;
            types.images = takes_images(reader, Some(library.id), None)?;
            Ok((library.id, types))
        })
        .collect()
}

/// Whether any store that a library goes into takes images. They go into no other.
fn takes_images(
    reader: &Reader,
    library: Option<i64>,
    into: Option<&StoreRow>,
) -> Result<bool, Error> {
    let mut stores = match library {
        Some(library) => reader.stores_of(library)?,
        None => Vec::new(),
    };
    stores.extend(into.cloned());
    Ok(stores.iter().any(StoreRow::takes_images))
}

/// What describes one file, and where that comes from.
pub struct Explanation {
    pub library: String,
    /// Relative to the library's folder.
    pub path: String,
    pub entries: Vec<Explained>,
    /// Some rule met it, or there are no rules.
    pub is_matched: bool,
    /// Why a scan would not come to the file, if so.
    pub left_out: Option<String>,
}

/// By the settings that are given, or else kept. Nothing is recorded; the file need not be there.
///
/// # Errors
/// The path lies in none of the folders; its sidecar cannot be used, or what describes it is too much.
pub fn explain(database: &Path, folders: &Folders, path: &Path) -> Result<Explanation, Error> {
    let reader = Reader::of(database)?;
    let (root, path) = below(&roots(folders)?, path)?;
    let filter = Filter::new(&root, &folders.options)?;
    let library = library::resolve(&reader, &root, folders.name.as_deref(), &filter)?;
    let given = &folders.options.given;
    let Described { describer, .. } = self::library(&reader, &library, given, None)?;
    let sidecar = scan::sidecar(&root, &path)?;
    let unusable = |skip: Skip| {
        let remedy = "mend it; a scan skips the file until then";
        Error::new(Kind::Input, skip.path, skip.detail, remedy)
    };
    let described = describer.of(&path, sidecar.as_deref()).map_err(unusable)?;
    let entries = describer
        .explain(&path, sidecar.as_deref())
        .map_err(unusable)?;
    Ok(Explanation {
        left_out: scan::why_left_out(&root, &path, &filter)?,
        library: library.name().to_owned(),
        path,
        entries,
        is_matched: described.is_matched,
    })
}

/// The folder in which a path lies, and the path relative to it. It may be absolute, relative to the folder,
/// or relative to where the user stands.
fn below(roots: &[PathBuf], path: &Path) -> Result<(PathBuf, String), Error> {
    let inside = |path: &Path| {
        roots.iter().find_map(|root| {
            let relative = path.strip_prefix(root).ok()?;
            let mut parts = relative.components().peekable();
            let is_below =
                parts.peek().is_some() && parts.all(|c| matches!(c, Component::Normal(_)));
            is_below.then_some(())?;
            Some((root.clone(), relative.to_str()?.to_owned()))
        })
    };
    let in_root = roots.iter().map(|root| root.join(path));
    let there = in_root.clone().find(|path| path.exists());
    let from_here = || path.canonicalize().ok();
    let found = there
        .and_then(|path| inside(&path))
        .or_else(|| inside(&from_here()?))
        // A file that is not there is described by its path all the same.
        .or_else(|| in_root.clone().find_map(|path| inside(&path)));
    found.ok_or_else(|| {
        Error::new(
            Kind::Usage,
            path.display().to_string(),
            "it lies in none of the folders",
            "name the folder that holds it, and the path below it",
        )
    })
}
