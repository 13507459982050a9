//! What held a run back: where its threads spent their time.
//!
//! Pure, except for one look at the processor time of this process.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::pipeline::outcome::tally::Tally;
use crate::report::LimitedBy;

/// From this share of all cores on, the processor is what limits.
const CPU_SHARE: f64 = 0.85;
/// From this share of the run on, waiting for the last operations is what took long.
const INDEXING_SHARE: f64 = 0.5;

/// `waited`: for tokens, all threads together.
pub fn find(tally: &Tally, waited: Duration, elapsed: Duration, workers: usize) -> LimitedBy {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = Duration::new(
        u64::try_from(cpu.tv_sec).unwrap_or(0),
        u32::try_from(cpu.tv_nsec).unwrap_or(0),
    );
    judge(&Shares {
        done: tally.submitted.get() + tally.indexed.get(),
        cpu: share(cpu, elapsed * cores as u32),
        indexing: share(tally.indexing_ns.time(), elapsed),
        quota: share(waited, elapsed * workers as u32),
        disk: share(tally.disk_ns.time(), elapsed * workers as u32),
        bandwidth: share(tally.bandwidth_ns.time(), elapsed * workers as u32),
        busy: share(tally.busy_ns.time(), elapsed * workers as u32),
    })
}

struct Shares {
    done: u64,
    cpu: f64,
    indexing: f64,
    quota: f64,
    disk: f64,
    bandwidth: f64,
    busy: f64,
}

fn judge(s: &Shares) -> LimitedBy {
    if s.done == 0 {
        return LimitedBy::Nothing;
    }
    if s.indexing > INDEXING_SHARE {
        return LimitedBy::Indexing;
    }
    if s.cpu > CPU_SHARE {
        return LimitedBy::Cpu;
    }
    let service = s.busy - s.quota - s.disk - s.bandwidth;
    [
        (s.quota, LimitedBy::Quota),
        (s.disk, LimitedBy::Disk),
        (s.bandwidth, LimitedBy::Bandwidth),
        (service, LimitedBy::Concurrency),
    ]
    .into_iter()
    .max_by(|a, b| a.0.total_cmp(&b.0))
    .map_or(LimitedBy::Nothing, |(_, by)| by)
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
        cpu: 0.1,
        indexing: 0.0,
        quota: 0.0,
        disk: 0.0,
        bandwidth: 0.0,
        busy: 1.0,
    };

    #[test]
    fn the_largest_share_is_named() {
        assert_eq!(judge(&CALM), LimitedBy::Concurrency);
        assert_eq!(judge(&Shares { quota: 0.6, ..CALM }), LimitedBy::Quota);
        assert_eq!(judge(&Shares { disk: 0.6, ..CALM }), LimitedBy::Disk);
        assert_eq!(
            judge(&Shares {
                bandwidth: 0.6,
                ..CALM
            }),
            LimitedBy::Bandwidth
        );
        assert_eq!(judge(&Shares { cpu: 0.9, ..CALM }), LimitedBy::Cpu);
        assert_eq!(
            judge(&Shares {
                indexing: 0.6,
                ..CALM
            }),
            LimitedBy::Indexing
        );
        assert_eq!(judge(&Shares { done: 0, ..CALM }), LimitedBy::Nothing);
    }
}
