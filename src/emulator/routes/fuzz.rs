//! Whatever a client sends and whatever a fault plan says, the service goes on answering others.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use crate::emulator::faults::{Dice, plan::Shape};
use crate::emulator::{Emulator, Faults, Options};

/// Says these bytes and nothing more; everything that comes back until the service hangs up.
fn answer(emulator: &Emulator, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(emulator.address).unwrap();
    // The service may have hung up before all was said.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut out = Vec::new();
    let _ = stream.read_to_end(&mut out);
    out
}

#[track_caller]
fn is_alive(emulator: &Emulator) {
    let said = answer(
        emulator,
        b"GET /_emulator/ledger HTTP/1.1\r\nhost: localhost\r\n\r\n",
    );
    assert!(
        said.starts_with(b"HTTP/1.1 200 "),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = proptest::sample::select(&["GET", "POST", "PUT", "DELETE", "X", ""][..]);
    let path = prop_oneof![
        4 => proptest::sample::select(&[
            "/v1beta/fileSearchStores", "/v1beta/fileSearchStores/s/documents?pageSize=99999999999",
            "/v1beta/fileSearchStores?pageToken=%ff%&pageSize=-1", "/upload/v1beta/files",
            "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore?upload_id=x",
            "/v1beta/models/gemini-3.5-flash:generateContent",
            "/v1beta/models/gemini-3.5-flash:streamGenerateContent?alt=sse", "/_emulator/requests?after=18446744073709551615",
            "/_emulator/faults", "/_emulator/data", "/v1/interactions", "/v1/files:register",
            "/v1/models?pageToken=after-9223372036854775807", "/v1beta/models/gemini-3.5-flash:countTokens",
            "/v1beta/models/gemini-embedding-001:batchEmbedContents",
        ][..]).prop_map(str::to_owned),
        1 => "/[ -~]{0,40}",
    ];
    let header = prop_oneof![
        Just("transfer-encoding: chunked".to_owned()),
        any::<u64>().prop_map(|n| format!("content-length: {n}")),
        (0u64..50).prop_map(|n| format!("content-length: {n}")),
        Just("x-goog-api-key: k".to_owned()),
        "(host|origin): [ -~]{0,20}",
        Just("connection: close, x".to_owned()),
        Just("expect: 100-continue".to_owned()),
        Just("x-goog-upload-protocol: resumable".to_owned()),
        Just("x-goog-upload-protocol: multipart".to_owned()),
        Just("content-type: multipart/related; boundary=B".to_owned()),
        "x-goog-upload-command: (start|upload|upload, finalize|query|cancel)",
        "x-goog-upload-offset: [0-9]{1,30}",
        "[a-z-]{0,12}: [ -~]{0,30}",
        (1usize..80_000).prop_map(|n| format!("x: {}", "y".repeat(n))),
    ];
    let body = prop_oneof![
        vec(any::<u8>(), 0..200),
        Just(b"ffffffffffffffff\r\nx".to_vec()),
        Just(b"3\r\nabc\r\n0\r\n\r\n".to_vec()),
        Just("[".repeat(100_000).into_bytes()),
        Just(br#"{"displayName": 1, "error_503": {}}"#.to_vec()),
        Just(br#"{"model": "gemini-3.5-flash", "input": [[{"content": [1, {"text": {}}]}]], "stream": true,
            "tools": [1, {"type": "file_search", "top_k": 1e300}]}"#.to_vec()),
        Just(br#"{"requests": [{"content": {"parts": [{"text": "x"}]}, "outputDimensionality": -1}, null]}"#.to_vec()),
    ];
    (method, path, vec(header, 0..6), body).prop_map(|(method, path, headers, body)| {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{}\r\n\r\n",
            headers.join("\r\n")
        );
        [head.as_bytes(), &body].concat()
    })
}

#[test]
fn any_bytes_leave_the_service_alive() {
    let emulator = Emulator::start(Options::default()).unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(150));
    let bytes = prop_oneof![
        3 => request(),
        1 => vec(request(), 2..4).prop_map(|all| all.concat()),
        1 => vec(any::<u8>(), 0..400),
    ];
    let done = runner.run(&bytes, |bytes| {
        let said = answer(&emulator, &bytes);
        let text = String::from_utf8_lossy(&said);
        prop_assert!(text.is_empty() || text.starts_with("HTTP/1.1 "), "{}", text);
        Ok(())
    });
    done.unwrap();
    is_alive(&emulator);
}

/// A plan of any numbers, as far as it is one.
fn plan() -> impl Strategy<Value = Value> {
    let Value::Object(known) = json!(Faults::default()) else {
        unreachable!("a plan is an object");
    };
    let names: Vec<String> = known.keys().cloned().collect();
    let value = prop_oneof![
        any::<f64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0u64..5).prop_map(Value::from),
        Just(json!(1e308)),
        Just(json!(-1e308)),
        Just(json!(i64::MAX)),
        Just(json!("sliding")),
        Just(json!([{"from_ms": u64::MAX, "to_ms": 0}])),
        Just(Value::Null),
    ];
    vec((proptest::sample::select(names), value), 0..6)
        .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()))
}

