//! `documents` of a store: get, list a page, delete.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::client::failure::refusal::About;
use crate::client::failure::{Failure, FailureKind};
use crate::client::wire::agent::Client;
use crate::client::wire::json::Int64;
use crate::client::wire::send::{Call, HttpMethod, escaped};
use crate::clock;
use crate::identity::{Chunking, Identity, MetadataEntry};
use crate::names::{DocumentName, StoreName};
use crate::throttle::Class;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentState {
    Pending,
    Active,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub name: DocumentName,
    pub state: DocumentState,
    /// Of a document that objlib made.
    pub identity: Option<Identity>,
    /// As the service counts it; `None`: it does not say.
    pub size_bytes: Option<u64>,
    /// From its creation to its last change, by the service's clock: of an active one, how long it took.
    pub changed_after: Option<Duration>,
}

#[derive(Debug)]
pub struct DocumentsPage {
    pub documents: Vec<Document>,
    pub next: Option<String>,
}

/// Metadata, and how the document is cut into chunks, in the request of an upload or an import.
pub(in crate::client) fn describe(request: &mut serde_json::Value, metadata: &[MetadataEntry]) {
    request["customMetadata"] = json!(metadata);
    if let Some(chunking) = Chunking::of(metadata) {
        request["chunkingConfig"] = json!({"whiteSpaceConfig": {
            "maxTokensPerChunk": chunking.tokens_max(),
            "maxOverlapTokens": chunking.overlap_tokens(),
        }});
    }
}

/// As many as the service lists at once (fact sheet 11).
pub const PAGE_DOCUMENTS_MAX: u8 = 20;

/// A page of documents with their display names, to be shown.
#[derive(Debug)]
pub struct ShownPage {
    pub documents: Vec<(Document, String)>,
    pub next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDocument {
    name: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    size_bytes: Option<Int64>,
    #[serde(default)]
    create_time: String,
    #[serde(default)]
    update_time: String,
    /// Any shape: what is not ours may look different.
    #[serde(default)]
    custom_metadata: Vec<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireList {
    documents: Vec<WireDocument>,
    next_page_token: String,
}

impl WireDocument {
    fn read(self, name: DocumentName) -> Document {
        let entries: Vec<MetadataEntry> = self
            .custom_metadata
            .into_iter()
            .filter_map(|entry| serde_json::from_value(entry).ok())
            .collect();
        let state = match self.state.as_str() {
            "STATE_ACTIVE" => DocumentState::Active,
            "STATE_FAILED" => DocumentState::Failed,
            // Absent and unknown states are not news.
            _ => DocumentState::Pending,
        };
        Document {
            name,
            state,
            identity: Identity::read(&entries),
            // A zero is left out (fact sheet 2); of one that is not through yet, nothing may be counted.
            size_bytes: match (state, self.size_bytes) {
                (DocumentState::Active, None) => Some(0),
                (_, size) => size.and_then(|size| size.0),
            },
            changed_after: clock::between(&self.create_time, &self.update_time),
        }
    }
}

impl WireList {
    fn shown(self, store: &StoreName) -> Result<ShownPage, Failure> {
        let read = |mut wire: WireDocument| match DocumentName::of_store(store, &wire.name) {
            Some(name) => {
                let display_name = std::mem::take(&mut wire.display_name);
                Ok((wire.read(name), display_name))
            }
            None => Err(Failure::new(
                FailureKind::BadAnswer,
                format!(
                    "the listing names `{}`, which is no document of this store",
                    wire.name
                ),
            )),
        };
        Ok(ShownPage {
            documents: self
                .documents
                .into_iter()
                .map(read)
                .collect::<Result<_, _>>()?,
            next: Some(self.next_page_token).filter(|token| !token.is_empty()),
        })
    }

    fn read(self, store: &StoreName) -> Result<DocumentsPage, Failure> {
        let ShownPage { documents, next } = self.shown(store)?;
        let documents = documents.into_iter().map(|(document, _)| document);
        Ok(DocumentsPage {
            documents: documents.collect(),
            next,
        })
    }
}

fn page_call(step: &'static str, store: &StoreName, page_token: Option<&str>) -> Call<'static> {
    page_of(PAGE_DOCUMENTS_MAX, step, store, page_token)
}

fn page_of(
    size: u8,
    step: &'static str,
    store: &StoreName,
    page_token: Option<&str>,
) -> Call<'static> {
    let mut path = format!("{store}/documents?pageSize={size}");
    if let Some(token) = page_token {
        path.push_str("&pageToken=");
        path.push_str(&escaped(token));
    }
    Call::new(step, Class::Read, About::Store, HttpMethod::Get, path)
}

impl Client {
    /// A poll: one try, since whoever polls has its own schedule.
    pub fn document(&self, name: &DocumentName) -> Result<Document, Failure> {
        self.sent.polls.fetch_add(1, Relaxed);
        let path = name.as_str().to_owned();
        let call = Call::new(
            "document get",
            Class::Read,
            About::Object,
            HttpMethod::Get,
            path,
        );
        let wire: WireDocument = self.call_once(&call)?.json()?;
        // It was asked for by its name; what the answer calls it changes nothing.
        Ok(wire.read(name.clone()))
    }

    /// 20 a page, which is the most (fact sheet 11); oldest first.
    pub fn documents_page(
        &self,
        store: &StoreName,
        page_token: Option<&str>,
    ) -> Result<DocumentsPage, Failure> {
        let call = page_call("list", store, page_token);
        self.ask::<WireList>(&call)?.read(store)
    }

    /// The same to be shown, `size` of them at the most.
    pub fn documents_shown(
        &self,
        store: &StoreName,
        page_token: Option<&str>,
        size: u8,
    ) -> Result<ShownPage, Failure> {
        let call = page_of(size, "list", store, page_token);
        self.ask::<WireList>(&call)?.shown(store)
    }

    /// The same as a poll of all that the page shows: one try.
    pub fn look_at_page(
        &self,
        store: &StoreName,
        page_token: Option<&str>,
    ) -> Result<DocumentsPage, Failure> {
        self.sent.polls.fetch_add(1, Relaxed);
        let call = page_call("look at page", store, page_token);
        self.call_once(&call)?.json::<WireList>()?.read(store)
    }

    /// With its chunks. That it is not there (any more) is success.
    pub fn delete_document(&self, name: &DocumentName) -> Result<(), Failure> {
        let path = format!("{name}?force=true");
        let call = Call::new(
            "delete",
            Class::Write,
            About::Object,
            HttpMethod::Delete,
            path,
        );
        self.delete(&call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_active_document_without_a_size_holds_nothing() {
        let size = |rest: &str| {
            let json = format!(r#"{{"name": "d" {rest}}}"#);
            let wire: WireDocument = serde_json::from_str(&json).unwrap();
            let name = DocumentName::new("fileSearchStores/s/documents/d".to_owned());
            wire.read(name).size_bytes
        };
        assert_eq!(size(r#", "state": "STATE_ACTIVE""#), Some(0));
        assert_eq!(
            size(r#", "state": "STATE_ACTIVE", "sizeBytes": "7""#),
            Some(7)
        );
        assert_eq!(size(r#", "state": "STATE_PENDING""#), None);
        assert_eq!(size(""), None);
    }
}
