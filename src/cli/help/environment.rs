//! Options that the environment can set: `--store` is `OBJLIB_STORE`, and so on by this one rule.
//!
//! Promises: what was typed wins, also over a variable that would contradict it; an empty variable is none;
//! an option that deletes, that is about one call only, or that holds a key has no variable.

use std::ffi::{OsStr, OsString};

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command};

/// Options without a variable: set for good they would do harm, or make no sense in most calls.
const TYPED_ONLY: [&str; 29] = [
    // They delete, or go on where it is refused for a reason.
    "repair",
    "yes",
    "force",
    "accept-missing",
    "recreate-store",
    // They name the object of one call, or what it is to show.
    "library",
    "explain",
    "files-from",
    "rehash",
    "dry-run",
    "failed",
    "skipped",
    "unmatched",
    "passages",
    "embedding-model",
    "report",
    "html",
    "watch",
    "offline",
    "current",
    // They are kept with a library, and refused where no folder is scanned.
    "metadata",
    "set",
    "mime",
    "max-tokens-per-chunk",
    "max-overlap-tokens",
    // They have variables that other programs know: GOOGLE_GEMINI_BASE_URL, GOOGLE_API_KEY, GEMINI_API_KEY.
    "endpoint",
    "api-key",
    "help",
    "version",
];

/// The variable of a command's option, if it has one.
pub fn variable(command: &str, option: &Arg) -> Option<String> {
    let long = option.get_long()?;
    // The emulator's options describe one experiment.
    let typed_only = TYPED_ONLY.contains(&long) || command == "emulator";
    (!typed_only).then(|| format!("OBJLIB_{}", long.replace('-', "_").to_ascii_uppercase()))
}

/// The value of a variable that is set to something.
pub fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Options that contradict each other: a variable is no match for what was typed.
const RIVALS: [[&str; 2]; 4] = [
    ["quiet", "verbose"],
    ["rpm", "tier"],
    ["endpoint", "emulator"],
    ["api-key", "api-key-file"],
];

/// Whether an option was typed: `--store x`, `--store=x`, `-q`.
pub fn is_typed(words: &[OsString], option: &Arg) -> bool {
    let long = option.get_long().unwrap_or_default();
    let mut words = words.iter().map(|word| word.to_string_lossy());
    words.any(|word| match word.strip_prefix("--") {
        Some(word) => word.split('=').next() == Some(long),
        None => {
            let short = word.strip_prefix('-').unwrap_or_default();
            option.get_short().is_some_and(|c| short.contains(c))
        }
    })
}

/// The command line that takes from the environment what was not typed. With `naming` it also says in its
/// help which variables there are.
pub fn applied(command: Command, words: &[OsString], naming: bool) -> Command {
    let name = command.get_name().to_owned();
    let typed: Vec<String> = command
        .get_arguments()
        .filter(|option| is_typed(words, option))
        .filter_map(|option| option.get_long().map(str::to_owned))
        .collect();
    let contradicts = |option: &Arg| {
        let long = option.get_long().unwrap_or_default();
        let rivals = RIVALS.iter().filter(|pair| pair.contains(&long)).flatten();
        rivals
            .filter(|rival| **rival != long)
            .any(|rival| typed.iter().any(|t| t == rival))
    };
    command
        .mut_args(|option| match variable(&name, &option) {
            Some(variable) if naming || (set(&variable).is_some() && !contradicts(&option)) => {
                from(option, variable)
            }
            _ => option,
        })
        .mut_subcommands(|inner| applied(inner, words, naming))
}

fn from(option: Arg, variable: String) -> Arg {
    // clap keeps names for as long as the process lives, and so does this one.
    let variable: &'static str = Box::leak(variable.into_boxed_str());
    let option = option.env(OsStr::new(variable)).hide_env_values(true);
    match option.get_action() {
        // 1, yes, on; 0, no, off: as people set variables.
        ArgAction::SetTrue => option.value_parser(BoolishValueParser::new()),
        _ => option,
    }
}

#[cfg(test)]
mod tests {
    use super::super::command;
    use super::*;

    fn variables(command: &Command, found: &mut Vec<String>) {
        let name = command.get_name();
        found.extend(
            command
                .get_arguments()
                .filter_map(|option| variable(name, option)),
        );
        command
            .get_subcommands()
            .for_each(|inner| variables(inner, found));
    }

    /// A new option gets a variable by itself; if it must not have one, it is named above.
    #[test]
    fn these_options_have_a_variable() {
        let mut found = Vec::new();
        variables(&command(), &mut found);
        found.sort_unstable();
        found.dedup();
        let expected = [
            "BATCH_SIZE",
            "BWLIMIT",
            "API_KEY_FILE",
            "CA_FILE",
            "COLOR",
            "CONCURRENCY",
            "DB",
            "EMULATOR",
            "EXCLUDE",
            "FILTER",
            "GRACE",
            "INCLUDE",
            "JSON",
            "LIMIT",
            "MAX_ATTEMPTS",
            "MAX_SHARE",
            "METHOD",
            "MODEL",
            "NO_PROGRESS",
            "OLDER_THAN",
            "PASSES",
            "QUIET",
            "RETRY_FAILED",
            "RPM",
            "STORE",
            "TIER",
            "TOP_K",
            "VERBOSE",
        ];
        for name in expected {
            let name = format!("OBJLIB_{name}");
            assert!(
                found.contains(&name) || name.ends_with("EMULATOR"),
                "{name}"
            );
        }
        assert!(found.len() < expected.len() + 3, "{found:?}");
    }

    #[test]
    fn every_option_that_contradicts_another_is_known_here() {
        let mut command = command();
        command.build();
        for inner in command.get_subcommands() {
            let name = inner.get_name();
            for option in inner
                .get_arguments()
                .filter(|o| variable(name, o).is_some())
            {
                for other in inner.get_arg_conflicts_with(option) {
                    let pair = [option.get_long().unwrap(), other.get_long().unwrap()];
                    let known = |rivals: &[&str; 2]| pair.iter().all(|one| rivals.contains(one));
                    assert!(RIVALS.iter().any(known), "{pair:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_typed_is_seen_in_every_spelling() {
        let command = command();
        let of = |long: &str| {
            command
                .get_arguments()
                .find(|a| a.get_long() == Some(long))
                .unwrap()
        };
        for (word, long, typed) in [
            ("--quiet", "quiet", true),
            ("-q", "quiet", true),
            ("-vq", "quiet", true),
            ("--db=x", "db", true),
            ("--db", "db", true),
            ("quiet", "quiet", false),
            ("--quick", "quiet", false),
        ] {
            assert_eq!(is_typed(&[word.into()], of(long)), typed, "{word}");
        }
    }
}
