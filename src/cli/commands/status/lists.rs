//! The lists of `status`: what has failed, was skipped, or is met by no rule.
//!
//! Promises: a page at a time is in memory, and a reader that has seen enough ends the list.

use crate::app;
use crate::cli::settings::secret;
use crate::cli::terminal::stdout::Output;
use crate::client::Secrets;
use crate::error::Error;
use crate::report::status::lists;
use crate::report::{Next, Style};
use crate::state::reader::figures::{SkippedFile, behind};
use crate::state::reader::{LibraryRow, StoreRow};
use crate::state::{Reader, UploadId};

/// Of each store by error, and a page of files at a time: there may be many.
pub fn failed(
    reader: &Reader,
    stores: &[(StoreRow, Next)],
    style: Style,
    out: &mut Output,
) -> Result<(), Error> {
    let mut any = false;
    for (store, next) in stores {
        let mut from = String::new();
        while let Some((error, files)) = reader.next_error(store.id, &from)? {
            if out.is_closed {
                return Ok(());
            }
            if !style.json {
                if from.is_empty() && stores.len() > 1 {
                    out.line(&lists::store_heading(&store.display_name, &store.endpoint))?;
                }
                out.line(&lists::failed_heading(&error, files, style.color_out))?;
            }
            failed_with(&error, (reader, store), style, out)?;
            from = behind(&error);
        }
        any |= !from.is_empty();
        if !style.json && !from.is_empty() {
            out.line(&lists::failed_next(next))?;
        }
    }
    match any || style.json {
        true => Ok(()),
        false => out.line(lists::NOTHING_FAILED),
    }
}

fn failed_with(
    error: &str,
    (reader, store): (&Reader, &StoreRow),
    style: Style,
    out: &mut Output,
) -> Result<(), Error> {
    // A path may hold it, of a file that was scanned where no key was known.
    let secrets = secret::known().as_ref().map(Secrets::new);
    let mut after = UploadId(0);
    while !out.is_closed {
        let page = reader.failed_for(store.id, error, after)?;
        let Some(last) = page.last() else { break };
        after = last.upload;
        for mut file in page {
            if let Some(secrets) = &secrets {
                file.path = secrets.out_of(&file.path);
            }
            out.line(&match style.json {
                true => lists::failed_json(store.name.as_str(), &file),
                false => lists::failed_line(&file),
            })?;
        }
    }
    Ok(())
}

pub fn unmatched(
    reader: &Reader,
    named: &[StoreRow],
    style: Style,
    out: &mut Output,
) -> Result<(), Error> {
    let nothing = (!style.json).then_some(lists::NOTHING_UNMATCHED);
    by_path(&scanned(reader, named)?, nothing, out, |library, from| {
        let page = reader.unmatched(library.id, from)?.into_iter();
        let line = |path: String| {
            let line = match style.json {
                true => lists::unmatched_json(&library.name, &path),
                false => lists::unmatched_line(&library.name, &path),
            };
            (path, line)
        };
        Ok(page.map(line).collect())
    })
}

pub fn skipped(
    reader: &Reader,
    named: &[StoreRow],
    style: Style,
    out: &mut Output,
) -> Result<(), Error> {
    let nothing = (!style.json).then_some(lists::NOTHING_SKIPPED);
    by_path(&scanned(reader, named)?, nothing, out, |library, from| {
        let page = reader.skipped(library.id, from)?.into_iter();
        let line = |file: SkippedFile| {
            let line = match style.json {
                true => lists::skipped_json(&library.name, &file),
                false => lists::skipped_line(&library.name, &file),
            };
            (file.path, line)
        };
        Ok(page.map(line).collect())
    })
}

/// Every library, unless stores are named: then those that go into them.
fn scanned(reader: &Reader, named: &[StoreRow]) -> Result<Vec<LibraryRow>, Error> {
    if named.is_empty() {
        return reader.libraries();
    }
    let mut all: Vec<LibraryRow> = Vec::new();
    for store in named {
        for library in app::status::libraries(reader, Some(store))? {
            if all.iter().all(|known| known.id != library.id) {
                all.push(library);
            }
        }
    }
    Ok(all)
}

/// A line a path of each library, a page at a time: paths from this one on, and their lines. `nothing` is said
/// if there is none.
fn by_path(
    libraries: &[LibraryRow],
    nothing: Option<&str>,
    out: &mut Output,
    page: impl Fn(&LibraryRow, &str) -> Result<Vec<(String, String)>, Error>,
) -> Result<(), Error> {
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
    match nothing.filter(|_| !any) {
        Some(nothing) => out.line(nothing),
        None => Ok(()),
    }
}
