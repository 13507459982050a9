//! How fast, how many at once, and when to leave the service alone.
//!
//! `gate` is the one door of every request. Behind it, pure and told the time, `core` decides, of `limiter`
//! (two times `rate`, which is free until the service says 429 and then found; or once, where `sharing` has found
//! that all requests are counted together), `breaker` (outage or noise) and `ramp` (how many workers may be busy).
//! Beside it: `backoff` and `bandwidth`.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use crate::waits::Waits;

pub mod gate;

pub mod core;

pub mod limiter;

pub mod rate;

pub mod sharing;

pub mod breaker;

pub mod ramp;

pub mod backoff;
pub mod bandwidth;

/// The service counts writes (start, body, import, delete) and reads (poll, get, list) apart, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    Write,
    Read,
}

/// How requests of a class are let out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As they come.
    Free,
    /// One in so long.
    Every(Duration),
    /// None, or one that decides for all.
    Paused,
}

/// What whoever looks at documents has to know of the throttle.
#[derive(Debug, Clone, Copy)]
pub struct Paces {
    pub reads: Pace,
    /// Between two requests of the class that is held back most: the service may count both together, known or not,
    /// so a read may take the place of a write.
    pub every: Option<Duration>,
}

/// Requests a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rpm {
    /// Found from what the service accepts.
    Auto,
    /// No limiter.
    Unlimited,
    /// At the most; less if the service says so.
    Ceiling(NonZeroU32),
}

const RPM_MAX: u32 = 1_000_000;

impl FromStr for Rpm {
    type Err = String;

    fn from_str(text: &str) -> Result<Rpm, String> {
        if text == "auto" {
            return Ok(Rpm::Auto);
        }
        match text.parse::<u32>() {
            Ok(n) if n <= RPM_MAX => Ok(NonZeroU32::new(n).map_or(Rpm::Unlimited, Rpm::Ceiling)),
            _ => Err(format!(
                "not `auto`, 0 (no limit) or a whole number from 1 to {RPM_MAX}"
            )),
        }
    }
}

/// The account's tier, with the figures of the original program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    Free,
    Tier1,
    Tier2,
    Tier3,
}

impl Tier {
    /// Requests a minute.
    pub fn rpm(self) -> u32 {
        match self {
            Tier::Free => 5,
            Tier::Tier1 => 20,
            Tier::Tier2 => 200,
            Tier::Tier3 => 2000,
        }
    }
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Tier, String> {
        match text {
            "free" => Ok(Tier::Free),
            "tier1" => Ok(Tier::Tier1),
            "tier2" => Ok(Tier::Tier2),
            "tier3" => Ok(Tier::Tier3),
            _ => Err("not one of free, tier1, tier2, tier3".to_owned()),
        }
    }
}

/// Requests a minute that the service was found to grant, by class.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Peaks {
    pub write: Option<f64>,
    pub read: Option<f64>,
}

/// Workers that may be busy, at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// Nobody has said. Files by tens were seen to be indexed well at once, a hundred were not (fact sheet 14).
    Default,
    /// The user's own number: it is reached at once.
    Asked(usize),
}

impl Concurrency {
    /// Of `Default`.
    pub const DEFAULT: usize = 10;
    /// What is in flight when a quota is met is refused all at once, and a small quota is met early: beyond
    /// so many, one more follows only now and then.
    const QUICKLY_UP_TO: usize = 4;

    pub fn ceiling(self) -> usize {
        match self {
            Concurrency::Default => Concurrency::DEFAULT,
            Concurrency::Asked(n) => n,
        }
    }

    /// How many there are after one success each.
    pub fn quickly_up_to(self) -> usize {
        match self {
            Concurrency::Default => Concurrency::QUICKLY_UP_TO,
            Concurrency::Asked(n) => n,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct GateSettings {
    pub rpm: Rpm,
    /// Workers at the most.
    pub concurrency: Concurrency,
    /// What an earlier run found.
    pub peaks: Peaks,
    pub waits: Waits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_tiers_are_read_or_refused() {
        assert_eq!("auto".parse(), Ok(Rpm::Auto));
        assert_eq!("0".parse(), Ok(Rpm::Unlimited));
        assert!(matches!("60".parse(), Ok(Rpm::Ceiling(n)) if n.get() == 60));
        for text in ["-1", "", "fast", "1000001", "1.5"] {
            assert!(text.parse::<Rpm>().is_err(), "{text}");
        }
        let rpms: Vec<u32> = ["free", "tier1", "tier2", "tier3"]
            .iter()
            .map(|t| t.parse::<Tier>().unwrap().rpm())
            .collect();
        assert_eq!(rpms, [5, 20, 200, 2000]);
        assert!("tier4".parse::<Tier>().is_err());
    }
}
