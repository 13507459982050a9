//! The events of a run. Names and fields of their JSON form are a contract.

use std::sync::Arc;

use self::plan::UploadPlan;
use super::next::Next;
use crate::error::Error;
use crate::scan::{Found, Skip};
use crate::state::RunTotals;
use crate::state::reader::figures::Reason;
use crate::throttle::breaker::BreakerState;

pub mod ndjson;
pub mod plan;

/// Where events go: to a terminal, a program, an agent. Nothing that works waits for it.
pub trait EventSink: Send + Sync {
    fn send(&self, event: Event);
}

#[derive(Debug, Clone)]
pub enum Event {
    ScanDone {
        library: String,
        found: Found,
        seconds: f64,
    },
    /// For people who want to know of each.
    Skip {
        library: String,
        skip: Skip,
    },
    RunStart {
        run: i64,
        store: String,
        pending: u64,
        processing: u64,
        recovered: u64,
    },
    File {
        library: Arc<str>,
        path: String,
        status: FileStatus,
        bytes: u64,
        attempts: u32,
        seconds: f64,
        document: Option<String>,
        error: Option<String>,
    },
    Throttle {
        state: BreakerState,
        /// `None`: no limit.
        rate_per_min: Option<f64>,
        concurrency: usize,
    },
    BatchDone {
        batch: i64,
        files: u64,
        succeeded: u64,
        failed: u64,
        skipped: u64,
    },
    Plan(UploadPlan),
    Summary(Box<Summary>),
    /// For people, on stderr.
    Notice(String),
    /// The same, of something that is not as it should be: `--quiet` keeps it.
    Warning(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileStatus {
    Indexed,
    Failed,
    Skipped,
    /// Handed back after an attempt that failed; there will be another.
    Pending,
}

impl FileStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            FileStatus::Indexed => "indexed",
            FileStatus::Failed => "failed",
            FileStatus::Skipped => "skipped",
            FileStatus::Pending => "pending",
        }
    }
}

/// What held a run back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LimitedBy {
    /// The service's: it answered 429.
    Quota,
    /// The user's own, on requests.
    Ceiling,
    /// The service failed, or could not be reached.
    Outage,
    /// The store, or the account's files, are full.
    Storage,
    /// The service's latency, at the concurrency there was.
    Concurrency,
    Disk,
    Cpu,
    Bandwidth,
    Indexing,
    #[default]
    Nothing,
}

impl LimitedBy {
    const ALL: [LimitedBy; 10] = [
        LimitedBy::Quota,
        LimitedBy::Ceiling,
        LimitedBy::Outage,
        LimitedBy::Storage,
        LimitedBy::Concurrency,
        LimitedBy::Disk,
        LimitedBy::Cpu,
        LimitedBy::Bandwidth,
        LimitedBy::Indexing,
        LimitedBy::Nothing,
    ];

    /// As the row of a run has it.
    pub fn parse(text: &str) -> Option<LimitedBy> {
        LimitedBy::ALL.into_iter().find(|by| by.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            LimitedBy::Quota => "quota",
            LimitedBy::Ceiling => "ceiling",
            LimitedBy::Outage => "outage",
            LimitedBy::Storage => "storage",
            LimitedBy::Concurrency => "concurrency",
            LimitedBy::Disk => "disk",
            LimitedBy::Cpu => "cpu",
            LimitedBy::Bandwidth => "bandwidth",
            LimitedBy::Indexing => "indexing",
            LimitedBy::Nothing => "nothing",
        }
    }
}

/// The last line of every run.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub totals: RunTotals,
    pub seconds: f64,
    pub limited_by: LimitedBy,
    pub exit: u8,
    /// Nothing was sent; what is pending is what would be.
    pub dry_run: bool,
    /// For people only: why it stopped, and what the store holds after all runs.
    pub error: Option<Box<Error>>,
    pub indexed_in_all: u64,
    pub failed_in_all: u64,
    /// By cause, the most frequent first, and the first few files of each.
    pub failed_by: Vec<(Reason, Vec<String>)>,
    /// Why files wait that have been tried.
    pub waiting_by: Vec<Reason>,
    /// Files and folders that could not be read.
    pub unreadable: u64,
    /// Files that are missing, or left out now, and whose documents may still be there.
    pub gone: u64,
    /// Files that wait and that `--limit` left for another run.
    pub beyond_limit: u64,
    /// The run that it is the end of, if one began.
    pub run: Option<i64>,
    /// What makes the next command line mean the same database and store.
    pub next: Next,
}
