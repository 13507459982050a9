//! Seen against known: new, changed, missing, back again; and the guards on a root.
//!
//! Steps: 1. a thread walks; 2. the calling thread compares each file with what is known; 3. rayon's
//! threads hash what is new or changed; 4. the calling thread records. The queues between them are
//! bounded, and no step waits for a whole folder. 5. At the end, what was not seen is missing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::iter::{ParallelBridge, ParallelIterator};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::hash;
use super::walk::{self, Item, WalkedFile};
use super::{
    Filter, Found, Known, KnownFile, List, Options, Reading, Record, SeenFile, Skip, SkipReason,
    TOO_LARGE_NAMES_MAX,
};
use crate::disk::{Presence, Root};
use crate::error::{Error, Kind};
use crate::identity::{self, ContentKey};
use crate::state::Described;
use crate::{panic, proof};

/// Entries between two steps.
const QUEUE_MAX: usize = 256;
/// A file touched within this time before it was read may change again within the same tick of its
/// file system's clock (git calls such an entry "racily clean").
const RACY_NS: i64 = 2_000_000_000;

/// A file to read, what is known of it, and what describes it.
struct Work {
    entry: WalkedFile,
    known: Option<KnownFile>,
    described: Described,
}
/// The content is `None` if the reader was stopped; an error is its thread's.
type Read = (Work, Result<Option<Result<Reading, Skip>>, Error>);

/// `stop` is asked often, by several threads; once it has said yes it must go on saying so.
pub fn run(
    root: &Path,
    options: &Options,
    known: &dyn Known,
    record: &mut dyn Record,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Found, Error> {
    let filter = Filter::new(root, options)?;
    let root = super::open(root)?;
    root.listing(Path::new(""))
        .map_err(|e| super::unusable(root.path(), &e.to_string()))?;
    let sidecars = walk::check(&root, &filter, stop)?;
    let (present_before, last_id) = known.extent()?;
    let types = &known.describer().types;
    let mut diff = Diff {
        root: &root,
        filter: &filter,
        options,
        known,
        record,
        stop,
        found: Found::default(),
        present_before,
        last_id,
        seen: Bits::default(),
        listed: Bits::default(),
        kept: 0,
        unseen: Vec::new(),
    };
    // After an error, too, nobody begins another file.
    let failed = AtomicBool::new(false);
    let halted = || failed.load(Ordering::Relaxed) || stop();
    thread::scope(|scope| {
        let (walked, entries) = bounded::<Result<Item, Error>>(QUEUE_MAX);
        let (work, to_read) = bounded::<Work>(QUEUE_MAX);
        // As many answers as there can be questions: the readers never block the caller.
        let (done, read) = bounded::<Read>(QUEUE_MAX * 2 + rayon::current_num_threads());
        let (root, filter, halted) = (&root, &filter, &halted);
        scope.spawn(move || {
            let walking = panic::caught("walk", || {
                for item in walk::walk(root, filter, sidecars, halted) {
                    proof::mishap("walk");
                    if walked.send(item).is_err() {
                        return;
                    }
                }
            });
            // Or it would look like the end of the folder, and what is not seen like what is gone.
            if let Err(e) = walking {
                let _ = walked.send(Err(e));
            }
        });
        scope.spawn(move || {
            let files = to_read.into_iter().par_bridge();
            files.for_each_init(hash::Buffer::default, |buffer, file| {
                let read = panic::caught("hash", || {
                    proof::mishap("hash");
                    (!halted())
                        .then(|| hash::reading(root, &file.entry.path, types, buffer, halted))
                });
                // What was read when the end came may be half a file.
                let read = read.map(|reading| reading.filter(|_| !halted()));
                // The other end is gone only after an error, which is already being reported.
                let _ = done.send((file, read));
            });
        });
        let driven = diff.drive(&entries, work, &read, halted);
        failed.store(driven.is_err(), Ordering::Relaxed);
        driven
    })?;
    // Before anything is marked as missing, and of the marks themselves.
    filter.check()?;
    if !diff.found.interrupted {
        diff.finish()?;
        // Looking for what was not seen may take as long as the walk.
        diff.found.interrupted = stop();
    }
    filter.check()?;
    Ok(diff.found)
}

struct Diff<'a> {
    root: &'a Root,
    filter: &'a Filter,
    options: &'a Options,
    known: &'a dyn Known,
    record: &'a mut dyn Record,
    stop: &'a dyn Fn() -> bool,
    found: Found,
    /// Present files when the scan began, and the highest id there was.
    present_before: u64,
    last_id: i64,
    /// Ids of known files that are there.
    seen: Bits,
    /// Positions in `--files-from` of what the walk came to.
    listed: Bits,
    /// Known files that are there, and of which nothing more could be found out.
    kept: u64,
    /// Beginnings of the paths below folders that could not be read.
    unseen: Vec<String>,
}

