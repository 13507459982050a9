//! The control plane: ledger, recorded requests, the fault plan in force; all data, out, in and gone.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use crate::emulator::Faults;
use crate::emulator::http::answer::Answer;
use crate::emulator::http::{BodyReader, Head};
use crate::emulator::service::{Service, whole};

/// A plan that is longer is refused.
const PLAN_BYTES_MAX: u64 = 1 << 20;
/// The same of all data.
const DATA_BYTES_MAX: u64 = 1 << 29;

pub fn handle(service: &Service, path: &str, head: &Head, body: &mut BodyReader<'_>) -> Answer {
    match (head.method.as_str(), path) {
        ("GET", "ledger") => match ledger(service) {
            Ok(ledger) => Answer::json(&ledger),
            Err(e) => Answer::text(500, &e.to_string()),
        },
        ("GET", "requests") => {
            let after = head.query.get("after").and_then(|n| n.parse().ok());
            Answer::json(&whole(&service.ledger).requests_after(after.unwrap_or(0)))
        }
        ("GET", "faults") => {
            let dice = whole(&service.dice);
            let mut plan = json!(dice.plan);
            plan["fired"] = json!(dice.fired());
            plan["calls_seen"] = json!(dice.calls_seen());
            Answer::json(&plan)
        }
        ("GET", "health") => Answer::json(&json!({"status": "ok"})),
        ("PUT", "faults") => change_faults(service, body),
        ("GET", "data") => match whole(&service.database).export() {
            Ok(data) => Answer {
                body: data.into_bytes(),
                ..Answer::json(&Value::Null)
            },
            Err(e) => Answer::text(500, &e.to_string()),
        },
        ("PUT", "data") => match import(service, body) {
            Ok(()) => Answer::json(&json!({})),
            Err(why) => Answer::text(400, &format!("nothing was imported: {why}")),
        },
        ("DELETE", "faults") => {
            whole(&service.dice).reset();
            Answer::json(&json!({}))
        }
        ("DELETE", "data") => match clear(service) {
            Ok(()) => Answer::json(&json!({})),
            Err(e) => Answer::text(500, &e.to_string()),
        },
        _ => Answer::text(404, "Not Found"),
    }
}

/// What really happened.
pub fn ledger(service: &Service) -> rusqlite::Result<Value> {
    let connections = service.connections.load(Ordering::Relaxed);
    let at = service.moment();
    whole(&service.ledger).to_json(&whole(&service.database), &at, connections)
}

pub fn clear(service: &Service) -> rusqlite::Result<()> {
    whole(&service.live).clear();
    whole(&service.database).clear()
}

fn import(service: &Service, body: &mut BodyReader<'_>) -> Result<(), String> {
    let bytes = match body.whole(DATA_BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(format!("it is longer than {DATA_BYTES_MAX} bytes")),
        Err(_) => return Err("it was cut".to_owned()),
    };
    let text = std::str::from_utf8(&bytes).map_err(|e| format!("not UTF-8: {e}"))?;
    whole(&service.database).import(text)?;
    whole(&service.live).clear();
    service.go_on(&bytes).map_err(|e| e.to_string())
}

/// Given fields replace, the others stay.
fn change_faults(service: &Service, body: &mut BodyReader<'_>) -> Answer {
    let bytes = match body.whole(PLAN_BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Answer::text(400, "the plan is longer than 1 MiB"),
        Err(_) => return Answer::text(400, "the plan was cut"),
    };
    let given: Map<String, Value> = match serde_json::from_slice(&bytes) {
        Ok(given) => given,
        Err(e) => return Answer::text(400, &format!("not a plan: {e}")),
    };
    let mut dice = whole(&service.dice);
    let mut plan = json!(dice.plan);
    for (name, value) in &given {
        plan[name] = value.clone();
    }
    match Faults::of(plan) {
        Ok(plan) => {
            dice.plan = plan;
            if given.contains_key("calls") {
                dice.count_calls_anew();
            }
            Answer::json(&json!({}))
        }
        Err(e) => Answer::text(400, &format!("not a plan: {e}")),
    }
}
