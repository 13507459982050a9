//! One run of `upload`: `run` hands files to workers, workers to pollers, both to `outcome`.

pub mod run;

pub mod recovery;

pub mod worker;

pub mod poll_queue;

pub mod poll_schedule;

pub mod poller;

pub mod outcome;

pub mod replace;

pub mod watch;

pub mod store;

pub mod bottleneck;

pub mod shutdown;
pub mod tally;
