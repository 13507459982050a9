//! A set of row ids.

use std::collections::BTreeMap;

use crate::error::Error;

/// A set of row ids: one bit each, in blocks, so that an id that a damaged database made up costs a
/// block and no more.
#[derive(Debug, Default)]
pub struct Bits(BTreeMap<i64, [u64; BLOCK_WORDS as usize]>);

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

    pub fn set(&mut self, id: i64) {
        let (block, word, bit) = Bits::place(id);
        let block = self.0.entry(block).or_insert([0; BLOCK_WORDS as usize]);
        block[word] |= bit;
    }

    pub fn each(&self, mut each: impl FnMut(i64) -> Result<(), Error>) -> Result<(), Error> {
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

    pub fn get(&self, id: i64) -> bool {
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
