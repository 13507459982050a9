//! From a request to its fate: control plane, faults, key, route.
//!
//! The order is the service's: what the network breaks, then
//! overload and quotas, then the key, then the call itself.

use std::io::Read;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{self, Answer, Fate};
use super::faults::Limited;
use super::http::{BodyReader, Head};
use super::service::{Call, Service, whole};
use super::{files, search, sessions, stores};

/// A JSON request is read up to here.
const JSON_BYTES_MAX: u64 = 1 << 20;

/// Every kind of call there is.
pub const KINDS: &[&str] = &[
    "document.delete",
    "document.get",
    "document.list",
    "file.delete",
    "file.get",
    "file.list",
    "file.start",
    "generate",
    "import",
    "operation.get",
    "store.create",
    "store.delete",
    "store.get",
    "store.list",
    "upload.body",
    "upload.cancel",
    "upload.query",
    "upload.start",
];

/// What kind of call a path and method are; `None`: no such route.
fn kind(method: &str, upload: bool, path: &str, command: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.split('/').collect();
    let body = command.contains("upload") || command.contains("finalize");
    Some(match (method, upload, parts.as_slice()) {
        ("POST" | "PUT", true, ["files"] | ["fileSearchStores", _]) if command == "query" => {
            "upload.query"
        }
        ("POST" | "PUT", true, ["files"] | ["fileSearchStores", _]) if command == "cancel" => {
            "upload.cancel"
        }
        ("POST" | "PUT", true, ["files"] | ["fileSearchStores", _]) if body => "upload.body",
        ("POST", true, ["files"]) => "file.start",
        ("POST", true, ["fileSearchStores", s]) if s.ends_with(":uploadToFileSearchStore") => {
            "upload.start"
        }
        ("POST", false, ["fileSearchStores"]) => "store.create",
        ("GET", false, ["fileSearchStores"]) => "store.list",
        ("POST", false, ["fileSearchStores", s]) if s.ends_with(":importFile") => "import",
        ("GET", false, ["fileSearchStores", _]) => "store.get",
        ("DELETE", false, ["fileSearchStores", _]) => "store.delete",
        ("GET", false, ["fileSearchStores", _, "documents"]) => "document.list",
        ("GET", false, ["fileSearchStores", _, "documents", _]) => "document.get",
        ("DELETE", false, ["fileSearchStores", _, "documents", _]) => "document.delete",
        ("GET", false, ["fileSearchStores", _, "operations", _]) => "operation.get",
        ("GET", false, ["fileSearchStores", _, "upload", "operations", _]) => "operation.get",
        ("GET", false, ["files"]) => "file.list",
        ("GET", false, ["files", _]) => "file.get",
        ("DELETE", false, ["files", _]) => "file.delete",
        ("POST", false, ["models", m]) if m.ends_with(":generateContent") => "generate",
        _ => return None,
    })
}

impl Service {
    pub fn handle(&self, head: &Head, body: &mut BodyReader<'_>) -> Fate {
        if let Some(path) = head.path.strip_prefix("/_emulator/") {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            let answer = self.control(path, head, body);
            self.connections.fetch_add(1, Ordering::Relaxed);
            return Fate::Answer(answer);
        }
        let command = head.header("x-goog-upload-command").to_ascii_lowercase();
        let Some((upload, path)) = version(&head.path) else {
            return Fate::Answer(Answer::text(404, "Not Found"));
        };
        let Some(kind) = kind(&head.method, upload, path, &command) else {
            whole(&self.ledger).violation(format!("no route: {} {}", head.method, head.path));
            return Fate::Answer(Answer::text(404, "Not Found"));
        };
        let number = whole(&self.ledger).request(kind, head);
        let fate = self.with_faults(kind, head, path, &command, body, number);
        let status = match &fate {
            Fate::Answer(answer) => Some(answer.status),
            Fate::Reset => None,
        };
        whole(&self.ledger).answered(number, status);
        fate
    }

