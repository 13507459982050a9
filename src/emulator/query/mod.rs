//! Questions: generation with the file-search tool, what finds its passages, and the calls around it.

pub mod answers;
pub mod embeddings;
mod filter;
mod grounding;
pub mod interactions;
pub mod models;
mod passages;
pub mod search;
