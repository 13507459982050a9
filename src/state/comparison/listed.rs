//! What a listing of the store showed, in a private table that SQLite keeps on disk and deletes by
//! itself: a store may hold a million documents.
//!
//! Promises: a document that was shown twice is in it once; memory does not grow with the listing.

use rusqlite::{Connection, Row, params};

use crate::error::Error;
use crate::identity::{ContentKey, Identity, Sha256, Variant};
use crate::names::DocumentName;
use crate::state::open;

/// One document, as far as it matters whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDocument {
    pub name: DocumentName,
    /// Of a document that objlib made.
    pub identity: Option<Identity>,
    pub size_bytes: Option<u64>,
    pub state: Shown,
}

/// What the listing said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Pending,
    Active,
    Failed,
}

pub struct ListedDocuments {
    conn: Connection,
}

/// What SQLite keeps in memory of a private table. The rest lies in its file, which the system caches
/// as it caches every file, so that more would only count against the memory of this process.
const CACHE_KIB: i64 = 1024;

impl ListedDocuments {
    pub fn new() -> Result<ListedDocuments, Error> {
        let schema =
            "CREATE TABLE documents (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
                 library TEXT, path TEXT, sha256 BLOB, variant BLOB, size_bytes INTEGER,
                 state INTEGER NOT NULL) STRICT;
             CREATE TABLE pages (token TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;";
        Ok(ListedDocuments {
            conn: private(schema).map_err(|e| failed(&e))?,
        })
    }

    /// Notes that the listing goes on at this page token. `false`: it has been there before, so that it
    /// would go in circles.
    pub fn add_page(&self, token: &str) -> Result<bool, Error> {
        self.conn
            .prepare_cached("INSERT OR IGNORE INTO pages (token) VALUES (?1)")
            .and_then(|mut s| s.execute([token]))
            .map(|added| added > 0)
            .map_err(|e| failed(&e))
    }

    pub fn add(&self, document: &ListedDocument) -> Result<(), Error> {
        let identity = document.identity.as_ref();
        self.conn
            .prepare_cached(
                "INSERT OR IGNORE INTO documents (name, library, path, sha256, variant, size_bytes,
                     state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )
            .and_then(|mut s| {
                s.execute(params![
                    document.name.as_str(),
                    identity.map(|i| &i.library),
                    identity.map(|i| &i.path),
                    identity.map(|i| i.content.sha256.as_bytes().as_slice()),
                    identity.map(|i| i.content.variant.as_bytes().as_slice()),
                    document.size_bytes.map(|n| n as i64),
                    document.state as i64
                ])
            })
            .map(|_| ())
            .map_err(|e| failed(&e))
    }

    pub fn count(&self) -> Result<u64, Error> {
        self.conn
            .query_row("SELECT count(*) FROM documents", [], |r| r.get::<_, i64>(0))
            .map(|n| n.unsigned_abs())
            .map_err(|e| failed(&e))
    }

    pub fn find(&self, name: &DocumentName) -> Result<Option<ListedDocument>, Error> {
        let found = |_: &Connection| {
            let mut statement = self
                .conn
                .prepare_cached(&format!("{LISTED} WHERE name = ?1"))?;
            let mut rows = statement.query_map([name.as_str()], listed)?;
            rows.next().transpose()
        };
        found(&self.conn).map_err(|e: rusqlite::Error| failed(&e))
    }

    /// Every document, oldest first.
    pub fn each(
        &self,
        each: &mut dyn FnMut(ListedDocument) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut statement = self
            .conn
            .prepare_cached(&format!("{LISTED} ORDER BY number"))
            .map_err(|e| failed(&e))?;
        let mut rows = statement.query([]).map_err(|e| failed(&e))?;
        while let Some(row) = rows.next().map_err(|e| failed(&e))? {
            each(listed(row).map_err(|e| failed(&e))?)?;
        }
        Ok(())
    }
}

const LISTED: &str =
    "SELECT name, library, path, sha256, variant, size_bytes, state FROM documents";

fn listed(r: &Row<'_>) -> rusqlite::Result<ListedDocument> {
    let blob = |i| r.get::<_, Option<Vec<u8>>>(i);
    let identity = match (r.get(1)?, r.get(2)?, blob(3)?, blob(4)?) {
        (Some(library), Some(path), Some(sha256), Some(variant)) => {
            let content = Sha256::from_slice(&sha256).zip(Variant::from_slice(&variant));
            content.map(|(sha256, variant)| Identity {
                library,
                path,
                content: ContentKey { sha256, variant },
            })
        }
        _ => None,
    };
    Ok(ListedDocument {
        name: DocumentName::new(r.get::<_, String>(0)?),
        identity,
        size_bytes: r.get::<_, Option<i64>>(5)?.map(i64::unsigned_abs),
        state: match r.get(6)? {
            0 => Shown::Pending,
            1 => Shown::Active,
            _ => Shown::Failed,
        },
    })
}

/// A database of its own in a temporary file that nobody else can open and that SQLite deletes with the
/// connection. Everything happens in one transaction without a journal: a table that is needed no longer
/// than this process has nothing to recover.
pub(in crate::state) fn private(schema: &str) -> rusqlite::Result<Connection> {
    // An empty name asks for such a file.
    let conn = Connection::open("")?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "journal_mode", "OFF")?;
    conn.execute_batch(schema)?;
    conn.execute_batch("BEGIN")?;
    Ok(conn)
}

pub(in crate::state) fn failed(e: &rusqlite::Error) -> Error {
    open::error(&std::env::temp_dir(), e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_is_shown_twice_counts_once() {
        let listed = ListedDocuments::new().unwrap();
        let document = ListedDocument {
            name: DocumentName::new("fileSearchStores/s/documents/d"),
            identity: Some(Identity {
                library: "docs".to_owned(),
                path: "a.md".to_owned(),
                content: ContentKey {
                    sha256: Sha256::of(b"a"),
                    variant: Variant::of("docs", &[]),
                },
            }),
            size_bytes: Some(1),
            state: Shown::Active,
        };
        listed.add(&document).unwrap();
        listed.add(&document).unwrap();
        assert_eq!(listed.count().unwrap(), 1);
        assert_eq!(listed.find(&document.name).unwrap(), Some(document));
    }

    #[test]
    fn a_page_token_that_comes_again_is_known() {
        let listed = ListedDocuments::new().unwrap();
        let came = ["a", "b", "A", "a"].map(|token| listed.add_page(token).unwrap());
        assert_eq!(came, [true, true, true, false]);
    }
}
