//! Files below a root, opened so that a path never leads out of it.
//!
//! Owns the descriptor of the root. Between a scan and an upload, anybody who may write there can put
//! a symlink in the place of a folder, and the path that was scanned then names a file elsewhere. So a
//! path is walked name by name from the root's descriptor, and no folder on the way may be a symlink.
//! Promises: what is given back is a regular file; opening never waits for a pipe or a device.
//!
//! The last name alone may be a symlink, to a file. It is resolved, and then the resolved path is opened
//! in the same strict way. A link to a hidden file is refused, so that `notes.md -> .env` sends nothing
//! that its own name would have kept back:
//! - a target below the root may have no hidden name in its path below the root;
//! - any other target may have none below the deepest folder that it has in common with the root: a
//!   root inside a hidden folder may still link to its neighbours there, but not into `~/.ssh`.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// A folder that is only passed through: on Linux `O_PATH` asks for no right to list it, just as the
/// kernel's own walk of a path does not.
#[cfg(target_os = "linux")]
const PASSED: OFlags = OFlags::PATH.union(FOLDER);
#[cfg(not(target_os = "linux"))]
const PASSED: OFlags = FOLDER;
const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// `O_NONBLOCK`: opening a pipe would otherwise wait for somebody who writes into it; it changes nothing
/// for a regular file. `O_NOCTTY`: a terminal must not become that of this process.
const FILE: OFlags = OFlags::NONBLOCK
    .union(OFlags::NOCTTY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    folder: OwnedFd,
}

/// A regular file, open for reading.
#[derive(Debug)]
pub struct Opened {
    pub file: File,
    pub metadata: Metadata,
    /// Where below the root a symlink led to. Rules that leave that file out hold for the link as well;
    /// whoever knows them has to ask.
    pub target: Option<PathBuf>,
}

/// Why a path was not opened.
#[derive(Debug)]
pub enum Refusal {
    Folder,
    /// A pipe, socket or device.
    NotAFile,
    /// A folder on the way is a symlink.
    ThroughLink,
    /// A symlink to a hidden file.
    ToHidden,
    /// A symlink to nothing.
    Dangling,
    /// A symlink that leads back to itself.
    Loop,
    Io(io::Error),
}

/// What a path stands for, as far as can be told without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A file, or anything else that is no folder; also at the end of a symlink.
    There,
    /// Nothing, a folder, or a symlink that leads to either.
    Gone,
    /// A folder on the way is a symlink: whatever is behind it is not below the root.
    ThroughLink,
}

pub fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

/// Names of a relative path that has nothing but names: no `..`, no leading `/`.
fn names(path: &Path) -> io::Result<Vec<&OsStr>> {
    let name = |component| match component {
        Component::Normal(name) => Ok(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a path below the folder",
        )),
    };
    path.components().map(name).collect()
}

impl Root {
    /// The root itself may be named by way of symlinks: whoever names it means where they lead.
    pub fn open(path: &Path) -> io::Result<Root> {
        let flags = PASSED.difference(OFlags::NOFOLLOW);
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        let path = path.to_owned();
        Ok(Root { path, folder })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder below the root (or, by the empty path, the root) to look things up in.
    pub fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut at: Option<OwnedFd> = None;
        for name in names(path)? {
            let above = at.as_ref().map_or(self.folder.as_fd(), AsFd::as_fd);
            at = Some(rustix::fs::openat(above, name, PASSED, Mode::empty())?);
        }
        match at {
            Some(folder) => Ok(folder),
            None => self.folder.try_clone(),
        }
    }

    /// The same to list what is in it.
    pub fn listing(&self, path: &Path) -> io::Result<OwnedFd> {
        let folder = self.folder(path)?;
        let flags = FOLDER.union(OFlags::RDONLY);
        Ok(rustix::fs::openat(folder, ".", flags, Mode::empty())?)
    }

    pub fn file(&self, path: &Path) -> Result<Opened, Refusal> {
        match self.without_link(path) {
            Ok(None) => self.follow(path),
            Ok(Some((file, metadata))) => Ok(Opened {
                file,
                metadata,
                target: None,
            }),
            Err(refusal) => Err(refusal),
        }
    }

