//! Odd answers: what the service has been seen to say, or could. Each has its rule: what the run that
//! meets it may end with, and whether anything may be sent a second time. Afterwards all is exact.
//! `ODD=list` keeps to those that have the word in their name.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use objlib::identity::Sha256;
use serde_json::{Value, json};

use crate::case::Case;
use crate::power::{Named, each};
use crate::run::{KEY, Place, RunToEnd, Seen};
use crate::scripted::{Scripted, header, refuses_one_request, send};
use crate::{Options, table};

/// Of one row that is in doubt the document is on the second of three pages.
const PAGES: usize = 45;
/// So many that a fault of some odds is met, whatever the seed.
const FEW: usize = 24;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// What was there before the run that meets the answer.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// Killed when one body was sent and its answer not read.
    Crash,
    /// The same with an import.
    CrashedImport,
    /// And then the files were changed.
    CrashedImportChanged,
    /// All indexed, changed, indexed, changed back, and killed with a body in doubt: of it, and of all
    /// others, the store still lists a deleted document of the same content.
    Ghosts,
    /// All indexed; the documents deleted by hand, the files changed.
    DeletedByHand,
    /// All indexed, and the files changed.
    Changed,
}

/// Whether a file may be sent again.
#[derive(Clone, Copy, PartialEq)]
enum Sent {
    Once,
    Again,
}

struct Odd {
    what: &'static str,
    method: &'static str,
    before: Before,
    faults: Value,
    /// Of which the service is asked whether it fired.
    fault: &'static str,
    exits: &'static [i32],
    sent: Sent,
}

impl Odd {
    fn new(what: &'static str, method: &'static str, fault: &'static str, value: Value) -> Odd {
        Odd {
            what,
            method,
            before: Before::Nothing,
            faults: json!({ fault: value }),
            fault,
            exits: &[0],
            sent: Sent::Once,
        }
    }

    fn after(self, before: Before) -> Odd {
        Odd { before, ..self }
    }

    fn with(mut self, more: Value) -> Odd {
        let (Value::Object(faults), Value::Object(more)) = (&mut self.faults, more) else {
            panic!("not an object");
        };
        faults.extend(more);
        self
    }

    fn exits(self, exits: &'static [i32]) -> Odd {
        Odd { exits, ..self }
    }

    fn sent_again(self) -> Odd {
        Odd {
            sent: Sent::Again,
            ..self
        }
    }
}

/// A listing with one row in doubt: its session is over and does not say what it made, or it never had one.
fn listings(
    what: &'static str,
    fault: &'static str,
    value: Value,
    exits: &'static [i32],
) -> [Odd; 2] {
    ["session", "direct"].map(|method| {
        Odd::new(what, method, fault, value.clone())
            .after(Before::Crash)
            .with(json!({"final_not_replayed": 1.0}))
            .exits(exits)
    })
}

/// What an upload in one request meets.
fn in_one_request() -> Vec<Odd> {
    let of = |what, fault| {
        Odd::new(what, "direct", fault, json!(1.0))
            .with(json!({"only_kinds": ["upload.multipart"]}))
    };
    vec![
        of("one request is refused", "multipart_refused").sent_again(),
        of(
            "one request loses its metadata",
            "multipart_metadata_dropped",
        )
        .sent_again(),
        of("one request without an answer", "lose_answer"),
        of("one request that came to nothing", "reset_after").sent_again(),
        of("one request, answered without sense", "wrong_json"),
        of("one request, 503 and nothing made", "error_503").sent_again(),
    ]
}

