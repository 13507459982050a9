//! Which operation is looked at when.
//!
//! Owns every submitted upload until its outcome is known, in one heap by due time. Learns how long
//! operations take in this run, so that the first look mostly finds them finished (the target is close
//! to one poll a file). Promises: bounded; whoever waits, wakes when the run stops.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::shutdown::Shutdown;
use crate::names::{DocumentName, OperationName};
use crate::state::{Durable, UploadId};

/// Submitted uploads held at once (some 300 bytes each); beyond it the workers wait.
pub const SUBMITTED_MAX: usize = 10_000;
/// How often a waiting thread looks whether the run is stopping.
const STOP_CHECK: Duration = Duration::from_millis(200);

/// One submitted upload.
#[derive(Debug)]
pub struct Poll {
    pub upload: UploadId,
    pub path: String,
    pub bytes: u64,
    /// Tries so far, this one included.
    pub attempts: u32,
    pub operation: Option<Durable<OperationName>>,
    pub document: Option<DocumentName>,
    /// When the file's turn began, in this run.
    pub started: Instant,
    pub submitted: Instant,
    /// Looks that the service answered with "still running".
    pub running: u32,
    /// Looks in a row that had no answer.
    pub unanswered: u32,
    /// The last look was at the document, not at the operation.
    pub at_document: bool,
    /// When the document was first seen as failed.
    pub failed_since: Option<Instant>,
}

/// When to look, given how long earlier operations took. Pure: the time comes from outside.
#[derive(Debug)]
pub struct Schedule {
    /// Follows the 85th percentile of the time an operation takes.
    typical: Duration,
    /// Share by which one observation moves it; falls from `STEP_START` to `STEP_MIN`.
    step: f64,
}

/// Share of operations that should be finished at the first look.
const FIRST_LOOK_HITS: f64 = 0.85;
const STEP_START: f64 = 0.3;
const STEP_MIN: f64 = 0.05;
/// Nothing is known before the first operation of a run has ended.
const TYPICAL_START: Duration = Duration::from_millis(500);
const TYPICAL_MIN: Duration = Duration::from_millis(2);
const TYPICAL_MAX: Duration = Duration::from_secs(120);
/// The original polled every 5 s; a slow operation is looked at no less often than every 30 s.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);

impl Schedule {
    pub fn new() -> Schedule {
        Schedule {
            typical: TYPICAL_START,
            step: STEP_START,
        }
    }

    pub fn first_look(&self, submitted: Instant) -> Instant {
        submitted + self.typical
    }

    /// Still running at so many looks: a quarter of the typical time, then doubling.
    pub fn next_look(&self, running: u32, now: Instant) -> Instant {
        let base = (self.typical / 4).max(TYPICAL_MIN);
        let factor = 1u32 << running.saturating_sub(1).min(16);
        now + base.saturating_mul(factor).min(LOOK_EVERY_MAX)
    }

    /// An operation was found finished `took` after it was submitted, having been seen running before
    /// or not. Looks without an answer teach nothing: they would make an outage look like slowness.
    /// (Stochastic approximation of a quantile: up by the share of hits wanted, down by the rest.)
    pub fn learn(&mut self, seen_running: bool, took: Duration) {
        let factor = match seen_running {
            false => 1.0 - self.step * (1.0 - FIRST_LOOK_HITS),
            true => 1.0 + self.step * FIRST_LOOK_HITS,
        };
        let moved = self.typical.mul_f64(factor);
        // The first long operations teach at once what a hundred small steps would.
        let moved = match seen_running && self.step > STEP_MIN {
            true => moved.max(took),
            false => moved,
        };
        self.typical = moved.clamp(TYPICAL_MIN, TYPICAL_MAX);
        self.step = (self.step * 0.95).max(STEP_MIN);
    }
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule::new()
    }
}

#[derive(Debug)]
struct Entry {
    due: Instant,
    order: u64,
    poll: Poll,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.order == other.order
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

#[derive(Debug, Default)]
struct Inner {
    heap: BinaryHeap<Reverse<Entry>>,
    /// In the heap or in a poller's hands.
    unsettled: usize,
    pushed: u64,
    schedule: Schedule,
    closed: bool,
}

#[derive(Debug, Default)]
pub struct PollQueue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl PollQueue {
    pub fn new() -> PollQueue {
        PollQueue::default()
    }

    /// A fresh submission; its first look is due when operations usually end.
    pub fn push(&self, poll: Poll) {
        let mut inner = self.lock();
        let due = inner.schedule.first_look(poll.submitted);
        inner.unsettled += 1;
        self.insert(inner, due, poll);
    }

    /// It is still running: back for another look.
    pub fn still_running(&self, mut poll: Poll, now: Instant) {
        poll.running += 1;
        poll.unanswered = 0;
        let inner = self.lock();
        let due = inner.schedule.next_look(poll.running, now);
        self.insert(inner, due, poll);
    }

    /// The look had no answer: back for the next try, after a backoff.
    pub fn unanswered(&self, mut poll: Poll, due: Instant) {
        poll.unanswered += 1;
        self.insert(self.lock(), due, poll);
    }

