//! Which upload is looked at when, and by what: its own document or operation, or a page of the listing that
//! shows many.
//!
//! Owns every submitted upload until its outcome is known: by due time, and beside these the ones of which only
//! the listing of the whole store can tell. Promises: bounded, those included; whoever waits, wakes when the run
//! stops; that listing's word reaches an upload only if it has waited from before the listing began; one page
//! is in one hand, and an upload that no page shows is looked at by itself.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use self::schedule::Schedule;
pub use self::schedule::{Known, Look, PageLook};
use super::pages::Position;
use super::poll::{Due, Poll};
use crate::client::{Document, DocumentsPage, FailureKind};
use crate::names::DocumentName;
use crate::pipeline::rules::Listed;
use crate::poison;
use crate::shutdown::Shutdown;
use crate::state::{Bookmark, UploadId};
use crate::throttle::Paces;
use crate::waits::Waits;

mod schedule;

/// Submitted uploads held at once, those included of which only the listing of the store can tell; beyond it
/// the workers wait.
pub const SUBMITTED_MAX: usize = 10_000;
/// How often a waiting thread looks whether the run is stopping.
const STOP_CHECK: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct PollQueue {
    inner: Mutex<Schedule>,
    /// Pollers wait here. One of them watches for the next look that is due, the others for it to need help:
    /// else all of them would wake for each look.
    due: Condvar,
    /// Whoever waits for fewer to be unsettled.
    settled: Condvar,
}

impl PollQueue {
    pub fn new(waits: Waits, known: Known) -> PollQueue {
        PollQueue {
            inner: Mutex::new(Schedule::new(waits, known)),
            due: Condvar::new(),
            settled: Condvar::new(),
        }
    }

    /// A submission; its first look is due when operations usually end.
    pub fn push(&self, poll: Poll) {
        let (mut inner, now) = (self.lock(), Instant::now());
        let due = inner.schedule(&poll, now);
        inner.pushed_at = inner.pushed_at.max(Some(poll.submitted));
        inner.held += 1;
        inner.insert(poll, Some(due), now);
        self.have_it_watched(&inner);
    }

    /// It is still running: back for another look.
    pub fn still_running(&self, mut poll: Poll, now: Instant) {
        let mut inner = self.lock();
        let age = poll.age(now);
        if !poll.looks.is_inherited {
            inner.times.ran(poll.looks.ran_for, age);
            inner.reschedule(now);
        }
        poll.looks.ran_for = age;
        let due = inner.schedule(&poll, now);
        inner.insert(poll, Some(due), now);
        self.have_it_watched(&inner);
    }

    /// The look had no answer: back for the next try, after a backoff. What was not let out, or came too soon for
    /// the quota, says nothing of where the document stands.
    pub fn unanswered(&self, mut poll: Poll, why: FailureKind, due: Instant) {
        if !matches!(why, FailureKind::Skipped { .. } | FailureKind::RateLimited) {
            poll.looks.place = Position::Alone;
        }
        self.again(poll, due);
    }

    /// Its next step is taken then.
    pub fn again(&self, poll: Poll, due: Instant) {
        let mut inner = self.lock();
        inner.insert(poll, Some(Due::at(due)), Instant::now());
        self.have_it_watched(&inner);
    }

    /// Nothing but the listing of the store can tell.
    pub fn await_listing(&self, poll: Poll) {
        let mut inner = self.lock();
        inner.insert(poll, None, Instant::now());
        self.have_it_watched(&inner);
        self.settled.notify_all();
    }

    /// The next look that is due; `None` once the queue is closed or the run stops. `paces`: how requests
    /// are let out just then.
    pub fn next(&self, shutdown: &Shutdown, paces: impl Fn() -> Paces) -> Option<Look> {
        let mut inner = self.lock();
        loop {
            if inner.closed || shutdown.is_stopping() {
                return None;
            }
            let now = Instant::now();
            inner.paced(paces(), now);
            match inner.look(now) {
                Ok(look) => {
                    self.have_it_watched(&inner);
                    return Some(look);
                }
                Err(Some(wakes)) if !inner.is_watched(wakes) => {
                    inner.watched = Some(wakes);
                    inner = poison::wait(&self.due, inner, (wakes - now).min(STOP_CHECK));
                    if inner.watched == Some(wakes) {
                        inner.watched = None;
                    }
                }
                Err(_) => inner = poison::wait(&self.due, inner, STOP_CHECK),
            }
        }
    }

