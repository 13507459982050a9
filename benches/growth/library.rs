//! A folder of small files, and the database of objlib beside it; deleted at the end.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

const OBJLIB: &str = env!("CARGO_BIN_EXE_objlib");
/// A folder with many more names is a burden of the file system, which is not measured here.
const FOLDER_FILES: usize = 1000;

/// When files were changed last. What is as young as its scan is read once more by the next.
#[derive(Debug, Clone, Copy)]
pub enum Age {
    Day,
    Hour,
}

pub struct Library {
    pub files: usize,
    pub docs: PathBuf,
    place: tempfile::TempDir,
}

impl Library {
    pub fn new(files: usize) -> Library {
        let place = tempfile::tempdir().expect("a temporary folder");
        let library = Library {
            files,
            docs: place.path().join("docs"),
            place,
        };
        for i in 0..files {
            let path = library.docs.join(path(i));
            if i % FOLDER_FILES == 0 {
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            }
            fs::write(path, content(i)).expect("a file");
        }
        library.touch(Age::Day);
        for exist in [true, false] {
            let lines = (0..files).map(|i| match exist {
                true => path(i) + "\n",
                false => path(i) + ".none\n",
            });
            fs::write(library.list(exist), lines.collect::<String>()).expect("a list");
        }
        library
    }

    /// A list of all paths, or of as many that do not exist.
    pub fn list(&self, exist: bool) -> String {
        let name = if exist { "all.txt" } else { "none.txt" };
        self.place.path().join(name).display().to_string()
    }

    /// Each time differs from the one that was seen before.
    pub fn touch(&self, age: Age) {
        let ago = match age {
            Age::Day => Duration::from_secs(86_400),
            Age::Hour => Duration::from_secs(3_600),
        };
        let time = SystemTime::now() - ago;
        for i in 0..self.files {
            let file = File::options().append(true).open(self.docs.join(path(i)));
            file.and_then(|f| f.set_modified(time)).expect("a time");
        }
    }

    pub fn database(&self) -> PathBuf {
        self.place.path().join("l.db")
    }

    /// As before the first scan.
    pub fn forget(&self) {
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", self.database().display()));
        }
    }

    /// A command; `whole`: on the whole folder.
    pub fn objlib(&self, words: &[&str], whole: bool) -> Command {
        let mut command = Command::new(OBJLIB);
        command
            .args(words)
            .arg("--quiet")
            .arg("--db")
            .arg(self.database())
            .args(whole.then_some(&self.docs))
            .env("GEMINI_API_KEY", "a-key-of-nobody");
        command
    }
}

/// Relative, as objlib names it.
pub fn path(i: usize) -> String {
    format!("part-{:04}/note-{i:07}.md", i / FOLDER_FILES)
}

pub fn content(i: usize) -> String {
    format!("# Note {i}\n\n{}\n", "some words of a note ".repeat(40))
}
