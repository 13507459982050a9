//! What a comparison of database and store has to remember, in private tables on the disk: it may be of
//! millions of documents.

pub mod drift;
pub mod listed;
