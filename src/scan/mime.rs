//! The MIME type a file goes as, or why it cannot go.
//!
//! What the user says of an extension holds; then, by extension, formats that are not text and types known to
//! work (fact sheet 15); everything else that is text goes as `text/plain`, which is always safe. Promises:
//! any bytes can be judged.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Enough to tell text from anything else.
pub const HEAD_BYTES: usize = 8192;

/// Formats that are not text.
const BINARY: &[(&str, &str)] = &[
    ("pdf", "application/pdf"),
    ("doc", "application/msword"),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    (
        "dotx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.template",
    ),
    ("xls", "application/vnd.ms-excel"),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    (
        "pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("hwp", "application/x-hwp"),
    ("zip", "application/zip"),
];

/// What a store takes whose model makes sense of images.
const IMAGES: &[(&str, &str)] = &[
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
];

/// Text with a type of its own that the service is known to take.
const TEXT: &[(&str, &str)] = &[
    ("md", "text/markdown"),
    ("markdown", "text/markdown"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("xhtml", "text/html"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("tsv", "text/tab-separated-values"),
    ("json", "application/json"),
    ("ipynb", "application/vnd.jupyter"),
    ("xml", "text/xml"),
    ("yaml", "text/yaml"),
    ("yml", "text/yaml"),
    ("rtf", "text/rtf"),
    ("rst", "text/x-rst"),
    ("tex", "text/x-tex"),
    ("js", "text/javascript"),
    ("mjs", "text/javascript"),
    ("py", "text/x-python"),
    ("java", "text/x-java"),
    ("c", "text/x-csrc"),
    ("h", "text/x-chdr"),
    ("cpp", "text/x-c++src"),
    ("hpp", "text/x-c++hdr"),
    ("cs", "text/x-csharp"),
    ("go", "text/x-go"),
    ("rs", "text/x-rust"),
    ("swift", "text/x-swift"),
    ("kt", "text/x-kotlin"),
    ("lua", "text/x-lua"),
    ("pl", "text/x-perl"),
    ("scala", "text/x-scala"),
    ("hs", "text/x-haskell"),
    ("sql", "text/x-sql"),
    ("diff", "text/x-diff"),
    ("patch", "text/x-diff"),
    ("ics", "text/calendar"),
    ("vcf", "text/vcard"),
    ("vtt", "text/vtt"),
];

/// What text goes as that has no type of its own.
const PLAIN: &str = "text/plain";

/// The types of a library's files: what the user has said of some extensions, and the tables above.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Types {
    own: BTreeMap<String, String>,
    /// A store that the library goes into takes images.
    #[serde(skip)]
    pub images: bool,
}

impl Types {
    /// `given`: `EXT=TYPE`, each.
    ///
    /// # Errors
    /// What is wrong with one of them, in a few words.
    pub fn parse(given: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Types, String> {
        let pairs = given.into_iter().map(|pair| {
            let pair = pair.as_ref();
            let form = || format!("`{pair}` is not EXT=TYPE, such as log=text/plain");
            let (extension, mime) = pair.split_once('=').ok_or_else(form)?;
            let extension = extension.trim().trim_start_matches('.').to_lowercase();
            let mime = mime.trim().to_lowercase();
            match is_extension(&extension) && is_mime(&mime) {
                true => Ok((extension, mime)),
                false => Err(form()),
            }
        });
        let mut own = BTreeMap::new();
        for pair in pairs {
            let (extension, mime) = pair?;
            if let Some(other) = own.insert(extension.clone(), mime) {
                return Err(format!("two types for .{extension}, one of them {other}"));
            }
        }
        Ok(Types { own, images: false })
    }

    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// Extensions, without their dots, and the types that they go as.
    pub fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        self.own.iter().map(|(e, mime)| (e.as_str(), mime.as_str()))
    }

    /// `head`: the first bytes of the file, up to `HEAD_BYTES`.
    ///
    /// # Errors
    /// What the service does not take, in a few words.
    pub fn of(&self, path: &str, head: &[u8]) -> Result<&str, String> {
        let extension = extension(path);
        if let Some(mime) = self.own.get(&extension) {
            return match is_image(mime) && !self.images {
                true => Err(NO_IMAGES.to_owned()),
                false => Ok(mime),
            };
        }
        if let Some(mime) = listed(BINARY, &extension) {
            return Ok(mime);
        }
        if let Some(mime) = listed(IMAGES, &extension) {
            return match self.images {
                true => Ok(mime),
                false => Err(NO_IMAGES.to_owned()),
            };
        }
        if is_text(head) {
            return Ok(listed(TEXT, &extension).unwrap_or(PLAIN));
        }
        Err(match extension.is_empty() {
            true => "neither text nor a format the service takes".to_owned(),
            false => format!(
                ".{extension} is neither text nor a format the service takes; --mime {extension}=TYPE \
                 sends it all the same"
            ),
        })
    }

    /// Whether a file of this path can have got this type, so that it need not be read to know it.
    pub fn allow(&self, path: &str, mime: &str) -> bool {
        if self.is_empty() && mime == PLAIN {
            return true;
        }
        let extension = extension(path);
        match self.own.get(&extension) {
            Some(own) => own == mime,
            None => {
                mime == PLAIN
                    || listed(TEXT, &extension) == Some(mime)
                    || listed(BINARY, &extension) == Some(mime)
                    || (self.images && listed(IMAGES, &extension) == Some(mime))
            }
        }
    }
}

const NO_IMAGES: &str = "images go only into stores made with `objlib store create --embedding-model \
                         models/gemini-embedding-2`, and the library goes into none such";

/// Whether only a store that takes images takes this type.
pub fn is_image(mime: &str) -> bool {
    IMAGES.iter().any(|(_, image)| *image == mime)
}

/// In lower case, without the dot; empty where there is none.
fn extension(path: &str) -> String {
    let extension = Path::new(path).extension();
    extension.map_or_else(String::new, |e| e.to_string_lossy().to_lowercase())
}

fn listed(table: &[(&str, &'static str)], extension: &str) -> Option<&'static str> {
    let mut found = table.iter().filter(|(e, _)| *e == extension);
    found.next().map(|(_, mime)| *mime)
}

fn is_extension(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', '.']) && !text.chars().any(char::is_whitespace)
}

/// `type/subtype`, each a token of RFC 9110.
fn is_mime(text: &str) -> bool {
    let token = |part: &str| {
        let other = |c| c == '!' || c == '#' || c == '$' || c == '&' || "-^_.+".contains(c);
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || other(c))
    };
    text.split_once('/')
        .is_some_and(|(kind, of)| token(kind) && token(of))
}

/// No NUL, and hardly any other control characters. Legacy encodings of text pass, and UTF-16 does if a mark
/// at its beginning says so: it is sent as it is, byte for byte, since its SHA-256 is what the document is
/// known by; the mark tells the service as well.
fn is_text(head: &[u8]) -> bool {
    match head {
        [0xff, 0xfe, rest @ ..] => return is_utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => return is_utf16(rest, u16::from_be_bytes),
        _ => {}
    }
    if head.contains(&0) {
        return false;
    }
    let odd: usize = head.iter().map(|b| usize::from(ODD[usize::from(*b)])).sum();
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // A character may be cut by the end of the head.
        Err(e) => e.error_len().is_none(),
    };
    match valid {
        true => odd * 100 <= head.len(),
        false => odd == 0,
    }
}

/// A surrogate pair may be cut by the end of the head.
fn is_utf16(head: &[u8], unit: fn([u8; 2]) -> u16) -> bool {
    let units = || head.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let unpaired = char::decode_utf16(units()).filter(Result::is_err).count();
    units().len() > 0 && unpaired <= 1 && !units().any(|u| u == 0 || is_odd(u))
}

/// A control character that text hardly holds.
const fn is_odd(c: u16) -> bool {
    (c < 0x20 && !matches!(c, 0x08..=0x0a | 0x0c | 0x0d | 0x1b)) || c == 0x7f
}

/// The same of each byte: a scan asks it of thousands of them in every file.
static ODD: [bool; 256] = {
    let mut odd = [false; 256];
    let mut c = 0;
    while c < odd.len() {
        odd[c] = is_odd(c as u16);
        c += 1;
    }
    odd
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(path: &str, head: &[u8]) -> Result<String, String> {
        Types::default().of(path, head).map(str::to_owned)
    }

    fn ok(mime: &str) -> Result<String, String> {
        Ok(mime.to_owned())
    }

    #[test]
    fn what_the_user_says_of_an_extension_holds() {
        let types = Types::parse(["LOG=text/x-log", ".dat = application/json"]).unwrap();
        assert_eq!(types.of("a.log", b"x"), Ok("text/x-log"));
        assert_eq!(types.of("a.DAT", b"\0\0"), Ok("application/json"));
        assert_eq!(types.of("a.md", b"x"), Ok("text/markdown"));
        assert!(Types::parse(["log=text/plain", ".LOG=text/csv"]).is_err());
        for bad in [
            "log",
            "=text/plain",
            "log=",
            "log=text",
            "a/b=text/plain",
            "log=text/a b",
        ] {
            assert!(Types::parse([bad]).unwrap_err().contains(bad), "{bad}");
        }
    }

    #[test]
    fn a_type_that_a_file_cannot_have_any_more_is_told() {
        let (none, some) = (Types::default(), Types::parse(["log=text/csv"]).unwrap());
        assert!(none.allow("a.md", "text/markdown") && none.allow("a.md", PLAIN));
        assert!(none.allow("a.pdf", "application/pdf"));
        assert!(!none.allow("a.log", "text/csv"));
        assert!(some.allow("a.log", "text/csv") && some.allow("a.txt", PLAIN));
        assert!(!some.allow("a.log", PLAIN));
    }

    #[test]
    fn images_are_for_stores_that_take_them() {
        let jpeg = b"\xff\xd8\xff\xe0\0\x10";
        let with = Types {
            images: true,
            ..Types::default()
        };
        assert_eq!(with.of("a/photo.JPG", jpeg), Ok("image/jpeg"));
        assert!(with.allow("a/photo.JPG", "image/jpeg"));
        let none = Types::default();
        assert!(
            none.of("photo.jpg", jpeg)
                .unwrap_err()
                .contains("--embedding-model")
        );
        // One that has been sent is looked at again, and then left out.
        assert!(!none.allow("photo.jpg", "image/jpeg"));
        assert_eq!(serde_json::json!(with), serde_json::json!({}));
    }

    #[test]
    fn utf_16_with_a_mark_is_text() {
        let le = |text: &str| {
            text.encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<u8>>()
        };
        let be = |text: &str| {
            text.encode_utf16()
                .flat_map(u16::to_be_bytes)
                .collect::<Vec<u8>>()
        };
        assert_eq!(of("a.txt", &le("\u{feff}für 𝄞\r\n")), ok(PLAIN));
        assert_eq!(of("a.csv", &be("\u{feff}a,b\r\n")), ok("text/csv"));
        let cut = le(&format!("\u{feff}{}", "𝄞".repeat(HEAD_BYTES / 4)));
        assert_eq!(of("a.txt", &cut[..HEAD_BYTES]), ok(PLAIN));
        // Without a mark nobody can tell it from anything else; and a mark alone proves nothing.
        assert!(of("a.txt", &le("für")).is_err());
        assert!(of("a.bin", b"\xff\xfe\0\0\x01\0").is_err());
        assert!(of("a.bin", b"\xff\xfe\x01\x00").is_err());
        assert!(of("a.bin", b"\xff\xfe").is_err());
    }

    #[test]
    fn types_are_known_guessed_or_refused() {
        assert_eq!(of("a/b.MD", b"# x"), ok("text/markdown"));
        assert_eq!(of("x.pdf", b"%PDF\0\x01"), ok("application/pdf"));
        assert_eq!(of("Makefile", b"all:\n\tcc"), ok("text/plain"));
        assert_eq!(of("notes.xyz", "für".as_bytes()), ok("text/plain"));
        assert_eq!(of("latin1.txt", b"f\xfcr"), ok("text/plain"));
        assert!(of("photo.jpg", b"\xff\xd8\xff\xe0\0\x10").is_err());
        assert!(of("not-really.md", b"\0\0\0").is_err());
        assert!(of("a.out", b"\x7fELF\x02\x01\x01\0").is_err());
    }

    #[test]
    fn a_character_cut_at_the_end_of_the_head_is_text() {
        let text = "ü".repeat(HEAD_BYTES);
        assert!(of("x", &text.as_bytes()[..HEAD_BYTES - 1]).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_judged(path in "\\PC{0,40}", head in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(mime) = of(&path, &head) {
                prop_assert!(Types::default().allow(&path, &mime));
            }
        }
    }
}
