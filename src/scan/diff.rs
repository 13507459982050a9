//! Seen against known: new, changed, missing, back again; and the guards on a root.
//!
//! Steps: 1. a thread walks; 2. the calling thread compares each file with what is known; 3. rayon's
//! threads hash what is new or changed; 4. the calling thread records. The queues between them are
//! bounded, and no step waits for a whole folder. 5. At the end, what was not seen is missing.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::iter::{ParallelBridge, ParallelIterator};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::hash::{self, Content};
use super::walk::{self, Entry, Item};
use super::{Found, Known, KnownFile, Options, Record, Seen, Skip, SkipReason};
use crate::error::{Error, Kind};
use crate::identity::{self, Sha256};

/// Entries between two steps.
const QUEUE_MAX: usize = 256;
/// A file touched within this time before it was read may change again within the same tick of its
/// file system's clock (git calls such an entry "racily clean").
const RACY_NS: i64 = 2_000_000_000;

/// A file to read, and what is known of it.
type Work = (Entry, Option<KnownFile>);
type Read = (Entry, Option<KnownFile>, Result<Content, Skip>);

/// `stop` is asked between files.
pub fn run(
    root: &Path,
    options: &Options,
    known: &dyn Known,
    record: &mut dyn Record,
    stop: &dyn Fn() -> bool,
) -> Result<Found, Error> {
    let items = walk::walk(root, options)?;
    let (present_before, last_id) = known.extent()?;
    let mut diff = Diff {
        root,
        options,
        known,
        record,
        found: Found::default(),
        present_before,
        last_id,
        seen: Bits::default(),
        unseen: Vec::new(),
    };
    thread::scope(|scope| {
        let (walked, entries) = bounded::<Item>(QUEUE_MAX);
        let (work, to_read) = bounded::<Work>(QUEUE_MAX);
        // As many answers as there can be questions: the readers never block the caller.
        let (done, read) = bounded::<Read>(QUEUE_MAX * 2 + rayon::current_num_threads());
        scope.spawn(move || {
            for item in items {
                if walked.send(item).is_err() {
                    return;
                }
            }
        });
        scope.spawn(move || {
            to_read.into_iter().par_bridge().for_each(|(entry, known)| {
                let content = hash::content(&entry.absolute, &entry.path);
                // The other end is gone only after an error, which is already being reported.
                let _ = done.send((entry, known, content));
            });
        });
        diff.drive(&entries, work, &read, stop)
    })?;
    if !diff.found.interrupted {
        diff.finish()?;
    }
    Ok(diff.found)
}

struct Diff<'a> {
    root: &'a Path,
    options: &'a Options,
    known: &'a dyn Known,
    record: &'a mut dyn Record,
    found: Found,
    /// Present files when the scan began, and the highest id there was.
    present_before: u64,
    last_id: i64,
    /// Ids of known files that are there.
    seen: Bits,
    /// Folders that could not be read.
    unseen: Vec<String>,
}

