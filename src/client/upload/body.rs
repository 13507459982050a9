//! A file becomes the body of a request, and cannot become anything else.
//!
//! Owns the open file and a running SHA-256. The last block is held back until the digest and the size
//! of all that was read equal what was scanned, and the path still names the file that was read; if
//! not, reading fails, which makes the connection break before the body is complete, so that nothing
//! can be finalized.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::Digest;

use crate::disk::{Opened, Refusal, Root};
use crate::identity::Sha256;

/// Read at once, and held back at the end.
const BLOCK_BYTES: usize = 64 * 1024;

/// Whether the next bytes may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Go,
    /// The transfer ends here; its session can be resumed.
    Stop,
}

/// Why a body broke off on this side.
#[derive(Debug)]
pub enum Broken {
    /// The file is not the one that was scanned.
    Changed,
    Stopped,
    Unreadable(io::Error),
}

pub struct Body<'a> {
    root: &'a Path,
    /// Below the root.
    path: &'a str,
    size_bytes: u64,
    sha256: Sha256,
    /// Asked before each block; waits for the bandwidth limit, counts progress.
    pace: &'a dyn Fn(usize) -> Pace,
    file: Option<File>,
    hasher: sha2::Sha256,
    /// Bytes read from the file so far.
    position: u64,
    block: Vec<u8>,
    /// What of the block has been handed on.
    taken: usize,
    whole: bool,
    broken: Option<Broken>,
}

impl<'a> Body<'a> {
    /// `path` is that of the file below the folder `root`, and never leads out of it.
    pub fn new(
        root: &'a Path,
        path: &'a str,
        size_bytes: u64,
        sha256: Sha256,
        pace: &'a dyn Fn(usize) -> Pace,
    ) -> Body<'a> {
        Body {
            root,
            path,
            size_bytes,
            sha256,
            pace,
            file: None,
            hasher: sha2::Sha256::new(),
            position: 0,
            block: Vec::new(),
            taken: 0,
            whole: false,
            broken: None,
        }
    }

    /// The same for a session that an earlier process, or an earlier connection, has sent to: the service
    /// may have all of it already.
    pub fn resumed(self) -> Body<'a> {
        Body {
            whole: true,
            ..self
        }
    }

    /// Opens the file and reads up to `offset`, for the digest. From there on it can be sent.
    pub fn begin(&mut self, offset: u64) -> Result<(), Broken> {
        self.hasher = sha2::Sha256::new();
        self.position = 0;
        self.block.clear();
        self.taken = 0;
        self.broken = None;
        self.file = Some(opened(self.root, self.path)?.file);
        // Nobody can have received more than there is.
        if offset > self.size_bytes {
            return Err(Broken::Changed);
        }
        while self.position < offset {
            let left = offset - self.position;
            self.next_block(left)?;
        }
        self.block.clear();
        if self.position == self.size_bytes {
            self.check_whole()?;
            self.whole = true;
        }
        Ok(())
    }

    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The last byte was handed to a connection, now or in an earlier try: the service may have all
    /// of it.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Why reading failed, if it was this side that broke off.
    pub fn broken(&mut self) -> Option<Broken> {
        self.broken.take()
    }

    fn next_block(&mut self, bytes_max: u64) -> Result<(), Broken> {
        let want = bytes_max
            .min(self.size_bytes - self.position)
            .min(BLOCK_BYTES as u64) as usize;
        self.block.resize(want, 0);
        self.taken = 0;
        let Some(file) = &mut self.file else {
            return Err(Broken::Changed);
        };
        match file.read_exact(&mut self.block) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(Broken::Changed),
            Err(e) => return Err(Broken::Unreadable(e)),
        }
        self.hasher.update(&self.block);
        self.position += want as u64;
        Ok(())
    }

    /// Everything was read: is it what was scanned, is there no more, and is it still the file of this
    /// name?
    fn check_whole(&mut self) -> Result<(), Broken> {
        let digest = self.hasher.clone().finalize();
        if digest.as_slice() != self.sha256.as_bytes() {
            return Err(Broken::Changed);
        }
        let Some(file) = &mut self.file else {
            return Err(Broken::Changed);
        };
        match file.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(Broken::Changed),
            Err(e) => return Err(Broken::Unreadable(e)),
        }
        // A file that was replaced or deleted can be read to its end all the same.
        let read = file.metadata().map_err(Broken::Unreadable)?;
        let identity = (read.dev(), read.ino());
        match opened(self.root, self.path).map(|now| now.metadata) {
            Ok(named) if (named.dev(), named.ino()) == identity => Ok(()),
            Ok(_) | Err(_) => Err(Broken::Changed),
        }
    }

    fn fill(&mut self) -> Result<(), Broken> {
        let bytes = (self.size_bytes - self.position).min(BLOCK_BYTES as u64);
        // The wait comes first: what is read and found whole is sent at once.
        if (self.pace)(bytes as usize) == Pace::Stop {
            return Err(Broken::Stopped);
        }
        self.next_block(bytes)?;
        if self.position == self.size_bytes {
            self.check_whole()?;
            self.whole = true;
        }
        Ok(())
    }
}

