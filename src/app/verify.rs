//! Database and store compared, and made equal if that is asked for.

use std::sync::Arc;

use super::connect::{self, Pace, Reached};
use super::{Call, Target};
use crate::error::{Error, Kind};
use crate::pipeline::reconcile::repair::Repair;
use crate::pipeline::reconcile::store::Resolve;
use crate::pipeline::reconcile::verify::{RepairPlan, Verify};
use crate::state::Reader;
use crate::state::writer::{self, Started};
use crate::throttle::{Concurrency, Rpm};

/// One thread compares; as many delete as would send.
const CONCURRENCY: Concurrency = Concurrency::Default;
/// How often a service that fails is waited for.
const PATIENCE: u32 = 3;

/// What was asked for.
pub struct Options {
    pub target: Target,
    /// Carry the plan out.
    pub repair: bool,
    /// A repair that would delete a larger share of these libraries' documents is refused.
    pub share_max_percent: u64,
}

/// What differed, and how many differences are left.
///
/// # Errors
/// Nothing is known yet, there is no such store, or it could not be seen whole.
pub fn run(call: &Call<'_>, options: &Options) -> Result<(RepairPlan, u64), Error> {
    // A database that is not there is not made: nothing is known yet, so there is nothing to compare.
    drop(Reader::open(call.database)?);
    let started = writer::start(call.database, Arc::clone(call.shutdown), &call.waits)?;
    let service = &options.target.service;
    let done = connect::with_service(service, call.database, |reached| {
        compare(call, options, &started, reached)
    });
    let closed = started.thread.close();
    let done = done?;
    closed?;
    Ok(done)
}

fn compare(
    call: &Call<'_>,
    options: &Options,
    started: &Started,
    reached: Reached,
) -> Result<(RepairPlan, u64), Error> {
    let reader = &Reader::open(call.database)?;
    let target = &options.target;
    let pace = Pace {
        rpm: Rpm::Auto,
        concurrency: CONCURRENCY,
        lease: started.thread.lease(),
        shutdown: call.shutdown,
        waits: call.waits,
    };
    let writer = started.thread.writer();
    let (gate, client) = connect::client(target, reached, pace, reader)?;
    let store = Resolve {
        wanted: &target.store,
        endpoint: &target.endpoint_name,
        reader,
        writer: &writer,
        client: &client,
        events: &*call.events,
        shutdown: call.shutdown,
        waits: &call.waits,
        patience: PATIENCE,
    }
    .existing()?;
    let Some(store) = store else {
        let unknown = Error::new(
            Kind::Store,
            format!("store `{}`", target.store),
            "there is no store of this name",
            "name another one with --store; the first upload into it creates it",
        );
        let (endpoint, name) = (&target.endpoint_name, &target.store);
        return Err(connect::not_there(reader, endpoint, name, unknown));
    };
    let verify = Verify {
        store: &store.row,
        client: &client,
        reader,
        shutdown: call.shutdown,
        waits: &call.waits,
        reading: call.progress.reading(),
    };
    let plan = verify.compare()?;
    let repair = Repair {
        store: &store.row,
        client: &client,
        gate: &gate,
        writer: &writer,
        shutdown: call.shutdown,
        deleting: call.progress.deleting(),
        workers: CONCURRENCY.ceiling(),
        share_max_percent: options.share_max_percent,
    };
    let left = match options.repair {
        true => repair.run(&plan)?,
        false => plan.drift.total(),
    };
    Ok((plan, left))
}
