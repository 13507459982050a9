//! Which upload is looked at when, and by what: its own document or operation, or a page of the listing that
//! shows many.
//!
//! Owns every submitted upload until its outcome is known: by due time, and beside these the ones of which only
//! the listing of the whole store can tell. Promises: bounded, those included; whoever waits, wakes when the run
//! stops; that listing's word reaches an upload only if it has waited from before the listing began; one page
//! is in one hand, and an upload that no page shows is looked at by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::pages::{By, Choice, PAGE_DOCUMENTS, Page, Pages, Place, choose};
use super::poll::{Due, Looks, Poll};
use super::room::Room;
use super::times::OperationTimes;
use crate::client::{Document, DocumentsPage};
use crate::names::DocumentName;
use crate::pipeline::rules::Listed;
use crate::poison;
use crate::shutdown::Shutdown;
use crate::state::{Bookmark, UploadId};
use crate::waits::Waits;

/// Submitted uploads held at once, those included of which only the listing of the store can tell; beyond it
/// the workers wait.
pub const SUBMITTED_MAX: usize = 10_000;
/// Documents that the service indexes at once; beyond it the workers wait. Each is kept with its names, its
/// places and its times (2 KiB, all in all), and no service was seen to index hundreds at once well (fact
/// sheet 14). Operations of ten seconds leave room for 100 files a second.
const UNDER_WAY_MAX: usize = 1_000;
/// How often a waiting thread looks whether the run is stopping.
const STOP_CHECK: Duration = Duration::from_millis(200);
/// Of so many looks by page in a row one is by the document itself: lists may lag for long.
const PAGES_IN_A_ROW: u32 = 12;
/// A request for a page is answered, or has failed, long before; then its uploads are due again.
const PAGE_ANSWERED_WITHIN: Duration = Duration::from_secs(600);
/// The first look has moved by so much: what waits is given new times. Asked once in so many looks.
const MOVED: f64 = 1.3;
const LEARNED_MIN: u32 = 16;

/// What an earlier run knew of the service.
#[derive(Debug)]
pub struct Known {
    pub times: OperationTimes,
    pub pages: Pages,
}

/// One request, and whom it may tell of.
#[derive(Debug)]
pub enum Look {
    One(Box<Poll>),
    Page(PageLook),
}

/// A page that is being read.
#[derive(Debug)]
pub struct PageLook {
    pub page: Arc<Page>,
    asked: Vec<UploadId>,
}

#[derive(Debug)]
struct Waiting {
    poll: Poll,
    due: Due,
    /// Its key in `by_due`.
    wakes: Instant,
}

fn first_look(times: &OperationTimes, waits: &Waits) -> Duration {
    let next = times.next_look(Duration::ZERO, waits);
    next.likely.min(next.latest)
}

#[derive(Debug)]
struct Inner {
    waits: Waits,
    waiting: BTreeMap<UploadId, Waiting>,
    by_due: BTreeSet<(Instant, UploadId)>,
    pages: Pages,
    /// Nothing is asked about these until the store was listed.
    parked: Vec<Poll>,
    /// How many there are: waiting, parked, or in a poller's hands.
    held: usize,
    /// Those of them that await the listing. Who does and waits is looked at all the same: its operation may
    /// end before.
    awaiting: BTreeSet<UploadId>,
    /// What the listing told of those that awaited it when it began.
    told: BTreeMap<UploadId, Listed>,
    is_listed: bool,
    times: OperationTimes,
    /// Looks that taught something.
    learned: u32,
    /// The first look's age when what waits was last given its times.
    scheduled_by: Duration,
    room: Room,
    closed: bool,
}

impl Inner {
    fn new(waits: Waits, known: Known) -> Inner {
        Inner {
            waits,
            waiting: BTreeMap::new(),
            by_due: BTreeSet::new(),
            pages: known.pages,
            parked: Vec::new(),
            held: 0,
            awaiting: BTreeSet::new(),
            told: BTreeMap::new(),
            is_listed: false,
            learned: 0,
            scheduled_by: first_look(&known.times, &waits),
            times: known.times,
            room: Room::new(UNDER_WAY_MAX),
            closed: false,
        }
    }

