//! The two classes of requests, and the ceiling that holds for both together.
//!
//! Each class has a rate of its own, unless `sharing` says that it is one quota: then reads go by the rate of
//! writes. Pure: the time comes from outside. Promises: in no minute do more requests start than an explicit
//! ceiling says.

use std::time::{Duration, Instant};

use super::backoff;
use super::rate::{Bounds, Bucket, Rate, Ready, Seen, interval};
use super::sharing::{News, Paused, Sharing};
use super::{Class, Pace, Paces, Peaks, Rpm};
use crate::waits::Waits;

/// An explicit ceiling is paced just below itself: a window may begin at any of our requests.
const CEILING_SHARE: f64 = 0.99;
/// Reads are few up to one for so many writes. With more, two quotas that are used up may well end together.
const READS_ARE_FEW: f64 = 3.0;
/// So few reads are hardly what has used a window up: they do not wait for its end.
const FEW_READS_WAIT: Duration = Duration::from_secs(10);
/// How long a class lets the other one try first.
const YIELDS_FOR: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub struct Limiter {
    /// Of both classes where they are one quota.
    write: Rate,
    read: Rate,
    sharing: Sharing,
    /// An explicit ceiling, with so long between two requests of any class.
    both: Option<(Bucket, Duration)>,
    is_paced: bool,
    /// Of one quota: the last token was a read's.
    read_was_last: bool,
    waits: Waits,
}

/// A request that was answered with a rate 429.
#[derive(Debug, Clone, Copy)]
pub struct RateLimited {
    pub class: Class,
    pub sent_at: Instant,
    /// The delay that the service asked for.
    pub asked: Option<Duration>,
}

