//! What the service holds: stores, documents, files, operations, sessions.
//!
//! Committed before it is answered, so a killed process loses nothing it has said; not synced, since
//! this is no place to keep data.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};

use crate::clock::{UnixMs, now_ms, rfc3339};
use crate::error::{Error, Kind};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS stores (
    name TEXT PRIMARY KEY, display_name TEXT NOT NULL, created_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, store TEXT NOT NULL,
    display_name TEXT NOT NULL, metadata TEXT NOT NULL, mime TEXT NOT NULL, size INTEGER NOT NULL,
    sha256 TEXT NOT NULL, created_ms INTEGER NOT NULL, ready_ms INTEGER NOT NULL,
    fails INTEGER NOT NULL, text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS documents_of_store ON documents (store, number);
CREATE TABLE IF NOT EXISTS operations (
    name TEXT PRIMARY KEY, document TEXT NOT NULL, ready_ms INTEGER NOT NULL,
    fails INTEGER NOT NULL, never_done INTEGER NOT NULL, response TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL,
    mime TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL, created_ms INTEGER NOT NULL,
    text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, target TEXT NOT NULL, request TEXT NOT NULL, mime TEXT NOT NULL,
    length INTEGER, status TEXT NOT NULL, answer_status INTEGER, answer TEXT,
    created_ms INTEGER NOT NULL);
";

pub struct Database {
    pub conn: Connection,
}

#[derive(Debug, Clone)]
pub struct Document {
    pub name: String,
    pub store: String,
    pub display_name: String,
    pub metadata: Value,
    pub mime: String,
    pub size: u64,
    pub sha256: String,
    pub created_ms: UnixMs,
    pub ready_ms: UnixMs,
    pub fails: bool,
    pub text: String,
}

impl Document {
    pub fn state(&self, now: UnixMs) -> &'static str {
        match (now < self.ready_ms, self.fails) {
            (true, _) => "STATE_PENDING",
            (false, true) => "STATE_FAILED",
            (false, false) => "STATE_ACTIVE",
        }
    }

    /// As the API shows it: what has its default value is left out.
    pub fn wire(&self, now: UnixMs) -> Value {
        let mut wire = json!({
            "name": self.name, "state": self.state(now), "sizeBytes": self.size.to_string(),
            "mimeType": self.mime, "createTime": rfc3339(self.created_ms),
            "updateTime": rfc3339(self.ready_ms.min(now)),
        });
        if !self.display_name.is_empty() {
            wire["displayName"] = json!(self.display_name);
        }
        if self.metadata.as_array().is_some_and(|m| !m.is_empty()) {
            wire["customMetadata"] = self.metadata.clone();
        }
        wire
    }
}

#[derive(Debug, Clone)]
pub struct File {
    pub name: String,
    pub display_name: String,
    pub mime: String,
    pub size: u64,
    pub sha256: String,
    pub created_ms: UnixMs,
    pub text: String,
}

#[derive(Debug, Clone)]
pub struct Session {
    pub id: String,
    /// A store's name, or `files`.
    pub target: String,
    pub request: Value,
    pub mime: String,
    pub length: Option<u64>,
    pub status: String,
    pub answer: Option<(u16, String)>,
    pub created_ms: UnixMs,
}

pub struct Operation {
    pub ready_ms: UnixMs,
    pub fails: bool,
    pub never_done: bool,
    pub response: Value,
}

type Result<T> = rusqlite::Result<T>;

impl Database {
    pub fn open(path: Option<&Path>) -> std::result::Result<Database, Error> {
        let open = || -> Result<Connection> {
            let conn = match path {
                Some(path) => Connection::open(path)?,
                None => Connection::open_in_memory()?,
            };
            conn.pragma_update(None, "journal_mode", "WAL")?;
            conn.pragma_update(None, "synchronous", "OFF")?;
            conn.set_prepared_statement_cache_capacity(64);
            conn.execute_batch(SCHEMA)?;
            Ok(conn)
        };
        let conn = open().map_err(|e| {
            Error::new(
                Kind::Database,
                path.map_or("memory".to_owned(), |p| p.display().to_string()),
                format!("the service's data cannot be opened: {e}"),
                "name another file with --data",
            )
        })?;
        Ok(Database { conn })
    }

    pub fn add_store(&self, name: &str, display_name: &str) -> Result<()> {
        self.run(
            "INSERT INTO stores VALUES (?1, ?2, ?3)",
            params![name, display_name, now_ms()],
        )
    }