fn odds() -> Vec<Odd> {
    let mut all = vec![
        Odd::new(
            "a start that is final at once",
            "session",
            "start_final",
            json!(0.4),
        )
        .sent_again(),
        Odd::new(
            "a start without an upload URL",
            "session",
            "start_no_url",
            json!(0.4),
        )
        .sent_again(),
        Odd::new(
            "an upload URL on another host",
            "session",
            "start_foreign_url",
            json!(0.4),
        )
        .sent_again(),
        Odd::new(
            "it holds fewer bytes than the file",
            "direct",
            "final_size_wrong",
            json!(0.4),
        )
        .sent_again(),
        Odd::new(
            "an end that is not told again",
            "session",
            "final_not_replayed",
            json!(1.0),
        )
        .with(json!({"lose_final_answer": 1.0})),
        Odd::new(
            "503 failed to count tokens",
            "auto",
            "count_tokens_503",
            json!(1.0),
        )
        .sent_again(),
        Odd::new(
            "503 failed to count tokens",
            "direct",
            "count_tokens_503",
            json!(1.0),
        )
        .exits(&[3])
        .sent_again(),
        Odd::new(
            "documents that `get` sees late",
            "direct",
            "get_lag_ms",
            json!(1500),
        )
        .exits(&[0, 4]),
        Odd::new(
            "403 for what is not there",
            "direct",
            "missing_403",
            json!(1.0),
        )
        .after(Before::DeletedByHand),
        Odd::new(
            "a store whose creation is not answered",
            "direct",
            "lose_answer",
            json!(1.0),
        )
        .with(json!({"only_kinds": ["store.create"], "store_lag_ms": 150})),
        Odd::new(
            "a last answer without its file",
            "staged",
            "file_no_body",
            json!(1.0),
        ),
        Odd::new(
            "a file that is taken in slowly",
            "staged",
            "file_processing_ms",
            json!(100),
        ),
        Odd::new(
            "a file that cannot be taken in",
            "staged",
            "file_fail",
            json!(0.4),
        )
        .sent_again(),
        Odd::new(
            "a file that is gone before its import",
            "staged",
            "file_kept_ms",
            json!(0),
        )
        .exits(&[3])
        .sent_again(),
        Odd::new(
            "imports without an answer",
            "staged",
            "lose_answer",
            json!(1.0),
        )
        .with(json!({"only_kinds": ["import"]}))
        // The breaker opens; what it held back loses its answer when the store was listed already.
        .exits(&[0, 4]),
        Odd::new(
            "an import in doubt, the list fails",
            "staged",
            "list_error_page2",
            json!(1.0),
        )
        .after(Before::CrashedImport)
        .exits(&[4]),
        Odd::new(
            // The documents that the others replaced are gone by then, so its own would stand on page 1.
            "an old import in doubt, the list lags",
            "staged",
            "list_lag_ms",
            json!(DAY_MS),
        )
        .after(Before::CrashedImportChanged)
        .exits(&[4]),
        Odd::new(
            "a list that shows deleted ones",
            "session",
            "list_ghost_ms",
            json!(DAY_MS),
        )
        .after(Before::Ghosts)
        .with(json!({"final_not_replayed": 1.0}))
        .exits(&[0, 4]),
    ];
    for (what, fault, value, exits) in [
        (
            "a list that lags for long",
            "list_lag_ms",
            json!(DAY_MS),
            &[4][..],
        ),
        (
            "a list that fails on page 2",
            "list_error_page2",
            json!(1.0),
            &[4],
        ),
        (
            "a list that repeats a page",
            "list_repeat_page",
            json!(1.0),
            &[0],
        ),
        (
            "a list that loses a page",
            "list_lose_page",
            json!(1.0),
            &[4],
        ),
        (
            "a list that loses one of a page",
            "list_lose_one",
            json!(1.0),
            &[0, 4],
        ),
    ] {
        all.extend(listings(what, fault, value, exits));
    }
    // The deleted ones make up the number, and the database knows them. Whether the page in question is lost
    // is luck, which is tried several times.
    for method in ["direct", "session"].repeat(3) {
        all.push(
            Odd::new(
                "a list that hides some and shows deleted ones",
                method,
                "list_lose_page",
                json!(0.5),
            )
            .after(Before::Ghosts)
            .with(json!({"list_ghost_ms": DAY_MS, "final_not_replayed": 1.0}))
            .exits(&[0, 4]),
        );
    }
    all.extend(in_one_request());
    // Many are looked at by pages of the listing: what these hide or refuse costs looks, and nothing else.
    for (what, fault, value) in [
        (
            "pages that lose one, under way",
            "list_lose_one",
            json!(0.5),
        ),
        (
            "pages that are empty, under way",
            "list_lose_page",
            json!(0.5),
        ),
        (
            "pages that repeat, under way",
            "list_repeat_page",
            json!(1.0),
        ),
        ("pages that fail, under way", "list_error_page2", json!(1.0)),
        ("pages that lag, under way", "list_lag_ms", json!(DAY_MS)),
        (
            "page tokens that are refused",
            "page_token_refused",
            json!(1.0),
        ),
    ] {
        let slow = json!({"operation_delay_ms": 300, "operation_jitter_ms": 300});
        all.push(Odd::new(what, "direct", fault, value).with(slow));
    }
    for method in ["direct", "session", "staged"] {
        let of = |what, fault, value| Odd::new(what, method, fault, value);
        // The direct way has the document's name, and looks at its operation only if that is not well.
        let unwell = match method {
            "staged" => json!({}),
            _ => json!({"document_fail": 1.0, "document_heals_ms": 1000}),
        };
        all.extend([
            of("deletions that fail", "error_503", json!(1.0))
                .after(Before::Changed)
                .with(json!({"only_kinds": ["document.delete", "file.delete"]}))
                .exits(&[4]),
            of(
                "a poll that returns only a name",
                "poll_name_only",
                json!(1.0),
            )
            .with(unwell.clone()),
            of(
                "an operation that never ends",
                "operation_never_done",
                json!(1.0),
            )
            .with(unwell),
            of("done, and the document failed", "document_fail", json!(1.0))
                .exits(&[3])
                .sent_again(),
            of(
                "failed, and heals in its grace",
                "document_heals_ms",
                json!(1000),
            )
            .with(json!({"document_fail": 1.0})),
            of("an operation that fails", "operation_fail", json!(1.0))
                .exits(&[3])
                .sent_again(),
            // An import without a sensible answer waits for the next run when the store was listed already.
            // A look for the store that gets no such answer three times in a row ends the run.
            of("answers that are no JSON", "wrong_json", json!(0.2))
                .exits(&[0, 1, 4])
                .sent_again(),
            of("answers that are cut", "cut_answer", json!(0.2))
                .exits(&[0, 4])
                .sent_again(),
            of("answers that are empty", "empty_answer", json!(0.2))
                .exits(&[0, 1, 4])
                .sent_again(),
            of("answers that are HTML", "html_502", json!(0.2))
                .exits(&[0, 4])
                .sent_again(),
            of("answers that drip", "drip_ms", json!(1)),
            of("answers that never come", "stall", json!(0.15))
                .with(json!({"stall_ms": 3000}))
                .exits(&[0, 4])
                .sent_again(),
            of("503 without a word", "empty_503", json!(0.2))
                .exits(&[0, 4])
                .sent_again(),
            of("errors in an array", "array_envelope", json!(1.0))
                .with(json!({"error_503": 0.2}))
                .exits(&[0, 4])
                .sent_again(),
        ]);
    }
    all
}

