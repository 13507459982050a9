//! Ignore files: what `.gitignore` and `.objlibignore` leave out.
//!
//! Each folder may hold both; they rule what is below it. As in git, the last line that matches decides,
//! and a nearer file beats one further up; any `.objlibignore` beats every `.gitignore`.
//! Promises: an ignore file that cannot be understood is an error that names it and the line. To take it
//! for an empty one would send exactly the files that somebody wanted to keep back.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder, Glob};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::disk::{self, Root};
use crate::error::{Error, Kind};

const GIT: &str = ".gitignore";
const OWN: &str = ".objlibignore";
/// Real ones have a few kilobytes. What is larger was hardly written as an ignore file.
const IGNORE_FILE_BYTES_MAX: u64 = 1 << 20;

/// The ignore files of a folder that has any, linked to those further up.
#[derive(Debug)]
pub struct Rules {
    above: Option<Arc<Rules>>,
    git: Gitignore,
    own: Gitignore,
}

/// What rules a path: nothing, if no folder on its way has an ignore file.
pub type Ruled = Option<Arc<Rules>>;

/// Reads the ignore files of one folder, and gives back what rules the names in it.
pub fn enter(
    root: &Root,
    folder: BorrowedFd<'_>,
    path: &Path,
    above: &Ruled,
) -> Result<Ruled, Error> {
    let git = read(root, folder, path, GIT)?;
    let own = read(root, folder, path, OWN)?;
    if git.is_empty() && own.is_empty() {
        return Ok(above.clone());
    }
    let above = above.clone();
    Ok(Some(Arc::new(Rules { above, git, own })))
}

/// `path` is relative to the root. Asked of each name on the way down: what is below a folder that is
/// left out is never asked about.
pub fn leave_out(ruled: &Ruled, path: &Path, is_folder: bool) -> bool {
    matching(ruled, path, is_folder).is_some_and(|(_, _, glob)| !glob.is_whitelist())
}

/// The line that decides: of which file, and in which folder.
fn matching<'r>(
    ruled: &'r Ruled,
    path: &Path,
    is_folder: bool,
) -> Option<(&'static str, &'r Path, &'r Glob)> {
    let own: fn(&Rules) -> &Gitignore = |rules| &rules.own;
    nearest(ruled, OWN, own, (path, is_folder))
        .or_else(|| nearest(ruled, GIT, |rules| &rules.git, (path, is_folder)))
}

/// What the nearest file says that says anything.
fn nearest<'r>(
    ruled: &'r Ruled,
    name: &'static str,
    file: fn(&Rules) -> &Gitignore,
    (path, is_folder): (&Path, bool),
) -> Option<(&'static str, &'r Path, &'r Glob)> {
    let mut next = ruled.as_deref();
    while let Some(rules) = next {
        let file = file(rules);
        match file.matched(path, is_folder) {
            Match::Ignore(glob) | Match::Whitelist(glob) => return Some((name, file.path(), glob)),
            Match::None => next = rules.above.as_deref(),
        }
    }
    None
}

/// Whether a walk of the root would not come to this path, for hidden names, ignore files or a symlink on
/// the way. `leave_out_folder` is asked about each folder besides.
pub fn keep_from(
    root: &Root,
    path: &Path,
    is_folder: bool,
    leave_out_folder: &dyn Fn(&Path) -> bool,
) -> Result<bool, Error> {
    why_kept_from(root, path, is_folder, leave_out_folder).map(|why| why.is_some())
}

