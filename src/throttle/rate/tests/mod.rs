use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn rate(ceiling: Option<f64>, found: Option<f64>, now: Instant) -> Rate {
    let bounds = Bounds {
        ceiling,
        is_paced: true,
        found,
    };
    Rate::new(bounds, Waits::default(), now)
}

fn free(now: Instant) -> Rate {
    rate(None, None, now)
}

/// Starts a request, which has to be allowed; whether it is the probe.
fn start(rate: &mut Rate, now: Instant) -> bool {
    let ready = rate.ready(now, false);
    assert!(!matches!(ready, Ready::NotBefore(_)), "{ready:?}");
    rate.take(now);
    ready == Ready::Probe
}

fn grant(rate: &mut Rate, times: u32, now: Instant) {
    for _ in 0..times {
        let is_probe = start(rate, now);
        rate.granted(is_probe, now);
    }
}

fn refuse(rate: &mut Rate, asked: Option<Duration>, now: Instant) {
    let is_probe = start(rate, now);
    rate.limited(now, is_probe, asked, now);
}

/// As many at once as no noise refuses.
fn refuse_all(rate: &mut Rate, asked: Option<Duration>, now: Instant) {
    refuse(rate, asked, now);
    limited(rate, 3, asked, now);
}

/// 429s of requests that were sent before.
fn limited(rate: &mut Rate, times: u32, asked: Option<Duration>, now: Instant) {
    for _ in 0..times {
        rate.limited(now, false, asked, now);
    }
}

fn refused_until(rate: &mut Rate, now: Instant) -> Instant {
    match rate.ready(now, false) {
        Ready::NotBefore(until) => until,
        ready => panic!("{ready:?}"),
    }
}

/// When the next request may start.
fn wait(rate: &mut Rate, mut now: Instant) -> Instant {
    for _ in 0..1000 {
        match rate.ready(now, false) {
            Ready::NotBefore(until) => now = until,
            Ready::Paced | Ready::Probe => return now,
        }
    }
    panic!("it waits for ever");
}

/// Answers to requests that were sent before.
fn answered(rate: &mut Rate, times: u32, now: Instant) {
    for _ in 0..times {
        assert!(!rate.granted(false, now));
    }
}

fn pauses(rate: &mut Rate, now: Instant) -> Duration {
    refuse(rate, None, now);
    rate.paused_until().unwrap() - now
}

#[test]
fn until_the_first_429_nothing_waits() {
    let now = Instant::now();
    let mut rate = free(now);
    grant(&mut rate, 10_000, now);
    assert_eq!(rate.per_minute(now), None);
    assert_eq!(rate.found(), None);
}

#[test]
fn a_pause_is_as_long_as_the_service_asks_and_one_request_goes_first() {
    let now = Instant::now();
    let mut rate = free(now);
    refuse(&mut rate, Some(17 * SECOND), now);
    let end = now + 17 * SECOND;
    assert_eq!(refused_until(&mut rate, now), end);
    assert!(start(&mut rate, end));
    assert_eq!(refused_until(&mut rate, end), end + LOOK);
    assert!(rate.granted(true, end + MS));
    assert!(!start(&mut rate, end + MINUTE));
}

/// Whatever is refused for an hour: no request between two ends of pauses, and the pauses grow.
#[test]
fn refused_probes_make_the_pause_longer_up_to_five_minutes() {
    let began = Instant::now();
    for asked in [None, Some(Duration::MAX), Some(SECOND)] {
        let mut now = began;
        let mut rate = free(now);
        let mut probes = 0;
        let mut pauses = Vec::new();
        refuse(&mut rate, asked, now);
        while now < began + 60 * MINUTE {
            let until = refused_until(&mut rate, now);
            pauses.push(until - now);
            now = until;
            refuse(&mut rate, asked, now);
            probes += 1;
        }
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(*pauses.last().unwrap(), PAUSE_LONGEST);
        assert!(probes < 25, "{probes}");
        assert!(rate.is_shut(now));
    }
}

