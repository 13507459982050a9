//! What a row proves, and what follows from each answer: every decision on which "exactly once" rests,
//! without a request, a commit or a clock.
//!
//! Workers, pollers and recovery do what these functions say; the model in `tests/proof` drives the same
//! functions through millions of crashes and lost answers. Promises: "send again" is never the answer
//! where a document may exist.

use crate::client::{Ended, Failure, File, FileState, SessionState};
use crate::state::{Job, Method, UploadState};

/// What was asked for with `--method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodChoice {
    /// Directly, and staged for a file that met the direct way's known fault twice.
    Auto,
    Direct,
    Staged,
}

/// Times that a file meets "Failed to count tokens" before `auto` takes the other way (fact sheet 16).
const DIRECT_FAULTS_MAX: u32 = 2;

impl MethodChoice {
    /// The way of the next attempt.
    pub fn method(self, direct_faults: u32) -> Method {
        match self {
            MethodChoice::Auto if direct_faults < DIRECT_FAULTS_MAX => Method::Direct,
            MethodChoice::Direct => Method::Direct,
            MethodChoice::Auto | MethodChoice::Staged => Method::Staged,
        }
    }

    /// Whether another way is left for a file that the direct way fails.
    pub fn has_another_way(self, method: Method) -> bool {
        self == MethodChoice::Auto && method == Method::Direct
    }
}

/// As much of a row as tells what may be at the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub state: UploadState,
    /// The URL of a session is on record.
    pub session: bool,
    /// An import may have been sent.
    pub importing: bool,
    /// An operation or a document is on record.
    pub named: bool,
}

impl Standing {
    pub fn of(job: &Job) -> Standing {
        Standing {
            state: job.state,
            session: job.session.is_some(),
            importing: job.importing,
            named: job.operation.is_some() || job.document.is_some(),
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
    /// Its operation, or its document, is looked at.
    Poll,
    /// Only the store can tell: it is looked up by identity.
    LookUp,
    /// It is final, or waits for its turn.
    Nothing,
}

pub fn next(row: Standing) -> Next {
    match row.state {
        UploadState::Uploading if row.importing => Next::LookUp,
        UploadState::Uploading if row.session => Next::Ask,
        // Write-ahead rule 2: the URL is on disk before the body is sent.
        UploadState::Uploading => Next::HandBack,
        UploadState::Processing if row.named => Next::Poll,
        UploadState::Processing => Next::LookUp,
        UploadState::Pending
        | UploadState::Indexed
        | UploadState::Failed
        | UploadState::Superseded
        | UploadState::Retired => Next::Nothing,
    }
}

/// What follows from the service's answer to `query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Continue at this offset.
    Resume(u64),
    /// The content is not wanted any more.
    Cancel,
    Take(Ended),
    /// The attempt is over, and nothing came of it.
    Fail(Failure),
    /// The temporary file has a name of our choosing: it is looked at.
    LookAtFile,
    LookUp,
}

pub fn asked(session: SessionState, method: Method, current: bool) -> Asked {
    match (session, method) {
        (SessionState::Active { received }, _) if current => Asked::Resume(received),
        (SessionState::Active { .. }, _) => Asked::Cancel,
        (SessionState::Final(Some(ended)), _) => Asked::Take(ended),
        (SessionState::Dead(failure), _) => Asked::Fail(failure),
        (SessionState::Final(None) | SessionState::Gone, Method::Staged) => Asked::LookAtFile,
        (SessionState::Final(None) | SessionState::Gone, Method::Direct) => Asked::LookUp,
    }
}

/// What follows from the state of a temporary file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staged {
    Import,
    Wait,
    /// It is of no use: deleted, and made anew in another attempt.
    Discard,
}

/// `file`: `None` if it is not there. Nothing was imported from it yet.
pub fn staged(file: Option<&File>, size_bytes: u64) -> Staged {
    let Some(file) = file else {
        return Staged::Discard;
    };
    let whole = file.size_bytes.is_none_or(|n| n == size_bytes);
    match file.state {
        _ if !whole => Staged::Discard,
        FileState::Active => Staged::Import,
        FileState::Processing => Staged::Wait,
        FileState::Failed => Staged::Discard,
    }
}

/// Whether a document holds all of a file; what the service does not say is taken for granted.
pub fn is_whole(held: Option<u64>, size_bytes: u64) -> bool {
    held.is_none_or(|held| held == size_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::FileName;

    fn row(state: UploadState, session: bool, importing: bool, named: bool) -> Standing {
        Standing {
            state,
            session,
            importing,
            named,
        }
    }

    #[test]
    fn only_a_row_that_proves_it_goes_back_unasked() {
        for state in UploadState::ALL {
            for bits in 0..8 {
                let row = row(state, bits & 1 > 0, bits & 2 > 0, bits & 4 > 0);
                let back = next(row) == Next::HandBack;
                let proof = state == UploadState::Uploading && !row.session && !row.importing;
                assert_eq!(back, proof, "{row:?}");
            }
        }
    }

    #[test]
    fn a_session_that_is_gone_is_never_a_reason_to_send_again() {
        for session in [SessionState::Gone, SessionState::Final(None)] {
            for current in [true, false] {
                let direct = asked(clone(&session), Method::Direct, current);
                assert_eq!(direct, Asked::LookUp);
                let staged = asked(clone(&session), Method::Staged, current);
                assert_eq!(staged, Asked::LookAtFile);
            }
        }
    }

    fn clone(session: &SessionState) -> SessionState {
        match session {
            SessionState::Gone => SessionState::Gone,
            _ => SessionState::Final(None),
        }
    }

    #[test]
    fn a_temporary_file_is_imported_only_when_it_is_whole_and_active() {
        let file = |state, size_bytes| File {
            name: FileName::new("files/f"),
            state,
            size_bytes,
        };
        let of = |state, size| staged(Some(&file(state, size)), 10);
        assert_eq!(of(FileState::Active, Some(10)), Staged::Import);
        assert_eq!(of(FileState::Active, None), Staged::Import);
        assert_eq!(of(FileState::Active, Some(9)), Staged::Discard);
        assert_eq!(of(FileState::Processing, Some(10)), Staged::Wait);
        assert_eq!(of(FileState::Failed, Some(10)), Staged::Discard);
        assert_eq!(staged(None, 10), Staged::Discard);
    }

    #[test]
    fn auto_takes_the_other_way_after_two_faults() {
        let methods: Vec<Method> = (0..4).map(|n| MethodChoice::Auto.method(n)).collect();
        use Method::{Direct, Staged};
        assert_eq!(methods, [Direct, Direct, Staged, Staged]);
        assert_eq!(MethodChoice::Direct.method(9), Direct);
        assert_eq!(MethodChoice::Staged.method(0), Staged);
    }
}
