//! What is gone through before a run, or instead of one: a folder by a scan, a store's listing by whatever
//! compares, documents that are deleted.
//!
//! Owns a few numbers, counted by the thread that reads. Promises: what was read is no longer shown once its
//! guard is gone.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::pace::{Done, Looks, Pace};
use crate::poison;
use crate::report::units::{bytes, count};
use crate::text::one_line;

#[derive(Debug, Default)]
pub struct Reading {
    what: Mutex<Option<What>>,
    seen: AtomicU64,
    /// About how many there are; 0: nobody knows.
    of: AtomicU64,
    hashed: AtomicU64,
    hashed_bytes: AtomicU64,
    looks: Mutex<Looks>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A library's, by its name.
    Folder(String),
    /// By its resource name.
    Store(String),
    /// What a store holds, with what the database says of it.
    Comparison(String),
    /// What goes from a store.
    Deletion(String),
}

/// As long as it is kept, it is being read.
pub struct Guard<'a>(&'a Reading);

/// One look at it.
#[derive(Debug, Clone)]
pub struct ReadSoFar {
    pub what: What,
    pub seen: u64,
    pub of: u64,
    pub hashed: u64,
    pub hashed_bytes: u64,
    /// Of `seen` and `hashed_bytes`.
    pub pace: Pace,
}

impl Reading {
    pub fn begin(&self, what: What) -> Guard<'_> {
        for n in [&self.seen, &self.of, &self.hashed, &self.hashed_bytes] {
            n.store(0, Relaxed);
        }
        *poison::lock(&self.looks) = Looks::default();
        *poison::lock(&self.what) = Some(what);
        Guard(self)
    }

    pub fn expects(&self, n: u64) {
        self.of.store(n, Relaxed);
    }

    pub fn saw(&self, n: u64) {
        self.seen.fetch_add(n, Relaxed);
    }

    /// A file that was read to its end.
    pub fn hashed(&self, bytes: u64) {
        self.hashed.fetch_add(1, Relaxed);
        self.hashed_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn look(&self, now: Instant) -> Option<ReadSoFar> {
        let what = poison::lock(&self.what).clone()?;
        let (seen, hashed_bytes) = (self.seen.load(Relaxed), self.hashed_bytes.load(Relaxed));
        let done = Done {
            files: seen,
            bytes: hashed_bytes,
        };
        Some(ReadSoFar {
            what,
            seen,
            of: self.of.load(Relaxed),
            hashed: self.hashed.load(Relaxed),
            hashed_bytes,
            pace: poison::lock(&self.looks).look(now, done),
        })
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        *poison::lock(&self.0.what) = None;
    }
}

/// In one line, the same with and without a terminal.
pub fn words(r: &ReadSoFar) -> String {
    match &r.what {
        What::Folder(name) => {
            let mut line = format!(
                "scanning {}: {} seen",
                one_line(name),
                count(r.seen, "file")
            );
            if r.hashed > 0 {
                line.push_str(&format!(", {} read ({}", r.hashed, bytes(r.hashed_bytes)));
                if r.pace.bytes >= 1.0 {
                    line.push_str(&format!(", {}/s", bytes(r.pace.bytes as u64)));
                }
                line.push(')');
            }
            line
        }
        What::Store(name) | What::Comparison(name) | What::Deletion(name) => {
            let doing = match r.what {
                What::Comparison(_) => "comparing",
                What::Deletion(_) => "deleting from",
                _ => "reading",
            };
            let of = match r.of {
                0 => String::new(),
                of => format!(" of about {}", of.max(r.seen)),
            };
            let mut line = format!("{doing} {}: {}{of} documents", one_line(name), r.seen);
            if r.pace.files >= 0.5 {
                line.push_str(&format!(", {:.0}/s", r.pace.files));
            }
            line
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_read_says_how_far_it_is_until_it_is_read() {
        let (reading, began) = (Reading::default(), Instant::now());
        let said = |seconds| {
            let seen = reading.look(began + Duration::from_secs(seconds));
            seen.map(|seen| words(&seen))
        };
        assert_eq!(said(0), None);
        let guard = reading.begin(What::Folder("do\u{1b}cs".to_owned()));
        assert_eq!(said(0).unwrap(), "scanning do\\u{1b}cs: 0 files seen");
        reading.saw(3);
        reading.hashed(4000);
        let line = "scanning do\\u{1b}cs: 3 files seen, 1 read (4.0 kB, 2.0 kB/s)";
        assert_eq!(said(2).unwrap(), line);
        drop(guard);
        let _guard = reading.begin(What::Store("fileSearchStores/s".to_owned()));
        assert_eq!(said(2).unwrap(), "reading fileSearchStores/s: 0 documents");
        reading.expects(50);
        reading.saw(20);
        let line = "reading fileSearchStores/s: 20 of about 50 documents, 10/s";
        assert_eq!(said(4).unwrap(), line);
        let _guard = reading.begin(What::Deletion("fileSearchStores/s".to_owned()));
        reading.expects(9);
        reading.saw(2);
        let line = "deleting from fileSearchStores/s: 2 of about 9 documents";
        assert_eq!(said(4).unwrap(), line);
    }
}
