//! `generateContent` with the file-search tool: an extractive answer with citations.
//!
//! Not a model: documents are ranked by how often the question's words occur in them.

use serde_json::{Value, json};

use super::answer::{Answer, invalid};
use super::check;
use super::filter;
use super::records::Document;
use super::service::{Call, Service, whole};
use super::stores::no_store;

const STORES_MAX: usize = 5;
const TOP_K: usize = 5;
/// Characters of a retrieved chunk.
const CHUNK_CHARS: usize = 600;

type Result = rusqlite::Result<Answer>;

pub fn generate(service: &Service, call: &Call<'_>) -> Result {
    let request = match check::read(&call.body, check::GENERATE, service.loose) {
        Ok(request) => request,
        Err(refused) => return Ok(refused),
    };
    let tools = request["tools"].as_array().into_iter().flatten();
    let tool = tools
        .map(|tool| match &tool["fileSearch"] {
            Value::Null => &tool["file_search"],
            tool => tool,
        })
        .find(|tool| !tool.is_null());
    let Some(tool) = tool else {
        return Ok(invalid(
            "This service answers only with the fileSearch tool.",
        ));
    };
    let field = |camel: &str, snake: &str| match &tool[camel] {
        Value::Null => tool[snake].clone(),
        value => value.clone(),
    };
    let names = field("fileSearchStoreNames", "file_search_store_names");
    let names: Vec<&str> = names
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if names.is_empty() || names.len() > STORES_MAX {
        return Ok(invalid(&format!(
            "* FileSearch.file_search_store_names: between 1 and {STORES_MAX} stores are required.\n"
        )));
    }
    let filter = field("metadataFilter", "metadata_filter");
    let filter = match filter::parse(filter.as_str().unwrap_or_default()) {
        Ok(filter) => filter,
        Err(why) => return Ok(invalid(&why)),
    };
    for name in &names {
        if whole(&service.database).store(name)?.is_none() {
            return Ok(no_store(name));
        }
    }
    let top_k = field("topK", "top_k").as_u64().unwrap_or(TOP_K as u64) as usize;
    let words = words(&question(&request["contents"]));
    let now = service.moment();
    let mut ranked: Vec<(usize, Document)> = Vec::new();
    whole(&service.database).each_document(&mut |document| {
        let fits = names.contains(&document.store.as_str())
            && document.state(&now) == "STATE_ACTIVE"
            && filter.matches(&document.metadata);
        let score = score(&document.text, &words);
        if fits && score > 0 {
            ranked.push((score, document));
            ranked.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
            ranked.truncate(top_k);
        }
    })?;
    Ok(Answer::json(&answer(&ranked, &words)))
}

/// The text of the last content.
fn question(contents: &Value) -> String {
    let last = match contents {
        Value::Array(contents) => contents.last().cloned().unwrap_or_default(),
        other => other.clone(),
    };
    let parts = last["parts"].as_array().cloned().unwrap_or_default();
    let texts: Vec<&str> = parts.iter().filter_map(|p| p["text"].as_str()).collect();
    texts.join(" ")
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() > 2)
        .map(str::to_owned)
        .collect()
}

fn score(text: &str, words: &[String]) -> usize {
    let text = text.to_lowercase();
    words
        .iter()
        .map(|word| text.matches(word.as_str()).count().min(10))
        .sum()
}

/// The text around the first of the words.
fn chunk(text: &str, words: &[String]) -> String {
    let lower = text.to_lowercase();
    let first = words.iter().filter_map(|w| lower.find(w.as_str())).min();
    let skip = lower[..first.unwrap_or(0)]
        .chars()
        .count()
        .saturating_sub(80);
    text.chars().skip(skip).take(CHUNK_CHARS).collect()
}

fn answer(ranked: &[(usize, Document)], words: &[String]) -> Value {
    if ranked.is_empty() {
        return json!({"candidates": [{"content": {"role": "model",
            "parts": [{"text": "Nothing was found."}]}, "finishReason": "STOP"}]});
    }
    let mut text = String::new();
    let mut chunks = Vec::new();
    let mut supports = Vec::new();
    for (i, (_, document)) in ranked.iter().enumerate() {
        let chunk = chunk(&document.text, words);
        let start = text.len();
        text.push_str(chunk.lines().next().unwrap_or_default());
        // Byte offsets, end exclusive; zero is left out.
        let mut segment = json!({"endIndex": text.len(), "text": &text[start..]});
        if start > 0 {
            segment["startIndex"] = json!(start);
        }
        supports.push(json!({"segment": segment, "groundingChunkIndices": [i]}));
        text.push('\n');
        chunks.push(json!({"retrievedContext": {
            "title": document.display_name, "text": chunk,
            "fileSearchStore": document.store, "customMetadata": document.metadata}}));
    }
    json!({"candidates": [{
        "content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP",
        "groundingMetadata": {"groundingChunks": chunks, "groundingSupports": supports}}]})
}
