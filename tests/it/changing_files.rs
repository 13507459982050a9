//! Every way a file can change × every moment of its upload. The client is suspended while its file
//! changes, so that the moment is the one that is meant; where it was is read from the ledger.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::run::{Place, Seen, Service, seen};

/// Four blocks of the client: one is sent every half second at this `--bwlimit`.
const BLOCK: u64 = 64 * 1024;
const SIZE: u64 = 4 * BLOCK;
const BWLIMIT: &str = "131072";
/// Runs until one is caught at its moment: on a loaded machine it may have gone on before it stops.
const TRIES_MAX: u32 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Grows,
    Shrinks,
    Rewritten,
    /// The same size, and the time of the last change put back: only the content tells.
    RewrittenUnseen,
    Renamed,
    /// By a file of the same size and time.
    RenamedUnseen,
    /// By a copy of itself.
    Copied,
    Deleted,
    /// A dangling link: to the superuser, who may run this test, no mode is unreadable.
    Unreadable,
    Folder,
    Pipe,
    /// A link to a file that its own name would keep back.
    LinkToHidden,
}

const WAYS: [Way; 12] = [
    Way::Grows,
    Way::Shrinks,
    Way::Rewritten,
    Way::RewrittenUnseen,
    Way::Renamed,
    Way::RenamedUnseen,
    Way::Copied,
    Way::Deleted,
    Way::Unreadable,
    Way::Folder,
    Way::Pipe,
    Way::LinkToHidden,
];

impl Way {
    fn apply(self, path: &Path) {
        let old = fs::read(path).unwrap();
        // As large, and text as well.
        let new = String::from_utf8_lossy(&old).replace(' ', "-").into_bytes();
        let aside = path.with_extension("new");
        match self {
            Way::Grows => fs::write(path, [&old[..], b"one line more\n"].concat()).unwrap(),
            Way::Shrinks => fs::write(path, &old[..old.len() / 2]).unwrap(),
            Way::Rewritten => fs::write(path, &new).unwrap(),
            Way::RewrittenUnseen => {
                let before = fs::metadata(path).unwrap().modified().unwrap();
                fs::write(path, &new).unwrap();
                set_modified(path, before);
            }
            Way::Renamed => {
                fs::write(&aside, [b"quite another text\n", &new[..]].concat()).unwrap();
                fs::rename(&aside, path).unwrap();
            }
            Way::RenamedUnseen => {
                let before = fs::metadata(path).unwrap().modified().unwrap();
                fs::write(&aside, &new).unwrap();
                set_modified(&aside, before);
                fs::rename(&aside, path).unwrap();
            }
            Way::Copied => {
                fs::write(&aside, &old).unwrap();
                fs::rename(&aside, path).unwrap();
            }
            Way::Deleted => fs::remove_file(path).unwrap(),
            Way::Unreadable => {
                fs::remove_file(path).unwrap();
                symlink("nowhere", path).unwrap();
            }
            Way::Folder => {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            }
            Way::Pipe => {
                fs::remove_file(path).unwrap();
                let made = std::process::Command::new("mkfifo").arg(path).status();
                assert!(made.unwrap().success());
            }
            Way::LinkToHidden => {
                fs::rename(path, path.with_file_name(".note.txt")).unwrap();
                symlink(".note.txt", path).unwrap();
            }
        }
    }

    /// There is new content that can go up.
    fn leaves_a_file(self) -> bool {
        match self {
            Way::Grows
            | Way::Shrinks
            | Way::Rewritten
            | Way::RewrittenUnseen
            | Way::Renamed
            | Way::RenamedUnseen
            | Way::Copied => true,
            Way::Deleted | Way::Unreadable | Way::Folder | Way::Pipe | Way::LinkToHidden => false,
        }
    }
}

