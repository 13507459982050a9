//! The life of one upload: the diagram of the design as a table of transitions.
//!
//! Promises: a transition that the diagram lacks is refused, never guessed.

use std::fmt;

/// Where an upload of one content of one file into one store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UploadState {
    /// Waits for its turn; nothing of it is at the service.
    Pending,
    /// Intent recorded; a session may be open, a document may even exist.
    Uploading,
    /// The service has all bytes and works on them.
    Processing,
    /// The service reported the document active.
    Indexed,
    /// Ended without success; needs a person or `--retry-failed`.
    Failed,
    /// Newer content is indexed and this document is confirmed deleted.
    Superseded,
    /// The file is gone and this document is confirmed deleted.
    Retired,
}

/// The way a file takes to become a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `uploadToFileSearchStore`: one request or one session, then the operation.
    Direct,
    /// A temporary file of the Files API, imported into the store.
    Staged,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Direct => "direct",
            Method::Staged => "staged",
        }
    }

    pub fn parse(text: &str) -> Option<Method> {
        [Method::Direct, Method::Staged]
            .into_iter()
            .find(|m| m.as_str() == text)
    }
}

/// Whether a store's service takes uploads of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    Untried,
    /// A document came of one, with its metadata.
    Works,
    /// It refuses them, or drops their metadata.
    Refused,
}

impl Support {
    pub fn as_str(self) -> &'static str {
        match self {
            Support::Untried => "untried",
            Support::Works => "works",
            Support::Refused => "refused",
        }
    }

    pub fn parse(text: &str) -> Option<Support> {
        [Support::Untried, Support::Works, Support::Refused]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// What happens to an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A worker is about to send the first request.
    Started,
    /// The service accepted the last byte.
    Submitted,
    /// The service reported the document active.
    Activated,
    /// The attempt ended without a document; there will be another.
    HandedBack,
    /// There will be no other attempt.
    Rejected,
    /// A person asked for another try.
    Retried,
    /// The document gave way to newer content and is deleted.
    Replaced,
    /// The file is gone and the document is deleted.
    Purged,
}

/// A transition that the diagram lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Illegal {
    pub state: UploadState,
    pub event: Event,
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} cannot follow {:?}", self.event, self.state)
    }
}

impl UploadState {
    pub const ALL: [UploadState; 7] = [
        UploadState::Pending,
        UploadState::Uploading,
        UploadState::Processing,
        UploadState::Indexed,
        UploadState::Failed,
        UploadState::Superseded,
        UploadState::Retired,
    ];

    pub fn after(self, event: Event) -> Result<UploadState, Illegal> {
        use Event as E;
        use UploadState as S;
        match (self, event) {
            (S::Pending, E::Started) => Ok(S::Uploading),
            (S::Uploading, E::Submitted) => Ok(S::Processing),
            (S::Uploading | S::Processing, E::Activated) => Ok(S::Indexed),
            (S::Uploading | S::Processing, E::HandedBack) => Ok(S::Pending),
            (S::Uploading | S::Processing, E::Rejected) => Ok(S::Failed),
            (S::Failed, E::Retried) => Ok(S::Pending),
            (S::Indexed, E::Replaced) => Ok(S::Superseded),
            (S::Indexed, E::Purged) => Ok(S::Retired),
            (state, event) => Err(Illegal { state, event }),
        }
    }

    /// Its document is gone for good: the row is kept as history only.
    pub fn is_ended(self) -> bool {
        matches!(self, UploadState::Superseded | UploadState::Retired)
    }

    /// As the database and `status --json` spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            UploadState::Pending => "pending",
            UploadState::Uploading => "uploading",
            UploadState::Processing => "processing",
            UploadState::Indexed => "indexed",
            UploadState::Failed => "failed",
            UploadState::Superseded => "superseded",
            UploadState::Retired => "retired",
        }
    }

    pub fn parse(text: &str) -> Option<UploadState> {
        UploadState::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_diagram_of_the_design() {
        let diagram = [
            "pending Started uploading",
            "uploading Submitted processing",
            "uploading Activated indexed",
            "processing Activated indexed",
            "uploading HandedBack pending",
            "processing HandedBack pending",
            "uploading Rejected failed",
            "processing Rejected failed",
            "failed Retried pending",
            "indexed Replaced superseded",
            "indexed Purged retired",
        ];
        let events = [
            Event::Started,
            Event::Submitted,
            Event::Activated,
            Event::HandedBack,
            Event::Rejected,
            Event::Retried,
            Event::Replaced,
            Event::Purged,
        ];
        let mut table: Vec<String> = Vec::new();
        for event in events {
            for state in UploadState::ALL {
                if let Ok(next) = state.after(event) {
                    table.push(format!("{} {event:?} {}", state.as_str(), next.as_str()));
                }
            }
        }
        let mut diagram = diagram.map(str::to_owned).to_vec();
        diagram.sort();
        table.sort();
        assert_eq!(table, diagram);
    }

    #[test]
    fn what_has_ended_has_no_way_on() {
        use UploadState::{Retired, Superseded};
        for state in UploadState::ALL {
            let is_ended = [Superseded, Retired].contains(&state);
            assert_eq!(state.is_ended(), is_ended, "{state:?}");
        }
    }

    #[test]
    fn every_state_reads_back_from_its_name() {
        for state in UploadState::ALL {
            assert_eq!(UploadState::parse(state.as_str()), Some(state));
        }
    }

    #[test]
    fn what_is_known_of_a_way_reads_back_from_its_name() {
        assert_eq!(Method::Direct.as_str(), "direct");
        assert_eq!(Method::Staged.as_str(), "staged");
        for method in [Method::Direct, Method::Staged] {
            assert_eq!(Method::parse(method.as_str()), Some(method));
        }
        for support in [Support::Untried, Support::Works, Support::Refused] {
            assert_eq!(Support::parse(support.as_str()), Some(support));
        }
        assert_eq!(Method::parse("by post"), None);
        assert_eq!(Support::parse("by post"), None);
        assert_eq!(UploadState::parse("by post"), None);
    }

    #[test]
    fn a_refused_transition_says_what_was_refused() {
        let refused = UploadState::Indexed.after(Event::Started).unwrap_err();
        assert_eq!(refused.to_string(), "Started cannot follow Indexed");
    }
}
