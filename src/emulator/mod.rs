//! A local File Search service: stores, documents, operations, files, the upload protocols.
//!
//! A program of its own: written from the API's published facts, it shares no wire type, no parser and
//! no constant with the client of this crate, so that one misreading cannot hide in both. Persistent
//! (SQLite) where it is given a file. Faults are data and can be changed while it runs; the ledger
//! tells what really happened.
//!
//! Listens on loopback, and answers only what comes from this machine, unless told otherwise (`http::local`).
//!
//! # In tests of another program
//!
//! The service runs inside the test, on a port of its own, and ends with its value. `docs/emulator.md` says
//! what it does, which faults there are, and what is in the ledger.
//!
//! ```
//! use objlib::emulator::{Emulator, Faults, Options};
//!
//! let service = Emulator::start(Options::default())?;
//! let base_url = service.url(); // what GOOGLE_GEMINI_BASE_URL is for the program that is tested
//! assert!(base_url.starts_with("http://127.0.0.1:"));
//!
//! service.set_faults(Faults { error_503: 1.0, ..Faults::default() });
//! // Here the program runs, and should bear it.
//! assert_eq!(service.ledger()?["documents"].as_array().map(Vec::len), Some(0));
//! # Ok::<(), objlib::error::Error>(())
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Kind};
use service::{Service, whole};

mod data;
mod faults;
mod http;
mod query;
mod routes;
mod service;
mod stores;
mod strict;
mod uploads;

pub use faults::plan::{Counts, Faults, NthCall, Outage, Shape, Trouble, profile};
pub use http::stream::Tls;
pub use query::answers::Answers;
pub use strict::rules::Loose;

/// Connections served at once; one more is closed at once.
const CONNECTIONS_MAX: usize = 512;
/// How long the service rests when it cannot take a connection, mostly since the process has no file
/// descriptor left: trying again at once would only burn the time that frees one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// How long the end waits for requests that are being answered.
const END_WAIT: Duration = Duration::from_secs(2);

/// What a service is to be like. By default it is in memory, on any free port of 127.0.0.1, strict and without faults.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `None`: 127.0.0.1.
    pub host: Option<IpAddr>,
    /// 0: any free one.
    pub port: u16,
    /// Names besides those of this machine that clients may call it by.
    pub allow_hosts: Vec<String>,
    /// Sites whose pages are answered, as browsers name them.
    pub allow_origins: Vec<String>,
    /// `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// The address that answers name is the one that `X-Forwarded-Proto` and `X-Forwarded-Host` tell.
    pub trust_forwarded: bool,
    /// Told of every request that was answered, or was not.
    pub log: Option<fn(&Logged<'_>)>,
    /// `None`: in memory.
    pub data: Option<PathBuf>,
    pub faults: Faults,
    /// Of the faults alone.
    pub fault_seed: u64,
    /// Of faults, ids and times; `None`: ids are random, and times those of the clock.
    pub seed: Option<u64>,
    /// What some questions are answered with.
    pub answers: Answers,
    /// The rules that are switched off.
    pub loose: Loose,
    /// Keep the last requests for `/_emulator/requests`.
    pub record: bool,
    /// API keys that are refused.
    pub refuse_keys: Vec<String>,
    /// The one key that is taken; `None`: any. With it the control plane, which knows no keys, is not
    /// served.
    pub require_key: Option<String>,
}

/// A request and how it ended.
pub struct Logged<'a> {
    /// Like `GET`.
    pub method: &'a str,
    /// Without its query, so without a key or an upload's secret.
    pub path: &'a str,
    /// `None`: the client got no answer.
    pub status: Option<u16>,
    /// Milliseconds from its head to the answer.
    pub ms: u64,
}

/// A running service. It ends when it is dropped: its connections are closed, and its data can be opened by another.
pub struct Emulator {
    address: SocketAddr,
    service: Arc<Service>,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Answers from when this returns.
    ///
    /// # Errors
    /// The port cannot be listened on, or the data cannot be opened.
    pub fn start(options: Options) -> Result<Emulator, Error> {
        let host = options.host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let fail = |why: String| {
            Error::new(
                Kind::System,
                format!("port {} of {host}", options.port),
                why,
                "choose another one with --port (0 takes any), or another --host",
            )
        };
        let listener = TcpListener::bind((host, options.port))
            .map_err(|e| fail(format!("cannot be listened on: {e}")))?;
        let address = listener.local_addr().map_err(|e| fail(e.to_string()))?;
        let service = Arc::new(Service::open(&options)?);
        let stopping = Arc::new(AtomicBool::new(false));
        let acceptor = {
            let (service, stopping) = (Arc::clone(&service), Arc::clone(&stopping));
            thread::Builder::new()
                .name("emulator".to_owned())
                .spawn(move || accept(&listener, &service, &stopping))
                .map_err(|e| fail(e.to_string()))?
        };
        Ok(Emulator {
            address,
            service,
            stopping,
            acceptor: Some(acceptor),
        })
    }

