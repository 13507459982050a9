//! What an earlier run, or an earlier pass, left on the way is settled here.
//!
//! Rows with an operation go to the poll queue; rows with a session are asked at the service by the
//! workers; rows with neither are proof that nothing was finalized and go back. What even the service
//! no longer knows is looked up by identity in one listing of the store. Promises: absence is
//! concluded only from a complete listing that began late enough; from anything else the answer stays
//! unknown, and nothing is sent again. Can be interrupted and restarted anywhere.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::outcome::{self, Outcomes, Subject};
use super::poll_queue::Poll;
use crate::client::{Client, Document, Failure, FailureKind, Submitted};
use crate::error::Error;
use crate::names::StoreName;
use crate::shutdown::Shutdown;
use crate::state::{Charge, Job, Reader, UploadId, UploadState};

/// Lists lag behind by seconds (fact sheet 11: 0.5 s at the median, tails of 2 s); a listing younger
/// than this after the last request that could have taken effect proves nothing.
pub const LIST_LAG: Duration = Duration::from_secs(15);
/// Pages of one listing: a million documents at 20 a page, with room.
const LIST_PAGES_MAX: u32 = 100_000;

/// A row of an earlier run: what has to happen with it.
pub enum Next {
    /// In the poll queue or back to pending; nothing to do.
    Settled,
    /// A worker has to ask for its session.
    Ask(Box<Job>),
}

/// First stage of a run, a row at a time.
pub fn settle(job: Job, outcomes: &Outcomes) -> Next {
    let subject = Subject::of(&job);
    match job.state {
        UploadState::Processing if job.operation.is_some() || job.document.is_some() => {
            outcomes.polls.push(Poll {
                upload: job.upload,
                path: job.path,
                bytes: job.size_bytes,
                attempts: job.attempts + 1,
                operation: job.operation,
                document: job.document,
                started: subject.started,
                // When it was submitted is not known to this clock; it is long enough ago to look now.
                submitted: subject.started,
                running: 0,
                unanswered: 0,
                at_document: false,
                failed_since: None,
            });
            Next::Settled
        }
        UploadState::Uploading if job.session.is_none() => {
            outcomes.handed_back(&subject, Charge::Nothing, None, None);
            Next::Settled
        }
        UploadState::Pending
        | UploadState::Uploading
        | UploadState::Processing
        | UploadState::Indexed
        | UploadState::Failed
        | UploadState::Superseded
        | UploadState::Retired => Next::Ask(Box::new(job)),
    }
}

/// How the listing ended.
#[derive(Debug)]
pub enum Listed {
    /// Every row in question is settled.
    Settled,
    /// The listing failed or was cut short: the rows stay as they are.
    Unknown,
    Fatal(Error),
}

/// The one listing of a run.
pub struct Listing<'r> {
    pub store: &'r StoreName,
    pub store_id: i64,
    pub client: &'r Client,
    pub reader: &'r Reader,
    pub shutdown: &'r Shutdown,
    pub outcomes: &'r Outcomes,
}

impl Listing<'_> {
    /// Settles `lost`: rows whose session the service no longer knows. `since` is the moment after
    /// which no request of theirs can have taken effect.
    pub fn settle(&self, mut lost: BTreeSet<UploadId>, since: Instant) -> Listed {
        let wait = (since + LIST_LAG).saturating_duration_since(Instant::now());
        if !self.shutdown.sleep(wait) {
            return Listed::Unknown;
        }
        let mut token: Option<String> = None;
        let mut tokens_seen = BTreeSet::new();
        for _ in 0..LIST_PAGES_MAX {
            let page = match self.page(token.as_deref()) {
                Ok(page) => page,
                Err(failure) => {
                    return match outcome::fatal(&failure, self.store.as_str()) {
                        Some(error) => Listed::Fatal(error),
                        None => Listed::Unknown,
                    };
                }
            };
            for document in page.documents {
                if let Err(e) = self.adopt(document, &mut lost) {
                    return Listed::Fatal(e);
                }
            }
            let Some(next) = page.next else {
                return self.absent(&lost);
            };
            // A service that hands out the same page again would never end, and proves nothing.
            if !tokens_seen.insert(next.clone()) {
                return Listed::Unknown;
            }
            token = Some(next);
        }
        Listed::Unknown
    }

    fn page(&self, token: Option<&str>) -> Result<crate::client::DocumentsPage, Failure> {
        loop {
            match self.client.documents_page(self.store, token) {
                Err(failure) => match failure.kind {
                    FailureKind::Skipped { until } => {
                        let wait = until.saturating_duration_since(Instant::now());
                        if !self.shutdown.sleep(wait) {
                            return Err(failure);
                        }
                    }
                    _ => return Err(failure),
                },
                page => return page,
            }
        }
    }

    /// A document with the identity of a row in question is that row's, unless another row has it.
    fn adopt(&self, document: Document, lost: &mut BTreeSet<UploadId>) -> Result<(), Error> {
        let (Some(path), Some(sha256)) = (&document.path, &document.sha256) else {
            return Ok(());
        };
        let like = self
            .reader
            .unfinished_like(self.store_id, path, sha256)?
            .into_iter()
            .find(|job| lost.contains(&job.upload));
        let Some(job) = like else {
            return Ok(());
        };
        if self.reader.claims(&document.name)? {
            return Ok(());
        }
        lost.remove(&job.upload);
        self.outcomes.tally.adopted.add(1);
        let subject = Subject::of(&job);
        match job.state {
            UploadState::Uploading => self.outcomes.submitted(
                &subject,
                Submitted {
                    operation: None,
                    document: Some(document.name),
                    size_bytes: None,
                },
            ),
            _ => self.outcomes.polls.push(Poll {
                upload: job.upload,
                path: job.path,
                bytes: job.size_bytes,
                attempts: job.attempts + 1,
                operation: None,
                document: Some(document.name),
                started: subject.started,
                submitted: subject.started,
                running: 0,
                unanswered: 0,
                at_document: false,
                failed_since: None,
            }),
        }
        Ok(())
    }

    /// The listing was complete: what it did not show is not there.
    fn absent(&self, lost: &BTreeSet<UploadId>) -> Listed {
        let mut after = UploadId(0);
        loop {
            let page = match self.reader.unfinished(self.store_id, after) {
                Ok(page) => page,
                Err(e) => return Listed::Fatal(e),
            };
            let Some(last) = page.last() else {
                return Listed::Settled;
            };
            after = last.upload;
            for job in page.iter().filter(|job| lost.contains(&job.upload)) {
                self.outcomes
                    .handed_back(&Subject::of(job), Charge::Nothing, None, None);
            }
        }
    }
}
