//! How fast, how many at once, and when to leave the service alone.

pub mod gate;

/// The service counts writes (start, import, delete) and reads (poll, get, list) apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    Write,
    Read,
}
