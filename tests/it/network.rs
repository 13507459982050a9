use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;

use objlib::emulator::{Emulator, Options, Tls};
use serde_json::{Value, json};

use crate::run::{KEY, Place, RunToEnd, Seen, Service};
use crate::scripted::{Request, Scripted, send};

const STORE: &str =
    r#"{"fileSearchStores": [{"name": "fileSearchStores/s-1", "displayName": "objlib"}]}"#;

fn upload(place: &Place, url: &str, args: &[&str]) -> Seen {
    let mut command = place.objlib(&["upload", "docs", "--json", "--rpm", "0", "--endpoint", url]);
    command.args(args).env("GEMINI_API_KEY", KEY).seen()
}

#[track_caller]
fn is_one_line(seen: &Seen, words: &[&str]) {
    assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
    for word in words {
        assert!(seen.stderr.contains(word), "no `{word}` in {}", seen.stderr);
    }
}

/// What the database says of the files afterwards.
fn counts(place: &Place) -> (u64, u64) {
    let status = place.objlib(&["status", "--json"]).seen().exit(0);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let count = |name: &str| status[name].as_u64().unwrap();
    (count("pending"), count("failed"))
}

/// The service has another address, and its store is known there.
fn is_now_at(place: &Place, url: &str) {
    let db = rusqlite::Connection::open(place.db()).unwrap();
    let changed = db
        .execute("UPDATE stores SET endpoint = ?1", [url])
        .unwrap();
    assert_eq!(changed, 1);
}

/// The store is known, then somebody else answers in the service's place.
fn behind_a_portal(
    files: usize,
    attempts: &str,
    answer: impl Fn(&mut TcpStream) + Send + Sync + 'static,
) -> (Place, Seen) {
    let place = Place::new();
    // By sessions, which can be asked: an upload in one request stays in doubt.
    for i in 0..files {
        place.file(
            &format!("large-{i}.md"),
            "words of a large file\n".repeat(13_000),
        );
    }
    let found = AtomicUsize::new(0);
    let service = Scripted::start(move |request: &Request, stream| {
        match request.line.starts_with("GET /v1beta/fileSearchStores?") {
            true if found.fetch_add(1, Relaxed) == 0 => send(stream, 200, "", STORE),
            _ => answer(stream),
        }
    });
    let args = [
        "--max-attempts",
        attempts,
        "--passes",
        "1",
        "--concurrency",
        "2",
    ];
    let seen = upload(&place, &service.url, &args);
    (place, seen)
}

#[track_caller]
fn no_file_is_blamed(answer: impl Fn(&mut TcpStream) + Send + Sync + 'static, words: &str) {
    // An attempt that were charged would be the last.
    let (place, seen) = behind_a_portal(3, "1", answer);
    let seen = seen.exit(4);
    assert_eq!(seen.summary()["failed"], 0, "{}", seen.stdout);
    assert_eq!(counts(&place), (3, 0));
    let status = place.objlib(&["status"]).seen().exit(0);
    assert!(status.stdout.contains(words), "{}", status.stdout);
}

#[test]
fn a_login_page_in_the_place_of_the_service_blames_no_file() {
    const PAGE: &str = "<!doctype html><title>Welcome to the hotel</title>";
    no_file_is_blamed(|s| send(s, 200, "", PAGE), "Welcome to the hotel");
    let to_login = "location: http://login.hotel/\r\n";
    no_file_is_blamed(
        move |s| send(s, 302, to_login, ""),
        "leads to http://login.hotel/",
    );
    no_file_is_blamed(|s| send(s, 511, "", PAGE), "Welcome to the hotel");
    no_file_is_blamed(|s| send(s, 403, "", PAGE), "Welcome to the hotel");
    no_file_is_blamed(|s| send(s, 405, "", PAGE), "Welcome to the hotel");
}

/// After five in a row the breaker is open.
#[test]
fn nobody_hammers_on_a_login_page() {
    let (place, seen) = behind_a_portal(12, "5", |s| send(s, 200, "", "<html>Log in</html>"));
    let requests = seen.exit(4).summary()["requests"].as_u64().unwrap();
    assert!((5..=8).contains(&requests), "{requests} requests");
    assert_eq!(counts(&place), (12, 0));
}

/// Something in between spoils an answer now and then, of whatever the store is looked up with.
#[test]
fn a_spoiled_answer_does_not_end_the_look_for_the_store() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &[]);
    let spoiled = |number: u64| json!({"call": number, "kind": "wrong_json"});
    let calls = [1, 2, 4, 5, 6].map(spoiled);
    service.set_faults(json!({"calls": calls}));
    let seen = upload(&place, &service.url, &[]).exit(0);
    assert_eq!(seen.summary()["indexed"], 3, "{}", seen.stdout);
    assert_eq!(service.fired("calls"), 5);
}

