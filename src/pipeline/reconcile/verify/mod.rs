//! Database and store compared both ways, by identity.
//!
//! The plan can be shown, and `repair` carries out that very plan. Promises: nothing is concluded from a
//! listing that is not whole; of a file whose document is whole and active, one is kept; old content goes
//! only once the new is there; documents of libraries that this database does not know, and those that
//! objlib did not make, are never touched; those that this database has never sent are told of, since another one may
//! fill a library of the same name; memory grows neither with the store nor with what differs.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use super::listing::{self, Listing};
use crate::client::{Client, FailureKind};
use crate::error::{Error, Kind};
use crate::names::DocumentName;
use crate::report::progress::reading::{Reading, What};
use crate::shutdown::Shutdown;
use crate::state::comparison::drift::{DriftTable, Mend};
use crate::state::comparison::listed::ListedDocuments;
use crate::state::reader::{LibraryRow, StoreRow};
use crate::state::{Job, Reader, UploadId};
use crate::waits::Waits;

/// A document of ours, and its row.
mod of_document;

/// A row, and its document.
mod of_row;

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
    /// Those of them that differ and that this database has never sent: what it has forgotten, or another one's
    /// that has a library of the same name.
    pub strangers: u64,
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
            strangers: 0,
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

/// A document that no row names.
fn delete(document: &DocumentName) -> Mend {
    Mend::Delete {
        document: document.clone(),
        upload: None,
    }
}
