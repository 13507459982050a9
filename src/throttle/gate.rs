//! The one door of every request: breaker, token, wait, verdict.
//!
//! Owns limiter, breaker and ramp behind one mutex that is never held across a wait or a request.
//! Promises: whoever waits here is woken by the end of the run; every verdict reaches all three; once the
//! run stops no read begins, and once its grace period is over nothing does.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::breaker::{Admission, Breaker, BreakerState, OpenCause, RequestOutcome};
use super::limiter::Limiter;
use super::ramp::Ramp;
use super::{Class, GateSettings, Peaks};
use crate::poison;
use crate::shutdown::Shutdown;

/// How often a waiting worker looks whether the run is stopping.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// Leave to send one request; must be reported back.
#[must_use]
#[derive(Debug)]
pub struct Pass {
    class: Class,
    /// It took a token, so it counts in what the service accepted.
    metered: bool,
    sent_at: Instant,
    probe: bool,
}

impl Pass {
    pub fn class(&self) -> Class {
        self.class
    }
}

/// Why a request may not be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The breaker is open; asking again makes sense from then on.
    Open { until: Instant },
    /// The run is over.
    Stopping,
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

/// Whether files may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starts {
    Free,
    /// The next one is the probe; the others wait for what becomes of it.
    OneAtATime,
    Refused,
}

/// Why nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseReason {
    /// The service said 429 and how long to wait.
    Limit,
    /// Too many 429s.
    Limits,
    /// The service fails.
    Outage,
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PauseReason::Limit => "the service asked to wait",
            PauseReason::Limits => "the service refuses too many requests",
            PauseReason::Outage => "the service fails",
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    pub state: BreakerState,
    pub paused: Option<(PauseReason, Instant)>,
    /// Of writes; `None`: no limit.
    pub rate_per_min: Option<f64>,
    /// Workers that may be busy now.
    pub concurrency: usize,
    /// For tokens, all threads together.
    pub waited: Duration,
    /// Rate 429s so far.
    pub throttled: u64,
}

#[derive(Debug)]
struct Inner {
    limiter: Limiter,
    breaker: Breaker,
    ramp: Ramp,
    busy: usize,
    waited: Duration,
    throttled: u64,
}

#[derive(Debug)]
pub struct Gate {
    inner: Mutex<Inner>,
    freed: Condvar,
    shutdown: Arc<Shutdown>,
}

/// A busy worker's place; dropped when its file has had its turn.
#[derive(Debug)]
pub struct Slot<'g>(&'g Gate);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.busy = inner.busy.saturating_sub(1);
        drop(inner);
        self.0.freed.notify_one();
    }
}

impl Gate {
    pub fn new(settings: GateSettings, shutdown: Arc<Shutdown>) -> Gate {
        let limiter = Limiter::new(settings.rpm, settings.peaks, settings.waits, Instant::now());
        Gate {
            inner: Mutex::new(Inner {
                limiter,
                breaker: Breaker::new(settings.waits),
                ramp: Ramp::new(settings.concurrency),
                busy: 0,
                waited: Duration::ZERO,
                throttled: 0,
            }),
            freed: Condvar::new(),
            shutdown,
        }
    }

    /// Breaker, then a token of the class; waits for the token.
    pub fn enter(&self, class: Class) -> Result<Pass, Refused> {
        if self.cuts_off(class) {
            return Err(Refused::Stopping);
        }
        let mut inner = self.lock();
        let now = Instant::now();
        if let Some(until) = inner.breaker.refuses(class, now) {
            return Err(Refused::Open { until });
        }
        let mut start = inner.limiter.reserve(class, now);
        loop {
            let now = Instant::now();
            if start <= now {
                // A pause that began meanwhile made the token void: what waited through it must not
                // start all at once.
                match inner.limiter.paused_until(class) {
                    Some(until) if until > now => start = inner.limiter.reserve(class, now),
                    _ => break,
                }
                continue;
            }
            let wait = start - now;
            inner.waited += wait;
            drop(inner);
            // Nothing waits for a token once the run stops: what is in flight needs none.
            if !self.shutdown.sleep(wait) {
                return Err(Refused::Stopping);
            }
            inner = self.lock();
        }
        if self.cuts_off(class) {
            return Err(Refused::Stopping);
        }
        self.admitted(&mut inner, class, true)
    }

