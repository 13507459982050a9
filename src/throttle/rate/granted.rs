//! How much was granted: in all, and in the last minute.
//!
//! Pure; counts by the second.

use std::time::Instant;

/// Of a per-minute quota.
const SECONDS: usize = 60;

#[derive(Debug)]
pub struct Granted {
    total: u64,
    seconds: [u32; SECONDS],
    /// The second, since `origin`, that was counted last.
    last: u64,
    origin: Instant,
}

impl Granted {
    pub fn new(origin: Instant) -> Granted {
        Granted {
            total: 0,
            seconds: [0; SECONDS],
            last: 0,
            origin,
        }
    }

    pub fn count(&mut self, now: Instant) {
        let slot = self.advance(now);
        self.seconds[slot] = self.seconds[slot].saturating_add(1);
        self.total += 1;
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn in_last_minute(&mut self, now: Instant) -> f64 {
        self.advance(now);
        self.seconds.iter().map(|n| f64::from(*n)).sum()
    }

    fn advance(&mut self, now: Instant) -> usize {
        let second = now.saturating_duration_since(self.origin).as_secs();
        let gone = second.saturating_sub(self.last).min(SECONDS as u64);
        for i in 1..=gone {
            self.seconds[((self.last + i) % SECONDS as u64) as usize] = 0;
        }
        self.last = self.last.max(second);
        (self.last % SECONDS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_granted_is_counted_for_a_minute() {
        let origin = Instant::now();
        let mut granted = Granted::new(origin);
        let second = Duration::from_secs(1);
        for s in 0..200u32 {
            let now = origin + s * second;
            granted.count(now);
            let expected = f64::from((s + 1).min(60));
            assert_eq!(granted.in_last_minute(now), expected, "second {s}");
        }
        let last = origin + 199 * second;
        assert_eq!(granted.in_last_minute(last + 59 * second), 1.0);
        assert_eq!(granted.in_last_minute(last + 60 * second), 0.0);
        granted.count(last + 600 * second);
        assert_eq!(granted.in_last_minute(last + 600 * second), 1.0);
        assert_eq!(granted.total(), 201);
    }
}
