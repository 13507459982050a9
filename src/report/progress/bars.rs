//! Three calm tiers on a terminal: the pipeline, the batch, the files in flight.
//!
//! `frame` turns numbers into lines; indicatif draws them, on a `Screen` that puts them on the terminal.
//! Promises: no line reaches the last column, there are never more of them than fit; whatever is typed
//! meanwhile, and however the window is resized, the next frame replaces the last one whole.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

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

/// Control sequences of the VT100, which every terminal knows.
const SAVE_CURSOR: &str = "\x1b7";
const RESTORE_CURSOR: &str = "\x1b8";
const BLANK_TO_END_OF_LINE: &str = "\x1b[K";
const BLANK_TO_END_OF_SCREEN: &str = "\x1b[J";
/// What does not fit is cut off, also by a window that was made smaller after its size was asked for.
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

pub struct Bars(ProgressBar);

impl Default for Bars {
    fn default() -> Bars {
        Bars::new()
    }
}

impl Bars {
    pub fn new() -> Bars {
        let target = ProgressDrawTarget::term_like(Box::<Screen>::default());
        let bar = ProgressBar::with_draw_target(None, target);
        // A template that is only the text; it cannot fail to parse.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Bars(bar)
    }

    pub fn draw(&self, lines: &[String]) {
        // Drawn with the message.
        self.0.set_message(lines.join("\n"));
    }

    /// Runs `print` with the bars out of the way.
    pub fn suspended<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    pub fn clear(self) {
        self.0.finish_and_clear();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    rows: u16,
    columns: u16,
}

impl Size {
    fn of_terminal() -> Size {
        let (rows, columns) = console::Term::stderr().size();
        Size { rows, columns }
    }

    /// The last column stays free: a terminal that has written there is about to wrap, and each kind of
    /// terminal has its own idea of where its cursor then is.
    fn line(self) -> usize {
        usize::from(self.columns.saturating_sub(1).max(1))
    }
}

/// What indicatif draws on. It counts lines up from where it left the cursor, below its last line; but an
/// echoed ^C, a typed line end or a window made smaller moves the cursor, or the lines, and then copies stay
/// behind. So here the cursor rests at the beginning of the *first* line, and each frame is put there whole,
/// with everything below it blanked: what the frame before has become, wrapped or typed over, is gone.
/// indicatif's own moves are not needed for that and go nowhere.
#[derive(Debug, Default)]
struct Screen(Mutex<Frames>);

#[derive(Debug, Default)]
struct Frames {
    /// The lines of the next frame.
    next: Vec<String>,
    /// The size of the terminal on which the last frame stands; `None`: there is none.
    last: Option<Size>,
}

impl Screen {
    /// The lines are replaced whole, so a poisoned lock is as good as a clean one.
    fn lock(&self) -> MutexGuard<'_, Frames> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Frames {
    /// What brings the next frame on a terminal of this size, in the place of the last one.
    fn flip(&mut self, size: Size) -> String {
        let mut out = String::new();
        // What was typed since has moved the cursor, and not the saved place. What resizes the window moves
        // the lines about, and the cursor with them, but not the saved place.
        if self.last == Some(size) {
            out.push_str(RESTORE_CURSOR);
        }
        out.push('\r');
        out.push_str(WRAP_OFF);
        let lines = self.next.iter();
        let lines: Vec<String> = lines
            .map(|line| {
                console::truncate_str(line, size.line(), "").into_owned() + BLANK_TO_END_OF_LINE
            })
            .collect();
        out.push_str(&lines.join("\n"));
        out.push_str(BLANK_TO_END_OF_SCREEN);
        out.push_str(WRAP_ON);
        self.last = (!lines.is_empty()).then_some(size);
        if lines.len() > 1 {
            // Writing to a string cannot fail.
            let _ = write!(out, "\x1b[{}A", lines.len() - 1);
        }
        if self.last.is_some() {
            out.push('\r');
            out.push_str(SAVE_CURSOR);
        }
        self.next.clear();
        out
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        u16::try_from(Size::of_terminal().line()).unwrap_or(u16::MAX)
    }

    /// indicatif leaves out what does not fit.
    fn height(&self) -> u16 {
        Size::of_terminal().rows
    }

    fn move_cursor_up(&self, _n: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _n: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _n: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _n: usize) -> io::Result<()> {
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.write_str(line)
    }

    /// A line, or the blanks with which indicatif fills its row up.
    fn write_str(&self, text: &str) -> io::Result<()> {
        if !text.trim().is_empty() {
            self.lock().next.push(text.to_owned());
        }
        Ok(())
    }

    /// One write a frame: a terminal shows the whole of it or nothing.
    fn flush(&self) -> io::Result<()> {
        let out = self.lock().flip(Size::of_terminal());
        let mut stderr = io::stderr().lock();
        stderr.write_all(out.as_bytes())?;
        stderr.flush()
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
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    use super::super::ThrottleView;
    use super::super::pace::Pace;
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
