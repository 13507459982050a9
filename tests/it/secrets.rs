use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, LazyLock, Mutex};

use crate::run::{KEY, Place, RunToEnd, Seen, for_each_file};
use crate::scripted::{Request, Scripted, header, is_one_request, send};

/// An identifier of a session as Google makes them; the number of the file is put before it.
const SESSION: &str = "ABPtcPr0KeepThisSecretToo";

/// Written here bit by bit, so that nothing is shared with what is tested.
fn base64(text: &str, last: &[u8; 2]) -> String {
    let digits: Vec<u8> = (b'A'..=b'Z')
        .chain(b'a'..=b'z')
        .chain(b'0'..=b'9')
        .chain(*last)
        .collect();
    let bits: String = text.bytes().map(|b| format!("{b:08b}")).collect();
    let whole = bits.len() / 6 * 6;
    (0..whole)
        .step_by(6)
        .map(|i| usize::from_str_radix(&bits[i..i + 6], 2).unwrap())
        .map(|n| digits[n] as char)
        .collect()
}

/// The ways in which a service may quote the key, all of them legal within a JSON string.
fn forms() -> Vec<(&'static str, String)> {
    let each = |format: &dyn Fn(u8) -> String| KEY.bytes().map(format).collect::<String>();
    vec![
        ("as it is", KEY.to_owned()),
        ("lower case", KEY.to_lowercase()),
        ("api_key:KEY", format!("project 1, api_key:{KEY}")),
        ("?key=KEY", format!("https://host/v1beta/x?key={KEY}")),
        ("percent", each(&|b| format!("%{b:02X}"))),
        ("percent twice", each(&|b| format!("%25{b:02x}"))),
        ("JSON", each(&|b| format!("\\u{b:04x}"))),
        ("HTML, decimal", each(&|b| format!("&#{b};"))),
        ("HTML, hex", each(&|b| format!("&#x{b:X};"))),
        ("HTML in JSON", each(&|b| format!("\\u0026#{b};"))),
        ("base64", base64(KEY, b"+/")),
        ("base64, within", base64(&format!("k={KEY}"), b"-_")),
        ("hex", each(&|b| format!("{b:02x}"))),
        ("HEX", each(&|b| format!("{b:02X}"))),
        ("cut short", KEY[..20].to_owned()),
    ]
}

/// What of the key is in these bytes, in which form. Case and backslashes are no hiding place.
fn leak(bytes: &[u8]) -> Option<&'static str> {
    static NEEDLES: LazyLock<Vec<(&str, String)>> = LazyLock::new(|| {
        let inner = |form: String| {
            let form = plain(&form);
            // Of base64 the ends hold bits of what stands beside it.
            form[form.len() / 4..form.len() / 4 + 15].to_owned()
        };
        let forms = forms().into_iter();
        forms.map(|(name, form)| (name, inner(form))).collect()
    });
    let text = plain(&String::from_utf8_lossy(bytes));
    let mut found = NEEDLES.iter().filter(|(_, form)| text.contains(form));
    found.next().map(|(name, _)| *name)
}

fn plain(text: &str) -> String {
    text.replace('\\', "").to_ascii_lowercase()
}

fn holds_session(text: &str) -> bool {
    text.to_lowercase().contains(&SESSION.to_lowercase())
}

/// Where the key is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Spot {
    /// Every field, header and reason of answers that succeed.
    Successes,
    StartEnvelope,
    StartDetails,
    StartText,
    StartChunked,
    /// The last answer of a body, which ends the session.
    BodyEnvelope,
    OperationError,
    /// The first look at each document breaks off within the key.
    CutAnswer,
    ListEnvelope,
    ListText,
    ListPage,
    ListPage403,
    ListWrongJson,
    ListRedirect,
    StoreNames,
    Suspended,
}

/// Those in which each file meets another form.
const BY_FILE: [Spot; 8] = [
    Spot::Successes,
    Spot::StartEnvelope,
    Spot::StartDetails,
    Spot::StartText,
    Spot::StartChunked,
    Spot::BodyEnvelope,
    Spot::OperationError,
    Spot::CutAnswer,
];

