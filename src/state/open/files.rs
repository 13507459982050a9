//! Which files an open database consists of.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind};

/// Where the files of an open database are, and which they were: a deleted or replaced database takes
/// commits that nobody will ever see.
pub struct DatabaseFiles {
    path: PathBuf,
    main: Option<(u64, u64)>,
    /// The write-ahead log, once there is one.
    log: Option<(u64, u64)>,
}

impl DatabaseFiles {
    pub fn of(path: &Path) -> DatabaseFiles {
        DatabaseFiles {
            path: path.to_owned(),
            main: which(path),
            log: which(&log_of(path)),
        }
    }

    /// # Errors
    /// The database, or its write-ahead log, is not the file that was opened.
    pub fn check(&mut self) -> Result<(), Error> {
        let log = which(&log_of(&self.path));
        let log_changed = self.log.is_some() && log != self.log;
        self.log = log;
        if which(&self.path) == self.main && !log_changed {
            return Ok(());
        }
        Err(Error::new(
            Kind::Database,
            self.path.display().to_string(),
            "the database was deleted or replaced while objlib worked on it",
            "put it back if you can, then `objlib scan` and `objlib verify --repair`: the store knows what it holds",
        ))
    }
}

pub fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// Device and number of a file.
fn which(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

pub fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}
