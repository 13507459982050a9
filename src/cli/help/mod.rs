//! The command line with all that explains it: commands by purpose, examples, variables of the environment.
//!
//! Owns no options: those are in `args`. Promises: `--help`, the man pages and the completions are made from
//! this one description, which is also the one that is parsed.

use std::ffi::OsStr;
use std::fmt::Write;

use clap::{Command, CommandFactory};

use super::args::Cli;

pub mod environment;
pub mod examples;
pub mod man;

/// Commands by what somebody wants. A command that is not there yet, or not built in, is passed over.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Filling a store", &["scan", "upload"]),
    ("Asking", &["search", "mcp"]),
    (
        "Looking after it",
        &[
            "status", "verify", "purge", "library", "store", "report", "doctor",
        ],
    ),
    (
        "For shells, scripts and tests",
        &["completions", "man", "emulator"],
    ),
];

/// As clap's own headings look; it takes the escapes out where there is no terminal.
fn heading(text: &str) -> String {
    format!("\u{1b}[1;4m{text}:\u{1b}[0m\n")
}

/// The whole command line, without the environment.
pub fn command() -> Command {
    let command = Cli::command();
    let groups = grouped(&command);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}{}{{options}}{{after-help}}",
        heading("Options")
    );
    with_examples(command.help_template(template), "")
}

fn grouped(command: &Command) -> String {
    let mut text = String::new();
    for (purpose, names) in GROUPS {
        text += &heading(purpose);
        for command in names
            .iter()
            .filter_map(|name| command.find_subcommand(name))
        {
            let about = command.get_about().map(ToString::to_string);
            let name = command.get_name();
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  \u{1b}[1m{name:<12}\u{1b}[0m {}",
                about.unwrap_or_default()
            );
        }
        text.push('\n');
    }
    text
}

/// `path`: the words in front of this command.
fn with_examples(command: Command, path: &str) -> Command {
    let text = examples_of(path);
    let command = match text.is_empty() {
        true => command,
        false => command.after_long_help(heading("Examples") + text.trim_end()),
    };
    command.mut_subcommands(|inner| {
        let path = format!("{path} {}", inner.get_name());
        with_examples(inner, path.trim_start())
    })
}

/// Each with its comment, as they stand in help.
fn examples_of(path: &str) -> String {
    let mut text = String::new();
    for (comment, line) in examples::of(path) {
        let _ = write!(text, "  # {comment}\n  {line}\n\n");
    }
    text
}

/// Whether help with all details is asked for, which then names the variables, too.
pub fn is_long_help(typed: &[impl AsRef<OsStr>]) -> bool {
    let asks = |word: &OsStr| word == "--help" || word == "help" || word == "man";
    typed.iter().any(|word| asks(word.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<'c>(command: &'c Command, path: &str, found: &mut Vec<(String, &'c Command)>) {
        for inner in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            let path = format!("{path} {}", inner.get_name()).trim().to_owned();
            all(inner, &path, found);
            found.push((path, inner));
        }
    }

    #[test]
    fn every_command_has_its_group_and_an_example() {
        let command = command();
        let mut commands = Vec::new();
        all(&command, "", &mut commands);
        for (path, inner) in commands {
            let named = |(_, names): &(&str, &[&str])| names.contains(&&*path);
            assert!(
                path.contains(' ') || GROUPS.iter().any(named),
                "{path} has no group"
            );
            let has_example = inner.has_subcommands() || examples::of(&path).next().is_some();
            assert!(has_example, "{path} has no example");
        }
    }

    #[test]
    fn every_example_is_a_command_line() {
        for (path, _, line) in examples::ALL {
            let words = examples::words(line);
            if let Err(e) = command().try_get_matches_from(&words) {
                panic!("{line}\n{e}");
            }
            let wanted = format!("objlib {path}");
            assert!(
                line.contains(wanted.trim_end()),
                "`{line}` is no example of {path}"
            );
        }
    }

    #[test]
    fn short_help_fits_on_a_screen_and_long_help_has_examples() {
        let upload = |long: bool| {
            let mut command = command();
            let upload = command.find_subcommand_mut("upload").unwrap();
            match long {
                true => upload.render_long_help().to_string(),
                false => upload.render_help().to_string(),
            }
        };
        assert!(upload(true).contains("Examples:"));
        assert!(!upload(false).contains("Examples:"));
        assert!(upload(false).lines().count() < upload(true).lines().count() / 2);
    }
}
