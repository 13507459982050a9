//! Requests and answers, whatever they are about: connections, the key, the gate, time-outs, counters.
//!
//! `send` is the one way out; `agent` holds the connections and what they have in common.

pub mod agent;
pub mod endpoint;
pub mod json;
pub mod meter;
mod resolver;
pub mod secrets;
pub mod send;
pub mod tls;
