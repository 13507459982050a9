//! Limiter and breaker against a modelled service, hours in milliseconds.
//!
//! The service holds a hidden quota of one of three shapes; a few clients send as fast as they are
//! let. Virtual time: an event queue of requests, no sleeping.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::breaker::{Admission, Breaker, RequestOutcome};
use super::limiter::Limiter;
use super::{Class, Peaks, Rpm};
use crate::waits::Waits;

#[derive(Debug, Clone, Copy)]
enum Shape {
    Fixed,
    Sliding,
    Bucket,
}

#[derive(Debug, Clone, Copy)]
enum Delay {
    Exact,
    Absent,
    Absurd,
}

struct Service {
    shape: Shape,
    per_minute: f64,
    delay: Delay,
    accepted: VecDeque<Duration>,
    tokens: f64,
    filled: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Service {
    fn new(shape: Shape, per_minute: f64, delay: Delay) -> Service {
        Service {
            shape,
            per_minute,
            delay,
            accepted: VecDeque::new(),
            tokens: per_minute / 6.0,
            filled: Duration::ZERO,
        }
    }

    /// `Err` with the delay it asks for.
    fn request(&mut self, at: Duration) -> Result<(), Option<Duration>> {
        let window_start = match self.shape {
            Shape::Fixed => Duration::from_secs(at.as_secs() / 60 * 60),
            Shape::Sliding | Shape::Bucket => at.saturating_sub(MINUTE),
        };
        while self.accepted.front().is_some_and(|t| *t < window_start) {
            self.accepted.pop_front();
        }
        let wait = match self.shape {
            Shape::Fixed if self.accepted.len() as f64 >= self.per_minute => {
                Some(window_start + MINUTE - at)
            }
            Shape::Sliding if self.accepted.len() as f64 >= self.per_minute => {
                self.accepted.front().map(|t| *t + MINUTE - at)
            }
            Shape::Bucket => {
                let grown = (at - self.filled).as_secs_f64() * self.per_minute / 60.0;
                self.tokens = (self.tokens + grown).min(self.per_minute / 6.0);
                self.filled = at;
                match self.tokens < 1.0 {
                    true => Some(Duration::from_secs_f64(
                        (1.0 - self.tokens) * 60.0 / self.per_minute,
                    )),
                    false => {
                        self.tokens -= 1.0;
                        None
                    }
                }
            }
            Shape::Fixed | Shape::Sliding => None,
        };
        match wait {
            None => {
                self.accepted.push_back(at);
                Ok(())
            }
            Some(wait) => Err(match self.delay {
                Delay::Exact => Some(wait),
                Delay::Absent => None,
                Delay::Absurd => Some(Duration::from_secs(u64::MAX / 4)),
            }),
        }
    }
}

struct Seen {
    /// Accepted after the third minute, as a share of what the quota allowed then.
    share: f64,
    limited: f64,
}

/// `minutes` of eight clients; `change` may alter the quota at half time.
fn simulate(rpm: Rpm, mut service: Service, minutes: u64, change: f64, seed: u64) -> Seen {
    let origin = Instant::now();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut limiter = Limiter::new(rpm, Peaks::default(), Waits::default(), origin);
    let mut breaker = Breaker::new(Waits::default());
    let end = MINUTE * minutes as u32;
    // (when, client, sending?): a client asks for a token, then sends, then asks again.
    let mut queue: BinaryHeap<Reverse<(Duration, u32, bool)>> = (0..8)
        .map(|client| Reverse((Duration::ZERO, client, false)))
        .collect();
    let (mut sent, mut limited, mut accepted_late) = (0u64, 0u64, 0u64);
    let half = end / 2;
    let mut changed = false;
    while let Some(Reverse((at, client, sending))) = queue.pop() {
        if at >= end {
            break;
        }
        if at >= half && !changed {
            service.per_minute *= change;
            changed = true;
        }
        let now = origin + at;
        if !sending {
            let start = limiter.reserve(Class::Write, now) - origin;
            queue.push(Reverse((start, client, true)));
            continue;
        }
        if let Some(until) = limiter.paused_until(Class::Write)
            && until > now
        {
            let start = limiter.reserve(Class::Write, now) - origin;
            queue.push(Reverse((start, client, true)));
            continue;
        }
        if let Admission::Refused { until } = breaker.admit(Class::Write, now) {
            queue.push(Reverse((until - origin, client, false)));
            continue;
        }
        let probe = !matches!(breaker.state(), super::breaker::BreakerState::Closed);
        sent += 1;
        // The answer is acted upon when it arrives; the service counts at once.
        let latency = Duration::from_millis(50 + rng.u64(0..100));
        let back = now + latency;
        let outcome = match service.request(at) {
            Ok(()) => {
                limiter.accepted(Class::Write, back);
                if at >= MINUTE * 3 {
                    accepted_late += 1;
                }
                Some(RequestOutcome::Good)
            }
            Err(delay) => {
                limited += 1;
                let new = limiter.limited(Class::Write, now, delay, back);
                (new || probe).then_some(RequestOutcome::Limit(delay))
            }
        };
        if let Some(outcome) = outcome {
            match probe {
                true => breaker.probed(outcome, back),
                false => breaker.record(outcome, back),
            };
        }
        queue.push(Reverse((at + latency, client, false)));
    }
    let quota_late = {
        let before = half.saturating_sub(MINUTE * 3).as_secs_f64() / 60.0;
        let after = (end - half).as_secs_f64() / 60.0;
        service.per_minute / change * before + service.per_minute * after
    };
    Seen {
        share: accepted_late as f64 / quota_late,
        limited: limited as f64 / sent as f64,
    }
}

const SHAPES: [Shape; 3] = [Shape::Fixed, Shape::Sliding, Shape::Bucket];

#[test]
fn a_known_quota_is_used_whole_and_never_hit() {
    for shape in SHAPES {
        for quota in [60u32, 300, 2000] {
            let rpm = Rpm::Ceiling(NonZeroU32::new(quota).unwrap());
            let service = Service::new(shape, f64::from(quota), Delay::Exact);
            let seen = simulate(rpm, service, 15, 1.0, 1);
            assert!(seen.share >= 0.98, "{shape:?} {quota}: {}", seen.share);
            assert_eq!(seen.limited, 0.0, "{shape:?} {quota}");
        }
    }
}

#[test]
fn a_hidden_quota_is_found_and_mostly_used() {
    for shape in SHAPES {
        for quota in [120u32, 300, 1000] {
            for seed in 0..5 {
                let double = Rpm::Ceiling(NonZeroU32::new(quota * 2).unwrap());
                for rpm in [Rpm::Auto, double] {
                    let service = Service::new(shape, f64::from(quota), Delay::Exact);
                    let seen = simulate(rpm, service, 20, 1.0, seed);
                    let case = format!("{shape:?} {quota} {rpm:?} seed {seed}");
                    println!(
                        "{case}: {:.3} used, {:.4} limited",
                        seen.share, seen.limited
                    );
                    assert!(seen.share >= 0.90, "{case}: {}", seen.share);
                    assert!(seen.limited < 0.02, "{case}: {}", seen.limited);
                }
            }
        }
    }
}

#[test]
fn a_service_that_gives_no_delay_or_an_absurd_one_is_survived() {
    for shape in SHAPES {
        // An absurd delay costs the longest honoured one at every event.
        for (delay, least) in [(Delay::Absent, 0.90), (Delay::Absurd, 0.65)] {
            let service = Service::new(shape, 300.0, delay);
            let seen = simulate(Rpm::Auto, service, 30, 1.0, 3);
            println!(
                "{shape:?} {delay:?}: {:.3}, {:.4}",
                seen.share, seen.limited
            );
            assert!(seen.share >= least, "{shape:?} {delay:?}: {}", seen.share);
            assert!(seen.limited < 0.02, "{shape:?} {delay:?}: {}", seen.limited);
        }
    }
}

#[test]
fn a_quota_that_is_halved_or_doubled_is_followed() {
    for shape in SHAPES {
        for change in [0.5, 2.0] {
            let service = Service::new(shape, 300.0, Delay::Exact);
            let seen = simulate(Rpm::Auto, service, 40, change, 5);
            println!(
                "{shape:?} × {change}: {:.3}, {:.4}",
                seen.share, seen.limited
            );
            assert!(seen.share >= 0.80, "{shape:?} × {change}: {}", seen.share);
            assert!(
                seen.limited < 0.03,
                "{shape:?} × {change}: {}",
                seen.limited
            );
        }
    }
}
