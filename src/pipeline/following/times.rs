//! How long operations take, and so when a look at one of them is worth its request.
//!
//! A life table, as actuaries keep it: for each of some hundred spans of age, how many operations were seen to
//! reach it, and how many of these ended within it. So operations that still run count as well, and the short
//! ones, which end first, do not pass for all. What is old counts less. Pure: ages come from outside.

use std::time::Duration;

use crate::waits::Waits;

/// Spans double in length every so many: each is 9 % longer than the one before.
const SPANS_PER_DOUBLING: usize = 8;
/// From 1 ms to more than an hour.
const SPANS: usize = 22 * SPANS_PER_DOUBLING;
/// A span remembers so many operations; then what it knows counts half.
const REMEMBERED_MAX: f64 = 256.0;
/// What is assumed of a span that nothing is known of, and its weight, in operations: that half of what reaches
/// an age is over at twice that age.
const PRIOR_HAZARD: f64 = 0.083;
const PRIOR_WEIGHT: f64 = 0.05;
/// Nothing is assumed to end sooner than this; a span begins there.
const PRIOR_FROM: Duration = Duration::from_millis(256);
/// Ends that make a table: before, looks are taken earlier, since they are what it is made of.
const KNOWN_FROM: f64 = 8.0;
/// A first look before anything is known is taken so long after the first operation may have ended.
const CURIOSITY: Duration = Duration::from_millis(250);
/// How long an operation that has ended may wait to be seen, or a tenth of its time where that is longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The shares of operations that are over at the two times of a look.
const SHARE_FIRST: f64 = 0.05;
const SHARE_MOST: f64 = 0.97;
/// However slow operations are, each is looked at no less often than this.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(120);
/// However sure its end is, so long lies between two looks.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(2);
/// As many shares are kept from one run to the next.
const KEPT: usize = 20;
/// What each of them counts then.
const KEPT_WEIGHT: usize = 2;

#[derive(Debug, Clone, Copy)]
struct Span {
    /// In seconds, as `end`.
    start: f64,
    end: f64,
    reached: f64,
    ended: f64,
}

/// When an operation that runs is looked at next, as its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextLook {
    /// It is most likely over.
    pub likely: Duration,
    /// By then it is looked at, lest one that ended early be noticed late. May lie before `likely`.
    pub latest: Duration,
}

#[derive(Debug, Clone)]
pub struct OperationTimes {
    spans: Vec<Span>,
    /// Ends that were seen.
    ends: f64,
}

impl OperationTimes {
    /// `kept`: what `kept` of an earlier run gave, in milliseconds.
    pub fn new(kept: &[u64]) -> OperationTimes {
        let mut times = OperationTimes {
            spans: (0..SPANS).map(Span::new).collect(),
            ends: 0.0,
        };
        for ms in kept.iter().take(KEPT) {
            for _ in 0..KEPT_WEIGHT {
                times.ended(Duration::ZERO, Duration::from_millis(*ms));
            }
        }
        times
    }

    /// One was seen running at the age of `from`, or was submitted then, and still runs at `to`.
    pub fn ran(&mut self, from: Duration, to: Duration) {
        for span in &mut self.spans[span_of(from)..span_of(to).max(span_of(from))] {
            span.reach();
        }
    }

    /// One that was last seen running at `from` was over at the age of `took`.
    pub fn ended(&mut self, from: Duration, took: Duration) {
        self.ran(from, took);
        let last = &mut self.spans[span_of(took.max(from))];
        last.reach();
        last.ended += 1.0;
        self.ends += 1.0;
    }

    /// The next look at an operation that was last seen running at this age.
    pub fn next_look(&self, ran_for: Duration, waits: &Waits) -> NextLook {
        let first = self.share_over(SHARE_FIRST, ran_for);
        let patience = match self.ends >= KNOWN_FROM {
            true => waits.scaled(PATIENCE).max(first / 10),
            false => waits.scaled(CURIOSITY).max(ran_for / 4),
        };
        // Before anything is known, it is a computed wait like any other.
        let first = match self.ends > 0.0 {
            true => first,
            false => ran_for + waits.scaled(first.saturating_sub(ran_for)),
        };
        let soonest = ran_for + waits.scaled(LOOK_EVERY_MIN).max(ran_for / 50);
        let cap = soonest.max(ran_for + waits.scaled(LOOK_EVERY_MAX));
        NextLook {
            likely: self.share_over(SHARE_MOST, ran_for).clamp(soonest, cap),
            latest: (first + patience).clamp(soonest, cap),
        }
    }

    /// Times that stand for all, in milliseconds; none while little is known.
    pub fn kept(&self) -> Vec<u64> {
        if self.ends < KNOWN_FROM {
            return Vec::new();
        }
        let share = |i| (i as f64 + 0.5) / KEPT as f64;
        let times = (0..KEPT).map(|i| self.share_over(share(i), Duration::ZERO));
        times
            .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
            .collect()
    }

