//! Uploads that an agent starts, and how far they are.
//!
//! An upload is a process of its own, `objlib upload --json`, since it is to go on when the agent's session ends,
//! which ends this process: in a group of processes of its own, so that what stops the server, as clients do,
//! leaves it alone. The lock is its own as well, so whoever comes second is refused by the same rule as a
//! person. With `--emulator` it serves itself from the same file of data, and so do the tools meanwhile.
//! Promises: the key goes to it in its environment and never in an argument; what it says is read as long as
//! there is a session, and kept in a bounded form.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, PipeReader, pipe};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Toolbox, library};
use crate::app::folders::Folders;
use crate::app::upload::plan;
use crate::app::{Service, Target};
use crate::cli::settings;
use crate::error::{Error, Kind};
use crate::mcp::{Arguments, Call, Failed, ToolResult};
use crate::pipeline::rules::MethodChoice;
use crate::poison;
use crate::scan;
use crate::text::one_line;
use crate::throttle::Rpm;

/// How long a start waits for the upload to say that it has begun, or why not: what keeps it from beginning,
/// it knows at once.
const BEGINS_WITHIN: Duration = Duration::from_millis(1500);
/// Failed files, and scanned folders, that are told of by name.
const NAMED_MAX: usize = 20;
/// Of what a process says before it gives up.
const WORDS_BYTES_MAX: usize = 4096;

/// The tools that are about sending files.
pub fn is_about(tool: &str) -> bool {
    tool.starts_with("upload_")
}

/// The upload that this session has started last.
#[derive(Default)]
pub struct Uploads(Mutex<Option<Arc<Upload>>>);

struct Upload {
    store: String,
    pid: u32,
    said: Mutex<Said>,
    changed: Condvar,
}

