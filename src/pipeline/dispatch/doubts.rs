//! Rows that are on the way, and of which it is not known what became: the first stage of a run, the sessions
//! that are asked again, and the one listing for what even the service cannot tell.

use std::time::Instant;

use super::passes::Passes;
use crate::error::Error;
use crate::pipeline::reconcile::recovery::{self, LookUp, LookedUp};
use crate::pipeline::sending::worker::Task;
use crate::report::Event;
use crate::state::{Job, UploadId};

impl Passes<'_> {
    /// The first stage: everything that an earlier run left on the way.
    pub(super) fn recover(&mut self) -> Result<(), Error> {
        self.each_unfinished(|passes, job| {
            // The poll queue is bounded, and workers wait for room in it as well.
            let polls = &passes.run.outcomes.polls;
            if !polls.wait_for_room(&passes.run.parts.shutdown) {
                return;
            }
            if let Some(job) = recovery::settle(job, passes.run.outcomes)
                && passes.is_wanted(&job)
            {
                passes.hand_out(Task::Resume(job));
            }
        })
    }

    /// What is at the service for these rows is not known; they are asked for again.
    pub(super) fn ask_doubts(&mut self) -> Result<(), Error> {
        if self.doubts.is_empty() {
            return Ok(());
        }
        let doubts = std::mem::take(&mut self.doubts);
        self.each_unfinished(|passes, job| {
            if doubts.contains(&job.upload) {
                passes.hand_out(Task::Resume(job));
            }
        })
    }

    /// Bytes of a current file are sent only if this call is about it. Content that is not current has to be
    /// cleared away whatever the call is about.
    fn is_wanted(&self, job: &Job) -> bool {
        let selection = &self.run.settings.selection;
        !job.current || selection.selects(job.library, &job.path)
    }

    /// Pages through the rows that are on the way.
    fn each_unfinished(&mut self, mut each: impl FnMut(&mut Self, Job)) -> Result<(), Error> {
        let mut after = UploadId(0);
        loop {
            let reader = &self.run.parts.reader;
            let page = reader.unfinished(self.run.settings.store.id, after)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.upload;
            for job in page {
                if self.is_stopping() {
                    return Ok(());
                }
                each(self, job);
            }
        }
    }

    /// For what the service itself could not tell: one listing a run, and so as late as can be. Says
    /// whether anything may come of it.
    pub(super) fn settle_lost(&mut self) -> bool {
        let is_wanted = !self.lost.is_empty() || self.run.outcomes.polls.awaits_listing();
        if !is_wanted || self.listed || self.is_stopping() {
            return false;
        }
        self.look_up();
        true
    }

    /// What the listing tells of uploads that are still followed goes to the poll queue.
    fn look_up(&mut self) {
        self.listed = true;
        let look_up = LookUp {
            store: &self.run.settings.store.name,
            store_id: self.run.settings.store.id,
            client: &self.run.parts.client,
            reader: &self.run.parts.reader,
            shutdown: &self.run.parts.shutdown,
            list_lag: self.run.parts.waits.list_lag,
            outcomes: self.run.outcomes,
        };
        let mut followed = self.run.outcomes.polls.listing_begins();
        if !followed.is_empty() {
            self.lost_since = Instant::now();
        }
        let found = look_up.settle(&mut self.lost, &mut followed, self.lost_since);
        let is_whole = matches!(found, Ok(LookedUp::Settled));
        self.run.outcomes.polls.listing_ended(is_whole);
        match found {
            Ok(LookedUp::Settled | LookedUp::Stopped) => {}
            Ok(LookedUp::Unknown(why)) => {
                let files = self.lost.len() + followed.len();
                if files > 0 {
                    self.run.parts.events.send(Event::Warning(format!(
                        "{files} files stay in doubt, and nothing of theirs is sent again: {why}"
                    )));
                }
            }
            Err(error) => (self.run.stop)(error),
        }
    }
}
