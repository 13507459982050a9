//! Database and store compared both ways, by identity; then made equal, if that is asked for.
//!
//! `compare` builds the plan, which can be shown; `repair` carries out that very plan. Promises: nothing
//! is concluded from a listing that is not whole; a document that a row claims, or that is the only one of
//! its identity, is never deleted; nothing is uploaded here.

use std::collections::HashSet;

use super::listing::{self, Listing};
use crate::client::{Client, Failure, FailureKind};
use crate::error::{Error, Kind};
use crate::identity::Sha256;
use crate::names::DocumentName;
use crate::shutdown::Shutdown;
use crate::state::listed::{ListedDocument, ListedDocuments, Shown};
use crate::state::reader::StoreRow;
use crate::state::{Change, Job, Reader, UploadId, UploadState, Writer};

/// A repair that would delete more than so many documents, and more than half of the store, is refused.
const DELETIONS_MAX: usize = 10;

/// One difference, and with it what `repair` does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// The store holds a file's content, and the database does not know: its row becomes `indexed`.
    TakeBack {
        path: String,
        file: i64,
        size_bytes: u64,
        sha256: Sha256,
        document: DocumentName,
    },
    /// A second document of the same identity: deleted.
    Duplicate {
        path: String,
        document: DocumentName,
    },
    /// The row says `indexed`, the store has no such document: the next upload sends it again.
    Gone { path: String, upload: UploadId },
    /// The document failed or is not the whole file: deleted, and the next upload sends it again.
    Broken {
        path: String,
        upload: Option<UploadId>,
        document: DocumentName,
    },
    /// The document names a file that the database does not know: left alone.
    Unknown { path: String },
}

impl Drift {
    pub fn path(&self) -> &str {
        match self {
            Drift::TakeBack { path, .. }
            | Drift::Duplicate { path, .. }
            | Drift::Gone { path, .. }
            | Drift::Broken { path, .. }
            | Drift::Unknown { path } => path,
        }
    }

    fn deletes(&self) -> bool {
        matches!(self, Drift::Duplicate { .. } | Drift::Broken { .. })
    }
}

/// What was found. Only differences are kept, so its size is theirs.
#[derive(Debug, Default)]
pub struct Plan {
    pub documents: u64,
    /// Rows and documents that agree.
    pub matching: u64,
    /// Documents without our identity: somebody else's.
    pub foreign: u64,
    /// Rows on the way; the next upload settles them.
    pub in_doubt: u64,
    /// Documents of nobody known that are not active yet.
    being_made: u64,
    pub drift: Vec<Drift>,
}

pub struct Verify<'r> {
    pub store: &'r StoreRow,
    pub client: &'r Client,
    pub reader: &'r Reader,
    pub writer: &'r Writer,
    pub shutdown: &'r Shutdown,
}

