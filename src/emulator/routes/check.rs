//! Strict reading of JSON requests: unknown fields, wrong types, limits.
//!
//! proto3 JSON takes lowerCamelCase and snake_case at every level; what comes out is camelCase.

use serde_json::{Map, Value};

use crate::emulator::http::answer::{Answer, bad_request, invalid};

#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Text,
    Number,
    /// int32
    Integer,
    /// A number or a decimal string.
    Int64,
    /// Taken as it is.
    Any,
    List(&'static Shape),
    Object(&'static [(&'static str, Shape)]),
}

const STRING_LIST: Shape = Shape::Object(&[("values", Shape::List(&Shape::Text))]);
const METADATA: Shape = Shape::List(&Shape::Object(&[
    ("key", Shape::Text),
    ("stringValue", Shape::Text),
    ("numericValue", Shape::Number),
    ("stringListValue", STRING_LIST),
]));
const CHUNKING: Shape = Shape::Object(&[(
    "whiteSpaceConfig",
    Shape::Object(&[
        ("maxTokensPerChunk", Shape::Integer),
        ("maxOverlapTokens", Shape::Integer),
    ]),
)]);

pub const STORE: Shape = Shape::Object(&[
    ("name", Shape::Text),
    ("displayName", Shape::Text),
    ("embeddingModel", Shape::Text),
]);
pub const UPLOAD: Shape = Shape::Object(&[
    ("displayName", Shape::Text),
    ("customMetadata", METADATA),
    ("chunkingConfig", CHUNKING),
    ("mimeType", Shape::Text),
]);
pub const IMPORT: Shape = Shape::Object(&[
    ("fileName", Shape::Text),
    ("customMetadata", METADATA),
    ("chunkingConfig", CHUNKING),
]);
pub const CREATE_FILE: Shape = Shape::Object(&[(
    "file",
    Shape::Object(&[
        ("name", Shape::Text),
        ("displayName", Shape::Text),
        ("mimeType", Shape::Text),
        ("sizeBytes", Shape::Int64),
    ]),
)]);
const TOOL: Shape = Shape::Object(&[
    (
        "fileSearch",
        Shape::Object(&[
            ("fileSearchStoreNames", Shape::List(&Shape::Text)),
            ("metadataFilter", Shape::Text),
            ("topK", Shape::Integer),
        ]),
    ),
    ("codeExecution", Shape::Any),
    ("computerUse", Shape::Any),
    ("functionDeclarations", Shape::Any),
    ("googleMaps", Shape::Any),
    ("googleSearch", Shape::Any),
    ("googleSearchRetrieval", Shape::Any),
    ("urlContext", Shape::Any),
]);
pub const GENERATE: Shape = Shape::Object(&[
    ("contents", Shape::Any),
    ("tools", Shape::List(&TOOL)),
    ("systemInstruction", Shape::Any),
    ("generationConfig", Shape::Any),
    ("safetySettings", Shape::Any),
    ("toolConfig", Shape::Any),
    ("cachedContent", Shape::Any),
    ("model", Shape::Any),
]);

/// A request's body; an empty one is an empty object.
pub fn read(body: &[u8], shape: Shape, loose: bool) -> Result<Value, Answer> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let value: Value = serde_json::from_slice(body)
        .map_err(|e| invalid(&format!("Invalid JSON payload received. {e}")))?;
    normal(value, shape, "", loose)
}

fn normal(value: Value, shape: Shape, path: &str, loose: bool) -> Result<Value, Answer> {
    let wrong = |kind: &str, value: &Value| {
        let message = format!("Invalid value at '{path}' ({kind}), {value}");
        bad_request(path, &message)
    };
    match (shape, value) {
        (Shape::Any, value) | (_, value @ Value::Null) => Ok(value),
        (Shape::Text, value @ Value::String(_)) => Ok(value),
        (Shape::Text, other) => Err(wrong("TYPE_STRING", &other)),
        (Shape::Number, value @ Value::Number(_)) => Ok(value),
        (Shape::Number, other) => Err(wrong("TYPE_FLOAT", &other)),
        (Shape::Integer, value) if value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
            Ok(value)
        }
        (Shape::Integer, other) => Err(wrong("TYPE_INT32", &other)),
        (Shape::Int64, value) if value.is_i64() || value.is_u64() => Ok(value),
        (Shape::Int64, Value::String(text)) if text.parse::<i64>().is_ok() => {
            Ok(Value::String(text))
        }
        (Shape::Int64, other) => Err(wrong("TYPE_INT64", &other)),
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
                    if loose {
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
pub fn document(message: &str, request: &Value) -> Result<(), Answer> {
    let refuse = |field: &str, text: &str| Err(invalid(&format!("* {message}.{field}: {text}.\n")));
    if chars(&request["displayName"]) > 512 {
        return refuse(
            "display_name",
            "display_name cannot be more than 512 characters long",
        );
    }
    if let Some(mime) = request["mimeType"].as_str() {
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
    if metadata.is_some_and(|m| m.len() > 20) {
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
        if chars(&entry["stringValue"]) > 256 {
            return refuse(
                &format!("{field}.string_value"),
                "String value cannot be more than 256 characters long",
            );
        }
        let list = entry["stringListValue"]["values"].as_array();
        for (j, text) in list.into_iter().flatten().enumerate() {
            if chars(text) > 256 {
                return refuse(
                    &format!("{field}.string_list_value.values[{j}]"),
                    "StringList value cannot be more than 256 characters long",
                );
            }
        }
    }
    chunking(&request["chunkingConfig"]["whiteSpaceConfig"], &refuse)
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
pub fn file(request: &Value) -> Result<(), Answer> {
    let file = &request["file"];
    let refuse = |text: &str| Err(invalid(&format!("* CreateFileRequest.file.{text}.\n")));
    if chars(&file["displayName"]) > 512 {
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

fn chars(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

#[cfg(test)]
mod tests {
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
        let read = read(body.to_string().as_bytes(), UPLOAD, false).unwrap();
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
        let text = message(read(body, UPLOAD, false).unwrap_err());
        assert_eq!(
            text,
            "Invalid JSON payload received. Unknown name \"value\" at 'custom_metadata[0]': Cannot find field."
        );
        assert!(read(body, UPLOAD, true).is_ok());
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
            let read = read(case.to_string().as_bytes(), UPLOAD, false).unwrap();
            let text = message(document("UploadToFileSearchStoreRequest", &read).unwrap_err());
            assert!(
                text.starts_with("* UploadToFileSearchStoreRequest."),
                "{text}"
            );
        }
    }

    #[test]
    fn a_chosen_file_name_is_an_id() {
        let name = |name: &str| file(&json!({"file": {"name": name}}));
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
            for shape in [STORE, UPLOAD, IMPORT, CREATE_FILE, GENERATE] {
                let _ = read(&body, shape, false);
            }
        }
    }
}
