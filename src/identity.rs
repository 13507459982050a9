//! How a document is recognised in the store without the database: metadata entries that name its library,
//! its path there, and the SHA-256 of its bytes.
//!
//! Owns the key of an upload, `ContentKey`: the bytes, and the variant, which is all that a document carries
//! besides them. Promises: equal files at equal paths of equally named libraries have equal identities on
//! every machine (NFC, `/`), and every value fits what the service takes.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Digest;
use unicode_normalization::UnicodeNormalization;

/// Metadata key of the library's name.
pub const LIBRARY_KEY: &str = "objlib_library";
/// Metadata key of the path.
pub const PATH_KEY: &str = "objlib_path";
/// Metadata key of the content's hash.
pub const SHA256_KEY: &str = "objlib_sha256";
/// Metadata key of the chunking, which the service does not give back.
pub const CHUNKING_KEY: &str = "objlib_chunking";
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

/// What a document carries besides path and bytes: the name of its library, the user's metadata, and how it
/// is cut into chunks. A change of any of them makes another document necessary, since none can be changed at
/// the service.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant([u8; 16]);

impl Variant {
    /// `metadata`: the user's entries and that of the chunking, in any order.
    pub fn of(library: &str, metadata: &[MetadataEntry]) -> Variant {
        let mut lines: Vec<String> = metadata.iter().map(MetadataEntry::canonical).collect();
        lines.sort_unstable();
        let mut hasher = sha2::Sha256::new();
        // Every part is followed by its length, so that no two lists of parts read alike.
        for part in std::iter::once(library).chain(lines.iter().map(String::as_str)) {
            hasher.update(part.as_bytes());
            hasher.update((part.len() as u64).to_be_bytes());
        }
        let digest: [u8; 32] = hasher.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Variant(half)
    }
    pub fn from_slice(bytes: &[u8]) -> Option<Variant> {
        Some(Variant(bytes.try_into().ok()?))
    }
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The key by which an upload of a file is known, wherever one is queued, planned, adopted or compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentKey {
    pub sha256: Sha256,
    pub variant: Variant,
}

/// What a document says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub library: String,
    /// The value of `objlib_path`: the path in NFC, or its hash.
    pub path: String,
    pub content: ContentKey,
}

impl Identity {
    /// `None` for a document that objlib did not make: an entry is missing, or cannot be read.
    pub fn read(entries: &[MetadataEntry]) -> Option<Identity> {
        let text = |key: &str| {
            entries.iter().find_map(|e| match &e.value {
                Value::StringValue(text) if e.key == key => Some(text.as_str()),
                _ => None,
            })
        };
        let library = text(LIBRARY_KEY)?;
        let own = |entry: &&MetadataEntry| {
            ![LIBRARY_KEY, PATH_KEY, SHA256_KEY].contains(&entry.key.as_str())
        };
        let metadata: Vec<MetadataEntry> = entries.iter().filter(own).cloned().collect();
        Some(Identity {
            library: library.to_owned(),
            path: text(PATH_KEY)?.to_owned(),
            content: ContentKey {
                sha256: Sha256::parse(text(SHA256_KEY)?)?,
                variant: Variant::of(library, &metadata),
            },
        })
    }
}

/// One custom-metadata entry of a document, as the database keeps it (JSON) and the service takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetadataEntry {
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

/// As it would be given.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::StringValue(text) => f.write_str(&serde_json::json!(text).to_string()),
            Value::NumericValue(n) => write!(f, "{n}"),
            Value::StringListValue { values } => {
                f.write_str(&serde_json::json!(values).to_string())
            }
        }
    }
}

impl MetadataEntry {
    /// One text for one meaning: what the service keeps, it gives back as this same text.
    fn canonical(&self) -> String {
        match &self.value {
            Value::StringValue(text) => format!("{:?} text {text:?}", self.key),
            Value::NumericValue(n) => format!("{:?} number {}", self.key, *n as f32),
            Value::StringListValue { values } => format!("{:?} list {values:?}", self.key),
        }
    }

    pub fn string(key: &str, value: impl Into<String>) -> MetadataEntry {
        MetadataEntry {
            key: key.to_owned(),
            value: Value::StringValue(value.into()),
        }
    }
}

/// How the service cuts a document into the passages that a search finds: white-space-separated words a
/// chunk, and how many of them it shares with the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunking {
    tokens_max: u16,
    overlap_tokens: u16,
}

