//! `status` as a page for people and one object for programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::next::Next;
use super::units::{bytes, count, time};
use crate::clock::{self, UnixMs, rfc3339};
use crate::scan::LibrarySettings;
use crate::state::figures::{FailedFile, LastRun, Reason, SkippedFile};
use crate::text::{json_line, one_line};

const BAR_COLUMNS: u64 = 20;

#[derive(Debug, Clone)]
pub struct Status {
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
    pub store: Option<StoreLine>,
    /// Every library of the database, whichever stores it goes into.
    pub libraries: Vec<LibraryLine>,
    pub last_run: Option<LastRun>,
    /// For people only: why files wait, and what makes the next command mean the same.
    pub why: Vec<Reason>,
    pub next: Next,
}

/// A folder under a name, and where it goes.
#[derive(Debug, Clone)]
pub struct LibraryLine {
    pub name: String,
    pub root: String,
    pub files: u64,
    pub bytes: u64,
    pub missing: u64,
    pub left_out: u64,
    pub skipped: u64,
    pub stores: Vec<StoreLine>,
    pub settings: LibrarySettings,
}

impl LibraryLine {
    pub fn to_json(&self) -> Value {
        json!({"name": self.name, "root": self.root, "files": self.files, "bytes": self.bytes,
               "missing": self.missing, "left_out": self.left_out, "skipped": self.skipped,
               "settings": self.settings,
               "stores": self.stores.iter().map(StoreLine::to_json).collect::<Vec<_>>()})
    }

    pub fn to_text(&self) -> String {
        let stores: Vec<&str> = self
            .stores
            .iter()
            .map(|s| s.display_name.as_str())
            .collect();
        let goes = match stores.is_empty() {
            true => "not sent anywhere yet".to_owned(),
            false => format!("goes into {}", stores.join(", ")),
        };
        one_line(&format!(
            "library   {}  {}  {} ({}), {goes}",
            self.name,
            self.root,
            count(self.files, "file"),
            bytes(self.bytes)
        ))
    }
}

