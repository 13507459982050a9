//! `--files-from`: a list of paths, one a line.
//!
//! Owns a copy of the list in a temporary file that has no name any more, since what it came from (a
//! pipe, a file that is still written) can be read only once, and the list is read several times.
//! Promises: memory does not grow with the length of the list; a line that cannot be meant is an error
//! that names its number.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Kind};

/// Some five million paths; what is longer is hardly meant as a list.
const LIST_BYTES_MAX: u64 = 256 << 20;
/// Far more than any path; without a limit, a file without line ends would be held whole.
const LINE_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, Clone)]
pub struct List {
    /// What it came from, for messages.
    name: String,
    copy: Arc<File>,
}

/// What a line means to one root.
#[derive(Debug, PartialEq, Eq)]
pub enum Meant {
    /// A path as a walk of the root would give it.
    Below(String),
    /// An absolute path that is not below this root; it may be below another one.
    Elsewhere,
    /// No path at all, for this reason.
    Nothing(&'static str),
}

/// A path as a walk would give it: relative, and without the `//` and `/./` that would make one file two.
pub fn meant(root: &Path, given: &str) -> Meant {
    if given.contains('\0') {
        return Meant::Nothing("holds a NUL byte (write one path a line)");
    }
    let path = Path::new(given);
    let below = match path.is_absolute() {
        true => path.strip_prefix(root).ok(),
        false => Some(path),
    };
    let mut names = Vec::new();
    for component in below.unwrap_or(path).components() {
        match component {
            Component::Normal(name) => names.extend(name.to_str()),
            Component::ParentDir => return Meant::Nothing("has a `..` in it"),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    match (below.is_some(), names.is_empty()) {
        (false, _) => Meant::Elsewhere,
        (true, true) => Meant::Nothing("is the folder itself"),
        (true, false) => Meant::Below(names.join("/")),
    }
}

impl List {
    /// `-` is stdin.
    pub fn read(path: &Path) -> Result<List, Error> {
        let (name, copied) = match path.as_os_str() == "-" {
            true => ("stdin".to_owned(), copy(io::stdin())),
            false => (path.display().to_string(), File::open(path).and_then(copy)),
        };
        match copied {
            Ok(copy) => Ok(List {
                name,
                copy: Arc::new(copy),
            }),
            Err(e) => Err(Error::new(
                Kind::Input,
                name,
                format!("cannot be read: {e}"),
                "name a text file with one path a line with --files-from",
            )),
        }
    }

    /// Each line that is not empty, with its number. A name that is not UTF-8 is given as a walk shows it.
    pub fn each(&self, mut each: impl FnMut(u64, &str) -> Result<(), Error>) -> Result<(), Error> {
        let file = &*self.copy;
        let mut lines = BufReader::new(At { file, offset: 0 });
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = lines.by_ref().take(LINE_BYTES_MAX);
            let read = { read }.read_until(b'\n', &mut line);
            match read.map_err(|e| self.bad(number, format!("cannot be read: {e}")))? as u64 {
                0 => break,
                LINE_BYTES_MAX => return Err(self.bad(number, "is far too long".to_owned())),
                _ => {}
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\n', '\r']);
            let text = match number {
                1 => text.strip_prefix('\u{feff}').unwrap_or(text),
                _ => text,
            };
            if !text.is_empty() {
                each(number, text)?;
            }
        }
        Ok(())
    }

    /// Each path that is meant to be below this root.
    pub fn each_below(
        &self,
        root: &Path,
        mut each: impl FnMut(&str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.each(|number, line| match meant(root, line) {
            Meant::Below(path) => each(&path),
            Meant::Elsewhere => Ok(()),
            Meant::Nothing(why) => Err(self.bad(number, format!("`{line}` {why}"))),
        })
    }

    /// Asked once, of all roots together: a line that is below none of them is a mistake.
    pub fn check(&self, roots: &[PathBuf]) -> Result<(), Error> {
        self.each(|number, line| {
            let mut meanings = roots.iter().map(|root| meant(root, line));
            match meanings.all(|meant| meant == Meant::Elsewhere) {
                true if !roots.is_empty() => {
                    Err(self.bad(number, format!("`{line}` is not below the folder")))
                }
                _ => Ok(()),
            }
        })
    }

    fn bad(&self, number: u64, why: String) -> Error {
        Error::new(
            Kind::Input,
            format!("{} line {number}", self.name),
            why,
            "give paths below the folder, one a line; nothing was recorded",
        )
    }

    /// What is kept of the list, in temporary files, cannot be written or read.
    pub(in crate::scan) fn unkept(&self, why: &str) -> Error {
        Error::new(
            Kind::Input,
            self.name.clone(),
            format!("cannot be kept in a temporary file: {why}"),
            format!(
                "make room in {}, or name another folder with TMPDIR",
                std::env::temp_dir().display()
            ),
        )
    }
}

/// A temporary file without a name, so that it is gone however this process ends.
pub(in crate::scan) fn nameless() -> io::Result<File> {
    let name = format!(
        "objlib-list-{}-{:016x}",
        std::process::id(),
        fastrand::u64(..)
    );
    let path = std::env::temp_dir().join(name);
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn copy(source: impl Read) -> io::Result<File> {
    let mut copy = nameless()?;
    let mut source = source.take(LIST_BYTES_MAX + 1);
    match io::copy(&mut source, &mut copy)? > LIST_BYTES_MAX {
        true => Err(io::Error::other(format!(
            "longer than {LIST_BYTES_MAX} bytes"
        ))),
        false => {
            copy.flush()?;
            copy.rewind()?;
            Ok(copy)
        }
    }
}

/// A reader with a place of its own, so that clones of a list do not disturb each other.
pub(in crate::scan) struct At<'f> {
    pub(in crate::scan) file: &'f File,
    pub(in crate::scan) offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(out, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
impl List {
    pub fn of(text: &[u8]) -> List {
        List {
            name: "list".to_owned(),
            copy: Arc::new(copy(text).unwrap()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_a_path_is_spelled_it_is_the_one_of_the_walk() {
        let root = Path::new("/home/u");
        for given in [
            "a/b.md",
            "./a//b.md",
            "a/./b.md",
            "/home/u/a/b.md",
            "//home/u/a/b.md/",
        ] {
            assert_eq!(
                meant(root, given),
                Meant::Below("a/b.md".to_owned()),
                "{given}"
            );
        }
        assert_eq!(meant(root, "/home/uu/b.md"), Meant::Elsewhere);
        for given in [
            "../b.md",
            "a/../b.md",
            "/home/../b.md",
            ".",
            "/home/u",
            "a\0b",
        ] {
            assert!(matches!(meant(root, given), Meant::Nothing(_)), "{given:?}");
        }
    }

    #[test]
    fn a_bad_line_is_named_with_its_number() {
        let root = Path::new("/home/u");
        for (text, line) in [
            (
                &b"a.md\n\n../b.md\n"[..],
                "list line 3: `../b.md` has a `..` in it: ",
            ),
            (b"a\0b.md\0", "list line 1: `a\\u{0}b.md\\u{0}` holds a NUL"),
            (&[b'x'; 100_000], "list line 1: is far too long: "),
        ] {
            let error = List::of(text).each_below(root, |_| Ok(())).unwrap_err();
            assert!(error.to_string().starts_with(line), "{error}");
        }
        let list = List::of(b"a.md\n/other/b.md\n");
        let roots = ["/home/u", "/other"].map(PathBuf::from);
        assert!(list.check(&roots).is_ok());
        let error = list.check(&roots[..1]).unwrap_err();
        assert!(error.to_string().starts_with("list line 2: "), "{error}");
    }
}
