//! The store a run works on: found by name once, then pinned by its resource name, and looked at by every run.
//!
//! Promises: never a second store of the same name because of an answer that was lost or could not be
//! read; of several that were made at the same moment everybody takes the same one, before anything is sent;
//! a store that is gone is noticed before anything is said to be done; a service that fails is waited for, as
//! it is later in a run.

use crate::client::{Client, Failure, FailureKind, Store};
use crate::error::{Error, Kind};
use crate::names::StoreName;
use crate::report::{Event, EventSink};
use crate::shutdown::Shutdown;
use crate::state::reader::StoreRow;
use crate::state::{Change, PinnedStore, Reader, Support, Writer};
use crate::waits::Waits;

use super::patience::Patience;

/// What the database knows the embedded service by.
pub const EMULATOR: &str = "emulator";

/// Looks for a store whose creation has lost its answer, before it is taken for absent.
const LOOKS_MAX: u32 = 3;
/// Creations whose answer may be lost.
const CREATES_MAX: u32 = 4;
/// Before a new store is looked for again that is not listed yet: parts of `Waits::store_listed_within`.
const LISTED_AFTER: [u32; 4] = [8, 4, 2, 1];
/// So many hosts may start into a new store at one moment; where more stores have the name, it is otherwise used.
const RACERS_MAX: usize = 8;

/// The store, and how many documents the service counts in it.
pub struct Resolved {
    pub row: StoreRow,
    pub documents: u64,
}

/// One look for a store.
pub struct Resolve<'r> {
    /// Display name or resource name, without white space around it.
    pub wanted: &'r str,
    /// What the database knows the service by.
    pub endpoint: &'r str,
    pub reader: &'r Reader,
    pub writer: &'r Writer,
    pub client: &'r Client,
    pub events: &'r dyn EventSink,
    pub shutdown: &'r Shutdown,
    pub waits: &'r Waits,
    /// How often a service that fails is waited for.
    pub patience: u32,
}