/// The same, and why.
pub fn why_kept_from(
    root: &Root,
    path: &Path,
    is_folder: bool,
    leave_out_folder: &dyn Fn(&Path) -> bool,
) -> Result<Option<String>, Error> {
    let mut ruled = None;
    let mut way = PathBuf::new();
    let mut names = path.components().peekable();
    while let Some(name) = names.next() {
        match root.folder(&way) {
            Ok(folder) => ruled = enter(root, folder.as_fd(), &way, &ruled)?,
            // There is no folder, so there is no ignore file in it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            // A symlink, or no folder at all: a walk does not go through it.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::NOTDIR) => {
                return Ok(Some(format!("`{}` is no folder to go into", way.display())));
            }
            Err(e) => {
                let folder = root.path().join(&way);
                return Err(bad(&folder, format!("cannot be entered: {e}")));
            }
        }
        way.push(name);
        let is_folder = is_folder || names.peek().is_some();
        if disk::is_hidden(name.as_os_str()) {
            return Ok(Some(format!("`{}` is hidden", way.display())));
        }
        let line = matching(&ruled, &way, is_folder).filter(|(.., glob)| !glob.is_whitelist());
        if let Some((file, folder, glob)) = line {
            let (file, line) = (folder.join(file), glob.original());
            return Ok(Some(format!("the line `{line}` of {}", file.display())));
        }
        if is_folder && leave_out_folder(&way) {
            return Ok(Some(format!(
                "the filters of this call leave `{}` out",
                way.display()
            )));
        }
    }
    Ok(None)
}

fn read(
    root: &Root,
    folder: BorrowedFd<'_>,
    path: &Path,
    name: &'static str,
) -> Result<Gitignore, Error> {
    let shown = || root.path().join(path).join(name);
    let bytes = match bytes(folder, name) {
        Ok(None) => return Ok(Gitignore::empty()),
        Ok(Some(bytes)) => bytes,
        Err(why) => return Err(bad(&shown(), why)),
    };
    parse(path, &bytes, name == OWN).map_err(|(line, why)| {
        let mut what = shown().into_os_string();
        what.push(format!(" line {line}"));
        bad(Path::new(&what), why)
    })
}

fn bad(what: &Path, why: String) -> Error {
    Error::new(
        Kind::Input,
        what.display().to_string(),
        why,
        "correct it, or leave its folder out with --exclude; nothing was marked as missing",
    )
}

/// `None`: the folder has none.
fn bytes(folder: BorrowedFd<'_>, name: &str) -> Result<Option<Vec<u8>>, String> {
    let unreadable = |e: Errno| format!("cannot be read: {}", io::Error::from(e));
    // Looked at first, since opening a device may already do something.
    let found = match rustix::fs::statat(folder, name, AtFlags::empty()) {
        Ok(found) => found,
        Err(Errno::NOENT) => {
            return match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => Ok(None),
                Err(e) => Err(unreadable(e)),
                Ok(_) => Err("a symlink to nothing".to_owned()),
            };
        }
        Err(e) => return Err(unreadable(e)),
    };
    is_text_file(FileType::from_raw_mode(found.st_mode), found.st_size as u64)?;
    // It may have become a pipe since: opening that would wait for somebody who writes into it.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(unreadable)?;
    let now = rustix::fs::fstat(&file).map_err(unreadable)?;
    is_text_file(FileType::from_raw_mode(now.st_mode), now.st_size as u64)?;
    let mut bytes = Vec::new();
    File::from(file)
        .take(IGNORE_FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("cannot be read: {e}"))?;
    Ok(Some(bytes))
}

fn is_text_file(file_type: FileType, size_bytes: u64) -> Result<(), String> {
    match file_type {
        FileType::RegularFile if size_bytes < IGNORE_FILE_BYTES_MAX => Ok(()),
        FileType::RegularFile => Err(format!(
            "too large for an ignore file: {size_bytes} bytes, {IGNORE_FILE_BYTES_MAX} at the most"
        )),
        FileType::Directory => Err("a folder, not an ignore file".to_owned()),
        _ => Err("a pipe, socket or device, not an ignore file".to_owned()),
    }
}

