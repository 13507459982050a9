//! The queue against a modelled service, in virtual time: how many requests a file costs, and how long after
//! the end of its operation that is seen.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::tests::{document, poll};
use super::*;
use crate::client::{DocumentState, Failure};
use crate::pipeline::following::pages::Pages;
use crate::pipeline::following::poll::Looks;
use crate::pipeline::following::times::OperationTimes;
use crate::pipeline::rules::{Heard, Indexing};
use crate::throttle::Pace;

/// A service, what is sent to it, and what others do there.
struct Case {
    files: usize,
    /// Files a second.
    rate: f64,
    pollers: usize,
    latency: Duration,
    /// A document is listed so long after it was made.
    list_lag: Duration,
    /// Documents of others that are made between two of ours.
    foreign: usize,
    /// Of what a page shows, this is left out.
    loses: fn(usize) -> bool,
    /// Tokens from here on are refused.
    refuses_from: usize,
    /// The throttle lets one look out in so long.
    reads_every: Option<Duration>,
    /// The same of writes, which is only told: `rate` is when they come.
    writes_every: Option<Duration>,
    /// It lets none out between these two, in seconds.
    paused: std::ops::Range<f64>,
    /// It refuses all between these two, in seconds.
    shut: std::ops::Range<f64>,
}

const CASE: Case = Case {
    files: 1000,
    rate: 80.0,
    pollers: 9,
    latency: Duration::from_millis(100),
    list_lag: Duration::from_millis(300),
    foreign: 0,
    loses: |_| false,
    refuses_from: usize::MAX,
    reads_every: None,
    writes_every: None,
    paused: 0.0..0.0,
    shut: 0.0..0.0,
};

struct Made {
    name: DocumentName,
    created: Instant,
    took: Duration,
}

impl Made {
    fn seen(&self, at: Instant) -> Document {
        Document {
            name: self.name.clone(),
            state: match at >= self.created + self.took {
                true => DocumentState::Active,
                false => DocumentState::Pending,
            },
            identity: None,
            size_bytes: Some(0),
            changed_after: (at >= self.created + self.took).then_some(self.took),
        }
    }
}

#[derive(Debug)]
enum Event {
    Submitted(usize),
    Answered(Look),
    Refused(Look),
    Woken,
}

/// Requests a file, the 95th percentile of lateness, and the time from the end of the last operation to that of
/// the run, beyond a tenth of the longest operation.
#[derive(Debug)]
struct Figures {
    looks: f64,
    late: f64,
    last: f64,
}

struct World {
    case: Case,
    start: Instant,
    /// All that is made, others' documents as well, in order of creation.
    made: Vec<Made>,
    /// Where ours are among them.
    ours: Vec<usize>,
    queue: PollQueue,
    events: BinaryHeap<Reverse<(Instant, usize)>>,
    details: Vec<Option<Event>>,
    looks: u32,
    late: Vec<f64>,
    ended: Instant,
    /// When the throttle lets the next look out.
    free_at: Instant,
}

fn simulate(case: Case, mut draw: impl FnMut() -> f64) -> Figures {
    let start = Instant::now();
    let (mut made, mut ours) = (Vec::new(), Vec::new());
    for file in 0..case.files {
        let created = start + Duration::from_secs_f64(file as f64 / case.rate);
        let took = Duration::from_secs_f64(draw());
        ours.push(made.len());
        for other in 0..=case.foreign {
            made.push(Made {
                name: document(&format!("{file}-{other}")),
                created,
                took,
            });
        }
    }
    let known = Known {
        times: OperationTimes::new(&[]),
        pages: Pages::new(None, 0, case.files as u64),
    };
    let mut world = World {
        case,
        start,
        made,
        ours,
        queue: PollQueue::new(Waits::default(), known),
        events: BinaryHeap::new(),
        details: Vec::new(),
        looks: 0,
        late: Vec::new(),
        ended: start,
        free_at: start,
    };
    world.run()
}

