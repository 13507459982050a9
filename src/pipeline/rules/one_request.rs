//! Uploads of one request: which files go so, and what follows where no document was named. Nobody can be asked
//! afterwards what became of such a request, so that a lost answer is settled by the store alone.
//!
//! `OneRequests` is what one run knows of it, for one store. Promises: nothing is taken for refused that may have
//! taken effect; a file whose attempt has failed once goes by a session; as long as it is not known whether
//! the service takes such uploads, one file at a time goes so.

use crate::client::{FailureKind, Unanswered};
use crate::state::Support;

/// A larger file goes by a session, which can be resumed. What is sent again for nothing is then a quarter of a
/// second at 1 MB/s, and a round trip is saved where it counts.
const BYTES_MAX: u64 = 256 * 1024;
/// After so many lost answers the rest of a run goes by sessions, which can be asked.
const LOST_MAX: u32 = 3;

/// What a run knows, for one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneRequests {
    support: Support,
    /// A file is under way that will tell.
    is_trying: bool,
    lost: u32,
}

/// What a request told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A document came of it, and has its metadata.
    Works,
    /// Its form is refused, or its metadata was dropped.
    Refused,
    /// Its answer is lost.
    Lost,
    Nothing,
}

impl OneRequests {
    pub fn new(support: Support) -> OneRequests {
        OneRequests {
            support,
            is_trying: false,
            lost: 0,
        }
    }

    /// Whether this file goes in one request; then `told` must follow. `failed_before`: an attempt of it has.
    pub fn takes(&mut self, size_bytes: u64, failed_before: bool) -> bool {
        let is_tried = match self.support {
            Support::Works => true,
            Support::Untried => !self.is_trying,
            Support::Refused => false,
        };
        let takes = is_tried && size_bytes <= BYTES_MAX && !failed_before && self.lost < LOST_MAX;
        self.is_trying |= takes && self.is_trial();
        takes
    }

    /// The document that comes of it is to be looked at.
    pub fn is_trial(&self) -> bool {
        self.support == Support::Untried
    }

    /// What is to be remembered of it, if that is new.
    pub fn told(&mut self, told: Told) -> Option<Support> {
        self.is_trying = false;
        let support = match told {
            Told::Works => Support::Works,
            Told::Refused => Support::Refused,
            Told::Lost => {
                self.lost += 1;
                self.support
            }
            Told::Nothing => self.support,
        };
        // Once refused it stays so, whatever was under way.
        let is_new = support != self.support && self.support != Support::Refused;
        is_new.then(|| {
            self.support = support;
            support
        })
    }
}

/// What follows when no document was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterOneRequest {
    /// One may have been made: only the store can tell.
    LookUp,
    /// None was made. What is refused may be the form of the request and not the file: it goes by a session
    /// at once, whose start tells.
    BySession,
    /// None was made: what becomes of the file is said by `no_document`.
    NoDocument,
}

pub fn after_one_request(unanswered: &Unanswered) -> AfterOneRequest {
    let failure = &unanswered.failure;
    match failure.kind {
        // Nobody makes anything of a request that has not come to its end.
        _ if !unanswered.was_whole => AfterOneRequest::NoDocument,
        // The service says so itself. "Failed to count tokens" comes in the place of the document.
        FailureKind::RateLimited
        | FailureKind::DailyQuota
        | FailureKind::StorageFull
        | FailureKind::KeyRefused
        | FailureKind::CountTokens => AfterOneRequest::NoDocument,
        FailureKind::Permanent
        | FailureKind::UnsupportedMime
        | FailureKind::StoreRefused
        | FailureKind::Missing => AfterOneRequest::BySession,
        // "Failed to create file".
        FailureKind::Transient if failure.status == Some(400) => AfterOneRequest::NoDocument,
        // No answer, or one by which nobody can tell: a service that fails may do so after the effect.
        FailureKind::Transient
        | FailureKind::BadAnswer
        | FailureKind::NotTheService
        | FailureKind::SessionDead
        | FailureKind::InDoubt
        | FailureKind::NoTrust
        | FailureKind::LocalFile
        | FailureKind::Stopped
        | FailureKind::Skipped { .. } => AfterOneRequest::LookUp,
    }
}

