//! `objlib status`: what was committed to disk, for people and programs.

use std::collections::BTreeMap;
use std::io::{BufWriter, ErrorKind, StdoutLock, Write};
use std::path::Path;

use super::args::{self, DEFAULT_STORE};
use super::settings;
use crate::error::{Error, Kind};
use crate::report::status::{self, LibraryLine, Status, StoreLine};
use crate::report::{Next, Style};
use crate::scan::LibrarySettings;
use crate::state::figures::{FileCounts, SkippedFile, behind};
use crate::state::reader::{LibraryRow, StoreRow};
use crate::state::{Reader, UploadId, UploadState};
use crate::text::json_line;

pub fn run(args: &args::Status, database: &Path, style: Style) -> Result<u8, Error> {
    let reader = Reader::open(database)?;
    let store = reader.store_used_last(&args.store.name)?;
    let next = match &store {
        Some(store) => next(database, store),
        // Nothing is known of it, but that it was asked for.
        None if args.store.name != DEFAULT_STORE => {
            settings::next_here(database).with_store(&args.store.name)
        }
        None => settings::next_here(database),
    };
    // What a scan has skipped, and what no rule meets, is not about a store, unless one is named.
    let named = store.as_ref().filter(|_| args.store.name != DEFAULT_STORE);
    let mut out = Output::default();
    match (args.failed, args.skipped) {
        (true, _) => failed(&reader, store.as_ref(), &next, style, &mut out)?,
        (_, true) => skipped(&reader, named, style, &mut out)?,
        _ if args.unmatched => unmatched(&reader, named, style, &mut out)?,
        _ => out.line(page(&reader, store, next, style)?.trim_end())?,
    }
    out.end().map(|()| 0)
}

/// To stdout; whoever closed it has seen enough.
pub fn say(text: &str) -> Result<(), Error> {
    let mut out = Output::default();
    out.write(|stdout| stdout.write_all(text.as_bytes()))?;
    out.end()
}

/// Stdout, line by line, so that a list may be of any length.
struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
    is_closed: bool,
}

impl Default for Output {
    fn default() -> Output {
        Output {
            stdout: BufWriter::new(std::io::stdout().lock()),
            is_closed: false,
        }
    }
}

impl Output {
    fn line(&mut self, line: &str) -> Result<(), Error> {
        self.write(|stdout| writeln!(stdout, "{line}"))
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        if self.is_closed {
            return Ok(());
        }
        match write(&mut self.stdout) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => self.is_closed = true,
            Err(e) => {
                return Err(Error::new(
                    Kind::System,
                    "stdout",
                    e.to_string(),
                    "check where the output goes",
                ));
            }
            Ok(()) => {}
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), Error> {
        self.write(|stdout| stdout.flush())
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

pub(super) fn page(
    reader: &Reader,
    store: Option<StoreRow>,
    next: Next,
    style: Style,
) -> Result<String, Error> {
    let all = reader.libraries()?;
    let files_of = reader.file_counts_by_library(&all.iter().map(|row| row.id).collect())?;
    let libraries = libraries(reader, store.as_ref())?;
    let mut files = sum(&libraries, &files_of);
    let ids = libraries.iter().map(|library| library.id).collect();
    // What never goes into this store is none of its files.
    if let Some(store) = &store {
        for (images, bytes) in reader.images_not_for(store.id, &ids)?.values() {
            files.present = files.present.saturating_sub(*images);
            files.bytes = files.bytes.saturating_sub(*bytes);
        }
    }
    let (counts, why) = match &store {
        Some(store) => {
            let mut why = reader.reasons(store.id, UploadState::Pending)?;
            why.extend(reader.reasons(store.id, UploadState::Uploading)?);
            (reader.upload_counts(store.id, &ids)?, why)
        }
        None => Default::default(),
    };
    let gone = match &store {
        Some(store) => reader.purgeable_files(store.id, &ids)?,
        None => 0,
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
        left_out: files.left_out,
        gone,
        skipped: files.skipped,
        bytes: files.bytes,
        store: store.map(store_line),
        libraries: all
            .iter()
            .map(|row| library_line(reader, row, &of(row, &files_of)))
            .collect::<Result<_, _>>()?,
        last_run: reader.last_run(settings::waits().lock_stale_after)?,
        why,
        next,
    };
    Ok(match style.json {
        true => json_line(&status.to_json()) + "\n",
        false => status.to_text(style.color),
    })
}

/// A library of which nothing is recorded yet has no counts.
fn of(library: &LibraryRow, files_of: &BTreeMap<i64, FileCounts>) -> FileCounts {
    files_of.get(&library.id).copied().unwrap_or_default()
}

fn sum(libraries: &[LibraryRow], files_of: &BTreeMap<i64, FileCounts>) -> FileCounts {
    let mut sum = FileCounts::default();
    for library in libraries {
        sum.add(&of(library, files_of));
    }
    sum
}

pub fn store_line(store: StoreRow) -> StoreLine {
    StoreLine {
        display_name: store.display_name,
        name: store.name.to_string(),
        endpoint: store.endpoint,
    }
}

pub fn library_line(
    reader: &Reader,
    library: &LibraryRow,
    files: &FileCounts,
) -> Result<LibraryLine, Error> {
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
        settings: LibrarySettings::read(&library.name, &library.settings)?,
    })
}