    /// A page was read. Those that it shows are in the caller's hands now, each with what the page says of its
    /// document. If others are due that no page has shown yet, the next page is: for whoever asks first.
    pub fn page_shown(
        &self,
        look: PageLook,
        answer: DocumentsPage,
        now: Instant,
    ) -> Vec<(Poll, Document)> {
        let mut inner = self.lock();
        let shown = inner.shown(look, answer, now);
        self.have_it_watched(&inner);
        shown
    }

    /// The page could not be asked for: it is, then.
    pub fn page_put_off(&self, look: PageLook, until: Instant) {
        let mut inner = self.lock();
        inner.pages.put_off(&look.page, until);
        for upload in look.asked {
            inner.set_due(upload, Due::at(until));
        }
        self.have_it_watched(&inner);
    }

    /// A page had no usable answer, and none is asked for until then. If it was not the first in a row, those that
    /// it might have told of are looked at by themselves.
    pub fn page_failed(&self, look: PageLook, until: Instant) {
        let mut inner = self.lock();
        let in_a_row = inner.pages.failed(&look.page, until);
        for upload in look.asked {
            match in_a_row {
                1 => inner.set_due(upload, Due::at(until)),
                _ => inner.look_alone(upload, Instant::now()),
            }
        }
        self.have_it_watched(&inner);
    }

    /// The service does not take the page's token.
    pub fn page_refused(&self, look: PageLook, now: Instant) {
        let mut inner = self.lock();
        inner.pages.refused(&look.page);
        for upload in look.asked {
            inner.look_alone(upload, now);
        }
        inner.frontier_is_free();
        self.have_it_watched(&inner);
    }

    /// The operation ended well. Looks without an answer teach nothing: they would make an outage look like
    /// slowness.
    pub fn finished(&self, poll: &Poll, now: Instant) {
        let mut inner = self.lock();
        inner.room.indexed();
        if !poll.looks.is_inherited {
            let took = poll.looks.took_by(poll.age(now));
            inner.times.ended(poll.looks.ran_for, took);
            inner.reschedule(now);
            self.have_it_watched(&inner);
        }
        inner.settle(poll.subject.upload);
        self.settled.notify_all();
    }

    /// How long operations take, in milliseconds, as the next run is to know it.
    pub fn times(&self) -> Vec<u64> {
        self.lock().times.kept()
    }

    /// Where the next run begins to read the listing.
    pub fn bookmark(&self) -> Option<Bookmark> {
        self.lock().pages.bookmark()
    }

    /// It is out of this queue's hands.
    pub fn settled(&self, poll: &Poll) {
        self.lock().settle(poll.subject.upload);
        self.settled.notify_all();
    }

    /// The service reports its document as failed; it may still heal.
    pub fn document_failed(&self, poll: &Poll, now: Instant) {
        let mut inner = self.lock();
        let unsettled = inner.unsettled();
        inner
            .room
            .failed(poll.subject.upload, poll.submitted, unsettled, now);
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
        for upload in inner.awaiting.clone() {
            let due = inner.waiting.get(&upload).map(|waiting| waiting.due);
            if let (Some(due), Some(poll)) = (due, inner.take(upload)) {
                inner.insert(poll, Some(due), now);
            }
        }
        self.have_it_watched(&inner);
        self.settled.notify_all();
    }

    /// Waits while the queue is full; `false` if the run stops meanwhile, or if nothing but the listing of
    /// the store can make room.
    pub fn wait_for_room(&self, shutdown: &Shutdown) -> bool {
        let mut inner = self.lock();
        while inner.held >= SUBMITTED_MAX || inner.room.is_full(inner.unsettled()) {
            if inner.unsettled() == 0 || shutdown.is_stopping() {
                return false;
            }
            inner = poison::wait(&self.settled, inner, STOP_CHECK);
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
            inner = poison::wait(&self.settled, inner, left.min(STOP_CHECK));
        }
    }

    /// Pollers end; what is still here stays `processing` for the next run.
    pub fn close(&self) {
        self.lock().closed = true;
        self.due.notify_all();
        self.settled.notify_all();
    }

    /// Wakes a poller if nobody would wake for the next look in time.
    fn have_it_watched(&self, inner: &Schedule) {
        if inner.wakes().is_some_and(|wakes| !inner.is_watched(wakes)) {
            self.due.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        poison::lock(&self.inner)
    }
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests;
