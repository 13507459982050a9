//! What may go wrong with a request: the kinds of failure, what follows from each, and how it is said.
//!
//! Which answer is which kind is in `refusal`. Promises: the words are one line and bounded; the retry
//! rule of a kind, its label and its remedy are each one exhaustive match.

use std::fmt;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};
use crate::text::one_line;

pub mod refusal;

/// The service's words are kept up to here.
const WORDS_CHARS_MAX: usize = 300;
const WORDS_LOOKED_AT_MAX: usize = 4000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The breaker is open; nothing was sent.
    Skipped {
        until: Instant,
    },
    /// The run is stopping.
    Stopped,
    /// 408, 5xx, no answer, or 400 "Failed to create file" (which has been seen to pass later).
    Transient,
    /// A rate 429.
    RateLimited,
    /// 503 "Failed to count tokens": the direct path's known fault.
    CountTokens,
    DailyQuota,
    StorageFull,
    KeyRefused,
    /// The store itself is missing, or somebody else's.
    StoreRefused,
    /// One object (document, operation, session) is not there.
    Missing,
    /// The session ended without a document.
    SessionDead,
    /// The request may have taken effect; nobody can say.
    InDoubt,
    /// The service does not take this MIME type.
    UnsupportedMime,
    /// Any other 4xx: trying again is of no use.
    Permanent,
    /// The service's answer, but not what the API says: cut off, a field missing, a foreign address.
    BadAnswer,
    /// Somebody else answers in the service's place: a login page, a redirect, a proxy. It says nothing
    /// of any file, so no file is charged with it.
    NotTheService,
    /// The certificate is not one that is trusted: asking again would end the same way.
    NoTrust,
    /// The file on this machine could not be read.
    LocalFile,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    pub status: Option<u16>,
    /// The service's words, one line.
    pub words: String,
    /// The same at length, with the names that the service gives to its refusal; empty without an answer.
    pub details: String,
    /// The delay the service asked for; not capped.
    pub delay: Option<Duration>,
}

impl Failure {
    pub fn new(kind: FailureKind, words: impl AsRef<str>) -> Failure {
        Failure {
            kind,
            status: None,
            words: shortened(words.as_ref()),
            details: String::new(),
            delay: None,
        }
    }

    /// Whether the same request may pass a little later.
    pub fn is_transient(&self) -> bool {
        match self.kind {
            FailureKind::Transient | FailureKind::RateLimited => true,
            FailureKind::Skipped { .. }
            | FailureKind::Stopped
            | FailureKind::CountTokens
            | FailureKind::DailyQuota
            | FailureKind::StorageFull
            | FailureKind::KeyRefused
            | FailureKind::StoreRefused
            | FailureKind::Missing
            | FailureKind::SessionDead
            | FailureKind::InDoubt
            | FailureKind::UnsupportedMime
            | FailureKind::Permanent
            | FailureKind::BadAnswer
            | FailureKind::NotTheService
            | FailureKind::NoTrust
            | FailureKind::LocalFile => false,
        }
    }

    /// Whether the answer, rather than what it says, is what is wrong.
    pub fn makes_no_sense(&self) -> bool {
        matches!(
            self.kind,
            FailureKind::BadAnswer | FailureKind::NotTheService
        )
    }

    /// The kind's short name, as the database keeps it.
    pub fn label(&self) -> &'static str {
        match self.kind {
            FailureKind::Skipped { .. } => "breaker open",
            FailureKind::Stopped => "stopped",
            FailureKind::Transient => "transient",
            FailureKind::RateLimited => "rate limited",
            FailureKind::CountTokens => "count tokens",
            FailureKind::DailyQuota => "daily quota",
            FailureKind::StorageFull => "storage full",
            FailureKind::KeyRefused => "key refused",
            FailureKind::StoreRefused => "store refused",
            FailureKind::Missing => "missing",
            FailureKind::SessionDead => "session ended",
            FailureKind::InDoubt => "in doubt",
            FailureKind::UnsupportedMime => "type refused",
            FailureKind::Permanent => "refused",
            FailureKind::BadAnswer => "bad answer",
            FailureKind::NotTheService => "not the service",
            FailureKind::NoTrust => "no trust",
            FailureKind::LocalFile => "unreadable",
        }
    }

    /// As a user is told, when it ends the run.
    pub fn to_error(&self, store: &str) -> Error {
        let (kind, what, remedy) = match self.kind {
            FailureKind::KeyRefused => (
                Kind::Key,
                "API key".to_owned(),
                "check the key, or get one at https://aistudio.google.com/apikey",
            ),
            FailureKind::StoreRefused => (
                Kind::Store,
                format!("store `{store}`"),
                "it is missing or belongs to another key: check the key, or name another store with --store",
            ),
            FailureKind::StorageFull => (
                Kind::StorageFull,
                format!("store `{store}`"),
                "delete documents or stores that are no longer needed, or raise the account's tier",
            ),
            FailureKind::DailyQuota => (
                Kind::DailyQuota,
                "quota of the day".to_owned(),
                "run again after midnight Pacific time, when it starts anew; nothing is lost",
            ),
            FailureKind::Stopped => (
                Kind::Stopped,
                "run".to_owned(),
                "run the same command again to continue",
            ),
            FailureKind::Skipped { .. } | FailureKind::Transient | FailureKind::RateLimited => (
                Kind::Network,
                "service".to_owned(),
                "check --endpoint and the network, then run again; nothing is lost",
            ),
            FailureKind::BadAnswer | FailureKind::NotTheService => (
                Kind::Network,
                "service".to_owned(),
                "check that --endpoint is a Gemini API, and that no proxy (HTTPS_PROXY, NO_PROXY) or login page stands in its way",
            ),
            FailureKind::NoTrust => (
                Kind::Network,
                "service".to_owned(),
                "check the clock, --endpoint and the proxy; --ca-file adds a certificate of one's own",
            ),
            FailureKind::CountTokens
            | FailureKind::Missing
            | FailureKind::SessionDead
            | FailureKind::InDoubt
            | FailureKind::UnsupportedMime
            | FailureKind::Permanent
            | FailureKind::LocalFile => (
                Kind::Network,
                format!("store `{store}`"),
                "run again with -v and report the service's words if they stay",
            ),
        };
        Error::new(kind, what, self.to_string(), remedy).with_details(&self.details)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            write!(f, "HTTP {status}: ")?;
        }
        f.write_str(&self.words)
    }
}

/// The key must not stand in a store that others read; and since it is cut out of what the service says,
/// a document with it in its path could not be recognised again.
pub fn names_the_key(is_in_path: bool) -> Failure {
    let words = match is_in_path {
        true => "its path contains the API key: rename the file, and make a new key",
        false => "its metadata contain the API key: take it out, and make a new key",
    };
    Failure::new(FailureKind::Permanent, words)
}

pub fn shortened(words: &str) -> String {
    cut(words, WORDS_CHARS_MAX)
}

/// White space and controls aside, the first `chars_max` characters.
pub fn cut(words: &str, chars_max: usize) -> String {
    // White space and escapes aside, what is shown comes from the beginning of what may be megabytes.
    let looked_at = words.char_indices().nth(WORDS_LOOKED_AT_MAX);
    let words = looked_at.map_or(words, |(end, _)| &words[..end]);
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = one_line(&line);
    match line.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_line_and_bounded() {
        assert_eq!(shortened("a\n b\t\u{1b}c"), "a b \\u{1b}c");
        let long = shortened(&"x".repeat(10_000));
        assert_eq!(long.chars().count(), WORDS_CHARS_MAX + 1);
        assert!(long.ends_with('…'));
    }
}
