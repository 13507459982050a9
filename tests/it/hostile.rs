use std::io::Write;
use std::sync::{Arc, Mutex};

use crate::run::{KEY, Place, RunToEnd, Seen};
use crate::scripted::{Request, Scripted, header, refuses_one_request, send};

const STORE: &str =
    r#"{"fileSearchStores": [{"name": "fileSearchStores/s-1", "displayName": "objlib"}]}"#;

fn upload(place: &Place, service: &Scripted, args: &[&str]) -> Seen {
    let mut command = place.objlib(&[
        "upload",
        "docs",
        "--json",
        "--endpoint",
        &service.url,
        "--rpm",
        "0",
    ]);
    command.args(args).env("GEMINI_API_KEY", KEY).seen()
}

/// Whatever a listing of stores is answered with, no store may be created because of it.
#[track_caller]
fn listing(status: u16, headers: &str, body: &str, exit: i32, words: &str) {
    let place = Place::new();
    place.files(3);
    let (headers, body) = (headers.to_owned(), body.to_owned());
    let service = Scripted::start(move |_, stream| send(stream, status, &headers, &body));
    let seen = upload(&place, &service, &["--no-progress"]).exit(exit);
    assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
    assert!(seen.stderr.contains(words), "{}", seen.stderr);
    assert_eq!(seen.summary()["exit"], exit);
    assert!(service.requests("POST").is_empty(), "something was created");
}

#[test]
fn a_listing_that_cannot_be_read_creates_no_store() {
    listing(
        200,
        "",
        r#"{"fileSearchStores": [{"na"#,
        1,
        "cannot be used",
    );
    listing(
        200,
        "",
        "<html>Welcome to the hotel</html>",
        1,
        "Welcome to the hotel",
    );
    listing(200, "", "[]", 1, "no answer of the service");
    listing(200, "", r#"{"fileSearchStores": 7}"#, 1, "cannot be used");
    // A page that names itself as the next would never end.
    listing(
        200,
        "",
        r#"{"fileSearchStores": [], "nextPageToken": "again"}"#,
        1,
        "does not end",
    );
}

#[test]
fn an_error_is_shown_with_the_services_words_whatever_its_form() {
    let envelope = r#"{"error": {"code": 403, "message": "Method doesn't allow unregistered callers", "status": "PERMISSION_DENIED"}}"#;
    listing(403, "", envelope, 6, "unregistered callers");
    listing(403, "", &format!("[{envelope}]"), 6, "unregistered callers");
    listing(400, "", "not JSON at all", 1, "not JSON at all");
    listing(404, "", "", 1, "HTTP 404");
    listing(
        400,
        "",
        r#"{"error": {"message": "cut off in the mid"#,
        1,
        "cut off in the mid",
    );
}

#[test]
fn a_redirect_is_not_followed() {
    let other = Scripted::start(|_, stream| send(stream, 200, "", STORE));
    listing(
        302,
        &format!("location: {}/v1beta/x\r\n", other.url),
        "",
        1,
        "HTTP 302",
    );
    assert!(
        other.requests("").is_empty(),
        "the key may have gone elsewhere"
    );
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let place = Place::new();
    place.files(1);
    let service = Scripted::start(|_, stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[");
        while stream.write_all(&[b' '; 65_536]).is_ok() {}
    });
    let seen = upload(&place, &service, &[]).exit(1);
    assert!(seen.stderr.contains("more than"), "{}", seen.stderr);
}

#[test]
fn a_session_on_another_host_gets_neither_bytes_nor_key() {
    let place = Place::new();
    place.files(2);
    let other = Scripted::start(|_, stream| send(stream, 200, "", "{}"));
    let elsewhere = format!("x-goog-upload-url: {}/upload/x?upload_id=1\r\n", other.url);
    let service = Scripted::start(move |request, stream| match request.line.as_str() {
        line if line.starts_with("GET") => send(stream, 200, "", STORE),
        _ if refuses_one_request(request, stream) => {}
        _ => send(stream, 200, &elsewhere, ""),
    });
    let seen = upload(&place, &service, &["--max-attempts", "1"]).exit(3);
    assert_eq!(seen.summary()["failed"], 2);
    let failed = place.objlib(&["status", "--failed"]).seen().exit(0);
    assert!(failed.stdout.contains("another host"), "{}", failed.stdout);
    assert!(other.requests("").is_empty());
}

/// A session whose body is cut at `CUT` bytes: the client asks, and sends only the rest.
#[test]
fn after_a_cut_only_the_rest_is_sent() {
    const CUT: usize = 100_000;
    let place = Place::new();
    let text: String = (0..25_000).map(|i| format!("{i:>15}\n")).collect();
    place.file("cut.txt", &text);
    let url: Arc<Mutex<String>> = Arc::default();
    let own = Arc::clone(&url);
    let whole = text.len();
    let service = Scripted::start(move |request, stream| {
        if refuses_one_request(request, stream) {
            return;
        }
        let command = header(&request.head, "x-goog-upload-command").unwrap_or_default();
        let offset = header(&request.head, "x-goog-upload-offset").unwrap_or_default();
        match (request.line.split(' ').next(), command) {
            (Some("GET"), _) if request.line.contains("/operations/") => send(
                stream,
                200,
                "",
                r#"{"name": "fileSearchStores/s-1/upload/operations/o", "done": true, "response": {"documentName": "fileSearchStores/s-1/documents/d"}}"#,
            ),
            (Some("GET"), _) => send(stream, 200, "", STORE),
            (_, "start") => {
                let headers = format!(
                    "x-goog-upload-status: active\r\nx-goog-upload-url: {}/upload/v1beta/fileSearchStores/s-1?upload_id=1\r\n",
                    own.lock().unwrap()
                );
                send(stream, 200, &headers, "");
            }
            // A gateway that gives up half way through, as far as the client can tell.
            (_, "upload, finalize") if offset == "0" => {
                send(stream, 502, "", "<h1>Bad Gateway</h1>")
            }
            (_, "query") => {
                let headers = format!(
                    "x-goog-upload-status: active\r\nx-goog-upload-size-received: {CUT}\r\n"
                );
                send(stream, 200, &headers, "");
            }
            (_, "upload, finalize") => send(
                stream,
                200,
                "x-goog-upload-status: final\r\n",
                r#"{"name": "fileSearchStores/s-1/upload/operations/o", "response": {"documentName": "fileSearchStores/s-1/documents/d"}}"#,
            ),
            _ => send(stream, 400, "", "unexpected"),
        }
    });
    *url.lock().unwrap() = service.url.clone();
    upload(&place, &service, &[]).exit(0);
    let bodies: Vec<Request> = service
        .requests("POST")
        .into_iter()
        .filter(|r| header(&r.head, "x-goog-upload-command") == Some("upload, finalize"))
        .collect();
    assert_eq!(bodies.len(), 2);
    assert_eq!(bodies[0].body.len(), whole);
    assert_eq!(
        header(&bodies[1].head, "x-goog-upload-offset"),
        Some("100000")
    );
    assert!(bodies[1].body == text.as_bytes()[CUT..]);
    for body in bodies {
        assert!(!body.head.contains(KEY), "the URL is the session's key");
    }
}
