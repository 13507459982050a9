//! Whatever a service says, reading it ends, in bounded memory, in a success or in a `Failure` of one
//! line.
//!
//! Answers go through a real connection, from a server that says what the test wants, so that no
//! private type has to be named here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Client, ClientSettings, Endpoint, Failure, FailureKind, Operation};
use crate::client::failure::refusal::{About, Refusal, classify};
use crate::client::wire::send::{RESPONSE_BYTES_MAX, escaped};
use crate::identity::Sha256;
use crate::names::{ApiKey, DocumentName, OperationName, SessionUrl, StoreName};
use crate::shutdown::Shutdown;
use crate::state::writer::{self, WriterThread};
use crate::text::one_line;
use crate::throttle::gate::Gate;
use crate::throttle::{self, Concurrency, Peaks, Rpm};
use crate::waits::Waits;

const WORDS_CHARS: usize = 500;

/// A server that gives every request the same bytes.
struct Canned {
    address: String,
    answer: Arc<Mutex<Vec<u8>>>,
    /// The first line of the last request.
    asked: Arc<Mutex<String>>,
    sent: Arc<AtomicU64>,
    /// A lock that is held, since nothing is sent without one; and the folder of its database.
    lock: WriterThread,
    _folder: tempfile::TempDir,
}

/// What follows an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    NextRequest,
    HangUp,
    /// The same again and again, until nobody listens.
    Again,
}

impl Canned {
    fn start(then: Then) -> Canned {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
        let lock = writer::start(
            &folder.path().join("library.db"),
            shutdown,
            &Waits::default(),
        )
        .unwrap();
        let canned = Canned {
            lock: lock.thread,
            _folder: folder,
            address: format!("http://{}", listener.local_addr().unwrap()),
            answer: Arc::default(),
            asked: Arc::default(),
            sent: Arc::default(),
        };
        let (answer, asked) = (Arc::clone(&canned.answer), Arc::clone(&canned.asked));
        let sent = Arc::clone(&canned.sent);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
                let sent = Arc::clone(&sent);
                std::thread::spawn(move || {
                    let _ = converse(stream, &answer, &asked, &sent, then);
                });
            }
        });
        canned
    }

    fn says(&self, head: &str, body: &[u8]) {
        let length = body.len();
        let head = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n");
        *self.answer.lock().unwrap() = [head.as_bytes(), body].concat();
    }

    fn client(&self) -> Client {
        let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
        let settings = throttle::GateSettings {
            rpm: Rpm::Unlimited,
            concurrency: Concurrency::Asked(1),
            peaks: Peaks::default(),
            waits: Waits::default(),
        };
        let gate = Arc::new(Gate::new(settings, shutdown));
        let client = ClientSettings {
            endpoint: Endpoint::parse(&self.address).unwrap(),
            key: ApiKey::new("key").unwrap(),
            proxy: None,
            ca_file: None,
            concurrency: 1,
            lease: self.lock.lease(),
            waits: Waits::default(),
        };
        Client::new(client, gate).unwrap()
    }

    fn session(&self) -> SessionUrl {
        SessionUrl::new("/upload?upload_id=1")
    }
}

fn converse(
    stream: TcpStream,
    answer: &Mutex<Vec<u8>>,
    asked: &Mutex<String>,
    sent: &AtomicU64,
    then: Then,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut from = BufReader::new(stream);
    loop {
        let mut first = String::new();
        let mut length = 0;
        if from.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut line = String::new();
        while from.read_line(&mut line)? > 2 {
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
            line.clear();
        }
        from.by_ref().take(length).read_to_end(&mut Vec::new())?;
        *asked.lock().unwrap() = first;
        let mut said = answer.lock().unwrap().clone();
        loop {
            from.get_mut().write_all(&said)?;
            sent.fetch_add(said.len() as u64, Relaxed);
            match then {
                Then::NextRequest => break,
                Then::HangUp => return Ok(()),
                Then::Again => {}
            }
            // The head is said once.
            if let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") {
                said.drain(..end + 4);
            }
        }
    }
}

/// Words that mean something to a reader.
const KNOWN: &[&str] = &[
    "name",
    "state",
    "sizeBytes",
    "customMetadata",
    "key",
    "stringValue",
    "numericValue",
    "stringListValue",
    "values",
    "documents",
    "nextPageToken",
    "fileSearchStores",
    "displayName",
    "done",
    "error",
    "code",
    "message",
    "status",
    "details",
    "retryDelay",
    "reason",
    "violations",
    "quotaId",
    "quotaMetric",
    "response",
    "documentName",
    "objlib_path",
    "objlib_sha256",
    "STATE_ACTIVE",
    "STATE_FAILED",
    "API_KEY_INVALID",
    "fileSearchStores/s/documents/d",
    "fileSearchStores/s/operations/o",
    "12",
    "36.5s",
    "",
];

/// Words that mean something to a reader, and others.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => proptest::sample::select(KNOWN).prop_map(str::to_owned),
        1 => ".{0,12}",
        1 => Just(Sha256::of(b"x").to_string()),
    ]
}