    /// Name, display name, creation.
    pub fn store(&self, name: &str) -> Result<Option<(String, String, UnixMs)>> {
        self.conn
            .prepare_cached("SELECT * FROM stores WHERE name = ?1")?
            .query_row([name], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .optional()
    }

    pub fn stores(&self, skip: u64, limit: u64) -> Result<Vec<(String, String, UnixMs)>> {
        self.conn
            .prepare_cached("SELECT * FROM stores ORDER BY rowid LIMIT ?2 OFFSET ?1")?
            .query_map(params![skip as i64, limit as i64], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?))
            })?
            .collect()
    }

    pub fn delete_store(&self, name: &str) -> Result<()> {
        self.run("DELETE FROM documents WHERE store = ?1", [name])?;
        self.run("DELETE FROM stores WHERE name = ?1", [name])
    }

    /// Active, pending and failed documents, and all their bytes.
    pub fn counts(&self, store: &str, now: UnixMs) -> Result<(u64, u64, u64, u64)> {
        self.conn
            .prepare_cached(
                "SELECT sum(ready_ms <= ?2 AND NOT fails), sum(ready_ms > ?2),
                     sum(ready_ms <= ?2 AND fails), sum(size) FROM documents WHERE store = ?1",
            )?
            .query_row(params![store, now], |r| {
                let n = |i| r.get::<_, Option<i64>>(i).map(|n| n.unwrap_or(0) as u64);
                Ok((n(0)?, n(1)?, n(2)?, n(3)?))
            })
    }

    pub fn bytes_in_all(&self) -> Result<u64> {
        self.conn
            .prepare_cached("SELECT coalesce(sum(size), 0) FROM documents")?
            .query_row([], |r| r.get::<_, i64>(0).map(|n| n as u64))
    }

    pub fn add_document(&self, d: &Document) -> Result<()> {
        self.run(
            "INSERT INTO documents (name, store, display_name, metadata, mime, size, sha256,
                 created_ms, ready_ms, fails, text)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                d.name,
                d.store,
                d.display_name,
                d.metadata.to_string(),
                d.mime,
                d.size as i64,
                d.sha256,
                d.created_ms,
                d.ready_ms,
                d.fails,
                d.text
            ],
        )
    }

    pub fn document(&self, name: &str) -> Result<Option<Document>> {
        self.conn
            .prepare_cached("SELECT * FROM documents WHERE name = ?1")?
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
            .prepare_cached(
                "SELECT * FROM documents WHERE store = ?1 AND number > ?2 AND created_ms <= ?3
                 ORDER BY number LIMIT ?4",
            )?
            .query_map(params![store, after, visible_before, limit as i64], |r| {
                Ok((r.get(0)?, document(r)?))
            })?
            .collect()
    }

    /// Calls `each` for every document there is.
    pub fn each_document(&self, each: &mut dyn FnMut(Document)) -> Result<()> {
        let mut statement = self
            .conn
            .prepare_cached("SELECT * FROM documents ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(document(row)?);
        }
        Ok(())
    }

    pub fn delete_document(&self, name: &str) -> Result<()> {
        self.run("DELETE FROM documents WHERE name = ?1", [name])
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
                document.fails,
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

    pub fn add_file(&self, f: &File) -> Result<()> {
        self.run(
            "INSERT INTO files (name, display_name, mime, size, sha256, created_ms, text)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                f.name,
                f.display_name,
                f.mime,
                f.size as i64,
                f.sha256,
                f.created_ms,
                f.text
            ],
        )
    }

    pub fn file(&self, name: &str) -> Result<Option<File>> {
        self.conn
            .prepare_cached("SELECT * FROM files WHERE name = ?1")?
            .query_row([name], file)
            .optional()
    }

    pub fn files(&self, after: i64, limit: u64) -> Result<Vec<(i64, File)>> {
        self.conn
            .prepare_cached("SELECT * FROM files WHERE number > ?1 ORDER BY number LIMIT ?2")?
            .query_map(params![after, limit as i64], |r| Ok((r.get(0)?, file(r)?)))?
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

    pub fn sessions_by_status(&self) -> Result<Vec<(String, u64)>> {
        self.conn
            .prepare_cached("SELECT status, count(*) FROM sessions GROUP BY status")?
            .query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)? as u64)))?
            .collect()
    }

    /// All or nothing.
    pub fn together<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let tx = self.conn.unchecked_transaction()?;
        let done = work()?;
        tx.commit()?;
        Ok(done)
    }

    fn run(&self, sql: &str, params: impl rusqlite::Params) -> Result<()> {
        self.conn.prepare_cached(sql)?.execute(params).map(|_| ())
    }
}

fn document(r: &Row<'_>) -> Result<Document> {
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
        fails: r.get(10)?,
        text: r.get(11)?,
    })
}

fn file(r: &Row<'_>) -> Result<File> {
    Ok(File {
        name: r.get(1)?,
        display_name: r.get(2)?,
        mime: r.get(3)?,
        size: r.get::<_, i64>(4)? as u64,
        sha256: r.get(5)?,
        created_ms: r.get(6)?,
        text: r.get(7)?,
    })
}

fn parsed(r: &Row<'_>, column: usize) -> Result<Value> {
    let text: String = r.get(column)?;
    // Only this program writes it.
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}