/// Whether a refusal, after which the start of a session was accepted, was that of the form.
pub fn refuses_the_form(kind: FailureKind) -> bool {
    // A session learns of its type only at its end.
    kind != FailureKind::UnsupportedMime
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Failure;
    use crate::pipeline::rules::sending::tests::kinds;
    use crate::pipeline::rules::{NoDocument, no_document};

    fn unanswered(kind: FailureKind, status: Option<u16>, was_whole: bool) -> Unanswered {
        let failure = Failure::new(kind, "words");
        Unanswered {
            failure: Failure { status, ..failure },
            was_whole,
        }
    }

    fn after(kind: FailureKind) -> AfterOneRequest {
        after_one_request(&unanswered(kind, None, true))
    }

    #[test]
    fn a_request_that_was_not_sent_whole_made_nothing() {
        for (kind, _) in kinds() {
            let after = after_one_request(&unanswered(kind, None, false));
            assert_eq!(after, AfterOneRequest::NoDocument, "{kind:?}");
        }
    }

    #[test]
    fn only_the_services_own_refusal_proves_that_nothing_was_made() {
        use FailureKind as K;
        for (kind, _) in kinds() {
            let expected = match kind {
                K::RateLimited
                | K::DailyQuota
                | K::StorageFull
                | K::KeyRefused
                | K::CountTokens => AfterOneRequest::NoDocument,
                K::Permanent | K::UnsupportedMime | K::StoreRefused | K::Missing => {
                    AfterOneRequest::BySession
                }
                _ => AfterOneRequest::LookUp,
            };
            assert_eq!(after(kind), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_failing_service_proves_nothing_unless_it_says_400() {
        let of = |status| after_one_request(&unanswered(FailureKind::Transient, status, true));
        assert_eq!(of(Some(400)), AfterOneRequest::NoDocument);
        for status in [None, Some(408), Some(500), Some(502), Some(503), Some(504)] {
            assert_eq!(of(status), AfterOneRequest::LookUp, "{status:?}");
        }
    }

    /// What is refused goes on in a way that does not end in a lost file.
    #[test]
    fn the_known_fault_of_the_direct_way_leads_to_the_other_way() {
        let kind = FailureKind::CountTokens;
        assert_eq!(after(kind), AfterOneRequest::NoDocument);
        assert_eq!(no_document(kind, false, true), NoDocument::LessDirect);
    }

    #[test]
    fn only_small_files_of_a_first_attempt_go_in_one_request() {
        let mut all = OneRequests::new(Support::Works);
        assert!(all.takes(1, false) && all.takes(256 * 1024, false));
        assert!(!all.takes(256 * 1024 + 1, false));
        assert!(!all.takes(1, true));
        assert!(!OneRequests::new(Support::Refused).takes(1, false));
    }

    #[test]
    fn one_file_at_a_time_tries_what_is_not_known() {
        let mut all = OneRequests::new(Support::Untried);
        assert!(!all.takes(1, true), "one that does not go so tries nothing");
        assert!(all.takes(1, false));
        assert!(!all.takes(1, false), "two at a time");
        assert_eq!(all.told(Told::Nothing), None);
        assert!(all.takes(1, false) && all.is_trial());
        assert_eq!(all.told(Told::Works), Some(Support::Works));
        assert!(!all.is_trial());
        assert!(all.takes(1, false) && all.takes(1, false));
        assert_eq!(all.told(Told::Works), None, "remembered already");
    }

    #[test]
    fn what_is_refused_is_remembered_and_stays_so() {
        for support in [Support::Untried, Support::Works] {
            let mut all = OneRequests::new(support);
            assert!(all.takes(1, false));
            assert_eq!(all.told(Told::Refused), Some(Support::Refused));
            assert!(!all.takes(1, false));
            // Of one that was still under way.
            assert_eq!(all.told(Told::Works), None);
            assert!(!all.takes(1, false));
        }
    }

    #[test]
    fn after_three_lost_answers_a_run_goes_by_sessions() {
        let mut all = OneRequests::new(Support::Works);
        for _ in 0..3 {
            assert!(all.takes(1, false));
            assert_eq!(all.told(Told::Lost), None);
        }
        assert!(!all.takes(1, false));
    }

    #[test]
    fn a_type_that_is_refused_says_nothing_of_the_form() {
        assert!(!refuses_the_form(FailureKind::UnsupportedMime));
        assert!(refuses_the_form(FailureKind::Permanent));
    }
}
