use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::emulator::{Answer, Raw};
use crate::run::{Place, Seen, Service, seen};
use crate::served::{ask, passages, refused};

/// A command that ends by itself, or is a service that should not have started.
#[track_caller]
fn ended(mut command: Command) -> Seen {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    if !line.is_empty() {
        child.kill().unwrap();
    }
    assert_eq!(line, "");
    let seen = seen(child.wait_with_output().unwrap());
    assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
    seen
}

fn control(raw: &Raw, method: &str, path: &str, body: Option<&str>) -> Answer {
    let url = format!("{}/_emulator/{path}", raw.service.url);
    raw.send(method, &url, &[], body.map(str::as_bytes))
        .unwrap()
}

const ANSWERS: &str = r#"[
  {"question": "(?i)opening hours", "text": "At nine.", "citations": [
    {"title": "hours.txt", "passage": "We open at nine."},
    {"path": "hours.txt", "passage": "Closed on Sunday."},
    {"title": "nowhere.txt", "passage": "Not uploaded."}]},
  {"question": "^hours$", "text": "Say more."}
]"#;

#[test]
fn answers_written_beforehand_come_first() {
    let place = Place::new();
    let file = place.path().join("answers.json");
    std::fs::write(&file, ANSWERS).unwrap();
    let raw = Raw::start(&["--answers", file.to_str().unwrap()]);
    raw.upload("hours.txt", "The hours of the shop.");
    let whole = ask(&raw, "What are your Opening Hours?", json!({}));
    assert_eq!(passages(&whole), 3);
    let candidate = whole.json()["candidates"][0].clone();
    assert_eq!(candidate["content"]["parts"][0]["text"], "At nine.");
    let grounding = &candidate["groundingMetadata"];
    let context = |i: usize| grounding["groundingChunks"][i]["retrievedContext"].clone();
    assert_eq!(context(0)["text"], "We open at nine.");
    // As one that was found.
    assert_eq!(context(0)["fileSearchStore"], json!(raw.store));
    assert_eq!(context(0)["customMetadata"][0]["stringValue"], "hours.txt");
    assert_eq!(context(1)["title"], "hours.txt");
    assert_eq!(context(2)["title"], "nowhere.txt");
    assert!(context(2).get("customMetadata").is_none());
    assert_eq!(
        grounding["groundingSupports"][0],
        json!({"segment": {"endIndex": 8, "text": "At nine."}, "groundingChunkIndices": [0, 1, 2]})
    );

    let tool = json!({"fileSearchStoreNames": [raw.store]});
    let body = json!({"contents": [{"parts": [{"text": "opening hours"}]}], "tools": [{"fileSearch": tool}]});
    let stream = raw.post("models/gemini-3.5-flash:streamGenerateContent", body);
    let stream = stream.json();
    assert_eq!(
        stream[0]["candidates"][0]["content"]["parts"][0]["text"],
        "At nine."
    );
    let body = json!({"model": "gemini-3.5-flash", "input": "opening hours",
        "tools": [{"type": "file_search", "file_search_store_names": [raw.store]}]});
    let content = raw.post("interactions", body).json()["steps"][2]["content"][0].clone();
    assert_eq!(content["text"], "At nine.");
    assert_eq!(content["annotations"][0]["source"], "We open at nine.");

    // Without the tool there is nothing to cite; what fits no pattern is looked for.
    let body = json!({"contents": [{"parts": [{"text": "opening hours"}]}]});
    let alone = raw
        .post("models/gemini-3.5-flash:generateContent", body)
        .json();
    assert_eq!(
        alone["candidates"][0]["content"]["parts"][0]["text"],
        "At nine."
    );
    assert!(alone["candidates"][0].get("groundingMetadata").is_none());
    let found = ask(&raw, "hours of the shop", json!({}));
    assert_eq!(passages(&found), 1);
    let missing = json!({"fileSearchStoreNames": ["fileSearchStores/none"]});
    refused(
        &ask(&raw, "opening hours", missing),
        403,
        "PERMISSION_DENIED",
    );
}

