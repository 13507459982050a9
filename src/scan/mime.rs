//! The MIME type a file goes as, or why it cannot go.
//!
//! By extension for formats that need it and for types known to work (fact sheet 15); everything else
//! that is text goes as `text/plain`, which is always safe. Promises: any bytes can be judged.

use std::path::Path;

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

/// `head`: the first bytes of the file, up to `HEAD_BYTES`.
///
/// # Errors
/// What the service does not take, in a few words.
pub fn of(path: &str, head: &[u8]) -> Result<&'static str, String> {
    let extension = Path::new(path)
        .extension()
        .map(|e| e.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let listed = |table: &[(&str, &'static str)]| {
        table
            .iter()
            .find(|(e, _)| *e == extension)
            .map(|(_, mime)| *mime)
    };
    if let Some(mime) = listed(BINARY) {
        return Ok(mime);
    }
    if is_text(head) {
        return Ok(listed(TEXT).unwrap_or("text/plain"));
    }
    Err(match extension.is_empty() {
        true => "neither text nor a format the service takes".to_owned(),
        false => format!(".{extension} is neither text nor a format the service takes"),
    })
}

/// No NUL, and hardly any other control characters. Legacy encodings of text pass, UTF-16 does not.
fn is_text(head: &[u8]) -> bool {
    if head.contains(&0) {
        return false;
    }
    let is_control = |b: &&u8| **b < b' ' || **b == 0x7f;
    let odd = head
        .iter()
        .filter(is_control)
        .filter(|b| !matches!(b, b'\t' | b'\n' | b'\r' | 0x0c | 0x08 | 0x1b))
        .count();
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn types_are_known_guessed_or_refused() {
        assert_eq!(of("a/b.MD", b"# x"), Ok("text/markdown"));
        assert_eq!(of("x.pdf", b"%PDF\0\x01"), Ok("application/pdf"));
        assert_eq!(of("Makefile", b"all:\n\tcc"), Ok("text/plain"));
        assert_eq!(of("notes.xyz", "für".as_bytes()), Ok("text/plain"));
        assert_eq!(of("latin1.txt", b"f\xfcr"), Ok("text/plain"));
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
            let _ = of(&path, &head);
        }
    }
}
