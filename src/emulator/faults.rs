//! Faults as data: what goes wrong, how often, from one seed; and the quotas a service may have.
//!
//! Owns the random generator and the counters of the quotas. Promises: the same seed and the same
//! order of requests give the same faults; whatever fired is counted.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// All off by default. Probabilities are 0 to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    pub latency_ms: u64,
    pub latency_jitter_ms: u64,
    /// Requests a minute; all but upload bodies count.
    pub quota_per_min: Option<f64>,
    pub quota_write_per_min: Option<f64>,
    pub quota_read_per_min: Option<f64>,
    pub quota_shape: Shape,
    /// No RetryInfo in quota errors.
    pub quota_no_retry_info: bool,
    /// What RetryInfo says instead of the truth.
    pub quota_retry_delay_s: Option<f64>,
    pub quota_per_day: Option<u64>,
    /// Bytes that all stores together may hold.
    pub storage_limit_bytes: Option<u64>,
    pub error_503: f64,
    pub error_500: f64,
    pub error_429: f64,
    /// 503 "Failed to count tokens." at the end of a direct upload.
    pub count_tokens_503: f64,
    pub empty_503: f64,
    pub html_502: f64,
    /// Error envelopes come in an array of one.
    pub array_envelope: f64,
    /// Connection reset before the body is read, within it, or after it but before any effect.
    pub reset_before: f64,
    pub reset_within: f64,
    pub reset_after: f64,
    /// The effect happens, the connection is cut instead of an answer.
    pub lose_answer: f64,
    /// The same for the end of an upload only.
    pub lose_final_answer: f64,
    pub operation_delay_ms: u64,
    pub operation_jitter_ms: u64,
    pub operation_fail: f64,
    pub operation_never_done: f64,
    /// A poll answers only with the name.
    pub poll_name_only: f64,
    pub list_lag_ms: u64,
    /// Pages of a listing after the first fail.
    pub list_error_page2: f64,
    pub session_expiry_ms: Option<u64>,
    /// Windows in which everything answers 503, in milliseconds since the start.
    pub outages: Vec<Outage>,
    pub chunk_granularity: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    pub from_ms: u64,
    pub to_ms: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    #[default]
    Fixed,
    Sliding,
    Bucket,
}

/// Every bucket may save up so many seconds of its rate.
const BUCKET_SECONDS: f64 = 10.0;
const MINUTE: Duration = Duration::from_secs(60);

/// One counted limit of requests a minute.
#[derive(Debug, Default)]
pub struct Quota {
    accepted: VecDeque<Duration>,
    tokens: Option<f64>,
    filled: Duration,
}

impl Quota {
    /// `at`: since the start. `Err`: how long until one more is accepted.
    pub fn take(&mut self, shape: Shape, per_minute: f64, at: Duration) -> Result<(), Duration> {
        match shape {
            Shape::Bucket => self.take_token(per_minute, at),
            Shape::Fixed => {
                let start = Duration::from_secs(at.as_secs() / 60 * 60);
                self.take_counted(per_minute, at, start, start + MINUTE)
            }
            Shape::Sliding => {
                let oldest = self.accepted.front().copied().unwrap_or(at);
                self.take_counted(per_minute, at, at.saturating_sub(MINUTE), oldest + MINUTE)
            }
        }
    }

    fn take_token(&mut self, per_minute: f64, at: Duration) -> Result<(), Duration> {
        let full = (per_minute * BUCKET_SECONDS / 60.0).max(1.0);
        let passed = at.saturating_sub(self.filled).as_secs_f64();
        let tokens = (self.tokens.unwrap_or(full) + passed * per_minute / 60.0).min(full);
        self.filled = at;
        self.tokens = Some(tokens);
        if tokens < 1.0 {
            let wait = (1.0 - tokens) * 60.0 / per_minute.max(0.001);
            return Err(Duration::from_secs_f64(wait.min(86_400.0)));
        }
        self.tokens = Some(tokens - 1.0);
        Ok(())
    }

    fn take_counted(
        &mut self,
        per_minute: f64,
        at: Duration,
        since: Duration,
        free: Duration,
    ) -> Result<(), Duration> {
        while self.accepted.front().is_some_and(|t| *t < since) {
            self.accepted.pop_front();
        }
        if self.accepted.len() as f64 >= per_minute {
            return Err(free.saturating_sub(at));
        }
        self.accepted.push_back(at);
        Ok(())
    }
}

