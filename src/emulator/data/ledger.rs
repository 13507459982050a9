//! What really happened: for tests, which must never trust the client's word.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Value, json};

use super::database::Database;
use super::records::{Document, Moment};
use crate::clock::{UnixMs, rfc3339};
use crate::emulator::http::Head;

/// Requests kept for `/_emulator/requests`.
const REQUESTS_MAX: usize = 20_000;
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Files told of.
const FILES_MAX: u64 = 1_000_000;
/// Stores whose display names are told.
const STORES_MAX: u64 = 1_000_000;
const VIOLATIONS_MAX: usize = 100;

#[derive(Debug, Default)]
pub struct Ledger {
    record: bool,
    kinds: BTreeMap<&'static str, u64>,
    answers: BTreeMap<u16, u64>,
    resets: u64,
    body_bytes: u64,
    violations: Vec<String>,
    /// Active documents that were deleted while no other one of their library and path was active in the
    /// store, in order: a search found nothing of that file from then on.
    last_deleted: Vec<Value>,
    /// Sessions whose `query` was answered with "active", and how often: each such answer invites one
    /// more body.
    invited: HashMap<String, u32>,
    /// Number of the next request.
    next: u64,
    requests: VecDeque<Value>,
}

impl Ledger {
    pub fn new(record: bool) -> Ledger {
        Ledger {
            record,
            ..Ledger::default()
        }
    }

    pub fn invite(&mut self, session: &str) {
        *self.invited.entry(session.to_owned()).or_default() += 1;
    }

    /// Takes an invitation back; `false` if there is none, so that a body was sent blindly.
    pub fn accept(&mut self, session: &str) -> bool {
        match self.invited.get_mut(session) {
            Some(left) if *left > 1 => *left -= 1,
            Some(_) => drop(self.invited.remove(session)),
            None => return false,
        }
        true
    }

    /// The request's number.
    pub fn request(&mut self, kind: &'static str, head: &Head, now: UnixMs) -> u64 {
        *self.kinds.entry(kind).or_default() += 1;
        let number = self.next;
        self.next += 1;
        if self.record {
            let mut headers = head.headers.clone();
            if let Some(key) = headers.get_mut("x-goog-api-key") {
                *key = "present".to_owned();
            }
            let mut query = head.query.clone();
            if let Some(key) = query.get_mut("key") {
                *key = "present".to_owned();
            }
            self.requests.push_back(json!({
                "n": number, "time": rfc3339(now), "kind": kind, "method": head.method,
                "path": head.path, "query": query, "headers": headers, "body": null,
                "status": null}));
            if self.requests.len() > REQUESTS_MAX {
                self.requests.pop_front();
            }
        }
        number
    }

    fn recorded(&mut self, number: u64) -> Option<&mut Value> {
        let first = self.next - self.requests.len() as u64;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.requests.get_mut(index)
    }

    pub fn body(&mut self, number: u64, bytes: &[u8]) {
        if bytes.len() <= BODY_BYTES_MAX
            && let Some(request) = self.recorded(number)
        {
            request["body"] = serde_json::from_slice(bytes).unwrap_or(Value::Null);
        }
    }

    /// `None`: no answer came, mostly since the connection was reset.
    pub fn answered(&mut self, number: u64, status: Option<u16>) {
        match status {
            Some(status) => *self.answers.entry(status).or_default() += 1,
            None => self.resets += 1,
        }
        if let Some(request) = self.recorded(number) {
            request["status"] = json!(status);
        }
    }

    pub fn body_bytes(&mut self, n: u64) {
        self.body_bytes += n;
    }

    pub fn violation(&mut self, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what);
        }
    }

    pub fn is_recording(&self) -> bool {
        self.record
    }

    /// `others`: documents of the store, all of its path and all of its content among them.
    pub fn deleted(&mut self, document: &Document, others: &[Document], at: &Moment) {
        let is_active = |d: &Document| d.state(at) == "STATE_ACTIVE";
        let has_other = |key: &str| {
            let is_same = |d: &Document, key: &str| d.entry(key) == document.entry(key);
            let of_library = others.iter().filter(|d| is_same(d, "objlib_library"));
            let mut same = of_library.filter(|d| d.name != document.name && is_same(d, key));
            same.any(is_active)
        };
        let is_last = is_active(document) && !has_other("objlib_path");
        if is_last && self.last_deleted.len() < REQUESTS_MAX {
            let (library, path) = (
                document.entry("objlib_library"),
                document.entry("objlib_path"),
            );
            let last = json!({"store": document.store, "objlibLibrary": library, "objlibPath": path,
                "contentElsewhere": has_other("objlib_sha256")});
            self.last_deleted.push(last);
        }
    }

    pub fn requests_after(&self, after: u64) -> Value {
        let later = self
            .requests
            .iter()
            .filter(|r| r["n"].as_u64() >= Some(after));
        json!({"requests": later.collect::<Vec<_>>(), "next": self.next})
    }

    pub fn to_json(
        &self,
        database: &Database,
        at: &Moment,
        connections: u64,
    ) -> rusqlite::Result<Value> {
        let mut documents = Vec::new();
        let stores = database.stores(0, UnixMs::MAX, STORES_MAX)?;
        let names: HashMap<String, String> = stores
            .into_iter()
            .map(|store| (store.name, store.display_name))
            .collect();
        // Store, library, path and content: what may be there once.
        let mut identities: HashMap<[String; 4], u64> = HashMap::new();
        database.each_document(&mut |d| {
            let (library, path) = (d.entry("objlib_library"), d.entry("objlib_path"));
            let identity = [
                d.store.clone(),
                library.unwrap_or_default().to_owned(),
                path.unwrap_or(&d.name).to_owned(),
                d.sha256.clone(),
            ];
            *identities.entry(identity).or_default() += 1;
            documents.push(json!({
                "store": d.store, "storeDisplayName": names.get(&d.store),
                "name": d.name, "displayName": d.display_name,
                "objlibLibrary": library, "objlibPath": path, "metadataSha256": d.entry("objlib_sha256"),
                "customMetadata": d.metadata,
                "sha256": d.sha256, "sizeBytes": d.size, "mimeType": d.mime,
                "state": d.state(at), "createTime": rfc3339(d.created_ms),
                "updateTime": rfc3339(d.ready_ms.min(at.now))}));
        })?;
        let answers: BTreeMap<String, u64> = self
            .answers
            .iter()
            .map(|(status, n)| (status.to_string(), *n))
            .collect();
        let sessions: BTreeMap<String, u64> = database.sessions_by_status()?.into_iter().collect();
        let files = database.files(0, UnixMs::MIN, FILES_MAX)?;
        let kept = files.iter().filter(|(_, f)| f.is_kept(at));
        let kept: Vec<&str> = kept.map(|(_, f)| f.name.as_str()).collect();
        Ok(json!({
            "documents": documents,
            "duplicates": identities.values().filter(|n| **n > 1).count(),
            "files": files.len(), "temporaryFiles": kept, "sessions": sessions,
            "requests": self.kinds, "requestsTotal": self.next, "answers": answers, "resets": self.resets,
            "bodyBytes": self.body_bytes, "connections": connections,
            "violations": self.violations, "lastDeleted": self.last_deleted}))
    }
}