/// Those that end a run at once: a run for each form.
const BY_RUN: [Spot; 8] = [
    Spot::ListEnvelope,
    Spot::ListText,
    Spot::ListPage,
    Spot::ListPage403,
    Spot::ListWrongJson,
    Spot::ListRedirect,
    Spot::StoreNames,
    Spot::Suspended,
];

/// A service that quotes the key, and looks over the shoulder of its client at every request.
struct Parrot {
    spot: Spot,
    /// For answers that are about no file.
    form: usize,
    forms: Vec<(&'static str, String)>,
    folder: PathBuf,
    url: Mutex<String>,
    looks: Mutex<BTreeMap<String, u32>>,
    leaks: Mutex<Vec<String>>,
    planted: Mutex<u32>,
}

impl Parrot {
    fn start(place: &Place, spot: Spot, form: usize) -> (Arc<Parrot>, Scripted) {
        let parrot = Arc::new(Parrot {
            spot,
            form,
            forms: forms(),
            folder: place.path().to_owned(),
            url: Mutex::default(),
            looks: Mutex::default(),
            leaks: Mutex::default(),
            planted: Mutex::default(),
        });
        let own = Arc::clone(&parrot);
        let service = Scripted::start(move |request, stream| own.answer(request, stream));
        *parrot.url.lock().unwrap() = service.url.clone();
        (parrot, service)
    }

    fn quoted(&self, n: usize) -> String {
        *self.planted.lock().unwrap() += 1;
        self.forms[n].1.clone()
    }

    /// The form in a success, or nothing.
    fn also(&self, n: usize) -> String {
        match self.spot {
            Spot::Successes => self.quoted(n),
            _ => String::new(),
        }
    }

    /// Headers that quote it, and the session: real answers have the first of them.
    fn headers(&self, n: usize) -> String {
        match self.spot {
            Spot::Successes => format!(
                "x-guploader-uploadid: {0}\r\nx-request-id: {1}\r\nx-debug: {1}\r\nlocation: /?{1}\r\n",
                session(n),
                self.quoted(n)
            ),
            _ => String::new(),
        }
    }

