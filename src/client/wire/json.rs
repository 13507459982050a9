//! What JSON allows, and the service does not make use of: a gateway in between may.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Without the byte order mark that a gateway may have put before it.
pub(in crate::client) fn unmarked(body: &[u8]) -> &[u8] {
    body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body)
}

/// A whole number of up to 64 bits: proto3 JSON writes it as text, and takes a number as well. `None`: it is
/// left out, or is nothing of the kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::client) struct Int64(pub Option<u64>);

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Int64, D::Error> {
        Ok(Int64(match Value::deserialize(json)? {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_number_as_well_as_text() {
        let read = |json: &str| serde_json::from_str::<Int64>(json).unwrap().0;
        let most = Some(i64::MAX as u64);
        assert_eq!(read("\"227\""), Some(227));
        assert_eq!(read("227"), Some(227));
        assert_eq!(read("\"9223372036854775807\""), most);
        assert_eq!(read("9223372036854775807"), most);
        for other in ["\"\"", "\"-1\"", "-1", "1.5", "null", "{}", "[1]"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn one_mark_before_an_answer_is_passed_over() {
        assert_eq!(unmarked("\u{feff}{}".as_bytes()), b"{}");
        assert_eq!(unmarked(b"{}"), b"{}");
        assert_eq!(unmarked(b""), b"");
    }
}
