//! The two classes of requests, and the ceiling that holds for both together.
//!
//! Pure: the time comes from outside. Promises: in no minute do more requests start than an explicit
//! ceiling says.

use std::time::{Duration, Instant};

use super::rate::{Bounds, Bucket, Rate, Ready, interval};
use super::{Class, Pace, Paces, Peaks, Rpm};
use crate::waits::Waits;

/// An explicit ceiling is paced just below itself: a window may begin at any of our requests.
const CEILING_SHARE: f64 = 0.99;

#[derive(Debug)]
pub struct Limiter {
    write: Rate,
    read: Rate,
    /// An explicit ceiling, with so long between two requests of any class.
    both: Option<(Bucket, Duration)>,
}

impl Limiter {
    pub fn new(rpm: Rpm, peaks: Peaks, waits: Waits, now: Instant) -> Limiter {
        let ceiling = match rpm {
            Rpm::Ceiling(n) => Some(f64::from(n.get()) * CEILING_SHARE),
            Rpm::Auto | Rpm::Unlimited => None,
        };
        let rate = |found| {
            let bounds = Bounds {
                ceiling,
                is_paced: rpm != Rpm::Unlimited,
                found,
            };
            Rate::new(bounds, waits, now)
        };
        Limiter {
            write: rate(peaks.write),
            read: rate(peaks.read),
            both: ceiling.map(|n| (Bucket::default(), waits.scaled(interval(n)))),
        }
    }

    /// Whether a request may start now; takes nothing.
    pub fn ready(&mut self, class: Class, now: Instant) -> Ready {
        // It may be one quota: where nobody has said how long, the probe of writes serves for both.
        if class == Class::Read
            && self.read.is_guessing()
            && let Some(until) = self.write.waits_until(now)
        {
            return Ready::NotBefore(until);
        }
        let ready = self.rate(class).ready(now);
        match &self.both {
            Some((bucket, interval)) => match bucket.free(now, *interval) {
                free if free <= now => ready,
                free => match ready {
                    Ready::NotBefore(until) => Ready::NotBefore(until.max(free)),
                    Ready::Paced | Ready::Probe => Ready::NotBefore(free),
                },
            },
            None => ready,
        }
    }

    /// A request starts, as `ready` has said.
    pub fn take(&mut self, class: Class, now: Instant) {
        self.rate(class).take(now);
        if let Some((bucket, interval)) = &mut self.both {
            bucket.take(now, *interval);
        }
    }

    pub fn rate(&mut self, class: Class) -> &mut Rate {
        match class {
            Class::Write => &mut self.write,
            Class::Read => &mut self.read,
        }
    }

    pub fn writes(&self) -> &Rate {
        &self.write
    }

    pub fn paces(&self, now: Instant) -> Paces {
        let both = self.both.as_ref().map(|(_, interval)| *interval);
        let reads_every = self.read.interval(now).max(both);
        let reads = match reads_every {
            _ if self.read.paused_until().is_some() => Pace::Paused,
            Some(every) => Pace::Every(every),
            None => Pace::Free,
        };
        let every = reads_every.max(self.write.interval(now));
        Paces { reads, every }
    }