/// What the service takes as tokens a chunk, found by probing (fact sheet 12).
pub const CHUNK_TOKENS: std::ops::RangeInclusive<u16> = 21..=512;

impl Chunking {
    /// `None`: the service takes none like this.
    pub fn new(tokens_max: u16, overlap_tokens: u16) -> Option<Chunking> {
        let is_taken = CHUNK_TOKENS.contains(&tokens_max) && overlap_tokens < tokens_max;
        is_taken.then_some(Chunking {
            tokens_max,
            overlap_tokens,
        })
    }

    pub fn tokens_max(self) -> u16 {
        self.tokens_max
    }

    pub fn overlap_tokens(self) -> u16 {
        self.overlap_tokens
    }

    /// As a document carries it.
    pub fn entry(self) -> MetadataEntry {
        let Chunking {
            tokens_max,
            overlap_tokens,
        } = self;
        MetadataEntry::string(CHUNKING_KEY, format!("{tokens_max}/{overlap_tokens}"))
    }

    /// What the entries of a document say of it.
    pub fn of(entries: &[MetadataEntry]) -> Option<Chunking> {
        entries.iter().find_map(|entry| match &entry.value {
            Value::StringValue(text) if entry.key == CHUNKING_KEY => {
                let (tokens_max, overlap) = text.split_once('/')?;
                Chunking::new(tokens_max.parse().ok()?, overlap.parse().ok()?)
            }
            _ => None,
        })
    }
}

/// The value of `objlib_path` for a relative, `/`-separated path.
pub fn path_value(path: &str) -> String {
    let nfc: String = match path.is_ascii() {
        true => path.to_owned(),
        false => path.nfc().collect(),
    };
    if nfc.len() <= VALUE_BYTES_MAX && !nfc.starts_with("sha256:") {
        return nfc;
    }
    format!("sha256:{}", Sha256::of(nfc.as_bytes()))
}

/// The name of a library as it is kept: NFC, without white space around it.
///
/// # Errors
/// Why it cannot be one.
pub fn library_name(given: &str) -> Result<String, &'static str> {
    let name: String = given.trim().nfc().collect();
    match name {
        name if name.is_empty() => Err("an empty name"),
        name if name.len() > VALUE_BYTES_MAX => {
            Err("longer than the 256 bytes that the service takes")
        }
        name if name.chars().any(char::is_control) => Err("a name with control characters"),
        name => Ok(name),
    }
}

