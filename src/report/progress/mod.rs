//! The numbers behind the bars: counted by the threads of a run, read a few times a second.
//!
//! Owns atomics and one short text a worker. Promises: counting allocates nothing a byte; what is
//! shown never passes 100 %.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use self::pace::{Done, Looks, Pace};
use self::reading::{ReadSoFar, Reading};
use super::event::FileStatus;
use crate::poison;
use crate::throttle::breaker::BreakerState;

pub mod bars;

pub mod lines;

pub(super) mod pace;

pub mod reading;

mod screen;

#[derive(Debug)]
pub struct Progress {
    running: AtomicBool,
    files: AtomicU64,
    bytes: AtomicU64,
    submitted: AtomicU64,
    indexed: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
    indexed_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    batch: AtomicI64,
    batch_files: AtomicU64,
    batch_done: AtomicU64,
    workers: Vec<Slot>,
    throttle: Mutex<Option<ThrottleView>>,
    looks: Mutex<Looks>,
    reading: Reading,
    deleting: Reading,
}

#[derive(Debug, Default)]
struct Slot {
    /// Path and size of the file in this worker's hands.
    file: Mutex<Option<(String, u64)>>,
    /// Bytes of it that are at the service; `WAITING` before the first.
    sent: AtomicU64,
}

/// A file waits for its turn: for a token, for the disk, for the end of a pause.
const WAITING: u64 = u64::MAX;

/// What the throttle is doing.
#[derive(Debug, Clone)]
pub struct ThrottleView {
    pub state: BreakerState,
    pub rate_per_min: Option<f64>,
    pub concurrency: usize,
    /// Why nothing is sent, and until when.
    pub paused: Option<(String, Instant)>,
    pub requests: u64,
    pub retries: u64,
    pub throttled: u64,
}

/// One look at all of it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub running: bool,
    pub files: u64,
    pub bytes: u64,
    pub indexed: u64,
    pub indexed_bytes: u64,
    pub sent_bytes: u64,
    pub failed: u64,
    /// At the service, waiting to be indexed.
    pub indexing: u64,
    pub pace: Pace,
    pub eta: Option<Duration>,
    pub paused: Option<(String, Duration)>,
    pub throttle: Option<ThrottleView>,
    pub batch: i64,
    pub batch_files: u64,
    pub batch_done: u64,
    pub in_flight: Vec<InFlight>,
    /// Something is read through, or documents are deleted.
    pub reading: Option<ReadSoFar>,
}

#[derive(Debug, Clone)]
pub struct InFlight {
    pub path: String,
    pub size: u64,
    /// `None`: none of it yet.
    pub sent: Option<u64>,
}

impl Progress {
    pub fn new(workers: usize) -> Progress {
        Progress {
            running: AtomicBool::new(false),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            submitted: AtomicU64::new(0),
            indexed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            indexed_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            batch: AtomicI64::new(0),
            batch_files: AtomicU64::new(0),
            batch_done: AtomicU64::new(0),
            workers: (0..workers).map(|_| Slot::default()).collect(),
            throttle: Mutex::new(None),
            looks: Mutex::default(),
            reading: Reading::default(),
            deleting: Reading::default(),
        }
    }

    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Documents that are deleted; shown once there is one, or it is known how many there will be.
    pub fn deleting(&self) -> &Reading {
        &self.deleting
    }

    /// What this run has to bring to `indexed`.
    pub fn run_started(&self, files: u64, bytes: u64) {
        self.files.store(files, Relaxed);
        self.bytes.store(bytes, Relaxed);
        self.running.store(files > 0, Relaxed);
    }

    pub fn file_started(&self, worker: usize, path: &str, size: u64) {
        if let Some(slot) = self.workers.get(worker) {
            slot.sent.store(WAITING, Relaxed);
            *poison::lock(&slot.file) = Some((path.to_owned(), size));
        }
    }

    /// Its body is sent from this offset on; what comes before it is at the service already.
    pub fn sent_from(&self, worker: usize, offset: u64) {
        if let Some(slot) = self.workers.get(worker) {
            slot.sent.store(offset, Relaxed);
        }
    }

