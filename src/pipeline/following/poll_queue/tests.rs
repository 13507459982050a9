use super::*;
use crate::pipeline::following::pages::Pages;
use crate::pipeline::following::poll::Looks;
use crate::pipeline::following::times::OperationTimes;
use crate::pipeline::outcome::subject::Subject;
use crate::pipeline::rules::{End, Indexing, Step};
use crate::throttle::Pace;

pub(super) const FREE: Paces = Paces {
    reads: Pace::Free,
    every: None,
};

pub(super) fn document(name: &str) -> DocumentName {
    DocumentName::new(format!("fileSearchStores/s/documents/{name}"))
}

pub(super) fn poll(id: i64, submitted: Instant, indexing: Indexing) -> Poll {
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
        indexing,
        looks: Looks::default(),
    }
}

/// Its document has a name: looking is enough.
pub(super) fn named(id: i64, submitted: Instant) -> Poll {
    let name = Some(document("d"));
    poll(id, submitted, Indexing::submitted(true, name, None))
}

/// Neither an operation nor a document is on record.
fn lost(id: i64, submitted: Instant) -> Poll {
    poll(id, submitted, Indexing::inherited(false, None))
}

pub(super) fn known() -> Known {
    Known {
        times: OperationTimes::new(&[]),
        // So full that no page of it is read.
        pages: Pages::new(None, u64::MAX, 0),
    }
}

fn queue() -> PollQueue {
    PollQueue::new(Waits::default(), known())
}

/// The next one that is looked at by itself.
fn next_one(queue: &PollQueue) -> Poll {
    match queue.next(&running(), || FREE) {
        Some(Look::One(poll)) => *poll,
        other => panic!("{other:?}"),
    }
}

fn running() -> Shutdown {
    Shutdown::new(Duration::ZERO)
}

/// As a poller takes it, and brings it back for the listing.
fn take_and_park(queue: &PollQueue) {
    let poll = next_one(queue);
    queue.await_listing(poll);
}

#[test]
fn what_is_due_first_comes_first() {
    let queue = queue();
    let long_ago = Instant::now() - Duration::from_secs(60);
    queue.push(named(1, long_ago + Duration::from_secs(1)));
    queue.push(named(2, long_ago));
    let first = next_one(&queue);
    assert_eq!(first.subject.upload, UploadId(2));
    assert_eq!(queue.unsettled(), 2);
    queue.settled(&first);
    assert_eq!(queue.unsettled(), 1);
}

#[test]
fn a_closed_queue_lets_its_pollers_go() {
    let queue = queue();
    queue.push(named(1, Instant::now()));
    queue.close();
    assert!(queue.next(&running(), || FREE).is_none());
}

/// A run would otherwise wait for ever: for room, for what only the listing can tell, and for the listing
/// at the end of what waits for room.
#[test]
fn a_queue_full_of_what_only_the_listing_can_tell_keeps_nobody_waiting() {
    let queue = queue();
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
    let queue = queue();
    let long_ago = Instant::now() - Duration::from_secs(60);
    for id in 1..=3 {
        queue.push(lost(id, long_ago));
    }
    take_and_park(&queue);
    let in_hands = next_one(&queue);
    assert_eq!(queue.listing_begins().len(), 3);
    for id in 1..=3 {
        queue.found(UploadId(id), document(&id.to_string()));
    }
    queue.listing_ended(true);
    queue.await_listing(in_hands);
    assert_eq!(queue.unsettled(), 3);
    for _ in 1..=3 {
        let poll = next_one(&queue);
        let own = document(&poll.subject.upload.0.to_string());
        let step = poll.indexing.next(&Waits::default());
        assert_eq!(step, Step::LookAtDocument(own));
    }
}

