//! Token buckets, one a class of request; finds the rate from what the service accepted.
//!
//! Reservation style (as in the generic cell rate algorithm): a request is told when it may start and
//! waits by itself. Nobody has published the service's limits, so a 429 is a measurement: what was
//! accepted in the minute before it is the quota. Pure: the time comes from outside.

use std::time::{Duration, Instant};

use super::backoff;
use super::{Class, Peaks, Rpm};
use crate::waits::Waits;

/// Tokens that an idle moment saves up, in time and in number: late threads catch up, and a minute
/// never gets more than its ceiling.
const SAVED: Duration = Duration::from_millis(300);
const SAVED_TOKENS: f64 = 4.0;
/// `auto` begins with one request a second and doubles while that is used and nothing is refused.
const START_PER_MINUTE: f64 = 60.0;
const DOUBLE_EVERY: Duration = Duration::from_secs(15);
/// Above this nothing is limited any more: the bucket costs more than it gives.
const UNLIMITED_PER_MINUTE: f64 = 1e6;
/// After a 429: this share of what was accepted, back up to the next quickly, past it slowly.
const AFTER_LIMIT: f64 = 0.90;
const FAST_UNTIL: f64 = 0.95;
const FAST_PER_SECOND: f64 = 0.01;
const CREEP_UNTIL: f64 = 1.05;
const CREEP_PER_SECOND: f64 = 0.0005;
/// The share is recomputed from the rate: it may come back a rounding below the mark that it reached.
const SHARE_EPSILON: f64 = 1e-9;
/// Beyond, the quota has grown: so many times as much a minute.
const GROWTH_PER_MINUTE: f64 = 2.0;
/// A new measurement is believed down to this share of the last: a pause before it may have starved
/// the minute that it counts.
const PEAK_KEEPS: f64 = 0.5;
const PER_MINUTE_MIN: f64 = 1.0;
/// A measurement takes so long.
const MEASURED_FROM: Duration = Duration::from_secs(60);
/// A 429 without a delay.
const PAUSE_DEFAULT: Duration = Duration::from_secs(2);
/// A 429 so soon after a pause says that the window behind it is still full: the pauses double, up to
/// the longest.
const SOON: Duration = Duration::from_secs(10);
const PAUSE_LONGEST: Duration = Duration::from_secs(16);
/// An explicit ceiling is paced just below itself: a window may begin at any of our requests.
const CEILING_SHARE: f64 = 0.99;

/// One token bucket.
#[derive(Debug)]
struct Bucket {
    /// When the next token is free.
    free: Option<Instant>,
}

impl Bucket {
    /// When a request may start that is ready at `now`, with so long between two of them.
    fn reserve(&mut self, now: Instant, interval: Duration) -> Instant {
        let saved = interval.mul_f64(SAVED_TOKENS).min(SAVED);
        let earliest = now.checked_sub(saved).unwrap_or(now);
        let start = self.free.map_or(earliest, |free| free.max(earliest));
        self.free = Some(start + interval);
        start.max(now)
    }
}

/// Between two requests at this rate.
fn interval(per_minute: f64) -> Duration {
    Duration::from_secs_f64(60.0 / per_minute)
}

/// Requests accepted in the last minute, counted by the second.
#[derive(Debug)]
struct Accepted {
    seconds: [u32; 60],
    /// The second, since `origin`, that was counted last.
    last: u64,
    origin: Instant,
}

impl Accepted {
    fn new(origin: Instant) -> Accepted {
        Accepted {
            seconds: [0; 60],
            last: 0,
            origin,
        }
    }

    fn advance(&mut self, now: Instant) -> usize {
        let second = now.saturating_duration_since(self.origin).as_secs();
        let gone = second.saturating_sub(self.last).min(60);
        for i in 1..=gone {
            self.seconds[((self.last + i) % 60) as usize] = 0;
        }
        self.last = self.last.max(second);
        (self.last % 60) as usize
    }

    fn count(&mut self, now: Instant) {
        let slot = self.advance(now);
        self.seconds[slot] = self.seconds[slot].saturating_add(1);
    }

    fn in_last_minute(&mut self, now: Instant) -> f64 {
        self.advance(now);
        self.seconds.iter().map(|n| f64::from(*n)).sum()
    }
}

