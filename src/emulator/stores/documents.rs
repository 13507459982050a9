//! What an upload and an import have in common: how a document comes to be.

use serde_json::{Value, json};

use crate::clock::UnixMs;
use crate::emulator::data::records::{Document, End};
use crate::emulator::http::answer::{self, Answer};
use crate::emulator::service::{Service, whole};

/// What came of an upload.
pub enum Made {
    /// A document or a file.
    Whole(Answer),
    /// Nothing.
    Refused(Answer),
}

pub fn storage_full(service: &Service, more: u64) -> rusqlite::Result<Option<Answer>> {
    let limit = whole(&service.dice).plan.storage_limit_bytes;
    let Some(limit) = limit else { return Ok(None) };
    if whole(&service.database).bytes_in_all()? + more <= limit {
        return Ok(None);
    }
    whole(&service.dice).fire("storage_limit_bytes");
    Ok(Some(answer::error(
        429,
        &format!("Corpus has reached the storage limit of {limit} bytes."),
        Vec::new(),
    )))
}

pub fn metadata(request: &Value) -> Value {
    match &request["customMetadata"] {
        Value::Null => json!([]),
        entries => entries.clone(),
    }
}

/// A document's times and luck, by the faults in force; the rest is for the caller to fill in.
pub fn blank(service: &Service, kind: &str) -> rusqlite::Result<Document> {
    let now = service.now();
    let is_overloaded = is_overloaded(service, now)?;
    let mut dice = whole(&service.dice);
    let (base, jitter) = (dice.plan.operation_delay_ms, dice.plan.operation_jitter_ms);
    let delay = dice.between(base, jitter);
    let end = if dice.roll(kind, "operation_fail", |p| p.operation_fail) {
        End::Failed
    } else if dice.roll(kind, "document_fail", |p| p.document_fail) {
        End::FailedAlone
    } else if is_overloaded {
        dice.fire("document_fail_above");
        End::FailedAlone
    } else {
        End::Active
    };
    Ok(Document {
        created_ms: now,
        ready_ms: now.saturating_add(i64::try_from(delay).unwrap_or(i64::MAX)),
        end,
        ..Document::default()
    })
}

/// Whether one more document is more than the service can index at once.
fn is_overloaded(service: &Service, now: UnixMs) -> rusqlite::Result<bool> {
    let above = whole(&service.dice).plan.document_fail_above;
    Ok(match above {
        Some(above) => whole(&service.database).under_way(now)? >= above,
        None => false,
    })
}
