//! From a document that the listing shows to the row that it belongs to.

use super::{Library, RepairPlan, Verify, delete};
use crate::error::Error;
use crate::identity::{ContentKey, Identity};
use crate::state::UploadState;
use crate::state::comparison::drift::{Drift, DriftKind, Mend};
use crate::state::comparison::listed::{ListedDocument, ListedDocuments, Shown};
use crate::state::reader::FileLike;

/// The document that a row names as its own.
enum Own {
    /// It names none.
    None,
    Listed,
    /// It is not there any more, or of no use.
    Gone,
    /// It is there, and the listing did not show it.
    Unlisted,
}

impl Verify<'_> {
    /// From a document of a known library to its row.
    pub(super) fn place(
        &self,
        (document, identity, library): (&ListedDocument, &Identity, &Library),
        documents: &ListedDocuments,
        plan: &mut RepairPlan,
    ) -> Result<(), Error> {
        if let Some(row) = self.reader.claimant(&document.name)? {
            match row.state {
                // The other direction judges it.
                UploadState::Indexed => {}
                // Deleted, and still shown.
                UploadState::Superseded | UploadState::Retired
                    if self.is_gone(&document.name)? => {}
                _ => plan.in_doubt += 1,
            }
            return Ok(());
        }
        let files = self.reader.files_like(self.store.id, identity)?;
        let under_way = |s| matches!(s, UploadState::Uploading | UploadState::Processing);
        if files.iter().filter_map(|f| f.state).any(under_way) {
            plan.in_doubt += 1;
            return Ok(());
        }
        let drift = |kind, path: &str, mend| Drift {
            kind,
            library: identity.library.clone(),
            path: path.to_owned(),
            mend,
        };
        let Some(first) = files.first() else {
            let (kind, mend) = of_no_file(document, identity, library, plan)?;
            plan.strangers += u64::from(matches!(mend, Mend::Remember { .. }));
            return plan.drift.add(&drift(kind, &identity.path, mend));
        };
        if document.state == Shown::Pending {
            plan.being_made += 1;
            return Ok(());
        }
        let has_had = |file: &FileLike| file.has_had(&identity.content);
        plan.strangers += u64::from(!files.iter().any(has_had));
        let (free, has_good) = self.in_need(&files, &identity.content, documents, plan)?;
        let path = &free.unwrap_or(first).path;
        let is_torn = |file: &FileLike| {
            file.current && document.size_bytes.is_some_and(|n| n != file.size_bytes)
        };
        let delete = || delete(&document.name);
        let (kind, mend) = match free {
            _ if document.state == Shown::Failed => (DriftKind::Failed, delete()),
            Some(file) if is_torn(file) => (DriftKind::Broken, delete()),
            Some(file) => of_file_in_need(file, document, identity, documents)?,
            None if has_good => (DriftKind::Duplicate, delete()),
            // The row's own is there and the listing did not show it: another look decides.
            None => {
                plan.in_doubt += 1;
                return Ok(());
            }
        };
        plan.drift.add(&drift(kind, path, mend))
    }

    /// The first of these files that has no document of this content, and whether another has a good one.
    fn in_need<'f>(
        &self,
        files: &'f [FileLike],
        content: &ContentKey,
        documents: &ListedDocuments,
        plan: &RepairPlan,
    ) -> Result<(Option<&'f FileLike>, bool), Error> {
        let mut free = None;
        let mut has_good = false;
        for file in files {
            if plan.drift.takes_back(file.file, content)? {
                has_good = true;
                continue;
            }
            match self.standing(file, documents)? {
                Own::None | Own::Gone => free = free.or(Some(file)),
                Own::Listed => has_good = true,
                Own::Unlisted => {}
            }
        }
        Ok((free, has_good))
    }

    /// What has become of the document that a file's row names for this content.
    fn standing(&self, file: &FileLike, documents: &ListedDocuments) -> Result<Own, Error> {
        let document = match (&file.document, file.state) {
            (Some(document), Some(UploadState::Indexed)) => document,
            _ => return Ok(Own::None),
        };
        if let Some(own) = documents.find(document)? {
            let is_torn = file.current && own.size_bytes.is_some_and(|n| n != file.size_bytes);
            return Ok(match is_torn || own.state == Shown::Failed {
                true => Own::Gone,
                false => Own::Listed,
            });
        }
        Ok(match self.is_gone(document)? {
            true => Own::Gone,
            false => Own::Unlisted,
        })
    }
}

/// Whether what the file holds now is in the store, whole and active, so that this older document of it is
/// not needed.
fn has_successor(
    file: &FileLike,
    older: &Identity,
    documents: &ListedDocuments,
) -> Result<bool, Error> {
    let Some(name) = &file.current_document else {
        return Ok(false);
    };
    let Some(document) = documents.find(name)? else {
        return Ok(false);
    };
    let is_of_file = document.identity.is_some_and(|identity| {
        identity.content == file.content
            && identity.library == older.library
            && identity.path == older.path
    });
    let is_whole = document.size_bytes == Some(file.size_bytes);
    Ok(is_of_file && is_whole && document.state == Shown::Active)
}

/// A whole document of a file that has none of this content.
fn of_file_in_need(
    file: &FileLike,
    document: &ListedDocument,
    identity: &Identity,
    documents: &ListedDocuments,
) -> Result<(DriftKind, Mend), Error> {
    let content = identity.content;
    let kind = match file.content {
        held if held == content => DriftKind::TakeBack,
        held if held.sha256 == content.sha256 => DriftKind::Metadata,
        _ => DriftKind::Stale,
    };
    let is_replaced = has_successor(file, identity, documents)?;
    let mend = match is_replaced {
        true => delete(&document.name),
        false => Mend::TakeBack {
            file: file.file,
            size_bytes: document.size_bytes.unwrap_or(file.size_bytes),
            content,
            document: document.name.clone(),
        },
    };
    Ok((kind, mend))
}

/// A document of a file that the database does not know.
fn of_no_file(
    document: &ListedDocument,
    identity: &Identity,
    library: &Library,
    plan: &RepairPlan,
) -> Result<(DriftKind, Mend), Error> {
    let is_active = document.state == Shown::Active;
    let remembered = plan.drift.remembers(library.row.id, &identity.path)?;
    Ok(match remembered {
        None if is_active && library.has_lost(&identity.path) => {
            let mend = Mend::Remember {
                library: library.row.id,
                size_bytes: document.size_bytes.unwrap_or(0),
                content: identity.content,
                document: document.name.clone(),
            };
            (DriftKind::Unknown, mend)
        }
        Some(content) if content == identity.content => {
            (DriftKind::Duplicate, delete(&document.name))
        }
        // The next comparison judges other content of one that is remembered.
        _ => (DriftKind::Unknown, Mend::Nothing),
    })
}
