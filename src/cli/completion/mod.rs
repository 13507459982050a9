//! `objlib completions`: scripts for shells, and the hidden command that they ask.
//!
//! A script only carries what was typed to `objlib complete` and its answer back, so that all shells complete
//! the same, and a script stays right when objlib gets another option. Promises: no request, no lock, nothing
//! written; what cannot be found out is not offered, and nothing is said about it.

use std::path::{Path, PathBuf};

use self::candidates::{Candidate, Kind};
use super::args::{self, Shell};
use super::help;
use crate::cli::terminal::stdout::say;
use crate::error::Error;
use crate::state::Reader;
use crate::text::one_line;

mod candidates;

pub fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("objlib.bash"),
        Shell::Zsh => include_str!("objlib.zsh"),
        Shell::Fish => include_str!("objlib.fish"),
        Shell::Elvish => include_str!("objlib.elv"),
        Shell::Powershell => include_str!("objlib.ps1"),
    }
}

/// `objlib complete`: a line for each word that can stand at the cursor, with what it means behind a tab.
pub fn complete(args: &args::Complete, database: &Path) -> Result<(), Error> {
    let text = |word: &std::ffi::OsString| unquoted(&word.to_string_lossy());
    let before: Vec<String> = args.words.iter().map(text).collect();
    let names = |kind: Kind, typed: Option<&str>| {
        let database = typed.map_or_else(|| database.to_owned(), in_home);
        names(kind, &database).unwrap_or_default()
    };
    let command = help::command();
    let found = candidates::candidates(command, &before, &unquoted(&args.current), &names);
    let line = |found: &Candidate| {
        let (value, about) = (&found.value, one_line(&found.about));
        // A name that steers the terminal cannot be typed either.
        (one_line(value) == *value).then(|| format!("{value}\t{about}\n"))
    };
    say(&found.iter().filter_map(line).collect::<String>())
}

/// Names that the database knows.
fn names(kind: Kind, database: &Path) -> Result<Vec<String>, Error> {
    let reader = Reader::of(database)?;
    let mut names: Vec<String> = match kind {
        Kind::Library => reader
            .libraries()?
            .into_iter()
            .map(|row| row.name)
            .collect(),
        Kind::Store => {
            let stores = reader.stores()?.into_iter();
            stores.map(|row| row.display_name).collect()
        }
    };
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Shells hand on a word as it was typed: with its quotes and backslashes.
fn unquoted(word: &str) -> String {
    word.chars().filter(|c| !"'\"\\".contains(*c)).collect()
}

/// Shells expand `~/` only when the command runs.
fn in_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(below), Some(home)) => Path::new(&home).join(below),
        _ => PathBuf::from(path),
    }
}
