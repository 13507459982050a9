//! What the requests of a run came to, and how long their answers took: for its report.
//!
//! Owns plain counters that only grow. Promises: counting takes no lock and allocates nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::client::failure::{Failure, FailureKind};

/// Each holds answers that took up to 19 % longer than those of the one before; the first those of up to 1 ms,
/// the last everything from 46 s on.
pub const BUCKETS: usize = 64;
/// Buckets from one time to twice that time.
const A_DOUBLING: f64 = 4.0;

/// What answers are timed apart for, as the report names them.
pub const KINDS: [&str; 4] = ["uploads", "sessions", "looks", "others"];

/// Of the steps of the client, in the order of `KINDS`.
fn kind(step: &str) -> usize {
    match step {
        "upload" => 0,
        "start" | "file start" | "body" | "query" | "cancel" => 1,
        "document get" | "file get" | "list" | "poll" => 2,
        _ => 3,
    }
}

/// Answers by what they say of the request, in the order in which samples hold them.
#[derive(Debug)]
pub struct Meter {
    granted: AtomicU64,
    /// 429s.
    throttled: AtomicU64,
    /// Other answers of the service that are not success, as the 404 of what is deleted already.
    refused: AtomicU64,
    /// 5xx, none at all, or one of somebody else.
    faults: AtomicU64,
    times: [[AtomicU64; BUCKETS]; KINDS.len()],
}

impl Default for Meter {
    fn default() -> Meter {
        Meter {
            granted: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            times: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
        }
    }
}

impl Meter {
    pub(in crate::client) fn count<T>(
        &self,
        step: &str,
        result: &Result<T, Failure>,
        took: Duration,
    ) {
        let outcome = match result {
            Ok(_) => &self.granted,
            Err(failure) => match failure.kind {
                // This side broke it off.
                FailureKind::Stopped => return,
                FailureKind::RateLimited => &self.throttled,
                FailureKind::Transient if failure.status != Some(400) => &self.faults,
                FailureKind::NotTheService => &self.faults,
                _ => &self.refused,
            },
        };
        outcome.fetch_add(1, Relaxed);
        self.times[kind(step)][bucket(took)].fetch_add(1, Relaxed);
    }

    /// Granted, throttled, refused, faults.
    pub fn outcomes(&self) -> [u64; 4] {
        [&self.granted, &self.throttled, &self.refused, &self.faults].map(|n| n.load(Relaxed))
    }

    /// How many answers of each kind took how long.
    pub fn times(&self) -> [[u64; BUCKETS]; KINDS.len()] {
        std::array::from_fn(|kind| std::array::from_fn(|i| self.times[kind][i].load(Relaxed)))
    }
}

fn bucket(took: Duration) -> usize {
    let ms = took.as_secs_f64() * 1000.0;
    // Below a millisecond the logarithm is negative, which ends at 0.
    ((ms.log2() * A_DOUBLING).ceil() as usize).min(BUCKETS - 1)
}

/// The longest time that a bucket holds, in milliseconds.
pub fn up_to_ms(bucket: usize) -> f64 {
    (bucket as f64 / A_DOUBLING).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_bucket_that_reaches_up_to_it() {
        for (ms, expected) in [
            (0.0, 0),
            (0.3, 0),
            (1.0, 0),
            (1.4, 2),
            (1.5, 3),
            (100.0, 27),
        ] {
            let found = bucket(Duration::from_secs_f64(ms / 1000.0));
            assert_eq!(found, expected, "{ms} ms");
            assert!(ms <= up_to_ms(found));
        }
        assert_eq!(bucket(Duration::from_secs(3600)), BUCKETS - 1);
    }

    #[test]
    fn what_this_side_broke_off_is_no_answer() {
        let meter = Meter::default();
        let failed = |kind| Err::<(), _>(Failure::new(kind, ""));
        let took = Duration::from_millis(1);
        meter.count("upload", &Ok(()), took);
        meter.count("body", &failed(FailureKind::Stopped), took);
        meter.count("list", &failed(FailureKind::RateLimited), took);
        meter.count("delete", &failed(FailureKind::Missing), took);
        meter.count("poll", &failed(FailureKind::Transient), took);
        assert_eq!(meter.outcomes(), [1, 1, 1, 1]);
        assert_eq!(meter.times().map(|kind| kind[0]), [1, 0, 2, 1]);
    }
}
