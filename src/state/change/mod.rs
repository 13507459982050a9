//! Every message the writer takes, in the order of a file's life. What each does to the rows is in
//! `apply`.

use std::sync::Arc;

pub use self::applied::{Applied, BatchDone, Refusal};
pub use self::attempt::{Cause, Charge, HandBack, NextTime, Way};
use super::durable::UploadId;
use super::reader::Missing;
use super::upload_state::Support;
use crate::clock::UnixMs;
use crate::identity::{ContentKey, Sha256, Variant};
use crate::names::{DocumentName, FileName, OperationName, SessionUrl, StoreName};

mod applied;
mod attempt;

/// What a file held, all at one time.
#[derive(Debug, Clone)]
pub struct Reading {
    pub size_bytes: u64,
    pub mtime_ns: i64,
    /// When it was read, by the wall clock.
    pub hashed_ms: UnixMs,
    pub sha256: Sha256,
    pub mime: String,
}

/// What the document of a file is to carry besides its bytes and its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub variant: Variant,
    /// JSON of its entries; one text for all files that are described alike.
    pub metadata: Arc<str>,
    /// Some rule of its library met its path, or there are no rules.
    pub is_matched: bool,
}

#[cfg(test)]
impl Described {
    /// As most files are: by nothing.
    pub fn by_nothing(library: &str) -> Described {
        Described {
            variant: Variant::of(library, &[]),
            metadata: Arc::from("[]"),
            is_matched: true,
        }
    }
}

/// A file that is new to a scan, or is not as it was.
#[derive(Debug, Clone)]
pub struct SeenFile {
    /// Nothing was recorded of this path when the scan looked.
    pub is_new: bool,
    /// Relative, as on disk.
    pub path: String,
    /// The identity's value of it.
    pub path_value: String,
    pub reading: Reading,
    pub described: Described,
}

/// Why a path of a library is not sent.
#[derive(Debug, Clone)]
pub struct SkipRow {
    pub library: i64,
    pub path: String,
    pub reason: &'static str,
    pub detail: String,
    /// When the scan that met it began.
    pub scan: UnixMs,
}

/// What a run did and left, as its last line says it and its row keeps it.
#[derive(Debug, Clone, Default)]
pub struct RunTotals {
    /// Rows that an earlier run had left on the way.
    pub recovered: u64,
    pub indexed: u64,
    pub failed: u64,
    pub skipped: u64,
    pub pending: u64,
    pub processing: u64,
    /// Of the files indexed.
    pub bytes: u64,
    pub requests: u64,
    pub polls: u64,
    pub retries: u64,
    pub throttled: u64,
    pub resumed: u64,
    pub adopted: u64,
}

impl RunTotals {
    /// Files that the run had to bring to an end.
    pub fn files(&self) -> u64 {
        self.indexed + self.failed + self.skipped + self.pending + self.processing
    }
}

/// A store as it was found, or made, at its service.
#[derive(Debug, Clone)]
pub struct PinnedStore {
    pub endpoint: String,
    pub display_name: String,
    pub name: StoreName,
    /// It was found, or made, by its display name.
    pub by_display_name: bool,
    /// `None`: the service does not say.
    pub embedding_model: Option<String>,
}

