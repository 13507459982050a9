//! Stores, runs, batches, and what was learned of the service.

use rusqlite::{Row, params};

use super::{ApplyResult, At};
use crate::names::StoreName;
use crate::state::RUN_IS_OPEN;
use crate::state::change::{Applied, BatchDone, Bookmark, PinnedStore, RunTotals};
use crate::state::lock::Holder;
use crate::state::statement::statements;
use crate::state::upload_state::Support;

/// So many runs before the last keep what their reports draw, some 20 KB each.
const RUNS_DETAILED: i64 = 100;

#[derive(Clone, Copy)]
pub(super) enum BatchColumn {
    Succeeded,
    Failed,
    Skipped,
}

statements! {
    STORE_PINNED: Single =>
        "INSERT INTO stores (name, display_name, endpoint, by_display_name, pinned_ms, embedding_model)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO UPDATE SET
             endpoint = excluded.endpoint, pinned_ms = excluded.pinned_ms,
             embedding_model = coalesce(excluded.embedding_model, embedding_model),
             by_display_name = max(by_display_name, excluded.by_display_name)
         RETURNING id";
    FORGET_UPLOADS: All("all of a store that is gone is forgotten, or sent again") =>
        "DELETE FROM uploads WHERE store_id = ?1";
    QUEUE_ALL: Single => "UPDATE library_stores SET queued_to = '' WHERE store_id = ?1";
    STORE_REPLACED: Single =>
        "UPDATE stores SET name = ?2, pinned_ms = ?3, page_token = NULL, documents_before = 0 WHERE id = ?1";
    FORGET_LINKS: Single => "DELETE FROM library_stores WHERE store_id = ?1";
    FORGET_RUNS: All("of the runs into this store, which its index has together") =>
        "UPDATE runs SET store_id = NULL WHERE store_id = ?1";
    FORGET: Single => "DELETE FROM stores WHERE id = ?1";
    BOOKMARKED: Single => "UPDATE stores SET page_token = ?2, documents_before = ?3 WHERE id = ?1";
    SUPPORT_SEEN: Single => "UPDATE stores SET one_request = ?2 WHERE id = ?1";
    INTERRUPT_BATCHES: All("of the few batches that are open, which make up its index") =>
        "UPDATE upload_batches SET status = 'interrupted' WHERE status IN ('filling', 'filled')";
    LEAVE_BATCHES: All("of the few that are on their way, which make up its index") =>
        "UPDATE uploads SET batch_id = NULL WHERE store_id = ?1
         AND status IN ('uploading', 'processing')";
    END_KILLED: All("of the few runs that have not ended, which make up its index") =>
        "UPDATE runs SET outcome = 'killed' WHERE", RUN_IS_OPEN;
    RUN_STARTED: Single =>
        "INSERT INTO runs (instance, host, pid, version, store_id, started_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    FORGET_DETAILS: Page => "DELETE FROM run_details WHERE run_id < ?1";
    SAMPLED: Single =>
        "INSERT INTO run_details VALUES (?1, ?2) ON CONFLICT (run_id) DO UPDATE SET details = excluded.details";
    INTERRUPT_BATCHES_OF: Single =>
        "UPDATE upload_batches SET status = 'interrupted', completed_ms = ?2
         WHERE run_id = ?1 AND status IN ('filling', 'filled')";
    RUN_ENDED: Single =>
        "UPDATE runs SET ended_ms = ?2, outcome = ?3, exit = ?4, recovered = ?5, indexed = ?6,
             failed = ?7, skipped = ?8, pending = ?9, processing = ?10, bytes = ?11,
             requests = ?12, polls = ?13, retries = ?14, throttled = ?15, resumed = ?16,
             adopted = ?17, limited_by = ?18 WHERE id = ?1";
    BATCH_OPENED: Single =>
        "INSERT INTO upload_batches (run_id, number, status, started_ms) VALUES (?1, ?2, 'filling', ?3)";
    BATCH_FILLED: Single => "UPDATE upload_batches SET files = ?2, status = 'filled' WHERE id = ?1";
    BATCH_SUCCEEDED: Single => "UPDATE upload_batches SET succeeded = succeeded + 1 WHERE id = ?1";
    BATCH_FAILED: Single => "UPDATE upload_batches SET failed = failed + 1 WHERE id = ?1";
    BATCH_SKIPPED: Single => "UPDATE upload_batches SET skipped = skipped + 1 WHERE id = ?1";
    BATCH_DONE: Single =>
        "UPDATE upload_batches SET status = 'done', completed_ms = ?2
         WHERE id = ?1 AND status = 'filled' AND succeeded + failed + skipped >= files
         RETURNING id, number, files, succeeded, failed, skipped";
    RATE_FOUND: Single =>
        "INSERT INTO rates VALUES (?1, ?2, ?3, ?4) ON CONFLICT (endpoint, class)
         DO UPDATE SET per_minute = excluded.per_minute, found_ms = excluded.found_ms";
    OPERATION_TIMES: Single =>
        "INSERT INTO operation_times VALUES (?1, ?2, ?3) ON CONFLICT (endpoint)
         DO UPDATE SET times_ms = excluded.times_ms, learned_ms = excluded.learned_ms";
}