/// What is kept with a library, a line each; `rules` is the whole text.
pub fn settings_text(settings: &LibrarySettings) -> String {
    let mut lines = Vec::new();
    for text in &settings.set {
        lines.push(format!("set       {}", one_line(text)));
    }
    for (extension, mime) in settings.types.each() {
        lines.push(format!("type      .{} as {mime}", one_line(extension)));
    }
    if let Some(chunking) = settings.chunking {
        let (tokens_max, overlap) = (chunking.tokens_max(), chunking.overlap_tokens());
        lines.push(format!(
            "chunks    up to {tokens_max} words, {overlap} of them shared"
        ));
    }
    if let Some(rules) = &settings.rules {
        let rules = rules.trim_end().lines().map(one_line);
        lines.push("rules".to_owned());
        lines.extend(rules.map(|line| format!("  {line}")));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

impl StoreLine {
    fn to_json(&self) -> Value {
        json!({"display_name": self.display_name, "name": self.name, "endpoint": self.endpoint})
    }
}

#[derive(Debug, Clone)]
pub struct StoreLine {
    pub display_name: String,
    pub name: String,
    pub endpoint: String,
}

impl Status {
    pub fn to_json(&self) -> Value {
        json!({
            "files": self.files, "pending": self.pending, "uploading": self.uploading,
            "processing": self.processing, "indexed": self.indexed, "failed": self.failed,
            "missing": self.missing, "skipped": self.skipped, "bytes": self.bytes,
            "store": self.store.as_ref().map(StoreLine::to_json),
            "libraries": self.libraries.iter().map(LibraryLine::to_json).collect::<Vec<_>>(),
            "last_run": self.last_run.as_ref().map(|r| json!({
                "run": r.run, "started": rfc3339(r.started_ms),
                "ended": r.ended_ms.map(rfc3339), "outcome": r.outcome,
                "indexed": r.indexed, "failed": r.failed, "pending": r.pending,
                "processing": r.processing})),
        })
    }

    pub fn to_text(&self, color: bool) -> String {
        let mut lines = vec![match &self.store {
            Some(s) => format!(
                "store     {} ({}) at {}",
                one_line(&s.display_name),
                one_line(&s.name),
                one_line(&s.endpoint)
            ),
            None => "store     none yet".to_owned(),
        }];
        lines.extend(self.libraries.iter().map(LibraryLine::to_text));
        lines.push(format!("files     {} ({})", self.files, bytes(self.bytes)));
        for (name, n) in [
            ("indexed", self.indexed),
            ("processing", self.processing),
            ("uploading", self.uploading),
            ("pending", self.pending),
            ("failed", self.failed),
        ] {
            lines.push(self.state_line(name, n, color));
        }
        let left_out = match self.left_out {
            0 => String::new(),
            n => format!("{n} left out now, "),
        };
        let named = match self.skipped {
            0 => String::new(),
            _ => format!(": `{}`", self.next.line("status --skipped")),
        };
        lines.push(format!(
            "besides   {} missing from disk, {left_out}{} skipped by the last scan{named}",
            self.missing, self.skipped
        ));
        if self.gone > 0 {
            lines.push(format!(
                "gone      {}, whose documents `{}` deletes",
                count(self.gone, "file"),
                self.next.line("purge")
            ));
        }
        lines.extend(self.last_run.as_ref().map(last_run));
        for reason in &self.why {
            lines.push(format!(
                "waiting   {} since {}: {}",
                count(reason.files, "file"),
                ago(reason.since_ms),
                one_line(&reason.words)
            ));
        }
        lines.push(format!("next      {}", self.next()));
        lines.join("\n") + "\n"
    }

    fn state_line(&self, name: &str, n: u64, color: bool) -> String {
        let filled = (n * BAR_COLUMNS).checked_div(self.files).unwrap_or(0);
        // Something is never nothing.
        let filled = filled.max(u64::from(n > 0)).min(BAR_COLUMNS);
        let bar = format!(
            "{}{}",
            "█".repeat(filled as usize),
            "░".repeat((BAR_COLUMNS - filled) as usize)
        );
        let style = match name {
            "indexed" => console::Style::new().green(),
            "failed" => console::Style::new().red(),
            _ => console::Style::new().cyan(),
        };
        let bar = style.force_styling(color).apply_to(bar);
        format!("  {name:<10}  {bar}  {n}")
    }

    fn next(&self) -> String {
        let line = |words| self.next.line(words);
        match (self.files, self.failed) {
            (0, _) => format!("`{}`: nothing is known yet", line("upload DIR")),
            _ if self.pending + self.uploading + self.processing > 0 => {
                format!("`{}`", line("upload"))
            }
            (_, 1..) => format!(
                "`{}`, then `{}`",
                line("status --failed"),
                line("upload --retry-failed")
            ),
            _ => "nothing: every file is indexed".to_owned(),
        }
    }
}

fn last_run(run: &LastRun) -> String {
    let took = run.ended_ms.map_or_else(String::new, |ended| {
        let ms = u64::try_from(ended - run.started_ms).unwrap_or(0);
        format!(", {}", time(Duration::from_millis(ms)))
    });
    format!(
        "last run  {} ({}{took}): {} indexed, {} failed, {} left",
        rfc3339(run.started_ms),
        one_line(&run.outcome),
        run.indexed,
        run.failed,
        run.pending + run.processing
    )
}

pub const NOTHING_FAILED: &str = "no file has failed";
pub const NOTHING_UNMATCHED: &str = "there are no rules, or some rule meets every file";
pub const NOTHING_SKIPPED: &str = "the last scans skipped nothing";

/// Above the files that have failed with one error.
pub fn failed_heading(error: &str, files: u64, color: bool) -> String {
    let words = format!("{}: {}", count(files, "file"), one_line(error));
    let bold = console::Style::new().bold().force_styling(color);
    bold.apply_to(words).to_string()
}

/// Below a heading.
pub fn failed_line(file: &FailedFile) -> String {
    format!(
        "  {}",
        one_line(&format!("{}: {}", file.library, file.path))
    )
}

/// Below all of them.
pub fn failed_next(next: &Next) -> String {
    let retry = next.line("upload --retry-failed");
    format!("next: mend the cause, then `{retry}`")
}

pub fn failed_json(file: &FailedFile) -> String {
    json_line(
        &json!({"library": file.library, "path": file.path, "kind": file.kind,
                "error": file.error, "since": rfc3339(file.since_ms), "attempts": file.attempts}),
    )
}

pub fn unmatched_line(library: &str, path: &str) -> String {
    one_line(&format!("{library}: {path}"))
}

pub fn unmatched_json(library: &str, path: &str) -> String {
    json_line(&json!({"library": library, "path": path}))
}

pub fn skipped_line(library: &str, file: &SkippedFile) -> String {
    one_line(&format!(
        "{library}: {}: {} ({})",
        file.path, file.reason, file.detail
    ))
}

pub fn skipped_json(library: &str, file: &SkippedFile) -> String {
    json_line(
        &json!({"library": library, "path": file.path, "reason": file.reason,
                "detail": file.detail}),
    )
}

fn ago(since: UnixMs) -> String {
    let ms = u64::try_from(clock::now_ms() - since).unwrap_or(0);
    format!("{} ago", time(Duration::from_millis(ms)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::UploadId;

    fn status() -> Status {
        Status {
            files: 100,
            pending: 30,
            uploading: 0,
            processing: 5,
            indexed: 64,
            failed: 1,
            missing: 2,
            left_out: 0,
            gone: 2,
            skipped: 3,
            bytes: 12_345_678,
            store: Some(StoreLine {
                display_name: "notes".to_owned(),
                name: "fileSearchStores/notes-1".to_owned(),
                endpoint: "https://host".to_owned(),
            }),
            last_run: Some(LastRun {
                run: 4,
                started_ms: 0,
                ended_ms: Some(61_000),
                outcome: "incomplete".to_owned(),
                indexed: 64,
                failed: 1,
                pending: 30,
                processing: 5,
            }),
            why: Vec::new(),
            libraries: vec![LibraryLine {
                name: "docs".to_owned(),
                root: "/srv/docs".to_owned(),
                files: 100,
                bytes: 12_345_678,
                missing: 2,
                left_out: 0,
                skipped: 3,
                stores: vec![StoreLine {
                    display_name: "notes".to_owned(),
                    name: "fileSearchStores/notes-1".to_owned(),
                    endpoint: "https://host".to_owned(),
                }],
                settings: LibrarySettings::default(),
            }],
            next: Next::default().with_store("my notes"),
        }
    }

    #[test]
    fn the_page_reads_well() {
        let expected = "\
store     notes (fileSearchStores/notes-1) at https://host
library   docs  /srv/docs  100 files (12.3 MB), goes into notes
files     100 (12.3 MB)
  indexed     ████████████░░░░░░░░  64
  processing  █░░░░░░░░░░░░░░░░░░░  5
  uploading   ░░░░░░░░░░░░░░░░░░░░  0
  pending     ██████░░░░░░░░░░░░░░  30
  failed      █░░░░░░░░░░░░░░░░░░░  1
besides   2 missing from disk, 3 skipped by the last scan: `objlib status --skipped --store 'my notes'`
gone      2 files, whose documents `objlib purge --store 'my notes'` deletes
last run  1970-01-01T00:00:00.000Z (incomplete, 1 min 1 s): 64 indexed, 1 failed, 35 left
next      `objlib upload --store 'my notes'`
";
        assert_eq!(status().to_text(false), expected);
    }

    #[test]
    fn the_object_has_exactly_the_fields_of_the_contract() {
        let json = status().to_json();
        let mut names: Vec<&String> = json.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(
            names,
            [
                "bytes",
                "failed",
                "files",
                "indexed",
                "last_run",
                "libraries",
                "missing",
                "pending",
                "processing",
                "skipped",
                "store",
                "uploading"
            ]
        );
    }

    #[test]
    fn a_failed_file_stands_in_one_line_below_its_error() {
        let file = FailedFile {
            upload: UploadId(1),
            library: "docs".to_owned(),
            path: "a\n.txt".to_owned(),
            kind: "refused".to_owned(),
            error: "no\nnever".to_owned(),
            since_ms: 0,
            attempts: 1,
        };
        let lines = [
            failed_heading(&file.error, 2, false),
            failed_line(&file),
            failed_next(&Next::default()),
        ];
        let expected = [
            "2 files: no\\nnever",
            "  docs: a\\n.txt",
            "next: mend the cause, then `objlib upload --retry-failed`",
        ];
        assert_eq!(lines, expected);
    }
}