/// How a class moves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// No 429 so far.
    Searching { doubles_at: Instant },
    /// Around a quota that was met.
    Found { peak: f64 },
}

#[derive(Debug)]
struct Rate {
    per_minute: f64,
    ceiling: f64,
    waits: Waits,
    phase: Phase,
    bucket: Bucket,
    accepted: Accepted,
    paused_until: Option<Instant>,
    /// How many events in a row came soon after a pause.
    repeated: u32,
    /// 429s of requests sent before belong to an event that was acted upon.
    cut_at: Option<Instant>,
    moved_at: Instant,
    /// Somebody had to wait since the last doubling.
    used: bool,
}

impl Rate {
    fn new(rpm: Rpm, peak: Option<f64>, waits: Waits, now: Instant) -> Rate {
        let ceiling = match rpm {
            Rpm::Ceiling(n) => f64::from(n.get()) * CEILING_SHARE,
            Rpm::Auto | Rpm::Unlimited => UNLIMITED_PER_MINUTE,
        };
        let searching = Phase::Searching {
            doubles_at: now + DOUBLE_EVERY,
        };
        let (per_minute, phase) = match (rpm, peak) {
            (Rpm::Unlimited, _) => (UNLIMITED_PER_MINUTE, searching),
            (_, Some(peak)) if peak < ceiling => (peak * FAST_UNTIL, Phase::Found { peak }),
            (Rpm::Ceiling(_), _) => (ceiling, searching),
            (Rpm::Auto, _) => (START_PER_MINUTE, searching),
        };
        Rate {
            per_minute: per_minute.clamp(PER_MINUTE_MIN, ceiling.max(PER_MINUTE_MIN)),
            ceiling,
            waits,
            phase,
            bucket: Bucket { free: None },
            accepted: Accepted::new(now),
            paused_until: None,
            repeated: 0,
            cut_at: None,
            moved_at: now,
            used: false,
        }
    }

    fn is_unlimited(&self) -> bool {
        self.per_minute >= UNLIMITED_PER_MINUTE
    }

    fn reserve(&mut self, now: Instant) -> Instant {
        self.move_on(now);
        let start = match self.is_unlimited() {
            true => now,
            false => {
                let interval = self.waits.scaled(interval(self.per_minute));
                self.bucket.reserve(now, interval)
            }
        };
        self.used |= start > now;
        self.paused_until.map_or(start, |until| start.max(until))
    }

    /// The rate at `now`, by the time that has passed.
    fn move_on(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.moved_at);
        match self.phase {
            Phase::Searching { doubles_at } => {
                if now >= doubles_at {
                    if self.used {
                        self.set(self.per_minute * 2.0);
                    }
                    self.used = false;
                    self.phase = Phase::Searching {
                        doubles_at: now + DOUBLE_EVERY,
                    };
                }
            }
            Phase::Found { peak } => {
                let paused = self.paused_until.is_some_and(|until| now < until);
                if !paused {
                    self.climb(peak, passed.as_secs_f64());
                }
            }
        }
        self.moved_at = self.moved_at.max(now);
    }

    fn climb(&mut self, peak: f64, seconds: f64) {
        let share = self.per_minute / peak;
        let next = if share < FAST_UNTIL - SHARE_EPSILON {
            (share + FAST_PER_SECOND * seconds).min(FAST_UNTIL)
        } else if share < CREEP_UNTIL - SHARE_EPSILON {
            (share + CREEP_PER_SECOND * seconds).min(CREEP_UNTIL)
        } else {
            share * GROWTH_PER_MINUTE.powf(seconds / 60.0)
        };
        self.set(peak * next);
    }

    fn set(&mut self, per_minute: f64) {
        self.per_minute = per_minute
            .min(self.ceiling)
            .clamp(PER_MINUTE_MIN, UNLIMITED_PER_MINUTE);
    }

    /// A rate 429. Says whether it is a new event.
    fn limited(&mut self, sent_at: Instant, asked: Option<Duration>, now: Instant) -> bool {
        let asked = match asked {
            Some(_) => backoff::honoured(asked),
            None => PAUSE_DEFAULT,
        };
        let pause_ended = self.paused_until;
        if self.cut_at.is_some_and(|cut| sent_at <= cut) {
            self.paused_until = pause_ended.max(Some(now + self.waits.scaled(asked)));
            return false;
        }
        self.repeated = match pause_ended {
            Some(end) if now < end + SOON => self.repeated + 1,
            _ => 0,
        };
        let pause = match self.repeated {
            0 => asked,
            n => asked.max(Duration::from_secs(1 << n.min(8)).min(PAUSE_LONGEST)),
        };
        let until = now + self.waits.scaled(pause);
        self.paused_until = pause_ended.max(Some(until));
        let measured = self.accepted.in_last_minute(now);
        let peak = match self.phase {
            // Of a run that is younger than a minute the service may have counted an earlier one's.
            Phase::Searching { .. } if now < self.accepted.origin + MEASURED_FROM => {
                measured.max(START_PER_MINUTE * PEAK_KEEPS)
            }
            Phase::Searching { .. } => measured,
            Phase::Found { peak } => measured.max(peak * PEAK_KEEPS),
        };
        let peak = peak.max(PER_MINUTE_MIN);
        self.phase = Phase::Found { peak };
        self.set(peak * AFTER_LIMIT);
        // Paced from the end of the pause on: those who waited do not start together.
        self.bucket.free = Some(until);
        self.moved_at = until;
        self.cut_at = Some(now);
        true
    }
}

