//! The page of one run: what it did, how fast, what held it back and what failed.
//!
//! One file that needs nothing else: no script, no font, no picture, nothing from the network. It is well-formed
//! as XML is, so that programs read it too. Promises: whatever a file is called and whatever the service says
//! is text on it, never markup.

use std::fmt::Write;

use self::chart::{Chart, Series, Shape, Timeline};
pub use self::details::Details;
use self::details::Sample;
use self::markup::{row, text};
use super::event::LimitedBy;
use super::summary;
use super::units::{bytes, time};
use crate::clock::Local;
use crate::state::RunTotals;
use crate::state::reader::Run;

/// Shapes and what is around them.
mod chart;

/// How long answers took.
mod latency;

/// What was recorded.
mod details;

/// Text and tags.
mod markup;

const STYLE: &str = include_str!("style.css");

/// A run, and what it has recorded; `None`: its objlib recorded nothing, or it was long ago.
pub struct RunReport {
    pub run: Run,
    pub details: Option<Details>,
    pub began: Local,
    /// When the page is made.
    pub now: Local,
}

impl RunReport {
    /// The row is written at the end; before that, and of a run that was killed, the record tells.
    fn totals(&self) -> &RunTotals {
        match (&self.details, self.run.ended_ms) {
            (Some(details), None) => &details.totals,
            _ => &self.run.totals,
        }
    }

    fn seconds(&self) -> f64 {
        let until = self.run.ended_ms.filter(|_| self.details.is_none());
        match (&self.details, until) {
            (Some(details), _) => details.seconds,
            (None, Some(ended)) => (ended - self.run.started_ms).max(0) as f64 / 1000.0,
            (None, None) => 0.0,
        }
    }

    pub fn page(&self) -> String {
        let mut html = String::with_capacity(64 * 1024);
        let run = self.run.run;
        let _ = write!(
            html,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
             <title>objlib: run {run}</title><style>\n{STYLE}</style></head><body><main>"
        );
        self.head(&mut html);
        self.tiles(&mut html);
        html.push_str("<section><h2>Files</h2>");
        self.files_by_state(&mut html);
        if let Some(details) = self.details.as_ref().filter(|details| details.deleted > 0) {
            let _ = write!(
                html,
                "<p>Deleted at the service, since nothing needed it any more: {} documents and temporary files.</p>",
                details.deleted
            );
        }
        html.push_str("</section>");
        match &self.details {
            Some(details) => drawn(details, &mut html),
            None => {
                let why = match self.run.ended_ms {
                    Some(_) => {
                        "an older objlib did it, it ended before it sent anything, or it was more than a hundred runs ago"
                    }
                    None => "it has not been under way for long enough",
                };
                let _ = write!(
                    html,
                    "<p class=\"note\">No course of this run is on record: {why}.</p>"
                );
            }
        }
        self.numbers(&mut html);
        let _ = writeln!(
            html,
            "<footer>Made by objlib {} on {}.</footer></main></body></html>",
            env!("CARGO_PKG_VERSION"),
            moment(self.now)
        );
        html
    }

    fn head(&self, html: &mut String) {
        let run = &self.run;
        let (class, words) = self.outcome();
        let _ = write!(html, "<header><h1>Run {}", run.run);
        if let Some([name, ..]) = &run.store {
            let _ = write!(html, " into <em>{}</em>", text(name));
        }
        let _ = write!(
            html,
            "</h1><p class=\"outcome {class}\">{words}</p><p>Began {}",
            moment(self.began)
        );
        if let Some([_, resource, endpoint]) = &run.store {
            let _ = write!(
                html,
                ", store <code>{}</code> at {}",
                text(resource),
                text(endpoint)
            );
        }
        let libraries = self.details.iter().flat_map(|details| &details.libraries);
        let libraries: Vec<String> = libraries
            .map(|name| format!("<em>{}</em>", text(name)))
            .collect();
        match &libraries[..] {
            [] => {}
            [one] => _ = write!(html, ", library {one}"),
            _ => _ = write!(html, ", libraries {}", libraries.join(", ")),
        }
        let _ = write!(html, ", by objlib {}.</p></header>", text(&run.version));
        if let Some(error) = self
            .details
            .as_ref()
            .and_then(|details| details.error.as_ref())
        {
            let _ = write!(html, "<p class=\"error\">{}</p>", text(error));
        }
        let by = run.limited_by.as_deref().and_then(LimitedBy::parse);
        if let Some(why) = by.and_then(summary::held_back) {
            let _ = write!(html, "<p class=\"held\">Held back by {why}.</p>");
        }
    }

