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
        self.known().takes(job.size_bytes, failed_before(job))
    }

    /// Whether it is as good as certain that this file goes so, and nothing is to be done before.
    pub fn will_take(&self, job: &Job) -> bool {
        let known = self.known();
        let is_first = job.document.is_none() && job.temporary.is_none();
        is_first && known.will_take(job.size_bytes, failed_before(job))
    }
}

fn failed_before(job: &Job) -> bool {
    job.attempts > 0 || job.direct_faults > 0
}
