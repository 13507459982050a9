//! A file becomes a document of a store, by a session or in one request; what is sent of it is `body`'s.

pub mod body;
pub mod one_request;
pub mod session;
