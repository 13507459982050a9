use super::super::tests::{FREE, known, named};
use super::*;

#[test]
fn a_first_look_is_due_when_operations_usually_end() {
    let now = Instant::now();
    let schedule = Schedule::new(Waits::default(), known());
    let due = schedule.schedule(&named(1, now), now);
    let next = OperationTimes::new(&[]).next_look(Duration::ZERO, &Waits::default());
    assert_eq!(due.likely, now + next.likely);
    assert_eq!(due.latest, now + next.latest);
}

#[test]
fn a_look_is_taken_at_its_time_and_not_before() {
    let now = Instant::now();
    let mut schedule = Schedule::new(Waits::default(), known());
    schedule.insert(named(1, now), Some(Due::at(now)), now);
    let just_before = now - Duration::from_millis(1);
    assert!(matches!(schedule.look(just_before), Err(Some(at)) if at == now));
    assert!(matches!(schedule.look(now), Ok(Look::One(_))));
    assert!(matches!(schedule.look(now), Err(None)));
}

/// In a pause all pollers may be held back, so that nobody sees it.
#[test]
fn the_turns_of_a_page_count_from_when_reads_were_last_held_back() {
    let began = Instant::now();
    let second = |n: u32| began + n * Duration::from_secs(1);
    let mut schedule = Schedule::new(Waits::default(), known());
    let mut awaits = |pace, n| {
        let paces = Paces {
            reads: pace,
            every: None,
        };
        schedule.paced(paces, second(n));
        schedule.awaits_turn(began, second(n))
    };
    let paced = Pace::Every(Duration::from_secs(1));
    assert!((0..20).all(|n| awaits(paced, n)));
    assert!(!awaits(paced, 20) && awaits(Pace::Paused, 21) && awaits(paced, 22));
    assert!(!awaits(Pace::Free, 23));
    assert!((80..100).all(|n| awaits(paced, n)));
    assert!(!awaits(paced, 100));
}

/// Milliseconds: between two turns, since the last submission, until the look is due at the latest; and how long
/// it waits for company.
#[test]
fn a_look_waits_for_company_while_more_are_submitted_and_no_longer_than_ten_turns() {
    let began = Instant::now();
    let ms = Duration::from_millis;
    let now = began + Duration::from_secs(60);
    for (every, pushed_ago, due_in, waits) in [
        // Six turns after the last submission nothing is expected any more.
        (100, 0, 5_000, Some(600)),
        (100, 599, 5_000, Some(1)),
        (100, 600, 5_000, None),
        // Of a slow pace it is ten seconds, of a very slow one two turns.
        (2_000, 0, 50_000, Some(10_000)),
        (2_000, 10_000, 50_000, None),
        (6_000, 1_000, 50_000, Some(11_000)),
        // Overdue for ten turns, it goes whoever comes.
        (1_000, 0, 0, Some(6_000)),
        (1_000, 0, -5_000, Some(5_000)),
        (1_000, 0, -9_999, Some(1)),
        (1_000, 0, -10_000, None),
        // A fast pace is not felt.
        (50, 0, 5_000, Some(300)),
        (49, 0, 5_000, None),
    ] {
        let mut schedule = Schedule::new(Waits::default(), known());
        let every = Some(ms(every));
        let reads = Pace::Free;
        schedule.paced(Paces { reads, every }, now);
        schedule.pushed_at = Some(now - ms(pushed_ago));
        let latest = match u64::try_from(due_in) {
            Ok(later) => now + ms(later),
            Err(_) => now - ms(i64::unsigned_abs(due_in)),
        };
        let until = schedule.company_until(latest, now);
        assert_eq!(
            until,
            waits.map(|waits| now + ms(waits)),
            "{every:?} {due_in}"
        );
    }
    // Nobody waits where nothing is paced, nor before anything was submitted.
    let slow = Paces {
        reads: Pace::Free,
        every: Some(ms(1_000)),
    };
    for (paces, pushed_at) in [(FREE, Some(now)), (slow, None)] {
        let mut schedule = Schedule::new(Waits::default(), known());
        schedule.paced(paces, now);
        schedule.pushed_at = pushed_at;
        assert_eq!(schedule.company_until(now, now), None);
    }
}