    fn with_faults(
        &self,
        kind: &'static str,
        head: &Head,
        path: &str,
        command: &str,
        body: &mut BodyReader<'_>,
        number: u64,
    ) -> Fate {
        let latency = {
            let mut dice = whole(&self.dice);
            let (base, jitter) = (dice.plan.latency_ms, dice.plan.latency_jitter_ms);
            dice.between(base, jitter)
        };
        thread::sleep(Duration::from_millis(latency));
        if self.roll("reset_before", |p| p.reset_before) {
            return Fate::Reset;
        }
        let within = self.roll("reset_within", |p| p.reset_within);
        if within && kind != "upload.body" {
            return Fate::Reset;
        }
        if let Some(refused) = self.overloaded(kind) {
            if self.roll("array_envelope", |p| p.array_envelope) {
                let body = [b"[", refused.body.as_slice(), b"]"].concat();
                return Fate::Answer(Answer { body, ..refused });
            }
            return Fate::Answer(refused);
        }
        if let Some(refused) = self.key(kind, head) {
            return Fate::Answer(refused);
        }
        let done = match kind {
            "upload.body" => {
                let after = self.roll("reset_after", |p| p.reset_after);
                sessions::body(self, head, command, body, within, after)
            }
            _ => {
                let mut bytes = Vec::new();
                if body.take(JSON_BYTES_MAX).read_to_end(&mut bytes).is_err() {
                    return Fate::Reset;
                }
                whole(&self.ledger).body(number, &bytes);
                if self.roll("reset_after", |p| p.reset_after) {
                    return Fate::Reset;
                }
                let call = Call {
                    head,
                    path,
                    body: bytes,
                };
                self.call(kind, &call)
            }
        };
        let Some(answer) = done else {
            return Fate::Reset;
        };
        let is_end = kind == "upload.body" && answer.status == 200 && command.contains("finalize");
        let lost = (is_end && self.roll("lose_final_answer", |p| p.lose_final_answer))
            || self.roll("lose_answer", |p| p.lose_answer);
        match lost {
            true => Fate::Reset,
            false => Fate::Answer(answer),
        }
    }

    fn call(&self, kind: &'static str, call: &Call<'_>) -> Option<Answer> {
        let result = match kind {
            "store.create" => stores::create(self, call),
            "store.list" => stores::list(self, call),
            "store.get" => stores::get(self, call),
            "store.delete" => stores::delete(self, call),
            "document.list" => stores::list_documents(self, call),
            "document.get" => stores::get_document(self, call),
            "document.delete" => stores::delete_document(self, call),
            "operation.get" => stores::operation(self, call),
            "upload.start" | "file.start" => sessions::start(self, call),
            "upload.query" => sessions::query(self, call),
            "upload.cancel" => sessions::cancel(self, call),
            "file.list" => files::list(self, call),
            "file.get" => files::get(self, call),
            "file.delete" => files::delete(self, call),
            "import" => files::import(self, call),
            "generate" => search::generate(self, call),
            _ => Ok(Answer::text(404, "Not Found")),
        };
        // An error of our own database is the service's 500.
        Some(result.unwrap_or_else(|e| answer::error(500, &e.to_string(), Vec::new())))
    }

