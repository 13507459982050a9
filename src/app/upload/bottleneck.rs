//! What held a run back: where its threads spent their time.
//!
//! Pure, except for one look at the processor time of this process.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::error::{Error, Kind};
use crate::pipeline::outcome::tally::Tally;
use crate::report::LimitedBy;
use crate::throttle::gate::Snapshot;

/// From this share of all cores on, the processor is what limits.
const CPU_SHARE: f64 = 0.85;
/// From this share of the run on, waiting for the last operations is what took long.
const INDEXING_SHARE: f64 = 0.5;
/// A run that sent nothing was held back by what took at least this share of it: counting alone takes some.
const SENT_NOTHING_SHARE: f64 = 0.05;

/// What a run has to say of itself at its end.
pub struct Ran<'r> {
    pub tally: &'r Tally,
    pub throttle: Snapshot,
    pub elapsed: Duration,
    pub workers: usize,
    /// The user has set one.
    pub has_ceiling: bool,
    /// What stopped it.
    pub error: Option<&'r Error>,
}

pub fn find(ran: &Ran<'_>) -> LimitedBy {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = Duration::new(
        u64::try_from(cpu.tv_sec).unwrap_or(0),
        u32::try_from(cpu.tv_nsec).unwrap_or(0),
    );
    let (tally, throttle, elapsed) = (ran.tally, &ran.throttle, ran.elapsed);
    let of_workers = |time| share(time, elapsed * ran.workers as u32);
    judge(&Shares {
        done: tally.submitted.get() + tally.indexed.get(),
        stopped_by: ran.error.map(|error| error.kind),
        was_limited: throttle.throttled > 0,
        has_ceiling: ran.has_ceiling,
        cpu: share(cpu, elapsed * cores as u32),
        indexing: share(tally.indexing_ns.time(), elapsed),
        tokens: of_workers(throttle.waited),
        shut: share(throttle.shut, elapsed),
        outage: share(throttle.outage, elapsed),
        disk: of_workers(tally.disk_ns.time()),
        bandwidth: of_workers(tally.bandwidth_ns.time()),
        busy: of_workers(tally.busy_ns.time()),
    })
}

struct Shares {
    done: u64,
    stopped_by: Option<Kind>,
    /// The service answered 429.
    was_limited: bool,
    has_ceiling: bool,
    cpu: f64,
    indexing: f64,
    /// Waiting for tokens and pauses.
    tokens: f64,
    /// Nothing was granted for so long that nothing was asked.
    shut: f64,
    /// The breaker was open.
    outage: f64,
    disk: f64,
    bandwidth: f64,
    busy: f64,
}

fn judge(s: &Shares) -> LimitedBy {
    match s.stopped_by {
        Some(Kind::StorageFull) => return LimitedBy::Storage,
        Some(Kind::DailyQuota) => return LimitedBy::Quota,
        _ => {}
    }
    // The service's own word first. Without one, in this run, and without a ceiling, what made requests wait
    // is the rate that an earlier run has found.
    let tokens = match s.has_ceiling && !s.was_limited {
        true => LimitedBy::Ceiling,
        false => LimitedBy::Quota,
    };
    let from_outside = [
        (s.outage, LimitedBy::Outage),
        (s.tokens.max(s.shut), tokens),
    ];
    if s.done == 0 {
        let (share, by) = most(from_outside);
        return match share > SENT_NOTHING_SHARE {
            true => by,
            false => LimitedBy::Nothing,
        };
    }
    // Of a service that was gone, its time to index says nothing.
    if s.indexing > INDEXING_SHARE && s.outage < s.indexing / 2.0 {
        return LimitedBy::Indexing;
    }
    if s.cpu > CPU_SHARE {
        return LimitedBy::Cpu;
    }
    let service = s.busy - s.tokens - s.disk - s.bandwidth;
    most(from_outside.into_iter().chain([
        (s.disk, LimitedBy::Disk),
        (s.bandwidth, LimitedBy::Bandwidth),
        (service, LimitedBy::Concurrency),
    ]))
    .1
}

fn most(shares: impl IntoIterator<Item = (f64, LimitedBy)>) -> (f64, LimitedBy) {
    let shares = shares.into_iter();
    shares
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((0.0, LimitedBy::Nothing))
}

fn share(part: Duration, whole: Duration) -> f64 {
    match whole.is_zero() {
        true => 0.0,
        false => part.as_secs_f64() / whole.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Shares = Shares {
        done: 1,
        stopped_by: None,
        was_limited: false,
        has_ceiling: true,
        cpu: 0.1,
        indexing: 0.0,
        tokens: 0.0,
        shut: 0.0,
        outage: 0.0,
        disk: 0.0,
        bandwidth: 0.0,
        busy: 1.0,
    };

    #[test]
    fn the_largest_share_is_named() {
        let cases = [
            (CALM, LimitedBy::Concurrency),
            (Shares { disk: 0.6, ..CALM }, LimitedBy::Disk),
            (
                Shares {
                    bandwidth: 0.6,
                    ..CALM
                },
                LimitedBy::Bandwidth,
            ),
            (
                Shares {
                    outage: 1.1,
                    ..CALM
                },
                LimitedBy::Outage,
            ),
            (Shares { cpu: 0.9, ..CALM }, LimitedBy::Cpu),
            (
                Shares {
                    indexing: 0.6,
                    ..CALM
                },
                LimitedBy::Indexing,
            ),
            (
                Shares {
                    indexing: 0.9,
                    outage: 0.8,
                    busy: 0.1,
                    ..CALM
                },
                LimitedBy::Outage,
            ),
            (Shares { done: 0, ..CALM }, LimitedBy::Nothing),
        ];
        for (shares, by) in cases {
            assert_eq!(judge(&shares), by);
        }
    }

    #[test]
    fn without_a_429_it_is_the_users_own_ceiling_or_what_an_earlier_run_has_found() {
        let waited = Shares {
            tokens: 0.6,
            ..CALM
        };
        assert_eq!(judge(&waited), LimitedBy::Ceiling);
        let free = Shares {
            has_ceiling: false,
            ..waited
        };
        assert_eq!(judge(&free), LimitedBy::Quota);
        let limited = Shares {
            was_limited: true,
            ..waited
        };
        assert_eq!(judge(&limited), LimitedBy::Quota);
        let shut = Shares {
            done: 0,
            tokens: 0.0,
            shut: 0.9,
            ..limited
        };
        assert_eq!(judge(&shut), LimitedBy::Quota);
        let idle = Shares {
            done: 0,
            tokens: 0.001,
            ..CALM
        };
        assert_eq!(judge(&idle), LimitedBy::Nothing);
    }

    #[test]
    fn a_full_store_and_the_quota_of_the_day_are_named_by_the_error() {
        for (kind, by) in [
            (Kind::StorageFull, LimitedBy::Storage),
            (Kind::DailyQuota, LimitedBy::Quota),
        ] {
            let stopped = Shares {
                stopped_by: Some(kind),
                disk: 0.9,
                ..CALM
            };
            assert_eq!(judge(&stopped), by);
        }
    }
}