    fn answer(&self, request: &Request, stream: &mut TcpStream) {
        // By the time of a look everything that was said before is committed.
        if request.line.starts_with("GET") {
            self.look_around();
        }
        let n = file_of(request).unwrap_or(self.form);
        let command = header(&request.head, "x-goog-upload-command");
        let path = request.line.split(' ').nth(1).unwrap();
        let name = format!("form-{n:02}");
        let also = self.also(n);
        let headers = self.headers(n);
        match (&request.line[..3], command) {
            _ if is_one_request(request) => {
                let message = format!("odd: {}", self.quoted(n));
                let body = format!(r#"{{"error": {{"code": 400, "message": "{message}"}}}}"#);
                send(stream, 400, &headers, &body);
            }
            ("DEL", _) => send(stream, 200, &headers, "{}"),
            (_, Some("start")) => self.start_answer(n, stream),
            (_, Some("upload, finalize")) => self.end_answer(n, stream),
            (_, Some(_)) => {
                let state = "x-goog-upload-status: cancelled\r\n";
                send(stream, 200, &format!("{headers}{state}"), "");
            }
            ("GET", _) if path.contains("/operations/") => {
                let quoted = self.quoted(n);
                let body = format!(
                    r#"{{"name": "fileSearchStores/s-1/upload/operations/{name}", "done": true,
                        "error": {{"code": 3, "message": "no way, {quoted}"}}}}"#
                );
                send(stream, 200, &headers, &body);
            }
            ("GET", _) if path.contains("/documents/") => {
                let document = format!(
                    r#""name": "fileSearchStores/s-1/documents/{}", "displayName": "{also}""#,
                    self.document(n)
                );
                let first = *self
                    .looks
                    .lock()
                    .unwrap()
                    .entry(name)
                    .and_modify(|n| *n += 1)
                    .or_default()
                    == 0;
                match self.spot {
                    Spot::CutAnswer if first => {
                        let quoted = self.quoted(n);
                        let _ = write!(
                            stream,
                            "HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n{{\"name\": \"{quoted}"
                        );
                        let _ = stream.shutdown(std::net::Shutdown::Both);
                    }
                    Spot::OperationError => {
                        let body = format!(r#"{{{document}, "state": "STATE_FAILED"}}"#);
                        send(stream, 200, &headers, &body);
                    }
                    _ => {
                        let body = format!(r#"{{{document}, "state": "STATE_ACTIVE"}}"#);
                        send(stream, 200, &headers, &body);
                    }
                }
            }
            ("GET", _) if path.contains("/documents?") => self.documents(stream),
            ("GET", _) if path.ends_with("fileSearchStores/s-1") => {
                let count = self.forms.len();
                let body = format!(
                    r#"{{"name": "fileSearchStores/s-1", "displayName": "objlib{also}", "activeDocumentsCount": "{count}"}}"#
                );
                send(stream, 200, &headers, &body);
            }
            _ => self.list_answer(stream),
        }
    }

    fn start_answer(&self, n: usize, stream: &mut TcpStream) {
        let envelope = |message: &str, more: &str| {
            format!(r#"{{"error": {{"code": 400, "message": "{message}", {more} "status": "S"}}}}"#)
        };
        match self.spot {
            Spot::StartEnvelope => {
                let message = format!("odd: {} (upload_id={})", self.quoted(n), session(n));
                send(stream, 400, &self.headers(n), &envelope(&message, ""));
            }
            Spot::StartDetails => {
                let quoted = self.quoted(n);
                let more = format!(
                    r#""details": [{{"reason": "{quoted}", "metadata": {{"consumer": "{quoted}"}}}}],"#
                );
                send(stream, 400, "", &envelope("odd", &more));
            }
            Spot::StartText => send(stream, 400, "", &format!("odd: {}", self.quoted(n))),
            Spot::StartChunked => {
                let text = format!("odd: {}", self.quoted(n));
                let (a, b) = text.split_at(text.len() / 2);
                let _ = write!(
                    stream,
                    "HTTP/1.1 400 {a}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
                    a.len(),
                    b.len()
                );
            }
            _ => {
                let url = self.url.lock().unwrap().clone();
                let also = match self.forms[n].0 {
                    // What has no place in an address.
                    name if name.contains("HTML") || name == "JSON" || name.contains("KEY") => {
                        String::new()
                    }
                    _ => format!("&key={}", self.also(n)),
                };
                let headers = format!(
                    "{}x-goog-upload-status: active\r\nx-goog-upload-url: {url}/upload/x?upload_id={}{also}\r\n",
                    self.headers(n),
                    session(n)
                );
                send(stream, 200, &headers, &self.also(n));
            }
        }
    }

    fn end_answer(&self, n: usize, stream: &mut TcpStream) {
        let headers = format!("{}x-goog-upload-status: final\r\n", self.headers(n));
        if self.spot == Spot::BodyEnvelope {
            let (url, quoted) = (self.url.lock().unwrap().clone(), self.quoted(n));
            let message = format!("odd: {quoted}, {url}/upload/x?upload_id={}", session(n));
            let body = format!(r#"{{"error": {{"code": 400, "message": "{message}"}}}}"#);
            return send(stream, 400, &headers, &body);
        }
        let also = self.also(n);
        let body = format!(
            r#"{{"name": "fileSearchStores/s-1/upload/operations/form-{n:02}", "metadata": "{also}",
                "response": {{"documentName": "fileSearchStores/s-1/documents/form-{n:02}", "parent": "{also}"}}}}"#
        );
        send(stream, 200, &headers, &body);
    }

    /// For `verify`: the documents of this run, which are not what they were; and others, whose paths
    /// quote the key.
    fn documents(&self, stream: &mut TcpStream) {
        let document = |name: &str, path: &str| {
            format!(
                r#"{{"name": "fileSearchStores/s-1/documents/{name}", "state": "STATE_ACTIVE",
                    "customMetadata": [{{"key": "objlib_path", "stringValue": "{path}"}},
                    {{"key": "objlib_sha256", "stringValue": "{:064}"}}]}}"#,
                0
            )
        };
        // Where each document is to be looked at by itself, no page shows it.
        let shown = match self.spot {
            Spot::OperationError | Spot::CutAnswer => 0,
            _ => self.forms.len(),
        };
        let documents: Vec<String> = (0..shown)
            .flat_map(|n| {
                let path = format!("{n} {}", self.also(n));
                let own = document(&self.document(n), &path);
                [own, document(&format!("other-{n}"), &path)]
            })
            .collect();
        let body = format!(r#"{{"documents": [{}]}}"#, documents.join(","));
        send(stream, 200, &self.headers(0), &body);
    }

