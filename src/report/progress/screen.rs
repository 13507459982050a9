//! The lines of a frame on a terminal.
//!
//! indicatif counts lines up from where it left the cursor, below its last line; but an
//! echoed ^C, a typed line end or a window made smaller moves the cursor, or the lines, and then copies stay
//! behind. So here the cursor rests at the beginning of the *first* line, and each frame is put there whole,
//! with everything below it blanked: what the frame before has become, wrapped or typed over, is gone.
//! indicatif's own moves are not needed for that and go nowhere. Promises: whatever is typed meanwhile, and
//! however the window is resized, the next frame replaces the last one whole.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard};

use indicatif::TermLike;

/// Control sequences of the VT100, which every terminal knows.
const SAVE_CURSOR: &str = "\x1b7";
const RESTORE_CURSOR: &str = "\x1b8";
const BLANK_TO_END_OF_LINE: &str = "\x1b[K";
const BLANK_TO_END_OF_SCREEN: &str = "\x1b[J";
/// What does not fit is cut off, also by a window that was made smaller after its size was asked for.
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: u16,
    pub(super) columns: u16,
}

impl Size {
    pub(super) fn of_terminal() -> Size {
        let (rows, columns) = console::Term::stderr().size();
        Size { rows, columns }
    }

    /// The last column stays free: a terminal that has written there is about to wrap, and each kind of
    /// terminal has its own idea of where its cursor then is.
    pub(super) fn line(self) -> usize {
        usize::from(self.columns.saturating_sub(1).max(1))
    }
}

/// What indicatif draws on.
#[derive(Debug, Default)]
pub(super) struct Screen(Mutex<Frames>);

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
