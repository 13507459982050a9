//! Faults as data: what goes wrong, and how often.
//!
//! Promises: everything is off by default; a name or kind that does not exist is refused with the nearest one.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::emulator::strict::rules::nearest;

/// Every kind of request there is.
pub const KINDS: &[&str] = &[
    "count_tokens",
    "document.delete",
    "document.get",
    "document.list",
    "embed",
    "file.delete",
    "file.download",
    "file.get",
    "file.list",
    "file.register",
    "file.start",
    "generate",
    "import",
    "interact",
    "media.get",
    "model.get",
    "model.list",
    "operation.get",
    "store.create",
    "store.delete",
    "store.get",
    "store.list",
    "upload.body",
    "upload.cancel",
    "upload.multipart",
    "upload.query",
    "upload.raw",
    "upload.start",
];

/// All off by default. Probabilities are 0 to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    pub latency_ms: u64,
    pub latency_jitter_ms: u64,
    /// Requests a minute.
    pub quota_per_min: Option<f64>,
    pub quota_write_per_min: Option<f64>,
    pub quota_read_per_min: Option<f64>,
    pub quota_shape: Shape,
    /// Requests that a bucket saves up; ten seconds of its rate, if not given.
    pub quota_burst: Option<f64>,
    pub quota_counts: Counts,
    /// No RetryInfo in quota errors.
    pub quota_no_retry_info: bool,
    /// What RetryInfo says instead of the truth.
    pub quota_retry_delay_s: Option<f64>,
    pub quota_per_day: Option<u64>,
    /// Bytes that all stores together may hold.
    pub storage_limit_bytes: Option<u64>,
    /// Rolled faults (the probabilities) meet only requests of these kinds; empty: all.
    #[serde(deserialize_with = "known_kinds")]
    pub only_kinds: Vec<String>,
    /// What single requests meet, by their number.
    pub calls: Vec<NthCall>,
    pub error_503: f64,
    pub error_500: f64,
    pub error_429: f64,
    pub error_408: f64,
    /// 503 "Failed to count tokens." at the end of a direct upload.
    pub count_tokens_503: f64,
    pub empty_503: f64,
    pub html_502: f64,
    /// Error envelopes come in an array of one.
    pub array_envelope: f64,
    /// Connection reset before the body is read, within it, or after it but before any effect.
    pub reset_before: f64,
    pub reset_within: f64,
    pub reset_after: f64,
    /// The effect happens, the connection is cut instead of an answer.
    pub lose_answer: f64,
    /// The same for the end of an upload only.
    pub lose_final_answer: f64,
    /// Broken answers, after the effect: 200 with what is not the JSON it should be.
    pub wrong_json: f64,
    /// Fewer bytes than announced, then a close.
    pub cut_answer: f64,
    /// 200 without a body or any upload header.
    pub empty_answer: f64,
    /// Each byte of a body takes so long.
    pub drip_ms: u64,
    /// No answer; the connection is closed after `stall_ms`, two minutes if not given.
    pub stall: f64,
    pub stall_ms: Option<u64>,
    /// `start` answers that the upload is final; the document is empty.
    pub start_final: f64,
    pub start_no_url: f64,
    /// The upload URL names another host.
    pub start_foreign_url: f64,
    /// The headers of an upload's start are lost on the way: the JSON of its body becomes the document.
    pub upload_headers_lost: f64,
    /// Uploads of one request are refused in their multipart form.
    pub multipart_refused: f64,
    /// They are taken, and their metadata is dropped.
    pub multipart_metadata_dropped: f64,
    /// What was uploaded is kept one byte short, and reported so.
    pub final_size_wrong: f64,
    /// `query` after the end says final, and nothing more.
    pub final_not_replayed: f64,
    pub operation_delay_ms: u64,
    pub operation_jitter_ms: u64,
    pub operation_fail: f64,
    pub operation_never_done: f64,
    /// The operation ends without an error, and the document as failed.
    pub document_fail: f64,
    /// A document fails in that way when, with it, more than so many are being indexed.
    pub document_fail_above: Option<u64>,
    /// A document that failed in that way is active so long after it was ready.
    pub document_heals_ms: Option<u64>,
    /// A poll answers only with the name.
    pub poll_name_only: f64,
    pub list_lag_ms: u64,
    /// A new document is not there for `get` for so long.
    pub get_lag_ms: u64,
    /// Pages of a listing after the first fail.
    pub list_error_page2: f64,
    /// A page after the first begins with documents of the one before; nothing is lost by it.
    pub list_repeat_page: f64,
    /// A page token that was given out is answered 400.
    pub page_token_refused: f64,
    /// A page comes without its documents, the token goes on.
    pub list_lose_page: f64,
    /// A page comes without one of its documents.
    pub list_lose_one: f64,
    /// A deleted document is still listed for so long.
    pub list_ghost_ms: u64,
    /// A new store is not listed for so long.
    pub store_lag_ms: u64,
    /// Missing documents and operations are answered 403 instead of 404.
    pub missing_403: f64,
    /// A file of the Files API is PROCESSING for so long.
    pub file_processing_ms: u64,
    /// It ends as FAILED.
    pub file_fail: f64,
    /// It is kept for so long instead of 48 hours.
    pub file_kept_ms: Option<u64>,
    /// The final answer of its upload lacks `file`.
    pub file_no_body: f64,
    pub session_expiry_ms: Option<u64>,
    /// An active document is not found by questions for so long.
    pub search_lag_ms: u64,
    /// Questions that are blocked: the answer has no candidate.
    pub prompt_blocked: f64,
    /// Answers that are stopped for safety before their first word.
    pub answer_blocked: f64,
    /// Windows in which everything answers 503, in milliseconds since the start.
    pub outages: Vec<Outage>,
    pub chunk_granularity: Option<u64>,
}