#[derive(Debug, Clone)]
pub enum Change {
    LibraryAdded {
        name: String,
        root: String,
    },
    /// Its folder lies somewhere else now.
    LibraryMoved {
        library: i64,
        root: String,
    },
    /// The name is part of each document's identity, so all of them are to be replaced.
    LibraryRenamed {
        library: i64,
        name: String,
    },
    /// All that is known of it; what is at the service stays there.
    LibraryForgotten {
        library: i64,
    },
    /// What holds for its scans from now on, as the scan wrote it.
    LibrarySettings {
        library: i64,
        settings: String,
    },
    FileSeen {
        library: i64,
        file: SeenFile,
    },
    /// The file is as it was; what describes it is not.
    FileDescribed {
        library: i64,
        file: i64,
        path: String,
        described: Described,
    },
    FileSkipped(SkipRow),
    FileMissing {
        file: i64,
    },
    /// It is there, and is not to be sent any more.
    FileLeftOut {
        file: i64,
    },
    /// Up to a page of the files that came since the last whole scan: those whose content one that went has
    /// held have moved. Where none is left, what went is missing.
    MovesMatched {
        library: i64,
    },
    ScanEnded {
        library: i64,
        /// When it began.
        scan: UnixMs,
        /// Nothing was filtered out, so what it did not skip is not skipped any more.
        whole: bool,
    },
    StorePinned(PinnedStore),
    /// The store was deleted at the service; another one takes its place, and everything is sent again.
    StoreReplaced {
        store: i64,
        name: StoreName,
    },
    /// The store was deleted at the service, and nothing takes its place.
    StoreForgotten {
        store: i64,
    },
    /// Whether the store's service takes uploads of one request.
    SupportSeen {
        store: i64,
        support: Support,
    },
    RunStarted {
        store: i64,
    },
    /// From here on the library goes into the store.
    Linked {
        library: i64,
        store: i64,
    },
    /// Uploads for files of a link that has just been made, up to a page of them.
    Queued {
        library: i64,
        store: i64,
    },
    RetriedFailed {
        upload: UploadId,
    },
    BatchOpened {
        run: i64,
        number: i64,
    },
    BatchFilled {
        batch: i64,
        files: u64,
    },
    /// A file of the batch was not started: the breaker is open.
    BatchSkipped {
        batch: i64,
    },
    Intent {
        upload: UploadId,
        batch: i64,
        way: Way,
    },
    /// From here on the service can be asked.
    SessionOpened {
        upload: UploadId,
        url: SessionUrl,
    },
    /// The temporary file is complete.
    Staged {
        upload: UploadId,
        file: FileName,
    },
    /// Its import is about to be sent.
    ImportStarted {
        upload: UploadId,
    },
    Submitted {
        upload: UploadId,
        operation: Option<OperationName>,
        document: Option<DocumentName>,
    },
    Activated {
        upload: UploadId,
        document: DocumentName,
        /// A temporary file is still there, and is to be deleted later.
        keeps_temporary: bool,
    },
    /// The temporary file is confirmed deleted.
    TemporaryGone {
        upload: UploadId,
    },
    HandedBack {
        upload: UploadId,
        back: HandBack,
    },
    /// The attempt ended, but what became of it at the service is not known: the row stays as it is,
    /// its session is asked later.
    LeftInDoubt {
        upload: UploadId,
        charge: Charge,
        cause: Cause,
    },
    Rejected {
        upload: UploadId,
        cause: Cause,
        /// What the service still holds of it.
        document: Option<DocumentName>,
    },
    /// The document that a failed attempt had left is confirmed deleted.
    Cleared {
        upload: UploadId,
    },
    /// The content this row is for is gone from disk and nothing of it is at the service.
    Dropped {
        upload: UploadId,
    },
    /// The file is gone, or is nothing any more that can be sent.
    FileLost {
        upload: UploadId,
        file: i64,
        /// Why, if it is still there.
        skip: Option<SkipRow>,
    },
    /// The file turned out to have other content than scanned; the new content takes a new row.
    Rescanned {
        upload: UploadId,
        file: i64,
        reading: Reading,
    },
    /// Documents of files that were missing, or left out, at a time: up to a page of them is to be deleted.
    Purged {
        store: i64,
        missing: Missing,
        /// Those behind this one.
        after: UploadId,
    },
    /// The document, which was to be deleted, is confirmed deleted.
    Deleted {
        upload: UploadId,
    },
    /// A file that is gone, and of which nothing is left in any store.
    /// What is known of documents that were confirmed deleted before this, up to a page of them. A listing
    /// may show them for a while, and nothing needs to know of them after that.
    EndedForgotten {
        store: i64,
        before: UnixMs,
    },
    FileForgotten {
        file: i64,
    },
    /// The document is confirmed to be gone from the store.
    Retired {
        upload: UploadId,
    },
    /// The document that a row names is of other content of its file, and this is which: the row is for that
    /// content from now on, and what the file holds is queued.
    Relabelled {
        upload: UploadId,
        /// `None`: the service does not say.
        size_bytes: Option<u64>,
        content: ContentKey,
    },
    /// The store holds a document of a file that is gone, and that no scan has seen: it is recorded as missing.
    Remembered(Remembered),
    /// The store holds this content of a file already: its row is `indexed`, whatever it was.
    Adopted(Adopted),
    RateFound {
        endpoint: String,
        class: &'static str,
        per_minute: f64,
    },
    /// How long operations of a service take: times that stand for all.
    OperationTimes {
        endpoint: String,
        times_ms: Vec<u64>,
    },
    /// Where the next run goes on to read the listing of a store.
    Bookmarked {
        store: i64,
        bookmark: Bookmark,
    },
    /// What a run has done so far, for its report.
    Sampled {
        run: i64,
        details: String,
    },
    /// Nothing; its acknowledgement says that all that was sent before is on disk.
    Flush,
    RunEnded {
        run: i64,
        outcome: &'static str,
        exit: u8,
        totals: Box<RunTotals>,
        limited_by: &'static str,
    },
}

