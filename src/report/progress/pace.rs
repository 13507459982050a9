//! How fast a run goes, and how long it will take.
//!
//! Owns what was done at each of the last looks. Pure: the time comes from outside. Promises: what is said to
//! be left is never less than what the slower of files and bytes needs at the pace of now.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The pace is taken over this time.
const OVER: Duration = Duration::from_secs(30);
/// The pace of now is taken over this time, or over the last two looks where they are rarer.
const NOW: Duration = Duration::from_secs(5);
/// So much faster now than over the whole time, the run is still speeding up, and the past says too little.
const RISING: f64 = 1.25;

/// Files indexed and bytes sent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Done {
    pub files: u64,
    pub bytes: u64,
}

/// A second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    pub files: f64,
    pub bytes: f64,
    pub is_rising: bool,
}

impl Pace {
    /// How long `left` takes at this pace; `None` while nothing moves.
    pub fn time_for(&self, left: Done) -> Option<Duration> {
        let seconds = |left: u64, rate: f64| match left {
            0 => Some(0.0),
            left => (rate > 0.0).then(|| left as f64 / rate),
        };
        let files = seconds(left.files, self.files);
        // Of a few large files none may be indexed for long, while their bytes tell.
        let bytes = seconds(left.bytes, self.bytes).filter(|_| left.bytes > 0);
        let seconds = match (files, bytes) {
            (Some(files), Some(bytes)) => files.max(bytes),
            (files, bytes) => files.or(bytes)?,
        };
        Some(Duration::from_secs_f64(seconds.min(1e9)))
    }
}

#[derive(Debug, Default)]
pub struct Looks(VecDeque<(Instant, Done)>);

impl Looks {
    /// The pace as of this look. The time before the first file was indexed is not counted for files: how
    /// long one takes at the service says nothing of how many get through.
    pub fn look(&mut self, now: Instant, done: Done) -> Pace {
        let looks = &mut self.0;
        looks.push_back((now, done));
        while looks.len() > 2 && now.saturating_duration_since(looks[1].0) >= OVER {
            looks.pop_front();
        }
        let before = |(at, _): &&(Instant, Done)| now.saturating_duration_since(*at) >= NOW;
        let first = looks.iter().rev().find(|(_, done)| done.files == 0);
        let whole = Pace {
            bytes: rate(looks[0], (now, done)).bytes,
            ..rate(*first.unwrap_or(&looks[0]), (now, done))
        };
        let recent = looks.iter().rev().skip(1).find(before);
        let recent = rate(*recent.unwrap_or(&looks[0]), (now, done));
        match recent.files > whole.files * RISING {
            true => Pace {
                is_rising: true,
                ..recent
            },
            false => whole,
        }
    }
}

fn rate((since, before): (Instant, Done), (now, done): (Instant, Done)) -> Pace {
    let seconds = now.saturating_duration_since(since).as_secs_f64();
    let rate = |before: u64, done: u64| match seconds > 0.0 {
        true => done.saturating_sub(before) as f64 / seconds,
        false => 0.0,
    };
    Pace {
        files: rate(before.files, done.files),
        bytes: rate(before.bytes, done.bytes),
        is_rising: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn done(files: u64, bytes: u64) -> Done {
        Done { files, bytes }
    }

    #[test]
    fn a_steady_run_goes_at_its_pace() {
        let start = Instant::now();
        let mut looks = Looks::default();
        for second in 0..=20u32 {
            let pace = looks.look(start + second * SECOND, done(second.into(), 0));
            assert!(!pace.is_rising, "{second}");
        }
        let pace = looks.look(start + 40 * SECOND, done(40, 0));
        assert_eq!((pace.files, pace.is_rising), (1.0, false));
        assert_eq!(pace.time_for(done(10, 0)), Some(10 * SECOND));
    }

    #[test]
    fn a_run_that_speeds_up_says_so_and_counts_by_what_it_does_now() {
        let start = Instant::now();
        let mut looks = Looks::default();
        for second in 0..=10u32 {
            looks.look(start + second * SECOND, done(second.into(), 0));
        }
        let mut pace = Pace::default();
        for second in 1..=5u32 {
            pace = looks.look(
                start + (10 + second) * SECOND,
                done(10 + 20 * u64::from(second), 0),
            );
        }
        assert_eq!((pace.files, pace.is_rising), (20.0, true));
        assert_eq!(pace.time_for(done(200, 0)), Some(10 * SECOND));
    }

    #[test]
    fn the_wait_for_the_first_file_is_not_a_slow_pace() {
        let start = Instant::now();
        let mut looks = Looks::default();
        for second in 0..=20u32 {
            looks.look(start + second * SECOND, done(0, 0));
        }
        let pace = looks.look(start + 21 * SECOND, done(30, 0));
        assert!(pace.files >= 30.0 / 21.0);
        let pace = looks.look(start + 22 * SECOND, done(60, 0));
        assert_eq!(pace.files, 30.0);
    }

    #[test]
    fn what_has_more_to_do_counts() {
        let pace = Pace {
            files: 10.0,
            bytes: 1e6,
            is_rising: false,
        };
        assert_eq!(pace.time_for(done(1, 83_000_000)), Some(83 * SECOND));
        assert_eq!(pace.time_for(done(100, 1_000_000)), Some(10 * SECOND));
        let none_indexed = Pace { files: 0.0, ..pace };
        assert_eq!(none_indexed.time_for(done(1, 5_000_000)), Some(5 * SECOND));
        assert_eq!(Pace::default().time_for(done(1, 0)), None);
        assert_eq!(Pace::default().time_for(done(0, 0)), Some(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn no_look_is_kept_for_ever(gaps_ms in proptest::collection::vec(0u64..20_000, 1..300)) {
            let mut now = Instant::now();
            let mut looks = Looks::default();
            for (i, gap) in gaps_ms.iter().enumerate() {
                now += Duration::from_millis(*gap);
                let pace = looks.look(now, done(i as u64, i as u64));
                prop_assert!(pace.files >= 0.0 && pace.files.is_finite());
                prop_assert!(looks.0.len() < 3 || now - looks.0[1].0 < OVER);
            }
        }
    }
}
