//! What follows from each answer while a file is sent: which way it takes, how a session goes on, and what
//! becomes of a file whose attempt ended without a document.
//!
//! Promises: a file goes back to the queue only where the service has confirmed that nothing came of the
//! attempt; where nobody can say, the row stays in doubt.

use std::time::Duration;

use crate::client::{
    Ended, Failure, FailureKind, FileState, SessionState, Submitted, TemporaryFile,
};
use crate::names::{DocumentName, StoreName};
use crate::state::{Charge, Method};

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
/// A session that gives no usable answer for so long, counted from the intent of its upload, is settled by
/// the listing of the store. No request of its own is under way any more after that time.
const ASK_WITHIN: Duration = Duration::from_secs(3600);

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

/// What follows from the service's answer to `query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterQuery {
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

pub fn asked(session: SessionState, method: Method, current: bool) -> AfterQuery {
    match (session, method) {
        (SessionState::Active { received }, _) if current => AfterQuery::Resume(received),
        (SessionState::Active { .. }, _) => AfterQuery::Cancel,
        (SessionState::Final(Some(ended)), _) => AfterQuery::Take(ended),
        (SessionState::Dead(failure), _) => AfterQuery::Fail(failure),
        (SessionState::Final(None) | SessionState::Gone, Method::Staged) => AfterQuery::LookAtFile,
        (SessionState::Final(None) | SessionState::Gone, Method::Direct) => AfterQuery::LookUp,
    }
}

/// What follows from the state of a temporary file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFileLook {
    Import,
    Wait,
    /// It is of no use: deleted, and made anew in another attempt.
    Discard,
}

/// `file`: `None` if it is not there. Nothing was imported from it yet.
pub fn staged(file: Option<&TemporaryFile>, size_bytes: u64) -> AfterFileLook {
    let Some(file) = file else {
        return AfterFileLook::Discard;
    };
    let whole = file.size_bytes.is_none_or(|n| n == size_bytes);
    match file.state {
        _ if !whole => AfterFileLook::Discard,
        FileState::Active => AfterFileLook::Import,
        FileState::Processing => AfterFileLook::Wait,
        FileState::Failed => AfterFileLook::Discard,
    }
}

/// What becomes of a session that could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterNoQuery {
    StopRun,
    /// Later, but not for ever.
    AskAgain,
    LookUp,
}

/// `age`: since the intent of its upload.
pub fn unasked(kind: FailureKind, age: Duration) -> AfterNoQuery {
    match kind {
        kind if stops_run(kind) => AfterNoQuery::StopRun,
        _ if age > ASK_WITHIN => AfterNoQuery::LookUp,
        _ => AfterNoQuery::AskAgain,
    }
}

/// Whether the end of a body names something that can be followed: a document of another store is not what
/// was sent, and only this store can tell what became of it.
pub fn can_be_followed(submitted: &Submitted, store: &StoreName) -> bool {
    let is_own = |name: &DocumentName| DocumentName::of_store(store, name.as_str()).is_some();
    match &submitted.document {
        Some(document) => is_own(document),
        None => submitted.operation.is_some(),
    }
}

/// What becomes of a file whose attempt made no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoDocument {
    /// It concerns every file: this one goes back as it was.
    StopRun,
    /// Nothing was tried: back as it was.
    HandBack,
    /// Not the file's fault: back, with the cause, and no attempt is used up.
    Excuse,
    /// Its type is refused: back, to be sent as plain text.
    AsPlainText,
    /// The direct way's known fault: back, and one fault nearer to the staged way.
    LessDirect,
    /// One attempt is used up.
    AttemptFailed,
    /// No attempt would end better.
    Reject,
    /// The file on this machine is not what was scanned.
    Rescan,
}

/// `has_other_type`, `has_other_way`: whether plain text, or the staged way, is still left to try.
pub fn no_document(kind: FailureKind, has_other_type: bool, has_other_way: bool) -> NoDocument {
    match kind {
        kind if stops_run(kind) => NoDocument::StopRun,
        FailureKind::Skipped { .. } | FailureKind::Stopped => NoDocument::HandBack,
        // Neither the service's pace nor who answers in its place is the file's fault.
        FailureKind::RateLimited | FailureKind::NotTheService => NoDocument::Excuse,
        FailureKind::UnsupportedMime if has_other_type => NoDocument::AsPlainText,
        FailureKind::CountTokens if has_other_way => NoDocument::LessDirect,
        FailureKind::Permanent | FailureKind::UnsupportedMime => NoDocument::Reject,
        FailureKind::LocalFile => NoDocument::Rescan,
        FailureKind::Transient
        | FailureKind::CountTokens
        | FailureKind::Missing
        | FailureKind::SessionDead
        | FailureKind::InDoubt
        | FailureKind::BadAnswer
        | FailureKind::NoTrust
        | FailureKind::KeyRefused
        | FailureKind::StoreRefused
        | FailureKind::StorageFull
        | FailureKind::DailyQuota => NoDocument::AttemptFailed,
    }
}

