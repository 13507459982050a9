use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

use crate::run::{KEY, Place, Service};

/// What came back, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// An upload header, or nothing.
    pub fn upload(&self, name: &str) -> &str {
        let value = self.headers.get(format!("x-goog-upload-{name}"));
        value.map_or("", |v| v.to_str().unwrap())
    }
}

/// A service and a client that knows nothing of objlib.
pub struct Raw {
    pub service: Service,
    agent: Agent,
    /// A store that is there.
    pub store: String,
    place: Place,
}

impl Raw {
    pub fn start(flags: &[&str]) -> Raw {
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
            place,
        };
        let made = raw.post("fileSearchStores", json!({"displayName": "s"}));
        raw.store = made.json()["name"].as_str().unwrap().to_owned();
        raw
    }

    /// The service is killed and comes back with its data, and on another port.
    pub fn restart(self) -> Raw {
        let Raw {
            service,
            agent,
            store,
            place,
        } = self;
        let old = service.url.trim_start_matches("http://").to_owned();
        drop(service);
        // While this test holds the old port (or somebody else, who was faster), the new one differs.
        let held = std::net::TcpListener::bind(old);
        let service = Service::start(&place, &[]);
        drop(held);
        Raw {
            service,
            agent,
            store,
            place,
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    fn faults(&self, plan: Value) {
        self.service.set_faults(plan);
    }

    #[track_caller]
    pub fn fired(&self, fault: &str, times: u64) {
        assert_eq!(self.service.fired(fault), times, "{fault}");
    }

    /// `Err`: no answer, or not a whole one.
    pub fn send(
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
    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap()
    }

    fn try_post(&self, path: &str, body: Value) -> Result<Answer, ureq::Error> {
        let url = format!("{}/v1beta/{path}", self.service.url);
        self.send("POST", &url, &[], Some(body.to_string().as_bytes()))
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.try_post(path, body).unwrap()
    }

    #[track_caller]
    pub fn delete(&self, name: &str) -> Answer {
        let url = format!("{}/v1beta/{name}?force=true", self.service.url);
        self.send("DELETE", &url, &[], None).unwrap()
    }

    /// `to`: a store, or `files`.
    #[track_caller]
    pub fn begin(&self, to: &str, request: Value) -> Answer {
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

    pub fn end(&self, url: &str, body: &str) -> Result<Answer, ureq::Error> {
        let headers = [
            ("x-goog-upload-command", "upload, finalize"),
            ("x-goog-upload-offset", "0"),
        ];
        self.send("POST", url, &headers, Some(body.as_bytes()))
    }

    #[track_caller]
    pub fn query(&self, url: &str) -> Answer {
        let headers = [("x-goog-upload-command", "query")];
        self.send("POST", url, &headers, Some(b"")).unwrap()
    }

    /// Uploads a document; the operation.
    #[track_caller]
    pub fn upload(&self, name: &str, body: &str) -> Value {
        let request = json!({"displayName": name, "customMetadata": [
            {"key": "objlib_path", "stringValue": name}]});
        let begun = self.begin(&self.store, request);
        let done = self.end(begun.upload("url"), body).unwrap();
        assert_eq!(done.status, 200, "{done:?}");
        done.json()
    }

    /// The document of such an operation.
    pub fn document(operation: &Value) -> String {
        operation["response"]["documentName"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub fn active(&self) -> u64 {
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

/// Names of the documents that a listing shows, page by page, as long as it goes on.
fn listed(raw: &Raw, page_size: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let path = format!(
            "{}/documents?pageSize={page_size}&pageToken={token}",
            raw.store
        );
        let page = raw.get(&path).json();
        let documents = page["documents"].as_array().cloned().unwrap_or_default();
        let name = |d: &Value| d["name"].as_str().unwrap().to_owned();
        pages.push(documents.iter().map(name).collect());
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => return pages,
        }
        assert!(pages.len() < 100, "a list without an end");
    }
}

/// So many documents; their names in order.
fn documents(raw: &Raw, n: usize) -> Vec<String> {
    (0..n)
        .map(|i| Raw::document(&raw.upload(&format!("{i}.txt"), &format!("text {i}"))))
        .collect()
}

#[test]
fn documents_fail_when_too_many_are_being_indexed() {
    let raw = Raw::start(&[
        "--document-fail-above",
        "2",
        "--operation-delay-ms",
        "3600000",
    ]);
    documents(&raw, 3);
    raw.fired("document_fail_above", 1);
    raw.faults(json!({"operation_delay_ms": 0}));
    documents(&raw, 1);
    raw.fired("document_fail_above", 2);
}

#[test]
fn a_quota_counts_what_it_is_told() {
    // The quota grants one; a session is a start, a query and a body.
    for (counts, refused) in [("all", 2), ("all_but_bodies", 1), ("starts", 0)] {
        let raw = Raw::start(&[]);
        raw.faults(
            json!({"quota_per_min": 1, "quota_shape": "bucket", "quota_burst": 1,
            "quota_counts": counts}),
        );
        let begun = raw.begin(&raw.store, json!({"displayName": "a.txt"}));
        let url = begun.upload("url");
        raw.query(url);
        raw.end(url, "one").unwrap();
        raw.fired("quota_per_min", refused);
    }
}

#[test]
fn a_document_can_fail_although_its_operation_does_not_and_heal() {
    let raw = Raw::start(&["--document-fail", "1"]);
    let operation = raw.upload("a.txt", "one");
    let document = Raw::document(&operation);
    let polled = raw.get(operation["name"].as_str().unwrap()).json();
    assert_eq!(polled["done"], true);
    assert!(polled["error"].is_null(), "{polled}");
    assert_eq!(raw.get(&document).json()["state"], "STATE_FAILED");
    assert_eq!(raw.get(&raw.store).json()["failedDocumentsCount"], "1");
    raw.fired("document_fail", 1);
    raw.faults(json!({"document_heals_ms": 3_600_000}));
    assert_eq!(raw.get(&document).json()["state"], "STATE_FAILED");
    raw.fired("document_heals_ms", 0);
    raw.faults(json!({"document_heals_ms": 0}));
    assert_eq!(raw.get(&document).json()["state"], "STATE_ACTIVE");
    assert_eq!(raw.active(), 1);
    raw.fired("document_heals_ms", 1);
}

#[test]
fn a_document_whose_operation_failed_does_not_heal() {
    let raw = Raw::start(&["--operation-fail", "1", "--document-heals-ms", "0"]);
    let operation = raw.upload("a.txt", "one");
    let polled = raw.get(operation["name"].as_str().unwrap()).json();
    assert!(polled["error"].is_object(), "{polled}");
    let document = raw.get(&Raw::document(&operation)).json();
    assert_eq!(document["state"], "STATE_FAILED");
    raw.fired("document_heals_ms", 0);
}

#[test]
fn a_repeated_page_loses_nothing_and_shows_some_twice() {
    let raw = Raw::start(&[]);
    let names = documents(&raw, 9);
    raw.faults(json!({"list_repeat_page": 1.0}));
    let pages = listed(&raw, 4);
    assert_eq!(pages[0], names[..4]);
    assert_eq!(pages[1], names[2..6]);
    assert!(pages.iter().all(|page| page.len() <= 4));
    let mut all = pages.concat();
    assert!(all.len() > names.len());
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|name| seen.insert(name.clone()));
    assert_eq!(all, names);
    raw.fired("list_repeat_page", pages.len() as u64 - 1);
    assert_eq!(raw.active(), 9);
}

#[test]
fn a_lost_page_is_empty_and_the_token_goes_on() {
    let raw = Raw::start(&[]);
    let names = documents(&raw, 6);
    raw.faults(json!({"list_lose_page": 1.0}));
    let lost: Vec<Vec<String>> = vec![Vec::new(); 3];
    assert_eq!(listed(&raw, 2), lost);
    raw.fired("list_lose_page", 3);
    assert_eq!(raw.active(), 6);
    raw.faults(json!({"list_lose_page": 0.0}));
    assert_eq!(listed(&raw, 2).concat(), names);
}

#[test]
fn a_page_token_is_refused_and_the_first_page_is_not() {
    let raw = Raw::start(&[]);
    documents(&raw, 6);
    let place = format!("{}/documents?pageSize=3", raw.store);
    let token = raw.get(&place).json()["nextPageToken"].clone();
    raw.faults(json!({"page_token_refused": 1.0}));
    let refused = raw.get(&format!("{place}&pageToken={}", token.as_str().unwrap()));
    assert_eq!(refused.status, 400);
    raw.fired("page_token_refused", 1);
    assert_eq!(raw.get(&place).status, 200);
}

#[test]
fn one_document_of_a_page_is_lost() {
    let raw = Raw::start(&[]);
    documents(&raw, 6);
    raw.faults(json!({"list_lose_one": 1.0}));
    let sizes: Vec<usize> = listed(&raw, 3).iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2]);
    raw.fired("list_lose_one", 2);
    assert_eq!(raw.active(), 6);
}

#[test]
fn a_deleted_document_is_still_listed_and_not_there() {
    let raw = Raw::start(&["--list-ghost-ms", "3600000"]);
    let mut names = documents(&raw, 5);
    for gone in [1, 4] {
        assert_eq!(raw.delete(&names[gone]).status, 200);
        assert_eq!(raw.get(&names[gone]).status, 404);
        assert_eq!(raw.delete(&names[gone]).status, 404);
    }
    // The number of the last one is not given away again.
    names.extend(documents(&raw, 1));
    assert_eq!(listed(&raw, 2).concat(), names);
    assert_eq!(raw.active(), 4);
    assert!(raw.service.fired("list_ghost_ms") > 0);
    raw.faults(json!({"list_ghost_ms": 0}));
    names.remove(4);
    names.remove(1);
    assert_eq!(listed(&raw, 2).concat(), names);
}

#[test]
fn a_new_store_is_there_before_it_is_listed() {
    let raw = Raw::start(&["--store-lag-ms", "3600000"]);
    assert_eq!(raw.get("fileSearchStores").json(), json!({}));
    assert_eq!(raw.get(&raw.store).status, 200);
    raw.fired("store_lag_ms", 1);
    raw.faults(json!({"store_lag_ms": 0}));
    let stores = raw.get("fileSearchStores").json();
    assert_eq!(stores["fileSearchStores"][0]["name"], raw.store);
}

#[test]
fn what_is_missing_can_be_said_to_be_forbidden() {
    let raw = Raw::start(&["--missing-403", "1"]);
    let document = format!("{}/documents/none-1", raw.store);
    for answer in [raw.get(&document), raw.delete(&document)] {
        assert_eq!(answer.status, 403);
        assert_eq!(
            answer.json()["error"]["message"],
            "You do not have permission to access the Document none-1 or it may not exist."
        );
    }
    let operation = raw.get(&format!("{}/operations/none-1", raw.store));
    assert_eq!(operation.status, 403);
    raw.fired("missing_403", 3);
}

#[test]
fn a_start_can_be_final_with_an_empty_document() {
    let raw = Raw::start(&["--start-final", "1"]);
    let request = json!({"displayName": "a.txt", "customMetadata": [
        {"key": "objlib_path", "stringValue": "a.txt"}]});
    let begun = raw.begin(&raw.store, request);
    assert_eq!((begun.status, begun.upload("status")), (200, "final"));
    assert_eq!(begun.upload("url"), "");
    let document = raw.get(&Raw::document(&begun.json())).json();
    assert_eq!(document["sizeBytes"], "0");
    assert_eq!(document["customMetadata"][0]["stringValue"], "a.txt");
    raw.fired("start_final", 1);
    let ledger = raw.service.ledger().0;
    assert_eq!(ledger["documents"][0]["sizeBytes"], 0);
    // A file of the staging area always has its bytes.
    let begun = raw.begin("files", json!({}));
    assert_eq!(begun.upload("status"), "active");
    raw.fired("start_final", 1);
}

#[test]
fn a_start_can_lack_its_url_or_name_another_host() {
    let raw = Raw::start(&["--start-no-url", "1"]);
    for to in [raw.store.as_str(), "files"] {
        let begun = raw.begin(to, json!({}));
        assert_eq!((begun.status, begun.upload("status")), (200, "active"));
        assert_eq!(begun.upload("url"), "");
        assert_eq!(begun.upload("control-url"), "");
    }
    raw.fired("start_no_url", 2);
    raw.faults(json!({"start_no_url": 0.0, "start_foreign_url": 1.0}));
    let begun = raw.begin(&raw.store, json!({}));
    assert!(
        begun
            .upload("url")
            .starts_with("http://127.0.0.2:9/upload/")
    );
    raw.fired("start_foreign_url", 1);
}

#[test]
fn a_wrong_size_is_told_everywhere_and_the_ledger_shows_the_tear() {
    let raw = Raw::start(&["--final-size-wrong", "1"]);
    // More than one read of the service.
    let body = "0123456789".repeat(20_000);
    let operation = raw.upload("a.txt", &body);
    assert_eq!(operation["response"]["sizeBytes"], "199999");
    let polled = raw.get(operation["name"].as_str().unwrap()).json();
    assert_eq!(polled["response"]["sizeBytes"], "199999");
    let document = raw.get(&Raw::document(&operation)).json();
    assert_eq!(document["sizeBytes"], "199999");
    raw.fired("final_size_wrong", 1);
    let sha256 = |text: &str| objlib::identity::Sha256::of(text.as_bytes()).to_string();
    let kept = |i: usize| raw.service.ledger().0["documents"][i]["sha256"].clone();
    assert_eq!(kept(0), sha256(&body[..199_999]));
    raw.faults(json!({"final_size_wrong": 0.0}));
    raw.upload("a.txt", &body);
    assert_eq!(kept(1), sha256(&body));
}

#[test]
fn a_final_answer_may_not_be_told_again() {
    let raw = Raw::start(&[]);
    let begun = raw.begin(&raw.store, json!({}));
    let done = raw.end(begun.upload("url"), "one").unwrap();
    raw.faults(json!({"final_not_replayed": 1.0}));
    let asked = raw.query(begun.upload("url"));
    assert_eq!((asked.status, asked.upload("status")), (200, "final"));
    assert_eq!(asked.body, "");
    raw.fired("final_not_replayed", 1);
    raw.faults(json!({"final_not_replayed": 0.0}));
    assert_eq!(raw.query(begun.upload("url")).body, done.body);
}

/// Uploads to the staging area; the last answer.
fn staged(raw: &Raw, body: &str) -> Value {
    let begun = raw.begin("files", json!({"file": {"displayName": "a.txt"}}));
    let done = raw.end(begun.upload("url"), body).unwrap();
    assert_eq!(done.status, 200, "{done:?}");
    done.json()
}

fn import(raw: &Raw, file: &str) -> Answer {
    let path = format!("{}:importFile", raw.store);
    raw.post(&path, json!({"fileName": file}))
}

#[test]
fn a_file_that_is_processed_or_failed_cannot_be_imported() {
    let raw = Raw::start(&["--file-processing-ms", "3600000"]);
    let file = staged(&raw, "one")["file"].clone();
    assert_eq!(file["state"], "PROCESSING");
    let name = file["name"].as_str().unwrap();
    let refused = import(&raw, name);
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["status"], "FAILED_PRECONDITION");
    assert!(raw.service.fired("file_processing_ms") > 0);
    raw.faults(json!({"file_processing_ms": 0}));
    assert_eq!(raw.get(name).json()["state"], "ACTIVE");
    assert_eq!(import(&raw, name).status, 200);

    raw.faults(json!({"file_fail": 1.0}));
    let file = staged(&raw, "two")["file"].clone();
    assert_eq!(file["state"], "FAILED");
    assert!(file["error"]["message"].is_string(), "{file}");
    assert_eq!(import(&raw, file["name"].as_str().unwrap()).status, 400);
    raw.fired("file_fail", 1);
    assert_eq!(raw.active(), 1);
}

