//! `interactions`, the newer way to ask (fact sheet 13): an answer as steps, whole or as a stream of events.
//!
//! Promises: offsets are bytes, their end exclusive; a citation names the store and not the document, as a real
//! answer did. Nothing is kept, whatever `store` says, so no interaction can be fetched or continued.

use serde_json::{Map, Value, json};

use super::grounding::Reply;
use super::models;
use super::search::{self, Question, Tool};
use crate::clock::rfc3339;
use crate::emulator::http::answer::{Answer, invalid};
use crate::emulator::service::{Call, Service};
use crate::emulator::strict::{check, shapes};

pub fn create(service: &Service, call: &Call<'_>) -> rusqlite::Result<Answer> {
    let request = match check::read(&call.body, shapes::INTERACTION, service.loose) {
        Ok(request) => request,
        Err(refused) => return Ok(in_its_words(refused)),
    };
    let text = asked(&request["input"]);
    let question = match question(service, &request, &text) {
        Ok(question) => question,
        Err(refused) => return Ok(in_its_words(refused)),
    };
    let searches = question.tool.is_some();
    Ok(match search::answer(service, call.kind, question)? {
        Err(refused) => in_its_words(refused),
        Ok(reply) => {
            let interaction = Interaction::of(service, &reply, searches);
            match request["stream"] == true {
                true => interaction.events(),
                false => Answer::json(&interaction.whole()),
            }
        }
    })
}

fn question<'a>(
    service: &Service,
    request: &'a Value,
    text: &'a str,
) -> Result<Question<'a>, Answer> {
    let model = request["model"].as_str().unwrap_or_default();
    let model = model.strip_prefix("models/").unwrap_or(model);
    models::check_generates(service, model, "interactions")?;
    if text.trim().is_empty() {
        return Err(invalid("input is required."));
    }
    let tools = request["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let is = |tool: &Value, kind: &str| tool["type"] == kind;
    let mixed = ["google_search", "url_context"];
    let is_mixed = tools
        .iter()
        .any(|tool| mixed.iter().any(|kind| is(tool, kind)));
    let tool = tools.iter().find(|tool| is(tool, "file_search"));
    let tool = tool.map(|tool| {
        let read = check::normal(
            tool.clone(),
            shapes::INTERACTION_SEARCH,
            "tools",
            service.loose,
        )?;
        Tool::of(service, &read, is_mixed)
    });
    Ok(Question {
        model,
        text,
        tool: tool.transpose()?,
    })
}

/// The text of the input: a text, one content or several, or steps, of which the last one asks.
fn asked(input: &Value) -> String {
    match input {
        Value::String(text) => text.clone(),
        Value::Array(all) => match all.last() {
            Some(last) if !last["content"].is_null() => asked(&last["content"]),
            _ => all.iter().map(asked).collect::<Vec<_>>().join(" "),
        },
        Value::Object(one) => match one.get("content") {
            Some(content) => asked(content),
            None => one.get("text").map(asked).unwrap_or_default(),
        },
        _ => String::new(),
    }
}

/// Errors of this API have a code of their own, which is a word.
fn in_its_words(refused: Answer) -> Answer {
    let google: Value = serde_json::from_slice(&refused.body).unwrap_or_default();
    let code = match refused.status {
        400 => "invalid_request".to_owned(),
        _ => google["error"]["status"]
            .as_str()
            .unwrap_or("internal")
            .to_lowercase(),
    };
    let error = json!({"error": {"code": code, "message": google["error"]["message"]}});
    Answer {
        status: refused.status,
        ..Answer::json(&error)
    }
}

struct Interaction<'r> {
    reply: &'r Reply,
    id: String,
    created: String,
    /// The call of the tool, if there was one.
    call: Option<String>,
}

