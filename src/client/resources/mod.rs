//! What the service holds, a file a resource: its calls, and what is read of their answers.

pub mod documents;
pub mod files;
pub mod operations;
pub mod stores;
