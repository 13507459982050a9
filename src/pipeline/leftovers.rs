//! What nothing needs any more is deleted at the service, and only then forgotten: documents that newer
//! content has replaced, what failed attempts made, temporary files.
//!
//! Promises: an old document goes after the new one is active, so a search never finds none; a deletion
//! that could not be confirmed is tried again by the next run.

use std::cell::Cell;

use super::Parts;
use super::outcome::{self, Outcomes};
use crate::client::Failure;
use crate::error::Error;
use crate::state::reader::StoreRow;
use crate::state::{Change, Job, UploadId};

/// How many could not be deleted.
pub fn delete(store: &StoreRow, parts: &Parts, outcomes: &Outcomes) -> Result<u64, Error> {
    let left_behind = Cell::new(0);
    let judged = |deleted: Result<(), Failure>| match deleted {
        Ok(()) => Ok(true),
        Err(failure) => match outcome::fatal(&failure, &store.display_name) {
            Some(error) => Err(error),
            None => {
                left_behind.set(left_behind.get() + 1);
                Ok(false)
            }
        },
    };
    let replaced = |after| parts.reader.replaced(store.id, after);
    each(parts, &replaced, &|job| {
        if let Some(document) = &job.document
            && judged(parts.client.delete_document(document))?
        {
            let upload = job.upload;
            outcomes.writer.commit(Change::Superseded { upload })?;
        }
        Ok(())
    })?;
    let left = |after| parts.reader.leftovers(store.id, after);
    each(parts, &left, &|job| {
        let upload = job.upload;
        if let Some(file) = &job.temporary
            && judged(parts.client.delete_file(file))?
        {
            outcomes.writer.commit(Change::TemporaryGone { upload })?;
        }
        let is_settled = job.state == crate::state::UploadState::Indexed;
        if let (Some(document), false) = (&job.document, is_settled)
            && judged(parts.client.delete_document(document))?
        {
            outcomes.writer.commit(Change::Cleared { upload })?;
        }
        Ok(())
    })?;
    Ok(left_behind.get())
}

/// Through all pages, until the run stops.
fn each(
    parts: &Parts,
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
            if parts.shutdown.is_stopping() {
                return Ok(());
            }
            each(job)?;
        }
    }
}