/// Any JSON, of the depth that answers have and somewhat more.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 60, 6, |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..5).prop_map(Value::from),
            3 => btree_map(word(), inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

#[track_caller]
fn is_said_plainly(failure: &Failure) {
    let words = failure.to_string();
    assert_eq!(words, one_line(&words));
    assert!(words.chars().count() <= WORDS_CHARS, "{words:?}");
}

/// Everything that reads an answer has this one.
fn read_all(canned: &Canned, client: &Client) {
    let store = StoreName::new("fileSearchStores/s");
    match client.documents_page(&store, None) {
        Ok(page) => assert!(page.next.is_none_or(|token| !token.is_empty())),
        Err(failure) => is_said_plainly(&failure),
    }
    match client.operation(&OperationName::new("fileSearchStores/s/operations/o")) {
        Ok(Operation::Failed { message, .. }) => {
            assert_eq!(message, one_line(&message));
        }
        Ok(_) => {}
        Err(failure) => is_said_plainly(&failure),
    }
    for failure in [
        client
            .document(&DocumentName::new("fileSearchStores/s/documents/d"))
            .err(),
        client.find_stores("any").err(),
        client.get_store(&store).err(),
        client.query(&canned.session()).err(),
    ] {
        failure.iter().for_each(is_said_plainly);
    }
}

/// The headers of a session, right and wrong.
fn session_head() -> impl Strategy<Value = String> {
    let state = prop_oneof![
        Just("final".to_owned()),
        Just("active".to_owned()),
        Just("cancelled".to_owned()),
        "[ -~]{0,10}",
    ];
    let size = prop_oneof![any::<u64>().prop_map(|n| n.to_string()), "[ -~]{0,30}"];
    (state, size).prop_map(|(state, size)| {
        format!("200 OK\r\nx-goog-upload-status: {state}\r\nx-goog-upload-size-received: {size}")
    })
}

#[test]
fn any_json_is_an_answer_or_a_failure() {
    let canned = Canned::start(Then::NextRequest);
    let client = canned.client();
    let cases = (session_head(), any_json());
    let config = ProptestConfig::with_cases(200);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let done = runner.run(&cases, |(head, body)| {
        canned.says(&head, body.to_string().as_bytes());
        read_all(&canned, &client);
        Ok(())
    });
    done.unwrap();
}

#[test]
fn any_bytes_are_an_answer_or_a_failure() {
    let canned = Canned::start(Then::NextRequest);
    let client = canned.client();
    let config = ProptestConfig::with_cases(100);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let cases = (any::<bool>(), vec(any::<u8>(), 0..2000));
    let done = runner.run(&cases, |(object, bytes)| {
        let before = if object { &b"{\"name\": \"n"[..] } else { b"" };
        canned.says("200 OK", &[before, &bytes].concat());
        read_all(&canned, &client);
        Ok(())
    });
    done.unwrap();
}

/// Not even HTTP.
#[test]
fn any_head_is_an_answer_or_a_failure() {
    let canned = Canned::start(Then::HangUp);
    let config = ProptestConfig::with_cases(60);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let cases = (0usize..3, vec(any::<u8>(), 0..300));
    let done = runner.run(&cases, |(begins, bytes)| {
        let before = ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 503 x\r\nretry-after: "][begins];
        let bytes: Vec<u8> = [before.as_bytes(), &bytes, b"\r\n\r\n"].concat();
        *canned.answer.lock().unwrap() = bytes;
        // One try of a fresh client: what fails is not asked again here.
        let client = canned.client();
        let asked = client.operation(&OperationName::new("fileSearchStores/s/operations/o"));
        asked.err().iter().for_each(is_said_plainly);
        Ok(())
    });
    done.unwrap();
}

#[test]
fn deep_nesting_is_a_failure_and_no_overflow() {
    const DEPTH: usize = 100_000;
    let canned = Canned::start(Then::NextRequest);
    let client = canned.client();
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"{"error":"#, "}")] {
        for ends in [true, false] {
            let mut deep = open.repeat(DEPTH);
            if ends {
                deep.push('1');
                deep.push_str(&close.repeat(DEPTH));
            }
            for field in ["name", "documents", "error", "unknown"] {
                let body = format!(r#"{{"{field}":{deep}}}"#);
                canned.says("200 OK\r\nx-goog-upload-status: final", body.as_bytes());
                read_all(&canned, &client);
                is_said_plainly(&refusal(400, None, body.as_bytes()));
            }
            canned.says("200 OK", deep.as_bytes());
            let document = DocumentName::new("fileSearchStores/s/documents/d");
            let failure = client.document(&document).unwrap_err();
            assert!(failure.makes_no_sense());
            is_said_plainly(&refusal(400, None, deep.as_bytes()));
        }
    }
}

#[test]
fn an_answer_is_read_up_to_its_limit_and_no_further() {
    let document = DocumentName::new("fileSearchStores/s/documents/d");
    let canned = Canned::start(Then::NextRequest);
    let client = canned.client();
    let mut body = br#"{"name": "fileSearchStores/s/documents/d"}"#.to_vec();
    body.resize(RESPONSE_BYTES_MAX as usize, b' ');
    canned.says("200 OK", &body);
    assert!(client.document(&document).is_ok());
    body.push(b' ');
    canned.says("200 OK", &body);
    let failure = client.document(&document).unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotTheService);
    is_said_plainly(&failure);
    // One that never ends: chunk upon chunk, or without any length.
    for (head, chunk) in [
        (
            "transfer-encoding: chunked",
            [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat(),
        ),
        ("connection: close", vec![b' '; 0x10000]),
    ] {
        let endless = Canned::start(Then::Again);
        let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
        *endless.answer.lock().unwrap() = [head.as_bytes(), &chunk].concat();
        let failure = endless.client().document(&document).unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotTheService);
        is_said_plainly(&failure);
        // Beyond the limit only what is under way in buffers.
        assert!(endless.sent.load(Relaxed) < 4 * RESPONSE_BYTES_MAX);
    }
}