    /// `None`: the path itself is a symlink.
    fn without_link(&self, path: &Path) -> Result<Option<(File, Metadata)>, Refusal> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Refusal::Folder);
        };
        let folder = match self.folder(above) {
            Ok(folder) => folder,
            Err(e) => return Err(self.refused_on_the_way(above, e)),
        };
        let file = match rustix::fs::openat(folder, name, FILE, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::LOOP) => return Ok(None),
            // What opening a socket, or a device that has no driver, answers.
            Err(Errno::NXIO) => return Err(Refusal::NotAFile),
            Err(e) => return Err(Refusal::Io(e.into())),
        };
        let metadata = file.metadata().map_err(Refusal::Io)?;
        match (metadata.is_file(), metadata.is_dir()) {
            (true, _) => Ok(Some((file, metadata))),
            (false, true) => Err(Refusal::Folder),
            (false, false) => Err(Refusal::NotAFile),
        }
    }

    fn refused_on_the_way(&self, folder: &Path, error: io::Error) -> Refusal {
        match self.leads_through_link(folder) {
            true => Refusal::ThroughLink,
            false => Refusal::Io(error),
        }
    }

    /// Whether one of the folders of this path is a symlink.
    fn leads_through_link(&self, folder: &Path) -> bool {
        let Some(above) = folder.parent() else {
            return false;
        };
        match (self.folder(above), folder.file_name()) {
            (Ok(fd), Some(name)) => rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink),
            _ => self.leads_through_link(above),
        }
    }

    /// The path is a symlink. Its target is only a name until it is opened, and is opened strictly: what
    /// changed in between makes an error, not a way out.
    fn follow(&self, link: &Path) -> Result<Opened, Refusal> {
        let root = fs::canonicalize(&self.path).map_err(Refusal::Io)?;
        let target =
            fs::canonicalize(root.join(link)).map_err(|e| match Errno::from_io_error(&e) {
                Some(Errno::LOOP) => Refusal::Loop,
                Some(Errno::NOENT | Errno::NOTDIR) => Refusal::Dangling,
                _ => Refusal::Io(e),
            })?;
        let common = target.components().zip(root.components());
        let common = common.take_while(|(a, b)| a == b).count();
        let mut below = target.components().skip(common);
        if below.any(|name| is_hidden(name.as_os_str())) {
            return Err(Refusal::ToHidden);
        }
        let inside = target.strip_prefix(&root).ok();
        let opened = match inside {
            Some(path) => self.without_link(path)?,
            None => Root::open(Path::new("/"))
                .map_err(Refusal::Io)?
                .without_link(target.strip_prefix("/").unwrap_or(&target))?,
        };
        match opened {
            Some((file, metadata)) => Ok(Opened {
                file,
                metadata,
                target: inside.map(Path::to_owned),
            }),
            None => Err(Refusal::Loop),
        }
    }

    pub fn presence(&self, path: &Path) -> io::Result<Presence> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Presence::Gone);
        };
        let found = match self.folder(above) {
            Ok(folder) => stat(folder.as_fd(), name),
            Err(_) if self.leads_through_link(above) => return Ok(Presence::ThroughLink),
            Err(e) => Err(e),
        };
        match found {
            Ok(FileType::Directory) => Ok(Presence::Gone),
            Ok(_) => Ok(Presence::There),
            Err(e) => match Errno::from_io_error(&e) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Presence::Gone),
                _ => Err(e),
            },
        }
    }
}

