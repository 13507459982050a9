//! The store a run works on: found by name once, then pinned by its resource name.
//!
//! Promises: never a second store of the same name because of an answer that was lost or could not
//! be read.

use std::time::Duration;

use crate::client::{Client, Failure, FailureKind, Store};
use crate::error::{Error, Kind};
use crate::names::StoreName;
use crate::proof;
use crate::report::{Event, EventSender};
use crate::shutdown::Shutdown;
use crate::state::reader::StoreRow;
use crate::state::{Change, Reader, Writer};

/// Lists lag by seconds: how long to wait for a store whose `create` lost its answer.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);
const LOOKS_MAX: u32 = 3;
/// Creations whose answer may be lost.
const CREATES_MAX: u32 = 4;

/// The store of that name; it is created if there is none.
pub fn resolve(
    name: &str,
    endpoint: &str,
    reader: &Reader,
    writer: &Writer,
    client: &Client,
    events: &EventSender,
    shutdown: &Shutdown,
) -> Result<StoreRow, Error> {
    if let Some(row) = existing(name, endpoint, reader, writer, client)? {
        return Ok(row);
    }
    let store = create(name, client, events, shutdown)?;
    pin(name, endpoint, writer, store)
}

/// The store of that name, if there is one.
pub fn existing(
    name: &str,
    endpoint: &str,
    reader: &Reader,
    writer: &Writer,
    client: &Client,
) -> Result<Option<StoreRow>, Error> {
    if let Some(pinned) = reader.store(endpoint, name)? {
        return Ok(Some(pinned));
    }
    let store = match name.starts_with("fileSearchStores/") {
        true => {
            let store = client.get_store(&StoreName::new(name));
            Some(store.map_err(|f| f.to_error(name))?)
        }
        false => find(name, client)?,
    };
    store
        .map(|store| pin(name, endpoint, writer, store))
        .transpose()
}

fn pin(name: &str, endpoint: &str, writer: &Writer, store: Store) -> Result<StoreRow, Error> {
    let id = writer
        .commit(Change::StorePinned {
            endpoint: endpoint.to_owned(),
            display_name: name.to_owned(),
            name: store.name.clone(),
        })?
        .row;
    Ok(StoreRow {
        id,
        endpoint: endpoint.to_owned(),
        display_name: name.to_owned(),
        name: store.name,
    })
}

fn create(
    name: &str,
    client: &Client,
    events: &EventSender,
    shutdown: &Shutdown,
) -> Result<Store, Error> {
    for _ in 0..CREATES_MAX {
        match client.create_store(name) {
            Ok(store) => {
                events.send(Event::Notice(format!(
                    "created the store `{name}` ({})",
                    store.name
                )));
                return Ok(store);
            }
            Err(Failure {
                kind: FailureKind::InDoubt,
                ..
            }) => {}
            Err(failure) => return Err(failure.to_error(name)),
        }
        // It may exist now, and may show up late: it is absent when whole listings say so for longer
        // than lists lag.
        for _ in 0..LOOKS_MAX {
            if !shutdown.sleep(proof::hasten(LOOK_AGAIN_AFTER)) {
                return Err(unclear(name));
            }
            if let Some(store) = find(name, client)? {
                return Ok(store);
            }
        }
    }
    Err(unclear(name))
}

fn unclear(name: &str) -> Error {
    Error::new(
        Kind::Network,
        format!("store `{name}`"),
        "the answer to its creation was lost",
        "run again: it is looked up before another one is created",
    )
}

fn find(name: &str, client: &Client) -> Result<Option<Store>, Error> {
    let mut same = client.find_stores(name).map_err(|f| f.to_error(name))?;
    if same.len() > 1 {
        let names: Vec<&str> = same.iter().map(|s| s.name.as_str()).collect();
        return Err(Error::new(
            Kind::Store,
            format!("store `{name}`"),
            format!("several stores have this name: {}", names.join(", ")),
            "name one of them: --store fileSearchStores/…",
        ));
    }
    Ok(same.pop())
}
