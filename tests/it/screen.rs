use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::run::{Place, RunToEnd, Service};

/// What ends each frame: from there until the next one the screen is whole.
const FRAME_END: &str = "\x1b7";

/// How a terminal treats what is on its screen when its window is made smaller or larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resizing {
    /// It cuts lines off, as xterm does.
    Cuts,
    /// It wraps them anew, as those of most desktops do.
    Wraps,
}

/// A terminal with a program on it: what that writes, and what is typed, shows on its screen.
struct Terminal {
    program: Child,
    keyboard: File,
    screen: vt100::Parser,
    /// Bytes that do not make a character yet.
    cut: Vec<u8>,
    /// In the middle of a control sequence.
    control: bool,
    /// Characters beyond the last column are dropped (the emulator knows no such mode).
    cuts_off: bool,
    /// All that was shown so far, for a failure.
    log: String,
}

fn tell_size(keyboard: &File, (rows, columns): (NonZeroU16, NonZeroU16)) {
    let size = Winsize {
        ws_row: rows.get(),
        ws_col: columns.get(),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(keyboard, size).unwrap();
}

fn some(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap()
}

impl Terminal {
    fn with(program: &mut Command, rows: u16, columns: u16) -> Terminal {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let line = |_| {
            File::options()
                .read(true)
                .write(true)
                .open(name.to_str().unwrap())
                .unwrap()
        };
        let [out, err] = [0, 1].map(line);
        program.stdout(Stdio::from(out)).stderr(Stdio::from(err));
        let (rows, columns) = (some(rows), some(columns));
        let keyboard = File::from(keyboard);
        tell_size(&keyboard, (rows, columns));
        let child = program.spawn().unwrap();
        // Nobody else holds the line open, so that its end is seen.
        program.stdout(Stdio::null()).stderr(Stdio::null());
        Terminal {
            program: child,
            keyboard,
            screen: vt100::Parser::new(rows, columns, 0),
            cut: Vec::new(),
            control: false,
            cuts_off: false,
            log: String::new(),
        }
    }

    /// The line itself echoes what is typed, a ^C as two characters.
    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// A Ctrl-C as it is typed: first the echo, for which the line throws away what it still holds, then the
    /// signal. The line of these tests controls no process, so they send it themselves.
    fn interrupts(&mut self) {
        let before = self.log.len();
        self.types("\x03");
        while !self.log[before..].contains("^C") {
            assert!(self.shows_more(), "no echo");
        }
        let pid = Pid::from_child(&self.program);
        kill_process(pid, Signal::INT).unwrap();
    }

    /// Takes what has come; `false` once the program has ended.
    fn shows_more(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let Ok(n @ 1..) = self.keyboard.read(&mut bytes) else {
            return false;
        };
        self.cut.extend_from_slice(&bytes[..n]);
        let whole = match std::str::from_utf8(&self.cut) {
            Ok(text) => text.len(),
            Err(e) => e.valid_up_to(),
        };
        let rest = self.cut.split_off(whole);
        let text = String::from_utf8(std::mem::replace(&mut self.cut, rest)).unwrap();
        text.chars().for_each(|c| self.shows(c));
        true
    }

    fn shows(&mut self, c: char) {
        self.log.push(c);
        for (mode, cuts_off) in [("\x1b[?7l", true), ("\x1b[?7h", false)] {
            if self.log.ends_with(mode) {
                self.cuts_off = cuts_off;
            }
        }
        let is_text = !c.is_control() && !self.control;
        match c {
            '\x1b' => self.control = true,
            '[' | '?' | '0'..='9' | ';' => self.control &= !self.log.ends_with("\x1b7"),
            _ => self.control = false,
        }
        self.control &= !self.log.ends_with("\x1b8");
        let (_, column) = self.screen.screen().cursor_position();
        let is_full = column >= self.screen.screen().size().1.get();
        if !(is_text && is_full && self.cuts_off) {
            self.screen.process(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// Reads on until the next frame stands, or the one after what was shown so far.
    fn frame(&mut self) {
        loop {
            assert!(self.shows_more(), "no frame any more: {}", self.picture());
            if self.log.ends_with(FRAME_END) {
                return self.shows_each_bar_once();
            }
        }
    }

    fn frames(&mut self, n: usize) {
        (0..n).for_each(|_| self.frame());
    }

    fn resizes(&mut self, rows: u16, columns: u16, how: Resizing) {
        match how {
            Resizing::Cuts => {
                self.screen.screen_mut().set_size(some(rows), some(columns));
            }
            Resizing::Wraps => self.wraps_anew(rows, columns),
        }
        tell_size(&self.keyboard, self.screen.screen().size());
    }

    /// The lines as they were written, written to a screen of the new size; the cursor stays where it was in
    /// the text. The place that a program saved means nothing any more.
    fn wraps_anew(&mut self, rows: u16, columns: u16) {
        let old = self.screen.screen();
        let width = old.size().1.get();
        let (cursor_row, cursor_column) = old.cursor_position();
        let mut lines = vec![String::new()];
        let mut cursor = (0, 0);
        for (i, row) in (0..).zip(old.rows(0, width)) {
            if i == cursor_row {
                let before = lines.last().unwrap().chars().count();
                cursor = (lines.len() - 1, before + usize::from(cursor_column));
            }
            lines.last_mut().unwrap().push_str(&row);
            if !old.row_wrapped(i) {
                lines.push(String::new());
            }
        }
        let used = lines.iter().rposition(|line| !line.is_empty());
        lines.truncate(used.map_or(1, |n| n + 1).max(cursor.0 + 1));
        let tall = |line: &String| line.chars().count().div_ceil(usize::from(columns)).max(1);
        let above: usize = lines[..cursor.0].iter().map(tall).sum();
        let all: usize = lines.iter().map(tall).sum();
        // Where they do not all fit, those below the cursor go first.
        let below = all.saturating_sub(usize::from(rows)).saturating_sub(above);
        let scrolled = all.saturating_sub(usize::from(rows)).min(above);
        let row = above + cursor.1 / usize::from(columns) - scrolled;
        self.screen = vt100::Parser::new(some(rows), some(columns), 0);
        lines.truncate(lines.len() - below.min(lines.len() - cursor.0 - 1));
        self.screen.process(lines.join("\r\n").as_bytes());
        let column = cursor.1 % usize::from(columns);
        let place = format!("\x1b[{};{}H", row + 1, column + 1);
        self.screen.process(place.as_bytes());
    }

    fn picture(&self) -> String {
        let screen = self.screen.screen();
        screen
            .rows(0, screen.size().1.get())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The rows on which the bars stand: the run, its batch, the files in flight.
    fn bars(&self) -> [usize; 3] {
        let picture = self.picture();
        let of = |is: &dyn Fn(&str) -> bool| picture.lines().filter(|row| is(row)).count();
        [
            of(&|row| row.contains("/60 indexed")),
            of(&|row| row.starts_with("batch ")),
            of(&|row| row.contains(" %  ")),
        ]
    }

    #[track_caller]
    fn shows_each_bar_once(&self) {
        let [run, batch, files] = self.bars();
        assert!(
            run == 1 && batch == 1 && files <= 3,
            "{run}, {batch} and {files} rows of bars:\n{}\n--- bytes\n{:?}",
            self.picture(),
            self.log
        );
    }

    /// Shows all that comes; at the end no bar is left.
    #[track_caller]
    fn ends(&mut self, exit: i32) {
        while self.shows_more() {}
        assert_eq!(self.program.wait().unwrap().code(), Some(exit));
        assert_eq!(self.bars(), [0, 0, 0], "{}", self.picture());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Sixty files, three at once, slow enough to watch.
fn uploading(place: &Place, service: &Service) -> Command {
    let mut command = place.objlib(&["upload", "docs", "--endpoint", &service.url]);
    command.args(["--rpm", "0", "--concurrency", "3", "--grace", "300"]);
    command.env("GEMINI_API_KEY", crate::run::KEY);
    command.env("TERM", "xterm-256color");
    command
}

/// An echoed ^C, a typed line end and a whole typed line move the cursor; no copy of a bar stays behind, and
/// at the end none at all.
#[test]
fn what_is_typed_leaves_no_copy_of_a_bar() {
    let place = Place::new();
    place.files(60);
    let service = Service::start(&place, &["--latency-ms", "300"]);
    let mut terminal = Terminal::with(&mut uploading(&place, &service), 24, 80);
    terminal.frames(3);
    for keys in [
        "\x03",
        "\n",
        "hello\n",
        "\x03\x03\x03",
        "\n\n\n",
        "a long line\n",
    ] {
        terminal.types(keys);
        terminal.frames(2);
    }
    terminal.interrupts();
    terminal.ends(130);
    let picture = terminal.picture();
    let said = |line: &str| picture.lines().filter(|row| row.contains(line)).count();
    assert_eq!(said("objlib: stopping: "), 1, "{picture}");
    assert_eq!(said("again to continue"), 1, "{picture}");
    assert!(!picture.contains("^C"), "{picture}");
}

/// Smaller, larger, low, narrower than any line.
#[test]
fn a_window_of_another_size_leaves_no_copy_of_a_bar() {
    for how in [Resizing::Cuts, Resizing::Wraps] {
        let place = Place::new();
        place.files(60);
        let service = Service::start(&place, &["--latency-ms", "300"]);
        let mut terminal = Terminal::with(&mut uploading(&place, &service), 24, 100);
        terminal.frames(3);
        for (rows, columns) in [(24, 60), (24, 41), (24, 120), (4, 50), (20, 80)] {
            terminal.resizes(rows, columns, how);
            // The first may have been on its way already.
            while !terminal.log.ends_with(FRAME_END) {
                assert!(terminal.shows_more());
            }
            terminal.frames(2);
            // What stands above the bars is not theirs.
            let picture = terminal.picture();
            assert!(
                rows < 24 || picture.contains("objlib: created"),
                "{how:?}\n{picture}"
            );
        }
        terminal.interrupts();
        terminal.ends(130);
        let picture = terminal.picture();
        assert!(picture.contains("again to continue"), "{picture}");
    }
}

/// Ctrl-Z leaves the screen to the shell, and `fg` takes up where the shell has left it.
#[test]
fn a_stopped_process_has_no_bars_on_the_screen() {
    let place = Place::new();
    place.files(60);
    let service = Service::start(&place, &["--latency-ms", "300"]);
    let mut terminal = Terminal::with(&mut uploading(&place, &service), 24, 80);
    terminal.frames(3);
    let pid = Pid::from_child(&terminal.program);
    kill_process(pid, Signal::TSTP).unwrap();
    while terminal.bars() != [0, 0, 0] {
        assert!(terminal.shows_more());
    }
    let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped(), "{status:?}");
    kill_process(pid, Signal::CONT).unwrap();
    terminal.frames(2);
    terminal.interrupts();
    terminal.ends(130);
}

/// The second signal ends it at once, and the screen is as clean.
#[test]
fn two_signals_leave_their_two_lines_and_no_bar() {
    let place = Place::new();
    place.files(60);
    let service = Service::start(&place, &["--latency-ms", "300"]);
    service.set_faults(
        serde_json::json!({"stall": 1.0, "only_kinds": ["upload.body", "upload.multipart"]}),
    );
    let mut terminal = Terminal::with(&mut uploading(&place, &service), 24, 80);
    while service.fired("stall") < 3 {
        terminal.frame();
    }
    terminal.interrupts();
    // Only the answer tells that the first has been taken.
    while !terminal.log.contains("objlib: stopping") {
        terminal.frame();
    }
    terminal.interrupts();
    terminal.ends(130);
    let picture = terminal.picture();
    let lines: Vec<&str> = picture
        .lines()
        .filter(|row| row.contains(": stop"))
        .collect();
    assert_eq!(
        lines,
        [
            "objlib: stopping: up to 300 s for 3 transfers in flight (Ctrl-C again: at once)",
            "objlib: stopped at once: run the same command again to continue"
        ]
    );
}

/// The page has a screen of its own, on which a smaller window leaves nothing behind, and stays when it ends.
#[test]
fn a_watched_status_gives_the_screen_back_and_leaves_the_last_page() {
    let place = Place::new();
    place.files(3);
    place.objlib(&["scan", "docs", "-q"]).seen().exit(0);
    let mut watch = place.objlib(&["status", "--watch"]);
    watch.env("TERM", "xterm-256color");
    let mut terminal = Terminal::with(&mut watch, 24, 80);
    let stands = |terminal: &mut Terminal, words: &str| {
        while !terminal.picture().contains(words) {
            assert!(terminal.shows_more(), "{}", terminal.picture());
        }
    };
    stands(&mut terminal, "until Ctrl-C");
    assert!(terminal.screen.screen().alternate_screen());
    assert!(
        terminal.picture().contains("pending     ████"),
        "{}",
        terminal.picture()
    );
    terminal.resizes(6, 30, Resizing::Cuts);
    place.file("more.md", "more");
    place.objlib(&["scan", "docs", "-q"]).seen().exit(0);
    stands(&mut terminal, "files     4");
    let picture = terminal.picture();
    assert_eq!(picture.matches("library").count(), 1, "{picture}");
    terminal.resizes(24, 80, Resizing::Cuts);
    terminal.interrupts();
    terminal.ends(0);
    let picture = terminal.picture();
    assert!(!terminal.screen.screen().alternate_screen());
    assert!(!terminal.screen.screen().hide_cursor());
    assert!(picture.contains("files     4"), "{picture}");
    assert!(!picture.contains("until Ctrl-C"), "{picture}");
}

/// A listing that is being read says how far it is, and nothing of that stays.
#[test]
fn verify_shows_what_it_has_read() {
    let place = Place::new();
    place.files(30);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    service.set_faults(serde_json::json!({"latency_ms": 500}));
    let mut verify = place.objlib(&["verify", "--endpoint", &service.url]);
    verify.env("GEMINI_API_KEY", crate::run::KEY);
    verify.env("TERM", "xterm-256color");
    let mut terminal = Terminal::with(&mut verify, 24, 80);
    while !terminal.picture().contains(" of about 30 documents") {
        assert!(terminal.shows_more(), "{}", terminal.log);
    }
    let picture = terminal.picture();
    assert!(
        picture.starts_with("reading fileSearchStores/objlib-"),
        "{picture}"
    );
    terminal.ends(0);
    let picture = terminal.picture();
    assert!(!picture.contains("reading"), "{picture}");
    assert!(picture.contains("they agree"), "{picture}");
}

/// A terminal that knows no more than lines gets lines, and no colour.
#[test]
fn a_dumb_terminal_gets_no_control_sequences() {
    let place = Place::new();
    place.files(60);
    let service = Service::start(&place, &["--latency-ms", "20"]);
    let mut terminal = Terminal::with(uploading(&place, &service).env("TERM", "dumb"), 24, 80);
    terminal.ends(0);
    assert!(!terminal.log.contains('\x1b'), "{:?}", terminal.log);
    assert!(
        terminal.log.contains("indexed 60 files"),
        "{}",
        terminal.log
    );
}

/// Whoever reads colours gets them, on each of the two outputs by itself.
#[test]
fn colour_goes_only_where_it_is_seen() {
    let place = Place::new();
    place.files(3);
    place.objlib(&["scan", "docs", "-q"]).seen().exit(0);
    let on_terminal = |name: &str, value: &str, args: &[&str]| {
        let mut status = place.objlib(&[&["status"], args].concat());
        status.env("TERM", "xterm").env(name, value);
        let mut terminal = Terminal::with(&mut status, 24, 80);
        terminal.ends(0);
        terminal.log.contains("\x1b[33m")
    };
    assert!(on_terminal("LANG", "C", &[]));
    assert!(!on_terminal("NO_COLOR", "1", &[]));
    assert!(on_terminal("NO_COLOR", "", &[]), "empty means nothing");
    assert!(on_terminal("NO_COLOR", "1", &["--color", "always"]));
    assert!(!on_terminal("TERM", "dumb", &[]));
    let piped = |args: &[&str]| {
        let seen = place.objlib(&[&["status"], args].concat()).seen().exit(0);
        seen.stdout.contains('\x1b')
    };
    assert!(!piped(&[]));
    assert!(piped(&["--color", "always"]));
}

#[test]
fn a_batch_is_as_large_as_what_can_come() {
    let place = Place::new();
    place.files(60);
    let service = Service::start(&place, &["--latency-ms", "300"]);
    let mut upload = uploading(&place, &service);
    let mut terminal = Terminal::with(upload.args(["--limit", "7"]), 20, 100);
    while !terminal.log.contains("batch 1  ") {
        assert!(terminal.shows_more(), "{}", terminal.log);
    }
    assert!(terminal.log.contains("batch 1  0/7"), "{}", terminal.log);
}

#[test]
fn documents_that_are_deleted_are_counted_on_the_screen() {
    let place = Place::new();
    place.files(40);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    for i in 0..30 {
        std::fs::remove_file(place.docs().join(format!("part {}/note-{i}.md", i % 7))).unwrap();
    }
    place
        .objlib(&["scan", "docs", "--accept-missing"])
        .seen()
        .exit(0);
    service.set_faults(serde_json::json!({"latency_ms": 300}));
    let mut purge = place.objlib(&["purge", "--yes", "--max-share", "100"]);
    purge.args(["--endpoint", &service.url]);
    purge.env("GEMINI_API_KEY", crate::run::KEY);
    let purge = purge.env("TERM", "xterm-256color");
    let mut terminal = Terminal::with(purge, 20, 100);
    while terminal.shows_more() {}
    assert_eq!(terminal.program.wait().unwrap().code(), Some(0));
    assert!(
        terminal.log.contains("deleting from fileSearchStores/"),
        "{}",
        terminal.log
    );
    assert!(
        terminal.log.contains(" of about 30 documents"),
        "{}",
        terminal.log
    );
    assert!(
        !terminal.picture().contains("deleting from"),
        "{}",
        terminal.picture()
    );
}