#[test]
fn a_probe_without_an_answer_is_followed_by_another_and_a_late_one_holds_nobody_up() {
    let now = Instant::now();
    let mut rate = free(now);
    refuse(&mut rate, None, now);
    let end = refused_until(&mut rate, now);
    assert!(start(&mut rate, end));
    assert!(rate.unanswered(true));
    assert!(start(&mut rate, end + SECOND));
    let late = end + SECOND + PROBE_REFUSED_WITHIN;
    assert!(!matches!(rate.ready(late, false), Ready::Probe));
    assert_eq!(rate.paused_until(), None);
}

#[test]
fn the_429s_of_requests_that_were_under_way_are_one_event() {
    let now = Instant::now();
    let mut rate = free(now);
    grant(&mut rate, 100, now);
    rate.limited(now, false, None, now + SECOND);
    let until = rate.paused_until();
    rate.limited(now + MS, false, None, now + SECOND + MS);
    assert_eq!(rate.paused_until(), until);
    // One that asks for more prolongs it.
    rate.limited(now, false, Some(30 * SECOND), now + 2 * SECOND);
    assert_eq!(rate.paused_until(), Some(now + 32 * SECOND));
}

/// A bucket: empty at both 429s, so what it granted between them is its rate.
#[test]
fn two_429s_tell_the_rate() {
    let mut now = Instant::now();
    let mut rate = free(now);
    grant(&mut rate, 50, now);
    refuse_all(&mut rate, None, now);
    let first = now;
    now = refused_until(&mut rate, now);
    for _ in 0..40 {
        grant(&mut rate, 1, now);
        now = wait(&mut rate, now);
    }
    let seconds = (now - first).as_secs_f64();
    refuse(&mut rate, None, now);
    let found = rate.found().unwrap();
    assert!((found - 40.0 * 60.0 / seconds).abs() < 1.0, "{found}");
}

/// A window: what it granted in its minute is its rate, however fast that was.
#[test]
fn a_long_pause_tells_a_window() {
    let now = Instant::now();
    let mut rate = free(now);
    grant(&mut rate, 600, now);
    refuse_all(&mut rate, Some(48 * SECOND), now + SECOND);
    let end = now + 49 * SECOND;
    assert!(start(&mut rate, end));
    rate.granted(true, end);
    assert_eq!(rate.found(), Some(600.0));
}

#[test]
fn no_rate_passes_its_ceiling_or_falls_below_one_a_minute() {
    let now = Instant::now();
    let held = rate(Some(100.0), Some(90.0), now);
    assert_eq!(held.per_minute(now + 600 * SECOND), Some(100.0));
    let slow = rate(None, Some(0.01), now);
    assert_eq!(slow.per_minute(now), Some(PER_MINUTE_MIN));
}

/// Reads stop while nothing is under way; then a first one meets a quota that writes have used up.
#[test]
fn a_minute_without_requests_is_no_rate_of_nothing() {
    let (mut rate, found_at) = found_by_search(200, 10 * SECOND);
    let resumed = wait(&mut rate, found_at);
    grant(&mut rate, 1, resumed);
    answered(&mut rate, 9, resumed);
    let later = resumed + 600 * SECOND;
    limited(&mut rate, 1, None, later);
    assert_eq!(rate.found(), Some(PER_MINUTE_MIN));
    assert_eq!(rate.paused_until(), Some(later + PAUSE_UNKNOWN));
}

proptest! {
    /// Whatever is granted and refused, and however long nothing is asked, each rate has an interval.
    #[test]
    fn no_rate_is_so_low_that_it_has_no_interval(
        found in proptest::option::of(0f64..2000.0),
        steps in proptest::collection::vec((0u64..200_000, 0u32..40, 0u32..5, any::<bool>()), 1..300)
    ) {
        let mut now = Instant::now();
        let mut rate = rate(None, found, now);
        for (gap_ms, grants, refusals, is_told) in steps {
            now += Duration::from_millis(gap_ms);
            if rate.ready(now, false) == Ready::Probe {
                grant(&mut rate, 1, now);
            }
            answered(&mut rate, grants, now);
            limited(&mut rate, refusals, is_told.then_some(MS), now);
            prop_assert!(rate.found().is_none_or(|found| found >= PER_MINUTE_MIN));
            prop_assert!(rate.interval(now).is_none_or(|interval| interval <= MINUTE));
        }
    }
}

