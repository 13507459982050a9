//! Uploads of one request, as the emulator takes them, told by a client that knows nothing of objlib.

use objlib::identity::Sha256;
use serde_json::{Value, json};

use crate::emulator::{Answer, Raw};

const RELATED: &str = "multipart/related; boundary=B";
const METADATA: &str =
    r#"{"displayName":"a.txt","customMetadata":[{"key":"k","stringValue":"v"}]}"#;

/// The form that the fact sheet has, section 7.
fn form(json: &str, payload: &str) -> String {
    format!(
        "--B\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json}\r\n\
         --B\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{payload}\r\n--B--\r\n"
    )
}

fn url(raw: &Raw) -> String {
    format!(
        "{}/upload/v1beta/{}:uploadToFileSearchStore",
        raw.service.url, raw.store
    )
}

fn try_send(raw: &Raw, content_type: &str, body: &str) -> Result<Answer, ureq::Error> {
    let headers = [
        ("x-goog-upload-protocol", "multipart"),
        ("content-type", content_type),
    ];
    raw.send("POST", &url(raw), &headers, Some(body.as_bytes()))
}

#[track_caller]
fn send(raw: &Raw, content_type: &str, body: &str) -> Answer {
    try_send(raw, content_type, body).unwrap()
}

/// Refused with the envelope, in these words, and nothing was made.
#[track_caller]
fn refused(raw: &Raw, content_type: &str, body: &str, words: &str) {
    let answer = send(raw, content_type, body);
    assert_eq!(answer.status, 400, "{answer:?}");
    let error = &answer.json()["error"];
    assert_eq!(error["status"], "INVALID_ARGUMENT");
    assert!(
        error["message"].as_str().unwrap().contains(words),
        "{error}"
    );
    assert_eq!(raw.service.ledger().0["documents"], json!([]));
}

#[test]
fn one_request_makes_a_document_with_its_metadata() {
    let raw = Raw::start(&[]);
    let operation = send(&raw, RELATED, &form(METADATA, "one\r\n--A and more")).json();
    assert!(operation["done"].is_null(), "{operation}");
    assert_eq!(operation["response"]["sizeBytes"], "17");
    let document = raw.get(&Raw::document(&operation)).json();
    assert_eq!(document["displayName"], "a.txt");
    assert_eq!(document["mimeType"], "text/plain");
    assert_eq!(document["customMetadata"][0]["stringValue"], "v");
    let ledger = raw.service.ledger();
    let held = &ledger.0["documents"][0];
    assert_eq!(
        held["sha256"],
        Sha256::of(b"one\r\n--A and more").to_string()
    );
    assert_eq!(ledger.requests("upload.multipart"), 1);
    assert_eq!(ledger.0["bodyBytes"], 17);
}

#[test]
fn it_is_also_asked_for_in_the_query_and_with_a_quoted_boundary() {
    let raw = Raw::start(&[]);
    let body = format!(
        "before\r\n--B  \r\ncontent-type:application/json\r\n\r\n\r\n\
         --B\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: binary\r\n\r\n{}\r\n--B--",
        "x".repeat(300_000)
    );
    let url = format!("{}?uploadType=multipart", url(&raw));
    let headers = [("content-type", "Multipart/Related; type=x; boundary=\"B\"")];
    let answer = raw
        .send("POST", &url, &headers, Some(body.as_bytes()))
        .unwrap();
    assert_eq!(answer.json()["response"]["sizeBytes"], "300000");
    assert_eq!(answer.json()["response"]["mimeType"], "text/html");
}

