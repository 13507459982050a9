//! What the service holds: stores, documents, files, operations, sessions.
//!
//! Committed before it is answered, so a killed process loses nothing it has said; not synced, since
//! this is no place to keep data.

use std::fs::File;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde_json::Value;

use super::data_file::{self, DataFile};
use super::records::{Document, End, Moment, Operation, Searchable, Session, Store, StoredFile};
use crate::clock::UnixMs;
use crate::error::Error;

/// A number never comes twice (`AUTOINCREMENT`), since page tokens hold it: what is listed after a
/// deletion goes on at the same place.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS stores (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL, created_ms INTEGER NOT NULL,
    embedding_model TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, store TEXT NOT NULL,
    display_name TEXT NOT NULL, metadata TEXT NOT NULL, mime TEXT NOT NULL, size INTEGER NOT NULL,
    sha256 TEXT NOT NULL, created_ms INTEGER NOT NULL, ready_ms INTEGER NOT NULL,
    fails INTEGER NOT NULL, chunk_words INTEGER NOT NULL, chunk_overlap INTEGER NOT NULL,
    text TEXT NOT NULL);
CREATE VIRTUAL TABLE IF NOT EXISTS passages USING fts5 (
    text, content = '', contentless_delete = 1, tokenize = 'porter unicode61');
