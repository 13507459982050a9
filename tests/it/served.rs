use serde_json::{Value, json};

use crate::emulator::{Answer, Raw};

/// What an error says, whose status and canonical code must be these.
#[track_caller]
pub fn refused(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    let error = answer.json()["error"].clone();
    assert_eq!(error["status"], code, "{error}");
    error["message"].as_str().unwrap().to_owned()
}

/// A question to the file-search tool, with more fields in it.
pub fn ask(raw: &Raw, question: &str, more: Value) -> Answer {
    let mut tool = json!({"fileSearchStoreNames": [raw.store]});
    tool.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let body =
        json!({"contents": [{"parts": [{"text": question}]}], "tools": [{"fileSearch": tool}]});
    raw.post("models/gemini-3.5-flash:generateContent", body)
}

#[track_caller]
pub fn passages(answer: &Answer) -> usize {
    assert_eq!(answer.status, 200, "{answer:?}");
    let found = &answer.json()["candidates"][0]["groundingMetadata"]["groundingChunks"];
    found.as_array().map_or(0, Vec::len)
}

/// `start` of an upload with headers of its own.
pub fn start(raw: &Raw, headers: &[(&str, &str)], body: &Value) -> Answer {
    let url = format!(
        "{}/upload/v1beta/{}:uploadToFileSearchStore",
        raw.service.url, raw.store
    );
    raw.send("POST", &url, headers, Some(body.to_string().as_bytes()))
        .unwrap()
}

pub const START: [(&str, &str); 2] = [
    ("x-goog-upload-protocol", "resumable"),
    ("x-goog-upload-command", "start"),
];

#[test]
fn models_are_listed_and_tokens_counted() {
    let raw = Raw::start(&[]);
    let first = raw.get("models?pageSize=5").json();
    assert_eq!(first["models"].as_array().unwrap().len(), 5);
    let token = first["nextPageToken"].as_str().unwrap();
    let second = raw
        .get(&format!("models?pageSize=50&pageToken={token}"))
        .json();
    assert_eq!(second["models"].as_array().unwrap().len(), 15);
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
fn html_is_read_as_it_is_shown_and_what_is_not_read_is_said() {
    let raw = Raw::start(&[]);
    let put = |mime: &str, body: &str| {
        let mime = ("x-goog-upload-header-content-type", mime);
        let begun = start(&raw, &[START[0], START[1], mime], &json!({}));
        assert_eq!(raw.end(begun.upload("url"), body).unwrap().status, 200);
    };
    put(
        "text/html",
        "<p>Ferns <b>grow</b> in the shade.<script>ferns()</script>",
    );
    let found = ask(&raw, "script", json!({}));
    assert_eq!(passages(&found), 0);
    let found = ask(&raw, "ferns", json!({})).json();
    assert_eq!(
        found["candidates"][0]["groundingMetadata"]["groundingChunks"][0]["retrievedContext"]["text"],
        "Ferns  grow  in the shade."
    );
    put("application/pdf", "%PDF-1.4 walls");
    let nothing = ask(&raw, "walls", json!({})).json();
    let words = nothing["candidates"][0]["content"]["parts"][0]["text"]
        .as_str()
        .unwrap();
    assert!(
        words.contains("The text of 1 of the documents is not read by"),
        "{words}"
    );
}
