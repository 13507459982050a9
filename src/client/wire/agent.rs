//! ureq set up: time-outs, proxy, trusted roots, buffers; and the counters of what was sent.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ureq::config::Config;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, TcpConnector};

use super::endpoint::Endpoint;
use super::meter::Meter;
use super::resolver::CachingResolver;
use super::secrets::Secrets;
use super::tls::Tls;
use crate::error::Error;
use crate::names::ApiKey;
use crate::shutdown::Shutdown;
use crate::state::Lease;
use crate::throttle::gate::Gate;
use crate::throttle::{Class, Paces};
use crate::waits::Waits;

const CONNECT: Duration = Duration::from_secs(10);
/// No byte moved for so long: the connection is dead.
const STALLED: Duration = Duration::from_secs(60);
/// Buffers of a connection; there is one connection a thread.
const BUFFER_BYTES: usize = 32 * 1024;

pub struct ClientSettings {
    pub endpoint: Endpoint,
    pub key: ApiKey,
    /// On the way to the endpoint; nothing in the environment is looked at here.
    pub proxy: Option<ureq::Proxy>,
    /// Certificates to trust in addition to the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// Uploads at once; sizes the pool of connections.
    pub concurrency: usize,
    /// Nothing is sent unless the lock is surely ours.
    pub lease: Arc<Lease>,
    pub waits: Waits,
}

/// Shared by reference between the threads of a run.
pub struct Client {
    agents: Agents,
    pub(in crate::client) endpoint: Endpoint,
    /// Host and port of the one on the way, or nothing.
    pub(in crate::client) proxy: String,
    pub(in crate::client) key: ApiKey,
    pub(in crate::client) secrets: Secrets,
    pub(in crate::client) gate: Arc<Gate>,
    pub(in crate::client) lease: Arc<Lease>,
    pub(in crate::client) waits: Waits,
    pub(in crate::client) sent: Sent,
    pub(in crate::client) meter: Meter,
}

/// Connections apart by what a stop does to them. Whoever waits for an answer sees no flag, so the connection
/// itself is closed: to reads when the stop is asked for, to writes when the grace period is over.
struct Agents {
    read: ureq::Agent,
    write: ureq::Agent,
}

impl Agents {
    fn new(config: &Config, tls: &Tls, shutdown: &Shutdown) -> Agents {
        let agent = || {
            // A tunnel through the proxy, or else a socket; and TLS over it where the address asks for it.
            let connector =
                ().chain(ConnectProxyConnector::default())
                    .chain(TcpConnector::default())
                    .chain(tls.clone());
            ureq::Agent::with_parts(config.clone(), connector, CachingResolver::default())
        };
        let agents = Agents {
            read: agent(),
            write: agent(),
        };
        let (read, write) = (agents.read.clone(), agents.write.clone());
        shutdown.when_stopped(|| read.shutdown());
        shutdown.when_over(|| write.shutdown());
        agents
    }
}

/// Requests so far.
#[derive(Debug, Default)]
pub(in crate::client) struct Sent {
    pub requests: AtomicU64,
    pub polls: AtomicU64,
    pub retries: AtomicU64,
}

/// Requests so far, all kinds; of those polls; and repeated ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub requests: u64,
    pub polls: u64,
    pub retries: u64,
}

impl Client {
    /// # Errors
    /// `ca_file` cannot be read or holds no certificate.
    pub fn new(settings: ClientSettings, gate: Arc<Gate>) -> Result<Client, Error> {
        let tls = Tls::new(settings.ca_file.as_deref())?;
        // Of each class: a worker and a poller each keep their connection.
        let connections = settings.concurrency * 2 + 2;
        let address = |proxy: &ureq::Proxy| format!("{}:{}", proxy.host(), proxy.port());
        let proxy = settings.proxy.as_ref().map(address);
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(settings.proxy)
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(settings.waits.final_answer))
            .timeout_per_write(Some(STALLED))
            .timeout_recv_body(Some(settings.waits.request))
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .input_buffer_size(BUFFER_BYTES)
            .output_buffer_size(BUFFER_BYTES)
            .user_agent(concat!("objlib/", env!("CARGO_PKG_VERSION")));
        Ok(Client {
            agents: Agents::new(&config.build(), &tls, gate.shutdown()),
            endpoint: settings.endpoint,
            proxy: proxy.unwrap_or_default(),
            secrets: Secrets::new(&settings.key),
            key: settings.key,
            gate,
            lease: settings.lease,
            waits: settings.waits,
            sent: Sent::default(),
            meter: Meter::default(),
        })
    }

    /// How the throttle lets requests out just now.
    pub fn paces(&self) -> Paces {
        self.gate.paces()
    }

    pub(in crate::client) fn agent(&self, class: Class) -> &ureq::Agent {
        match class {
            Class::Read => &self.agents.read,
            Class::Write => &self.agents.write,
        }
    }

    /// What the answers said, and how long they took.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Between two tries of a call that is worth waiting for.
    pub fn pause(&self) -> Duration {
        self.waits.store_retry
    }

    pub fn counts(&self) -> Counts {
        Counts {
            requests: self.sent.requests.load(Relaxed),
            polls: self.sent.polls.load(Relaxed),
            retries: self.sent.retries.load(Relaxed),
        }
    }
}
