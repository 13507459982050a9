//! (tests) What holds for the database as a whole: every statement runs on an index, the rows do what a simple
//! model says, and a damaged file ends in an error.

pub(super) mod explain;

mod fuzz;

mod model;