#[derive(Debug)]
pub struct Limiter {
    write: Rate,
    read: Rate,
    /// An explicit ceiling holds for both classes together, with so long between two requests.
    both: Option<(Bucket, Duration)>,
}

impl Limiter {
    pub fn new(rpm: Rpm, peaks: Peaks, waits: Waits, now: Instant) -> Limiter {
        Limiter {
            write: Rate::new(rpm, peaks.write, waits, now),
            read: Rate::new(rpm, peaks.read, waits, now),
            both: match rpm {
                Rpm::Ceiling(n) => {
                    let interval = interval(f64::from(n.get()) * CEILING_SHARE);
                    Some((Bucket { free: None }, waits.scaled(interval)))
                }
                Rpm::Auto | Rpm::Unlimited => None,
            },
        }
    }

    /// Takes a token; the request may start then.
    pub fn reserve(&mut self, class: Class, now: Instant) -> Instant {
        let start = self.rate(class).reserve(now);
        match &mut self.both {
            Some((bucket, interval)) => start.max(bucket.reserve(now, *interval)),
            None => start,
        }
    }

    /// A pause that began after the token was taken.
    pub fn paused_until(&self, class: Class) -> Option<Instant> {
        match class {
            Class::Write => self.write.paused_until,
            Class::Read => self.read.paused_until,
        }
    }

    pub fn accepted(&mut self, class: Class, now: Instant) {
        self.rate(class).accepted.count(now);
    }

    /// A rate 429 for a request sent at `sent_at`. Says whether it is a new event.
    pub fn limited(
        &mut self,
        class: Class,
        sent_at: Instant,
        asked: Option<Duration>,
        now: Instant,
    ) -> bool {
        self.rate(class).limited(sent_at, asked, now)
    }

    /// `None`: no limit.
    pub fn per_minute(&self, class: Class) -> Option<f64> {
        let rate = match class {
            Class::Write => &self.write,
            Class::Read => &self.read,
        };
        (!rate.is_unlimited()).then_some(rate.per_minute)
    }

    pub fn peaks(&self) -> Peaks {
        let peak = |rate: &Rate| match rate.phase {
            Phase::Searching { .. } => None,
            Phase::Found { peak } => Some(peak),
        };
        Peaks {
            write: peak(&self.write),
            read: peak(&self.read),
        }
    }

