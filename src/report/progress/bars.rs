//! Three calm tiers on a terminal: the pipeline, the batch, the files in flight.
//!
//! `frame` turns numbers into lines; indicatif draws them, on a `Screen` that puts them on the terminal.
//! Promises: no line reaches the last column, there are never more of them than fit; nothing is drawn while
//! nothing changes, but once a second.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::screen::{Screen, Size};
use super::{InFlight, Snapshot, reading};
use crate::report::tone::Tone;
use crate::report::units::{a_second, bytes, countdown, left};
use crate::text::one_line;

/// Files in flight that are shown; there may be hundreds.
const IN_FLIGHT_SHOWN: usize = 8;
/// The bar takes what the numbers beside it leave.
const BAR_COLUMNS_MAX: usize = 24;
const BAR_COLUMNS_MIN: usize = 8;

/// To the beginning of the line, and all of it blank.
pub const OVER_THE_LINE: &str = "\r\x1b[K";

/// What was typed over a frame stays for no longer than this, though nothing else has changed.
const FRAME_STANDS: Duration = Duration::from_secs(1);

pub struct Bars {
    bar: ProgressBar,
    last: Option<Drawn>,
}

/// The frame that stands.
struct Drawn {
    text: String,
    on: Size,
    at: Instant,
}

impl Drawn {
    fn stands(&self, text: &str, on: Size, now: Instant) -> bool {
        self.text == text && self.on == on && now - self.at < FRAME_STANDS
    }
}

impl Default for Bars {
    fn default() -> Bars {
        let target = ProgressDrawTarget::term_like(Box::<Screen>::default());
        let bar = ProgressBar::with_draw_target(None, target);
        // A template that is only the text; it cannot fail to parse.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Bars { bar, last: None }
    }
}

impl Bars {
    /// Only what differs from the frame that stands is worth a frame.
    pub fn draw(&mut self, lines: &[String], now: Instant) {
        let (text, on) = (lines.join("\n"), Size::of_terminal());
        let last = self.last.as_ref();
        if last.is_none_or(|last| !last.stands(&text, on, now)) {
            // Drawn with the message.
            self.bar.set_message(text.clone());
            self.last = Some(Drawn { text, on, at: now });
        }
    }

    /// Runs `print` with the bars out of the way.
    pub fn suspended<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    pub fn clear(self) {
        self.bar.finish_and_clear();
    }
}

/// Columns of the terminal that may be written on.
pub fn width() -> usize {
    Size::of_terminal().line()
}

/// The lines, none wider than `width` columns.
pub fn frame(s: &Snapshot, width: usize, color: bool) -> Vec<String> {
    let mut lines = match s.running {
        true => vec![pipeline(s, width, color), batch(s)],
        false => Vec::new(),
    };
    lines.extend(s.reading.as_ref().map(reading::words));
    let by_the_way = |line: String| Tone::ByTheWay.paint(line, color);
    let shown = s.in_flight.iter().take(IN_FLIGHT_SHOWN);
    lines.extend(shown.map(|file| by_the_way(in_flight(file, width))));
    if s.in_flight.len() > IN_FLIGHT_SHOWN {
        let more = s.in_flight.len() - IN_FLIGHT_SHOWN;
        lines.push(by_the_way(format!("         … and {more} more")));
    }
    lines
        .into_iter()
        .map(|line| console::truncate_str(&line, width, "…").into_owned())
        .collect()
}

