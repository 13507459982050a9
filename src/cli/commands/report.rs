//! `objlib report`, and the page that `upload --report` leaves.
//!
//! Promises: a page is written whole, or the file that was there before stays as it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::app;
use crate::cli::terminal::stdout::say;
use crate::cli::{args, settings};
use crate::error::{Error, Kind};
use crate::report::Style;
use crate::report::event::ndjson::timed;
use crate::text::one_line;

pub fn run(args: &args::Report, database: &Path, style: Style) -> Result<u8, Error> {
    let to_stdout = args.html.as_os_str() == "-";
    if to_stdout && style.json {
        return Err(Error::new(
            Kind::Usage,
            "--html -",
            "with --json, stdout has no room for a page",
            "name a file, or leave --json out",
        ));
    }
    let report = app::report::report(database, args.run, &settings::waits())?;
    let page = report.page();
    if to_stdout {
        return say(&page).map(|()| 0);
    }
    replace(&args.html, page.as_bytes())?;
    let (run, outcome) = (report.run.run, report.run.outcome.as_str());
    let path = args.html.display().to_string();
    let line = match (style.json, style.quiet) {
        (true, _) => {
            timed(json!({"event": "report", "run": run, "outcome": outcome, "path": path}))
        }
        (false, true) => return Ok(0),
        (false, false) => one_line(&format!("run {run} ({outcome}): written to {path}")),
    };
    say(&format!("{line}\n")).map(|()| 0)
}

/// Writes the page of a run that has just ended.
pub fn write(database: &Path, run: i64, path: &Path) -> Result<(), Error> {
    let report = app::report::report(database, Some(run), &settings::waits())?;
    replace(path, report.page().as_bytes())
}

/// Whether a page can be written there, as far as can be told before there is one.
pub fn check(path: &Path) -> Result<(), Error> {
    if path.as_os_str() == "-" {
        return Err(Error::new(
            Kind::Usage,
            "--report -",
            "stdout has what the run itself says",
            "name a file",
        ));
    }
    let place = Destination::of(path).map_err(|e| unwritable(path, &e))?;
    if let Destination::File { beside, .. } = place {
        let tried = File::create_new(&beside).and_then(|_| fs::remove_file(&beside));
        tried.map_err(|e| unwritable(path, &e))?;
    }
    Ok(())
}

enum Destination {
    /// The file that is to be, and one beside it that can take its place in one step.
    File { target: PathBuf, beside: PathBuf },
    /// A pipe, or a device: it can only be written to.
    Stream,
}

impl Destination {
    /// A symlink stays, and what it leads to is replaced.
    fn of(path: &Path) -> io::Result<Destination> {
        let is_link = path
            .symlink_metadata()
            .is_ok_and(|found| found.is_symlink());
        let target = match is_link {
            true => path.canonicalize()?,
            false => path.to_owned(),
        };
        match target.metadata() {
            Ok(found) if found.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            Ok(found) if !found.is_file() => Ok(Destination::Stream),
            Ok(_) | Err(_) => {
                let name = format!(".objlib-{:016x}.tmp", fastrand::u64(..));
                let beside = target.with_file_name(name);
                Ok(Destination::File { target, beside })
            }
        }
    }
}

fn replace(path: &Path, page: &[u8]) -> Result<(), Error> {
    let write = || match Destination::of(path)? {
        Destination::Stream => OpenOptions::new().write(true).open(path)?.write_all(page),
        Destination::File { target, beside } => {
            let done = whole(&beside, page, &target);
            if done.is_err() {
                // It may not even be there.
                let _ = fs::remove_file(&beside);
            }
            done
        }
    };
    write().map_err(|e| unwritable(path, &e))
}

/// Synced before it takes the place of what was there: after a power cut there is the one or the other.
fn whole(beside: &Path, page: &[u8], target: &Path) -> io::Result<()> {
    let mut file = File::create_new(beside)?;
    if let Ok(before) = target.metadata() {
        file.set_permissions(before.permissions())?;
    }
    file.write_all(page)?;
    file.sync_all()?;
    fs::rename(beside, target)
}

fn unwritable(path: &Path, e: &io::Error) -> Error {
    Error::new(
        Kind::System,
        path.display().to_string(),
        format!("the page cannot be written: {e}"),
        "name another file, in a folder that you may write to",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_page_replaces_a_file_and_leaves_links_and_modes_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("page.html"), "old").unwrap();
        fs::set_permissions(at("page.html"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("page.html", at("link.html")).unwrap();
        replace(&at("link.html"), b"new").unwrap();
        assert_eq!(fs::read(at("page.html")).unwrap(), b"new");
        assert_eq!(
            fs::metadata(at("page.html")).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(at("link.html").symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_cannot_be_written_is_said_in_one_line_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        symlink("nowhere/page.html", at("dangling")).unwrap();
        for path in [dir.path().to_owned(), at("none/page.html"), at("dangling")] {
            for done in [check(&path), replace(&path, b"page")] {
                let error = done.unwrap_err();
                assert_eq!(error.kind.exit_code(), 1, "{error}");
                assert!(!error.to_string().contains('\n'));
            }
        }
        assert!(check(Path::new("-")).is_err());
        assert!(check(&at("page.html")).is_ok());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_device_is_written_to() {
        assert!(check(Path::new("/dev/null")).is_ok());
        assert!(replace(Path::new("/dev/null"), b"page").is_ok());
    }
}