impl Interaction<'_> {
    fn of<'r>(service: &Service, reply: &'r Reply, searches: bool) -> Interaction<'r> {
        Interaction {
            reply,
            id: format!("v1_{}", reply.id),
            created: rfc3339(service.now()),
            call: searches.then(|| service.token(12)),
        }
    }

    fn status(&self) -> &'static str {
        let reply = self.reply;
        match reply.block_reason.is_some() || reply.finish_reason != "STOP" {
            true => "failed",
            false => "completed",
        }
    }

    fn head(&self, status: &str) -> Value {
        json!({"id": self.id, "object": "interaction", "model": self.reply.model,
            "status": status, "created": self.created, "updated": self.created})
    }

    fn whole(&self) -> Value {
        let mut steps = self.tool_steps();
        let text: String = self.pieces().map(|(text, _)| text).collect();
        if !text.is_empty() {
            let annotations: Vec<Value> = self.pieces().flat_map(|(_, all)| all).collect();
            let mut content = json!({"type": "text", "text": text});
            if !annotations.is_empty() {
                content["annotations"] = json!(annotations);
            }
            steps.push(json!({"type": "model_output", "content": [content]}));
        }
        let mut whole = self.head(self.status());
        whole["usage"] = self.usage();
        if !steps.is_empty() {
            whole["steps"] = json!(steps);
        }
        whole
    }

    fn tool_steps(&self) -> Vec<Value> {
        match &self.call {
            Some(call) => vec![
                json!({"type": "file_search_call", "id": call}),
                json!({"type": "file_search_result", "call_id": call}),
            ],
            None => Vec::new(),
        }
    }

    /// Each piece of the text, and its citations.
    fn pieces(&self) -> impl Iterator<Item = (&str, Vec<Value>)> {
        let mut start = 0;
        self.reply.pieces.iter().map(move |piece| {
            let begins = start;
            start += piece.text.len();
            let end = begins + piece.text.trim_end().len();
            let citations = piece
                .chunks
                .iter()
                .map(|chunk| citation(chunk, begins, end));
            (piece.text.as_str(), citations.collect())
        })
    }

    fn usage(&self) -> Value {
        let reply = self.reply;
        let said = reply.said_words();
        let counts = [
            ("total_input_tokens", reply.prompt_words),
            ("total_output_tokens", said),
            ("total_tool_use_tokens", reply.tool_words),
            ("total_tokens", reply.prompt_words + said + reply.tool_words),
        ];
        let counts = counts.into_iter().filter(|(_, n)| *n > 0);
        counts
            .map(|(name, n)| (name.to_owned(), json!(n)))
            .collect()
    }

    /// Steps that start, grow and stop, between the creation and the completion.
    fn events(&self) -> Answer {
        let mut text = String::new();
        let mut event = |name: &str, mut data: Value| {
            data["event_type"] = json!(name);
            text.push_str(&format!("event: {name}\ndata: {data}\n\n"));
        };
        event(
            "interaction.created",
            json!({"interaction": self.head("in_progress")}),
        );
        let steps = self.tool_steps();
        let answer = steps.len();
        for (index, step) in steps.iter().enumerate() {
            event("step.start", json!({"index": index, "step": step}));
            event("step.stop", json!({ "index": index }));
        }
        if !self.reply.pieces.is_empty() {
            event(
                "step.start",
                json!({"index": answer, "step": {"type": "model_output"}}),
            );
            for (piece, citations) in self.pieces() {
                let mut delta =
                    |delta: Value| event("step.delta", json!({"index": answer, "delta": delta}));
                delta(json!({"type": "text", "text": piece}));
                if !citations.is_empty() {
                    delta(json!({"type": "text_annotation_delta", "annotations": citations}));
                }
            }
            event("step.stop", json!({ "index": answer }));
        }
        let mut done = self.head(self.status());
        done["usage"] = self.usage();
        event("interaction.completed", json!({ "interaction": done }));
        text.push_str("event: done\ndata: [DONE]\n\n");
        Answer::events(&text)
    }
}

fn citation(chunk: &Value, start: usize, end: usize) -> Value {
    let context = &chunk["retrievedContext"];
    let mut citation = json!({"type": "file_citation", "document_uri": context["fileSearchStore"],
        "source": context["text"], "end_index": end});
    if start > 0 {
        citation["start_index"] = json!(start);
    }
    for (name, of) in [("file_name", "title"), ("page_number", "pageNumber")] {
        if !context[of].is_null() {
            citation[name] = context[of].clone();
        }
    }
    let entries = context["customMetadata"].as_array();
    let entries = entries.into_iter().flatten().filter_map(|entry| {
        let values = ["stringValue", "numericValue"].map(|kind| &entry[kind]);
        let list = &entry["stringListValue"]["values"];
        let value = values
            .into_iter()
            .chain([list])
            .find(|value| !value.is_null())?;
        Some((entry["key"].as_str()?.to_owned(), value.clone()))
    });
    let entries: Map<String, Value> = entries.collect();
    if !entries.is_empty() {
        citation["custom_metadata"] = Value::Object(entries);
    }
    citation
}
