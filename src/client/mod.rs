//! The remote API.