/// The rules of a file for what is below `folder`, or the line that makes no sense, and why. `is_own`: git itself
/// passes over a class without its end, which was meant to leave something out all the same.
fn parse(folder: &Path, bytes: &[u8], is_own: bool) -> Result<Gitignore, (usize, String)> {
    let text = text(bytes)?;
    let mut builder = GitignoreBuilder::new(folder);
    let mut last = 0;
    for (i, line) in text.lines().enumerate() {
        last = i + 1;
        if is_own && is_open(line) {
            return Err((
                last,
                "no `]` closes the `[` (the character is written `\\[`)".to_owned(),
            ));
        }
        builder
            .add_line(None, line)
            .map_err(|e| (last, e.to_string()))?;
    }
    // Fails only if all the patterns together are too much.
    builder.build().map_err(|e| (last, e.to_string()))
}

/// Whether a class of characters begins in it, and does not end.
fn is_open(line: &str) -> bool {
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '#' if line.starts_with('#') => return false,
            '\\' => drop(chars.next()),
            '[' => {
                chars.next_if(|c| ['!', '^'].contains(c));
                // As the first of a class it stands for itself.
                chars.next_if_eq(&']');
                if !chars.any(|c| c == ']') {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

fn text(bytes: &[u8]) -> Result<&str, (usize, String)> {
    let line_at = |at: usize| bytes[..at].iter().filter(|b| **b == b'\n').count() + 1;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err((1, "written as UTF-16, UTF-8 is needed".to_owned()));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|e| (line_at(e.valid_up_to()), "not UTF-8".to_owned()))?;
    match text.find('\0') {
        Some(at) => Err((line_at(at), "holds a NUL byte (UTF-16?)".to_owned())),
        None => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn line(bytes: &[u8]) -> usize {
        parse(Path::new(""), bytes, true).unwrap_err().0
    }

    #[test]
    fn the_line_that_makes_no_sense_is_named() {
        assert_eq!(line(b"fine\n# caf\xe9\n"), 2);
        assert_eq!(line(b"\xff\xfea\0\n\0"), 1);
        assert_eq!(line(b"\xfe\xff\0a"), 1);
        assert_eq!(line(b"*.log\n*\0.\0t\0\n"), 2);
        assert_eq!(line(b"*.log\n\n{a,b\n"), 3);
        assert_eq!(line(b"[z-a]"), 1);
        for open in ["[", "a\n[a", "a\n!x[", "a\n[]", "a\n[^]b"] {
            assert_eq!(line(open.as_bytes()), open.lines().count(), "{open}");
            assert!(
                parse(Path::new(""), open.as_bytes(), false).is_ok(),
                "{open}"
            );
        }
        for good in [
            &b""[..],
            b"\xef\xbb\xbf*.log\r\nb\xc3\xbcro/\r\n",
            b"# [a",
            b"\\[a",
            b"[]a] [!]]",
            b"!keep",
        ] {
            assert!(parse(Path::new(""), good, true).is_ok(), "{good:?}");
        }
    }

    fn ruled(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn the_nearest_rule_decides_and_own_rules_beat_those_of_git() {
        let (_dir, root) = ruled(&[
            (".gitignore", "*.log\n/top.md\nbuild/\n"),
            (".objlibignore", "!kept.log\n"),
            ("sub/.gitignore", "!fine.log\nkept.log\n"),
            ("sub/deep/note.md", "x"),
        ]);
        let out = |path: &str, is_folder| {
            keep_from(&root, Path::new(path), is_folder, &|_| false).unwrap()
        };
        for path in [
            "a.log",
            "top.md",
            "sub/b.log",
            "sub/deep/c.log",
            ".x",
            "sub/.y/z",
            "build/a",
        ] {
            assert!(out(path, false), "{path}");
        }
        for path in [
            "kept.log",
            "sub/kept.log",
            "sub/fine.log",
            "sub/top.md",
            "build",
            "none/at/all",
        ] {
            assert!(!out(path, false), "{path}");
        }
        assert!(out("build", true) && out("sub/build", true) && !out("sub/deep", true));
    }

    #[test]
    fn what_is_behind_a_symlink_is_not_walked() {
        let (dir, root) = ruled(&[("sub/note.md", "x")]);
        std::os::unix::fs::symlink("sub", dir.path().join("link")).unwrap();
        assert!(keep_from(&root, Path::new("link/note.md"), false, &|_| false).unwrap());
    }
}