#[test]
fn an_answer_that_is_no_object_blames_no_file() {
    no_file_is_blamed(|s| send(s, 200, "", "[]"), "no answer of the service: []");
    no_file_is_blamed(|s| send(s, 200, "", "OK"), "no answer of the service: OK");
    no_file_is_blamed(|s| send(s, 200, "", ""), "no answer of the service");
}

#[test]
fn what_speaks_no_http_blames_no_file() {
    no_file_is_blamed(
        |s| {
            let _ = s.write_all(b"SSH-2.0-OpenSSH_9.7\r\n\r\n");
            let _ = s.shutdown(std::net::Shutdown::Both);
        },
        "does not speak HTTP",
    );
}

/// A page that says "not found" must not make documents look deleted.
#[test]
fn a_login_page_deletes_nothing_and_sends_nothing_again() {
    let place = Place::new();
    place.files(5);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    let portal = Scripted::start(|_, stream| send(stream, 404, "", "<html>Log in</html>"));
    is_now_at(&place, &portal.url);
    let args = ["verify", "--repair", "--endpoint", &portal.url];
    let seen = place
        .objlib(&args)
        .env("GEMINI_API_KEY", KEY)
        .seen()
        .exit(1);
    is_one_line(&seen, &["no answer of the service", "Log in", "login page"]);
    assert_eq!(counts(&place), (0, 0));
    assert!(portal.requests("DELETE").is_empty());
}

/// A service over TLS, with the certificate of a file beside this one; and its address, by the name that this has.
fn over_tls(certificate: &str) -> (Emulator, String) {
    let file = format!("{}/tests/it/{certificate}", env!("CARGO_MANIFEST_DIR"));
    let service = Emulator::start(Options {
        tls: Some(Tls::of(file.as_ref(), file.as_ref()).unwrap()),
        ..Options::default()
    })
    .unwrap();
    let url = service.url().replace("127.0.0.1", "localhost");
    (service, url)
}

/// Of an authority that only `--ca-file` knows.
#[test]
fn a_certificate_of_the_users_own_authority_is_trusted_when_its_file_is_named() {
    let place = Place::new();
    place.file("note.md", "x\n".repeat(200_000));
    let (service, url) = over_tls("own.pem");
    upload(&place, &url, &["--no-progress"]).exit(1);
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/own-ca.pem");
    upload(&place, &url, &["--ca-file", authority]).exit(0);
    let ledger = service.ledger().unwrap();
    assert_eq!(ledger["documents"].as_array().unwrap().len(), 1, "{ledger}");
}

/// The run ends at once, and the files wait.
#[test]
fn a_certificate_without_trust_stops_the_run() {
    let (_service, url) = over_tls("untrusted.pem");
    // Once when the store is looked for, and once when it is known and the workers are the first to ask.
    for known in [false, true] {
        let place = Place::new();
        place.files(3);
        if known {
            let service = Service::start(&place, &[]);
            place.upload(&service, &["--rpm", "0"]).seen().exit(0);
            is_now_at(&place, &url);
            place.files(6);
        }
        let seen = upload(&place, &url, &["--no-progress", "--max-attempts", "1"]).exit(1);
        is_one_line(
            &seen,
            &["no trust in the certificate of localhost", "--ca-file"],
        );
        assert_eq!(counts(&place), (3, 0));
    }
}

/// What a portal does that answers plain HTTP where TLS is spoken.
#[test]
fn plain_http_in_the_place_of_tls_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://login/\r\n\r\n");
        }
    });
    let place = Place::new();
    place.files(3);
    let url = format!("https://localhost:{port}");
    let seen = upload(&place, &url, &["--no-progress"]).exit(1);
    is_one_line(&seen, &["does not speak TLS", "login page"]);
    assert_eq!(counts(&place), (3, 0));
}

#[test]
fn a_list_of_stores_without_end_is_given_up() {
    let place = Place::new();
    place.files(1);
    let page = Arc::new(AtomicUsize::new(0));
    let service = Scripted::start(move |_, stream| {
        let n = page.fetch_add(1, Relaxed);
        let stores: Vec<Value> = (0..20)
            .map(|i| json!({"name": format!("fileSearchStores/{n}-{i}"), "displayName": "other"}))
            .collect();
        let page = json!({"fileSearchStores": stores, "nextPageToken": format!("{n}")});
        send(stream, 200, "", &page.to_string());
    });
    let seen = upload(&place, &service.url, &["--no-progress"]).exit(1);
    is_one_line(&seen, &["the list of stores does not end"]);
    assert_eq!(service.requests("GET").len(), 1000);
}

