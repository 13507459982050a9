//! The numbers behind the bars: counted by the threads of a run, read a few times a second.
//!
//! Owns atomics and one short text a worker. Promises: counting allocates nothing a byte; what is
//! shown never passes 100 %.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::event::FileStatus;

use crate::poison;
use crate::throttle::breaker::BreakerState;

/// The rate is taken over this time.
const RATE_OVER: Duration = Duration::from_secs(30);

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
    past: Mutex<VecDeque<(Instant, u64)>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Path and size of the file in this worker's hands.
    file: Mutex<Option<(String, u64)>>,
    sent: AtomicU64,
}

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
    /// Indexed files a second, lately.
    pub rate: f64,
    pub eta: Option<Duration>,
    pub paused: Option<(String, Duration)>,
    pub throttle: Option<ThrottleView>,
    pub batch: i64,
    pub batch_files: u64,
    pub batch_done: u64,
    pub in_flight: Vec<InFlight>,
}

#[derive(Debug, Clone)]
pub struct InFlight {
    pub path: String,
    pub size: u64,
    pub sent: u64,
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
            past: Mutex::new(VecDeque::new()),
        }
    }

    /// What this run has to bring to `indexed`.
    pub fn run_started(&self, files: u64, bytes: u64) {
        self.files.store(files, Relaxed);
        self.bytes.store(bytes, Relaxed);
        self.running.store(files > 0, Relaxed);
    }

    pub fn file_started(&self, worker: usize, path: &str, size: u64) {
        if let Some(slot) = self.workers.get(worker) {
            slot.sent.store(0, Relaxed);
            *poison::lock(&slot.file) = Some((path.to_owned(), size));
        }
    }

    pub fn sent(&self, worker: usize, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Relaxed);
        if let Some(slot) = self.workers.get(worker) {
            slot.sent.fetch_add(bytes, Relaxed);
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
        let rate = self.rate(now, indexed);
        let bytes = self.bytes.load(Relaxed);
        let batch_files = self.batch_files.load(Relaxed);
        let throttle = poison::lock(&self.throttle).clone();
        let paused = throttle.as_ref().and_then(|t| t.paused.clone());
        Snapshot {
            running: self.running.load(Relaxed),
            files,
            bytes,
            indexed,
            indexed_bytes: self.indexed_bytes.load(Relaxed).min(bytes),
            sent_bytes: self.sent_bytes.load(Relaxed),
            failed,
            indexing: self
                .submitted
                .load(Relaxed)
                .saturating_sub(indexed + failed)
                .min(left),
            rate,
            eta: (rate > 0.0).then(|| Duration::from_secs_f64((left as f64 / rate).min(1e9))),
            paused: paused.and_then(|(why, until)| {
                let left = until.saturating_duration_since(now);
                (!left.is_zero()).then_some((why, left))
            }),
            throttle,
            batch: self.batch.load(Relaxed),
            batch_files,
            batch_done: self.batch_done.load(Relaxed).min(batch_files),
            in_flight: self.workers.iter().filter_map(Slot::look).collect(),
        }
    }

    fn rate(&self, now: Instant, indexed: u64) -> f64 {
        let mut past = poison::lock(&self.past);
        past.push_back((now, indexed));
        while past.len() > 2 && now.saturating_duration_since(past[0].0) > RATE_OVER {
            past.pop_front();
        }
        let (since, before) = past[0];
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        match seconds > 0.0 {
            true => indexed.saturating_sub(before) as f64 / seconds,
            false => 0.0,
        }
    }
}

impl Slot {
    fn look(&self) -> Option<InFlight> {
        let (path, size) = poison::lock(&self.file).clone()?;
        let sent = self.sent.load(Relaxed).min(size);
        Some(InFlight { path, size, sent })
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
        assert_eq!(seen.rate, 2.0);
        assert_eq!(seen.eta, Some(Duration::from_secs(40)));
    }
}