impl Verify<'_> {
    /// # Errors
    /// The listing was not whole, so nothing can be said.
    pub fn compare(&self) -> Result<Plan, Error> {
        let documents = match listing::list(&self.store.name, self.client, self.shutdown)? {
            Listing::Whole(documents) => documents,
            Listing::Partial(_, why) => return Err(self.cannot_tell(&why)),
        };
        let mut plan = Plan {
            documents: documents.count()?,
            ..Plan::default()
        };
        let mut taken = HashSet::new();
        documents.each(&mut |document| self.place(document, &mut taken, &mut plan))?;
        if plan.being_made > 0 {
            let n = plan.being_made;
            return Err(self.cannot_tell(&format!("{n} documents are still being made")));
        }
        self.each_indexed(&mut |row| self.look_for(&row, &documents, &mut plan))?;
        Ok(plan)
    }

    /// From a document to its row.
    fn place(
        &self,
        document: ListedDocument,
        taken: &mut HashSet<(i64, Sha256)>,
        plan: &mut Plan,
    ) -> Result<(), Error> {
        let (Some(path), Some(sha256)) = (document.path.clone(), document.sha256) else {
            plan.foreign += 1;
            return Ok(());
        };
        if let Some(row) = self.reader.claimant(&document.name)? {
            match row.state {
                // The other direction judges it.
                UploadState::Indexed => {}
                _ => plan.in_doubt += 1,
            }
            return Ok(());
        }
        let files = self.reader.files_like(self.store.id, &path, &sha256)?;
        let under_way = |s| matches!(s, UploadState::Uploading | UploadState::Processing);
        if files.iter().filter_map(|f| f.state).any(under_way) {
            plan.in_doubt += 1;
            return Ok(());
        }
        if document.state == Shown::Pending && !files.is_empty() {
            plan.being_made += 1;
            return Ok(());
        }
        let free = files
            .iter()
            .find(|f| f.state != Some(UploadState::Indexed) && !taken.contains(&(f.file, sha256)));
        let failed = document.state == Shown::Failed;
        let is_torn = |size: u64| document.size_bytes.is_some_and(|held| held != size);
        plan.drift.push(match (files.first(), free) {
            (None, _) => Drift::Unknown { path },
            (Some(_), Some(file)) if failed || (file.current && is_torn(file.size_bytes)) => {
                Drift::Broken {
                    path: file.path.clone(),
                    upload: None,
                    document: document.name,
                }
            }
            (Some(_), Some(file)) => {
                taken.insert((file.file, sha256));
                Drift::TakeBack {
                    path: file.path.clone(),
                    file: file.file,
                    size_bytes: document.size_bytes.unwrap_or(file.size_bytes),
                    sha256,
                    document: document.name,
                }
            }
            (Some(first), None) => Drift::Duplicate {
                path: first.path.clone(),
                document: document.name,
            },
        });
        Ok(())
    }

    /// From a row to its document.
    fn look_for(
        &self,
        row: &Job,
        documents: &ListedDocuments,
        plan: &mut Plan,
    ) -> Result<(), Error> {
        let Some(name) = &row.document else {
            return Ok(());
        };
        let (path, upload) = (row.path.clone(), row.upload);
        let drift = match documents.find(name)? {
            Some(document) => {
                let same = document.sha256 == Some(row.sha256)
                    && document.path.as_deref() == Some(row.path_value.as_str())
                    && document.size_bytes.is_none_or(|n| n == row.size_bytes);
                match same && document.state != Shown::Failed {
                    true => {
                        plan.matching += 1;
                        return Ok(());
                    }
                    false => Drift::Broken {
                        path,
                        upload: Some(upload),
                        document: name.clone(),
                    },
                }
            }
            // A listing may lag; the document itself does not.
            None => match self.client.document(name) {
                Ok(_) => {
                    plan.matching += 1;
                    return Ok(());
                }
                Err(failure) if failure.kind == FailureKind::Missing => {
                    Drift::Gone { path, upload }
                }
                Err(failure) => return Err(self.cannot_tell(&failure.to_string())),
            },
        };
        plan.drift.push(drift);
        Ok(())
    }

    fn each_indexed(&self, each: &mut dyn FnMut(Job) -> Result<(), Error>) -> Result<(), Error> {
        let mut after = UploadId(0);
        loop {
            let page = self.reader.indexed(self.store.id, after)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.upload;
            for row in page {
                if self.shutdown.is_stopping() {
                    return Err(self.cannot_tell("interrupted"));
                }
                each(row)?;
            }
        }
    }

    /// Carries the plan out; answers how many differences are left.
    pub fn repair(&self, plan: &Plan) -> Result<usize, Error> {
        let deletions = plan.drift.iter().filter(|d| d.deletes()).count();
        if deletions > DELETIONS_MAX && deletions as u64 * 2 > plan.documents {
            return Err(Error::new(
                Kind::Store,
                format!("store `{}`", self.store.display_name),
                format!(
                    "the repair would delete {deletions} of {} documents: refused",
                    plan.documents
                ),
                "see with `objlib verify` what they are; nothing was changed",
            ));
        }
        let mut left = 0;
        for drift in &plan.drift {
            if self.shutdown.is_stopping() {
                return Err(self.cannot_tell("interrupted"));
            }
            if !self.mend(drift)? {
                left += 1;
            }
        }
        self.writer.commit(Change::Flush)?;
        Ok(left)
    }

    fn mend(&self, drift: &Drift) -> Result<bool, Error> {
        match drift {
            Drift::TakeBack {
                file,
                size_bytes,
                sha256,
                document,
                ..
            } => {
                let change = Change::Adopted {
                    file: *file,
                    store: self.store.id,
                    size_bytes: *size_bytes,
                    sha256: *sha256,
                    document: document.clone(),
                };
                // Not waited for one by one; the flush at the end is.
                self.writer.send(change, |_| {});
            }
            Drift::Duplicate { document, .. } => self.delete(document)?,
            Drift::Gone { upload, .. } => {
                self.writer.commit(Change::Retired { upload: *upload })?;
            }
            Drift::Broken {
                upload, document, ..
            } => {
                self.delete(document)?;
                if let Some(upload) = upload {
                    self.writer.commit(Change::Retired { upload: *upload })?;
                }
            }
            Drift::Unknown { .. } => return Ok(false),
        }
        Ok(true)
    }

    fn delete(&self, document: &DocumentName) -> Result<(), Error> {
        let deleted = self.client.delete_document(document);
        deleted.map_err(|failure: Failure| failure.to_error(&self.store.display_name))
    }

    fn cannot_tell(&self, why: &str) -> Error {
        Error::new(
            Kind::Network,
            format!("store `{}`", self.store.display_name),
            format!("cannot tell: {why}"),
            "run `objlib verify` again; nothing was concluded and nothing deleted on a guess",
        )
    }
}
