//! `status` as a page for people and one object for programs.

use serde_json::{Value, json};

use super::next::Next;
use super::tone::Tone;
use super::units::{bytes, count, when};
use crate::clock::{Local, rfc3339};
use crate::state::reader::{Run, Worker};
use crate::text::one_line;

mod library;

mod run;

pub mod lists;

pub use library::{LibraryLine, StoreLine, settings_text};

const BAR_COLUMNS: u64 = 20;

#[derive(Debug, Clone)]
pub struct Status {
    pub now: Local,
    /// Every library of the database, whichever stores it goes into.
    pub libraries: Vec<LibraryLine>,
    /// Never empty; the first is the one that the object for programs is about.
    pub stores: Vec<StoreStatus>,
    /// The living objlib that holds the lock, and since when.
    pub worker: Option<(Local, Worker)>,
    pub last_run: Option<LastRun>,
    /// The last run is the worker's.
    pub is_running: bool,
    /// For people only: the page is shown again and again.
    pub is_watched: bool,
}

/// How far a store is; also of no store yet.
#[derive(Debug, Clone, Default)]
pub struct StoreStatus {
    pub id: Option<i64>,
    pub store: Option<StoreLine>,
    /// For people only: that the one that was named is none of those that are known.
    pub unknown: Option<String>,
    pub files: u64,
    pub pending: u64,
    pub uploading: u64,
    pub processing: u64,
    pub indexed: u64,
    pub failed: u64,
    pub missing: u64,
    pub left_out: u64,
    /// Files that are gone, and have documents in the store.
    pub gone: u64,
    pub skipped: u64,
    pub bytes: u64,
    pub waiting: Vec<Waiting>,
    /// For people only: what makes the next command mean this store.
    pub next: Next,
}

/// Files that wait, or are tried again, for one cause.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub files: u64,
    pub since: Local,
    pub cause: String,
}

#[derive(Debug, Clone)]
pub struct LastRun {
    pub run: Run,
    pub started: Local,
    /// `None`: the store is forgotten.
    pub into: Option<StoreLine>,
    /// When its objlib was last seen alive.
    pub heard: Option<Local>,
}

impl StoreStatus {
    fn left(&self) -> u64 {
        self.pending + self.uploading + self.processing
    }

    fn to_json(&self) -> Value {
        let waiting = self
            .waiting
            .iter()
            .map(|w| json!({"files": w.files, "since": rfc3339(w.since.ms), "cause": w.cause}));
        json!({
            "files": self.files, "pending": self.pending, "uploading": self.uploading,
            "processing": self.processing, "indexed": self.indexed, "failed": self.failed,
            "missing": self.missing, "skipped": self.skipped, "bytes": self.bytes,
            "store": self.store.as_ref().map(StoreLine::to_json),
            "waiting": waiting.collect::<Vec<_>>()})
    }

    fn lines(&self, page: &Status, color: bool) -> Vec<String> {
        let mut lines = vec![match &self.store {
            Some(s) => format!(
                "store     {} ({}) at {}",
                one_line(&s.display_name),
                one_line(&s.name),
                one_line(&s.endpoint)
            ),
            None => format!(
                "store     {}",
                self.unknown.as_deref().unwrap_or("none yet")
            ),
        }];
        lines.push(format!("files     {} ({})", self.files, bytes(self.bytes)));
        for (name, n, tone) in [
            ("indexed", self.indexed, Tone::Done),
            ("processing", self.processing, Tone::UnderWay),
            ("uploading", self.uploading, Tone::UnderWay),
            ("pending", self.pending, Tone::Waits),
            ("failed", self.failed, Tone::Failed),
        ] {
            if n > 0 || name == "indexed" {
                lines.push(self.bar(name, n, tone, color));
            }
        }
        for waiting in &self.waiting {
            let files = count(waiting.files, "file");
            let (since, cause) = (when(waiting.since, page.now), one_line(&waiting.cause));
            let word = Tone::Waits.paint("waiting", color);
            lines.push(format!("{word}   {files}, first {since}: {cause}"));
        }
        let skipped = self.next.line("status --skipped");
        let skipped = format!("skipped by the last scan: `{skipped}`");
        let besides = [
            (self.missing, "missing from disk"),
            (self.left_out, "left out now"),
            (self.skipped, &skipped),
        ];
        let besides = besides.iter().filter(|(n, _)| *n > 0);
        let besides: Vec<String> = besides.map(|(n, what)| format!("{n} {what}")).collect();
        if !besides.is_empty() {
            lines.push(format!("besides   {}", besides.join(", ")));
        }
        if self.gone > 0 {
            lines.push(format!(
                "gone      {}, whose documents `{}` deletes",
                count(self.gone, "file"),
                self.next.line("purge")
            ));
        }
        lines.push(format!(
            "next      {}",
            self.to_do(
                page.libraries.len(),
                page.worker.as_ref().map(|_| page.is_watched)
            )
        ));
        lines
    }

