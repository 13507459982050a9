//! An example, to be copied: the test of somebody else's program, with the service inside the test's process.

use std::thread;

use objlib::emulator::{Emulator, Faults, Options};
use serde_json::{Value, json};

/// Stands for the program that is tested: it sends one note, and tries again when the service fails.
fn send(base_url: &str, store: &str, title: &str, text: &str) {
    let metadata = json!({"displayName": title, "mimeType": "text/markdown"});
    let body = format!(
        "--B\r\ncontent-type: application/json\r\n\r\n{metadata}\r\n\
         --B\r\ncontent-type: text/markdown\r\n\r\n{text}\r\n--B--\r\n"
    );
    let url = format!("{base_url}/upload/v1beta/{store}:uploadToFileSearchStore");
    let sent = || {
        ureq::post(&url)
            .header("x-goog-api-key", "local")
            .header("x-goog-upload-protocol", "multipart")
            .header("content-type", "multipart/related; boundary=B")
            .send(&body)
    };
    while sent().is_err() {}
}

#[test]
fn every_note_arrives_once_although_the_service_fails() {
    let service = Emulator::start(Options::default()).unwrap();
    let base_url = service.url();
    let created = ureq::post(format!("{base_url}/v1beta/fileSearchStores"))
        .header("x-goog-api-key", "local")
        .send(json!({"displayName": "notes"}).to_string());
    let store: Value =
        serde_json::from_str(&created.unwrap().body_mut().read_to_string().unwrap()).unwrap();
    let store = store["name"].as_str().unwrap();
    service.set_faults(Faults {
        error_503: 0.5,
        ..Faults::default()
    });
    thread::scope(|scope| {
        for note in 0..10 {
            let base_url = &base_url;
            scope.spawn(move || send(base_url, store, &format!("note {note}"), "words"));
        }
    });
    let ledger = service.ledger().unwrap();
    assert_eq!(ledger["documents"].as_array().unwrap().len(), 10);
    assert!(
        ledger["requests"]["upload.multipart"].as_u64() > Some(10),
        "{ledger}"
    );
}
