//! The file under a worker's hands is not what was scanned: what it is now, and what that means for its row.
//!
//! Promises: nothing of it is at the service when this is asked; a file that is only gone for a moment, or
//! whose whole folder is, is not taken for deleted.

use std::path::Path;

use super::worker::{Returned, Worker};
use crate::clock;
use crate::error::{Error, Kind};
use crate::pipeline::outcome::subject::Subject;
use crate::scan::mime::Types;
use crate::scan::{self, Skip, SkipReason};
use crate::state::{Cause, Change, HandBack, Job, SkipRow};

impl Worker<'_> {
    /// The file is not what was scanned; nothing of it is at the service. Its new content takes a new
    /// place at the end of the queue.
    pub(super) fn changed(&self, job: &Job, subject: &Subject) -> Returned {
        let none = Types::default();
        let types = self.types.get(&job.library).unwrap_or(&none);
        match scan::rescan(&job.root, &job.path, types) {
            // Put back, or replaced by a copy of itself: tried again, but not for ever.
            Ok(seen) if seen.sha256 == job.content.sha256 => {
                let cause = Cause {
                    kind: "changed",
                    words: "it was replaced, or could not be read, while it was sent".to_owned(),
                };
                self.outcomes.attempt_failed(subject, cause, None);
            }
            Ok(reading) => self.outcomes.rescheduled(Change::Rescanned {
                upload: job.upload,
                file: job.file,
                reading,
            }),
            Err(skip) => return self.unfit(job, subject, skip),
        }
        Returned::Done
    }

    /// What was scanned is gone, or cannot be sent as it is now; nothing of it is at the service.
    fn unfit(&self, job: &Job, subject: &Subject, skip: Skip) -> Returned {
        let why = format!("{}: {}", skip.reason.label(), skip.detail);
        let is_gone = std::fs::symlink_metadata(job.root.join(&job.path))
            .is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
        let skip = match skip.reason {
            _ if is_gone => {
                if let Some(error) = unmounted(&job.root) {
                    self.outcomes.handed_back(subject, HandBack::uncharged());
                    return Returned::Fatal(error);
                }
                None
            }
            // It may be readable at another try; if it never is, it ends as failed, with its cause.
            SkipReason::Unreadable | SkipReason::ChangedWhileRead => {
                let kind = "unreadable";
                let cause = Cause { kind, words: why };
                self.outcomes.attempt_failed(subject, cause, None);
                return Returned::Done;
            }
            reason => Some(SkipRow {
                library: job.library,
                path: job.path.clone(),
                reason: reason.label(),
                detail: skip.detail,
                scan: clock::now_ms(),
            }),
        };
        let change = Change::FileLost {
            upload: job.upload,
            file: job.file,
            skip,
        };
        self.outcomes.skipped(subject, change, why);
        Returned::Done
    }
}

/// A file that is gone proves nothing about the others, unless its whole folder is gone: then no other is
/// sent, and none is taken for deleted.
fn unmounted(root: &Path) -> Option<Error> {
    let why = match std::fs::read_dir(root).map(|mut entries| entries.next().is_none()) {
        Ok(false) => return None,
        Ok(true) => "the folder is suddenly empty".to_owned(),
        Err(e) => format!("the folder cannot be read any more: {e}"),
    };
    Some(Error::new(
        Kind::Input,
        root.display().to_string(),
        why,
        "check that its disk is mounted, then run again; nothing was marked as missing",
    ))
}
