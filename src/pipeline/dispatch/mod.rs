//! What there is to do is handed out: which files a run is about, in which order, and in which batch each
//! counts.

pub mod passes;

pub mod backlog;

mod batch;

mod doubts;

pub mod selection;
