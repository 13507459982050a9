//! `objlib status`: what was committed to disk, for people and programs.

use std::io::Write;
use std::path::Path;

use super::args;
use crate::error::{Error, Kind};
use crate::report::{FailedFile, LastRun, Status, StoreLine, Style, WaitingReason, failed_text};
use crate::state::{Reader, UploadState};
use crate::text::json_line;

pub fn run(args: &args::Status, database: &Path, style: Style) -> Result<u8, Error> {
    let reader = Reader::open(database)?;
    let mut out = std::io::stdout().lock();
    let text = match args.failed {
        true => failed(&reader, &args.store.name, style)?,
        false => page(&reader, &args.store.name, style)?,
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read this has seen enough.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(
            Kind::System,
            "stdout",
            e.to_string(),
            "check where the output goes",
        )),
        _ => Ok(0),
    }
}

fn page(reader: &Reader, store: &str, style: Style) -> Result<String, Error> {
    let files = reader.file_counts()?;
    let store = reader.store_used_last(store)?;
    let (counts, why) = match &store {
        Some(store) => {
            let mut why = reader.causes(store.id, UploadState::Pending)?;
            why.extend(reader.causes(store.id, UploadState::Uploading)?);
            (reader.upload_counts(store.id)?, why)
        }
        None => Default::default(),
    };
    let settled = counts.uploading + counts.processing + counts.indexed + counts.failed;
    let status = Status {
        files: files.present,
        // A file waits from the moment it was scanned, whether or not it has a row yet.
        pending: files.present.saturating_sub(settled),
        uploading: counts.uploading,
        processing: counts.processing,
        indexed: counts.indexed,
        failed: counts.failed,
        missing: files.missing,
        skipped: files.skipped,
        bytes: files.bytes,
        store: store.map(|s| StoreLine {
            display_name: s.display_name,
            name: s.name.to_string(),
            endpoint: s.endpoint,
        }),
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
    };
    Ok(match style.json {
        true => json_line(&status.to_json()) + "\n",
        false => status.to_text(style.color),
    })
}

fn failed(reader: &Reader, store: &str, style: Style) -> Result<String, Error> {
    let mut files = Vec::new();
    if let Some(store) = reader.store_used_last(store)? {
        reader.each_failed(store.id, &mut |row| {
            files.push(FailedFile {
                path: row.path,
                kind: row.kind,
                error: row.error,
                since_ms: row.since_ms,
                attempts: row.attempts,
            });
        })?;
    }
    Ok(match style.json {
        true => files.iter().map(|f| f.to_json() + "\n").collect(),
        false => failed_text(&files, style.color),
    })
}
