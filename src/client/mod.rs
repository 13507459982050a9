//! The remote API (`v1beta`), as the fact sheet has it: `docs/gemini-file-search-api.md`.
//!
//! `send` is the one way out: through the gate, one request, one answer. Above it a file a resource.
//! Promises: the key goes into one header of requests to the configured origin and nowhere else; every
//! answer is bounded in size and time, and without secrets; a body is never sent again blindly.

pub mod endpoint;

pub mod agent;

mod tls;

mod resolver;

pub mod meter;

pub mod send;

mod secrets;

pub mod failure;

pub mod refusal;

pub mod session;

pub mod one_request;

pub mod body;

pub mod stores;

pub mod operations;

pub mod documents;

pub mod files;

pub mod search;

pub mod reply;

#[cfg(test)]
mod fuzz;

pub use agent::{Client, ClientSettings, Counts};
pub use body::{Body, Pace};
pub use documents::{Document, DocumentState, DocumentsPage, PAGE_DOCUMENTS_MAX};
pub use endpoint::Endpoint;
pub use failure::{Failure, FailureKind};
pub use files::{FileState, TemporaryFile};
pub use one_request::{Delivered, Unanswered};
pub use operations::Operation;
pub use reply::{Passage, Reply, Support};
pub use search::Question;
pub use session::{Ended, Finished, NewDocument, SessionState, Started, Submitted};
pub use stores::Store;
