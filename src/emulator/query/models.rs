//! The models that can be named: their list, and how long a text is for them.
//!
//! None of them is here. They are names, so that a program runs that asks for one.

use serde_json::{Value, json};

use super::grounding::count_words;
use crate::emulator::http::answer::{Answer, error, invalid};
use crate::emulator::service::{Call, Service};
use crate::emulator::stores::{EMBEDDING_MODELS, PageSizes, page};
use crate::emulator::strict::rules::Rule;
use crate::emulator::strict::{check, shapes};

/// The models for text of the service's documentation and of its SDK, as they were when this was written.
const GENERATING: [&str; 18] = [
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
    "gemini-4-argon",
    "gemini-4-carbon",
    "gemini-4-hydrogen",
    "gemini-flash-latest",
    "gemini-flash-lite-latest",
    "gemini-pro-latest",
];

type Result = rusqlite::Result<Answer>;

/// `models/MODEL:verb`: the model and the verb.
pub fn named(path: &str) -> (&str, &str) {
    let part = path.strip_prefix("models/").unwrap_or(path);
    part.split_once(':').unwrap_or((part, ""))
}

pub fn check_generates(
    service: &Service,
    model: &str,
    method: &str,
) -> std::result::Result<(), Answer> {
    known(service, GENERATING.contains(&model), model, method)
}

pub fn check_embeds(service: &Service, model: &str) -> std::result::Result<(), Answer> {
    known(service, is_embedding(model), model, "embedContent")
}

fn is_embedding(model: &str) -> bool {
    let mut names = EMBEDDING_MODELS.iter();
    names.any(|name| name.strip_prefix("models/") == Some(model))
}

fn known(
    service: &Service,
    is_known: bool,
    model: &str,
    method: &str,
) -> std::result::Result<(), Answer> {
    if is_known || service.loose.has(Rule::Models) {
        return Ok(());
    }
    let words = format!(
        "models/{model} is not found for API version v1beta, or is not supported for {method}. \
         Call ListModels to see the list of available models and their supported methods."
    );
    Err(error(404, &words, Vec::new()))
}

fn wire(model: &str) -> Value {
    let methods = match is_embedding(model) {
        true => json!(["embedContent"]),
        false => json!(["generateContent", "countTokens"]),
    };
    json!({"name": format!("models/{model}"), "version": "local", "displayName": model,
        "description": "A name only: this local service has no model.",
        "supportedGenerationMethods": methods})
}

pub fn get(service: &Service, call: &Call<'_>) -> Result {
    let (model, _) = named(call.path);
    let is_known = GENERATING.contains(&model) || is_embedding(model);
    Ok(match known(service, is_known, model, "anything") {
        Ok(()) => Answer::json(&wire(model)),
        Err(refused) => refused,
    })
}

pub fn list(service: &Service, call: &Call<'_>) -> Result {
    let sizes = PageSizes {
        default: 50,
        max: 1000,
    };
    let (size, after) = match page(service, call, "ListModelsRequest", sizes) {
        Ok((size, after)) => (size as usize, usize::try_from(after).unwrap_or(0)),
        Err(refused) => return Ok(refused),
    };
    let embedding = EMBEDDING_MODELS.iter();
    let names = embedding.filter_map(|name| name.strip_prefix("models/"));
    let all: Vec<&str> = GENERATING.into_iter().chain(names).collect();
    let models = all.iter().skip(after).take(size);
    let models: Vec<Value> = models.map(|model| wire(model)).collect();
    let mut out = json!({});
    if after + models.len() < all.len() && !models.is_empty() {
        out["nextPageToken"] = json!(format!("after-{}", after + models.len()));
    }
    if !models.is_empty() {
        out["models"] = Value::Array(models);
    }
    Ok(Answer::json(&out))
}

/// `countTokens`: words stand for tokens, as in the answers to questions.
pub fn count_tokens(service: &Service, call: &Call<'_>) -> Result {
    let (model, method) = named(call.path);
    let request = check_generates(service, model, method)
        .and_then(|()| check::read(&call.body, shapes::COUNT_TOKENS, service.loose));
    let request = match request {
        Ok(request) => request,
        Err(refused) => return Ok(refused),
    };
    let whole = &request["generateContentRequest"];
    if request["contents"].is_null() && whole.is_null() {
        let words = "* CountTokensRequest.contents: contents is not specified\n";
        return Ok(invalid(words));
    }
    let words = words_in(&request["contents"])
        + words_in(&whole["contents"])
        + words_in(&whole["systemInstruction"]);
    Ok(Answer::json(&match words {
        0 => json!({}),
        n => {
            json!({"totalTokens": n, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": n}]})
        }
    }))
}

/// The words of all texts of one content or several.
fn words_in(contents: &Value) -> usize {
    match contents {
        Value::Array(contents) => contents.iter().map(words_in).sum(),
        content => text_of(content).iter().map(|text| count_words(text)).sum(),
    }
}

/// The texts of a content.
pub fn text_of(content: &Value) -> Vec<&str> {
    let parts = match &content["parts"] {
        Value::Array(parts) => parts.as_slice(),
        other => std::slice::from_ref(other),
    };
    parts.iter().filter_map(|p| p["text"].as_str()).collect()
}
