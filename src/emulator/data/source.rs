//! Where ids and times come from: chance and the clock, or a seed.
//!
//! Promises: with a seed the same requests, one after the other, get the same ids and times, on the same data; an id
//! does not come twice in the life of a data file. No clock runs with a seed: every request moves the time on, so
//! that whoever waits by asking sees the end of what they wait for.

use super::database::Database;
use crate::clock::{UnixMs, now_ms};

/// 2026-01-01T00:00:00Z.
const START: UnixMs = 1_767_225_600_000;
const STEP_MS: UnixMs = 1_000;

pub struct Source {
    seed: Option<u64>,
    ids: fastrand::Rng,
    /// With a seed.
    at: UnixMs,
}

impl Source {
    pub fn new(seed: Option<u64>) -> Source {
        Source {
            seed,
            ids: seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            at: START,
        }
    }

    pub fn is_fixed(&self) -> bool {
        self.seed.is_some()
    }

    /// On data that is there already. `mark`: another one for any other data, so that no id of those comes again.
    pub fn go_on(&mut self, mark: u64, latest: UnixMs) {
        if let Some(seed) = self.seed {
            self.ids = fastrand::Rng::with_seed(seed.wrapping_add(mark.rotate_left(32)));
            self.at = self.at.max(latest);
        }
    }

    /// A request has come.
    pub fn step(&mut self) {
        self.at = self.at.saturating_add(STEP_MS);
    }

    pub fn now(&self) -> UnixMs {
        match self.seed {
            Some(_) => self.at,
            None => now_ms(),
        }
    }

    /// So many random letters and digits.
    pub fn token(&mut self, length: usize) -> String {
        let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
        (0..length)
            .map(|_| letters[self.ids.usize(..letters.len())] as char)
            .collect()
    }
}

impl Database {
    /// A number that grows with everything that is made, and the latest time there is.
    pub fn made(&self) -> rusqlite::Result<(u64, UnixMs)> {
        self.conn.query_row(
            "SELECT (SELECT coalesce(sum(seq), 0) FROM sqlite_sequence) + (SELECT count(*) FROM sessions),
                 (SELECT coalesce(max(created_ms), 0) FROM (SELECT created_ms FROM stores
                      UNION ALL SELECT created_ms FROM documents UNION ALL SELECT created_ms FROM files
                      UNION ALL SELECT created_ms FROM sessions))",
            [],
            |r| Ok((r.get::<_, i64>(0)? as u64, r.get(1)?)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_ids_and_times_and_other_data_get_other_ids() {
        let next = |seed, mark| {
            let mut source = Source::new(seed);
            source.go_on(mark, 0);
            source.step();
            (source.token(12), source.now())
        };
        assert_eq!(next(Some(7), 0), next(Some(7), 0));
        assert_eq!(next(Some(7), 0).1, START + STEP_MS);
        assert_ne!(next(Some(7), 0).0, next(Some(7), 1).0);
        assert_ne!(next(Some(7), 0).0, next(Some(8), 0).0);
        assert_ne!(next(None, 0).0, next(None, 0).0);
        let mut source = Source::new(Some(7));
        source.go_on(1, START + 5);
        assert_eq!(source.now(), START + 5);
    }
}
