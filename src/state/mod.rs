//! The database: what is known of every file, upload, run and lock.
//!
//! One thread writes (`writer`), everybody else reads over connections that cannot write
//! (`reader`). What changes, and by which rules, is in `change`, `apply` and
//! `upload_state`.

pub mod open;

mod statement;

pub mod lock;

pub mod upload_state;

pub mod change;

mod apply;

pub mod writer;

pub mod durable;

pub mod reader;

pub mod comparison;

/// The key of an upload in SQL: the row `u` is for what the file `f` holds now, and neither has ended nor is
/// about to. Whatever queues, plans, adopts or compares uploads uses this and `identity::ContentKey`.
const SAME_CONTENT: &str = "u.file_id = f.id AND u.sha256 = f.sha256 AND u.variant = f.variant
     AND u.status NOT IN ('superseded', 'retired') AND u.unwanted = 0";

/// Of an upload `u` something may still be at the service, in SQL.
const IS_AT_THE_SERVICE: &str = "(u.status IN ('uploading', 'processing', 'indexed')
     OR u.status IN ('pending', 'failed') AND (u.document IS NOT NULL OR u.temp_file IS NOT NULL))";

/// A run that nothing has ended yet, in SQL; its objlib may be dead.
const RUN_IS_OPEN: &str = "ended_ms IS NULL AND outcome IS NULL";

/// The last place in a store's queue that a row holds, whatever has become of the row: what comes back stands
/// behind everything that was ever in front of it. One seek a status.
const LAST_QUEUED: &str = "SELECT coalesce(max(queued), 0) FROM (
     SELECT * FROM (SELECT queued FROM uploads
         WHERE store_id = ?1 AND status = 'pending' ORDER BY queued DESC LIMIT 1)
     UNION ALL SELECT * FROM (SELECT queued FROM uploads
         WHERE store_id = ?1 AND status = 'uploading' ORDER BY queued DESC LIMIT 1)
     UNION ALL SELECT * FROM (SELECT queued FROM uploads
         WHERE store_id = ?1 AND status = 'processing' ORDER BY queued DESC LIMIT 1)
     UNION ALL SELECT * FROM (SELECT queued FROM uploads
         WHERE store_id = ?1 AND status = 'indexed' ORDER BY queued DESC LIMIT 1)
     UNION ALL SELECT * FROM (SELECT queued FROM uploads
         WHERE store_id = ?1 AND status = 'failed' ORDER BY queued DESC LIMIT 1))";

#[cfg(test)]
mod tests;

/// Of a file `f`, in SQL: an image. It goes only into stores that take images.
const IS_IMAGE: &str = "f.mime IN ('image/png', 'image/jpeg')";
/// Of a store `s`, in SQL: its model makes sense of images (fact sheet 3, 15).
const TAKES_IMAGES: &str = "s.embedding_model IS 'models/gemini-embedding-2'";

pub use change::{
    Adopted, Applied, BatchDone, Bookmark, Cause, Change, Charge, Described, HandBack, NextTime,
    PinnedStore, Reading, Remembered, RunTotals, SeenFile, SkipRow, Way,
};
pub use durable::{Durable, Intent, Unaskable, UploadId};
pub use lock::Lease;
pub use reader::{Job, KnownFile, Reader};
pub use upload_state::{Method, Support, UploadState};
pub use writer::Writer;
