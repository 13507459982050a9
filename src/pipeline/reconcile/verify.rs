//! Database and store compared both ways, by identity; then made equal, if that is asked for.
//!
//! `compare` builds the plan, which can be shown; `repair` carries out that very plan. Promises: nothing
//! is concluded from a listing that is not whole; a document that a row claims, or that is the only one of
//! its identity, is never deleted; documents of libraries that this database does not know, and those that
//! objlib did not make, are never touched; nothing is uploaded here; memory grows neither with the store
//! nor with what differs.

use std::collections::BTreeSet;

use super::listing::{self, Listing};
use crate::client::{Client, Failure, FailureKind};
use crate::error::{Error, Kind};
use crate::identity::Identity;
use crate::names::DocumentName;
use crate::shutdown::Shutdown;
use crate::state::drift::{Drift, DriftKind, DriftTable};
use crate::state::listed::{ListedDocument, ListedDocuments, Shown};
use crate::state::reader::{FileLike, StoreRow};
use crate::state::{Adopted, Change, Job, Reader, UploadId, UploadState, Writer};

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
            being_made: 0,
            drift: DriftTable::new()?,
        })
    }
}

/// The document that a row names as its own.
enum Own {
    /// It names none.
    None,
    Listed,
    /// It is not there any more.
    Gone,
    /// It is there, and the listing did not show it.
    Unlisted,
}

pub struct Verify<'r> {
    pub store: &'r StoreRow,
    pub client: &'r Client,
    pub reader: &'r Reader,
    pub writer: &'r Writer,
    pub shutdown: &'r Shutdown,
    /// A repair that would delete a larger share of the documents of this database's libraries is refused.
    pub share_max_percent: u64,
}

