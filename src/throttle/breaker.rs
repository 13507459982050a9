//! The circuit breaker: tells an outage from noise, and lets one probe through at a time.
//!
//! (M. Nygard, "Release It!".) Hears of faults only: 429s are the limiter's. Pure: the time comes from
//! outside. Promises: an open breaker refuses instead of blocking; a probe that never reports does not keep
//! it half-open for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::backoff;
use crate::waits::Waits;

/// Outcomes that a share is taken of.
const WINDOW: usize = 100;
/// Outcomes before a share counts.
const SAMPLE_MIN: usize = 20;
const FAULTS_IN_A_ROW: u32 = 5;
const FAULTS_SHARE: f64 = 0.50;
const COOL_DOWN_MIN: Duration = Duration::from_secs(5);
const COOL_DOWN_MAX: Duration = Duration::from_secs(300);
/// A probe that has not reported by then has failed.
const PROBE_WITHIN: Duration = Duration::from_secs(60);
/// While one is out, who is refused may ask again so soon: mostly it is back by then.
const PROBE_LOOK: Duration = Duration::from_millis(200);

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    Good,
    /// 5xx or no answer, with the delay asked for.
    Fault(Option<Duration>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    Open {
        until: Instant,
    },
    /// `probe`: since when one is out.
    HalfOpen {
        probe: Option<Instant>,
    },
}

impl BreakerState {
    /// As events spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open { .. } => "open",
            BreakerState::HalfOpen { .. } => "half_open",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Free,
    /// The one request that decides; its outcome goes to `probed`.
    Probe,
    Refused {
        until: Instant,
    },
}

#[derive(Debug)]
pub struct Breaker {
    state: BreakerState,
    window: VecDeque<RequestOutcome>,
    faults_in_a_row: u32,
    cool_down: Duration,
    waits: Waits,
}

impl Breaker {
    pub fn new(waits: Waits) -> Breaker {
        Breaker {
            state: BreakerState::Closed,
            window: VecDeque::with_capacity(WINDOW),
            faults_in_a_row: 0,
            cool_down: COOL_DOWN_MIN,
            waits,
        }
    }

    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether a request would be refused now; changes nothing.
    pub fn refuses(&self, now: Instant) -> Option<Instant> {
        match self.state {
            BreakerState::Closed => None,
            BreakerState::Open { until } => (now < until).then_some(until),
            BreakerState::HalfOpen { probe } => {
                let end = probe? + PROBE_WITHIN;
                (now < end).then_some(end.min(now + PROBE_LOOK))
            }
        }
    }

    /// Whether the next request would be the probe.
    pub fn wants_probe(&self, now: Instant) -> bool {
        self.state != BreakerState::Closed && self.refuses(now).is_none()
    }

    /// Asked right before a request is sent.
    pub fn admit(&mut self, now: Instant) -> Admission {
        if let Some(until) = self.refuses(now) {
            return Admission::Refused { until };
        }
        match self.state {
            BreakerState::Closed => Admission::Free,
            BreakerState::HalfOpen { probe: Some(_) } => {
                // It never came back: that is an answer too.
                let until = self.reopen(None, now);
                Admission::Refused { until }
            }
            BreakerState::Open { .. } | BreakerState::HalfOpen { probe: None } => {
                self.state = BreakerState::HalfOpen { probe: Some(now) };
                Admission::Probe
            }
        }
    }

    /// The probe's outcome. Says whether the breaker opened.
    pub fn probed(&mut self, outcome: RequestOutcome, now: Instant) -> bool {
        if !matches!(self.state, BreakerState::HalfOpen { .. }) {
            return false;
        }
        match outcome {
            RequestOutcome::Good => {
                *self = Breaker::new(self.waits);
                false
            }
            RequestOutcome::Fault(asked) => {
                self.reopen(asked, now);
                true
            }
        }
    }

    /// Any other request's outcome. Says whether the breaker opened.
    pub fn record(&mut self, outcome: RequestOutcome, now: Instant) -> bool {
        if self.state != BreakerState::Closed {
            // Sent before it opened: no news.
            return false;
        }
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(outcome);
        let RequestOutcome::Fault(asked) = outcome else {
            self.faults_in_a_row = 0;
            return false;
        };
        self.faults_in_a_row += 1;
        if !self.is_too_much() {
            return false;
        }
        self.open(asked, now);
        true
    }

    fn is_too_much(&self) -> bool {
        let is_fault = |o: &&RequestOutcome| matches!(o, RequestOutcome::Fault(_));
        let share = self.window.iter().filter(is_fault).count() as f64 / self.window.len() as f64;
        self.faults_in_a_row >= FAULTS_IN_A_ROW
            || (self.window.len() >= SAMPLE_MIN && share > FAULTS_SHARE)
    }