impl At<'_> {
    pub(super) fn store_pinned(&self, store: &PinnedStore) -> ApplyResult {
        let store = params![
            store.name.as_str(),
            store.display_name,
            store.endpoint,
            store.by_display_name,
            self.now,
            store.embedding_model
        ];
        let id = STORE_PINNED.one(self.conn, store, |r| r.get(0))?;
        self.touched(id)
    }

    pub(super) fn store_replaced(&self, store: i64, name: &StoreName) -> ApplyResult {
        self.run(&FORGET_UPLOADS, [store])?;
        self.run(&QUEUE_ALL, [store])?;
        self.run(&STORE_REPLACED, params![store, name.as_str(), self.now])
    }

    pub(super) fn store_forgotten(&self, store: i64) -> ApplyResult {
        self.run(&FORGET_UPLOADS, [store])?;
        self.run(&FORGET_LINKS, [store])?;
        self.run(&FORGET_RUNS, [store])?;
        self.run(&FORGET, [store])
    }

    pub(super) fn support_seen(&self, store: i64, support: Support) -> ApplyResult {
        self.run(&SUPPORT_SEEN, params![store, support.as_str()])
    }

    pub(super) fn run_started(&self, store: i64, me: &Holder) -> ApplyResult {
        // Batches and runs that a crash left open belong to no one any more.
        self.run(&INTERRUPT_BATCHES, [])?;
        self.run(&LEAVE_BATCHES, [store])?;
        self.run(&END_KILLED, [])?;
        let started = self.run(
            &RUN_STARTED,
            params![
                me.instance,
                me.host,
                me.pid,
                env!("CARGO_PKG_VERSION"),
                store,
                self.now
            ],
        )?;
        self.run(&FORGET_DETAILS, [started.row - RUNS_DETAILED])?;
        Ok(started)
    }

    pub(super) fn sampled(&self, run: i64, details: &str) -> ApplyResult {
        self.run(&SAMPLED, params![run, details])
    }

    pub(super) fn run_ended(
        &self,
        run: i64,
        (outcome, exit, limited_by): (&str, u8, &str),
        t: &RunTotals,
    ) -> ApplyResult {
        self.run(&INTERRUPT_BATCHES_OF, params![run, self.now])?;
        self.run(
            &RUN_ENDED,
            params![
                run,
                self.now,
                outcome,
                exit,
                t.recovered as i64,
                t.indexed as i64,
                t.failed as i64,
                t.skipped as i64,
                t.pending as i64,
                t.processing as i64,
                t.bytes as i64,
                t.requests as i64,
                t.polls as i64,
                t.retries as i64,
                t.throttled as i64,
                t.resumed as i64,
                t.adopted as i64,
                limited_by
            ],
        )
    }

    pub(super) fn batch_opened(&self, run: i64, number: i64) -> ApplyResult {
        self.run(&BATCH_OPENED, params![run, number, self.now])
    }

    pub(super) fn batch_filled(&self, batch: i64, files: u64) -> ApplyResult {
        self.run(&BATCH_FILLED, params![batch, files as i64])?;
        self.batch_settled(Some(batch))
    }

    pub(super) fn batch_counts(&self, batch: Option<i64>, column: BatchColumn) -> ApplyResult {
        let Some(id) = batch else {
            return Ok(Applied::default());
        };
        let count = match column {
            BatchColumn::Succeeded => &BATCH_SUCCEEDED,
            BatchColumn::Failed => &BATCH_FAILED,
            BatchColumn::Skipped => &BATCH_SKIPPED,
        };
        self.run(count, [id])?;
        self.batch_settled(Some(id))
    }

    /// The batch is done once all its files have an outcome and no more will come.
    fn batch_settled(&self, batch: Option<i64>) -> ApplyResult {
        let done = |r: &Row<'_>| {
            let count = |i| r.get::<_, i64>(i).map(|n| n.max(0) as u64);
            Ok(BatchDone {
                batch: r.get(0)?,
                number: r.get(1)?,
                files: count(2)?,
                succeeded: count(3)?,
                failed: count(4)?,
                skipped: count(5)?,
            })
        };
        Ok(Applied {
            row: batch.unwrap_or(0),
            rows: 1,
            batch_done: BATCH_DONE.first(self.conn, params![batch, self.now], done)?,
        })
    }

    pub(super) fn rate_found(&self, endpoint: &str, class: &str, per_minute: f64) -> ApplyResult {
        self.run(&RATE_FOUND, params![endpoint, class, per_minute, self.now])
    }

    pub(super) fn operation_times(&self, endpoint: &str, times_ms: &[u64]) -> ApplyResult {
        let times: Vec<String> = times_ms.iter().map(u64::to_string).collect();
        self.run(
            &OPERATION_TIMES,
            params![endpoint, times.join(" "), self.now],
        )
    }

    pub(super) fn bookmarked(&self, store: i64, bookmark: &Bookmark) -> ApplyResult {
        let documents = i64::try_from(bookmark.documents).unwrap_or(i64::MAX);
        self.run(&BOOKMARKED, params![store, bookmark.token, documents])
    }
}