impl Odd {
    fn args(&self) -> [&'static str; 6] {
        [
            "--method",
            match self.method {
                "session" => "direct",
                method => method,
            },
            "--max-attempts",
            "30",
            "--passes",
            // Only deletions are left where they fail: what a user waits for them is enough.
            match self.before {
                Before::Changed => "3",
                _ => "30",
            },
        ]
    }

    fn files(&self) -> usize {
        match self.before {
            Before::Crash
            | Before::CrashedImport
            | Before::CrashedImportChanged
            | Before::Ghosts => PAGES,
            Before::Nothing | Before::DeletedByHand | Before::Changed => FEW,
        }
    }

    /// Where the process dies with one upload in doubt.
    fn in_doubt(&self) -> &'static str {
        match self.method {
            "direct" => "after upload#30",
            _ => "after body#30",
        }
    }

    fn prepare(&self, case: &Case) {
        let alone = [&self.args()[..], &["--concurrency", "1"]].concat();
        let rewrite = |words: &str| {
            for i in 0..self.files() {
                let path = format!("part {}/note-{i}.md", i % 7);
                case.place.file(&path, format!("{words} of note {i}"));
            }
        };
        match self.before {
            Before::Nothing => {}
            Before::Crash => assert!(case.crash(0, &alone, self.in_doubt())),
            Before::CrashedImport => assert!(case.crash(0, &alone, "after import#30")),
            Before::CrashedImportChanged => {
                assert!(case.crash(0, &alone, "after import#30"));
                rewrite("new words");
            }
            Before::Ghosts => {
                rewrite("the first words");
                case.finish(&self.args());
                case.service.set_faults(json!({"list_ghost_ms": DAY_MS}));
                rewrite("other words");
                case.finish(&self.args());
                rewrite("the first words");
                assert!(case.crash(0, &alone, self.in_doubt()));
            }
            Before::Changed => {
                case.finish(&self.args());
                rewrite("new words");
                case.place.file("larger.txt", "new words".repeat(9000));
            }
            Before::DeletedByHand => {
                case.finish(&self.args());
                let ledger = case.service.ledger().0;
                for document in ledger["documents"].as_array().unwrap() {
                    let name = document["name"].as_str().unwrap();
                    let url = format!("{}/v1beta/{name}?force=true", case.service.url);
                    let deleted = ureq::delete(url).header("x-goog-api-key", KEY).call();
                    deleted.unwrap();
                }
                rewrite("new words");
                case.place.file("larger.txt", "new words".repeat(9000));
            }
        }
    }

    /// How often every file has had to be sent by the end.
    fn rounds(&self) -> usize {
        match self.before {
            Before::Nothing
            | Before::Crash
            | Before::CrashedImport
            | Before::CrashedImportChanged => 1,
            Before::DeletedByHand | Before::Changed => 2,
            Before::Ghosts => 3,
        }
    }

    fn run(&self, seed: &str) -> Vec<String> {
        let _named = Named(format!("{}, {}", self.what, self.method));
        let refused = f64::from(u8::from(self.method == "session"));
        let flags = [
            "--fault-seed",
            seed,
            "--multipart-refused",
            &refused.to_string(),
        ];
        let case = Case::new(self.files(), &flags);
        self.prepare(&case);
        let before = case.service.fired(self.fault);
        case.service.set_faults(self.faults.clone());
        let seen = case.upload(0, &self.args()).seen();
        let fired = case.service.fired(self.fault) - before;
        assert!(fired > 0, "{} never fired", self.fault);
        let exit = seen.exit.expect("an exit code");
        assert!(
            self.exits.contains(&exit),
            "exit {exit}\n{}\n{}",
            seen.stdout,
            seen.stderr
        );
        if exit == 1 {
            let ledger = case.service.ledger();
            let sent = ledger.uploads() + ledger.requests("file.start");
            assert_eq!(sent, 0, "ended in the middle\n{}", seen.stderr);
        }
        // What is not known yet may be there; nothing else is said to be.
        let verdict = case.verdict();
        let claimed = verdict.indexed.saturating_sub(verdict.files - verdict.lost);
        case.calm();
        case.service.set_faults(json!({
            "drip_ms": 0, "get_lag_ms": 0, "list_lag_ms": 0, "list_ghost_ms": 0,
            "file_processing_ms": 0, "multipart_refused": refused
        }));
        let runs = 1 + case.finish(&[&self.args()[..], &["--retry-failed"]].concat());
        case.exact();
        let ledger = case.service.ledger();
        let starts = match self.method {
            // What is refused is not sent.
            "session" => ledger.requests("upload.start"),
            _ => ledger.uploads() + ledger.requests("file.start"),
        };
        let due = ((self.files() + 1) * self.rounds()) as u64;
        let due = match self.before {
            // The larger file has the same content all the time.
            Before::Ghosts => due - 2,
            // Thirty had been sent before, the larger file, which stayed as it was, among them.
            Before::CrashedImportChanged => due + 29,
            _ => due,
        };
        if self.sent == Sent::Once {
            assert_eq!(starts, due, "sent again");
        }
        vec![
            self.what.to_owned(),
            self.method.to_owned(),
            fired.to_string(),
            exit.to_string(),
            runs.to_string(),
            (starts - due).to_string(),
            claimed.to_string(),
        ]
    }
}

