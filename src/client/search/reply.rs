//! A model's answer, read line by line as it comes, with the passages that it rests on (fact sheet 13).
//!
//! Promises: nothing of it is handed on before every secret is cut out, however the service splits it; it is
//! bounded in size; a field that is absent or odd is passed over.

use std::io::BufRead;

use serde_json::Value;

use crate::client::failure::refusal::{About, Refusal, classify};
use crate::client::failure::{Failure, FailureKind};
use crate::client::wire::secrets::Cut;
use crate::client::wire::send::RESPONSE_BYTES_MAX;
use crate::identity::{self, MetadataEntry};
use crate::names::StoreName;

/// An answer, as far as it came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    pub text: String,
    /// What was retrieved, in the service's order; equal ones may repeat.
    pub passages: Vec<Passage>,
    pub supports: Vec<Support>,
    /// Why the service did not answer, or not to the end: `SAFETY`, say.
    pub blocked: Option<String>,
}

/// A piece of a document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Passage {
    /// Of the document: its display name.
    pub title: String,
    pub text: String,
    pub store: Option<StoreName>,
    pub metadata: Vec<MetadataEntry>,
    /// Counted from 1.
    pub page: Option<u64>,
}

/// Some words of the answer, and the passages that they rest on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// Behind the last of the words: bytes of the text.
    pub end: usize,
    /// Their places in the list of passages.
    pub passages: Vec<usize>,
}

/// An answer that is being read.
pub(in crate::client) struct ReplyReader<'a> {
    reply: Reply,
    /// Something of it has come.
    pub has_begun: bool,
    /// A secret was cut out, so that offsets mean nothing any more.
    was_cut: bool,
    /// Bytes of the text that were handed on: up to white space, which no secret has in it.
    said: usize,
    cut: &'a Cut<'a>,
    say: &'a mut dyn FnMut(&str),
}

impl<'a> ReplyReader<'a> {
    pub fn new(cut: &'a Cut<'a>, say: &'a mut dyn FnMut(&str)) -> ReplyReader<'a> {
        ReplyReader {
            reply: Reply::default(),
            has_begun: false,
            was_cut: false,
            said: 0,
            cut,
            say,
        }
    }

    /// Server-sent events: lines `data: JSON`, a message ends with an empty line.
    pub fn read(&mut self, from: impl BufRead) -> Result<(), Failure> {
        let mut from = from.take(RESPONSE_BYTES_MAX);
        let (mut line, mut data) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            let read = from.read_until(b'\n', &mut line);
            let n = read.map_err(|e| {
                Failure::new(FailureKind::Transient, format!("the answer was cut: {e}"))
            })?;
            if n == 0 && from.limit() == 0 {
                let words = format!("an answer of more than {RESPONSE_BYTES_MAX} bytes");
                return Err(Failure::new(FailureKind::NotTheService, words));
            }
            let text = line.trim_ascii_end();
            if let Some(more) = text.strip_prefix(b"data:") {
                data.extend_from_slice(more);
                data.push(b'\n');
            }
            if text.is_empty() && !data.is_empty() {
                self.message(&data)?;
                data.clear();
            }
            if n == 0 {
                break;
            }
        }
        match self.has_begun {
            true => Ok(()),
            false => Err(bad("HTTP 200 and no answer")),
        }
    }

    fn message(&mut self, data: &[u8]) -> Result<(), Failure> {
        let clean = self.cut.all(data);
        self.was_cut |= clean != data;
        let message: Value = serde_json::from_slice(&clean)
            .map_err(|e| bad(&format!("a part of the answer that cannot be used ({e})")))?;
        if let Some(error) = message.get("error") {
            let code = error["code"].as_u64().and_then(|n| u16::try_from(n).ok());
            return Err(classify(Refusal {
                status: code.unwrap_or(500),
                retry_after: None,
                location: None,
                body: &clean,
                about: About::Store,
            }));
        }
        self.take(&message)
    }

    /// Takes what one message adds.
    pub fn take(&mut self, message: &Value) -> Result<(), Failure> {
        if !message.is_object() {
            return Err(bad("a part of the answer that is no JSON object"));
        }
        self.has_begun = true;
        let reply = &mut self.reply;
        if let Some(reason) = message["promptFeedback"]["blockReason"].as_str() {
            reply.blocked = Some(reason.to_owned());
        }
        // One is asked for.
        let candidate = &message["candidates"][0];
        for part in list(&candidate["content"]["parts"]) {
            // What a model thinks on the way is no part of what it says.
            if part["thought"] != true {
                reply.text += part["text"].as_str().unwrap_or_default();
            }
        }
        match candidate["finishReason"].as_str() {
            None | Some("" | "STOP" | "MAX_TOKENS" | "FINISH_REASON_UNSPECIFIED") => {}
            Some(reason) => reply.blocked = Some(reason.to_owned()),
        }
        let grounding = &candidate["groundingMetadata"];
        // A chunk of another kind keeps its place, since supports count all.
        let chunks = list(&grounding["groundingChunks"]).iter();
        reply.passages.extend(chunks.map(passage));
        let supports = list(&grounding["groundingSupports"]).iter();
        let supports = supports.filter_map(|given| support(given, &reply.text));
        reply.supports.extend(supports);
        if let Some(end) = reply.text.rfind(char::is_whitespace)
            && end > self.said
        {
            self.say_up_to(end);
        }
        Ok(())
    }

