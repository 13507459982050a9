//! Events as lines for programs. Names and fields are a contract: other programs read them.

use serde_json::{Map, Value, json};

use super::{Event, Summary};
use crate::clock::{UnixMs, now_ms, rfc3339};
use crate::text::json_line;

/// `None` for what is for people only.
pub fn line(event: &Event, now: UnixMs) -> Option<String> {
    let (name, fields) = match event {
        Event::ScanDone {
            library,
            found,
            seconds,
        } => (
            "scan_done",
            json!({"library": library, "files": found.files, "new": found.new,
                   "changed": found.changed, "described": found.described,
                   "moved": found.moved, "missing": found.missing,
                   "left_out": found.left_out, "unchanged": found.unchanged,
                   "skipped": found.skipped, "skipped_by": found.skipped_by,
                   "bytes": found.bytes, "seconds": rounded(*seconds)}),
        ),
        Event::RunStart {
            run,
            store,
            pending,
            processing,
            recovered,
        } => (
            "run_start",
            json!({"run": run, "store": store, "pending": pending, "processing": processing,
                   "recovered": recovered}),
        ),
        Event::File {
            library,
            path,
            status,
            bytes,
            attempts,
            seconds,
            document,
            error,
        } => {
            let mut fields = json!({"library": &**library, "path": path, "status": status.as_str(), "bytes": bytes,
                                    "attempts": attempts, "seconds": rounded(*seconds)});
            for (name, value) in [("document", document), ("error", error)] {
                if let Some(value) = value {
                    fields[name] = json!(value);
                }
            }
            ("file", fields)
        }
        Event::Throttle {
            state,
            rate_per_min,
            concurrency,
        } => (
            "throttle",
            json!({"state": state.as_str(), "rate_per_min": rate_per_min.map(rounded),
                   "concurrency": concurrency}),
        ),
        Event::BatchDone {
            batch,
            files,
            succeeded,
            failed,
            skipped,
        } => (
            "batch_done",
            json!({"batch": batch, "files": files, "succeeded": succeeded, "failed": failed,
                   "skipped": skipped}),
        ),
        Event::Plan(plan) => ("plan", plan.to_json()),
        Event::Summary(summary) => ("summary", summary_fields(summary)),
        Event::Notice(_) | Event::Warning(_) | Event::Skip { .. } => return None,
    };
    let mut object = Map::new();
    object.insert("event".to_owned(), json!(name));
    object.insert("time".to_owned(), json!(rfc3339(now)));
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Some(json_line(&object))
}

fn summary_fields(s: &Summary) -> Value {
    let t = &s.totals;
    json!({"total": t.files(), "indexed": t.indexed, "failed": t.failed, "skipped": t.skipped,
           "pending": t.pending, "processing": t.processing, "bytes": t.bytes,
           "seconds": rounded(s.seconds), "requests": t.requests, "polls": t.polls,
           "retries": t.retries, "throttled": t.throttled, "resumed": t.resumed,
           "adopted": t.adopted, "limited_by": s.limited_by.as_str(), "exit": s.exit})
}

/// To the millisecond; more digits are noise.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The line of a command that is no run: its fields, and the time.
pub fn timed(mut fields: Value) -> String {
    fields["time"] = rfc3339(now_ms()).into();
    json_line(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::event::FileStatus;
    use crate::scan::Found;
    use crate::throttle::breaker::BreakerState;

    fn fields(event: &Event) -> Vec<String> {
        let line = line(event, 0).unwrap();
        assert!(!line.contains('\n'));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.retain(|n| n != "time" && n != "event");
        names.sort();
        names
    }

    fn sorted(names: &str) -> Vec<String> {
        let mut names: Vec<String> = names.split(',').map(str::to_owned).collect();
        names.sort();
        names
    }

    #[test]
    fn every_event_has_exactly_the_fields_of_the_contract() {
        let file = |document: Option<&str>, error: Option<&str>| Event::File {
            library: "docs".into(),
            path: "a\nb".to_owned(),
            status: FileStatus::Indexed,
            bytes: 1,
            attempts: 1,
            seconds: 0.1,
            document: document.map(str::to_owned),
            error: error.map(str::to_owned),
        };
        let cases = [
            (
                Event::ScanDone {
                    library: "docs".to_owned(),
                    found: Found::default(),
                    seconds: 0.0,
                },
                "library,files,new,changed,described,moved,missing,left_out,unchanged,skipped,skipped_by,bytes,seconds",
            ),
            (
                Event::RunStart {
                    run: 1,
                    store: "s".to_owned(),
                    pending: 1,
                    processing: 0,
                    recovered: 0,
                },
                "run,store,pending,processing,recovered",
            ),
            (
                file(None, None),
                "library,path,status,bytes,attempts,seconds",
            ),
            (
                file(Some("d"), Some("e")),
                "library,path,status,bytes,attempts,seconds,document,error",
            ),
            (
                Event::Throttle {
                    state: BreakerState::HalfOpen { probe: None },
                    rate_per_min: None,
                    concurrency: 3,
                },
                "state,rate_per_min,concurrency",
            ),
            (
                Event::BatchDone {
                    batch: 1,
                    files: 1,
                    succeeded: 1,
                    failed: 0,
                    skipped: 0,
                },
                "batch,files,succeeded,failed,skipped",
            ),
            (
                Event::Summary(Box::default()),
                "total,indexed,failed,skipped,pending,processing,bytes,seconds,requests,polls,\
                 retries,throttled,resumed,adopted,limited_by,exit",
            ),
        ];
        for (event, names) in cases {
            assert_eq!(fields(&event), sorted(&names.replace(' ', "")));
        }
        assert!(line(&Event::Notice("x".to_owned()), 0).is_none());
    }
}
