use serde_json::{Value, json};

use crate::emulator::Raw;
use crate::run::Place;
use crate::served::{START, ask, passages, refused, start};

#[test]
fn what_has_its_default_value_is_left_out() {
    let raw = Raw::start(&[]);
    let store = raw.post("fileSearchStores", json!({})).json();
    let mut fields: Vec<&String> = store.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        ["createTime", "embeddingModel", "name", "updateTime"]
    );
    let name = store["name"].as_str().unwrap();
    assert_eq!(raw.get(name).json(), store);

    let begun = start(&raw, &START, &json!({}));
    let done = raw.end(begun.upload("url"), "ferns").unwrap().json();
    let document = raw.get(&Raw::document(&done)).json();
    assert!(document.get("displayName").is_none() && document.get("customMetadata").is_none());
    let found = ask(&raw, "ferns", json!({})).json();
    let context =
        &found["candidates"][0]["groundingMetadata"]["groundingChunks"][0]["retrievedContext"];
    assert_eq!(context["text"], "ferns");
    assert!(context.get("title").is_none() && context.get("customMetadata").is_none());
}

#[test]
fn an_ill_formed_document_id_is_400_and_a_missing_one_is_404() {
    let raw = Raw::start(&[]);
    let store = raw.store.clone();
    for id in ["_x", "-x", "x-", "A", &"x".repeat(41)] {
        refused(
            &raw.get(&format!("{store}/documents/{id}")),
            400,
            "INVALID_ARGUMENT",
        );
        refused(
            &raw.delete(&format!("{store}/documents/{id}")),
            400,
            "INVALID_ARGUMENT",
        );
    }
    let words = refused(&raw.get(&format!("{store}/documents/x")), 404, "NOT_FOUND");
    assert_eq!(words, "Documents does not exist.");
    let raw = Raw::start(&["--loose", "document-ids"]);
    let store = raw.store.clone();
    refused(&raw.get(&format!("{store}/documents/_x")), 404, "NOT_FOUND");
}

#[test]
fn a_file_is_at_the_address_that_its_client_knows_in_every_answer() {
    let raw = Raw::start(&[]);
    let begun = raw.begin("files", json!({"file": {"displayName": "a.txt"}}));
    let file = raw.end(begun.upload("url"), "one").unwrap().json()["file"].clone();
    let uri = format!(
        "{}/v1beta/{}",
        raw.service.url,
        file["name"].as_str().unwrap()
    );
    assert_eq!(file["uri"], json!(uri));
    assert_eq!(
        raw.query(begun.upload("url")).json()["file"]["uri"],
        json!(uri)
    );
    assert_eq!(raw.get("files").json()["files"][0]["uri"], json!(uri));
    let words = refused(
        &raw.get(&format!(
            "{}:download?alt=media",
            file["name"].as_str().unwrap()
        )),
        400,
        "FAILED_PRECONDITION",
    );
    assert!(
        words.contains("only generated files can be downloaded"),
        "{words}"
    );
    refused(&raw.get("files/nothing:download"), 403, "PERMISSION_DENIED");
}

#[test]
fn a_number_of_metadata_has_32_bits() {
    let number = |flags: &[&str], given: Value| {
        let raw = Raw::start(flags);
        let body = json!({"customMetadata": [{"key": "n", "numericValue": given}]});
        let begun = raw.begin(&raw.store, body);
        let done = raw.end(begun.upload("url"), "ferns").unwrap().json();
        let document = raw.get(&Raw::document(&done)).json();
        let found = passages(&ask(
            &raw,
            "ferns",
            json!({"metadataFilter": "n = 16777217"}),
        ));
        (
            document["customMetadata"][0]["numericValue"].to_string(),
            found,
        )
    };
    // The filter's number has no more bits either.
    assert_eq!(number(&[], json!(16_777_217)), ("16777216".to_owned(), 1));
    assert_eq!(number(&[], json!("0.1")), ("0.1".to_owned(), 0));
    let loose = number(&["--loose", "float32"], json!(16_777_217));
    assert_eq!(loose.0, "16777217");
}

#[test]
fn a_type_that_file_search_refuses_is_refused_on_every_way_in() {
    let raw = Raw::start(&[]);
    let typed = |raw: &Raw, mime: &str| {
        let mime = ("x-goog-upload-header-content-type", mime);
        start(raw, &[START[0], START[1], mime], &json!({}))
    };
    for mime in [
        "audio/mpeg",
        "application/octet-stream",
        "image/png",
        "nonsense",
    ] {
        let words = refused(&typed(&raw, mime), 400, "INVALID_ARGUMENT");
        assert_eq!(words, format!("Unsupported MIME type: {mime}"));
    }
    assert_eq!(typed(&raw, "text/markdown; charset=utf-8").status, 200);
    let raw_protocol = [
        ("x-goog-upload-protocol", "raw"),
        ("content-type", "audio/mpeg"),
    ];
    refused(
        &start(&raw, &raw_protocol, &json!({})),
        400,
        "INVALID_ARGUMENT",
    );

    // The Files API takes it, and the import does not.
    let url = format!("{}/upload/v1beta/files", raw.service.url);
    let headers = [
        START[0],
        START[1],
        ("x-goog-upload-header-content-type", "audio/mpeg"),
    ];
    let begun = raw.send("POST", &url, &headers, Some(b"{}")).unwrap();
    let file = raw.end(begun.upload("url"), "la").unwrap().json()["file"]["name"].clone();
    let import = format!("{}:importFile", raw.store);
    refused(
        &raw.post(&import, json!({"fileName": file})),
        400,
        "INVALID_ARGUMENT",
    );

    let raw = Raw::start(&["--loose", "mime-types"]);
    assert_eq!(typed(&raw, "audio/mpeg").status, 200);
}