#[test]
fn a_wrong_file_of_answers_is_one_line_and_exit_2() {
    let place = Place::new();
    for (text, why) in [
        (
            "[\n\n{\"question\": \"(\", \"text\": \"\"}]",
            "entry 1 (line 3): `question` is no pattern",
        ),
        (
            "[{\"pattern\": \"a\"}]",
            "entry 1 (line 1): no field is called `pattern`",
        ),
        ("{}", "not a JSON list"),
    ] {
        std::fs::write(place.path().join("answers.json"), text).unwrap();
        let args = [
            "emulator",
            "--port",
            "0",
            "--data",
            "new.db",
            "--answers",
            "answers.json",
        ];
        let seen = ended(place.objlib(&args)).exit(2);
        assert!(
            seen.stderr.contains("answers.json: ") && seen.stderr.contains(why),
            "{}",
            seen.stderr
        );
        assert!(!place.path().join("new.db").exists());
    }
    let seen = ended(place.objlib(&["emulator", "--port", "0", "--answers", "none.json"])).exit(2);
    assert!(
        seen.stderr.contains("none.json: cannot be read"),
        "{}",
        seen.stderr
    );
}

/// Everything that has an id or a time, and some faults.
fn a_life(raw: &Raw) {
    let operation = raw.upload("ferns.md", "Ferns grow in the shade.");
    for _ in 0..4 {
        raw.get(operation["name"].as_str().unwrap());
    }
    ask(raw, "ferns", json!({}));
    let begun = raw.begin("files", json!({"file": {"displayName": "a.txt"}}));
    let file = raw.end(begun.upload("url"), "one").unwrap().json();
    let import = json!({"fileName": file["file"]["name"]});
    raw.post(&format!("{}:importFile", raw.store), import);
    raw.get(&format!("{}/documents", raw.store));
    raw.post(
        "interactions",
        json!({"model": "gemini-3.5-flash", "input": "ferns"}),
    );
}

/// What was recorded, and the ledger, with another word for the port, which nobody fixes.
fn recording(raw: &Raw) -> String {
    let text = format!(
        "{:#}\n{:#}",
        raw.service.get("requests"),
        raw.service.get("ledger")
    );
    text.replace(raw.service.url.trim_start_matches("http://"), "HOST")
}

#[test]
fn one_seed_and_the_same_requests_are_one_recording() {
    let record = |seed: &str| {
        let raw = Raw::start(&["--seed", seed, "--operation-delay-ms", "3000"]);
        a_life(&raw);
        recording(&raw)
    };
    let first = record("7");
    assert_eq!(record("7"), first);
    assert_ne!(record("8"), first);
    // The fourth request after the upload sees its end, however fast they come.
    assert!(
        first.contains("2026-01-01T00:00:0") && first.contains("STATE_ACTIVE"),
        "{first}"
    );
}

