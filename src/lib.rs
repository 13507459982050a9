//! objlib gets every document of a folder, exactly once, into a Gemini File Search store.
//!
//! The modules stand in the order in which a file meets them:
//!
//! ```text
//! scan: walk ──► hash ──► writer ──► files
//! upload: reader ──► workers ──► writer ──► SQLite
//!                      │            │
//!                 throttle       pollers ──► writer
//!                      │            │
//!                    client ──► the service
//! ```

// The model of the proof programs is also a unit test, and names this crate as they do.
#[cfg(test)]
extern crate self as objlib;

pub mod cli;

pub mod app;

pub mod mcp;

pub mod scan;

pub mod metadata;

pub mod state;

pub mod pipeline;

pub mod throttle;

pub mod client;

pub mod report;

pub mod clock;
pub mod disk;
pub mod error;
pub mod globs;
pub mod identity;
pub mod library;
pub mod names;
pub mod panic;
pub mod poison;
pub mod proof;
pub mod shutdown;
pub mod text;
pub mod waits;

#[cfg(feature = "emulator")]
pub mod emulator;