impl Verify<'_> {
    /// # Errors
    /// The listing was not whole, so nothing can be said.
    pub fn compare(&self) -> Result<RepairPlan, Error> {
        let (documents, surplus) =
            match listing::list(&self.store.name, self.client, self.shutdown)? {
                Listing::Whole {
                    documents, surplus, ..
                } => (documents, surplus > 0),
                Listing::Partial(_, why) => return Err(self.cannot_tell(&why)),
            };
        let mut plan = RepairPlan::new(documents.count()?)?;
        let libraries = self.reader.libraries()?;
        let libraries: BTreeSet<String> = libraries.into_iter().map(|l| l.name).collect();
        documents.each(&mut |document| match &document.identity {
            None => {
                plan.foreign += 1;
                Ok(())
            }
            Some(identity) if !libraries.contains(&identity.library) => {
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
                self.place(&document, identity, &documents, &mut plan)
            }
        })?;
        if plan.being_made > 0 {
            let n = plan.being_made;
            return Err(self.cannot_tell(&format!("{n} documents are still being made")));
        }
        self.each_indexed(
            &mut |row| match plan.drift.takes_back(row.file, &row.content)? {
                // Its own document is gone, and another has taken its place.
                true => Ok(()),
                false => self.look_for(&row, &libraries, &documents, &mut plan),
            },
        )?;
        Ok(plan)
    }

    /// From a document of a known library to its row.
    fn place(
        &self,
        document: &ListedDocument,
        identity: &Identity,
        documents: &ListedDocuments,
        plan: &mut RepairPlan,
    ) -> Result<(), Error> {
        if let Some(row) = self.reader.claimant(&document.name)? {
            match row.state {
                // The other direction judges it.
                UploadState::Indexed => {}
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
        let Some(first) = files.first() else {
            let path = identity.path.clone();
            return plan.drift.add(&Drift::Unknown { path });
        };
        if document.state == Shown::Pending {
            plan.being_made += 1;
            return Ok(());
        }
        let content = identity.content;
        let mut free = None;
        let mut has_listed = false;
        for file in &files {
            if plan.drift.takes_back(file.file, &content)? {
                continue;
            }
            match self.standing(file, documents)? {
                Own::None | Own::Gone => free = free.or(Some(file)),
                Own::Listed => has_listed = true,
                Own::Unlisted => {}
            }
        }
        let is_torn = |size: u64| document.size_bytes.is_some_and(|held| held != size);
        let drift = match free {
            Some(file)
                if document.state == Shown::Failed
                    || (file.current && is_torn(file.size_bytes)) =>
            {
                Drift::Broken {
                    path: file.path.clone(),
                    upload: None,
                    document: document.name.clone(),
                }
            }
            Some(file) => Drift::TakeBack {
                path: file.path.clone(),
                file: file.file,
                size_bytes: document.size_bytes.unwrap_or(file.size_bytes),
                content,
                document: document.name.clone(),
            },
            None if has_listed || plan.drift.takes_back(first.file, &content)? => {
                Drift::Duplicate {
                    path: first.path.clone(),
                    document: document.name.clone(),
                }
            }
            // The row's own is there and the listing did not show it: another look decides.
            None => {
                plan.in_doubt += 1;
                return Ok(());
            }
        };
        plan.drift.add(&drift)
    }

    /// What has become of the document that a file's row names for this content.
    fn standing(&self, file: &FileLike, documents: &ListedDocuments) -> Result<Own, Error> {
        let document = match (&file.document, file.state) {
            (Some(document), Some(UploadState::Indexed)) => document,
            _ => return Ok(Own::None),
        };
        if documents.find(document)?.is_some() {
            return Ok(Own::Listed);
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
        libraries: &BTreeSet<String>,
        documents: &ListedDocuments,
        plan: &mut RepairPlan,
    ) -> Result<(), Error> {
        let Some(name) = &row.document else {
            return Ok(());
        };
        let (path, upload) = (row.path.clone(), row.upload);
        let listed = documents.find(name)?;
        let Some(document) = listed else {
            match self.is_gone(name)? {
                true => plan.drift.add(&Drift::Gone { path, upload })?,
                false => plan.matching += 1,
            }
            return Ok(());
        };
        let same = document.identity.as_ref().is_some_and(|identity| {
            identity.content == row.content && identity.path == row.path_value
        });
        let whole = document.size_bytes.is_none_or(|n| n == row.size_bytes);
        if same && whole && document.state != Shown::Failed {
            plan.matching += 1;
            return Ok(());
        }
        let own = document
            .identity
            .is_some_and(|identity| libraries.contains(&identity.library));
        plan.drift.add(&match own {
            true => Drift::Broken {
                path,
                upload: Some(upload),
                document: name.clone(),
            },
            // What the row names is somebody else's document: it is not this file's, and not ours to delete.
            false => Drift::Gone { path, upload },
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

    /// Carries the plan out; answers how many differences are left.
    pub fn repair(&self, plan: &RepairPlan) -> Result<u64, Error> {
        let count = |kind| plan.drift.count(kind);
        let deletions = count(DriftKind::Duplicate) + count(DriftKind::Broken);
        if deletions * 100 > plan.own * self.share_max_percent {
            return Err(Error::new(
                Kind::Store,
                format!("store `{}`", self.store.display_name),
                format!(
                    "the repair would delete {deletions} of {} documents, more than {} %: refused",
                    plan.own, self.share_max_percent
                ),
                "see with `objlib verify` what they are, and allow it with --max-share; nothing was changed",
            ));
        }
        plan.drift.each(
            None,
            u64::MAX,
            &mut |drift| match self.shutdown.is_stopping() {
                true => Err(self.cannot_tell("interrupted")),
                false => self.mend(drift),
            },
        )?;
        // Says as well whether a change was refused that nobody waited for.
        self.writer.commit(Change::Flush)?;
        Ok(count(DriftKind::Unknown))
    }

    /// Changes of the database are not waited for one by one: each of them records what the service holds
    /// already, so that after a crash the next comparison finds what is missing.
    fn mend(&self, drift: Drift) -> Result<(), Error> {
        let retire = |upload| self.writer.send(Change::Retired { upload }, |_| {});
        match drift {
            Drift::TakeBack {
                file,
                size_bytes,
                content,
                document,
                ..
            } => {
                let change = Change::Adopted(Adopted {
                    file,
                    store: self.store.id,
                    size_bytes,
                    content,
                    document,
                });
                self.writer.send(change, |_| {});
            }
            Drift::Duplicate { document, .. } => self.delete(&document)?,
            Drift::Gone { upload, .. } => retire(upload),
            Drift::Broken {
                upload, document, ..
            } => {
                self.delete(&document)?;
                upload.into_iter().for_each(retire);
            }
            Drift::Unknown { .. } => {}
        }
        Ok(())
    }

    fn delete(&self, document: &DocumentName) -> Result<(), Error> {
        let deleted = self.client.delete_document(document);
        deleted.map_err(|failure: Failure| failure.to_error(&self.store.display_name))
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