impl Diff<'_> {
    fn drive(
        &mut self,
        entries: &Receiver<Item>,
        work: Sender<Work>,
        read: &Receiver<Read>,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let mut outstanding = 0;
        for item in entries {
            if stop() {
                self.found.interrupted = true;
                break;
            }
            if let Some(to_read) = self.item(item)? {
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
                self.root.display().to_string(),
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
                self.unseen.push(format!("{folder}/"));
                let skip = Skip {
                    path: folder,
                    reason: SkipReason::Unreadable,
                    detail: "the folder cannot be read; what is known of it stays".to_owned(),
                };
                self.found.skipped += 1;
                self.record.skip(skip).map(|()| None)
            }
            Item::File(entry) => {
                if self.has_twin(&entry.path) {
                    let skip = Skip {
                        path: entry.path,
                        reason: SkipReason::SameName,
                        detail: "another file has this name in composed form: rename one"
                            .to_owned(),
                    };
                    return self.skip(skip).map(|()| None);
                }
                let known = self.known.file(&entry.path)?;
                if let Some(file) = known.as_ref().filter(|f| self.is_unchanged(&entry, f)) {
                    self.seen.set(file.id);
                    self.found.unchanged += 1;
                    self.count(entry.size_bytes);
                    return Ok(None);
                }
                Ok(Some((entry, known)))
            }
        }
    }

    fn is_unchanged(&self, entry: &Entry, known: &KnownFile) -> bool {
        let racy = known.hashed_ms.saturating_mul(1_000_000) - entry.mtime_ns < RACY_NS;
        !self.options.rehash
            && known.present
            && known.size_bytes == entry.size_bytes
            && known.mtime_ns == entry.mtime_ns
            && !racy
    }

    /// Only a name that is not composed can meet another that has the same identity.
    fn has_twin(&self, path: &str) -> bool {
        if is_nfc(path) {
            return false;
        }
        let composed: String = path.nfc().collect();
        self.root.join(composed).exists()
    }

    fn read(&mut self, (entry, known, content): Read) -> Result<(), Error> {
        let content = match content {
            Ok(content) => content,
            Err(skip) => return self.skip(skip),
        };
        let same = |sha256: &Sha256| *sha256 == content.sha256;
        match &known {
            None => self.found.new += 1,
            Some(file) if same(&file.sha256) => self.found.unchanged += 1,
            Some(_) => self.found.changed += 1,
        }
        if let Some(file) = &known {
            self.seen.set(file.id);
        }
        self.count(content.size_bytes);
        self.record.file(Seen {
            path_value: identity::path_value(&entry.path),
            path: entry.path,
            size_bytes: content.size_bytes,
            mtime_ns: content.mtime_ns,
            hashed_ms: content.hashed_ms,
            sha256: content.sha256,
            mime: content.mime,
        })
    }

    fn skip(&mut self, skip: Skip) -> Result<(), Error> {
        self.found.skipped += 1;
        if skip.reason.keeps_what_is_known()
            && let Some(file) = self.known.file(&skip.path)?
        {
            self.seen.set(file.id);
        }
        self.record.skip(skip)
    }

    fn count(&mut self, bytes: u64) {
        self.found.files += 1;
        self.found.bytes += bytes;
    }

    /// What was not seen is missing, unless the root itself looks wrong.
    fn finish(&mut self) -> Result<(), Error> {
        let known = self.present_before;
        if self.options.files_from.is_some() {
            return self.finish_list();
        }
        let empty = self.found.files == 0 && (known > 0 || self.found.skipped == 0);
        if empty && !self.options.accept_missing {
            return Err(self.guard(
                "holds no file that can be uploaded".to_owned(),
                "check the path (is the disk mounted?), or say --accept-missing if it is empty",
            ));
        }
        let gone = self.gone()?;
        if gone * 2 > known && !self.options.accept_missing {
            return Err(self.guard(
                format!("{gone} of {known} known files are gone"),
                "check the path, or say --accept-missing if that is so",
            ));
        }
        // Collected first: recording may wait for the writer, which an open reading would hold up.
        let mut missing = Vec::new();
        self.each_gone(&mut |id| missing.push(id))?;
        for id in missing {
            self.record.missing(id)?;
            self.found.missing += 1;
        }
        Ok(())
    }

    fn gone(&self) -> Result<u64, Error> {
        let mut gone = 0;
        self.each_gone(&mut |_| gone += 1)?;
        Ok(gone)
    }

    fn each_gone(&self, each: &mut dyn FnMut(i64)) -> Result<(), Error> {
        let filtered = !self.options.include.is_empty() || !self.options.exclude.is_empty();
        self.known.each_present(&mut |id, path| {
            // What this scan found new has a higher id.
            let seen = id > self.last_id || self.seen.get(id);
            let hidden = self.unseen.iter().any(|folder| path.starts_with(folder));
            if seen || hidden {
                return;
            }
            // A file that a glob of this one scan leaves out is not gone.
            if !(filtered && self.root.join(path).is_file()) {
                each(id);
            }
        })
    }

    /// With a list, only what is on it can be missing.
    fn finish_list(&mut self) -> Result<(), Error> {
        for given in self.options.files_from.iter().flatten() {
            let Some(path) = walk::relative(self.root, given) else {
                continue;
            };
            let gone = !self.root.join(&path).exists();
            if let Some(file) = self.known.file(&path)?.filter(|f| gone && f.present) {
                self.record.missing(file.id)?;
                self.found.missing += 1;
            }
        }
        Ok(())
    }

    fn guard(&self, why: String, remedy: &str) -> Error {
        Error::new(
            Kind::Input,
            self.root.display().to_string(),
            why,
            format!("{remedy}; nothing was marked as missing"),
        )
    }
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
            prop_assert!(bits.0.len() <= ids.len());
        }
    }
}
