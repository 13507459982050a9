//! The file that something is said of.

use std::sync::Arc;
use std::time::Instant;

use crate::state::{Job, UploadId};

/// The file of an outcome, as it is reported.
#[derive(Debug, Clone)]
pub struct Subject {
    pub upload: UploadId,
    pub library: Arc<str>,
    pub path: String,
    pub bytes: u64,
    /// Tries so far, this one included.
    pub attempts: u32,
    pub started: Instant,
}

impl Subject {
    pub fn of(job: &Job) -> Subject {
        Subject {
            upload: job.upload,
            library: job.library_name.as_str().into(),
            path: job.path.clone(),
            bytes: job.size_bytes,
            attempts: job.attempts + 1,
            started: Instant::now(),
        }
    }
}
