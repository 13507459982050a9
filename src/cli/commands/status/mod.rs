//! `objlib status`: what was committed to disk, for people and programs.

use std::path::Path;

use crate::app;
use crate::cli::args::{self, DEFAULT_STORE};
use crate::cli::settings;
use crate::cli::terminal::stdout::Output;
use crate::error::Error;
use crate::report::status::Status;
use crate::report::{Next, Style};
use crate::state::Reader;
use crate::state::reader::StoreRow;
use crate::text::{json_line, unknown};

mod lists;

mod watch;

pub fn run(args: &args::Status, database: &Path, style: Style) -> Result<u8, Error> {
    let reader = Reader::open(database)?;
    let asked = Scope {
        reader: &reader,
        database,
        name: &args.store.name,
        endpoint: settings::endpoint_typed(args)?,
        is_watched: args.watch,
    };
    if args.watch {
        return watch::run(&asked, style);
    }
    let mut out = Output::default();
    if args.failed {
        let stores = asked.stores()?.into_iter();
        let stores: Vec<(StoreRow, Next)> = stores
            .map(|store| (store.clone(), asked.next(Some(&store))))
            .collect();
        lists::failed(&reader, &stores, style, &mut out)?;
    } else if args.skipped {
        lists::skipped(&reader, &asked.named()?, style, &mut out)?;
    } else if args.unmatched {
        lists::unmatched(&reader, &asked.named()?, style, &mut out)?;
    } else {
        let status = asked.status()?;
        out.line(&match style.json {
            true => json_line(&status.to_json()),
            false => status.lines(style.color_out).join("\n"),
        })?;
    }
    out.end().map(|()| 0)
}

/// Of the stores that a name means.
pub fn of(reader: &Reader, database: &Path, name: &str) -> Result<Status, Error> {
    let asked = Scope {
        reader,
        database,
        name,
        endpoint: None,
        is_watched: false,
    };
    asked.status()
}

/// What it takes to mean this store.
pub fn next(store: &StoreRow, database: &Path) -> Next {
    let name = match store.by_display_name {
        true => store.display_name.as_str(),
        false => store.name.as_str(),
    };
    settings::next_at(database, name, &store.endpoint)
}

/// Whose status.
struct Scope<'a> {
    reader: &'a Reader,
    database: &'a Path,
    /// Of the store.
    name: &'a str,
    /// What the database knows the service by, if only its stores are meant.
    endpoint: Option<String>,
    is_watched: bool,
}

impl Scope<'_> {
    fn is_named(&self) -> bool {
        self.name != DEFAULT_STORE
    }

    fn stores(&self) -> Result<Vec<StoreRow>, Error> {
        let mut stores = app::status::stores(self.reader, self.name, self.is_named())?;
        if let Some(endpoint) = &self.endpoint {
            stores.retain(|store| store.endpoint == *endpoint);
        }
        Ok(stores)
    }

    /// What a scan has skipped, and what no rule meets, is not about a store, unless one is named.
    fn named(&self) -> Result<Vec<StoreRow>, Error> {
        match self.is_named() || self.endpoint.is_some() {
            true => self.stores(),
            false => Ok(Vec::new()),
        }
    }

    fn status(&self) -> Result<Status, Error> {
        let stores = self.stores()?;
        let stale_after = settings::waits().lock_stale_after;
        let mut status = app::status::look(self.reader, &stores, stale_after)?;
        status.is_watched = self.is_watched;
        for (i, shown) in status.stores.iter_mut().enumerate() {
            shown.next = self.next(stores.get(i));
        }
        if stores.is_empty() && self.is_named() {
            let known = self.reader.stores()?;
            let names = known.iter().map(|store| store.display_name.as_str());
            status.stores[0].unknown = Some(unknown("store", self.name, names));
        }
        Ok(status)
    }

    fn next(&self, store: Option<&StoreRow>) -> Next {
        match store {
            Some(store) => next(store, self.database),
            // Nothing is known of it, but that it was asked for.
            None if self.is_named() => settings::next_here(self.database).with_store(self.name),
            None => settings::next_here(self.database),
        }
    }
}
