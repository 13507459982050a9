//! What objlib can do, for whoever asks: a command line, a report, an agent.
//!
//! Knows neither what was typed, nor where words go, nor signals: options come in checked, what happens goes
//! to the listeners of the call, and a stop is asked for through its `Shutdown`. Promises: every command that
//! writes holds the lock of the database while it does, and gives it back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::client::Endpoint;
use crate::names::ApiKey;
use crate::report::{EventSink, Progress};
use crate::shutdown::{Shutdown, Stop};
use crate::waits::Waits;

/// A client, its throttle, and the service that it talks to.
pub mod connect;

/// What a call is about: folders, and what holds for each of them.
pub mod folders;

/// Folders are looked through, and what is in them is recorded.
pub mod scan;

/// A scan, if folders are given, and a run.
pub mod upload;

/// What is known, and who works on it.
pub mod status;

/// Stores, seen from both sides, made and deleted.
pub mod store;

/// Database against store.
pub mod verify;

/// Documents of files that are gone.
pub mod purge;

/// Whether an upload would work.
pub mod doctor;

/// A question to stores, answered with citations.
pub mod search;

/// What a run did, as a page.
pub mod report;

/// One call of a command.
pub struct Call<'a> {
    pub database: &'a Path,
    pub events: Arc<dyn EventSink>,
    pub progress: &'a Arc<Progress>,
    pub shutdown: &'a Arc<Shutdown>,
    pub waits: Waits,
    /// Every skip is worth an event.
    pub verbose: bool,
}

/// A store, and all that it takes to reach it.
pub struct Target {
    /// Display name or resource name, without white space around it.
    pub store: String,
    pub service: Service,
    /// What the database knows the service by: the embedded one's port changes, its stores do not.
    pub endpoint_name: String,
    /// Certificates to trust besides the built-in ones.
    pub ca_file: Option<PathBuf>,
}

pub enum Service {
    Remote {
        endpoint: Endpoint,
        key: ApiKey,
        proxy: Option<ureq::Proxy>,
    },
    /// The embedded one; its data lies beside the database.
    Emulator,
}

pub const EXIT_INTERRUPTED: u8 = 130;
pub const EXIT_TERMINATED: u8 = 143;

/// The exit code that a signal asks for; an error has its own.
pub fn exit_of_stop(shutdown: &Shutdown) -> Option<u8> {
    match shutdown.reason()? {
        Stop::Interrupt => Some(EXIT_INTERRUPTED),
        Stop::Terminate => Some(EXIT_TERMINATED),
        Stop::Error => None,
    }
}
