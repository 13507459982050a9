//! Hostile and careless clients of the emulator, over plain HTTP; and what is done to its data file.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::emulator::{Answer, Raw};
use crate::run::{OBJLIB, Place, RunToEnd, seen};

/// Says these bytes; everything that comes back until the service ends the connection by itself.
#[track_caller]
fn say(raw: &Raw, bytes: &[u8]) -> String {
    let address = raw.service.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    // A service that keeps the connection fails the test instead of holding it up.
    let patience = Duration::from_secs(20);
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

/// Asks with these headers and for the end of the connection; status and body.
#[track_caller]
fn ask(raw: &Raw, target: &str, headers: &[&str]) -> (u16, Value) {
    let mut head = format!("{target} HTTP/1.1\r\nconnection: close\r\nx-goog-api-key: k\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    let said = say(raw, format!("{head}\r\n").as_bytes());
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[track_caller]
fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_default()
}

#[test]
fn only_a_loopback_host_is_answered() {
    let raw = Raw::start(&[]);
    let before = raw.service.ledger().0["requestsTotal"].clone();
    for target in [
        "GET /v1beta/fileSearchStores",
        "GET /_emulator/ledger",
        "PUT /_emulator/faults",
        "POST /upload/v1beta/files?upload_id=x",
        "GET /nothing",
    ] {
        let (status, answer) = ask(&raw, target, &["host: rebound.example.com"]);
        assert_eq!(status, 403, "{target}");
        assert!(message(&answer).contains("rebound.example.com"), "{answer}");
        let (status, answer) = ask(&raw, target, &[]);
        assert_eq!(status, 400, "{target}");
        assert_eq!(message(&answer), "The Host header is missing.");
        let two = ["host: localhost", "host: rebound.example.com"];
        assert_eq!(ask(&raw, target, &two).0, 403, "{target}");
    }
    assert_eq!(raw.service.ledger().0["requestsTotal"], before);
    for host in ["LOCALHOST", "127.9.8.7:1", "[::1]:8765"] {
        let host = format!("host: {host}");
        let (status, _) = ask(&raw, "GET /v1beta/fileSearchStores", &[&host]);
        assert_eq!(status, 200, "{host}");
    }
}

#[test]
fn no_page_of_another_site_is_answered() {
    let raw = Raw::start(&[]);
    let ask = |target: &str, origin: &str| {
        let origin = format!("origin: {origin}");
        ask(&raw, target, &["host: localhost", &origin]).0
    };
    for target in ["GET /v1beta/fileSearchStores", "GET /_emulator/ledger"] {
        for origin in [
            "https://example.com",
            "null",
            "http://localhost.example.com",
        ] {
            assert_eq!(ask(target, origin), 403, "{target} {origin}");
        }
        assert_eq!(ask(target, "http://localhost:3000"), 200, "{target}");
    }
}

#[test]
fn a_head_request_gets_a_head() {
    let raw = Raw::start(&[]);
    let said = say(
        &raw,
        b"HEAD /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n\
          GET /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    );
    // The second answer begins where the first one's head ends.
    let (first, second) = said.split_once("\r\n\r\n").unwrap();
    assert!(first.starts_with("HTTP/1.1 404 "), "{said}");
    assert!(first.contains("\r\nContent-Length: 9"), "{said}");
    assert!(second.starts_with("HTTP/1.1 404 "), "{said}");
}

#[test]
fn close_is_seen_among_other_tokens_and_in_any_case() {
    let raw = Raw::start(&[]);
    for request in [
        "HTTP/1.1\r\nconnection: keep-alive, Close",
        "HTTP/1.1\r\nconnection: x\r\nconnection: CLOSE",
        "HTTP/1.0",
    ] {
        let request = format!("GET /nothing {request}\r\nhost: localhost\r\n\r\n");
        // Returns only if the service ends the connection.
        let said = say(&raw, request.as_bytes());
        assert!(said.contains("\r\nConnection: close\r\n"), "{said}");
    }
}

#[test]
fn a_json_body_that_is_too_long_is_refused_and_not_cut() {
    let raw = Raw::start(&[]);
    let limit = 1 << 20;
    // Cut at the limit it would still be JSON.
    let mut body = br#"{"displayName": "long"}"#.to_vec();
    body.resize(limit, b' ');
    let url = format!("{}/v1beta/fileSearchStores", raw.service.url);
    let send = |body: &[u8]| raw.send("POST", &url, &[], Some(body)).unwrap();
    assert_eq!(send(&body).status, 200);
    body.push(b' ');
    let refused = send(&body);
    assert_eq!(refused.status, 400);
    assert_eq!(
        message(&refused.json()),
        "Request payload size exceeds the limit: 1048576 bytes."
    );
    let stores = raw.get("fileSearchStores").json();
    assert_eq!(stores["fileSearchStores"].as_array().unwrap().len(), 2);
    let url = format!("{}/_emulator/faults", raw.service.url);
    let refused = raw.send("PUT", &url, &[], Some(&body)).unwrap();
    assert_eq!(refused.status, 400);
}

#[test]
fn a_plan_that_is_no_object_is_refused() {
    let raw = Raw::start(&[]);
    let url = format!("{}/_emulator/faults", raw.service.url);
    let refused = raw.send("PUT", &url, &[], Some(b"[1]")).unwrap();
    assert_eq!(refused.status, 400, "{refused:?}");
}

#[test]
fn a_file_that_is_not_called_as_a_file_can_be_is_refused() {
    let raw = Raw::start(&[]);
    for name in ["files/äöüäöüäöüäöüäöüäöü", "files/a%20b", "A", "-a", "a/b"] {
        let begun = raw.begin("files", json!({"file": {"name": name}}));
        assert_eq!(begun.status, 400, "{name}");
        assert_eq!(begun.json()["error"]["status"], "INVALID_ARGUMENT");
    }
    let begun = raw.begin("files", json!({"file": {"name": "files/my-file-1"}}));
    let done = raw.end(begun.upload("url"), "one").unwrap();
    assert_eq!(done.json()["file"]["name"], "files/my-file-1");
}

/// Ids that no resource can have, whatever bytes they are made of.
#[test]
fn ids_of_any_letters_get_the_ordinary_refusals() {
    let raw = Raw::start(&[]);
    let id = "ä€😀".repeat(10);
    let escaped: String = id.bytes().map(|b| format!("%{b:02x}")).collect();
    let path = format!("{}:importFile", raw.store);
    let imported = raw.post(&path, json!({"fileName": format!("files/{id}")}));
    assert_eq!(imported.status, 403, "{imported:?}");
    for (path, status) in [
        (format!("files/{escaped}"), 403),
        (format!("fileSearchStores/{escaped}"), 400),
        (format!("{}/documents/{escaped}", raw.store), 400),
        (format!("{}/operations/%ff%00%0d%0a", raw.store), 404),
        ("fileSearchStores/%2e%2e".to_owned(), 400),
        ("fileSearchStores/%2e%2e%2fx".to_owned(), 404),
    ] {
        assert_eq!(raw.get(&path).status, status, "{path}");
    }
}

#[test]
fn a_name_that_is_taken_ends_the_upload() {
    let raw = Raw::start(&[]);
    let upload = || {
        let begun = raw.begin("files", json!({"file": {"name": "files/same"}}));
        let url = begun.upload("url").to_owned();
        (raw.end(&url, "one").unwrap(), url)
    };
    assert_eq!(upload().0.status, 200);
    let (refused, url) = upload();
    assert_eq!((refused.status, refused.upload("status")), (409, "final"));
    let asked = raw.query(&url);
    assert_eq!((asked.status, asked.upload("status")), (409, "final"));
    assert_eq!(asked.body, refused.body);
}

#[test]
fn an_upload_into_a_store_that_was_deleted_meanwhile_fails() {
    let raw = Raw::start(&[]);
    let begun = raw.begin(&raw.store, json!({"displayName": "a.txt"}));
    let url = begun.upload("url");
    assert_eq!(raw.delete(&raw.store).status, 200);
    let ended = raw.end(url, "one").unwrap();
    assert_eq!((ended.status, ended.upload("status")), (403, "final"));
    assert_eq!(ended.json()["error"]["status"], "PERMISSION_DENIED");
    let asked = raw.query(url);
    assert_eq!((asked.status, asked.upload("status")), (403, "final"));
    let ledger = raw.service.ledger().0;
    assert_eq!(ledger["documents"], json!([]));
    assert_eq!(ledger["sessions"], json!({"final": 1}));
}

/// One more byte than a document may have, whatever was announced.
#[test]
fn the_size_limit_holds_for_what_arrives() {
    let raw = Raw::start(&["--loose", "announced-length"]);
    let limit = 104_857_600;
    let url = format!(
        "{}/upload/v1beta/{}:uploadToFileSearchStore",
        raw.service.url, raw.store
    );
    let start = |length: &str| {
        let headers = [
            ("x-goog-upload-protocol", "resumable"),
            ("x-goog-upload-command", "start"),
            ("x-goog-upload-header-content-length", length),
        ];
        raw.send("POST", &url, &headers, Some(b"{}")).unwrap()
    };
    assert_eq!(start(&(limit + 1).to_string()).status, 400);
    let bytes = vec![b'x'; limit + 1];
    let send = |url: &str, command: &str, offset: usize, body: &[u8]| -> Answer {
        let offset = offset.to_string();
        let headers = [
            ("x-goog-upload-command", command),
            ("x-goog-upload-offset", offset.as_str()),
        ];
        raw.send("POST", url, &headers, Some(body)).unwrap()
    };
    // Not announced at all, and announced too small; at once, and with the last byte alone.
    for (length, first) in [("", bytes.len()), ("5", limit)] {
        let begun = start(length);
        let url = begun.upload("url");
        if first == limit {
            let sent = send(url, "upload", 0, &bytes[..first]);
            assert_eq!((sent.status, sent.upload("status")), (200, "active"));
        }
        let ended = send(
            url,
            "upload, finalize",
            first % bytes.len(),
            &bytes[first % bytes.len()..],
        );
        assert_eq!((ended.status, ended.upload("status")), (400, "final"));
        let words = message(&ended.json()).to_owned();
        assert_eq!(words, "File size exceeds the limit of 104857600 bytes.");
        assert_eq!(raw.query(url).upload("status"), "final");
    }
    assert_eq!(raw.service.ledger().0["documents"], json!([]));
}

#[test]
fn a_list_of_stores_goes_on_where_it_was_when_stores_are_deleted() {
    let raw = Raw::start(&[]);
    let mut names = vec![raw.store.clone()];
    for i in 0..5 {
        let made = raw.post("fileSearchStores", json!({"displayName": format!("t{i}")}));
        names.push(made.json()["name"].as_str().unwrap().to_owned());
    }
    let page = |token: &str| {
        let page = raw.get(&format!("fileSearchStores?pageSize=2&pageToken={token}"));
        let page = page.json();
        let stores = page["fileSearchStores"].as_array().cloned();
        let shown: Vec<String> = stores
            .into_iter()
            .flatten()
            .map(|s| s["name"].as_str().unwrap().to_owned())
            .collect();
        let next = page["nextPageToken"].as_str().map(str::to_owned);
        (shown, next)
    };
    let (shown, next) = page("");
    assert_eq!(shown, names[..2]);
    // Of those that were shown, and the one after them.
    for gone in [0, 1, 2] {
        assert_eq!(raw.delete(&names[gone]).status, 200);
    }
    let (shown, next) = page(&next.unwrap());
    assert_eq!(shown, names[3..5]);
    // The last one goes and another one comes: its place in the order is new.
    assert_eq!(raw.delete(&names[5]).status, 200);
    let made = raw
        .post("fileSearchStores", json!({"displayName": "new"}))
        .json();
    let (shown, next) = page(&next.unwrap());
    assert_eq!((json!(shown), next), (json!([made["name"]]), None));
}

#[test]
fn the_ledger_tells_documents_apart_by_store_and_library() {
    let raw = Raw::start(&[]);
    let other = raw.post("fileSearchStores", json!({"displayName": "other"}));
    let other = other.json()["name"].as_str().unwrap().to_owned();
    let upload = |store: &str, library: &str| {
        let request = json!({"customMetadata": [
            {"key": "objlib_library", "stringValue": library},
            {"key": "objlib_path", "stringValue": "a.txt"}]});
        let begun = raw.begin(store, request);
        assert_eq!(raw.end(begun.upload("url"), "one").unwrap().status, 200);
        raw.service.ledger().0
    };
    upload(&raw.store, "x");
    upload(&raw.store, "y");
    let ledger = upload(&other, "x");
    assert_eq!(ledger["duplicates"], 0);
    let documents = ledger["documents"].as_array().unwrap();
    let seen: Vec<[&Value; 4]> = documents
        .iter()
        .map(|d| ["store", "storeDisplayName", "objlibLibrary", "objlibPath"].map(|f| &d[f]))
        .collect();
    let row = |store: &str, name: &str, library: &str| json!([store, name, library, "a.txt"]);
    assert_eq!(
        json!(seen),
        json!([
            row(&raw.store, "s", "x"),
            row(&raw.store, "s", "y"),
            row(&other, "other", "x")
        ])
    );
    assert_eq!(upload(&other, "x")["duplicates"], 1);
}

#[test]
fn an_upload_session_outlives_the_service_and_its_port() {
    let raw = Raw::start(&[]);
    let begun = raw.begin(&raw.store, json!({"displayName": "a.txt"}));
    let begun = begun.upload("url");
    let headers = [
        ("x-goog-upload-command", "upload"),
        ("x-goog-upload-offset", "0"),
    ];
    let sent = raw.send("POST", begun, &headers, Some(b"one")).unwrap();
    assert_eq!(sent.upload("size-received"), "3");
    let path = begun.strip_prefix(&raw.service.url).unwrap().to_owned();

    let raw = raw.restart();
    let url = format!("{}{path}", raw.service.url);
    assert_ne!(url, begun);
    let asked = raw.query(&url);
    assert_eq!((asked.status, asked.upload("status")), (200, "active"));
    // The bytes were in memory only, and it says so.
    assert_eq!(asked.upload("size-received"), "0");
    let done = raw.end(&url, "one and two").unwrap();
    assert_eq!(done.status, 200);

    let raw = raw.restart();
    let asked = raw.query(&format!("{}{path}", raw.service.url));
    assert_eq!((asked.status, asked.upload("status")), (200, "final"));
    assert_eq!(asked.body, done.body);
    assert_eq!(raw.active(), 1);
    assert_eq!(raw.service.ledger().0["violations"], json!([]));
}

#[test]
fn the_data_is_private_whatever_the_umask() {
    let place = Place::new();
    place.file("a.txt", "one");
    let objlib = |args: &str| {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("umask 0; exec {OBJLIB} {args}")])
            .current_dir(place.path())
            .env("OBJLIB_DB", place.db())
            .env("HOME", place.path())
            .stdin(Stdio::null());
        command
    };
    let mode = |name: &str| {
        let found = std::fs::metadata(place.path().join(name));
        found.unwrap_or_else(|e| panic!("{name}: {e}")).mode() & 0o777
    };
    objlib("upload --emulator --rpm 0 docs").seen().exit(0);
    assert_eq!(mode("library.db.emulator"), 0o600);
    // While it runs all files are there.
    let mut child = objlib("emulator --port 0 --data service.db")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let modes = ["service.db", "service.db-wal", "service.db-shm"].map(mode);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("listening on "), "{line}");
    assert_eq!(modes, [0o600; 3]);
}

#[test]
fn data_that_is_not_its_own_is_one_line_and_exit_1() {
    let place = Place::new();
    let link = place.path().join("service.db");
    std::os::unix::fs::symlink(place.path().join("elsewhere"), &link).unwrap();
    let mut child = place
        .objlib(&["emulator", "--port", "0", "--data", "service.db"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A service that starts all the same says so, and would never end by itself.
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    if !line.is_empty() {
        child.kill().unwrap();
    }
    let seen = seen(child.wait_with_output().unwrap()).exit(1);
    assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
    assert!(seen.stderr.contains("symbolic link"), "{}", seen.stderr);
    assert!(!place.path().join("elsewhere").exists());
    // Beside a database as well.
    std::os::unix::fs::symlink("elsewhere", place.path().join("library.db.emulator")).unwrap();
    place.file("a.txt", "one");
    let seen = place
        .objlib(&["upload", "docs", "--emulator"])
        .seen()
        .exit(1);
    assert!(seen.stderr.contains("symbolic link"), "{}", seen.stderr);
    assert!(!place.path().join("elsewhere").exists());
}
