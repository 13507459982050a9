//! SIGINT, SIGTERM and SIGHUP become a stop request; a second one ends the process at once.
//!
//! `ctrlc` cannot tell its signals apart, and the exit code has to: it handles SIGINT alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;

use crate::app::{EXIT_INTERRUPTED, EXIT_TERMINATED};
use crate::error::{Error, Kind};
use crate::shutdown::{Shutdown, Stop};

pub fn listen(shutdown: &Arc<Shutdown>) -> Result<(), Error> {
    let seen = Arc::new(AtomicBool::new(false));
    let signalled = {
        let (shutdown, seen) = (Arc::clone(shutdown), Arc::clone(&seen));
        move |reason: Stop, exit: u8| {
            if seen.swap(true, Ordering::SeqCst) {
                // The database is consistent at every instant, by the write-ahead rules.
                std::process::exit(i32::from(exit));
            }
            shutdown.stop(reason);
        }
    };
    let interrupted = signalled.clone();
    ctrlc::set_handler(move || interrupted(Stop::Interrupt, EXIT_INTERRUPTED))
        .map_err(|e| failed(&e.to_string()))?;
    let mut signals = Signals::new([SIGTERM, SIGHUP]).map_err(|e| failed(&e.to_string()))?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                signalled(Stop::Terminate, EXIT_TERMINATED);
            }
        })
        .map_err(|e| failed(&e.to_string()))?;
    Ok(())
}

fn failed(why: &str) -> Error {
    Error::new(
        Kind::System,
        "signals",
        format!("cannot be handled: {why}"),
        "check the limits of this process",
    )
}
