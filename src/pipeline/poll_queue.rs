//! Which operation is looked at when.
//!
//! Owns every submitted upload until its outcome is known, in one heap by due time. Promises: bounded;
//! whoever waits, wakes when the run stops.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::poll_schedule::Schedule;
use super::subject::Subject;
use crate::names::{DocumentName, FileName, OperationName};
use crate::poison;
use crate::shutdown::Shutdown;
use crate::state::{Durable, Job, UploadId};

/// Submitted uploads held at once (some 300 bytes each); beyond it the workers wait.
pub const SUBMITTED_MAX: usize = 10_000;
/// How often a waiting thread looks whether the run is stopping.
const STOP_CHECK: Duration = Duration::from_millis(200);

/// Whether the store was searched for a document whose name is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Searched {
    NotYet,
    /// The listing did not show it, and proves nothing.
    InVain,
    /// A whole listing did not show it.
    Absent,
}

/// One submitted upload.
#[derive(Debug)]
pub struct Poll {
    pub upload: UploadId,
    pub library: Arc<str>,
    pub path: String,
    pub bytes: u64,
    /// Tries so far, this one included.
    pub attempts: u32,
    pub operation: Option<Durable<OperationName>>,
    pub document: Option<DocumentName>,
    /// Deleted once the document is active.
    pub temporary: Option<FileName>,
    /// How many bytes the service said it took.
    pub held_bytes: Option<u64>,
    /// When the file's turn began, in this run.
    pub started: Instant,
    pub submitted: Instant,
    /// Looks that the service answered with "still running".
    pub running: u32,
    /// Looks in a row that had no answer.
    pub unanswered: u32,
    /// The last look was at the operation, not at the document.
    pub at_operation: bool,
    /// The document alone does not settle it: the operation is looked at next.
    pub ask_operation: bool,
    /// The operation said that it ended well.
    pub done: bool,
    /// The document was not there at some look.
    pub missing: bool,
    pub searched: Searched,
    /// When the document was first seen as failed.
    pub failed_since: Option<Instant>,
}

impl Poll {
    /// Of which nothing but its file is known yet.
    pub fn new(subject: &Subject, submitted: Instant) -> Poll {
        Poll {
            upload: subject.upload,
            library: Arc::clone(&subject.library),
            path: subject.path.clone(),
            bytes: subject.bytes,
            attempts: subject.attempts,
            operation: None,
            document: None,
            temporary: None,
            held_bytes: None,
            started: subject.started,
            submitted,
            running: 0,
            unanswered: 0,
            at_operation: false,
            ask_operation: false,
            done: false,
            missing: false,
            searched: Searched::NotYet,
            failed_since: None,
        }
    }

    pub fn subject(&self) -> Subject {
        Subject {
            upload: self.upload,
            library: Arc::clone(&self.library),
            path: self.path.clone(),
            bytes: self.bytes,
            attempts: self.attempts,
            started: self.started,
        }
    }

    /// What an earlier run left. When it was submitted is not known to this clock; it is long enough ago
    /// to look now.
    pub fn of(job: Job) -> Poll {
        let subject = Subject::of(&job);
        Poll {
            operation: job.operation,
            document: job.document,
            temporary: job.temporary,
            ..Poll::new(&subject, subject.started)
        }
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
    /// Of which the service knows neither operation nor document.
    lost: Vec<UploadId>,
    /// Operations that have not named their document, and stay silent or have failed.
    silent: Vec<Poll>,
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
        let mut inner = self.lock();
        inner.schedule.seen_running(poll.submitted, now);
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

    /// The operation ended well.
    pub fn finished(&self, poll: &Poll, now: Instant) {
        let hit = poll.running == 0;
        self.lock().schedule.finished(poll.submitted, hit, now);
        self.settled();
    }

    /// Only a listing of the store can tell what became of it.
    pub fn lost(&self, upload: UploadId) {
        self.lock().lost.push(upload);
        self.settled();
    }

    /// Its document has no name yet, and its operation says nothing, or that it failed: the store may
    /// show it.
    pub fn silent(&self, poll: Poll) {
        self.lock().silent.push(poll);
        self.settled();
    }

    pub fn take_silent(&self) -> Vec<Poll> {
        std::mem::take(&mut self.lock().silent)
    }

    pub fn take_lost(&self) -> Vec<UploadId> {
        std::mem::take(&mut self.lock().lost)
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
        poison::wait(&self.changed, inner, how_long)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        poison::lock(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(id: i64, submitted: Instant) -> Poll {
        let subject = Subject {
            library: "docs".into(),
            upload: UploadId(id),
            path: String::new(),
            bytes: 0,
            attempts: 1,
            started: submitted,
        };
        Poll::new(&subject, submitted)
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
