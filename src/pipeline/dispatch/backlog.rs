//! Which places in the queue belong to what waited when the run began.
//!
//! Files known before a library was linked with the store are queued while the run is under way, a page at
//! a time, among files that come back to the queue; and `--limit` counts the former only. Promises: one
//! entry for each page, so that a million files need some two hundred and fifty.

use std::ops::Range;

/// A file whose place is not of the backlog has come back to the queue in this run, or was found changed.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    /// Up to here everything waited when the run began.
    end: i64,
    /// The pages that were queued since, in order.
    pages: Vec<Range<i64>>,
}

impl Backlog {
    /// `last_queued`: the last place that was taken when the run began.
    pub fn up_to(last_queued: i64) -> Backlog {
        Backlog {
            end: last_queued,
            pages: Vec::new(),
        }
    }

    /// A page was queued behind all that waits.
    pub fn add(&mut self, first: i64, files: u64) {
        let files = i64::try_from(files).unwrap_or(i64::MAX);
        self.pages.push(first..first.saturating_add(files));
    }

    pub fn holds(&self, place: i64) -> bool {
        let next = self.pages.partition_point(|page| page.end <= place);
        place <= self.end || self.pages.get(next).is_some_and(|p| p.contains(&place))
    }

    /// Nothing that has come back stands before this place.
    pub fn start_of_the_rest(&self) -> i64 {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_between_two_pages_is_not_of_the_backlog() {
        let mut backlog = Backlog::up_to(10);
        backlog.add(11, 4);
        // A page may hold nothing to queue, and a file came back at 15.
        backlog.add(15, 0);
        backlog.add(16, 3);
        let holds: Vec<i64> = (0..25).filter(|place| backlog.holds(*place)).collect();
        let expected: Vec<i64> = (0..=14).chain(16..=18).collect();
        assert_eq!(holds, expected);
    }
}
