//! The single-writer lock: one row, taken with a conditional insert, kept alive by a heartbeat.
//!
//! Promises: two objlibs never work on one database at once; a lock whose holder is dead does not
//! keep anyone out; only one's own row is ever released.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use rusqlite::{Connection, Row, Transaction, params};
use rustix::process::{Pid, test_kill_process};
use rustix::time::{ClockId, clock_gettime};

use super::open;
use super::statement::statements;
use crate::clock::{self, UnixMs};
use crate::error::{Error, Kind};

statements! {
    HELD_BY: Single => "SELECT instance, host, pid, heartbeat_ms FROM upload_locks";
    TAKE_AWAY: Single => "DELETE FROM upload_locks";
    TAKE: Single => "INSERT INTO upload_locks VALUES (1, ?1, ?2, ?3, ?4, ?4)";
    BEAT: Single => "UPDATE upload_locks SET heartbeat_ms = ?2 WHERE instance = ?1";
    IS_MINE: Single => "SELECT 1 FROM upload_locks WHERE instance = ?1";
    RELEASE: Single => "DELETE FROM upload_locks WHERE instance = ?1";
}

/// How long ago the writer saw that the lock is ours: what a thread that is about to send asks.
#[derive(Debug)]
pub struct Lease {
    confirmed_ms: AtomicI64,
    /// What was confirmed longer ago may be somebody else's by the time a request has ended.
    lasts: Duration,
}

impl Lease {
    pub(super) fn taken(lasts: Duration) -> Lease {
        Lease {
            confirmed_ms: AtomicI64::new(awake_ms()),
            lasts,
        }
    }

    /// Of who only reads: whoever holds the lock, nothing is done to the store.
    pub fn of_a_reader() -> Lease {
        Lease::taken(Duration::from_millis(i64::MAX.unsigned_abs()))
    }

    pub(super) fn confirm(&self) {
        self.confirmed_ms.store(awake_ms(), Relaxed);
    }

    /// Certain enough to send a request.
    pub fn is_fresh(&self) -> bool {
        let age = awake_ms() - self.confirmed_ms.load(Relaxed);
        age < self.lasts.as_millis() as i64
    }
}

/// Time since the machine started, in milliseconds. It runs on while the process, or the machine, is
/// suspended, and nobody can set it.
fn awake_ms() -> i64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = ClockId::Monotonic;
    let now = clock_gettime(clock);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// Who holds the lock or asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Random, so that a recycled process id is not mistaken for its owner.
    pub instance: String,
    pub host: String,
    pub pid: i64,
}

impl Holder {
    pub fn this_process() -> Holder {
        let name = rustix::system::uname();
        Holder {
            instance: format!("{:032x}", fastrand::u128(..)),
            host: name.nodename().to_string_lossy().into_owned(),
            pid: i64::from(std::process::id()),
        }
    }
}

/// Takes the lock, in the transaction that opens the database. `Some(holder)` names a dead one that it was
/// taken over from.
///
/// # Errors
/// `Kind::Locked` when a living objlib holds it.
pub fn take(
    tx: &Transaction<'_>,
    path: &Path,
    me: &Holder,
    now: UnixMs,
    stale_after: Duration,
) -> Result<Option<Holder>, Error> {
    let fail = |e: rusqlite::Error| open::error(path, &e);
    let held = HELD_BY.first(tx, [], row).map_err(fail)?;
    if let Some((holder, heartbeat)) = &held {
        if is_alive(holder, *heartbeat, me, now, stale_after) {
            return Err(Error::new(
                Kind::Locked,
                path.display().to_string(),
                format!(
                    "another objlib works on it (pid {} on {})",
                    holder.pid, holder.host
                ),
                "wait for it to end, or use another database with --db",
            ));
        }
        TAKE_AWAY.run(tx, []).map_err(fail)?;
    }
    TAKE.run(tx, params![me.instance, me.host, me.pid, now])
        .map_err(fail)?;
    Ok(held.map(|(holder, _)| holder))
}

/// The holder, and its last heartbeat.
fn row(r: &Row<'_>) -> rusqlite::Result<(Holder, UnixMs)> {
    let holder = Holder {
        instance: r.get(0)?,
        host: r.get(1)?,
        pid: r.get(2)?,
    };
    Ok((holder, r.get(3)?))
}

/// The living objlib that holds the lock, if one does; nothing is taken or written.
pub fn held_by(conn: &Connection, stale_after: Duration) -> rusqlite::Result<Option<Holder>> {
    let (me, now) = (Holder::this_process(), clock::now_ms());
    let held = HELD_BY.first(conn, [], row)?;
    let living = |(holder, beat): &(Holder, UnixMs)| is_alive(holder, *beat, &me, now, stale_after);
    Ok(held.filter(living).map(|(holder, _)| holder))
}

/// The heartbeat and the proof of ownership in one: `false` if the row is no longer ours.
pub fn beat(conn: &Connection, me: &Holder, now: UnixMs) -> rusqlite::Result<bool> {
    BEAT.run(conn, params![me.instance, now])
        .map(|changed| changed == 1)
}

