//! What the service has is followed until it is a document, or is none: which upload is looked at when, and
//! the looks.

/// One upload that is followed.
pub mod poll;

pub mod poll_queue;

/// By which page of the listing several are looked at with one request.
pub mod pages;

/// How long operations take.
pub mod times;

mod room;

pub mod poller;
