//! `fileSearchStores`: list, get, create.

use std::collections::HashSet;

use serde::Deserialize;

use super::agent::Client;
use super::failure::{Failure, FailureKind};
use super::refusal::About;
use super::send::{Call, HttpMethod, escaped};
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
    /// Documents in any state, as the service counts them.
    pub documents: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireStore {
    name: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    active_documents_count: String,
    #[serde(default)]
    pending_documents_count: String,
    #[serde(default)]
    failed_documents_count: String,
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
        let count = |text: &str| text.parse::<u64>().unwrap_or(0);
        Store {
            name: StoreName::new(wire.name),
            display_name: wire.display_name,
            documents: count(&wire.active_documents_count)
                .saturating_add(count(&wire.pending_documents_count))
                .saturating_add(count(&wire.failed_documents_count)),
        }
    }
}

impl Client {
    /// The stores of this display name, which need not be unique; `STORES_MAX` of them at the most. A
    /// listing that did not end properly is an error, never a short list.
    pub fn find_stores(&self, display_name: &str) -> Result<Vec<Store>, Failure> {
        let mut stores = Vec::new();
        let mut token = String::new();
        let mut seen = HashSet::new();
        for _ in 0..PAGES_MAX {
            let path = match token.is_empty() {
                true => "fileSearchStores?pageSize=20".to_owned(),
                false => format!("fileSearchStores?pageSize=20&pageToken={}", escaped(&token)),
            };
            let call = Call::new(
                "store list",
                Class::Read,
                About::Account,
                HttpMethod::Get,
                path,
            );
            let page: WireList = self.ask(&call)?;
            let named = page.file_search_stores.into_iter().map(Store::from);
            let named = named.filter(|store| store.display_name == display_name);
            stores.extend(named.take(STORES_MAX - stores.len()));
            if page.next_page_token.is_empty() || stores.len() == STORES_MAX {
                return Ok(stores);
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

    /// Not idempotent (fact sheet 3): tried again only where nothing can have happened. A lost answer
    /// is `InDoubt`.
    pub fn create_store(&self, display_name: &str) -> Result<Store, Failure> {
        let path = "fileSearchStores".to_owned();
        let mut call = Call::new(
            "store create",
            Class::Write,
            About::Account,
            HttpMethod::Post,
            path,
        );
        call.body = Some(serde_json::json!({ "displayName": display_name }).to_string());
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
