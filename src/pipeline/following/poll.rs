//! One submitted upload, and the looks at it so far.

use std::time::{Duration, Instant};

use super::pages::Position;
use crate::names::{DocumentName, FileName, OperationName};
use crate::pipeline::outcome::subject::Subject;
use crate::pipeline::rules::{Indexing, Step};
use crate::state::{Durable, Job};
use crate::waits::Waits;

/// One submitted upload.
#[derive(Debug)]
pub struct Poll {
    pub subject: Subject,
    pub operation: Option<Durable<OperationName>>,
    /// Deleted once the document is active.
    pub temporary: Option<FileName>,
    pub submitted: Instant,
    pub indexing: Indexing,
    pub looks: Looks,
}

/// The looks at one upload so far.
#[derive(Debug, Default)]
pub struct Looks {
    /// An earlier run has submitted it: nobody knows how long ago.
    pub(super) is_inherited: bool,
    /// Its age when it was last seen running.
    pub(super) ran_for: Duration,
    /// How long the service worked on it, by the service's own clock.
    pub took: Option<Duration>,
    /// Pages that showed it since it was last looked at by itself.
    pub(super) by_page: u32,
    pub(super) place: Position,
}

impl Looks {
    /// How long an operation took that a look at this age found over. The service's word counts as far as our
    /// own looks allow it. Where it says "no time", as one does that does not count, the end is taken to have
    /// come soon after the last look that found it running; where it says nothing, midway.
    pub(super) fn took_by(&self, age: Duration) -> Duration {
        let between = age.saturating_sub(self.ran_for);
        match self.took {
            Some(took) if took.is_zero() => self.ran_for + between / 8,
            Some(took) => took.clamp(self.ran_for, self.ran_for + between),
            None => self.ran_for + between / 2,
        }
    }
}

impl Poll {
    /// What an earlier run left. When it was submitted is not known to this clock; it is long enough ago
    /// to look now.
    pub fn of(job: Job) -> Poll {
        let subject = Subject::of(&job);
        Poll {
            submitted: subject.started,
            subject,
            temporary: job.temporary,
            indexing: Indexing::inherited(job.operation.is_some(), job.document),
            operation: job.operation,
            looks: Looks {
                is_inherited: true,
                ..Looks::default()
            },
        }
    }

    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.submitted)
    }

    /// The document that is to be looked at next, if that is what it needs.
    pub(super) fn document(&self, waits: &Waits) -> Option<DocumentName> {
        match self.indexing.next(waits) {
            Step::LookAtDocument(name) => Some(name),
            _ => None,
        }
    }
}

/// When an upload is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub likely: Instant,
    pub latest: Instant,
    /// By a page that is being read, or by a backoff: what is learned meanwhile changes nothing.
    pub is_fixed: bool,
}

impl Due {
    pub fn at(at: Instant) -> Due {
        Due {
            likely: at,
            latest: at,
            is_fixed: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_says_of_an_operation_counts_between_the_looks() {
        let seconds = Duration::from_secs;
        let took = |took: Option<u64>| {
            let looks = Looks {
                ran_for: seconds(4),
                took: took.map(seconds),
                ..Looks::default()
            };
            looks.took_by(seconds(12))
        };
        assert_eq!(took(Some(9)), seconds(9));
        assert_eq!(took(Some(2)), seconds(4), "it was seen running");
        assert_eq!(took(Some(20)), seconds(12), "it was seen over");
        assert_eq!(took(Some(0)), seconds(5));
        assert_eq!(took(None), seconds(8));
    }
}
