//! What is known of a quota, and the rate that follows from it as time goes by.

use std::time::{Duration, Instant};

/// What was measured is held from this share of it on.
pub const HOLD_FROM: f64 = 0.97;
const QUICK_HOLD_SECONDS: f64 = 20.0;
const QUICK_HOLD_GAIN: f64 = 0.06;
const GENTLE_HOLD_SECONDS: f64 = 45.0;
const GENTLE_HOLD_GAIN: f64 = 0.12;
const GROWN_DOUBLES_SECONDS: f64 = 12.0;

/// What is known of the quota.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// No 429 so far.
    Free,
    /// Nothing measured so far: from this rate on, doubling.
    Searching {
        from: f64,
        doubles: Duration,
        since: Instant,
        /// The rate is a bound that the last 429 has measured.
        is_measured: bool,
    },
    /// Measured. `since`: when requests began to go at it.
    Found {
        rate: f64,
        since: Instant,
        rise: Rise,
    },
}

impl Phase {
    /// Requests a minute, given how many seconds ago something was; `None`: nothing says how many.
    pub fn per_minute(self, age: impl Fn(Instant) -> f64) -> Option<f64> {
        match self {
            Phase::Free => None,
            Phase::Searching {
                from,
                doubles,
                since,
                ..
            } => Some(from * (age(since) / doubles.as_secs_f64()).min(60.0).exp2()),
            Phase::Found { rate, since, rise } => Some(rate * rise.share(age(since))),
        }
    }

    /// Goes on later, as if the time between had not been.
    pub fn delay(&mut self, by: Duration) {
        match self {
            Phase::Free => {}
            Phase::Searching { since, .. } | Phase::Found { since, .. } => *since += by,
        }
    }

    /// The rate that was measured, requests a minute.
    pub fn found(self) -> Option<f64> {
        match self {
            Phase::Found { rate, .. } => Some(rate),
            Phase::Free | Phase::Searching { .. } => None,
        }
    }
}

/// How the rate rises when it has been found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rise {
    /// A bucket or a sliding window: overshooting costs one 429.
    Quick,
    /// A fixed window: overshooting costs all in flight, and a wait for the next.
    Gentle,
}

impl Rise {
    /// The share of the found rate, so many seconds after requests began to go at it: from just below,
    /// slowly to just above, then doubling, since the quota has grown.
    fn share(self, seconds: f64) -> f64 {
        let (hold, gain) = match self {
            Rise::Quick => (QUICK_HOLD_SECONDS, QUICK_HOLD_GAIN),
            Rise::Gentle => (GENTLE_HOLD_SECONDS, GENTLE_HOLD_GAIN),
        };
        let slow = HOLD_FROM + gain * (seconds / hold).min(1.0);
        // Once a minute, since a window that has grown shows it only when it is full again.
        let beyond = (seconds - hold).clamp(0.0, 3600.0);
        let doubled = (beyond / 60.0).floor() + (beyond % 60.0 / GROWN_DOUBLES_SECONDS).min(1.0);
        slow * doubled.exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_doubles_as_often_as_it_says() {
        let search = Phase::Searching {
            from: 30.0,
            doubles: Duration::from_secs(4),
            since: Instant::now(),
            is_measured: false,
        };
        let after = |seconds| search.per_minute(|_| seconds);
        assert_eq!(after(0.0), Some(30.0));
        assert_eq!(after(4.0), Some(60.0));
        assert_eq!(after(12.0), Some(240.0));
        assert!(after(f64::MAX).unwrap().is_finite());
    }

    #[test]
    fn a_found_rate_is_held_then_exceeded_slowly_and_doubled_at_last() {
        for (rise, hold) in [
            (Rise::Quick, QUICK_HOLD_SECONDS),
            (Rise::Gentle, GENTLE_HOLD_SECONDS),
        ] {
            assert_eq!(rise.share(0.0), HOLD_FROM);
            assert!(rise.share(hold) > 1.0 && rise.share(hold) < 1.15);
            let doubled = rise.share(hold + GROWN_DOUBLES_SECONDS);
            assert!((doubled / rise.share(hold) - 2.0).abs() < 1e-9);
            assert_eq!(rise.share(hold + 59.0), doubled);
            // Half-way through either.
            let mean = (HOLD_FROM + rise.share(hold)) / 2.0;
            assert!((rise.share(hold / 2.0) - mean).abs() < 1e-9);
            let half = rise.share(hold + GROWN_DOUBLES_SECONDS / 2.0);
            assert!((half / rise.share(hold) - 2f64.sqrt()).abs() < 1e-9);
            // Once more in the next minute.
            let again = rise.share(hold + 60.0 + GROWN_DOUBLES_SECONDS);
            assert!((again / doubled - 2.0).abs() < 1e-9);
            assert!(hold + GROWN_DOUBLES_SECONDS < 60.0, "within a minute");
        }
    }
}
