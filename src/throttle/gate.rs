//! The one door of every request: breaker, token, wait, verdict.

use std::time::{Duration, Instant};

use super::Class;

/// Leave to send one request; must be reported back.
#[must_use]
#[derive(Debug)]
pub struct Pass {
    pub class: Class,
    pub sent_at: Instant,
}

/// Why a request may not be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The breaker is open; asking again makes sense from then on.
    Open { until: Instant },
    /// The run is stopping.
    Stopping,
}

/// How a request ended, as far as the throttle cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The service answered and is well (2xx, and 4xx other than 429/408).
    Answered,
    /// A rate 429, with the delay the service asked for.
    RateLimited { delay: Option<Duration> },
    /// 5xx, 408, or no answer at all.
    Fault { delay: Option<Duration> },
}

#[derive(Debug)]
pub struct Gate {}

impl Gate {
    /// Breaker, then a token of the class; waits for the token.
    pub fn enter(&self, class: Class) -> Result<Pass, Refused> {
        Ok(Pass {
            class,
            sent_at: Instant::now(),
        })
    }
    /// The same without a token: the body of an upload, whose session has paid already.
    pub fn enter_body(&self) -> Result<Pass, Refused> {
        self.enter(Class::Write)
    }
    /// Every pass comes back with how its request ended.
    pub fn report(&self, pass: Pass, verdict: Verdict) {
        let _ = (pass, verdict);
    }
    /// The wait between two tries; `false` if the run is stopping.
    pub fn sleep(&self, how_long: Duration) -> bool {
        let _ = how_long;
        true
    }
}
