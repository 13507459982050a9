//! One run of `upload`.

pub mod shutdown;