/// The end of an upload is told a byte at a time, without an end: the client gives up on that answer, and
/// asks for the session instead. The emulator drips too fast for this.
fn a_last_answer_that_never_ends() {
    const BYTE_EVERY: Duration = Duration::from_millis(20);
    const DONE: &str = r#"{"name": "fileSearchStores/s-1/upload/operations/o", "response": {"documentName": "fileSearchStores/s-1/documents/d"}}"#;
    let place = Place::new();
    place.file("note.md", "words");
    let url: Arc<Mutex<String>> = Arc::default();
    let own = Arc::clone(&url);
    let service = Scripted::start(move |request, stream| {
        if refuses_one_request(request, stream) {
            return;
        }
        let command = header(&request.head, "x-goog-upload-command");
        match (request.line.split(' ').nth(1), command) {
            (_, Some("start")) => {
                let url = own.lock().unwrap();
                let session = format!(
                    "x-goog-upload-status: active\r\nx-goog-upload-url: {url}/upload?upload_id=1\r\n"
                );
                send(stream, 200, &session, "");
            }
            (_, Some("query")) => {
                send(stream, 200, "x-goog-upload-status: final\r\n", DONE);
            }
            (_, Some(_)) => {
                let head = "HTTP/1.1 200 OK\r\nx-goog-upload-status: final\r\n\r\n{";
                let mut said = stream.write_all(head.as_bytes());
                while said.is_ok() {
                    std::thread::sleep(BYTE_EVERY);
                    said = stream.write_all(b" ");
                }
            }
            (Some(path), None) if path.contains("/documents/") => {
                let document = r#"{"name": "fileSearchStores/s-1/documents/d", "state": "STATE_ACTIVE", "sizeBytes": "5"}"#;
                send(stream, 200, "", document);
            }
            _ => {
                let stores = r#"{"fileSearchStores": [{"name": "fileSearchStores/s-1", "displayName": "objlib"}]}"#;
                send(stream, 200, "", stores);
            }
        }
    });
    *url.lock().unwrap() = service.url.clone();
    let mut upload = place.objlib(&["upload", "docs", "-q", "--endpoint", &service.url]);
    // Of the minute that an answer may take, a three hundredth: ten bytes.
    upload.env("OBJLIB_HASTE", "300").env("GEMINI_API_KEY", KEY);
    upload.seen().exit(0);
    let sent = service.requests("POST");
    let commands: Vec<_> = sent
        .iter()
        .filter_map(|r| header(&r.head, "x-goog-upload-command"))
        .collect();
    assert_eq!(commands, ["start", "upload, finalize", "query"]);
    println!("a last answer that never ends: given up, asked for, not sent again");
}

