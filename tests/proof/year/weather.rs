//! What is wrong with the service by night.

use fastrand::Rng;
use serde_json::{Value, json};

use super::Year;

/// What a night may meet. `files`: of all libraries, since a quota that lets three hundred through in a minute would
/// hold three thousand up for ten.
pub fn faults(rng: &mut Rng, files: usize) -> Value {
    let mut plan = json!({
        "error_503": 0.03, "error_500": 0.01, "error_408": 0.01, "reset_before": 0.02,
        "reset_within": 0.02, "reset_after": 0.01, "lose_answer": 0.02, "lose_final_answer": 0.05,
        "wrong_json": 0.01, "cut_answer": 0.01, "empty_answer": 0.01, "html_502": 0.01,
        "count_tokens_503": 0.03, "poll_name_only": 0.05, "document_fail": 0.02,
        "document_heals_ms": 100, "operation_delay_ms": 20, "operation_jitter_ms": 60,
        "list_lag_ms": 200, "list_ghost_ms": 300, "missing_403": 0.5,
    });
    // Either the service is slow to give, or its lists are not to be trusted.
    let more = match rng.usize(..3) {
        0 => json!({"quota_per_min": files * rng.usize(10..20), "quota_shape": "bucket"}),
        1 => json!({
            "list_error_page2": 0.01, "list_repeat_page": 0.02, "list_lose_page": 0.005,
            "list_lose_one": 0.005, "session_expiry_ms": 1500, "final_not_replayed": 0.10,
        }),
        _ => json!({"start_no_url": 0.02, "final_size_wrong": 0.02, "file_processing_ms": 20}),
    };
    let more = more.as_object().unwrap().clone();
    plan.as_object_mut().unwrap().extend(more);
    plan
}

impl Year {
    /// No faults any more; which fired is kept.
    pub fn calm(&mut self) {
        let plan = self.service.get("faults");
        for (name, n) in plan["fired"].as_object().unwrap() {
            self.faults.insert(name.clone(), n.as_u64().unwrap());
        }
        let mut calm = serde_json::Map::new();
        for (name, value) in plan.as_object().unwrap() {
            let is_time = name.ends_with("_ms") && value.is_u64();
            if value.is_f64() || is_time {
                calm.insert(name.clone(), 0.into());
            }
        }
        for name in ["quota_per_min", "session_expiry_ms", "stall_ms"] {
            calm.insert(name.to_owned(), Value::Null);
        }
        // What is to heal is healed.
        calm.insert("document_heals_ms".to_owned(), 0.into());
        self.service.set_faults(Value::Object(calm));
    }
}