    /// Whether the run is so far in stopping that requests of this class end. Nothing is lost with the answer
    /// to a read, so the stop itself ends it; a write is a part of a transfer, which the grace period is for.
    pub fn cuts_off(&self, class: Class) -> bool {
        match class {
            Class::Read => self.shutdown.is_stopping(),
            Class::Write => self.shutdown.is_over(),
        }
    }

    /// What stops the run: for a request that is under way when it is cut off.
    pub fn shutdown(&self) -> &Arc<Shutdown> {
        &self.shutdown
    }

    /// The same without a token: the body of an upload, whose session has paid already.
    pub fn enter_body(&self) -> Result<Pass, Refused> {
        if self.cuts_off(Class::Write) {
            return Err(Refused::Stopping);
        }
        let mut inner = self.lock();
        // Limits are about starting uploads; one that has begun goes on.
        let outage = matches!(
            inner.breaker.state(),
            BreakerState::Open {
                cause: OpenCause::Faults,
                ..
            } | BreakerState::HalfOpen {
                cause: OpenCause::Faults,
                ..
            }
        );
        if !outage {
            return Ok(self.pass(Class::Write, false, false));
        }
        self.admitted(&mut inner, Class::Write, false)
    }

    fn admitted(&self, inner: &mut Inner, class: Class, metered: bool) -> Result<Pass, Refused> {
        let now = Instant::now();
        let probe = match inner.breaker.admit(class, now) {
            Admission::Free => false,
            Admission::Probe => true,
            Admission::Refused { until } => return Err(Refused::Open { until }),
        };
        Ok(self.pass(class, metered, probe))
    }

    fn pass(&self, class: Class, metered: bool, probe: bool) -> Pass {
        if class == Class::Write {
            self.shutdown.took_off();
        }
        Pass {
            class,
            metered,
            sent_at: Instant::now(),
            probe,
        }
    }

    /// Every pass comes back with how its request ended.
    pub fn report(&self, pass: Pass, verdict: Verdict) {
        if pass.class == Class::Write {
            self.shutdown.landed();
        }
        let mut inner = self.lock();
        let now = Instant::now();
        let mut grown = false;
        let outcome = match verdict {
            Verdict::Answered => {
                if pass.metered {
                    inner.limiter.accepted(pass.class, now);
                }
                grown = inner.ramp.succeeded();
                RequestOutcome::Good
            }
            Verdict::RateLimited { delay } => {
                inner.throttled += 1;
                let new = inner.limiter.limited(pass.class, pass.sent_at, delay, now);
                if !new && !pass.probe {
                    return;
                }
                RequestOutcome::Limit(delay)
            }
            Verdict::Fault { delay } => RequestOutcome::Fault(delay),
        };
        let opened = match pass.probe {
            true => inner.breaker.probed(outcome, now),
            false => inner.breaker.record(outcome, now),
        };
        if opened {
            inner.ramp.breaker_opened();
        }
        drop(inner);
        if grown {
            self.freed.notify_all();
        }
    }

    /// The wait between two tries; `false` if the run is stopping.
    pub fn sleep(&self, how_long: Duration) -> bool {
        self.shutdown.sleep(how_long)
    }