/// What matters most comes first; what does not fit any more is left out, and the bar takes the rest.
fn pipeline(s: &Snapshot, width: usize, color: bool) -> String {
    let mut parts = vec![(None, format!("{}/{} indexed", s.indexed, s.files))];
    if s.failed > 0 {
        parts.push((Some(Tone::Failed), format!("{} failed", s.failed)));
    }
    match (&s.paused, s.eta) {
        (Some((why, left)), _) => {
            let pause = format!("paused {}: {}", countdown(*left), one_line(why));
            parts.push((Some(Tone::Waits), pause));
        }
        (None, Some(eta)) => {
            parts.push((None, left(eta, &s.pace)));
            parts.extend(a_second(&s.pace).map(|pace| (None, pace)));
        }
        (None, None) => {}
    }
    let size = format!("{}/{}", bytes(s.indexed_bytes), bytes(s.bytes));
    parts.push((None, size));
    let (mut line, mut used) = (String::new(), 0);
    for (tone, text) in parts {
        let gap = if used == 0 { "" } else { "  " };
        let columns = gap.len() + console::measure_text_width(&text);
        if tone.is_none() && used > 0 && used + columns > width {
            continue;
        }
        used += columns;
        let text = tone.map_or_else(|| text.clone(), |tone| tone.paint(&text, color));
        line.push_str(gap);
        line.push_str(&text);
    }
    let columns = width.saturating_sub(used + 1).min(BAR_COLUMNS_MAX);
    if columns < BAR_COLUMNS_MIN {
        return line;
    }
    let tone = match s.paused {
        Some(_) => Tone::Waits,
        None => Tone::Done,
    };
    let filled = (s.indexed * columns as u64).checked_div(s.files);
    let filled = filled.unwrap_or(0) as usize;
    let full = tone.paint("█".repeat(filled), color);
    format!(
        "{full}{} {line}",
        "░".repeat(columns.saturating_sub(filled))
    )
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
    let state = match file.sent {
        None => "waiting".to_owned(),
        Some(sent) => {
            let percent = (u128::from(sent) * 100).checked_div(u128::from(file.size));
            format!("{:>5} %", percent.unwrap_or(100))
        }
    };
    let size = bytes(file.size);
    let room = width.saturating_sub(9 + size.len() + 2).max(8);
    format!(
        "{state:>7}  {}  {size}",
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

#[cfg(test)]
pub mod tests {
    use super::super::ThrottleView;
    use super::super::pace::Pace;
    use super::*;
    use crate::throttle::breaker::BreakerState;
    use proptest::prelude::*;

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
            pace: Pace {
                files: 12.5,
                bytes: 140_000.0,
                is_rising: false,
            },
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
            reading: None,
            in_flight: vec![
                InFlight {
                    path: "notes/first.md".to_owned(),
                    size: 2000,
                    sent: Some(500),
                },
                InFlight {
                    path: "a very long folder name/another one/and one more/the file itself.txt"
                        .to_owned(),
                    size: 95_000_000,
                    sent: Some(95_000_000),
                },
            ],
        }
    }

    #[test]
    fn the_three_tiers_at_100_columns() {
        let expected = [
            "██████░░░░░░░░░░░░░░░░ 120/400 indexed  2 failed  23 s left  12.5 files/s, 140.0 kB/s  1.2 MB/4.0 MB",
            "batch 2  20/150  7 being indexed  120 requests/min  7 at once  3 retries",
            "   25 %  notes/first.md  2.0 kB",
            "  100 %  a very long folder name/another one/and one more/the file itself.txt  95.0 MB",
        ];
        assert_eq!(frame(&snapshot(), 100, false), expected);
    }

    #[test]
    fn what_matters_least_is_left_out_first() {
        for (width, expected) in [
            (
                79,
                "120/400 indexed  2 failed  23 s left  12.5 files/s, 140.0 kB/s  1.2 MB/4.0 MB",
            ),
            (59, "120/400 indexed  2 failed  23 s left  1.2 MB/4.0 MB"),
            (39, "120/400 indexed  2 failed  23 s left"),
        ] {
            assert_eq!(frame(&snapshot(), width, false)[0], expected);
        }
    }

    #[test]
    fn a_colour_says_what_the_words_say_too() {
        let mut s = snapshot();
        let line = frame(&s, 100, true).remove(0);
        assert!(line.starts_with("\u{1b}[32m█"), "{line:?}");
        assert!(line.contains("\u{1b}[31m2 failed\u{1b}[0m"), "{line:?}");
        s.paused = Some(("quota".to_owned(), Duration::from_secs(9)));
        let line = frame(&s, 100, true).remove(0);
        assert!(
            line.contains("\u{1b}[33mpaused 9 s: quota\u{1b}[0m"),
            "{line:?}"
        );
        assert_eq!(console::strip_ansi_codes(&line), frame(&s, 100, false)[0]);
    }

    #[test]
    fn what_is_read_stands_alone_before_a_run_and_below_the_batch_within_one() {
        let mut s = snapshot();
        s.reading = Some(reading::ReadSoFar {
            what: reading::What::Folder("docs".to_owned()),
            seen: 12,
            of: 0,
            hashed: 2,
            hashed_bytes: 4000,
            pace: Pace::default(),
        });
        let line = "scanning docs: 12 files seen, 2 read (4.0 kB)";
        assert_eq!(frame(&s, 80, false)[2], line);
        s.running = false;
        s.in_flight.clear();
        assert_eq!(frame(&s, 80, false), [line]);
        assert_eq!(super::super::lines::line(&s), line);
    }

    #[test]
    fn a_pause_says_why_and_for_how_long_on_40_columns_too() {
        let mut paused = snapshot();
        paused.paused = Some(("the service fails".to_owned(), Duration::from_secs(42)));
        let expected = [
            "120/400 indexed  2 failed  paused 42 s:…",
            "batch 2  20/150  7 being indexed  120 r…",
            "   25 %  notes/first.md  2.0 kB",
            "  100 %  a very… file itself.txt  95.0 MB",
        ];
        let frame = frame(&paused, 40, false);
        assert_eq!(frame[..2], expected[..2]);
        assert_eq!(frame[2], expected[2]);
        assert!(
            frame[3].contains('…') && frame[3].ends_with("95.0 MB"),
            "{}",
            frame[3]
        );
    }

    #[test]
    fn a_file_that_waits_says_so_and_a_rate_that_rises_too() {
        let mut s = snapshot();
        s.in_flight[0].sent = None;
        s.pace.is_rising = true;
        let frame = frame(&s, 120, false);
        assert_eq!(frame[2], "waiting  notes/first.md  2.0 kB");
        assert!(
            frame[0].contains("23 s left (rate still rising)"),
            "{}",
            frame[0]
        );
    }

    #[test]
    fn a_frame_stands_for_a_second_unless_something_changes() {
        let at = Instant::now();
        let on = |columns| Size { rows: 24, columns };
        let last = Drawn {
            text: "1/2 indexed".to_owned(),
            on: on(80),
            at,
        };
        let ms = |ms| at + Duration::from_millis(ms);
        assert!(last.stands("1/2 indexed", on(80), ms(999)));
        assert!(!last.stands("1/2 indexed", on(80), ms(1000)));
        assert!(!last.stands("2/2 indexed", on(80), ms(1)));
        assert!(!last.stands("1/2 indexed", on(79), ms(1)));
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            width in 20usize..200, path in "\\PC{0,120}", size in any::<u64>(), sent in 0u64..1000
        ) {
            let mut s = snapshot();
            s.in_flight = vec![InFlight { path, size, sent: Some(sent.min(size)) }];
            for line in frame(&s, width, true) {
                prop_assert!(console::measure_text_width(&line) <= width, "{line}");
            }
        }
    }
}
