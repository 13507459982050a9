//! What a run has done so far, counted where it happens.
//!
//! Owns plain counters that only grow. A file is counted here after its outcome is on disk.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        #[derive(Debug, Default)]
        pub struct Tally {
            $($(#[$doc])* pub $name: Counter,)*
        }
    };
}

counters! {
    /// Files indexed by this run, and their bytes.
    indexed,
    bytes,
    failed,
    /// Files that vanished or became unfit while their turn came.
    skipped,
    submitted,
    /// Files that went back to the queue, or stand in it with new content.
    requeued,
    /// Things deleted at the service that nothing needed any more.
    deleted,
    /// Rows that an earlier run had left on the way.
    recovered,
    /// Sessions continued where they had stopped.
    resumed,
    /// Documents found at the service for rows in doubt.
    adopted,
    /// Nanoseconds that workers waited for commits.
    disk_ns,
    /// Nanoseconds that workers waited for the bandwidth limit.
    bandwidth_ns,
    /// Nanoseconds that a file's turn took, all workers together.
    busy_ns,
    /// Nanoseconds that nothing was left to send and operations were waited for.
    indexing_ns,
}

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
    pub fn add_time(&self, time: Duration) {
        self.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.get())
    }
}

impl Tally {
    /// Grows whenever a pass achieved something.
    pub fn progress(&self) -> u64 {
        let files = self.indexed.get() + self.submitted.get() + self.failed.get();
        files + self.skipped.get() + self.deleted.get()
    }
}
