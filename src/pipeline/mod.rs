//! One run of `upload`: `run` starts the threads, `dispatch` hands tasks to the workers of `sending`, these
//! hand what they sent to the pollers of `following`, and both tell `outcome`. What follows from an answer is
//! decided in `rules`; where no answer can tell, `reconcile` looks at the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use self::dispatch::selection::Selection;
use self::outcome::Outcomes;
use self::rules::MethodChoice;
use crate::client::Client;
use crate::error::Error;
use crate::report::{EventSink, Progress};
use crate::scan::mime::Types;
use crate::shutdown::Shutdown;
use crate::state::reader::{Missing, StoreRow};
use crate::state::{Reader, Writer};
use crate::throttle::bandwidth::Bandwidth;
use crate::throttle::gate::Gate;
use crate::waits::Waits;

/// From the first row of a run to its last.
pub mod run;

/// Files that are gone are forgotten.
pub mod forget;

/// What there is to do is handed out.
pub mod dispatch;

/// Workers: a file from its intent to the service, and what nothing needs any more away from there.
pub mod sending;

/// Pollers: what the service has, until it is a document.
pub mod following;

/// Database and service are brought into agreement where neither knows enough by itself.
pub mod reconcile;

/// Every decision, without a request.
pub mod rules;

/// How a file's turn ends, and what is said of it.
pub mod outcome;

/// How fast a run may go, said as it changes.
pub mod watch;

/// What it did over time, for its report.
pub mod record;

/// What was asked for.
pub struct RunSettings {
    pub store: StoreRow,
    /// How many documents the service counted in it when the run began.
    pub documents: u64,
    pub selection: Selection,
    /// Documents to delete; of a run that sends nothing.
    pub purge: Option<Missing>,
    /// How many those are.
    pub purge_documents: u64,
    pub concurrency: usize,
    pub batch_size: u64,
    pub limit: Option<u64>,
    pub retry_failed: bool,
    pub passes: u32,
    pub max_attempts: u32,
    pub bandwidth: Option<Bandwidth>,
    pub method: MethodChoice,
    /// What its user has said of the types of each library's files.
    pub types: BTreeMap<i64, Types>,
}

/// What the run is built from; every part has its one owner elsewhere.
pub struct Parts {
    pub client: Client,
    pub gate: Arc<Gate>,
    pub shutdown: Arc<Shutdown>,
    pub writer: Writer,
    pub reader: Reader,
    pub progress: Arc<Progress>,
    pub events: Arc<dyn EventSink>,
    pub waits: Waits,
}

/// What the parts of one run share.
pub struct Run<'r> {
    pub id: i64,
    pub settings: &'r RunSettings,
    pub parts: &'r Parts,
    pub outcomes: &'r Outcomes,
    /// Files that were asked for and waited when it began.
    pub wanted: u64,
    /// `--limit`, if it holds anything back.
    pub limit: Option<u64>,
    /// Where an error that concerns every file goes.
    pub stop: &'r (dyn Fn(Error) + Sync),
}

impl Run<'_> {
    /// The last place in the queue that was ever taken.
    pub fn last_queued(&self) -> Result<i64, Error> {
        self.parts.reader.last_queued(self.settings.store.id)
    }

    /// Selected libraries whose files are not all queued yet.
    pub fn to_queue(&self) -> Result<Vec<i64>, Error> {
        let libraries = self.settings.selection.libraries();
        let reader = &self.parts.reader;
        reader.to_queue(self.settings.store.id, &libraries)
    }
}