/// The type of what a name stands for, at the end of a symlink.
fn stat(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<FileType> {
    let found = rustix::fs::statat(folder, name, AtFlags::empty())?;
    Ok(FileType::from_raw_mode(found.st_mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    /// A folder `root` with a note in it, and a neighbour beside it.
    fn place() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["root/sub", "root/.hidden", "beside/.ssh"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["root/sub/note.md", "root/.hidden/note.md", "root/.env"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        for file in ["beside/note.md", "beside/.ssh/key"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        let root = Root::open(&dir.path().join("root")).unwrap();
        (dir, root)
    }

    fn read(root: &Root, path: &str) -> Result<String, Refusal> {
        let mut text = String::new();
        let mut opened = root.file(Path::new(path))?;
        opened.file.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn a_file_is_opened_and_nothing_outside_is() {
        let (_dir, root) = place();
        assert_eq!(read(&root, "sub/note.md").unwrap(), "root/sub/note.md");
        for path in [
            "../beside/note.md",
            "sub/../../beside/note.md",
            "/etc/passwd",
        ] {
            assert!(matches!(read(&root, path), Err(Refusal::Io(_))), "{path}");
        }
        for path in ["", "sub", "."] {
            assert!(
                matches!(read(&root, path), Err(Refusal::Folder)),
                "{path:?}"
            );
        }
    }

    #[test]
    fn a_folder_swapped_for_a_symlink_leads_nowhere() {
        let (dir, root) = place();
        fs::rename(dir.path().join("root/sub"), dir.path().join("root/was")).unwrap();
        symlink(dir.path().join("beside"), dir.path().join("root/sub")).unwrap();
        symlink("was", dir.path().join("root/inside")).unwrap();
        for path in ["sub/note.md", "inside/note.md", "sub/.ssh/key"] {
            assert!(
                matches!(read(&root, path), Err(Refusal::ThroughLink)),
                "{path}"
            );
            let presence = root.presence(Path::new(path)).unwrap();
            assert_eq!(presence, Presence::ThroughLink, "{path}");
        }
    }

    #[test]
    fn a_link_is_what_its_target_is() {
        let (dir, root) = place();
        let link = |name: &str, target: &str| {
            symlink(target, dir.path().join("root").join(name)).unwrap();
        };
        link("in.md", "sub/note.md");
        link("out.md", "../beside/note.md");
        assert_eq!(read(&root, "in.md").unwrap(), "root/sub/note.md");
        assert_eq!(read(&root, "out.md").unwrap(), "beside/note.md");
        let target = |path| root.file(Path::new(path)).unwrap().target;
        assert_eq!(target("in.md"), Some(PathBuf::from("sub/note.md")));
        assert_eq!(target("out.md"), None);
        link("env.md", ".env");
        link("sub/deep.md", "../.hidden/note.md");
        link("key.md", "../beside/.ssh/key");
        for path in ["env.md", "sub/deep.md", "key.md"] {
            assert!(
                matches!(read(&root, path), Err(Refusal::ToHidden)),
                "{path}"
            );
        }
        link("a", "b");
        link("b", "a");
        link("folder", "sub");
        link("nothing", "sub/none");
        assert!(matches!(read(&root, "a"), Err(Refusal::Loop)));
        assert!(matches!(read(&root, "folder"), Err(Refusal::Folder)));
        assert!(matches!(read(&root, "nothing"), Err(Refusal::Dangling)));
    }

    #[test]
    fn a_root_in_a_hidden_folder_may_link_to_its_neighbours() {
        let (dir, _) = place();
        fs::create_dir(dir.path().join("beside/.ssh/docs")).unwrap();
        symlink("../key", dir.path().join("beside/.ssh/docs/key.md")).unwrap();
        let root = Root::open(&dir.path().join("beside/.ssh/docs")).unwrap();
        assert_eq!(read(&root, "key.md").unwrap(), "beside/.ssh/key");
    }

    #[test]
    fn pipes_and_sockets_are_not_waited_for() {
        let (dir, root) = place();
        let pipe = dir.path().join("root/pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let socket = dir.path().join("root/socket");
        let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        symlink("pipe", dir.path().join("root/to-pipe")).unwrap();
        symlink("/dev/zero", dir.path().join("root/to-device")).unwrap();
        for path in ["pipe", "socket", "to-pipe", "to-device"] {
            let refused = read(&root, path);
            assert!(
                matches!(refused, Err(Refusal::NotAFile)),
                "{path}: {refused:?}"
            );
        }
    }

    #[test]
    fn what_stands_at_a_path() {
        let (dir, root) = place();
        symlink("sub/none", dir.path().join("root/nothing")).unwrap();
        symlink("loop", dir.path().join("root/loop")).unwrap();
        for (path, presence) in [
            ("sub/note.md", Presence::There),
            (".env", Presence::There),
            ("sub", Presence::Gone),
            ("none", Presence::Gone),
            ("none/at/all", Presence::Gone),
            ("sub/note.md/below", Presence::Gone),
            ("nothing", Presence::Gone),
            ("loop", Presence::Gone),
            ("loop/below", Presence::ThroughLink),
        ] {
            assert_eq!(root.presence(Path::new(path)).unwrap(), presence, "{path}");
        }
    }
}
