//! Temporary files of the Files API, and their import into a store (fact sheet 8, 9).
//!
//! Promises: an import is sent once; whether one without an answer took effect is left to whoever can
//! look at the store.

use serde::Deserialize;
use serde_json::json;

use super::documents::describe;
use crate::client::failure::refusal::About;
use crate::client::failure::{Failure, FailureKind};
use crate::client::wire::agent::Client;
use crate::client::wire::json::Int64;
use crate::client::wire::send::{Call, HttpMethod};
use crate::identity::MetadataEntry;
use crate::names::{FileName, OperationName, StoreName};
use crate::state::{Durable, Unaskable};
use crate::throttle::Class;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    Processing,
    Active,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemporaryFile {
    pub name: FileName,
    pub state: FileState,
    pub size_bytes: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::client) struct WireFile {
    name: String,
    state: String,
    size_bytes: Int64,
}

#[derive(Deserialize)]
struct WireOperation {
    #[serde(default)]
    name: String,
}

impl TryFrom<WireFile> for TemporaryFile {
    type Error = Failure;

    fn try_from(wire: WireFile) -> Result<TemporaryFile, Failure> {
        if !wire.name.starts_with("files/") {
            return Err(Failure::new(
                FailureKind::BadAnswer,
                "the service answered HTTP 200 with a file without a name",
            ));
        }
        Ok(TemporaryFile {
            name: FileName::new(wire.name),
            state: match wire.state.as_str() {
                "ACTIVE" => FileState::Active,
                "FAILED" => FileState::Failed,
                _ => FileState::Processing,
            },
            size_bytes: wire.size_bytes.0,
        })
    }
}

impl Client {
    /// `None`: it is not there (any more).
    pub fn file(&self, name: &FileName) -> Result<Option<TemporaryFile>, Failure> {
        let path = name.as_str().to_owned();
        let call = Call::new(
            "file get",
            Class::Read,
            About::Object,
            HttpMethod::Get,
            path,
        );
        match self.ask::<WireFile>(&call) {
            Err(failure) if failure.kind == FailureKind::Missing => Ok(None),
            Err(failure) => Err(failure),
            Ok(wire) => wire.try_into().map(Some),
        }
    }

    /// That it is not there (any more) is success.
    pub fn delete_file(&self, name: &FileName) -> Result<(), Failure> {
        let path = name.as_str().to_owned();
        let call = Call::new(
            "file delete",
            Class::Write,
            About::Object,
            HttpMethod::Delete,
            path,
        );
        self.delete(&call)
    }

    /// Makes a document of a temporary file. There is no way to ask afterwards but by looking at the
    /// store, so a request without a usable answer is `InDoubt` and not sent again.
    pub fn import(
        &self,
        store: &StoreName,
        file: &FileName,
        _intent: &Durable<Unaskable>,
        metadata: &[MetadataEntry],
    ) -> Result<OperationName, Failure> {
        let path = format!("{store}:importFile");
        let mut call = Call::new("import", Class::Write, About::Store, HttpMethod::Post, path);
        let mut body = json!({"fileName": file.as_str()});
        describe(&mut body, metadata);
        let body = body.to_string();
        self.keep_key_out(&body, metadata)?;
        call.body = Some(body);
        let in_doubt = |failure: Failure| match failure.kind {
            FailureKind::Transient | FailureKind::BadAnswer | FailureKind::NotTheService => {
                Failure {
                    kind: FailureKind::InDoubt,
                    ..failure
                }
            }
            _ => failure,
        };
        let answer = self.call_once(&call).map_err(in_doubt)?;
        let name = answer.json::<WireOperation>().map_err(in_doubt)?.name;
        let operation = OperationName::parse(&name);
        let of_store = operation.filter(|operation| operation.store().as_ref() == Some(store));
        of_store.ok_or_else(|| {
            Failure::new(
                FailureKind::InDoubt,
                "the service answered HTTP 200 with an import without an operation",
            )
        })
    }
}