#[test]
fn an_upload_that_is_longer_than_announced_ends_its_session() {
    let announced = |raw: &Raw| {
        let length = ("x-goog-upload-header-content-length", "3");
        let begun = start(raw, &[START[0], START[1], length], &json!({}));
        begun.upload("url").to_owned()
    };
    let raw = Raw::start(&[]);
    let url = announced(&raw);
    let long = raw.end(&url, "four").unwrap();
    refused(&long, 400, "INVALID_ARGUMENT");
    assert_eq!(long.upload("status"), "final");
    assert_eq!(raw.end(&url, "abc").unwrap().status, 400);
    assert_eq!(raw.query(&url).upload("status"), "final");
    // One that is too short goes on.
    let url = announced(&raw);
    let short = raw.end(&url, "ab").unwrap();
    assert_eq!((short.status, short.upload("status")), (400, "active"));
    assert_eq!(raw.active(), 0);

    let raw = Raw::start(&["--loose", "announced-length"]);
    assert_eq!(raw.end(&announced(&raw), "four").unwrap().status, 200);
    assert_eq!(raw.active(), 1);
}

#[test]
fn questions_are_refused_by_rules_that_can_be_switched_off() {
    let raw = Raw::start(&[]);
    raw.upload("a.txt", "ferns");
    for more in [json!({"topK": -1}), json!({"topk": 1})] {
        refused(&ask(&raw, "ferns", more), 400, "INVALID_ARGUMENT");
    }
    // As proto3 JSON has it.
    for n in [json!("1"), json!(1.0), json!(2_000_000_000)] {
        assert_eq!(passages(&ask(&raw, "ferns", json!({"topK": n}))), 1);
    }
    let mixed = |raw: &Raw| {
        let body = json!({"contents": [{"parts": [{"text": "ferns"}]}], "tools": [
            {"fileSearch": {"fileSearchStoreNames": [raw.store]}}, {"googleSearch": {}}],
            "serviceTier": "standard", "store": false, "labels": {"a": "b"}});
        raw.post("models/gemini-3.5-flash:generateContent", body)
    };
    refused(&mixed(&raw), 400, "INVALID_ARGUMENT");
    let loose = Raw::start(&[
        "--loose",
        "top-k",
        "--loose",
        "tool-mix",
        "--loose=unknown-fields",
    ]);
    loose.upload("a.txt", "ferns");
    assert_eq!(passages(&mixed(&loose)), 1);
    assert_eq!(
        passages(&ask(&loose, "ferns", json!({"topK": -1, "topk": 1}))),
        1
    );
    // The other rules still hold.
    refused(
        &loose.get("fileSearchStores?pageSize=21"),
        400,
        "INVALID_ARGUMENT",
    );
}

#[test]
fn limits_models_and_pages_can_be_loose_as_well() {
    let long = json!({"displayName": "x".repeat(513)});
    let other = json!({"embeddingModel": "models/other"});
    let strict = Raw::start(&[]);
    let loose = Raw::start(&["--loose"]);
    for body in [&long, &other] {
        refused(
            &strict.post("fileSearchStores", body.clone()),
            400,
            "INVALID_ARGUMENT",
        );
        assert_eq!(loose.post("fileSearchStores", body.clone()).status, 200);
    }
    for path in ["fileSearchStores?pageSize=21", "files?pageSize=101"] {
        refused(&strict.get(path), 400, "INVALID_ARGUMENT");
        assert_eq!(loose.get(path).status, 200);
    }
    refused(&strict.get("models/gemini-1"), 404, "NOT_FOUND");
    assert_eq!(loose.get("models/gemini-1").status, 200);
}

#[test]
fn an_unknown_rule_fault_kind_or_profile_is_named_with_the_nearest_one() {
    let place = Place::new();
    for (flags, words) in [
        (["--loose", "unkown-fields"], "`unknown-fields`"),
        (["--faults", r#"{"eror_503": 1}"#], "`error_503`"),
        (["--faults", r#"{"only_kinds": ["imports"]}"#], "`import`"),
        (["--profile", "realstic"], "`realistic`"),
        (["--error-503", "2"], "error_503 is 2"),
        (["--allow-origin", "*"], "not an origin"),
        (["--allow-origin", "http://a/b"], "not an origin"),
        (["--host", "nowhere"], "--host"),
    ] {
        let done = place
            .objlib(&["emulator", "--port", "0"])
            .args(flags)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(said.contains(words) && said.lines().count() <= 2, "{said}");
    }
}
