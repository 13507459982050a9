//! A token bucket that paces: the next token is free one interval after the last.
//!
//! Pure. The interval is given with every question, so a rate that rises counts at once.

use std::time::{Duration, Instant};

/// Tokens that an idle moment saves up, in time and in number: late threads catch up, and a minute
/// never gets more than its ceiling.
const SAVED: Duration = Duration::from_millis(300);
const SAVED_TOKENS: f64 = 4.0;

#[derive(Debug, Default)]
pub struct Bucket {
    /// When the last token was due.
    last: Option<Instant>,
}

impl Bucket {
    /// When the next token is free, with so long between two of them.
    pub fn free(&self, now: Instant, interval: Duration) -> Instant {
        self.last.map_or(now, |last| last + interval)
    }

    /// Takes the token that is free now.
    pub fn take(&mut self, now: Instant, interval: Duration) {
        let saved = interval.mul_f64(SAVED_TOKENS).min(SAVED);
        let earliest = now.checked_sub(saved).unwrap_or(now);
        self.last = Some(
            self.last
                .map_or(earliest, |last| (last + interval).max(earliest)),
        );
    }

    /// The next token is free one interval after `now`; nothing is saved up.
    pub fn begin(&mut self, now: Instant) {
        self.last = Some(now);
    }
}

/// Between two requests at this rate.
pub fn interval(per_minute: f64) -> Duration {
    Duration::from_secs_f64(60.0 / per_minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spaced_and_an_idle_moment_saves_a_little() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        let mut starts = |mut now: Instant, n: usize, interval: Duration| -> Vec<u128> {
            let from = now;
            (0..n)
                .map(|_| {
                    now = now.max(bucket.free(now, interval));
                    bucket.take(now, interval);
                    (now - from).as_millis()
                })
                .collect()
        };
        assert_eq!(starts(start, 4, interval(60.0)), [0, 700, 1700, 2700]);
        // However long it was idle; at a high rate four tokens are less than what the moment gives.
        let later = start + Duration::from_secs(60);
        assert_eq!(starts(later, 7, interval(6000.0)), [0, 0, 0, 0, 0, 10, 20]);
    }

    #[test]
    fn where_it_begins_nothing_is_saved_up() {
        let now = Instant::now();
        let mut bucket = Bucket::default();
        bucket.begin(now);
        let interval = interval(60.0);
        assert_eq!(bucket.free(now, interval), now + interval);
    }
}
