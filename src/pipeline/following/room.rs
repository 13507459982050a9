//! How many documents may be under way at the service: fewer when it fails them in numbers.
//!
//! A service that takes more than it can index fails documents for a while (fact sheet 14: a hundred at once
//! made 84 of 187 fail). Then half as many are under way next, and more again as documents are indexed.
//! Pure: the time comes from outside.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::state::UploadId;

/// Failures within `TOGETHER` before there is less room: a few may be the files' own fault.
const FAILED_MANY: u32 = 5;
const TOGETHER: Duration = Duration::from_secs(60);
/// There is always room for so many.
const ROOM_MIN: usize = 8;
/// Documents indexed for one more.
const INDEXED_PER_STEP: usize = 10;

#[derive(Debug)]
pub struct Room {
    most: usize,
    room: usize,
    indexed: usize,
    /// Documents that have failed and may still heal: they are not being indexed.
    failing: BTreeSet<UploadId>,
    /// How many failed, since when.
    failed: Option<(Instant, u32)>,
    /// What was submitted before failed of what was under way then.
    cut_at: Option<Instant>,
}

impl Room {
    pub fn new(most: usize) -> Room {
        Room {
            most,
            room: most,
            indexed: 0,
            failing: BTreeSet::new(),
            failed: None,
            cut_at: None,
        }
    }

    /// `unsettled`: documents whose outcome is not known, those that have failed included.
    pub fn is_full(&self, unsettled: usize) -> bool {
        unsettled.saturating_sub(self.failing.len()) >= self.room
    }

    /// A document was first seen to have failed.
    pub fn failed(&mut self, upload: UploadId, submitted: Instant, unsettled: usize, now: Instant) {
        if !self.failing.insert(upload) || self.cut_at.is_some_and(|cut| submitted <= cut) {
            return;
        }
        let (since, count) = self
            .failed
            .filter(|(since, _)| now.saturating_duration_since(*since) < TOGETHER)
            .unwrap_or((now, 0));
        if count + 1 < FAILED_MANY {
            self.failed = Some((since, count + 1));
            return;
        }
        self.failed = None;
        self.cut_at = Some(now);
        self.room = (unsettled.min(self.room) / 2).max(ROOM_MIN);
        self.indexed = 0;
    }

    pub fn indexed(&mut self) {
        self.indexed += 1;
        if self.indexed >= INDEXED_PER_STEP && self.room < self.most {
            self.indexed = 0;
            self.room += 1;
        }
    }

    /// Nothing is followed any more of this upload.
    pub fn settled(&mut self, upload: UploadId) {
        self.failing.remove(&upload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(room: &mut Room, ids: std::ops::Range<i64>, submitted: Instant, now: Instant) {
        for id in ids {
            room.failed(UploadId(id), submitted, 100, now);
        }
    }

    #[test]
    fn documents_that_fail_in_numbers_halve_it_once() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let mut room = Room::new(1000);
        failed(&mut room, 0..4, now, later);
        assert!(!room.is_full(500));
        failed(&mut room, 4..80, now, later);
        // Those that have failed take no room.
        assert!(room.is_full(50 + 80) && !room.is_full(49 + 80));
        // What was sent since then has failed as well.
        failed(
            &mut room,
            80..85,
            later + TOGETHER / 60,
            later + TOGETHER / 2,
        );
        assert!(room.is_full(25 + 85) && !room.is_full(24 + 85));
        (0..85).for_each(|id| room.settled(UploadId(id)));
        assert!(room.is_full(25) && !room.is_full(24));
    }

    #[test]
    fn now_and_then_a_document_may_fail() {
        let mut now = Instant::now();
        let mut room = Room::new(1000);
        for id in 0..100 {
            now += TOGETHER / 4;
            room.failed(UploadId(id), now, 100, now);
            room.settled(UploadId(id));
        }
        assert!(!room.is_full(999));
    }

    #[test]
    fn room_comes_back_with_every_tenth_document_and_never_goes_below_eight() {
        let now = Instant::now();
        let mut room = Room::new(20);
        for round in 0..10 {
            let now = now + round * TOGETHER;
            let ids = i64::from(round) * 10;
            failed(&mut room, ids..ids + 5, now, now);
            (ids..ids + 5).for_each(|id| room.settled(UploadId(id)));
        }
        assert!(room.is_full(ROOM_MIN) && !room.is_full(ROOM_MIN - 1));
        (1..INDEXED_PER_STEP).for_each(|_| room.indexed());
        assert!(room.is_full(ROOM_MIN));
        room.indexed();
        assert!(!room.is_full(ROOM_MIN) && room.is_full(ROOM_MIN + 1));
        (0..1000).for_each(|_| room.indexed());
        assert!(room.is_full(20) && !room.is_full(19));
    }
}
