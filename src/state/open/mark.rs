//! The mark: a small file beside the database that names its newest run, and says whether that has ended.
//!
//! An old copy of a database that is put back knows nothing of what was sent since, and would send it a second
//! time. Promises: a database that lacks the run that its mark names is told; a mark that is lost or torn counts
//! as one that names a run that is not there, which costs a look at the stores and nothing else. What a copy
//! made in the middle of a run lacks is told once that run has ended.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::files::beside;
use crate::state::statement::statements;

statements! {
    NEWEST: Single =>
        "SELECT id, instance, ended_ms IS NOT NULL FROM runs WHERE id = (SELECT max(id) FROM runs)";
    HAS: Single =>
        "SELECT 1 FROM runs WHERE id = ?1 AND instance = ?2 AND (ended_ms IS NOT NULL OR NOT ?3)";
    LOOK_AGAIN: Single => "UPDATE library_stores SET queued_to = ''";
}

pub struct Mark {
    path: PathBuf,
}

/// A run as the mark names it.
#[derive(PartialEq, Eq, Debug)]
struct Marked {
    run: i64,
    instance: String,
    ended: bool,
}

impl Mark {
    /// However the database is spelled, there is one mark.
    pub fn of(database: &Path) -> Mark {
        let database = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
        Mark {
            path: beside(&database, "-last-run"),
        }
    }

    /// Whether the database may be an older copy of itself. If so, nothing counts as queued any more, and before
    /// it is again, the next run into each store looks for what that holds of each library.
    pub fn look_again(&self, conn: &Connection) -> rusqlite::Result<bool> {
        if newest(conn)?.is_none() {
            return Ok(false);
        }
        if let Some(marked) = self.read() {
            let params = params![marked.run, marked.instance, marked.ended];
            if HAS.first(conn, params, |_| Ok(()))?.is_some() {
                return Ok(false);
            }
        }
        LOOK_AGAIN.run(conn, [])?;
        Ok(true)
    }

    /// Names the newest run of this database. Where that can't be written, a copy that is put back is told no
    /// later than by the next mark that can, and the run goes on: it needs none itself.
    pub fn set(&self, conn: &Connection) {
        if let Ok(Some(newest)) = newest(conn) {
            let _ = self.write(&newest);
        }
    }

    fn read(&self) -> Option<Marked> {
        let text = fs::read_to_string(&self.path).ok()?;
        let mut words = text.strip_suffix('\n')?.split(' ');
        let marked = Marked {
            run: words.next()?.parse().ok()?,
            instance: words.next()?.to_owned(),
            ended: words.next()? == "ended",
        };
        words.next().is_none().then_some(marked)
    }

    /// Whole or not at all, also if the power fails.
    fn write(&self, marked: &Marked) -> io::Result<()> {
        let Marked {
            run,
            instance,
            ended,
        } = marked;
        let state = if *ended { "ended" } else { "begun" };
        let new = beside(&self.path, "~");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        writeln!(file, "{run} {instance} {state}")?;
        file.sync_data()?;
        fs::rename(&new, &self.path)
    }
}

fn newest(conn: &Connection) -> rusqlite::Result<Option<Marked>> {
    NEWEST.first(conn, [], |r| {
        Ok(Marked {
            run: r.get(0)?,
            instance: r.get(1)?,
            ended: r.get(2)?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::open::migrations;

    /// A database with runs of these ids; the last of them has ended or not.
    fn with_runs(runs: i64, ended: bool) -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        migrations::apply(&conn).unwrap();
        for run in 1..=runs {
            let ended_ms = (run < runs || ended).then_some(run);
            conn.execute(
                "INSERT INTO runs (id, instance, host, pid, version, started_ms, ended_ms)
                 VALUES (?1, 'i' || ?1, 'h', 1, 'v', 1, ?2)",
                params![run, ended_ms],
            )
            .unwrap();
        }
        conn
    }

    #[test]
    fn a_database_that_lacks_the_run_of_its_mark_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mark = Mark::of(&folder.path().join("library.db"));
        let looks_again = |runs, ended| mark.look_again(&with_runs(runs, ended)).unwrap();
        assert!(!looks_again(0, false), "a new one");
        assert!(looks_again(2, true), "without a mark");
        mark.set(&with_runs(3, false));
        assert!(!looks_again(3, false) && !looks_again(3, true), "its own");
        assert!(
            !looks_again(4, false),
            "killed before it could set its mark"
        );
        assert!(looks_again(2, true), "the copy of an earlier run");
        mark.set(&with_runs(3, true));
        assert!(looks_again(3, false), "a copy of the time of the run");
        assert!(!looks_again(3, true));
        fs::write(&mark.path, "3 i3 en").unwrap();
        assert!(looks_again(3, true), "torn");
        mark.set(&with_runs(0, false));
        assert!(looks_again(3, true), "nothing to name");
    }
}
