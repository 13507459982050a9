//! What a tool was asked with, held against its schema.
//!
//! The schema that the model was shown is the one that is held to. Promises: an argument that is not in it, or
//! of another type, or out of range, is named, with what is taken in its place; null, which models
//! send for what they leave out, is left out; a blank text is wrong, since what is left out may mean everything.

use serde_json::{Map, Value};

use super::member;
use crate::error::{Error, Kind};
use crate::text::nearest;

/// Arguments that fit.
pub struct Arguments<'a>(&'a Map<String, Value>);

impl<'a> Arguments<'a> {
    /// `tool`: its definition.
    pub fn check(given: &'a Map<String, Value>, tool: &Value) -> Result<Arguments<'a>, Error> {
        let schema = &tool["inputSchema"];
        let nothing = Map::new();
        let taken = schema["properties"].as_object().unwrap_or(&nothing);
        for (name, value) in given {
            let Some(wanted) = taken.get(name) else {
                return Err(unknown(name, taken, tool));
            };
            if !value.is_null() && !fits(value, wanted) {
                return Err(unfit(name, value, wanted));
            }
            if is_blank(value) {
                let what = format!("argument `{name}`");
                return Err(wrong(what, "it is empty", about(wanted)));
            }
        }
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if member(given, name).is_null() {
                let what = format!("argument `{name}`");
                return Err(wrong(what, "it is needed", about(member(taken, name))));
            }
        }
        Ok(Arguments(given))
    }

    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.texts(name).first().copied()
    }

    /// One text, or a list of them.
    pub fn texts(&self, name: &str) -> Vec<&'a str> {
        let value = member(self.0, name);
        let one = std::slice::from_ref(value);
        let all = value.as_array().map_or(one, Vec::as_slice);
        let texts = all.iter().filter_map(Value::as_str);
        texts.map(str::trim).collect()
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        whole(member(self.0, name))
    }

    pub fn flag(&self, name: &str) -> bool {
        member(self.0, name).as_bool() == Some(true)
    }
}

/// Also a list of nothing, or with a blank text in it.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::String(text) => text.trim().is_empty(),
        Value::Array(all) => all.is_empty() || all.iter().any(is_blank),
        _ => false,
    }
}

/// A model's `5.0` is a whole number too, as it is for JSON Schema.
fn whole(value: &Value) -> Option<u64> {
    let exact = value
        .as_f64()
        .filter(|n| n.fract() == 0.0 && (0.0..9e15).contains(n));
    value.as_u64().or_else(|| exact.map(|n| n as u64))
}

/// Of one type, or of any of several.
fn takes(wanted: &Value, kind: &str) -> bool {
    let several = wanted["anyOf"].as_array().into_iter().flatten();
    wanted["type"] == kind || several.into_iter().any(|one| one["type"] == kind)
}

fn fits(value: &Value, wanted: &Value) -> bool {
    match value {
        Value::String(_) => takes(wanted, "string"),
        Value::Bool(_) => takes(wanted, "boolean"),
        Value::Array(all) => takes(wanted, "array") && all.iter().all(Value::is_string),
        Value::Number(_) => {
            let least = wanted["minimum"].as_u64().unwrap_or(0);
            let most = wanted["maximum"].as_u64().unwrap_or(u64::MAX);
            let fits = |n| (least..=most).contains(&n);
            takes(wanted, "integer") && whole(value).is_some_and(fits)
        }
        Value::Null | Value::Object(_) => false,
    }
}

fn unknown(name: &str, taken: &Map<String, Value>, tool: &Value) -> Error {
    let tool = tool["name"].as_str().unwrap_or_default();
    let names: Vec<&str> = taken.keys().map(String::as_str).collect();
    let all = match names.is_empty() {
        true => "nothing".to_owned(),
        false => format!("`{}`", names.join("`, `")),
    };
    let remedy = match nearest(name, names.into_iter()) {
        Some(near) => format!("did you mean `{near}`? It takes {all}"),
        None => format!("it takes {all}"),
    };
    let why = format!("`{tool}` takes none of this name");
    wrong(format!("argument `{name}`"), &why, &remedy)
}

