//! Stores, and what was learned of their services. There are as many as somebody has named, so
//! all of them are read at once.

use rusqlite::Row;

use super::Reader;
use crate::clock::UnixMs;
use crate::error::Error;
use crate::names::StoreName;
use crate::state::Bookmark;
use crate::state::statement::statements;
use crate::state::upload_state::Support;

/// A store's pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRow {
    pub id: i64,
    /// Canonical, or `emulator`.
    pub endpoint: String,
    pub display_name: String,
    pub name: StoreName,
    /// It was found, or made, by its display name.
    pub by_display_name: bool,
    /// Whether its service takes uploads of one request.
    pub one_request: Support,
    /// `None`: the service does not say.
    pub embedding_model: Option<String>,
}

/// The model that makes sense of images, too (fact sheet 3, 15).
const OF_IMAGES: &str = "models/gemini-embedding-2";

impl StoreRow {
    /// Whether somebody may mean it by this name.
    pub fn is_called(&self, name: &str) -> bool {
        self.display_name == name || self.name.as_str() == name
    }

    /// Whether it takes images.
    pub fn takes_images(&self) -> bool {
        self.embedding_model.as_deref() == Some(OF_IMAGES)
    }
}

const STORE: &str = "SELECT id, endpoint, display_name, name, by_display_name, one_request,
         embedding_model
     FROM stores";

statements! {
    STORE_NAMED: Single => STORE, "WHERE name = ?1";
    STORE_PINNED: Single => STORE,
        "WHERE endpoint = ?1 AND display_name = ?2 AND by_display_name = 1
         ORDER BY pinned_ms DESC, id DESC LIMIT 1";
    STORES_AT: Single => STORE, "WHERE endpoint = ?1 ORDER BY id";
    STORES: Single => STORE;
    LAST_RUN_INTO: Page => "SELECT id FROM runs WHERE store_id = ?1 ORDER BY id DESC LIMIT 1";
    STORES_OF: Single => STORE,
        "JOIN library_stores ON store_id = id WHERE library_id = ?1 ORDER BY display_name, name";
    BOOKMARK: Single =>
        "SELECT page_token, documents_before FROM stores WHERE id = ?1 AND page_token IS NOT NULL";
    OPERATION_TIMES: Single => "SELECT times_ms FROM operation_times WHERE endpoint = ?1";
    RATE: Single => "SELECT per_minute, found_ms FROM rates WHERE endpoint = ?1 AND class = ?2";
}

impl Reader {
    pub fn store_named(&self, name: &StoreName) -> Result<Option<StoreRow>, Error> {
        self.checked(STORE_NAMED.first(&self.conn, [name.as_str()], store))
    }

    /// The store that was found, or made, by its display name at a service.
    pub fn store_pinned(
        &self,
        endpoint: &str,
        display_name: &str,
    ) -> Result<Option<StoreRow>, Error> {
        self.checked(STORE_PINNED.first(&self.conn, [endpoint, display_name], store))
    }

    /// All of one service, in the order in which they became known.
    pub fn stores_at(&self, endpoint: &str) -> Result<Vec<StoreRow>, Error> {
        self.checked(STORES_AT.rows(&self.conn, [endpoint], store))
    }

    /// Every store, wherever it is, the one that a run used last first.
    pub fn stores(&self) -> Result<Vec<StoreRow>, Error> {
        let mut stores = Vec::new();
        for store in self.checked(STORES.rows(&self.conn, [], store))? {
            let run = LAST_RUN_INTO.first(&self.conn, [store.id], |r| r.get::<_, i64>(0));
            stores.push((self.checked(run)?, store));
        }
        stores.sort_by_key(|(run, store)| std::cmp::Reverse((*run, store.id)));
        Ok(stores.into_iter().map(|(_, store)| store).collect())
    }

    /// Stores that a library goes into.
    pub fn stores_of(&self, library: i64) -> Result<Vec<StoreRow>, Error> {
        self.checked(STORES_OF.rows(&self.conn, [library], store))
    }

    /// Where an earlier run stopped reading the listing of a store.
    pub fn bookmark(&self, store: i64) -> Result<Option<Bookmark>, Error> {
        let bookmark = |r: &Row<'_>| {
            Ok(Bookmark {
                token: r.get(0)?,
                documents: r.get::<_, i64>(1)?.unsigned_abs(),
            })
        };
        self.checked(BOOKMARK.first(&self.conn, [store], bookmark))
    }

    /// How long operations took, in milliseconds: times that stand for all.
    pub fn operation_times(&self, endpoint: &str) -> Result<Vec<u64>, Error> {
        let text = |r: &Row<'_>| r.get::<_, String>(0);
        let times = self.checked(OPERATION_TIMES.first(&self.conn, [endpoint], text))?;
        let times = times.unwrap_or_default();
        Ok(times.split(' ').filter_map(|ms| ms.parse().ok()).collect())
    }

    /// The rate that was found for a class of requests, and when.
    pub fn rate(&self, endpoint: &str, class: &str) -> Result<Option<(f64, UnixMs)>, Error> {
        let rate = |r: &Row<'_>| Ok((r.get(0)?, r.get(1)?));
        self.checked(RATE.first(&self.conn, [endpoint, class], rate))
    }
}

fn store(r: &Row<'_>) -> rusqlite::Result<StoreRow> {
    Ok(StoreRow {
        id: r.get(0)?,
        endpoint: r.get(1)?,
        display_name: r.get(2)?,
        name: StoreName::new(r.get::<_, String>(3)?),
        by_display_name: r.get(4)?,
        one_request: Support::parse(&r.get::<_, String>(5)?).unwrap_or(Support::Untried),
        embedding_model: r.get(6)?,
    })
}
