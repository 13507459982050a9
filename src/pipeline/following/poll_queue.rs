//! Which upload is looked at when.
//!
//! Owns every submitted upload until its outcome is known: one heap by due time, and beside it those of
//! which only the listing of the store can tell. Promises: bounded, those included; whoever waits, wakes when
//! the run stops; the listing's word reaches an upload only if it has waited from before the listing began.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::poll_schedule::Schedule;
use crate::names::{DocumentName, FileName, OperationName};
use crate::pipeline::outcome::subject::Subject;
use crate::pipeline::rules::{Indexing, Listed};
use crate::poison;
use crate::shutdown::Shutdown;
use crate::state::{Durable, Job, UploadId};
use crate::waits::Waits;

/// Submitted uploads held at once (some 300 bytes each); beyond it the workers wait.
pub const SUBMITTED_MAX: usize = 10_000;
/// How often a waiting thread looks whether the run is stopping.
const STOP_CHECK: Duration = Duration::from_millis(200);

/// One submitted upload.
#[derive(Debug)]
pub struct Poll {
    pub subject: Subject,
    pub operation: Option<Durable<OperationName>>,
    /// Deleted once the document is active.
    pub temporary: Option<FileName>,
    pub submitted: Instant,
    /// Looks that the service answered with "still running".
    pub running: u32,
    pub indexing: Indexing,
}

impl Poll {
    /// What an earlier run left. When it was submitted is not known to this clock; it is long enough ago
    /// to look now.
    pub fn of(job: Job) -> Poll {
        let subject = Subject::of(&job);
        Poll {
            submitted: subject.started,
            subject,
            temporary: job.temporary,
            running: 0,
            indexing: Indexing::inherited(job.operation.is_some(), job.document),
            operation: job.operation,
        }
    }

    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.submitted)
    }
}

#[derive(Debug)]
struct DuePoll {
    due: Instant,
    order: u64,
    poll: Poll,
}

