//! `fileSearchStores`: list, get, create, delete.

use std::collections::HashSet;

use serde::Deserialize;

use crate::client::failure::refusal::About;
use crate::client::failure::{Failure, FailureKind};
use crate::client::wire::agent::Client;
use crate::client::wire::json::Int64;
use crate::client::wire::send::{Call, HttpMethod, escaped};
use crate::identity::Sha256;
use crate::names::StoreName;
use crate::throttle::Class;

/// Pages of 20; a project has been seen with 76 stores.
const PAGES_MAX: usize = 1000;
/// Stores of one name that are kept: two are too many already, and these are named to the user.
const STORES_MAX: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    pub name: StoreName,
    pub display_name: String,
    /// When it was created, in RFC 3339 without the `Z` at its end, so that of two the text of the older one
    /// is the smaller, however many digits a second has. Empty: the service does not say.
    pub created: String,
    /// Documents by state, as the service counts them.
    pub active: u64,
    pub pending: u64,
    pub failed: u64,
    /// What its documents were made of.
    pub size_bytes: u64,
    /// `None`: the service does not say.
    pub embedding_model: Option<String>,
}

impl Store {
    /// In any state.
    pub fn documents(&self) -> u64 {
        self.active
            .saturating_add(self.pending)
            .saturating_add(self.failed)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireStore {
    name: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    create_time: String,
    #[serde(default)]
    active_documents_count: Int64,
    #[serde(default)]
    pending_documents_count: Int64,
    #[serde(default)]
    failed_documents_count: Int64,
    #[serde(default)]
    size_bytes: Int64,
    #[serde(default)]
    embedding_model: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireList {
    file_search_stores: Vec<WireStore>,
    next_page_token: String,
}

impl From<WireStore> for Store {
    fn from(wire: WireStore) -> Store {
        // A count of zero is left out (fact sheet 2).
        let count = |n: Int64| n.0.unwrap_or(0);
        Store {
            name: StoreName::new(wire.name),
            display_name: wire.display_name,
            created: wire.create_time.trim_end_matches('Z').to_owned(),
            active: count(wire.active_documents_count),
            pending: count(wire.pending_documents_count),
            failed: count(wire.failed_documents_count),
            size_bytes: count(wire.size_bytes),
            embedding_model: wire.embedding_model,
        }
    }
}

/// A page of the account's stores.
fn listing(path: String) -> Call<'static> {
    let (class, about) = (Class::Read, About::Account);
    Call::new("store list", class, about, HttpMethod::Get, path)
}

impl Client {
    /// One look at the account, which changes nothing and is not repeated: whether the service is there and
    /// takes the key. Answers what the service says its time is.
    pub fn greet(&self) -> Result<Option<String>, Failure> {
        let answer = self.call_once(&listing("fileSearchStores?pageSize=1".to_owned()))?;
        answer.json::<WireList>()?;
        Ok(answer.header("date").map(str::to_owned))
    }

    /// The stores of this display name, which need not be unique; `STORES_MAX` of them at the most.
    pub fn find_stores(&self, display_name: &str) -> Result<Vec<Store>, Failure> {
        let mut stores = Vec::new();
        self.each_store(&mut |store| {
            if store.display_name == display_name {
                stores.push(store);
            }
            stores.len() < STORES_MAX
        })?;
        Ok(stores)
    }

    /// Calls `take` with the account's stores, oldest first, as long as it wants more. A listing that did
    /// not end properly is an error, never a short list.
    pub fn each_store(&self, take: &mut dyn FnMut(Store) -> bool) -> Result<(), Failure> {
        let mut token = String::new();
        let mut seen = HashSet::new();
        for _ in 0..PAGES_MAX {
            let path = match token.is_empty() {
                true => "fileSearchStores?pageSize=20".to_owned(),
                false => format!("fileSearchStores?pageSize=20&pageToken={}", escaped(&token)),
            };
            let page: WireList = self.ask(&listing(path))?;
            let mut stores = page.file_search_stores.into_iter().map(Store::from);
            let wants_more = stores.all(&mut *take);
            if page.next_page_token.is_empty() || !wants_more {
                return Ok(());
            }
            token = page.next_page_token;
            // Only its hash is kept: a token may be as long as an answer.
            if !seen.insert(Sha256::of(token.as_bytes())) {
                break;
            }
        }
        Err(Failure::new(
            FailureKind::BadAnswer,
            "the list of stores does not end",
        ))
    }

    pub fn get_store(&self, name: &StoreName) -> Result<Store, Failure> {
        let path = name.as_str().to_owned();
        let call = Call::new(
            "store get",
            Class::Read,
            About::Store,
            HttpMethod::Get,
            path,
        );
        Ok(self.ask::<WireStore>(&call)?.into())
    }

    /// With all its documents, if `force`; else only one that has none. That it is not there (any more) is
    /// `StoreRefused`, and so is that it belongs to another key.
    pub fn delete_store(&self, name: &StoreName, force: bool) -> Result<(), Failure> {
        let path = match force {
            true => format!("{name}?force=true"),
            false => name.to_string(),
        };
        let call = Call::new(
            "store delete",
            Class::Write,
            About::Store,
            HttpMethod::Delete,
            path,
        );
        self.delete(&call)
    }

    /// Not idempotent (fact sheet 3): tried again only where nothing can have happened. A lost answer
    /// is `InDoubt`. Without a model, the service's own choice.
    pub fn create_store(
        &self,
        display_name: &str,
        embedding_model: Option<&str>,
    ) -> Result<Store, Failure> {
        let path = "fileSearchStores".to_owned();
        let mut call = Call::new(
            "store create",
            Class::Write,
            About::Account,
            HttpMethod::Post,
            path,
        );
        let mut body = serde_json::json!({ "displayName": display_name });
        if let Some(model) = embedding_model {
            body["embeddingModel"] = model.into();
        }
        call.body = Some(body.to_string());
        let mut tries = 1;
        loop {
            let answer = self.call_once(&call);
            match answer.and_then(|answer| answer.json::<WireStore>()) {
                Ok(wire) => return Ok(wire.into()),
                Err(failure) if failure.kind == FailureKind::RateLimited && tries < 5 => {
                    self.wait(tries, &failure)?;
                    tries += 1;
                }
                Err(failure)
                    if failure.kind == FailureKind::Transient || failure.makes_no_sense() =>
                {
                    return Err(Failure {
                        kind: FailureKind::InDoubt,
                        ..failure
                    });
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}
