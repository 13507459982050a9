//! The dice behind the fault plan, from one seed; and the quotas a service may have.
//!
//! Owns the random generator and the counters of the quotas. Promises: the same seed and the same
//! order of requests give the same faults; whatever fired is counted.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use plan::{Faults, Shape, Trouble};

pub mod plan;
pub mod troubles;

/// A bucket may save up so many seconds of its rate, if the plan says nothing else.
const BUCKET_SECONDS: f64 = 10.0;
const MINUTE: Duration = Duration::from_secs(60);

/// One counted limit of requests a minute.
#[derive(Debug, Default)]
pub struct Quota {
    accepted: VecDeque<Duration>,
    tokens: Option<f64>,
    filled: Duration,
}

/// How many, and how they are counted.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub per_minute: f64,
    pub shape: Shape,
    /// What a bucket saves up.
    pub burst: Option<f64>,
}

impl Quota {
    /// `at`: since the start. `Err`: how long until one more is accepted.
    pub fn take(&mut self, limit: Limit, at: Duration) -> Result<(), Duration> {
        let per_minute = limit.per_minute;
        match limit.shape {
            Shape::Bucket => self.take_token(limit, at),
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

    fn take_token(&mut self, limit: Limit, at: Duration) -> Result<(), Duration> {
        let per_minute = limit.per_minute;
        let full = limit.burst.unwrap_or(per_minute * BUCKET_SECONDS / 60.0);
        let full = full.max(1.0);
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
    /// Requests since the plan's list of calls was given.
    calls_seen: u64,
    /// Wrong bodies handed out.
    wrong: usize,
}

/// What comes instead of the JSON of an answer.
const WRONG_BODIES: [&str; 3] = ["{\"nam", "[]", "<html><title>Welcome</title></html>"];

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
            calls_seen: 0,
            wrong: 0,
        }
    }

    /// Whether a fault of the plan happens now to a request of this kind.
    pub fn roll(&mut self, kind: &str, name: &'static str, of: impl Fn(&Faults) -> f64) -> bool {
        let probability = of(&self.plan);
        let only = &self.plan.only_kinds;
        let spared = !only.is_empty() && !only.iter().any(|k| k == kind);
        // Nothing is drawn for what is off, so that switching one fault leaves the others alone.
        let fires = probability > 0.0 && !spared && self.rng.f64() < probability;
        if fires {
            self.fire(name);
        }
        fires
    }

    /// Counts a request; what the plan has for its number.
    pub fn next_call(&mut self) -> Option<Trouble> {
        self.calls_seen += 1;
        let number = self.calls_seen;
        let named = self.plan.calls.iter().find(|c| c.call == number)?.kind;
        self.fire("calls");
        Some(named)
    }

    /// As if there had never been a plan; the dice go on where they are.
    pub fn reset(&mut self) {
        let rng = self.rng.clone();
        *self = Dice {
            rng,
            ..Dice::new(Faults::default(), 0)
        };
    }

    pub fn calls_seen(&self) -> u64 {
        self.calls_seen
    }

    pub fn count_calls_anew(&mut self) {
        self.calls_seen = 0;
    }

    /// One after the other.
    pub fn wrong_body(&mut self) -> &'static str {
        self.wrong += 1;
        WRONG_BODIES[(self.wrong - 1) % WRONG_BODIES.len()]
    }

    /// An index below `n`, which is not 0.
    pub fn pick(&mut self, n: usize) -> usize {
        self.rng.usize(..n)
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
        let (shape, burst) = (self.plan.quota_shape, self.plan.quota_burst);
        let limit = |per_minute| Limit {
            per_minute,
            shape,
            burst,
        };
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
        if let Some(per_minute) = class_limit
            && let Err(wait) = class.take(limit(per_minute), at)
        {
            limited = Some((name, per_minute, wait));
        }
        if let (None, Some(per_minute)) = (&limited, self.plan.quota_per_min)
            && let Err(wait) = self.all.take(limit(per_minute), at)
        {
            limited = Some(("quota_per_min", per_minute, wait));
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
    use crate::emulator::faults::plan::NthCall;

    fn limit(shape: Shape, per_minute: f64) -> Limit {
        Limit {
            per_minute,
            shape,
            burst: None,
        }
    }

    #[test]
    fn every_shape_gives_its_rate_and_no_more() {
        for shape in [Shape::Fixed, Shape::Sliding, Shape::Bucket] {
            let mut quota = Quota::default();
            let accepted = (0..60_000)
                .filter(|i| {
                    let at = Duration::from_millis(i * 10);
                    quota.take(limit(shape, 120.0), at).is_ok()
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
                if let Err(wait) = quota.take(limit(shape, 60.0), at) {
                    at += wait + Duration::from_millis(1);
                    assert!(quota.take(limit(shape, 60.0), at).is_ok(), "{shape:?}");
                }
            }
        }
    }

    #[test]
    fn a_bucket_saves_up_what_it_is_told() {
        let mut quota = Quota::default();
        let limit = Limit {
            burst: Some(20.0),
            ..limit(Shape::Bucket, 1200.0)
        };
        let at_once = |quota: &mut Quota, at| {
            (0..100)
                .take_while(|_| quota.take(limit, at).is_ok())
                .count()
        };
        assert_eq!(at_once(&mut quota, Duration::ZERO), 20);
        assert_eq!(at_once(&mut quota, Duration::from_millis(500)), 10);
        assert_eq!(at_once(&mut quota, Duration::from_secs(60)), 20);
    }

    #[test]
    fn one_seed_is_one_sequence() {
        let rolls = |seed| {
            let plan = Faults {
                error_503: 0.3,
                ..Faults::default()
            };
            let mut dice = Dice::new(plan, seed);
            let mut roll = |_| dice.roll("import", "error_503", |p| p.error_503);
            (0..50).map(&mut roll).collect::<Vec<_>>()
        };
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
    }

    #[test]
    fn other_kinds_are_spared() {
        let plan = Faults {
            error_503: 1.0,
            only_kinds: vec!["import".to_owned()],
            ..Faults::default()
        };
        let mut dice = Dice::new(plan, 1);
        assert!(!dice.roll("store.get", "error_503", |p| p.error_503));
        assert!(dice.roll("import", "error_503", |p| p.error_503));
        assert_eq!(dice.fired()["error_503"], 1);
    }

    #[test]
    fn a_call_is_met_at_its_number_and_once() {
        let plan = Faults {
            calls: vec![NthCall {
                call: 2,
                kind: Trouble::Stall,
            }],
            ..Faults::default()
        };
        let mut dice = Dice::new(plan, 1);
        let met = [dice.next_call(), dice.next_call(), dice.next_call()];
        assert_eq!(met, [None, Some(Trouble::Stall), None]);
        dice.count_calls_anew();
        assert_eq!([dice.next_call(), dice.next_call()], [met[0], met[1]]);
        assert_eq!(dice.fired()["calls"], 2);
    }
}
