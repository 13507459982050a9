//! The database: what is known of every file, upload, run and lock.
//!
//! One thread writes (`writer`), everybody else reads over connections that cannot write
//! (`reader`). What changes, and by which rules, is in `change`, `apply` and
//! `upload_state`.

pub mod open;

pub mod migrations;

pub mod lock;

pub mod upload_state;

pub mod change;

mod apply;

pub mod writer;

pub mod durable;

pub mod reader;

pub mod figures;

pub mod listed;

pub mod catalog;

#[cfg(test)]
mod model;

#[cfg(test)]
mod fuzz;

pub use change::{Applied, BatchDone, Cause, Change, Charge, FileRow, NextTime, RunTotals};
pub use durable::{Durable, Import, Intent, UploadId};
pub use lock::Lease;
pub use reader::{Job, Reader};
pub use upload_state::{Method, UploadState};
pub use writer::Writer;
