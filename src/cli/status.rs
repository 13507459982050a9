//! `objlib status`: what was committed to disk, for people and programs.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::args;
use super::settings;
use crate::error::{Error, Kind};
use crate::report::{
    FailedFile, LastRun, LibraryLine, Next, Status, StoreLine, Style, WaitingReason, failed_text,
};
use crate::state::reader::{LibraryRow, StoreRow};
use crate::state::{Reader, UploadState};
use crate::text::{json_line, one_line};

pub fn run(args: &args::Status, database: &Path, style: Style) -> Result<u8, Error> {
    let reader = Reader::open(database)?;
    let store = reader.store_used_last(&args.store.name)?;
    let next = match &store {
        Some(store) => next(database, store),
        None => settings::next_here(database),
    };
    let text = match (args.failed, args.skipped) {
        (true, _) => failed(&reader, store.as_ref(), &next, style)?,
        (_, true) => skipped(&reader, store.as_ref(), style)?,
        _ => page(&reader, store, next, style)?,
    };
    say(&text).map(|()| 0)
}

/// To stdout; whoever closed it has seen enough.
pub fn say(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(
            Kind::System,
            "stdout",
            e.to_string(),
            "check where the output goes",
        )),
        _ => Ok(()),
    }
}

fn next(database: &Path, store: &StoreRow) -> Next {
    let name = match store.by_display_name {
        true => store.display_name.as_str(),
        false => store.name.as_str(),
    };
    settings::next_at(database, name, &store.endpoint)
}

/// The libraries that an upload into this store is about.
fn libraries(reader: &Reader, store: Option<&StoreRow>) -> Result<Vec<LibraryRow>, Error> {
    let mut libraries = match store {
        Some(store) => reader.linked(store.id)?,
        None => Vec::new(),
    };
    libraries.extend(reader.never_sent()?);
    Ok(libraries)
}

fn page(
    reader: &Reader,
    store: Option<StoreRow>,
    next: Next,
    style: Style,
) -> Result<String, Error> {
    let libraries = libraries(reader, store.as_ref())?;
    let ids = libraries.iter().map(|library| library.id).collect();
    let files = reader.file_counts(&ids)?;
    let (counts, why) = match &store {
        Some(store) => {
            let mut why = reader.causes(store.id, UploadState::Pending)?;
            why.extend(reader.causes(store.id, UploadState::Uploading)?);
            (reader.upload_counts(store.id, &ids)?, why)
        }
        None => Default::default(),
    };
    let settled = counts.uploading + counts.processing + counts.indexed + counts.failed;
    let all = reader.libraries()?;
    let status = Status {
        files: files.present,
        // A file waits from the moment it was scanned, whether or not it has a row yet.
        pending: files.present.saturating_sub(settled),
        uploading: counts.uploading,
        processing: counts.processing,
        indexed: counts.indexed,
        failed: counts.failed,
        missing: files.missing,
        left_out: files.left_out,
        skipped: files.skipped,
        bytes: files.bytes,
        store: store.map(store_line),
        libraries: all
            .iter()
            .map(|row| library_line(reader, row))
            .collect::<Result<_, _>>()?,
        last_run: reader.last_run()?.map(|r| LastRun {
            run: r.run,
            started_ms: r.started_ms,
            ended_ms: r.ended_ms,
            outcome: r.outcome.unwrap_or_else(|| "running".to_owned()),
            indexed: r.indexed,
            failed: r.failed,
            pending: r.pending,
            processing: r.processing,
        }),
        why: why
            .into_iter()
            .map(|c| WaitingReason {
                words: c.words,
                count: c.count,
                since_ms: c.since_ms,
            })
            .collect(),
        next,
    };
    Ok(match style.json {
        true => json_line(&status.to_json()) + "\n",
        false => status.to_text(style.color),
    })
}

pub fn store_line(store: StoreRow) -> StoreLine {
    StoreLine {
        display_name: store.display_name,
        name: store.name.to_string(),
        endpoint: store.endpoint,
    }
}

pub fn library_line(reader: &Reader, library: &LibraryRow) -> Result<LibraryLine, Error> {
    let files = reader.file_counts(&[library.id].into_iter().collect())?;
    let stores = reader.stores_of(library.id)?;
    Ok(LibraryLine {
        name: library.name.clone(),
        root: library.root.display().to_string(),
        files: files.present,
        bytes: files.bytes,
        missing: files.missing,
        left_out: files.left_out,
        skipped: files.skipped,
        stores: stores.into_iter().map(store_line).collect(),
    })
}

fn failed(
    reader: &Reader,
    store: Option<&StoreRow>,
    next: &Next,
    style: Style,
) -> Result<String, Error> {
    let mut files = Vec::new();
    if let Some(store) = store {
        reader.each_failed(store.id, &mut |row| {
            files.push(FailedFile {
                library: row.library,
                path: row.path,
                kind: row.kind,
                error: row.error,
                since_ms: row.since_ms,
                attempts: row.attempts,
            });
            Ok(())
        })?;
    }
    Ok(match style.json {
        true => files.iter().map(|f| f.to_json() + "\n").collect(),
        false => failed_text(&files, next, style.color),
    })
}

/// A line each, since there may be many; the library only where there are several.
fn skipped(reader: &Reader, store: Option<&StoreRow>, style: Style) -> Result<String, Error> {
    let libraries = libraries(reader, store)?;
    let ids = libraries.iter().map(|library| library.id).collect();
    let mut text = String::new();
    reader.each_skipped(&ids, &mut |row| {
        text.push_str(&match style.json {
            true => json_line(
                &json!({"library": row.library, "path": row.path, "reason": row.reason,
                        "detail": row.detail}),
            ),
            false => one_line(&format!(
                "{}: {}: {} ({})",
                row.library, row.path, row.reason, row.detail
            )),
        });
        text.push('\n');
        Ok(())
    })?;
    if text.is_empty() && !style.json {
        text.push_str("the last scans skipped nothing\n");
    }
    Ok(text)
}