/// What becomes of a file whose body did not get through, and nobody has said that the session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclear {
    /// It concerns every file: this one stays in doubt.
    StopRun,
    /// Only once the service confirms that the session is cancelled does the file start over.
    CancelAndRescan,
    /// The last attempt is used up: the same, and the file ends with its cause.
    CancelAndFail,
    /// The session is asked later.
    InDoubt(Charge),
}

pub fn unclear(kind: FailureKind, is_last_attempt: bool) -> Unclear {
    match kind {
        kind if stops_run(kind) => Unclear::StopRun,
        FailureKind::LocalFile => Unclear::CancelAndRescan,
        FailureKind::Skipped { .. }
        | FailureKind::Stopped
        | FailureKind::RateLimited
        | FailureKind::NotTheService => Unclear::InDoubt(Charge::Nothing),
        _ if is_last_attempt => Unclear::CancelAndFail,
        _ => Unclear::InDoubt(Charge::Attempt),
    }
}

/// A failure that concerns every file: the run stops, with one message.
pub fn stops_run(kind: FailureKind) -> bool {
    match kind {
        FailureKind::KeyRefused
        | FailureKind::StoreRefused
        | FailureKind::StorageFull
        | FailureKind::NoTrust
        | FailureKind::DailyQuota => true,
        FailureKind::Skipped { .. }
        | FailureKind::Stopped
        | FailureKind::Transient
        | FailureKind::RateLimited
        | FailureKind::CountTokens
        | FailureKind::Missing
        | FailureKind::SessionDead
        | FailureKind::InDoubt
        | FailureKind::UnsupportedMime
        | FailureKind::Permanent
        | FailureKind::BadAnswer
        | FailureKind::NotTheService
        | FailureKind::LocalFile => false,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::names::{FileName, OperationName};
    use std::time::Instant;

    #[test]
    fn a_session_that_is_gone_is_never_a_reason_to_send_again() {
        for session in [SessionState::Gone, SessionState::Final(None)] {
            for current in [true, false] {
                let direct = asked(clone(&session), Method::Direct, current);
                assert_eq!(direct, AfterQuery::LookUp);
                let staged = asked(clone(&session), Method::Staged, current);
                assert_eq!(staged, AfterQuery::LookAtFile);
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
        let file = |state, size_bytes| TemporaryFile {
            name: FileName::new("files/f"),
            state,
            size_bytes,
        };
        let of = |state, size| staged(Some(&file(state, size)), 10);
        assert_eq!(of(FileState::Active, Some(10)), AfterFileLook::Import);
        assert_eq!(of(FileState::Active, None), AfterFileLook::Import);
        assert_eq!(of(FileState::Active, Some(9)), AfterFileLook::Discard);
        assert_eq!(of(FileState::Processing, Some(10)), AfterFileLook::Wait);
        assert_eq!(of(FileState::Failed, Some(10)), AfterFileLook::Discard);
        assert_eq!(staged(None, 10), AfterFileLook::Discard);
    }

    #[test]
    fn auto_takes_the_other_way_after_two_faults() {
        let methods: Vec<Method> = (0..4).map(|n| MethodChoice::Auto.method(n)).collect();
        assert_eq!(
            methods,
            [
                Method::Direct,
                Method::Direct,
                Method::Staged,
                Method::Staged
            ]
        );
        assert_eq!(MethodChoice::Direct.method(9), Method::Direct);
        assert_eq!(MethodChoice::Staged.method(0), Method::Staged);
    }

    #[test]
    fn only_auto_has_another_way_and_only_once() {
        for choice in [
            MethodChoice::Auto,
            MethodChoice::Direct,
            MethodChoice::Staged,
        ] {
            for method in [Method::Direct, Method::Staged] {
                let has = choice == MethodChoice::Auto && method == Method::Direct;
                assert_eq!(choice.has_another_way(method), has, "{choice:?} {method:?}");
            }
        }
    }

    #[test]
    fn an_open_session_goes_on_only_with_the_content_that_is_wanted() {
        for method in [Method::Direct, Method::Staged] {
            let open = || SessionState::Active { received: 7 };
            assert_eq!(asked(open(), method, true), AfterQuery::Resume(7));
            assert_eq!(asked(open(), method, false), AfterQuery::Cancel);
        }
    }

    #[test]
    fn what_a_session_says_of_its_end_is_taken() {
        let ended = Ended::Document(submitted(None, None));
        let session = SessionState::Final(Some(ended.clone()));
        assert_eq!(
            asked(session, Method::Direct, false),
            AfterQuery::Take(ended)
        );
        let dead = Failure::new(FailureKind::SessionDead, "over");
        let session = SessionState::Dead(dead.clone());
        assert_eq!(asked(session, Method::Staged, true), AfterQuery::Fail(dead));
    }

    fn submitted(operation: Option<&str>, document: Option<&str>) -> Submitted {
        Submitted {
            operation: operation.map(OperationName::new),
            document: document.map(DocumentName::new),
            size_bytes: None,
        }
    }

    #[test]
    fn only_what_is_in_this_store_can_be_followed() {
        let store = StoreName::new("fileSearchStores/s");
        let can = |operation, document| can_be_followed(&submitted(operation, document), &store);
        assert!(can(Some("o"), None));
        assert!(can(None, Some("fileSearchStores/s/documents/d")));
        assert!(!can(None, None));
        assert!(!can(Some("o"), Some("fileSearchStores/t/documents/d")));
    }

    /// Every kind, each with what a file without a document becomes when nothing else is left to try.
    pub fn kinds() -> [(FailureKind, NoDocument); 18] {
        use NoDocument::{AttemptFailed, Excuse, HandBack, Reject, Rescan, StopRun};
        let until = Instant::now();
        [
            (FailureKind::Skipped { until }, HandBack),
            (FailureKind::Stopped, HandBack),
            (FailureKind::Transient, AttemptFailed),
            (FailureKind::RateLimited, Excuse),
            (FailureKind::CountTokens, AttemptFailed),
            (FailureKind::DailyQuota, StopRun),
            (FailureKind::StorageFull, StopRun),
            (FailureKind::KeyRefused, StopRun),
            (FailureKind::StoreRefused, StopRun),
            (FailureKind::Missing, AttemptFailed),
            (FailureKind::SessionDead, AttemptFailed),
            (FailureKind::InDoubt, AttemptFailed),
            (FailureKind::UnsupportedMime, Reject),
            (FailureKind::Permanent, Reject),
            (FailureKind::BadAnswer, AttemptFailed),
            (FailureKind::NotTheService, Excuse),
            (FailureKind::NoTrust, StopRun),
            (FailureKind::LocalFile, Rescan),
        ]
    }

    #[test]
    fn a_file_pays_only_for_what_is_its_own() {
        for (kind, becomes) in kinds() {
            assert_eq!(no_document(kind, false, false), becomes, "{kind:?}");
            assert_eq!(stops_run(kind), becomes == NoDocument::StopRun, "{kind:?}");
        }
    }

    #[test]
    fn what_is_left_to_try_is_tried_first() {
        for (kind, otherwise) in kinds() {
            let becomes = match kind {
                FailureKind::UnsupportedMime => NoDocument::AsPlainText,
                FailureKind::CountTokens => NoDocument::LessDirect,
                _ => otherwise,
            };
            assert_eq!(no_document(kind, true, true), becomes, "{kind:?}");
        }
    }

    /// However it failed, and whichever attempt it was.
    #[test]
    fn a_body_without_an_answer_never_starts_over_unasked() {
        for (kind, becomes) in kinds() {
            for is_last in [false, true] {
                let expected = match (becomes, is_last) {
                    (NoDocument::StopRun, _) => Unclear::StopRun,
                    (NoDocument::Rescan, _) => Unclear::CancelAndRescan,
                    (NoDocument::HandBack | NoDocument::Excuse, _) => {
                        Unclear::InDoubt(Charge::Nothing)
                    }
                    (_, true) => Unclear::CancelAndFail,
                    (_, false) => Unclear::InDoubt(Charge::Attempt),
                };
                assert_eq!(unclear(kind, is_last), expected, "{kind:?}");
            }
        }
    }

    #[test]
    fn a_session_is_asked_for_an_hour_and_then_looked_up() {
        let hour = Duration::from_secs(3600);
        let later = hour + Duration::from_millis(1);
        for (kind, becomes) in kinds() {
            let (early, late) = match becomes {
                NoDocument::StopRun => (AfterNoQuery::StopRun, AfterNoQuery::StopRun),
                _ => (AfterNoQuery::AskAgain, AfterNoQuery::LookUp),
            };
            assert_eq!(unasked(kind, Duration::ZERO), early, "{kind:?}");
            assert_eq!(unasked(kind, hour), early, "{kind:?}");
            assert_eq!(unasked(kind, later), late, "{kind:?}");
        }
    }
}
