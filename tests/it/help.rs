//! Help, man pages, completions and variables: what they say works.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use objlib::cli::help::examples;

use crate::run::{OBJLIB, Place, RunToEnd};

/// In their order, since one makes what the next one needs; the service is the embedded one.
#[test]
fn every_example_runs() {
    let place = Place::new();
    place
        .files(5)
        .file("note.md", "The notice period is a month.");
    let mut ran = 0;
    for (path, _, line) in examples::ALL {
        let words = examples::words(line);
        // It runs until it is stopped.
        if ["emulator", "mcp"].contains(path) {
            continue;
        }
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let seen = place.objlib(&args).env("OBJLIB_EMULATOR", "1").seen();
        assert!(matches!(seen.exit, Some(0 | 3)), "{line}\n{}", seen.stderr);
        ran += 1;
    }
    assert!(ran > 20, "{ran}");
}

#[test]
fn without_a_command_it_is_help_and_wrong_usage() {
    let seen = Place::new().objlib(&[]).seen().exit(2);
    assert!(seen.stderr.contains("Filling a store:"), "{}", seen.stderr);
}

#[test]
fn colour_is_for_terminals_or_for_who_asks() {
    let place = Place::new();
    let wrong = |args: &[&str]| place.objlib(args).seen().exit(2).stderr;
    assert!(!wrong(&["uplod"]).contains('\u{1b}'));
    assert!(wrong(&["--color", "always", "uplod"]).starts_with("\u{1b}[31m"));
    let help = |args: &[&str]| place.objlib(args).seen().exit(0).stdout;
    assert!(!help(&["--help"]).contains('\u{1b}'));
    assert!(help(&["--help", "--color=always"]).contains('\u{1b}'));
}

#[test]
fn a_variable_sets_what_was_not_typed() {
    let place = Place::new();
    place.files(2);
    let upload = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = place.objlib(&["upload", "docs", "--json", "--dry-run"]);
        command.args(args).envs(variables.iter().copied()).seen()
    };
    let emulator = ("OBJLIB_EMULATOR", "yes");
    let plan = |args: &[&str], variables: &[(&str, &str)]| {
        let seen = upload(args, variables).exit(0);
        let events = seen.events();
        let plan = events.iter().find(|event| event["event"] == "plan");
        plan.expect("a plan").clone()
    };
    assert_eq!(
        plan(&[], &[emulator, ("OBJLIB_STORE", "named")])["store"],
        "named"
    );
    let typed = plan(
        &["--store", "typed"],
        &[emulator, ("OBJLIB_STORE", "named")],
    );
    assert_eq!(typed["store"], "typed");
    // An empty one is none.
    assert_eq!(
        plan(&[], &[emulator, ("OBJLIB_STORE", "")])["store"],
        "objlib"
    );
    // What was typed wins over a variable that contradicts it.
    upload(&["--tier", "free"], &[emulator, ("OBJLIB_RPM", "7")]).exit(0);
    for (variable, value) in [("OBJLIB_RPM", "fast"), ("OBJLIB_QUIET", "maybe")] {
        let seen = upload(&[], &[emulator, (variable, value)]).exit(2);
        for words in [variable, value, "objlib upload --help"] {
            assert!(seen.stderr.contains(words), "{words}: {}", seen.stderr);
        }
    }
}

/// Each page, through the program that shows it.
#[test]
fn man_pages_are_good_roff() {
    let place = Place::new();
    place.objlib(&["man", "pages"]).seen().exit(0);
    let pages: Vec<PathBuf> = fs::read_dir(place.path().join("pages"))
        .unwrap()
        .map(|page| page.unwrap().path())
        .collect();
    assert!(pages.len() > 15, "{pages:?}");
    for page in pages {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-Tutf8", "-ww", "-z"]).arg(&page);
        let Ok(said) = groff.output() else {
            return eprintln!("no groff: skipped");
        };
        let warnings = String::from_utf8_lossy(&said.stderr);
        assert_eq!(warnings, "", "{}", page.display());
    }
}

/// A place whose database knows a library and a store, with `objlib` in a folder of its own.
fn known() -> Place {
    let place = Place::new();
    place.files(1);
    let upload = [
        "upload",
        "docs",
        "--emulator",
        "--store",
        "my handbook",
        "-q",
    ];
    place.objlib(&upload).seen().exit(0);
    fs::create_dir(place.path().join("bin")).unwrap();
    std::os::unix::fs::symlink(OBJLIB, place.path().join("bin/objlib")).unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.objlib(&["completions", shell]).seen().exit(0).stdout;
        fs::write(place.path().join(shell), script).unwrap();
    }
    place
}