/// Its request may have taken effect after the listing had passed by.
#[test]
fn who_comes_while_the_store_is_listed_is_not_taken_for_absent() {
    let queue = queue();
    let long_ago = Instant::now() - Duration::from_secs(60);
    queue.push(lost(1, long_ago));
    take_and_park(&queue);
    queue.listing_begins();
    queue.push(lost(2, long_ago));
    queue.listing_ended(true);
    let mut absent = Vec::new();
    for _ in 1..=2 {
        let poll = next_one(&queue);
        let hand_back = Step::End(End::HandBack);
        if poll.indexing.next(&Waits::default()) == hand_back {
            absent.push(poll.subject.upload);
        }
    }
    assert_eq!(absent, [UploadId(1)]);
}

/// Settled and submitted anew, it is another upload to the listing.
#[test]
fn the_listing_says_nothing_of_an_attempt_that_began_after_it() {
    let queue = queue();
    let long_ago = Instant::now() - Duration::from_secs(60);
    queue.push(lost(1, long_ago));
    queue.listing_begins();
    let first = next_one(&queue);
    queue.settled(&first);
    queue.push(lost(1, long_ago));
    queue.found(UploadId(1), document("of the first attempt"));
    queue.listing_ended(true);
    let second = next_one(&queue);
    let step = second.indexing.next(&Waits::default());
    assert!(matches!(step, Step::End(End::InDoubt(_))));
}

/// Two uploads of one page, `one` and `two`, which is just being read.
fn a_page_of_two() -> (PollQueue, PageLook) {
    let pages = Pages::new(None, 0, 100);
    let times = OperationTimes::new(&[]);
    let queue = PollQueue::new(Waits::default(), Known { times, pages });
    let long_ago = Instant::now() - Duration::from_secs(25);
    for (id, name) in [(1, "one"), (2, "two")] {
        let indexing = Indexing::submitted(true, Some(document(name)), None);
        queue.push(poll(id, long_ago, indexing));
    }
    match queue.next(&running(), || FREE) {
        Some(Look::Page(look)) => (queue, look),
        other => panic!("{other:?}"),
    }
}

fn page(names: &[&str], next: Option<&str>) -> DocumentsPage {
    let shown = names.iter().map(|name| Document {
        name: document(name),
        state: crate::client::DocumentState::Active,
        identity: None,
        size_bytes: None,
        changed_after: None,
    });
    DocumentsPage {
        documents: shown.collect(),
        next: next.map(str::to_owned),
    }
}

fn uploads(shown: &[(Poll, Document)]) -> Vec<i64> {
    shown
        .iter()
        .map(|(poll, _)| poll.subject.upload.0)
        .collect()
}

#[test]
fn a_page_counts_for_the_documents_of_the_very_names_and_each_once() {
    let (queue, look) = a_page_of_two();
    let answer = page(&["another", "two", "two", "yet another"], None);
    let shown = queue.page_shown(look, answer, Instant::now());
    assert_eq!(uploads(&shown), [2]);
    assert_eq!(shown[0].1.name, document("two"));
    assert_eq!(shown[0].0.looks.by_page, 1);
    // The other one is no news: it is looked at by itself.
    assert_eq!(next_one(&queue).subject.upload, UploadId(1));
}

#[test]
fn a_page_that_is_being_read_is_asked_for_once() {
    let (queue, _look) = a_page_of_two();
    let mut inner = queue.lock();
    assert!(inner.look(Instant::now()).is_err());
}

#[test]
fn a_page_that_fails_is_tried_once_more_and_then_each_by_itself() {
    let (queue, look) = a_page_of_two();
    queue.page_failed(look, Instant::now());
    let Some(Look::Page(again)) = queue.next(&running(), || FREE) else {
        panic!("no second try");
    };
    queue.page_failed(again, Instant::now() + Duration::from_secs(60));
    let one_by_one = [next_one(&queue), next_one(&queue)].map(|poll| poll.subject.upload.0);
    assert_eq!(one_by_one, [1, 2]);
}

#[test]
fn a_page_that_is_put_off_comes_back_whole() {
    let (queue, look) = a_page_of_two();
    queue.page_put_off(look, Instant::now());
    assert!(matches!(
        queue.next(&running(), || FREE),
        Some(Look::Page(_))
    ));
}

