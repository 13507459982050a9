//! When each upload is looked at, and whether by itself or by its page.
//!
//! Owns the uploads that wait, by due time, and the pages that show them. Pure: the time comes from outside; the
//! waiting and waking around it is `PollQueue`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{Document, DocumentsPage};
use crate::pipeline::following::pages::{
    By, Choice, PAGE_DOCUMENTS, Page, Pages, Position, choose,
};
use crate::pipeline::following::poll::{Due, Looks, Poll};
use crate::pipeline::following::room::Room;
use crate::pipeline::following::times::OperationTimes;
use crate::pipeline::rules::Listed;
use crate::state::UploadId;
use crate::throttle::{Pace, Paces};
use crate::waits::Waits;

/// Documents that the service indexes at once; beyond it the workers wait. Each is kept with its names, its
/// places and its times (2 KiB, all in all), and no service was seen to index hundreds at once well (fact
/// sheet 14). Operations of ten seconds leave room for 100 files a second.
const UNDER_WAY_MAX: usize = 1_000;
/// Of so many looks by page in a row one is by the document itself: lists may lag for long.
const PAGES_IN_A_ROW: u32 = 12;
/// While reads are paced, who is overdue waits for a page on its way as long as so many reads take: beside it,
/// looks at single documents would take its turns, and each tells of a twentieth. A page that takes longer waits
/// for the service and not for its turn.
const TURNS_OF_A_PAGE: u32 = 20;
/// Where requests are paced, a look waits for company as long as so many of them take: it tells of up to that many
/// uploads then, and costs each of them a part.
const TURNS_FOR_COMPANY: u32 = 10;
/// Nothing was submitted for so many turns, or, of a slow pace, for so long: nothing is to be expected any more.
const TURNS_WITHOUT_COMPANY: u32 = 6;
const LONG_WITHOUT_COMPANY: Duration = Duration::from_secs(10);
/// Below that (above 1,200 requests a minute) pages have company of their own.
const PACE_FELT: Duration = Duration::from_millis(50);
/// A poller without work comes more often by far.
const NOBODY_CAME: Duration = Duration::from_secs(2);
/// It asks again so soon: the pace may have changed.
const ASKS_AGAIN: Duration = Duration::from_secs(1);
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
    pub(super) asked: Vec<UploadId>,
}

#[derive(Debug)]
pub(super) struct Waiting {
    poll: Poll,
    pub(super) due: Due,
    /// Its key in `by_due`.
    wakes: Instant,
}

fn first_look(times: &OperationTimes, waits: &Waits) -> Duration {
    let next = times.next_look(Duration::ZERO, waits);
    next.likely.min(next.latest)
}

/// What waits, with its times; pure: the time comes from outside.
#[derive(Debug)]
pub(super) struct Schedule {
    waits: Waits,
    pub(super) waiting: BTreeMap<UploadId, Waiting>,
    by_due: BTreeSet<(Instant, UploadId)>,
    pub(super) pages: Pages,
    /// Nothing is asked about these until the store was listed.
    pub(super) parked: Vec<Poll>,
    /// How many there are: waiting, parked, or in a poller's hands.
    pub(super) held: usize,
    /// Those of them that await the listing. Who does and waits is looked at all the same: its operation may
    /// end before.
    pub(super) awaiting: BTreeSet<UploadId>,
    /// What the listing told of those that awaited it when it began.
    pub(super) told: BTreeMap<UploadId, Listed>,
    pub(super) is_listed: bool,
    pub(super) times: OperationTimes,
    /// Looks that taught something.
    learned: u32,
    /// The first look's age when what waits was last given its times.
    scheduled_by: Duration,
    pub(super) room: Room,
    /// How reads are let out.
    pace: Pace,
    /// So long takes a request of the class that is held back most.
    turn: Option<Duration>,
    /// When these were last told.
    paced_at: Option<Instant>,
    /// When an upload was last submitted.
    pub(super) pushed_at: Option<Instant>,
    /// Reads were last held back then.
    held_back_at: Option<Instant>,
    /// When the poller that watches for the next look wakes; `None`: no one watches.
    pub(super) watched: Option<Instant>,
    pub(super) closed: bool,
}

impl Schedule {
    pub(super) fn new(waits: Waits, known: Known) -> Schedule {
        Schedule {
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
            pace: Pace::Free,
            turn: None,
            paced_at: None,
            pushed_at: None,
            held_back_at: None,
            watched: None,
            closed: false,
        }
    }

