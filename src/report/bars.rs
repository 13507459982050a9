//! Three calm tiers on a terminal: the pipeline, the batch, the files in flight.
//!
//! `frame` turns numbers into lines and is all that there is to test; `Bars` puts them on the
//! terminal. Promises: no line is wider than the terminal.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::progress::{InFlight, Snapshot};
use super::units::{bytes, time};
use crate::text::one_line;

/// Files in flight that are shown; there may be hundreds.
const IN_FLIGHT_SHOWN: usize = 8;
const BAR_COLUMNS: usize = 24;
/// Frames are bounded by whoever draws.
const HERTZ: u8 = 10;

pub struct Bars {
    multi: MultiProgress,
    lines: Vec<ProgressBar>,
}

impl Default for Bars {
    fn default() -> Bars {
        Bars::new()
    }
}

impl Bars {
    pub fn new() -> Bars {
        Bars {
            multi: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(HERTZ)),
            lines: Vec::new(),
        }
    }

    pub fn draw(&mut self, snapshot: &Snapshot, color: bool) {
        let width = console::Term::stderr().size().1;
        let frame = frame(snapshot, usize::from(width).max(20) - 1);
        while self.lines.len() < frame.len() {
            let line = self.multi.add(ProgressBar::new(0));
            // A template that is only the text; it cannot fail to parse.
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                line.set_style(style);
            }
            self.lines.push(line);
        }
        for (i, line) in self.lines.iter().enumerate() {
            let text = frame.get(i).cloned().unwrap_or_default();
            line.set_message(match (color, i) {
                (true, 0) => console::style(text).bold().force_styling(true).to_string(),
                (true, 2..) => console::style(text).dim().force_styling(true).to_string(),
                _ => text,
            });
            line.tick();
        }
    }

    /// Runs `print` with the bars out of the way.
    pub fn suspended<T>(&self, print: impl FnOnce() -> T) -> T {
        self.multi.suspend(print)
    }

    pub fn clear(self) {
        for line in &self.lines {
            line.finish_and_clear();
        }
        // Without a terminal there is nothing to clear.
        let _ = self.multi.clear();
    }
}

/// The lines, none wider than `width` columns.
pub fn frame(s: &Snapshot, width: usize) -> Vec<String> {
    let mut lines = vec![pipeline(s, width), batch(s)];
    lines.extend(
        s.in_flight
            .iter()
            .take(IN_FLIGHT_SHOWN)
            .map(|file| in_flight(file, width)),
    );
    if s.in_flight.len() > IN_FLIGHT_SHOWN {
        let more = s.in_flight.len() - IN_FLIGHT_SHOWN;
        lines.push(format!("         … and {more} more"));
    }
    lines
        .into_iter()
        .map(|line| console::truncate_str(&line, width, "…").into_owned())
        .collect()
}

fn pipeline(s: &Snapshot, width: usize) -> String {
    let mut parts = vec![
        format!("{}/{} indexed", s.indexed, s.files),
        format!("{}/{}", bytes(s.indexed_bytes), bytes(s.bytes)),
    ];
    match (&s.paused, s.eta) {
        (Some((why, left)), _) => parts.push(format!("paused {}: {why}", time(*left))),
        (None, Some(eta)) => {
            parts.push(format!("{:.1} files/s", s.rate));
            parts.push(format!("{} left", time(eta)));
        }
        (None, None) => {}
    }
    if s.failed > 0 {
        parts.push(format!("{} failed", s.failed));
    }
    // On a narrow terminal the numbers matter more than the bar.
    match width >= 80 {
        true => format!("{} {}", bar(s.indexed, s.files), parts.join("  ")),
        false => parts.join("  "),
    }
}

fn batch(s: &Snapshot) -> String {
    let mut line = format!("batch {}  {}/{}", s.batch, s.batch_done, s.batch_files);
    if s.indexing > 0 {
        line.push_str(&format!("  {} being indexed", s.indexing));
    }
    if let Some(t) = &s.throttle {
        match t.rate_per_min {
            Some(rate) => line.push_str(&format!("  {rate:.0} requests/min")),
            None => line.push_str("  no rate limit"),
        }
        line.push_str(&format!("  {} at once", t.concurrency));
        if t.retries > 0 {
            line.push_str(&format!("  {} retries", t.retries));
        }
    }
    line
}

