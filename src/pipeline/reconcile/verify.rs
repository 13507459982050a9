//! Database and store compared both ways, by identity.
//!
//! The plan can be shown, and `repair` carries out that very plan. Promises: nothing is concluded from a
//! listing that is not whole; of a file whose document is whole and active, one is kept; old content goes
//! only once the new is there; documents of libraries that this database does not know, and those that
//! objlib did not make, are never touched; memory grows neither with the store nor with what differs.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use super::listing::{self, Listing};
use crate::client::{Client, FailureKind};
use crate::error::{Error, Kind};
use crate::identity::{ContentKey, Identity};
use crate::names::DocumentName;
use crate::report::progress::reading::{Reading, What};
use crate::shutdown::Shutdown;
use crate::state::comparison::drift::{Drift, DriftKind, DriftTable, Mend};
use crate::state::comparison::listed::{ListedDocument, ListedDocuments, Shown};
use crate::state::reader::{FileLike, LibraryRow, StoreRow};
use crate::state::{Job, Reader, UploadId, UploadState};
use crate::waits::Waits;

/// Between two listings while the first is behind. Lists lag by 0.5 s at the median (fact sheet 11): shorter
/// asks in vain.
const LIST_AGAIN: Duration = Duration::from_secs(2);

/// What was found, and what `repair` does.
pub struct RepairPlan {
    pub documents: u64,
    /// Rows and documents that agree.
    pub matching: u64,
    /// Documents without our identity: somebody else's.
    pub foreign: u64,
    /// Documents of libraries that this database does not know: another host's.
    pub elsewhere: u64,
    /// Documents of this database's libraries.
    pub own: u64,
    /// Rows on the way; the next upload settles them.
    pub in_doubt: u64,
    /// Files whose upload has begun and not ended, and files that are still to be sent: of neither can more be
    /// said.
    pub under_way: u64,
    pub unsent: u64,
    /// Documents of nobody known that are not active yet.
    being_made: u64,
    pub drift: DriftTable,
}

impl RepairPlan {
    fn new(documents: u64) -> Result<RepairPlan, Error> {
        Ok(RepairPlan {
            documents,
            matching: 0,
            foreign: 0,
            elsewhere: 0,
            own: 0,
            in_doubt: 0,
            under_way: 0,
            unsent: 0,
            being_made: 0,
            drift: DriftTable::new()?,
        })
    }
}

/// A library of this database, and whether its folder is there with something in it: one that is not mounted
/// has lost nothing.
struct Library {
    row: LibraryRow,
    is_there: bool,
}

/// By name.
type Libraries = BTreeMap<String, Library>;

impl Library {
    fn new(row: LibraryRow) -> (String, Library) {
        let is_there = row
            .root
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_some());
        (row.name.clone(), Library { row, is_there })
    }

    /// Whether the folder has no such file. Of a path that the identity holds as its hash nobody can tell.
    fn has_lost(&self, path_value: &str) -> bool {
        let path = Path::new(path_value);
        let normal = |c: Component<'_>| matches!(c, Component::Normal(_));
        if !self.is_there || path_value.starts_with("sha256:") || !path.components().all(normal) {
            return false;
        }
        let looked = self.row.root.join(path).symlink_metadata();
        looked.is_err_and(|e| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
    }
}

/// The document that a row names as its own.
enum Own {
    /// It names none.
    None,
    Listed,
    /// It is not there any more, or of no use.
    Gone,
    /// It is there, and the listing did not show it.
    Unlisted,
}

pub struct Verify<'r> {
    pub store: &'r StoreRow,
    pub client: &'r Client,
    pub reader: &'r Reader,
    pub shutdown: &'r Shutdown,
    pub waits: &'r Waits,
    pub reading: &'r Reading,
}