    /// `due`: when it is looked at; `None`: not before the listing.
    fn insert(&mut self, mut poll: Poll, due: Option<Due>, now: Instant) {
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
                due = Some(Due::at(now));
            }
        }
        let Some(due) = due else {
            return self.parked.push(poll);
        };
        if let Some(name) = poll.indexing.document() {
            self.pages
                .add(upload, poll.submitted, &poll.looks.place, name);
        }
        let wakes = due.likely.min(due.latest);
        self.by_due.insert((wakes, upload));
        self.waiting.insert(upload, Waiting { poll, due, wakes });
    }

    fn take(&mut self, upload: UploadId) -> Option<Poll> {
        let Waiting { poll, wakes, .. } = self.waiting.remove(&upload)?;
        self.by_due.remove(&(wakes, upload));
        if let Some(name) = poll.indexing.document() {
            self.pages
                .remove(upload, poll.submitted, &poll.looks.place, name);
        }
        Some(poll)
    }

    /// By what is known of operations; of one that an earlier run submitted, at once.
    fn schedule(&self, poll: &Poll, now: Instant) -> Due {
        let Looks {
            is_inherited,
            ran_for,
            ..
        } = poll.looks;
        if is_inherited && ran_for.is_zero() {
            return Due::at(now);
        }
        let next = self.times.next_look(ran_for, &self.waits);
        Due {
            likely: poll.submitted + next.likely,
            latest: poll.submitted + next.latest,
            is_fixed: false,
        }
    }

    fn wake(&mut self, upload: UploadId, at: Instant) {
        if let Some(waiting) = self.waiting.get_mut(&upload) {
            self.by_due.remove(&(waiting.wakes, upload));
            waiting.wakes = at;
            self.by_due.insert((at, upload));
        }
    }

    fn set_due(&mut self, upload: UploadId, due: Due) {
        if let Some(waiting) = self.waiting.get_mut(&upload) {
            waiting.due = due;
            self.wake(upload, due.likely.min(due.latest));
        }
    }

    /// The look that is due, or when the next one is.
    fn look(&mut self, now: Instant) -> Result<Look, Option<Instant>> {
        loop {
            let Some(&(wakes, upload)) = self.by_due.first() else {
                return Err(None);
            };
            if wakes > now {
                return Err(Some(wakes));
            }
            match self.choice(upload, now) {
                (Choice::Wait(until), _) => self.wake(upload, until),
                (Choice::Page, Some(page)) => return Ok(Look::Page(self.begin(page, now))),
                (Choice::Page | Choice::One, _) => match self.take(upload) {
                    Some(mut poll) => {
                        poll.looks.by_page = 0;
                        self.pages.looked_at_one();
                        return Ok(Look::One(Box::new(poll)));
                    }
                    // Every key has its upload.
                    None => drop(self.by_due.remove(&(wakes, upload))),
                },
            }
        }
    }

    fn choice(&self, upload: UploadId, now: Instant) -> (Choice, Option<Arc<Page>>) {
        let Some(Waiting { poll, due, .. }) = self.waiting.get(&upload) else {
            return (Choice::One, None);
        };
        let by_itself =
            poll.document(now, &self.waits).is_none() || poll.looks.by_page >= PAGES_IN_A_ROW;
        match self.pages.by(&poll.looks.place, now) {
            _ if by_itself => (Choice::One, None),
            By::Itself => (Choice::One, None),
            By::PageOnItsWay if due.latest > now => (Choice::Wait(due.latest), None),
            By::PageOnItsWay => (Choice::One, None),
            By::Page(page) => {
                let likely = self.likely(&page);
                // Where an earlier run's stand is not known: it takes a page of them to look for it.
                if poll.looks.is_inherited && (likely.len() as u64) < PAGE_DOCUMENTS {
                    return (Choice::One, None);
                }
                (choose(now, due.latest, &likely), Some(page))
            }
        }
    }

    fn likely(&self, page: &Page) -> Vec<Instant> {
        let group = self.pages.group(page);
        let waiting = group.iter().filter_map(|upload| self.waiting.get(upload));
        waiting.map(|waiting| waiting.due.likely).collect()
    }

    fn begin(&mut self, page: Arc<Page>, now: Instant) -> PageLook {
        let mut asked = self.pages.group(&page);
        asked.retain(|upload| {
            let waiting = self.waiting.get(upload);
            waiting.is_some_and(|waiting| waiting.poll.document(now, &self.waits).is_some())
        });
        for upload in &asked {
            self.wake(*upload, now + PAGE_ANSWERED_WITHIN);
        }
        self.pages.begin(&page);
        PageLook { page, asked }
    }

    /// Those that the page shows, with what it says of them.
    fn shown(
        &mut self,
        look: PageLook,
        answer: DocumentsPage,
        now: Instant,
    ) -> Vec<(Poll, Document)> {
        let PageLook { page, asked } = look;
        let count = answer.documents.len();
        let mut is_news = false;
        let mut shown = Vec::new();
        for document in answer.documents {
            let Some(upload) = self.pages.named(&document.name) else {
                continue;
            };
            let is_asked_for = self.waiting.get(&upload).is_some_and(|waiting| {
                waiting.poll.document(now, &self.waits).as_ref() == Some(&document.name)
            });
            if is_asked_for && let Some(mut poll) = self.take(upload) {
                is_news |= !matches!(poll.looks.place, Place::OnPage(_));
                poll.looks.place = Place::OnPage(Arc::clone(&page));
                poll.looks.by_page += 1;
                shown.push((poll, document));
            }
        }
        let moved_on = self.pages.ended(&page, count, is_news, answer.next);
        let newest = shown.iter().map(|(poll, _)| poll.submitted).max();
        for upload in asked {
            self.not_shown(upload, moved_on, newest, now);
        }
        shown
    }

    /// The page does not show it, which is no news. While it may only not be seen yet it waits for another page,
    /// for as long as its end would not be noticed late; then it is looked at by itself.
    fn not_shown(
        &mut self,
        upload: UploadId,
        moved_on: bool,
        newest: Option<Instant>,
        now: Instant,
    ) {
        let Some(Waiting { poll, due, .. }) = self.waiting.get(&upload) else {
            return;
        };
        let latest = due.latest;
        let is_unlisted = poll.looks.place == Place::Unlisted;
        let is_passed = newest.is_some_and(|newest| poll.submitted < newest);
        if is_unlisted && moved_on && !(is_passed && latest <= now) {
            let wakes = due.likely.min(latest);
            return self.wake(upload, wakes);
        }
        if is_unlisted && latest > now {
            return self.wake(upload, latest);
        }
        self.look_alone(upload, now);
    }

    /// It is looked at by itself when its look is due.
    fn look_alone(&mut self, upload: UploadId, now: Instant) {
        if let Some(mut poll) = self.take(upload) {
            poll.looks.place = Place::Alone;
            let due = self.schedule(&poll, now);
            self.insert(poll, Some(due), now);
        }
    }

    /// What waits for its operation's end is given new times once these have moved.
    fn reschedule(&mut self, now: Instant) {
        self.learned += 1;
        if !self.learned.is_multiple_of(LEARNED_MIN) {
            return;
        }
        let first = first_look(&self.times, &self.waits);
        let ratio = first.as_secs_f64() / self.scheduled_by.as_secs_f64();
        if (1.0 / MOVED..=MOVED).contains(&ratio) {
            return;
        }
        self.scheduled_by = first;
        let new: Vec<(UploadId, Due)> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| {
                !waiting.due.is_fixed && waiting.wakes < now + PAGE_ANSWERED_WITHIN / 2
            })
            .map(|(upload, waiting)| (*upload, self.schedule(&waiting.poll, now)))
            .collect();
        for (upload, due) in new {
            self.set_due(upload, due);
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
    pub fn new(waits: Waits, known: Known) -> PollQueue {
        PollQueue {
            inner: Mutex::new(Inner::new(waits, known)),
            changed: Condvar::new(),
        }
    }

    /// A submission; its first look is due when operations usually end.
    pub fn push(&self, poll: Poll) {
        let (mut inner, now) = (self.lock(), Instant::now());
        let due = inner.schedule(&poll, now);
        inner.held += 1;
        inner.insert(poll, Some(due), now);
        self.changed.notify_one();
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
        self.changed.notify_one();
    }

    /// The look had no answer: back for the next try, after a backoff.
    pub fn unanswered(&self, mut poll: Poll, due: Instant) {
        poll.looks.place = Place::Alone;
        self.again(poll, due);
    }

    /// Its next step is taken then.
    pub fn again(&self, poll: Poll, due: Instant) {
        let mut inner = self.lock();
        inner.insert(poll, Some(Due::at(due)), Instant::now());
        self.changed.notify_one();
    }

    /// Nothing but the listing of the store can tell.
    pub fn await_listing(&self, poll: Poll) {
        self.lock().insert(poll, None, Instant::now());
        self.changed.notify_all();
    }

    /// The next look that is due; `None` once the queue is closed or the run stops.
    pub fn next(&self, shutdown: &Shutdown) -> Option<Look> {
        let mut inner = self.lock();
        loop {
            if inner.closed || shutdown.is_stopping() {
                return None;
            }
            let now = Instant::now();
            let wait = match inner.look(now) {
                Ok(look) => return Some(look),
                Err(Some(wakes)) => (wakes - now).min(STOP_CHECK),
                Err(None) => STOP_CHECK,
            };
            inner = self.wait(inner, wait);
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
        let shown = self.lock().shown(look, answer, now);
        self.changed.notify_all();
        shown
    }

    /// The page could not be asked for: it is, then.
    pub fn page_put_off(&self, look: PageLook, until: Instant) {
        let mut inner = self.lock();
        inner.pages.put_off(&look.page, until);
        for upload in look.asked {
            inner.set_due(upload, Due::at(until));
        }
        self.changed.notify_all();
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
        self.changed.notify_all();
    }

    /// The service does not take the page's token.
    pub fn page_refused(&self, look: PageLook, now: Instant) {
        let mut inner = self.lock();
        inner.pages.refused(&look.page);
        for upload in look.asked {
            inner.look_alone(upload, now);
        }
        self.changed.notify_all();
    }

    /// The operation ended well. Looks without an answer teach nothing: they would make an outage look like
    /// slowness.
    pub fn finished(&self, poll: &Poll, now: Instant) {
        self.lock().room.indexed();
        if !poll.looks.is_inherited {
            let mut inner = self.lock();
            let took = poll.looks.took_by(poll.age(now));
            inner.times.ended(poll.looks.ran_for, took);
            inner.reschedule(now);
        }
        self.settled(poll);
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
        let mut inner = self.lock();
        inner.held = inner.held.saturating_sub(1);
        inner.awaiting.remove(&poll.subject.upload);
        inner.told.remove(&poll.subject.upload);
        inner.room.settled(poll.subject.upload);
        self.changed.notify_all();
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
        self.changed.notify_all();
    }

    /// Waits while the queue is full; `false` if the run stops meanwhile, or if nothing but the listing of
    /// the store can make room.
    pub fn wait_for_room(&self, shutdown: &Shutdown) -> bool {
        let mut inner = self.lock();
        while inner.held >= SUBMITTED_MAX || inner.room.is_full(inner.unsettled()) {
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
mod simulation;

#[cfg(test)]
mod tests;