#[test]
fn of_stores_with_the_same_name_no_more_are_read_than_are_told() {
    let place = Place::new();
    place.files(1);
    let service = Scripted::start(|_, stream| {
        let stores: Vec<Value> = (0..20)
            .map(|i| json!({"name": format!("fileSearchStores/s-{i}"), "displayName": "objlib"}))
            .collect();
        let page = json!({"fileSearchStores": stores, "nextPageToken": "more"});
        send(stream, 200, "", &page.to_string());
    });
    let seen = upload(&place, &service.url, &["--no-progress"]).exit(1);
    is_one_line(
        &seen,
        &["stores have this name", "fileSearchStores/s-9", "--store"],
    );
    assert_eq!(service.requests("GET").len(), 1);
}

/// With an address that is nobody's, so that a direct connection would fail otherwise.
fn through(place: &Place, variables: &[(&str, &str)]) -> Command {
    let endpoint = "https://objlib.invalid";
    let mut command = place.objlib(&["upload", "docs", "--no-progress", "--endpoint", endpoint]);
    command.env("GEMINI_API_KEY", KEY);
    command.envs(variables.iter().copied());
    command
}

#[test]
fn a_proxy_variable_that_cannot_be_used_is_wrong_usage() {
    let place = Place::new();
    place.files(1);
    for (name, value) in [
        ("HTTPS_PROXY", "http://user:secret@"),
        ("https_proxy", "socks5://user:secret@127.0.0.1:1080"),
        ("ALL_PROXY", "ftp://user:secret@127.0.0.1"),
        ("HTTP_PROXY", "user:secret@127.0.0.1:port"),
    ] {
        let seen = through(&place, &[(name, value)]).seen().exit(2);
        is_one_line(&seen, &[name]);
        assert!(!seen.stderr.contains("secret"), "{}", seen.stderr);
    }
    assert!(!place.db().exists(), "something was begun");
}

#[test]
fn a_proxy_is_used_unless_the_host_is_excepted() {
    let place = Place::new();
    place.files(1);
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let all = Arc::clone(&asked);
    let proxy = Scripted::start(move |request, stream| {
        all.lock().unwrap().push(request.line.clone());
        send(stream, 407, "", "who are you?");
    });
    let address = proxy.url.replace("http://", "http://user:secret@");
    let seen = through(&place, &[("HTTPS_PROXY", &address)]).seen().exit(1);
    is_one_line(
        &seen,
        &["the proxy at 127.0.0.1:", "does not connect", "407"],
    );
    assert!(!seen.stderr.contains("secret"), "{}", seen.stderr);
    let first = asked.lock().unwrap()[0].clone();
    assert_eq!(first, "CONNECT objlib.invalid:443 HTTP/1.1");
    asked.lock().unwrap().clear();
    // Nobody's name cannot be found, whatever is tried.
    let excepted = [
        ("HTTPS_PROXY", &address[..]),
        ("NO_PROXY", "localhost, .invalid"),
    ];
    let seen = through(&place, &excepted).seen().exit(4);
    assert!(!seen.stderr.contains("proxy does"), "{}", seen.stderr);
    assert!(asked.lock().unwrap().is_empty());
}

/// The run would go to Google instead, or find no key.
#[test]
fn a_variable_that_cannot_be_read_is_not_taken_for_one_that_is_not_set() {
    let place = Place::new();
    place.file("a.md", "words");
    let bad = OsStr::from_bytes(b"http://127.0.0.1:1/\xff");
    let run = |name: &str, value: &OsStr| {
        let mut upload = place.objlib(&["upload", "docs", "-q"]);
        if name == "GOOGLE_GEMINI_BASE_URL" {
            upload.env("GEMINI_API_KEY", KEY);
        }
        let seen = upload.env(name, value).seen().exit(2);
        assert_eq!(
            seen.stderr.matches("--endpoint").count(),
            0,
            "{}",
            seen.stderr
        );
        assert!(!place.db().exists());
        seen.stderr
    };
    for name in ["GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY", "GOOGLE_API_KEY"] {
        let said = format!("error: {name}: what it holds is not UTF-8");
        let stderr = run(name, bad);
        assert!(stderr.starts_with(&said), "{stderr}");
    }
    let stderr = run("GOOGLE_GEMINI_BASE_URL", "foo".as_ref());
    assert!(
        stderr.starts_with("error: GOOGLE_GEMINI_BASE_URL: foo: not an address"),
        "{stderr}"
    );
    let stderr = run("OBJLIB_STORE", bad);
    assert!(
        stderr.starts_with("error: not UTF-8: OBJLIB_STORE\n"),
        "{stderr}"
    );
    for args in [
        [OsStr::new("--library"), bad].as_slice(),
        &[OsStr::from_bytes(b"--library=\xff")],
    ] {
        let mut upload = place.objlib(&["upload", "docs", "-q"]);
        let stderr = upload.args(args).seen().exit(2).stderr;
        assert!(
            stderr.starts_with("error: not UTF-8: `--library`\n"),
            "{stderr}"
        );
    }
}
