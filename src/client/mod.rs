//! The remote API (`v1beta`), as the fact sheet has it: `docs/gemini-file-search-api.md`.
//!
//! `wire::send` is the one way out: through the gate, one request, one answer. Above it are the resources, the
//! uploads, and questions to a model; below it is only `failure`.
//! Promises: the key goes into one header of requests to the configured origin and nowhere else; every
//! answer is bounded in size and time, and without secrets; a body is never sent again blindly.

pub mod failure;

pub mod wire;

pub mod resources;

pub mod upload;

pub mod search;

#[cfg(test)]
mod fuzz;

pub use failure::{Failure, FailureKind};
pub use resources::documents::{Document, DocumentState, DocumentsPage, PAGE_DOCUMENTS_MAX};
pub use resources::files::{FileState, TemporaryFile};
pub use resources::operations::Operation;
pub use resources::stores::Store;
pub use search::reply::{Passage, Reply, Support};
pub use search::{HOLDS_THE_KEY, Question};
pub use upload::body::{Body, Pace};
pub use upload::one_request::{Delivered, Unanswered};
pub use upload::session::{Ended, Finished, NewDocument, SessionState, Started, Submitted};
pub use wire::agent::{Client, ClientSettings, Counts};
pub use wire::endpoint::Endpoint;
pub use wire::secrets::Secrets;
