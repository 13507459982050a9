//! Every command line of the README is typed, one after the other, as a reader would, into a shell of a home
//! with documents in it, beside a service of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::readme::commands;
use crate::run::{KEY, OBJLIB, Place, Service, seen};

/// What belongs to other tests and machines, by how it begins.
const NOT_HERE: [&str; 8] = [
    // Building objlib, its tests and benchmarks: `.ci/run`.
    "cargo ",
    ".ci/package",
    "tests/mutations/run.sh",
    // Of a machine's administrator; the units and the crontab have a test of their own.
    "crontab ",
    "cp docs/systemd/",
    "systemctl ",
    "docker ",
    "export ",
];

/// It asks before it deletes, and nobody is at a terminal.
const ASKS: &str = "objlib store delete old-handbook";

struct Home<'p> {
    place: &'p Place,
    service: &'p Service,
    bin: PathBuf,
}

impl Home<'_> {
    /// What the README calls so lies in the folder of this test.
    fn here(&self, line: &str) -> String {
        let home = self.place.path().display().to_string();
        line.replace("/mnt/nas", &format!("{home}/nas"))
            .replace("http://127.0.0.1:8765", &self.service.url)
            .replace("--port 8765", "--port 0")
    }

    fn shell(&self, line: &str) -> Command {
        let mut shell = Command::new("bash");
        shell
            .args(["-o", "pipefail", "-c", line])
            .current_dir(self.place.path())
            .env_clear()
            .env("HOME", self.place.path())
            .env("PATH", format!("{}:{}", self.bin.display(), env!("PATH")))
            .env("GOOGLE_GEMINI_BASE_URL", &self.service.url)
            .env("GEMINI_API_KEY", KEY)
            .stdin(Stdio::null());
        shell
    }

    fn has(&self, program: &str) -> bool {
        let found = self.shell(&format!("command -v {program}")).output();
        found.unwrap().status.success()
    }

    /// Until the first program behind a pipe that this machine has not.
    fn as_far_as_possible<'l>(&self, line: &'l str) -> &'l str {
        let mut end = 0;
        for part in line.split(" | ") {
            let program = part.split_whitespace().next().unwrap_or_default();
            if end > 0 && !self.has(program) {
                return line[..end].trim_end_matches(" | ");
            }
            end += part.len() + " | ".len();
        }
        line
    }
}

/// An agent's command that registers a server: this one starts it, and says nothing to it.
fn agent(bin: &Path, name: &str) {
    let script = "#!/bin/bash\nall=\"$*\"\nexec objlib mcp ${all##*objlib mcp} < /dev/null\n";
    fs::write(bin.join(name), script).unwrap();
    fs::set_permissions(bin.join(name), PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn every_command_line_of_it_does_what_it_says() {
    let place = Place::new();
    for folder in ["Documents", "nas/documents", "notes", "docs"] {
        for name in ["rules/travel.md", "letters/2026/tax.md", "drafts/idea.md"] {
            let text = format!(
                "# {name}\nTravel of {folder} is approved by the team lead, termination of a lease is not.\n\
                 What changed in 2026: nothing.\n"
            );
            place.file_in(folder, name, text);
            place.file_in(
                folder,
                &format!("{name}.meta.json"),
                r#"{"year": 2026, "dept": "law"}"#,
            );
        }
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.example.json");
    fs::copy(example, place.path().join("rules.json")).unwrap();
    place.file_in(".config/objlib", "key", KEY);
    let key = place.path().join(".config/objlib/key");
    fs::set_permissions(key, PermissionsExt::from_mode(0o600)).unwrap();
    for folder in [
        "bin",
        ".local/share/bash-completion/completions",
        ".local/share/man/man1",
    ] {
        fs::create_dir_all(place.path().join(folder)).unwrap();
    }
    let bin = place.path().join("bin");
    std::os::unix::fs::symlink(OBJLIB, bin.join("objlib")).unwrap();
    agent(&bin, "claude");
    agent(&bin, "gemini");
    // With data of its own, since one of the commands is a service too.
    let elsewhere = Place::new();
    let service = Service::start(&elsewhere, &[]);
    let home = Home {
        place: &place,
        service: &service,
        bin,
    };
    let mut typed = 0;
    let git = home.shell("git -C ~/notes init -q && git -C ~/notes add .");
    let has_git = { git }.output().unwrap().status.success();
    for line in commands() {
        if NOT_HERE.iter().any(|other| line.starts_with(other))
            || line.starts_with("git ") && !has_git
        {
            continue;
        }
        typed += 1;
        let line = home.here(line);
        if line.starts_with("objlib emulator") {
            let mut serving = home.shell(&format!("exec {line}"));
            let mut serving = serving.stdout(Stdio::piped()).spawn().unwrap();
            let mut first = String::new();
            let stdout = serving.stdout.take().unwrap();
            BufReader::new(stdout).read_line(&mut first).unwrap();
            serving.kill().unwrap();
            serving.wait().unwrap();
            assert!(first.contains("listening"), "{line}\n{first}");
            continue;
        }
        let said = home.shell(home.as_far_as_possible(&line)).output();
        let asks = line == ASKS;
        let said = seen(said.unwrap());
        assert_eq!(
            said.exit,
            Some(if asks { 2 } else { 0 }),
            "{line}\n{}\n{}",
            said.stdout,
            said.stderr
        );
    }
    assert!(typed > 60, "only {typed} command lines found");
}
