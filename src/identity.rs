//! How a document is recognised in the store without the database: two metadata entries, its path
//! and the SHA-256 of its content.
//!
//! Promises: equal files at equal paths have equal identities on every machine (NFC, `/`), and every
//! value fits what the service takes.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Digest;
use unicode_normalization::UnicodeNormalization;

/// Metadata key of the path.
pub const PATH_KEY: &str = "objlib_path";
/// Metadata key of the content's hash.
pub const SHA256_KEY: &str = "objlib_sha256";
/// The service takes values up to 256 characters; bytes are counted to be safe (fact sheet 12).
pub const VALUE_BYTES_MAX: usize = 256;
/// The service takes display names up to 512 characters (fact sheet 11).
pub const DISPLAY_NAME_CHARS_MAX: usize = 512;

/// SHA-256 of a file's content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    pub fn of(bytes: &[u8]) -> Sha256 {
        Sha256(sha2::Sha256::digest(bytes).into())
    }
    pub fn from_bytes(bytes: [u8; 32]) -> Sha256 {
        Sha256(bytes)
    }
    pub fn from_slice(bytes: &[u8]) -> Option<Sha256> {
        Some(Sha256(bytes.try_into().ok()?))
    }
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
    /// 64 lower- or upper-case hex digits.
    pub fn parse(hex: &str) -> Option<Sha256> {
        let hex = hex.as_bytes();
        if hex.len() != 64 {
            return None;
        }
        let mut out = [0u8; 32];
        for (byte, pair) in out.iter_mut().zip(hex.chunks_exact(2)) {
            let digit = |c: u8| (c as char).to_digit(16);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Some(Sha256(out))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One custom-metadata entry of a document, as the database keeps it (JSON) and the service takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub key: String,
    #[serde(flatten)]
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    StringValue(String),
    /// The service keeps 32-bit floats.
    NumericValue(f64),
    StringListValue {
        values: Vec<String>,
    },
}

impl Entry {
    pub fn string(key: &str, value: impl Into<String>) -> Entry {
        Entry {
            key: key.to_owned(),
            value: Value::StringValue(value.into()),
        }
    }
}

/// The value of `objlib_path` for a relative, `/`-separated path.
pub fn path_value(path: &str) -> String {
    let nfc: String = path.nfc().collect();
    if nfc.len() <= VALUE_BYTES_MAX && !nfc.starts_with("sha256:") {
        return nfc;
    }
    format!("sha256:{}", Sha256::of(nfc.as_bytes()))
}

/// The two entries every document carries.
pub fn entries(path_value: &str, sha256: &Sha256) -> [Entry; 2] {
    [
        Entry::string(PATH_KEY, path_value),
        Entry::string(SHA256_KEY, sha256.to_string()),
    ]
}

/// The path as the document's display name: its end if it is too long, and never white space first
/// (which has been seen to make an import hang, fact sheet 9).
pub fn display_name(path: &str) -> String {
    let nfc: String = path.nfc().collect();
    let nfc = nfc.trim();
    let chars = nfc.chars().count();
    if chars <= DISPLAY_NAME_CHARS_MAX {
        return nfc.to_owned();
    }
    let tail: String = nfc
        .chars()
        .skip(chars - (DISPLAY_NAME_CHARS_MAX - 1))
        .collect();
    format!("…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn composed_and_decomposed_names_are_one_identity() {
        assert_eq!(path_value("caf\u{e9}.txt"), path_value("cafe\u{301}.txt"));
    }

    #[test]
    fn a_long_path_is_held_as_its_hash_and_shown_by_its_end() {
        let long = format!("{}/end.txt", "d".repeat(600));
        assert_eq!(
            path_value(&long),
            format!("sha256:{}", Sha256::of(long.as_bytes()))
        );
        assert!(display_name(&long).ends_with("/end.txt"));
        assert_eq!(display_name(&long).chars().count(), 512);
    }

    #[test]
    fn a_path_that_looks_like_a_hash_cannot_pose_as_one() {
        assert_ne!(path_value("sha256:abc"), "sha256:abc");
    }

    #[test]
    fn entries_are_in_the_services_shape() {
        let json = serde_json::to_string(&Entry::string("k", "v")).unwrap();
        assert_eq!(json, r#"{"key":"k","stringValue":"v"}"#);
    }

    proptest! {
        #[test]
        fn every_value_fits(path in "\\PC{0,700}") {
            prop_assert!(path_value(&path).len() <= VALUE_BYTES_MAX);
            prop_assert!(display_name(&path).chars().count() <= DISPLAY_NAME_CHARS_MAX);
        }
        #[test]
        fn a_hash_reads_back(bytes in any::<[u8; 32]>()) {
            let h = Sha256::from_bytes(bytes);
            prop_assert_eq!(Sha256::parse(&h.to_string()), Some(h));
        }
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,80}") {
            let _ = Sha256::parse(&text);
        }
    }
}
