//! `objlib man`: pages for `man`, made from the command line's own description.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use clap::{Arg, Command};

use super::{environment, examples};
use crate::cli::terminal::stdout::say;
use crate::error::{Error, Kind};

/// The exit codes of the contract.
const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "everything asked for is done"),
    (
        "1",
        "stopped by an error: database, disk, network set-up, storage full",
    ),
    ("2", "wrong usage"),
    (
        "3",
        "done, but some files failed for good or could not be read; nothing found; a store that differs",
    ),
    ("4", "stopped with files still pending: run again"),
    ("5", "another objlib holds the lock"),
    ("6", "the key was refused, or there is none"),
    (
        "130, 143",
        "interrupted by SIGINT or SIGTERM; run again to continue",
    ),
];

/// Without a folder the main page goes to stdout.
///
/// # Errors
/// The folder cannot be made or written.
pub fn run(folder: Option<&Path>) -> Result<(), Error> {
    let mut command = super::command();
    command.build();
    let Some(folder) = folder else {
        return say(&page(&command, "objlib"));
    };
    let cannot = |path: &Path, e: std::io::Error| {
        let why = match e.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                "the pages go into a folder, and this is a file".to_owned()
            }
            _ => e.to_string(),
        };
        let remedy = "name a folder that can be written";
        Error::new(Kind::Input, path.display().to_string(), why, remedy)
    };
    fs::create_dir_all(folder).map_err(|e| cannot(folder, e))?;
    for (name, page) in pages(&command, "objlib") {
        let path = folder.join(name + ".1");
        fs::write(&path, page).map_err(|e| cannot(&path, e))?;
    }
    Ok(())
}

/// The page of a command and those below it, by name.
fn pages(command: &Command, name: &str) -> Vec<(String, String)> {
    let mut all = vec![(name.to_owned(), page(command, name))];
    for inner in visible(command) {
        all.extend(pages(inner, &format!("{name}-{}", inner.get_name())));
    }
    all
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    let all = command.get_subcommands();
    all.filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
}

fn page(command: &Command, name: &str) -> String {
    let words = name.replace('-', " ");
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let title = name.to_ascii_uppercase();
    let mut page = format!(
        ".TH \"{title}\" 1 \"\" \"objlib {}\" \"objlib\"\n.SH NAME\n{} \\- {}\n",
        env!("CARGO_PKG_VERSION"),
        escaped(name),
        escaped(&about),
    );
    let usage = command.clone().render_usage().to_string();
    section(&mut page, "SYNOPSIS");
    page += &escaped(usage.trim_start_matches("Usage:").trim());
    page.push('\n');
    let inner: Vec<&Command> = visible(command).collect();
    if !inner.is_empty() {
        section(&mut page, "COMMANDS");
        for inner in inner {
            let about = inner
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            let name = format!(
                "\\fB{}\\-{}\\fR(1)",
                escaped(name),
                escaped(inner.get_name())
            );
            item(&mut page, &name, &about);
        }
    }
    options(&mut page, command, name == "objlib");
    let mut examples = examples::of(words.trim_start_matches("objlib").trim()).peekable();
    if examples.peek().is_some() {
        section(&mut page, "EXAMPLES");
        for (comment, line) in examples {
            let _ = writeln!(
                page,
                ".PP\n{}:\n.PP\n.nf\n.RS 4\n{}\n.RE\n.fi",
                escaped(comment),
                escaped(line)
            );
        }
    }
    if name == "objlib" {
        section(&mut page, "EXIT STATUS");
        for (code, meaning) in EXIT_STATUS {
            item(&mut page, &format!("\\fB{code}\\fR"), meaning);
        }
    } else {
        section(&mut page, "SEE ALSO");
        page += "\\fBobjlib\\fR(1), which has the options of every command and the exit codes\n";
    }
    page
}

fn section(page: &mut String, title: &str) {
    let _ = writeln!(page, ".SH {title}");
}

fn item(page: &mut String, name: &str, text: &str) {
    let _ = writeln!(page, ".TP\n{name}\n{}", escaped(text));
}