/// What a shell says, if it is there.
fn said(place: &Place, shell: &str, args: &[&str]) -> Option<String> {
    let mut command = place.objlib(&[]);
    let variables: Vec<_> = command
        .get_envs()
        .filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned())))
        .collect();
    let path = format!(
        "{}:{}",
        place.path().join("bin").display(),
        std::env::var("PATH").unwrap()
    );
    command = Command::new(shell);
    command
        .args(args)
        .current_dir(place.path())
        .envs(variables)
        .env("PATH", path);
    let Ok(output) = command.output() else {
        eprintln!("no {shell}: skipped");
        return None;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{shell}: {errors}"
    );
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn bash_completes_commands_options_and_names() {
    let place = known();
    let ask = |words: &str| {
        let script = format!(
            "source ./bash; COMP_WORDS=(objlib {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _objlib objlib; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        said(&place, "bash", &["--norc", "-c", &script])
    };
    for (words, found) in [
        ("upl", "upload"),
        ("upload --reh", "--rehash"),
        ("upload --method = st", "staged"),
        ("upload --store my", "my\\ handbook"),
        ("library show ''", "docs"),
        ("library show --db nowhere.db ''", ""),
    ] {
        let Some(said) = ask(words) else { return };
        assert_eq!(said.trim(), found, "{words}");
    }
}

#[test]
fn other_shells_take_the_scripts() {
    let place = known();
    said(&place, "zsh", &["-n", "zsh"]);
    // With the function that shows what was found replaced by one that prints it.
    let script = "autoload -Uz compinit; compinit -D -u; source ./zsh; _describe() { print -l -- $found }; \
                  words=(objlib upload --store my); CURRENT=4; _objlib";
    if let Some(said) = said(&place, "zsh", &["-f", "-c", script]) {
        assert_eq!(said, "my handbook:\n");
    }
    // Its editor is there in a terminal only.
    let script = fs::read_to_string(place.path().join("elvish")).unwrap();
    let script = script
        .replace("edit:completion:arg-completer[objlib]", "completer")
        .replace("edit:complete-filename", "filename")
        .replace("edit:complex-candidate", "candidate");
    let script = format!(
        "var completer = $nil; fn filename {{|@w| echo files }}; fn candidate {{|v &display=''| echo $v }}\n\
         {script}\n$completer objlib upload --store my\n$completer objlib upload x"
    );
    if let Some(said) = said(&place, "elvish", &["-norc", "-c", &script]) {
        assert_eq!(said, "my handbook\nfiles\n");
    }
    for (line, found) in [
        (
            "objlib upl",
            "upload\tUpload what is pending; with DIR, scan it first\n",
        ),
        ("objlib upload --store my", "my handbook\t\n"),
        ("objlib library show ", "docs\t\n"),
    ] {
        let script = format!("source ./fish; complete -C '{line}'");
        if let Some(said) = said(&place, "fish", &["--no-config", "-c", &script]) {
            assert_eq!(
                said.replace("\t\n", "\n"),
                found.replace("\t\n", "\n"),
                "{line}"
            );
        }
    }
}

#[test]
fn the_version_says_which_build_it_is() {
    let place = Place::new();
    let short = place.objlib(&["-V"]).seen().exit(0).stdout;
    assert_eq!(short, concat!("objlib ", env!("CARGO_PKG_VERSION"), "\n"));
    let long = place.objlib(&["--version"]).seen().exit(0).stdout;
    assert!(
        long.starts_with(short.trim()) && long.contains("emulator"),
        "{long}"
    );
}

/// Options of a store under its heading, those of a scan under theirs, and none under another's.
#[test]
fn options_stand_under_their_headings() {
    let place = Place::new();
    for (command, option, heading) in [
        ("upload", "--store", "Where to:"),
        ("upload", "--rehash", "What is scanned:"),
        ("upload", "--rpm", "How fast:"),
        ("upload", "--grace", "Options:"),
        ("verify", "--repair", "Options:"),
        ("purge", "--yes", "Options:"),
        ("doctor", "--offline", "Options:"),
        ("search", "--store", "Where to:"),
    ] {
        let help = place.objlib(&[command, "--help"]).seen().exit(0).stdout;
        let before = help.split(&format!("\n      {option}")).next().unwrap();
        let last = before
            .lines()
            .rev()
            .find(|l| l.ends_with(':') && !l.starts_with(' '));
        assert_eq!(last, Some(heading), "{command} {option}");
    }
}

#[test]
fn pages_that_cannot_go_where_they_should_say_why() {
    let place = Place::new();
    place.file("a.md", "words");
    for path in ["docs/a.md", "docs/a.md/pages"] {
        let seen = place.objlib(&["man", path]).seen().exit(1);
        let said = format!("error: {path}: the pages go into a folder, and this is a file");
        assert!(seen.stderr.starts_with(&said), "{}", seen.stderr);
    }
}
