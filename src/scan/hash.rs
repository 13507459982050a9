//! An entry becomes a SHA-256, and its MIME type, in one reading.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::Digest;

use super::mime::{self, Types};
use super::walk::mtime_ns;
use super::walk::{self, rules};
use super::{FILE_BYTES_MAX, Skip, SkipReason};
use crate::clock;
use crate::disk::{Opened, Root};
use crate::identity::Sha256;
use crate::metadata::{SIDECAR_BYTES_MAX, SIDECAR_SUFFIX};
use crate::state::Reading;

const BUFFER_BYTES: usize = 128 * 1024;
/// A file that changes while it is read is read once more.
const READS_MAX: u32 = 2;

/// What a file is read through. A thread keeps one for all its files: most files are so small that making a
/// new one would cost more than reading them.
pub struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer(vec![0; BUFFER_BYTES])
    }
}

/// A sidecar, up to its limit and one byte more, so that what is longer can be told.
pub fn sidecar(root: &Root, path: &str) -> Result<Vec<u8>, Skip> {
    let path = format!("{path}{SIDECAR_SUFFIX}");
    let opened = open(root, &path)?;
    let mut bytes = Vec::new();
    let most = SIDECAR_BYTES_MAX as u64 + 1;
    match opened.file.take(most).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(e) => Err(Skip {
            path,
            reason: SkipReason::Unreadable,
            detail: e.to_string(),
        }),
    }
}

/// Reads the file. `stop` is asked between blocks; an answer that was stopped is worth nothing.
pub fn reading(
    root: &Root,
    path: &str,
    types: &Types,
    buffer: &mut Buffer,
    stop: &dyn Fn() -> bool,
) -> Result<Reading, Skip> {
    let skip = |reason, detail: String| Skip {
        path: path.to_owned(),
        reason,
        detail,
    };
    let unreadable = |e: io::Error| skip(SkipReason::Unreadable, e.to_string());
    for _ in 0..READS_MAX {
        let Opened {
            mut file,
            metadata: before,
            target,
        } = open(root, path)?;
        if let Some(target) = target
            && rules::keep_from(root, &target, false, &|_| false)
                .map_err(|e| skip(SkipReason::Unreadable, e.to_string()))?
        {
            return Err(skip(SkipReason::NotAFile, LEFT_OUT.to_owned()));
        }
        let hashed_ms = clock::now_ms();
        let read = digest(&mut file, buffer, stop).map_err(unreadable)?;
        let after = file.metadata().map_err(unreadable)?;
        let same = before.len() == after.len() && mtime_ns(&before) == mtime_ns(&after);
        if !same || read.size_bytes != after.len() {
            continue;
        }
        return match read.size_bytes {
            0 => Err(skip(SkipReason::Empty, "0 bytes".to_owned())),
            n if n > FILE_BYTES_MAX => Err(skip(SkipReason::TooLarge, walk::too_large(n))),
            size_bytes => match types.of(path, &read.head) {
                Ok(mime) => Ok(Reading {
                    size_bytes,
                    mtime_ns: mtime_ns(&after),
                    hashed_ms,
                    sha256: read.sha256,
                    mime: mime.to_owned(),
                }),
                Err(why) => Err(skip(SkipReason::UnsupportedType, why)),
            },
        };
    }
    Err(skip(
        SkipReason::ChangedWhileRead,
        "still being written".to_owned(),
    ))
}

const LEFT_OUT: &str = "a symlink to a file that is left out";

fn open(root: &Root, path: &str) -> Result<Opened, Skip> {
    root.file(Path::new(path)).map_err(|refusal| {
        let (reason, detail) =
            walk::reason(refusal).unwrap_or((SkipReason::NotAFile, LEFT_OUT.to_owned()));
        Skip {
            path: path.to_owned(),
            reason,
            detail,
        }
    })
}

/// One file that was found changed while it was uploaded. `path` is relative to the folder `root`.
pub fn rescan(root: &Path, path: &str, types: &Types) -> Result<Reading, Skip> {
    let root = Root::open(root).map_err(|e| Skip {
        path: path.to_owned(),
        reason: SkipReason::Unreadable,
        detail: e.to_string(),
    })?;
    reading(&root, path, types, &mut Buffer::default(), &|| false)
}

struct Digested {
    size_bytes: u64,
    sha256: Sha256,
    head: Vec<u8>,
}

fn digest(
    file: &mut File,
    Buffer(buffer): &mut Buffer,
    stop: &dyn Fn() -> bool,
) -> io::Result<Digested> {
    let mut hasher = sha2::Sha256::new();
    let mut size_bytes = 0;
    let mut head = Vec::new();
    while !stop() {
        let n = match file.read(buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if head.len() < mime::HEAD_BYTES {
            let room = mime::HEAD_BYTES - head.len();
            head.extend_from_slice(&buffer[..n.min(room)]);
        }
        hasher.update(&buffer[..n]);
        size_bytes += n as u64;
        // What is too large is not worth reading to its end.
        if size_bytes > FILE_BYTES_MAX {
            size_bytes = file.metadata()?.len().max(size_bytes);
            break;
        }
    }
    Ok(Digested {
        size_bytes,
        sha256: Sha256::from_bytes(hasher.finalize().into()),
        head,
    })
}