/// By heading, as in `--help`. The options of every command are on the main page only.
fn options(page: &mut String, command: &Command, is_main: bool) {
    let all = command.get_arguments().filter(|option| {
        let is_help = ["help", "version"].contains(&option.get_id().as_str());
        !option.is_hide_set() && !is_help && (is_main || !option.is_global_set())
    });
    let mut by_heading: Vec<(String, Vec<&Arg>)> = Vec::new();
    for option in all {
        let own = option.get_help_heading().map(str::to_ascii_uppercase);
        let heading = match (option.is_positional(), own) {
            (true, _) => "ARGUMENTS".to_owned(),
            (false, Some(heading)) => heading,
            (false, None) => "OPTIONS".to_owned(),
        };
        match by_heading.iter_mut().find(|(known, _)| *known == heading) {
            Some((_, options)) => options.push(option),
            None => by_heading.push((heading, vec![option])),
        }
    }
    for (heading, options) in by_heading {
        section(page, &format!("\"{}\"", escaped(&heading)));
        for option in options {
            let mut text = explained(option);
            if let Some(variable) = environment::variable(command.get_name(), option) {
                let _ = write!(text, " [env: {variable}]");
            }
            item(page, &spelled(option), &text);
        }
    }
}

/// `-q`, `--quiet`; `--db PATH`.
fn spelled(option: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(option.get_short().map(|c| format!("\\fB\\-{c}\\fR")));
    names.extend(
        option
            .get_long()
            .map(|long| format!("\\fB{}\\fR", escaped(&format!("--{long}")))),
    );
    let values = option.get_value_names().unwrap_or_default();
    let values = values
        .iter()
        .map(|name| format!("\\fI{}\\fR", escaped(name)));
    let mut parts = Vec::from([names.join(", ")]);
    if option.get_action().takes_values() {
        parts.extend(values);
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

fn explained(option: &Arg) -> String {
    let mut text = option
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    if !option.get_action().takes_values() {
        return text;
    }
    let possible = option.get_possible_values();
    let names: Vec<&str> = possible
        .iter()
        .filter(|v| !v.is_hide_set())
        .map(|v| v.get_name())
        .collect();
    if !names.is_empty() {
        let _ = write!(text, " [possible values: {}]", names.join(", "));
    }
    let defaults: Vec<_> = option
        .get_default_values()
        .iter()
        .map(|v| v.to_string_lossy())
        .collect();
    if !defaults.is_empty() {
        let _ = write!(text, " [default: {}]", defaults.join(" "));
    }
    text
}

/// As roff shows it: a hyphen that can be copied, a backslash, no request at the start of a line, and other
/// characters than ASCII by their numbers, since old programs read bytes.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for line in text.lines() {
        escaped += match escaped.is_empty() {
            true => "",
            false => "\n",
        };
        if line.starts_with(['.', '\'']) {
            escaped += "\\&";
        }
        for c in line.chars() {
            let _ = match c {
                '\\' => write!(escaped, "\\e"),
                '-' => write!(escaped, "\\-"),
                c if c.is_ascii() => write!(escaped, "{c}"),
                c => write!(escaped, "\\[u{:04X}]", c as u32),
            };
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roff_shows_what_was_meant() {
        assert_eq!(escaped(".a\n--b… \\"), "\\&.a\n\\-\\-b\\[u2026] \\e");
    }

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let mut command = super::super::command();
        command.build();
        let pages = pages(&command, "objlib");
        let page = |name: &str| &pages.iter().find(|(page, _)| page == name).unwrap().1;
        let upload = page("objlib-upload");
        assert!(
            upload.contains("\n.TP\n\\fB\\-\\-store\\fR \\fINAME\\fR\n"),
            "{upload}"
        );
        assert!(
            upload.contains("[env: OBJLIB_STORE]") && !upload.contains("OBJLIB_DB"),
            "{upload}"
        );
        assert!(page("objlib").contains("\\fBobjlib\\-upload\\fR(1)"));
        assert!(page("objlib-library-show").contains(".SH EXAMPLES"));
    }
}
