//! `objlib library`: the folders that are known, and where they go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::status::next as next_into;
use crate::app;
use crate::cli::args;
use crate::cli::settings::{self, secret};
use crate::cli::terminal::stdout::say;
use crate::error::{Error, Kind};
use crate::library;
use crate::report::Style;
use crate::report::event::ndjson::timed;
use crate::report::status::settings_text;
use crate::scan::LibrarySettings;
use crate::shutdown::Shutdown;
use crate::state::reader::LibraryRow;
use crate::state::{Change, Reader, writer};
use crate::text::one_line;

pub fn run(args: &args::Library, database: &Path, style: Style) -> Result<u8, Error> {
    let reader = Reader::open(database)?;
    let text = match args {
        args::Library::List => list(&reader, &reader.libraries()?, database, style)?,
        args::Library::Show { name } => {
            let one = library::named(&reader, name)?;
            let settings = LibrarySettings::read(&one.name, &one.settings)?;
            let line = list(&reader, &[one], database, style)?;
            match style.json {
                true => line,
                false => line + &settings_text(&settings),
            }
        }
        args::Library::Rename { name, new } => rename(&reader, name, new, database, style)?,
        args::Library::Forget { name } => forget(&reader, name, database, style)?,
    };
    say(&text).map(|()| 0)
}

fn list(
    reader: &Reader,
    libraries: &[LibraryRow],
    database: &Path,
    style: Style,
) -> Result<String, Error> {
    let mut text = String::new();
    let files = reader.file_counts_by_library(&libraries.iter().map(|row| row.id).collect())?;
    for library in libraries {
        let files = files.get(&library.id).copied().unwrap_or_default();
        let line = app::status::library_line(reader, library, &files)?;
        text.push_str(&match style.json {
            true => {
                let mut line = line.to_json();
                line["event"] = "library".into();
                timed(line)
            }
            false => line.to_text(),
        });
        text.push('\n');
    }
    if text.is_empty() && !style.json {
        let upload = settings::next_here(database).line("upload DIR");
        text = format!("no folder is known yet: `{upload}`\n");
    }
    Ok(text)
}

fn rename(
    reader: &Reader,
    name: &str,
    new: &str,
    database: &Path,
    style: Style,
) -> Result<String, Error> {
    secret::keep_out(secret::known().as_ref(), &[("NEW", new)])?;
    let library = library::named(reader, name)?;
    let new = library::checked_name(new)?;
    if let Some(other) = reader.library_named(&new)? {
        return Err(Error::new(
            Kind::Input,
            format!("library `{name}`"),
            format!("the name `{new}` belongs to {}", other.root.display()),
            "choose another name",
        ));
    }
    let files = reader
        .file_counts(&[library.id].into_iter().collect())?
        .present;
    let stores = reader.stores_of(library.id)?;
    commit(
        database,
        Change::LibraryRenamed {
            library: library.id,
            name: new.clone(),
        },
    )?;
    let uploads: Vec<String> = stores
        .iter()
        .map(|store| format!("`{}`", next_into(store, database).line("upload")))
        .collect();
    let then = match uploads.is_empty() {
        false => format!(
            ": its {files} documents carry the name, so {} sends them again and then deletes the old ones",
            uploads.join(", and ")
        ),
        true => String::new(),
    };
    Ok(said(
        &format!("renamed library `{}` to `{new}`{then}", library.name),
        ("renamed", &new),
        style,
    ))
}

fn forget(reader: &Reader, name: &str, database: &Path, style: Style) -> Result<String, Error> {
    let library = library::named(reader, name)?;
    let stores = reader.stores_of(library.id)?;
    commit(
        database,
        Change::LibraryForgotten {
            library: library.id,
        },
    )?;
    let kept = match stores.is_empty() {
        true => "nothing of it was sent anywhere".to_owned(),
        false => {
            let names: Vec<String> = stores
                .iter()
                .map(|s| format!("{} ({})", s.display_name, s.name))
                .collect();
            format!(
                "its documents stay in {}, and nothing here deletes them any more",
                names.join(", ")
            )
        }
    };
    let text = format!(
        "forgot library `{}` ({}): {kept}",
        library.name,
        library.root.display()
    );
    Ok(said(&text, ("forgotten", &library.name), style))
}

fn commit(database: &Path, change: Change) -> Result<(), Error> {
    let started = writer::start(
        database,
        Arc::new(Shutdown::new(Duration::ZERO)),
        &settings::waits(),
    )?;
    let done = started.thread.writer().commit(change);
    let closed = started.thread.close();
    done?;
    closed
}

fn said(text: &str, (what, name): (&str, &str), style: Style) -> String {
    match (style.json, style.quiet) {
        (true, _) => {
            let line = serde_json::json!({"event": "library", what: name});
            timed(line) + "\n"
        }
        (false, true) => String::new(),
        (false, false) => format!("{}\n", one_line(text)),
    }
}
