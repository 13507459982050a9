//! Questions: generation with the file-search tool, and what finds its passages.

mod filter;
mod grounding;
mod passages;
pub mod search;
