//! Whoever sits there: what is said on stdout and stderr, what is asked, and the signals that stop a command.

pub mod ask;
pub mod listening;
pub mod signals;
pub mod stdout;
pub mod words;
