//! The builder of the integration tests. Truth comes from the service's ledger, never from the
//! client's word.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub const OBJLIB: &str = env!("CARGO_BIN_EXE_objlib");
/// Not a key of anybody; must never be seen in any output.
pub const KEY: &str = "AIzaSyTestKeyThatMustNeverBeShown012345";

/// A folder of documents and a database, deleted at the end unless the test fails.
pub struct Place {
    dir: Option<TempDir>,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("docs")).unwrap();
        Place { dir: Some(dir) }
    }

    pub fn path(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    pub fn docs(&self) -> PathBuf {
        self.path().join("docs")
    }

    pub fn db(&self) -> PathBuf {
        self.path().join("library.db")
    }

    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Place {
        self.file_in("docs", path, content)
    }

    /// The same in another folder.
    pub fn file_in(&self, folder: &str, path: &str, content: impl AsRef<[u8]>) -> &Place {
        let path = self.path().join(folder).join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// `n` small text files of different content in a few folders.
    pub fn files(&self, n: usize) -> &Place {
        for i in 0..n {
            self.file(
                &format!("part {}/note-{i}.md", i % 7),
                format!(
                    "# Note {i}\n\n{}\n",
                    format!("words of note {i} ").repeat(1 + i % 50)
                ),
            );
        }
        self
    }

    /// objlib with this place's database, and nothing of the environment that could leak in.
    pub fn objlib(&self, args: &[&str]) -> Command {
        let mut command = Command::new(OBJLIB);
        command.args(args).current_dir(self.path());
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"OBJLIB_") {
                command.env_remove(name);
            }
        }
        for name in [
            "GOOGLE_API_KEY",
            "GEMINI_API_KEY",
            "GOOGLE_GEMINI_BASE_URL",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "http_proxy",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
            "NO_PROXY",
            "no_proxy",
            "SSL_CERT_FILE",
        ] {
            command.env_remove(name);
        }
        command.env("OBJLIB_DB", self.db());
        command.env("HOME", self.path());
        command.stdin(Stdio::null());
        command
    }

    /// `upload docs` against a service, with its key.
    pub fn upload(&self, service: &Service, args: &[&str]) -> Command {
        let mut command = self.objlib(&["upload", "docs", "--json", "--endpoint", &service.url]);
        command.args(args).env("GEMINI_API_KEY", KEY);
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("the folder of this test: {}", dir.keep().display());
        }
    }
}

/// A run that has begun and is far from its end.
pub fn begun(place: &Place, service: &Service, args: &[&str]) -> Child {
    let mut run = place
        .upload(service, &["--rpm", "0", "--concurrency", "4"])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while service.ledger().uploads() < 5 {
        assert!(run.try_wait().unwrap().is_none(), "ended too early");
        std::thread::yield_now();
    }
    run
}

/// What a finished command left behind.
pub struct Seen {
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Seen {
    #[track_caller]
    pub fn exit(self, expected: i32) -> Seen {
        assert_eq!(
            self.exit,
            Some(expected),
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// The events of `--json`.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let line = |line: &str| match serde_json::from_str(line) {
            Ok(value) => value,
            Err(e) => panic!("not JSON ({e}): {line}\n--- stderr\n{}", self.stderr),
        };
        self.stdout.lines().map(line).collect()
    }

    /// The last line, which is always the summary.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let last = self.events().pop().expect("some output");
        assert_eq!(last["event"], "summary", "{last}");
        last
    }
}

pub fn seen(output: Output) -> Seen {
    let seen = Seen {
        exit: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    for text in [&seen.stdout, &seen.stderr] {
        assert!(!text.contains(KEY), "the key was shown:\n{text}");
        assert!(!text.contains("panicked"), "a panic was shown:\n{text}");
        // A 500 of the service says this of itself.
        let ours = text.replace("An internal error has occurred.", "");
        let has_bug = ours.contains("internal error");
        assert!(!has_bug, "a panic was shown:\n{text}");
    }
    // The proof programs, which use this file as well, make errors of their own.
    #[cfg(not(feature = "proof"))]
    crate::source::all_known(&seen.stderr);
    seen
}

pub trait RunToEnd {
    fn seen(&mut self) -> Seen;
}

impl RunToEnd for Command {
    fn seen(&mut self) -> Seen {
        seen(self.output().unwrap())
    }
}

/// The service as its own process.
pub struct Service {
    child: Child,
    pub url: String,
}

impl Service {
    pub fn start(place: &Place, flags: &[&str]) -> Service {
        let data = place.path().join("service.db");
        let mut child = place
            .objlib(&["emulator", "--port", "0", "--record", "--data"])
            .arg(data)
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("the service said: {line:?}"))
            .to_owned();
        Service { child, url }
    }

    pub fn get(&self, path: &str) -> Value {
        let answer = ureq::get(format!("{}/_emulator/{path}", self.url))
            .call()
            .unwrap();
        serde_json::from_reader(answer.into_body().into_reader()).unwrap()
    }

    pub fn ledger(&self) -> Ledger {
        Ledger(self.get("ledger"))
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Value> {
        self.get("requests?after=0")["requests"]
            .as_array()
            .unwrap()
            .clone()
    }

    pub fn set_faults(&self, plan: Value) {
        ureq::put(format!("{}/_emulator/faults", self.url))
            .send(plan.to_string())
            .unwrap();
    }

    /// How often a fault fired.
    pub fn fired(&self, fault: &str) -> u64 {
        self.get("faults")["fired"][fault].as_u64().unwrap_or(0)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What really happened at the service.
pub struct Ledger(pub Value);

impl Ledger {
    pub fn requests(&self, kind: &str) -> u64 {
        self.0["requests"][kind].as_u64().unwrap_or(0)
    }

    /// Documents that were begun, by a session or in one request.
    pub fn uploads(&self) -> u64 {
        self.requests("upload.start") + self.requests("upload.multipart")
    }

    pub fn body_bytes(&self) -> u64 {
        self.0["bodyBytes"].as_u64().unwrap()
    }

    /// Every document of the store that is active, by path: how many, and the hash of its bytes.
    fn active(&self) -> BTreeMap<String, Vec<(String, u64)>> {
        let mut by_path: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
        for document in self.0["documents"].as_array().unwrap() {
            assert_eq!(document["state"], "STATE_ACTIVE", "{document}");
            assert_eq!(
                document["sha256"], document["metadataSha256"],
                "a torn document: {document}"
            );
            by_path
                .entry(document["objlibPath"].as_str().unwrap().to_owned())
                .or_default()
                .push((
                    document["sha256"].as_str().unwrap().to_owned(),
                    document["sizeBytes"].as_u64().unwrap(),
                ));
        }
        by_path
    }

    /// Exactly one active document for every file below `docs`, with its bytes, and nothing else.
    #[track_caller]
    pub fn is_exactly(&self, docs: &Path) {
        let mut wanted = BTreeMap::new();
        for_each_file(docs, &mut |path| {
            let bytes = std::fs::read(path).unwrap();
            let name = path.strip_prefix(docs).unwrap().to_str().unwrap();
            let sha256 = objlib::identity::Sha256::of(&bytes).to_string();
            wanted.insert(name.to_owned(), vec![(sha256, bytes.len() as u64)]);
        });
        assert_eq!(self.active(), wanted);
        assert_eq!(self.0["duplicates"], 0);
        assert_eq!(self.0["violations"], serde_json::json!([]));
    }
}

pub fn for_each_file(dir: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => for_each_file(&path, each),
            false => each(&path),
        }
    }
}