/// What a service is like, by its name. `realistic`: what was seen of a real account (fact sheet, 10 and 11).
/// `hostile`: the worst of that, and often.
const PROFILES: [(&str, &str); 3] = [
    ("fast", "{}"),
    (
        "realistic",
        r#"{"latency_ms": 80, "latency_jitter_ms": 240, "operation_delay_ms": 5000, "operation_jitter_ms": 6000,
            "get_lag_ms": 240, "list_lag_ms": 500, "search_lag_ms": 7000, "poll_name_only": 0.01,
            "operation_never_done": 0.01}"#,
    ),
    (
        "hostile",
        r#"{"latency_ms": 200, "latency_jitter_ms": 800, "operation_delay_ms": 2000, "operation_jitter_ms": 20000,
            "get_lag_ms": 1000, "list_lag_ms": 2000, "search_lag_ms": 30000, "poll_name_only": 0.05,
            "operation_never_done": 0.05, "document_fail": 0.05, "document_heals_ms": 30000,
            "count_tokens_503": 0.05, "error_503": 0.05, "empty_503": 0.01, "lose_final_answer": 0.02,
            "reset_within": 0.02, "quota_per_min": 300}"#,
    ),
];

/// The plan of a profile.
///
/// # Errors
/// What is wrong with the name, for a person.
pub fn profile(name: &str) -> Result<Value, String> {
    let known = PROFILES.iter().find(|(known, _)| *known == name);
    let names = PROFILES.iter().map(|(name, _)| *name);
    let plan = known.map(|(_, plan)| serde_json::from_str(plan).map_err(|e| e.to_string()));
    plan.unwrap_or_else(|| {
        let like = nearest(name, names);
        Err(format!("no profile is called that; the nearest is `{like}`; there are fast, realistic and hostile"))
    })
}