fn refusal(status: u16, retry_after: Option<&str>, body: &[u8]) -> Failure {
    classify(Refusal {
        status,
        retry_after,
        location: None,
        body,
        about: About::Object,
    })
}

/// Numbers of seconds as services write them, and as none should.
fn seconds() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        any::<i128>().prop_map(|n| n.to_string()),
        "[-+]?[0-9]{0,400}(\\.[0-9]{0,20})?([eE][-+]?[0-9]{1,5})?",
        Just("NaN".to_owned()),
        Just("-NaN".to_owned()),
        Just("inf".to_owned()),
        Just("-inf".to_owned()),
        Just("infinity".to_owned()),
        Just("-0".to_owned()),
        (1000i16..=9999, 0u8..=24, 0u8..=61).prop_map(|(year, hour, second)| {
            format!("Fri, 31 Dec {year} {hour:02}:59:{second:02} GMT")
        }),
        "\\PC{0,40}",
    ]
}

proptest! {
    #[test]
    fn any_delay_can_be_computed_with(text in seconds()) {
        let info = json!({"error": {"code": 429, "message": "slower", "details": [
            {"retryDelay": format!("{text}s")}]}}).to_string();
        let said = refusal(429, None, info.as_bytes()).delay;
        let asked = refusal(429, Some(&text), b"").delay;
        for delay in [said, asked].into_iter().flatten() {
            prop_assert!(delay <= Duration::from_secs(1_000_000_000), "{delay:?}");
            prop_assert!(Instant::now().checked_add(delay).is_some());
        }
    }

    #[test]
    fn any_envelope_is_a_failure_of_one_line(
        status in any::<u16>(),
        inner in any_json(),
        shape in 0..5,
        after in seconds(),
        about in proptest::sample::select(&[About::Account, About::Store, About::Object][..]),
    ) {
        let body = match shape {
            0 => inner,
            1 => json!({ "error": inner }),
            2 => json!([{ "error": inner }]),
            3 => json!({"error": {"message": inner, "details": [inner, inner]}}),
            _ => json!({"error": {"message": "m", "details": [
                {"retryDelay": inner}, {"violations": inner}, {"violations": [inner]}]}}),
        };
        let body = body.to_string();
        let failure = classify(Refusal {
            status,
            retry_after: Some(&after),
            location: Some(&after),
            body: body.as_bytes(),
            about,
        });
        is_said_plainly(&failure);
        prop_assert_eq!(failure.status, Some(status));
    }

    #[test]
    fn any_value_of_a_query_comes_back_as_it_was(text in "(?s).{0,60}") {
        let escaped = escaped(&text);
        prop_assert!(escaped.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
        let back: Vec<u8> = percent_encoding::percent_decode_str(&escaped).collect();
        prop_assert_eq!(back, text.into_bytes());
    }

    #[test]
    fn a_hash_is_read_only_from_its_64_digits(text in "(?s).{0,70}", hex in "[0-9a-fA-F]{63,65}") {
        for text in [text, hex] {
            if let Some(hash) = Sha256::parse(&text) {
                prop_assert_eq!(hash.to_string(), text.to_ascii_lowercase());
            } else {
                prop_assert!(text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()));
            }
        }
    }
}

/// What a page names as the next one is asked for, byte for byte.
#[test]
fn any_page_token_is_sent_back_as_it_came() {
    let canned = Canned::start(Then::NextRequest);
    let client = canned.client();
    let store = StoreName::new("fileSearchStores/s");
    let config = ProptestConfig::with_cases(100);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let done = runner.run(&"(?s).{1,60}", |token| {
        canned.says(
            "200 OK",
            json!({ "nextPageToken": token }).to_string().as_bytes(),
        );
        let page = client.documents_page(&store, None).unwrap();
        prop_assert_eq!(page.next.as_ref(), Some(&token));
        client.documents_page(&store, page.next.as_deref()).unwrap();
        let asked = canned.asked.lock().unwrap().clone();
        let sent = asked.split("pageToken=").nth(1).unwrap();
        let sent = sent.split([' ', '&']).next().unwrap();
        let sent: Vec<u8> = percent_encoding::percent_decode_str(sent).collect();
        prop_assert_eq!(sent, token.into_bytes());
        Ok(())
    });
    done.unwrap();
}
