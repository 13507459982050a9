//! `generateContent` and `streamGenerateContent`, with the file-search tool.
//!
//! Not a model: an answer quotes the passages that the words of the question find, or was written beforehand.

use std::cell::Cell;

use serde_json::Value;

use super::filter::{self, Filter};
use super::grounding::Reply;
use super::models::{self, text_of};
use super::passages::Passage;
use crate::emulator::http::answer::{Answer, invalid};
use crate::emulator::service::{Call, Service, whole};
use crate::emulator::stores::no_store;
use crate::emulator::strict::rules::Rule;
use crate::emulator::strict::{check, shapes};

const STORES_MAX: usize = 5;
/// Passages for an answer, if the request does not say how many (as captured).
const TOP_K: usize = 5;
/// Whoever asks for more gets so many: nothing says which number the service refuses.
const TOP_K_MAX: i64 = 1000;
/// A word of a question that is shorter finds nothing.
const WORD_CHARS_MIN: usize = 3;
type Result = rusqlite::Result<Answer>;

/// How the answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    Stream,
}

pub fn generate(service: &Service, call: &Call<'_>) -> Result {
    let (model, verb) = models::named(call.path);
    let way = match verb {
        "streamGenerateContent" => Way::Stream,
        _ => Way::Whole,
    };
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
            Answer::events(&lines.collect::<String>())
        }
    })
}

fn reply(
    service: &Service,
    call: &Call<'_>,
    model: &str,
) -> rusqlite::Result<std::result::Result<Reply, Answer>> {
    let request = models::check_generates(service, model, "generateContent")
        .and_then(|()| check::read(&call.body, shapes::GENERATE, service.loose));
    let request = match request {
        Ok(request) => request,
        Err(refused) => return Ok(Err(refused)),
    };
    let question = question(&request["contents"]);
    if question.trim().is_empty() {
        let words = "* GenerateContentRequest.contents: contents is not specified\n";
        return Ok(Err(invalid(words)));
    }
    let tools = request["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let search = tools.iter().find(|tool| !tool["fileSearch"].is_null());
    let others = ["googleSearch", "googleSearchRetrieval", "urlContext"];
    let is_mixed = tools
        .iter()
        .any(|tool| others.iter().any(|other| !tool[*other].is_null()));
    let tool = search.map(|tool| Tool::of(service, &tool["fileSearch"], is_mixed));
    match tool.transpose() {
        Ok(tool) => answer(
            service,
            call.kind,
            Question {
                model,
                text: &question,
                tool,
            },
        ),
        Err(refused) => Ok(Err(refused)),
    }
}

/// What is asked, of which model, and with which tool if with one.
pub struct Question<'a> {
    pub model: &'a str,
    pub text: &'a str,
    pub tool: Option<Tool>,
}

/// `kind`: of the request, for the faults.
pub fn answer(
    service: &Service,
    kind: &str,
    question: Question<'_>,
) -> rusqlite::Result<std::result::Result<Reply, Answer>> {
    let reply = Reply::new(service.token(22), question.model, question.text);
    if service.roll(kind, "prompt_blocked", |p| p.prompt_blocked) {
        return Ok(Ok(reply.blocked()));
    }
    if service.roll(kind, "answer_blocked", |p| p.answer_blocked) {
        return Ok(Ok(reply.stopped()));
    }
    let tool = question.tool.as_ref();
    let stores = tool.map_or(&[][..], |tool| tool.stores.as_slice());
    for store in stores {
        if whole(&service.database).store(store)?.is_none() {
            return Ok(Err(no_store(store)));
        }
    }
    if let Some(scripted) = service.answers.to(question.text) {
        let passages = scripted.passages(&whole(&service.database), stores)?;
        return Ok(Ok(reply.scripted(&scripted.text, &passages)));
    }
    let Some(tool) = tool else {
        return Ok(Ok(reply.without_tool()));
    };
    let words = words(question.text);
    let passages = tool.passages(service, &words)?;
    if passages.is_empty() {
        let unread = whole(&service.database).unread(&tool.stores)?;
        return Ok(Ok(reply.without_passages(unread)));
    }
    Ok(Ok(reply.quoting(&passages, &words)))
}

/// The file-search tool of a request.
pub struct Tool {
    stores: Vec<String>,
    filter: Filter,
    top_k: usize,
}

impl Tool {
    /// `is_mixed`: a tool is there as well that cannot be beside it.
    pub fn of(
        service: &Service,
        given: &Value,
        is_mixed: bool,
    ) -> std::result::Result<Tool, Answer> {
        if is_mixed && !service.loose.has(Rule::ToolMix) {
            return Err(invalid(
                "The file_search tool cannot be combined with google_search or url_context.",
            ));
        }
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
            n if n > 0 || service.loose.has(Rule::TopK) => n.clamp(1, TOP_K_MAX) as usize,
            _ => return Err(invalid("* FileSearch.top_k: top_k must be positive.\n")),
        };
        let filter = given["metadataFilter"].as_str().unwrap_or_default();
        let filter = filter::parse(filter).map_err(|why| invalid(&why))?;
        Ok(Tool {
            stores,
            filter,
            top_k,
        })
    }

    fn passages(&self, service: &Service, words: &[String]) -> rusqlite::Result<Vec<Passage>> {
        let now = service.moment();
        let lag = whole(&service.dice).plan.search_lag_ms;
        let visible = now.now.saturating_sub_unsigned(lag);
        let is_late = Cell::new(false);
        let found = whole(&service.database).passages(words, self.top_k, &|document| {
            let fits = self.stores.contains(&document.store)
                && document.state(&now) == "STATE_ACTIVE"
                && self.filter.matches(&document.metadata);
            let is_new = document.ready_ms > visible;
            is_late.set(is_late.get() || fits && is_new);
            fits && !is_new
        });
        if is_late.get() {
            whole(&service.dice).fire("search_lag_ms");
        }
        found
    }
}

/// The text of the last content.
fn question(contents: &Value) -> String {
    let last = match contents {
        Value::Array(contents) => contents.last().unwrap_or(&Value::Null),
        other => other,
    };
    text_of(last).join(" ")
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