    /// A name that quotes the key, where it has a place for it: not for a space or a question mark.
    fn document(&self, n: usize) -> String {
        match self.forms[n].0.contains("KEY") {
            true => format!("form-{n:02}"),
            false => format!("form-{n:02}{}", self.also(n)),
        }
    }

    fn list_answer(&self, stream: &mut TcpStream) {
        let quoted = self.quoted(self.form);
        let text = format!("odd: {quoted}");
        let page = format!("<html><title>{quoted}</title></html>");
        match self.spot {
            Spot::ListEnvelope => {
                let body = format!(r#"{{"error": {{"code": 400, "message": "{text}"}}}}"#);
                send(stream, 400, "", &body);
            }
            Spot::ListText => send(stream, 400, "", &text),
            Spot::ListPage => send(stream, 200, "content-type: text/html\r\n", &page),
            Spot::ListPage403 => send(stream, 403, "content-type: text/html\r\n", &page),
            Spot::ListWrongJson => send(stream, 200, "", &format!(r#"{{"a": "{quoted}", "file"#)),
            Spot::ListRedirect => {
                let location = format!("location: https://login/?{quoted}\r\n");
                send(stream, 302, &location, &text);
            }
            Spot::StoreNames => {
                let store = |n| {
                    format!(
                        r#"{{"name": "fileSearchStores/{n}-{quoted}", "displayName": "objlib"}}"#
                    )
                };
                let body = format!(r#"{{"fileSearchStores": [{}, {}]}}"#, store(1), store(2));
                send(stream, 200, "", &body);
            }
            Spot::Suspended => {
                let body = format!(
                    r#"{{"error": {{"code": 403, "status": "PERMISSION_DENIED",
                        "message": "Permission denied: Consumer 'api_key:{quoted}' has been suspended.",
                        "details": [{{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "CONSUMER_SUSPENDED",
                        "metadata": {{"consumer": "projects/1", "containerInfo": "api_key:{quoted}"}}}}]}}}}"#
                );
                send(stream, 403, "", &body);
            }
            _ => {
                let also = self.also(0);
                let body = format!(
                    r#"{{"fileSearchStores": [{{"name": "fileSearchStores/s-1", "displayName": "objlib", "x": "{also}"}}]}}"#
                );
                send(stream, 200, &self.headers(0), &body);
            }
        }
    }

