//! Bytes a second, shared by all uploads.
//!
//! Reservation style: the lock gives a wait, the caller waits outside of it.

use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::poison;

/// A pause in sending is made up for by no more than this.
const BURST: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct Bandwidth {
    bytes_per_second: f64,
    /// When all that was reserved so far will have been sent.
    sent_by: Mutex<Option<Instant>>,
}

impl Bandwidth {
    pub fn new(bytes_per_second: NonZeroU64) -> Bandwidth {
        Bandwidth {
            bytes_per_second: bytes_per_second.get() as f64,
            sent_by: Mutex::new(None),
        }
    }

    /// How long to wait before these bytes are sent.
    pub fn reserve(&self, now: Instant, bytes: usize) -> Duration {
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        let mut sent_by = poison::lock(&self.sent_by);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let start = sent_by.map_or(earliest, |t| t.max(earliest));
        *sent_by = Some(start + takes);
        start.saturating_duration_since(now)
    }
}

/// `--bwlimit`: bytes, or with K, M, G (thousands) or Ki, Mi, Gi (1024s), with or without B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BytesPerSecond(NonZeroU64);

impl BytesPerSecond {
    pub fn get(self) -> NonZeroU64 {
        self.0
    }
}

impl FromStr for BytesPerSecond {
    type Err = String;

    fn from_str(text: &str) -> Result<BytesPerSecond, String> {
        let refuse =
            || "not a rate like 500K, 2M or 1.5MiB (bytes a second, at least 1K)".to_owned();
        let split = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit = unit.trim().to_ascii_lowercase();
        let factor: f64 = match unit.trim_end_matches('b') {
            "" => 1.0,
            "k" => 1e3,
            "m" => 1e6,
            "g" => 1e9,
            "ki" => 1024.0,
            "mi" => 1024.0 * 1024.0,
            "gi" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(refuse()),
        };
        let bytes = number.parse::<f64>().map_err(|_| refuse())? * factor;
        if !(1000.0..=1e12).contains(&bytes) {
            return Err(refuse());
        }
        NonZeroU64::new(bytes as u64)
            .map(BytesPerSecond)
            .ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_read_or_refused() {
        let read = |text: &str| text.parse::<BytesPerSecond>().map(|r| r.get().get());
        assert_eq!(read("500K"), Ok(500_000));
        assert_eq!(read("2M"), Ok(2_000_000));
        assert_eq!(read("1.5MiB"), Ok(1_572_864));
        assert_eq!(read("4096"), Ok(4096));
        for text in ["", "3 bananas", "-1", "0", "1e9", "M", "1..2K"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,20}") {
            let _ = text.parse::<BytesPerSecond>();
        }

        /// Whatever the blocks and pauses, the bytes sent never run ahead of rate × time + burst.
        #[test]
        fn the_rate_holds_from_any_start(
            blocks in proptest::collection::vec((1usize..100_000, 0u64..200), 1..100)
        ) {
            let rate = 1_000_000u64;
            let bucket = Bandwidth::new(NonZeroU64::new(rate).unwrap());
            let start = Instant::now();
            let (mut now, mut sent) = (start, 0.0);
            for (bytes, pause_ms) in blocks {
                now += Duration::from_millis(pause_ms);
                now += bucket.reserve(now, bytes);
                let allowed = ((now - start) + BURST).as_secs_f64() * rate as f64;
                prop_assert!(sent <= allowed + 1.0, "{sent} > {allowed}");
                sent += bytes as f64;
            }
        }
    }

    #[test]
    fn a_steady_sender_gets_the_whole_rate() {
        let bucket = Bandwidth::new(NonZeroU64::new(1_000_000).unwrap());
        let start = Instant::now();
        let mut now = start;
        for _ in 0..1000 {
            now += bucket.reserve(now, 65_536);
        }
        let rate = 1000.0 * 65_536.0 / (now - start).as_secs_f64();
        assert!((rate / 1_000_000.0 - 1.0).abs() < 0.03, "{rate}");
    }
}