    fn bar(&self, name: &str, n: u64, tone: Tone, color: bool) -> String {
        let filled = (n * BAR_COLUMNS).checked_div(self.files).unwrap_or(0);
        // Something is never nothing.
        let filled = filled.max(u64::from(n > 0)).min(BAR_COLUMNS);
        let (full, rest) = (filled as usize, (BAR_COLUMNS - filled) as usize);
        let (full, rest) = (tone.paint("█".repeat(full), color), "░".repeat(rest));
        format!("  {name:<10}  {full}{rest}  {n}")
    }

    /// `busy`: an objlib works on the database, and whether that is watched already.
    fn to_do(&self, libraries: usize, busy: Option<bool>) -> String {
        let line = |words| self.next.line(words);
        // Whatever writes has to wait.
        match busy {
            Some(true) => return "nothing, until it has ended".to_owned(),
            Some(false) => return format!("`{}` shows how it goes", line("status --watch")),
            None => {}
        }
        match (libraries, self.files) {
            (0, _) => format!("`{}`: nothing is known yet", line("upload DIR")),
            _ if self.left() > 0 => format!("`{}`", line("upload")),
            _ if self.failed > 0 => format!(
                "`{}`, then `{}`",
                line("status --failed"),
                line("upload --retry-failed")
            ),
            (_, 0) if self.store.is_none() => format!("`{}`", line("upload DIR")),
            (_, 0) if self.gone > 0 => format!("`{}`", line("purge")),
            (_, 0) => format!(
                "nothing: no file is left; `{}` looks again",
                line("upload DIR")
            ),
            _ => "nothing: every file is indexed".to_owned(),
        }
    }
}

impl Status {
    pub fn to_json(&self) -> Value {
        let mut object = self.stores[0].to_json();
        object["event"] = "status".into();
        object["time"] = rfc3339(self.now.ms).into();
        object["libraries"] = self.libraries.iter().map(LibraryLine::to_json).collect();
        object["stores"] = self.stores.iter().map(StoreStatus::to_json).collect();
        object["last_run"] = self.last_run.as_ref().map_or(Value::Null, |last| {
            let r = &last.run;
            json!({"run": r.run, "started": rfc3339(r.started_ms), "ended": r.ended_ms.map(rfc3339),
                   "outcome": r.outcome, "indexed": r.totals.indexed, "failed": r.totals.failed,
                   "pending": r.totals.pending, "processing": r.totals.processing,
                   "store": last.into.as_ref().map(StoreLine::to_json)})
        });
        object["worker"] = self.worker.as_ref().map_or(Value::Null, |(since, worker)| {
            json!({"pid": worker.holder.pid, "host": worker.holder.host, "since": rfc3339(since.ms)})
        });
        object
    }

    pub fn to_text(&self, color: bool) -> String {
        self.lines(color).join("\n") + "\n"
    }