#[test]
fn without_pacing_the_pauses_are_kept() {
    let now = Instant::now();
    let bounds = Bounds {
        ceiling: None,
        is_paced: false,
        found: Some(60.0),
    };
    let mut rate = Rate::new(bounds, Waits::default(), now);
    grant(&mut rate, 1000, now);
    refuse(&mut rate, Some(SECOND), now);
    assert_eq!(refused_until(&mut rate, now), now + SECOND);
    grant(&mut rate, 1000, now + SECOND);
}

#[test]
fn time_may_step_back() {
    let origin = Instant::now() + MINUTE;
    let mut rng = fastrand::Rng::with_seed(5);
    let mut rate = free(origin);
    for _ in 0..2000 {
        let now = origin + rng.u64(..120_000) as u32 * MS - MINUTE;
        if !matches!(rate.ready(now, false), Ready::NotBefore(_)) {
            let is_probe = start(&mut rate, now);
            match rng.bool() {
                true => drop(rate.granted(is_probe, now)),
                false => drop(rate.limited(now, is_probe, None, now)),
            }
        }
    }
}

#[test]
fn pauses_grow_fivefold_to_what_a_minute_needs_and_then_with_the_time_that_is_lost() {
    let began = Instant::now();
    let mut now = began;
    let mut rate = free(now);
    let mut lengths = Vec::new();
    for _ in 0..10 {
        let length = pauses(&mut rate, now);
        lengths.push(length.as_millis());
        now += length;
    }
    let expected = [
        500, 2500, 12_500, 24_000, 24_000, 63_500, 127_000, 254_000, 300_000, 300_000,
    ];
    assert_eq!(lengths, expected);
    // After a whole minute it is no per-minute quota.
    let mut rate = free(began);
    refuse(&mut rate, Some(MINUTE), began);
    assert_eq!(pauses(&mut rate, began + MINUTE), MINUTE);
}

#[test]
fn the_first_pause_is_three_tokens_of_a_known_rate() {
    let now = Instant::now();
    for (per_minute, ms) in [(60.0, 500), (600.0, 300), (6000.0, 50)] {
        let mut rate = rate(None, Some(per_minute), now);
        assert_eq!(pauses(&mut rate, now).as_millis(), ms, "{per_minute}");
    }
}

/// It was opened by the first request that was granted.
#[test]
fn a_window_that_is_near_its_end_is_waited_for() {
    let opened = Instant::now();
    let closes = opened + MINUTE;
    let at = |ms| {
        let mut rate = free(opened);
        answered(&mut rate, 5, opened);
        let now = opened + Duration::from_millis(ms);
        let length = pauses(&mut rate, now);
        (rate, now + length)
    };
    let after = |ms| opened + Duration::from_millis(ms);
    // The first pause may find a bucket's token; the second, if the window is near, is for its end.
    let (mut rate, first) = at(30_000);
    assert_eq!(first, after(30_500));
    assert_eq!(first + pauses(&mut rate, first), closes);
    let (mut rate, first) = at(10_000);
    let second = first + pauses(&mut rate, first);
    assert_eq!(second, after(13_000));
    let third = second + pauses(&mut rate, second);
    assert_eq!(third, after(25_500));
    assert_eq!(third + pauses(&mut rate, third), closes);
    // No pause goes beyond it, and one that begins at its end is as long as any.
    assert_eq!(at(59_800).1, closes);
    assert_eq!(at(60_000).1, after(60_500));
    assert_eq!(at(61_000).1, after(61_500));
}

#[test]
fn it_is_shut_after_a_minute_and_three_refused_probes() {
    let began = Instant::now();
    let minute = began + MINUTE;
    let mut rate = free(began);
    assert!(!rate.is_shut(minute));
    refuse(&mut rate, None, began);
    for probes in 1..=3 {
        let now = rate.paused_until().unwrap();
        refuse(&mut rate, None, now);
        assert!(!rate.is_shut(minute - MS), "too soon");
        assert_eq!(rate.is_shut(minute), probes == 3, "{probes}");
    }
}