    /// The age at which this share of those that run at `age` are over.
    fn share_over(&self, share: f64, age: Duration) -> Duration {
        let left_then = 1.0 - share;
        let mut left = 1.0;
        let age_seconds = age.as_secs_f64();
        for span in &self.spans[span_of(age)..] {
            let from = age_seconds.clamp(span.start, span.end);
            let ends = span.hazard() * (span.end - from) / (span.end - span.start);
            let next = left * (1.0 - ends);
            if next <= left_then {
                let part = (left - left_then) / (left - next);
                return Duration::from_secs_f64(from + part * (span.end - from));
            }
            left = next;
        }
        Duration::from_secs_f64(age_seconds.max(start_of(SPANS)))
    }
}

impl Span {
    fn new(number: usize) -> Span {
        Span {
            start: start_of(number),
            end: start_of(number + 1),
            reached: 0.0,
            ended: 0.0,
        }
    }

    /// The share of operations reaching it that end within it.
    fn hazard(&self) -> f64 {
        let prior = match self.start < PRIOR_FROM.as_secs_f64() {
            true => 0.0,
            false => PRIOR_HAZARD,
        };
        (self.ended + PRIOR_WEIGHT * prior) / (self.reached + PRIOR_WEIGHT)
    }

    fn reach(&mut self) {
        if self.reached >= REMEMBERED_MAX {
            self.reached /= 2.0;
            self.ended /= 2.0;
        }
        self.reached += 1.0;
    }
}

/// The span that an age lies in; ages beyond the last lie in it.
fn span_of(age: Duration) -> usize {
    let doublings = (age.as_secs_f64() * 1000.0).max(1.0).log2();
    ((doublings * SPANS_PER_DOUBLING as f64) as usize).min(SPANS - 1)
}

