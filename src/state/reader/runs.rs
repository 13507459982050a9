//! Runs: how each ended, who works on the database now and how far it is, and what their reports draw.
//!
//! Promises: a run is said to be running only while the objlib that began it lives, by the rule by which
//! its lock would be taken over (`lock::is_alive`); one that is dead and never told its end was killed.

use std::time::Duration;

use rusqlite::{Row, params};

use super::{Reader, count};
use crate::clock::{self, Local, UnixMs};
use crate::error::Error;
use crate::state::change::RunTotals;
use crate::state::lock::{self, Holder};
use crate::state::open::migrations;
use crate::state::statement::statements;

/// How a run stands that has not told its end.
pub const RUNNING: &str = "running";
pub const KILLED: &str = "killed";
/// The same, as earlier versions wrote it.
const CRASHED: &str = "crashed";

#[derive(Debug, Clone)]
pub struct Run {
    pub run: i64,
    /// Of the objlib that began it.
    pub instance: String,
    pub store_id: Option<i64>,
    /// Display name, resource name and endpoint; `None`: it was forgotten.
    pub store: Option<[String; 3]>,
    /// Of the objlib that did it.
    pub version: String,
    pub started_ms: UnixMs,
    pub ended_ms: Option<UnixMs>,
    /// When its objlib was last seen alive, as long as that is on record.
    pub heard_ms: Option<UnixMs>,
    /// In a word or two; `RUNNING` or `KILLED` of a run that has not told it.
    pub outcome: String,
    pub exit: Option<u8>,
    /// Of a run that has not told its end, what its batches have counted, and zero else.
    pub totals: RunTotals,
    pub limited_by: Option<String>,
}

impl Run {
    pub fn is_running(&self) -> bool {
        self.outcome == RUNNING
    }
}

/// A living objlib that holds the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    pub holder: Holder,
    pub since_ms: UnixMs,
}

statements! {
    // The lock's row tells whether the objlib that began the run is the one that works now.
    RUN: Single =>
        "SELECT r.id, s.display_name, s.name, s.endpoint, r.version, r.started_ms, r.ended_ms, r.outcome,
             r.exit, r.recovered, r.indexed, r.failed, r.skipped, r.pending, r.processing, r.bytes,
             r.requests, r.polls, r.retries, r.throttled, r.resumed, r.adopted, r.limited_by,
             r.instance, r.host, r.pid, l.heartbeat_ms, r.store_id
         FROM runs r LEFT JOIN stores s ON s.id = r.store_id
         LEFT JOIN upload_locks l ON l.instance = r.instance WHERE r.id = ?1";
    LAST: Single => "SELECT max(id) FROM runs";
    UP_TO: Page => "SELECT id FROM runs WHERE id <= ?1 ORDER BY id DESC LIMIT 10";
    DETAILS: Single => "SELECT details FROM run_details WHERE run_id = ?1";
    COUNTED: Single =>
        "SELECT coalesce(sum(succeeded), 0), coalesce(sum(failed), 0) FROM upload_batches WHERE run_id = ?1";
    HELD_BY: Single => "SELECT instance, host, pid, heartbeat_ms, acquired_ms FROM upload_locks";
    // The C library knows the zone, by TZ or /etc/localtime, and SQLite asks it.
    LOCAL: Single => "SELECT (unixepoch(?1, 'unixepoch', 'localtime') - ?1) * 1000";
}

/// How a run ended, in a word or two. `told`: what it told of its end; `lives`: its objlib does.
pub fn outcome(told: Option<String>, lives: bool) -> String {
    match told {
        Some(told) if told != CRASHED => told,
        None if lives => RUNNING.to_owned(),
        _ => KILLED.to_owned(),
    }
}

