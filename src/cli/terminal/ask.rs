//! A question before something is deleted for good.
//!
//! Promises: only a person at a terminal is asked, and only a clear yes is one; Ctrl-C is a no.

use std::io::{IsTerminal, Write};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::error::{Error, Kind};
use crate::shutdown::Shutdown;

/// Between two looks whether a signal has come.
const TICK: Duration = Duration::from_millis(50);

/// # Errors
/// Nobody is there to be asked (`Kind::Usage`): whoever runs `command` has to say yes with a flag.
pub fn can_ask(command: &str) -> Result<(), Error> {
    match std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Usage,
            command,
            "it asks before it deletes, and there is no terminal to ask on",
            "add --yes",
        )),
    }
}

/// Asks on stderr. A read cannot be interrupted, so its thread is left behind when a signal comes.
pub fn ask(question: &str, shutdown: &Shutdown) -> bool {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    drop(stderr);
    let (said, answer) = bounded(1);
    thread::spawn(move || {
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).is_ok() {
            let _ = said.send(line);
        }
    });
    loop {
        match answer.recv_timeout(TICK) {
            Ok(line) => return is_yes(&line),
            Err(RecvTimeoutError::Timeout) if !shutdown.is_stopping() => {}
            Err(_) => return false,
        }
    }
}

fn is_yes(line: &str) -> bool {
    ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(["y\n", "Yes\n", " YES "].iter().all(|line| is_yes(line)));
        assert!(!["", "\n", "n\n", "yea\n"].iter().any(|line| is_yes(line)));
    }
}