CREATE INDEX IF NOT EXISTS documents_of_store ON documents (store, number);
CREATE TABLE IF NOT EXISTS operations (
    name TEXT PRIMARY KEY, document TEXT NOT NULL, ready_ms INTEGER NOT NULL,
    fails INTEGER NOT NULL, never_done INTEGER NOT NULL, response TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL,
    mime TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL, created_ms INTEGER NOT NULL,
    text TEXT NOT NULL, fails INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, target TEXT NOT NULL, request TEXT NOT NULL, mime TEXT NOT NULL,
    length INTEGER, status TEXT NOT NULL, answer_status INTEGER, answer TEXT,
    created_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS ghosts (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, store TEXT NOT NULL, wire TEXT NOT NULL,
    deleted_ms INTEGER NOT NULL);
";

/// The columns that `document` reads: all but the text, which only a search wants.
pub const DOCUMENT: &str =
    "number, name, store, display_name, metadata, mime, size, sha256, created_ms,
     ready_ms, fails";

pub struct Database {
    pub conn: Connection,
    /// Nobody else opens the data while this is open.
    _lock: Option<File>,
}

type Result<T> = rusqlite::Result<T>;

impl Database {
    pub fn open(file: Option<DataFile<'_>>) -> std::result::Result<Database, Error> {
        let (conn, lock) = match file {
            Some(file) => file.open(SCHEMA).map(|(conn, lock)| (conn, Some(lock)))?,
            None => (data_file::in_memory(SCHEMA)?, None),
        };
        conn.set_prepared_statement_cache_capacity(64);
        Ok(Database { conn, _lock: lock })
    }

    pub fn add_store(
        &self,
        name: &str,
        display_name: &str,
        embedding_model: &str,
        now: UnixMs,
    ) -> Result<()> {
        self.run(
            "INSERT INTO stores (name, display_name, created_ms, embedding_model)
             VALUES (?1, ?2, ?3, ?4)",
            params![name, display_name, now, embedding_model],
        )
    }

    pub fn store(&self, name: &str) -> Result<Option<Store>> {
        self.conn
            .prepare_cached("SELECT * FROM stores WHERE name = ?1")?
            .query_row([name], store)
            .optional()
    }

    /// In order of creation, from `after` on, as far as they are visible.
    pub fn stores(&self, after: i64, visible_before: UnixMs, limit: u64) -> Result<Vec<Store>> {
        self.conn
            .prepare_cached(
                "SELECT * FROM stores WHERE number > ?1 AND created_ms <= ?2
                 ORDER BY number LIMIT ?3",
            )?
            .query_map(params![after, visible_before, limit as i64], store)?
            .collect()
    }

    /// Whether there is a store that was made after this.
    pub fn has_store_since(&self, ms: UnixMs) -> Result<bool> {
        self.conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM stores WHERE created_ms > ?1)")?
            .query_row([ms], |r| r.get(0))
    }

    pub fn has_document_since(&self, store: &str, ms: UnixMs) -> Result<bool> {
        self.conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM documents WHERE store = ?1 AND created_ms > ?2)",
            )?
            .query_row(params![store, ms], |r| r.get(0))
    }

    pub fn delete_store(&self, name: &str) -> Result<()> {
        let numbers: Vec<i64> = self
            .conn
            .prepare_cached("SELECT number FROM documents WHERE store = ?1")?
            .query_map([name], |r| r.get(0))?
            .collect::<Result<_>>()?;
        self.run("DELETE FROM documents WHERE store = ?1", [name])?;
        for number in numbers {
            self.forget_passages(number)?;
        }
        self.run("UPDATE ghosts SET store = '' WHERE store = ?1", [name])?;
        self.run("DELETE FROM stores WHERE name = ?1", [name])
    }

    /// Active, pending and failed documents, and all their bytes.
    pub fn counts(&self, store: &str, at: &Moment) -> Result<(u64, u64, u64, u64)> {
        self.conn
            .prepare_cached(
                "SELECT sum(ready AND NOT failed), sum(NOT ready), sum(ready AND failed), sum(size)
                 FROM (SELECT ready_ms <= ?2 AS ready, size,
                           fails = 1 OR (fails = 2 AND ready_ms > ?3) AS failed
                       FROM documents WHERE store = ?1)",
            )?
            .query_row(params![store, at.now, at.healed], |r| {
                let n = |i| r.get::<_, Option<i64>>(i).map(|n| n.unwrap_or(0) as u64);
                Ok((n(0)?, n(1)?, n(2)?, n(3)?))
            })
    }

    /// Documents of all stores that are being indexed.
    pub fn under_way(&self, now: UnixMs) -> Result<u64> {
        self.conn
            .prepare_cached("SELECT count(*) FROM documents WHERE ready_ms > ?1")?
            .query_row([now], |r| r.get::<_, i64>(0).map(|n| n as u64))
    }

    pub fn bytes_in_all(&self) -> Result<u64> {
        self.conn
            .prepare_cached("SELECT coalesce(sum(size), 0) FROM documents")?
            .query_row([], |r| r.get::<_, i64>(0).map(|n| n as u64))
    }

    /// `false`: there is no such store (any more), and no document came to be.
    pub fn add_document(&self, d: &Document, content: &Searchable) -> Result<bool> {
        let mut statement = self.conn.prepare_cached(
            "INSERT INTO documents (name, store, display_name, metadata, mime, size, sha256,
                 created_ms, ready_ms, fails, text, chunk_words, chunk_overlap)
             SELECT ?1, name, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13
             FROM stores WHERE name = ?2",
        )?;
        let added = statement.execute(params![
            d.name,
            d.store,
            d.display_name,
            d.metadata.to_string(),
            d.mime,
            d.size as i64,
            d.sha256,
            d.created_ms,
            d.ready_ms,
            d.end as i64,
            content.text,
            content.chunking.words,
            content.chunking.overlap
        ])?;
        Ok(added > 0)
    }

    pub fn document(&self, name: &str) -> Result<Option<Document>> {
        self.conn
            .prepare_cached(&of_documents("WHERE name = ?1"))?
            .query_row([name], document)
            .optional()
    }

    /// In order of creation, from `after` on, as far as they are visible.
    pub fn documents(
        &self,
        store: &str,
        after: i64,
        visible_before: UnixMs,
        limit: u64,
    ) -> Result<Vec<(i64, Document)>> {
        self.conn
            .prepare_cached(&of_documents(
                "WHERE store = ?1 AND number > ?2 AND created_ms <= ?3 ORDER BY number LIMIT ?4",
            ))?
            .query_map(params![store, after, visible_before, limit as i64], |r| {
                Ok((r.get(0)?, document(r)?))
            })?
            .collect()
    }

    /// The last so many of them up to `end`, in order of creation.
    pub fn documents_up_to(
        &self,
        store: &str,
        end: i64,
        limit: u64,
    ) -> Result<Vec<(i64, Document)>> {
        let mut found: Vec<_> = self
            .conn
            .prepare_cached(&of_documents(
                "WHERE store = ?1 AND number <= ?2 ORDER BY number DESC LIMIT ?3",
            ))?
            .query_map(params![store, end, limit as i64], |r| {
                Ok((r.get(0)?, document(r)?))
            })?
            .collect::<Result<_>>()?;
        found.reverse();
        Ok(found)
    }

    /// What a deleted document looked like stays in lists.
    pub fn add_ghost(&self, document: &Document, at: &Moment) -> Result<()> {
        self.run(
            "INSERT INTO ghosts (number, name, store, wire, deleted_ms)
             SELECT number, name, store, ?2, ?3 FROM documents WHERE name = ?1",
            params![document.name, document.wire(at).to_string(), at.now],
        )
    }

    /// Documents deleted later than this, as they were.
    pub fn ghosts(
        &self,
        store: &str,
        after: i64,
        since: UnixMs,
        limit: u64,
    ) -> Result<Vec<(i64, Value)>> {
        self.conn
            .prepare_cached(
                "SELECT number, wire FROM ghosts WHERE store = ?1 AND number > ?2
                     AND deleted_ms > ?3 ORDER BY number LIMIT ?4",
            )?
            .query_map(params![store, after, since, limit as i64], |r| {
                Ok((r.get(0)?, parsed(r, 1)?))
            })?
            .collect()
    }

    /// Those of the store whose metadata have this text in them.
    pub fn documents_saying(&self, store: &str, text: &str) -> Result<Vec<Document>> {
        let text = Value::from(text).to_string();
        self.conn
            .prepare_cached(&of_documents(
                "WHERE store = ?1 AND instr(metadata, ?2) > 0",
            ))?
            .query_map([store, &text], document)?
            .collect()
    }

    /// Calls `each` for every document there is.
    pub fn each_document(&self, each: &mut dyn FnMut(Document)) -> Result<()> {
        let mut statement = self.conn.prepare_cached(&of_documents("ORDER BY number"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(document(row)?);
        }
        Ok(())
    }

    pub fn delete_document(&self, name: &str) -> Result<()> {
        let number: Option<i64> = self
            .conn
            .prepare_cached("DELETE FROM documents WHERE name = ?1 RETURNING number")?
            .query_row([name], |r| r.get(0))
            .optional()?;
        number.map_or(Ok(()), |number| self.forget_passages(number))
    }

    pub fn add_operation(
        &self,
        name: &str,
        document: &Document,
        never_done: bool,
        response: &Value,
    ) -> Result<()> {
        self.run(
            "INSERT INTO operations VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                name,
                document.name,
                document.ready_ms,
                document.end == End::Failed,
                never_done,
                response.to_string()
            ],
        )
    }

    pub fn operation(&self, name: &str) -> Result<Option<Operation>> {
        self.conn
            .prepare_cached(
                "SELECT ready_ms, fails, never_done, response FROM operations WHERE name = ?1",
            )?
            .query_row([name], |r| {
                Ok(Operation {
                    ready_ms: r.get(0)?,
                    fails: r.get(1)?,
                    never_done: r.get(2)?,
                    response: parsed(r, 3)?,
                })
            })
            .optional()
    }

    pub fn add_file(&self, f: &StoredFile) -> Result<()> {
        self.run(
            "INSERT INTO files (name, display_name, mime, size, sha256, created_ms, text, fails)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                f.name,
                f.display_name,
                f.mime,
                f.size as i64,
                f.sha256,
                f.created_ms,
                f.text,
                f.fails
            ],
        )
    }

    pub fn file(&self, name: &str) -> Result<Option<StoredFile>> {
        self.conn
            .prepare_cached("SELECT * FROM files WHERE name = ?1")?
            .query_row([name], file)
            .optional()
    }

    /// Made later than this, in order of creation.
    pub fn files(&self, after: i64, since: UnixMs, limit: u64) -> Result<Vec<(i64, StoredFile)>> {
        self.conn
            .prepare_cached(
                "SELECT * FROM files WHERE number > ?1 AND created_ms > ?2
                 ORDER BY number LIMIT ?3",
            )?
            .query_map(params![after, since, limit as i64], |r| {
                Ok((r.get(0)?, file(r)?))
            })?
            .collect()
    }

    pub fn delete_file(&self, name: &str) -> Result<()> {
        self.run("DELETE FROM files WHERE name = ?1", [name])
    }

    pub fn add_session(&self, s: &Session) -> Result<()> {
        self.run(
            "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, NULL, ?7)",
            params![
                s.id,
                s.target,
                s.request.to_string(),
                s.mime,
                s.length.map(|n| n as i64),
                s.status,
                s.created_ms
            ],
        )
    }

    pub fn session(&self, id: &str) -> Result<Option<Session>> {
        self.conn
            .prepare_cached("SELECT * FROM sessions WHERE id = ?1")?
            .query_row([id], |r| {
                let status: Option<u16> = r.get(6)?;
                let body: Option<String> = r.get(7)?;
                Ok(Session {
                    id: r.get(0)?,
                    target: r.get(1)?,
                    request: parsed(r, 2)?,
                    mime: r.get(3)?,
                    length: r.get::<_, Option<i64>>(4)?.map(|n| n as u64),
                    status: r.get(5)?,
                    answer: status.zip(body),
                    created_ms: r.get(8)?,
                })
            })
            .optional()
    }

    pub fn end_session(&self, id: &str, status: &str, answer: Option<(u16, &str)>) -> Result<()> {
        self.run(
            "UPDATE sessions SET status = ?2, answer_status = ?3, answer = ?4 WHERE id = ?1",
            params![id, status, answer.map(|a| a.0), answer.map(|a| a.1)],
        )
    }

    /// Forgets everything. Numbers go on, so that no page token of before finds anything of afterwards.
    pub fn clear(&self) -> Result<()> {
        self.together(|| self.forget())
    }

    /// The same within a transaction.
    pub(super) fn forget(&self) -> Result<()> {
        self.conn.execute_batch(
            "DELETE FROM documents; DELETE FROM operations; DELETE FROM files; DELETE FROM sessions;
             DELETE FROM ghosts; DELETE FROM stores; INSERT INTO passages (passages) VALUES ('delete-all');",
        )
    }

    pub fn sessions_by_status(&self) -> Result<Vec<(String, u64)>> {
        self.conn
            .prepare_cached("SELECT status, count(*) FROM sessions GROUP BY status")?
            .query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)? as u64)))?
            .collect()
    }

    /// All or nothing.
    pub fn together<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let tx = self.begin()?;
        let done = work()?;
        tx.commit()?;
        Ok(done)
    }

    /// It takes its turn at the start: one that only reads at first may not be able to write at all, once another
    /// process has written in between.
    pub(super) fn begin(&self) -> Result<Transaction<'_>> {
        Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)
    }

    fn run(&self, sql: &str, params: impl rusqlite::Params) -> Result<()> {
        self.conn.prepare_cached(sql)?.execute(params).map(|_| ())
    }
}