    fn reopen(&mut self, asked: Option<Duration>, now: Instant) -> Instant {
        self.cool_down = (self.cool_down * 2).min(COOL_DOWN_MAX);
        self.open(asked, now)
    }

    /// Until when.
    fn open(&mut self, asked: Option<Duration>, now: Instant) -> Instant {
        let asked = backoff::honoured(asked).unwrap_or_default();
        let until = now + self.waits.scaled(self.cool_down.max(asked));
        self.state = BreakerState::Open { until };
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(outcome: RequestOutcome, times: u32, now: Instant) -> Breaker {
        let mut breaker = Breaker::new(Waits::default());
        for _ in 0..times {
            breaker.record(outcome, now);
        }
        breaker
    }

    #[test]
    fn five_faults_in_a_row_open_it_and_four_do_not() {
        let now = Instant::now();
        let four = opened(RequestOutcome::Fault(None), 4, now);
        assert_eq!(four.state(), BreakerState::Closed);
        let five = opened(RequestOutcome::Fault(None), 5, now);
        assert!(five.refuses(now).is_some());
    }

    #[test]
    fn noise_below_the_share_leaves_it_closed() {
        let now = Instant::now();
        let mut breaker = Breaker::new(Waits::default());
        for i in 0..10_000 {
            let outcome = match i % 10 {
                0..4 => RequestOutcome::Fault(None),
                _ => RequestOutcome::Good,
            };
            breaker.record(outcome, now);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn more_than_half_faults_open_it_even_with_successes_between() {
        let now = Instant::now();
        let mut breaker = Breaker::new(Waits::default());
        let pattern = [true, true, false];
        let opened = (0..60).any(|i| {
            let outcome = match pattern[i % 3] {
                true => RequestOutcome::Fault(None),
                false => RequestOutcome::Good,
            };
            breaker.record(outcome, now)
        });
        assert!(opened);
    }

    #[test]
    fn the_cool_down_doubles_with_each_failed_probe_and_starts_anew() {
        let mut now = Instant::now();
        let mut breaker = opened(RequestOutcome::Fault(None), 5, now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let until = breaker.refuses(now).unwrap();
            waits.push((until - now).as_secs());
            now = until;
            assert_eq!(breaker.admit(now), Admission::Probe);
            assert!(breaker.probed(RequestOutcome::Fault(None), now));
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        now += Duration::from_secs(300);
        assert_eq!(breaker.admit(now), Admission::Probe);
        breaker.probed(RequestOutcome::Good, now);
        assert_eq!(breaker.state(), BreakerState::Closed);
        for _ in 0..5 {
            breaker.record(RequestOutcome::Fault(None), now);
        }
        assert_eq!(breaker.refuses(now), Some(now + 5 * SECOND));
    }

    #[test]
    fn one_probe_at_a_time_and_a_lost_one_reopens() {
        let now = Instant::now();
        let mut breaker = opened(RequestOutcome::Fault(None), 5, now);
        let later = now + 5 * SECOND;
        assert_eq!(breaker.admit(later), Admission::Probe);
        assert!(matches!(breaker.admit(later), Admission::Refused { .. }));
        let much_later = later + PROBE_WITHIN;
        assert!(matches!(
            breaker.admit(much_later),
            Admission::Refused { until } if until == much_later + 10 * SECOND
        ));
    }

    #[test]
    fn it_is_never_open_for_less_than_the_service_asked() {
        let now = Instant::now();
        let asked = Some(Duration::from_secs(37));
        let breaker = opened(RequestOutcome::Fault(asked), 5, now);
        assert_eq!(breaker.refuses(now), Some(now + 37 * SECOND));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Admit,
        Record(u8),
        Probed(u8),
        Wait(u64),
    }

    fn outcome(n: u8) -> RequestOutcome {
        match n {
            0 => RequestOutcome::Good,
            _ => RequestOutcome::Fault(None),
        }
    }

    proptest! {
        /// Whatever happens, there is a bounded time after which a request gets through.
        #[test]
        fn it_never_stays_shut(steps in proptest::collection::vec(prop_oneof![
            Just(Step::Admit),
            (0u8..2).prop_map(Step::Record),
            (0u8..2).prop_map(Step::Probed),
            (0u64..400).prop_map(Step::Wait),
        ], 0..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(Waits::default());
            for step in steps {
                match step {
                    Step::Admit => { breaker.admit(now); }
                    Step::Record(n) => { breaker.record(outcome(n), now); }
                    Step::Probed(n) => { breaker.probed(outcome(n), now); }
                    Step::Wait(s) => now += Duration::from_secs(s),
                }
            }
            let began = now;
            while let Admission::Refused { until } = breaker.admit(now) {
                prop_assert!(until > now && until - now <= COOL_DOWN_MAX);
                now = until;
                // A cool-down, a probe that is lost, and the cool-down that follows from it.
                prop_assert!(now - began <= 2 * COOL_DOWN_MAX + PROBE_WITHIN);
            }
        }
    }

    /// One step is one outcome; whether the last one opened it.
    fn lives_through(outcomes: &[RequestOutcome], now: Instant) -> bool {
        let mut breaker = Breaker::new(Waits::default());
        let mut opened = false;
        for outcome in outcomes {
            assert!(!opened, "it opened before the last one");
            opened = breaker.record(*outcome, now);
            assert_eq!(opened, breaker.state() != BreakerState::Closed);
        }
        opened
    }

    #[test]
    fn what_is_in_a_row_is_broken_by_anything_else() {
        let now = Instant::now();
        let (good, fault) = (RequestOutcome::Good, RequestOutcome::Fault(None));
        assert!(!lives_through(
            &[fault, fault, fault, fault, good, fault],
            now
        ));
        assert!(lives_through(
            &[good, fault, fault, fault, fault, fault],
            now
        ));
    }

    #[test]
    fn a_share_counts_from_twenty_outcomes_on_and_only_above_its_mark() {
        let now = Instant::now();
        // Never five faults in a row.
        let faults = |of: usize, faults: usize| -> Vec<RequestOutcome> {
            let mut all = vec![RequestOutcome::Good; of - faults];
            for i in 0..faults {
                all.insert((i * 5 / 4).min(all.len()), RequestOutcome::Fault(None));
            }
            all.reverse();
            all
        };
        let last_is_fault = |mut all: Vec<RequestOutcome>| {
            let at = all
                .iter()
                .rposition(|o| *o != RequestOutcome::Good)
                .unwrap();
            let last = all.remove(at);
            all.push(last);
            all
        };
        assert!(!lives_through(&last_is_fault(faults(19, 12)), now));
        assert!(!lives_through(&last_is_fault(faults(20, 10)), now));
        assert!(lives_through(&last_is_fault(faults(20, 11)), now));
    }

    #[test]
    fn only_the_last_hundred_outcomes_count() {
        let now = Instant::now();
        let mut breaker = Breaker::new(Waits::default());
        for _ in 0..WINDOW {
            breaker.record(RequestOutcome::Good, now);
        }
        // More than half of the last hundred, in fours so that none are five in a row.
        let opened = (0..WINDOW).position(|i| {
            let outcome = match i % 5 {
                4 => RequestOutcome::Good,
                _ => RequestOutcome::Fault(None),
            };
            breaker.record(outcome, now)
        });
        assert_eq!(opened, Some(62), "the 51st fault");
    }

    #[test]
    fn in_an_outage_nothing_goes_but_the_probe() {
        let now = Instant::now();
        let mut breaker = opened(RequestOutcome::Fault(None), 5, now);
        let until = now + COOL_DOWN_MIN;
        let just_before = until - Duration::from_millis(1);
        assert_eq!(breaker.refuses(just_before), Some(until));
        assert!(!breaker.wants_probe(just_before));
        assert_eq!(breaker.refuses(until), None);
        assert!(breaker.wants_probe(until));
        assert_eq!(breaker.state().as_str(), "open");
        assert_eq!(breaker.admit(until), Admission::Probe);
        assert_eq!(breaker.state().as_str(), "half_open");
        assert!(!breaker.wants_probe(until), "one is enough");
        breaker.probed(RequestOutcome::Good, until);
        assert_eq!(breaker.state().as_str(), "closed");
    }

    #[test]
    fn whoever_is_refused_for_a_probe_may_ask_again_soon_and_at_the_latest_when_it_is_lost() {
        let now = Instant::now();
        let mut breaker = opened(RequestOutcome::Fault(None), 5, now);
        let sent = now + COOL_DOWN_MIN;
        breaker.admit(sent);
        let refused = |at: Instant| breaker.refuses(at);
        assert_eq!(refused(sent), Some(sent + PROBE_LOOK));
        let lost = sent + PROBE_WITHIN;
        let just_before = lost - Duration::from_millis(1);
        assert_eq!(refused(just_before), Some(lost));
        assert_eq!(refused(lost), None);
    }

    #[test]
    fn only_a_probe_says_anything_while_it_is_not_closed() {
        let now = Instant::now();
        let mut breaker = opened(RequestOutcome::Fault(None), 5, now);
        let open = breaker.state();
        for outcome in [RequestOutcome::Good, RequestOutcome::Fault(None)] {
            assert!(!breaker.record(outcome, now + SECOND));
            assert!(!breaker.probed(outcome, now + SECOND), "none is out");
            assert_eq!(breaker.state(), open);
        }
        let later = now + COOL_DOWN_MIN;
        breaker.admit(later);
        assert!(!breaker.probed(RequestOutcome::Good, later));
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.refuses(later), None);
        assert_eq!(breaker.admit(later), Admission::Free);
    }
}