    /// Only this worker writes its own number.
    pub fn sent(&self, worker: usize, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Relaxed);
        if let Some(slot) = self.workers.get(worker) {
            let before = match slot.sent.load(Relaxed) {
                WAITING => 0,
                sent => sent,
            };
            slot.sent.store(before.saturating_add(bytes), Relaxed);
        }
    }

    pub fn file_left(&self, worker: usize) {
        if let Some(slot) = self.workers.get(worker) {
            *poison::lock(&slot.file) = None;
        }
    }

    pub fn submitted(&self) {
        self.submitted.fetch_add(1, Relaxed);
    }

    pub fn outcome(&self, status: FileStatus, bytes: u64) {
        match status {
            FileStatus::Indexed => {
                self.indexed.fetch_add(1, Relaxed);
                self.indexed_bytes.fetch_add(bytes, Relaxed);
            }
            FileStatus::Failed => {
                self.failed.fetch_add(1, Relaxed);
            }
            FileStatus::Skipped => {
                self.skipped.fetch_add(1, Relaxed);
            }
            FileStatus::Pending => {}
        }
        self.batch_done.fetch_add(1, Relaxed);
    }

    /// A batch begins, or turns out to be smaller than it could be.
    pub fn batch_opened(&self, number: i64, files: u64) {
        if self.batch.swap(number, Relaxed) != number {
            self.batch_done.store(0, Relaxed);
        }
        self.batch_files.store(files, Relaxed);
    }

    pub fn throttle(&self, view: ThrottleView) {
        *poison::lock(&self.throttle) = Some(view);
    }

    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let files = self.files.load(Relaxed);
        let indexed = self.indexed.load(Relaxed).min(files);
        let failed = self.failed.load(Relaxed).min(files - indexed);
        let skipped = self.skipped.load(Relaxed).min(files - indexed - failed);
        let left = files - indexed - failed - skipped;
        let bytes = self.bytes.load(Relaxed);
        let sent_bytes = self.sent_bytes.load(Relaxed);
        let indexed_bytes = self.indexed_bytes.load(Relaxed).min(bytes);
        let done = Done {
            files: indexed,
            bytes: sent_bytes,
        };
        let pace = poison::lock(&self.looks).look(now, done);
        let to_do = Done {
            files: left,
            bytes: bytes.saturating_sub(sent_bytes.max(indexed_bytes)),
        };
        let batch_files = self.batch_files.load(Relaxed);
        let throttle = poison::lock(&self.throttle).clone();
        let paused = throttle.as_ref().and_then(|t| t.paused.clone());
        Snapshot {
            running: self.running.load(Relaxed),
            files,
            bytes,
            indexed,
            indexed_bytes,
            sent_bytes,
            failed,
            indexing: self
                .submitted
                .load(Relaxed)
                .saturating_sub(indexed + failed)
                .min(left),
            pace,
            // What is sent says nothing of how fast the service indexes.
            eta: pace.time_for(to_do).filter(|_| left > 0 && indexed > 0),
            paused: paused.and_then(|(why, until)| {
                let left = until.saturating_duration_since(now);
                (!left.is_zero()).then_some((why, left))
            }),
            throttle,
            batch: self.batch.load(Relaxed),
            batch_files,
            batch_done: self.batch_done.load(Relaxed).min(batch_files),
            in_flight: self.workers.iter().filter_map(Slot::look).collect(),
            reading: self.reading.look(now).or_else(|| {
                let deleting = self.deleting.look(now);
                deleting.filter(|deleting| deleting.seen + deleting.of > 0)
            }),
        }
    }
}

impl Slot {
    fn look(&self) -> Option<InFlight> {
        let (path, size) = poison::lock(&self.file).clone()?;
        let sent = Some(self.sent.load(Relaxed)).filter(|sent| *sent != WAITING);
        Some(InFlight {
            path,
            size,
            sent: sent.map(|sent| sent.min(size)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_passes_a_hundred_per_cent(
            files in 0u64..20, outcomes in proptest::collection::vec(0u8..4, 0..60)
        ) {
            let progress = Progress::new(1);
            progress.run_started(files, files * 10);
            progress.batch_opened(1, 5);
            for n in outcomes {
                let status = [FileStatus::Indexed, FileStatus::Failed, FileStatus::Skipped, FileStatus::Pending];
                progress.submitted();
                progress.outcome(status[n as usize], 10);
                let seen = progress.snapshot(Instant::now());
                prop_assert!(seen.indexed + seen.failed + seen.indexing <= seen.files);
                prop_assert!(seen.indexed_bytes <= seen.bytes);
                prop_assert!(seen.batch_done <= seen.batch_files);
            }
        }
    }

    #[test]
    fn the_eta_follows_what_is_indexed() {
        let progress = Progress::new(0);
        progress.run_started(100, 0);
        let start = Instant::now();
        progress.snapshot(start);
        for _ in 0..20 {
            progress.outcome(FileStatus::Indexed, 0);
        }
        let seen = progress.snapshot(start + Duration::from_secs(10));
        assert_eq!(seen.pace.files, 2.0);
        assert_eq!(seen.eta, Some(Duration::from_secs(40)));
    }

    #[test]
    fn what_is_only_sent_has_no_eta() {
        let progress = Progress::new(1);
        progress.run_started(100, 1000);
        let start = Instant::now();
        progress.snapshot(start);
        progress.sent(0, 400);
        let seen = progress.snapshot(start + Duration::from_secs(5));
        assert_eq!((seen.pace.bytes, seen.eta), (80.0, None));
    }

    #[test]
    fn a_file_waits_until_its_first_bytes_and_goes_on_where_it_was_resumed() {
        let progress = Progress::new(1);
        let sent = || progress.snapshot(Instant::now()).in_flight[0].sent;
        progress.file_started(0, "a", 100);
        assert_eq!(sent(), None);
        progress.sent(0, 30);
        assert_eq!(sent(), Some(30));
        progress.sent_from(0, 60);
        progress.sent(0, 10);
        assert_eq!(sent(), Some(70));
        // What was sent twice is not more than all of it.
        progress.sent(0, 90);
        assert_eq!(sent(), Some(100));
    }
}