impl PartialEq for DuePoll {
    fn eq(&self, other: &DuePoll) -> bool {
        self.order == other.order
    }
}
impl Eq for DuePoll {}
impl PartialOrd for DuePoll {
    fn partial_cmp(&self, other: &DuePoll) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for DuePoll {
    fn cmp(&self, other: &DuePoll) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

#[derive(Debug)]
struct Inner {
    waits: Waits,
    heap: BinaryHeap<Reverse<DuePoll>>,
    /// Nothing is asked about these until the store was listed.
    parked: Vec<Poll>,
    /// How many there are: in the heap, parked, or in a poller's hands.
    held: usize,
    /// Those of them that await the listing. Who does and is in the heap is looked at all the same: its
    /// operation may end before.
    awaiting: BTreeSet<UploadId>,
    /// What the listing told of those that awaited it when it began.
    told: BTreeMap<UploadId, Listed>,
    is_listed: bool,
    pushed: u64,
    schedule: Schedule,
    closed: bool,
}

impl Inner {
    fn new(waits: Waits) -> Inner {
        Inner {
            waits,
            heap: BinaryHeap::new(),
            parked: Vec::new(),
            held: 0,
            awaiting: BTreeSet::new(),
            told: BTreeMap::new(),
            is_listed: false,
            pushed: 0,
            schedule: Schedule::new(waits),
            closed: false,
        }
    }

    /// `due`: when it is looked at; `None`: not before the listing.
    fn insert(&mut self, mut poll: Poll, due: Option<Instant>, now: Instant) {
        let upload = poll.subject.upload;
        let awaits = poll.indexing.awaits_listing(poll.age(now), &self.waits);
        let mut due = due;
        if awaits && !self.is_listed {
            self.awaiting.insert(upload);
        } else {
            self.awaiting.remove(&upload);
            let told = self.told.remove(&upload);
            if awaits {
                poll.indexing.listed(told.unwrap_or(Listed::InVain));
                due = Some(now);
            }
        }
        match due {
            Some(due) => {
                let order = self.pushed;
                self.pushed += 1;
                self.heap.push(Reverse(DuePoll { due, order, poll }));
            }
            None => self.parked.push(poll),
        }
    }

    fn unsettled(&self) -> usize {
        match self.is_listed {
            true => self.held,
            false => self.held.saturating_sub(self.awaiting.len()),
        }
    }
}

#[derive(Debug)]
pub struct PollQueue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl PollQueue {
    pub fn new(waits: Waits) -> PollQueue {
        PollQueue {
            inner: Mutex::new(Inner::new(waits)),
            changed: Condvar::new(),
        }
    }

    /// A fresh submission; its first look is due when operations usually end.
    pub fn push(&self, poll: Poll) {
        let mut inner = self.lock();
        let due = inner.schedule.first_look(poll.submitted);
        inner.held += 1;
        inner.insert(poll, Some(due), Instant::now());
        self.changed.notify_one();
    }

    /// It is still running: back for another look.
    pub fn still_running(&self, mut poll: Poll, now: Instant) {
        poll.running += 1;
        let mut inner = self.lock();
        inner.schedule.seen_running(poll.submitted, now);
        let due = inner.schedule.next_look(poll.running, now);
        inner.insert(poll, Some(due), now);
        self.changed.notify_one();
    }

    /// The look had no answer: back for the next try, after a backoff.
    pub fn unanswered(&self, poll: Poll, due: Instant) {
        self.lock().insert(poll, Some(due), Instant::now());
        self.changed.notify_one();
    }

    /// Nothing but the listing of the store can tell.
    pub fn await_listing(&self, poll: Poll) {
        self.lock().insert(poll, None, Instant::now());
        self.changed.notify_all();
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
        self.settled(poll);
    }

    /// It is out of this queue's hands.
    pub fn settled(&self, poll: &Poll) {
        let mut inner = self.lock();
        inner.held = inner.held.saturating_sub(1);
        inner.awaiting.remove(&poll.subject.upload);
        inner.told.remove(&poll.subject.upload);
        self.changed.notify_all();
    }

    /// How many may be settled without a listing, or after it.
    pub fn unsettled(&self) -> usize {
        self.lock().unsettled()
    }

    /// Whether a listing of the store may have news for any.
    pub fn awaits_listing(&self) -> bool {
        !self.lock().awaiting.is_empty()
    }

    /// Those that a listing which begins now can tell about.
    pub fn listing_begins(&self) -> BTreeSet<UploadId> {
        let mut inner = self.lock();
        let awaiting = inner.awaiting.clone();
        inner.told = awaiting.iter().map(|id| (*id, Listed::InVain)).collect();
        awaiting
    }

    /// The listing shows this document of an upload that awaits it. A later word replaces an earlier one.
    pub fn found(&self, upload: UploadId, document: DocumentName) {
        if let Some(told) = self.lock().told.get_mut(&upload) {
            *told = Listed::Found(document);
        }
    }

    /// The listing is over, and there is no other in this run. `is_whole`: what it did not show is not there.
    pub fn listing_ended(&self, is_whole: bool) {
        let mut inner = self.lock();
        let now = Instant::now();
        inner.is_listed = true;
        for told in inner.told.values_mut() {
            if is_whole && *told == Listed::InVain {
                *told = Listed::Absent;
            }
        }
        for poll in std::mem::take(&mut inner.parked) {
            inner.insert(poll, None, now);
        }
        for Reverse(entry) in std::mem::take(&mut inner.heap).into_vec() {
            inner.insert(entry.poll, Some(entry.due), now);
        }
        self.changed.notify_all();
    }

    /// Waits while the queue is full; `false` if the run stops meanwhile, or if nothing but the listing of
    /// the store can make room.
    pub fn wait_for_room(&self, shutdown: &Shutdown) -> bool {
        let mut inner = self.lock();
        while inner.held >= SUBMITTED_MAX {
            if inner.unsettled() == 0 || shutdown.is_stopping() {
                return false;
            }
            inner = self.wait(inner, STOP_CHECK);
        }
        true
    }

    /// Waits until nothing is unsettled or the run stops, at most for `how_long`.
    pub fn wait_settled(&self, shutdown: &Shutdown, how_long: Duration) {
        let until = Instant::now() + how_long;
        let mut inner = self.lock();
        while inner.unsettled() > 0 && !shutdown.is_stopping() {
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
    use crate::pipeline::rules::{End, Step};

    fn document(name: &str) -> DocumentName {
        DocumentName::new(format!("fileSearchStores/s/documents/{name}"))
    }

    fn poll(id: i64, submitted: Instant, indexing: Indexing) -> Poll {
        Poll {
            subject: Subject {
                library: "docs".into(),
                upload: UploadId(id),
                path: String::new(),
                bytes: 0,
                attempts: 1,
                started: submitted,
            },
            operation: None,
            temporary: None,
            submitted,
            running: 0,
            indexing,
        }
    }

    /// Its document has a name: looking is enough.
    fn named(id: i64, submitted: Instant) -> Poll {
        let name = Some(document("d"));
        poll(id, submitted, Indexing::submitted(true, name, None))
    }

    /// Neither an operation nor a document is on record.
    fn lost(id: i64, submitted: Instant) -> Poll {
        poll(id, submitted, Indexing::inherited(false, None))
    }

    fn running() -> Shutdown {
        Shutdown::new(Duration::ZERO)
    }

    /// As a poller takes it, and brings it back for the listing.
    fn take_and_park(queue: &PollQueue) {
        let poll = queue.next(&running()).unwrap();
        queue.await_listing(poll);
    }

    #[test]
    fn what_is_due_first_comes_first() {
        let queue = PollQueue::new(Waits::default());
        let long_ago = Instant::now() - Duration::from_secs(60);
        queue.push(named(1, long_ago + Duration::from_secs(1)));
        queue.push(named(2, long_ago));
        let first = queue.next(&running()).unwrap();
        assert_eq!(first.subject.upload, UploadId(2));
        assert_eq!(queue.unsettled(), 2);
        queue.settled(&first);
        assert_eq!(queue.unsettled(), 1);
    }

    #[test]
    fn a_closed_queue_lets_its_pollers_go() {
        let queue = PollQueue::new(Waits::default());
        queue.push(named(1, Instant::now()));
        queue.close();
        assert!(queue.next(&running()).is_none());
    }

    /// A run would otherwise wait for ever: for room, for what only the listing can tell, and for the listing
    /// at the end of what waits for room.
    #[test]
    fn a_queue_full_of_what_only_the_listing_can_tell_keeps_nobody_waiting() {
        let queue = PollQueue::new(Waits::default());
        let long_ago = Instant::now() - Duration::from_secs(60);
        for id in 0..SUBMITTED_MAX {
            queue.push(lost(id as i64, long_ago));
        }
        assert_eq!(queue.unsettled(), 0);
        assert!(queue.awaits_listing());
        assert!(!queue.wait_for_room(&running()));
        queue.wait_settled(&running(), Duration::from_secs(60));
    }

    #[test]
    fn the_listing_reaches_who_waits_in_the_heap_parked_or_in_a_pollers_hands() {
        let queue = PollQueue::new(Waits::default());
        let long_ago = Instant::now() - Duration::from_secs(60);
        for id in 1..=3 {
            queue.push(lost(id, long_ago));
        }
        take_and_park(&queue);
        let in_hands = queue.next(&running()).unwrap();
        assert_eq!(queue.listing_begins().len(), 3);
        for id in 1..=3 {
            queue.found(UploadId(id), document(&id.to_string()));
        }
        queue.listing_ended(true);
        queue.await_listing(in_hands);
        assert_eq!(queue.unsettled(), 3);
        for _ in 1..=3 {
            let poll = queue.next(&running()).unwrap();
            let own = document(&poll.subject.upload.0.to_string());
            let step = poll.indexing.next(Duration::ZERO, &Waits::default());
            assert_eq!(step, Step::LookAtDocument(own));
        }
    }

    /// Its request may have taken effect after the listing had passed by.
    #[test]
    fn who_comes_while_the_store_is_listed_is_not_taken_for_absent() {
        let queue = PollQueue::new(Waits::default());
        let long_ago = Instant::now() - Duration::from_secs(60);
        queue.push(lost(1, long_ago));
        take_and_park(&queue);
        queue.listing_begins();
        queue.push(lost(2, long_ago));
        queue.listing_ended(true);
        let mut absent = Vec::new();
        for _ in 1..=2 {
            let poll = queue.next(&running()).unwrap();
            let hand_back = Step::End(End::HandBack);
            if poll.indexing.next(Duration::ZERO, &Waits::default()) == hand_back {
                absent.push(poll.subject.upload);
            }
        }
        assert_eq!(absent, [UploadId(1)]);
    }

    /// Settled and submitted anew, it is another upload to the listing.
    #[test]
    fn the_listing_says_nothing_of_an_attempt_that_began_after_it() {
        let queue = PollQueue::new(Waits::default());
        let long_ago = Instant::now() - Duration::from_secs(60);
        queue.push(lost(1, long_ago));
        queue.listing_begins();
        let first = queue.next(&running()).unwrap();
        queue.settled(&first);
        queue.push(lost(1, long_ago));
        queue.found(UploadId(1), document("of the first attempt"));
        queue.listing_ended(true);
        let second = queue.next(&running()).unwrap();
        let step = second.indexing.next(Duration::ZERO, &Waits::default());
        assert!(matches!(step, Step::End(End::InDoubt(_))));
    }
}
