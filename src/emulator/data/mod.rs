//! What the service keeps: its database, the file of that, and the ledger of what happened.

pub mod data_file;
pub mod database;
pub mod ledger;
pub mod records;
pub mod source;
mod transfer;
