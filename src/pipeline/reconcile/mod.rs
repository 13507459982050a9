//! Database and service are brought into agreement where neither knows enough by itself: rows that a dead run
//! left, documents that a lost database forgot, a store that may be gone, and everything, for `verify`.
//!
//! Promises: absence is concluded only from a whole listing; nothing is sent here.

pub mod store;

pub mod patience;

pub mod listing;

pub mod recovery;

pub mod take_back;

pub mod verify;

pub mod repair;
