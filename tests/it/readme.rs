//! The README is true: its commands are commands, its flags are flags, its first command works.

use std::collections::BTreeSet;

use clap::{CommandFactory, Parser};
use objlib::cli::args::Cli;

use crate::run::{KEY, OBJLIB, Place, RunToEnd, Service};

const README: &str = include_str!("../../README.md");

/// The lines behind `$` in the console blocks.
pub fn commands() -> Vec<&'static str> {
    let mut lines = Vec::new();
    for block in README.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        lines.extend(block.lines().filter_map(|line| line.strip_prefix("$ ")));
    }
    lines
}

/// As much of a shell as the README needs: comments, quotes, variables in front, pipes, a file for the output.
fn words(line: &str) -> Vec<Vec<String>> {
    let mut parts = vec![Vec::new()];
    let mut word = String::new();
    let mut quoted = false;
    for c in line.chars().chain([' ']) {
        match c {
            '\'' => quoted = !quoted,
            '#' | '>' if !quoted && word.is_empty() => break,
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
    for command in cli.get_subcommands().filter(|c| !c.is_hide_set()) {
        assert!(README.contains(&format!("### `objlib {}", command.get_name())));
        // What the emulator does besides the ordinary is in a page of its own, and its faults are in its help.
        if command.get_name() == "emulator" {
            continue;
        }
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
        // Of an agent's own command.
        .chain(["scope"].map(str::to_owned))
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

/// The commands of the unit, with its environment, in place of `/srv/documents`.
#[test]
fn the_systemd_unit_and_the_crontab_run() {
    let project = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let unit = std::fs::read_to_string(project.join("docs/systemd/objlib.service")).unwrap();
    let exec = unit
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart="));
    let mut lines: Vec<String> = exec.map(str::to_owned).collect();
    let crontab = commands_of_crontab();
    assert_eq!((lines.len(), crontab.len()), (2, 2));
    lines.extend(crontab);
    let place = Place::new();
    place.files(3);
    std::fs::write(place.path().join("key"), KEY).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(place.path().join("key"), mode).unwrap();
    let service = Service::start(&place, &[]);
    for line in &lines {
        let line = line.replace("/srv/documents", "docs");
        let line = line.replace("$FOLDERS", "docs");
        let line = line.replace("${CREDENTIALS_DIRECTORY}/key", "key");
        let line = line.replace("/etc/objlib.key", "key");
        let line = line.replace("/var/lib/objlib/library.db", "library.db");
        let args: Vec<&str> = line.split(' ').skip(1).collect();
        let mut command = place.objlib(&args);
        let seen = command.env("GOOGLE_GEMINI_BASE_URL", &service.url).seen();
        let seen = seen.exit(0);
        assert_eq!(seen.stdout, "", "{line}");
    }
    service.ledger().is_exactly(&place.docs());
    verified_by_systemd(&place, &unit);
}

/// Behind the five fields of the time.
fn commands_of_crontab() -> Vec<String> {
    let lines = README
        .lines()
        .filter(|line| line.contains("* * ") && line.contains("objlib "));
    let command = |line: &str| format!("objlib {}", line.split_once(" objlib ").unwrap().1);
    lines.map(command).collect()
}

/// Where there is no systemd, nobody can say.
fn verified_by_systemd(place: &Place, unit: &str) {
    let units = place.path().join("units");
    std::fs::create_dir(&units).unwrap();
    // It looks whether the program is there.
    let unit = unit.replace("=objlib ", &format!("={OBJLIB} "));
    std::fs::write(units.join("objlib.service"), unit).unwrap();
    let project = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let timer = project.join("docs/systemd/objlib.timer");
    std::fs::copy(timer, units.join("objlib.timer")).unwrap();
    for name in ["objlib.service", "objlib.timer"] {
        let mut verify = std::process::Command::new("systemd-analyze");
        let Ok(said) = verify.arg("verify").arg(units.join(name)).output() else {
            return;
        };
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        let of_ours = |line: &&str| line.contains("objlib");
        let said: Vec<&str> = said.lines().filter(of_ours).collect();
        assert!(said.is_empty(), "{said:#?}");
    }
}
