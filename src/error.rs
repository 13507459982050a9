//! What a user is told when something stops the program, and with which exit code it ends.
//!
//! Inside, a module has its own small enum (`client::Failure`, `state::Refused`); at its border that
//! becomes one `Error`. Promises: one line, naming the thing, the cause and what to do; and a new
//! `Kind` cannot forget its exit code, since the match below is exhaustive.

use std::fmt;

use crate::text::one_line;

/// Why the program stops. Decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A flag, an argument or a combination of them makes no sense.
    Usage,
    /// The database cannot be opened, read or written.
    Database,
    /// Another objlib works on this database.
    Locked,
    /// The service refused the key, or there is none.
    Key,
    /// The store is missing, foreign, or its name is ambiguous.
    Store,
    /// What answers is not the service, or it cannot be reached for a reason that waiting does not cure.
    Network,
    /// The service failed whenever it was asked: another run may find it well.
    Unavailable,
    /// The store, or the space for temporary files, is full.
    StorageFull,
    /// It was asked to stop, and a request was not made or not waited for.
    Stopped,
    /// The quota of the day is used up.
    DailyQuota,
    /// A folder or file that was named cannot be used.
    Input,
    /// Output could not be written, a thread could not be started: the machine's fault.
    System,
    /// objlib's own mistake.
    Bug,
}

impl Kind {
    /// The exit code of the command line's contract.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::DailyQuota | Kind::Unavailable => 4,
            Kind::Locked => 5,
            Kind::Key => 6,
            Kind::Database
            | Kind::Store
            | Kind::Network
            | Kind::StorageFull
            | Kind::Input
            | Kind::Stopped
            | Kind::System
            | Kind::Bug => 1,
        }
    }
}

/// One line for a person: `what: why: remedy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub kind: Kind,
    /// The thing: a file, a flag, a store.
    pub what: String,
    /// The cause, in the words of whoever knows it best.
    pub why: String,
    /// What to do or type next.
    pub remedy: String,
    /// What a report of it to somebody else needs besides: the service's own words. Often empty.
    pub details: String,
}

impl Error {
    pub fn new(
        kind: Kind,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Error {
        Error {
            kind,
            what: what.into(),
            why: why.into(),
            remedy: remedy.into(),
            details: String::new(),
        }
    }

    pub fn with_details(self, details: &str) -> Error {
        Error {
            details: details.to_owned(),
            ..self
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("{}: {}: {}", self.what, self.why, self.remedy);
        f.write_str(&one_line(&line))
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_the_file_is_called() {
        let e = Error::new(Kind::Input, "a\nb", "why", "do this");
        assert_eq!(e.to_string(), "a\\nb: why: do this");
    }
}
