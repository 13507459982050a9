//! A set of paths that may be millions: what `--files-from` names.
//!
//! Owns a temporary file without a name that holds the 64-bit hash of each path, sorted. It is made like
//! any sorting that exceeds the memory: runs that are sorted in memory, then merged. Hashes and not paths:
//! under a key that each process makes anew, with a million paths in the set, a path that is not in it is
//! taken for one that is in 1 of 18 million million look-ups. The system keeps what is used of the file in
//! its cache, which it takes back when memory is short; in this process it would be 8 MB a million paths.
//! Promises: memory does not grow with the number of paths, but for one hash of each block; a look-up
//! costs one short read; one that fails answers "not in the set", and `check` says so afterwards.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use super::list::{self, At};

const HASH_BYTES: usize = size_of::<u64>();
/// Sorted in memory at once: 512 KiB. The longest list that is taken makes some eighty runs.
const RUN_HASHES: usize = 64 << 10;
/// Read by a look-up: 1 KiB. The first hash of each block is kept in memory, 64 KiB for a million paths.
const BLOCK_HASHES: usize = 128;
const BLOCK_BYTES: usize = BLOCK_HASHES * HASH_BYTES;

/// A set to which paths are still added.
pub struct Builder {
    hasher: RandomState,
    run: Vec<u64>,
    /// The sorted runs, one after the other.
    file: File,
    /// Number of hashes in each of them.
    lengths: Vec<usize>,
}

impl Builder {
    pub fn new() -> io::Result<Builder> {
        Ok(Builder {
            hasher: RandomState::new(),
            run: Vec::new(),
            file: list::nameless()?,
            lengths: Vec::new(),
        })
    }

    pub fn add(&mut self, path: &str) -> io::Result<()> {
        self.run.push(self.hasher.hash_one(path));
        match self.run.len() < RUN_HASHES {
            true => Ok(()),
            false => self.end_run(),
        }
    }

    fn end_run(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        self.run.dedup();
        let mut out = BufWriter::new(&self.file);
        for hash in &self.run {
            out.write_all(&hash.to_ne_bytes())?;
        }
        out.flush()?;
        self.lengths.push(self.run.len());
        self.run.clear();
        Ok(())
    }

    pub fn build(mut self) -> io::Result<PathSet> {
        self.end_run()?;
        let mut runs = Vec::new();
        let mut offset = 0;
        for length in self.lengths {
            let bytes = (length * HASH_BYTES) as u64;
            let file = &self.file;
            runs.push(BufReader::new(At { file, offset }.take(bytes)));
            offset += bytes;
        }
        // The next hash of each run that has not ended.
        let mut heads = BinaryHeap::new();
        for (i, run) in runs.iter_mut().enumerate() {
            heads.extend(next(run)?.map(|hash| Reverse((hash, i))));
        }
        let sorted = list::nameless()?;
        let mut out = BufWriter::new(&sorted);
        let mut last = None;
        let mut length = 0;
        let mut firsts = Vec::new();
        while let Some(Reverse((hash, i))) = heads.pop() {
            heads.extend(next(&mut runs[i])?.map(|hash| Reverse((hash, i))));
            if last.replace(hash) == Some(hash) {
                continue;
            }
            if length % BLOCK_HASHES == 0 {
                firsts.push(hash);
            }
            out.write_all(&hash.to_ne_bytes())?;
            length += 1;
        }
        out.flush()?;
        drop(out);
        Ok(PathSet {
            hasher: self.hasher,
            sorted,
            length,
            firsts,
            failure: OnceLock::new(),
        })
    }
}

fn next(run: &mut impl io::BufRead) -> io::Result<Option<u64>> {
    if run.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut hash = [0; HASH_BYTES];
    run.read_exact(&mut hash)?;
    Ok(Some(u64::from_ne_bytes(hash)))
}

#[derive(Debug)]
pub struct PathSet {
    hasher: RandomState,
    /// Every hash once, in order.
    sorted: File,
    /// Number of hashes.
    length: usize,
    /// The first hash of each block.
    firsts: Vec<u64>,
    /// The first look-up that failed.
    failure: OnceLock<String>,
}

impl PathSet {
    /// A number of this path's own, if it is in the set: its place in the order of the hashes.
    pub fn position(&self, path: &str) -> Option<usize> {
        let found = self.find(self.hasher.hash_one(path));
        found.unwrap_or_else(|e| {
            self.failure.get_or_init(|| e.to_string());
            None
        })
    }

    pub fn contains(&self, path: &str) -> bool {
        self.position(path).is_some()
    }

    /// # Errors
    /// Some look-up has failed.
    pub fn check(&self) -> Result<(), &str> {
        self.failure.get().map_or(Ok(()), |why| Err(why))
    }

    fn find(&self, hash: u64) -> io::Result<Option<usize>> {
        let begun = self.firsts.partition_point(|first| *first <= hash);
        let Some(block) = begun.checked_sub(1) else {
            return Ok(None);
        };
        let before = block * BLOCK_HASHES;
        let mut bytes = [0; BLOCK_BYTES];
        let bytes = &mut bytes[..(self.length - before).min(BLOCK_HASHES) * HASH_BYTES];
        self.sorted
            .read_exact_at(bytes, (before * HASH_BYTES) as u64)?;
        let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
        let found = hashes.binary_search_by_key(&hash, |bytes| u64::from_ne_bytes(*bytes));
        Ok(found.ok().map(|within| before + within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn set(paths: impl IntoIterator<Item = String>) -> PathSet {
        let mut set = Builder::new().unwrap();
        for path in paths {
            set.add(&path).unwrap();
        }
        set.build().unwrap()
    }

    #[test]
    fn a_set_of_several_runs_holds_what_was_put_into_it_and_nothing_else() {
        let path = |i: usize| format!("folder-{}/note-{i}.md", i % 7);
        let distinct = RUN_HASHES + RUN_HASHES / 2;
        // Every path twice, and most of them in two runs.
        let set = set((0..distinct).chain(0..distinct).map(path));
        assert_eq!(set.length, distinct);
        assert_eq!(set.firsts.len(), distinct.div_ceil(BLOCK_HASHES));
        let positions: BTreeSet<usize> = (0..distinct)
            .filter_map(|i| set.position(&path(i)))
            .collect();
        assert!(positions.into_iter().eq(0..distinct));
        assert!(!(distinct..2 * distinct).any(|i| set.contains(&path(i))));
        assert_eq!(set.check(), Ok(()));
    }

    #[test]
    fn an_empty_set_holds_nothing() {
        assert!(!set([]).contains("a.md"));
    }

    #[test]
    fn a_set_that_cannot_be_read_holds_nothing_and_says_so() {
        let set = set(["a.md".to_owned()]);
        assert!(set.contains("a.md"));
        set.sorted.set_len(0).unwrap();
        assert!(!set.contains("a.md"));
        assert!(set.check().is_err());
    }
}
