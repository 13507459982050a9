//! A set of paths that may be millions: what `--files-from` names.
//!
//! A hash table with open addressing, in a temporary file without a name. It holds the 64-bit hash of each
//! path and not the path, under a key that each process makes anew: with a million paths in the set, a
//! path that is not in it is taken for one that is in 1 of 18 million million look-ups. The system keeps what is used of the file in its cache, which
//! it takes back when memory is short; the same table in this process would be 16 MiB a million paths.
//! Promises: memory does not grow with the number of paths; a look-up costs one short read; one that
//! fails answers "not in the set", and `check` says so afterwards.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use super::list;

/// Slots that are read at once: 64 bytes, so that nearly every look-up is a single read.
const BUCKET_SLOTS: usize = 8;
const SLOT_BYTES: usize = size_of::<u64>();
const BUCKET_BYTES: usize = BUCKET_SLOTS * SLOT_BYTES;
/// 64 KiB of table: enough for 4,096 paths before it grows for the first time.
const BUCKETS_FIRST: u64 = 1024;
/// What an empty slot holds. No path has this hash.
const EMPTY: u64 = 0;

#[derive(Debug)]
pub struct PathSet {
    hasher: RandomState,
    table: Table,
    /// The first look-up that failed.
    failure: OnceLock<String>,
}

impl PathSet {
    pub fn new() -> io::Result<PathSet> {
        Ok(PathSet {
            hasher: RandomState::new(),
            table: Table::new(BUCKETS_FIRST)?,
            failure: OnceLock::new(),
        })
    }

    pub fn insert(&mut self, path: &str) -> io::Result<()> {
        let hash = self.hash(path);
        if self.table.insert(hash)? && self.table.is_half_full() {
            self.table = self.table.grown()?;
        }
        Ok(())
    }

    /// A number of this path's own, if it is in the set.
    pub fn position(&self, path: &str) -> Option<u64> {
        match self.table.find(self.hash(path)) {
            Ok(Slot::Held(position)) => Some(position),
            Ok(Slot::Free(_)) => None,
            Err(e) => {
                self.failure.get_or_init(|| e.to_string());
                None
            }
        }
    }

    pub fn contains(&self, path: &str) -> bool {
        self.position(path).is_some()
    }

    /// # Errors
    /// Some look-up has failed.
    pub fn check(&self) -> Result<(), &str> {
        self.failure.get().map_or(Ok(()), |why| Err(why))
    }

    fn hash(&self, path: &str) -> u64 {
        self.hasher.hash_one(path).max(EMPTY + 1)
    }
}

#[derive(Debug)]
struct Table {
    file: File,
    buckets: u64,
    held: u64,
}

/// Where a hash is, or where it would go.
enum Slot {
    Held(u64),
    Free(u64),
}

impl Table {
    fn new(buckets: u64) -> io::Result<Table> {
        let file = list::nameless()?;
        // What was never written reads as zeros: empty slots.
        file.set_len(buckets * BUCKET_BYTES as u64)?;
        Ok(Table {
            file,
            buckets,
            held: 0,
        })
    }

    /// Ends since at least half of the slots are free.
    fn find(&self, hash: u64) -> io::Result<Slot> {
        let mut bucket = hash % self.buckets;
        loop {
            let mut bytes = [0; BUCKET_BYTES];
            self.file
                .read_exact_at(&mut bytes, bucket * BUCKET_BYTES as u64)?;
            for (i, held) in (0..).zip(hashes(&bytes)) {
                let position = bucket * BUCKET_SLOTS as u64 + i;
                match held {
                    EMPTY => return Ok(Slot::Free(position)),
                    held if held == hash => return Ok(Slot::Held(position)),
                    _ => {}
                }
            }
            bucket = (bucket + 1) % self.buckets;
        }
    }

    /// Whether it was not in it before.
    fn insert(&mut self, hash: u64) -> io::Result<bool> {
        let Slot::Free(position) = self.find(hash)? else {
            return Ok(false);
        };
        let at = position * SLOT_BYTES as u64;
        self.file.write_all_at(&hash.to_ne_bytes(), at)?;
        self.held += 1;
        Ok(true)
    }

    fn is_half_full(&self) -> bool {
        self.held * 2 >= self.buckets * BUCKET_SLOTS as u64
    }

    /// The same hashes in a table of twice the size.
    fn grown(&self) -> io::Result<Table> {
        let mut grown = Table::new(self.buckets * 2)?;
        let mut bytes = [0; BUCKET_BYTES];
        for bucket in 0..self.buckets {
            self.file
                .read_exact_at(&mut bytes, bucket * BUCKET_BYTES as u64)?;
            for hash in hashes(&bytes).filter(|hash| *hash != EMPTY) {
                grown.insert(hash)?;
            }
        }
        Ok(grown)
    }
}

fn hashes(bucket: &[u8; BUCKET_BYTES]) -> impl Iterator<Item = u64> {
    let (slots, _) = bucket.as_chunks::<SLOT_BYTES>();
    slots.iter().map(|slot| u64::from_ne_bytes(*slot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_set_that_has_grown_holds_what_was_put_into_it_and_nothing_else() {
        let mut set = PathSet::new().unwrap();
        let path = |i: u32| format!("folder-{}/note-{i}.md", i % 7);
        // Every path twice; beyond 4,096 the table is made anew.
        for i in (0..10_000).chain(0..10_000) {
            set.insert(&path(i)).unwrap();
        }
        assert_eq!((set.table.held, set.table.buckets), (10_000, 4096));
        let positions: BTreeSet<u64> = (0..10_000).filter_map(|i| set.position(&path(i))).collect();
        assert_eq!(positions.len(), 10_000);
        assert!(!(10_000..20_000).any(|i| set.contains(&path(i))));
        assert_eq!(set.check(), Ok(()));
    }

    #[test]
    fn a_table_that_cannot_be_read_holds_nothing_and_says_so() {
        let mut set = PathSet::new().unwrap();
        set.insert("a.md").unwrap();
        set.table.file.set_len(0).unwrap();
        assert!(!set.contains("a.md"));
        assert!(set.check().is_err());
    }
}
