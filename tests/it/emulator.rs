use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

use crate::run::{KEY, Place, Service};

/// What came back, whole.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// An upload header, or nothing.
    fn upload(&self, name: &str) -> &str {
        let value = self.headers.get(format!("x-goog-upload-{name}"));
        value.map_or("", |v| v.to_str().unwrap())
    }
}

/// A service and a client that knows nothing of objlib.
struct Raw {
    service: Service,
    agent: Agent,
    /// A store that is there.
    store: String,
    _place: Place,
}

impl Raw {
    fn start(flags: &[&str]) -> Raw {
        let place = Place::new();
        let service = Service::start(&place, flags);
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(0)
            .build()
            .new_agent();
        let mut raw = Raw {
            service,
            agent,
            store: String::new(),
            _place: place,
        };
        let made = raw.post("fileSearchStores", json!({"displayName": "s"}));
        raw.store = made.json()["name"].as_str().unwrap().to_owned();
        raw
    }

    fn faults(&self, plan: Value) {
        self.service.set_faults(plan);
    }

    #[track_caller]
    fn fired(&self, fault: &str, times: u64) {
        assert_eq!(self.service.fired(fault), times, "{fault}");
    }

    /// `Err`: no answer, or not a whole one.
    fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header("x-goog-api-key", KEY);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = match body {
            Some(body) => self.agent.run(request.body(body).unwrap())?,
            None => self.agent.run(request.body(()).unwrap())?,
        };
        Ok(Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.body_mut().read_to_string()?,
        })
    }

    fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        let url = format!("{}/v1beta/{path}", self.service.url);
        self.send("GET", &url, &[], None)
    }

    #[track_caller]
    fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap()
    }

    fn try_post(&self, path: &str, body: Value) -> Result<Answer, ureq::Error> {
        let url = format!("{}/v1beta/{path}", self.service.url);
        self.send("POST", &url, &[], Some(body.to_string().as_bytes()))
    }

    #[track_caller]
    fn post(&self, path: &str, body: Value) -> Answer {
        self.try_post(path, body).unwrap()
    }

    #[track_caller]
    fn delete(&self, name: &str) -> Answer {
        let url = format!("{}/v1beta/{name}?force=true", self.service.url);
        self.send("DELETE", &url, &[], None).unwrap()
    }

    /// `to`: a store, or `files`.
    #[track_caller]
    fn begin(&self, to: &str, request: Value) -> Answer {
        let verb = match to {
            "files" => "",
            _ => ":uploadToFileSearchStore",
        };
        let url = format!("{}/upload/v1beta/{to}{verb}", self.service.url);
        let headers = [
            ("x-goog-upload-protocol", "resumable"),
            ("x-goog-upload-command", "start"),
            ("x-goog-upload-header-content-type", "text/plain"),
        ];
        let body = request.to_string();
        self.send("POST", &url, &headers, Some(body.as_bytes()))
            .unwrap()
    }

    fn end(&self, url: &str, body: &str) -> Result<Answer, ureq::Error> {
        let headers = [
            ("x-goog-upload-command", "upload, finalize"),
            ("x-goog-upload-offset", "0"),
        ];
        self.send("POST", url, &headers, Some(body.as_bytes()))
    }

    #[track_caller]
    fn query(&self, url: &str) -> Answer {
        let headers = [("x-goog-upload-command", "query")];
        self.send("POST", url, &headers, Some(b"")).unwrap()
    }

    /// Uploads a document; the operation.
    #[track_caller]
    fn upload(&self, name: &str, body: &str) -> Value {
        let request = json!({"displayName": name, "customMetadata": [
            {"key": "objlib_path", "stringValue": name}]});
        let begun = self.begin(&self.store, request);
        let done = self.end(begun.upload("url"), body).unwrap();
        assert_eq!(done.status, 200, "{done:?}");
        done.json()
    }

    /// The document of such an operation.
    fn document(operation: &Value) -> String {
        operation["response"]["documentName"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn active(&self) -> u64 {
        let store = self.get(&self.store).json();
        store["activeDocumentsCount"]
            .as_str()
            .map_or(0, |n| n.parse().unwrap())
    }
}

#[test]
fn a_408_is_answered_before_anything_happens() {
    let raw = Raw::start(&[]);
    raw.faults(json!({"error_408": 1.0}));
    let answer = raw.post("fileSearchStores", json!({"displayName": "t"}));
    assert_eq!(answer.status, 408);
    raw.faults(json!({"error_408": 0.0}));
    let stores = raw.get("fileSearchStores").json();
    assert_eq!(stores["fileSearchStores"].as_array().unwrap().len(), 1);
    raw.fired("error_408", 1);
}

#[test]
fn wrong_json_comes_in_three_forms_and_after_the_effect() {
    let raw = Raw::start(&[]);
    raw.faults(json!({"wrong_json": 1.0}));
    let bodies: Vec<String> = (0..4)
        .map(|i| {
            let answer = raw.post("fileSearchStores", json!({"displayName": format!("t{i}")}));
            assert_eq!(answer.status, 200);
            answer.body
        })
        .collect();
    assert_eq!(bodies[0], "{\"nam");
    assert_eq!(bodies[1], "[]");
    assert!(bodies[2].starts_with("<html>"));
    assert_eq!(bodies[3], bodies[0]);
    raw.faults(json!({"wrong_json": 0.0}));
    let stores = raw.get("fileSearchStores").json();
    assert_eq!(stores["fileSearchStores"].as_array().unwrap().len(), 5);
    raw.fired("wrong_json", 4);
}

#[test]
fn a_cut_answer_is_shorter_than_announced_and_after_the_effect() {
    let raw = Raw::start(&[]);
    let document = Raw::document(&raw.upload("a.txt", "one"));
    raw.faults(json!({"cut_answer": 1.0}));
    assert!(raw.try_get(&document).is_err());
    // Also an answer without a body.
    let url = format!("{}/v1beta/{document}?force=true", raw.service.url);
    assert!(raw.send("DELETE", &url, &[], None).is_err());
    raw.faults(json!({"cut_answer": 0.0}));
    assert_eq!(raw.get(&document).status, 404);
    raw.fired("cut_answer", 2);
}

#[test]
fn an_empty_answer_is_200_and_nothing_else() {
    let raw = Raw::start(&[]);
    raw.faults(json!({"empty_answer": 1.0}));
    let begun = raw.begin(&raw.store, json!({}));
    assert_eq!((begun.status, begun.body.as_str()), (200, ""));
    assert_eq!(begun.upload("status"), "");
    assert_eq!(begun.upload("url"), "");
    raw.fired("empty_answer", 1);
    assert_eq!(raw.service.ledger().0["sessions"]["active"], 1);
}

#[test]
fn a_dripping_answer_is_whole_in_the_end() {
    let raw = Raw::start(&[]);
    let whole = raw.get(&raw.store).body;
    raw.faults(json!({"drip_ms": 1}));
    assert_eq!(raw.get(&raw.store).body, whole);
    raw.faults(json!({"drip_ms": 0}));
    raw.fired("drip_ms", 1);
}

#[test]
fn a_stalled_request_takes_effect_and_gets_no_answer() {
    let raw = Raw::start(&[]);
    raw.faults(json!({"stall": 1.0, "stall_ms": 1}));
    let made = raw.try_post("fileSearchStores", json!({"displayName": "t"}));
    assert!(made.is_err(), "{made:?}");
    raw.faults(json!({"stall": 0.0}));
    let stores = raw.get("fileSearchStores").json();
    assert_eq!(stores["fileSearchStores"].as_array().unwrap().len(), 2);
    raw.fired("stall", 1);
}

#[test]
fn rolled_faults_spare_the_kinds_that_are_not_named() {
    let raw = Raw::start(&[]);
    raw.faults(json!({"error_503": 1.0, "only_kinds": ["store.list", "document.list"]}));
    assert_eq!(raw.get(&raw.store).status, 200);
    assert_eq!(raw.get("fileSearchStores").status, 503);
    assert_eq!(raw.get(&format!("{}/documents", raw.store)).status, 503);
    raw.fired("error_503", 2);
}

#[test]
fn a_plan_with_an_unknown_name_changes_nothing() {
    let raw = Raw::start(&[]);
    let url = format!("{}/_emulator/faults", raw.service.url);
    for plan in [
        json!({"error_503": 1.0, "only_kinds": ["store"]}),
        json!({"error_503": 1.0, "calls": [{"call": 1, "kind": "504"}]}),
        json!({"error_503": 1.0, "error_504": 1.0}),
    ] {
        let body = plan.to_string();
        let answer = raw.send("PUT", &url, &[], Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, 400, "{plan}");
    }
    assert_eq!(raw.get(&raw.store).status, 200);
}

#[test]
fn the_nth_call_meets_its_trouble_once() {
    let raw = Raw::start(&["--stall-ms", "1"]);
    let stores = |raw: &Raw| {
        let stores = raw.get("fileSearchStores").json();
        stores["fileSearchStores"].as_array().unwrap().len()
    };
    // Kind, what the caller sees, whether a store comes to be.
    let cases = [
        ("reset_before", None, false),
        ("reset_after", None, false),
        ("lose_answer", None, true),
        ("408", Some(408), false),
        ("429", Some(429), false),
        ("500", Some(500), false),
        ("503", Some(503), false),
        ("cut_answer", None, true),
        ("wrong_json", Some(200), true),
        ("empty_answer", Some(200), true),
        ("stall", None, true),
    ];
    for (i, (kind, status, takes_effect)) in cases.into_iter().enumerate() {
        let before = stores(&raw);
        raw.faults(json!({"calls": [{"call": 2, "kind": kind}]}));
        assert_eq!(raw.get(&raw.store).status, 200);
        let made = raw.try_post("fileSearchStores", json!({"displayName": "t"}));
        assert_eq!(made.ok().map(|a| a.status), status, "{kind}");
        assert_eq!(stores(&raw), before + usize::from(takes_effect), "{kind}");
        raw.fired("calls", i as u64 + 1);
    }
}

#[test]
fn calls_are_counted_from_when_the_list_was_given() {
    let raw = Raw::start(&[]);
    let seen = || {
        let url = format!("{}/_emulator/faults", raw.service.url);
        raw.send("GET", &url, &[], None).unwrap().json()["calls_seen"].clone()
    };
    // The store.
    assert_eq!(seen(), 1);
    raw.faults(json!({"latency_ms": 0}));
    assert_eq!(seen(), 1);
    raw.faults(json!({"calls": []}));
    assert_eq!(seen(), 0);
    raw.get(&raw.store);
    raw.service.ledger();
    assert_eq!(seen(), 1);
}