#[test]
fn what_is_no_such_form_is_refused() {
    let raw = Raw::start(&[]);
    let whole = form(METADATA, "one");
    let words = "multipart/related";
    refused(&raw, "multipart/form-data; boundary=B", &whole, words);
    refused(&raw, "application/json", METADATA, words);
    refused(&raw, "multipart/related", &whole, "boundary");
    refused(
        &raw,
        RELATED,
        whole.trim_end().trim_end_matches("--"),
        "closing",
    );
    refused(&raw, RELATED, "--B--\r\n", "exactly two");
    let one = format!("--B\r\nContent-Type: application/json\r\n\r\n{METADATA}\r\n--B--\r\n");
    refused(&raw, RELATED, &one, "exactly two");
    let three = whole.replace(
        "--B--",
        "--B\r\nContent-Type: text/plain\r\n\r\ntwo\r\n--B--",
    );
    refused(&raw, RELATED, &three, "exactly two");
    refused(&raw, RELATED, &form(METADATA, ""), "empty");
    refused(
        &raw,
        RELATED,
        &whole.replace("application/json", "text/json"),
        "first part",
    );
    refused(
        &raw,
        RELATED,
        &whole.replace("Content-Type: text/plain", "X: y"),
        "second part",
    );
    let encoded = whole.replace(
        "charset=utf-8\r\n",
        "charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n",
    );
    refused(&raw, RELATED, &encoded, "binary");
    // The checks of a start.
    let unknown = form(r#"{"displayNam": "x"}"#, "one");
    refused(&raw, RELATED, &unknown, "Cannot find field");
    let two_values = r#"{"customMetadata": [{"key": "k"}]}"#;
    refused(&raw, RELATED, &form(two_values, "one"), "exactly one value");
    refused(&raw, RELATED, &form("{", "one"), "Invalid JSON");
}

#[test]
fn a_payload_larger_than_the_limit_is_refused() {
    let raw = Raw::start(&[]);
    let large = "x".repeat(104_857_601);
    refused(&raw, RELATED, &form(METADATA, &large), "exceeds the limit");
}

#[test]
fn a_payload_alone_makes_a_document_without_metadata() {
    let raw = Raw::start(&[]);
    let sent = |headers: &[(&str, &str)], query: &str| -> Value {
        let url = format!("{}{query}", url(&raw));
        raw.send("POST", &url, headers, Some(b"one"))
            .unwrap()
            .json()
    };
    let typed = ("content-type", "text/markdown; charset=utf-8");
    let operation = sent(&[("x-goog-upload-protocol", "raw"), typed], "");
    let document = raw.get(&Raw::document(&operation)).json();
    assert_eq!(document["mimeType"], "text/markdown");
    assert!(document["displayName"].is_null());
    for query in ["?uploadType=media", "?upload_protocol=raw"] {
        assert_eq!(sent(&[typed], query)["response"]["sizeBytes"], "3");
    }
    assert_eq!(raw.service.ledger().requests("upload.raw"), 3);
}

#[test]
fn the_faults_of_an_uploads_end_meet_it_too() {
    let raw = Raw::start(&[]);
    let whole = form(METADATA, "one");
    for (fault, answer, documents) in [
        ("multipart_refused", Some(400), 0),
        ("count_tokens_503", Some(503), 0),
        ("reset_within", None, 0),
        ("reset_after", None, 0),
        ("lose_final_answer", None, 1),
        ("final_size_wrong", Some(200), 2),
    ] {
        raw.service.set_faults(json!({fault: 1.0}));
        let sent = try_send(&raw, RELATED, &whole);
        raw.service.set_faults(json!({fault: 0.0}));
        assert_eq!(sent.ok().map(|a| a.status), answer, "{fault}");
        assert_eq!(raw.service.fired(fault), 1);
        assert_eq!(raw.active(), documents, "{fault}");
    }
    let ledger = raw.service.ledger();
    assert_eq!(ledger.0["documents"][1]["sizeBytes"], 2);
    assert_eq!(ledger.0["violations"], json!([]));
}

#[test]
fn its_metadata_can_be_dropped() {
    let raw = Raw::start(&["--multipart-metadata-dropped", "1"]);
    let operation = send(&raw, RELATED, &form(METADATA, "one")).json();
    let document = raw.get(&Raw::document(&operation)).json();
    assert!(document["customMetadata"].is_null(), "{document}");
    assert_eq!(document["displayName"], "a.txt");
    assert_eq!(raw.service.fired("multipart_metadata_dropped"), 1);
}
