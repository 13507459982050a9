//! How many workers may be busy: starts low, doubles while all is well, falls when the breaker opens.
//!
//! Pure.

/// An open breaker never leaves less (unless the ceiling is lower).
const FLOOR: usize = 3;
const START: usize = 2;
/// After trouble: successes for one more.
const SUCCESSES_PER_STEP: usize = 20;

#[derive(Debug)]
pub struct Ramp {
    ceiling: usize,
    allowed: usize,
    successes: usize,
    /// No trouble yet: as in TCP's slow start, one more for each success.
    starting: bool,
}

impl Ramp {
    pub fn new(ceiling: usize) -> Ramp {
        Ramp {
            ceiling,
            allowed: START.min(ceiling),
            successes: 0,
            starting: true,
        }
    }

    pub fn allowed(&self) -> usize {
        self.allowed
    }

    /// Says whether more are allowed now.
    pub fn succeeded(&mut self) -> bool {
        if self.allowed >= self.ceiling {
            return false;
        }
        self.successes += 1;
        if !self.starting && self.successes < SUCCESSES_PER_STEP {
            return false;
        }
        self.successes = 0;
        self.allowed += 1;
        true
    }

    pub fn breaker_opened(&mut self) {
        let floor = FLOOR.min(self.ceiling);
        self.allowed = (self.allowed / 2).max(floor);
        self.starting = false;
        self.successes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reaches_the_ceiling_within_a_few_round_trips() {
        let mut ramp = Ramp::new(8);
        let mut round_trips = 0;
        while ramp.allowed() < 8 {
            for _ in 0..ramp.allowed() {
                ramp.succeeded();
            }
            round_trips += 1;
        }
        assert!(round_trips <= 2);
    }

    #[test]
    fn an_open_breaker_halves_but_not_below_three_or_the_ceiling() {
        for (ceiling, after) in [(1, 1), (2, 2), (7, 3), (8, 4), (100, 50)] {
            let mut ramp = Ramp::new(ceiling);
            while ramp.succeeded() {}
            ramp.breaker_opened();
            assert_eq!(ramp.allowed(), after, "ceiling {ceiling}");
        }
    }

    #[test]
    fn recovery_adds_one_in_twenty() {
        let mut ramp = Ramp::new(10);
        while ramp.succeeded() {}
        ramp.breaker_opened();
        let steps = (0..60).filter(|_| ramp.succeeded()).count();
        assert_eq!((steps, ramp.allowed()), (3, 8));
    }
}
