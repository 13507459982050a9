//! How many workers may be busy: up quickly at first, then slowly, and down when the breaker opens.
//!
//! Pure: the time comes from outside.

use std::time::{Duration, Instant};

use super::Concurrency;

/// An open breaker never leaves less (unless the ceiling is lower).
const FLOOR: usize = 3;
const START: usize = 2;
/// After the quick start, and after trouble: successes for one more.
const SUCCESSES_PER_STEP: usize = 20;
/// Where a round trip is so slow that this takes long, one more after every two seconds, once all that may be busy have
/// succeeded.
const STEP_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Ramp {
    ceiling: usize,
    /// One more for each success up to here, as in TCP's slow start.
    quickly_up_to: usize,
    allowed: usize,
    successes: usize,
    /// When there was one more, last.
    stepped_at: Option<Instant>,
    /// No trouble yet.
    starting: bool,
}

impl Ramp {
    pub fn new(concurrency: Concurrency) -> Ramp {
        let ceiling = concurrency.ceiling();
        Ramp {
            ceiling,
            quickly_up_to: concurrency.quickly_up_to(),
            allowed: START.min(ceiling),
            successes: 0,
            stepped_at: None,
            starting: true,
        }
    }

    pub fn allowed(&self) -> usize {
        self.allowed
    }

    /// Says whether more are allowed now.
    pub fn succeeded(&mut self, now: Instant) -> bool {
        if self.allowed >= self.ceiling {
            return false;
        }
        self.successes += 1;
        let since = *self.stepped_at.get_or_insert(now);
        let is_long_ago = now.saturating_duration_since(since) >= STEP_AFTER;
        let quickly = self.starting && self.allowed < self.quickly_up_to;
        let slowly = is_long_ago && self.successes >= self.allowed;
        if !quickly && !slowly && self.successes < SUCCESSES_PER_STEP {
            return false;
        }
        self.successes = 0;
        self.stepped_at = Some(now);
        self.allowed += 1;
        true
    }

    pub fn breaker_opened(&mut self) {
        let floor = FLOOR.min(self.ceiling);
        self.allowed = (self.allowed / 2).max(floor);
        self.starting = false;
        self.successes = 0;
        self.stepped_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_up_quickly_and_then_slowly() {
        let now = Instant::now();
        let mut ramp = Ramp::new(Concurrency::Default);
        let at = |ramp: &mut Ramp, more: usize| {
            for _ in 0..more {
                ramp.succeeded(now);
            }
            ramp.allowed()
        };
        assert_eq!(at(&mut ramp, 2), Concurrency::QUICKLY_UP_TO);
        assert_eq!(
            at(&mut ramp, SUCCESSES_PER_STEP - 1),
            Concurrency::QUICKLY_UP_TO
        );
        assert_eq!(at(&mut ramp, 1), Concurrency::QUICKLY_UP_TO + 1);
        assert_eq!(at(&mut ramp, 1000), Concurrency::DEFAULT);
    }

    #[test]
    fn a_number_that_was_asked_for_is_reached_at_once() {
        let mut ramp = Ramp::new(Concurrency::Asked(32));
        let now = Instant::now();
        let steps = (0..30).filter(|_| ramp.succeeded(now)).count();
        assert_eq!((steps, ramp.allowed()), (30, 32));
    }

    #[test]
    fn an_open_breaker_halves_but_not_below_three_or_the_ceiling() {
        let now = Instant::now();
        for (ceiling, after) in [(1, 1), (2, 2), (7, 3), (8, 4), (100, 50)] {
            let mut ramp = Ramp::new(Concurrency::Asked(ceiling));
            for _ in 0..10_000 {
                ramp.succeeded(now);
            }
            ramp.breaker_opened();
            assert_eq!(ramp.allowed(), after, "ceiling {ceiling}");
        }
    }

    #[test]
    fn at_a_second_a_request_it_adds_one_every_two_seconds() {
        let mut now = Instant::now();
        let mut ramp = Ramp::new(Concurrency::Asked(16));
        for _ in 0..14 {
            for _ in 0..ramp.allowed() {
                ramp.succeeded(now);
            }
            now += STEP_AFTER;
        }
        assert_eq!(ramp.allowed(), 16);
    }

    #[test]
    fn a_slow_step_waits_for_all_that_may_be_busy() {
        let now = Instant::now();
        let mut ramp = Ramp::new(Concurrency::Default);
        for _ in START..Concurrency::QUICKLY_UP_TO {
            ramp.succeeded(now);
        }
        let steps = [0; Concurrency::QUICKLY_UP_TO].map(|_| ramp.succeeded(now + STEP_AFTER));
        assert_eq!(steps, [false, false, false, true]);
    }

    #[test]
    fn recovery_adds_one_in_twenty() {
        let now = Instant::now();
        let mut ramp = Ramp::new(Concurrency::Asked(6));
        for _ in 0..10 {
            ramp.succeeded(now);
        }
        ramp.breaker_opened();
        let steps = (0..40).filter(|_| ramp.succeeded(now)).count();
        assert_eq!((steps, ramp.allowed()), (2, 5));
    }
}
