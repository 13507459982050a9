//! What the throttle decides: limiter, breaker and ramp together, without a clock and without a wait.
//!
//! The gate waits for it, and the program `throttle` in tests/proof drives it through hours in virtual time.
//! Limits and outages have one owner each: every pause after a 429 is the limiter's, the breaker hears only
//! of faults. Promises: a 429 is answered by at most one request a pause.

use std::time::{Duration, Instant};

use super::breaker::{Admission, Breaker, BreakerState, RequestOutcome};
use super::limiter::{Limiter, RateLimited};
use super::ramp::Ramp;
use super::rate::Ready;
use super::{Class, GateSettings, Peaks};

/// Leave to send one request; must be reported back.
#[must_use]
#[derive(Debug)]
pub struct Pass {
    class: Class,
    sent_at: Instant,
    /// Of the breaker: it decides for all.
    is_probe: bool,
}

impl Pass {
    pub fn class(&self) -> Class {
        self.class
    }

    pub fn sent_at(&self) -> Instant {
        self.sent_at
    }
}

/// How a request ended, as far as the throttle cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The service answered and is well (2xx, and 4xx other than 429 and 408).
    Answered,
    /// A rate 429, with the delay the service asked for.
    RateLimited { delay: Option<Duration> },
    /// 5xx, 408, or no answer at all.
    Fault { delay: Option<Duration> },
}

/// What a request that asks is told.
#[derive(Debug)]
pub enum Turn {
    Now(Pass),
    /// Ask again then, or when a report says so.
    Later(Instant),
    /// Not in this pass of the run; asking again makes sense from then on.
    Refused(Instant),
}

/// Whether files may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starts {
    Free,
    /// The next one is the probe; the others wait for what becomes of it.
    OneAtATime,
    Refused,
}

#[derive(Debug)]
pub struct Throttle {
    limiter: Limiter,
    breaker: Breaker,
    ramp: Ramp,
    /// Rate 429s so far.
    throttled: u64,
    /// Time with an open breaker, and with writes that were refused for long.
    outage: Stopwatch,
    shut: Stopwatch,
}

/// Adds up how long something was so.
#[derive(Debug, Default)]
struct Stopwatch {
    since: Option<Instant>,
    before: Duration,
}

