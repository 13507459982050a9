//! Keys and values: how they are spelled in JSON and in `--set`, and what a document can carry.
//!
//! Promises: every entry that is made here fits what the service takes, and comes back from it as it went.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use unicode_normalization::UnicodeNormalization;

use crate::identity::{MetadataEntry, VALUE_BYTES_MAX, Value};

/// The service documents no limit (fact sheet 12).
pub const KEY_BYTES_MAX: usize = 64;
/// The service documents no limit.
pub const LIST_ITEMS_MAX: usize = 100;
/// The service keeps 32-bit floats, which hold every whole number up to 2^24.
pub const NUMBER_MAX: f64 = 16_777_216.0;
/// Keys and values of a document together. The service documents no limit; twenty documents are a page of the
/// listing, which has to stay an answer that can be read.
pub const DOCUMENT_BYTES_MAX: usize = 8 << 10;
/// Keys that begin so are objlib's own.
const RESERVED: &str = "objlib_";

/// The entry of `--set KEY=VALUE`: a number if VALUE reads as one in JSON, a list if it is a JSON list of
/// texts, else a text. In JSON's quotes it is always a text. White space around KEY and VALUE is dropped.
///
/// # Errors
/// Why it cannot be one.
pub fn set_entry(text: &str) -> Result<MetadataEntry, String> {
    let (key, value) = text.split_once('=').ok_or("there is no = in it")?;
    let (key, value) = (key.trim(), value.trim());
    check_key(key)?;
    let value = match serde_json::from_str::<Flat>(value) {
        Ok(Flat(value)) => value,
        Err(_) if value.starts_with(['"', '[', '{']) => {
            return Err(format!(
                "{value} is neither a JSON text, such as \"a\", nor a JSON list of texts, such as \
                 [\"a\",\"b\"]"
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
            "{:?} cannot be a key: one is of a-z, A-Z, 0-9 and _, a letter first",
            beginning(key)
        ));
    }
    if key.len() > KEY_BYTES_MAX {
        let (bytes, key) = (key.len(), beginning(key));
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

/// Of a foreign text in a message: each skipped file has one.
const WORDS_CHARS_MAX: usize = 200;

/// Enough of a text to know it by, in a message about one that may be of any length.
fn beginning(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(WORDS_CHARS_MAX) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
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
                     numbers; a text would be kept as it is"
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

/// What it counts for in a document.
pub fn bytes(entry: &MetadataEntry) -> usize {
    let value = match &entry.value {
        Value::StringValue(text) => text.len(),
        Value::NumericValue(number) => size_of_val(number),
        Value::StringListValue { values } => values.iter().map(String::len).sum(),
    };
    entry.key.len() + value
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
    let why = error.to_string();
    let words = why.rfind(" at line ").map_or(&*why, |at| &why[..at]);
    (error.line().max(1), beginning(words).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Result<Value, String> {
        Ok(Value::StringValue(text.to_owned()))
    }

    fn list(values: &[&str]) -> Value {
        let values = values.iter().map(|v| (*v).to_owned()).collect();
        Value::StringListValue { values }
    }

    #[test]
    fn set_takes_numbers_lists_and_texts() {
        let value = |text: &str| set_entry(text).map(|entry| entry.value);
        for number in ["k=3", "k=3.0", " k = 3 ", "k=3e0"] {
            assert_eq!(value(number), Ok(Value::NumericValue(3.0)), "{number}");
        }
        assert_eq!(value("k=-0.5"), Ok(Value::NumericValue(-0.5)));
        assert_eq!(value("k=a"), text("a"));
        assert_eq!(value("k=a=b, c"), text("a=b, c"));
        assert_eq!(value("k=00042"), text("00042"));
        assert_eq!(value("k=\"3\""), text("3"));
        assert_eq!(value("k=true"), text("true"));
        assert_eq!(value("k=inf"), text("inf"));
        assert_eq!(value("k=2026-11-26"), text("2026-11-26"));
        assert_eq!(value("k=[\"a\", \"b\"]"), Ok(list(&["a", "b"])));
        assert_eq!(value("k=cafe\u{301}"), text("caf\u{e9}"));
    }

    #[test]
    fn set_refuses_what_cannot_be_meant() {
        for (given, why) in [
            ("course", "there is no = in it"),
            (
                "=3",
                "\"\" cannot be a key: one is of a-z, A-Z, 0-9 and _, a letter first",
            ),
            ("k=", "k: an empty text"),
            ("k=[]", "k: an empty list"),
            (
                "k=[a,b]",
                "[a,b] is neither a JSON text, such as \"a\", nor a JSON list of texts, such as [\"a\",\"b\"]",
            ),
            (
                "k={\"a\": 1}",
                "{\"a\": 1} is neither a JSON text, such as \"a\", nor a JSON list of texts, such as [\"a\",\"b\"]",
            ),
            (
                "k=\"a",
                "\"a is neither a JSON text, such as \"a\", nor a JSON list of texts, such as [\"a\",\"b\"]",
            ),
            (
                "k=20261126",
                "k: the number 20261126 is beyond 16777216, from where the service rounds whole numbers; a text would be kept as it is",
            ),
            (
                "k=1e999",
                "k: the number inf is beyond 16777216, from where the service rounds whole numbers; a text would be kept as it is",
            ),
            (
                "objlib_path=x",
                "the key objlib_path is reserved: keys that begin with objlib_ are objlib's own",
            ),
        ] {
            assert_eq!(set_entry(given), Err(why.to_owned()), "{given}");
        }
    }

    #[test]
    fn what_just_fits_is_taken() {
        let key = "k".repeat(KEY_BYTES_MAX);
        assert_eq!(check_key(&key), Ok(()));
        let why = format!("the key {key}k has 65 bytes, 64 is the limit");
        assert_eq!(check_key(&format!("{key}k")), Err(why));
        for (key, is_one) in [
            ("_a", false),
            ("1a", false),
            ("a-b", false),
            ("ä", false),
            ("objlib", true),
            ("objlib_", false),
            ("A_1", true),
        ] {
            assert_eq!(check_key(key).is_ok(), is_one, "{key}");
        }
        // Bytes are counted, of the text as it is sent.
        let long = "\u{e9}".repeat(VALUE_BYTES_MAX / 2);
        assert_eq!(fit(text(&long).unwrap()), text(&long));
        assert_eq!(
            fit(text(&"e\u{301}".repeat(VALUE_BYTES_MAX / 2)).unwrap()),
            text(&long)
        );
        assert_eq!(
            fit(text(&format!("{long}.")).unwrap()),
            Err("a text of 257 bytes, 256 is the limit".to_owned())
        );
        assert_eq!(
            fit(list(&["a", ""])),
            Err("item 2 is an empty text".to_owned())
        );
        assert!(fit(list(&["a"; LIST_ITEMS_MAX])).is_ok());
        assert_eq!(
            fit(list(&["a"; 101])),
            Err("a list of 101 items, 100 is the limit".to_owned())
        );
    }

    #[test]
    fn a_number_comes_back_as_it_went() {
        for number in [0.0, 0.1, -3.0, NUMBER_MAX, -NUMBER_MAX] {
            assert_eq!(
                fit(Value::NumericValue(number)),
                Ok(Value::NumericValue(number))
            );
        }
        for zero in [-0.0, -1e-60] {
            let Ok(Value::NumericValue(number)) = fit(Value::NumericValue(zero)) else {
                panic!("{zero} is refused");
            };
            assert!(number == 0.0 && number.is_sign_positive(), "{zero}");
        }
        for too_large in [NUMBER_MAX + 1.0, f64::NEG_INFINITY, f64::NAN] {
            assert!(fit(Value::NumericValue(too_large)).is_err(), "{too_large}");
        }
    }
}
