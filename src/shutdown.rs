//! The one flag that stops a run, what it interrupts, and the sleeps that it ends early.
//!
//! Owns the stop request, its time, the first error that stopped a run from outside of it, and the count of
//! the requests that the grace period is for. Work that may be dropped at once (`sleep`) ends at the first
//! signal, a transfer in flight (`sleep_in_grace`) when the grace period is over; who blocks where no flag
//! is seen, in the network, leaves an act here that wakes it (`when_stopped`, `when_over`).

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};
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

type Act = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    stop: Option<(Stop, Instant)>,
    error: Option<Error>,
    when_stopped: Vec<Act>,
    when_over: Vec<Act>,
}

/// Shared by every thread of a run.
pub struct Shutdown {
    grace: Duration,
    state: Mutex<State>,
    changed: Condvar,
    in_flight: AtomicUsize,
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stop = self.lock().stop;
        f.debug_struct("Shutdown").field("stop", &stop).finish()
    }
}

impl Shutdown {
    /// `grace`: how long a transfer in flight may go on after the stop was asked for.
    pub fn new(grace: Duration) -> Shutdown {
        Shutdown {
            grace,
            state: Mutex::default(),
            changed: Condvar::new(),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// No new file starts from here on. The first reason is kept.
    pub fn stop(&self, reason: Stop) {
        let mut state = self.lock();
        state.stop.get_or_insert((reason, Instant::now()));
        let acts = std::mem::take(&mut state.when_stopped);
        drop(state);
        self.changed.notify_all();
        // Not under the lock: what an act wakes may ask why.
        acts.into_iter().for_each(|act| act());
        if self.is_over() {
            self.end_grace();
        }
    }

    /// Stops the run for an error of a thread that has no other way to tell it. The first one is kept.
    pub fn fail(&self, error: Error) {
        self.lock().error.get_or_insert(error);
        self.stop(Stop::Error);
    }

    pub fn error(&self) -> Option<Error> {
        self.lock().error.clone()
    }

    pub fn reason(&self) -> Option<Stop> {
        self.lock().stop.map(|(reason, _)| reason)
    }

    /// Whether this error is only what a signal left of a request: it says nothing of the service.
    pub fn explains(&self, error: &Error) -> bool {
        let is_cut_off = matches!(
            error.kind,
            Kind::Stopped | Kind::Network | Kind::Unavailable
        );
        is_cut_off && matches!(self.reason(), Some(Stop::Interrupt | Stop::Terminate))
    }

    pub fn is_stopping(&self) -> bool {
        self.lock().stop.is_some()
    }

    /// The grace period is over (after an error there is none): transfers stop where they are.
    pub fn is_over(&self) -> bool {
        self.end().is_some_and(|end| end <= Instant::now())
    }

    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Counts a request that the grace period is for; each is given back by `landed`.
    pub fn took_off(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub fn landed(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Calls `act` once when the stop is asked for; at once if it has been.
    pub fn when_stopped(&self, act: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if state.stop.is_none() {
            return state.when_stopped.push(Box::new(act));
        }
        drop(state);
        act();
    }

    /// Calls `act` once when the grace period is over; at once if it is.
    pub fn when_over(&self, act: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        let end = state.stop.map(|stop| end_of(stop, self.grace));
        if end.is_none_or(|end| end > Instant::now()) {
            return state.when_over.push(Box::new(act));
        }
        drop(state);
        act();
    }

    /// Waits for the end of the grace period and interrupts what is still in flight. Somebody has to call it
    /// after a signal; after an error nothing is waited for, and `stop` interrupts at once.
    pub fn wait_out_grace(&self) {
        while self.sleep_in_grace(Duration::MAX) {}
        self.end_grace();
    }

    /// Interrupts what is still in flight.
    pub fn end_grace(&self) {
        let acts = std::mem::take(&mut self.lock().when_over);
        acts.into_iter().for_each(|act| act());
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
        self.lock().stop.map(|stop| end_of(stop, self.grace))
    }

    fn wait(
        &self,
        how_long: Duration,
        ends: impl Fn(Option<(Stop, Instant)>) -> Option<Instant>,
    ) -> bool {
        let began = Instant::now();
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let end = ends(state.stop);
            if end.is_some_and(|end| end <= now) {
                return false;
            }
            let left = how_long.saturating_sub(now - began);
            if left.is_zero() {
                return true;
            }
            let next = end.map_or(left, |end| left.min(end - now));
            state = poison::wait(&self.changed, state, next);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        poison::lock(&self.state)
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
    use std::sync::Arc;

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

    /// What an act that was left with a `Shutdown` did.
    fn called() -> (Arc<AtomicUsize>, impl FnOnce() + Send + 'static) {
        let calls = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&calls);
        (calls, move || {
            count.fetch_add(1, Relaxed);
        })
    }

    #[test]
    fn acts_are_called_once_at_the_stop_and_at_the_end_of_the_grace() {
        let shutdown = Shutdown::new(HOUR);
        let (at_stop, act) = called();
        shutdown.when_stopped(act);
        let (at_end, act) = called();
        shutdown.when_over(act);
        shutdown.stop(Stop::Interrupt);
        shutdown.stop(Stop::Interrupt);
        assert_eq!((at_stop.load(Relaxed), at_end.load(Relaxed)), (1, 0));
        let (late, act) = called();
        shutdown.when_stopped(act);
        assert_eq!(late.load(Relaxed), 1);
    }

    #[test]
    fn an_error_or_no_grace_interrupts_at_once() {
        for (grace, reason) in [(HOUR, Stop::Error), (Duration::ZERO, Stop::Terminate)] {
            let shutdown = Shutdown::new(grace);
            let (before, act) = called();
            shutdown.when_over(act);
            shutdown.stop(reason);
            let (after, act) = called();
            shutdown.when_over(act);
            shutdown.wait_out_grace();
            assert_eq!((before.load(Relaxed), after.load(Relaxed)), (1, 1));
        }
    }
}