fn store(r: &Row<'_>) -> Result<Store> {
    Ok(Store {
        number: r.get(0)?,
        name: r.get(1)?,
        display_name: r.get(2)?,
        created_ms: r.get(3)?,
        embedding_model: r.get(4)?,
    })
}

fn of_documents(which: &str) -> String {
    format!("SELECT {DOCUMENT} FROM documents {which}")
}

/// A row that begins with the columns of `DOCUMENT`.
pub fn document(r: &Row<'_>) -> Result<Document> {
    Ok(Document {
        name: r.get(1)?,
        store: r.get(2)?,
        display_name: r.get(3)?,
        metadata: parsed(r, 4)?,
        mime: r.get(5)?,
        size: r.get::<_, i64>(6)? as u64,
        sha256: r.get(7)?,
        created_ms: r.get(8)?,
        ready_ms: r.get(9)?,
        end: match r.get(10)? {
            0 => End::Active,
            1 => End::Failed,
            _ => End::FailedAlone,
        },
    })
}

fn file(r: &Row<'_>) -> Result<StoredFile> {
    Ok(StoredFile {
        name: r.get(1)?,
        display_name: r.get(2)?,
        mime: r.get(3)?,
        size: r.get::<_, i64>(4)? as u64,
        sha256: r.get(5)?,
        created_ms: r.get(6)?,
        text: r.get(7)?,
        fails: r.get(8)?,
    })
}

fn parsed(r: &Row<'_>, column: usize) -> Result<Value> {
    let text: String = r.get(column)?;
    // Only this program writes it.
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}
