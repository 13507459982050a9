//! What a row proves, and what follows from each answer: every decision on which "exactly once" rests,
//! without a request, a commit or a clock.
//!
//! Here is what recovery does with a row; `sending` has what follows while a file is sent, `one_request` where
//! that is a single request, `following` what follows once the service has it. Workers, pollers and recovery do what these functions say; the model
//! in `tests/proof` drives the same functions through millions of crashes and lost answers. Promises:
//! "send again" is never the answer where a document may exist.

use crate::state::{Job, UploadState};

mod following;

mod one_request;

mod sending;

pub use following::{End, Heard, Indexing, Listed, Step};
pub use one_request::{AfterOneRequest, OneRequests, Told, after_one_request, refuses_the_form};
pub use sending::{
    AfterFileLook, AfterNoQuery, AfterQuery, MethodChoice, NoDocument, Unclear, asked,
    can_be_followed, no_document, staged, stops_run, unasked, unclear,
};

/// As much of a row as tells what may be at the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowState {
    pub state: UploadState,
    /// The URL of a session is on record.
    pub session: bool,
    /// A request may have been sent that cannot be asked about: an import, or an upload in one request.
    pub unaskable: bool,
}

impl RowState {
    pub fn of(job: &Job) -> RowState {
        RowState {
            state: job.state,
            session: job.session.is_some(),
            unaskable: job.unaskable,
        }
    }
}

/// What becomes of a row that is not final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing was finalized: it goes back to the queue with no look at the service.
    HandBack,
    /// The service is asked for its session.
    Ask,
    /// The service has it: it is followed.
    Poll,
    /// Only the store can tell: it is looked up by identity.
    LookUp,
    /// It is final, or waits for its turn.
    Nothing,
}

pub fn next(row: RowState) -> Next {
    match row.state {
        UploadState::Uploading if row.unaskable => Next::LookUp,
        UploadState::Uploading if row.session => Next::Ask,
        // Write-ahead rule 2: the URL is on disk before the body is sent.
        UploadState::Uploading => Next::HandBack,
        UploadState::Processing => Next::Poll,
        UploadState::Pending
        | UploadState::Indexed
        | UploadState::Failed
        | UploadState::Superseded
        | UploadState::Retired => Next::Nothing,
    }
}

/// Whether a document holds all of a file; what the service does not say is taken for granted.
pub fn is_whole(held: Option<u64>, size_bytes: u64) -> bool {
    held.is_none_or(|held| held == size_bytes)
}

/// The model of the proof programs, which runs in its short form with the unit tests.
#[cfg(test)]
#[path = "../../../tests/proof/life/mod.rs"]
mod life;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_life_of_a_file_loses_doubles_or_tears_its_document() {
        // Some 4,000 lives, in about a second; the proof program `model` lives the millions.
        if let Err(smallest) = life::many(1, 400_000) {
            panic!("{smallest}");
        }
    }

    #[test]
    fn every_row_has_its_way_on() {
        let way = |state, session, unaskable| next(row(state, session, unaskable));
        use UploadState::{Processing, Uploading};
        assert_eq!(way(Uploading, false, false), Next::HandBack);
        assert_eq!(way(Uploading, true, false), Next::Ask);
        for session in [false, true] {
            assert_eq!(way(Uploading, session, true), Next::LookUp);
            assert_eq!(way(Processing, session, false), Next::Poll);
        }
        let at_rest = UploadState::ALL.into_iter();
        for state in at_rest.filter(|s| ![Uploading, Processing].contains(s)) {
            assert_eq!(way(state, true, true), Next::Nothing);
        }
    }

    #[test]
    fn a_document_is_whole_unless_the_service_counts_other_bytes() {
        assert!(is_whole(None, 10));
        assert!(is_whole(Some(10), 10));
        assert!(!is_whole(Some(9), 10));
        assert!(!is_whole(Some(11), 10));
    }

    fn row(state: UploadState, session: bool, unaskable: bool) -> RowState {
        RowState {
            state,
            session,
            unaskable,
        }
    }

    #[test]
    fn only_a_row_that_proves_it_goes_back_unasked() {
        for state in UploadState::ALL {
            for bits in 0..4 {
                let row = row(state, bits & 1 > 0, bits & 2 > 0);
                let back = next(row) == Next::HandBack;
                let proof = state == UploadState::Uploading && !row.session && !row.unaskable;
                assert_eq!(back, proof, "{row:?}");
            }
        }
    }
}
