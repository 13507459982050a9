//! Foreign text (names of files, words of the service, rows of a database) as it may be shown.
//!
//! A terminal obeys some characters instead of showing them: controls move the cursor, bidirectional
//! marks turn a line around so that `gpj.exe` reads `exe.jpg`, and others take no room at all, so that
//! two names look alike. Promises: what comes out of here is one line on which every character is
//! seen; in JSON the value stays what it was, only its spelling changes.

use std::fmt::Write;

use serde::Serialize;

/// The characters that Unicode calls format characters (category Cf) and the two separators of lines and
/// paragraphs (Zl, Zp). The standard library knows only controls (Cc), and a crate with all of Unicode's
/// tables would be larger than this program's whole text handling. Where a whole block is set aside for
/// such characters the range takes the unassigned ones along; the test compares with Unicode's own table.
const UNSEEN: [(char, char); 20] = [
    ('\u{ad}', '\u{ad}'),       // soft hyphen
    ('\u{600}', '\u{605}'),     // Arabic number signs
    ('\u{61c}', '\u{61c}'),     // Arabic letter mark: turns the direction
    ('\u{6dd}', '\u{6dd}'),     // Arabic end of a verse
    ('\u{70f}', '\u{70f}'),     // Syriac abbreviation mark
    ('\u{890}', '\u{891}'),     // Arabic pound and piastre marks
    ('\u{8e2}', '\u{8e2}'),     // Arabic disputed end of a verse
    ('\u{180e}', '\u{180e}'),   // Mongolian vowel separator: no width
    ('\u{200b}', '\u{200f}'),   // zero width space and joiners, marks of direction
    ('\u{2028}', '\u{202e}'),   // line and paragraph separators, embeddings and overrides
    ('\u{2060}', '\u{206f}'),   // word joiner, invisible operators, isolates
    ('\u{feff}', '\u{feff}'),   // byte order mark: no width
    ('\u{fff9}', '\u{fffb}'),   // interlinear annotation
    ('\u{110bd}', '\u{110bd}'), // Kaithi number sign
    ('\u{110cd}', '\u{110cd}'), // the same, above
    ('\u{13430}', '\u{1343f}'), // joiners of hieroglyphs
    ('\u{1bca0}', '\u{1bca3}'), // shorthand format controls
    ('\u{1d173}', '\u{1d17a}'), // musical beams and slurs
    ('\u{e0000}', '\u{e007f}'), // tags: a whole invisible alphabet
    ('\u{e0080}', '\u{e0fff}'), // set aside for more of them
];

/// Whether a terminal would obey this character, or hide it, rather than show it.
fn is_unseen(c: char) -> bool {
    // Nearly all text is ASCII, and only its controls are meant here.
    c.is_control() || (!c.is_ascii() && UNSEEN.iter().any(|&(a, z)| (a..=z).contains(&c)))
}

/// The text on one line, with every character that cannot be seen spelled out: `\n`, `\u{202e}`.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unseen(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// Text of several lines, which stay lines: everything else is as in `one_line`, but that a tab is spaces.
pub fn lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\t', "    ");
    let lines: Vec<String> = text.split('\n').map(one_line).collect();
    lines.join("\n")
}

/// The value as JSON on one line. JSON leaves more characters as they are than a terminal can bear; those
/// only stand inside its strings, where `\u202e` means the very same character, so a program reads what
/// it always read.
pub fn json_line(value: &impl Serialize) -> String {
    // Nothing that is printed here can fail to be JSON: no map has keys that are not strings.
    let json = serde_json::to_string(value).unwrap_or_default();
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        match is_unseen(c) {
            true => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
            false => line.push(c),
        }
    }
    line
}

/// The name that was probably meant; `None` if none is like it.
pub fn nearest<'n>(given: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    /// As clap judges what was typed.
    const LIKE: f64 = 0.7;
    let rated = names.map(|name| (strsim::jaro(given, name), name));
    let best = rated.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 > LIKE).then_some(best.1)
}

/// A name that the database lacks, for people; it may be known to another one.
pub fn unknown<'n>(what: &str, given: &str, names: impl Iterator<Item = &'n str>) -> String {
    let near = nearest(given, names);
    let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    one_line(&format!(
        "nothing is known here of a {what} `{given}`{near}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn what_cannot_be_seen_is_spelled_out() {
        for (text, line) in [
            ("notes/über.txt", "notes/über.txt"),
            ("a\nb\u{7f}\u{9b}31m", "a\\nb\\u{7f}\\u{9b}31m"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("pay\u{200b}pal", "pay\\u{200b}pal"),
            ("one\u{2028}two", "one\\u{2028}two"),
            ("\u{feff}x\u{e0041}", "\\u{feff}x\\u{e0041}"),
        ] {
            assert_eq!(one_line(text), line);
        }
    }

    #[test]
    fn lines_stay_lines_and_the_rest_is_spelled_out() {
        assert_eq!(lines("a\r\n\tb\n\u{1b}[2J\r\n"), "a\n    b\n\\u{1b}[2J\n");
    }

    #[test]
    fn json_is_spelled_so_that_no_terminal_obeys_it() {
        let value = json!({"path": "a\u{9b}\u{202e}b\u{e0041}\n"});
        let line = json_line(&value);
        assert_eq!(line, r#"{"path":"a\u009b\u202eb\udb40\udc41\n"}"#);
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }

    proptest! {
        /// Unicode's own table, as the regular expressions know it.
        #[test]
        fn every_format_character_of_unicode_is_known(c in "[\\p{Cf}\\p{Zl}\\p{Zp}\\p{Cc}]") {
            prop_assert!(c.chars().all(is_unseen), "{c:?}");
        }

        #[test]
        fn letters_stay_as_they_are(text in "[\\p{L}\\p{M}\\p{N}\\p{S}\\p{P} ]{0,40}") {
            let is_tag = |c: char| ('\u{e0000}'..='\u{e0fff}').contains(&c);
            prop_assume!(!text.contains(is_tag));
            prop_assert_eq!(one_line(&text), text);
        }

        #[test]
        fn json_stays_the_value_that_it_was(text in "(?s).{0,60}") {
            let line = json_line(&json!([text]));
            prop_assert!(!line.contains(is_unseen));
            prop_assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), json!([text]));
        }
    }
}
