//! What can stand at the cursor, from the same description of the command line that is parsed.

use clap::{Arg, Command};

/// A word, and what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Candidate {
    pub value: String,
    pub about: String,
}

/// Names that only a database knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Library,
    Store,
}

/// All names of a kind, in the database that was typed, if one was.
pub type Names<'a> = &'a dyn Fn(Kind, Option<&str>) -> Vec<String>;

/// `before`: the words between the program and the cursor's own, `current`.
pub fn candidates(
    mut command: Command,
    before: &[String],
    current: &str,
    names: Names<'_>,
) -> Vec<Candidate> {
    // Options of every command are known to each of them from here on.
    command.build();
    let mut line = Line {
        command: &command,
        awaits: None,
        positionals: 0,
        only_values: false,
        database: None,
    };
    for word in before {
        line.read(word);
    }
    let mut found = line.at_cursor(current, names);
    let current = match line.awaits {
        // bash gives the sign of `--store=` as a word of its own.
        Some(_) => current.trim_start_matches('='),
        None => current,
    };
    found.retain(|candidate| candidate.value.starts_with(current));
    found
}

/// What the words before the cursor mean.
struct Line<'c> {
    command: &'c Command,
    /// The option whose value comes next.
    awaits: Option<&'c Arg>,
    positionals: usize,
    /// `--` was typed.
    only_values: bool,
    database: Option<String>,
}

impl<'c> Line<'c> {
    fn read(&mut self, word: &str) {
        if let Some(option) = self.awaits {
            if word != "=" {
                self.awaits = None;
                self.take(option, word);
            }
        } else if word == "--" {
            self.only_values = true;
        } else if word.starts_with('-') && !self.only_values {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            match (self.option(name), value) {
                (Some(option), Some(value)) => self.take(option, value),
                (Some(option), None) if takes_value(option) => self.awaits = Some(option),
                _ => {}
            }
        } else if let Some(command) = self.command.find_subcommand(word) {
            self.command = command;
        } else {
            self.positionals += 1;
        }
    }

    fn take(&mut self, option: &Arg, value: &str) {
        if option.get_id() == "db" {
            self.database = Some(value.to_owned());
        }
    }

    fn option(&self, name: &str) -> Option<&'c Arg> {
        let mut all = self.command.get_arguments();
        match name.strip_prefix("--") {
            Some(long) => all.find(|arg| arg.get_long() == Some(long)),
            // Of several short options in one word only the last can take a value.
            None => {
                all.find(|arg| arg.get_short().is_some() && arg.get_short() == name.chars().last())
            }
        }
    }

    fn at_cursor(&self, current: &str, names: Names<'_>) -> Vec<Candidate> {
        if let Some(option) = self.awaits {
            return self.values(option, "", names);
        }
        if current.starts_with('-') && !self.only_values {
            return match current.split_once('=') {
                Some((name, _)) => match self.option(name) {
                    Some(option) => self.values(option, &format!("{name}="), names),
                    None => Vec::new(),
                },
                None => self.options(),
            };
        }
        if self.command.has_subcommands() {
            let visible = self.command.get_subcommands().filter(|c| !c.is_hide_set());
            let candidate = |command: &Command| Candidate {
                value: command.get_name().to_owned(),
                about: first_line(command.get_about()),
            };
            return visible.map(candidate).collect();
        }
        // The last one may stand several times.
        let mut positionals = self.command.get_positionals();
        let nth = positionals.nth(self.positionals);
        let several = |arg: &&Arg| arg.get_num_args().is_some_and(|n| n.max_values() > 1);
        match nth.or_else(|| self.command.get_positionals().last().filter(several)) {
            Some(positional) => self.values(positional, "", names),
            None => Vec::new(),
        }
    }

    fn options(&self) -> Vec<Candidate> {
        let visible = self
            .command
            .get_arguments()
            .filter(|arg| !arg.is_hide_set());
        let candidate = |arg: &Arg| {
            Some(Candidate {
                value: format!("--{}", arg.get_long()?),
                about: first_line(arg.get_help()),
            })
        };
        visible.filter_map(candidate).collect()
    }

    /// None for a file, a folder or a number: the shell completes names of files then.
    fn values(&self, arg: &Arg, before: &str, names: Names<'_>) -> Vec<Candidate> {
        let candidate = |value: &str, about: String| Candidate {
            value: format!("{before}{value}"),
            about,
        };
        let kind = match arg.get_id().as_str() {
            "library" => Kind::Library,
            "store" | "stores" => Kind::Store,
            _ => {
                let possible = arg.get_possible_values().into_iter();
                let possible = possible.filter(|value| takes_value(arg) && !value.is_hide_set());
                return possible
                    .map(|value| candidate(value.get_name(), first_line(value.get_help())))
                    .collect();
            }
        };
        let known = names(kind, self.database.as_deref()).into_iter();
        known.map(|name| candidate(&name, String::new())).collect()
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn first_line(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::super::help;
    use super::*;

    fn at(before: &str, current: &str) -> Vec<String> {
        let before: Vec<String> = before.split_whitespace().map(str::to_owned).collect();
        let names = |kind: Kind, database: Option<&str>| match (kind, database) {
            (_, Some("other.db")) => vec!["elsewhere".to_owned()],
            (Kind::Library, _) => vec!["docs".to_owned(), "notes".to_owned()],
            (Kind::Store, _) => vec!["handbook".to_owned(), "my store".to_owned()],
        };
        let found = candidates(help::command(), &before, current, &names);
        found.into_iter().map(|found| found.value).collect()
    }

    #[test]
    fn commands_options_and_their_values_are_completed() {
        for (before, current, values) in [
            ("", "upl", &["upload"][..]),
            ("library", "f", &["forget"]),
            ("upload", "--acc", &["--accept-missing"]),
            ("upload", "--method=st", &["--method=staged"]),
            ("upload --method", "st", &["staged"]),
            ("upload --method =", "st", &["staged"]),
            ("upload --method", "=", &["auto", "direct", "staged"]),
            ("--color", "n", &["never"]),
            ("upload -q --color", "n", &["never"]),
            // Names of files.
            ("upload", "", &[]),
            ("upload --db", "", &[]),
            ("upload --", "--acc", &[]),
            ("no-such-command", "--sto", &[]),
        ] {
            assert_eq!(at(before, current), values, "{before} | {current}");
        }
        assert!(!at("", "").contains(&"complete".to_owned()));
    }

    #[test]
    fn names_come_from_the_database_that_was_typed() {
        for (before, current, values) in [
            ("upload --store", "h", &["handbook"][..]),
            ("upload", "--store=h", &["--store=handbook"]),
            ("search --store handbook --store", "m", &["my store"]),
            ("library show", "", &["docs", "notes"]),
            ("purge --library", "n", &["notes"]),
            ("store delete", "h", &["handbook"]),
            ("--db other.db store show", "", &["elsewhere"]),
            ("store show --db=other.db", "", &["elsewhere"]),
            // The new name is nobody's yet.
            ("library rename docs", "", &[]),
        ] {
            assert_eq!(at(before, current), values, "{before} | {current}");
        }
    }
}
