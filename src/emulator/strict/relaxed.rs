//! What Google's examples send for JSON and JSON does not allow: strings in single quotes, as in
//! `-d "{'file': {'display_name': 'TEXT'}}"` for the Files API, and a comma behind the last entry.

/// The same as JSON. What is wrong in another way stays wrong.
pub fn to_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    // The quote that ends the string that is being read.
    let mut quote = None;
    // Where the last comma is, with nothing but space behind it.
    let mut comma = None;
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(_), '\\') => match letters.next() {
                Some('\'') => out.push('\''),
                other => out.extend(std::iter::once('\\').chain(other)),
            },
            (Some(end), letter) if letter == end => {
                quote = None;
                out.push('"');
            }
            (Some('\''), '"') => out.push_str("\\\""),
            (Some(_), letter) => out.push(letter),
            (None, '"' | '\'') => {
                quote = Some(letter);
                comma = None;
                out.push('"');
            }
            (None, letter) => {
                if let (Some(at), '}' | ']') = (comma, letter) {
                    out.truncate(at);
                }
                match letter {
                    ',' => comma = Some(out.len()),
                    letter if letter.is_whitespace() => {}
                    _ => comma = None,
                }
                out.push(letter);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Option<Value> {
        serde_json::from_str(&to_json(text)).ok()
    }

    #[test]
    fn single_quotes_and_last_commas_are_read_as_google_reads_them() {
        let file = json!({"file": {"display_name": "TEXT"}});
        assert_eq!(read("{'file': {'display_name': 'TEXT'}}"), Some(file));
        let mixed = r#"{'a': 'say "no"', "b": "it's", 'c': 'it\'s', "d": "\"}\\",}"#;
        let value = json!({"a": "say \"no\"", "b": "it's", "c": "it's", "d": "\"}\\"});
        assert_eq!(read(mixed), Some(value));
        assert_eq!(read("[1, [2 , \n] ,]"), Some(json!([1, [2]])));
        assert_eq!(read(r#"["a,]"]"#), Some(json!(["a,]"])));
    }

    #[test]
    fn what_is_wrong_otherwise_stays_wrong() {
        for wrong in ["{a: 1}", "[1,,]", "[,]x", "{'a': 'b}", "{'a' 1}", "'\\"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn json_is_what_it_was(words in proptest::collection::vec(".{0,12}", 0..6)) {
            let value = json!({"a": words, "b": [[], {}], "c": 1.5});
            prop_assert_eq!(read(&value.to_string()), Some(value.clone()));
            prop_assert_eq!(read(&serde_json::to_string_pretty(&value).unwrap()), Some(value));
        }
    }
}
