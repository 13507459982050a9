//! The last words of a run: what was done, what is left, what held it back, what to type next.

use std::time::Duration;

use super::event::{Event, LimitedBy, Summary};
use super::tone::Tone;
use super::units::{bytes, count, time};
use crate::scan::SkipReason;
use crate::state::reader::figures::Reason;
use crate::text::one_line;

pub fn scan(event: &Event) -> Vec<String> {
    let Event::ScanDone {
        library,
        found,
        seconds,
    } = event
    else {
        return Vec::new();
    };
    let left_out = match found.left_out {
        0 => String::new(),
        n => format!(", {n} left out now"),
    };
    let described = match found.described {
        0 => String::new(),
        n => format!(" ({n} only in what describes them)"),
    };
    let moved = match found.moved {
        0 => String::new(),
        n => format!("{n} moved, "),
    };
    let scanned = match found.interrupted {
        true => "interrupted while scanning",
        false => "scanned",
    };
    let mut lines = vec![format!(
        "{scanned} {library}: {} ({}) in {}: {} new, {} changed{described}, {moved}{} unchanged, {} missing{left_out}, {} skipped",
        count(found.files, "file"),
        bytes(found.bytes),
        time(Duration::from_secs_f64(seconds.max(0.0))),
        found.new,
        found.changed,
        found.unchanged,
        found.missing,
        found.skipped
    )];
    if found.skipped > 0 {
        let reasons = found.skipped_by.iter();
        let reasons: Vec<String> = reasons.map(|(why, n)| format!("{n} {why}")).collect();
        lines.push(format!("skipped: {}", reasons.join(", ")));
    }
    if !found.too_large.is_empty() {
        let named = found.too_large.join(", ");
        let all = found.skipped_by.get(SkipReason::TooLarge.label());
        let more = all
            .copied()
            .unwrap_or(0)
            .saturating_sub(found.too_large.len() as u64);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        lines.push(format!("too large for the service: {named}{more}"));
    }
    lines
}

pub fn words(s: &Summary, color: bool) -> Vec<String> {
    if s.dry_run {
        // The plan has said it all.
        return Vec::new();
    }
    let mut lines = done(s);
    let failed = s.failed_by.iter().map(failed_by);
    lines.extend(failed.map(|line| Tone::Failed.paint(line, color)));
    let waits = |line| Tone::Waits.paint(line, color);
    lines.extend(undone(s).into_iter().map(waits));
    lines.extend(s.waiting_by.iter().map(waiting_by).map(waits));
    if s.gone > 0 {
        lines.push(format!(
            "{} missing or left out: `{}` deletes their documents",
            count(s.gone, "file"),
            s.next.line("purge")
        ));
    }
    if s.exit == 0 && s.totals.indexed > 0 && s.totals.indexed == s.indexed_in_all {
        let search = s.next.line("search QUESTION");
        lines.push(format!("next: `{search}` asks what is in the store"));
    }
    lines.extend(next(s.exit).map(|line| waits(line.to_owned())));
    lines
}

fn failed_by((reason, first): &(Reason, Vec<String>)) -> String {
    let more = if reason.files > first.len() as u64 {
        ", …"
    } else {
        ""
    };
    let (words, files) = (&reason.words, count(reason.files, "file"));
    one_line(&format!(
        "failed: {files}: {words} ({}{more})",
        first.join(", ")
    ))
}

fn waiting_by(reason: &Reason) -> String {
    let files = count(reason.files, "file");
    one_line(&format!("waiting: {files} after {}", reason.words))
}

/// For whoever wants to know only what is wrong: all of it in one line.
pub fn wrong(s: &Summary) -> Option<String> {
    let mut parts = undone(s);
    parts.extend(next(s.exit).map(str::to_owned));
    (!s.dry_run && !parts.is_empty()).then(|| parts.join("; "))
}

fn done(s: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    if s.totals.files() == 0 && s.exit == 0 {
        lines.push(match s.indexed_in_all {
            0 if s.beyond_limit == 0 => format!(
                "nothing to do: no file is there to send; scan a folder with `{}`",
                s.next.line("upload DIR")
            ),
            1 => "nothing to do: the one file is indexed".to_owned(),
            n => format!("nothing to do: all {n} files are indexed"),
        });
        return lines;
    }
    if s.totals.files() == 0 && s.indexed_in_all > 0 {
        let indexed = count(s.indexed_in_all, "file");
        lines.push(format!("nothing to send: {indexed} indexed"));
    }
    if s.totals.indexed > 0 {
        let seconds = s.seconds.max(0.001);
        lines.push(format!(
            "indexed {} ({}) in {}, {:.1} files/s, {} requests",
            count(s.totals.indexed, "file"),
            bytes(s.totals.bytes),
            time(Duration::from_secs_f64(seconds)),
            s.totals.indexed as f64 / seconds,
            s.totals.requests
        ));
    }
    let on_the_way = [
        (s.totals.retries, "tried again"),
        (s.totals.throttled, "told to slow down"),
        (s.totals.resumed, "resumed"),
        (s.totals.adopted, "found at the service"),
    ];
    let on_the_way = on_the_way.iter().filter(|(n, _)| *n > 0);
    let on_the_way: Vec<String> = on_the_way.map(|(n, what)| format!("{n} {what}")).collect();
    if !on_the_way.is_empty() {
        lines.push(format!("on the way: {}", on_the_way.join(", ")));
    }
    lines.extend(held_back(s.limited_by).map(|why| format!("held back by {why}")));
    if s.totals.skipped > 0 {
        lines.push(format!(
            "{} changed or vanished meanwhile",
            count(s.totals.skipped, "file")
        ));
    }
    lines
}

