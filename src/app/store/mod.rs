//! Stores: the service's counters beside what the database holds of them, made and deleted.
//!
//! Promises: looking needs no lock and no database; a store is deleted only after whoever asked for it has
//! seen what is in it, and by a name that means no other store.

use std::sync::Arc;

use super::connect::{self, Pace, Reached};
use super::{Call, Target};
use crate::client::{Client, Failure, FailureKind, Store};
use crate::error::{Error, Kind};
use crate::names::StoreName;
use crate::pipeline::reconcile::patience::Patience;
use crate::pipeline::reconcile::store::Resolve;
use crate::report::units::count;
use crate::state::reader::StoreRow;
use crate::state::reader::figures::Share;
use crate::state::writer::{self, Started};
use crate::state::{Change, Lease, Reader};
use crate::throttle::{Concurrency, Rpm};

/// What a store holds, a page at a time.
pub mod documents;

/// One thread asks.
const CONCURRENCY: Concurrency = Concurrency::Asked(1);
/// How often a service that fails is waited for.
const PATIENCE: u32 = 3;

/// One store, as the service and the database know it.
#[derive(Debug, Clone)]
pub struct Found {
    pub name: StoreName,
    pub display_name: String,
    /// `None`: it is gone, or belongs to another key.
    pub remote: Option<Store>,
    /// The database's row of it.
    pub row: Option<i64>,
    /// What the libraries that go into it have there, by their names.
    pub libraries: Vec<(String, Share)>,
}

impl Found {
    /// Documents that the database has there, and what they were made of.
    pub fn own(&self) -> (u64, u64) {
        let shares = self.libraries.iter().map(|(_, share)| share);
        shares.fold((0, 0), |(documents, bytes), share| {
            (documents + share.indexed, bytes + share.bytes)
        })
    }
}

/// Every store of the account, and those of the database that are gone.
pub fn list(call: &Call<'_>, target: &Target) -> Result<Vec<Found>, Error> {
    looking(call, target, |look| look.every())
}

/// The stores of the target's name; it need not be one alone.
pub fn show(call: &Call<'_>, target: &Target) -> Result<Vec<Found>, Error> {
    looking(call, target, |look| {
        let found = look.named(&target.store)?;
        match found.is_empty() {
            true => Err(not_there(&target.store)),
            false => Ok(found),
        }
    })
}

/// Makes a store of the target's name, if there is none.
pub fn create(
    call: &Call<'_>,
    target: &Target,
    embedding_model: Option<&str>,
) -> Result<Found, Error> {
    writing(call, target, |changing| {
        let look = &changing.look;
        let writer = changing.started.thread.writer();
        let resolve = Resolve {
            wanted: &target.store,
            endpoint: &target.endpoint_name,
            reader: &look.reader,
            writer: &writer,
            client: look.service.client,
            events: &*call.events,
            shutdown: call.shutdown,
            waits: &call.waits,
            patience: PATIENCE,
        };
        look.with_row(resolve.create(embedding_model)?)
    })
}

/// Deletes the store of the target's name, and what the database knows of it. `force`: with its documents.
/// `None`: whoever was asked said no.
pub fn delete(
    call: &Call<'_>,
    target: &Target,
    force: bool,
    confirm: &dyn Fn(&Found) -> Result<bool, Error>,
) -> Result<Option<Found>, Error> {
    writing(call, target, |changing| {
        let look = &changing.look;
        let mut found = look.named(&target.store)?;
        let Some(store) = found.pop() else {
            return Err(not_there(&target.store));
        };
        if !found.is_empty() {
            found.push(store);
            return Err(ambiguous(&target.store, &found));
        }
        let documents = store.remote.as_ref().map_or(0, Store::documents);
        if documents > 0 && !force {
            let why = format!("it holds {}", count(documents, "document"));
            return Err(not_empty(&target.store, &why));
        }
        if !confirm(&store)? {
            return Ok(None);
        }
        if store.remote.is_some() {
            look.delete(&store.name, force)?;
        }
        if let Some(row) = store.row {
            let writer = changing.started.thread.writer();
            writer.commit(Change::StoreForgotten { store: row })?;
        }
        Ok(Some(store))
    })
}

/// The service and the database, to be looked at.
struct Look<'a> {
    service: Patience<'a>,
    reader: Reader,
    endpoint: &'a str,
}

