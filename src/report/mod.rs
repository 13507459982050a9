//! What happened, said once for every listener: people on a terminal, people reading a log, programs.
//!
//! Owns one thread that prints and draws, so that no worker ever waits for a terminal. Results go to stdout,
//! progress and diagnostics to stderr. Promises: whoever has something to say never waits for it to be read;
//! what cannot be kept is dropped and counted, the last event is kept; no bar is left on the screen.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select_biased, unbounded};

pub mod event;

pub mod progress;

/// What is wrong, in two lines.
pub mod message;

pub mod next;

pub mod summary;

pub mod status;

pub mod html;

pub mod units;

pub mod tone;

pub use event::plan::UploadPlan;
pub use event::{Event, EventSink, FileStatus, LimitedBy, Summary};
pub use next::Next;
pub use progress::{Progress, ThrottleView};

use self::progress::{bars, lines};
use crate::poison;
use crate::shutdown::Shutdown;
use crate::text::one_line;
use crate::{panic, proof};

/// Events that may wait to be printed, some 250 bytes each; beyond it they are dropped and counted, since
/// no work may wait for somebody who does not read.
const EVENTS_MAX: usize = 8192;
/// How long the end waits for whoever reads what is left.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Failed files named one by one; the rest by `status --failed`.
const FAILED_NAMED_MAX: u64 = 20;

/// How to speak.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    /// stderr is a terminal that may be drawn on.
    pub progress: bool,
    /// Of stderr.
    pub color: bool,
    pub color_out: bool,
    /// Between two frames of the bars, or two lines of progress.
    pub redraw: Duration,
}

impl Style {
    /// Whether anything is said of it: for what only programs hear, and each file that went well, the printer
    /// need not wake.
    fn says(&self, event: &Event) -> bool {
        match event {
            _ if self.json => true,
            Event::File { status, .. } => self.verbose || *status == FileStatus::Failed,
            Event::RunStart { .. } | Event::Throttle { .. } | Event::BatchDone { .. } => false,
            _ => true,
        }
    }
}

/// Cheap to clone; never blocks.
#[derive(Clone)]
struct EventSender {
    style: Style,
    queue: Sender<Event>,
    dropped: Arc<AtomicU64>,
}

