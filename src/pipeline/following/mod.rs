//! What the service has is followed until it is a document, or is none: which upload is looked at when, and
//! the looks.

pub mod poll_queue;

pub mod poll_schedule;

pub mod poller;
