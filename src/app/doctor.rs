//! What an upload would meet, looked at one thing after the other.
//!
//! Promises: takes no lock, makes no database and no store, and sends at most a few requests that change
//! nothing; a thing that cannot be looked at is a finding, never the end.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::connect::{self, Pace, known_store};
use super::{Service, Target};
use crate::client::{Client, Failure, FailureKind, Store};
use crate::clock::now_ms;
use crate::error::{Error, Kind};
use crate::names::StoreName;
use crate::report::units::{bytes, count, time};
use crate::shutdown::Shutdown;
use crate::state::{Lease, Reader};
use crate::throttle::{Concurrency, Rpm};
use crate::waits::Waits;

/// A log and a few commits need more than this.
const DISK_BYTES_MIN: u64 = 1 << 20;
/// The database of some hundred thousand files.
const DISK_BYTES_GOOD: u64 = 100 << 20;
/// Certificates, tokens and ages of documents bear less than this.
const CLOCK_OFF_GOOD: Duration = Duration::from_secs(60);

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub check: &'static str,
    /// What is so.
    pub text: String,
    /// What is wrong with it, if something is.
    pub trouble: Option<Trouble>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Why an upload would stop; `None` if it would not.
    pub stops: Option<Kind>,
    pub remedy: String,
}

impl Finding {
    pub fn fine(check: &'static str, text: impl Display) -> Finding {
        Finding {
            check,
            text: text.to_string(),
            trouble: None,
        }
    }

    pub fn warning(check: &'static str, text: impl Display, remedy: impl Display) -> Finding {
        Finding {
            check,
            text: text.to_string(),
            trouble: Some(Trouble {
                stops: None,
                remedy: remedy.to_string(),
            }),
        }
    }

    pub fn wrong(check: &'static str, error: &Error) -> Finding {
        Finding {
            check,
            text: match error.what == check {
                true => error.why.clone(),
                false => format!("{}: {}", error.what, error.why),
            },
            trouble: Some(Trouble {
                stops: Some(error.kind),
                remedy: error.remedy.clone(),
            }),
        }
    }
}

/// What needs no service: the database, its disk, and who works on it. Answers the database, if it can be
/// read.
pub fn here(database: &Path, waits: &Waits, say: &mut dyn FnMut(Finding)) -> Option<Reader> {
    let named = database.display();
    let reader = match Reader::is_there(database) {
        false => {
            say(Finding::fine(
                "database",
                format!("{named}: none yet; the first scan makes it"),
            ));
            None
        }
        true => match Reader::open(database).and_then(|reader| reader.check().map(|()| reader)) {
            Ok(reader) => {
                let size = std::fs::metadata(database).map_or(0, |file| file.len());
                say(Finding::fine(
                    "database",
                    format!("{named}: sound, {}", bytes(size)),
                ));
                Some(reader)
            }
            Err(e) => {
                say(Finding::wrong("database", &e));
                None
            }
        },
    };
    disk(database, say);
    if let Some(reader) = &reader {
        say(match reader.held_by(waits.lock_stale_after) {
            Ok(None) => Finding::fine("lock", "nobody works on the database"),
            Ok(Some(holder)) => {
                let why = format!(
                    "another objlib works on it (pid {} on {})",
                    holder.pid, holder.host
                );
                let remedy = "wait for it to end, or use another database with --db";
                Finding::wrong("lock", &Error::new(Kind::Locked, "database", why, remedy))
            }
            Err(e) => Finding::wrong("lock", &e),
        });
    }
    reader
}

/// The nearest folder that is there, since the database's own may be made later.
fn disk(database: &Path, say: &mut dyn FnMut(Finding)) {
    let database = std::path::absolute(database).unwrap_or_else(|_| database.to_owned());
    let Some(folder) = database.ancestors().skip(1).find(|folder| folder.exists()) else {
        return;
    };
    let named = folder.display().to_string();
    if is_on_network(folder) {
        say(Finding::warning(
            "disk",
            format!("{named} is on a network file system, whose locks SQLite cannot rely on"),
            "keep the database on a disk of this machine (--db)",
        ));
    }
    let writable = match database.exists() {
        true => &database,
        false => folder,
    };
    if let Err(e) = rustix::fs::access(writable, rustix::fs::Access::WRITE_OK) {
        let remedy = "check its permissions, or name another database with --db";
        let what = writable.display().to_string();
        let why = format!("cannot be written: {e}");
        say(Finding::wrong(
            "disk",
            &Error::new(Kind::Database, what, why, remedy),
        ));
    }
    let free = match rustix::fs::statvfs(folder) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(e) => {
            let remedy = "check the disk, or name another database with --db";
            let e = Error::new(Kind::Database, named, e.to_string(), remedy);
            return say(Finding::wrong("disk", &e));
        }
    };
    let remedy = "make room, or name a database on another disk with --db";
    let text = format!("{named}: {} free", bytes(free));
    say(if free < DISK_BYTES_MIN {
        Finding::wrong(
            "disk",
            &Error::new(Kind::Database, named, "the disk is full", remedy),
        )
    } else if free < DISK_BYTES_GOOD {
        Finding::warning("disk", text, remedy)
    } else {
        Finding::fine("disk", text)
    });
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_on_network(folder: &Path) -> bool {
    // NFS, SMB, CIFS, SMB2, Ceph, 9P: the numbers of Linux's magic.h.
    const NETWORK: [u32; 6] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x00c3_6400,
        0x0102_1997,
    ];
    rustix::fs::statfs(folder).is_ok_and(|disk| NETWORK.contains(&(disk.f_type as u32)))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_on_network(_: &Path) -> bool {
    false
}

