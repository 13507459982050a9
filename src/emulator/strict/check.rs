//! Strict reading of JSON requests: unknown fields, wrong types, limits.
//!
//! proto3 JSON takes lowerCamelCase and snake_case at every level; what comes out is camelCase.

use serde_json::{Map, Value};

use super::relaxed;
use super::rules::{Loose, Rule};
use super::shapes::Shape;
use crate::emulator::http::answer::{Answer, bad_request, invalid};

pub const DISPLAY_NAME_CHARS_MAX: usize = 512;

/// A request's body; an empty one is an empty object.
pub fn read(body: &[u8], shape: Shape, loose: Loose) -> Result<Value, Answer> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let value = serde_json::from_slice(body).or_else(|e| {
        let text = std::str::from_utf8(body).unwrap_or_default();
        serde_json::from_str(&relaxed::to_json(text))
            .map_err(|_| invalid(&format!("Invalid JSON payload received. {e}")))
    })?;
    normal(value, shape, "", loose)
}

/// The value with the fields' names in lowerCamelCase and its numbers as numbers. `path`: where it stands.
pub fn normal(value: Value, shape: Shape, path: &str, loose: Loose) -> Result<Value, Answer> {
    let wrong = |kind: &str, value: &Value| {
        let message = format!("Invalid value at '{path}' ({kind}), {value}");
        bad_request(path, &message)
    };
    match (shape, value) {
        (Shape::Any, value) | (_, value @ Value::Null) => Ok(value),
        (Shape::Text, value @ Value::String(_)) => Ok(value),
        (Shape::Text, other) => Err(wrong("TYPE_STRING", &other)),
        (Shape::Number, value @ Value::Number(_)) if loose.has(Rule::Float32) => Ok(value),
        (Shape::Number, value) => float(&value).ok_or_else(|| wrong("TYPE_FLOAT", &value)),
        (Shape::Integer, value) => integer(&value)
            .filter(|n| i32::try_from(*n).is_ok())
            .map(Value::from)
            .ok_or_else(|| wrong("TYPE_INT32", &value)),
        (Shape::Int64, value) => integer(&value)
            .map(Value::from)
            .ok_or_else(|| wrong("TYPE_INT64", &value)),
        (Shape::List(item), Value::Array(values)) => values
            .into_iter()
            .enumerate()
            .map(|(i, value)| normal(value, *item, &format!("{path}[{i}]"), loose))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
        (Shape::List(_), other) => Err(wrong("repeated", &other)),
        (Shape::Object(fields), Value::Object(object)) => {
            let mut out = Map::new();
            for (name, value) in object {
                let camel = camel(&name);
                let Some((_, shape)) = fields.iter().find(|(field, _)| *field == camel) else {
                    if loose.has(Rule::UnknownFields) {
                        continue;
                    }
                    let place = if path.is_empty() {
                        String::new()
                    } else {
                        format!(" at '{path}'")
                    };
                    let message = format!(
                        "Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."
                    );
                    return Err(bad_request(path, &message));
                };
                let below = match path.is_empty() {
                    true => snake(&camel),
                    false => format!("{path}.{}", snake(&camel)),
                };
                out.insert(camel, normal(value, *shape, &below, loose)?);
            }
            Ok(Value::Object(out))
        }
        (Shape::Object(_), other) => Err(wrong("message", &other)),
    }
}

/// proto3 JSON takes a number as text too, with an exponent or without, and an integral one with a fraction of 0.
fn integer(value: &Value) -> Option<i64> {
    let whole = |n: f64| (n.fract() == 0.0 && n.abs() < 9e18).then_some(n as i64);
    match value {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().and_then(whole)),
        Value::String(text) => {
            let exact = text.parse().ok();
            exact.or_else(|| text.parse().ok().and_then(whole))
        }
        _ => None,
    }
}

/// The nearest number of 32 bits, written as short as it can be.
fn float(value: &Value) -> Option<Value> {
    let given = match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    shortest(given? as f32)
}

/// As short as 32 bits need it; nothing for what is no number.
pub fn shortest(number: f32) -> Option<Value> {
    let text = number.to_string();
    let whole = text.parse::<i64>().map(Value::from);
    let value = whole.or_else(|_| text.parse::<f64>().map(Value::from));
    value.ok().filter(Value::is_number)
}

fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_uppercase() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// The semantic rules of an upload or import request.
pub fn document(message: &str, request: &Value, loose: Loose) -> Result<(), Answer> {
    let refuse = |field: &str, text: &str| Err(invalid(&format!("* {message}.{field}: {text}.\n")));
    let is_limited = !loose.has(Rule::Limits);
    if is_limited && chars(&request["displayName"]) > DISPLAY_NAME_CHARS_MAX {
        return refuse(
            "display_name",
            "display_name cannot be more than 512 characters long",
        );
    }
    if let Some(mime) = request["mimeType"].as_str()
        && !loose.has(Rule::MimeTypes)
    {
        // Several valid types are refused in this place.
        let refused = ["application/x-sh", "wordprocessingml", "spreadsheetml"];
        if mime.split('/').count() != 2 || refused.iter().any(|r| mime.contains(r)) {
            return refuse(
                "mime_type",
                "When provided, MIME type must be in a valid type/subtype format (e.g., \
                 'text/plain', 'application/pdf')",
            );
        }
    }
    let metadata = request["customMetadata"].as_array();
    if is_limited && metadata.is_some_and(|m| m.len() > 20) {
        return refuse("custom_metadata", "at most 20 entries are allowed");
    }
    for (i, entry) in metadata.into_iter().flatten().enumerate() {
        let field = format!("custom_metadata[{i}]");
        if chars(&entry["key"]) == 0 {
            return refuse(&format!("{field}.key"), "key is required");
        }
        let values = ["stringValue", "numericValue", "stringListValue"];
        if values.iter().filter(|v| !entry[**v].is_null()).count() != 1 {
            return refuse(&field, "exactly one value is required");
        }
        if is_limited && chars(&entry["stringValue"]) > 256 {
            return refuse(
                &format!("{field}.string_value"),
                "String value cannot be more than 256 characters long",
            );
        }
        let list = entry["stringListValue"]["values"].as_array();
        for (j, text) in list.into_iter().flatten().enumerate() {
            if is_limited && chars(text) > 256 {
                return refuse(
                    &format!("{field}.string_list_value.values[{j}]"),
                    "StringList value cannot be more than 256 characters long",
                );
            }
        }
    }
    match loose.has(Rule::Chunking) {
        true => Ok(()),
        false => chunking(&request["chunkingConfig"]["whiteSpaceConfig"], &refuse),
    }
}

fn chunking(
    config: &Value,
    refuse: &dyn Fn(&str, &str) -> Result<(), Answer>,
) -> Result<(), Answer> {
    let max = config["maxTokensPerChunk"].as_i64();
    if max.is_some_and(|n| !(21..=512).contains(&n)) {
        return refuse(
            "chunking_config.white_space_config.max_tokens_per_chunk",
            "max_tokens_per_chunk must be between 21 and 512",
        );
    }
    let overlap = config["maxOverlapTokens"].as_i64();
    if overlap.is_some_and(|n| n < 0 || n >= max.unwrap_or(512)) {
        return refuse(
            "chunking_config.white_space_config.max_overlap_tokens",
            "max_overlap_tokens must be less than max_tokens_per_chunk",
        );
    }
    Ok(())
}

/// The rules of a file of the Files API, which may choose its own name.
pub fn file(request: &Value, loose: Loose) -> Result<(), Answer> {
    let file = &request["file"];
    let refuse = |text: &str| Err(invalid(&format!("* CreateFileRequest.file.{text}.\n")));
    if chars(&file["displayName"]) > DISPLAY_NAME_CHARS_MAX && !loose.has(Rule::Limits) {
        return refuse("display_name: display_name cannot be more than 512 characters long");
    }
    let name = file["name"].as_str().unwrap_or_default();
    if !name.is_empty() && !is_id(name.strip_prefix("files/").unwrap_or(name)) {
        return refuse(
            "name: the id can contain up to 40 lowercase letters, digits and dashes, and cannot start \
             or end with a dash",
        );
    }
    Ok(())
}

