//! What happened, said once for every listener: people on a terminal, people reading a log, programs.
//!
//! Owns one thread that prints events and one that draws, so that no worker ever waits for a terminal.
//! Results go to stdout, progress and diagnostics to stderr.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

pub mod event;

pub mod ndjson;

pub mod progress;

pub mod bars;

pub mod lines;

pub mod next;

pub mod summary;

pub mod status;

pub mod plan;

pub mod units;

pub use event::{Event, FileStatus, LimitedBy, Summary, ThrottleState};
pub use next::Next;
pub use plan::Plan;
pub use progress::{Progress, ThrottleView};
pub use status::{FailedFile, LastRun, LibraryLine, Status, StoreLine, WaitingReason, failed_text};

use crate::text::one_line;

/// Events that may wait to be printed; beyond it their senders do.
const EVENTS_MAX: usize = 1024;
/// Failed files named one by one; the rest by `status --failed`.
const FAILED_NAMED_MAX: u64 = 20;
/// Frames a second on a terminal.
const FRAME: Duration = Duration::from_millis(125);
/// Lines without one.
const LINE: Duration = Duration::from_secs(10);

/// How to speak.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    /// stderr is a terminal that may be drawn on.
    pub progress: bool,
    pub color: bool,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct EventSender(Sender<Event>);

impl EventSender {
    pub fn send(&self, event: Event) {
        // The printer ends only after all senders have, or by a closed stdout.
        let _ = self.0.send(event);
    }
}

pub struct Reporter {
    events: EventSender,
    printer: Option<JoinHandle<()>>,
}

impl Reporter {
    pub fn start(style: Style, progress: Arc<Progress>) -> Reporter {
        let (events, queue) = bounded(EVENTS_MAX);
        let printer = thread::Builder::new()
            .name("report".to_owned())
            .spawn(move || Printer::new(style, progress).run(&queue));
        Reporter {
            events: EventSender(events),
            // Without a thread for it nothing can be said; the exit code still tells.
            printer: printer.ok(),
        }
    }

    pub fn send(&self, event: Event) {
        self.events.send(event);
    }

    pub fn sender(&self) -> EventSender {
        self.events.clone()
    }

    /// Prints what is left. Every `EventSender` must be gone.
    pub fn finish(self) {
        drop(self.events);
        if let Some(printer) = self.printer {
            let _ = printer.join();
        }
    }
}

struct Printer {
    style: Style,
    progress: Arc<Progress>,
    bars: Option<bars::Bars>,
    failed_named: u64,
    drawn: Instant,
    /// The reader of stdout has gone.
    closed: bool,
}

impl Printer {
    fn new(style: Style, progress: Arc<Progress>) -> Printer {
        Printer {
            style,
            progress,
            bars: None,
            failed_named: 0,
            drawn: Instant::now(),
            closed: false,
        }
    }

    fn run(mut self, queue: &Receiver<Event>) {
        let every = if self.style.progress { FRAME } else { LINE };
        loop {
            match queue.recv_deadline(self.drawn + every) {
                Ok(event) => self.print(&event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // Not only in pauses: a busy run must show its progress too.
            if self.drawn.elapsed() >= every {
                self.draw();
                self.drawn = Instant::now();
            }
        }
        if let Some(bars) = self.bars.take() {
            bars.clear();
        }
    }

    fn draw(&mut self) {
        let snapshot = self.progress.snapshot(Instant::now());
        if !snapshot.running || self.style.quiet {
            return;
        }
        if self.style.progress {
            self.bars
                .get_or_insert_with(bars::Bars::new)
                .draw(&snapshot, self.style.color);
        } else if !self.style.json {
            eprintln!("{}", lines::line(&snapshot));
        }
    }

    fn print(&mut self, event: &Event) {
        if self.style.json
            && let Some(line) = ndjson::line(event, crate::clock::now_ms())
        {
            self.stdout(&line);
        }
        match event {
            Event::Notice(text) => self.stderr(&format!("objlib: {}", one_line(text))),
            Event::ScanDone { .. } if !self.style.json => {
                if !self.style.quiet {
                    for line in summary::scan(event) {
                        self.stdout(&one_line(&line));
                    }
                }
            }
            Event::Skip { library, skip } if !self.style.json => self.stderr(&one_line(&format!(
                "skipped: {library}: {}: {} ({})",
                skip.path,
                skip.reason.label(),
                skip.detail
            ))),
            Event::File {
                path,
                status,
                error,
                ..
            } => self.file(path, *status, error.as_deref()),
            Event::Plan(plan) if !self.style.json => self.stdout(plan.to_text().trim_end()),
            Event::Summary(summary) => self.summary(summary),
            Event::ScanDone { .. }
            | Event::Skip { .. }
            | Event::Plan(_)
            | Event::RunStart { .. }
            | Event::Throttle { .. }
            | Event::BatchDone { .. } => {}
        }
    }

    fn file(&mut self, path: &str, status: FileStatus, error: Option<&str>) {
        let failed = status == FileStatus::Failed;
        if failed {
            self.failed_named += 1;
        }
        let named = failed && self.failed_named <= FAILED_NAMED_MAX;
        if self.style.json || !(named || self.style.verbose) {
            return;
        }
        let cause = error.map(|e| format!(": {e}")).unwrap_or_default();
        let line = one_line(&format!("{}: {path}{cause}", status.as_str()));
        self.stderr(&line);
    }

    fn summary(&mut self, summary: &Summary) {
        if let Some(bars) = self.bars.take() {
            bars.clear();
        }
        if let Some(error) = &summary.error {
            self.stderr(&format!("objlib: {}", one_line(error)));
        }
        if self.style.json || (self.style.quiet && summary.exit == 0) {
            return;
        }
        if self.failed_named > FAILED_NAMED_MAX {
            let more = self.failed_named - FAILED_NAMED_MAX;
            let all = summary.next.line("status --failed");
            self.stderr(&format!("… and {more} more: {all}"));
        }
        for line in summary::words(summary) {
            self.stdout(&line);
        }
    }

    fn stdout(&mut self, line: &str) {
        if self.closed {
            return;
        }
        let print = || {
            let mut out = io::stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush())
        };
        let written = match &self.bars {
            Some(bars) => bars.suspended(print),
            None => print(),
        };
        self.closed = written.is_err();
    }

    fn stderr(&self, line: &str) {
        let print = || {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(io::stderr().lock(), "{line}");
        };
        match &self.bars {
            Some(bars) => bars.suspended(print),
            None => print(),
        }
    }
}
