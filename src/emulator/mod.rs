//! A local File Search service: stores, documents, operations, files, the upload protocols.
//!
//! A program of its own: written from the API's published facts, it shares no wire type, no parser and
//! no constant with the client of this crate, so that one misreading cannot hide in both. Persistent
//! (SQLite) where it is given a file. Faults are data and can be changed while it runs; the ledger
//! tells what really happened.
//!
//! Listens on loopback, and answers only what comes from this machine, unless told otherwise (`http::local`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Kind};

mod data;
mod faults;
mod http;
mod query;
mod routes;
mod service;
mod stores;
mod uploads;

pub use faults::plan::{Faults, profile};
pub use query::answers::Answers;
pub use routes::rules::Loose;

/// Connections served at once; one more is closed at once.
const CONNECTIONS_MAX: usize = 512;
/// How long the service rests when it cannot take a connection, mostly since the process has no file
/// descriptor left: trying again at once would only burn the time that frees one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

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
    pub refuse_keys: Vec<String>,
    /// The one key that is taken; `None`: any. With it the control plane, which knows no keys, is not
    /// served.
    pub require_key: Option<String>,
}

/// A request and how it ended.
pub struct Logged<'a> {
    pub method: &'a str,
    /// Without its query, so without a key or an upload's secret.
    pub path: &'a str,
    /// `None`: the client got no answer.
    pub status: Option<u16>,
    pub ms: u64,
}

/// A running service; stops when dropped.
pub struct Emulator {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Emulator {
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
        let service = Arc::new(service::Service::open(&options)?);
        let stopping = Arc::new(AtomicBool::new(false));
        let acceptor = {
            let stopping = Arc::clone(&stopping);
            thread::Builder::new()
                .name("emulator".to_owned())
                .spawn(move || accept(&listener, &service, &stopping))
                .map_err(|e| fail(e.to_string()))?
        };
        Ok(Emulator {
            address,
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
        format!("http://{address}")
    }

    /// No new connection from here on. What was answered is on disk.
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

/// One of the connections that may be served at once; free again when dropped, whatever ended it.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// `None`: all are taken. Only the acceptor calls this, so nobody takes one in between.
    fn take(open: &Arc<AtomicUsize>) -> Option<Slot> {
        if open.load(Ordering::SeqCst) >= CONNECTIONS_MAX {
            return None;
        }
        open.fetch_add(1, Ordering::SeqCst);
        Some(Slot(Arc::clone(open)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn accept(listener: &TcpListener, service: &Arc<service::Service>, stopping: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        let Some(slot) = Slot::take(&open) else {
            continue;
        };
        let service = Arc::clone(service);
        // A thread that cannot be started drops its connection and its slot, and no more.
        let _ = thread::Builder::new()
            .name("emulator-connection".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || {
                let _slot = slot;
                service.connected();
                http::serve(stream, &|head, body| service.handle(head, body));
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_again_also_after_a_panic() {
        let open = Arc::new(AtomicUsize::new(CONNECTIONS_MAX - 1));
        let slot = Slot::take(&open).unwrap();
        assert!(Slot::take(&open).is_none());
        let ended = thread::spawn(move || {
            let _slot = slot;
            panic!("on purpose");
        });
        assert!(ended.join().is_err());
        assert!(Slot::take(&open).is_some());
    }
}
