//! When to look at an operation, given how long the others of this run took.
//!
//! So that the first look mostly finds it over: the target is close to one poll a file. Learns in
//! generations: only operations submitted since the estimate last moved were scheduled by it, so only
//! they say whether it is good; hundreds may be under way that an older one scheduled. Pure: the time
//! comes from outside.

use std::time::{Duration, Instant};

use crate::waits::Waits;

#[derive(Debug)]
pub struct Schedule {
    waits: Waits,
    /// When the first look is due; meant to be past the 85th percentile.
    typical: Duration,
    /// The highest estimate that turned out too low.
    too_low: Duration,
    /// When the estimate last moved.
    since: Option<Instant>,
    /// How long the operations of this generation took, and how many were over at the first look.
    took: Vec<Duration>,
    hits: usize,
    /// Looks that found an operation running that should long have been over.
    overdue: u32,
    /// Good generations in a row.
    calm: u32,
}

/// Operations that judge an estimate.
const GENERATION: usize = 16;
/// Share of operations that should be over at the first look.
const FIRST_LOOK_HITS: f64 = 0.85;
/// Running so far beyond the estimate, so often: it is too low, and nobody waits for the end to say so.
const OVERDUE: f64 = 1.5;
const OVERDUE_MAX: u32 = 4;
/// How a good estimate is lowered: by this much while no bound is known, else half way to the bound,
/// unless that is hardly a step.
const LOWER: f64 = 0.5;
const STEP_LEAST: f64 = 0.93;
/// After so many good generations, and twice as many times its length, the bound itself is lowered: a
/// service may become faster.
const CALM: u32 = 16;
const FORGET: f64 = 0.8;
/// Nothing is known before the first operations of a run have ended.
const TYPICAL_START: Duration = Duration::from_millis(500);
const TYPICAL_MIN: Duration = Duration::from_millis(2);
const TYPICAL_MAX: Duration = Duration::from_secs(120);
/// The original polled every 5 s; a slow operation is looked at no less often than every 30 s.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);

impl Schedule {
    pub fn new(waits: Waits) -> Schedule {
        Schedule {
            waits,
            typical: TYPICAL_START,
            too_low: Duration::ZERO,
            since: None,
            took: Vec::with_capacity(GENERATION),
            hits: 0,
            overdue: 0,
            calm: 0,
        }
    }

    pub fn first_look(&self, submitted: Instant) -> Instant {
        submitted + self.waits.scaled(self.typical)
    }

    /// Still running at so many looks: a quarter of the typical time, then doubling.
    pub fn next_look(&self, running: u32, now: Instant) -> Instant {
        let base = (self.typical / 4).max(TYPICAL_MIN);
        let factor = 1u32 << running.saturating_sub(1).min(16);
        now + self
            .waits
            .scaled(base.saturating_mul(factor).min(LOOK_EVERY_MAX))
    }

    /// A look found it running.
    pub fn seen_running(&mut self, submitted: Instant, now: Instant) {
        let age = now.saturating_duration_since(submitted);
        if age < self.typical.mul_f64(OVERDUE) {
            return;
        }
        self.overdue += 1;
        if self.overdue >= OVERDUE_MAX {
            self.too_low = self.typical;
            self.calm = 0;
            self.set(self.typical.mul_f64(OVERDUE), now);
        }
    }

    /// A look found it over; `hit`: the first one. Looks without an answer teach nothing: they would
    /// make an outage look like slowness.
    pub fn finished(&mut self, submitted: Instant, hit: bool, now: Instant) {
        if self.since.is_some_and(|since| submitted < since) {
            return;
        }
        self.took.push(now.saturating_duration_since(submitted));
        self.hits += usize::from(hit);
        if self.took.len() == GENERATION {
            self.judge(now);
        }
    }

    fn judge(&mut self, now: Instant) {
        if (self.hits as f64) < FIRST_LOOK_HITS * GENERATION as f64 {
            self.took.sort();
            let wanted = self.took[(FIRST_LOOK_HITS * GENERATION as f64) as usize];
            self.too_low = self.typical;
            self.calm = 0;
            return self.set(wanted.max(self.typical), now);
        }
        self.calm += 1;
        let held = self.since.map_or(Duration::ZERO, |since| now - since);
        if self.calm >= CALM && held >= self.typical * (2 * CALM) {
            self.calm = 0;
            self.too_low = self.too_low.mul_f64(FORGET);
        }
        let lower = match self.too_low.is_zero() {
            true => self.typical.mul_f64(LOWER),
            false => {
                let seconds = self.too_low.as_secs_f64() * self.typical.as_secs_f64();
                Duration::from_secs_f64(seconds.sqrt())
            }
        };
        match lower < self.typical.mul_f64(STEP_LEAST) {
            true => self.set(lower, now),
            false => self.begin_generation(),
        }
    }

