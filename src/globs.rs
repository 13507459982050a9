//! Globs over relative paths, as in ignore files: what one list asks for, less what another leaves out.
//!
//! One flavour for `--include`, `--exclude` and the scopes of a rules file.

use ignore::overrides::{Override, OverrideBuilder};

#[derive(Debug)]
pub struct Globs(Override);

/// Why a list of globs makes no sense.
#[derive(Debug)]
pub struct BadGlob {
    /// `None` if no single one is to blame.
    pub glob: Option<Given>,
    pub why: String,
}

/// A glob as it was given.
#[derive(Debug, PartialEq, Eq)]
pub enum Given {
    Include(String),
    Exclude(String),
}

impl Globs {
    /// Everything is included where `include` is empty. `exclude` has the last word.
    ///
    /// # Errors
    /// The glob that makes no sense.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Globs, BadGlob> {
        let mut builder = OverrideBuilder::new("");
        // The last match wins, so exclusions come last. A leading `!` excludes here, and a `#` would make a
        // comment; neither is meant by a glob that begins with it.
        let include = include.iter().map(|glob| {
            let special = if glob.starts_with(['!', '#']) {
                "\\"
            } else {
                ""
            };
            (format!("{special}{glob}"), Given::Include(glob.clone()))
        });
        let exclude = exclude
            .iter()
            .map(|glob| (format!("!{glob}"), Given::Exclude(glob.clone())));
        for (line, given) in include.chain(exclude) {
            let (Given::Include(glob) | Given::Exclude(glob)) = &given;
            let why = match glob.trim().is_empty() {
                true => Some("an empty glob".to_owned()),
                false => builder.add(&line).err().map(|e| e.to_string()),
            };
            if let Some(why) = why {
                let glob = Some(given);
                return Err(BadGlob { glob, why });
            }
        }
        let built = builder.build().map_err(|e| BadGlob {
            glob: None,
            why: e.to_string(),
        });
        Ok(Globs(built?))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the file at this path is asked for.
    pub fn selects(&self, path: &str) -> bool {
        !self.0.matched(path, false).is_ignore()
            && !folders_of(path).any(|folder| self.0.matched(folder, true).is_ignore())
    }

    /// Whether no file below this folder is asked for.
    pub fn leaves_out_folder(&self, path: &str) -> bool {
        let out = |folder: &str| self.0.matched(folder, true).is_ignore();
        out(path) || folders_of(path).any(out)
    }
}

/// `a` and `a/b` of `a/b/c.md`.
pub fn folders_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}
