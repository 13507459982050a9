//! Runs, as their rows tell of them, and what their reports draw.

use std::time::Duration;

use rusqlite::Row;

use super::{Reader, count};
use crate::clock::{self, UnixMs};
use crate::error::Error;
use crate::state::change::RunTotals;
use crate::state::lock::{self, Holder};
use crate::state::migrations;
use crate::state::statement::statements;

#[derive(Debug, Clone)]
pub struct RunRow {
    pub run: i64,
    /// Display name, resource name and endpoint; `None`: it was forgotten.
    pub store: Option<[String; 3]>,
    /// Of the objlib that did it.
    pub version: String,
    pub started_ms: UnixMs,
    pub ended_ms: Option<UnixMs>,
    /// As it was recorded; `running` while the objlib that began it lives, `killed` if it died over it.
    pub outcome: String,
    pub exit: Option<u8>,
    /// All zero unless it came to its end.
    pub totals: RunTotals,
    pub limited_by: Option<String>,
}

impl RunRow {
    pub fn is_running(&self) -> bool {
        self.outcome == "running"
    }
}

statements! {
    // The lock's row tells whether the objlib that began the run is the one that works now.
    RUN: Single =>
        "SELECT r.id, s.display_name, s.name, s.endpoint, r.version, r.started_ms, r.ended_ms, r.outcome,
             r.exit, r.recovered, r.indexed, r.failed, r.skipped, r.pending, r.processing, r.bytes,
             r.requests, r.polls, r.retries, r.throttled, r.resumed, r.adopted, r.limited_by,
             r.instance, r.host, r.pid, l.heartbeat_ms
         FROM runs r LEFT JOIN stores s ON s.id = r.store_id
         LEFT JOIN upload_locks l ON l.instance = r.instance WHERE r.id = ?1";
    LAST: Single => "SELECT max(id) FROM runs";
    UP_TO: Page => "SELECT id, started_ms FROM runs WHERE id <= ?1 ORDER BY id DESC LIMIT 10";
    DETAILS: Single => "SELECT details FROM run_details WHERE run_id = ?1";
}

impl Reader {
    /// `stale_after`: how long a run without a heartbeat is taken to be alive.
    pub fn run(&self, run: i64, stale_after: Duration) -> Result<Option<RunRow>, Error> {
        let me = Holder::this_process();
        let now = clock::now_ms();
        let read = |r: &Row<'_>| {
            let holder = Holder {
                instance: r.get(23)?,
                host: r.get(24)?,
                pid: r.get(25)?,
            };
            let heartbeat: Option<UnixMs> = r.get(26)?;
            let lives =
                heartbeat.is_some_and(|beat| lock::is_alive(&holder, beat, &me, now, stale_after));
            let name: Option<String> = r.get(1)?;
            Ok(RunRow {
                run: r.get(0)?,
                store: match name {
                    Some(name) => Some([name, r.get(2)?, r.get(3)?]),
                    None => None,
                },
                version: r.get(4)?,
                started_ms: r.get(5)?,
                ended_ms: r.get(6)?,
                outcome: match r.get::<_, Option<String>>(7)? {
                    Some(outcome) if outcome != "crashed" => outcome,
                    None if lives => "running".to_owned(),
                    _ => "killed".to_owned(),
                },
                exit: r.get(8)?,
                totals: RunTotals {
                    recovered: count(r, 9)?,
                    indexed: count(r, 10)?,
                    failed: count(r, 11)?,
                    skipped: count(r, 12)?,
                    pending: count(r, 13)?,
                    processing: count(r, 14)?,
                    bytes: count(r, 15)?,
                    requests: count(r, 16)?,
                    polls: count(r, 17)?,
                    retries: count(r, 18)?,
                    throttled: count(r, 19)?,
                    resumed: count(r, 20)?,
                    adopted: count(r, 21)?,
                },
                limited_by: r.get(22)?,
            })
        };
        self.checked(RUN.first(&self.conn, [run], read))
    }

    /// `None`: there was none yet.
    pub fn newest_run(&self) -> Result<Option<i64>, Error> {
        self.checked(LAST.one(&self.conn, [], |r| r.get(0)))
    }

    /// The last ten runs, newest first, and when they began.
    pub fn newest_runs(&self) -> Result<Vec<(i64, UnixMs)>, Error> {
        let run = |r: &Row<'_>| Ok((r.get(0)?, r.get(1)?));
        self.checked(UP_TO.rows(&self.conn, [i64::MAX], run))
    }

    /// What the report of a run draws; `None` for one that was recorded without it, or long ago.
    pub fn run_details(&self, run: i64) -> Result<Option<String>, Error> {
        match self.checked(migrations::has_details(&self.conn))? {
            true => self.checked(DETAILS.first(&self.conn, [run], |r| r.get(0))),
            false => Ok(None),
        }
    }
}
