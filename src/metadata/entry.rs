//! Keys and values: how they are spelled in JSON and in `--set`, and what a document can carry.
//!
//! Promises: every entry that is made here fits what the service takes, and comes back from it as it went.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use unicode_normalization::UnicodeNormalization;

use crate::identity::{MetadataEntry, VALUE_BYTES_MAX, Value};

/// The service documents no limit (fact sheet 12).
pub const KEY_BYTES_MAX: usize = 64;
/// The service documents no limit. Every listing repeats them.
pub const LIST_ITEMS_MAX: usize = 100;
/// The service keeps 32-bit floats, which hold every whole number up to 2^24.
pub const NUMBER_MAX: f64 = 16_777_216.0;
/// Keys that begin so are objlib's own.
const RESERVED: &str = "objlib_";

/// The entry of `--set KEY=VALUE`: a number if VALUE reads as one in JSON, a list if it is a JSON list of
/// texts, else a text. In JSON's quotes it is always a text. White space around KEY and VALUE is dropped.
///
/// # Errors
/// Why it cannot be one, and what to give.
pub fn set_entry(text: &str) -> Result<MetadataEntry, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("there is no = in it: give KEY=VALUE")?;
    let (key, value) = (key.trim(), value.trim());
    check_key(key)?;
    let value = match serde_json::from_str::<Flat>(value) {
        Ok(Flat(value)) => value,
        Err(_) if value.starts_with(['"', '[']) => {
            return Err(format!(
                "{value} is neither a JSON text nor a JSON list of texts: give {key}='[\"a\",\"b\"]'"
            ));
        }
        // What only looks like a number, and is larger than any.
        Err(_) if is_number(value) && value.parse().is_ok_and(f64::is_infinite) => {
            Value::NumericValue(f64::INFINITY)
        }
        Err(_) => Value::StringValue(value.to_owned()),
    };
    match fit(value) {
        Ok(value) => Ok(MetadataEntry {
            key: key.to_owned(),
            value,
        }),
        Err(why) => Err(format!("{key}: {why}")),
    }
}

fn is_number(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'))
}

/// A filter names the key as a bare word, and nothing says which other characters the service takes.
///
/// # Errors
/// Why no document can carry it.
pub fn check_key(key: &str) -> Result<(), String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !key.starts_with(|c: char| c.is_ascii_alphabetic()) || !key.chars().all(is_word) {
        return Err(format!(
            "{key:?} cannot be a key: one is of a-z, A-Z, 0-9 and _, a letter first"
        ));
    }
    if key.len() > KEY_BYTES_MAX {
        let bytes = key.len();
        return Err(format!(
            "the key {key} has {bytes} bytes, {KEY_BYTES_MAX} is the limit"
        ));
    }
    // Whatever its case: two keys that differ in nothing else are easily mistaken.
    if key.len() >= RESERVED.len() && key[..RESERVED.len()].eq_ignore_ascii_case(RESERVED) {
        return Err(format!(
            "the key {key} is reserved: keys that begin with {RESERVED} are objlib's own"
        ));
    }
    Ok(())
}

/// The value as a document carries it: texts in NFC, so that a filter finds them however a disk or an editor
/// spelled them.
///
/// # Errors
/// What of it the service does not take, its size, and the limit.
pub fn fit(value: Value) -> Result<Value, String> {
    match value {
        Value::StringValue(text) => Ok(Value::StringValue(text_that_fits(text)?)),
        Value::NumericValue(number) => {
            if number.is_nan() || number.abs() > NUMBER_MAX {
                return Err(format!(
                    "the number {number} is beyond {NUMBER_MAX}, from where the service rounds whole \
                     numbers: give it as a text"
                ));
            }
            // What a 32-bit float takes for zero has lost its sign when it comes back.
            let is_zero = number as f32 == 0.0;
            Ok(Value::NumericValue(if is_zero { 0.0 } else { number }))
        }
        Value::StringListValue { values } => {
            if values.is_empty() {
                return Err("an empty list".to_owned());
            }
            if values.len() > LIST_ITEMS_MAX {
                let items = values.len();
                return Err(format!(
                    "a list of {items} items, {LIST_ITEMS_MAX} is the limit"
                ));
            }
            let values: Result<_, String> = values
                .into_iter()
                .enumerate()
                .map(|(i, text)| {
                    text_that_fits(text).map_err(|why| format!("item {} is {why}", i + 1))
                })
                .collect();
            Ok(Value::StringListValue { values: values? })
        }
    }
}

fn text_that_fits(text: String) -> Result<String, String> {
    let text = nfc(text);
    match text.len() {
        // Of an entry with nothing in it nobody knows how it comes back.
        0 => Err("an empty text".to_owned()),
        bytes if bytes > VALUE_BYTES_MAX => Err(format!(
            "a text of {bytes} bytes, {VALUE_BYTES_MAX} is the limit"
        )),
        _ => Ok(text),
    }
}

pub fn nfc(text: String) -> String {
    match text.is_ascii() {
        true => text,
        false => text.nfc().collect(),
    }
}

/// A value as JSON gives it. It has not been fitted.
pub struct Flat(pub Value);

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Flat, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a list of texts")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::StringValue(text.to_owned()))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
                Ok(Value::NumericValue(number))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
                self.visit_f64(number as f64)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
                self.visit_f64(number as f64)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(item) = items.next_element()? {
                    values.push(item);
                }
                Ok(Value::StringListValue { values })
            }
        }
        deserializer.deserialize_any(Any).map(Flat)
    }
}

/// The members of a JSON object whose names are keys of entries, each given once.
pub struct Keyed<T>(pub Vec<(String, T)>);

impl<T> Default for Keyed<T> {
    fn default() -> Keyed<T> {
        Keyed(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Keyed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keyed<T>, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Keyed<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of entries")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keyed<T>, A::Error> {
                let mut seen = BTreeSet::new();
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    check_key(&key).map_err(Error::custom)?;
                    if !seen.insert(key.clone()) {
                        return Err(Error::custom(format_args!("{key} is given twice")));
                    }
                    members.push((key, map.next_value()?));
                }
                Ok(Keyed(members))
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// What is wrong with a JSON text, and in which of its lines, from 1.
pub fn json_error(error: &serde_json::Error) -> (usize, String) {
    let mut why = error.to_string();
    if let Some(at) = why.rfind(" at line ") {
        why.truncate(at);
    }
    (error.line().max(1), why)
}
