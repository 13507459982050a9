//! One run of `upload`: `run` starts the threads, `passes` hands files to workers, workers to pollers,
//! both to `outcome`.

use std::sync::Arc;

use self::rules::MethodChoice;
use self::selection::Selection;
use crate::client::Client;
use crate::report::{EventSender, Progress};
use crate::shutdown::Shutdown;
use crate::state::reader::StoreRow;
use crate::state::{Reader, Writer};
use crate::throttle::bandwidth::Bandwidth;
use crate::throttle::gate::Gate;

pub mod selection;

pub mod run;

pub mod passes;

pub mod backlog;

mod batch;

pub mod recovery;

pub mod listing;

pub mod rules;

pub mod worker;

mod staged;

pub mod poll_queue;

pub mod poll_schedule;

pub mod poller;

pub mod outcome;

pub mod subject;

pub mod leftovers;

mod take_back;

pub mod verify;

pub mod watch;

pub mod store;

pub mod bottleneck;

pub mod tally;

/// What was asked for.
pub struct Settings {
    pub store: StoreRow,
    /// How many documents the service counted in it when the run began.
    pub documents: u64,
    pub selection: Selection,
    pub concurrency: usize,
    pub batch_size: u64,
    pub limit: Option<u64>,
    pub retry_failed: bool,
    pub passes: u32,
    pub max_attempts: u32,
    pub bandwidth: Option<Bandwidth>,
    pub method: MethodChoice,
}

/// What the run is built from; every part has its one owner elsewhere.
pub struct Parts {
    pub client: Client,
    pub gate: Arc<Gate>,
    pub shutdown: Arc<Shutdown>,
    pub writer: Writer,
    pub reader: Reader,
    pub progress: Arc<Progress>,
    pub events: EventSender,
}
