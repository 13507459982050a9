//! A service that fails is waited for, where nothing can be done before it has answered.
//!
//! Promises: it is not waited for for ever, and the first failure is said.

use std::time::Instant;

use crate::client::{Client, Failure, FailureKind};
use crate::error::{Error, Kind};
use crate::report::{Event, EventSink};
use crate::shutdown::Shutdown;
use crate::waits::Waits;

pub struct Patience<'r> {
    pub client: &'r Client,
    pub events: &'r dyn EventSink,
    pub shutdown: &'r Shutdown,
    pub waits: &'r Waits,
    /// Requests without an answer before it is given up.
    pub rounds_max: u32,
}

impl Patience<'_> {
    /// A call that the service fails is made again, as often as a run makes a pass without progress. The
    /// inner error is not the service's state.
    ///
    /// # Errors
    /// The service stayed as it was (`Kind::Unavailable`), or the run is stopping.
    pub fn call<T>(
        &self,
        mut call: impl FnMut() -> Result<T, Failure>,
    ) -> Result<Result<T, Failure>, Error> {
        let mut rounds = 0;
        let mut last_words = None;
        loop {
            let before = self.client.counts().requests;
            let failure = match call() {
                Err(failure) => failure,
                done => return Ok(done),
            };
            let wait = match failure.kind {
                FailureKind::Skipped { until } => until.saturating_duration_since(Instant::now()),
                FailureKind::Transient | FailureKind::RateLimited => {
                    last_words = Some(failure.to_string());
                    self.waits.store_retry
                }
                _ => return Ok(Err(failure)),
            };
            // Only a request that was sent says how the service is; an open breaker sends none.
            if self.client.counts().requests > before {
                rounds += 1;
                let why = last_words.as_deref().unwrap_or("no answer");
                if rounds >= self.rounds_max {
                    return Err(Error::new(
                        Kind::Unavailable,
                        "service",
                        why,
                        "nothing was sent; run the same command again (or check --endpoint)",
                    ));
                }
                if rounds == 1 {
                    self.events.send(Event::Warning(format!(
                        "the service fails ({why}): it is waited for"
                    )));
                }
            }
            if !self.shutdown.sleep(wait) {
                return Ok(Err(failure));
            }
        }
    }
}
