//! One run of a program: its time, its processor time and its peak memory.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub seconds: f64,
    /// Of all its threads, in the program and in the system.
    pub cpu_seconds: f64,
    /// Memory that was resident at once, pages of the program's own file included.
    pub peak_mib: f64,
}

/// The system keeps the peak itself, as long as the process lives: only a new peak in the last moments
/// before its end is missed.
const LOOKS_EVERY: Duration = Duration::from_millis(2);
/// Processor time is counted in hundredths of a second (`USER_HZ`, the same on every Linux machine).
const TICKS_PER_SECOND: f64 = 100.0;

/// Runs it to its end, whatever it has found: some commands are measured on what they complain of. `out`:
/// where its standard output goes.
pub fn run(command: &mut Command, out: Stdio) -> Run {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let ended = AtomicBool::new(false);
    let (seconds, peak_mib) = thread::scope(|scope| {
        let peak = scope.spawn(|| peak(child.id(), &ended));
        let pid = Pid::from_child(&child);
        // It is left a zombie, which still says how much processor time it took.
        waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        )
        .expect("the program ends");
        let seconds = began.elapsed().as_secs_f64();
        ended.store(true, Ordering::Relaxed);
        (seconds, peak.join().expect("the memory is read"))
    });
    let cpu_seconds = cpu_seconds(child.id());
    check(&mut child, command);
    Run {
        seconds,
        cpu_seconds,
        peak_mib,
    }
}

/// Exit code 3 says "done, and there is something to look at".
fn check(child: &mut Child, command: &Command) {
    let mut words = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = std::io::Read::read_to_string(&mut stderr, &mut words);
    }
    let status = child.wait().expect("the program has ended");
    let good = matches!(status.code(), Some(0 | 3 | 4));
    assert!(good, "{command:?}: {status}: {words}");
}

fn peak(process: u32, ended: &AtomicBool) -> f64 {
    let mut peak_kib = 0.0;
    while !ended.load(Ordering::Relaxed) {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let words = line.and_then(|line| line.split_whitespace().next());
        peak_kib = words.and_then(|kib| kib.parse().ok()).unwrap_or(peak_kib);
        thread::sleep(LOOKS_EVERY);
    }
    peak_kib / 1024.0
}

fn cpu_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("a zombie has a stat");
    // The name before it may hold anything, a bracket as well.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // `utime` and `stime` are fields 14 and 15 (proc_pid_stat(5)); the state, field 3, is the first here.
    let ticks = fields[11..13].iter().map(|n| n.parse().unwrap_or(0.0));
    ticks.sum::<f64>() / TICKS_PER_SECOND
}