    /// How it ended, with the class of its colour.
    fn outcome(&self) -> (&'static str, String) {
        let exit = self.run.exit;
        let (class, words) = match self.run.outcome.as_str() {
            "running" => (
                "warn",
                "Still running; this is what it had done when the page was made",
            ),
            "killed" => (
                "bad",
                "Killed before its end; what is not done is pending: run it again",
            ),
            "done" => ("good", "Done"),
            "purged" => (
                "good",
                "Done: documents of files that are gone were deleted",
            ),
            "done, some failed" => ("bad", "Done, but some files failed"),
            "incomplete" | "purge not finished" => ("warn", "Not finished: run it again"),
            "interrupted" | "terminated" => ("warn", "Interrupted: run it again to continue"),
            _ => ("bad", "Stopped by an error"),
        };
        match exit {
            Some(exit @ 1..) => (class, format!("{words} (exit code {exit})")),
            _ => (class, words.to_owned()),
        }
    }

    fn tiles(&self, html: &mut String) {
        let (t, seconds) = (self.totals(), self.seconds());
        let a_second = |n: u64| n as f64 / seconds.max(0.001);
        let files = t.indexed + t.failed;
        let a_file = match files {
            0 => String::new(),
            _ => format!("{:.2} a file", t.requests as f64 / files as f64),
        };
        let span = std::time::Duration::from_secs_f64(seconds);
        let tiles = [
            ("Files indexed", t.indexed.to_string(), bytes(t.bytes)),
            ("Time", time(span), String::new()),
            (
                "Speed",
                format!("{:.1} files/s", a_second(t.indexed)),
                format!("{}/s", bytes(a_second(t.bytes) as u64)),
            ),
            ("Requests", t.requests.to_string(), a_file),
            (
                "Told to slow down",
                t.throttled.to_string(),
                "answers 429".to_owned(),
            ),
            (
                "Sent again",
                t.retries.to_string(),
                format!("{} resumed", t.resumed),
            ),
        ];
        html.push_str("<ul class=\"tiles\">");
        for (name, value, more) in tiles {
            let _ = write!(
                html,
                "<li><span>{name}</span><b>{value}</b><small>{more}</small></li>"
            );
        }
        html.push_str("</ul>");
    }

    fn files_by_state(&self, html: &mut String) {
        let t = self.totals();
        let states = [
            ("indexed", "s1", t.indexed),
            ("failed", "s4", t.failed),
            ("changed or gone meanwhile", "s3", t.skipped),
            ("being indexed", "s2", t.processing),
            ("to send", "s0", t.pending),
        ];
        let all = t.files();
        if all == 0 {
            html.push_str(match self.run.ended_ms {
                Some(_) if self.run.exit == Some(0) => "<p>There was nothing to send.</p>",
                Some(_) => "<p>It ended before it sent anything.</p>",
                None => "<p>None was done yet.</p>",
            });
            return;
        }
        let said = states.iter().filter(|(.., n)| *n > 0);
        let said: Vec<String> = said.map(|(name, _, n)| format!("{n} {name}")).collect();
        let _ = write!(
            html,
            "<svg class=\"share\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
            said.join(", ")
        );
        let mut x = 0.0;
        for (name, class, n) in states {
            let width = n as f64 / all as f64 * 100.0;
            let _ = write!(
                html,
                "<rect class=\"{class}\" x=\"{x:.3}\" width=\"{width:.3}\" height=\"1\"><title>{n} {name}</title></rect>"
            );
            x += width;
        }
        html.push_str("</svg><p class=\"legend\">");
        for (name, class, n) in states.into_iter().filter(|(.., n)| *n > 0) {
            let _ = write!(html, "<span><i class=\"{class}\"></i>{n} {name}</span> ");
        }
        html.push_str("</p>");
        if self.run.ended_ms.is_none() {
            html.push_str("<p class=\"note\">What was left is counted at the end of a run, which this one has not reached.</p>");
        }
    }

    /// All of the summary, by the names that its JSON has.
    fn numbers(&self, html: &mut String) {
        let t = self.totals();
        let words = |word: Option<&str>| word.map(text).unwrap_or_else(|| "–".to_owned());
        let exit = self.run.exit.map(|exit| exit.to_string());
        let rows: [(&str, &dyn std::fmt::Display); 17] = [
            ("total", &t.files()),
            ("indexed", &t.indexed),
            ("failed", &t.failed),
            ("skipped", &t.skipped),
            ("pending", &t.pending),
            ("processing", &t.processing),
            ("bytes", &t.bytes),
            ("seconds", &format!("{:.3}", self.seconds())),
            ("requests", &t.requests),
            ("polls", &t.polls),
            ("retries", &t.retries),
            ("throttled", &t.throttled),
            ("recovered", &t.recovered),
            ("resumed", &t.resumed),
            ("adopted", &t.adopted),
            ("limited_by", &words(self.run.limited_by.as_deref())),
            ("exit", &words(exit.as_deref())),
        ];
        html.push_str("<section><h2>All numbers</h2><p>By the names that <code>--json</code> has in its summary.</p><table class=\"numbers\">");
        for (name, value) in rows {
            row(html, "td", &[&format_args!("<code>{name}</code>"), value]);
        }
        html.push_str("</table></section>");
    }
}

