//! Host names to addresses, remembered for a while.
//!
//! ureq looks the host up before every request, in a thread of its own so that it can be given up.
//! One host is all that is asked here, three times a file: a small host's resolver would be asked more
//! often than the service. Promises: an answer is never older than `FRESH`; a failure is not kept.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::poison;

/// Shorter than it takes a service to move away from an address that it has given up.
const FRESH: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Known {
    authority: String,
    addresses: ResolvedSocketAddrs,
    since: Instant,
}

#[derive(Debug, Default)]
pub struct CachingResolver {
    inner: DefaultResolver,
    known: Mutex<Option<Known>>,
}

impl Resolver for CachingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let authority = uri.authority().map_or("", |a| a.as_str());
        let lock = || poison::lock(&self.known);
        if let Some(known) = &*lock()
            && known.authority == authority
            && known.since.elapsed() < FRESH
        {
            return Ok(known.addresses.clone());
        }
        // Not under the lock: a slow answer holds up only those who ask for it.
        let addresses = self.inner.resolve(uri, config, timeout)?;
        *lock() = Some(Known {
            authority: authority.to_owned(),
            addresses: addresses.clone(),
            since: Instant::now(),
        });
        Ok(addresses)
    }
}