fn in_flight(file: &InFlight, width: usize) -> String {
    let percent = (file.sent * 100).checked_div(file.size).unwrap_or(100);
    let size = bytes(file.size);
    let room = width.saturating_sub(9 + size.len() + 2).max(8);
    format!(
        "  {percent:>3} %  {}  {size}",
        middle(&one_line(&file.path), room)
    )
}

/// Shortened in the middle: the folder and the file's name both tell something.
fn middle(text: &str, columns: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if console::measure_text_width(text) <= columns {
        return text.to_owned();
    }
    let mut head = columns.saturating_sub(1) / 3;
    let mut tail = columns.saturating_sub(1) - head;
    loop {
        let end = chars.len().saturating_sub(tail);
        let start: String = chars.iter().take(head).collect();
        let rest: String = chars[end..].iter().collect();
        let text = format!("{start}…{rest}");
        if console::measure_text_width(&text) <= columns || tail == 0 {
            return text;
        }
        head = head.saturating_sub(1);
        tail = tail.saturating_sub(1);
    }
}

fn bar(done: u64, of: u64) -> String {
    let filled = (done * BAR_COLUMNS as u64).checked_div(of).unwrap_or(0) as usize;
    format!(
        "{}{}",
        "█".repeat(filled),
        "░".repeat(BAR_COLUMNS.saturating_sub(filled))
    )
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    use super::super::progress::ThrottleView;
    use crate::throttle::breaker::BreakerState;

    pub fn snapshot() -> Snapshot {
        Snapshot {
            running: true,
            files: 400,
            bytes: 4_000_000,
            indexed: 120,
            indexed_bytes: 1_200_000,
            sent_bytes: 1_300_000,
            failed: 2,
            indexing: 7,
            rate: 12.5,
            eta: Some(Duration::from_millis(22_400)),
            paused: None,
            throttle: Some(ThrottleView {
                state: BreakerState::Closed,
                rate_per_min: Some(120.0),
                concurrency: 7,
                paused: None,
                requests: 300,
                retries: 3,
                throttled: 0,
            }),
            batch: 2,
            batch_files: 150,
            batch_done: 20,
            in_flight: vec![
                InFlight {
                    path: "notes/first.md".to_owned(),
                    size: 2000,
                    sent: 500,
                },
                InFlight {
                    path: "a very long folder name/another one/and one more/the file itself.txt"
                        .to_owned(),
                    size: 95_000_000,
                    sent: 95_000_000,
                },
            ],
        }
    }

    #[test]
    fn the_three_tiers_at_100_columns() {
        let expected = [
            "███████░░░░░░░░░░░░░░░░░ 120/400 indexed  1.2 MB/4.0 MB  12.5 files/s  22.4 s left  2 failed",
            "batch 2  20/150  7 being indexed  120 requests/min  7 at once  3 retries",
            "   25 %  notes/first.md  2.0 kB",
            "  100 %  a very long folder name/another one/and one more/the file itself.txt  95.0 MB",
        ];
        assert_eq!(frame(&snapshot(), 100), expected);
    }

    #[test]
    fn a_pause_says_why_and_for_how_long_on_40_columns_too() {
        let mut paused = snapshot();
        paused.paused = Some(("the service fails".to_owned(), Duration::from_secs(42)));
        let expected = [
            "120/400 indexed  1.2 MB/4.0 MB  paused …",
            "batch 2  20/150  7 being indexed  120 r…",
            "   25 %  notes/first.md  2.0 kB",
            "  100 %  a very… file itself.txt  95.0 MB",
        ];
        let frame = frame(&paused, 40);
        assert_eq!(frame[..2], expected[..2]);
        assert_eq!(frame[2], expected[2]);
        assert!(
            frame[3].contains('…') && frame[3].ends_with("95.0 MB"),
            "{}",
            frame[3]
        );
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            width in 20usize..200, path in "\\PC{0,120}", size in any::<u64>(), sent in 0u64..1000
        ) {
            let mut s = snapshot();
            s.in_flight = vec![InFlight { path, size, sent: sent.min(size) }];
            for line in frame(&s, width) {
                prop_assert!(console::measure_text_width(&line) <= width, "{line}");
            }
        }
    }
}