    fn rate(&mut self, class: Class) -> &mut Rate {
        match class {
            Class::Write => &mut self.write,
            Class::Read => &mut self.read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ceiling(n: u32) -> Limiter {
        let rpm = Rpm::Ceiling(NonZeroU32::new(n).unwrap());
        Limiter::new(rpm, Peaks::default(), Waits::default(), Instant::now())
    }

    proptest! {
        /// In no minute do more requests start than the ceiling says, whenever they come.
        #[test]
        fn a_ceiling_is_never_passed(
            rpm in 5u32..3000, gaps_ms in proptest::collection::vec(0u64..3000, 10..200)
        ) {
            let mut limiter = ceiling(rpm);
            let mut now = Instant::now();
            let mut starts = Vec::new();
            for (i, gap) in gaps_ms.iter().enumerate() {
                now += Duration::from_millis(*gap);
                let class = if i % 2 == 0 { Class::Write } else { Class::Read };
                starts.push(limiter.reserve(class, now));
            }
            starts.sort();
            for (i, first) in starts.iter().enumerate() {
                let within = starts[i..].iter().filter(|s| **s - *first < MINUTE).count();
                prop_assert!(within <= rpm as usize, "{within} of {rpm}");
            }
        }

        /// A clock that steps back gives no panic and no earlier start.
        #[test]
        fn time_may_step_back(steps in proptest::collection::vec((0u64..1000, any::<bool>()), 1..50)) {
            let origin = Instant::now() + MINUTE;
            let mut limiter = Limiter::new(Rpm::Auto, Peaks::default(), Waits::default(), origin);
            for (ms, back) in steps {
                let step = Duration::from_millis(ms);
                let now = if back { origin - step } else { origin + step };
                limiter.accepted(Class::Write, now);
                prop_assert!(limiter.reserve(Class::Write, now) >= now);
                limiter.limited(Class::Write, now, None, now);
            }
        }
    }

    #[test]
    fn one_event_cuts_once() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Rpm::Auto, Peaks::default(), Waits::default(), now);
        for _ in 0..100 {
            limiter.accepted(Class::Write, now);
        }
        let later = now + Duration::from_secs(1);
        assert!(limiter.limited(Class::Write, now, None, later));
        assert!(!limiter.limited(Class::Write, now, None, later));
        assert_eq!(limiter.peaks().write, Some(100.0));
        assert_eq!(limiter.per_minute(Class::Write), Some(90.0));
        assert_eq!(limiter.peaks().read, None);
    }

