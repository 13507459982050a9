//! Whether the service counts writes and reads together, by how their 429s come.
//!
//! Two quotas, until a pause of the one begins with a pause of the other; one quota, until a class is refused
//! again and again while the other is granted. Pure: the time comes from outside.

use std::time::{Duration, Instant};

use super::Class;

/// One class is refused so often in a row, while so many of the other are granted, and they are two quotas.
const ALONE_REFUSED: u32 = 3;
const ALONE_GRANTED: u32 = 3;
/// Whoever was refused so often in a row lets the other class try first.
const YIELDS_FROM: u32 = 2;

#[derive(Debug)]
pub struct Sharing {
    /// Two pauses that begin, and as far as the service said so end, so soon after each other, are of one quota.
    together: Duration,
    /// The pause that began last, while there are two quotas.
    last: Option<Paused>,
    /// What speaks against one quota; `None`: there are two.
    one: Option<One>,
}

/// A pause of a class begins.
#[derive(Debug, Clone, Copy)]
pub struct Paused {
    pub class: Class,
    pub at: Instant,
    /// When the service grants more, if it said so.
    pub until: Instant,
}

#[derive(Debug, Default)]
struct One {
    write: Alone,
    read: Alone,
}

/// Since the last grant of a class.
#[derive(Debug, Default)]
struct Alone {
    refused: u32,
    /// When it was refused first.
    since: Option<Instant>,
    /// Requests of the other class that were sent since then, and granted.
    others: u32,
}

impl One {
    /// Of the class itself, and of the other one.
    fn of(&mut self, class: Class) -> (&mut Alone, &mut Alone) {
        match class {
            Class::Write => (&mut self.write, &mut self.read),
            Class::Read => (&mut self.read, &mut self.write),
        }
    }
}

/// What a 429 has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    Nothing,
    OneQuota,
    TwoQuotas,
}

impl Sharing {
    /// `second`: as long as a second is here.
    pub fn new(second: Duration) -> Sharing {
        Sharing {
            together: second,
            last: None,
            one: None,
        }
    }

    /// They are one quota.
    pub fn is_one(&self) -> bool {
        self.one.is_some()
    }

    /// Of one quota: the other class should be the next that is tried.
    pub fn yields(&mut self, class: Class) -> bool {
        let one = self.one.as_mut();
        one.is_some_and(|one| one.of(class).0.refused >= YIELDS_FROM)
    }

    /// A request sent at `sent_at`.
    pub fn granted(&mut self, class: Class, sent_at: Instant) {
        if let Some(one) = &mut self.one {
            let (own, other) = one.of(class);
            *own = Alone::default();
            let is_later = other.since.is_some_and(|since| sent_at > since);
            other.others += u32::from(is_later);
        }
    }

    /// A 429 that is not of an event that was told before. `may_be_one`: as far as the numbers of requests go.
    pub fn refused(&mut self, paused: Paused, may_be_one: bool) -> News {
        let Some(one) = &mut self.one else {
            let last = self.last.replace(paused);
            if !may_be_one || !last.is_some_and(|last| self.are_together(last, paused)) {
                return News::Nothing;
            }
            (self.last, self.one) = (None, Some(One::default()));
            return News::OneQuota;
        };
        let (own, _) = one.of(paused.class);
        own.refused += 1;
        own.since.get_or_insert(paused.at);
        if own.refused < ALONE_REFUSED || own.others < ALONE_GRANTED {
            return News::Nothing;
        }
        self.one = None;
        News::TwoQuotas
    }

    fn are_together(&self, a: Paused, b: Paused) -> bool {
        let apart = |a: Instant, b: Instant| a.max(b).saturating_duration_since(a.min(b));
        a.class != b.class
            && apart(a.at, b.at) <= self.together
            && apart(a.until, b.until) <= self.together
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn paused(class: Class, at: Instant) -> Paused {
        Paused {
            class,
            at,
            until: at,
        }
    }

    fn one_quota(now: Instant) -> Sharing {
        let mut sharing = Sharing::new(SECOND);
        assert_eq!(
            sharing.refused(paused(Class::Write, now), true),
            News::Nothing
        );
        assert_eq!(
            sharing.refused(paused(Class::Read, now), true),
            News::OneQuota
        );
        sharing
    }

    #[test]
    fn pauses_that_come_together_are_of_one_quota() {
        let now = Instant::now();
        let tells = |second: Paused, may_be_one| {
            let mut sharing = Sharing::new(SECOND);
            sharing.refused(paused(Class::Write, now), true);
            sharing.refused(second, may_be_one)
        };
        let with = |class, after, ends_after| Paused {
            class,
            at: now + after,
            until: now + ends_after,
        };
        assert_eq!(
            tells(with(Class::Read, SECOND, SECOND), true),
            News::OneQuota
        );
        for (second, may_be_one) in [
            (with(Class::Write, SECOND, SECOND), true),
            (with(Class::Read, 2 * SECOND, 2 * SECOND), true),
            // Windows that end at different times.
            (with(Class::Read, SECOND, 30 * SECOND), true),
            (with(Class::Read, SECOND, SECOND), false),
        ] {
            assert_eq!(tells(second, may_be_one), News::Nothing, "{second:?}");
        }
    }

    #[test]
    fn a_class_that_is_refused_again_and_again_beside_the_other_has_a_quota_of_its_own() {
        let now = Instant::now();
        let mut sharing = one_quota(now);
        let refuse = |sharing: &mut Sharing| sharing.refused(paused(Class::Read, now), true);
        let later = now + SECOND;
        for _ in 0..2 {
            assert_eq!(refuse(&mut sharing), News::Nothing);
            sharing.granted(Class::Write, later);
        }
        // One of its own in between.
        sharing.granted(Class::Read, later);
        // Sent before the quota was empty.
        (0..10).for_each(|_| sharing.granted(Class::Write, now));
        for _ in 0..3 {
            assert!(sharing.is_one());
            assert_eq!(refuse(&mut sharing), News::Nothing);
            sharing.granted(Class::Write, later);
        }
        assert_eq!(refuse(&mut sharing), News::TwoQuotas);
        assert!(!sharing.is_one());
    }

    /// A window is closed to both.
    #[test]
    fn as_long_as_nothing_is_granted_it_is_one_quota() {
        let now = Instant::now();
        let mut sharing = one_quota(now);
        for refused in 0..10 {
            assert_eq!(sharing.yields(Class::Write), refused >= YIELDS_FROM);
            assert!(!sharing.yields(Class::Read));
            let told = sharing.refused(paused(Class::Write, now), true);
            assert_eq!(told, News::Nothing);
        }
    }
}