    /// While the client waits for its answer, its database is open, with all that is in the log.
    fn look_around(&self) {
        self.leaks.lock().unwrap().extend(leaks_in(&self.folder));
    }
}

fn session(n: usize) -> String {
    format!("form-{n:02}-{SESSION}")
}

/// The file that a request is about, by the number in its name.
fn file_of(request: &Request) -> Option<usize> {
    let text = format!(
        "{} {}",
        request.line,
        String::from_utf8_lossy(&request.body)
    );
    let at = text.find("form-")? + 5;
    text[at..at + 2].parse().ok()
}

fn leaks_in(folder: &Path) -> Vec<String> {
    let mut leaks = Vec::new();
    for_each_file(folder, &mut |path| {
        // A log may be deleted while it is looked for.
        let found = fs::read(path).ok().and_then(|bytes| leak(&bytes));
        leaks.extend(found.map(|form| format!("{form} in {}", path.display())));
    });
    leaks
}

/// Everything that a user can ask for afterwards, in words and as JSON.
fn outputs(place: &Place, service: &Scripted, upload: &[&str], spot: Spot) -> Vec<(String, Seen)> {
    let remote = ["--endpoint", &service.url];
    let fast = ["--rpm", "0", "--max-attempts", "1", "--concurrency", "3"];
    let upload = [&["upload", "docs"], upload, &remote, &fast].concat();
    let verify = [&["verify", "-v"][..], &remote].concat();
    let verify_json = [&["verify", "--json"][..], &remote].concat();
    let statuses: [&[&str]; 5] = [
        &["status"],
        &["status", "-v"],
        &["status", "--failed"],
        &["status", "--json"],
        &["status", "--failed", "--json"],
    ];
    let mut commands = vec![&upload[..]];
    // Where the list of stores is the end, nothing is there to be asked for afterwards.
    if BY_FILE.contains(&spot) {
        commands.extend(statuses);
    }
    // At its own pace of a request a second.
    if spot == Spot::Successes {
        commands.extend([&verify[..], &verify_json]);
    }
    commands
        .into_iter()
        .map(|args| {
            let mut command = place.objlib(args);
            (
                args[..args.len().min(2)].join(" "),
                command.env("GEMINI_API_KEY", KEY).seen(),
            )
        })
        .collect()
}

/// Runs it, and looks for the secrets everywhere. How often the key was planted, and how often the word
/// that stands for it was seen.
fn hunt(spot: Spot, form: usize, files: usize) -> (u32, usize, Vec<(String, Seen)>) {
    let (mut planted, mut cut, mut all) = (0, 0, Vec::new());
    let modes = match BY_RUN.contains(&spot) {
        true => &["-v", "--json"][form % 2..][..1],
        false => &["-v", "--json"],
    };
    for mode in modes {
        let place = Place::new();
        for n in 0..files {
            place.file(&format!("form-{n:02}.md"), format!("words of {n}"));
        }
        let (parrot, service) = Parrot::start(&place, spot, form);
        let outputs = outputs(&place, &service, &[mode], spot);
        for (command, seen) in &outputs {
            for text in [&seen.stdout, &seen.stderr] {
                assert_eq!(leak(text.as_bytes()), None, "{spot:?}, {command}:\n{text}");
                assert!(!holds_session(text), "{spot:?}, {command}:\n{text}");
                cut += text.matches("[key]").count();
            }
        }
        let mut leaks = parrot.leaks.lock().unwrap().clone();
        leaks.extend(leaks_in(place.path()));
        assert!(leaks.is_empty(), "{spot:?}: {leaks:?}");
        planted += *parrot.planted.lock().unwrap();
        all.extend(outputs);
    }
    (planted, cut, all)
}

fn row(spot: Spot, forms: usize, planted: u32, cut: usize) {
    println!(
        "{:<14} {forms:>5} {planted:>8} {cut:>9} {:>6}",
        format!("{spot:?}"),
        0
    );
}

#[test]
fn the_planted_key_is_found_nowhere() {
    let forms = forms().len();
    println!(
        "{:<14} {:>5} {:>8} {:>9} {:>6}",
        "planted in", "forms", "planted", "cut, seen", "found"
    );
    for spot in BY_FILE {
        let (planted, cut, outputs) = hunt(spot, 0, forms);
        row(spot, forms, planted, cut);
        assert!(planted as usize >= forms, "{spot:?} was not met");
        let failed: Vec<&Seen> = of(&outputs, "status --failed");
        match spot {
            // Each file's own words are shown, so each form was.
            Spot::StartEnvelope
            | Spot::StartText
            | Spot::StartChunked
            | Spot::BodyEnvelope
            | Spot::OperationError => {
                for seen in failed {
                    let shown = seen.stdout.matches("[key]").count();
                    assert!(shown > 0, "{spot:?}:\n{}", seen.stdout);
                }
                let upload = &of(&outputs, "upload docs")[0].stderr;
                let shown = upload.matches("[key]").count();
                assert!(shown >= forms, "{spot:?}: {shown} of {forms}\n{upload}");
            }
            Spot::Successes => {
                // A name with the key in it is no name of this store: it is said once, and not used.
                let verify = of(&outputs, "verify -v")[0];
                let all = format!("{}\n{}", verify.stdout, verify.stderr);
                assert!(all.contains("[key]"), "{spot:?}:\n{all}");
            }
            _ => {}
        }
    }
    for spot in BY_RUN {
        let (mut planted, mut cut) = (0, 0);
        for form in 0..forms {
            let (n, m, outputs) = hunt(spot, form, 1);
            let exit = if spot == Spot::Suspended { 6 } else { 1 };
            for seen in of(&outputs, "upload docs") {
                assert_eq!(seen.exit, Some(exit), "{spot:?}: {}", seen.stderr);
                let words = seen.stderr.matches("[key]").count();
                assert!(words > 0, "{spot:?}: {}", seen.stderr);
            }
            (planted, cut) = (planted + n, cut + m);
        }
        row(spot, forms, planted, cut);
    }
}

fn of<'o>(outputs: &'o [(String, Seen)], command: &str) -> Vec<&'o Seen> {
    let own = outputs.iter().filter(|(name, _)| name == command);
    own.map(|(_, seen)| seen).collect()
}

