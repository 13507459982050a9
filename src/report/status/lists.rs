//! The lists of `status`: what has failed, was skipped, or is met by no rule, a line a path.

use serde_json::json;

use crate::clock::rfc3339;
use crate::report::event::ndjson::timed;
use crate::report::next::Next;
use crate::report::tone::Tone;
use crate::report::units::count;
use crate::state::reader::figures::{FailedFile, SkippedFile};
use crate::text::one_line;

pub const NOTHING_FAILED: &str = "no file has failed";
pub const NOTHING_UNMATCHED: &str = "there are no rules, or some rule meets every file";
pub const NOTHING_SKIPPED: &str = "the last scans skipped nothing";

/// Above the files that have failed with one error.
pub fn failed_heading(error: &str, files: u64, color: bool) -> String {
    let words = format!("{}: {}", count(files, "file"), one_line(error));
    Tone::Heading.paint(words, color)
}

/// Above all of it, where there are several stores.
pub fn store_heading(name: &str, endpoint: &str) -> String {
    one_line(&format!("store {name} at {endpoint}"))
}

/// Below a heading.
pub fn failed_line(file: &FailedFile) -> String {
    let name = one_line(&format!("{}: {}", file.library, file.path));
    format!("  {name}")
}

/// Below all of them.
pub fn failed_next(next: &Next) -> String {
    let retry = next.line("upload --retry-failed");
    format!("next: mend the cause, then `{retry}`")
}

/// `store`: its resource name.
pub fn failed_json(store: &str, file: &FailedFile) -> String {
    timed(
        json!({"event": "file", "library": file.library, "path": file.path, "status": "failed",
                "store": store, "kind": file.kind, "error": file.error,
                "since": rfc3339(file.since_ms), "attempts": file.attempts}),
    )
}

pub fn unmatched_line(library: &str, path: &str) -> String {
    one_line(&format!("{library}: {path}"))
}

pub fn unmatched_json(library: &str, path: &str) -> String {
    timed(json!({"event": "unmatched", "library": library, "path": path}))
}

pub fn skipped_line(library: &str, file: &SkippedFile) -> String {
    one_line(&format!(
        "{library}: {}: {} ({})",
        file.path, file.reason, file.detail
    ))
}

pub fn skipped_json(library: &str, file: &SkippedFile) -> String {
    timed(
        json!({"event": "skipped", "library": library, "path": file.path,
                "reason": file.reason, "detail": file.detail}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::UploadId;

    #[test]
    fn a_failed_file_stands_in_one_line_below_its_error() {
        let file = FailedFile {
            upload: UploadId(1),
            library: "docs".to_owned(),
            path: "a\n.txt".to_owned(),
            kind: "refused".to_owned(),
            error: "no\nnever".to_owned(),
            since_ms: 0,
            attempts: 1,
        };
        let lines = [
            failed_heading(&file.error, 2, false),
            failed_line(&file),
            failed_next(&Next::default()),
        ];
        let expected = [
            "2 files: no\\nnever",
            "  docs: a\\n.txt",
            "next: mend the cause, then `objlib upload --retry-failed`",
        ];
        assert_eq!(lines, expected);
        let json: serde_json::Value = serde_json::from_str(&failed_json("s", &file)).unwrap();
        assert_eq!(
            (&json["event"], &json["since"]),
            (&json!("file"), &json!("1970-01-01T00:00:00.000Z"))
        );
        assert!(json["time"].is_string());
    }
}