/// By error, and a page of files at a time: there may be many.
fn failed(
    reader: &Reader,
    store: Option<&StoreRow>,
    next: &Next,
    style: Style,
    out: &mut Output,
) -> Result<(), Error> {
    let mut from = String::new();
    let mut any = false;
    while let Some(store) = store.filter(|_| !out.is_closed) {
        let Some((error, files)) = reader.next_error(store.id, &from)? else {
            break;
        };
        any = true;
        if !style.json {
            out.line(&status::failed_heading(&error, files, style.color))?;
        }
        let mut after = UploadId(0);
        while !out.is_closed {
            let page = reader.failed_for(store.id, &error, after)?;
            let Some(last) = page.last() else { break };
            after = last.upload;
            for file in &page {
                out.line(&match style.json {
                    true => status::failed_json(file),
                    false => status::failed_line(file),
                })?;
            }
        }
        from = behind(&error);
    }
    match (style.json, any) {
        (true, _) => Ok(()),
        (false, true) => out.line(&status::failed_next(next)),
        (false, false) => out.line(status::NOTHING_FAILED),
    }
}

fn unmatched(
    reader: &Reader,
    store: Option<&StoreRow>,
    style: Style,
    out: &mut Output,
) -> Result<(), Error> {
    let any = by_path(&scanned(reader, store)?, out, |library, from| {
        let page = reader.unmatched(library.id, from)?.into_iter();
        let line = |path: String| {
            let line = match style.json {
                true => status::unmatched_json(&library.name, &path),
                false => status::unmatched_line(&library.name, &path),
            };
            (path, line)
        };
        Ok(page.map(line).collect())
    })?;
    match any || style.json {
        true => Ok(()),
        false => out.line(status::NOTHING_UNMATCHED),
    }
}

fn skipped(
    reader: &Reader,
    store: Option<&StoreRow>,
    style: Style,
    out: &mut Output,
) -> Result<(), Error> {
    let any = by_path(&scanned(reader, store)?, out, |library, from| {
        let page = reader.skipped(library.id, from)?.into_iter();
        let line = |file: SkippedFile| {
            let line = match style.json {
                true => status::skipped_json(&library.name, &file),
                false => status::skipped_line(&library.name, &file),
            };
            (file.path, line)
        };
        Ok(page.map(line).collect())
    })?;
    match any || style.json {
        true => Ok(()),
        false => out.line(status::NOTHING_SKIPPED),
    }
}

/// Every library, unless a store is named.
fn scanned(reader: &Reader, store: Option<&StoreRow>) -> Result<Vec<LibraryRow>, Error> {
    match store {
        Some(_) => libraries(reader, store),
        None => reader.libraries(),
    }
}

/// A line a path of each library, a page at a time: paths from this one on, and their lines. Answers whether
/// there was any.
fn by_path(
    libraries: &[LibraryRow],
    out: &mut Output,
    page: impl Fn(&LibraryRow, &str) -> Result<Vec<(String, String)>, Error>,
) -> Result<bool, Error> {
    let mut any = false;
    for library in libraries {
        let mut from = String::new();
        while !out.is_closed {
            let page = page(library, &from)?;
            let Some((last, _)) = page.last() else { break };
            from = behind(last);
            any = true;
            for (_, line) in &page {
                out.line(line)?;
            }
        }
    }
    Ok(any)
}