/// Whether the row is still ours, without writing.
pub fn is_mine(conn: &Connection, me: &Holder) -> rusqlite::Result<bool> {
    let mine = IS_MINE.first(conn, [&me.instance], |_| Ok(()))?;
    Ok(mine.is_some())
}

pub fn release(conn: &Connection, me: &Holder) -> rusqlite::Result<()> {
    RELEASE.run(conn, [&me.instance]).map(|_| ())
}

/// Whether the objlib that wrote this row, with this heartbeat, still works: the one place where that is
/// decided, for whoever wants the lock and for whoever shows a run. One that has not beaten for longer than
/// `stale_after` does not, whatever its host.
pub fn is_alive(
    holder: &Holder,
    heartbeat: UnixMs,
    me: &Holder,
    now: UnixMs,
    stale_after: Duration,
) -> bool {
    // A heartbeat that lies far in the future was written by a clock that was wrong, or by somebody who
    // wants to keep everyone out; a living holder writes a true one within ten seconds, and stops itself
    // when it finds its lock taken.
    let age = now.saturating_sub(heartbeat).saturating_abs();
    if age > stale_after.as_millis() as i64 {
        return false;
    }
    // In a restarted container the dead holder has our own host name and process id.
    if holder.host != me.host {
        return true;
    }
    holder.pid != me.pid && pid_exists(holder.pid)
}

fn pid_exists(pid: i64) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    // EPERM: it is there, but somebody else's.
    !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)) && !is_zombie(pid)
}

/// Dead, and not yet waited for by its parent. Where there is no such file, nobody can tell.
fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap_or_default();
    // The name, in parentheses, can hold any byte; the state follows it (proc_pid_stat(5)).
    let name_ends = stat.iter().rposition(|byte| *byte == b')');
    let state = name_ends.and_then(|at| stat.get(at + 2));
    matches!(state, Some(b'Z' | b'X'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::open::migrations;
    use rusqlite::TransactionBehavior;

    const STALE_AFTER: Duration = Duration::from_secs(60);

    fn database() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        migrations::apply(&conn).unwrap();
        conn
    }

    fn holder(host: &str, pid: i64) -> Holder {
        Holder {
            instance: format!("{host}-{pid}"),
            host: host.to_owned(),
            pid,
        }
    }

    fn taken(conn: &Connection, me: &Holder, now: UnixMs) -> Result<Option<Holder>, Error> {
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate).unwrap();
        let taken = take(&tx, Path::new("library.db"), me, now, STALE_AFTER)?;
        tx.commit().unwrap();
        Ok(taken)
    }

    #[test]
    fn a_living_holder_on_another_host_keeps_the_lock_for_its_heartbeats_life() {
        let conn = database();
        let other = holder("far", 7);
        let me = holder("here", 8);
        taken(&conn, &other, 0).unwrap();
        let stale_ms = STALE_AFTER.as_millis() as i64;
        let refused = taken(&conn, &me, stale_ms).unwrap_err();
        assert_eq!(refused.kind, Kind::Locked);
        assert_eq!(taken(&conn, &me, stale_ms + 1).unwrap(), Some(other));
    }

    #[test]
    fn a_dead_process_on_this_host_loses_the_lock_at_once() {
        let conn = database();
        let dead = holder("here", i64::from(i32::MAX));
        taken(&conn, &dead, 0).unwrap();
        assert_eq!(taken(&conn, &holder("here", 1), 1).unwrap(), Some(dead));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_killed_process_that_nobody_has_waited_for_is_dead() {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let pid = i64::from(child.id());
        assert!(pid_exists(pid));
        child.kill().unwrap();
        // Waits, and leaves it unreaped.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(&child)), ended).unwrap();
        assert!(!pid_exists(pid));
        child.wait().unwrap();
    }

    #[test]
    fn a_heartbeat_in_the_far_future_keeps_nobody_out() {
        let conn = database();
        let planted = holder("here", i64::from(std::process::id()) + 1);
        taken(&conn, &planted, i64::MAX).unwrap();
        assert_eq!(taken(&conn, &holder("here", 1), 0).unwrap(), Some(planted));
    }

    #[test]
    fn a_restarted_container_is_not_kept_out_by_its_own_process_id() {
        let conn = database();
        let mut before = holder("nas", i64::from(std::process::id()));
        taken(&conn, &before, 0).unwrap();
        before.instance = "after the restart".to_owned();
        assert!(taken(&conn, &before, 1).is_ok());
    }

    #[test]
    fn release_and_heartbeat_touch_only_ones_own_row() {
        let conn = database();
        let mine = holder("here", 1);
        taken(&conn, &mine, 0).unwrap();
        let stranger = holder("far", 2);
        release(&conn, &stranger).unwrap();
        assert!(!beat(&conn, &stranger, 5).unwrap());
        assert!(beat(&conn, &mine, 5).unwrap());
        release(&conn, &mine).unwrap();
        assert!(!is_mine(&conn, &mine).unwrap());
    }
}
