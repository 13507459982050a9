//! The circuit breaker: tells an outage from noise, and lets one probe through at a time.
//!
//! (M. Nygard, "Release It!".) Pure: the time comes from outside. Promises: an open breaker refuses
//! instead of blocking; a probe that never reports does not keep it half-open for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Class;
use super::backoff;
use crate::waits::Waits;

/// Outcomes that a share is taken of.
const WINDOW: usize = 100;
/// Outcomes before a share counts.
const SAMPLE_MIN: usize = 20;
const LIMITS_IN_A_ROW: u32 = 3;
const LIMITS_SHARE: f64 = 0.05;
const FAULTS_IN_A_ROW: u32 = 5;
const FAULTS_SHARE: f64 = 0.50;
const COOL_DOWN_MIN: Duration = Duration::from_secs(5);
const COOL_DOWN_MAX: Duration = Duration::from_secs(300);
/// A probe that has not reported by then has failed.
const PROBE_WITHIN: Duration = Duration::from_secs(60);
/// While one is out, who is refused may ask again so soon: mostly it is back by then.
const PROBE_LOOK: Duration = Duration::from_millis(200);

/// What opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenCause {
    /// Rate 429s: reads have a limit of their own and go on.
    Limits,
    /// 5xx or no answer: nothing goes.
    Faults,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    Good,
    /// A rate 429 that is a new event, with the delay asked for.
    Limit(Option<Duration>),
    Fault(Option<Duration>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    Open {
        cause: OpenCause,
        until: Instant,
    },
    /// `probe`: since when one is out.
    HalfOpen {
        cause: OpenCause,
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
    limits_in_a_row: u32,
    faults_in_a_row: u32,
    cool_down: Duration,
    waits: Waits,
}

impl Breaker {
    pub fn new(waits: Waits) -> Breaker {
        Breaker {
            state: BreakerState::Closed,
            window: VecDeque::with_capacity(WINDOW),
            limits_in_a_row: 0,
            faults_in_a_row: 0,
            cool_down: COOL_DOWN_MIN,
            waits,
        }
    }

    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether such a request would be refused now; changes nothing.
    pub fn refuses(&self, class: Class, now: Instant) -> Option<Instant> {
        match self.state {
            BreakerState::Closed => None,
            BreakerState::Open { cause, .. } | BreakerState::HalfOpen { cause, .. }
                if cause == OpenCause::Limits && class == Class::Read =>
            {
                None
            }
            BreakerState::Open { until, .. } => (now < until).then_some(until),
            BreakerState::HalfOpen { probe, .. } => {
                let end = probe? + PROBE_WITHIN;
                (now < end).then_some(end.min(now + PROBE_LOOK))
            }
        }
    }

    /// Asked right before a request is sent.
    pub fn admit(&mut self, class: Class, now: Instant) -> Admission {
        if let Some(until) = self.refuses(class, now) {
            return Admission::Refused { until };
        }
        match self.state {
            BreakerState::Closed => Admission::Free,
            BreakerState::Open { cause, .. } | BreakerState::HalfOpen { cause, .. }
                if cause == OpenCause::Limits && class == Class::Read =>
            {
                Admission::Free
            }
            BreakerState::HalfOpen {
                cause,
                probe: Some(_),
            } => {
                // It never came back: that is an answer too.
                self.reopen(cause, None, now);
                match self.state {
                    BreakerState::Open { until, .. } => Admission::Refused { until },
                    BreakerState::Closed | BreakerState::HalfOpen { .. } => Admission::Free,
                }
            }
            BreakerState::Open { cause, .. } | BreakerState::HalfOpen { cause, probe: None } => {
                self.state = BreakerState::HalfOpen {
                    cause,
                    probe: Some(now),
                };
                Admission::Probe
            }
        }
    }

    /// The probe's outcome. Says whether the breaker opened.
    pub fn probed(&mut self, outcome: RequestOutcome, now: Instant) -> bool {
        let BreakerState::HalfOpen { cause, .. } = self.state else {
            return false;
        };
        match outcome {
            RequestOutcome::Good => {
                *self = Breaker::new(self.waits);
                false
            }
            RequestOutcome::Limit(asked) | RequestOutcome::Fault(asked) => {
                self.reopen(cause, asked, now);
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
        let (limits, faults) = match outcome {
            RequestOutcome::Good => (0, 0),
            RequestOutcome::Limit(_) => (self.limits_in_a_row + 1, 0),
            RequestOutcome::Fault(_) => (0, self.faults_in_a_row + 1),
        };
        (self.limits_in_a_row, self.faults_in_a_row) = (limits, faults);
        let (cause, asked) = match outcome {
            RequestOutcome::Good => return false,
            RequestOutcome::Limit(asked) => (OpenCause::Limits, asked),
            RequestOutcome::Fault(asked) => (OpenCause::Faults, asked),
        };
        if !self.is_too_much(cause) {
            return false;
        }
        self.open(cause, asked, now);
        true
    }

    fn is_too_much(&self, cause: OpenCause) -> bool {
        let (in_a_row, row_max, share_max) = match cause {
            OpenCause::Limits => (self.limits_in_a_row, LIMITS_IN_A_ROW, LIMITS_SHARE),
            OpenCause::Faults => (self.faults_in_a_row, FAULTS_IN_A_ROW, FAULTS_SHARE),
        };
        let of_cause = |o: &&RequestOutcome| match o {
            RequestOutcome::Good => false,
            RequestOutcome::Limit(_) => cause == OpenCause::Limits,
            RequestOutcome::Fault(_) => cause == OpenCause::Faults,
        };
        let share = self.window.iter().filter(of_cause).count() as f64 / self.window.len() as f64;
        in_a_row >= row_max || (self.window.len() >= SAMPLE_MIN && share > share_max)
    }

    fn reopen(&mut self, cause: OpenCause, asked: Option<Duration>, now: Instant) {
        self.cool_down = (self.cool_down * 2).min(COOL_DOWN_MAX);
        self.open(cause, asked, now);
    }

    fn open(&mut self, cause: OpenCause, asked: Option<Duration>, now: Instant) {
        let wait = self
            .waits
            .scaled(self.cool_down.max(backoff::honoured(asked)));
        self.state = BreakerState::Open {
            cause,
            until: now + wait,
        };
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
        assert!(five.refuses(Class::Write, now).is_some());
        assert!(five.refuses(Class::Read, now).is_some());
    }

    #[test]
    fn three_limit_events_in_a_row_stop_writes_only() {
        let now = Instant::now();
        let breaker = opened(RequestOutcome::Limit(None), 3, now);
        assert!(breaker.refuses(Class::Write, now).is_some());
        assert!(breaker.refuses(Class::Read, now).is_none());
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
            let until = breaker.refuses(Class::Write, now).unwrap();
            waits.push((until - now).as_secs());
            now = until;
            assert_eq!(breaker.admit(Class::Write, now), Admission::Probe);
            assert!(breaker.probed(RequestOutcome::Fault(None), now));
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        now += Duration::from_secs(300);
        assert_eq!(breaker.admit(Class::Write, now), Admission::Probe);
        breaker.probed(RequestOutcome::Good, now);
        assert_eq!(breaker.state(), BreakerState::Closed);
        for _ in 0..5 {
            breaker.record(RequestOutcome::Fault(None), now);
        }
        assert_eq!(breaker.refuses(Class::Write, now), Some(now + 5 * SECOND));
    }

    #[test]
    fn one_probe_at_a_time_and_a_lost_one_reopens() {
        let now = Instant::now();
        let mut breaker = opened(RequestOutcome::Fault(None), 5, now);
        let later = now + 5 * SECOND;
        assert_eq!(breaker.admit(Class::Read, later), Admission::Probe);
        assert!(matches!(
            breaker.admit(Class::Write, later),
            Admission::Refused { .. }
        ));
        let much_later = later + PROBE_WITHIN;
        assert!(matches!(
            breaker.admit(Class::Write, much_later),
            Admission::Refused { until } if until == much_later + 10 * SECOND
        ));
    }

    #[test]
    fn it_is_never_open_for_less_than_the_service_asked() {
        let now = Instant::now();
        let asked = Some(Duration::from_secs(37));
        let breaker = opened(RequestOutcome::Limit(asked), 3, now);
        assert_eq!(breaker.refuses(Class::Write, now), Some(now + 37 * SECOND));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Admit(bool),
        Record(u8),
        Probed(u8),
        Wait(u64),
    }

    fn outcome(n: u8) -> RequestOutcome {
        match n {
            0 => RequestOutcome::Good,
            1 => RequestOutcome::Limit(None),
            _ => RequestOutcome::Fault(None),
        }
    }

    proptest! {
        /// Whatever happens, there is a bounded time after which a request gets through.
        #[test]
        fn it_never_stays_shut(steps in proptest::collection::vec(prop_oneof![
            any::<bool>().prop_map(Step::Admit),
            (0u8..3).prop_map(Step::Record),
            (0u8..3).prop_map(Step::Probed),
            (0u64..400).prop_map(Step::Wait),
        ], 0..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(Waits::default());
            for step in steps {
                match step {
                    Step::Admit(write) => {
                        let class = if write { Class::Write } else { Class::Read };
                        breaker.admit(class, now);
                    }
                    Step::Record(n) => { breaker.record(outcome(n), now); }
                    Step::Probed(n) => { breaker.probed(outcome(n), now); }
                    Step::Wait(s) => now += Duration::from_secs(s),
                }
            }
            let began = now;
            while let Admission::Refused { until } = breaker.admit(Class::Write, now) {
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
        let (good, limit, fault) = (
            RequestOutcome::Good,
            RequestOutcome::Limit(None),
            RequestOutcome::Fault(None),
        );
        assert!(!lives_through(&[limit, limit, good, limit, limit], now));
        assert!(!lives_through(&[limit, limit, fault, limit, limit], now));
        assert!(lives_through(&[limit, limit, limit], now));
        assert!(!lives_through(
            &[fault, fault, fault, fault, good, fault],
            now
        ));
        assert!(!lives_through(
            &[fault, fault, fault, fault, limit, fault],
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
        let limits = |of: usize, limits: usize| {
            let mut all = vec![RequestOutcome::Good; of - limits];
            for i in 0..limits - 1 {
                all.insert(2 * i, RequestOutcome::Limit(None));
            }
            all.push(RequestOutcome::Limit(None));
            all
        };
        assert!(!lives_through(&limits(19, 2), now));
        assert!(!lives_through(&limits(20, 1), now));
        assert!(lives_through(&limits(20, 2), now));
        assert!(!lives_through(&limits(100, 5), now));
        assert!(lives_through(&limits(100, 6), now));
    }

    #[test]
    fn only_the_last_hundred_outcomes_count() {
        let now = Instant::now();
        let mut breaker = Breaker::new(Waits::default());
        for i in 1..=2000 {
            let outcome = match i % 20 {
                0 => RequestOutcome::Limit(None),
                _ => RequestOutcome::Good,
            };
            assert!(!breaker.record(outcome, now), "{i}");
        }
        assert!(breaker.record(RequestOutcome::Limit(None), now));
    }

    #[test]
    fn reads_go_on_while_only_writes_are_limited() {
        let now = Instant::now();
        let mut breaker = opened(RequestOutcome::Limit(None), 3, now);
        let open = breaker.state();
        assert_eq!(breaker.admit(Class::Read, now), Admission::Free);
        let later = now + COOL_DOWN_MIN;
        assert_eq!(breaker.admit(Class::Read, later), Admission::Free);
        assert_eq!(breaker.state(), open, "a read is no probe");
        assert_eq!(breaker.admit(Class::Write, later), Admission::Probe);
        assert_eq!(breaker.refuses(Class::Read, later), None);
        assert_eq!(breaker.admit(Class::Read, later), Admission::Free);
        assert!(breaker.refuses(Class::Write, later).is_some());
    }

    #[test]
    fn in_an_outage_nothing_goes_but_the_probe() {
        let now = Instant::now();
        for class in [Class::Read, Class::Write] {
            let mut breaker = opened(RequestOutcome::Fault(None), 5, now);
            let until = now + COOL_DOWN_MIN;
            let just_before = until - Duration::from_millis(1);
            assert_eq!(breaker.refuses(class, just_before), Some(until));
            assert_eq!(breaker.refuses(class, until), None);
            assert_eq!(breaker.admit(class, until), Admission::Probe);
        }
    }

    #[test]
    fn whoever_is_refused_for_a_probe_may_ask_again_soon_and_at_the_latest_when_it_is_lost() {
        let now = Instant::now();
        let mut breaker = opened(RequestOutcome::Fault(None), 5, now);
        let sent = now + COOL_DOWN_MIN;
        breaker.admit(Class::Write, sent);
        let refused = |at: Instant| breaker.refuses(Class::Write, at);
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
        for outcome in [
            RequestOutcome::Good,
            RequestOutcome::Fault(None),
            RequestOutcome::Limit(None),
        ] {
            assert!(!breaker.record(outcome, now + SECOND));
            assert!(!breaker.probed(outcome, now + SECOND), "none is out");
            assert_eq!(breaker.state(), open);
        }
        let later = now + COOL_DOWN_MIN;
        breaker.admit(Class::Write, later);
        assert!(!breaker.probed(RequestOutcome::Good, later));
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.refuses(Class::Write, later), None);
        assert_eq!(breaker.admit(Class::Write, later), Admission::Free);
    }
}