impl Verify<'_> {
    /// # Errors
    /// The listing was not whole, so nothing can be said.
    pub fn compare(&self) -> Result<RepairPlan, Error> {
        let (documents, surplus) = self.whole_listing()?;
        let mut plan = RepairPlan::new(documents.count()?)?;
        let linked = self.reader.linked(self.store.id)?;
        let linked = linked.iter().map(|library| library.id).collect();
        let counts = self.reader.upload_counts(self.store.id, &linked)?;
        plan.under_way = counts.uploading + counts.processing;
        plan.unsent = counts.pending;
        let libraries = self.reader.libraries()?;
        let libraries: Libraries = libraries.into_iter().map(Library::new).collect();
        let comparing = self
            .reading
            .begin(What::Comparison(self.store.name.to_string()));
        self.reading.expects(plan.documents);
        documents.each(&mut |document| {
            self.reading.saw(1);
            match &document.identity {
                None => {
                    plan.foreign += 1;
                    Ok(())
                }
                Some(identity) if !libraries.contains_key(&identity.library) => {
                    plan.elsewhere += 1;
                    Ok(())
                }
                // Shown, and yet deleted: nothing of it is to be taken back.
                Some(_)
                    if surplus
                        && self.reader.claimant(&document.name)?.is_none()
                        && self.is_gone(&document.name)? =>
                {
                    Ok(())
                }
                Some(identity) => {
                    plan.own += 1;
                    let library = &libraries[&identity.library];
                    self.place((&document, identity, library), &documents, &mut plan)
                }
            }
        })?;
        drop(comparing);
        if plan.being_made > 0 {
            let n = plan.being_made;
            return Err(self.cannot_tell(&format!("{n} documents are still being made")));
        }
        self.each_indexed(
            &mut |row| match plan.drift.takes_back(row.file, &row.content)? {
                true => self.replaced(&row, &documents, &mut plan),
                false => self.look_for(&row, &libraries, &documents, &mut plan),
            },
        )?;
        Ok(plan)
    }

    /// The store's documents, and whether there may be deleted ones among them. What was sent just now is
    /// listed a little later: until then the store is listed again, as long as lists may lag.
    fn whole_listing(&self) -> Result<(ListedDocuments, bool), Error> {
        let began = Instant::now();
        loop {
            let why =
                match listing::list(&self.store.name, self.client, self.shutdown, self.reading)? {
                    Listing::Whole {
                        documents, surplus, ..
                    } => return Ok((documents, surplus > 0)),
                    Listing::Behind(_, why) => why,
                    Listing::Partial(_, why) => return Err(self.cannot_tell(&why)),
                };
            let left = self.waits.list_lag.saturating_sub(began.elapsed());
            let wait = left.min(self.waits.scaled(LIST_AGAIN));
            if wait.is_zero() || !self.shutdown.sleep(wait) {
                return Err(self.cannot_tell(&why));
            }
        }
    }

    /// From a document of a known library to its row.
    fn place(
        &self,
        (document, identity, library): (&ListedDocument, &Identity, &Library),
        documents: &ListedDocuments,
        plan: &mut RepairPlan,
    ) -> Result<(), Error> {
        if let Some(row) = self.reader.claimant(&document.name)? {
            match row.state {
                // The other direction judges it.
                UploadState::Indexed => {}
                // Deleted, and still shown.
                UploadState::Superseded | UploadState::Retired
                    if self.is_gone(&document.name)? => {}
                _ => plan.in_doubt += 1,
            }
            return Ok(());
        }
        let files = self.reader.files_like(self.store.id, identity)?;
        let under_way = |s| matches!(s, UploadState::Uploading | UploadState::Processing);
        if files.iter().filter_map(|f| f.state).any(under_way) {
            plan.in_doubt += 1;
            return Ok(());
        }
        let drift = |kind, path: &str, mend| Drift {
            kind,
            library: identity.library.clone(),
            path: path.to_owned(),
            mend,
        };
        let Some(first) = files.first() else {
            let (kind, mend) = of_no_file(document, identity, library, plan)?;
            return plan.drift.add(&drift(kind, &identity.path, mend));
        };
        if document.state == Shown::Pending {
            plan.being_made += 1;
            return Ok(());
        }
        let (free, has_good) = self.in_need(&files, &identity.content, documents, plan)?;
        let path = &free.unwrap_or(first).path;
        let is_torn = |file: &FileLike| {
            file.current && document.size_bytes.is_some_and(|n| n != file.size_bytes)
        };
        let delete = || delete(&document.name);
        let (kind, mend) = match free {
            _ if document.state == Shown::Failed => (DriftKind::Failed, delete()),
            Some(file) if is_torn(file) => (DriftKind::Broken, delete()),
            Some(file) => of_file_in_need(file, document, identity, documents)?,
            None if has_good => (DriftKind::Duplicate, delete()),
            // The row's own is there and the listing did not show it: another look decides.
            None => {
                plan.in_doubt += 1;
                return Ok(());
            }
        };
        plan.drift.add(&drift(kind, path, mend))
    }

    /// The first of these files that has no document of this content, and whether another has a good one.
    fn in_need<'f>(
        &self,
        files: &'f [FileLike],
        content: &ContentKey,
        documents: &ListedDocuments,
        plan: &RepairPlan,
    ) -> Result<(Option<&'f FileLike>, bool), Error> {
        let mut free = None;
        let mut has_good = false;
        for file in files {
            if plan.drift.takes_back(file.file, content)? {
                has_good = true;
                continue;
            }
            match self.standing(file, documents)? {
                Own::None | Own::Gone => free = free.or(Some(file)),
                Own::Listed => has_good = true,
                Own::Unlisted => {}
            }
        }
        Ok((free, has_good))
    }

    /// What has become of the document that a file's row names for this content.
    fn standing(&self, file: &FileLike, documents: &ListedDocuments) -> Result<Own, Error> {
        let document = match (&file.document, file.state) {
            (Some(document), Some(UploadState::Indexed)) => document,
            _ => return Ok(Own::None),
        };
        if let Some(own) = documents.find(document)? {
            let is_torn = file.current && own.size_bytes.is_some_and(|n| n != file.size_bytes);
            return Ok(match is_torn || own.state == Shown::Failed {
                true => Own::Gone,
                false => Own::Listed,
            });
        }
        Ok(match self.is_gone(document)? {
            true => Own::Gone,
            false => Own::Unlisted,
        })
    }

    /// A listing may lag; the document itself does not.
    fn is_gone(&self, name: &DocumentName) -> Result<bool, Error> {
        if DocumentName::of_store(&self.store.name, name.as_str()).is_none() {
            return Ok(true);
        }
        match self.client.document(name) {
            Ok(_) => Ok(false),
            Err(failure) if failure.kind == FailureKind::Missing => Ok(true),
            Err(failure) => Err(self.cannot_tell(&failure.to_string())),
        }
    }

    /// From a row to its document.
    fn look_for(
        &self,
        row: &Job,
        libraries: &Libraries,
        documents: &ListedDocuments,
        plan: &mut RepairPlan,
    ) -> Result<(), Error> {
        let Some(name) = &row.document else {
            return Ok(());
        };
        let upload = row.upload;
        let drift = |kind, mend| Drift {
            kind,
            library: row.library_name.clone(),
            path: row.path.clone(),
            mend,
        };
        let gone = drift(DriftKind::Gone, Mend::Forget { upload });
        let Some(document) = documents.find(name)? else {
            if self.is_gone(name)? {
                return plan.drift.add(&gone);
            }
            plan.matching += 1;
            return Ok(());
        };
        let same = document.identity.as_ref().is_some_and(|identity| {
            identity.content == row.content && identity.path == row.path_value
        });
        let whole = document.size_bytes.is_none_or(|n| n == row.size_bytes);
        let has_failed = document.state == Shown::Failed;
        if same && whole && !has_failed {
            plan.matching += 1;
            return Ok(());
        }
        let own = document
            .identity
            .filter(|i| libraries.contains_key(&i.library));
        let Some(identity) = own else {
            // What the row names is somebody else's document: it is not this file's, and not ours to delete.
            return plan.drift.add(&gone);
        };
        let delete = Mend::Delete {
            document: name.clone(),
            upload: Some(upload),
        };
        let is_of_file = identity.path == row.path_value && identity.library == row.library_name;
        let relabel = Mend::Relabel {
            upload,
            size_bytes: document.size_bytes,
            content: identity.content,
        };
        let found = match is_of_file && !same {
            _ if has_failed => drift(DriftKind::Failed, delete),
            false => drift(DriftKind::Broken, delete),
            true if identity.content.sha256 == row.content.sha256 => {
                drift(DriftKind::Metadata, relabel)
            }
            true => drift(DriftKind::Stale, relabel),
        };
        plan.drift.add(&found)
    }

    /// Another document has taken its place; it is deleted if it is there and of no use.
    fn replaced(
        &self,
        row: &Job,
        documents: &ListedDocuments,
        plan: &mut RepairPlan,
    ) -> Result<(), Error> {
        let Some(name) = &row.document else {
            return Ok(());
        };
        let Some(listed) = documents.find(name)? else {
            return Ok(());
        };
        let kind = match listed.state {
            Shown::Failed => DriftKind::Failed,
            Shown::Pending | Shown::Active => DriftKind::Broken,
        };
        plan.drift.add(&Drift {
            kind,
            library: row.library_name.clone(),
            path: row.path.clone(),
            mend: delete(name),
        })
    }

    fn each_indexed(&self, each: &mut dyn FnMut(Job) -> Result<(), Error>) -> Result<(), Error> {
        let mut after = UploadId(0);
        loop {
            let page = self.reader.indexed(self.store.id, after)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.upload;
            for row in page {
                if self.shutdown.is_stopping() {
                    return Err(self.cannot_tell("interrupted"));
                }
                each(row)?;
            }
        }
    }

    fn cannot_tell(&self, why: &str) -> Error {
        Error::new(
            Kind::Network,
            format!("store `{}`", self.store.display_name),
            format!("cannot tell: {why}"),
            "run `objlib verify` again; nothing was concluded and nothing deleted on a guess",
        )
    }
}