#[test]
fn a_suspended_key_ends_the_run_with_its_own_exit_code_and_words() {
    let place = Place::new();
    place.file("form-00.md", "words");
    let (_, service) = Parrot::start(&place, Spot::Suspended, 0);
    let mut upload = place.objlib(&[
        "upload",
        "docs",
        "--no-progress",
        "--endpoint",
        &service.url,
    ]);
    let seen = upload.env("GEMINI_API_KEY", KEY).seen().exit(6);
    let words = "Consumer 'api_key:[key]' has been suspended";
    assert!(seen.stderr.contains(words), "{}", seen.stderr);
    assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
}

#[test]
fn a_path_that_names_the_key_is_not_sent() {
    let place = Place::new();
    let name = format!("my {KEY}.md");
    place.file(&name, "words");
    let service = Scripted::start(|request, stream| {
        let body = String::from_utf8_lossy(&request.body);
        assert!(!body.contains(KEY), "sent");
        send(stream, 200, "", STORES);
    });
    let run = |args: &[&str], exit| {
        let mut command = place.objlib(args);
        command.env("GEMINI_API_KEY", KEY).seen().exit(exit)
    };
    let shown = "docs: my [key].md";
    // Known to be the key, it is not even recorded.
    run(&["upload", "docs", "-q", "--endpoint", &service.url], 3);
    let skipped = run(&["status", "--skipped"], 0).stdout;
    assert!(
        skipped.contains(shown) && skipped.contains("contains the API key"),
        "{skipped}"
    );
    for path in [place.db(), place.db().with_extension("db-wal")] {
        if path.exists() {
            assert_eq!(leak(&fs::read(path).unwrap()), None);
        }
    }
    // Scanned where no key was known, it is.
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let mut upload = place.objlib(&["upload", "-q", "--endpoint", &service.url]);
    // Its name is the user's own to see; so the key's absence is not looked for.
    let output = upload.env("GEMINI_API_KEY", KEY).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("contains the API key"), "{stderr}");
    assert!(service.requests("POST").is_empty());
    for json in [&[][..], &["--json"]] {
        let failed = run(&[&["status", "--failed"], json].concat(), 0).stdout;
        assert!(failed.contains("my [key].md"), "{failed}");
    }
}

#[test]
fn a_key_file_that_others_can_read_gets_a_warning() {
    let place = Place::new();
    let file = place.path().join("the key");
    fs::write(&file, format!("{KEY}\n")).unwrap();
    let service = Scripted::start(|_, stream| send(stream, 400, "", "no"));
    let run = |path: &str| {
        let args = ["verify", "--endpoint", &service.url, "--api-key-file", path];
        let mut child = place.objlib(&args);
        child.stdin(Stdio::from(fs::File::open(&file).unwrap()));
        child.seen().stderr
    };
    place.file("a.md", "words");
    place.objlib(&["scan", "docs"]).seen().exit(0);
    for (mode, warned) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let stderr = run("the key");
        let warnings: Vec<&str> = stderr
            .lines()
            .filter(|l| l.contains("chmod 600 'the key'"))
            .collect();
        assert_eq!(warnings.len(), usize::from(warned), "{mode:o}: {stderr}");
        assert!(!run("-").contains("chmod"));
    }
}

