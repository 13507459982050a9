//! How bytes come in: the resumable protocol, uploads of one request, and what both end in.

pub mod finish;
mod mime;
mod multipart;
pub mod one_request;
pub mod sessions;
