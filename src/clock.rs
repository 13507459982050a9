//! Wall-clock time as the database and the reports hold it.
//!
//! Logic that depends on the passing of time (limiter, breaker, backoff, polling) takes an `Instant`
//! as an argument and randomness as a `fastrand::Rng`; nothing here is used for that.

use jiff::Timestamp;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type UnixMs = i64;

pub fn now_ms() -> UnixMs {
    Timestamp::now().as_millisecond()
}

/// RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(ms: UnixMs) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(t) => format!("{t:.3}"),
        // Out of jiff's range (year 9999): only a damaged database holds such a value.
        Err(_) => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_764_000_000_123), "2025-11-24T16:00:00.123Z");
    }
}