    fn set(&mut self, typical: Duration, now: Instant) {
        self.typical = typical.clamp(TYPICAL_MIN, TYPICAL_MAX);
        self.since = Some(now);
        self.begin_generation();
    }

    fn begin_generation(&mut self) {
        self.took.clear();
        self.hits = 0;
        self.overdue = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    /// When, of which submission, how long it takes, and how many looks found it running so far; none
    /// before it is submitted.
    type Look = (Instant, Instant, Duration, Option<u32>);

    /// Looks a file, and lateness as a multiple of an operation's own time, of the second half of
    /// `files` operations; `under_way` of them at any time.
    fn simulate(files: u32, under_way: u32, mut draw: impl FnMut() -> Duration) -> (f64, f64) {
        let start = Instant::now();
        let gap = draw() / under_way;
        let mut schedule = Schedule::new(Waits::default());
        let mut events: BinaryHeap<Reverse<Look>> = (0..files)
            .map(|i| {
                let submitted = start + gap * i;
                Reverse((submitted, submitted, draw(), None))
            })
            .collect();
        let (mut looks, mut late, mut counted) = (0, 0.0, 0);
        while let Some(Reverse((now, submitted, took, running))) = events.pop() {
            let Some(running) = running else {
                let due = schedule.first_look(submitted);
                events.push(Reverse((due, submitted, took, Some(0))));
                continue;
            };
            let late_half = submitted >= start + gap * (files / 2);
            looks += u32::from(late_half);
            if now < submitted + took {
                schedule.seen_running(submitted, now);
                let next = schedule.next_look(running + 1, now);
                events.push(Reverse((next, submitted, took, Some(running + 1))));
            } else {
                schedule.finished(submitted, running == 0, now);
                if late_half {
                    late += (now - submitted).as_secs_f64() / took.as_secs_f64() - 1.0;
                    counted += 1;
                }
            }
        }
        let counted = f64::from(counted);
        (f64::from(looks) / counted, late / counted)
    }

    #[test]
    fn steady_operations_need_little_more_than_one_look() {
        for seconds in [0.01, 0.05, 0.3, 1.0, 8.0, 60.0] {
            for under_way in [1, 10, 100, 1000] {
                let mut rng = fastrand::Rng::with_seed(1);
                let draw = || Duration::from_secs_f64(seconds * (0.95 + 0.1 * rng.f64()));
                // Long enough that the second half knows better than the start value.
                let files = (5.0 / seconds * f64::from(under_way)) as u32;
                let files = files + 40 * under_way + 2000;
                let (looks, late) = simulate(files, under_way, draw);
                let case = format!("{seconds} s, {under_way} under way: {looks:.2} {late:.2}");
                println!("{case}");
                assert!(looks <= 1.3, "{case}");
                assert!(late <= 0.5, "{case}");
            }
        }
    }

    #[test]
    fn operations_that_vary_tenfold_need_less_than_two_looks() {
        for seed in 0..20 {
            for under_way in [1, 30, 300] {
                let mut rng = fastrand::Rng::with_seed(seed);
                let draw = || Duration::from_secs_f64(1.0 + 9.0 * rng.f64());
                let (looks, late) = simulate(40 * under_way + 2000, under_way, draw);
                assert!(looks <= 2.0, "seed {seed}, {under_way} under way: {looks}");
                assert!(late <= 2.5, "seed {seed}, {under_way} under way: {late}");
            }
        }
    }

    #[test]
    fn looks_get_rarer_but_never_rarer_than_the_cap() {
        let now = Instant::now();
        let schedule = Schedule::new(Waits::default());
        let mut before = Duration::ZERO;
        for running in 1..40 {
            let wait = schedule.next_look(running, now) - now;
            assert!(wait >= before && wait <= LOOK_EVERY_MAX);
            before = wait;
        }
        assert_eq!(before, LOOK_EVERY_MAX);
    }

    const MS: Duration = Duration::from_millis(1);

    fn typical(schedule: &Schedule) -> Duration {
        let now = Instant::now();
        schedule.first_look(now) - now
    }

    /// One generation of operations that were submitted and are over at these times; `hits` of them were so
    /// at the first look.
    fn generation(
        schedule: &mut Schedule,
        now: Instant,
        took: &[Duration; GENERATION],
        hits: usize,
    ) {
        for (i, took) in took.iter().enumerate() {
            schedule.finished(now, i < hits, now + *took);
        }
    }

    fn good(schedule: &mut Schedule, now: Instant) {
        generation(schedule, now, &[Duration::ZERO; GENERATION], GENERATION);
    }

    /// Whose estimate has just turned out too low, and to be right all the same: nothing moves it now.
    fn settled(now: Instant) -> Schedule {
        let mut schedule = Schedule::new(Waits::default());
        generation(&mut schedule, now, &[Duration::ZERO; GENERATION], 0);
        assert_eq!(typical(&schedule), TYPICAL_START);
        schedule
    }

    fn is_about(a: Duration, b: Duration) -> bool {
        a.abs_diff(b) < Duration::from_micros(10)
    }

    #[test]
    fn looks_double_from_a_quarter_of_the_estimate() {
        let now = Instant::now();
        let schedule = Schedule::new(Waits::default());
        let waits: Vec<_> = (1..=4).map(|n| schedule.next_look(n, now) - now).collect();
        assert_eq!(waits, [125 * MS, 250 * MS, 500 * MS, 1000 * MS]);
    }

    #[test]
    fn four_looks_at_half_as_long_again_raise_the_estimate() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Waits::default());
        for _ in 0..10 {
            schedule.seen_running(now, now + 750 * MS - Duration::from_nanos(1));
        }
        for raised in [750 * MS, 1125 * MS] {
            let long = typical(&schedule).mul_f64(1.5);
            for _ in 0..3 {
                schedule.seen_running(now, now + long);
                assert!(typical(&schedule) < raised);
            }
            schedule.seen_running(now, now + long);
            assert_eq!(typical(&schedule), raised);
        }
    }

    #[test]
    fn the_estimate_stays_within_its_bounds() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Waits::default());
        for _ in 0..20 {
            good(&mut schedule, now);
        }
        assert_eq!(typical(&schedule), TYPICAL_MIN);
        let mut schedule = Schedule::new(Waits::default());
        for _ in 0..100 {
            schedule.seen_running(now, now + 1000 * TYPICAL_MAX);
        }
        assert_eq!(typical(&schedule), TYPICAL_MAX);
    }

    #[test]
    fn fourteen_hits_of_sixteen_are_good_and_thirteen_are_not() {
        let now = Instant::now();
        // The 14th of 16 is past the 85th percentile.
        let took = std::array::from_fn(|i| Duration::from_secs(i as u64));
        let mut schedule = Schedule::new(Waits::default());
        generation(&mut schedule, now, &took, 14);
        assert_eq!(typical(&schedule), TYPICAL_START / 2);
        let mut schedule = Schedule::new(Waits::default());
        generation(&mut schedule, now, &took, 13);
        assert_eq!(typical(&schedule), Duration::from_secs(13));
    }

    #[test]
    fn fifteen_operations_judge_nothing() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Waits::default());
        for _ in 0..GENERATION - 1 {
            schedule.finished(now, true, now);
        }
        assert_eq!(typical(&schedule), TYPICAL_START);
        schedule.finished(now, true, now);
        assert_eq!(typical(&schedule), TYPICAL_START / 2);
    }

    #[test]
    fn only_operations_that_the_estimate_scheduled_judge_it() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Waits::default());
        let later = now + Duration::from_secs(9);
        good(&mut schedule, later);
        let lowered = TYPICAL_START / 2;
        assert_eq!(typical(&schedule), lowered);
        for _ in 0..3 * GENERATION {
            schedule.finished(later - Duration::from_nanos(1), true, later);
        }
        assert_eq!(typical(&schedule), lowered);
        good(&mut schedule, later);
        assert_eq!(typical(&schedule), lowered / 2);
    }

    #[test]
    fn above_a_bound_it_is_lowered_half_way_to_it_until_that_is_hardly_a_step() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Waits::default());
        generation(&mut schedule, now, &[1000 * MS; GENERATION], 0);
        assert_eq!(typical(&schedule), 1000 * MS);
        let mut now = now + Duration::from_secs(1);
        // The bound is half a second; the mean is the geometric one.
        for expected in [707_107, 594_604, 545_254, 545_254] {
            good(&mut schedule, now);
            let expected = Duration::from_micros(expected);
            assert!(
                is_about(typical(&schedule), expected),
                "{:?}",
                typical(&schedule)
            );
            now += MS;
        }
    }

    #[test]
    fn after_sixteen_good_generations_the_bound_itself_is_lowered() {
        let now = Instant::now();
        let mut schedule = settled(now);
        let long_after = now + Duration::from_secs(3600);
        for _ in 0..15 {
            good(&mut schedule, long_after);
            assert_eq!(typical(&schedule), TYPICAL_START);
        }
        good(&mut schedule, long_after);
        // Half way, geometrically, to four fifths.
        let lowered = Duration::from_micros(447_214);
        assert!(is_about(typical(&schedule), lowered));
    }

    #[test]
    fn nor_is_it_before_thirty_two_times_its_length() {
        let now = Instant::now();
        let mut schedule = settled(now);
        let enough = now + 32 * TYPICAL_START;
        for _ in 0..100 {
            good(&mut schedule, enough - MS);
            assert_eq!(typical(&schedule), TYPICAL_START);
        }
        good(&mut schedule, enough);
        assert!(typical(&schedule) < TYPICAL_START);
    }
}
