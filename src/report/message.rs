//! What is wrong, as it is said on stderr: a line that names the thing and the cause, and one with what to do.

use console::Style;

use crate::error::Error;
use crate::text::one_line;

/// With `verbose` also what a report of it to the service needs, if it has said something.
pub fn error(error: &Error, color: bool, verbose: bool) -> String {
    let Error {
        what,
        why,
        remedy,
        details,
        ..
    } = error;
    let said = mistake(&format!("{what}: {why}"), remedy, color);
    match verbose && !details.is_empty() {
        true => format!(
            "{said}\n{} {}",
            label("service:", Style::new(), color),
            one_line(details)
        ),
        false => said,
    }
}

/// The same of what has no thing of its own: a mistake on the command line.
pub fn mistake(cause: &str, remedy: &str, color: bool) -> String {
    let error = label("error:", Style::new().red(), color);
    let hint = label("hint:", Style::new().cyan(), color);
    format!("{error} {}\n{hint} {}", one_line(cause), one_line(remedy))
}

pub fn warning(text: &str, color: bool) -> String {
    let label = label("warning:", Style::new().yellow(), color);
    format!("{label} {}", one_line(text))
}

fn label(text: &str, style: Style, color: bool) -> String {
    style.bold().force_styling(color).apply_to(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn the_cause_and_the_remedy_have_a_line_each_and_colour_only_where_it_is_seen() {
        let e = Error::new(Kind::Input, "a\nb", "why\u{1b}", "do this");
        let two = "error: a\\nb: why\\u{1b}\nhint: do this";
        assert_eq!(error(&e, false, true), two);
        let e = e.with_details("HTTP 400");
        assert_eq!(error(&e, false, false), two);
        assert_eq!(error(&e, false, true), format!("{two}\nservice: HTTP 400"));
        let coloured = error(&e, true, false);
        assert!(
            coloured.starts_with("\u{1b}[31m\u{1b}[1merror:\u{1b}[0m a"),
            "{coloured:?}"
        );
        assert_eq!(warning("x", false), "warning: x");
    }
}