/// A document that is found to hold a file's content.
#[derive(Debug, Clone)]
pub struct Adopted {
    pub file: i64,
    pub store: i64,
    pub size_bytes: u64,
    pub content: ContentKey,
    pub document: DocumentName,
}

/// A document of a file that nothing else is known of.
#[derive(Debug, Clone)]
pub struct Remembered {
    pub library: i64,
    pub store: i64,
    /// As the identity has it; it must be what a scan could have found.
    pub path: String,
    pub size_bytes: u64,
    pub content: ContentKey,
    pub document: DocumentName,
}

/// A place in the listing of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bookmark {
    /// Of the page that begins there.
    pub token: String,
    /// How many documents stand before it, as far as is known.
    pub documents: u64,
}

/// How many files one `Queued` looks at: some 40 ms of the writer's time, for which others wait.
pub const QUEUE_FILES: i64 = 4000;

/// How many files one `MovesMatched` looks at: each may be five rows to write.
pub const MATCH_FILES: i64 = 1000;

impl Change {
    /// What it is, for the proof programs.
    pub(super) fn step(&self) -> &'static str {
        match self {
            Change::LibraryAdded { .. }
            | Change::LibraryMoved { .. }
            | Change::LibraryRenamed { .. }
            | Change::LibrarySettings { .. }
            | Change::LibraryForgotten { .. } => "commit library",
            Change::MovesMatched { .. } => "commit moves",
            Change::ScanEnded { .. } => "commit scan",
            Change::FileSeen { .. } | Change::FileDescribed { .. } => "commit file",
            Change::FileSkipped(_) => "commit skip",
            Change::FileMissing { .. } | Change::FileLeftOut { .. } => "commit missing",
            Change::StorePinned(_) => "commit store",
            Change::StoreReplaced { .. } => "commit store replaced",
            Change::StoreForgotten { .. } => "commit store forgotten",
            Change::SupportSeen { .. } => "commit support",
            Change::RunStarted { .. } => "commit run",
            Change::Linked { .. } => "commit link",
            Change::Queued { .. } => "commit queue",
            Change::RetriedFailed { .. } => "commit retry",
            Change::BatchOpened { .. } => "commit batch",
            Change::BatchFilled { .. } | Change::BatchSkipped { .. } => "commit batch count",
            Change::Intent { .. } => "commit intent",
            Change::SessionOpened { .. } => "commit session",
            Change::Staged { .. } => "commit staged",
            Change::ImportStarted { .. } => "commit import",
            Change::Submitted { .. } => "commit submitted",
            Change::Activated { .. } => "commit indexed",
            Change::TemporaryGone { .. } => "commit temporary gone",
            Change::HandedBack { .. } => "commit handed back",
            Change::LeftInDoubt { .. } => "commit in doubt",
            Change::Rejected { .. } => "commit failed",
            Change::Cleared { .. } => "commit cleared",
            Change::Dropped { .. } => "commit dropped",
            Change::FileLost { .. } => "commit file lost",
            Change::Rescanned { .. } => "commit rescanned",
            Change::Purged { .. } => "commit purge",
            Change::Deleted { .. } => "commit deleted",
            Change::FileForgotten { .. } | Change::EndedForgotten { .. } => "commit forgotten",
            Change::Retired { .. } => "commit retired",
            Change::Relabelled { .. } => "commit relabelled",
            Change::Remembered(_) => "commit remembered",
            Change::Adopted(_) => "commit adopted",
            Change::RateFound { .. } => "commit rate",
            Change::OperationTimes { .. } => "commit times",
            Change::Bookmarked { .. } => "commit bookmark",
            Change::Sampled { .. } => "commit samples",
            Change::Flush => "flush",
            Change::RunEnded { .. } => "commit run end",
        }
    }
}