impl Resolve<'_> {
    /// The store; it is created if there is none. `recreate`: also if it was deleted at the service, after
    /// which everything is sent again.
    pub fn or_create(&self, recreate: bool) -> Result<Resolved, Error> {
        let Some(row) = self.known()? else {
            return match self.find()? {
                Some(store) => self.pin(&store),
                None => self.pin(&self.create_for_upload(self.wanted, None)?),
            };
        };
        match self.look(&row.name)? {
            Some(store) => self.seen(row, &store),
            None if recreate => self.recreate(row),
            None => Err(gone(&row)),
        }
    }

    /// The store, which nobody has made yet, with this embedding model or the service's own choice.
    pub fn create(&self, embedding_model: Option<&str>) -> Result<Store, Error> {
        if self.wanted.starts_with(StoreName::PREFIX) {
            return Err(Error::new(
                Kind::Usage,
                format!("store `{}`", self.wanted),
                "the service chooses the resource name itself",
                "give a display name",
            ));
        }
        if let Some(row) = self.known()? {
            return Err(match self.look(&row.name)? {
                Some(_) => exists(self.wanted, &row.name),
                None => gone(&row),
            });
        }
        if let Some(store) = self.find()? {
            return Err(exists(self.wanted, &store.name));
        }
        let (store, is_own) = self.create_named(self.wanted, embedding_model)?;
        self.pin(&store)?;
        match is_own {
            true => Ok(store),
            false => Err(exists(self.wanted, &store.name)),
        }
    }

    /// The store, if there is one.
    pub fn existing(&self) -> Result<Option<Resolved>, Error> {
        let Some(row) = self.known()? else {
            return self.find()?.map(|store| self.pin(&store)).transpose();
        };
        match self.look(&row.name)? {
            Some(store) => self.seen(row, &store).map(Some),
            None => Err(gone(&row)),
        }
    }

    /// What the database says of it.
    fn known(&self) -> Result<Option<StoreRow>, Error> {
        let Some(name) = self.resource_name()? else {
            return self.reader.store_pinned(self.endpoint, self.wanted);
        };
        let row = self.reader.store_named(&name)?;
        let embedded = |endpoint: &str| endpoint == EMULATOR;
        match row {
            Some(row) if embedded(&row.endpoint) != embedded(self.endpoint) => Err(Error::new(
                Kind::Store,
                format!("store `{name}`"),
                "the database knows it as one of another service",
                "give --emulator for the embedded service, and leave it out for every other",
            )),
            row => Ok(row),
        }
    }

    fn resource_name(&self) -> Result<Option<StoreName>, Error> {
        if !self.wanted.starts_with(StoreName::PREFIX) {
            return Ok(None);
        }
        let name = StoreName::parse(self.wanted);
        name.map(Some).ok_or_else(|| {
            Error::new(
                Kind::Usage,
                format!("--store {}", self.wanted),
                "this is no resource name of a store",
                "give a name like fileSearchStores/handbook-q3v9x0k2m4ab, or a display name",
            )
        })
    }

    /// By the same name at another spelling of the service, or with more to say: that is remembered.
    fn seen(&self, row: StoreRow, store: &Store) -> Result<Resolved, Error> {
        let known = row.clone();
        let embedding_model = store.embedding_model.clone().or(row.embedding_model);
        let row = StoreRow {
            endpoint: self.endpoint.to_owned(),
            embedding_model,
            ..row
        };
        if row != known {
            self.commit(&row.display_name, store)?;
        }
        Ok(Resolved {
            row,
            documents: store.documents(),
        })
    }

    /// `None`: it is gone.
    fn look(&self, name: &StoreName) -> Result<Option<Store>, Error> {
        match self.patient(|| self.client.get_store(name))? {
            Ok(store) => Ok(Some(store)),
            Err(failure) if failure.kind == FailureKind::StoreRefused => Ok(None),
            Err(failure) => Err(failure.to_error(self.wanted)),
        }
    }

    fn pin(&self, store: &Store) -> Result<Resolved, Error> {
        let display_name = match store.display_name.is_empty() {
            true => store.name.to_string(),
            false => store.display_name.clone(),
        };
        let id = self.commit(&display_name, store)?;
        let row = StoreRow {
            id,
            endpoint: self.endpoint.to_owned(),
            by_display_name: self.wanted == display_name,
            display_name,
            name: store.name.clone(),
            one_request: Support::Untried,
            embedding_model: store.embedding_model.clone(),
        };
        Ok(Resolved {
            row,
            documents: store.documents(),
        })
    }

    fn commit(&self, display_name: &str, store: &Store) -> Result<i64, Error> {
        let pinned = Change::StorePinned(PinnedStore {
            endpoint: self.endpoint.to_owned(),
            display_name: display_name.to_owned(),
            name: store.name.clone(),
            by_display_name: self.wanted == display_name,
            embedding_model: store.embedding_model.clone(),
        });
        Ok(self.writer.commit(pinned)?.row)
    }

    fn recreate(&self, row: StoreRow) -> Result<Resolved, Error> {
        let display_name = row.display_name.as_str();
        // The one that is gone may be listed for a while.
        let found = self.find_named(display_name)?;
        let store = match found.filter(|store| store.name != row.name) {
            Some(store) => store,
            None => self.create_for_upload(display_name, row.embedding_model.as_deref())?,
        };
        let (documents, name) = (store.documents(), store.name.clone());
        self.events.send(Event::Warning(format!(
            "the store `{display_name}` ({}) is gone: everything is sent again, to {name}",
            row.name
        )));
        if let Some(row) = self.reader.store_named(&name)? {
            self.commit(display_name, &store)?;
            return Ok(Resolved { row, documents });
        }
        self.writer.commit(Change::StoreReplaced {
            store: row.id,
            name: name.clone(),
        })?;
        Ok(Resolved {
            row: StoreRow { name, ..row },
            documents,
        })
    }

    /// Whoever uploads may have meant another store: it is said.
    fn create_for_upload(&self, name: &str, embedding_model: Option<&str>) -> Result<Store, Error> {
        let (store, is_own) = self.create_named(name, embedding_model)?;
        if is_own {
            let words = format!("created the store `{name}` ({})", store.name);
            self.events.send(Event::Notice(words));
        }
        Ok(store)
    }

    /// The store to use, and whether it is the one that was just made. Names need not be unique, so that
    /// another process which found none may have made one as well. All take the oldest; of the same instant,
    /// the one that is listed first. Only what was just made is deleted, and only if it is empty.
    fn agreed(&self, name: &str, own: Store) -> Result<(Store, bool), Error> {
        let is_own = |store: &Store| store.name == own.name;
        let mut same = self.all_named(name)?;
        for part in LISTED_AFTER {
            if same.iter().any(is_own) {
                break;
            }
            if !self.shutdown.sleep(self.waits.store_listed_within / part) {
                return Err(unclear(name));
            }
            same = self.all_named(name)?;
        }
        if !same.iter().any(is_own) {
            same.push(own.clone());
        }
        same.sort_by(|a, b| a.created.cmp(&b.created));
        for store in same {
            if is_own(&store) {
                break;
            }
            // What is deleted may be listed for a while.
            if self.look(&store.name)?.is_none() {
                continue;
            }
            let deleted = self.patient(|| self.client.delete_store(&own.name, false))?;
            let outcome = match deleted {
                Err(failure) if failure.kind != FailureKind::StoreRefused => {
                    format!("the own one ({}) stays: {failure}", own.name)
                }
                _ => "the own one, which was empty, is deleted".to_owned(),
            };
            self.events.send(Event::Warning(format!(
                "somebody else created a store `{name}` at the same moment: {} is used, and {outcome}",
                store.name
            )));
            return Ok((store, false));
        }
        Ok((own, true))
    }

    /// The store of this name that there is now, and whether it was made here.
    fn create_named(
        &self,
        name: &str,
        embedding_model: Option<&str>,
    ) -> Result<(Store, bool), Error> {
        for _ in 0..CREATES_MAX {
            match self.patient(|| self.client.create_store(name, embedding_model))? {
                Ok(store) => return self.agreed(name, store),
                Err(Failure {
                    kind: FailureKind::InDoubt,
                    ..
                }) => {}
                Err(failure) => return Err(failure.to_error(name)),
            }
            // It may exist now, and may show up late: it is absent when whole listings say so for longer
            // than lists lag.
            for _ in 0..LOOKS_MAX {
                if !self.shutdown.sleep(self.waits.store_listed_within) {
                    return Err(unclear(name));
                }
                if let Some(store) = self.find_named(name)? {
                    return Ok((store, true));
                }
            }
        }
        Err(unclear(name))
    }

    /// What the service says of it.
    fn find(&self) -> Result<Option<Store>, Error> {
        match self.resource_name()? {
            Some(name) => match self.patient(|| self.client.get_store(&name))? {
                Ok(store) => Ok(Some(store)),
                Err(failure) => Err(failure.to_error(self.wanted)),
            },
            None => self.find_named(self.wanted),
        }
    }

    fn find_named(&self, name: &str) -> Result<Option<Store>, Error> {
        let mut same = self.all_named(name)?;
        let is_empty = |store: &Store| store.documents() == 0;
        // Of a few that were made at the same moment all but one are about to be deleted.
        if (2..=RACERS_MAX).contains(&same.len())
            && same.iter().any(is_empty)
            && self.shutdown.sleep(self.waits.store_listed_within)
        {
            same = self.all_named(name)?;
        }
        if same.len() > 1 {
            let names = same.iter().map(|store| match is_empty(store) {
                true => format!("{} (empty)", store.name),
                false => store.name.to_string(),
            });
            let names: Vec<String> = names.collect();
            return Err(Error::new(
                Kind::Store,
                format!("store `{name}`"),
                format!("several stores have this name: {}", names.join(", ")),
                "name one of them: --store fileSearchStores/…; `objlib store delete` takes away an empty one",
            ));
        }
        Ok(same.pop())
    }

    fn all_named(&self, name: &str) -> Result<Vec<Store>, Error> {
        let found = self.patient(|| self.client.find_stores(name))?;
        found.map_err(|failure| failure.to_error(name))
    }

    /// The inner error is not the service's state.
    fn patient<T>(
        &self,
        call: impl FnMut() -> Result<T, Failure>,
    ) -> Result<Result<T, Failure>, Error> {
        let patience = Patience {
            client: self.client,
            events: self.events,
            shutdown: self.shutdown,
            waits: self.waits,
            rounds_max: self.patience,
        };
        patience.call(call)
    }
}

fn gone(row: &StoreRow) -> Error {
    Error::new(
        Kind::Store,
        format!("store `{}` ({})", row.display_name, row.name),
        "it was deleted at the service, or belongs to another key",
        "check the key; or upload with --recreate-store, which makes it anew and sends everything again; or \
         name another store with --store",
    )
}

fn exists(name: &str, resource: &StoreName) -> Error {
    Error::new(
        Kind::Store,
        format!("store `{name}`"),
        format!("there is one already: {resource}"),
        "upload into it, or choose another name",
    )
}

fn unclear(name: &str) -> Error {
    Error::new(
        Kind::Network,
        format!("store `{name}`"),
        "whether its creation took effect has not been seen",
        "run again: it is looked up before another one is created",
    )
}
