//! What will be asked of a run when it is over: why files failed, and which took longest.
//!
//! Owns as many causes as there are kinds of failures, and ten files: no more, however many there were.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::subject::Subject;
use crate::poison;
use crate::report::FileStatus;
use crate::state::Cause;

/// The slowest that are named.
const SLOWEST_MAX: usize = 10;
/// Of the words of a cause; the service's may be long.
const WORDS_CHARS_MAX: usize = 300;

#[derive(Debug, Default)]
pub struct Notes(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    causes: BTreeMap<&'static str, Failures>,
    /// Slowest first.
    slowest: Vec<(f64, Value)>,
}

/// Files that met one kind of failure.
#[derive(Debug, Default)]
struct Failures {
    /// For good.
    files: u64,
    /// Attempts that were followed by others.
    attempts: u64,
    /// Of the first of them.
    words: String,
}

impl Notes {
    /// How the turn of a file ended.
    pub fn take(&self, subject: &Subject, status: FileStatus, cause: Option<&Cause>) {
        let noted = &mut *poison::lock(&self.0);
        if let Some(cause) = cause {
            let failures = noted.causes.entry(cause.kind).or_default();
            match status {
                FileStatus::Failed => failures.files += 1,
                _ => failures.attempts += 1,
            }
            if failures.words.is_empty() {
                failures.words = cause.words.chars().take(WORDS_CHARS_MAX).collect();
            }
        }
        if !matches!(status, FileStatus::Indexed | FileStatus::Failed) {
            return;
        }
        let seconds = subject.started.elapsed().as_secs_f64();
        let place = noted
            .slowest
            .partition_point(|(other, _)| *other >= seconds);
        if place < SLOWEST_MAX {
            let file = json!([
                &*subject.library,
                subject.path,
                subject.bytes,
                subject.attempts,
                status.as_str(),
                seconds
            ]);
            noted.slowest.insert(place, (seconds, file));
            noted.slowest.truncate(SLOWEST_MAX);
        }
    }

    /// `[kind, files, attempts, words]` of each cause.
    pub fn causes(&self) -> Value {
        let noted = poison::lock(&self.0);
        let causes = noted.causes.iter();
        causes
            .map(|(kind, of)| json!([kind, of.files, of.attempts, of.words]))
            .collect()
    }

    /// `[library, path, bytes, attempts, status, seconds]` of each file.
    pub fn slowest(&self) -> Value {
        let noted = poison::lock(&self.0);
        noted.slowest.iter().map(|(_, file)| file.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::state::UploadId;

    #[test]
    fn the_ten_slowest_are_kept_and_causes_are_counted() {
        let notes = Notes::default();
        let began = Instant::now();
        for i in 0..40u64 {
            let subject = Subject {
                upload: UploadId(1),
                library: "docs".into(),
                path: format!("{}", i * 7 % 40),
                bytes: 1,
                attempts: 1,
                started: began.checked_sub(Duration::from_secs(i * 7 % 40)).unwrap(),
            };
            let cause = Cause {
                kind: "refused",
                words: format!("no {i}"),
            };
            let (status, cause) = match i % 4 {
                0 => (FileStatus::Failed, Some(&cause)),
                1 => (FileStatus::Pending, Some(&cause)),
                _ => (FileStatus::Indexed, None),
            };
            notes.take(&subject, status, cause);
        }
        assert_eq!(notes.causes(), json!([["refused", 10, 10, "no 0"]]));
        let slowest = notes.slowest();
        let slowest = slowest.as_array().unwrap();
        let seconds = |file: &Value| file[5].as_f64().unwrap();
        assert_eq!(slowest.len(), SLOWEST_MAX);
        assert!(
            slowest.iter().all(|file| seconds(file) >= 26.0),
            "{slowest:?}"
        );
        assert!(slowest.is_sorted_by(|a, b| seconds(a) >= seconds(b)));
    }
}