fn set_modified(path: &Path, time: std::time::SystemTime) {
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

fn text() -> Vec<u8> {
    let lines = (0..SIZE / 16).map(|i| format!("{i:>15}\n"));
    lines.collect::<String>().into_bytes()
}

/// The store holds exactly what is on disk now, and the run has said what it could not send.
fn is_settled(place: &Place, service: &Service, way: Way, seen: Seen) {
    let seen = seen.exit(0);
    let summary = seen.summary();
    let ledger = service.ledger();
    if way.leaves_a_file() {
        assert_eq!(summary["indexed"], 1, "{way:?}: {summary}");
        ledger.is_exactly(&place.docs());
        return;
    }
    assert_eq!(summary["skipped"], 1, "{way:?}: {summary}");
    assert_eq!(ledger.0["documents"], json!([]), "{way:?}");
    assert_eq!(ledger.0["violations"], json!([]), "{way:?}");
    let events = seen.events();
    let file = events.iter().find(|e| e["event"] == "file");
    assert_eq!(file.expect("a word on the file")["status"], "skipped");
}

/// One case: the file changes when `is_there` says that the run has come to its moment, provided that
/// `is_past` does not say, once the run is suspended, that it has gone on since.
fn changes_at(
    way: Way,
    flags: &[&str],
    args: &[&str],
    is_there: impl Fn(&Service) -> bool,
    is_past: impl Fn(&Service) -> bool,
) {
    for _ in 0..TRIES_MAX {
        let place = Place::new();
        place.file("note.txt", text());
        // An empty root looks like a disk that is not mounted.
        fs::create_dir(place.docs().join("beside")).unwrap();
        let service = Service::start(&place, flags);
        let run = place
            .upload(&service, &["--rpm", "0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut run = Suspended(run);
        while !is_there(&service) {
            assert!(run.0.try_wait().unwrap().is_none(), "{way:?}: ended early");
            thread::yield_now();
        }
        run.signal(Signal::STOP);
        if is_past(&service) {
            continue;
        }
        way.apply(&place.docs().join("note.txt"));
        service.set_faults(json!({}));
        run.signal(Signal::CONT);
        is_settled(&place, &service, way, seen(run.output()));
        return;
    }
    panic!("{way:?}: never caught at its moment in {TRIES_MAX} runs");
}

/// A client that is not left behind stopped, whatever becomes of the test.
struct Suspended(Child);

impl Suspended {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn output(&mut self) -> std::process::Output {
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        // Both are a few lines: neither pipe can fill while the other is read.
        std::io::Read::read_to_end(self.0.stdout.as_mut().unwrap(), &mut stdout).unwrap();
        std::io::Read::read_to_end(self.0.stderr.as_mut().unwrap(), &mut stderr).unwrap();
        let status = self.0.wait().unwrap();
        std::process::Output {
            status,
            stdout,
            stderr,
        }
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All ways at once: most of each is waiting.
fn every_way(case: impl Fn(Way) + Sync) {
    thread::scope(|scope| {
        for way in WAYS {
            let case = &case;
            scope.spawn(move || case(way));
        }
    });
}

#[test]
fn between_the_scan_and_an_upload_without_a_folder() {
    every_way(|way| {
        let place = Place::new();
        place.file("note.txt", text());
        fs::create_dir(place.docs().join("beside")).unwrap();
        let service = Service::start(&place, &[]);
        let scanned = place.objlib(&["scan", "docs"]).output().unwrap();
        assert!(scanned.status.success());
        way.apply(&place.docs().join("note.txt"));
        let upload = place
            .objlib(&["upload", "--json", "--rpm", "0", "--endpoint", &service.url])
            .env("GEMINI_API_KEY", crate::run::KEY)
            .output();
        is_settled(&place, &service, way, seen(upload.unwrap()));
    });
}

#[test]
fn while_the_start_is_under_way() {
    every_way(|way| {
        changes_at(
            way,
            &["--latency-ms", "300", "--multipart-refused", "1"],
            &[],
            |service| service.ledger().requests("upload.start") == 1,
            |service| service.ledger().requests("upload.body") > 0,
        );
    });
}

#[test]
fn in_the_middle_of_one_request() {
    in_the_middle("direct", &[]);
}

#[test]
fn in_the_middle_of_the_body_of_a_session() {
    in_the_middle("direct", &["--multipart-refused", "1"]);
}

#[test]
fn in_the_middle_of_the_body_of_a_temporary_file() {
    in_the_middle("staged", &[]);
}

fn in_the_middle(method: &str, flags: &[&str]) {
    every_way(|way| {
        changes_at(
            way,
            flags,
            &["--bwlimit", BWLIMIT, "--method", method],
            |service| service.ledger().body_bytes() >= BLOCK,
            |service| service.ledger().body_bytes() > SIZE - 2 * BLOCK,
        );
    });
}

#[test]
fn before_the_last_bytes() {
    every_way(|way| {
        changes_at(
            way,
            &[],
            &["--bwlimit", BWLIMIT],
            // What stands before the body has shifted the writes a little.
            |service| service.ledger().body_bytes() >= SIZE - BLOCK - BLOCK / 8,
            |service| service.ledger().body_bytes() > SIZE - BLOCK,
        );
    });
}

/// Neither what was there before nor what is there now is sent twice when the file comes back.
#[test]
fn a_file_that_was_gone_and_is_back_goes_up_once() {
    let place = Place::new();
    place.file("note.txt", text()).file("other.txt", "words");
    let service = Service::start(&place, &[]);
    let scanned = place.objlib(&["scan", "docs"]).output().unwrap();
    assert!(scanned.status.success());
    let note = place.docs().join("note.txt");
    let away = place.path().join("away");
    fs::rename(&note, &away).unwrap();
    let upload = |dir: &[&str]| {
        let mut command = place.objlib(&["upload", "--json", "--rpm", "0"]);
        command.args(dir).args(["--endpoint", &service.url]);
        command.env("GEMINI_API_KEY", crate::run::KEY);
        seen(command.output().unwrap()).exit(0).summary()
    };
    assert_eq!(upload(&[])["indexed"], 1);
    fs::rename(&away, &note).unwrap();
    assert_eq!(upload(&["docs"])["indexed"], 1);
    assert_eq!(upload(&["docs"])["indexed"], 0);
    service.ledger().is_exactly(&place.docs());
}
