//! What the service keeps: its database, the file of that, and the ledger of what happened.

mod data_file;
pub mod database;
pub mod ledger;
pub mod records;