#[test]
fn only_the_probes_own_answer_ends_the_pause() {
    let now = Instant::now();
    let mut rate = free(now);
    assert!(!rate.granted(true, now), "no pause");
    assert!(!rate.unanswered(true));
    refuse(&mut rate, None, now);
    let end = wait(&mut rate, now);
    assert!(!rate.granted(true, end), "no probe is out");
    assert!(start(&mut rate, end));
    assert!(!rate.unanswered(false));
    answered(&mut rate, 1, end);
    // Who waits looks again soon, and no longer than a refusal may take.
    let last = end + PROBE_REFUSED_WITHIN - MS;
    for now in [end, last] {
        assert_eq!(rate.waits_until(now), Some(now + LOOK));
        assert_eq!(refused_until(&mut rate, now), now + LOOK);
    }
    assert_eq!(rate.waits_until(last + MS), None);
    assert!(rate.granted(true, end));
    assert_eq!(rate.waits_until(end), None);
}

#[test]
fn it_guesses_while_neither_the_service_nor_a_measurement_says_how_long() {
    let now = Instant::now();
    let is_guessing = |found, asked| {
        let mut rate = rate(None, found, now);
        assert!(!rate.is_guessing(), "no pause");
        refuse(&mut rate, asked, now);
        rate.is_guessing()
    };
    assert!(is_guessing(None, None));
    assert!(!is_guessing(None, Some(SECOND)));
    assert!(!is_guessing(Some(60.0), None));
}

/// A search that a bucket's delay of one second began, at the end of the pause.
fn searching(now: Instant) -> (Rate, Instant) {
    let mut rate = free(now);
    refuse_all(&mut rate, Some(SECOND), now);
    let resumed = now + SECOND;
    grant(&mut rate, 1, resumed);
    (rate, resumed)
}

#[test]
fn a_search_begins_below_what_a_buckets_delay_says_and_doubles() {
    let (mut rate, now) = searching(Instant::now());
    assert_eq!(rate.per_minute(now), Some(30.0));
    assert_eq!(rate.per_minute(now + HINT_DOUBLES), Some(60.0));
    // The first waits for a token as all that follow, and who waits looks again, since the rate rises.
    assert_eq!(refused_until(&mut rate, now), now + LOOK);
    // However late its first request goes.
    let mut late = free(now);
    refuse_all(&mut late, Some(SECOND), now);
    grant(&mut late, 1, now + 4 * SECOND);
    assert_eq!(late.per_minute(now + 4 * SECOND), Some(30.0));
    // Refused again before anything can be measured, it goes on with what was granted, or with the hint.
    let again = now + 10 * SECOND;
    for (granted, per_minute) in [(0, 2.0 * 60.0 / 11.5), (4, 30.0)] {
        let (mut rate, _) = searching(now - SECOND);
        answered(&mut rate, granted, again);
        limited(&mut rate, 3, None, again);
        let end = again + SECOND / 2;
        assert_eq!(rate.paused_until(), Some(end));
        grant(&mut rate, 1, end);
        let begins = rate.per_minute(end).unwrap();
        assert!((begins - per_minute).abs() < 1e-6, "{granted}: {begins}");
    }
}

#[test]
fn a_longer_delay_is_no_buckets_and_the_search_begins_at_what_was_granted() {
    let now = Instant::now();
    for (granted, asked, from) in [
        (0, None, 120.0),
        (1000, None, 970.0),
        (0, Some(TOKEN_DELAY_MAX + MS), 60.0 / 2.001),
    ] {
        let mut rate = free(now);
        answered(&mut rate, granted, now);
        refuse_all(&mut rate, asked, now);
        let end = wait(&mut rate, now);
        grant(&mut rate, 1, end);
        let per_minute = |ms| rate.per_minute(end + ms * MS).unwrap();
        assert!((per_minute(0) - from).abs() < 1e-6, "{}", per_minute(0));
        // As long as the pause, at least.
        if asked.is_none() && granted > 0 {
            assert!((per_minute(500) / from - 2.0).abs() < 1e-6);
        }
        assert!(per_minute(2000) / from > 1.99);
    }
}

