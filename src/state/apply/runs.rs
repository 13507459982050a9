//! Stores, runs, batches, and the queue of what is pending.

use rusqlite::{OptionalExtension, params};

use super::{At, Outcome};
use crate::names::StoreName;
use crate::state::change::{Applied, BatchDone, RunTotals};
use crate::state::lock::Holder;

#[derive(Clone, Copy)]
pub(super) enum BatchColumn {
    Succeeded,
    Failed,
    Skipped,
}

impl At<'_> {
    pub(super) fn store_pinned(
        &self,
        endpoint: &str,
        display_name: &str,
        name: &StoreName,
        by_display_name: bool,
    ) -> Outcome {
        let id = self
            .conn
            .prepare_cached(
                "INSERT INTO stores (name, display_name, endpoint, by_display_name, pinned_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (name) DO UPDATE SET
                     endpoint = excluded.endpoint, pinned_ms = excluded.pinned_ms,
                     by_display_name = max(by_display_name, excluded.by_display_name)
                 RETURNING id",
            )?
            .query_row(
                params![
                    name.as_str(),
                    display_name,
                    endpoint,
                    by_display_name,
                    self.now
                ],
                |r| r.get(0),
            )?;
        self.touched(id)
    }

    pub(super) fn store_replaced(&self, store: i64, name: &StoreName) -> Outcome {
        self.run("DELETE FROM uploads WHERE store_id = ?1", params![store])?;
        self.run(
            "UPDATE library_stores SET queued_to = '' WHERE store_id = ?1",
            params![store],
        )?;
        self.run(
            "UPDATE stores SET name = ?2, pinned_ms = ?3 WHERE id = ?1",
            params![store, name.as_str(), self.now],
        )
    }

    pub(super) fn run_started(&self, store: i64, me: &Holder) -> Outcome {
        // Batches and runs that a crash left open belong to no one any more.
        self.run(
            "UPDATE upload_batches SET status = 'interrupted' WHERE status IN ('filling', 'filled')",
            [],
        )?;
        self.run(
            "UPDATE uploads SET batch_id = NULL WHERE store_id = ?1 AND status IN ('uploading', 'processing')",
            params![store],
        )?;
        self.run(
            "UPDATE runs SET outcome = 'crashed' WHERE ended_ms IS NULL AND outcome IS NULL",
            [],
        )?;
        self.run(
            "INSERT INTO runs (instance, host, pid, version, store_id, started_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                me.instance,
                me.host,
                me.pid,
                env!("CARGO_PKG_VERSION"),
                store,
                self.now
            ],
        )
    }

    pub(super) fn run_ended(&self, run: i64, outcome: &str, exit: u8, t: &RunTotals) -> Outcome {
        self.run(
            "UPDATE upload_batches SET status = 'interrupted', completed_ms = ?2
             WHERE run_id = ?1 AND status IN ('filling', 'filled')",
            params![run, self.now],
        )?;
        self.run(
            "UPDATE runs SET ended_ms = ?2, outcome = ?3, exit = ?4, recovered = ?5, indexed = ?6,
                 failed = ?7, skipped = ?8, pending = ?9, processing = ?10, bytes = ?11,
                 requests = ?12, polls = ?13, retries = ?14, throttled = ?15, resumed = ?16,
                 adopted = ?17, limited_by = ?18 WHERE id = ?1",
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
                t.limited_by
            ],
        )
    }

    pub(super) fn batch_counts(&self, batch: Option<i64>, column: BatchColumn) -> Outcome {
        let Some(id) = batch else {
            return Ok(Applied::default());
        };
        let sql = match column {
            BatchColumn::Succeeded => {
                "UPDATE upload_batches SET succeeded = succeeded + 1 WHERE id = ?1"
            }
            BatchColumn::Failed => "UPDATE upload_batches SET failed = failed + 1 WHERE id = ?1",
            BatchColumn::Skipped => "UPDATE upload_batches SET skipped = skipped + 1 WHERE id = ?1",
        };
        self.run(sql, params![id])?;
        self.batch_settled(Some(id))
    }

    /// The batch is done once all its files have an outcome and no more will come.
    pub(super) fn batch_settled(&self, batch: Option<i64>) -> Outcome {
        let done = self
            .conn
            .prepare_cached(
                "UPDATE upload_batches SET status = 'done', completed_ms = ?2
                 WHERE id = ?1 AND status = 'filled' AND succeeded + failed + skipped >= files
                 RETURNING id, number, files, succeeded, failed, skipped",
            )?
            .query_row(params![batch, self.now], |r| {
                let count = |i| r.get::<_, i64>(i).map(|n| n.max(0) as u64);
                Ok(BatchDone {
                    batch: r.get(0)?,
                    number: r.get(1)?,
                    files: count(2)?,
                    succeeded: count(3)?,
                    failed: count(4)?,
                    skipped: count(5)?,
                })
            })
            .optional()?;
        Ok(Applied {
            row: batch.unwrap_or(0),
            rows: 1,
            batch_done: done,
        })
    }
}
