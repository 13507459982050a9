//! What `verify` has found, mended.
//!
//! Owns the threads that delete: there may be as many documents to delete as to send. Promises: nothing is
//! uploaded here, and nothing deleted that the plan does not name; a repair that would delete a larger share
//! than allowed does nothing; cut off anywhere, the next comparison finds what is left, since the database
//! only records what the service holds already.

use std::sync::Mutex;
use std::thread;

use crossbeam_channel::{Receiver, bounded};

use super::listing;
use super::verify::RepairPlan;
use crate::client::Client;
use crate::error::{Error, Kind};
use crate::names::DocumentName;
use crate::panic;
use crate::poison;
use crate::report::progress::reading::{Reading, What};
use crate::shutdown::Shutdown;
use crate::state::comparison::drift::{Drift, Mend};
use crate::state::reader::StoreRow;
use crate::state::{Adopted, Change, Remembered, UploadId, Writer};
use crate::throttle::gate::Gate;

pub struct Repair<'r> {
    pub store: &'r StoreRow,
    pub client: &'r Client,
    pub gate: &'r Gate,
    pub writer: &'r Writer,
    pub shutdown: &'r Shutdown,
    pub deleting: &'r Reading,
    /// Documents deleted at once, at the most.
    pub workers: usize,
    /// A repair that would delete a larger share of the documents of this database's libraries is refused.
    pub share_max_percent: u64,
}

/// A document to delete, and the row that claims it.
struct Deletion {
    document: DocumentName,
    upload: Option<UploadId>,
}

impl Repair<'_> {
    /// Answers how many differences are left.
    ///
    /// # Errors
    /// It was refused, interrupted, or the service failed; what is left the next one does.
    pub fn run(&self, plan: &RepairPlan) -> Result<u64, Error> {
        let deletions = plan.drift.deletions();
        if deletions * 100 > plan.own * self.share_max_percent {
            return Err(self.refused(deletions, plan.own));
        }
        let shown = What::Deletion(self.store.name.to_string());
        let _shown = self.deleting.begin(shown);
        self.deleting.expects(deletions);
        let workers = self
            .workers
            .min(usize::try_from(deletions).unwrap_or(usize::MAX));
        let (tasks, queue) = bounded::<Deletion>(workers);
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        let fail = |error: Error| {
            poison::lock(&failed).get_or_insert(error);
        };
        thread::scope(|scope| {
            for number in 0..workers {
                let (queue, fail) = (queue.clone(), &fail);
                let work = move || match panic::caught("repair", || self.delete_all(&queue)) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) | Err(error) => fail(error),
                };
                let builder = thread::Builder::new().name(format!("repair-{number}"));
                if let Err(e) = builder.spawn_scoped(scope, work) {
                    fail(no_thread(&e));
                }
            }
            drop(queue);
            let done = plan.drift.each(None, u64::MAX, &mut |drift| {
                if self.shutdown.is_stopping() {
                    return Err(self.interrupted());
                }
                let Some(deletion) = self.mend(drift) else {
                    return Ok(());
                };
                // Once a worker has failed nothing more is begun; its error is the one that is told.
                let is_failed = poison::lock(&failed).is_some();
                match is_failed || tasks.send(deletion).is_err() {
                    true => Err(self.interrupted()),
                    false => Ok(()),
                }
            });
            drop(tasks);
            done.unwrap_or_else(fail);
        });
        if let Some(error) = poison::lock(&failed).take() {
            return Err(error);
        }
        // Says as well whether a change was refused that nobody waited for.
        self.writer.commit(Change::Flush)?;
        Ok(plan.drift.left_alone_in_all())
    }

    /// What the database is told at once; what is to be deleted first comes back.
    fn mend(&self, Drift { path, mend, .. }: Drift) -> Option<Deletion> {
        let store = self.store.id;
        let change = match mend {
            Mend::Delete { document, upload } => return Some(Deletion { document, upload }),
            Mend::Nothing => return None,
            Mend::TakeBack {
                file,
                size_bytes,
                content,
                document,
            } => Change::Adopted(Adopted {
                file,
                store,
                size_bytes,
                content,
                document,
            }),
            Mend::Remember {
                library,
                size_bytes,
                content,
                document,
            } => Change::Remembered(Remembered {
                library,
                store,
                path,
                size_bytes,
                content,
                document,
            }),
            Mend::Forget { upload } => Change::Retired { upload },
            Mend::Relabel {
                upload,
                size_bytes,
                content,
            } => Change::Relabelled {
                upload,
                size_bytes,
                content,
            },
        };
        self.writer.send(change, |_| {});
        None
    }

    fn delete_all(&self, queue: &Receiver<Deletion>) -> Result<(), Error> {
        for Deletion { document, upload } in queue {
            let Some(_slot) = self.gate.job_slot() else {
                return Ok(());
            };
            listing::patient(self.client.pause(), self.shutdown, || {
                self.client.delete_document(&document)
            })
            .map_err(|failure| failure.to_error(&self.store.display_name))?;
            self.deleting.saw(1);
            if let Some(upload) = upload {
                self.writer.send(Change::Retired { upload }, |_| {});
            }
        }
        Ok(())
    }

    fn refused(&self, deletions: u64, own: u64) -> Error {
        Error::new(
            Kind::Store,
            format!("store `{}`", self.store.display_name),
            format!(
                "the repair would delete {deletions} of {own} documents, more than {} %: refused",
                self.share_max_percent
            ),
            "see with `objlib verify` what they are, and allow it with --max-share; nothing was changed",
        )
    }

    fn interrupted(&self) -> Error {
        Error::new(
            Kind::System,
            format!("store `{}`", self.store.display_name),
            "the repair was interrupted",
            "run it again: it goes on with what is left",
        )
    }
}

fn no_thread(e: &std::io::Error) -> Error {
    Error::new(
        Kind::System,
        "repair",
        format!("thread cannot be started: {e}"),
        "free some memory",
    )
}
