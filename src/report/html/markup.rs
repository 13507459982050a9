//! Markup that is well-formed, and text that stays text.

use std::fmt::{Display, Write};

use crate::text::one_line;

/// Foreign text between tags or in a quoted attribute: nothing of it is markup, nothing of it is hidden.
pub fn text(foreign: &str) -> String {
    let mut safe = String::with_capacity(foreign.len());
    for c in one_line(foreign).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // No such characters are in XML.
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// `<th>` or `<td>` cells of one row, each markup already.
pub fn row(html: &mut String, cell: &str, cells: &[&dyn Display]) {
    html.push_str("<tr>");
    for content in cells {
        // Writing to a string cannot fail.
        let _ = write!(html, "<{cell}>{content}</{cell}>");
    }
    html.push_str("</tr>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_in_a_name_is_text() {
        let name = "a<script>\"&'\u{202e}\n";
        let expected = "a&lt;script&gt;&quot;&amp;&#39;\\u{202e}\\n";
        assert_eq!(text(name), expected);
    }

    proptest! {
        #[test]
        fn no_text_ends_an_attribute_or_begins_a_tag(foreign in "(?s)[<>&\"'a\u{0}-\u{20}\u{202e}]{0,40}") {
            let safe = text(&foreign);
            prop_assert!(!safe.contains(['<', '>', '"', '\'']));
            prop_assert!(safe.chars().all(|c| c >= ' '));
            for part in safe.split('&').skip(1) {
                let entity = part.split(';').next().unwrap();
                prop_assert!(["amp", "lt", "gt", "quot", "#39"].contains(&entity));
            }
        }
    }
}