impl World {
    fn run(&mut self) -> Figures {
        for file in 0..self.case.files {
            // The answer is on its way for half the latency.
            let at = self.made[self.ours[file]].created + self.case.latency / 2;
            self.happens(at, Event::Submitted(file));
        }
        let mut free = self.case.pollers;
        while let Some(Reverse((now, number))) = self.events.pop() {
            match self.details[number].take() {
                Some(Event::Submitted(file)) => self.submitted(file, now),
                Some(Event::Answered(look)) => {
                    free += 1;
                    self.answered(look, now);
                }
                Some(Event::Refused(look)) => {
                    free += 1;
                    self.refused(look, now);
                }
                Some(Event::Woken) | None => {}
            }
            while free > 0 {
                self.queue.lock().paced(self.paces(now), now);
                let look = self.queue.lock().look(now);
                match look {
                    Ok(look) => {
                        free -= 1;
                        self.sent(look, now);
                    }
                    Err(wakes) => {
                        if let Some(wakes) = wakes {
                            self.happens(wakes, Event::Woken);
                        }
                        break;
                    }
                }
            }
        }
        assert_eq!(self.late.len(), self.case.files, "every file is seen");
        let ours = self.ours.iter().map(|i| &self.made[*i]);
        let longest = ours.clone().map(|made| made.took).max();
        let end = ours.map(|made| made.created + made.took).max();
        let last = self.ended - end.unwrap_or(self.start);
        let tenth = longest.unwrap_or_default() / 10;
        self.late.sort_by(f64::total_cmp);
        Figures {
            looks: f64::from(self.looks) / self.case.files as f64,
            late: self.late[self.late.len() * 95 / 100],
            last: last.saturating_sub(tenth).as_secs_f64(),
        }
    }

    fn happens(&mut self, at: Instant, event: Event) {
        self.events.push(Reverse((at, self.details.len())));
        self.details.push(Some(event));
    }

    fn sent(&mut self, look: Look, now: Instant) {
        let at = (now - self.start).as_secs_f64();
        if self.case.shut.contains(&at) {
            // So long a poller rests that was refused.
            let rested = now + Duration::from_millis(200);
            return self.happens(rested, Event::Refused(look));
        }
        self.looks += 1;
        assert!(self.looks < 100_000, "a busy loop");
        if self.case.paused.contains(&at) {
            let end = self.start + Duration::from_secs_f64(self.case.paused.end);
            self.free_at = self.free_at.max(end);
        }
        let let_out = now.max(self.free_at);
        self.free_at = let_out + self.case.reads_every.unwrap_or_default();
        self.happens(let_out + self.case.latency, Event::Answered(look));
    }

    fn paces(&self, now: Instant) -> Paces {
        let at = (now - self.start).as_secs_f64();
        let reads = match self.case.reads_every {
            _ if self.case.paused.contains(&at) => Pace::Paused,
            Some(every) => Pace::Every(every),
            None => Pace::Free,
        };
        let every = self.case.reads_every.max(self.case.writes_every);
        Paces { reads, every }
    }

    fn refused(&mut self, look: Look, now: Instant) {
        let until = now.max(self.start + Duration::from_secs_f64(self.case.shut.end));
        match look {
            Look::One(mut poll) => {
                let why = FailureKind::Skipped { until };
                let failure = Failure::new(why, "the throttle refuses");
                let (age, waits) = (poll.age(now), Waits::default());
                let refused = Err(failure);
                poll.indexing.document_answered(refused, 0, age, &waits);
                self.queue.unanswered(*poll, why, until);
            }
            Look::Page(look) => self.queue.page_put_off(look, until),
        }
    }

    fn submitted(&mut self, file: usize, now: Instant) {
        let name = self.made[self.ours[file]].name.clone();
        let mut poll = poll(
            file as i64,
            now,
            Indexing::submitted(true, Some(name), Some(0)),
        );
        poll.looks = Looks::default();
        self.queue.push(poll);
    }

