//! The README is true: its commands are commands, its flags are flags, its first command works.

use std::collections::BTreeSet;

use clap::{CommandFactory, Parser};
use objlib::cli::args::Cli;

use crate::run::{Place, RunToEnd};

const README: &str = include_str!("../../README.md");

/// The lines behind `$` in the console blocks.
fn commands() -> Vec<&'static str> {
    let mut lines = Vec::new();
    for block in README.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        lines.extend(block.lines().filter_map(|line| line.strip_prefix("$ ")));
    }
    lines
}

/// As much of a shell as the README needs: comments, quotes, variables in front, pipes.
fn words(line: &str) -> Vec<Vec<String>> {
    let mut parts = vec![Vec::new()];
    let mut word = String::new();
    let mut quoted = false;
    for c in line.chars().chain([' ']) {
        match c {
            '\'' => quoted = !quoted,
            '#' if !quoted && word.is_empty() => break,
            ' ' if !quoted => {
                let done = std::mem::take(&mut word);
                match done.as_str() {
                    "" => {}
                    "|" => parts.push(Vec::new()),
                    _ => parts.last_mut().unwrap().push(done),
                }
            }
            c => word.push(c),
        }
    }
    for part in &mut parts {
        let set = part
            .iter()
            .take_while(|w| w.contains('=') && !w.starts_with('-'))
            .count();
        part.drain(..set);
    }
    parts
}

#[test]
fn every_objlib_command_in_it_is_one() {
    let mut seen = 0;
    for line in commands() {
        for mut words in words(line) {
            let cargo = words.starts_with(&["cargo".to_owned(), "run".to_owned()]);
            if cargo {
                let args = words.iter().position(|w| w == "--").unwrap();
                words.drain(..args);
            }
            if cargo || words.first().is_some_and(|w| w == "objlib") {
                seen += 1;
                if let Err(e) = Cli::try_parse_from(&words) {
                    panic!("{line}\n{e}");
                }
            }
        }
    }
    assert!(seen >= 20, "only {seen} commands found");
}

#[test]
fn every_flag_and_command_is_in_it_and_the_other_way_round() {
    let mut flags = BTreeSet::new();
    let cli = Cli::command();
    for command in cli.get_subcommands() {
        assert!(README.contains(&format!("### `objlib {}", command.get_name())));
        // The faults of the emulator are in its own help.
        let faults = |a: &clap::Arg| {
            a.get_help_heading()
                .is_some_and(|h| h.starts_with("Faults"))
        };
        let named = command.get_arguments().filter(|a| !faults(a));
        flags.extend(named.filter_map(|a| a.get_long().map(str::to_owned)));
    }
    flags.extend(
        cli.get_arguments()
            .filter_map(|a| a.get_long().map(str::to_owned)),
    );
    for flag in &flags {
        assert!(
            README.contains(&format!("--{flag}")),
            "--{flag} is not in the README"
        );
    }
    let nested = cli.get_subcommands().flat_map(|c| c.get_subcommands());
    let all: Vec<String> = cli
        .get_subcommands()
        .chain(nested)
        .flat_map(|c| {
            c.get_arguments()
                .filter_map(|a| a.get_long().map(str::to_owned))
        })
        .chain(flags)
        .chain(["help", "release", "no-default-features", "path", "locked"].map(str::to_owned))
        // Of the proof programs, and of cargo that runs them.
        .chain(["features", "test", "long", "bench"].map(str::to_owned))
        .collect();
    for mention in README.split("--").skip(1) {
        let end =
            mention.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-');
        let flag = &mention[..end.unwrap_or(mention.len())];
        let known = flag.is_empty() || flag.starts_with('-') || all.iter().any(|f| f == flag);
        assert!(known, "--{flag} is in the README, and no flag");
    }
}

#[test]
fn the_first_command_does_the_main_job() {
    let first = commands()[0];
    let args = first.split(" -- ").nth(1).unwrap();
    let args: Vec<&str> = args.split(' ').collect();
    let place = Place::new();
    let project = env!("CARGO_MANIFEST_DIR");
    let run = || {
        place
            .objlib(&args)
            .current_dir(project)
            .seen()
            .exit(0)
            .stdout
    };
    assert!(run().contains("indexed"));
    assert!(run().contains("nothing to do"));
    assert_eq!(commands()[1], "cargo test --locked");
}

#[test]
fn every_dependency_has_its_line() {
    let manifest = include_str!("../../Cargo.toml");
    let section = manifest.split("[dependencies]\n").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    for line in section.lines().filter(|l| !l.is_empty()) {
        let name = line.split(' ').next().unwrap();
        assert!(README.contains(&format!("`{name}`")), "{name} has no line");
    }
}

#[test]
fn every_proof_program_has_its_line() {
    let main = include_str!("../proof/main.rs");
    let list = main.split("const PROGRAMS").nth(1).unwrap();
    let list = list.split("];").next().unwrap();
    let names: Vec<&str> = list
        .split("(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        assert!(
            README.contains(&format!("| `{name}` |")),
            "{name} has no line"
        );
    }
}
