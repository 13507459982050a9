//! How long to wait before another try: full jitter over an exponential cap.
//!
//! (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.) Pure: chance comes
//! from outside.

use std::time::Duration;

const BASE: Duration = Duration::from_millis(500);
const CAP: Duration = Duration::from_secs(30);
/// A delay that the service asks for is honoured up to here: a per-minute quota needs no more.
pub const ASKED_MAX: Duration = Duration::from_secs(60);
/// A longer one says nothing: the service has been seen to ask for 2^63 seconds (fact sheet 8).
const ASKED_SENSIBLE: Duration = Duration::from_secs(3600);

/// The delay that the service asked for, as far as it is honoured.
pub fn honoured(asked: Option<Duration>) -> Option<Duration> {
    asked
        .filter(|asked| !asked.is_zero() && *asked <= ASKED_SENSIBLE)
        .map(|asked| asked.min(ASKED_MAX))
}

/// Before try number `tries + 1`. Never shorter than what the service asked for (capped).
pub fn delay(tries: u32, asked: Option<Duration>, rng: &mut fastrand::Rng) -> Duration {
    let cap = BASE
        .saturating_mul(1 << tries.saturating_sub(1).min(16))
        .min(CAP);
    honoured(asked).unwrap_or_default() + cap.mul_f64(rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_delay_is_bounded_and_not_shorter_than_asked(
            tries in 0u32..100, asked in proptest::option::of(0u64..=u64::MAX), seed in any::<u64>()
        ) {
            let asked = asked.map(Duration::from_secs);
            let delay = delay(tries, asked, &mut fastrand::Rng::with_seed(seed));
            prop_assert!(delay >= honoured(asked).unwrap_or_default());
            prop_assert!(delay <= ASKED_MAX + CAP);
        }
    }

    #[test]
    fn a_delay_beyond_an_hour_or_of_nothing_is_none() {
        let seconds = |s| honoured(Some(Duration::from_secs(s))).map(|d| d.as_secs());
        let given = [0, 1, 60, 61, 3600, 3601, u64::MAX].map(seconds);
        let minute = Some(60);
        assert_eq!(given, [None, Some(1), minute, minute, minute, None, None]);
    }

    #[test]
    fn tries_spread_further_and_further() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut mean = |tries| {
            let sum: Duration = (0..1000).map(|_| delay(tries, None, &mut rng)).sum();
            sum.as_secs_f64() / 1000.0
        };
        assert!((mean(1) - 0.25).abs() < 0.05);
        assert!((mean(3) - 1.0).abs() < 0.2);
        assert!((mean(20) - 15.0).abs() < 1.5);
    }
}
