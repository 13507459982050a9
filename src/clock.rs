//! Wall-clock time as the database and the reports hold it.
//!
//! Logic that depends on the passing of time (limiter, breaker, backoff, polling) takes an `Instant`
//! as an argument and randomness as a `fastrand::Rng`; nothing here is used for that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type UnixMs = i64;

/// Where RFC 3339 ends.
const YEAR_10000_MS: UnixMs = 253_402_300_800_000;

pub fn now_ms() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock that stands before 1970 was never set.
    since.map_or(0, |since| since.as_millis() as UnixMs)
}

/// RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(ms: UnixMs) -> String {
    match u64::try_from(ms) {
        Ok(since) if ms < YEAR_10000_MS => {
            let moment = UNIX_EPOCH + Duration::from_millis(since);
            humantime::format_rfc3339_millis(moment).to_string()
        }
        // Only a damaged database holds such a value.
        _ => format!("{ms}ms"),
    }
}

/// A moment, and what the clocks on the walls here showed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    pub ms: UnixMs,
    /// Ahead of UTC.
    offset_ms: i64,
}

impl Local {
    pub const fn new(ms: UnixMs, offset_ms: i64) -> Local {
        Local { ms, offset_ms }
    }

    fn shown_ms(self) -> i64 {
        self.ms.saturating_add(self.offset_ms)
    }

    /// Days since 1970-01-01 on the calendar here.
    pub fn day(self) -> i64 {
        self.shown_ms().div_euclid(86_400_000)
    }

    /// "2026-11-26 02:10", and " UTC" where the clocks show that, or nothing is known of them.
    pub fn date_and_time(self) -> String {
        self.up_to(16)
    }

    /// "2026-11-26 02:10:59", likewise.
    pub fn to_the_second(self) -> String {
        self.up_to(19)
    }

    fn up_to(self, end: usize) -> String {
        let shown = rfc3339(self.shown_ms());
        let zone = match self.offset_ms {
            0 => " UTC",
            _ => "",
        };
        match (shown.get(..10), shown.get(11..end)) {
            (Some(date), Some(time)) => format!("{date} {time}{zone}"),
            _ => shown,
        }
    }
}

/// From one time of RFC 3339 to a later one; `None` if they are none, or in another order.
pub fn between(earlier: &str, later: &str) -> Option<Duration> {
    let time = |text: &str| humantime::parse_rfc3339(text).ok();
    time(later)?.duration_since(time(earlier)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_two_times_is_told_to_the_nanosecond() {
        let earlier = "2026-11-02T09:21:10.551201Z";
        let later = "2026-11-02T09:21:11.551201001Z";
        assert_eq!(between(earlier, later), Some(Duration::new(1, 1)));
        assert_eq!(between(later, earlier), None);
        assert_eq!(between("", later), None);
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_764_000_000_123), "2025-11-24T16:00:00.123Z");
        assert_eq!(rfc3339(YEAR_10000_MS - 1), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(YEAR_10000_MS), "253402300800000ms");
        assert_eq!(rfc3339(-1), "-1ms");
    }
}
