//! From a row that says `indexed` to the document that it names.

use super::{Libraries, RepairPlan, Verify, delete};
use crate::error::Error;
use crate::state::Job;
use crate::state::comparison::drift::{Drift, DriftKind, Mend};
use crate::state::comparison::listed::{ListedDocuments, Shown};

impl Verify<'_> {
    /// From a row to its document.
    pub(super) fn look_for(
        &self,
        row: &Job,
        libraries: &Libraries,
        documents: &ListedDocuments,
        plan: &mut RepairPlan,
    ) -> Result<(), Error> {
        let Some(name) = &row.document else {
            return Ok(());
        };
        let upload = row.upload;
        let drift = |kind, mend| Drift {
            kind,
            library: row.library_name.clone(),
            path: row.path.clone(),
            mend,
        };
        let gone = drift(DriftKind::Gone, Mend::Forget { upload });
        let Some(document) = documents.find(name)? else {
            if self.is_gone(name)? {
                return plan.drift.add(&gone);
            }
            plan.matching += 1;
            return Ok(());
        };
        let same = document.identity.as_ref().is_some_and(|identity| {
            identity.content == row.content && identity.path == row.path_value
        });
        let whole = document.size_bytes.is_none_or(|n| n == row.size_bytes);
        let has_failed = document.state == Shown::Failed;
        if same && whole && !has_failed {
            plan.matching += 1;
            return Ok(());
        }
        let own = document
            .identity
            .filter(|i| libraries.contains_key(&i.library));
        let Some(identity) = own else {
            // What the row names is somebody else's document: it is not this file's, and not ours to delete.
            return plan.drift.add(&gone);
        };
        let delete = Mend::Delete {
            document: name.clone(),
            upload: Some(upload),
        };
        let is_of_file = identity.path == row.path_value && identity.library == row.library_name;
        let relabel = Mend::Relabel {
            upload,
            size_bytes: document.size_bytes,
            content: identity.content,
        };
        let found = match is_of_file && !same {
            _ if has_failed => drift(DriftKind::Failed, delete),
            false => drift(DriftKind::Broken, delete),
            true if identity.content.sha256 == row.content.sha256 => {
                drift(DriftKind::Metadata, relabel)
            }
            true => drift(DriftKind::Stale, relabel),
        };
        plan.drift.add(&found)
    }

    /// Another document has taken its place; it is deleted if it is there and of no use.
    pub(super) fn replaced(
        &self,
        row: &Job,
        documents: &ListedDocuments,
        plan: &mut RepairPlan,
    ) -> Result<(), Error> {
        let Some(name) = &row.document else {
            return Ok(());
        };
        let Some(listed) = documents.find(name)? else {
            return Ok(());
        };
        let kind = match listed.state {
            Shown::Failed => DriftKind::Failed,
            Shown::Pending | Shown::Active => DriftKind::Broken,
        };
        plan.drift.add(&Drift {
            kind,
            library: row.library_name.clone(),
            path: row.path.clone(),
            mend: delete(name),
        })
    }
}