    /// `due`: when it is looked at; `None`: not before the listing.
    pub(super) fn insert(&mut self, mut poll: Poll, due: Option<Due>, now: Instant) {
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

    pub(super) fn take(&mut self, upload: UploadId) -> Option<Poll> {
        let Waiting { poll, wakes, .. } = self.waiting.remove(&upload)?;
        self.by_due.remove(&(wakes, upload));
        if let Some(name) = poll.indexing.document() {
            self.pages
                .remove(upload, poll.submitted, &poll.looks.place, name);
        }
        Some(poll)
    }

    /// By what is known of operations; of one that an earlier run submitted, at once.
    pub(super) fn schedule(&self, poll: &Poll, now: Instant) -> Due {
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

    pub(super) fn set_due(&mut self, upload: UploadId, due: Due) {
        if let Some(waiting) = self.waiting.get_mut(&upload) {
            waiting.due = due;
            self.wake(upload, due.likely.min(due.latest));
        }
    }

    /// When the next look is due.
    pub(super) fn wakes(&self) -> Option<Instant> {
        self.by_due.first().map(|(wakes, _)| *wakes)
    }

    /// Whether some poller wakes by then.
    pub(super) fn is_watched(&self, by: Instant) -> bool {
        self.watched.is_some_and(|wakes| wakes <= by)
    }

    /// The look that is due, or when the next one is.
    pub(super) fn look(&mut self, now: Instant) -> Result<Look, Option<Instant>> {
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
            poll.document(&self.waits).is_none() || poll.looks.by_page >= PAGES_IN_A_ROW;
        match self.pages.by(&poll.looks.place, now) {
            _ if by_itself => (Choice::One, None),
            By::Itself => (Choice::One, None),
            By::NotBefore(until) => (Choice::Wait(until), None),
            By::PageOnItsWay(_) if due.latest > now => (Choice::Wait(due.latest), None),
            By::PageOnItsWay(since) if self.awaits_turn(since, now) => {
                (Choice::Wait(self.asks_again(since, now)), None)
            }
            By::PageOnItsWay(_) => (Choice::One, None),
            By::Page(page) => {
                let likely = self.likely(&page);
                // Where an earlier run's stand is not known: it takes a page of them to look for it.
                if poll.looks.is_inherited && (likely.len() as u64) < PAGE_DOCUMENTS {
                    return (Choice::One, None);
                }
                let company_until = match due.is_fixed {
                    true => None,
                    false => self.company_until(due.latest, now),
                };
                let choice = choose(now, due.latest, company_until, &likely);
                (choice, Some(page))
            }
        }
    }

    /// Where requests are paced, a look may take the place of an upload, and one a file would halve them:
    /// so long an upload waits for others to be looked at with it. Not once none has come for a while: then
    /// nothing else waits for the turn of its look.
    fn company_until(&self, latest: Instant, now: Instant) -> Option<Instant> {
        let every = self.turn?;
        let alone = (every * TURNS_WITHOUT_COMPANY).min(LONG_WITHOUT_COMPANY);
        let comes_until = self.pushed_at? + alone.max(every * 2);
        let until = comes_until.min(latest + every * TURNS_FOR_COMPANY);
        (every >= PACE_FELT && until > now).then_some(until)
    }

    /// How requests are let out just now.
    pub(super) fn paced(&mut self, paces: Paces, now: Instant) {
        let pace = paces.reads;
        (self.pace, self.turn) = (pace, paces.every);
        // That no poller came for so long means that all of them were held back.
        let came = self.paced_at.replace(now).unwrap_or(now);
        if pace == Pace::Paused || now.saturating_duration_since(came) >= NOBODY_CAME {
            self.held_back_at = Some(now);
        }
    }

    /// Whether a page that is being read since then may still wait for its turn.
    pub(super) fn awaits_turn(&self, since: Instant, now: Instant) -> bool {
        match self.pace {
            Pace::Free => false,
            Pace::Every(every) => {
                let since = Some(since).max(self.held_back_at).unwrap_or(now);
                now.saturating_duration_since(since) < every * TURNS_OF_A_PAGE
            }
            Pace::Paused => true,
        }
    }

    /// All who wait for one page ask at the same moments, so that a poller wakes once for all.
    fn asks_again(&self, since: Instant, now: Instant) -> Instant {
        let every = self.waits.scaled(ASKS_AGAIN).max(Duration::from_millis(1));
        let waited = now.saturating_duration_since(since);
        let asked = waited.as_nanos() / every.as_nanos();
        since + every * (u32::try_from(asked).unwrap_or(u32::MAX - 1) + 1)
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
            waiting.is_some_and(|waiting| waiting.poll.document(&self.waits).is_some())
        });
        for upload in &asked {
            self.wake(*upload, now + PAGE_ANSWERED_WITHIN);
        }
        self.pages.begin(&page, now);
        PageLook { page, asked }
    }

    /// Those that the page shows, with what it says of them.
    pub(super) fn shown(
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
                waiting.poll.document(&self.waits).as_ref() == Some(&document.name)
            });
            if is_asked_for && let Some(mut poll) = self.take(upload) {
                is_news |= !matches!(poll.looks.place, Position::OnPage(_));
                poll.looks.place = Position::OnPage(Arc::clone(&page));
                poll.looks.by_page += 1;
                shown.push((poll, document));
            }
        }
        let moved_on = self.pages.ended(&page, count, is_news, answer.next);
        let newest = shown.iter().map(|(poll, _)| poll.submitted).max();
        for upload in asked {
            self.not_shown(upload, moved_on, newest, now);
        }
        self.frontier_is_free();
        shown
    }

    /// Who is overdue and has waited for the frontier waits no longer.
    pub(super) fn frontier_is_free(&mut self) {
        if let Some(upload) = self.pages.next_unlisted()
            && let Some(Waiting { due, wakes, .. }) = self.waiting.get(&upload)
            && *wakes > due.latest
        {
            self.wake(upload, due.latest);
        }
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
        let is_unlisted = poll.looks.place == Position::Unlisted;
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
    pub(super) fn look_alone(&mut self, upload: UploadId, now: Instant) {
        if let Some(mut poll) = self.take(upload) {
            poll.looks.place = Position::Alone;
            let due = self.schedule(&poll, now);
            self.insert(poll, Some(due), now);
        }
    }

    /// What waits for its operation's end is given new times once these have moved.
    pub(super) fn reschedule(&mut self, now: Instant) {
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

    /// It is out of this queue's hands.
    pub(super) fn settle(&mut self, upload: UploadId) {
        self.held = self.held.saturating_sub(1);
        self.awaiting.remove(&upload);
        self.told.remove(&upload);
        self.room.settled(upload);
    }

    pub(super) fn unsettled(&self) -> usize {
        match self.is_listed {
            true => self.held,
            false => self.held.saturating_sub(self.awaiting.len()),
        }
    }
}

#[cfg(test)]
mod tests;