const STORE: &str = "fileSearchStores/s-1";
/// What the key could reach, and objlib has no business with.
const FOREIGN: &str = "fileSearchStores/other-9/documents/d";

/// A service with one store that lists one document, and ends every body with these words. `{metadata}` in
/// the listing stands for what the last start gave; before a start such a document is not there.
fn with_listing(listing: &'static str, ended: &'static str) -> Scripted {
    let (url, metadata): (Arc<Mutex<String>>, Arc<Mutex<String>>) = Default::default();
    let own = Arc::clone(&url);
    let service = Scripted::start(move |request, stream| {
        if refuses_one_request(request, stream) {
            return;
        }
        let command = header(&request.head, "x-goog-upload-command");
        let path = request.line.split(' ').nth(1).unwrap_or_default();
        let active = "x-goog-upload-status: active\r\n";
        match (path, command) {
            (_, Some("start")) => {
                let json: Value = serde_json::from_slice(&request.body).unwrap();
                *metadata.lock().unwrap() = json["customMetadata"].to_string();
                let url = own.lock().unwrap();
                let session = format!("{active}x-goog-upload-url: {url}/upload?upload_id=1\r\n");
                send(stream, 200, &session, "");
            }
            (_, Some(_)) => send(stream, 200, "x-goog-upload-status: final\r\n", ended),
            (path, None) if path.contains("/documents?") => {
                let known = metadata.lock().unwrap();
                send(stream, 200, "", &listing.replace("{metadata}", &known));
            }
            (path, None) if path.contains("/documents/") => {
                let document = json!({"name": "any", "state": "STATE_ACTIVE", "sizeBytes": "5"});
                send(stream, 200, "", &document.to_string());
            }
            (path, None) => {
                let is_there =
                    !listing.contains("{metadata}") || !metadata.lock().unwrap().is_empty();
                let count = u8::from(is_there).to_string();
                let store =
                    json!({"name": STORE, "displayName": "objlib", "activeDocumentsCount": count});
                let stores = json!({"fileSearchStores": [store]});
                let answer = if path.contains(STORE) { store } else { stores };
                send(stream, 200, "", &answer.to_string());
            }
        }
    });
    *url.lock().unwrap() = service.url.clone();
    service
}

fn objlib(place: &Place, service: &Scripted, args: &[&str]) -> Seen {
    let mut command = place.objlib(args);
    command.args(["--endpoint", &service.url]);
    command.env("OBJLIB_HASTE", "50").env("GEMINI_API_KEY", KEY);
    command.seen()
}

/// Requests that name the foreign store, or could change anything.
fn meddling(service: &Scripted) -> Vec<String> {
    let lines = service.requests("").into_iter().map(|request| request.line);
    lines
        .filter(|line| line.contains("other-9") || line.starts_with("DELETE"))
        .collect()
}

