//! What an earlier run, or an earlier pass, left on the way is settled here.
//!
//! Rows with an operation go to the poll queue; rows with a session are asked at the service by the
//! workers; rows with neither are proof that nothing was finalized and go back. What even the service
//! no longer knows is looked up by identity in one listing of the store. Promises: absence is
//! concluded only from a complete listing that began late enough; from anything else the answer stays
//! unknown, and nothing is sent again. Can be interrupted and restarted anywhere.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::listing::{self, Listing};
use crate::client::{Client, Submitted};
use crate::error::Error;
use crate::names::StoreName;
use crate::pipeline::following::poll::Poll;
use crate::pipeline::outcome::Outcomes;
use crate::pipeline::outcome::subject::Subject;
use crate::pipeline::rules::{self, Next, RowState};
use crate::shutdown::Shutdown;
use crate::state::comparison::listed::ListedDocument;
use crate::state::{HandBack, Job, Reader, UploadId};

/// First stage of a run, a row at a time. `Some`: a worker has to see to it.
pub fn settle(job: Job, outcomes: &Outcomes) -> Option<Job> {
    match rules::next(RowState::of(&job)) {
        Next::Poll => outcomes.polls.push(Poll::of(job)),
        Next::HandBack => outcomes.handed_back(&Subject::of(&job), HandBack::uncharged()),
        Next::Ask | Next::LookUp => return Some(job),
        Next::Nothing => {}
    }
    None
}

/// How the look-up ended.
#[derive(Debug)]
pub enum LookedUp {
    /// Every row in question is settled.
    Settled,
    /// The listing does not prove that the rest is absent: those rows stay as they are.
    Unknown(String),
    Stopped,
}

/// The one listing of a run.
pub struct LookUp<'r> {
    pub store: &'r StoreName,
    pub store_id: i64,
    pub client: &'r Client,
    pub reader: &'r Reader,
    pub shutdown: &'r Shutdown,
    /// A listing younger than this after the last request that could have taken effect proves nothing.
    pub list_lag: Duration,
    pub outcomes: &'r Outcomes,
}

impl LookUp<'_> {
    /// Settles `lost`: rows whose session the service no longer knows, or whose import was not answered.
    /// `since` is the moment after which no request of theirs can have taken effect. `followed`: uploads in
    /// the poll queue that await the listing; it is told what was found. What was found leaves its set.
    pub fn settle(
        &self,
        lost: &mut BTreeSet<UploadId>,
        followed: &mut BTreeSet<UploadId>,
        since: Instant,
    ) -> Result<LookedUp, Error> {
        let wait = (since + self.list_lag).saturating_duration_since(Instant::now());
        if !self.shutdown.sleep(wait) {
            return Ok(LookedUp::Stopped);
        }
        let listing = listing::list(
            self.store,
            self.client,
            self.shutdown,
            self.outcomes.progress.reading(),
        )?;
        let (documents, surplus, partial) = match listing {
            Listing::Whole {
                documents, surplus, ..
            } => (documents, surplus, None),
            Listing::Behind(documents, why) | Listing::Partial(documents, why) => {
                (documents, 0, Some(why))
            }
        };
        let mut deleted = 0;
        documents.each(&mut |document| {
            deleted += u64::from(self.reader.is_deleted(&document.name)?);
            self.adopt(document, lost, followed)
        })?;
        // The number of documents is right although one is missing, if a deleted one stands in its place.
        let hides = (deleted > surplus)
            .then(|| format!("the listing still shows {deleted} deleted documents"));
        match partial.or(hides) {
            None => self.absent(lost).map(|()| LookedUp::Settled),
            Some(_) if self.shutdown.is_stopping() => Ok(LookedUp::Stopped),
            Some(why) => Ok(LookedUp::Unknown(why)),
        }
    }

    /// A document with the identity of a row in question is that row's, unless another row has it. A row's
    /// own document, which `get` did not see, leaves it in its set: lists also show deleted ones, so
    /// another of the same identity comes first.
    fn adopt(
        &self,
        document: ListedDocument,
        lost: &mut BTreeSet<UploadId>,
        followed: &mut BTreeSet<UploadId>,
    ) -> Result<(), Error> {
        let Some(identity) = &document.identity else {
            return Ok(());
        };
        let mut rows = self.reader.unfinished_like(self.store_id, identity)?;
        rows.retain(|job| lost.contains(&job.upload) || followed.contains(&job.upload));
        // Several names of one file may share an identity: each row knows its own document.
        let mut owners = rows
            .iter()
            .filter(|job| job.document.as_ref() == Some(&document.name));
        if let Some(owner) = owners.next() {
            self.outcomes.polls.found(owner.upload, document.name);
            return Ok(());
        }
        let Some(job) = rows.into_iter().next() else {
            return Ok(());
        };
        if self.reader.is_claimed(&document.name)? {
            return Ok(());
        }
        self.outcomes.tally.adopted.add(1);
        if followed.remove(&job.upload) {
            self.outcomes.polls.found(job.upload, document.name);
        } else if lost.remove(&job.upload) {
            let submitted = Submitted {
                operation: None,
                document: Some(document.name),
                size_bytes: document.size_bytes,
            };
            let subject = Subject::of(&job);
            self.outcomes.submitted(&subject, submitted, job.temporary);
        }
        Ok(())
    }

    /// What a whole listing did not show is not there.
    fn absent(&self, lost: &mut BTreeSet<UploadId>) -> Result<(), Error> {
        let mut after = UploadId(0);
        loop {
            let page = self.reader.unfinished(self.store_id, after)?;
            let Some(last) = page.last() else {
                lost.clear();
                return Ok(());
            };
            after = last.upload;
            for job in page.into_iter().filter(|job| lost.contains(&job.upload)) {
                self.outcomes
                    .handed_back(&Subject::of(&job), HandBack::uncharged());
            }
        }
    }
}