    /// What an overloaded or limited service says instead of doing anything.
    fn overloaded(&self, kind: &'static str) -> Option<Answer> {
        let at = self.started.elapsed();
        let mut dice = whole(&self.dice);
        let now = at.as_millis() as u64;
        let out = dice
            .plan
            .outages
            .iter()
            .any(|o| (o.from_ms..o.to_ms).contains(&now));
        if out {
            dice.fire("outages");
            return Some(answer::error(
                503,
                "The service is currently unavailable.",
                Vec::new(),
            ));
        }
        let plan = dice.plan.clone();
        if dice.roll("error_503", plan.error_503) {
            return Some(answer::error(503, "The model is overloaded.", Vec::new()));
        }
        if dice.roll("empty_503", plan.empty_503) {
            return Some(Answer {
                status: 503,
                ..Answer::json(&json!({"error": {"message": "", "code": 503,
                    "status": "Service Unavailable"}}))
            });
        }
        if dice.roll("html_502", plan.html_502) {
            let mut answer = Answer::text(502, "<html><title>502 Bad Gateway</title></html>");
            answer.content_type = "text/html";
            return Some(answer);
        }
        if dice.roll("error_500", plan.error_500) {
            return Some(answer::error(
                500,
                "An internal error has occurred.",
                Vec::new(),
            ));
        }
        if dice.roll("error_429", plan.error_429) {
            return Some(answer::quota("RequestsPerMinutePerProject", 60.0, None));
        }
        if kind == "upload.body" {
            return None;
        }
        let is_write =
            !(kind.ends_with(".get") || kind.ends_with(".list") || kind == "upload.query");
        match dice.count(is_write, at) {
            Ok(()) => None,
            Err(Limited::Minute { limit, retry }) => {
                Some(answer::quota("RequestsPerMinutePerProject", limit, retry))
            }
            Err(Limited::Day(limit)) => Some(answer::quota(
                "RequestsPerDayPerProject",
                limit as f64,
                None,
            )),
        }
    }

    /// An upload's URL is its own credential; everything else needs a key.
    fn key(&self, kind: &str, head: &Head) -> Option<Answer> {
        if matches!(kind, "upload.body" | "upload.query" | "upload.cancel") {
            return None;
        }
        let key = match head.header("x-goog-api-key") {
            "" => head.query.get("key").map_or("", String::as_str),
            key => key,
        };
        if key.is_empty() {
            return Some(answer::no_key());
        }
        let refused = self.refuse_keys.iter().any(|k| k == key);
        refused.then(answer::bad_key)
    }

    fn control(&self, path: &str, head: &Head, body: &mut BodyReader<'_>) -> Answer {
        match (head.method.as_str(), path) {
            ("GET", "ledger") => {
                let connections = self.connections.load(Ordering::Relaxed);
                match whole(&self.ledger).to_json(&whole(&self.database), connections) {
                    Ok(ledger) => Answer::json(&ledger),
                    Err(e) => Answer::text(500, &e.to_string()),
                }
            }
            ("GET", "requests") => {
                let after = head.query.get("after").and_then(|n| n.parse().ok());
                Answer::json(&whole(&self.ledger).requests_after(after.unwrap_or(0)))
            }
            ("GET", "faults") => {
                let dice = whole(&self.dice);
                let mut plan = json!(dice.plan);
                plan["fired"] = json!(dice.fired());
                Answer::json(&plan)
            }
            ("PUT", "faults") => self.change_faults(body),
            _ => Answer::text(404, "Not Found"),
        }
    }

    /// Given fields replace, the others stay.
    fn change_faults(&self, body: &mut BodyReader<'_>) -> Answer {
        let mut bytes = Vec::new();
        if body.take(JSON_BYTES_MAX).read_to_end(&mut bytes).is_err() {
            return Answer::text(400, "the plan was cut");
        }
        let given: Value = match serde_json::from_slice(&bytes) {
            Ok(given) => given,
            Err(e) => return Answer::text(400, &format!("not a plan: {e}")),
        };
        let mut dice = whole(&self.dice);
        let mut plan = json!(dice.plan);
        for (name, value) in given.as_object().into_iter().flatten() {
            plan[name] = value.clone();
        }
        match serde_json::from_value(plan) {
            Ok(plan) => {
                dice.plan = plan;
                Answer::json(&json!({}))
            }
            Err(e) => Answer::text(400, &format!("not a plan: {e}")),
        }
    }
}

/// `/v1beta/x` and `/upload/v1beta/x`: whether it is an upload, and `x`.
fn version(path: &str) -> Option<(bool, &str)> {
    let path = path.strip_prefix("/resumable").unwrap_or(path);
    let (upload, path) = match path.strip_prefix("/upload/") {
        Some(rest) => (true, rest),
        None => (false, path.strip_prefix('/')?),
    };
    let (version, rest) = path.split_once('/')?;
    matches!(version, "v1" | "v1beta" | "v1alpha").then_some((upload, rest))
}
