//! Libraries: their names, their roots, where they go. There are as many as somebody has named, so all of
//! them are read at once.

use std::path::PathBuf;
use std::rc::Rc;

use rusqlite::types::{ToSqlOutput, Value};
use rusqlite::{Row, ToSql, params};

use super::Reader;
use crate::clock::UnixMs;
use crate::error::Error;
use crate::state::statement::statements;

/// A folder under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryRow {
    pub id: i64,
    pub name: String,
    pub root: PathBuf,
    /// Rules, constants, types and chunking, as the scan wrote them.
    pub settings: String,
    /// A scan of it has come to its end.
    pub scanned_ms: Option<UnixMs>,
}

/// Some libraries, as statements take them.
#[derive(Debug, Clone)]
pub struct Libraries(Vec<i64>);

impl Libraries {
    pub fn ids(&self) -> &[i64] {
        &self.0
    }
}

impl FromIterator<i64> for Libraries {
    fn from_iter<I: IntoIterator<Item = i64>>(ids: I) -> Libraries {
        Libraries(ids.into_iter().collect())
    }
}

/// As the table that `rarray` makes of it.
impl ToSql for Libraries {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let ids: Vec<Value> = self.0.iter().copied().map(Value::from).collect();
        Ok(ToSqlOutput::from_rc(Rc::new(ids), c"rarray"))
    }
}

const LIBRARY: &str = "SELECT id, name, root, scanned_ms, settings FROM libraries";

statements! {
    LIBRARIES: Single => LIBRARY, "ORDER BY name";
    LIBRARY_NAMED: Single => LIBRARY, "WHERE name = ?1";
    LINKED: Single => LIBRARY,
        "JOIN library_stores ON library_id = id WHERE store_id = ?1 ORDER BY name";
    NEVER_SENT: Single => LIBRARY,
        "WHERE NOT EXISTS (SELECT 1 FROM library_stores WHERE library_id = id) ORDER BY name";
    TO_QUEUE: Single =>
        "SELECT library_id FROM library_stores WHERE store_id = ?1 AND queued_to IS NOT NULL
         AND library_id IN (SELECT value FROM rarray(?2))";
    NOT_BEGUN_TO_QUEUE: Single =>
        "SELECT library_id FROM library_stores WHERE store_id = ?1 AND queued_to = ''
         AND library_id IN (SELECT value FROM rarray(?2))";
}

impl Reader {
    /// Every library, by name.
    pub fn libraries(&self) -> Result<Vec<LibraryRow>, Error> {
        self.checked(LIBRARIES.rows(&self.conn, [], library))
    }

    pub fn library_named(&self, name: &str) -> Result<Option<LibraryRow>, Error> {
        self.checked(LIBRARY_NAMED.first(&self.conn, [name], library))
    }

    /// Libraries that go into a store.
    pub fn linked(&self, store: i64) -> Result<Vec<LibraryRow>, Error> {
        self.checked(LINKED.rows(&self.conn, [store], library))
    }

    /// Libraries that go nowhere yet.
    pub fn never_sent(&self) -> Result<Vec<LibraryRow>, Error> {
        self.checked(NEVER_SENT.rows(&self.conn, [], library))
    }

    /// Those of these libraries that are linked with a store and whose files are not all queued yet.
    pub fn to_queue(&self, store: i64, libraries: &Libraries) -> Result<Vec<i64>, Error> {
        let params = params![store, libraries];
        self.checked(TO_QUEUE.rows(&self.conn, params, |r| r.get(0)))
    }

    /// Those of these libraries that are linked with a store and of whose files none is queued yet.
    pub fn not_begun_to_queue(&self, store: i64, libraries: &Libraries) -> Result<Vec<i64>, Error> {
        let params = params![store, libraries];
        self.checked(NOT_BEGUN_TO_QUEUE.rows(&self.conn, params, |r| r.get(0)))
    }
}

fn library(r: &Row<'_>) -> rusqlite::Result<LibraryRow> {
    Ok(LibraryRow {
        id: r.get(0)?,
        name: r.get(1)?,
        root: PathBuf::from(r.get::<_, String>(2)?),
        scanned_ms: r.get(3)?,
        settings: r.get(4)?,
    })
}