impl Look<'_> {
    fn every(&self) -> Result<Vec<Found>, Error> {
        let stores = self.listed(&mut |_| true)?;
        let mut all = Vec::new();
        for store in stores {
            all.push(self.with_row(store)?);
        }
        for row in self.reader.stores_at(self.endpoint)? {
            if !all.iter().any(|found| found.name == row.name) {
                all.push(self.unlisted(row)?);
            }
        }
        Ok(all)
    }

    /// All that the name can mean: stores of this display name at the service or in the database, or the one
    /// of this resource name.
    fn named(&self, wanted: &str) -> Result<Vec<Found>, Error> {
        if wanted.starts_with(StoreName::PREFIX) {
            let name = StoreName::parse(wanted).ok_or_else(|| not_a_name(wanted))?;
            let row = self.reader.store_named(&name)?;
            return Ok(match (self.get(&name)?, row) {
                (Some(store), _) => vec![self.with_row(store)?],
                (None, Some(row)) => vec![self.found(None, row)?],
                (None, None) => Vec::new(),
            });
        }
        let mut all = Vec::new();
        for store in self.listed(&mut |store| store.display_name == wanted)? {
            all.push(self.with_row(store)?);
        }
        let mut rows = self.reader.stores_at(self.endpoint)?;
        rows.retain(|row| row.display_name == wanted);
        for row in rows {
            if !all.iter().any(|found| found.name == row.name) {
                all.push(self.unlisted(row)?);
            }
        }
        Ok(all)
    }

    fn listed(&self, is_wanted: &mut dyn FnMut(&Store) -> bool) -> Result<Vec<Store>, Error> {
        let listed = self.service.call(|| {
            let mut stores = Vec::new();
            self.service.client.each_store(&mut |store| {
                if is_wanted(&store) {
                    stores.push(store);
                }
                true
            })?;
            Ok(stores)
        })?;
        listed.map_err(|failure| failure.to_error("list of stores"))
    }

    /// A list lags: the store itself does not.
    fn unlisted(&self, row: StoreRow) -> Result<Found, Error> {
        self.found(self.get(&row.name)?, row)
    }

    fn with_row(&self, store: Store) -> Result<Found, Error> {
        match self.reader.store_named(&store.name)? {
            Some(row) => self.found(Some(store), row),
            None => Ok(Found {
                name: store.name.clone(),
                display_name: store.display_name.clone(),
                remote: Some(store),
                row: None,
                libraries: Vec::new(),
            }),
        }
    }

    fn found(&self, remote: Option<Store>, row: StoreRow) -> Result<Found, Error> {
        let linked = self.reader.linked(row.id)?;
        let ids = linked.iter().map(|library| library.id).collect();
        let mut shares = self.reader.shares(row.id, &ids)?;
        let libraries = linked.into_iter().map(|library| {
            let share = shares.remove(&library.id).unwrap_or_default();
            (library.name, share)
        });
        Ok(Found {
            name: row.name,
            display_name: row.display_name,
            remote,
            row: Some(row.id),
            libraries: libraries.collect(),
        })
    }

    /// `None`: it is gone, or belongs to another key.
    fn get(&self, name: &StoreName) -> Result<Option<Store>, Error> {
        let got = self.service.call(|| self.service.client.get_store(name))?;
        present(got, name)
    }

    /// The store has just been seen, so that the key is the right one: refused now, it is gone.
    fn delete(&self, name: &StoreName, force: bool) -> Result<(), Error> {
        let deleted = self
            .service
            .call(|| self.service.client.delete_store(name, force))?;
        match deleted {
            Err(failure) if failure.kind == FailureKind::Permanent && !force => {
                Err(not_empty(name.as_str(), &failure.to_string()))
            }
            deleted => present(deleted, name).map(|_| ()),
        }
    }
}

fn present<T>(answer: Result<T, Failure>, name: &StoreName) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.kind == FailureKind::StoreRefused => Ok(None),
        Err(failure) => Err(failure.to_error(name.as_str())),
    }
}

/// Without the lock, so that it can be done beside an upload.
fn looking<T>(
    call: &Call<'_>,
    target: &Target,
    act: impl FnOnce(&Look<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    connect::with_service(&target.service, call.database, |reached| {
        let reader = Reader::of(call.database)?;
        let client = client(
            call,
            target,
            reached,
            (&reader, Arc::new(Lease::of_a_reader())),
        )?;
        act(&look(call, target, &client, reader))
    })
}

/// What it takes to change something: the lock is held.
struct Changing<'a> {
    look: Look<'a>,
    started: &'a Started,
}

fn writing<T>(
    call: &Call<'_>,
    target: &Target,
    act: impl FnOnce(&Changing<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let started = writer::start(call.database, Arc::clone(call.shutdown), &call.waits)?;
    let done = connect::with_service(&target.service, call.database, |reached| {
        let reader = Reader::open(call.database)?;
        let lease = started.thread.lease();
        let client = client(call, target, reached, (&reader, lease))?;
        act(&Changing {
            look: look(call, target, &client, reader),
            started: &started,
        })
    });
    let closed = started.thread.close();
    let done = done?;
    closed?;
    Ok(done)
}

fn client(
    call: &Call<'_>,
    target: &Target,
    reached: Reached,
    (reader, lease): (&Reader, Arc<Lease>),
) -> Result<Client, Error> {
    let pace = Pace {
        rpm: Rpm::Auto,
        concurrency: CONCURRENCY,
        lease,
        shutdown: call.shutdown,
        waits: call.waits,
    };
    Ok(connect::client(target, reached, pace, reader)?.1)
}

fn look<'a>(
    call: &'a Call<'_>,
    target: &'a Target,
    client: &'a Client,
    reader: Reader,
) -> Look<'a> {
    Look {
        service: Patience {
            client,
            events: &*call.events,
            shutdown: call.shutdown,
            waits: &call.waits,
            rounds_max: PATIENCE,
        },
        reader,
        endpoint: &target.endpoint_name,
    }
}

fn not_there(name: &str) -> Error {
    Error::new(
        Kind::Store,
        format!("store `{name}`"),
        "there is no store of this name, or it belongs to another key",
        "`objlib store list` shows all; `objlib store create` makes one",
    )
}

fn not_a_name(name: &str) -> Error {
    Error::new(
        Kind::Usage,
        format!("store `{name}`"),
        "this is no resource name of a store",
        "give a name like fileSearchStores/handbook-q3v9x0k2m4ab, or a display name",
    )
}

fn ambiguous(name: &str, found: &[Found]) -> Error {
    let names: Vec<&str> = found.iter().map(|store| store.name.as_str()).collect();
    Error::new(
        Kind::Store,
        format!("store `{name}`"),
        format!("several stores have this name: {}", names.join(", ")),
        "name one of them; nothing was deleted",
    )
}

fn not_empty(name: &str, why: &str) -> Error {
    Error::new(
        Kind::Store,
        format!("store `{name}`"),
        format!("not deleted, since it is not empty: {why}"),
        "see with `objlib store show` whose they are; --force deletes them with it",
    )
}