/// What the last part of a resource name may be.
pub fn is_id(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub fn chars(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

#[cfg(test)]
mod tests {
    use super::super::shapes::*;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn message(answer: Answer) -> String {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, 400);
        body["error"]["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn both_spellings_are_one() {
        let body = json!({"display_name": "x", "customMetadata": [
            {"key": "l", "string_list_value": {"values": ["a"]}}],
            "chunking_config": {"white_space_config": {"max_tokens_per_chunk": 200}}});
        let read = read(body.to_string().as_bytes(), UPLOAD, Loose::default()).unwrap();
        assert_eq!(read["displayName"], "x");
        assert_eq!(
            read["customMetadata"][0]["stringListValue"]["values"][0],
            "a"
        );
        assert_eq!(
            read["chunkingConfig"]["whiteSpaceConfig"]["maxTokensPerChunk"],
            200
        );
    }

    #[test]
    fn unknown_fields_are_named_with_their_place() {
        let body = br#"{"customMetadata": [{"key": "k", "value": 1}]}"#;
        let text = message(read(body, UPLOAD, Loose::default()).unwrap_err());
        assert_eq!(
            text,
            "Invalid JSON payload received. Unknown name \"value\" at 'custom_metadata[0]': Cannot find field."
        );
        assert!(read(body, UPLOAD, Loose::ALL).is_ok());
    }

    #[test]
    fn numbers_come_in_every_form_that_proto3_json_has() {
        let size = |n: Value| {
            let body = json!({"file": {"sizeBytes": n}}).to_string();
            read(body.as_bytes(), CREATE_FILE, Loose::default())
                .map(|v| v["file"]["sizeBytes"].clone())
        };
        for n in [
            json!(18350),
            json!("18350"),
            json!(18350.0),
            json!("1.835e4"),
        ] {
            assert_eq!(size(n.clone()).unwrap(), 18350, "{n}");
        }
        for n in [
            json!(1.5),
            json!("x"),
            json!(""),
            json!("inf"),
            json!(true),
            json!(1e300),
        ] {
            assert!(
                message(size(n.clone()).unwrap_err()).contains("TYPE_INT64"),
                "{n}"
            );
        }
        let number = |n: Value| {
            let body = json!({"customMetadata": [{"key": "k", "numericValue": n}]}).to_string();
            read(body.as_bytes(), UPLOAD, Loose::default())
                .map(|v| v["customMetadata"][0]["numericValue"].to_string())
        };
        for (given, kept) in [
            (json!(2026), "2026"),
            (json!("2026"), "2026"),
            (json!(16_777_217), "16777216"),
            (json!(0.1), "0.1"),
            (json!(-2.50), "-2.5"),
            (json!(123_456.789), "123456.79"),
        ] {
            assert_eq!(number(given).unwrap(), kept);
        }
        for n in [json!(1e39), json!("NaN"), json!("x")] {
            assert!(
                message(number(n.clone()).unwrap_err()).contains("TYPE_FLOAT"),
                "{n}"
            );
        }
    }

    #[test]
    fn json_as_in_googles_examples_is_read() {
        let body = b"{'file': {'display_name': 'TEXT'},}";
        let read = |body| read(body, CREATE_FILE, Loose::default());
        assert_eq!(
            read(body).unwrap(),
            json!({"file": {"displayName": "TEXT"}})
        );
        let words = message(read(b"{'file': }").unwrap_err());
        assert!(words.contains("line 1 column 2"), "{words}");
    }

    #[test]
    fn what_is_output_only_is_ignored_and_not_unknown() {
        let body = br#"{"displayName": "s", "create_time": "x", "sizeBytes": "7", "activeDocumentsCount": 1}"#;
        assert!(read(body, STORE, Loose::default()).is_ok());
        assert!(read(br#"{"sizeByte": "7"}"#, STORE, Loose::default()).is_err());
    }

    #[test]
    fn each_limit_can_be_switched_off() {
        let many = json!({"displayName": "x".repeat(513),
            "customMetadata": vec![json!({"key": "k", "stringValue": "v"}); 21],
            "chunkingConfig": {"whiteSpaceConfig": {"maxTokensPerChunk": 9}}});
        let check = |loose| document("M", &many, loose);
        let (limits, chunking) = (Loose::of("limits").unwrap(), Loose::of("chunking").unwrap());
        assert!(message(check(limits).unwrap_err()).contains("chunk"));
        assert!(message(check(chunking).unwrap_err()).contains("display_name"));
        assert!(check(limits.and(chunking)).is_ok());
    }

    #[test]
    fn the_limits_are_those_of_the_service() {
        let long = "x".repeat(257);
        let cases = [
            json!({"customMetadata": [{"key": "k", "stringListValue": {"values": [long]}}]}),
            json!({"customMetadata": [{"key": "k"}]}),
            json!({"customMetadata": vec![json!({"key": "k", "stringValue": "v"}); 21]}),
            json!({"displayName": "x".repeat(513)}),
            json!({"mimeType": "application/x-sh"}),
            json!({"chunkingConfig": {"whiteSpaceConfig": {"maxTokensPerChunk": 20}}}),
            json!({"chunkingConfig": {"whiteSpaceConfig":
                {"maxTokensPerChunk": 100, "maxOverlapTokens": 100}}}),
        ];
        for case in cases {
            let read = read(case.to_string().as_bytes(), UPLOAD, Loose::default()).unwrap();
            let text = message(
                document("UploadToFileSearchStoreRequest", &read, Loose::default()).unwrap_err(),
            );
            assert!(
                text.starts_with("* UploadToFileSearchStoreRequest."),
                "{text}"
            );
        }
    }

    #[test]
    fn a_chosen_file_name_is_an_id() {
        let name = |name: &str| file(&json!({"file": {"name": name}}), Loose::default());
        for legal in ["", "a", "files/a-1", &"x".repeat(40)] {
            assert!(name(legal).is_ok(), "{legal}");
        }
        for refused in [
            "files/",
            "files/files/a",
            "A",
            "-a",
            "a-",
            "a/b",
            "a b",
            "äöü",
            &"x".repeat(41),
        ] {
            let text = message(name(refused).unwrap_err());
            assert!(
                text.starts_with("* CreateFileRequest.file.name: "),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for shape in [STORE, UPLOAD, IMPORT, CREATE_FILE, GENERATE, COUNT_TOKENS, EMBED_BATCH, INTERACTION] {
                let _ = read(&body, shape, Loose::default());
            }
        }
    }
}