/// What the path names now. Whatever is no file that may be sent is another thing than was scanned.
fn opened(root: &Path, path: &str) -> Result<Opened, Broken> {
    let root = Root::open(root).map_err(Broken::Unreadable)?;
    root.file(Path::new(path)).map_err(|refusal| match refusal {
        Refusal::Folder | Refusal::NotAFile | Refusal::ThroughLink | Refusal::ToHidden => {
            Broken::Changed
        }
        Refusal::Dangling => Broken::Unreadable(io::ErrorKind::NotFound.into()),
        Refusal::Loop => Broken::Unreadable(io::Error::other("a symlink that leads to itself")),
        Refusal::Io(e) => Broken::Unreadable(e),
    })
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.broken.is_some() {
            return Err(io::Error::other("the transfer was broken off"));
        }
        if self.taken == self.block.len() {
            if self.position >= self.size_bytes || out.is_empty() {
                return Ok(0);
            }
            if let Err(broken) = self.fill() {
                self.broken = Some(broken);
                return Err(io::Error::other("the transfer was broken off"));
            }
        }
        let n = out.len().min(self.block.len() - self.taken);
        out[..n].copy_from_slice(&self.block[self.taken..self.taken + n]);
        self.taken += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const GO: &dyn Fn(usize) -> Pace = &|_| Pace::Go;

    /// A folder with one file, `note.txt`.
    fn folder(bytes: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("note.txt"), bytes).unwrap();
        dir
    }

    /// What reaches the connection before reading ends or fails.
    fn sent(body: &mut Body<'_>, offset: u64) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        if body.begin(offset).is_err() {
            return (out, false);
        }
        let whole = body.read_to_end(&mut out).is_ok();
        (out, whole)
    }

    proptest! {
        #[test]
        fn from_any_offset_exactly_the_rest_is_sent(
            size in 1usize..200_000, share in 0.0f64..=1.0, seed in any::<u64>()
        ) {
            let mut bytes = vec![0; size];
            fastrand::Rng::with_seed(seed).fill(&mut bytes);
            let offset = (size as f64 * share) as usize;
            let dir = folder(&bytes);
            let mut body = Body::new(dir.path(), "note.txt", size as u64, Sha256::of(&bytes), GO);
            prop_assert_eq!(sent(&mut body, offset as u64), (bytes[offset..].to_vec(), true));
            prop_assert!(body.is_whole());
        }

        #[test]
        fn another_file_is_never_sent_to_its_end(
            size in 1usize..200_000, at in any::<proptest::sample::Index>(), change in 0..3
        ) {
            let scanned = vec![7u8; size];
            let mut now = scanned.clone();
            match change {
                0 => now[at.index(size)] ^= 1,
                1 => now.push(7),
                _ => { now.pop(); }
            }
            let dir = folder(&now);
            let mut body = Body::new(dir.path(), "note.txt", size as u64, Sha256::of(&scanned), GO);
            let (out, whole) = sent(&mut body, 0);
            prop_assert!(!whole && out.len() < size && !body.is_whole());
            prop_assert!(matches!(body.broken(), Some(Broken::Changed)));
        }
    }

    #[test]
    fn a_stop_breaks_off_before_the_end() {
        let bytes = vec![1u8; 300_000];
        let dir = folder(&bytes);
        let stop = |_: usize| Pace::Stop;
        let mut body = Body::new(dir.path(), "note.txt", 300_000, Sha256::of(&bytes), &stop);
        assert!(!sent(&mut body, 0).1);
        assert!(matches!(body.broken(), Some(Broken::Stopped)));
        assert!(!body.is_whole());
    }

    /// What an open file tells of its content is not what its name tells now.
    #[test]
    fn a_file_replaced_or_deleted_while_it_is_read_is_never_sent_to_its_end() {
        for replaced in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("note.txt");
            let bytes = vec![1u8; 200_000];
            fs::write(&path, &bytes).unwrap();
            let mut body = Body::new(dir.path(), "note.txt", 200_000, Sha256::of(&bytes), GO);
            body.begin(0).unwrap();
            body.read_exact(&mut [0; 100_000]).unwrap();
            fs::rename(&path, dir.path().join("away")).unwrap();
            if replaced {
                fs::write(&path, &bytes).unwrap();
            }
            assert!(body.read_to_end(&mut Vec::new()).is_err());
            assert!(!body.is_whole());
            assert!(matches!(body.broken(), Some(Broken::Changed)));
        }
    }

    #[test]
    fn a_folder_swapped_for_a_symlink_is_not_followed_even_to_the_same_bytes() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), folder(b"words"));
        symlink(outside.path(), dir.path().join("sub")).unwrap();
        let mut body = Body::new(dir.path(), "sub/note.txt", 5, Sha256::of(b"words"), GO);
        assert!(matches!(body.begin(0), Err(Broken::Changed)));
    }

    #[test]
    fn an_offset_behind_the_end_is_refused() {
        let dir = folder(b"words");
        let mut body = Body::new(dir.path(), "note.txt", 5, Sha256::of(b"words"), GO);
        assert!(matches!(body.begin(6), Err(Broken::Changed)));
        assert!(matches!(body.begin(u64::MAX), Err(Broken::Changed)));
        assert!(body.begin(5).is_ok() && body.is_whole());
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note.txt");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let mut body = Body::new(dir.path(), "note.txt", 1, Sha256::of(b"x"), GO);
        assert!(matches!(body.begin(0), Err(Broken::Changed)));
    }

    #[test]
    fn a_file_that_is_gone_is_unreadable() {
        let mut body = Body::new(Path::new("/nowhere/at"), "all", 1, Sha256::of(b"x"), GO);
        assert!(matches!(body.begin(0), Err(Broken::Unreadable(_))));
    }
}
