//! A folder becomes rows.