impl Diff<'_> {
    fn drive(
        &mut self,
        entries: &Receiver<Result<Item, Error>>,
        work: Sender<Work>,
        read: &Receiver<Read>,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let mut outstanding = 0;
        for item in entries {
            if stop() {
                break;
            }
            if let Some(to_read) = self.item(item?)? {
                while outstanding >= QUEUE_MAX {
                    self.take(read, &mut outstanding)?;
                }
                outstanding += usize::from(work.send(to_read).is_ok());
            }
            while let Ok(answer) = read.try_recv() {
                outstanding -= 1;
                self.read(answer)?;
            }
        }
        drop(work);
        while outstanding > 0 {
            self.take(read, &mut outstanding)?;
        }
        // The walk ends early as well when it is stopped; then not all was seen.
        self.found.interrupted = stop();
        Ok(())
    }

    fn take(&mut self, read: &Receiver<Read>, outstanding: &mut usize) -> Result<(), Error> {
        match read.recv() {
            Ok(answer) => {
                *outstanding -= 1;
                self.read(answer)
            }
            Err(_) => Err(Error::new(
                Kind::Bug,
                self.root.path().display().to_string(),
                "a thread that reads files has ended",
                "run again and please report this; nothing was marked as missing",
            )),
        }
    }

    /// What has to be read.
    fn item(&mut self, item: Item) -> Result<Option<Work>, Error> {
        match item {
            Item::Skip(skip) => self.skip(skip).map(|()| None),
            Item::Unseen(folder) => {
                self.unseen.push(match folder.is_empty() {
                    true => folder.clone(),
                    false => format!("{folder}/"),
                });
                let skip = Skip {
                    path: folder,
                    reason: SkipReason::Unreadable,
                    detail: "the folder cannot be read; what is known of it stays".to_owned(),
                };
                self.skip(skip).map(|()| None)
            }
            Item::File(entry) => {
                self.came_to(&entry.path);
                if self.has_twin(&entry.path) {
                    let skip = Skip {
                        path: entry.path,
                        reason: SkipReason::SameName,
                        detail: "another file has this name in composed form: rename one"
                            .to_owned(),
                    };
                    return self.skip(skip).map(|()| None);
                }
                let described = match self.description(&entry) {
                    Ok(described) => described,
                    Err(skip) => return self.skip(skip).map(|()| None),
                };
                let known = self.known.file(&entry.path)?;
                if let Some(file) = known.as_ref().filter(|f| self.is_unchanged(&entry, f)) {
                    return self.unchanged(file, &entry, described).map(|()| None);
                }
                Ok(Some(Work {
                    entry,
                    known,
                    described,
                }))
            }
        }
    }

    fn description(&self, entry: &WalkedFile) -> Result<Described, Skip> {
        let sidecar = match entry.has_sidecar {
            true => Some(
                hash::sidecar(self.root, &entry.path).map_err(|of_sidecar| Skip {
                    path: entry.path.clone(),
                    reason: SkipReason::Metadata,
                    detail: format!("its sidecar is {}", of_sidecar.detail),
                })?,
            ),
            false => None,
        };
        self.known.describer().of(&entry.path, sidecar.as_deref())
    }

    /// The file holds what it held; what describes it may have changed all the same.
    fn unchanged(
        &mut self,
        known: &KnownFile,
        entry: &WalkedFile,
        described: Described,
    ) -> Result<(), Error> {
        self.seen.set(known.id);
        self.count(entry.size_bytes);
        if known.content.variant != described.variant {
            self.found.changed += 1;
            self.found.described += 1;
        } else {
            self.found.unchanged += 1;
            // What matters is noted as it is; rules may come and go that give this file nothing.
            let is_noted = known.is_unmatched != described.is_matched;
            if is_noted {
                return self.record.unchanged(known, &entry.path);
            }
        }
        self.record.described(known, &entry.path, described)
    }

    /// Nothing but a reading can tell more of its bytes or of its type.
    fn is_unchanged(&self, entry: &WalkedFile, known: &KnownFile) -> bool {
        let racy = known.hashed_ms.saturating_mul(1_000_000) - entry.mtime_ns < RACY_NS;
        !self.options.rehash
            && known.present
            && known.size_bytes == entry.size_bytes
            && known.mtime_ns == entry.mtime_ns
            && !racy
            && self.known.describer().types.allow(&entry.path, &known.mime)
    }

    /// Only a name that is not composed can meet another that has the same identity.
    fn has_twin(&self, path: &str) -> bool {
        if is_nfc(path) {
            return false;
        }
        let composed: String = path.nfc().collect();
        let presence = self.root.presence(Path::new(&composed));
        presence.is_ok_and(|presence| presence == Presence::There)
    }

    fn read(&mut self, (work, reading): Read) -> Result<(), Error> {
        let Work {
            entry,
            known,
            described,
        } = work;
        let reading = match reading? {
            Some(Ok(reading)) => reading,
            Some(Err(skip)) => return self.skip(skip),
            None => return Ok(()),
        };
        let content = ContentKey {
            sha256: reading.sha256,
            variant: described.variant,
        };
        match &known {
            None => self.found.new += 1,
            Some(file) if file.content == content => self.found.unchanged += 1,
            Some(file) => {
                self.found.changed += 1;
                self.found.described += u64::from(file.content.sha256 == content.sha256);
            }
        }
        if let Some(file) = &known {
            self.seen.set(file.id);
        }
        self.count(reading.size_bytes);
        self.record.file(SeenFile {
            is_new: known.is_none(),
            path_value: identity::path_value(&entry.path),
            path: entry.path,
            reading,
            described,
        })
    }

    fn skip(&mut self, skip: Skip) -> Result<(), Error> {
        self.came_to(&skip.path);
        self.found.skipped += 1;
        *self
            .found
            .skipped_by
            .entry(skip.reason.label())
            .or_default() += 1;
        match skip.reason {
            SkipReason::Unreadable | SkipReason::Metadata => self.found.unreadable += 1,
            SkipReason::TooLarge if self.found.too_large.len() < TOO_LARGE_NAMES_MAX => {
                self.found.too_large.push(skip.path.clone());
            }
            _ => {}
        }
        if skip.reason.keeps_what_is_known()
            && let Some(file) = self.known.file(&skip.path)?
        {
            self.seen.set(file.id);
            self.kept += 1;
        }
        self.record.skip(skip)
    }

    fn came_to(&mut self, path: &str) {
        if let Some(position) = self.filter.position(path) {
            self.listed.set(position as i64);
        }
    }

    fn count(&mut self, bytes: u64) {
        self.found.files += 1;
        self.found.bytes += bytes;
    }

    /// What was not seen is missing or left out, unless the root itself looks wrong.
    fn finish(&mut self) -> Result<(), Error> {
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

enum Absence {
    /// Not asked for, or nobody could look: what is known stays.
    Unknown,
    /// There, but an ignore file names it, or it is not what can be sent any more.
    LeftOut,
    Gone(&'static str),
}

/// A set of row ids: one bit each, in blocks, so that an id that a damaged database made up costs a
/// block and no more.
#[derive(Debug, Default)]
struct Bits(BTreeMap<i64, [u64; BLOCK_WORDS as usize]>);

const BLOCK_WORDS: i64 = 64;

impl Bits {
    /// Block, word, and the bit in it.
    fn place(id: i64) -> (i64, usize, u64) {
        let word = id.div_euclid(64);
        (
            word.div_euclid(BLOCK_WORDS),
            word.rem_euclid(BLOCK_WORDS) as usize,
            1 << id.rem_euclid(64),
        )
    }

    fn set(&mut self, id: i64) {
        let (block, word, bit) = Bits::place(id);
        let block = self.0.entry(block).or_insert([0; BLOCK_WORDS as usize]);
        block[word] |= bit;
    }

    fn each(&self, mut each: impl FnMut(i64) -> Result<(), Error>) -> Result<(), Error> {
        for (block, words) in &self.0 {
            for (i, word) in (0..).zip(words) {
                let mut left = *word;
                while left != 0 {
                    let bit = i64::from(left.trailing_zeros());
                    each(((block * BLOCK_WORDS) + i) * 64 + bit)?;
                    left &= left - 1;
                }
            }
        }
        Ok(())
    }

    fn get(&self, id: i64) -> bool {
        let (block, word, bit) = Bits::place(id);
        self.0.get(&block).is_some_and(|b| b[word] & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn any_ids_are_kept_and_no_others(
            near in proptest::collection::vec(-10_000i64..10_000, 0..50),
            far in proptest::collection::vec(any::<i64>(), 0..20),
            asked in -10_000i64..10_000,
        ) {
            let ids: BTreeSet<i64> = near.into_iter().chain(far).chain([i64::MIN, i64::MAX]).collect();
            let mut bits = Bits::default();
            for id in &ids {
                bits.set(*id);
            }
            prop_assert!(ids.iter().all(|id| bits.get(*id)));
            prop_assert_eq!(bits.get(asked), ids.contains(&asked));
            let mut each = Vec::new();
            bits.each(|id| { each.push(id); Ok(()) }).unwrap();
            prop_assert!(each.iter().eq(&ids));
            prop_assert!(bits.0.len() <= ids.len());
        }
    }
}
