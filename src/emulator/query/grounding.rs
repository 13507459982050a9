//! An answer with its sources: text, the passages that it quotes, which part of it rests on which.
//!
//! Promises: offsets are bytes, their end exclusive; what has its default value is left out; each message of a
//! stream carries only the passages that were not sent before.

use serde_json::{Map, Value, json};

use super::passages::Passage;

/// Characters of a passage that are quoted at the most.
const QUOTE_CHARS_MAX: usize = 300;
/// Of a word, what its endings leave.
const STEM_CHARS: usize = 5;

/// What is answered to one question.
pub struct Reply {
    pub(super) model: String,
    pub(super) id: String,
    pub(super) prompt_words: usize,
    pub(super) tool_words: usize,
    pub(super) block_reason: Option<&'static str>,
    pub(super) finish_reason: &'static str,
    pub(super) pieces: Vec<Piece>,
}

/// A part of the text, the passages that come with it, and those among all that it rests on.
#[derive(Default)]
pub(super) struct Piece {
    pub text: String,
    pub chunks: Vec<Value>,
    rests_on: Vec<usize>,
}

impl Reply {
    pub fn new(id: String, model: &str, question: &str) -> Reply {
        Reply {
            model: model.to_owned(),
            id,
            prompt_words: count_words(question),
            tool_words: 0,
            block_reason: None,
            finish_reason: "STOP",
            pieces: Vec::new(),
        }
    }

    /// The question is not answered.
    pub fn blocked(self) -> Reply {
        Reply {
            block_reason: Some("SAFETY"),
            ..self
        }
    }

    /// The answer ends before its first word.
    pub fn stopped(self) -> Reply {
        Reply {
            finish_reason: "SAFETY",
            ..self
        }
    }

    pub fn without_tool(self) -> Reply {
        self.saying(
            "This local service has no model: it answers by quoting what the file_search tool finds, and \
             this request has no such tool.",
        )
    }

    /// Nothing was found among these documents, of which so many have no text that is read here.
    pub fn without_passages(self, unread: u64) -> Reply {
        match unread {
            0 => self.saying("Nothing was found."),
            n => self.saying(&format!(
                "Nothing was found. The text of {n} of the documents is not read by this local service (PDF, Office, \
                 images)."
            )),
        }
    }

    /// Of each passage the sentence that has most of the words; a sentence of several is said once.
    pub fn quoting(mut self, passages: &[Passage], words: &[String]) -> Reply {
        let mut quotes: Vec<(String, Vec<&Passage>)> = Vec::new();
        for passage in passages {
            let quote = quote(&passage.text, words);
            match quotes.iter_mut().find(|(known, _)| *known == quote) {
                Some((_, of)) => of.push(passage),
                None => quotes.push((quote, vec![passage])),
            }
        }
        let mut sent = 0;
        for (quote, of) in quotes {
            self.pieces.push(Piece {
                text: quote + "\n",
                rests_on: (sent..sent + of.len()).collect(),
                chunks: of.iter().map(|passage| chunk(passage)).collect(),
            });
            sent += of.len();
        }
        let texts = passages.iter().map(|passage| count_words(&passage.text));
        self.tool_words = texts.sum();
        self
    }

    /// As it was written beforehand, all of it resting on all of these.
    pub fn scripted(mut self, text: &str, passages: &[Passage]) -> Reply {
        self.pieces = vec![Piece {
            text: text.to_owned(),
            chunks: passages.iter().map(chunk).collect(),
            rests_on: (0..passages.len()).collect(),
        }];
        let texts = passages.iter().map(|passage| count_words(&passage.text));
        self.tool_words = texts.sum();
        self
    }

    fn saying(mut self, text: &str) -> Reply {
        self.pieces = vec![Piece {
            text: text.to_owned(),
            ..Piece::default()
        }];
        self
    }

    /// In one message.
    pub fn whole(&self) -> Value {
        self.message(0..self.pieces.len())
    }