/// What an upload has said so far.
#[derive(Default)]
struct Said {
    has_begun: bool,
    scanned: Vec<Value>,
    indexed: u64,
    failed: u64,
    failures: Vec<Value>,
    summary: Value,
    /// What it says to people: with `--quiet`, what is wrong.
    words: String,
    /// `None`: it runs. `Some(None)`: a signal has ended it.
    exit: Option<Option<i32>>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        match serde_json::from_str(line) {
            Ok(event) => self.take(event),
            Err(_) if self.words.len() + line.len() > WORDS_BYTES_MAX => {}
            Err(_) => {
                // A remedy stands behind its cause as it does in every line of ours.
                let (apart, line) = match line.strip_prefix("hint: ") {
                    Some(remedy) => (": ", remedy),
                    None => ("; ", line.strip_prefix("error: ").unwrap_or(line)),
                };
                let apart = if self.words.is_empty() { "" } else { apart };
                self.words += &(apart.to_owned() + &one_line(line.trim()));
            }
        }
    }

    fn take(&mut self, event: Value) {
        match event["event"].as_str() {
            Some("run_start") => self.has_begun = true,
            Some("scan_done") if self.scanned.len() < NAMED_MAX => self.scanned.push(event),
            Some("summary") => self.summary = event,
            Some("file") => match event["status"].as_str() {
                Some("indexed") => self.indexed += 1,
                Some("failed") => {
                    self.failed += 1;
                    if self.failures.len() < NAMED_MAX {
                        self.failures
                            .push(json!({"library": event["library"], "path": event["path"],
                                                  "error": event["error"]}));
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// Whether nothing, or not all that could be done, was done.
    fn has_stopped(&self) -> bool {
        !matches!(self.exit, None | Some(Some(0 | 3 | 4)))
    }
}

impl Toolbox {
    pub fn upload_start(&self, call: &mut Call<'_>) -> Result<ToolResult, Failed> {
        let given = &call.arguments;
        let store = self.store(given)?;
        let folder = given.text("path").map(folder).transpose()?;
        let library = library(given)?;
        if given.flag("dry_run") {
            let options = plan::Options {
                endpoint_name: settings::endpoint_name(&self.args.service)?,
                store,
                folders: Folders {
                    dirs: folder.into_iter().collect(),
                    name: library,
                    options: scan::Options::default(),
                },
                rpm: Rpm::Auto,
                method: MethodChoice::Auto,
                limit: None,
            };
            let plan = plan::plan(&options, &self.database, call.shutdown)?;
            return Ok(ToolResult {
                text: plan.to_text(),
                structured: plan.to_json(),
            });
        }
        let target = self.target(&store)?;
        let mut command = command(&self.database, &target);
        if let Some(name) = library {
            command.arg(format!("--library={name}"));
        }
        command.args(folder);
        let upload = Upload::start(command, store)?;
        let said = upload.begun();
        if said.has_stopped() {
            return Err(Failed {
                text: said.words.clone(),
                exit: said
                    .exit
                    .flatten()
                    .and_then(|exit| u8::try_from(exit).ok())
                    .unwrap_or(1),
            });
        }
        *poison::lock(&self.uploads.0) = Some(Arc::clone(&upload));
        let mut text = upload.line(&said);
        if said.exit.is_none() {
            text += "; it goes on by itself, also when this session ends: upload_status tells how far it is";
        }
        Ok(ToolResult {
            text: text + "\n",
            structured: upload.to_json(&said),
        })
    }

    pub fn upload_status(&self, given: &Arguments<'_>) -> Result<ToolResult, Failed> {
        let own = poison::lock(&self.uploads.0).clone();
        let store = match (given.text("store_name"), &own) {
            (None, Some(upload)) => upload.store.clone(),
            _ => self.store(given)?,
        };
        let (status, page) = self.status_of(&store)?;
        let own = own.filter(|upload| upload.store == store);
        let own = own
            .as_ref()
            .map(|upload| (upload, poison::lock(&upload.said)));
        let state = match status["last_run"]["outcome"].as_str() {
            Some("running") => "running",
            // It looks at the files yet, or is none: a `verify`, say.
            _ if status["worker"].is_object() => "busy",
            Some(_) => "ended",
            None => "none",
        };
        // What this session has started is over when another upload runs: that one is what is asked about.
        let own =
            own.filter(|(_, said)| said.exit.is_none() || !["running", "busy"].contains(&state));
        let Some((upload, said)) = own else {
            return Ok(ToolResult {
                text: format!("upload: {state}\n{page}"),
                structured: json!({"state": state, "status": status}),
            });
        };
        let mut structured = upload.to_json(&said);
        structured["status"] = status;
        let mut text = upload.line(&said) + "\n";
        for failure in &said.failures {
            let field = |name: &str| failure[name].as_str().unwrap_or_default();
            let line = format!(
                "failed: {}: {}: {}",
                field("library"),
                field("path"),
                field("error")
            );
            text += &(one_line(&line) + "\n");
        }
        Ok(ToolResult {
            text: text + &page,
            structured,
        })
    }
}

/// What the machine itself is made of, and where services keep their data.
const SYSTEM: [&str; 15] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin",
    "/snap", "/sys", "/usr", "/var",
];

/// A folder that an agent may send. A model that guesses must not send a whole machine.
fn folder(given: &str) -> Result<PathBuf, Error> {
    let wrong =
        |why: String, remedy: &str| Error::new(Kind::Usage, format!("path `{given}`"), why, remedy);
    let path = Path::new(given);
    if !path.is_absolute() {
        let why = "it is not absolute, and this server has no folder of its own";
        return Err(wrong(why.to_owned(), "give the whole path, from / on"));
    }
    let path = path
        .canonicalize()
        .map_err(|e| wrong(format!("cannot be used: {e}"), "check the path"))?;
    if !path.is_dir() {
        return Err(wrong(
            "it is no folder".to_owned(),
            "name the folder that the file is in",
        ));
    }
    let home = std::env::var_os("HOME").and_then(|home| Path::new(&home).canonicalize().ok());
    match kept_back(&path, home.as_deref()) {
        Some(what) => Err(wrong(
            format!("an agent may not send {what}"),
            "name another folder; if this one is meant, the user can run `objlib upload DIR`",
        )),
        None => Ok(path),
    }
}

/// What a folder is that only the user may send. `home`: the user's, if it is known.
fn kept_back(path: &Path, home: Option<&Path>) -> Option<&'static str> {
    // In some containers it is `/`, which makes nothing anybody's own.
    let home = home.filter(|home| home.parent().is_some());
    let homes = Path::new("/home");
    if path.parent().is_none_or(|above| above == homes)
        || path == homes
        || home.is_some_and(|home| home.starts_with(path))
    {
        return Some("a home folder as a whole, nor what lies above it");
    }
    let own = home.and_then(|home| path.strip_prefix(home).ok());
    // A scan leaves hidden folders out, but not one that it is told to begin with: keys lie in some.
    if own.unwrap_or(path).iter().any(is_hidden) {
        return Some("a hidden folder, nor what is in one");
    }
    let is_system = own.is_none() && SYSTEM.iter().any(|system| path.starts_with(system));
    // A disk that was plugged in.
    (is_system && !path.starts_with("/run/media"))
        .then_some("a folder of the system, nor what is in one")
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn command(database: &Path, target: &Target) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("objlib"));
    let mut command = Command::new(program);
    command
        .args(["upload", "--json", "--quiet", "--color=never", "--db"])
        .arg(database);
    command.arg(format!("--store={}", target.store));
    match &target.service {
        Service::Emulator => {
            command.arg("--emulator");
        }
        Service::Remote { endpoint, key, .. } => {
            command.arg(format!("--endpoint={}", endpoint.canonical()));
            // Above it would stand a file that this server was told to leave aside.
            command
                .env("GOOGLE_API_KEY", key.expose())
                .env_remove("OBJLIB_API_KEY_FILE");
        }
    }
    if let Some(path) = &target.ca_file {
        command.arg("--ca-file").arg(path);
    }
    command.stdin(Stdio::null()).process_group(0);
    command
}

impl Upload {
    fn start(mut command: Command, store: String) -> Result<Arc<Upload>, Error> {
        let fail = |e: std::io::Error| {
            let why = format!("cannot be started: {e}");
            Error::new(
                Kind::System,
                "upload",
                why,
                "start the session anew, or run `objlib upload`",
            )
        };
        // Both streams in one, so that one thread hears both to their ends.
        let (hears, says) = pipe().map_err(fail)?;
        command.stdout(says.try_clone().map_err(fail)?).stderr(says);
        let child = command.spawn().map_err(fail)?;
        // And with it this process' own ends of the pipe.
        drop(command);
        let upload = Arc::new(Upload {
            store,
            pid: child.id(),
            said: Mutex::default(),
            changed: Condvar::new(),
        });
        let following = Arc::clone(&upload);
        let follow = thread::Builder::new().name("upload".to_owned());
        // Without the thread nobody reads what it says, which stops no upload.
        follow
            .spawn(move || following.follow(hears, child))
            .map_err(fail)?;
        Ok(upload)
    }

    /// Hears the process to its end.
    fn follow(&self, hears: PipeReader, mut child: Child) {
        for line in BufReader::new(hears).lines().map_while(Result::ok) {
            poison::lock(&self.said).hear(&line);
            self.changed.notify_all();
        }
        let ended = child.wait();
        poison::lock(&self.said).exit = Some(ended.ok().and_then(|status| status.code()));
        self.changed.notify_all();
    }

    /// What it has said by the time that it has begun, or ended, or is at it.
    fn begun(&self) -> MutexGuard<'_, Said> {
        let until = Instant::now() + BEGINS_WITHIN;
        let mut said = poison::lock(&self.said);
        while !said.has_begun && said.exit.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            said = poison::wait(&self.changed, said, left);
        }
        said
    }

    fn line(&self, said: &Said) -> String {
        let Upload { store, pid, .. } = self;
        let counts = format!("{} indexed, {} failed", said.indexed, said.failed);
        let line = match said.exit {
            None if said.has_begun => {
                format!("the upload into store `{store}` runs (pid {pid}): {counts}")
            }
            None => format!("the upload into store `{store}` looks at the files (pid {pid})"),
            Some(Some(0)) => format!("the upload into store `{store}` is done: {counts}"),
            Some(Some(3)) => {
                format!("the upload into store `{store}` is done: {counts}, some for good")
            }
            Some(Some(4)) => format!(
                "the upload into store `{store}` ended with files left: {counts}; start it again to go on"
            ),
            Some(_) => format!(
                "the upload into store `{store}` was stopped: {counts}: {}",
                said.words
            ),
        };
        one_line(&line)
    }

    fn to_json(&self, said: &Said) -> Value {
        let state = match said.exit {
            None => "running",
            Some(_) => "ended",
        };
        let error = Some(&said.words).filter(|words| said.has_stopped() && !words.is_empty());
        json!({"state": state, "store": self.store, "pid": self.pid, "indexed": said.indexed,
               "failed": said.failed, "failures": said.failures, "scanned": said.scanned,
               "summary": said.summary, "exit": said.exit.flatten(), "error": error})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_hidden_folders_and_those_of_the_system_are_kept_back() {
        let why = |path: &str, home: &str| {
            let home = Some(Path::new(home)).filter(|_| !home.is_empty());
            kept_back(Path::new(path), home).map_or("", |what| what.split(' ').nth(1).unwrap())
        };
        for (path, home, what) in [
            ("/", "", "home"),
            ("/home", "", "home"),
            ("/home/me", "", "home"),
            ("/home/me/docs", "", ""),
            ("/data", "/data/me", "home"),
            ("/data/me", "/data/me", "home"),
            ("/home/me/.ssh/old", "/home/me", "hidden"),
            ("/srv/docs/.git", "/home/me", "hidden"),
            ("/srv/docs", "/home/me", ""),
            ("/tmp/.mine/docs", "/tmp/.mine", ""),
            ("/etc", "/home/me", "folder"),
            ("/etc/ssl", "/", "folder"),
            ("/etcetera", "/home/me", ""),
            ("/var/lib/mysql", "/home/me", "folder"),
            ("/var/home/me/docs", "/var/home/me", ""),
            ("/root", "/home/me", "folder"),
            ("/root", "/root", "home"),
            ("/root/docs", "/root", ""),
            ("/root/.aws", "/root", "hidden"),
            ("/run/user/1000", "/home/me", "folder"),
            ("/run/media/me/disk", "/home/me", ""),
        ] {
            assert_eq!(why(path, home), what, "{path} of {home:?}");
        }
    }
}