    /// For clients on this machine.
    pub fn url(&self) -> String {
        let mut address = self.address;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        format!("{}://{address}", self.service.address.scheme())
    }

    /// What really happened, as `GET /_emulator/ledger` tells it.
    ///
    /// # Errors
    /// The data cannot be read.
    pub fn ledger(&self) -> Result<Value, Error> {
        routes::control::ledger(&self.service).map_err(of_data)
    }

    /// From here on this plan is in force, and none of its faults has happened.
    pub fn set_faults(&self, plan: Faults) {
        let mut dice = whole(&self.service.dice);
        dice.reset();
        dice.plan = plan;
    }

    /// No stores, documents, files, operations or uploads are left.
    ///
    /// # Errors
    /// The data cannot be written.
    pub fn clear(&self) -> Result<(), Error> {
        routes::control::clear(&self.service).map_err(of_data)
    }

    /// The same as dropping it. What was answered is on disk.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        let _ = acceptor.join();
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.end();
    }
}

fn of_data(e: rusqlite::Error) -> Error {
    Error::new(
        Kind::Database,
        "the emulator's data",
        e.to_string(),
        "name another file with --data",
    )
}

/// The connections that may be served at once.
#[derive(Default)]
struct Slots {
    taken: Mutex<usize>,
    freed: Condvar,
}

/// One of them; free again when dropped, whatever ended it.
struct Slot(Arc<Slots>);

impl Slot {
    /// `None`: all are taken.
    fn take(slots: &Arc<Slots>) -> Option<Slot> {
        let mut taken = whole(&slots.taken);
        if *taken >= CONNECTIONS_MAX {
            return None;
        }
        *taken += 1;
        Some(Slot(Arc::clone(slots)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *whole(&self.0.taken) -= 1;
        self.0.freed.notify_all();
    }
}

fn accept(listener: &TcpListener, service: &Arc<Service>, stopping: &AtomicBool) {
    let slots = Arc::new(Slots::default());
    let mut sockets: Vec<Weak<TcpStream>> = Vec::new();
    for socket in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            break;
        }
        let Ok(socket) = socket else {
            thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        let Some(slot) = Slot::take(&slots) else {
            continue;
        };
        let socket = Arc::new(socket);
        if sockets.len() >= 2 * CONNECTIONS_MAX {
            sockets.retain(|socket| socket.strong_count() > 0);
        }
        sockets.push(Arc::downgrade(&socket));
        let service = Arc::clone(service);
        // A thread that cannot be started drops its connection and its slot, and no more.
        let _ = thread::Builder::new()
            .name("emulator-connection".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || {
                let _slot = slot;
                service.connected();
                let handle =
                    |head: &http::Head, body: &mut http::BodyReader<'_>| service.handle(head, body);
                http::serve(&socket, service.tls.as_ref(), &handle);
                // Before the slot is free, so that nobody has the data open when all are.
                drop(service);
            });
    }
    for socket in sockets.iter().filter_map(Weak::upgrade) {
        // One that its client has closed is shut down already.
        let _ = socket.shutdown(Shutdown::Both);
    }
    let taken = whole(&slots.taken);
    let _ = slots
        .freed
        .wait_timeout_while(taken, END_WAIT, |taken| *taken > 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_again_also_after_a_panic() {
        let slots = Arc::new(Slots::default());
        *whole(&slots.taken) = CONNECTIONS_MAX - 1;
        let slot = Slot::take(&slots).unwrap();
        assert!(Slot::take(&slots).is_none());
        let ended = thread::spawn(move || {
            let _slot = slot;
            panic!("on purpose");
        });
        assert!(ended.join().is_err());
        assert!(Slot::take(&slots).is_some());
    }
}
