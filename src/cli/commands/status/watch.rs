//! `objlib status --watch`: the page again and again, until Ctrl-C.
//!
//! On a terminal it has a screen of its own, and the last page stays behind; elsewhere a page stands below
//! the other, and of objects for programs only those that differ. Promises: the screen is given back however
//! a signal ends it; Ctrl-C is the end that was asked for, so its exit code is 0.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::Scope;
use crate::app::EXIT_TERMINATED;
use crate::cli::settings;
use crate::cli::terminal::stdout::Output;
use crate::cli::terminal::{signals, words};
use crate::error::Error;
use crate::report::Style;
use crate::text::json_line;

const EVERY: Duration = Duration::from_secs(2);
/// A look at a large library takes its time; the wait is so many times as long, so that looking does not
/// become work.
const LOOKS: u32 = 10;

/// Control sequences of xterm, which every terminal knows that knows another screen at all.
const OWN_SCREEN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const GIVEN_BACK: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const BLANK_TO_END_OF_LINE: &str = "\x1b[K";
const BLANK_TO_END_OF_SCREEN: &str = "\x1b[J";

pub fn run(asked: &Scope<'_>, style: Style) -> Result<u8, Error> {
    let every = settings::waits().scaled(EVERY);
    let ends = [SIGINT, SIGTERM, SIGHUP];
    match style.json {
        true => objects(asked, &signals(&ends)?, every),
        false if io::stdout().is_terminal() && !words::is_dumb() => {
            let signals = signals(&[&ends[..], &[SIGTSTP]].concat())?;
            // Given back before the last words, those of an error as well.
            let screen = Screen::new();
            let ended = pages(asked, &signals, every, style);
            drop(screen);
            let (last, exit) = ended?;
            put(&(last.join("\n") + "\n"));
            Ok(exit)
        }
        false => blocks(asked, &signals(&ends)?, every),
    }
}

fn objects(asked: &Scope<'_>, signals: &Receiver<i32>, every: Duration) -> Result<u8, Error> {
    let mut before = Value::Null;
    loop {
        let began = Instant::now();
        let now = asked.status()?.to_json();
        let mut timeless = now.clone();
        timeless["time"].take();
        if timeless != before && !printed(&json_line(&now))? {
            return Ok(0);
        }
        before = timeless;
        if let Ok(signal) = signals.recv_timeout(every.max(began.elapsed() * LOOKS)) {
            return Ok(exit(signal));
        }
    }
}

fn blocks(asked: &Scope<'_>, signals: &Receiver<i32>, every: Duration) -> Result<u8, Error> {
    loop {
        let began = Instant::now();
        let status = asked.status()?;
        let now = status.now.date_and_time();
        if !printed(&format!("at {now}\n{}", status.to_text(false)))? {
            return Ok(0);
        }
        if let Ok(signal) = signals.recv_timeout(every.max(began.elapsed() * LOOKS)) {
            return Ok(exit(signal));
        }
    }
}

fn pages(
    asked: &Scope<'_>,
    signals: &Receiver<i32>,
    every: Duration,
    style: Style,
) -> Result<(Vec<String>, u8), Error> {
    loop {
        let began = Instant::now();
        let lines = asked.status()?.lines(style.color_out);
        if !draw(&lines, every) {
            return Ok((lines, 0));
        }
        match signals.recv_timeout(every.max(began.elapsed() * LOOKS)) {
            Ok(SIGTSTP) => {
                put(GIVEN_BACK);
                // Returns when the process is continued; it is defined for this signal.
                let _ = emulate_default_handler(SIGTSTP);
                put(OWN_SCREEN);
            }
            Ok(signal) => return Ok((lines, exit(signal))),
            Err(_) => {}
        }
    }
}

/// What does not fit is cut off: the page is to stand still. `false`: the terminal is gone.
fn draw(lines: &[String], every: Duration) -> bool {
    let (rows, columns) = console::Term::stdout().size();
    let seconds = every.as_secs_f64();
    let heading = format!("every {seconds} s, until Ctrl-C");
    let room = usize::from(rows).saturating_sub(2);
    let mut frame = String::from(HOME);
    for line in lines.iter().take(room).chain([&String::new(), &heading]) {
        let line = console::truncate_str(line, usize::from(columns), "…");
        if frame.len() > HOME.len() {
            frame.push_str("\r\n");
        }
        frame.push_str(&line);
        frame.push_str(BLANK_TO_END_OF_LINE);
    }
    frame.push_str(BLANK_TO_END_OF_SCREEN);
    put(&frame)
}

fn put(text: &str) -> bool {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes());
    written.and_then(|()| out.flush()).is_ok()
}

/// `false`: nobody reads any more.
fn printed(text: &str) -> Result<bool, Error> {
    let mut out = Output::default();
    out.line(text)?;
    out.flush()
}

struct Screen;

impl Screen {
    fn new() -> Screen {
        put(OWN_SCREEN);
        Screen
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        put(GIVEN_BACK);
    }
}

fn exit(signal: i32) -> u8 {
    match signal {
        SIGINT => 0,
        _ => EXIT_TERMINATED,
    }
}

/// The thread ends with the process.
fn signals(taken: &[i32]) -> Result<Receiver<i32>, Error> {
    let mut signals = Signals::new(taken).map_err(|e| signals::failed(&e.to_string()))?;
    let (sender, receiver) = bounded(1);
    let body = move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned());
    thread
        .spawn(body)
        .map_err(|e| signals::failed(&e.to_string()))?;
    Ok(receiver)
}