/// Whether what the file holds now is in the store, whole and active, so that this older document of it is
/// not needed.
fn has_successor(
    file: &FileLike,
    older: &Identity,
    documents: &ListedDocuments,
) -> Result<bool, Error> {
    let Some(name) = &file.current_document else {
        return Ok(false);
    };
    let Some(document) = documents.find(name)? else {
        return Ok(false);
    };
    let is_of_file = document.identity.is_some_and(|identity| {
        identity.content == file.content
            && identity.library == older.library
            && identity.path == older.path
    });
    let is_whole = document.size_bytes == Some(file.size_bytes);
    Ok(is_of_file && is_whole && document.state == Shown::Active)
}

/// A document that no row names.
fn delete(document: &DocumentName) -> Mend {
    Mend::Delete {
        document: document.clone(),
        upload: None,
    }
}

/// A whole document of a file that has none of this content.
fn of_file_in_need(
    file: &FileLike,
    document: &ListedDocument,
    identity: &Identity,
    documents: &ListedDocuments,
) -> Result<(DriftKind, Mend), Error> {
    let content = identity.content;
    let kind = match file.content {
        held if held == content => DriftKind::TakeBack,
        held if held.sha256 == content.sha256 => DriftKind::Metadata,
        _ => DriftKind::Stale,
    };
    let is_replaced = has_successor(file, identity, documents)?;
    let mend = match is_replaced {
        true => delete(&document.name),
        false => Mend::TakeBack {
            file: file.file,
            size_bytes: document.size_bytes.unwrap_or(file.size_bytes),
            content,
            document: document.name.clone(),
        },
    };
    Ok((kind, mend))
}

/// A document of a file that the database does not know.
fn of_no_file(
    document: &ListedDocument,
    identity: &Identity,
    library: &Library,
    plan: &RepairPlan,
) -> Result<(DriftKind, Mend), Error> {
    let is_active = document.state == Shown::Active;
    let remembered = plan.drift.remembers(library.row.id, &identity.path)?;
    Ok(match remembered {
        None if is_active && library.has_lost(&identity.path) => {
            let mend = Mend::Remember {
                library: library.row.id,
                size_bytes: document.size_bytes.unwrap_or(0),
                content: identity.content,
                document: document.name.clone(),
            };
            (DriftKind::Unknown, mend)
        }
        Some(content) if content == identity.content => {
            (DriftKind::Duplicate, delete(&document.name))
        }
        // The next comparison judges other content of one that is remembered.
        _ => (DriftKind::Unknown, Mend::Nothing),
    })
}
