//! Workers, and what they do with one row at a time: send a file, directly or by way of a temporary one;
//! go on with what was broken off; delete what nothing needs any more.

pub mod worker;

mod one_request;

pub mod support;

mod staged;

mod changed;

mod clean_up;
