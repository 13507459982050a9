//! What nothing needs any more is deleted at the service, and only then forgotten: documents that newer
//! content has replaced, what failed attempts made, temporary files.
//!
//! Promises: an old document goes after the new one is active, so a search never finds none; a deletion
//! that could not be confirmed is tried again by the next run, and this one does not say that all is done.

use std::cell::Cell;

use super::Parts;
use super::listing::patient;
use super::outcome;
use crate::client::{Failure, FailureKind};
use crate::error::Error;
use crate::state::reader::StoreRow;
use crate::state::{Change, Job, UploadId, UploadState};

/// Whether all of it is gone.
pub fn delete(store: &StoreRow, parts: &Parts) -> Result<bool, Error> {
    let leftovers = Leftovers {
        store,
        parts,
        all_gone: Cell::new(true),
        given_up: Cell::new(false),
    };
    // What the last outcomes made unneeded is with the writer.
    leftovers.commit(Change::Flush)?;
    leftovers.replaced_documents()?;
    leftovers.remains()?;
    Ok(leftovers.all_gone.get())
}

struct Leftovers<'r> {
    store: &'r StoreRow,
    parts: &'r Parts,
    all_gone: Cell<bool>,
    /// The service fails: the next run tries again.
    given_up: Cell<bool>,
}

impl Leftovers<'_> {
    fn replaced_documents(&self) -> Result<(), Error> {
        let (reader, client) = (&self.parts.reader, &self.parts.client);
        let replaced = |after| reader.replaced(self.store.id, after);
        self.each(&replaced, &|job| {
            let upload = job.upload;
            match &job.document {
                Some(document) if self.is_gone(|| client.delete_document(document))? => {
                    self.commit(Change::Superseded { upload })
                }
                _ => Ok(()),
            }
        })
    }

    /// Of failed attempts, and temporary files.
    fn remains(&self) -> Result<(), Error> {
        let (reader, client) = (&self.parts.reader, &self.parts.client);
        let remains = |after| reader.leftovers(self.store.id, after);
        self.each(&remains, &|job| {
            let upload = job.upload;
            if let Some(file) = &job.temporary
                && self.is_gone(|| client.delete_file(file))?
            {
                self.commit(Change::TemporaryGone { upload })?;
            }
            if let Some(document) = &job.document
                && job.state != UploadState::Indexed
                && self.is_gone(|| client.delete_document(document))?
            {
                self.commit(Change::Cleared { upload })?;
            }
            Ok(())
        })
    }

    fn is_gone(&self, delete: impl FnMut() -> Result<(), Failure>) -> Result<bool, Error> {
        let Err(failure) = patient(&self.parts.shutdown, delete) else {
            return Ok(true);
        };
        if let Some(error) = outcome::fatal(&failure, &self.store.display_name) {
            return Err(error);
        }
        self.all_gone.set(false);
        // What concerns one document only does not keep the others.
        let is_outage = matches!(
            failure.kind,
            FailureKind::Transient
                | FailureKind::RateLimited
                | FailureKind::NotTheService
                | FailureKind::Skipped { .. }
        );
        self.given_up.set(is_outage);
        Ok(false)
    }

    fn commit(&self, change: Change) -> Result<(), Error> {
        self.parts.writer.commit(change).map(|_| ())
    }

    /// Through all pages, until the run stops.
    fn each(
        &self,
        page: &dyn Fn(UploadId) -> Result<Vec<Job>, Error>,
        each: &dyn Fn(&Job) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut after = UploadId(0);
        loop {
            let page = page(after)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.upload;
            for job in &page {
                if self.given_up.get() || self.parts.shutdown.is_stopping() {
                    return Ok(());
                }
                each(job)?;
            }
        }
    }
}