    /// Blocks until one more worker may be busy; `None` once the run stops.
    pub fn job_slot(&self) -> Option<Slot<'_>> {
        let mut inner = self.lock();
        loop {
            if self.shutdown.is_stopping() {
                return None;
            }
            if inner.busy < inner.ramp.allowed() {
                inner.busy += 1;
                return Some(Slot(self));
            }
            inner = poison::wait(&self.freed, inner, STOP_CHECK);
        }
    }

    /// Until when the breaker refuses writes; `None` if it does not.
    pub fn skip_until(&self) -> Option<Instant> {
        self.lock().breaker.refuses(Class::Write, Instant::now())
    }

    /// Whether files may start.
    pub fn starts(&self) -> Starts {
        let inner = self.lock();
        match inner.breaker.state() {
            BreakerState::Closed => Starts::Free,
            BreakerState::Open { until, .. } if Instant::now() < until => Starts::Refused,
            BreakerState::Open { .. } | BreakerState::HalfOpen { .. } => Starts::OneAtATime,
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        let now = Instant::now();
        let state = inner.breaker.state();
        let breaker_pause = match state {
            BreakerState::Open { cause, until } => Some((why(cause), until)),
            BreakerState::Closed | BreakerState::HalfOpen { .. } => None,
        };
        let limiter_pause = inner.limiter.paused_until(Class::Write);
        let limiter_pause = limiter_pause.map(|until| (PauseReason::Limit, until));
        Snapshot {
            state,
            paused: breaker_pause
                .or(limiter_pause)
                .filter(|(_, until)| *until > now),
            rate_per_min: inner.limiter.per_minute(Class::Write),
            concurrency: inner.ramp.allowed(),
            waited: inner.waited,
            throttled: inner.throttled,
        }
    }

    /// What a later run may start from.
    pub fn peaks(&self) -> Peaks {
        self.lock().limiter.peaks()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        poison::lock(&self.inner)
    }
}

fn why(cause: OpenCause) -> PauseReason {
    match cause {
        OpenCause::Limits => PauseReason::Limits,
        OpenCause::Faults => PauseReason::Outage,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rpm;
    use super::*;
    use crate::shutdown::Stop;
    use crate::waits::Waits;

    fn gate(concurrency: usize) -> (Gate, Arc<Shutdown>) {
        let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
        let settings = GateSettings {
            rpm: Rpm::Unlimited,
            concurrency,
            peaks: Peaks::default(),
            waits: Waits::default(),
        };
        (Gate::new(settings, Arc::clone(&shutdown)), shutdown)
    }

    fn fault(gate: &Gate) {
        let pass = gate.enter(Class::Write).unwrap();
        gate.report(pass, Verdict::Fault { delay: None });
    }

    #[test]
    fn an_outage_refuses_everything_and_is_said() {
        let (gate, _) = gate(4);
        for _ in 0..5 {
            fault(&gate);
        }
        assert!(matches!(gate.enter(Class::Read), Err(Refused::Open { .. })));
        assert!(matches!(gate.enter_body(), Err(Refused::Open { .. })));
        assert!(gate.skip_until().is_some());
        let snapshot = gate.snapshot();
        assert_eq!(snapshot.state.as_str(), "open");
        assert_eq!(snapshot.paused.unwrap().0, PauseReason::Outage);
    }

    #[test]
    fn no_more_workers_are_busy_than_the_ramp_allows() {
        let (gate, shutdown) = gate(2);
        let first = gate.job_slot().unwrap();
        let _second = gate.job_slot().unwrap();
        std::thread::scope(|scope| {
            let third = scope.spawn(|| gate.job_slot().is_some());
            drop(first);
            assert!(third.join().unwrap());
        });
        shutdown.stop(Stop::Error);
        assert!(gate.job_slot().is_none());
    }

    #[test]
    fn a_stop_ends_reads_at_once_and_writes_after_the_grace_period() {
        let shutdown = Arc::new(Shutdown::new(Duration::from_secs(3600)));
        let settings = GateSettings {
            rpm: Rpm::Unlimited,
            concurrency: 1,
            peaks: Peaks::default(),
            waits: Waits::default(),
        };
        let gate = Gate::new(settings, Arc::clone(&shutdown));
        let body = gate.enter_body().unwrap();
        let read = gate.enter(Class::Read).unwrap();
        shutdown.stop(Stop::Interrupt);
        assert_eq!(shutdown.in_flight(), 1);
        assert_eq!(gate.enter(Class::Read).unwrap_err(), Refused::Stopping);
        let write = gate.enter(Class::Write).unwrap();
        for pass in [body, read, write] {
            gate.report(pass, Verdict::Answered);
        }
        assert_eq!(shutdown.in_flight(), 0);
    }

    #[test]
    fn after_the_end_nothing_is_sent() {
        let (gate, shutdown) = gate(2);
        shutdown.stop(Stop::Interrupt);
        assert_eq!(gate.enter(Class::Write).unwrap_err(), Refused::Stopping);
        assert_eq!(gate.enter_body().unwrap_err(), Refused::Stopping);
    }
}