impl Stopwatch {
    fn set(&mut self, is_so: bool, now: Instant) {
        match (self.since, is_so) {
            (None, true) => self.since = Some(now),
            (Some(_), false) => {
                self.before = self.total(now);
                self.since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    fn total(&self, now: Instant) -> Duration {
        let running = self.since.map(|since| now.saturating_duration_since(since));
        self.before + running.unwrap_or_default()
    }
}

impl Throttle {
    pub fn new(settings: GateSettings, now: Instant) -> Throttle {
        Throttle {
            limiter: Limiter::new(settings.rpm, settings.peaks, settings.waits, now),
            breaker: Breaker::new(settings.waits),
            ramp: Ramp::new(settings.concurrency),
            throttled: 0,
            outage: Stopwatch::default(),
            shut: Stopwatch::default(),
        }
    }

    pub fn enter(&mut self, class: Class, now: Instant) -> Turn {
        if let Some(until) = self.refuses(class, now) {
            return Turn::Refused(until);
        }
        if let Ready::NotBefore(until) = self.limiter.ready(class, now) {
            return Turn::Later(until);
        }
        let is_probe = match self.breaker.admit(now) {
            Admission::Refused { until } => return Turn::Refused(until),
            Admission::Probe => true,
            Admission::Free => false,
        };
        self.limiter.take(class, now);
        Turn::Now(Pass {
            class,
            sent_at: now,
            is_probe,
        })
    }

    /// How the request of a pass ended. Says whether who waits should ask again.
    pub fn report(&mut self, pass: &Pass, verdict: Verdict, now: Instant) -> bool {
        let (class, sent_at) = (pass.class, pass.sent_at);
        let limiter = &mut self.limiter;
        let (freed, outcome) = match verdict {
            Verdict::Answered => {
                let freed = limiter.granted(class, sent_at, now);
                (self.ramp.succeeded(now) || freed, RequestOutcome::Good)
            }
            Verdict::RateLimited { delay } => {
                self.throttled += 1;
                let refused = RateLimited {
                    class,
                    sent_at,
                    asked: delay,
                };
                limiter.limited(refused, now);
                // To the breaker it is an answer: the service is there.
                (false, RequestOutcome::Good)
            }
            Verdict::Fault { delay } => {
                let freed = limiter.unanswered(class, sent_at);
                (freed, RequestOutcome::Fault(delay))
            }
        };
        let opened = match pass.is_probe {
            true => self.breaker.probed(outcome, now),
            false => self.breaker.record(outcome, now),
        };
        if opened {
            self.ramp.breaker_opened();
        }
        let is_open = self.breaker.state() != BreakerState::Closed;
        self.outage.set(is_open, now);
        self.shut.set(self.limiter.writes().is_shut(now), now);
        freed
    }

    /// Until when such a request is refused, because the breaker is open or nothing of its class was
    /// granted for long; `None` if it is not.
    pub fn refuses(&mut self, class: Class, now: Instant) -> Option<Instant> {
        if let Some(until) = self.breaker.refuses(now) {
            return Some(until);
        }
        if !self.limiter.rate(class).is_shut(now) {
            return None;
        }
        match self.limiter.ready(class, now) {
            Ready::NotBefore(until) => Some(until),
            Ready::Paced | Ready::Probe => None,
        }
    }

    /// Whether files may start.
    pub fn starts(&mut self, now: Instant) -> Starts {
        let is_shut = self.limiter.rate(Class::Write).is_shut(now);
        match (self.breaker.state(), is_shut) {
            (BreakerState::Closed, false) => Starts::Free,
            (BreakerState::Open { until, .. }, _) if now < until => Starts::Refused,
            (_, true) if self.limiter.writes().paused_until() > Some(now) => Starts::Refused,
            _ => Starts::OneAtATime,
        }
    }

    /// Workers that may be busy now.
    pub fn concurrency(&self) -> usize {
        self.ramp.allowed()
    }

    /// One more may be busy than the ramp allows: what it would send decides for all.
    pub fn wants_probe(&self, now: Instant) -> bool {
        self.breaker.wants_probe(now)
    }

    pub fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Rate 429s so far.
    pub fn throttled(&self) -> u64 {
        self.throttled
    }

    /// How long the breaker has been open.
    pub fn outage(&self, now: Instant) -> Duration {
        self.outage.total(now)
    }

    /// How long writes have been refused because nothing was granted.
    pub fn shut(&self, now: Instant) -> Duration {
        self.shut.total(now)
    }

    /// What a later run may start from.
    pub fn peaks(&self) -> Peaks {
        self.limiter.peaks()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Concurrency;
    use super::super::Rpm;
    use super::*;
    use crate::waits::Waits;

    fn throttle(now: Instant) -> Throttle {
        let settings = GateSettings {
            rpm: Rpm::Auto,
            concurrency: Concurrency::Asked(8),
            peaks: Peaks::default(),
            waits: Waits::default(),
        };
        Throttle::new(settings, now)
    }

    fn send(throttle: &mut Throttle, class: Class, verdict: Verdict, now: Instant) {
        let Turn::Now(pass) = throttle.enter(class, now) else {
            panic!("it may not go")
        };
        throttle.report(&pass, verdict, now);
    }

    const SECOND: Duration = Duration::from_secs(1);
    const LIMITED: Verdict = Verdict::RateLimited { delay: None };

    /// Those who wait for their turn wait for a minute at the most; then files go back to the queue.
    #[test]
    fn a_429_makes_wait_and_a_minute_of_them_refuses() {
        let began = Instant::now();
        let mut throttle = throttle(began);
        let mut now = began;
        send(&mut throttle, Class::Write, LIMITED, now);
        let mut asked = 0;
        let until = loop {
            asked += 1;
            assert!(asked < 100, "it is never refused");
            match throttle.enter(Class::Write, now) {
                Turn::Later(at) => now = at,
                Turn::Now(pass) => assert!(!throttle.report(&pass, LIMITED, now)),
                Turn::Refused(until) => break until,
            }
            assert_eq!(throttle.breaker(), BreakerState::Closed);
        };
        // It has been asked after 0, 0.5, 3, 15.5, 39.5 and 63.5 seconds.
        assert_eq!(throttle.throttled(), 6);
        let shut_at = began + Duration::from_millis(63_500);
        assert_eq!((now, until), (shut_at, shut_at + (shut_at - began)));
        assert_eq!(throttle.starts(now), Starts::Refused);
        assert_eq!(throttle.starts(until), Starts::OneAtATime);
        send(&mut throttle, Class::Read, Verdict::Answered, now);
        assert_eq!(throttle.shut(until), until - now);
        send(&mut throttle, Class::Write, Verdict::Answered, until);
        assert_eq!(throttle.starts(until), Starts::Free);
        assert_eq!(throttle.shut(until + 5 * SECOND), until - now);
        assert_eq!(throttle.outage(until), Duration::ZERO);
    }

    #[test]
    fn faults_open_the_breaker_for_both_classes() {
        let now = Instant::now();
        let mut throttle = throttle(now);
        for _ in 0..5 {
            send(
                &mut throttle,
                Class::Write,
                Verdict::Fault { delay: None },
                now,
            );
        }
        let later = now + 5 * SECOND;
        for class in [Class::Write, Class::Read] {
            assert!(matches!(throttle.enter(class, now), Turn::Refused(at) if at == later));
        }
        let just_before = later - Duration::from_millis(1);
        assert!(!throttle.wants_probe(just_before));
        assert_eq!(throttle.starts(just_before), Starts::Refused);
        assert!(throttle.wants_probe(later));
        assert_eq!(throttle.starts(later), Starts::OneAtATime);
        send(&mut throttle, Class::Read, Verdict::Answered, later);
        assert_eq!(throttle.starts(later), Starts::Free);
        assert_eq!(throttle.outage(later + SECOND), 5 * SECOND);
    }

    #[test]
    fn whoever_waits_asks_again_when_more_may_be_busy() {
        let now = Instant::now();
        let mut throttle = throttle(now);
        assert_eq!(throttle.concurrency(), 2);
        let Turn::Now(pass) = throttle.enter(Class::Write, now) else {
            panic!("it may not go")
        };
        assert!(throttle.report(&pass, Verdict::Answered, now));
        assert_eq!(throttle.concurrency(), 3);
    }

    #[test]
    fn what_an_earlier_run_found_is_kept_for_the_next() {
        let peaks = Peaks {
            write: Some(300.0),
            read: None,
        };
        let settings = GateSettings {
            rpm: Rpm::Auto,
            concurrency: Concurrency::Default,
            peaks,
            waits: Waits::default(),
        };
        let throttle = Throttle::new(settings, Instant::now());
        assert_eq!(throttle.peaks(), peaks);
    }
}
