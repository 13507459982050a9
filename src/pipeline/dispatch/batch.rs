//! Batches: every so many files, a row and a bar.
//!
//! Owns the batch that is being filled. A batch is an accounting unit and stops nothing: the next one is
//! filled while operations of this one are still followed.

use crate::error::Error;
use crate::pipeline::Run;
use crate::state::Change;

struct Batch {
    id: i64,
    number: i64,
    files: u64,
}

#[derive(Default)]
pub struct Batches {
    filling: Option<Batch>,
    opened: i64,
}

impl Batches {
    /// The batch that the next file counts in. `left`: files that were asked for and have not been begun; what
    /// has come back to the queue is not known beforehand.
    pub fn place(&mut self, run: &Run<'_>, left: u64) -> Result<i64, Error> {
        let size = run.settings.batch_size;
        if self.filling.as_ref().is_some_and(|b| b.files >= size) {
            self.close(run)?;
        }
        let mut batch = match self.filling.take() {
            Some(batch) => batch,
            None => self.open(run, left)?,
        };
        batch.files += 1;
        let id = batch.id;
        self.filling = Some(batch);
        Ok(id)
    }

    fn open(&mut self, run: &Run<'_>, left: u64) -> Result<Batch, Error> {
        self.opened += 1;
        let number = self.opened;
        let change = Change::BatchOpened {
            run: run.id,
            number,
        };
        let id = run.parts.writer.commit(change)?.row;
        let progress = &run.parts.progress;
        let size = run.settings.batch_size;
        let can_come = if left == 0 { size } else { size.min(left) };
        progress.batch_opened(number, can_come);
        Ok(Batch {
            id,
            number,
            files: 0,
        })
    }

    /// No more files come into it.
    pub fn close(&mut self, run: &Run<'_>) -> Result<(), Error> {
        if let Some(batch) = self.filling.take() {
            run.parts.progress.batch_opened(batch.number, batch.files);
            let done = run.parts.writer.commit(Change::BatchFilled {
                batch: batch.id,
                files: batch.files,
            });
            run.outcomes.committed(&done);
            done?;
        }
        Ok(())
    }
}