    fn answered(&mut self, look: Look, now: Instant) {
        let at = now - self.case.latency / 2;
        match look {
            Look::One(poll) => {
                let document = self.made[self.ours[poll.subject.upload.0 as usize]].seen(at);
                self.heard(*poll, document, now);
            }
            Look::Page(look) => {
                let from = look
                    .page
                    .token
                    .as_ref()
                    .map_or(0, |token| token.parse().unwrap());
                if from >= self.case.refuses_from {
                    return self.queue.page_refused(look, now);
                }
                let answer = self.page(from, at);
                let shown = self.queue.page_shown(look, answer, now);
                for (poll, document) in shown {
                    self.heard(poll, document, now);
                }
            }
        }
    }

    /// A token is the place of the last document that the page before showed.
    fn page(&self, from: usize, at: Instant) -> DocumentsPage {
        let visible = |i: &usize| self.made[*i].created + self.case.list_lag <= at;
        let shown: Vec<usize> = (from..self.made.len()).filter(visible).take(21).collect();
        let next = shown.get(20).map(|_| (shown[19] + 1).to_string());
        let kept = shown.iter().take(20).filter(|i| !(self.case.loses)(**i));
        DocumentsPage {
            documents: kept.map(|i| self.made[*i].seen(at)).collect(),
            next,
        }
    }

    fn heard(&mut self, mut poll: Poll, document: Document, now: Instant) {
        poll.looks.took = document.changed_after;
        let waits = Waits::default();
        let heard = poll
            .indexing
            .document_answered(Ok(document), 0, poll.age(now), &waits);
        match heard {
            Heard::News => {
                let made = &self.made[self.ours[poll.subject.upload.0 as usize]];
                self.late
                    .push((now - (made.created + made.took)).as_secs_f64());
                self.ended = now;
                self.queue.finished(&poll, now);
            }
            Heard::StillRunning => self.queue.still_running(poll, now),
            other => panic!("{other:?}"),
        }
    }
}

fn uniform(from: f64, to: f64) -> impl FnMut() -> f64 {
    let mut rng = fastrand::Rng::with_seed(7);
    move || from + (to - from) * rng.f64()
}

/// The targets of design section 9.
#[track_caller]
fn within(outcome: &Figures, looks: f64, late: f64) {
    assert!(outcome.looks <= looks, "{outcome:?}");
    assert!(outcome.late <= late, "{outcome:?}");
    assert!(outcome.last <= late + 0.5, "{outcome:?}");
}

#[test]
fn steady_operations_cost_a_look_for_many_files() {
    for (rate, files, looks) in [(80.0, 300, 0.2), (80.0, 1000, 0.12), (20.0, 1000, 0.2)] {
        let case = Case {
            rate,
            files,
            ..CASE
        };
        within(&simulate(case, uniform(1.5, 1.8)), looks, 1.5);
    }
    let case = Case {
        rate: 2000.0,
        files: 3000,
        latency: Duration::from_millis(1),
        ..CASE
    };
    within(&simulate(case, uniform(1.5, 1.8)), 0.2, 1.5);
    for (took, looks) in [(0.2, 0.2), (1.0, 0.12), (10.0, 0.2)] {
        within(&simulate(CASE, || took), looks, 1.5);
    }
}

#[test]
fn operations_that_vary_twenty_fold_cost_half_a_look() {
    for (rate, files, pollers) in [(80.0, 300, 9), (80.0, 1000, 9), (150.0, 1500, 33)] {
        let case = Case {
            rate,
            files,
            pollers,
            ..CASE
        };
        within(&simulate(case, uniform(0.5, 9.5)), 0.5, 1.6);
    }
}

#[test]
fn operations_over_two_orders_of_magnitude_are_followed() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut normal = move || (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
    within(
        &simulate(CASE, move || 3.0 * (1.15 * normal()).exp()),
        0.9,
        2.0,
    );
}

