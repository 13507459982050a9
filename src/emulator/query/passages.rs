//! The passages of documents, and the index over their words.
//!
//! A document is indexed when somebody searches for the first time after it has come, so that uploads do not pay
//! for searches that nobody makes. Promises: the whole of the kept text is searched; a passage is cut as the
//! upload asked for.

use std::collections::HashSet;
use std::ops::Range;

use rusqlite::{OptionalExtension, params};

use crate::emulator::data::database::{DOCUMENT, Database, document};
use crate::emulator::data::records::{Chunking, Document};

/// The number of a passage is that of its document, and behind it so many bits of its place there.
const PLACE_BITS: u32 = 16;

type Result<T> = rusqlite::Result<T>;

/// A passage that was found.
#[derive(Debug)]
pub struct Passage {
    pub document: Document,
    pub text: String,
    /// Of a text with form feeds in it, counted from 1.
    pub page: Option<u64>,
}

impl Database {
    /// The passages that have most of these words, best first; only of documents that fit.
    pub fn passages(
        &self,
        words: &[String],
        most: usize,
        fits: &dyn Fn(&Document) -> bool,
    ) -> Result<Vec<Passage>> {
        self.together(|| self.index_new())?;
        let mut found = Vec::new();
        if words.is_empty() || most == 0 {
            return Ok(found);
        }
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let mut statement = self
            .conn
            .prepare_cached("SELECT rowid FROM passages WHERE passages MATCH ?1 ORDER BY rank")?;
        let mut rows = statement.query([quoted.join(" OR ")])?;
        let mut unfit: HashSet<i64> = HashSet::new();
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let (owner, place) = (number >> PLACE_BITS, number & ((1 << PLACE_BITS) - 1));
            if unfit.contains(&owner) {
                continue;
            }
            let Some((document, text, chunking)) = self.searchable(owner)? else {
                continue;
            };
            if !fits(&document) {
                unfit.insert(owner);
                continue;
            }
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            let Some(range) = cut(&text, chunking).nth(place) else {
                continue;
            };
            let before = text[..range.start].matches('\u{c}').count() as u64;
            found.push(Passage {
                document,
                page: text.contains('\u{c}').then_some(before + 1),
                text: text[range].to_owned(),
            });
            if found.len() == most {
                break;
            }
        }
        Ok(found)
    }

    /// Documents of these stores that have no text.
    pub fn unread(&self, stores: &[String]) -> Result<u64> {
        let mut count = self
            .conn
            .prepare_cached("SELECT count(*) FROM documents WHERE store = ?1 AND text = ''")?;
        let counts = stores
            .iter()
            .map(|store| count.query_row([store], |r| r.get::<_, i64>(0)));
        Ok(counts.sum::<Result<i64>>()?.unsigned_abs())
    }

    /// Forgets the passages of the document with this number.
    pub fn forget_passages(&self, number: i64) -> Result<()> {
        self.conn
            .prepare_cached("DELETE FROM passages WHERE rowid >= ?1 AND rowid < ?2")?
            .execute([number << PLACE_BITS, (number + 1) << PLACE_BITS])
            .map(|_| ())
    }

    fn searchable(&self, number: i64) -> Result<Option<(Document, String, Chunking)>> {
        let sql = format!(
            "SELECT {DOCUMENT}, text, chunk_words, chunk_overlap FROM documents WHERE number = ?1"
        );
        self.conn
            .prepare_cached(&sql)?
            .query_row([number], |r| {
                let chunking = Chunking {
                    words: r.get("chunk_words")?,
                    overlap: r.get("chunk_overlap")?,
                };
                Ok((document(r)?, r.get("text")?, chunking))
            })
            .optional()
    }

    /// Numbers only grow, so the highest one that is indexed tells which documents are new.
    fn index_new(&self) -> Result<()> {
        let last: Option<i64> = self
            .conn
            .prepare_cached("SELECT rowid FROM passages ORDER BY rowid DESC LIMIT 1")?
            .query_row([], |r| r.get(0))
            .optional()?;
        let mut new = self.conn.prepare_cached(
            "SELECT number, text, chunk_words, chunk_overlap FROM documents WHERE number > ?1",
        )?;
        let mut add = self
            .conn
            .prepare_cached("INSERT INTO passages (rowid, text) VALUES (?1, ?2)")?;
        let mut rows = new.query([last.unwrap_or(0) >> PLACE_BITS])?;
        while let Some(row) = rows.next()? {
            let (number, text): (i64, String) = (row.get(0)?, row.get(1)?);
            let chunking = Chunking {
                words: row.get(2)?,
                overlap: row.get(3)?,
            };
            for (place, range) in cut(&text, chunking).take(1 << PLACE_BITS).enumerate() {
                let id = (number << PLACE_BITS) + place as i64;
                add.execute(params![id, &text[range]])?;
            }
        }
        Ok(())
    }
}

/// Where the passages of a text are; a text without words is one, of nothing.
fn cut(text: &str, chunking: Chunking) -> impl Iterator<Item = Range<usize>> {
    let mut words: Vec<Range<usize>> = text
        .split_whitespace()
        .map(|word| {
            let start = word.as_ptr() as usize - text.as_ptr() as usize;
            start..start + word.len()
        })
        .collect();
    if words.is_empty() {
        words.push(0..0);
    }
    let size = usize::from(chunking.words.max(1));
    let step = size.saturating_sub(usize::from(chunking.overlap)).max(1);
    // The last one is the one that reaches the end.
    let count = words.len().saturating_sub(size).div_ceil(step) + 1;
    (0..count).map(move |i| {
        let last = (i * step + size).min(words.len()) - 1;
        words[i * step].start..words[last].end
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(text: &str, words: u16, overlap: u16) -> Vec<&str> {
        let ranges = cut(text, Chunking { words, overlap });
        ranges.map(|range| &text[range]).collect()
    }

    #[test]
    fn a_text_is_cut_as_it_was_asked_for() {
        assert_eq!(pieces("a b\n c d e", 2, 0), ["a b", "c d", "e"]);
        assert_eq!(pieces("a b c d e", 3, 1), ["a b c", "c d e"]);
        assert_eq!(pieces(" a b ", 3, 2), ["a b"]);
        assert_eq!(pieces("a b c", 3, 0), ["a b c"]);
        assert_eq!(pieces(" \n", 3, 0), [""]);
    }

    proptest! {
        #[test]
        fn no_word_is_lost_and_only_the_overlap_is_doubled(
            text in "[a-cä \n]{0,80}", words in 1u16..9, overlap in 0u16..8,
        ) {
            prop_assume!(overlap < words);
            let mut all: Vec<&str> = Vec::new();
            for (i, piece) in pieces(&text, words, overlap).iter().enumerate() {
                let own: Vec<&str> = piece.split_whitespace().collect();
                prop_assert!(own.len() <= usize::from(words));
                all.extend(own.iter().skip(if i == 0 { 0 } else { overlap.into() }));
            }
            prop_assert_eq!(all, text.split_whitespace().collect::<Vec<_>>());
        }
    }
}
