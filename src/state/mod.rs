//! The database: what is known of every file, upload, run and lock.

pub mod durable;

pub use durable::Durable;