impl Limiter {
    pub fn new(rpm: Rpm, peaks: Peaks, waits: Waits, now: Instant) -> Limiter {
        let ceiling = match rpm {
            Rpm::Ceiling(n) => Some(f64::from(n.get()) * CEILING_SHARE),
            Rpm::Auto | Rpm::Unlimited => None,
        };
        let is_paced = rpm != Rpm::Unlimited;
        let rate = |found| {
            let bounds = Bounds {
                ceiling,
                is_paced,
                found,
            };
            Rate::new(bounds, waits, now)
        };
        Limiter {
            write: rate(peaks.write),
            read: rate(peaks.read),
            sharing: Sharing::new(waits.scaled(Duration::from_secs(1))),
            both: ceiling.map(|n| (Bucket::default(), waits.scaled(interval(n)))),
            is_paced,
            read_was_last: false,
            waits,
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
        // Those that look are few, and many wait to send: of one quota theirs is the next token, but not the one
        // after it.
        let is_first = class == Class::Read && self.sharing.is_one() && !self.read_was_last;
        let yields = self.sharing.yields(class) && !self.write.is_shut(now);
        let ready = match self.rate(class).ready(now, is_first) {
            Ready::Probe if yields => self.yielding(now),
            ready => ready,
        };
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
        self.read_was_last = class == Class::Read;
        self.rate(class).take(now);
        if let Some((bucket, interval)) = &mut self.both {
            bucket.take(now, *interval);
        }
    }

    /// A probe that the other class may send first.
    fn yielding(&self, now: Instant) -> Ready {
        let until = self.write.paused_until().unwrap_or(now) + self.waits.scaled(YIELDS_FOR);
        match until > now {
            true => Ready::NotBefore(until),
            false => Ready::Probe,
        }
    }

    /// A request sent at `sent_at`. Says whether who waits should ask again.
    pub fn granted(&mut self, class: Class, sent_at: Instant, now: Instant) -> bool {
        self.sharing.granted(class, sent_at);
        let rate = self.rate(class);
        rate.granted(rate.is_probe(sent_at), now)
    }

    /// No answer, or one that says nothing of the quota. Says whether who waits should ask again.
    pub fn unanswered(&mut self, class: Class, sent_at: Instant) -> bool {
        let rate = self.rate(class);
        rate.unanswered(rate.is_probe(sent_at))
    }

    pub fn limited(&mut self, refused: RateLimited, now: Instant) {
        let RateLimited {
            class,
            sent_at,
            asked,
        } = refused;
        let rate = self.rate(class);
        let seen = rate.limited(sent_at, rate.is_probe(sent_at), asked, now);
        if seen == Seen::Before {
            return;
        }
        let reads = self.read.granted_in_last_minute(now) * READS_ARE_FEW;
        let writes = self.write.granted_in_last_minute(now);
        let are_few = writes > 0.0 && reads <= writes;
        let told = backoff::honoured(asked).map(|asked| self.waits.scaled(asked));
        let paused = Paused {
            class,
            at: now,
            until: now + told.unwrap_or_default(),
        };
        let news = match seen {
            Seen::Probe if !self.sharing.is_one() => News::Nothing,
            _ => self.sharing.refused(paused, are_few && self.is_paced),
        };
        match news {
            News::Nothing => {
                if class == Class::Read && are_few && told.is_none() {
                    let until = now + self.waits.scaled(FEW_READS_WAIT);
                    self.read.pause_at_most(until);
                }
            }
            News::OneQuota => {
                let until = self.read.paused_until();
                self.read.end_pause(now);
                // That of writes may be over by now.
                if self.write.paused_until().is_none() {
                    self.write.limited(now, false, asked, now);
                }
                self.write.pause_at_least(until);
                self.write.cut(now);
            }
            // What writes were made to wait for was none of their own.
            News::TwoQuotas if class == Class::Read => {
                self.write.end_pause(now);
                self.read.limited(now, false, asked, now);
            }
            News::TwoQuotas => {}
        }
    }

    /// The one that holds for a class.
    pub fn rate(&mut self, class: Class) -> &mut Rate {
        match class {
            Class::Read if !self.sharing.is_one() => &mut self.read,
            Class::Read | Class::Write => &mut self.write,
        }
    }

    pub fn writes(&self) -> &Rate {
        &self.write
    }

    pub fn paces(&self, now: Instant) -> Paces {
        let both = self.both.as_ref().map(|(_, interval)| *interval);
        let read = match self.sharing.is_one() {
            true => &self.write,
            false => &self.read,
        };
        let reads_every = read.interval(now).max(both);
        let reads = match reads_every {
            _ if read.paused_until().is_some() => Pace::Paused,
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
            rpm in 5u32..3000,
            gaps in proptest::collection::vec((0u64..3000, proptest::bool::weighted(0.1)), 10..200)
        ) {
            let ceiling = Rpm::Ceiling(NonZeroU32::new(rpm).unwrap());
            let mut limiter = limiter(ceiling, Peaks::default());
            let mut now = Instant::now();
            let mut starts = Vec::new();
            for (i, (gap_ms, is_refused)) in gaps.iter().enumerate() {
                now += Duration::from_millis(*gap_ms);
                let class = if i % 2 == 0 { Class::Write } else { Class::Read };
                while let Ready::NotBefore(until) = limiter.ready(class, now) {
                    prop_assert!(until > now);
                    now = until;
                }
                limiter.take(class, now);
                starts.push(now);
                match is_refused {
                    true => limiter.refuse(class, now),
                    false => drop(limiter.granted(class, now, now)),
                }
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

    impl Limiter {
        /// A request that was sent just now.
        fn refuse(&mut self, class: Class, now: Instant) {
            let refused = RateLimited {
                class,
                sent_at: now,
                asked: None,
            };
            self.limited(refused, now);
        }

        fn ready_after(&mut self, class: Class, now: Instant) -> Instant {
            match self.ready(class, now) {
                Ready::NotBefore(until) => until,
                ready => panic!("{ready:?}"),
            }
        }
    }

    /// 429s of both classes within a moment.
    fn one_quota(now: Instant) -> Limiter {
        let peaks = Peaks {
            write: Some(600.0),
            read: None,
        };
        let mut limiter = limiter(Rpm::Auto, peaks);
        limiter.granted(Class::Write, now, now);
        for class in [Class::Write, Class::Read] {
            limiter.refuse(class, now);
        }
        assert!(limiter.sharing.is_one());
        limiter
    }

    #[test]
    fn of_one_quota_both_wait_for_the_same_pause_and_reads_get_the_next_token() {
        let now = Instant::now();
        let mut limiter = one_quota(now);
        let end = limiter.writes().paused_until().unwrap();
        for class in [Class::Write, Class::Read] {
            assert_eq!(limiter.ready(class, now), Ready::NotBefore(end));
        }
        assert_eq!(limiter.ready(Class::Read, end), Ready::Probe);
        limiter.take(Class::Read, end);
        // Its answer is waited for.
        limiter.ready_after(Class::Write, end);
        assert!(limiter.granted(Class::Read, end, end));
        limiter.take(Class::Write, end);
        let reads = limiter.ready_after(Class::Read, end);
        assert!(reads < limiter.ready_after(Class::Write, end));
        // But not every one.
        limiter.take(Class::Read, reads);
        let reads_again = limiter.ready_after(Class::Read, reads);
        assert_eq!(reads_again, limiter.ready_after(Class::Write, reads));
    }

    #[test]
    fn a_429_of_reads_that_comes_after_the_pause_of_writes_begins_another() {
        let now = Instant::now();
        let mut limiter = limiter(Rpm::Auto, Peaks::default());
        limiter.granted(Class::Write, now, now);
        limiter.refuse(Class::Write, now);
        let end = limiter.writes().paused_until().unwrap();
        assert_eq!(limiter.ready(Class::Write, end), Ready::Probe);
        limiter.take(Class::Write, end);
        limiter.granted(Class::Write, end, end);
        assert_eq!(limiter.writes().paused_until(), None);
        limiter.refuse(Class::Read, end);
        assert!(limiter.sharing.is_one());
        for class in [Class::Write, Class::Read] {
            assert!(limiter.ready_after(class, end) > end);
        }
    }

    /// A probe of reads that is out when one quota is found is not the probe of the pause of both.
    #[test]
    fn a_probe_of_before_decides_nothing() {
        let began = Instant::now();
        let mut limiter = limiter(Rpm::Auto, Peaks::default());
        limiter.granted(Class::Write, began, began);
        limiter.refuse(Class::Read, began);
        let sent = limiter.read.paused_until().unwrap();
        assert_eq!(limiter.ready(Class::Read, sent), Ready::Probe);
        limiter.take(Class::Read, sent);
        limiter.refuse(Class::Write, sent + Duration::from_millis(1));
        assert!(limiter.sharing.is_one());
        let end = limiter.writes().paused_until().unwrap();
        assert_eq!(limiter.ready(Class::Write, end), Ready::Probe);
        limiter.take(Class::Write, end);
        let stale = RateLimited {
            class: Class::Read,
            sent_at: sent,
            asked: None,
        };
        limiter.limited(stale, end);
        assert!(!limiter.unanswered(Class::Read, sent));
        assert_eq!(limiter.writes().paused_until(), Some(end));
        assert!(limiter.granted(Class::Write, end, end));
    }

    #[test]
    fn without_a_limit_each_class_keeps_its_own_pauses() {
        let now = Instant::now();
        let mut limiter = limiter(Rpm::Unlimited, Peaks::default());
        limiter.granted(Class::Write, now, now);
        limiter.refuse(Class::Write, now);
        limiter.refuse(Class::Read, now);
        assert!(!limiter.sharing.is_one());
    }

    #[test]
    fn reads_that_are_refused_alone_let_writes_go_on() {
        let began = Instant::now();
        let mut limiter = one_quota(began);
        let mut now = began;
        for _ in 0..3 {
            now = limiter.writes().paused_until().unwrap() + YIELDS_FOR;
            assert_eq!(limiter.ready(Class::Write, now), Ready::Probe);
            limiter.take(Class::Write, now);
            // The probe, and two that follow it.
            for _ in 0..3 {
                limiter.granted(Class::Write, now, now);
                now += Duration::from_millis(1);
            }
            limiter.refuse(Class::Read, now);
        }
        assert!(!limiter.sharing.is_one());
        assert_eq!(limiter.writes().paused_until(), None);
        assert!(limiter.ready_after(Class::Read, now) > now);
    }

    /// Else they would not be seen done for most of a minute.
    #[test]
    fn a_few_reads_do_not_wait_for_the_end_of_a_window() {
        let began = Instant::now();
        let refused_twice = |writes: u32| {
            let mut limiter = limiter(Rpm::Auto, Peaks::default());
            for _ in 0..writes {
                limiter.granted(Class::Write, began, began);
            }
            limiter.granted(Class::Read, began, began);
            let now = began + MINUTE / 2;
            limiter.refuse(Class::Read, now);
            let end = limiter.read.paused_until().unwrap();
            assert_eq!(limiter.ready(Class::Read, end), Ready::Probe);
            limiter.take(Class::Read, end);
            limiter.refuse(Class::Read, end);
            limiter.read.paused_until().unwrap() - end
        };
        assert_eq!(refused_twice(10), FEW_READS_WAIT);
        assert!(refused_twice(2) > 2 * FEW_READS_WAIT);
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
