//! `generateContent` and `streamGenerateContent`, with the file-search tool.
//!
//! Not a model: an answer quotes the passages that the words of the question find.

use serde_json::Value;

use super::filter::{self, Filter};
use super::grounding::Reply;
use super::passages::Passage;
use crate::emulator::http::answer::{Answer, error, invalid};
use crate::emulator::routes::check;
use crate::emulator::service::{Call, Service, whole};
use crate::emulator::stores::no_store;

const STORES_MAX: usize = 5;
/// Passages for an answer, if the request does not say how many (as captured).
const TOP_K: usize = 5;
const TOP_K_MAX: i64 = 100;
/// A word of a question that is shorter finds nothing.
const WORD_CHARS_MIN: usize = 3;
/// The models of the service's documentation, as it was when this was written.
const MODELS: [&str; 12] = [
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.5-pro",
    "gemini-3-flash-preview",
    "gemini-3-pro-preview",
    "gemini-3.1-flash-lite",
    "gemini-3.1-pro-preview",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.6-flash",
    "gemini-3.7-flash",
    "gemini-3.8-flash",
];

type Result = rusqlite::Result<Answer>;

/// How the answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Whole,
    Stream,
}

impl Way {
    /// By the last part of the path: `MODEL:generateContent`.
    pub fn of(part: &str) -> Option<Way> {
        match part.split_once(':')?.1 {
            "generateContent" => Some(Way::Whole),
            "streamGenerateContent" => Some(Way::Stream),
            _ => None,
        }
    }
}

pub fn generate(service: &Service, call: &Call<'_>) -> Result {
    let part = call.path.strip_prefix("models/").unwrap_or(call.path);
    let way = Way::of(part).unwrap_or(Way::Whole);
    let model = part.split(':').next().unwrap_or_default();
    let is_sse = call.query("alt", "alt") == "sse";
    let reply = match reply(service, call, model)? {
        Ok(reply) => reply,
        // In the form of a stream an error is a message like any other.
        Err(mut refused) if way == Way::Stream && !is_sse => {
            refused.body = [b"[", refused.body.as_slice(), b"]"].concat();
            return Ok(refused);
        }
        Err(refused) => return Ok(refused),
    };
    Ok(match (way, is_sse) {
        (Way::Whole, _) => Answer::json(&reply.whole()),
        (Way::Stream, false) => Answer::json(&Value::Array(reply.messages())),
        (Way::Stream, true) => {
            let messages = reply.messages();
            let lines = messages.iter().map(|m| format!("data: {m}\r\n\r\n"));
            Answer {
                content_type: "text/event-stream",
                ..Answer::text(200, &lines.collect::<String>())
            }
        }
    })
}

fn reply(
    service: &Service,
    call: &Call<'_>,
    model: &str,
) -> rusqlite::Result<std::result::Result<Reply, Answer>> {
    if !MODELS.contains(&model) && !service.loose {
        return Ok(Err(no_model(model)));
    }
    let request = match check::read(&call.body, check::GENERATE, service.loose) {
        Ok(request) => request,
        Err(refused) => return Ok(Err(refused)),
    };
    let question = question(&request["contents"]);
    if question.trim().is_empty() {
        let words = "* GenerateContentRequest.contents: contents is not specified\n";
        return Ok(Err(invalid(words)));
    }
    let tool = match Tool::of(&request["tools"]) {
        Ok(tool) => tool,
        Err(refused) => return Ok(Err(refused)),
    };
    let reply = Reply::new(model, &question);
    if service.roll(call.kind, "prompt_blocked", |p| p.prompt_blocked) {
        return Ok(Ok(reply.blocked()));
    }
    if service.roll(call.kind, "answer_blocked", |p| p.answer_blocked) {
        return Ok(Ok(reply.stopped()));
    }
    let Some(tool) = tool else {
        return Ok(Ok(reply.without_tool()));
    };
    for store in &tool.stores {
        if whole(&service.database).store(store)?.is_none() {
            return Ok(Err(no_store(store)));
        }
    }
    let words = words(&question);
    let passages = tool.passages(service, &words)?;
    Ok(Ok(reply.quoting(&passages, &words)))
}

fn no_model(model: &str) -> Answer {
    let words = format!(
        "models/{model} is not found for API version v1beta, or is not supported for generateContent. \
         Call ListModels to see the list of available models and their supported methods."
    );
    error(404, &words, Vec::new())
}

/// The file-search tool of a request.
struct Tool {
    stores: Vec<String>,
    filter: Filter,
    top_k: usize,
}

impl Tool {
    fn of(tools: &Value) -> std::result::Result<Option<Tool>, Answer> {
        let tools = tools.as_array().cloned().unwrap_or_default();
        let Some(tool) = tools.iter().find(|tool| !tool["fileSearch"].is_null()) else {
            return Ok(None);
        };
        let others = ["googleSearch", "googleSearchRetrieval", "urlContext"];
        if tools
            .iter()
            .any(|tool| others.iter().any(|other| !tool[*other].is_null()))
        {
            return Err(invalid(
                "The file_search tool cannot be combined with google_search or url_context.",
            ));
        }
        let given = &tool["fileSearch"];
        let names = given["fileSearchStoreNames"].as_array();
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        let stores: Vec<String> = names.map(str::to_owned).collect();
        if stores.is_empty() || stores.len() > STORES_MAX {
            return Err(invalid(&format!(
                "* FileSearch.file_search_store_names: between 1 and {STORES_MAX} stores are required.\n"
            )));
        }
        let top_k = match given["topK"].as_i64().unwrap_or(0) {
            0 => TOP_K,
            n @ 1..=TOP_K_MAX => n as usize,
            _ => {
                return Err(invalid(&format!(
                    "* FileSearch.top_k: top_k must be between 1 and {TOP_K_MAX}.\n"
                )));
            }
        };
        let filter = given["metadataFilter"].as_str().unwrap_or_default();
        let filter = filter::parse(filter).map_err(|why| invalid(&why))?;
        Ok(Some(Tool {
            stores,
            filter,
            top_k,
        }))
    }

    fn passages(&self, service: &Service, words: &[String]) -> rusqlite::Result<Vec<Passage>> {
        let now = service.moment();
        whole(&service.database).passages(words, self.top_k, &|document| {
            self.stores.contains(&document.store)
                && document.state(&now) == "STATE_ACTIVE"
                && self.filter.matches(&document.metadata)
        })
    }
}

/// The text of the last content.
fn question(contents: &Value) -> String {
    let last = match contents {
        Value::Array(contents) => contents.last().unwrap_or(&Value::Null),
        other => other,
    };
    let parts = match &last["parts"] {
        Value::Array(parts) => parts.as_slice(),
        other => std::slice::from_ref(other),
    };
    let texts: Vec<&str> = parts.iter().filter_map(|p| p["text"].as_str()).collect();
    texts.join(" ")
}

fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text
        .to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() >= WORD_CHARS_MIN)
        .map(str::to_owned)
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}