/// In seconds.
fn start_of(number: usize) -> f64 {
    match number {
        0 => 0.0,
        _ => (number as f64 / SPANS_PER_DOUBLING as f64).exp2() / 1000.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    /// What 2,000 operations teach, each looked at when it is due; looks a file and how late the end of an
    /// operation is seen, at the 95th percentile, of the second half.
    fn looked_at(mut draw: impl FnMut(u32) -> f64) -> (f64, f64) {
        let waits = Waits::default();
        let mut times = OperationTimes::new(&[]);
        let (mut looks, mut late) = (0, Vec::new());
        const FILES: u32 = 2000;
        for file in 0..FILES {
            let took = seconds(draw(file));
            let mut ran_for = Duration::ZERO;
            loop {
                let next = times.next_look(ran_for, &waits);
                let age = next.likely.min(next.latest);
                assert!(age > ran_for, "file {file}: {next:?} after {ran_for:?}");
                looks += u32::from(file >= FILES / 2);
                if age >= took {
                    times.ended(ran_for, took);
                    if file >= FILES / 2 {
                        late.push((age - took).as_secs_f64());
                    }
                    break;
                }
                times.ran(ran_for, age);
                ran_for = age;
            }
        }
        late.sort_by(f64::total_cmp);
        let p95 = late[late.len() * 95 / 100];
        (f64::from(looks) / f64::from(FILES / 2), p95)
    }

    #[test]
    fn steady_operations_need_one_look_at_their_end() {
        for took in [0.05, 0.2, 1.0, 10.0, 100.0] {
            let mut rng = fastrand::Rng::with_seed(7);
            let (looks, late) = looked_at(|_| took * (0.97 + 0.06 * rng.f64()));
            assert!(looks <= 1.15, "{took} s: {looks} looks");
            assert!(late <= (took / 5.0).max(0.05), "{took} s: {late} s late");
        }
        let mut rng = fastrand::Rng::with_seed(7);
        let (looks, late) = looked_at(|_| 1.5 + 0.3 * rng.f64());
        assert!(looks <= 1.15 && late <= 0.4, "{looks} looks, {late} s late");
    }

    #[test]
    fn operations_that_vary_are_seen_within_the_patience() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (looks, late) = looked_at(|_| 0.5 + 9.0 * rng.f64());
        assert!(looks <= 5.0 && late <= 1.5, "{looks} looks, {late} s late");
    }

    #[test]
    fn operations_over_two_orders_of_magnitude_are_seen_in_time() {
        // A log-normal around 3 s: from 0.3 s to 30 s within two standard deviations.
        let mut rng = fastrand::Rng::with_seed(7);
        let mut normal = || (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
        let (looks, late) = looked_at(|_| 3.0 * (1.15 * normal()).exp());
        assert!(looks <= 6.0 && late <= 3.0, "{looks} looks, {late} s late");
    }

    #[test]
    fn a_service_that_becomes_slow_is_followed() {
        let (looks, late) = looked_at(|file| if file < 900 { 0.2 } else { 10.0 });
        assert!(looks <= 1.6, "{looks} looks");
        assert!(late <= 1.5, "{late} s late");
    }

    #[test]
    fn a_service_that_becomes_fast_is_followed() {
        let (looks, late) = looked_at(|file| if file < 900 { 10.0 } else { 0.2 });
        assert!(looks <= 1.6, "{looks} looks");
        assert!(late <= 1.5, "{late} s late");
    }

    #[test]
    fn what_is_kept_tells_the_next_run_the_same() {
        let waits = Waits::default();
        let mut times = OperationTimes::new(&[]);
        assert!(times.kept().is_empty());
        for i in 0..100 {
            times.ended(Duration::ZERO, seconds(1.5 + 0.003 * f64::from(i)));
        }
        let again = OperationTimes::new(&times.kept());
        let (a, b) = (
            times.next_look(Duration::ZERO, &waits),
            again.next_look(Duration::ZERO, &waits),
        );
        let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
        assert!(
            (0.9..1.1).contains(&ratio(a.likely, b.likely)),
            "{a:?} {b:?}"
        );
        assert!(
            (0.9..1.1).contains(&ratio(a.latest, b.latest)),
            "{a:?} {b:?}"
        );
    }

    #[test]
    fn the_short_ones_do_not_pass_for_all() {
        let mut times = OperationTimes::new(&[]);
        for _ in 0..50 {
            times.ended(Duration::ZERO, seconds(0.5));
            times.ran(Duration::ZERO, seconds(5.0));
        }
        let median = times.share_over(0.45, Duration::ZERO);
        assert!(median < seconds(0.6), "{median:?}");
        let later = times.share_over(0.6, Duration::ZERO);
        assert!(later > seconds(4.0), "{later:?}");
    }

    /// As many that end at each of these ages, in seconds.
    fn that_end(at: &[f64], each: usize) -> OperationTimes {
        let mut times = OperationTimes::new(&[]);
        for _ in 0..each {
            for at in at {
                times.ended(Duration::ZERO, seconds(*at));
            }
        }
        times
    }

    fn assert_near(a: Duration, b: f64) {
        let (a, tolerance) = (a.as_secs_f64(), 0.002 * b);
        assert!((a - b).abs() < tolerance, "{a} and not {b}");
    }

    #[test]
    fn eight_spans_are_a_doubling_and_all_of_them_more_than_an_hour() {
        for (number, ms) in [(0, 1), (8, 2), (16, 4), (80, 1024)] {
            assert_eq!(span_of(Duration::from_millis(ms)), number);
            assert_eq!(span_of(Duration::from_micros(1000 * ms + 1)), number);
        }
        assert_eq!(start_of(80), 1.024);
        assert_eq!(start_of(SPANS), 4194.304);
        assert_eq!(span_of(Duration::MAX), SPANS - 1);
    }

    #[test]
    fn within_a_span_operations_end_evenly() {
        let [a, b] = [80, 96].map(|number| (start_of(number), start_of(number + 1)));
        let at = |span: (f64, f64), share: f64| span.0 + share * (span.1 - span.0);
        let times = that_end(&[at(a, 0.5), at(b, 0.5)], 100);
        let over = |share, age| times.share_over(share, seconds(age));
        // A half of them in each.
        assert_near(over(0.125, 0.0), at(a, 0.25));
        assert_near(over(0.25, 0.0), at(a, 0.5));
        assert_near(over(0.75, 0.0), at(b, 0.5));
        // Of those that still run at some age: in the first span it is a quarter now, and all later.
        assert_near(over(0.125, at(a, 0.5)), at(a, 0.75));
        assert_near(over(0.5, b.0), at(b, 0.5));
        assert_near(over(0.25, at(b, 0.5)), at(b, 0.75));
        // What is beyond all spans has not ended.
        assert_eq!(times.share_over(1.0, seconds(1e6)), seconds(1e6));
        let none = OperationTimes::new(&[]);
        assert_eq!(none.share_over(1.0, seconds(1.0)), seconds(4194.304));
    }

    #[test]
    fn where_nothing_is_known_half_of_what_runs_is_over_at_twice_the_age() {
        let none = OperationTimes::new(&[]);
        for age in [0.5, 2.0, 64.0] {
            let half = none.share_over(0.5, seconds(age)).as_secs_f64();
            assert!((1.9..2.1).contains(&(half / age)), "{age}: {half}");
        }
        // Nothing ends at once: the first span that may end something is that of 256 ms.
        let hazard = |number| Span::new(number).hazard();
        assert_eq!(hazard(63), 0.0);
        assert!((hazard(64) - PRIOR_HAZARD).abs() < 1e-9);
        let soonest = none.share_over(0.01, Duration::ZERO);
        assert!(soonest >= PRIOR_FROM && soonest < seconds(0.3));
        // Two that have ended outweigh it.
        let mut span = Span::new(80);
        span.reach();
        span.reach();
        span.ended = 1.0;
        assert!((span.hazard() - (1.0 + 0.083 * 0.05) / 2.05).abs() < 1e-9);
    }

    #[test]
    fn what_is_old_counts_half() {
        let mut span = Span::new(80);
        for _ in 0..256 {
            span.reach();
        }
        span.ended = 128.0;
        assert_eq!(span.reached, 256.0);
        span.reach();
        assert_eq!((span.reached, span.ended), (129.0, 64.0));
    }

    #[test]
    fn a_look_waits_for_the_first_that_end_and_a_patience_or_a_tenth() {
        let waits = Waits::default();
        for (took, patience) in [(1.0, 1.0), (100.0, 10.0)] {
            let times = that_end(&[took], 100);
            let next = times.next_look(Duration::ZERO, &waits);
            let first = times.share_over(SHARE_FIRST, Duration::ZERO).as_secs_f64();
            assert!((0.9..1.1).contains(&(first / took)), "{first}");
            let latest = next.latest.as_secs_f64() - first;
            assert!((latest / patience - 1.0).abs() < 0.1, "{took}: {latest}");
        }
    }

    #[test]
    fn until_eight_have_ended_looks_are_curious() {
        let waits = Waits::default();
        let times = |ends| that_end(&[1.0], ends);
        for (ends, is_known) in [(1, false), (7, false), (8, true)] {
            assert_eq!(!times(ends).kept().is_empty(), is_known);
            for (age, curiosity) in [(0.0, 0.25), (1e3, 250.0)] {
                let times = times(ends);
                let age = seconds(age);
                let first = times.share_over(SHARE_FIRST, age);
                let cap = age + LOOK_EVERY_MAX;
                let patience = match is_known {
                    true => PATIENCE.max(first / 10),
                    false => seconds(curiosity),
                };
                let latest = times.next_look(age, &waits).latest;
                assert_eq!(latest, (first + patience).min(cap), "{ends} {age:?}");
            }
        }
    }

    #[test]
    fn however_short_two_looks_are_a_fiftieth_of_its_age_apart() {
        let waits = Waits::default();
        let times = that_end(&[0.001], 100);
        assert_eq!(
            times.next_look(Duration::ZERO, &waits).likely,
            LOOK_EVERY_MIN
        );
        let beyond_all = 9000;
        let next = times.next_look(Duration::from_secs(beyond_all), &waits);
        let fiftieth = Duration::from_secs(beyond_all * 51 / 50);
        assert_eq!((next.likely, next.latest), (fiftieth, fiftieth));
    }

    /// Only until something is known: an end is as late as it is, however short waits are made.
    #[test]
    fn a_guessed_look_is_shortened_with_all_waits() {
        let tenth = Waits::divided_by(10);
        let look = |times: &OperationTimes, waits| times.next_look(seconds(1.0), waits).latest;
        let none = OperationTimes::new(&[]);
        let first = none.share_over(SHARE_FIRST, seconds(1.0)) - seconds(1.0);
        // A quarter of its age is no wait.
        assert_eq!(look(&none, &tenth), seconds(1.25) + first / 10);
        let one = that_end(&[3.0], 1);
        let first = one.share_over(SHARE_FIRST, seconds(1.0));
        assert_eq!(look(&one, &tenth), first + seconds(0.25));
    }

    #[test]
    fn any_age_lies_in_its_span() {
        for ms in [0, 1, 2, 249, 250, 1000, 60_000, 3_600_000, u64::MAX] {
            let age = Duration::from_millis(ms);
            let number = span_of(age);
            assert!(start_of(number) <= age.as_secs_f64() + 1e-9, "{ms}");
            if number < SPANS - 1 {
                assert!(age.as_secs_f64() < start_of(number + 1) + 1e-9, "{ms}");
            }
        }
    }

    #[test]
    fn however_long_it_has_run_it_is_looked_at_again_within_the_cap() {
        let waits = Waits::default();
        let mut times = OperationTimes::new(&[]);
        for ms in [1, 300, 5000, 200_000, 4_000_000, 9_000_000] {
            let age = Duration::from_millis(ms);
            times.ran(Duration::ZERO, age);
            let next = times.next_look(age, &waits);
            let soonest = next.likely.min(next.latest);
            let longest = LOOK_EVERY_MAX.max(age / 50);
            assert!(soonest > age && soonest <= age + longest, "{ms}: {next:?}");
        }
    }
}