/// The entries every document carries.
pub fn entries(library: &str, path_value: &str, sha256: &Sha256) -> [MetadataEntry; 3] {
    [
        MetadataEntry::string(LIBRARY_KEY, library),
        MetadataEntry::string(PATH_KEY, path_value),
        MetadataEntry::string(SHA256_KEY, sha256.to_string()),
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
    fn an_identity_reads_back_and_knows_its_library_and_metadata() {
        let sha256 = Sha256::of(b"x");
        let own = MetadataEntry::string("course", "3");
        let mut sent = entries("docs", "a.md", &sha256).to_vec();
        sent.insert(1, own.clone());
        let read = Identity::read(&sent).unwrap();
        assert_eq!(
            (read.library.as_str(), read.path.as_str()),
            ("docs", "a.md")
        );
        let variant = Variant::of("docs", &[own]);
        assert_eq!(read.content, ContentKey { sha256, variant });
        assert_ne!(variant, Variant::of("docs", &[]));
        assert_ne!(Variant::of("docs", &[]), Variant::of("other", &[]));
        // Somebody else's, or of an objlib before the first release.
        assert_eq!(Identity::read(&sent[1..]), None);
    }

    #[test]
    fn a_variant_does_not_depend_on_the_order_of_entries() {
        let (a, b) = (
            MetadataEntry::string("a", "1"),
            MetadataEntry::string("b", "2"),
        );
        let of = |entries: &[MetadataEntry]| Variant::of("docs", entries);
        assert_eq!(of(&[a.clone(), b.clone()]), of(&[b.clone(), a.clone()]));
        assert_ne!(of(&[a]), of(&[b]));
    }

    #[test]
    fn a_library_name_is_spelled_one_way() {
        assert_eq!(library_name(" cafe\u{301} ").unwrap(), "caf\u{e9}");
        assert!(library_name("  ").is_err());
        assert!(library_name("a\nb").is_err());
        assert!(library_name(&"x".repeat(257)).is_err());
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
    fn hash_and_variant_go_into_a_database_and_come_back() {
        let sha256 = Sha256::of(b"abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256.to_string(), hex);
        assert_eq!(format!("{sha256:?}"), hex);
        assert_eq!(sha256.as_bytes()[..2], [0xba, 0x78]);
        assert_eq!(Sha256::from_slice(sha256.as_bytes()), Some(sha256));
        assert_eq!(Sha256::from_slice(&[0; 31]), None);
        let variant = Variant::of("docs", &[]);
        assert_eq!(Variant::from_slice(variant.as_bytes()), Some(variant));
        assert_eq!(Variant::from_slice(&[0; 15]), None);
    }

    /// Databases and stores hold it: another value would send every file again.
    #[test]
    fn a_variant_is_what_it_was_in_every_version() {
        let entries = [
            MetadataEntry::string("course", "3"),
            MetadataEntry {
                key: "year".to_owned(),
                value: Value::NumericValue(2026.0),
            },
        ];
        let variant = format!("{:?}", Variant::of("docs", &entries));
        assert_eq!(variant, "9b2f9a4bf947663615da3de4c7f3c947");
    }

    #[test]
    fn a_number_is_no_text_and_counts_as_the_service_keeps_it() {
        let of = |value| {
            let key = "k".to_owned();
            Variant::of("docs", &[MetadataEntry { key, value }])
        };
        let number = |n| of(Value::NumericValue(n));
        assert_ne!(number(1.0), of(Value::StringValue("1".to_owned())));
        assert_ne!(number(1.0), number(2.0));
        assert_eq!(number(0.1), number(f64::from(0.1f32)));
        let values = |values: &[&str]| {
            let values = values.iter().map(|v| (*v).to_owned()).collect();
            of(Value::StringListValue { values })
        };
        assert_ne!(values(&["a", "b"]), values(&["a"]));
    }

    #[test]
    fn a_value_is_shown_as_it_would_be_given() {
        let values = vec!["a".to_owned(), "b".to_owned()];
        let list = Value::StringListValue { values };
        let text = Value::StringValue("a \"b\"".to_owned());
        let shown = [text, Value::NumericValue(2.5), list].map(|value| value.to_string());
        assert_eq!(shown, [r#""a \"b\"""#, "2.5", r#"["a","b"]"#]);
    }

    #[test]
    fn chunking_is_what_the_service_takes_and_makes_another_variant() {
        let widest = Chunking::new(512, 511).unwrap();
        assert_eq!((widest.tokens_max(), widest.overlap_tokens()), (512, 511));
        assert_eq!(Chunking::new(512, 512), None);
        assert_eq!(Chunking::new(513, 0), None);
        assert_eq!(Chunking::new(20, 0), None);
        let least = Chunking::new(21, 0).unwrap();
        assert_eq!(
            least.entry(),
            MetadataEntry::string("objlib_chunking", "21/0")
        );
        assert_eq!(Chunking::of(&[widest.entry()]), Some(widest));
        assert_eq!(Chunking::of(&[MetadataEntry::string("tags", "21/0")]), None);
        let of = |chunking: Chunking| Variant::of("docs", &[chunking.entry()]);
        assert_ne!(of(widest), of(least));
        assert_ne!(of(least), Variant::of("docs", &[]));
    }

    #[test]
    fn a_hash_is_64_hex_digits_of_either_case() {
        let upper = "AB".repeat(32);
        assert_eq!(Sha256::parse(&upper), Some(Sha256::from_bytes([0xab; 32])));
        for not_one in [&upper[1..], &format!("{upper}0"), &"g0".repeat(32)] {
            assert_eq!(Sha256::parse(not_one), None);
        }
    }

    #[test]
    fn what_just_fits_is_left_as_it_is() {
        let path = "p".repeat(VALUE_BYTES_MAX);
        assert_eq!(path_value(&path), path);
        assert!(path_value(&format!("{path}p")).starts_with("sha256:"));
        assert_eq!(library_name(&path), Ok(path));
        let name = "n".repeat(DISPLAY_NAME_CHARS_MAX);
        assert_eq!(display_name(&name), name);
        let cut = format!("…{}", &name[1..]);
        assert_eq!(display_name(&format!("{name}n")), cut);
        assert_eq!(display_name(" \u{a0}a "), "a");
    }

    #[test]
    fn entries_are_in_the_services_shape() {
        let json = serde_json::to_string(&MetadataEntry::string("k", "v")).unwrap();
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
