use super::*;

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
    let ready = rate.ready(now);
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

fn refused_until(rate: &mut Rate, now: Instant) -> Instant {
    match rate.ready(now) {
        Ready::NotBefore(until) => until,
        ready => panic!("{ready:?}"),
    }
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
    assert!(!matches!(rate.ready(late), Ready::Probe));
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
    refuse(&mut rate, None, now);
    let first = now;
    now = refused_until(&mut rate, now);
    for _ in 0..40 {
        grant(&mut rate, 1, now);
        now = match rate.ready(now) {
            Ready::NotBefore(until) => until,
            Ready::Paced | Ready::Probe => now,
        };
        while let Ready::NotBefore(until) = rate.ready(now) {
            now = until;
        }
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
    refuse(&mut rate, Some(48 * SECOND), now + SECOND);
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
        if !matches!(rate.ready(now), Ready::NotBefore(_)) {
            let is_probe = start(&mut rate, now);
            match rng.bool() {
                true => drop(rate.granted(is_probe, now)),
                false => rate.limited(now, is_probe, None, now),
            }
        }
    }
}
