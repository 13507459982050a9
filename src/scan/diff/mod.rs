//! Seen against known: new, changed, missing, back again; and the guards on a root.
//!
//! Steps: 1. a thread walks; 2. the calling thread compares each file with what is known; 3. rayon's
//! threads hash what is new or changed; 4. the calling thread records. The queues between them are
//! bounded, and no step waits for a whole folder. 5. At the end, what was not seen is missing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::iter::{ParallelBridge, ParallelIterator};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use self::bits::Bits;
use super::hash;
use super::walk::{self, Item, WalkedFile};
use super::{
    Filter, Found, Known, KnownFile, Options, Reading, Record, SeenFile, Skip, SkipReason,
    TOO_LARGE_NAMES_MAX,
};
use crate::disk::{Presence, Root};
use crate::error::{Error, Kind};
use crate::identity::{self, ContentKey};
use crate::state::Described;
use crate::{panic, proof};

mod bits;
mod gone;

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
        let walk = walk::walk(root, filter, sidecars, halted);
        scope.spawn(move || send_walked(walk, &walked));
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

/// Ends when the walk does, or when nobody takes what it finds.
fn send_walked(
    walk: impl Iterator<Item = Result<Item, Error>>,
    walked: &Sender<Result<Item, Error>>,
) {
    let walking = panic::caught("walk", || {
        for item in walk {
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
                let known = self.known.file(&entry.path)?;
                // A path that is recorded already was looked at, or scanned where no key was known.
                let refused = match &known {
                    None => self.known.describer().refuses(&entry.path),
                    Some(_) => None,
                };
                let described = match refused {
                    Some(skip) => Err(skip),
                    None => self.description(&entry),
                };
                let described = match described {
                    Ok(described) => described,
                    Err(skip) => return self.skip(skip).map(|()| None),
                };
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
}