fn undone(s: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    let to_send = s.totals.pending.saturating_sub(s.beyond_limit);
    let left = [(to_send, "to send"), (s.totals.processing, "being indexed")];
    let left = left.iter().filter(|(n, _)| *n > 0);
    let left: Vec<String> = left
        .map(|(n, what)| format!("{} {what}", count(*n, "file")))
        .collect();
    if !left.is_empty() {
        lines.push(format!("left: {}", left.join(", ")));
    }
    if s.beyond_limit > 0 {
        lines.push(format!(
            "beyond --limit: {} for another run",
            count(s.beyond_limit, "file")
        ));
    }
    if s.failed_in_all > 0 {
        lines.push(format!(
            "{} failed: see `{}`; try again with `{}`",
            count(s.failed_in_all, "file"),
            s.next.line("status --failed"),
            s.next.line("upload --retry-failed")
        ));
    }
    if s.unreadable > 0 {
        lines.push(format!(
            "{} could not be read, or not be described: see `{}`",
            count(s.unreadable, "file or folder"),
            s.next.line("status --skipped")
        ));
    }
    lines
}

pub(super) fn held_back(by: LimitedBy) -> Option<&'static str> {
    match by {
        LimitedBy::Quota => Some("the service's quota (a higher tier of the account raises it)"),
        LimitedBy::Ceiling => Some("your own limit on requests (--rpm or --tier)"),
        LimitedBy::Outage => Some("failures of the service"),
        LimitedBy::Storage => Some("the service's storage, which is full"),
        LimitedBy::Concurrency => Some("the service's latency (raise --concurrency)"),
        LimitedBy::Disk => Some("the disk that the database is on"),
        LimitedBy::Cpu => Some("the processor"),
        LimitedBy::Bandwidth => Some("--bwlimit"),
        LimitedBy::Indexing => Some("the service's indexing, which nothing here can speed up"),
        LimitedBy::Nothing => None,
    }
}

fn next(exit: u8) -> Option<&'static str> {
    match exit {
        4 => Some("not finished: run the same command again"),
        130 | 143 => Some("interrupted: run the same command again to continue"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::RunTotals;

    fn reason(words: &str, files: u64) -> Reason {
        Reason {
            words: words.to_owned(),
            files,
            since_ms: 0,
        }
    }

    #[test]
    fn a_run_without_work_says_so() {
        let done = Summary {
            indexed_in_all: 873,
            ..Summary::default()
        };
        assert_eq!(
            words(&done, false),
            ["nothing to do: all 873 files are indexed"]
        );
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        assert_eq!(wrong(&Summary::default()), None);
        let stopped = Summary {
            totals: RunTotals {
                indexed: 5,
                pending: 7,
                ..RunTotals::default()
            },
            failed_in_all: 1,
            gone: 2,
            exit: 4,
            ..Summary::default()
        };
        assert_eq!(
            wrong(&stopped).unwrap(),
            "left: 7 files to send; \
             1 file failed: see `objlib status --failed`; try again with `objlib upload --retry-failed`; \
             not finished: run the same command again"
        );
    }

    #[test]
    fn files_that_are_gone_are_said_to_be() {
        let done = Summary {
            indexed_in_all: 1,
            gone: 2,
            ..Summary::default()
        };
        let expected = [
            "nothing to do: the one file is indexed",
            "2 files missing or left out: `objlib purge` deletes their documents",
        ];
        assert_eq!(words(&done, false), expected);
    }

    #[test]
    fn a_whole_run_names_what_held_it_back() {
        let done = Summary {
            totals: RunTotals {
                indexed: 10,
                bytes: 12_000,
                requests: 31,
                ..RunTotals::default()
            },
            seconds: 2.0,
            limited_by: LimitedBy::Concurrency,
            ..Summary::default()
        };
        assert_eq!(
            words(&done, false),
            [
                "indexed 10 files (12.0 kB) in 2.0 s, 5.0 files/s, 31 requests",
                "held back by the service's latency (raise --concurrency)",
            ]
        );
    }

    #[test]
    fn an_interrupted_run_says_what_is_left_and_what_to_type() {
        let stopped = Summary {
            totals: RunTotals {
                pending: 7,
                processing: 1,
                failed: 1,
                ..RunTotals::default()
            },
            failed_in_all: 1,
            failed_by: vec![(
                reason("no\nway", 3),
                vec!["docs: a".to_owned(), "docs: b".to_owned()],
            )],
            waiting_by: vec![reason("HTTP 503", 1)],
            exit: 130,
            ..Summary::default()
        };
        assert_eq!(
            words(&stopped, false),
            [
                "failed: 3 files: no\\nway (docs: a, docs: b, …)",
                "left: 7 files to send, 1 file being indexed",
                "1 file failed: see `objlib status --failed`; try again with `objlib upload --retry-failed`",
                "waiting: 1 file after HTTP 503",
                "interrupted: run the same command again to continue",
            ]
        );
    }
}