    #[test]
    fn a_pause_holds_every_request_of_its_class() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Rpm::Auto, Peaks::default(), Waits::default(), now);
        let asked = Some(Duration::from_secs(17));
        limiter.limited(Class::Write, now, asked, now);
        assert!(limiter.reserve(Class::Write, now) >= now + Duration::from_secs(17));
        assert!(limiter.reserve(Class::Read, now) < now + Duration::from_secs(17));
    }

    #[test]
    fn an_earlier_runs_peak_is_where_the_next_begins() {
        let peaks = Peaks {
            write: Some(300.0),
            read: None,
        };
        let limiter = Limiter::new(Rpm::Auto, peaks, Waits::default(), Instant::now());
        assert_eq!(limiter.per_minute(Class::Write), Some(285.0));
        assert_eq!(limiter.per_minute(Class::Read), Some(START_PER_MINUTE));
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Rpm::Unlimited, Peaks::default(), Waits::default(), now);
        for _ in 0..10_000 {
            assert_eq!(limiter.reserve(Class::Write, now), now);
        }
    }

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    fn auto(now: Instant) -> Limiter {
        Limiter::new(Rpm::Auto, Peaks::default(), Waits::default(), now)
    }

    fn write_rate(limiter: &Limiter) -> f64 {
        limiter.per_minute(Class::Write).unwrap()
    }

    /// At a rate that was found: the service said no when it had accepted so many.
    fn found(accepted: u32, now: Instant) -> Limiter {
        let mut limiter = auto(now);
        for _ in 0..accepted {
            limiter.accepted(Class::Write, now);
        }
        assert!(limiter.limited(Class::Write, now, None, now));
        limiter
    }

    fn is_about(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6 * b
    }

    #[test]
    fn requests_are_spaced_and_an_idle_moment_saves_a_little() {
        let now = Instant::now();
        let mut bucket = Bucket { free: None };
        let starts: Vec<_> = (0..4)
            .map(|_| bucket.reserve(now, interval(60.0)) - now)
            .collect();
        assert_eq!(starts, [0, 700, 1700, 2700].map(|ms| ms * MS));
        // However long it was idle; at a high rate four tokens are less than what the moment gives.
        let later = now + MINUTE;
        let starts: Vec<_> = (0..7)
            .map(|_| bucket.reserve(later, interval(6000.0)) - later)
            .collect();
        let expected = [0, 0, 0, 0, 0, 10, 20].map(|ms| ms * MS);
        assert_eq!(starts, expected);
    }

    #[test]
    fn what_was_accepted_is_counted_for_a_minute() {
        let origin = Instant::now();
        let mut accepted = Accepted::new(origin);
        for second in 0..200u32 {
            let now = origin + second * SECOND;
            accepted.count(now);
            let expected = f64::from((second + 1).min(60));
            assert_eq!(accepted.in_last_minute(now), expected, "second {second}");
        }
        let last = origin + 199 * SECOND;
        assert_eq!(accepted.in_last_minute(last + 59 * SECOND), 1.0);
        assert_eq!(accepted.in_last_minute(last + MINUTE), 0.0);
        accepted.count(last + 10 * MINUTE);
        assert_eq!(accepted.in_last_minute(last + 10 * MINUTE), 1.0);
    }

    #[test]
    fn the_search_doubles_every_quarter_minute_while_somebody_has_to_wait() {
        let now = Instant::now();
        let mut limiter = auto(now);
        let mut use_it = |at: Instant| {
            for _ in 0..100 {
                limiter.reserve(Class::Write, at);
            }
            write_rate(&limiter)
        };
        assert_eq!(use_it(now), 60.0);
        assert_eq!(use_it(now + 15 * SECOND - MS), 60.0);
        assert_eq!(use_it(now + 15 * SECOND), 120.0);
        assert_eq!(use_it(now + 30 * SECOND - MS), 120.0);
        assert_eq!(use_it(now + 30 * SECOND), 240.0);
    }

    #[test]
    fn a_rate_that_nobody_uses_up_is_not_raised() {
        let now = Instant::now();
        let mut limiter = auto(now);
        for i in 0..60 {
            let at = now + 2 * i * SECOND;
            assert_eq!(limiter.reserve(Class::Write, at), at);
        }
        assert_eq!(write_rate(&limiter), 60.0);
        // That somebody waited once says nothing of the next quarter of a minute.
        let mut at = now + 121 * SECOND;
        limiter.reserve(Class::Write, at);
        limiter.reserve(Class::Write, at);
        for _ in 0..30 {
            at += 2 * SECOND;
            limiter.reserve(Class::Write, at);
        }
        assert_eq!(write_rate(&limiter), 120.0);
    }

    #[test]
    fn a_search_that_is_used_ends_without_a_limit() {
        let now = Instant::now();
        let mut limiter = auto(now);
        for i in 0..100 {
            for _ in 0..100 {
                limiter.reserve(Class::Write, now + 15 * i * SECOND);
            }
        }
        assert_eq!(limiter.per_minute(Class::Write), None);
        assert_eq!(limiter.per_minute(Class::Read), Some(START_PER_MINUTE));
        let later = now + 1500 * SECOND;
        for _ in 0..1000 {
            assert_eq!(limiter.reserve(Class::Write, later), later);
        }
    }

    /// Fast to just below what was accepted, slowly past it, and then the quota has grown.
    #[test]
    fn after_a_429_the_rate_climbs_back() {
        let now = Instant::now();
        let mut limiter = found(100, now);
        assert_eq!(write_rate(&limiter), 90.0);
        let mut at = now + PAUSE_DEFAULT;
        let mut after = |seconds: u32| {
            at += seconds * SECOND;
            limiter.reserve(Class::Write, at);
            write_rate(&limiter)
        };
        assert!(is_about(after(0), 90.0));
        assert!(is_about(after(1), 91.0));
        assert!(is_about(after(2), 93.0));
        assert!(is_about(after(60), 95.0), "no further than the mark");
        assert!(is_about(after(10), 95.5));
        assert!(is_about(after(20), 96.5));
        assert!(is_about(after(600), 105.0));
        assert!(is_about(after(60), 210.0));
        assert!(is_about(after(30), 210.0 * 2f64.sqrt()));
    }

    #[test]
    fn no_rate_passes_its_ceiling_or_falls_below_one_a_minute() {
        let now = Instant::now();
        let mut limiter = ceiling(100);
        limiter.limited(Class::Write, now, None, now);
        limiter.reserve(Class::Write, now + 10 * SECOND);
        for minute in 1..60 {
            limiter.reserve(Class::Write, now + minute * MINUTE);
        }
        assert_eq!(write_rate(&limiter), 99.0);
        for minute in 60..90 {
            let now = now + minute * MINUTE;
            limiter.limited(Class::Write, now, None, now);
        }
        assert_eq!(write_rate(&limiter), PER_MINUTE_MIN);
    }

    /// A 429 of a request that left before says so; its rate is not to be raised while it waits.
    #[test]
    fn a_pause_that_is_drawn_out_raises_no_rate_before_its_end() {
        let now = Instant::now();
        let drawn_out = || {
            let mut limiter = found(100, now);
            let minute = Some(MINUTE);
            assert!(!limiter.limited(Class::Write, now, minute, now + SECOND));
            limiter
        };
        let end = now + 61 * SECOND;
        let mut limiter = drawn_out();
        assert_eq!(limiter.paused_until(Class::Write), Some(end));
        assert_eq!(limiter.paused_until(Class::Read), None);
        assert!(limiter.reserve(Class::Write, end - MS) >= end);
        assert_eq!(write_rate(&limiter), 90.0);
        let mut limiter = drawn_out();
        limiter.reserve(Class::Write, end);
        assert!(write_rate(&limiter) > 90.0);
    }

    #[test]
    fn a_429_soon_after_a_pause_doubles_it_up_to_the_longest() {
        let mut now = Instant::now();
        let mut limiter = auto(now);
        let mut pause = |now: Instant| {
            assert!(limiter.limited(Class::Write, now, None, now));
            limiter.paused_until(Class::Write).unwrap() - now
        };
        for seconds in [2, 2, 4, 8, 16, 16] {
            let paused = pause(now);
            assert_eq!(paused, seconds * SECOND);
            now += paused + SOON - MS;
        }
        now += MS;
        assert_eq!(pause(now), 2 * SECOND, "late enough to be another event");
        // What the service asks for counts where it is more.
        let asked = Some(37 * SECOND);
        let soon = now + 3 * SECOND;
        limiter.limited(Class::Write, soon, asked, soon);
        let until = limiter.paused_until(Class::Write);
        assert_eq!(until, Some(soon + 37 * SECOND));
    }

    /// Not together.
    #[test]
    fn those_who_waited_for_the_end_of_a_pause_start_one_after_the_other() {
        let now = Instant::now();
        let mut limiter = found(60, now);
        let end = now + PAUSE_DEFAULT;
        let starts: Vec<_> = (0..3).map(|_| limiter.reserve(Class::Write, now)).collect();
        let apart = Duration::from_secs_f64(60.0 / 54.0);
        assert_eq!(starts, [end, end + apart, end + 2 * apart]);
    }

    #[test]
    fn a_first_429_within_a_minute_may_count_an_earlier_runs_requests() {
        let begin = Instant::now();
        let peak_at = |age: Duration| {
            let mut limiter = auto(begin);
            let now = begin + age;
            limiter.accepted(Class::Write, now);
            limiter.limited(Class::Write, now, None, now);
            limiter.peaks().write.unwrap()
        };
        assert_eq!(peak_at(MINUTE - MS), 30.0);
        assert_eq!(peak_at(MINUTE), 1.0);
    }

    #[test]
    fn a_lower_measurement_is_believed_down_to_half_of_the_last() {
        let now = Instant::now();
        let mut limiter = found(100, now);
        let later = now + 3 * MINUTE;
        limiter.limited(Class::Write, later, None, later);
        assert_eq!(limiter.peaks().write, Some(50.0));
        assert_eq!(write_rate(&limiter), 45.0);
        let last = later + 3 * MINUTE;
        for _ in 0..80 {
            limiter.accepted(Class::Write, last);
        }
        limiter.limited(Class::Write, last, None, last);
        assert_eq!(limiter.peaks().write, Some(80.0), "a higher one at once");
    }

    #[test]
    fn a_429_of_a_request_that_left_with_the_cut_is_the_same_event() {
        let now = Instant::now();
        let mut limiter = found(100, now);
        assert!(!limiter.limited(Class::Write, now, None, now + SECOND));
        assert!(limiter.limited(Class::Write, now + MS, None, now + SECOND));
    }
}