#[test]
fn a_key_in_the_wrong_place_is_not_shown() {
    let place = Place::new();
    place.file("a.md", "words");
    let with_query = format!("https://host/?key={KEY}");
    let with_user = format!("https://{KEY}@host");
    for (args, exit) in [
        (["--endpoint", &with_query], 2),
        (["--endpoint", &with_user], 2),
        (["--endpoint", KEY], 2),
        (["--api-key-file", KEY], 6),
    ] {
        let args = [&["upload", "docs"][..], &args].concat();
        let mut command = place.objlib(&args);
        let seen = command
            .env("GEMINI_API_KEY", "another-key-0123")
            .seen()
            .exit(exit);
        assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
    }
}

/// The list of stores, and the store.
const STORES: &str = r#"{"name": "fileSearchStores/s-1", "displayName": "objlib",
    "fileSearchStores": [{"name": "fileSearchStores/s-1", "displayName": "objlib"}]}"#;

/// A name, or a description, is recorded and sent to where others read it.
#[test]
fn a_key_where_a_name_was_meant_is_refused_before_anything_is_recorded() {
    let place = Place::new();
    place.file("a.md", "words");
    let service = Scripted::start(|_, stream| send(stream, 500, "", "nothing should be asked"));
    let rules = place.path().join("rules.json");
    let text = format!(r#"{{"rules": [{{"path": ".*", "constants": {{"k": "{KEY}"}}}}]}}"#);
    fs::write(&rules, text).unwrap();
    let refused = |args: &[&str], option: &str| {
        let mut command = place.objlib(args);
        let seen = command.env("GEMINI_API_KEY", KEY).seen().exit(2);
        let all = format!("{}{}", seen.stdout, seen.stderr);
        let said = format!("{option}: it contains the API key");
        assert!(all.contains(&said), "{args:?}: {all}");
    };
    let set = format!("k=my {KEY}");
    for (option, value) in [
        ("--set", &*set),
        ("--library", KEY),
        ("--metadata", rules.to_str().unwrap()),
    ] {
        refused(&["scan", "docs", option, value], option);
        for mode in ["-v", "--json", "--dry-run"] {
            let upload = ["upload", "docs", mode, "--endpoint", &service.url];
            refused(&[&upload[..], &[option, value]].concat(), option);
        }
    }
    let remote = ["--endpoint", &service.url];
    refused(
        &[&["upload", "docs", "--store", KEY][..], &remote].concat(),
        "store",
    );
    refused(&[&["store", "create", KEY][..], &remote].concat(), "store");
    assert!(service.requests("").is_empty());
    assert!(!place.db().exists());

    place.objlib(&["scan", "docs"]).seen().exit(0);
    refused(&["library", "rename", "docs", KEY], "NEW");
}

#[test]
fn what_describes_a_file_is_not_sent_with_the_key_in_it() {
    let place = Place::new();
    place.file("a.md", "words");
    place.file("a.md.meta.json", format!(r#"{{"k": "{KEY}"}}"#));
    let service = Scripted::start(|request, stream| {
        assert!(
            !String::from_utf8_lossy(&request.body).contains(KEY),
            "sent"
        );
        send(stream, 200, "", STORES);
    });
    let run = |args: &[&str]| {
        let mut command = place.objlib(args);
        command.env("GEMINI_API_KEY", KEY).seen()
    };
    // Met by a scan that knew of no key.
    let other = Place::new();
    other.file("a.md", "words");
    other.file("a.md.meta.json", format!(r#"{{"k": "{KEY}"}}"#));
    other.objlib(&["scan", "docs"]).seen().exit(0);
    let mut upload = other.objlib(&["upload", "-q", "--method", "direct"]);
    upload.args(["--endpoint", &service.url]);
    upload.env("GEMINI_API_KEY", KEY).seen().exit(3);
    let failed = other.objlib(&["status", "--failed"]).seen().stdout;
    assert!(
        failed.contains("its metadata contain the API key"),
        "{failed}"
    );

    run(&["scan", "docs"]).exit(3);
    let skipped = run(&["status", "--skipped"]).stdout;
    assert!(skipped.contains("contain the API key"), "{skipped}");
    run(&["upload", "docs", "-q", "--endpoint", &service.url]).exit(3);
    let database = [place.db(), place.db().with_extension("db-wal")];
    for path in database.iter().filter(|path| path.exists()) {
        assert_eq!(leak(&fs::read(path).unwrap()), None);
    }
}
