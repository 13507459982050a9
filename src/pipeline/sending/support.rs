//! Whether a store's service takes uploads of one request, as far as this run knows.

use std::sync::{Mutex, MutexGuard};

use crate::pipeline::rules::OneRequests;
use crate::poison;
use crate::state::{Job, Support};

/// One store's, shared by the workers of a run.
pub struct InOneRequest {
    pub(super) store: i64,
    known: Mutex<OneRequests>,
}

impl InOneRequest {
    pub fn of(store: i64, support: Support) -> InOneRequest {
        InOneRequest {
            store,
            known: Mutex::new(OneRequests::new(support)),
        }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, OneRequests> {
        poison::lock(&self.known)
    }

    /// Whether this file goes so.
    pub fn takes(&self, job: &Job) -> bool {
        let failed_before = job.attempts > 0 || job.direct_faults > 0;
        self.known().takes(job.size_bytes, failed_before)
    }
}
