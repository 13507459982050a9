use super::*;

/// A 429 that many grants surround, and its pause.
fn noise(rate: &mut Rate, now: Instant) -> Instant {
    limited(rate, 1, Some(SECOND), now);
    assert_eq!(rate.paused_until(), Some(now + SECOND), "it is obeyed");
    grant(rate, 1, now + SECOND);
    now + SECOND
}

#[test]
fn noise_costs_its_pause_and_what_was_known_stays() {
    let mut now = Instant::now();
    let mut rate = free(now);
    for _ in 0..100 {
        grant(&mut rate, 100, now);
        now = noise(&mut rate, now + SECOND);
        assert_eq!(rate.per_minute(now), None);
        // Nor is it where a measurement begins, or a hint of the rate.
        assert!(rate.known.empty.is_none() && rate.known.hint.is_none());
    }
}

/// With two of these, and a third that follows before many grants, it is a quota.
#[test]
fn a_third_429_soon_after_two_is_a_quotas() {
    let now = Instant::now();
    let mut rate = free(now);
    let now = noise(&mut rate, now);
    let now = noise(&mut rate, now + MS);
    assert_eq!(rate.per_minute(now), None);
    let now = noise(&mut rate, now + MS);
    assert!(rate.per_minute(now).is_some());
}

#[test]
fn a_search_goes_on_after_noise_as_if_the_pause_had_not_been() {
    let (mut rate, resumed) = searching(Instant::now());
    let at = resumed + 10 * SECOND;
    answered(&mut rate, 100, at);
    let before = rate.per_minute(at);
    let end = noise(&mut rate, at);
    assert_eq!(rate.per_minute(end), before);
    assert_eq!(rate.found(), None);
}

/// What the pauses cost is no reason to go slower; a 429 above the rate that has granted as much confirms it.
#[test]
fn a_found_rate_stays_through_noise_and_rises_again_only_when_it_is_confirmed() {
    let began = Instant::now();
    // So many grants in thirty seconds since the 429 before, and the rate that follows.
    let after = |per_minute: f64, granted, seconds| {
        let mut rate = rate(None, Some(per_minute), began);
        rate.known.empty = Some(Empty {
            at: began,
            granted: 0,
        });
        let now = began + seconds * SECOND;
        answered(&mut rate, granted, now);
        let before = rate.per_minute(now);
        let end = noise(&mut rate, now);
        (rate.found(), rate.per_minute(end) == before)
    };
    assert_eq!(after(600.0, 200, 30), (Some(600.0), true), "far below it");
    assert_eq!(after(600.0, 700, 30), (Some(600.0), true), "far above it");
    assert_eq!(after(600.0, 295, 30), (Some(590.0), false), "confirmed");
    assert_eq!(after(600.0, 305, 30), (Some(610.0), false), "confirmed");
    // Not while it sends less than that.
    assert_eq!(after(600.0, 49, 5), (Some(600.0), true));
    // At a low rate every 429 counts.
    assert_eq!(after(300.0, 50, 30), (Some(300.0), true));
    assert_eq!(after(299.0, 50, 30), (Some(100.0), false));
}