/// What only the service knows: whether it can be reached, takes the key, has the store; and the clock.
pub fn there(database: &Path, target: &Target, waits: Waits, say: &mut dyn FnMut(Finding)) {
    // The embedded service would make its file.
    let is_embedded = matches!(target.service, Service::Emulator);
    let mut data = database.as_os_str().to_owned();
    data.push(".emulator");
    if is_embedded && !Path::new(&data).exists() {
        return say(Finding::fine(
            "service",
            "the embedded one; it has no data yet",
        ));
    }
    let asked = connect::with_service(&target.service, database, |reached| {
        let reader = Reader::of(database).or_else(|_| Reader::of(Path::new("")))?;
        let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
        let pace = Pace {
            rpm: Rpm::Auto,
            concurrency: Concurrency::Asked(1),
            lease: Arc::new(Lease::of_a_reader()),
            shutdown: &shutdown,
            waits,
        };
        let (_, client) = connect::client(target, reached, pace, &reader)?;
        match client.greet() {
            Err(failure) => say(refused(&failure, &target.store)),
            Ok(date) => {
                let name = match is_embedded {
                    true => "the embedded one",
                    false => &target.endpoint_name,
                };
                say(Finding::fine(
                    "service",
                    format!("{name}: answers, and takes the key"),
                ));
                say(clock(date.as_deref(), &reader));
                say(store(target, &client, &reader));
            }
        }
        Ok(())
    });
    if let Err(e) = asked {
        say(Finding::wrong("service", &e));
    }
}

fn refused(failure: &Failure, store: &str) -> Finding {
    let check = match failure.kind {
        FailureKind::KeyRefused => "key",
        _ => "service",
    };
    let mut error = failure.to_error(store);
    // An upload waits for a service that fails, and ends in vain.
    if failure.is_transient() {
        error.kind = Kind::Unavailable;
    }
    Finding::wrong(check, &error)
}

/// As the clocks here show it. `date`: the service's, as its answer has it.
fn clock(date: Option<&str>, reader: &Reader) -> Finding {
    let now = now_ms();
    let here = reader.local(now).date_and_time();
    let theirs = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let Some(theirs) = theirs.and_then(|time| time.duration_since(UNIX_EPOCH).ok()) else {
        return Finding::fine(
            "clock",
            format!("{}; the service does not say its time", here),
        );
    };
    let off = Duration::from_millis(now.unsigned_abs()).abs_diff(theirs);
    match off < CLOCK_OFF_GOOD {
        true => Finding::fine("clock", format!("{}, as the service's", here)),
        false => Finding::warning(
            "clock",
            format!("{}, {} from the service's", here, time(off)),
            "set the clock (`timedatectl set-ntp true`)",
        ),
    }
}

fn store(target: &Target, client: &Client, reader: &Reader) -> Finding {
    let wanted = &target.store;
    let known = known_store(reader, &target.endpoint_name, wanted)
        .ok()
        .flatten();
    let name = StoreName::parse(wanted).or_else(|| known.as_ref().map(|row| row.name.clone()));
    let found = match &name {
        Some(name) => client.get_store(name).map(|store| vec![store]),
        None => client.find_stores(wanted),
    };
    let cannot = |why: String, remedy: &str| {
        Finding::wrong(
            "store",
            &Error::new(Kind::Store, format!("store `{wanted}`"), why, remedy),
        )
    };
    match (found, &name) {
        (Ok(found), _) => match found.as_slice() {
            [] => Finding::fine(
                "store",
                format!("`{wanted}`: none yet; the first upload makes it"),
            ),
            [one] => Finding::fine("store", in_words(one)),
            several => {
                let names: Vec<&str> = several.iter().map(|store| store.name.as_str()).collect();
                let why = format!("several stores have this name: {}", names.join(", "));
                cannot(why, "name one of them: --store fileSearchStores/…")
            }
        },
        // 403 and 404 alike: nobody is told which.
        (Err(failure), Some(name)) if failure.kind == FailureKind::StoreRefused => cannot(
            format!("{name} is gone, or belongs to another key"),
            "check the key; `objlib upload --recreate-store` makes it anew and sends everything again",
        ),
        (Err(failure), _) => Finding::wrong("store", &failure.to_error(wanted)),
    }
}

fn in_words(store: &Store) -> String {
    let mut text = format!(
        "`{}` ({}): {} active, {}",
        store.display_name,
        store.name,
        count(store.active, "document"),
        bytes(store.size_bytes)
    );
    for (n, state) in [(store.pending, "pending"), (store.failed, "failed")] {
        if n > 0 {
            text += &format!(", {n} {state}");
        }
    }
    text
}

/// What earlier runs have found out.
pub fn quota(reader: &Reader, endpoint: &str) -> Finding {
    let rates = ["write", "read"].map(|class| reader.rate(endpoint, class));
    let mut found = Vec::new();
    for (rate, of) in rates.into_iter().zip(["uploads", "looks"]) {
        match rate {
            Ok(Some((per_minute, ms))) => {
                let ago = Duration::from_millis(now_ms().abs_diff(ms));
                found.push(format!("{per_minute:.0} {of} a minute ({} ago)", time(ago)));
            }
            Ok(None) => {}
            Err(e) => return Finding::wrong("quota", &e),
        }
    }
    match found.is_empty() {
        true => Finding::fine("quota", "not met yet: uploads find it out as they go"),
        false => Finding::fine(
            "quota",
            format!("found by earlier runs: {}", found.join(", ")),
        ),
    }
}
