//! The watch: tells people and programs how fast the run may go, and why it waits; and has the run recorded.
//!
//! Owns nothing; reads the throttle and the counters a few times a second.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::record::{Counted, Record};
use crate::proof;
use crate::report::{Event, ThrottleView};
use crate::state::Change;
use crate::throttle::gate::Snapshot;

const EVERY: Duration = Duration::from_millis(250);
/// A smaller change of the rate is not worth an event.
const RATE_CHANGE_MIN: f64 = 0.10;

/// Until `closed` is.
pub fn run(of: &Counted<'_>, record: &mut Record, closed: &Receiver<()>) {
    let (progress, events) = (&of.outcomes.progress, &of.outcomes.events);
    let mut said: Option<Snapshot> = None;
    while let Err(RecvTimeoutError::Timeout) = closed.recv_timeout(EVERY) {
        proof::mishap("watch");
        let now = of.gate.snapshot();
        let counts = of.client.counts();
        progress.throttle(ThrottleView {
            state: now.state,
            rate_per_min: now.rate_per_min,
            concurrency: now.concurrency,
            paused: now.paused.map(|(why, until)| (why.to_string(), until)),
            requests: counts.requests,
            retries: counts.retries,
            throttled: now.throttled,
        });
        if said.as_ref().is_none_or(|before| is_news(before, &now)) {
            events.send(Event::Throttle {
                state: now.state,
                rate_per_min: now.rate_per_min,
                concurrency: now.concurrency,
            });
            said = Some(now);
        }
        if let Some(details) = record.look(of, Instant::now()) {
            // Nobody waits for it: the commit is the next one that is due anyway, or one of its own.
            let sampled = Change::Sampled {
                run: of.run,
                details,
            };
            of.outcomes.writer.send(sampled, |_| {});
        }
    }
}

fn is_news(before: &Snapshot, now: &Snapshot) -> bool {
    let rate_moved = match (before.rate_per_min, now.rate_per_min) {
        (Some(a), Some(b)) => (a - b).abs() > a.abs() * RATE_CHANGE_MIN,
        (None, None) => false,
        _ => true,
    };
    before.state.as_str() != now.state.as_str() || rate_moved
}
