//! What `objlib --version` says of this build: commit, its date, features.
//!
//! Promises: the same sources give the same text, whatever the day and the machine; a tarball without git
//! builds; a debug build asks nobody, so that a commit does not make everything be compiled again.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = match is_release {
        true => commit()
            .or_else(packaged)
            .unwrap_or_else(|| "commit unknown".to_owned()),
        false => "debug build".to_owned(),
    };
    let mut parts = vec![commit];
    for feature in ["emulator", "proof"] {
        if std::env::var_os(format!("CARGO_FEATURE_{}", feature.to_ascii_uppercase())).is_some() {
            parts.push(feature.to_owned());
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    println!(
        "cargo::rustc-env=OBJLIB_LONG_VERSION={version} ({})",
        parts.join(", ")
    );
}

/// `4f932f1 2026-11-26`, if this folder is the top of a working tree: sources that lie in a tree of something
/// else have no commit of their own.
fn commit() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    // A commit, or another branch, changes one of these; cargo runs this again for ever for one that is not
    // there.
    let branch = git(&["symbolic-ref", "-q", "HEAD"]).unwrap_or_default();
    for name in ["HEAD", "packed-refs", "logs/HEAD", &branch] {
        let path = git(&["rev-parse", "--git-path", name]).filter(|_| !name.is_empty());
        if let Some(path) = path.filter(|path| Path::new(path).is_file()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["log", "-1", "--format=%h %cs", "--abbrev=7"])
}

/// The commit that `cargo package` has put into the sources.
fn packaged() -> Option<String> {
    let info = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let hash = info.split("\"sha1\": \"").nth(1)?;
    hash.get(..7).map(str::to_owned)
}

fn git(args: &[&str]) -> Option<String> {
    let said = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    said.status
        .success()
        .then(|| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}
