//! Whether 429s are a quota's or noise, by how many there are among the grants.
//!
//! A quota that is passed refuses a good part of what it is sent, and all while it is empty. Refusals that come
//! at any rate, one in a hundred, leave room between them. So each raises a level that grants lower again
//! (a leaky bucket). Pure.

/// So much a grant lowers the level: refusals below this share do not add up.
const GRANT_LOWERS: f64 = 0.05;
/// Three refusals close together.
const QUOTA_FROM: f64 = 2.5;
/// Of a quota that has just been found the next one is enough, if it comes soon.
const KEPT: f64 = 2.0;

#[derive(Debug, Default)]
pub struct Refusals {
    level: f64,
}

impl Refusals {
    pub fn granted(&mut self) {
        self.level = (self.level - GRANT_LOWERS).max(0.0);
    }

    pub fn refused(&mut self) {
        self.level += 1.0;
    }

    /// So many are not noise.
    pub fn are_a_quotas(&self) -> bool {
        self.level >= QUOTA_FROM
    }

    /// They have had their consequence.
    pub fn acted_upon(&mut self) {
        self.level = self.level.min(KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(refusals: u32, grants: u32) -> Refusals {
        let mut all = Refusals::default();
        (0..refusals).for_each(|_| all.refused());
        (0..grants).for_each(|_| all.granted());
        all
    }

    #[test]
    fn three_close_together_are_a_quotas() {
        for (refusals, grants, are) in [
            (2, 0, false),
            (3, 0, true),
            (3, 9, true),
            (3, 11, false),
            (10, 149, true),
        ] {
            assert_eq!(
                level(refusals, grants).are_a_quotas(),
                are,
                "{refusals} {grants}"
            );
        }
    }

    #[test]
    fn one_in_thirty_never_adds_up_and_one_in_ten_does() {
        let becomes = |grants: u32| {
            let mut all = Refusals::default();
            (0..1000).any(|_| {
                all.refused();
                let are = all.are_a_quotas();
                (0..grants).for_each(|_| all.granted());
                are
            })
        };
        assert!(!becomes(29));
        assert!(becomes(9));
    }

    #[test]
    fn when_a_quota_was_found_the_next_is_seen_sooner_and_many_are_not_carried_along() {
        let mut all = level(10, 0);
        all.acted_upon();
        assert!(!all.are_a_quotas());
        all.refused();
        assert!(all.are_a_quotas());
        // None is added.
        let mut none = Refusals::default();
        none.acted_upon();
        none.refused();
        none.refused();
        assert!(!none.are_a_quotas());
    }
}