    /// The next poll that is due; `None` once the queue is closed or the run stops.
    pub fn next(&self, shutdown: &Shutdown) -> Option<Poll> {
        let mut inner = self.lock();
        loop {
            if inner.closed || shutdown.is_stopping() {
                return None;
            }
            let now = Instant::now();
            let wait = match inner.heap.peek() {
                Some(Reverse(entry)) if entry.due <= now => {
                    return inner.heap.pop().map(|Reverse(entry)| entry.poll);
                }
                Some(Reverse(entry)) => (entry.due - now).min(STOP_CHECK),
                None => STOP_CHECK,
            };
            inner = self.wait(inner, wait);
        }
    }

    /// The operation ended well, `took` after it was submitted.
    pub fn finished(&self, seen_running: bool, took: Duration) {
        self.lock().schedule.learn(seen_running, took);
        self.settled();
    }

    /// It is out of this queue's hands.
    pub fn settled(&self) {
        let mut inner = self.lock();
        inner.unsettled = inner.unsettled.saturating_sub(1);
        self.changed.notify_all();
    }

    pub fn unsettled(&self) -> usize {
        self.lock().unsettled
    }

    /// Waits while the queue is full; `false` if the run stops meanwhile.
    pub fn wait_for_room(&self, shutdown: &Shutdown) -> bool {
        let mut inner = self.lock();
        while inner.unsettled >= SUBMITTED_MAX {
            if shutdown.is_stopping() {
                return false;
            }
            inner = self.wait(inner, STOP_CHECK);
        }
        true
    }

    /// Waits until nothing is left or the run stops, at most for `how_long`.
    pub fn wait_settled(&self, shutdown: &Shutdown, how_long: Duration) {
        let until = Instant::now() + how_long;
        let mut inner = self.lock();
        while inner.unsettled > 0 && !shutdown.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            inner = self.wait(inner, left.min(STOP_CHECK));
        }
    }

    /// Pollers end; what is still here stays `processing` for the next run.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn insert(&self, mut inner: MutexGuard<'_, Inner>, due: Instant, poll: Poll) {
        let order = inner.pushed;
        inner.pushed += 1;
        inner.heap.push(Reverse(Entry { due, order, poll }));
        drop(inner);
        self.changed.notify_one();
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>, how_long: Duration) -> MutexGuard<'a, Inner> {
        match self.changed.wait_timeout(inner, how_long) {
            Ok((inner, _)) => inner,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    /// Every change under the lock is whole, so a poisoned lock is as good as a clean one.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks that a schedule needs when operations take `draw()`, and the share of time lost.
    fn simulate(files: u32, mut draw: impl FnMut() -> Duration) -> (f64, f64) {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        let mut looks_total = 0u32;
        let mut late: f64 = 0.0;
        for _ in 0..files {
            let took = draw();
            let mut looks = 1;
            let mut at = schedule.first_look(start);
            while at < start + took {
                at = schedule.next_look(looks, at);
                looks += 1;
            }
            schedule.learn(looks > 1, at - start);
            looks_total += looks;
            late += (at - start).as_secs_f64() / took.as_secs_f64();
        }
        (
            f64::from(looks_total) / f64::from(files),
            late / f64::from(files),
        )
    }

    #[test]
    fn steady_operations_need_little_more_than_one_look() {
        for seconds in [0.05, 1.0, 8.0, 60.0] {
            let mut rng = fastrand::Rng::with_seed(1);
            let (looks, late) = simulate(2000, || {
                Duration::from_secs_f64(seconds * (0.95 + 0.1 * rng.f64()))
            });
            assert!(looks <= 1.3, "{seconds} s: {looks} looks");
            assert!(late <= 1.5, "{seconds} s: {late} times its time");
        }
    }

    #[test]
    fn operations_that_vary_tenfold_need_less_than_two_and_a_half_looks() {
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (looks, _) = simulate(2000, || Duration::from_secs_f64(1.0 + 9.0 * rng.f64()));
            assert!(looks <= 2.5, "seed {seed}: {looks} looks");
        }
    }

    #[test]
    fn looks_get_rarer_but_never_rarer_than_the_cap() {
        let now = Instant::now();
        let schedule = Schedule::new();
        let mut before = Duration::ZERO;
        for running in 1..40 {
            let wait = schedule.next_look(running, now) - now;
            assert!(wait >= before && wait <= LOOK_EVERY_MAX);
            before = wait;
        }
        assert_eq!(before, LOOK_EVERY_MAX);
    }

    fn poll(id: i64, submitted: Instant) -> Poll {
        Poll {
            upload: UploadId(id),
            path: String::new(),
            bytes: 0,
            attempts: 1,
            operation: None,
            document: None,
            started: submitted,
            submitted,
            running: 0,
            unanswered: 0,
            at_document: false,
            failed_since: None,
        }
    }

    #[test]
    fn what_is_due_first_comes_first() {
        let queue = PollQueue::new();
        let shutdown = Shutdown::new(Duration::ZERO);
        let long_ago = Instant::now() - Duration::from_secs(60);
        queue.push(poll(1, long_ago + Duration::from_secs(1)));
        queue.push(poll(2, long_ago));
        let first = queue.next(&shutdown).unwrap();
        assert_eq!(first.upload, UploadId(2));
        assert_eq!(queue.unsettled(), 2);
        queue.settled();
        assert_eq!(queue.unsettled(), 1);
    }

    #[test]
    fn a_closed_queue_lets_its_pollers_go() {
        let queue = PollQueue::new();
        queue.push(poll(1, Instant::now()));
        queue.close();
        assert!(queue.next(&Shutdown::new(Duration::ZERO)).is_none());
    }
}