fn unfit(name: &str, value: &Value, wanted: &Value) -> Error {
    let kind = match (takes(wanted, "integer"), takes(wanted, "boolean")) {
        (true, _) => match (wanted["minimum"].as_u64(), wanted["maximum"].as_u64()) {
            (Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
            _ => "a whole number".to_owned(),
        },
        (_, true) => "true or false".to_owned(),
        _ if takes(wanted, "array") => "a text, or a list of texts".to_owned(),
        _ => "a text".to_owned(),
    };
    let why = format!("{kind} is expected, not {}", shown(value));
    wrong(format!("argument `{name}`"), &why, about(wanted))
}

/// What the model was told of it, which is the remedy.
fn about(wanted: &Value) -> &str {
    wanted["description"].as_str().unwrap_or_default()
}

/// A value may be of any length.
fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn wrong(what: String, why: &str, remedy: &str) -> Error {
    Error::new(Kind::Usage, what, why, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool() -> Value {
        json!({"name": "search", "inputSchema": {"type": "object", "required": ["query"], "properties": {
            "query": {"type": "string", "description": "What to ask"},
            "store_name": {"anyOf": [{"type": "string"}, {"type": "array"}]},
            "top_k": {"type": "integer", "minimum": 1, "maximum": 1000},
            "dry_run": {"type": "boolean"}}}})
    }

    fn checked(given: Value) -> Result<(), String> {
        let given = given.as_object().unwrap();
        let checked = Arguments::check(given, &tool());
        checked.map(|_| ()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_wrong_argument_is_named_with_what_is_taken() {
        for (given, words) in [
            (json!({}), "argument `query`: it is needed: What to ask"),
            (
                json!({"query": null}),
                "argument `query`: it is needed: What to ask",
            ),
            (
                json!({"query": " "}),
                "argument `query`: it is empty: What to ask",
            ),
            (
                json!({"query": "a", "store_name": ""}),
                "argument `store_name`: it is empty: ",
            ),
            (
                json!({"query": "a", "store_name": ["b", " "]}),
                "argument `store_name`: it is empty: ",
            ),
            (
                json!({"query": "a", "store_name": []}),
                "argument `store_name`: it is empty: ",
            ),
            (
                json!({"query": "a", "topk": 3}),
                "argument `topk`: `search` takes none of this name: did you mean `top_k`? \
                 It takes `dry_run`, `query`, `store_name`, `top_k`",
            ),
            (
                json!({"query": "a", "top_k": "many"}),
                "argument `top_k`: a whole number from 1 to 1000 is expected, not \"many\": ",
            ),
            (
                json!({"query": "a", "top_k": 1001}),
                "argument `top_k`: a whole number from 1 to 1000 is expected, not 1001: ",
            ),
            (
                json!({"query": ["a"]}),
                "argument `query`: a text is expected, not [\"a\"]: What to ask",
            ),
            (
                json!({"query": "a", "store_name": [1]}),
                "argument `store_name`: a text, or a list of texts is expected, not [1]: ",
            ),
            (
                json!({"query": "a", "dry_run": "yes"}),
                "argument `dry_run`: true or false is expected, not \"yes\": ",
            ),
        ] {
            assert_eq!(checked(given).unwrap_err(), words);
        }
    }

    #[test]
    fn null_is_left_out_and_whole_numbers_are_whole() {
        let given = json!({"query": " a ", "store_name": null, "top_k": 5.0, "dry_run": null});
        let tool = tool();
        let arguments = Arguments::check(given.as_object().unwrap(), &tool).unwrap();
        assert_eq!(arguments.text("query"), Some("a"));
        assert!(arguments.texts("store_name").is_empty());
        assert_eq!(arguments.number("top_k"), Some(5));
        assert!(!arguments.flag("dry_run"));
        let given = json!({"query": "a", "store_name": ["b", " c"]});
        let arguments = Arguments::check(given.as_object().unwrap(), &tool).unwrap();
        assert_eq!(arguments.texts("store_name"), ["b", "c"]);
    }
}