/// What was recorded while it ran.
fn drawn(details: &Details, html: &mut String) {
    if let Some(timeline) = Timeline::of(&details.samples) {
        over_time(&timeline, html);
    }
    latency::draw(&details.times, html);
    if !details.causes.is_empty() {
        html.push_str("<section><h2>Failures by cause</h2><div class=\"wide\"><table>");
        row(
            html,
            "th",
            &[
                &"cause",
                &"files failed",
                &"tried again",
                &"words of the first",
            ],
        );
        let mut causes: Vec<_> = details.causes.iter().collect();
        causes.sort_by_key(|cause| std::cmp::Reverse((cause.files, cause.attempts)));
        for c in causes {
            row(
                html,
                "td",
                &[&text(&c.kind), &c.files, &c.attempts, &text(&c.words)],
            );
        }
        html.push_str("</table></div></section>");
    }
    if !details.slowest.is_empty() {
        html.push_str("<section><h2>Slowest files</h2><p>From the moment that their turn came, waiting and indexing included.</p><div class=\"wide\"><table>");
        row(html, "th", &[&"time", &"size", &"attempts", &"file"]);
        for file in &details.slowest {
            let took = time(std::time::Duration::from_secs_f64(file.seconds));
            let failed = if file.status == "failed" {
                " <em>failed</em>"
            } else {
                ""
            };
            let path =
                format_args!("{}: {}{failed}", text(&file.library), text(&file.path)).to_string();
            row(
                html,
                "td",
                &[&took, &bytes(file.bytes), &file.attempts, &path],
            );
        }
        html.push_str("</table></div></section>");
    }
}

fn over_time(timeline: &Timeline<'_>, html: &mut String) {
    let series = |name, class, values| Series {
        name,
        class,
        values,
    };
    let outcome = |i: usize| timeline.growth(move |s: &Sample| s.outcomes[i]);
    let charts = [
        Chart {
            title: "Files indexed",
            nothing: "None.",
            unit: "files a second",
            said: chart::number,
            series: vec![series("files/s", "s1", timeline.growth(|s| s.indexed))],
            shape: Shape::Stacks,
            columns: timeline.columns(),
            labels: timeline.labels(),
        },
        Chart {
            title: "Bytes indexed",
            nothing: "None.",
            unit: "bytes a second",
            said: chart::bytes,
            series: vec![series("bytes/s", "s1", timeline.growth(|s| s.bytes))],
            shape: Shape::Stacks,
            columns: timeline.columns(),
            labels: timeline.labels(),
        },
        Chart {
            title: "Requests by outcome",
            nothing: "None was answered.",
            unit: "answers a second",
            said: chart::number,
            series: vec![
                series("granted", "s1", outcome(0)),
                series("told to slow down (429)", "s2", outcome(1)),
                series("refused (other 4xx)", "s3", outcome(2)),
                series("5xx or no answer", "s4", outcome(3)),
            ],
            shape: Shape::Stacks,
            columns: timeline.columns(),
            labels: timeline.labels(),
        },
        Chart {
            title: "Rate found",
            nothing: "The service set no limit that was met.",
            unit: "writes a minute that the service grants, as far as was known",
            said: chart::number,
            series: vec![series("writes a minute", "s2", timeline.value(|s| s.rate))],
            shape: Shape::Lines,
            columns: timeline.columns(),
            labels: timeline.labels(),
        },
        Chart {
            title: "Concurrency",
            nothing: "Nothing was sent.",
            unit: "files that may be sent at once",
            said: chart::number,
            series: vec![series(
                "files at once",
                "s3",
                timeline.value(|s| Some(s.concurrency)),
            )],
            shape: Shape::Lines,
            columns: timeline.columns(),
            labels: timeline.labels(),
        },
    ];
    html.push_str("<section><h2>Over time</h2><div class=\"charts\">");
    for chart in &charts {
        chart.draw(html);
    }
    html.push_str("</div></section>");
}

/// "2026-11-26 05:43" by the clocks where the run was, for who reads; in UTC for whoever reads elsewhere.
fn moment(at: Local) -> String {
    let (shown, utc) = (at.date_and_time(), Local::new(at.ms, 0).date_and_time());
    match shown == utc {
        true => utc,
        false => format!("{shown} ({utc})"),
    }
}

#[cfg(test)]
mod tests;