    /// What a later run may start from.
    pub fn peaks(&self) -> Peaks {
        Peaks {
            write: self.write.found(),
            read: self.read.found(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limiter(rpm: Rpm, peaks: Peaks) -> Limiter {
        Limiter::new(rpm, peaks, Waits::default(), Instant::now())
    }

    proptest! {
        /// In no minute do more requests start than the ceiling says, whenever they come.
        #[test]
        fn a_ceiling_is_never_passed(
            rpm in 5u32..3000, gaps_ms in proptest::collection::vec(0u64..3000, 10..200)
        ) {
            let ceiling = Rpm::Ceiling(NonZeroU32::new(rpm).unwrap());
            let mut limiter = limiter(ceiling, Peaks::default());
            let mut now = Instant::now();
            let mut starts = Vec::new();
            for (i, gap) in gaps_ms.iter().enumerate() {
                now += Duration::from_millis(*gap);
                let class = if i % 2 == 0 { Class::Write } else { Class::Read };
                while let Ready::NotBefore(until) = limiter.ready(class, now) {
                    prop_assert!(until > now);
                    now = until;
                }
                limiter.take(class, now);
                starts.push(now);
            }
            for (i, first) in starts.iter().enumerate() {
                let within = starts[i..].iter().filter(|s| **s - *first < MINUTE).count();
                prop_assert!(within <= rpm as usize, "{within} of {rpm}");
            }
        }
    }

    #[test]
    fn an_earlier_runs_peak_is_where_the_next_begins() {
        let peaks = Peaks {
            write: Some(300.0),
            read: None,
        };
        let limiter = limiter(Rpm::Auto, peaks);
        let now = Instant::now();
        let begins = limiter.write.per_minute(now).unwrap();
        assert!((270.0..300.0).contains(&begins), "{begins}");
        assert_eq!(limiter.read.per_minute(now), None);
        assert_eq!(limiter.peaks(), peaks);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut limiter = limiter(Rpm::Unlimited, Peaks::default());
        let now = Instant::now();
        for _ in 0..10_000 {
            assert_eq!(limiter.ready(Class::Write, now), Ready::Paced);
            limiter.take(Class::Write, now);
        }
    }

    #[test]
    fn reads_that_were_not_told_how_long_wait_for_the_probe_of_writes() {
        let mut limiter = limiter(Rpm::Auto, Peaks::default());
        let now = Instant::now();
        for class in [Class::Write, Class::Read] {
            limiter.rate(class).limited(now, false, None, now);
        }
        let end = limiter.writes().paused_until().unwrap();
        assert_eq!(limiter.ready(Class::Write, end), Ready::Probe);
        limiter.take(Class::Write, end);
        assert!(matches!(
            limiter.ready(Class::Read, end),
            Ready::NotBefore(_)
        ));
        // But not as long as an upload may take.
        let long_after = end + MINUTE;
        assert_eq!(limiter.ready(Class::Read, long_after), Ready::Probe);
        limiter.rate(Class::Write).granted(true, end);
        assert_eq!(limiter.ready(Class::Read, end), Ready::Probe);
    }

    #[test]
    fn reads_go_as_they_come_until_a_pause_a_rate_or_a_ceiling() {
        let now = Instant::now();
        let mut free = limiter(Rpm::Auto, Peaks::default());
        free.rate(Class::Write).limited(now, false, None, now);
        assert_eq!(free.paces(now).reads, Pace::Free);
        free.rate(Class::Read).limited(now, false, None, now);
        assert_eq!(free.paces(now).reads, Pace::Paused);
        let read = Some(60.0);
        let found = limiter(Rpm::Auto, Peaks { write: None, read });
        let ceiling = Rpm::Ceiling(NonZeroU32::new(60).unwrap());
        for limiter in [found, limiter(ceiling, Peaks::default())] {
            let Pace::Every(every) = limiter.paces(now).reads else {
                panic!("{limiter:?}");
            };
            assert!(every > MINUTE / 60 && every < MINUTE / 50, "{every:?}");
            assert_eq!(limiter.paces(now).every, Some(every));
        }
        // Where writes alone are paced, reads go as they come, and it is said how slowly writes do.
        let write = Some(60.0);
        let paces = limiter(Rpm::Auto, Peaks { write, read: None }).paces(now);
        assert!(
            paces.reads == Pace::Free && paces.every > Some(MINUTE / 60),
            "{paces:?}"
        );
    }

    #[test]
    fn a_pause_is_of_one_class() {
        let mut limiter = limiter(Rpm::Auto, Peaks::default());
        let now = Instant::now();
        limiter.rate(Class::Write).limited(now, false, None, now);
        assert!(matches!(
            limiter.ready(Class::Write, now),
            Ready::NotBefore(_)
        ));
        assert_eq!(limiter.ready(Class::Read, now), Ready::Paced);
    }
}
