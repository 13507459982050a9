//! What a run did over time, as its report draws it.
//!
//! Owns at most `SAMPLES_MAX` samples. When they are full, every other one is dropped and the interval
//! doubles; since all that is counted only grows, that costs detail and no number. Promises: bounded memory
//! and bounded space in the database, whatever the length of the run.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::outcome::Outcomes;
use crate::client::Client;
use crate::client::wire::meter;
use crate::throttle::gate::Gate;

const SAMPLES_MAX: usize = 300;
/// Between the first samples.
const EVERY: Duration = Duration::from_millis(250);
/// From the start to the first time that the record is handed to the writer, and from then on between two of
/// them: what a crash may take of it.
const KEPT_FIRST: Duration = Duration::from_secs(1);
const KEPT_EVERY: Duration = Duration::from_secs(5);

/// Where the numbers of a run are counted.
#[derive(Clone, Copy)]
pub struct Counted<'r> {
    pub run: i64,
    pub client: &'r Client,
    pub gate: &'r Gate,
    pub outcomes: &'r Outcomes,
}

pub struct Record {
    began: Instant,
    every: Duration,
    due: Instant,
    keep_due: Instant,
    samples: Vec<Value>,
    /// Names of those that it is about.
    libraries: Vec<String>,
}

impl Record {
    pub fn new(began: Instant, libraries: Vec<String>) -> Record {
        Record {
            began,
            every: EVERY,
            due: began,
            keep_due: began + KEPT_FIRST,
            samples: Vec::new(),
            libraries,
        }
    }

    /// Takes a sample if one is due; and the whole record, if it is time to keep it.
    pub fn look(&mut self, run: &Counted<'_>, now: Instant) -> Option<String> {
        if now >= self.due {
            self.due = now + self.every;
            let sample = sample(run, now - self.began);
            self.push(sample);
        }
        (now >= self.keep_due).then(|| {
            self.keep_due = now + KEPT_EVERY.max(self.every);
            self.details(run, now, None)
        })
    }

    /// With a last sample; `error`: what stopped the run.
    pub fn end(mut self, run: &Counted<'_>, now: Instant, error: Option<String>) -> String {
        let last = sample(run, now - self.began);
        self.push(last);
        self.details(run, now, error)
    }

    fn push(&mut self, sample: Value) {
        if self.samples.len() >= SAMPLES_MAX {
            let mut number = 0;
            self.samples.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.every *= 2;
        }
        self.samples.push(sample);
    }

    fn details(&self, run: &Counted<'_>, now: Instant, error: Option<String>) -> String {
        let (tally, client) = (&run.outcomes.tally, run.client);
        let sent = client.counts();
        let throttled = run.gate.snapshot().throttled;
        let times: serde_json::Map<String, Value> = meter::KINDS
            .iter()
            .zip(client.meter().times())
            .map(|(kind, times)| ((*kind).to_owned(), json!(times[..])))
            .collect();
        json!({
            "seconds": (now - self.began).as_secs_f64(),
            "error": error,
            "libraries": self.libraries,
            // Of a run that never came to its end, these are all there is.
            "totals": {"recovered": tally.recovered.get(), "indexed": tally.indexed.get(),
                       "failed": tally.failed.get(), "skipped": tally.skipped.get(),
                       "bytes": tally.bytes.get(), "requests": sent.requests, "polls": sent.polls,
                       "retries": sent.retries, "throttled": throttled,
                       "resumed": tally.resumed.get(), "adopted": tally.adopted.get()},
            "deleted": tally.deleted.get(),
            "samples": self.samples,
            "times": times,
            "causes": run.outcomes.notes.causes(),
            "slowest": run.outcomes.notes.slowest(),
        })
        .to_string()
    }
}

/// `[ms, indexed, bytes, failed, granted, throttled, refused, faults, rate a minute, concurrency]`
fn sample(run: &Counted<'_>, at: Duration) -> Value {
    let tally = &run.outcomes.tally;
    let [granted, throttled, refused, faults] = run.client.meter().outcomes();
    let throttle = run.gate.snapshot();
    json!([
        at.as_millis() as u64,
        tally.indexed.get(),
        tally.bytes.get(),
        tally.failed.get(),
        granted,
        throttled,
        refused,
        faults,
        throttle.rate_per_min,
        throttle.concurrency
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_any_length_has_a_bounded_number_of_samples_evenly_spaced() {
        let began = Instant::now();
        let mut record = Record::new(began, Vec::new());
        for tick in 0..100_000u64 {
            let now = began + EVERY * tick as u32;
            if now >= record.due {
                record.due = now + record.every;
                record.push(json!([tick]));
            }
            assert!(record.samples.len() <= SAMPLES_MAX);
        }
        let ticks: Vec<u64> = record
            .samples
            .iter()
            .filter_map(|s| s[0].as_u64())
            .collect();
        assert!(ticks.len() >= SAMPLES_MAX / 2, "{}", ticks.len());
        let apart: Vec<u64> = ticks.windows(2).map(|two| two[1] - two[0]).collect();
        let (least, most) = (apart.iter().min().unwrap(), apart.iter().max().unwrap());
        // Where the interval has just doubled, one step is still the old one.
        assert!(*most <= least * 2, "{least} to {most}");
    }
}