/// The plan in force, its dice, and what fired.
#[derive(Debug)]
pub struct Dice {
    pub plan: Faults,
    rng: fastrand::Rng,
    fired: BTreeMap<&'static str, u64>,
    all: Quota,
    write: Quota,
    read: Quota,
    today: u64,
}

impl Dice {
    pub fn new(plan: Faults, seed: u64) -> Dice {
        Dice {
            plan,
            rng: fastrand::Rng::with_seed(seed),
            fired: BTreeMap::new(),
            all: Quota::default(),
            write: Quota::default(),
            read: Quota::default(),
            today: 0,
        }
    }

    /// Whether a fault of this probability happens now.
    pub fn roll(&mut self, name: &'static str, probability: f64) -> bool {
        // Nothing is drawn for what is off, so that switching one fault leaves the others alone.
        let fires = probability > 0.0 && self.rng.f64() < probability;
        if fires {
            self.fire(name);
        }
        fires
    }

    pub fn fire(&mut self, name: &'static str) {
        *self.fired.entry(name).or_default() += 1;
    }

    pub fn fired(&self) -> &BTreeMap<&'static str, u64> {
        &self.fired
    }

    pub fn between(&mut self, base_ms: u64, jitter_ms: u64) -> u64 {
        base_ms.saturating_add(self.rng.u64(0..=jitter_ms))
    }

    /// Counts a request against the quotas.
    pub fn count(&mut self, is_write: bool, at: Duration) -> Result<(), Limited> {
        if let Some(day) = self.plan.quota_per_day
            && self.today >= day
        {
            self.fire("quota_per_day");
            return Err(Limited::Day(day));
        }
        let shape = self.plan.quota_shape;
        let (class, class_limit, name) = match is_write {
            true => (
                &mut self.write,
                self.plan.quota_write_per_min,
                "quota_write_per_min",
            ),
            false => (
                &mut self.read,
                self.plan.quota_read_per_min,
                "quota_read_per_min",
            ),
        };
        let mut limited = None;
        if let Some(limit) = class_limit
            && let Err(wait) = class.take(shape, limit, at)
        {
            limited = Some((name, limit, wait));
        }
        if let (None, Some(limit)) = (&limited, self.plan.quota_per_min)
            && let Err(wait) = self.all.take(shape, limit, at)
        {
            limited = Some(("quota_per_min", limit, wait));
        }
        let Some((name, limit, wait)) = limited else {
            self.today += 1;
            return Ok(());
        };
        self.fire(name);
        let asked = self.plan.quota_retry_delay_s.unwrap_or(wait.as_secs_f64());
        Err(Limited::Minute {
            limit,
            retry: (!self.plan.quota_no_retry_info).then_some(asked),
        })
    }
}

/// Which quota is used up.
#[derive(Debug, PartialEq)]
pub enum Limited {
    Minute { limit: f64, retry: Option<f64> },
    Day(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_gives_its_rate_and_no_more() {
        for shape in [Shape::Fixed, Shape::Sliding, Shape::Bucket] {
            let mut quota = Quota::default();
            let accepted = (0..60_000)
                .filter(|i| {
                    let at = Duration::from_millis(i * 10);
                    quota.take(shape, 120.0, at).is_ok()
                })
                .count();
            assert!((1200..=1222).contains(&accepted), "{shape:?}: {accepted}");
        }
    }

    #[test]
    fn the_wait_it_names_is_enough() {
        for shape in [Shape::Fixed, Shape::Sliding, Shape::Bucket] {
            let mut quota = Quota::default();
            let mut at = Duration::from_secs(7);
            for _ in 0..500 {
                if let Err(wait) = quota.take(shape, 60.0, at) {
                    at += wait + Duration::from_millis(1);
                    assert!(quota.take(shape, 60.0, at).is_ok(), "{shape:?}");
                }
            }
        }
    }

    #[test]
    fn one_seed_is_one_sequence() {
        let rolls = |seed| {
            let mut dice = Dice::new(Faults::default(), seed);
            (0..50).map(|_| dice.roll("x", 0.3)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
    }

    #[test]
    fn an_unknown_fault_is_refused() {
        assert!(serde_json::from_str::<Faults>(r#"{"error_504": 1}"#).is_err());
        assert!(serde_json::from_str::<Faults>(r#"{"error_503": 1}"#).is_ok());
    }
}
