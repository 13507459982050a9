//! From what was typed to a client that can be used: the service, the throttle, the lock.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use super::args::Remote;
use super::proxy;
use super::settings::Service;
use crate::client::{self, Client, Endpoint};
use crate::clock;
use crate::error::{Error, Kind};
use crate::names::ApiKey;
use crate::shutdown::Shutdown;
use crate::state::{Lease, Reader};
use crate::throttle::gate::Gate;
use crate::throttle::{self, Peaks, Rpm, Tier};

/// A rate found longer ago than this is not trusted any more.
const PEAK_FRESH_MS: i64 = 24 * 3600 * 1000;

/// Calls `act` with the service's address and key; the embedded service runs as long as `act` does.
pub fn with_service<T>(
    service: &Service,
    database: &Path,
    act: impl FnOnce(Endpoint, ApiKey) -> Result<T, Error>,
) -> Result<T, Error> {
    match service {
        Service::Remote { endpoint, key } => act(endpoint.clone(), key.clone()),
        #[cfg(feature = "emulator")]
        Service::Emulator => {
            let (emulator, key) = super::emulator::beside(database)?;
            let endpoint = Endpoint::parse(&emulator.url())?;
            let key = ApiKey::new(&key).ok_or_else(|| internal("the emulator's key"))?;
            let done = act(endpoint, key);
            emulator.stop();
            done
        }
        #[cfg(not(feature = "emulator"))]
        Service::Emulator => {
            let _ = database;
            Err(internal("built without the emulator"))
        }
    }
}

/// How fast and how many at once.
pub struct Pace<'a> {
    pub rpm: Rpm,
    pub concurrency: usize,
    /// What the database knows the service by.
    pub endpoint_name: &'a str,
}

pub fn client(
    remote: &Remote,
    (endpoint, key): (Endpoint, ApiKey),
    pace: &Pace<'_>,
    reader: &Reader,
    lease: Arc<Lease>,
    shutdown: &Arc<Shutdown>,
) -> Result<(Arc<Gate>, Client), Error> {
    let gate = Arc::new(Gate::new(
        throttle::Settings {
            rpm: pace.rpm,
            concurrency: pace.concurrency,
            peaks: peaks(reader, pace.endpoint_name)?,
        },
        Arc::clone(shutdown),
    ));
    let client = Client::new(
        client::Settings {
            proxy: proxy::from_environment(&endpoint)?,
            endpoint,
            key,
            ca_file: remote.ca_file.clone(),
            concurrency: pace.concurrency,
            lease,
        },
        Arc::clone(&gate),
    )?;
    Ok((gate, client))
}

pub fn rpm(rpm: Rpm, tier: Option<Tier>) -> Rpm {
    match tier {
        Some(tier) => NonZeroU32::new(tier.rpm()).map_or(Rpm::Auto, Rpm::Ceiling),
        None => rpm,
    }
}

/// What an earlier run found, while it is fresh.
pub fn peaks(reader: &Reader, endpoint: &str) -> Result<Peaks, Error> {
    let fresh = |class: &str| -> Result<Option<f64>, Error> {
        let oldest = clock::now_ms() - PEAK_FRESH_MS;
        Ok(reader
            .rate(endpoint, class)?
            .filter(|(_, found_ms)| *found_ms >= oldest)
            .map(|(per_minute, _)| per_minute))
    };
    Ok(Peaks {
        write: fresh("write")?,
        read: fresh("read")?,
    })
}

fn internal(what: &str) -> Error {
    Error::new(Kind::Bug, what, "internal error", "please report this")
}