    /// What one message cannot show, the words put together may: a secret that was split.
    fn say_up_to(&mut self, end: usize) {
        let words = self.cut.words(&self.reply.text[self.said..end]);
        (self.say)(&words);
        self.said = end;
    }

    pub fn finish(mut self) -> Reply {
        self.say_up_to(self.reply.text.len());
        let text = self.cut.words(&self.reply.text);
        if self.was_cut || text != self.reply.text {
            self.reply.supports.clear();
        }
        self.reply.text = text;
        self.reply
    }
}

fn bad(words: &str) -> Failure {
    Failure::new(FailureKind::BadAnswer, words)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn passage(chunk: &Value) -> Passage {
    let given = &chunk["retrievedContext"];
    let text = |field: &str| given[field].as_str().unwrap_or_default().to_owned();
    Passage {
        title: text("title"),
        text: text("text"),
        store: given["fileSearchStore"].as_str().and_then(StoreName::parse),
        metadata: list(&given["customMetadata"])
            .iter()
            .filter_map(entry)
            .collect(),
        page: given["pageNumber"].as_u64().filter(|page| *page > 0),
    }
}

fn entry(given: &Value) -> Option<MetadataEntry> {
    let value = if let Some(text) = given["stringValue"].as_str() {
        identity::Value::StringValue(text.to_owned())
    } else if let Some(number) = given["numericValue"].as_f64() {
        identity::Value::NumericValue(number)
    } else {
        let values = given["stringListValue"]["values"].as_array()?.iter();
        let values = values.filter_map(Value::as_str).map(str::to_owned);
        identity::Value::StringListValue {
            values: values.collect(),
        }
    };
    Some(MetadataEntry {
        key: given["key"].as_str()?.to_owned(),
        value,
    })
}

/// `text`: as far as it came. Offsets are those of a part, and of a stream nobody has said of which; the
/// words themselves tell whether they are meant. `None`: no place in the text.
fn support(given: &Value, text: &str) -> Option<Support> {
    let segment = &given["segment"];
    let offset = |field: &str| match &segment[field] {
        Value::Null => Some(0),
        n => n.as_u64().and_then(|n| usize::try_from(n).ok()),
    };
    let (start, end) = (offset("startIndex")?, offset("endIndex")?);
    let end = match segment["text"].as_str() {
        Some(words) if text.get(start..end) != Some(words) => text.find(words)? + words.len(),
        _ => end,
    };
    let passages = list(&given["groundingChunkIndices"]).iter();
    let passages: Vec<usize> = passages
        .filter_map(|n| usize::try_from(n.as_u64()?).ok())
        .collect();
    (end > 0 && text.is_char_boundary(end) && !passages.is_empty())
        .then_some(Support { end, passages })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::wire::secrets::Secrets;
    use crate::names::ApiKey;
    use proptest::prelude::*;
    use serde_json::json;

    const SECRET: &str = "AIzaSyTest_Key-That+Must/Never0123";

    /// What was handed on piece by piece, and the whole.
    fn read(stream: &str) -> (String, Result<Reply, Failure>) {
        let secrets = Secrets::new(&ApiKey::new(SECRET).unwrap());
        let cut = secrets.and_sessions(std::iter::empty());
        let mut said = String::new();
        let mut say = |words: &str| said.push_str(words);
        let mut answer = ReplyReader::new(&cut, &mut say);
        let done = answer.read(stream.as_bytes());
        let reply = done.map(|()| answer.finish());
        (said, reply)
    }

    fn says(text: &str) -> Value {
        json!({"candidates": [{"content": {"parts": [{ "text": text }]}}]})
    }

    fn events(messages: &[Value]) -> String {
        messages
            .iter()
            .map(|m| format!("data: {m}\r\n\r\n"))
            .collect()
    }

    #[test]
    fn a_stream_is_put_together() {
        let chunk = |title: &str| {
            json!({"retrievedContext": {"title": title, "text": "t",
            "fileSearchStore": "fileSearchStores/s-1", "pageNumber": 3,
            "customMetadata": [{"key": "k", "stringValue": "v"}, {"key": 3}]}})
        };
        let mut first = says("Größe ");
        first["candidates"][0]["groundingMetadata"] = json!({
            "groundingChunks": [chunk("a"), {"web": {}}],
            "groundingSupports": [{"segment": {"endIndex": 7, "text": "Größe"}, "groundingChunkIndices": [0]}]});
        let mut last = says("counts.");
        last["candidates"][0]["groundingMetadata"] = json!({
            "groundingChunks": [chunk("b")],
            "groundingSupports": [{"segment": {"startIndex": 8, "endIndex": 15, "text": "counts."},
                                   "groundingChunkIndices": [2, 0, -1, "x"]}]});
        last["candidates"][0]["finishReason"] = json!("STOP");
        let (said, reply) = read(&format!(": a comment\n{}", events(&[first, last])));
        let reply = reply.unwrap();
        assert_eq!(
            (said.as_str(), reply.text.as_str()),
            ("Größe counts.", "Größe counts.")
        );
        let titles: Vec<&str> = reply.passages.iter().map(|p| p.title.as_str()).collect();
        assert_eq!(titles, ["a", "", "b"]);
        assert_eq!(reply.passages[0].page, Some(3));
        assert_eq!(
            reply.passages[0].metadata,
            [MetadataEntry::string("k", "v")]
        );
        let support = |end, passages: &[usize]| Support {
            end,
            passages: passages.to_vec(),
        };
        assert_eq!(reply.supports, [support(7, &[0]), support(15, &[2, 0])]);
        assert_eq!(reply.blocked, None);
    }

    #[test]
    fn offsets_that_do_not_fit_are_found_by_their_words_or_dropped() {
        let at = |segment: Value| {
            support(
                &json!({"segment": segment, "groundingChunkIndices": [0]}),
                "aä bc",
            )
            .map(|s| s.end)
        };
        assert_eq!(
            at(json!({"startIndex": 4, "endIndex": 6, "text": "bc"})),
            Some(6)
        );
        assert_eq!(at(json!({"endIndex": 2, "text": "bc"})), Some(6));
        assert_eq!(at(json!({"endIndex": 2})), None);
        assert_eq!(at(json!({"endIndex": 99})), None);
        assert_eq!(at(json!({"endIndex": 2, "text": "no"})), None);
        assert_eq!(at(json!({})), None);
        assert_eq!(at(json!({"startIndex": "x", "endIndex": 3})), None);
    }

    #[test]
    fn a_key_that_is_split_over_messages_is_cut_out() {
        let (front, back) = SECRET.split_at(5);
        let (said, reply) = read(&events(&[
            says("the key "),
            says(front),
            says(back),
            says(" is it"),
        ]));
        assert_eq!(said, "the key [key] is it");
        assert_eq!(reply.unwrap().text, said);
    }

    #[test]
    fn what_is_blocked_says_why() {
        let prompt = json!({"promptFeedback": {"blockReason": "SAFETY"}});
        assert_eq!(
            read(&events(&[prompt])).1.unwrap().blocked.unwrap(),
            "SAFETY"
        );
        let answer = json!({"candidates": [{"finishReason": "RECITATION"}]});
        assert_eq!(
            read(&events(&[answer])).1.unwrap().blocked.unwrap(),
            "RECITATION"
        );
    }

    #[test]
    fn an_error_within_a_stream_is_what_it_is_elsewhere() {
        let error =
            json!({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}});
        let failure = read(&events(&[says("a"), error])).1.unwrap_err();
        assert_eq!(
            (failure.kind, failure.status),
            (FailureKind::RateLimited, Some(429))
        );
        for odd in [
            "",
            "data: x\n\n",
            "data: []\n\n",
            "data: [DONE]\n\n",
            "event: y\n\n",
        ] {
            assert_eq!(
                read(odd).1.unwrap_err().kind,
                FailureKind::BadAnswer,
                "{odd}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_stream_can_be_read(stream in "(data: |[\\[\\]{}\":,a-z0-9\r\n]|\\PC){0,120}") {
            let _ = read(&stream);
        }

        #[test]
        fn odd_fields_are_passed_over(odd in proptest::sample::select(vec![
            json!(null), json!(3), json!("x"), json!([]), json!([[3]]), json!({"a": {}}), json!(-1.5)
        ]), at in 0usize..9) {
            let mut message = says("text");
            let candidate = &mut message["candidates"][0];
            candidate["groundingMetadata"] = json!({"groundingChunks": [{"retrievedContext": {}}],
                "groundingSupports": [{"segment": {"endIndex": 4}, "groundingChunkIndices": [0]}]});
            let grounding = &mut candidate["groundingMetadata"];
            match at {
                0 => grounding["groundingChunks"] = odd,
                1 => grounding["groundingSupports"] = odd,
                2 => grounding["groundingChunks"][0]["retrievedContext"] = odd,
                3 => grounding["groundingSupports"][0]["segment"] = odd,
                4 => grounding["groundingSupports"][0]["groundingChunkIndices"] = odd,
                5 => *grounding = odd,
                6 => candidate["content"] = odd,
                7 => candidate["finishReason"] = json!(odd.as_u64()),
                _ => message["promptFeedback"] = odd,
            }
            prop_assert!(read(&events(&[message])).1.is_ok());
        }

        #[test]
        fn what_is_said_piece_by_piece_is_the_whole(pieces in proptest::collection::vec("[a-zä \n]{0,8}", 1..9)) {
            let messages: Vec<Value> = pieces.iter().map(|piece| says(piece)).collect();
            let (said, reply) = read(&events(&messages));
            prop_assert_eq!(&said, &pieces.concat());
            prop_assert_eq!(reply.unwrap().text, said);
        }
    }
}