#[test]
fn a_service_that_becomes_slow_or_fast_is_followed() {
    let mut file = 0;
    let slow = simulate(CASE, || {
        file += 1;
        if file < 500 { 0.2 } else { 8.0 }
    });
    within(&slow, 0.6, 1.6);
    let mut file = 0;
    let fast = simulate(CASE, || {
        file += 1;
        if file < 500 { 8.0 } else { 0.2 }
    });
    // Those that were sent before the first fast one could be seen.
    within(&fast, 0.6, 8.5);
}

#[test]
fn few_files_are_looked_at_one_by_one() {
    let case = Case {
        files: 50,
        rate: 0.3,
        ..CASE
    };
    within(&simulate(case, uniform(1.5, 1.8)), 1.6, 1.0);
}

#[test]
fn a_listing_that_lags_delays_nothing() {
    let list_lag = Duration::from_secs(2);
    let case = Case { list_lag, ..CASE };
    within(&simulate(case, uniform(1.5, 1.8)), 0.5, 1.6);
    let case = Case { list_lag, ..CASE };
    within(&simulate(case, || 0.2), 1.3, 2.2);
}

#[test]
fn a_store_that_others_fill_is_looked_at_document_by_document() {
    for (foreign, looks) in [(4, 0.6), (30, 1.4), (100, 1.4)] {
        let rate = 20.0;
        let case = Case {
            foreign,
            rate,
            ..CASE
        };
        within(&simulate(case, uniform(1.5, 1.8)), looks, 1.6);
    }
}

#[test]
fn pages_that_lose_documents_lose_none_of_ours() {
    let loses = |i: usize| i.is_multiple_of(3);
    let case = Case { loses, ..CASE };
    within(&simulate(case, uniform(1.5, 1.8)), 0.8, 2.2);
}

#[test]
fn refused_tokens_cost_single_looks() {
    for refuses_from in [0, 200] {
        let case = Case {
            refuses_from,
            ..CASE
        };
        within(&simulate(case, uniform(1.5, 1.8)), 1.4, 1.6);
    }
}

/// Where one quota serves writes and reads, a look costs an upload.
#[test]
fn paced_looks_go_to_pages() {
    let reads_every = Some(Duration::from_millis(670));
    for (rate, files, late) in [(13.0, 800, 8.0), (140.0, 700, 30.0)] {
        let case = Case {
            rate,
            files,
            pollers: 6,
            reads_every,
            ..CASE
        };
        within(&simulate(case, uniform(0.5, 2.0)), 0.12, late);
    }
}

/// One look a file would halve the uploads where both are let out in turn.
#[test]
fn few_uploads_in_a_slow_pace_are_looked_at_together() {
    for (every, looks, late) in [(12.0, 0.3, 130.0), (1.0, 0.25, 12.0), (0.1, 0.25, 2.5)] {
        let paced = Some(Duration::from_secs_f64(every));
        for (reads_every, writes_every) in [(paced, paced), (None, paced)] {
            let case = Case {
                rate: 0.8 / every,
                files: 60,
                pollers: 6,
                reads_every,
                writes_every,
                ..CASE
            };
            let outcome = simulate(case, uniform(0.5, 2.0));
            within(&outcome, looks, late);
            assert!(outcome.last <= 4.0 * every + 4.0, "{outcome:?}");
        }
    }
}

/// What the throttle refused is no reason to look at documents one by one afterwards.
#[test]
fn refused_looks_go_to_pages_when_they_are_let_out() {
    let (no, minute) = (0.0..0.0, 3.0..60.0);
    let paced = Some(Duration::from_millis(670));
    for (paused, shut, reads_every, looks, late) in [
        (no.clone(), minute.clone(), None, 0.4, 62.0),
        (no.clone(), minute.clone(), paced, 0.12, 85.0),
        (minute, no, paced, 0.13, 85.0),
    ] {
        let case = Case {
            files: 700,
            rate: 140.0,
            pollers: 6,
            paused,
            shut,
            reads_every,
            ..CASE
        };
        within(&simulate(case, uniform(0.5, 2.0)), looks, late);
    }
}