proptest! {
    #[test]
    fn any_plan_is_refused_or_rolled(
        plan in plan(),
        shape in proptest::sample::select(&[Shape::Fixed, Shape::Sliding, Shape::Bucket][..]),
        at in vec((any::<bool>(), any::<u64>()), 1..30),
    ) {
        if let Ok(plan) = serde_json::from_value::<Faults>(plan) {
            let mut dice = Dice::new(Faults { quota_shape: shape, ..plan.clone() }, 7);
            for (is_write, ms) in at {
                let _ = dice.count(is_write, Duration::from_millis(ms));
                dice.roll("document.list", "error_503", |plan| plan.error_503);
                dice.between(plan.operation_delay_ms, plan.operation_jitter_ms);
            }
        }
    }
}

/// Times that no calendar has: a document that is ready at the end of time, a list that lags by ages.
#[test]
fn absurd_times_of_a_plan_are_computed_with() {
    let emulator = Emulator::start(Options::default()).unwrap();
    let call = |method: &str, path: &str, headers: &str, body: &str| {
        let length = body.len();
        let bytes = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nx-goog-api-key: k\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        let said = String::from_utf8(answer(&emulator, bytes.as_bytes())).unwrap();
        assert!(said.starts_with("HTTP/1.1 200 "), "{method} {path}: {said}");
        said
    };
    let said = call(
        "POST",
        "/v1beta/fileSearchStores",
        "",
        r#"{"displayName": "s"}"#,
    );
    let from = said.find("fileSearchStores/").unwrap();
    let store = said[from..].split('"').next().unwrap().to_owned();
    for ms in [u64::MAX, i64::MAX as u64, i64::MAX as u64 + 1, 1 << 62] {
        let plan = json!({"operation_delay_ms": ms, "operation_jitter_ms": ms,
            "session_expiry_ms": ms, "list_lag_ms": ms, "storage_limit_bytes": u64::MAX});
        call("PUT", "/_emulator/faults", "", &plan.to_string());
        let said = call(
            "POST",
            &format!("/upload/v1beta/{store}:uploadToFileSearchStore"),
            "x-goog-upload-protocol: resumable\r\nx-goog-upload-command: start\r\n",
            "{}",
        );
        let from = said.find("upload_id=").unwrap();
        let id = said[from..].split("\r\n").next().unwrap();
        call(
            "POST",
            &format!("/upload/v1beta/{store}:uploadToFileSearchStore?{id}"),
            "x-goog-upload-command: upload, finalize\r\nx-goog-upload-offset: 0\r\n",
            "words",
        );
        call("GET", &format!("/v1beta/{store}/documents"), "", "");
        call("GET", "/_emulator/ledger", "", "");
    }
    is_alive(&emulator);
}