/// Such a listing proves nothing: nothing is concluded, sent or deleted, there or here.
fn a_listing_that_names_another_store() {
    let place = Place::new();
    place.file("note.md", "words");
    let sha256 = Sha256::of(b"words");
    let listing: &'static str = json!({"documents": [{"name": FOREIGN, "state": "STATE_ACTIVE",
        "sizeBytes": "5", "customMetadata": [
            {"key": "objlib_library", "stringValue": "docs"},
            {"key": "objlib_path", "stringValue": "note.md"},
            {"key": "objlib_sha256", "stringValue": sha256.to_string()}]}]})
    .to_string()
    .leak();
    let service = with_listing(listing, "{}");
    objlib(&place, &service, &["upload", "docs", "-q"]).exit(4);
    let seen = objlib(
        &place,
        &service,
        &["verify", "--repair", "--max-share", "100"],
    )
    .exit(1);
    assert!(seen.stderr.contains("cannot tell"), "{}", seen.stderr);
    assert!(service.requests("POST").is_empty(), "something was sent");
    assert_eq!(meddling(&service), [""; 0]);
    println!(
        "a listing that names another store's document: exit 4, nothing sent, nothing deleted"
    );
}

/// That document is not what was sent: the listing of the own store has it, and only there it is looked at.
fn a_body_that_ends_in_another_store() {
    let place = Place::new();
    place.file("note.md", "words");
    let service = with_listing(
        r#"{"documents": [{"name": "fileSearchStores/s-1/documents/d", "state": "STATE_ACTIVE", "sizeBytes": "5", "customMetadata": {metadata}}]}"#,
        r#"{"name": "fileSearchStores/other-9/upload/operations/o", "response": {"documentName": "fileSearchStores/other-9/documents/d"}}"#,
    );
    let seen = objlib(&place, &service, &["upload", "docs", "--json"]).exit(0);
    assert_eq!(seen.summary()["adopted"], 1);
    let commands = service.requests("POST");
    let commands = commands
        .iter()
        .filter_map(|r| header(&r.head, "x-goog-upload-command"));
    assert!(commands.eq(["start", "upload, finalize"]), "sent again");
    assert_eq!(meddling(&service), [""; 0]);
    println!("a body that ends in another store's document: found in its own, not sent again");
}

/// The run ends with one line; with `--recreate-store` everything is sent into a new one.
fn a_store_that_was_deleted() {
    const FILES: usize = 5;
    let case = Case::new(FILES, &[]);
    case.finish(&[]);
    let starts = || case.service.ledger().uploads();
    let store = case.service.ledger().0["documents"][0]["store"].clone();
    let url = format!(
        "{}/v1beta/{}?force=true",
        case.service.url,
        store.as_str().unwrap()
    );
    let deleted = ureq::delete(url).header("x-goog-api-key", KEY).call();
    deleted.unwrap();
    let seen = case.upload(0, &[]).seen().exit(1);
    let lines: Vec<&str> = seen.stderr.lines().collect();
    let [_error, hint] = lines.as_slice() else {
        panic!("not an error and its hint:\n{}", seen.stderr);
    };
    assert!(hint.contains("--recreate-store"), "{hint}");
    assert_eq!(starts(), FILES as u64 + 1, "something was sent");
    case.upload(0, &["--recreate-store"]).seen().exit(0);
    assert_eq!(starts(), 2 * (FILES as u64 + 1));
    case.exact();
    println!(
        "a store that was deleted: exit 1 and one error; --recreate-store sends everything again"
    );
}

pub fn run(options: &Options) {
    a_last_answer_that_never_ends();
    a_listing_that_names_another_store();
    a_body_that_ends_in_another_store();
    a_store_that_was_deleted();
    let seed = options.seed.to_string();
    let only = std::env::var("ODD").unwrap_or_default();
    let odds: Vec<Odd> = odds()
        .into_iter()
        .filter(|o| o.what.contains(&only))
        .collect();
    let mut rows = each(odds, |odd| odd.run(&seed));
    rows.sort();
    table(
        &[
            "what the service says",
            "method",
            "fired",
            "exit",
            "runs",
            "sent again",
            "falsely indexed",
        ],
        &rows,
    );
    assert!(rows.iter().all(|row| row[6] == "0"), "said to be indexed");
}
