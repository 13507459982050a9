//! What of a document can be searched: its text, as far as it is read here.
//!
//! Of HTML what a browser shows; of PDF and Office files nothing, since what is in them as text is not their text.

/// Behind `application/`, or the last dot there: types whose files hold their text in a form of their own.
const UNREAD: [&str; 10] = [
    "pdf",
    "msword",
    "ms-excel",
    "presentation",
    "sheet",
    "document",
    "template",
    "x-hwp",
    "x-hwp-v5",
    "zip",
];
/// Elements whose content nobody sees.
const UNSEEN: [&str; 2] = ["script", "style"];
const ENTITIES: [(&str, &str); 6] = [
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&#39;", "'"),
    ("&nbsp;", " "),
    // Last, so that "&amp;lt;" stays "&lt;".
    ("&amp;", "&"),
];

pub fn searchable(mime: &str, text: String) -> String {
    let essence = mime.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "text/html" => shown(&text),
        essence if is_unread(essence) => String::new(),
        _ => text,
    }
}

fn is_unread(essence: &str) -> bool {
    let name = essence.strip_prefix("application/").unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    UNREAD.contains(&last) || name == "vnd.oasis.opendocument.text"
}

/// Each tag is a space, so that words of neighbouring cells stay apart.
fn shown(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        rest = match tag.strip_prefix("!--") {
            Some(comment) => behind(comment, "-->"),
            None => {
                let name = tag.split(|c: char| !c.is_ascii_alphanumeric()).next();
                let name = name.unwrap_or_default().to_ascii_lowercase();
                let inside = behind(tag, ">");
                match UNSEEN.contains(&name.as_str()) {
                    true => behind(from_end_tag(inside, &name), ">"),
                    false => inside,
                }
            }
        };
    }
    text.push_str(rest);
    ENTITIES
        .iter()
        .fold(text, |text, (entity, char)| text.replace(entity, char))
}

/// What comes after the mark; nothing if it does not come.
fn behind<'t>(text: &'t str, mark: &str) -> &'t str {
    text.split_once(mark).map_or("", |(_, rest)| rest)
}

fn from_end_tag<'t>(text: &'t str, name: &str) -> &'t str {
    let is_it = |at: &usize| {
        let tag = text.get(at + 2..at + 2 + name.len());
        tag.is_some_and(|tag| tag.eq_ignore_ascii_case(name))
    };
    let mut ends = text.match_indices("</").map(|(at, _)| at);
    ends.find(is_it).map_or("", |at| &text[at..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn html_is_what_a_browser_shows() {
        let html = "<!DOCTYPE html><title>Ferns</title><STYLE>p{}</Style><p class='a'>in&nbsp;the <b>shade</b>\
                    <!-- a > b --><script>if (a<b) {}</script>&amp;lt; walls";
        let words = searchable("Text/HTML; charset=utf-8", html.to_owned());
        let words: Vec<&str> = words.split_whitespace().collect();
        assert_eq!(words, ["Ferns", "in", "the", "shade", "&lt;", "walls"]);
    }

    #[test]
    fn of_pdf_and_office_nothing_is_text() {
        let office = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        for unread in [
            "application/pdf",
            "application/msword",
            "application/vnd.ms-excel",
            office,
        ] {
            assert_eq!(searchable(unread, "ferns".to_owned()), "", "{unread}");
        }
        for read in ["text/plain", "application/json", "application/x-sh", ""] {
            assert_eq!(
                searchable(read, "<p> ferns".to_owned()),
                "<p> ferns",
                "{read}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_shown(html in "([<>/!&;a-c-]|script|style|--|ä){0,40}") {
            let text = shown(&html);
            prop_assert!(text.len() <= html.len() + html.matches('<').count());
        }
    }
}
