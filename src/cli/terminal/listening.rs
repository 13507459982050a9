//! Around every call of a command: who listens to it, and what stops it.
//!
//! Owns the reporter, the numbers that it draws, and the stop request. Promises: a signal is answered from the
//! moment that `listen` has returned.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::signals;
use crate::app::{Call, exit_of_stop};
use crate::cli::settings;
use crate::error::Error;
use crate::report::{Progress, Reporter, Style};
use crate::shutdown::Shutdown;

pub struct Listening {
    pub reporter: Reporter,
    pub shutdown: Arc<Shutdown>,
    progress: Arc<Progress>,
    verbose: bool,
}

impl Listening {
    /// `workers`: files that may be in flight; `grace`: how long they may go on after a stop.
    pub fn start(style: Style, workers: usize, grace: Duration) -> Listening {
        let shutdown = Arc::new(Shutdown::new(grace));
        let progress = Arc::new(Progress::new(workers));
        Listening {
            reporter: Reporter::start(style, Arc::clone(&progress), &shutdown),
            shutdown,
            progress,
            verbose: style.verbose,
        }
    }

    /// Until then a signal ends the process as it ends any other: while a key is read from a pipe, say.
    pub fn listen(&self) -> Result<(), Error> {
        signals::listen(&self.shutdown, self.reporter.urgent())
    }

    pub fn call<'a>(&'a self, database: &'a Path) -> Call<'a> {
        Call {
            database,
            events: self.reporter.sink(),
            progress: &self.progress,
            shutdown: &self.shutdown,
            waits: settings::waits(),
            verbose: self.verbose,
        }
    }

    /// All is said; the exit code, if a signal has stopped the command.
    pub fn end(self) -> Option<u8> {
        self.reporter.finish();
        exit_of_stop(&self.shutdown)
    }
}
