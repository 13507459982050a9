//! Documents that newer content has replaced are deleted, and only then forgotten.
//!
//! Promises: the old document goes after the new one is active, so a search never finds none; a
//! deletion that could not be confirmed is tried again by the next run.

use super::Parts;
use super::outcome::{self, Outcomes};
use crate::error::Error;
use crate::state::reader::StoreRow;
use crate::state::{Change, UploadId};

pub fn replaced(store: &StoreRow, parts: &Parts, outcomes: &Outcomes) -> Result<(), Error> {
    let mut after = UploadId(0);
    loop {
        let page = parts.reader.replaced(store.id, after)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.upload;
        for job in page {
            let Some(document) = &job.document else {
                continue;
            };
            if parts.shutdown.is_stopping() {
                return Ok(());
            }
            match parts.client.delete_document(document) {
                Ok(()) => {
                    let upload = job.upload;
                    outcomes.writer.commit(Change::Superseded { upload })?;
                }
                Err(failure) => {
                    if let Some(error) = outcome::fatal(&failure, &store.display_name) {
                        return Err(error);
                    }
                }
            }
        }
    }
}
