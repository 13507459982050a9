//! What all connections share: database, faults, ledger, uploads in progress.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use sha2::Digest;

use super::data::data_file::DataFile;
use super::data::database::Database;
use super::data::ledger::Ledger;
use super::data::records::{Content, Moment};
use super::data::source::Source;
use super::faults::Dice;
use super::http::stream::Tls;
use super::http::{Head, address::Address, local::Doors};
use super::query::answers::Answers;
use super::strict::rules::Loose;
use crate::clock::UnixMs;
use crate::emulator::{Logged, Options};
use crate::error::Error;

/// Text kept for searching.
const TEXT_BYTES_MAX: usize = 2 << 20;
/// A JSON request that is longer is refused.
pub const JSON_BYTES_MAX: u64 = 1 << 20;

pub struct Service {
    pub database: Mutex<Database>,
    pub dice: Mutex<Dice>,
    pub ledger: Mutex<Ledger>,
    /// Uploads of which some bytes are here.
    pub live: Mutex<HashMap<String, Arc<Mutex<Live>>>>,
    pub source: Mutex<Source>,
    pub answers: Answers,
    pub loose: Loose,
    pub refuse_keys: Vec<String>,
    pub require_key: Option<String>,
    pub doors: Doors,
    pub address: Address,
    pub tls: Option<Tls>,
    pub log: Option<fn(&Logged<'_>)>,
    pub started: Instant,
    pub connections: AtomicU64,
}

/// What is here of an upload.
#[derive(Default)]
pub struct Live {
    /// Of all but the last byte.
    pub hasher: sha2::Sha256,
    pub last: Option<u8>,
    pub received: u64,
    pub bodies: u32,
    pub text: Vec<u8>,
}

impl Live {
    /// More of it has come.
    pub fn take(&mut self, bytes: &[u8]) {
        let Some((last, others)) = bytes.split_last() else {
            return;
        };
        self.received += bytes.len() as u64;
        self.hasher.update(self.last.as_slice());
        self.hasher.update(others);
        self.last = Some(*last);
        let room = TEXT_BYTES_MAX - self.text.len();
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// All of it. `short`: without its last byte.
    pub fn content(&mut self, short: bool) -> Content {
        if short {
            if self.text.len() as u64 == self.received {
                self.text.pop();
            }
            self.last = None;
            self.received -= 1;
        }
        self.hasher.update(self.last.as_slice());
        Content::of(&self.hasher, self.received, &self.text)
    }
}

/// A request that has a route.
pub struct Asked<'a> {
    pub kind: &'static str,
    pub head: &'a Head,
    /// Behind the version.
    pub path: &'a str,
    /// Of an upload; else empty.
    pub command: &'a str,
    /// The ledger's number of it.
    pub number: u64,
}

impl Asked<'_> {
    /// Its body is a file, or has one in it.
    pub fn carries_a_file(&self) -> bool {
        matches!(self.kind, "upload.body" | "upload.multipart" | "upload.raw")
    }

    /// The last byte of an upload comes with it.
    pub fn ends_an_upload(&self) -> bool {
        match self.kind {
            "upload.body" => self.command.contains("finalize"),
            kind => matches!(kind, "upload.multipart" | "upload.raw"),
        }
    }
}

/// A call, taken apart.
pub struct Call<'a> {
    pub kind: &'static str,
    pub head: &'a Head,
    /// Behind the version: `fileSearchStores/x/documents`.
    pub path: &'a str,
    pub body: Vec<u8>,
}

impl Call<'_> {
    pub fn query(&self, camel: &str, snake: &str) -> &str {
        let query = &self.head.query;
        query
            .get(camel)
            .or_else(|| query.get(snake))
            .map_or("", String::as_str)
    }

    /// `true`, `True` and `1` are all seen in the field.
    pub fn force(&self) -> bool {
        matches!(self.query("force", "force"), "true" | "True" | "1")
    }
}

impl Service {
    pub fn open(options: &Options) -> Result<Service, Error> {
        // Only `--emulator` needs a key, and several of those may work with one database.
        let file = options.data.as_deref().map(|path| DataFile {
            path,
            shared: options.require_key.is_some(),
        });
        let service = Service {
            database: Mutex::new(Database::open(file)?),
            dice: Mutex::new(Dice::new(
                options.faults.clone(),
                options.seed.unwrap_or(options.fault_seed),
            )),
            source: Mutex::new(Source::new(options.seed)),
            answers: options.answers.clone(),
            ledger: Mutex::new(Ledger::new(options.record)),
            live: Mutex::default(),
            loose: options.loose,
            refuse_keys: options.refuse_keys.clone(),
            require_key: options.require_key.clone(),
            doors: Doors {
                addresses: options.host.is_some_and(|host| !host.is_loopback()),
                hosts: options.allow_hosts.clone(),
                origins: options.allow_origins.clone(),
            },
            address: Address {
                is_tls: options.tls.is_some(),
                trust_forwarded: options.trust_forwarded,
            },
            tls: options.tls.clone(),
            log: options.log,
            started: Instant::now(),
            connections: AtomicU64::new(0),
        };
        service.go_on(&[]).map_err(super::of_data)?;
        Ok(service)
    }

    /// With a seed: ids and times follow from the data that is here. `imported`: where it came from, if it did.
    pub fn go_on(&self, imported: &[u8]) -> rusqlite::Result<()> {
        if whole(&self.source).is_fixed() {
            let (made, latest) = whole(&self.database).made()?;
            let digest = sha2::Sha256::digest(imported);
            let digest = digest
                .iter()
                .take(8)
                .fold(0, |all, b| all << 8 | u64::from(*b));
            whole(&self.source).go_on(made.wrapping_add(digest), latest);
        }
        Ok(())
    }

    pub fn now(&self) -> UnixMs {
        whole(&self.source).now()
    }

    /// So many random letters and digits.
    pub fn token(&self, length: usize) -> String {
        whole(&self.source).token(length)
    }

    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a fault of the plan happens now to a request of this kind.
    pub fn roll(
        &self,
        kind: &str,
        name: &'static str,
        of: impl Fn(&crate::emulator::Faults) -> f64,
    ) -> bool {
        whole(&self.dice).roll(kind, name, of)
    }

    /// Now, as the plan sees it.
    pub fn moment(&self) -> Moment {
        Moment::of(&whole(&self.dice).plan, self.now())
    }

    /// The address that the client called us by.
    pub fn origin(&self, head: &Head) -> String {
        // Where there is none, the request was refused before.
        self.address.of(head).unwrap_or_default()
    }
}

/// Everything under these locks is changed in whole steps, so a poisoned lock is as good as a clean one.
pub fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