/// What a 429 finds, so long after a search began, with so many grants since the 429 before.
fn found_by_search(granted: u32, after: Duration) -> (Rate, Instant) {
    let (mut rate, resumed) = searching(Instant::now());
    let now = resumed + after;
    answered(&mut rate, granted - 1, now);
    limited(&mut rate, 3, None, now);
    (rate, now)
}

#[test]
fn a_measurement_needs_ten_grants_and_a_second() {
    let found = |granted, ms| found_by_search(granted, ms * MS).0.found();
    assert_eq!(found(9, 9000), None);
    assert_eq!(found(10, 9000), Some(60.0));
    assert_eq!(found(10, 0), Some(600.0));
    // One that finds nothing lowers what was found before.
    let now = Instant::now();
    let mut rate = rate(None, Some(100.0), now);
    refuse(&mut rate, None, now);
    let end = wait(&mut rate, now);
    grant(&mut rate, 1, end);
    answered(&mut rate, 100, end);
    limited(&mut rate, 1, None, end + MS);
    assert_eq!(rate.found(), Some(80.0));
}

#[test]
fn a_search_that_a_small_bucket_has_ended_goes_on_from_there() {
    // It sends 960 a minute after ten seconds, 3,840 after fourteen, 30,720 after twenty.
    let found = |granted, seconds| found_by_search(granted, seconds * SECOND).0.found();
    assert_eq!(found(110, 10), Some(600.0));
    assert_eq!(found(480, 14), Some(1920.0), "half of what it sent");
    assert_eq!(found(79, 20), Some(79.0 * 60.0 / 21.0));
    let (mut rate, now) = found_by_search(84, 20 * SECOND);
    assert_eq!(rate.found(), None);
    let end = wait(&mut rate, now);
    grant(&mut rate, 1, end);
    assert_eq!(rate.per_minute(end), Some(240.0));
    assert_eq!(rate.per_minute(end + HINT_DOUBLES), Some(480.0));
}

#[test]
fn of_more_than_a_minute_the_last_one_counts() {
    let now = Instant::now();
    for (seconds, found) in [(59, 20.0 * 60.0 / 59.0), (60, 10.0), (90, 10.0)] {
        let mut rate = free(now);
        refuse_all(&mut rate, None, now);
        grant(&mut rate, 1, now + SECOND / 2);
        answered(&mut rate, 9, now + SECOND / 2);
        answered(&mut rate, 10, now + 40 * SECOND);
        let end = now + seconds * SECOND;
        rate.limited(end, false, None, end);
        assert_eq!(rate.found(), Some(found), "{seconds}");
    }
}

/// Requests that were refused before anything was granted say nothing of a window, nor does a short pause.
#[test]
fn a_pause_is_a_windows_only_if_it_was_long_and_something_was_granted_before() {
    let now = Instant::now();
    for (granted, seconds, is_window) in [(0, 48, false), (1, 5, true), (100, 4, false)] {
        let mut rate = free(now);
        answered(&mut rate, granted, now);
        refuse_all(&mut rate, Some(seconds * SECOND), now);
        grant(&mut rate, 1, now + seconds * SECOND);
        let found = is_window.then_some(f64::from(granted));
        assert_eq!(rate.found(), found, "{granted} {seconds}");
    }
}

#[test]
fn shortened_it_does_the_same_in_less_time() {
    let now = Instant::now();
    let [whole, tenth] = [1, 10].map(|divisor| {
        let bounds = Bounds {
            ceiling: None,
            is_paced: true,
            found: None,
        };
        let mut rate = Rate::new(bounds, Waits::divided_by(divisor), now);
        refuse_all(&mut rate, Some(SECOND), now);
        let end = wait(&mut rate, now);
        grant(&mut rate, 1, end);
        let next = wait(&mut rate, end);
        let [begins, doubled] =
            [0, 2].map(|s| rate.per_minute(end + s * SECOND / divisor).unwrap().round());
        let lengths = [end - now, next - end].map(|length| (length * divisor).as_millis());
        (lengths, begins, doubled)
    });
    assert_eq!(whole, tenth);
}

mod noise;