impl Reader {
    /// `stale_after`: how long an objlib without a heartbeat is taken to be alive.
    pub fn run(&self, run: i64, stale_after: Duration) -> Result<Option<Run>, Error> {
        let (me, now) = (Holder::this_process(), clock::now_ms());
        let read = |r: &Row<'_>| {
            let holder = Holder {
                instance: r.get(23)?,
                host: r.get(24)?,
                pid: r.get(25)?,
            };
            let heard_ms: Option<UnixMs> = r.get(26)?;
            let lives =
                heard_ms.is_some_and(|beat| lock::is_alive(&holder, beat, &me, now, stale_after));
            let name: Option<String> = r.get(1)?;
            Ok(Run {
                run: r.get(0)?,
                instance: holder.instance,
                store_id: r.get(27)?,
                store: match name {
                    Some(name) => Some([name, r.get(2)?, r.get(3)?]),
                    None => None,
                },
                version: r.get(4)?,
                started_ms: r.get(5)?,
                ended_ms: r.get(6)?,
                heard_ms,
                outcome: outcome(r.get(7)?, lives),
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
        let Some(mut run) = self.checked(RUN.first(&self.conn, [run], read))? else {
            return Ok(None);
        };
        if [RUNNING, KILLED].contains(&run.outcome.as_str()) {
            let counted = |r: &Row<'_>| Ok((count(r, 0)?, count(r, 1)?));
            let counted = COUNTED.one(&self.conn, [run.run], counted);
            (run.totals.indexed, run.totals.failed) = self.checked(counted)?;
        }
        Ok(Some(run))
    }

    pub fn last_run(&self, stale_after: Duration) -> Result<Option<Run>, Error> {
        match self.newest_run()? {
            Some(run) => self.run(run, stale_after),
            None => Ok(None),
        }
    }

    /// `None`: there was none yet.
    pub fn newest_run(&self) -> Result<Option<i64>, Error> {
        self.checked(LAST.one(&self.conn, [], |r| r.get(0)))
    }

    /// The last ten runs, newest first.
    pub fn newest_runs(&self) -> Result<Vec<i64>, Error> {
        self.checked(UP_TO.rows(&self.conn, [i64::MAX], |r| r.get(0)))
    }

    /// What the report of a run draws; `None` for one that was recorded without it, or long ago.
    pub fn run_details(&self, run: i64) -> Result<Option<String>, Error> {
        match self.checked(migrations::has_details(&self.conn))? {
            true => self.checked(DETAILS.first(&self.conn, [run], |r| r.get(0))),
            false => Ok(None),
        }
    }

    /// Who works on this database now.
    pub fn worker(&self, stale_after: Duration) -> Result<Option<Worker>, Error> {
        let held = HELD_BY.first(&self.conn, [], |r| {
            let holder = Holder {
                instance: r.get(0)?,
                host: r.get(1)?,
                pid: r.get(2)?,
            };
            let since_ms = r.get(4)?;
            Ok((Worker { holder, since_ms }, r.get::<_, UnixMs>(3)?))
        });
        let (me, now) = (Holder::this_process(), clock::now_ms());
        let held = self.checked(held)?;
        let lives = |(worker, beat): &(Worker, UnixMs)| {
            lock::is_alive(&worker.holder, *beat, &me, now, stale_after)
        };
        Ok(held.filter(lives).map(|(worker, _)| worker))
    }

    /// What the clocks here show at this moment; UTC where nothing is known of the zone.
    pub fn local(&self, ms: UnixMs) -> Local {
        let offset = LOCAL.one(&self.conn, params![ms.div_euclid(1000)], |r| {
            r.get::<_, Option<i64>>(0)
        });
        Local::new(ms, offset.ok().flatten().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::names::StoreName;
    use crate::shutdown::Shutdown;
    use crate::state::{Change, PinnedStore, writer};
    use crate::waits::Waits;

    #[test]
    fn a_run_without_an_end_was_killed_unless_its_objlib_lives() {
        let told = |told: &str| Some(told.to_owned());
        assert_eq!(outcome(None, true), RUNNING);
        assert_eq!(outcome(None, false), KILLED);
        assert_eq!(outcome(told("done"), true), "done");
        assert_eq!(outcome(told("crashed"), true), KILLED);
    }

    #[test]
    fn the_last_hundred_runs_keep_what_they_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library.db");
        let waits = Waits::default();
        let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
        let thread = writer::start(&path, shutdown, &waits).unwrap().thread;
        let writer = thread.writer();
        let pinned = PinnedStore {
            endpoint: "e".to_owned(),
            display_name: "s".to_owned(),
            name: StoreName::new("fileSearchStores/s".to_owned()),
            by_display_name: true,
            embedding_model: None,
        };
        let store = writer.commit(Change::StorePinned(pinned)).unwrap().row;
        for _ in 0..105 {
            let run = writer.commit(Change::RunStarted { store }).unwrap().row;
            for details in ["{}", "{\"seconds\": 1}"] {
                let details = details.to_owned();
                writer.send(Change::Sampled { run, details }, |_| {});
            }
        }
        writer.commit(Change::Flush).unwrap();
        let reader = Reader::open(&path).unwrap();
        let kept = |run| reader.run_details(run).unwrap();
        assert_eq!((kept(4), kept(106)), (None, None));
        for run in [5, 105] {
            assert_eq!(kept(run).as_deref(), Some("{\"seconds\": 1}"));
        }
        let outcome = |run| {
            let row = reader.run(run, waits.lock_stale_after).unwrap();
            row.map(|row| (row.outcome, row.store.map(|[name, ..]| name)))
        };
        let is = |outcome: &str| Some((outcome.to_owned(), Some("s".to_owned())));
        // The lock's row is that of this very process, which never takes its own for another's.
        assert_eq!((outcome(104), outcome(106)), (is("killed"), None));
        assert_eq!(reader.newest_runs().unwrap()[0], 105);
        drop(writer);
        thread.close().unwrap();
        assert_eq!(outcome(105), is("killed"));
    }
}
