//! Long-running operations: one look at one of them.

use std::sync::atomic::Ordering::Relaxed;

use serde::Deserialize;

use crate::client::failure::Failure;
use crate::client::failure::refusal::About;
use crate::client::wire::agent::Client;
use crate::client::wire::send::{Call, HttpMethod};
use crate::names::{DocumentName, OperationName, StoreName};
use crate::throttle::Class;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    Running,
    Done {
        document: Option<DocumentName>,
    },
    /// `code` is a gRPC code.
    Failed {
        code: i32,
        message: String,
    },
}

/// `done` is absent while it runs, and a running one may already have a `response` (fact sheet 6).
#[derive(Deserialize)]
struct WireOperation {
    #[serde(default)]
    done: bool,
    error: Option<WireStatus>,
    #[serde(default)]
    response: WireResponse,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireStatus {
    code: i32,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireResponse {
    document_name: String,
}

impl Client {
    /// One try: whoever polls has its own schedule.
    pub fn operation(&self, name: &OperationName) -> Result<Operation, Failure> {
        self.sent.polls.fetch_add(1, Relaxed);
        let path = name.as_str().to_owned();
        let call = Call::new("poll", Class::Read, About::Object, HttpMethod::Get, path);
        let wire: WireOperation = self.call_once(&call)?.json()?;
        Ok(match (wire.done, wire.error) {
            (true, Some(error)) => Operation::Failed {
                code: error.code,
                message: crate::client::failure::shortened(&error.message),
            },
            (true, None) => Operation::Done {
                document: document_name(name.store(), &wire.response.document_name),
            },
            (false, _) => Operation::Running,
        })
    }
}

/// An import's answer names its document without the prefix (fact sheet 9); the operation's own name
/// has it. What is no document of the operation's store is taken for no answer.
pub(in crate::client) fn document_name(
    store: Option<StoreName>,
    document: &str,
) -> Option<DocumentName> {
    let store = store?;
    match document.starts_with(StoreName::PREFIX) {
        true => DocumentName::of_store(&store, document),
        false => DocumentName::of_store(&store, &format!("{store}/documents/{document}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_documents_name_gets_its_prefix_where_it_lacks_it() {
        let whole = "fileSearchStores/s/documents/d";
        let store = || Some(StoreName::new("fileSearchStores/s"));
        assert_eq!(document_name(store(), whole).unwrap().as_str(), whole);
        assert_eq!(document_name(store(), "d").unwrap().as_str(), whole);
        assert_eq!(document_name(store(), ""), None);
        assert_eq!(
            document_name(store(), "fileSearchStores/t/documents/d"),
            None
        );
        assert_eq!(document_name(None, "d"), None);
    }
}
