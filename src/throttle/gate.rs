//! The one door of every request: asks for its turn, waits for it, and hears how it ended.
//!
//! Owns the throttle behind one mutex that is never held across a wait or a request. Promises: whoever waits
//! here is woken by the end of the run; once the run stops no read begins, and once its grace period is over
//! nothing does.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::breaker::BreakerState;
pub use super::core::{Pass, Starts, Verdict};
use super::core::{Throttle, Turn};
use super::{Class, GateSettings, Paces, Peaks};
use crate::poison;
use crate::shutdown::Shutdown;

/// How often a waiting worker looks whether the run is stopping.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// Why a request may not be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The breaker is open; asking again makes sense from then on.
    Open { until: Instant },
    /// The run is over.
    Stopping,
}

/// Why nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseReason {
    /// The service said 429.
    Limit,
    /// The service fails.
    Outage,
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PauseReason::Limit => "the service refuses more requests for now",
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
    /// How long the breaker has been open, and writes were refused because none was granted.
    pub outage: Duration,
    pub shut: Duration,
}

#[derive(Debug)]
struct Inner {
    throttle: Throttle,
    busy: usize,
    /// More than may ever be busy, for a probe.
    concurrency: usize,
    waited: Duration,
}

#[derive(Debug)]
pub struct Gate {
    inner: Mutex<Inner>,
    /// Somebody who waits may go on.
    changed: Condvar,
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
        self.0.changed.notify_all();
    }
}

impl Gate {
    pub fn new(settings: GateSettings, shutdown: Arc<Shutdown>) -> Gate {
        Gate {
            inner: Mutex::new(Inner {
                throttle: Throttle::new(settings, Instant::now()),
                busy: 0,
                concurrency: settings.concurrency.ceiling(),
                waited: Duration::ZERO,
            }),
            changed: Condvar::new(),
            shutdown,
        }
    }

    /// Waits for this request's turn.
    pub fn enter(&self, class: Class) -> Result<Pass, Refused> {
        let began = Instant::now();
        let mut inner = self.lock();
        loop {
            let now = Instant::now();
            if self.cuts_off(class) {
                return Err(Refused::Stopping);
            }
            match inner.throttle.enter(class, now) {
                Turn::Now(pass) => {
                    inner.waited += now - began;
                    if class == Class::Write {
                        self.shutdown.took_off();
                    }
                    return Ok(pass);
                }
                Turn::Refused(until) => return Err(Refused::Open { until }),
                // Nothing waits for its turn once the run stops: what is in flight needs none.
                Turn::Later(_) if self.shutdown.is_stopping() => return Err(Refused::Stopping),
                Turn::Later(at) => {
                    let wait = at.saturating_duration_since(now).min(STOP_CHECK);
                    inner = poison::wait(&self.changed, inner, wait);
                }
            }
        }
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

    /// Every pass comes back with how its request ended.
    pub fn report(&self, pass: Pass, verdict: Verdict) {
        if pass.class() == Class::Write {
            self.shutdown.landed();
        }
        let freed = self.lock().throttle.report(&pass, verdict, Instant::now());
        if freed {
            self.changed.notify_all();
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
            // Those who are busy may be so for long, and a probe must not wait for them.
            let may_be_busy = match inner.throttle.wants_probe(Instant::now()) {
                true => inner.concurrency,
                false => inner.throttle.concurrency(),
            };
            if inner.busy < may_be_busy {
                inner.busy += 1;
                return Some(Slot(self));
            }
            inner = poison::wait(&self.changed, inner, STOP_CHECK);
        }
    }

    /// Until when writes are refused; `None` if they are not.
    pub fn skip_until(&self) -> Option<Instant> {
        self.lock().throttle.refuses(Class::Write, Instant::now())
    }

    /// Whether files may start.
    pub fn starts(&self) -> Starts {
        self.lock().throttle.starts(Instant::now())
    }

    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        let now = Instant::now();
        let throttle = &inner.throttle;
        let writes = throttle.limiter().writes();
        let limited = writes.paused_until().filter(|until| *until > now);
        let state = match (throttle.breaker(), limited) {
            // To whoever reads events it is the same: files go back to the queue.
            (BreakerState::Closed, Some(until)) if writes.is_shut(now) => {
                BreakerState::Open { until }
            }
            (state, _) => state,
        };
        let paused = match (throttle.breaker(), limited) {
            (BreakerState::Open { until }, _) => Some((PauseReason::Outage, until)),
            (_, limited) => limited.map(|until| (PauseReason::Limit, until)),
        };
        Snapshot {
            state,
            paused: paused.filter(|(_, until)| *until > now),
            rate_per_min: writes.per_minute(now),
            concurrency: throttle.concurrency(),
            waited: inner.waited,
            throttled: throttle.throttled(),
            outage: throttle.outage(now),
            shut: throttle.shut(now),
        }
    }

    pub fn paces(&self) -> Paces {
        self.lock().throttle.limiter().paces(Instant::now())
    }

    /// What a later run may start from.
    pub fn peaks(&self) -> Peaks {
        self.lock().throttle.peaks()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        poison::lock(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Concurrency, Rpm};
    use super::*;
    use crate::shutdown::Stop;
    use crate::waits::Waits;

    fn gate(concurrency: usize) -> (Gate, Arc<Shutdown>) {
        let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
        let settings = GateSettings {
            rpm: Rpm::Unlimited,
            concurrency: Concurrency::Asked(concurrency),
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
            concurrency: Concurrency::Asked(1),
            peaks: Peaks::default(),
            waits: Waits::default(),
        };
        let gate = Gate::new(settings, Arc::clone(&shutdown));
        let body = gate.enter(Class::Write).unwrap();
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
    }
}