    /// The line with the next command is the last.
    pub fn lines(&self, color: bool) -> Vec<String> {
        let mut lines: Vec<String> = self.libraries.iter().map(LibraryLine::to_text).collect();
        lines.extend(self.works(color));
        lines.extend(
            self.last_run
                .as_ref()
                .filter(|_| !self.is_running)
                .map(|last| self.ended(last, color)),
        );
        let is_one = self.stores.len() == 1;
        for store in &self.stores {
            // A page of several has them apart.
            lines.extend((!is_one).then(String::new));
            lines.extend(store.lines(self, color));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::LibrarySettings;
    use crate::state::RunTotals;
    use crate::state::lock::Holder;
    use crate::state::reader::KILLED;

    fn store() -> StoreLine {
        StoreLine {
            display_name: "notes".to_owned(),
            name: "fileSearchStores/notes-1".to_owned(),
            endpoint: "https://host".to_owned(),
            has_twin: false,
        }
    }

    const NOW: Local = Local::new(600_000, 0);

    fn status() -> Status {
        let started = Local::new(0, 0);
        Status {
            now: NOW,
            libraries: vec![LibraryLine {
                name: "docs".to_owned(),
                root: "/srv/docs".to_owned(),
                files: 100,
                bytes: 12_345_678,
                missing: 2,
                left_out: 0,
                skipped: 3,
                stores: vec![store()],
                settings: LibrarySettings::default(),
            }],
            stores: vec![StoreStatus {
                id: Some(1),
                store: Some(store()),
                files: 100,
                pending: 30,
                processing: 5,
                indexed: 64,
                failed: 1,
                missing: 2,
                gone: 2,
                skipped: 3,
                bytes: 12_345_678,
                waiting: vec![Waiting {
                    files: 3,
                    since: Local::new(300_000, 0),
                    cause: "HTTP 503\n".to_owned(),
                }],
                next: Next::default().with_store("my notes"),
                ..StoreStatus::default()
            }],
            worker: None,
            last_run: Some(LastRun {
                run: Run {
                    run: 4,
                    instance: "i".to_owned(),
                    store_id: Some(1),
                    store: None,
                    version: String::new(),
                    started_ms: 0,
                    ended_ms: Some(61_000),
                    heard_ms: None,
                    outcome: "incomplete".to_owned(),
                    exit: None,
                    limited_by: None,
                    totals: RunTotals {
                        indexed: 64,
                        failed: 1,
                        pending: 30,
                        processing: 5,
                        ..RunTotals::default()
                    },
                },
                into: Some(store()),
                started,
                heard: None,
            }),
            is_running: false,
            is_watched: false,
        }
    }

    #[test]
    fn the_page_reads_well() {
        let expected = "\
library   docs  /srv/docs  100 files (12.3 MB), goes into notes
last run  began 10 minutes ago, took 1 min 1 s, incomplete: 64 indexed, 1 failed, 35 left
store     notes (fileSearchStores/notes-1) at https://host
files     100 (12.3 MB)
  indexed     ████████████░░░░░░░░  64
  processing  █░░░░░░░░░░░░░░░░░░░  5
  pending     ██████░░░░░░░░░░░░░░  30
  failed      █░░░░░░░░░░░░░░░░░░░  1
waiting   3 files, first 5 minutes ago: HTTP 503\\n
besides   2 missing from disk, 3 skipped by the last scan: `objlib status --skipped --store 'my notes'`
gone      2 files, whose documents `objlib purge --store 'my notes'` deletes
next      `objlib upload --store 'my notes'`
";
        assert_eq!(status().to_text(false), expected);
    }

    #[test]
    fn a_living_run_says_how_far_it_is_and_a_killed_one_until_when_it_lived() {
        let mut status = status();
        let last = status.last_run.as_mut().unwrap();
        last.run.outcome = "running".to_owned();
        let holder = Holder {
            instance: "i".to_owned(),
            host: "nas".to_owned(),
            pid: 7,
        };
        let worker = Worker {
            holder,
            since_ms: 0,
        };
        status.worker = Some((Local::new(0, 0), worker));
        status.is_running = true;
        assert_eq!(
            status.lines(false)[1..3],
            [
                "running   run 4, pid 7 on nas, began 10 minutes ago",
                "so far    64 indexed, 1 failed, 0.1 files/s, about 5 min 29 s left"
            ]
        );
        let next = |status: &Status| status.lines(false).pop().unwrap();
        assert_eq!(
            next(&status),
            "next      `objlib status --watch --store 'my notes'` shows how it goes"
        );
        status.is_watched = true;
        assert_eq!(next(&status), "next      nothing, until it has ended");
        // The first file says little of the others.
        status.last_run.as_mut().unwrap().run.totals.indexed = 9;
        assert_eq!(
            status.lines(false)[2],
            "so far    9 indexed, 1 failed, 0.0 files/s"
        );
        status.last_run.as_mut().unwrap().run.totals.indexed = 64;
        // The same objlib, before its run or after it.
        status.is_running = false;
        assert_eq!(
            status.lines(false)[1],
            "working   pid 7 on nas, began 10 minutes ago"
        );
        status.worker = None;
        let last = status.last_run.as_mut().unwrap();
        last.run.outcome = KILLED.to_owned();
        last.heard = Some(Local::new(540_000, 0));
        assert_eq!(
            status.lines(false)[1],
            "last run  began 10 minutes ago, killed (last seen alive 1 minute ago): 64 indexed, 1 failed \
             until then"
        );
    }

    #[test]
    fn what_is_next_is_told_of_what_there_is() {
        let mut status = StoreStatus {
            store: Some(store()),
            ..StoreStatus::default()
        };
        assert_eq!(
            status.to_do(0, None),
            "`objlib upload DIR`: nothing is known yet"
        );
        // Everything was purged.
        assert_eq!(
            status.to_do(1, None),
            "nothing: no file is left; `objlib upload DIR` looks again"
        );
        status.gone = 1;
        assert_eq!(status.to_do(1, None), "`objlib purge`");
        (status.files, status.indexed) = (1, 1);
        assert_eq!(status.to_do(1, None), "nothing: every file is indexed");
    }

    #[test]
    fn the_object_has_exactly_the_fields_of_the_contract() {
        let json = status().to_json();
        let mut names: Vec<&String> = json.as_object().unwrap().keys().collect();
        names.sort();
        let expected = "bytes event failed files indexed last_run libraries missing pending processing \
                        skipped store stores time uploading waiting worker";
        assert_eq!(names, expected.split(' ').collect::<Vec<_>>());
    }
}
