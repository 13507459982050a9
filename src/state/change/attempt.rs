//! An attempt to upload a file: the way that it takes, and how it ends if not with a document.

use crate::names::{DocumentName, FileName};
use crate::state::upload_state::Method;

/// Why an attempt ended, as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub kind: &'static str,
    pub words: String,
}

/// How the attempt counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// The file was tried and it did not work.
    Attempt,
    /// Not the file's doing: an open breaker, a shutdown, a crash.
    Nothing,
}

/// What the next attempt does differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTime {
    Same,
    /// The file's own type was refused.
    AsMime(&'static str),
    /// The direct way failed with its known fault.
    LessDirect,
}

/// The way that an attempt takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Metadata and body in one request. Nobody can ask afterwards what became of it.
    OneRequest,
    /// A session, whose end makes the document.
    Session,
    /// A temporary file of this name, on record before it can exist, and its import.
    Staged(FileName),
}

impl Way {
    pub(in crate::state) fn method(&self) -> Method {
        match self {
            Way::OneRequest | Way::Session => Method::Direct,
            Way::Staged(_) => Method::Staged,
        }
    }

    pub(in crate::state) fn temporary(&self) -> Option<&FileName> {
        match self {
            Way::OneRequest | Way::Session => None,
            Way::Staged(file) => Some(file),
        }
    }
}

/// How a file goes back to the queue.
#[derive(Debug, Clone)]
pub struct HandBack {
    pub charge: Charge,
    pub cause: Option<Cause>,
    pub next: NextTime,
    /// What the attempt left at the service: deleted before the next one.
    pub document: Option<DocumentName>,
}

impl HandBack {
    /// The attempt does not count, and the next one is like it.
    pub fn uncharged() -> HandBack {
        HandBack {
            charge: Charge::Nothing,
            cause: None,
            next: NextTime::Same,
            document: None,
        }
    }

    pub fn because(self, cause: Cause) -> HandBack {
        HandBack {
            cause: Some(cause),
            ..self
        }
    }

    pub fn next_time(self, next: NextTime) -> HandBack {
        HandBack { next, ..self }
    }
}