#[test]
fn a_refused_token_leaves_each_to_itself() {
    let (queue, look) = a_page_of_two();
    queue.page_refused(look, Instant::now());
    let one_by_one = [next_one(&queue), next_one(&queue)].map(|poll| poll.subject.upload.0);
    assert_eq!(one_by_one, [1, 2]);
}

/// Lists may lag for long; and no page tells of an upload whose document has no name.
#[test]
fn now_and_then_one_is_looked_at_by_itself_though_a_page_would_tell() {
    let now = Instant::now();
    let looked_at = |by_page, has_name: bool| {
        let times = OperationTimes::new(&[]);
        let pages = Pages::new(None, 0, 100);
        let mut schedule = Schedule::new(Waits::default(), Known { times, pages });
        for id in 1..=3 {
            let name = has_name.then(|| document(&format!("d{id}")));
            let mut poll = poll(id, now, Indexing::submitted(true, name, None));
            poll.looks.by_page = by_page;
            schedule.insert(poll, Some(Due::at(now)), now);
        }
        matches!(schedule.look(now), Ok(Look::Page(_)))
    };
    assert!(looked_at(11, true));
    assert!(!looked_at(12, true));
    assert!(!looked_at(0, false));
}

#[test]
fn a_page_that_is_being_read_is_waited_for_no_longer_than_the_look_may_wait() {
    let (queue, _look) = a_page_of_two();
    let mut inner = queue.lock();
    let now = Instant::now();
    let due = Due {
        likely: now,
        latest: now + Duration::from_secs(1),
        is_fixed: false,
    };
    let indexing = Indexing::submitted(true, Some(document("three")), None);
    inner.insert(poll(3, now, indexing), Some(due), now);
    assert!(matches!(inner.look(now), Err(Some(at)) if at == due.latest));
    let look = inner.look(due.latest);
    assert!(matches!(look, Ok(Look::One(poll)) if poll.subject.upload == UploadId(3)));
}

/// Nobody knows where it stands.
#[test]
fn what_an_earlier_run_left_is_looked_for_if_it_may_fill_a_page() {
    let now = Instant::now();
    for (left, is_page) in [(19, false), (20, true)] {
        let times = OperationTimes::new(&[]);
        let pages = Pages::new(None, 0, 100);
        let mut schedule = Schedule::new(Waits::default(), Known { times, pages });
        for id in 0..left {
            let name = Some(document(&format!("d{id}")));
            let mut poll = poll(id, now, Indexing::inherited(true, name));
            poll.looks.is_inherited = true;
            schedule.insert(poll, Some(Due::at(now)), now);
        }
        let look = schedule.look(now);
        assert_eq!(matches!(look, Ok(Look::Page(_))), is_page, "{left}");
    }
}

/// What is done about one of two uploads that the page which was read for both does not show.
#[derive(Debug, PartialEq)]
enum After {
    AnotherPage,
    /// By itself for now; a later page may show it.
    ItselfUnlisted,
    ItselfFromNowOn,
    Nothing,
}

#[test]
fn whom_a_page_does_not_show_waits_for_the_next_or_is_looked_at_by_itself() {
    let began = Instant::now();
    let (now, later) = (
        began + Duration::from_secs(25),
        began + Duration::from_secs(30),
    );
    let next_second = began + Duration::from_secs(1);
    let after = |latest, other_submitted, names: &[&str], next| {
        let times = OperationTimes::new(&[]);
        let pages = Pages::new(None, 0, 100);
        let mut schedule = Schedule::new(Waits::default(), Known { times, pages });
        for (id, name, submitted) in [(1, "one", began), (2, "two", other_submitted)] {
            let indexing = Indexing::submitted(true, Some(document(name)), None);
            let due = Due {
                likely: now,
                latest,
                is_fixed: false,
            };
            schedule.insert(poll(id, submitted, indexing), Some(due), now);
        }
        let Ok(Look::Page(look)) = schedule.look(now) else {
            panic!("no page")
        };
        schedule.shown(look, page(names, next), now);
        match schedule.look(now) {
            Ok(Look::Page(_)) => After::AnotherPage,
            Ok(Look::One(poll)) if poll.looks.place == Position::Alone => After::ItselfFromNowOn,
            Ok(Look::One(_)) => After::ItselfUnlisted,
            Err(wakes) => {
                assert_eq!(wakes, Some(latest));
                After::Nothing
            }
        }
    };
    // The listing goes on: they may be on the next page, unless a newer one stood on this.
    for latest in [now, later] {
        assert_eq!(after(latest, began, &[], Some("t")), After::AnotherPage);
        let beside_an_equal = after(latest, began, &["two"], Some("t"));
        assert_eq!(beside_an_equal, After::ItselfUnlisted);
    }
    let behind_a_newer = |latest| after(latest, next_second, &["two"], Some("t"));
    assert_eq!(behind_a_newer(now), After::ItselfFromNowOn);
    assert_eq!(behind_a_newer(later), After::ItselfUnlisted);
    // It ends there: they may not be seen yet.
    assert_eq!(after(later, began, &[], None), After::Nothing);
    assert_eq!(after(now, began, &[], None), After::ItselfFromNowOn);
}