#[test]
fn no_id_comes_again_when_a_seeded_service_does() {
    let place = Place::new();
    let make = || {
        let service = Service::start(&place, &["--seed", "7"]);
        let url = format!("{}/v1beta/fileSearchStores?key=k", service.url);
        let made = ureq::post(&url).send(r#"{"displayName": "s"}"#).unwrap();
        let made: Value = serde_json::from_reader(made.into_body().into_reader()).unwrap();
        (made["name"].clone(), made["createTime"].clone())
    };
    let (first, second) = (make(), make());
    assert_ne!(first.0, second.0);
    assert!(first.1.as_str() < second.1.as_str(), "{first:?} {second:?}");
}

#[test]
fn data_go_out_and_come_back_as_they_were() {
    let raw = Raw::start(&[]);
    a_life(&raw);
    let ledger = || {
        let mut ledger = raw.service.get("ledger");
        // Questions are counted, whatever becomes of the data.
        for counted in ["requests", "requestsTotal", "answers", "connections"] {
            ledger.as_object_mut().unwrap().remove(counted);
        }
        ledger
    };
    let (before, data) = (ledger(), control(&raw, "GET", "data", None));
    assert_eq!(data.status, 200);
    assert_eq!(data.json()["documents"].as_array().unwrap().len(), 2);
    let listed = raw.get(&format!("{}/documents", raw.store)).json();
    assert_eq!(control(&raw, "DELETE", "data", None).status, 200);
    assert_ne!(ledger(), before);
    let put = control(&raw, "PUT", "data", Some(&data.body));
    assert_eq!((put.status, put.body.as_str()), (200, "{}"));
    assert_eq!(ledger(), before);
    assert_eq!(raw.get(&format!("{}/documents", raw.store)).json(), listed);
    assert_eq!(control(&raw, "GET", "data", None).body, data.body);
    assert_eq!(passages(&ask(&raw, "ferns", json!({}))), 1);

    // What is wrong changes nothing, and another service takes the same.
    let wrong = data.body.replace("\"mime\"", "\"mine\"");
    let put = control(&raw, "PUT", "data", Some(&wrong));
    assert_eq!(put.status, 400);
    assert!(
        put.body
            .starts_with("nothing was imported: documents[0].mime is not a text"),
        "{}",
        put.body
    );
    assert_eq!(ledger(), before);
    let other = Raw::start(&["--seed", "7"]);
    assert_eq!(control(&other, "PUT", "data", Some(&data.body)).status, 200);
    assert_eq!(
        other.get(&format!("{}/documents", raw.store)).json(),
        listed
    );
}

#[test]
fn a_data_file_has_one_service_at_a_time() {
    let raw = Raw::start(&[]);
    raw.upload("a.txt", "ferns");
    let data = raw.place().path().join("service.db");
    let another = |place: &Place| {
        let mut command = place.objlib(&["emulator", "--port", "0", "--data"]);
        command.arg(&data);
        command
    };
    let seen = ended(another(raw.place())).exit(5);
    assert!(
        seen.stderr.contains("another emulator has these data open"),
        "{}",
        seen.stderr
    );
    // The first one knows nothing of it, and kill -9 frees the file.
    assert_eq!(raw.active(), 1);
    assert_eq!(raw.restart().active(), 1);
}

/// A certificate with its key, and that of another.
const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/own.pem");
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/own-ca.pem");

#[test]
fn what_a_service_cannot_start_with_is_one_line() {
    let place = Place::new();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    std::fs::write(place.path().join("text.db"), "not a database, ".repeat(100)).unwrap();
    std::fs::write(place.path().join("plan.json"), "{\"eror_503\": 1}").unwrap();
    std::fs::write(place.path().join("cut.json"), "{").unwrap();
    for (name, what, end) in [
        ("wrong.pem", "CERTIFICATE", "-----END CERTIFICATE-----\n"),
        ("cut.pem", "CERTIFICATE", ""),
        (
            "locked.pem",
            "ENCRYPTED PRIVATE KEY",
            "-----END ENCRYPTED PRIVATE KEY-----\n",
        ),
    ] {
        let pem = format!("-----BEGIN {what}-----\nAAAA\n{end}");
        std::fs::write(place.path().join(name), pem).unwrap();
    }
    for (args, exit, why) in [
        (
            &["--port", &port, "--data", "new.db"][..],
            1,
            "cannot be listened on",
        ),
        (&["--data", "text.db"], 1, "file is not a database"),
        (&["--profile", "realstic"], 2, "`realistic`"),
        (&["--loose", "top-l"], 2, "`top-k`"),
        (&["--faults", "plan.json"], 2, "`error_503`"),
        (&["--faults", "{\"error_503\": 2}"], 2, "error_503 is 2"),
        (&["--faults", "none.json"], 2, "none.json"),
        (&["--faults", "cut.json"], 2, "cut.json is not JSON"),
        (&["--stall", "2"], 2, "stall is 2.0, and a probability"),
        (&["--eror-503", "1"], 2, "--error-503"),
        (&["--seed", "x"], 2, "--seed"),
        (
            &["--host", "example.com"],
            2,
            "not an address of this machine",
        ),
        (&["--tls-cert", OWN], 2, "--tls-key"),
        (&["--tls-key", OWN], 2, "--tls-cert"),
        (
            &["--tls-cert", "none.pem", "--tls-key", OWN],
            2,
            "none.pem: cannot be read",
        ),
        (
            &["--tls-cert", OWN, "--tls-key", "none.pem"],
            2,
            "none.pem: cannot be read",
        ),
        (
            &["--tls-cert", "cut.json", "--tls-key", OWN],
            2,
            "holds no certificate",
        ),
        (
            &["--tls-cert", "wrong.pem", "--tls-key", OWN],
            2,
            "wrong.pem: cannot be used",
        ),
        (
            &["--tls-cert", "cut.pem", "--tls-key", OWN],
            2,
            "cut.pem: is damaged",
        ),
        (
            &["--tls-cert", OWN, "--tls-key", AUTHORITY],
            2,
            "holds no private key",
        ),
        (
            &["--tls-cert", AUTHORITY, "--tls-key", OWN],
            2,
            "is not the key of the certificate",
        ),
        (
            &["--tls-cert", OWN, "--tls-key", "locked.pem"],
            2,
            "locked.pem: is encrypted",
        ),
        (&["--seed", "1", "--fault-seed", "2"], 2, "--fault-seed"),
    ] {
        let mut command = place.objlib(&["emulator"]);
        if !args.contains(&"--port") {
            command.args(["--port", "0"]);
        }
        command.args(args);
        let seen = ended(command).exit(exit);
        assert!(seen.stderr.contains(why), "{args:?}: {}", seen.stderr);
    }
    assert!(!place.path().join("new.db").exists());
}