#[test]
fn a_file_can_go_before_its_time_and_its_document_stays() {
    let raw = Raw::start(&[]);
    let file = staged(&raw, "one")["file"].clone();
    let name = file["name"].as_str().unwrap();
    assert_eq!(import(&raw, name).status, 200);
    assert_eq!(raw.service.ledger().0["temporaryFiles"], json!([name]));
    raw.faults(json!({"file_kept_ms": 0}));
    assert_eq!(raw.get(name).status, 403);
    assert_eq!(import(&raw, name).status, 403);
    assert_eq!(raw.get("files").json(), json!({}));
    assert_eq!(raw.service.ledger().0["temporaryFiles"], json!([]));
    raw.fired("file_kept_ms", 2);
    assert_eq!(raw.active(), 1);
}

#[test]
fn a_files_last_answer_can_lack_the_file() {
    let raw = Raw::start(&["--file-no-body", "1"]);
    assert_eq!(staged(&raw, "one"), json!({}));
    raw.fired("file_no_body", 1);
    let files = raw.service.ledger().0["temporaryFiles"].clone();
    assert_eq!(files.as_array().unwrap().len(), 1);
}

#[test]
fn the_ledger_counts_every_request() {
    let raw = Raw::start(&[]);
    raw.get(&raw.store);
    raw.get("fileSearchStores");
    assert_eq!(raw.service.ledger().0["requestsTotal"], 3);
}