    /// A message a piece.
    pub fn messages(&self) -> Vec<Value> {
        match self.pieces.len() {
            0 => vec![self.whole()],
            n => (0..n).map(|i| self.message(i..i + 1)).collect(),
        }
    }

    fn message(&self, which: std::ops::Range<usize>) -> Value {
        let pieces = &self.pieces[which.clone()];
        let is_last = which.end == self.pieces.len();
        let mut message = json!({
            "usageMetadata": self.usage(), "modelVersion": self.model, "responseId": self.id});
        if let Some(reason) = self.block_reason {
            message["promptFeedback"] = json!({ "blockReason": reason });
            return message;
        }
        let mut candidate = Map::new();
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        if !text.is_empty() {
            let content = json!({"role": "model", "parts": [{ "text": text }]});
            candidate.insert("content".to_owned(), content);
        }
        if is_last {
            candidate.insert("finishReason".to_owned(), json!(self.finish_reason));
        }
        let chunks: Vec<&Value> = pieces.iter().flat_map(|piece| &piece.chunks).collect();
        if !chunks.is_empty() {
            let grounding =
                json!({"groundingChunks": chunks, "groundingSupports": self.supports(which)});
            candidate.insert("groundingMetadata".to_owned(), grounding);
        }
        message["candidates"] = json!([candidate]);
        message
    }

    /// Of these pieces; a line break at the end of one rests on nothing.
    fn supports(&self, which: std::ops::Range<usize>) -> Vec<Value> {
        let before = &self.pieces[..which.start];
        let mut start: usize = before.iter().map(|piece| piece.text.len()).sum();
        let mut supports = Vec::new();
        for piece in &self.pieces[which] {
            let text = piece.text.trim_end();
            let mut segment = json!({"endIndex": start + text.len(), "text": text});
            if start > 0 {
                segment["startIndex"] = json!(start);
            }
            supports.push(json!({"segment": segment, "groundingChunkIndices": piece.rests_on}));
            start += piece.text.len();
        }
        supports
    }

    pub(super) fn said_words(&self) -> usize {
        let words = self.pieces.iter().map(|piece| count_words(&piece.text));
        words.sum()
    }

    /// Words stand for tokens.
    fn usage(&self) -> Value {
        let said = self.said_words();
        let counts = [
            ("promptTokenCount", self.prompt_words),
            ("candidatesTokenCount", said),
            ("toolUsePromptTokenCount", self.tool_words),
            (
                "totalTokenCount",
                self.prompt_words + said + self.tool_words,
            ),
        ];
        let counts = counts.into_iter().filter(|(_, n)| *n > 0);
        counts
            .map(|(name, n)| (name.to_owned(), json!(n)))
            .collect()
    }
}

fn chunk(passage: &Passage) -> Value {
    let document = &passage.document;
    let mut context = json!({"text": passage.text, "fileSearchStore": document.store});
    if !document.display_name.is_empty() {
        context["title"] = json!(document.display_name);
    }
    if document.metadata.as_array().is_some_and(|m| !m.is_empty()) {
        context["customMetadata"] = document.metadata.clone();
    }
    if let Some(page) = passage.page {
        context["pageNumber"] = json!(page);
    }
    json!({ "retrievedContext": context })
}

/// The sentence with most of the words, whatever their endings.
fn quote(text: &str, words: &[String]) -> String {
    let stems: Vec<String> = words
        .iter()
        .map(|word| word.chars().take(STEM_CHARS).collect())
        .collect();
    let sentences = text
        .split(['\n', '\u{c}'])
        .flat_map(|line| line.split_inclusive(". "))
        .map(str::trim)
        .filter(|sentence| !sentence.is_empty());
    let mut best = ("", None);
    for sentence in sentences {
        let lower = sentence.to_lowercase();
        let hits = stems.iter().filter(|stem| lower.contains(*stem)).count();
        if best.1 < Some(hits) {
            best = (sentence, Some(hits));
        }
    }
    best.0.chars().take(QUOTE_CHARS_MAX).collect()
}

pub fn count_words(text: &str) -> usize {
    text.split_whitespace().count()
}
