//! Before a library goes into a store for the first time, or an old copy of the database into use: what the store holds of it already is taken back.
//!
//! A database may be lost, put back from an old copy, or have forgotten a library; without this look
//! everything would be sent a second time. Promises: only documents of exactly this library, path, content
//! and metadata become a file's own; nothing is deleted; documents that carry the library's name and that this
//! database can never have sent are told of, since another one may have; nothing of the library is queued before
//! a whole listing was taken back to its end, so that this can be cut off anywhere.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::listing::{self, Listing};
use crate::client::FailureKind;
use crate::error::{Error, Kind};
use crate::names::DocumentName;
use crate::pipeline::{Parts, RunSettings};
use crate::report::Event;
use crate::report::next::quoted;
use crate::report::units::count;
use crate::state::comparison::listed::{ListedDocuments, Shown};
use crate::state::reader::{FileLike, Libraries};
use crate::state::{Adopted, Change, UploadState};

/// Documents on one page of a listing (fact sheet 11).
const PAGE_DOCUMENTS: u64 = 20;
/// A listing that costs no more requests than this is always worth it.
const PAGES_CHEAP: u64 = 100;

/// Looks at the store if a selected library has files that were never queued for it. How many documents
/// became a file's.
pub fn of_new_links(settings: &RunSettings, parts: &Parts) -> Result<u64, Error> {
    let store = settings.store.id;
    let linked = parts.reader.linked(store)?;
    let linked: BTreeSet<i64> = linked.into_iter().map(|library| library.id).collect();
    // A look that was cut off has made the link; nothing is queued before one has come to its end.
    let selected = settings.selection.libraries();
    let unqueued = parts.reader.not_begun_to_queue(store, &selected)?;
    let is_new = |id: &i64| !linked.contains(id) || unqueued.contains(id);
    let new: Vec<i64> = settings.selection.ids().filter(is_new).collect();
    if new.is_empty() || settings.documents == 0 {
        return Ok(0);
    }
    let ids: Libraries = new.iter().copied().collect();
    let files = parts.reader.file_counts(&ids)?;
    let counts = parts.reader.upload_counts(store, &ids)?;
    let settled = counts.uploading + counts.processing + counts.indexed + counts.failed;
    if files.present <= settled {
        return Ok(0);
    }
    let pages = settings.documents.div_ceil(PAGE_DOCUMENTS);
    // A file takes an upload and a look at its document: beyond that the look costs more than it can save.
    if pages > PAGES_CHEAP.max(files.present.saturating_mul(2)) {
        parts.events.send(Event::Notice(format!(
            "store `{}` holds {} documents, too many to look for this library's among them: if it was sent \
             there before, run verify with --repair first",
            settings.store.display_name, settings.documents
        )));
        return Ok(0);
    }
    let names = parts.reader.libraries()?;
    let names = names
        .into_iter()
        .filter(|library| new.contains(&library.id));
    let names = names.map(|library| library.name).collect();
    let (found, strangers) = take_back(settings, parts, &names)?;
    if let Some((library, n)) = strangers {
        parts.events.send(Event::Warning(format!(
            "store `{}` holds {} of library `{library}` that this database has never sent: if another machine or \
             database uses the name, give this one another (`objlib library rename {} OTHER`); if its own \
             database was lost, `objlib verify --repair` tidies up",
            settings.store.display_name,
            count(n, "document"),
            quoted(&library)
        )));
    }
    if found > 0 {
        parts.events.send(Event::Notice(format!(
            "store `{}` holds {found} of the files already: they are taken back, not sent again",
            settings.store.display_name
        )));
    }
    Ok(found)
}

/// A library's name, and how many documents carry it, or such another one, that this database has never sent.
type Strangers = Option<(String, u64)>;

fn take_back(
    settings: &RunSettings,
    parts: &Parts,
    names: &BTreeSet<String>,
) -> Result<(u64, Strangers), Error> {
    let (documents, surplus) = whole_listing(settings, parts)?;
    let mut taken = HashSet::new();
    let mut strangers: Strangers = None;
    documents.each(&mut |document| {
        let Some(identity) = document.identity.filter(|i| names.contains(&i.library)) else {
            return Ok(());
        };
        if document.state != Shown::Active || parts.reader.is_claimed(&document.name)? {
            return Ok(());
        }
        let files = parts.reader.files_like(settings.store.id, &identity)?;
        if !files.iter().any(|file| file.has_had(&identity.content)) {
            strangers.get_or_insert((identity.library, 0)).1 += 1;
            return Ok(());
        }
        let Some(file) = waiting(files, document.size_bytes) else {
            return Ok(());
        };
        let own = Adopted {
            file: file.file,
            size_bytes: file.size_bytes,
            store: settings.store.id,
            content: identity.content,
            document: document.name,
        };
        if surplus && is_deleted(settings, parts, &own.document)? {
            return Ok(());
        }
        // A second document of one file is for `verify` to judge.
        if taken.insert(own.file) {
            parts.writer.send(Change::Adopted(own), |_| {});
        }
        Ok(())
    })?;
    parts.writer.commit(Change::Flush)?;
    Ok((taken.len() as u64, strangers))
}

/// # Errors
/// What the listing does not show may be there all the same, and would be sent a second time
/// (`Kind::Unavailable`).
fn whole_listing(settings: &RunSettings, parts: &Parts) -> Result<(ListedDocuments, bool), Error> {
    let mut why = String::new();
    for lag in [Duration::ZERO, parts.waits.list_lag] {
        let store = &settings.store.name;
        match listing::list_after(
            lag,
            store,
            &parts.client,
            &parts.shutdown,
            parts.progress.reading(),
        )? {
            Listing::Whole {
                documents,
                surplus,
                last_page,
            } => {
                // What this run sends stands behind it.
                if let Some(bookmark) = last_page {
                    let store = settings.store.id;
                    let change = Change::Bookmarked { store, bookmark };
                    parts.writer.send(change, |_| {});
                }
                return Ok((documents, surplus > 0));
            }
            Listing::Behind(_, words) | Listing::Partial(_, words) => why = words,
        }
    }
    Err(cannot_tell(settings, &why))
}

/// A listing may still show what was deleted a moment ago; the document itself does not.
fn is_deleted(
    settings: &RunSettings,
    parts: &Parts,
    document: &DocumentName,
) -> Result<bool, Error> {
    let looked = listing::patient(parts.client.pause(), &parts.shutdown, || {
        parts.client.document(document)
    });
    match looked {
        Ok(_) => Ok(false),
        Err(failure) if failure.kind == FailureKind::Missing => Ok(true),
        Err(failure) => Err(cannot_tell(settings, &failure.to_string())),
    }
}

fn cannot_tell(settings: &RunSettings, why: &str) -> Error {
    Error::new(
        Kind::Unavailable,
        format!("store `{}`", settings.store.display_name),
        format!("cannot tell which files it holds already: {why}"),
        "nothing was sent; run the same command again",
    )
}

/// The file whose content on disk this document is, if it waits for one.
fn waiting(files: Vec<FileLike>, size_bytes: Option<u64>) -> Option<FileLike> {
    let waits = |state| matches!(state, None | Some(UploadState::Pending));
    files.into_iter().find(|file| {
        let whole = size_bytes.is_none_or(|held| held == file.size_bytes);
        file.current && whole && waits(file.state)
    })
}
