//! The end of a scan: what it did not see is missing or left out, unless the root itself looks wrong.

use std::path::Path;

use super::Diff;
use super::bits::Bits;
use crate::disk::Presence;
use crate::error::{Error, Kind};
use crate::scan::{List, Skip, SkipReason, walk};

enum Absence {
    /// Not asked for, or nobody could look: what is known stays.
    Unknown,
    /// There, but an ignore file names it, or it is not what can be sent any more.
    LeftOut,
    Gone(&'static str),
}

impl Diff<'_> {
    /// What was not seen is missing or left out, unless the root itself looks wrong.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if let Some(list) = &self.options.files_from {
            return self.finish_list(list);
        }
        let known = self.present_before;
        // Collected first: recording may wait for the writer, which an open reading would hold up.
        let mut gone = Bits::default();
        let mut left_out = Bits::default();
        let (mut gone_count, mut left_out_count) = (0, 0);
        self.known.each_present(&mut |id, path| {
            // What this scan found new has a higher id.
            if id > self.last_id || self.seen.get(id) || (self.stop)() {
                return;
            }
            match self.absence(path) {
                Absence::Unknown => {}
                Absence::LeftOut => {
                    left_out.set(id);
                    left_out_count += 1;
                }
                Absence::Gone(_) => {
                    gone.set(id);
                    gone_count += 1;
                }
            }
        })?;
        // Not all were looked at, so their number says nothing of the root.
        if (self.stop)() {
            return Ok(());
        }
        let there = self.found.files + left_out_count + self.kept;
        let empty = there == 0 && (known > 0 || self.found.skipped == 0);
        if empty && !self.options.accept_missing {
            return Err(self.guard(
                "holds no file that can be uploaded".to_owned(),
                "check the path (is the disk mounted?), or say --accept-missing if it is empty",
            ));
        }
        let is_much = |gone: u64| gone * 2 > known && !self.options.accept_missing;
        let found_again = match is_much(gone_count) {
            true => self.found_again(&gone)?,
            false => 0,
        };
        let gone_count = gone_count - found_again;
        if is_much(gone_count) {
            return Err(self.guard(
                format!("{gone_count} of {known} known files are gone"),
                "check the path, or say --accept-missing if that is so",
            ));
        }
        let stop = self.stop;
        // Each mark is right by itself; what a stop leaves out the next scan finds again.
        gone.each(|id| {
            if stop() {
                return Ok(());
            }
            self.found.missing += 1;
            self.record.missing(id)
        })?;
        left_out.each(|id| {
            if stop() {
                return Ok(());
            }
            self.found.left_out += 1;
            self.record.left_out(id)
        })
    }

    /// How many of the files that went are at another path now: a folder that was renamed is no loss.
    fn found_again(&mut self, gone: &Bits) -> Result<u64, Error> {
        self.record.settle()?;
        let (known, new) = (self.known, self.found.new);
        let mut found = 0;
        gone.each(|id| {
            found += u64::from(found < new && known.is_found_again(id)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// Why the walk did not come to a known file.
    fn absence(&self, path: &str) -> Absence {
        let unseen = || self.unseen.iter().any(|folder| path.starts_with(folder));
        if !self.filter.selects(path) || unseen() {
            return Absence::Unknown;
        }
        match self.root.presence(Path::new(path)) {
            Ok(Presence::There) => Absence::LeftOut,
            Ok(Presence::Gone) => Absence::Gone("there is no such file"),
            Ok(Presence::ThroughLink) => Absence::Gone(walk::THROUGH_LINK),
            Err(_) => Absence::Unknown,
        }
    }

    /// With a list, only what is on it can be missing, and what is on it should be there.
    fn finish_list(&mut self, list: &List) -> Result<(), Error> {
        let root = self.root.path();
        list.each_below(root, |path| {
            if (self.stop)() {
                return Ok(());
            }
            let position = self.filter.position(path).map(|position| position as i64);
            if position.is_none_or(|position| self.listed.get(position)) {
                return Ok(());
            }
            self.came_to(path);
            let known = self.known.file(path)?.filter(|file| file.present);
            match (self.absence(path), known) {
                (Absence::Gone(_), Some(file)) => {
                    self.found.missing += 1;
                    self.record.missing(file.id)
                }
                (Absence::LeftOut, Some(file)) => {
                    self.found.left_out += 1;
                    self.record.left_out(file.id)
                }
                (Absence::Gone(why), None) => self.skip(Skip {
                    path: path.to_owned(),
                    reason: match why {
                        walk::THROUGH_LINK => SkipReason::NotAFile,
                        _ => SkipReason::Unreadable,
                    },
                    detail: why.to_owned(),
                }),
                (Absence::LeftOut, None) | (Absence::Unknown, _) => Ok(()),
            }
        })
    }

    fn guard(&self, why: String, remedy: &str) -> Error {
        Error::new(
            Kind::Input,
            self.root.path().display().to_string(),
            why,
            format!("{remedy}; nothing was marked as missing"),
        )
    }
}