#[test]
fn pages_that_show_what_no_page_has_shown_are_read_without_end() {
    let now = Instant::now();
    let times = OperationTimes::new(&[]);
    let pages = Pages::new(None, 0, 1000);
    let mut schedule = Schedule::new(Waits::default(), Known { times, pages });
    for round in 0..20 {
        let names = [0, 1].map(|n| format!("d{}", 2 * round + n));
        for (id, name) in (2 * round..).zip(&names) {
            let indexing = Indexing::submitted(true, Some(document(name)), None);
            schedule.insert(poll(id, now, indexing), Some(Due::at(now)), now);
        }
        let Ok(Look::Page(look)) = schedule.look(now) else {
            panic!("no page in round {round}")
        };
        let answer = page(&names.each_ref().map(String::as_str), Some(&names[0]));
        assert_eq!(schedule.shown(look, answer, now).len(), 2);
    }
}

#[test]
fn what_waits_is_given_new_times_once_these_have_moved() {
    let now = Instant::now();
    let times = |ms| {
        let mut times = OperationTimes::new(&[]);
        for _ in 0..100 {
            times.ended(Duration::ZERO, Duration::from_millis(ms));
        }
        times
    };
    // Seconds until three uploads are looked at, after so many looks that taught something.
    let likely = |ms, looks| {
        let mut known = known();
        known.times = times(10_000);
        let mut schedule = Schedule::new(Waits::default(), known);
        for (id, at, is_fixed) in [(1, 7, false), (2, 7, true), (3, 300, false)] {
            let due = Due {
                is_fixed,
                ..Due::at(now + Duration::from_secs(at))
            };
            schedule.insert(named(id, now), Some(due), now);
        }
        schedule.times = times(ms);
        (0..looks).for_each(|_| schedule.reschedule(now));
        [1, 2, 3].map(|id| (schedule.waiting[&UploadId(id)].due.likely - now).as_secs())
    };
    let as_they_were = [7, 7, 300];
    assert_eq!(likely(10_000, 16), as_they_were);
    assert_eq!(likely(9_200, 16), as_they_were, "a little");
    assert_eq!(likely(50_000, 15), as_they_were, "not asked yet");
    // Not of the one whose time does not follow from these, nor of one that a page may tell of.
    let moved = likely(50_000, 16);
    assert!((45..55).contains(&moved[0]), "{moved:?}");
    assert_eq!(moved[1..], as_they_were[1..]);
}

#[test]
fn what_was_refused_for_its_time_keeps_its_place_on_a_page() {
    let now = Instant::now();
    let refused = FailureKind::Skipped { until: now };
    for (why, place) in [
        (refused, Position::Unlisted),
        (FailureKind::RateLimited, Position::Unlisted),
        (FailureKind::Transient, Position::Alone),
    ] {
        let queue = queue();
        queue.unanswered(named(1, now), why, now);
        let poll = queue.lock().take(UploadId(1)).unwrap();
        assert_eq!(poll.looks.place, place, "{why:?}");
    }
}
