//! From a target to a client that can be used: the service, the throttle, the lock.

use std::path::Path;
use std::sync::Arc;

use super::{Call, Service, Target};
use crate::client::{self, Client, Endpoint};
use crate::clock;
use crate::error::{Error, Kind};
use crate::names::{ApiKey, StoreName};
use crate::pipeline::reconcile::store::EMULATOR;
use crate::shutdown::Shutdown;
use crate::state::reader::StoreRow;
use crate::state::{Lease, Reader};
use crate::throttle::gate::Gate;
use crate::throttle::{self, Concurrency, Peaks, Rpm};
use crate::waits::Waits;

/// The service in this process.
#[cfg(feature = "emulator")]
mod embedded;

/// A rate found longer ago than this is not trusted any more.
const PEAK_FRESH_MS: i64 = 24 * 3600 * 1000;

/// How to reach the service of a target, while it can be reached.
pub struct Reached {
    endpoint: Endpoint,
    key: ApiKey,
    proxy: Option<ureq::Proxy>,
}

/// Calls `act` with the service's address and key; the embedded service runs as long as `act` does.
pub fn with_service<T>(
    service: &Service,
    database: &Path,
    act: impl FnOnce(Reached) -> Result<T, Error>,
) -> Result<T, Error> {
    match service {
        Service::Remote {
            endpoint,
            key,
            proxy,
        } => act(Reached {
            endpoint: endpoint.clone(),
            key: key.clone(),
            proxy: proxy.clone(),
        }),
        #[cfg(feature = "emulator")]
        Service::Emulator => {
            let (emulator, key) = crate::app::connect::embedded::beside(database)?;
            let reached = Reached {
                endpoint: Endpoint::parse(&emulator.url())?,
                key: ApiKey::new(&key).ok_or_else(|| internal("the emulator's key"))?,
                proxy: None,
            };
            let done = act(reached);
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

/// How fast, how many at once, for how long, and for which lock.
pub struct Pace<'a> {
    pub rpm: Rpm,
    pub concurrency: Concurrency,
    pub lease: Arc<Lease>,
    pub shutdown: &'a Arc<Shutdown>,
    pub waits: Waits,
}

pub fn client(
    target: &Target,
    reached: Reached,
    pace: Pace<'_>,
    reader: &Reader,
) -> Result<(Arc<Gate>, Client), Error> {
    let gate = Arc::new(Gate::new(
        throttle::GateSettings {
            rpm: pace.rpm,
            concurrency: pace.concurrency,
            peaks: peaks(reader, &target.endpoint_name)?,
            waits: pace.waits,
        },
        Arc::clone(pace.shutdown),
    ));
    let client = Client::new(
        client::ClientSettings {
            proxy: reached.proxy,
            endpoint: reached.endpoint,
            key: reached.key,
            ca_file: target.ca_file.clone(),
            concurrency: pace.concurrency.ceiling(),
            lease: pace.lease,
            waits: pace.waits,
        },
        Arc::clone(&gate),
    )?;
    Ok((gate, client))
}

/// For what only asks: one request at a time, no lock, and no database where there is none yet.
pub fn asking<T>(
    call: &Call<'_>,
    target: &Target,
    ask: impl FnOnce(&Client, &Reader) -> Result<T, Error>,
) -> Result<T, Error> {
    with_service(&target.service, call.database, |reached| {
        let reader = Reader::of(call.database)?;
        let pace = Pace {
            rpm: Rpm::Auto,
            concurrency: Concurrency::Asked(1),
            lease: Arc::new(Lease::of_a_reader()),
            shutdown: call.shutdown,
            waits: call.waits,
        };
        let (_, client) = self::client(target, reached, pace, &reader)?;
        ask(&client, &reader)
    })
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

/// The resource name of a store, if nobody has to be asked for it.
pub(super) fn known_store_name(
    reader: &Reader,
    endpoint_name: &str,
    name: &str,
) -> Result<Option<StoreName>, Error> {
    match StoreName::parse(name) {
        Some(name) => Ok(Some(name)),
        None => Ok(reader
            .store_pinned(endpoint_name, name)?
            .map(|row| row.name)),
    }
}

/// The error of a service without such a store, unless another service was meant, which has one.
pub(super) fn not_there(reader: &Reader, endpoint_name: &str, name: &str, error: Error) -> Error {
    let stores = reader.stores().unwrap_or_default();
    let known = stores.into_iter().find(|store| store.is_called(name));
    let Some(other) = known.filter(|row| row.endpoint != endpoint_name) else {
        return error;
    };
    let remedy = match other.endpoint.as_str() {
        EMULATOR => "give --emulator".to_owned(),
        endpoint => format!("give --endpoint {endpoint}"),
    };
    let what = format!("store `{name}`");
    Error::new(Kind::Store, what, "it is one of another service", remedy)
}

/// The store as the database knows it; nobody is asked.
pub(super) fn known_store(
    reader: &Reader,
    endpoint_name: &str,
    name: &str,
) -> Result<Option<StoreRow>, Error> {
    match StoreName::parse(name) {
        Some(name) => reader.store_named(&name),
        None => reader.store_pinned(endpoint_name, name),
    }
}
