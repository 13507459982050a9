use serde_json::{Value, json};

use crate::emulator::{Answer, Raw};
use crate::run::Place;

/// What an error says, whose status and canonical code must be these.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    let error = answer.json()["error"].clone();
    assert_eq!(error["status"], code, "{error}");
    error["message"].as_str().unwrap().to_owned()
}

/// A question to the file-search tool, with more fields in it.
fn ask(raw: &Raw, question: &str, more: Value) -> Answer {
    let mut tool = json!({"fileSearchStoreNames": [raw.store]});
    tool.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let body =
        json!({"contents": [{"parts": [{"text": question}]}], "tools": [{"fileSearch": tool}]});
    raw.post("models/gemini-3.5-flash:generateContent", body)
}

#[track_caller]
fn passages(answer: &Answer) -> usize {
    assert_eq!(answer.status, 200, "{answer:?}");
    let found = &answer.json()["candidates"][0]["groundingMetadata"]["groundingChunks"];
    found.as_array().map_or(0, Vec::len)
}

/// `start` of an upload with headers of its own.
fn start(raw: &Raw, headers: &[(&str, &str)], body: &Value) -> Answer {
    let url = format!(
        "{}/upload/v1beta/{}:uploadToFileSearchStore",
        raw.service.url, raw.store
    );
    raw.send("POST", &url, headers, Some(body.to_string().as_bytes()))
        .unwrap()
}