impl EventSink for EventSender {
    fn send(&self, event: Event) {
        if !self.style.says(&event) {
            return;
        }
        // Several at once may each still find room: that is a few events, not a queue without end.
        let is_full = self.queue.len() >= EVENTS_MAX;
        if is_full || self.queue.send(event).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Words that wait; a person gives no more signals before the first is answered.
const URGENT_MAX: usize = 4;

/// The senders are dropped once it is done.
enum Word {
    Say(String),
    /// No bars until the next frame.
    Clear(Sender<()>),
    /// The last line: nothing is printed or drawn after it.
    Close(String, Sender<()>),
}

/// What goes before all events that wait, for who cannot wait either: the answer to a signal. Cheap to clone.
#[derive(Clone)]
pub struct Urgent(Sender<Word>);

impl Urgent {
    pub fn say(&self, line: String) {
        let _ = self.0.try_send(Word::Say(line));
    }

    /// Takes the bars off the screen; waits for it no longer than `limit`.
    pub fn clear(&self, limit: Duration) {
        self.done(Word::Clear, limit);
    }

    /// The same, and says the last line.
    pub fn close(&self, line: String, limit: Duration) {
        self.done(|doing| Word::Close(line, doing), limit);
    }

    fn done(&self, word: impl FnOnce(Sender<()>) -> Word, limit: Duration) {
        let (doing, done) = bounded::<()>(0);
        if self.0.try_send(word(doing)).is_ok() {
            let _ = done.recv_timeout(limit);
        }
    }
}

pub struct Reporter {
    events: EventSender,
    urgent: Urgent,
    /// Its last event, for which there is always room.
    last: Arc<Mutex<Option<Event>>>,
    /// Disconnected when everything is printed.
    printed: Receiver<()>,
}

impl Reporter {
    /// A panic while something is said or drawn stops the run, and its last event is said all the same.
    pub fn start(style: Style, progress: Arc<Progress>, shutdown: &Arc<Shutdown>) -> Reporter {
        // Memory is taken only by what really waits.
        let (events, queue) = unbounded();
        let (urgent, words) = bounded(URGENT_MAX);
        let (printing, printed) = bounded::<()>(0);
        let dropped: Arc<AtomicU64> = Arc::default();
        let last: Arc<Mutex<Option<Event>>> = Arc::default();
        let mut printer = Printer::new(style, progress);
        let (of_printer, count) = (Arc::clone(&last), Arc::clone(&dropped));
        let shutdown = Arc::clone(shutdown);
        // Without a thread for it nothing can be said; the exit code still tells.
        let _ = thread::Builder::new()
            .name("report".to_owned())
            .spawn(move || {
                let _printing = printing;
                match panic::caught("report", || printer.run(&queue, &words)) {
                    Ok(Ended::Closed) => return,
                    Ok(Ended::Read) => {}
                    Err(error) => {
                        shutdown.fail(error);
                        // Whatever it was doing with the bars may end in the same way.
                        let _ = panic::caught("report", || printer.clear());
                        // The last event comes when everybody has ended.
                        queue.iter().for_each(drop);
                    }
                }
                let last = poison::lock(&of_printer).take();
                printer.end(count.load(Relaxed), last.as_ref());
            });
        Reporter {
            events: EventSender {
                style,
                queue: events,
                dropped,
            },
            urgent: Urgent(urgent),
            last,
            printed,
        }
    }

    pub fn send(&self, event: Event) {
        self.events.send(event);
    }

    /// For as many as have something to say.
    pub fn sink(&self) -> Arc<dyn EventSink> {
        Arc::new(self.events.clone())
    }

    pub fn urgent(&self) -> Urgent {
        self.urgent.clone()
    }

    /// Prints what is left. Every sink must be gone. A reader that does not read is not waited for:
    /// the exit code tells as well.
    pub fn finish(self) {
        drop(self.events);
        // `urgent` lives until here, so that the printer only ever ends by the events.
        let _ = self.printed.recv_timeout(LAST_WORDS);
    }

    /// The same, with the event that comes last, whatever became of the others.
    pub fn finish_with(self, last: Event) {
        *poison::lock(&self.last) = Some(last);
        self.finish();
    }
}

/// Why the printer has nothing more to do.
#[derive(PartialEq, Eq)]
enum Ended {
    /// Every event was read; the last one is to come.
    Read,
    /// The last line was said.
    Closed,
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

    fn run(&mut self, queue: &Receiver<Event>, words: &Receiver<Word>) -> Ended {
        let every = self.style.redraw;
        loop {
            select_biased! {
                recv(words) -> word => match word {
                    Ok(Word::Say(line)) => self.urgent(&line),
                    Ok(Word::Clear(_doing)) => self.clear(),
                    Ok(Word::Close(line, _doing)) => {
                        self.clear();
                        self.urgent(&line);
                        return Ended::Closed;
                    }
                    // The reporter is gone, and with it whoever would wait for the rest.
                    Err(_) => break,
                },
                recv(queue) -> event => match event {
                    Ok(event) => self.print(&event),
                    Err(_) => break,
                },
                default((self.drawn + every).saturating_duration_since(Instant::now())) => {}
            }
            // Not only in pauses: a busy run must show its progress too.
            if self.drawn.elapsed() >= every {
                self.draw();
                self.drawn = Instant::now();
            }
        }
        self.clear();
        Ended::Read
    }

    fn clear(&mut self) {
        if let Some(bars) = self.bars.take() {
            bars.clear();
        }
    }

    /// A terminal has echoed the ^C that this answers; the answer takes its place.
    fn urgent(&self, line: &str) {
        let over_echo = match self.style.progress {
            true => bars::OVER_THE_LINE,
            false => "",
        };
        self.stderr(&format!("{over_echo}objlib: {line}"));
    }

    fn end(&mut self, dropped: u64, last: Option<&Event>) {
        if dropped > 0 {
            let text = format!("{dropped} events were not said, since nobody read them");
            self.print(&Event::Warning(text));
        }
        if let Some(last) = last {
            self.print(last);
        }
    }

    fn draw(&mut self) {
        proof::mishap("draw");
        let now = Instant::now();
        let snapshot = self.progress.snapshot(now);
        if self.style.quiet {
            return;
        }
        if !snapshot.running && snapshot.reading.is_none() {
            // What was read is read, and nothing else is under way.
            self.clear();
            return;
        }
        if self.style.progress {
            let frame = bars::frame(&snapshot, bars::width(), self.style.color);
            let bars = self.bars.get_or_insert_default();
            bars.draw(&frame, now);
        } else if !self.style.json {
            self.stderr(&lines::line(&snapshot));
        }
    }

    fn print(&mut self, event: &Event) {
        if matches!(event, Event::File { .. }) {
            proof::mishap("print");
        }
        if self.style.json
            && let Some(line) = event::ndjson::line(event, crate::clock::now_ms())
        {
            self.stdout(&line);
        }
        match event {
            Event::Notice(_) if self.style.quiet => {}
            Event::Notice(text) => self.stderr(&format!("objlib: {}", one_line(text))),
            Event::Warning(text) => self.stderr(&message::warning(text, self.style.color)),
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
        self.clear();
        if let Some(error) = &summary.error {
            self.stderr(&message::error(error, self.style.color, self.style.verbose));
        }
        if self.style.json || (self.style.quiet && summary.exit == 0) {
            return;
        }
        if self.style.quiet {
            if let Some(line) = summary::wrong(summary) {
                self.stdout(&line);
            }
            return;
        }
        if self.failed_named > FAILED_NAMED_MAX {
            let more = self.failed_named - FAILED_NAMED_MAX;
            let all = summary.next.line("status --failed");
            self.stderr(&format!("… and {more} more: {all}"));
        }
        for line in summary::words(summary, self.style.color_out) {
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
