//! A file a command: what was typed becomes the options of `app`, what comes back becomes words and an exit code.

pub mod doctor;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod library;
pub mod purge;
pub mod report;
pub mod scan;
pub mod search;
pub mod status;
pub mod store;
pub mod upload;
pub mod verify;
