//! One listing of the store, from its first page to its last.
//!
//! Promises: `Whole` only if every page came, none came twice, and no fewer documents were shown than the
//! service itself counts; of a listing that lags, breaks off, goes in circles or loses a page, what it did
//! not show may be there all the same.

use std::time::{Duration, Instant};

use crate::client::{Client, Document, DocumentState, DocumentsPage, Failure, FailureKind};
use crate::error::Error;
use crate::names::StoreName;
use crate::pipeline::outcome;
use crate::report::progress::reading::{Reading, What};
use crate::shutdown::Shutdown;
use crate::state::Bookmark;
use crate::state::comparison::listed::{ListedDocument, ListedDocuments, Shown};

/// Pages of one listing: a million documents at 20 a page, with room.
const PAGES_MAX: u32 = 100_000;
/// Times that an open breaker is waited for: each is longer than the one before.
const WAITS_MAX: u32 = 3;
/// Failures in a row of one call, each of them after the client's own repetitions. Of a service that fails
/// every other request one call in a thousand ends here.
const FAILURES_MAX: u32 = 10;

pub enum Listing {
    /// What it did not show was not there when it began. `surplus`: so many more it shows than the service
    /// counted before, since documents were added meanwhile, or deleted ones are still shown; which of the
    /// two, only each document itself can tell.
    Whole {
        documents: ListedDocuments,
        surplus: u64,
        /// Where its last page began; none if that was the first as well.
        last_page: Option<Bookmark>,
    },
    /// Every page came, and fewer documents than the service counts: it lags, or has lost some; why, in
    /// words. Proves what it shows and nothing else.
    Behind(ListedDocuments, String),
    /// It broke off. Proves what it shows and nothing else; why.
    Partial(ListedDocuments, String),
}

pub fn list(
    store: &StoreName,
    client: &Client,
    shutdown: &Shutdown,
    reading: &Reading,
) -> Result<Listing, Error> {
    list_after(Duration::ZERO, store, client, shutdown, reading)
}

/// `lag`: waited between the count and the first page. What others add to the store all the time is counted
/// at once and shown late, so that without a wait no listing would be whole.
pub fn list_after(
    lag: Duration,
    store: &StoreName,
    client: &Client,
    shutdown: &Shutdown,
    reading: &Reading,
) -> Result<Listing, Error> {
    let _reading = reading.begin(What::Store(store.to_string()));
    let documents = ListedDocuments::new()?;
    let mut surplus = 0;
    let mut last_page: Option<Bookmark> = None;
    let mut is_behind = false;
    let mut read = || -> Result<Option<String>, Failure> {
        // Counted before, so that what is added meanwhile cannot make up for what is lost.
        let counted = patient(client.pause(), shutdown, || client.get_store(store))?.documents();
        reading.expects(counted);
        if !shutdown.sleep(lag) {
            return Ok(Some("interrupted".to_owned()));
        }
        let mut before = 0;
        for _ in 0..PAGES_MAX {
            let token = last_page.as_ref().map(|page| page.token.as_str());
            let page: DocumentsPage = patient(client.pause(), shutdown, || {
                client.documents_page(store, token)
            })?;
            before += page.documents.len() as u64;
            reading.saw(page.documents.len() as u64);
            for document in page.documents {
                documents.add(&listed(document)).map_err(local)?;
            }
            let Some(next) = page.next else {
                let shown = documents.count().map_err(local)?;
                surplus = shown.saturating_sub(counted);
                is_behind = shown < counted;
                return Ok(is_behind.then(|| {
                    format!(
                        "the listing shows {shown} documents where the service counts {counted}"
                    )
                }));
            };
            if !documents.add_page(&next).map_err(local)? {
                return Ok(Some("the listing goes in circles".to_owned()));
            }
            last_page = Some(Bookmark {
                token: next,
                documents: before,
            });
        }
        Ok(Some("the listing does not end".to_owned()))
    };
    match read() {
        Ok(None) => Ok(Listing::Whole {
            documents,
            surplus,
            last_page,
        }),
        Ok(Some(why)) if is_behind => Ok(Listing::Behind(documents, why)),
        Ok(Some(why)) => Ok(Listing::Partial(documents, why)),
        Err(failure) => match outcome::fatal(&failure, store.as_str()) {
            Some(error) => Err(error),
            None => Ok(Listing::Partial(documents, failure.to_string())),
        },
    }
}

/// A call that comes when nothing else is left to do: while the breaker is open it waits, and a call that
/// fails is made again after a pause, beyond what a run may spend on repetitions. What has been read of a
/// listing would otherwise be lost with its next page, and a service that fails one request in five lets no
/// long listing through. Not for ever: the next run goes on.
pub fn patient<T>(
    pause: Duration,
    shutdown: &Shutdown,
    mut call: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (mut waits, mut failures) = (0, 0);
    loop {
        let failure = match call() {
            Err(failure) => failure,
            done => return done,
        };
        let wait = match failure.kind {
            FailureKind::Skipped { until } => {
                waits += 1;
                until.saturating_duration_since(Instant::now())
            }
            FailureKind::Transient | FailureKind::RateLimited => {
                failures += 1;
                pause
            }
            _ => return Err(failure),
        };
        if waits > WAITS_MAX || failures > FAILURES_MAX || !shutdown.sleep(wait) {
            return Err(failure);
        }
    }
}

/// The private table failed: no more of the listing can be believed than was written.
fn local(e: Error) -> Failure {
    Failure::new(FailureKind::LocalFile, e.to_string())
}

fn listed(document: Document) -> ListedDocument {
    ListedDocument {
        name: document.name,
        identity: document.identity,
        size_bytes: document.size_bytes,
        state: match document.state {
            DocumentState::Pending => Shown::Pending,
            DocumentState::Active => Shown::Active,
            DocumentState::Failed => Shown::Failed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::Stop;

    /// Fails so often, and then succeeds; how many calls were made, and whether the last of them did.
    fn called(failures: u32, kind: FailureKind, shutdown: &Shutdown) -> (u32, bool) {
        let mut calls = 0;
        let done = patient(Duration::ZERO, shutdown, || {
            calls += 1;
            match calls > failures {
                true => Ok(()),
                false => Err(Failure::new(kind, "HTTP 503")),
            }
        });
        (calls, done.is_ok())
    }

    #[test]
    fn a_page_that_fails_is_asked_for_again_but_not_for_ever() {
        let shutdown = Shutdown::new(Duration::ZERO);
        for kind in [FailureKind::Transient, FailureKind::RateLimited] {
            assert_eq!(called(0, kind, &shutdown), (1, true));
            assert_eq!(called(10, kind, &shutdown), (11, true));
            assert_eq!(called(100, kind, &shutdown), (11, false));
        }
        let until = Instant::now();
        let skipped = FailureKind::Skipped { until };
        assert_eq!(called(3, skipped, &shutdown), (4, true));
        assert_eq!(called(100, skipped, &shutdown), (4, false));
        assert_eq!(called(1, FailureKind::Missing, &shutdown), (1, false));
        shutdown.stop(Stop::Interrupt);
        assert_eq!(called(1, FailureKind::Transient, &shutdown), (1, false));
    }
}
