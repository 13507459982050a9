//! The watch: tells people and programs how fast the run may go, and why it waits.
//!
//! Owns nothing; reads the throttle a few times a second.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::client::Client;
use crate::proof;
use crate::report::{Event, EventSink, Progress, ThrottleView};
use crate::throttle::gate::{Gate, Snapshot};

const EVERY: Duration = Duration::from_millis(250);
/// A smaller change of the rate is not worth an event.
const RATE_CHANGE_MIN: f64 = 0.10;

/// Until `closed` is.
pub fn run(
    gate: &Gate,
    client: &Client,
    progress: &Arc<Progress>,
    events: &dyn EventSink,
    closed: &Receiver<()>,
) {
    let mut said: Option<Snapshot> = None;
    while let Err(RecvTimeoutError::Timeout) = closed.recv_timeout(EVERY) {
        proof::mishap("watch");
        let now = gate.snapshot();
        let counts = client.counts();
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
