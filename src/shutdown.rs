//! The one flag that stops a run, and the sleeps that it ends early.
//!
//! Owns the stop request and its time. Whatever waits, waits here: work that may be dropped at once
//! (`sleep`) ends at the first signal, a transfer in flight (`sleep_in_grace`) when the grace period
//! is over.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::poison;

/// Why the run stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT.
    Interrupt,
    /// SIGTERM or SIGHUP.
    Terminate,
    /// An error; `run` knows which.
    Error,
}

/// Shared by every thread of a run.
#[derive(Debug)]
pub struct Shutdown {
    grace: Duration,
    stop: Mutex<Option<(Stop, Instant)>>,
    changed: Condvar,
}

impl Shutdown {
    /// `grace`: how long a transfer in flight may go on after the stop was asked for.
    pub fn new(grace: Duration) -> Shutdown {
        Shutdown {
            grace,
            stop: Mutex::new(None),
            changed: Condvar::new(),
        }
    }

    /// No new file starts from here on. The first reason is kept.
    pub fn stop(&self, reason: Stop) {
        self.lock().get_or_insert((reason, Instant::now()));
        self.changed.notify_all();
    }

    pub fn reason(&self) -> Option<Stop> {
        self.lock().map(|(reason, _)| reason)
    }

    pub fn is_stopping(&self) -> bool {
        self.lock().is_some()
    }

    /// The grace period is over (after an error there is none): transfers stop where they are.
    pub fn is_over(&self) -> bool {
        self.end().is_some_and(|end| end <= Instant::now())
    }

    /// Ends early and answers `false` if a stop is asked for.
    pub fn sleep(&self, how_long: Duration) -> bool {
        self.wait(how_long, |stop| stop.map(|(_, since)| since))
    }

    /// Ends early and answers `false` once the grace period is over.
    pub fn sleep_in_grace(&self, how_long: Duration) -> bool {
        let grace = self.grace;
        self.wait(how_long, |stop| stop.map(|stop| end_of(stop, grace)))
    }

    fn end(&self) -> Option<Instant> {
        self.lock().map(|stop| end_of(stop, self.grace))
    }

    fn wait(
        &self,
        how_long: Duration,
        ends: impl Fn(Option<(Stop, Instant)>) -> Option<Instant>,
    ) -> bool {
        let until = Instant::now() + how_long;
        let mut stop = self.lock();
        loop {
            let now = Instant::now();
            let end = ends(*stop);
            if end.is_some_and(|end| end <= now) {
                return false;
            }
            if until <= now {
                return true;
            }
            let next = end.map_or(until, |end| end.min(until));
            stop = poison::wait(&self.changed, stop, next - now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Stop, Instant)>> {
        poison::lock(&self.stop)
    }
}

fn end_of((reason, since): (Stop, Instant), grace: Duration) -> Instant {
    match reason {
        Stop::Interrupt | Stop::Terminate => since + grace,
        Stop::Error => since,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_stop_ends_a_sleep_and_keeps_its_first_reason() {
        let shutdown = Shutdown::new(HOUR);
        shutdown.stop(Stop::Interrupt);
        shutdown.stop(Stop::Error);
        assert!(!shutdown.sleep(HOUR));
        assert_eq!(shutdown.reason(), Some(Stop::Interrupt));
    }

    #[test]
    fn a_transfer_goes_on_within_the_grace_period() {
        let shutdown = Shutdown::new(HOUR);
        shutdown.stop(Stop::Terminate);
        assert!(shutdown.sleep_in_grace(Duration::ZERO));
        assert!(!shutdown.is_over());
    }

    #[test]
    fn after_an_error_nothing_goes_on() {
        let shutdown = Shutdown::new(HOUR);
        shutdown.stop(Stop::Error);
        assert!(shutdown.is_over());
        assert!(!shutdown.sleep_in_grace(HOUR));
    }
}
