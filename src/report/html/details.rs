//! What a run has recorded of itself, read back. A part that is missing, or is not what it should be, counts
//! as nothing: the database may have been changed by hand.

use serde_json::Value;

use crate::client::wire::meter::{BUCKETS, KINDS};
use crate::state::RunTotals;

const NUMBER_MAX: f64 = 1e18;

/// Counts up to one moment of the run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Seconds since it began.
    pub at: f64,
    pub indexed: f64,
    pub bytes: f64,
    /// Granted, throttled, refused, faults.
    pub outcomes: [f64; 4],
    /// Writes a minute; `None`: no limit was known.
    pub rate: Option<f64>,
    pub concurrency: f64,
}

/// Files that met one kind of failure.
#[derive(Debug)]
pub struct FailureGroup {
    pub kind: String,
    pub files: u64,
    pub attempts: u64,
    pub words: String,
}

#[derive(Debug)]
pub struct SlowFile {
    pub library: String,
    pub path: String,
    pub bytes: u64,
    pub attempts: u64,
    pub status: String,
    pub seconds: f64,
}

#[derive(Debug)]
pub struct Details {
    pub seconds: f64,
    pub error: Option<String>,
    /// The first few of those that it was about.
    pub libraries: Vec<String>,
    pub totals: RunTotals,
    /// Things at the service that nothing needed any more.
    pub deleted: u64,
    /// From a start where nothing was counted; by time.
    pub samples: Vec<Sample>,
    pub times: [[u64; BUCKETS]; KINDS.len()],
    pub causes: Vec<FailureGroup>,
    pub slowest: Vec<SlowFile>,
}

impl Details {
    pub fn read(json: &str) -> Details {
        let value: Value = serde_json::from_str(json).unwrap_or_default();
        let total = |name: &str| whole(&value["totals"][name]);
        let mut samples = vec![Sample::default()];
        samples.extend(list(&value["samples"]).iter().map(sample));
        // The first state of the throttle is that of the first look at it.
        if let Some(first) = samples.get(1).copied() {
            (samples[0].rate, samples[0].concurrency) = (first.rate, first.concurrency);
        }
        samples.sort_by(|a, b| a.at.total_cmp(&b.at));
        Details {
            seconds: number(&value["seconds"]),
            error: value["error"].as_str().map(str::to_owned),
            libraries: list(&value["libraries"]).iter().map(words).collect(),
            totals: RunTotals {
                recovered: total("recovered"),
                indexed: total("indexed"),
                failed: total("failed"),
                skipped: total("skipped"),
                bytes: total("bytes"),
                requests: total("requests"),
                polls: total("polls"),
                retries: total("retries"),
                throttled: total("throttled"),
                resumed: total("resumed"),
                adopted: total("adopted"),
                ..RunTotals::default()
            },
            deleted: whole(&value["deleted"]),
            samples,
            times: KINDS.map(|kind| std::array::from_fn(|i| whole(&value["times"][kind][i]))),
            causes: list(&value["causes"]).iter().map(cause).collect(),
            slowest: list(&value["slowest"]).iter().map(slow_file).collect(),
        }
    }
}

fn sample(v: &Value) -> Sample {
    Sample {
        at: number(&v[0]) / 1000.0,
        indexed: number(&v[1]),
        bytes: number(&v[2]),
        outcomes: std::array::from_fn(|i| number(&v[4 + i])),
        rate: v[8].as_f64().map(|rate| rate.clamp(0.0, NUMBER_MAX)),
        concurrency: number(&v[9]),
    }
}

fn cause(v: &Value) -> FailureGroup {
    FailureGroup {
        kind: words(&v[0]),
        files: whole(&v[1]),
        attempts: whole(&v[2]),
        words: words(&v[3]),
    }
}

fn slow_file(v: &Value) -> SlowFile {
    SlowFile {
        library: words(&v[0]),
        path: words(&v[1]),
        bytes: whole(&v[2]),
        attempts: whole(&v[3]),
        status: words(&v[4]),
        seconds: number(&v[5]),
    }
}

fn list(v: &Value) -> &[Value] {
    v.as_array().map_or(&[], Vec::as_slice)
}

fn whole(v: &Value) -> u64 {
    v.as_u64().unwrap_or(0)
}

/// No number of a report is negative, or larger than any that is counted.
fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or(0.0).clamp(0.0, NUMBER_MAX)
}

fn words(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_a_run_without_details() {
        for json in [
            "",
            "[]",
            "{\"samples\": 3, \"times\": {\"looks\": [-1, \"x\"]}}",
            "null",
        ] {
            let details = Details::read(json);
            assert_eq!(details.samples.len(), 1);
            assert_eq!(details.times, [[0; BUCKETS]; 4]);
            assert!(details.causes.is_empty() && details.slowest.is_empty());
        }
    }
}
