//! What is wrong, on stderr: `error:` and `hint:`, a line each, or `warning:`.
//!
//! Promises: a mistake on the command line is said in the same two lines as any other error.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};

use clap::ColorChoice;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::stdout;
use crate::cli::help::{self, environment};
use crate::error::Error;
use crate::report::message;
use crate::text::one_line;

pub fn warn(text: &str) {
    say(&message::warning(text, is_colored()));
}

/// The exit code of the error that it says.
pub fn complain(error: &Error, verbose: bool) -> u8 {
    say(&message::error(error, is_colored(), verbose));
    error.kind.exit_code()
}

/// Somebody may have closed stderr, or its disk may be full: that costs the text only.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Errors also come before the command line is understood, so that it is looked at as it was typed.
fn is_colored() -> bool {
    let typed: Vec<OsString> = std::env::args_os().collect();
    match color_of_help(&typed) {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let is_set = |name: &str| environment::set(name).is_some();
            std::io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb()
        }
    }
}

/// A terminal that knows no more than lines.
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// What `--color`, or its variable, says.
pub fn color_of_help(words: &[OsString]) -> ColorChoice {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let in_one = words
        .iter()
        .rev()
        .find_map(|word| word.strip_prefix("--color="));
    let in_two = words.windows(2).rev().find(|two| two[0] == "--color");
    let typed = in_one
        .or_else(|| in_two.map(|two| &*two[1]))
        .map(OsString::from);
    match typed.or_else(|| environment::set("OBJLIB_COLOR")) {
        Some(when) if when == "always" => ColorChoice::Always,
        Some(when) if when == "never" => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// Help and version go out as they are; a mistake becomes an error like any other.
pub fn usage(e: &clap::Error, typed: &[OsString]) -> u8 {
    match e.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // stdout keeps what does not end a line.
            let printed = e.print().and_then(|()| std::io::stdout().flush());
            match stdout::written(printed) {
                Ok(_) => u8::try_from(e.exit_code()).unwrap_or(2),
                Err(error) => complain(&error, false),
            }
        }
        _ => {
            let (cause, remedy) = explained(e, typed);
            let color = is_colored();
            say(&message::mistake(&cause, &remedy, color));
            2
        }
    }
}

fn explained(e: &clap::Error, typed: &[OsString]) -> (String, String) {
    let text = e.to_string();
    let cause = text.split("\n\n").next().unwrap_or(&text);
    let cause: Vec<&str> = cause.lines().map(str::trim).collect();
    let cause = cause.join(" ");
    let mut cause = cause.strip_prefix("error: ").unwrap_or(&cause).to_owned();
    if e.kind() == ErrorKind::InvalidUtf8 {
        cause = format!("not UTF-8: {}", not_utf8(typed).join(", "));
    }
    if let Some(variable) = variable_of(e, typed) {
        cause += &format!(" (from {variable})");
    }
    let command = command_of(typed);
    let all = format!("`{command} --help` shows what can be typed");
    let hint = match suggestion(e) {
        Some(meant) => format!("did you mean `{meant}`? {all}"),
        None => all,
    };
    (one_line(&cause), hint)
}

/// The words and variables that are not, by the names of their options: a value may be a secret. clap does
/// not say which one it met.
fn not_utf8(typed: &[OsString]) -> Vec<String> {
    let words = typed.iter().enumerate().filter_map(|(at, word)| {
        if word.to_str().is_some() {
            return None;
        }
        let word = word.to_string_lossy();
        let before = typed.get(at.checked_sub(1)?)?.to_string_lossy();
        let option = [&word, &before].into_iter().find(|w| w.starts_with("--"));
        let shown = option.map_or(&*word, |option| option.split('=').next().unwrap_or(option));
        Some(format!("`{shown}`"))
    });
    let variables = std::env::vars_os().filter(|(_, value)| value.to_str().is_none());
    let own = variables.filter_map(|(name, _)| name.into_string().ok());
    words
        .chain(own.filter(|name| name.starts_with("OBJLIB_")))
        .collect()
}

/// `objlib upload`: the commands among the words.
fn command_of(typed: &[OsString]) -> String {
    let all = help::command();
    let (mut command, mut words) = (&all, "objlib".to_owned());
    for word in typed.iter().filter_map(|word| word.to_str()) {
        if let Some(inner) = command.find_subcommand(word) {
            command = inner;
            words = format!("{words} {word}");
        }
    }
    words
}

/// What clap takes the word for.
fn suggestion(e: &clap::Error) -> Option<String> {
    let kinds = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ];
    kinds.into_iter().find_map(|kind| match e.get(kind)? {
        ContextValue::String(one) => Some(one.clone()),
        ContextValue::Strings(several) => several.first().cloned(),
        _ => None,
    })
}

/// The variable that a bad value came from.
fn variable_of(e: &clap::Error, typed: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(spelled)) = e.get(ContextKind::InvalidArg) else {
        return None;
    };
    let long = spelled.strip_prefix("--")?.split([' ', '=']).next()?;
    let command = help::command();
    let mut all = command
        .get_subcommands()
        .chain([&command])
        .flat_map(|c| c.get_arguments());
    let option = all.find(|option| option.get_long() == Some(long))?;
    let variable = environment::variable("", option)?;
    let is_from_there =
        environment::set(&variable).is_some() && !environment::is_typed(typed, option);
    is_from_there.then_some(variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[&str]) -> (String, String) {
        let words = words.iter().map(OsString::from);
        let typed: Vec<OsString> = std::iter::once("objlib".into()).chain(words).collect();
        explained(&crate::cli::parse(&typed).unwrap_err(), &typed)
    }

    #[test]
    fn a_typing_mistake_is_met_with_what_was_meant() {
        for (words, meant) in [
            (
                &["uplod", "docs"][..],
                "did you mean `upload`? `objlib --help`",
            ),
            (
                &["upload", "--stroe", "x"],
                "did you mean `--store`? `objlib upload --help`",
            ),
            (
                &["upload", "--methd=direct"],
                "did you mean `--method`? `objlib upload --help`",
            ),
            (
                &["upload", "--method", "stagd"],
                "did you mean `staged`? `objlib upload --help`",
            ),
            (
                &["library", "lst"],
                "did you mean `list`? `objlib library --help`",
            ),
        ] {
            let (_, hint) = said(words);
            assert!(hint.starts_with(meant), "{words:?}: {hint}");
        }
        let (cause, hint) = said(&["scan"]);
        assert!(cause.contains("<DIR>"), "{cause}");
        assert_eq!(hint, "`objlib scan --help` shows what can be typed");
    }

    #[test]
    fn colour_is_known_before_the_line_is_understood() {
        let of = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            color_of_help(&words)
        };
        assert_eq!(of(&["x", "--color=never"]), ColorChoice::Never);
        assert_eq!(of(&["--color", "always", "x"]), ColorChoice::Always);
        assert_eq!(of(&["--color", "auto"]), ColorChoice::Auto);
    }
}