const START: [(&str, &str); 2] = [
    ("x-goog-upload-protocol", "resumable"),
    ("x-goog-upload-command", "start"),
];

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
    for more in [
        json!({"topK": -1}),
        json!({"topK": 101}),
        json!({"topk": 1}),
    ] {
        refused(&ask(&raw, "ferns", more), 400, "INVALID_ARGUMENT");
    }
    // As proto3 JSON has it.
    for n in [json!("1"), json!(1.0)] {
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
        passages(&ask(&loose, "ferns", json!({"topK": 101, "topk": 1}))),
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
fn an_unknown_rule_fault_kind_or_origin_is_named_with_the_nearest_one() {
    let place = Place::new();
    for (flags, words) in [
        (["--loose", "unkown-fields"], "`unknown-fields`"),
        (["--faults", r#"{"eror_503": 1}"#], "`error_503`"),
        (["--faults", r#"{"only_kinds": ["imports"]}"#], "`import`"),
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
        assert!(said.contains(words) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn models_are_listed_and_tokens_counted() {
    let raw = Raw::start(&[]);
    let first = raw.get("models?pageSize=5").json();
    assert_eq!(first["models"].as_array().unwrap().len(), 5);
    let token = first["nextPageToken"].as_str().unwrap();
    let second = raw
        .get(&format!("models?pageSize=50&pageToken={token}"))
        .json();
    assert_eq!(second["models"].as_array().unwrap().len(), 9);
    assert!(second.get("nextPageToken").is_none());
    let model = raw.get("models/gemini-3.5-flash").json();
    assert_eq!(
        model["supportedGenerationMethods"],
        json!(["generateContent", "countTokens"])
    );
    let count = |body: Value| {
        raw.post("models/gemini-3.5-flash:countTokens", body).json()["totalTokens"].clone()
    };
    let contents = json!([{"parts": [{"text": "one two"}, {"text": "three"}]}]);
    assert_eq!(count(json!({"contents": contents})), 3);
    let whole = json!({"generateContentRequest": {"contents": contents, "systemInstruction": {"parts": [{"text": "four"}]}}});
    assert_eq!(count(whole), 4);
    let nothing = raw.post("models/gemini-3.5-flash:countTokens", json!({}));
    refused(&nothing, 400, "INVALID_ARGUMENT");
}

#[test]
fn a_text_has_the_same_vector_alone_and_among_others() {
    let raw = Raw::start(&[]);
    let content = json!({"parts": [{"text": "Ferns grow in the shade"}]});
    let model = "models/gemini-embedding-001";
    let one = raw.post(
        &format!("{model}:embedContent"),
        json!({"content": content, "outputDimensionality": 64}),
    );
    let values = one.json()["embedding"]["values"].clone();
    assert_eq!(values.as_array().unwrap().len(), 64);
    let request = json!({"model": model, "content": content, "outputDimensionality": "64"});
    let many = raw.post(
        &format!("{model}:batchEmbedContents"),
        json!({"requests": [request, request]}),
    );
    assert_eq!(many.json()["embeddings"][1]["values"], values);
    refused(
        &raw.post("models/gemini-3.5-flash:embedContent", json!({})),
        404,
        "NOT_FOUND",
    );
    refused(
        &raw.post(&format!("{model}:embedContent"), json!({})),
        400,
        "INVALID_ARGUMENT",
    );
}

#[test]
fn an_interaction_cites_files_whole_and_as_events() {
    let raw = Raw::start(&[]);
    raw.upload("ferns.md", "Old walls are damp. Ferns grow in the shade.");
    let body = |more: Value| {
        let mut body = json!({"model": "gemini-3.5-flash", "input": "Where do ferns grow?", "store": false,
            "tools": [{"type": "file_search", "file_search_store_names": [raw.store], "top_k": 3}]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let whole = raw.post("interactions", body(json!({}))).json();
    assert_eq!(whole["status"], "completed", "{whole}");
    let kinds: Vec<&Value> = whole["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["type"])
        .collect();
    assert_eq!(
        kinds,
        ["file_search_call", "file_search_result", "model_output"]
    );
    assert_eq!(whole["steps"][0]["id"], whole["steps"][1]["call_id"]);
    let content = &whole["steps"][2]["content"][0];
    let citation = &content["annotations"][0];
    assert_eq!(citation["type"], "file_citation");
    assert_eq!(citation["document_uri"], json!(raw.store));
    assert_eq!(citation["file_name"], "ferns.md");
    assert_eq!(
        citation["custom_metadata"],
        json!({"objlib_path": "ferns.md"})
    );
    let end = citation["end_index"].as_u64().unwrap() as usize;
    let text = content["text"].as_str().unwrap();
    assert!(
        citation["source"].as_str().unwrap().contains(&text[..end]),
        "{citation}"
    );
    assert!(citation.get("start_index").is_none());

    let steps = json!([{"type": "user_input", "content": [{"type": "text", "text": "Where do ferns grow?"}]}]);
    let stream = raw.post(
        "interactions",
        body(json!({"stream": true, "input": steps})),
    );
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    let data = stream
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect();
    assert_eq!(events[0]["event_type"], "interaction.created");
    assert_eq!(events.last().unwrap()["interaction"]["status"], "completed");
    let deltas = events.iter().map(|event| &event["delta"]);
    let said: String = deltas.filter_map(|delta| delta["text"].as_str()).collect();
    assert_eq!(said, text);
    assert!(stream.body.ends_with("data: [DONE]\n\n"), "{}", stream.body);

    // Errors of this API have a word for a code.
    for (more, status, code) in [
        (json!({"input": ""}), 400, "invalid_request"),
        (json!({"model": "gemini-1"}), 404, "not_found"),
        (json!({"inputs": "x"}), 400, "invalid_request"),
        (
            json!({"tools": [{"type": "file_search", "topK": 1, "stores": []}]}),
            400,
            "invalid_request",
        ),
        (
            json!({"tools": [{"type": "file_search", "file_search_store_names": ["fileSearchStores/x"]}]}),
            403,
            "permission_denied",
        ),
    ] {
        let refused = raw.post("interactions", body(more));
        assert_eq!(
            (refused.status, &refused.json()["error"]["code"]),
            (status, &json!(code))
        );
    }
}

#[test]
fn registered_files_have_no_content_and_media_is_not_kept() {
    let raw = Raw::start(&[]);
    let files = raw
        .post("files:register", json!({"uris": ["gs://bucket/a/b.txt"]}))
        .json();
    let file = &files["files"][0];
    assert_eq!(
        (&file["source"], &file["displayName"]),
        (&json!("REGISTERED"), &json!("b.txt"))
    );
    assert!(file.get("sizeBytes").is_none() && file.get("sha256Hash").is_none());
    assert_eq!(raw.get(file["name"].as_str().unwrap()).json(), *file);
    for uris in [
        json!([]),
        json!(["http://a/b"]),
        json!(["gs://bucket"]),
        json!(["gs:///x"]),
    ] {
        refused(
            &raw.post("files:register", json!({"uris": uris})),
            400,
            "INVALID_ARGUMENT",
        );
    }
    refused(
        &raw.get(&format!("{}/media/m?alt=media", raw.store)),
        404,
        "NOT_FOUND",
    );
    refused(
        &raw.get("fileSearchStores/none/media/m"),
        403,
        "PERMISSION_DENIED",
    );
}

#[test]
fn a_route_that_is_not_served_is_named() {
    let raw = Raw::start(&[]);
    let words = refused(&raw.get("tunedModels"), 404, "NOT_FOUND");
    assert!(
        words.starts_with("GET /v1beta/tunedModels is not served"),
        "{words}"
    );
    assert!(words.contains("interactions (create)"), "{words}");
    let outside = raw
        .send("GET", &format!("{}/nothing", raw.service.url), &[], None)
        .unwrap();
    assert_eq!((outside.status, outside.body.as_str()), (404, "Not Found"));
}

#[test]
fn data_and_faults_can_be_taken_back_while_it_runs() {
    let raw = Raw::start(&["--search-lag-ms", "3600000", "--missing-403", "1"]);
    raw.upload("a.txt", "ferns");
    // Active, and not found yet.
    assert_eq!(raw.active(), 1);
    assert_eq!(passages(&ask(&raw, "ferns", json!({}))), 0);
    assert!(raw.service.fired("search_lag_ms") > 0);
    let url = |path: &str| format!("{}/_emulator/{path}", raw.service.url);
    let reset = raw.send("DELETE", &url("faults"), &[], None).unwrap();
    assert_eq!(reset.status, 200);
    assert_eq!(passages(&ask(&raw, "ferns", json!({}))), 1);
    assert_eq!(raw.service.fired("search_lag_ms"), 0);
    assert_eq!(raw.service.get("faults")["missing_403"], 0.0);

    let page = raw.get("fileSearchStores?pageSize=1").json();
    assert!(page.get("nextPageToken").is_none());
    let cleared = raw.send("DELETE", &url("data"), &[], None).unwrap();
    assert_eq!((cleared.status, cleared.body.as_str()), (200, "{}"));
    refused(&raw.get(&raw.store), 403, "PERMISSION_DENIED");
    assert_eq!(raw.get("fileSearchStores").json(), json!({}));
    assert_eq!(raw.service.ledger().0["documents"], json!([]));
    // And a new life begins.
    let store = raw
        .post("fileSearchStores", json!({"displayName": "s"}))
        .json();
    let begun = raw.begin(
        store["name"].as_str().unwrap(),
        json!({"displayName": "b.txt"}),
    );
    assert_eq!(raw.end(begun.upload("url"), "ferns").unwrap().status, 200);
    let tool = json!({"fileSearchStoreNames": [store["name"]]});
    assert_eq!(passages(&ask(&raw, "ferns", tool)), 1);
}

#[test]
fn an_upload_whose_headers_are_lost_leaves_its_metadata_as_a_document() {
    let raw = Raw::start(&["--upload-headers-lost", "1"]);
    let body =
        json!({"displayName": "a.txt", "customMetadata": [{"key": "k", "stringValue": "v"}]});
    let answer = raw.begin(&raw.store, body.clone());
    assert_eq!((answer.status, answer.upload("url")), (200, ""));
    let document = raw.get(&Raw::document(&answer.json())).json();
    assert_eq!(document["mimeType"], "application/json");
    assert_eq!(
        document["sizeBytes"],
        json!(body.to_string().len().to_string())
    );
    assert!(document.get("displayName").is_none() && document.get("customMetadata").is_none());
    raw.fired("upload_headers_lost", 1);

    // The same for a client that never sent them.
    let raw = Raw::start(&[]);
    assert_eq!(start(&raw, &[], &body).status, 200);
    assert_eq!(raw.active(), 1);
}

#[test]
fn the_log_has_a_line_a_request_and_no_key() {
    let place = Place::new();
    let log = |flags: &[&str]| {
        use std::io::{BufRead, BufReader, Read};
        use std::process::Stdio;
        let mut child = place
            .objlib(&["emulator", "--port", "0"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        let url = first
            .split('"')
            .chain(first.split_whitespace())
            .find(|part| part.starts_with("http"));
        let url = url.unwrap().trim().to_owned();
        let answer = ureq::get(format!("{url}/v1beta/fileSearchStores?key=SECRET&x=%1b[2J"))
            .call()
            .unwrap();
        assert_eq!(answer.status(), 200);
        let odd = ureq::get(format!("{url}/v1beta/%1b[2J?key=SECRET")).call();
        assert!(odd.is_err());
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        let (mut rest, mut err) = (String::new(), String::new());
        out.read_to_string(&mut rest).unwrap();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        assert!(child.wait().unwrap().success());
        assert!(
            !rest.contains("SECRET") && !err.contains("SECRET"),
            "{rest}{err}"
        );
        assert!(
            !rest.contains('\u{1b}') && !err.contains('\u{1b}'),
            "{rest}{err}"
        );
        (url, first, rest, err)
    };
    let (url, _, rest, err) = log(&[]);
    assert_eq!(
        rest,
        format!("\nexport GOOGLE_GEMINI_BASE_URL={url}\nexport GEMINI_API_KEY=local\n")
    );
    assert_eq!(err, "");
    let (_, _, _, err) = log(&["-v"]);
    let line = err.lines().next().unwrap();
    assert!(
        line.contains(" GET /v1beta/fileSearchStores 200 ") && line.ends_with(" ms"),
        "{line}"
    );
    assert_eq!(err.lines().count(), 2, "{err}");
    let (url, first, rest, _) = log(&["--json"]);
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(
        (&first["event"], &first["url"]),
        (&json!("listening"), &json!(url))
    );
    let events: Vec<Value> = rest
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 2);
    assert_eq!(
        (&events[0]["event"], &events[0]["status"]),
        (&json!("request"), &json!(200))
    );
    assert!(
        events
            .iter()
            .all(|event| event["time"].is_string() && event["ms"].is_u64())
    );
}

#[test]
fn a_page_of_a_site_that_was_let_in_may_read_the_answers() {
    let raw = Raw::start(&[
        "--allow-origin",
        "https://app.test:3000",
        "--allow-host",
        "gemini",
    ]);
    let url = format!("{}/v1beta/fileSearchStores", raw.service.url);
    let from = |origin: &str| raw.send("GET", &url, &[("origin", origin)], None).unwrap();
    let answer = from("https://app.test:3000");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://app.test:3000"
    );
    for other in [
        "https://app.test",
        "http://app.test:3000",
        "https://app.test:3000.example.com",
    ] {
        let answer = from(other);
        assert_eq!(answer.status, 403, "{other}");
        assert!(answer.headers.get("access-control-allow-origin").is_none());
    }
    let asked = [
        ("origin", "https://app.test:3000"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "x-goog-api-key,x-goog-upload-command",
        ),
    ];
    let preflight = raw.send("OPTIONS", &url, &asked, None).unwrap();
    assert_eq!(preflight.status, 200);
    assert_eq!(
        preflight.headers["access-control-allow-headers"],
        "x-goog-api-key,x-goog-upload-command"
    );
    let named = raw
        .send("GET", &url, &[("host", "gemini:8765")], None)
        .unwrap();
    assert_eq!(named.status, 200);
    assert_eq!(
        raw.send("GET", &url, &[("host", "other:8765")], None)
            .unwrap()
            .status,
        403
    );
}

#[test]
fn it_can_listen_beyond_loopback_and_says_what_that_means() {
    let place = Place::new();
    let mut child = place
        .objlib(&["emulator", "--port", "0", "--host", "0.0.0.0"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let with = |host: &str| {
        let answer = ureq::get(format!("{url}/v1beta/fileSearchStores?key=k"))
            .header("host", host)
            .call();
        answer.map_or(403, |answer| answer.status().as_u16())
    };
    assert_eq!(
        (
            with("192.168.1.5:8765"),
            with("[fe80::1]"),
            with("rebound.example.com")
        ),
        (200, 200, 403)
    );
    child.kill().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    child.wait().unwrap();
    assert!(
        said.contains("0.0.0.0: whoever reaches this address"),
        "{said}"
    );
}
