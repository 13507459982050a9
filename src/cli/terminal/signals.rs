//! SIGINT, SIGTERM and SIGHUP become a stop request; a second one ends the process at once. Ctrl-Z leaves the
//! shell a screen without bars.
//!
//! Owns the thread that takes the signals. Promises: the first is answered in one line that says what is
//! waited for and how long at most, the second in one line that says how it ended; neither waits for
//! somebody who does not read.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::app::{EXIT_INTERRUPTED, EXIT_TERMINATED};
use crate::error::{Error, Kind};
use crate::report::Urgent;
use crate::shutdown::{Shutdown, Stop};

/// How long a signal waits for the terminal, which takes a line in less than a frame.
const LAST_LINE: Duration = Duration::from_millis(200);
const AT_ONCE: &str = "stopped at once: run the same command again to continue";

pub fn listen(shutdown: &Arc<Shutdown>, urgent: Urgent) -> Result<(), Error> {
    let signals = [SIGINT, SIGTERM, SIGHUP, SIGTSTP];
    let mut signals = Signals::new(signals).map_err(|e| failed(&e.to_string()))?;
    let shutdown = Arc::clone(shutdown);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut seen = false;
            for signal in signals.forever() {
                let (stop, exit) = match signal {
                    SIGTSTP => {
                        urgent.clear(LAST_LINE);
                        // Returns when the process is continued; it is defined for this signal.
                        let _ = emulate_default_handler(SIGTSTP);
                        continue;
                    }
                    SIGINT => (Stop::Interrupt, EXIT_INTERRUPTED),
                    _ => (Stop::Terminate, EXIT_TERMINATED),
                };
                if seen {
                    // The database is consistent at every instant, by the write-ahead rules.
                    urgent.close(AT_ONCE.to_owned(), LAST_LINE);
                    std::process::exit(i32::from(exit));
                }
                seen = true;
                // Said before the stop, after which what is in flight may land at any time.
                urgent.say(stopping(stop, shutdown.in_flight(), shutdown.grace()));
                shutdown.stop(stop);
                end_after_grace(&shutdown);
            }
        })
        .map_err(|e| failed(&e.to_string()))?;
    Ok(())
}

/// What is waited for, how long at most, and how not to wait.
fn stopping(stop: Stop, in_flight: usize, grace: Duration) -> String {
    let again = match stop {
        Stop::Interrupt => "Ctrl-C again: at once",
        Stop::Terminate | Stop::Error => "another signal: at once",
    };
    let seconds = grace.as_secs();
    match in_flight {
        0 => format!("stopping ({again})"),
        _ if seconds == 0 => "stopping: what is in flight is broken off, to be resumed".to_owned(),
        1 => format!("stopping: up to {seconds} s for 1 transfer in flight ({again})"),
        n => format!("stopping: up to {seconds} s for {n} transfers in flight ({again})"),
    }
}

/// Without a thread for it nothing can be waited for: then the grace period is over now.
fn end_after_grace(shutdown: &Arc<Shutdown>) {
    let waiting = Arc::clone(shutdown);
    let timer = thread::Builder::new().name("grace".to_owned());
    if timer.spawn(move || waiting.wait_out_grace()).is_err() {
        shutdown.end_grace();
    }
}

pub fn failed(why: &str) -> Error {
    Error::new(
        Kind::System,
        "signals",
        format!("cannot be handled: {why}"),
        "check the limits of this process",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_says_what_is_waited_for_and_how_long_at_most() {
        let line = |stop, in_flight, grace| stopping(stop, in_flight, Duration::from_secs(grace));
        assert_eq!(
            line(Stop::Interrupt, 0, 30),
            "stopping (Ctrl-C again: at once)"
        );
        assert_eq!(
            line(Stop::Interrupt, 3, 30),
            "stopping: up to 30 s for 3 transfers in flight (Ctrl-C again: at once)"
        );
        assert_eq!(
            line(Stop::Terminate, 1, 90),
            "stopping: up to 90 s for 1 transfer in flight (another signal: at once)"
        );
    }
}