impl Faults {
    /// # Errors
    /// What is wrong with the plan, for a person.
    pub fn of(plan: Value) -> Result<Faults, String> {
        let known = json!(Faults::default());
        if let (Value::Object(given), Value::Object(known)) = (&plan, &known) {
            for (name, value) in given {
                let Some(default) = known.get(name) else {
                    let like = nearest(name, known.keys().map(String::as_str));
                    return Err(format!(
                        "no fault is called `{name}`; the nearest is `{like}`"
                    ));
                };
                // All other numbers are whole ones, or are not there by default.
                let is_off = |p: f64| !(0.0..=1.0).contains(&p);
                if default.is_f64() && value.as_f64().is_some_and(is_off) {
                    return Err(format!("{name} is {value}, and a probability is 0 to 1"));
                }
                let alone = Faults::deserialize(json!({ name.as_str(): value }));
                alone.map_err(|e| format!("{name}: {e}"))?;
            }
        }
        serde_json::from_value(plan).map_err(|e| e.to_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    pub from_ms: u64,
    pub to_ms: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    #[default]
    Fixed,
    Sliding,
    Bucket,
}

/// Which requests the quotas count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    #[default]
    All,
    AllButBodies,
    /// Those that start an upload.
    Starts,
}

impl Counts {
    pub fn includes(self, kind: &str) -> bool {
        match self {
            Counts::All => true,
            Counts::AllButBodies => kind != "upload.body",
            Counts::Starts => matches!(
                kind,
                "upload.start" | "upload.multipart" | "upload.raw" | "file.start"
            ),
        }
    }
}

/// The N-th request from when the list was given meets this, and nothing else of the network's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NthCall {
    /// 1 is the first; the control plane is not counted.
    pub call: u64,
    pub kind: Trouble,
}

/// What a single request can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    ResetBefore,
    ResetAfter,
    LoseAnswer,
    #[serde(rename = "408")]
    Timeout,
    #[serde(rename = "429")]
    TooMany,
    #[serde(rename = "500")]
    Internal,
    #[serde(rename = "503")]
    Unavailable,
    CutAnswer,
    WrongJson,
    EmptyAnswer,
    Stall,
}

fn known_kinds<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let kinds = Vec::<String>::deserialize(from)?;
    match kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        None => Ok(kinds),
        Some(unknown) => Err(serde::de::Error::custom(format!(
            "no kind of request is called `{unknown}`; the nearest is `{}`",
            nearest(unknown, KINDS.iter().copied())
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(plan: &str) -> bool {
        serde_json::from_str::<Faults>(plan).is_ok()
    }

    #[test]
    fn an_unknown_fault_is_refused_with_the_nearest_one() {
        let why = Faults::of(json!({"eror_503": 1})).unwrap_err();
        assert!(why.contains("`error_503`"), "{why}");
        assert!(Faults::of(json!({"error_503": 1, "latency_ms": 7, "quota_per_min": 2.5})).is_ok());
        for p in [-0.1, 1.1] {
            let why = Faults::of(json!({"error_503": p})).unwrap_err();
            assert!(why.starts_with("error_503 is "), "{why}");
        }
        let why = Faults::of(json!({"stall": "x"})).unwrap_err();
        assert!(why.starts_with("stall: "), "{why}");
        assert!(!reads(r#"{"error_504": 1}"#));
        assert!(reads(r#"{"error_503": 1}"#));
    }

    #[test]
    fn every_profile_is_a_plan() {
        for (name, _) in PROFILES {
            assert!(Faults::of(profile(name).unwrap()).is_ok(), "{name}");
        }
        assert_eq!(
            Faults::of(profile("fast").unwrap()).unwrap(),
            Faults::default()
        );
        assert!(profile("realstic").unwrap_err().contains("`realistic`"));
    }

    #[test]
    fn an_unknown_kind_of_request_is_refused() {
        assert!(!reads(r#"{"only_kinds": ["import", "imports"]}"#));
        assert!(reads(r#"{"only_kinds": ["import", "document.list"]}"#));
    }

    #[test]
    fn an_unknown_trouble_is_refused() {
        for kind in [
            "reset_before",
            "reset_after",
            "lose_answer",
            "408",
            "429",
            "500",
            "503",
            "cut_answer",
            "wrong_json",
            "empty_answer",
            "stall",
        ] {
            assert!(reads(&format!(
                r#"{{"calls": [{{"call": 2, "kind": "{kind}"}}]}}"#
            )));
        }
        assert!(!reads(r#"{"calls": [{"call": 2, "kind": "504"}]}"#));
        assert!(!reads(r#"{"calls": [{"number": 2, "kind": "503"}]}"#));
    }

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let plan = Faults {
            calls: vec![NthCall {
                call: 3,
                kind: Trouble::TooMany,
            }],
            only_kinds: vec!["import".to_owned()],
            stall: 0.5,
            ..Faults::default()
        };
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Faults>(&text).unwrap(), plan);
    }
}
