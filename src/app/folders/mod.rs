//! What a call is about: folders, and what holds for each of them.

use std::path::PathBuf;

use crate::error::Error;
use crate::library;
use crate::scan::Options;

/// What holds for a library, kept or given anew, and what it makes of a file.
pub mod describe;

/// The folders of one call, and what holds for each of them.
pub struct Folders {
    pub dirs: Vec<PathBuf>,
    /// Of `--library`.
    pub name: Option<String>,
    pub options: Options,
}

/// The folders, canonical, and each once; what `--files-from` names must be below one of them.
pub fn roots(folders: &Folders) -> Result<Vec<PathBuf>, Error> {
    let mut roots: Vec<PathBuf> = Vec::new();
    for dir in &folders.dirs {
        let root = library::root(dir)?;
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    if let Some(list) = &folders.options.files_from {
        list.check(&roots)?;
    }
    Ok(roots)
}
