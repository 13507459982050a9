//! What the client sends is held against the API's own description (`tests/api-schema.json`, a trimmed
//! copy of Google's discovery document): a misreading shared with the emulator would be seen here.

use serde_json::{Value, json};

use crate::run::{KEY, Place, RunToEnd, Service};

struct Api(Value);

impl Api {
    fn read() -> Api {
        Api(serde_json::from_str(include_str!("../api-schema.json")).unwrap())
    }

    /// Every method, with its path as segments.
    fn methods(&self) -> Vec<&Value> {
        fn collect<'v>(resources: &'v Value, all: &mut Vec<&'v Value>) {
            for resource in resources.as_object().into_iter().flat_map(|o| o.values()) {
                let methods = resource["methods"].as_object();
                all.extend(methods.into_iter().flat_map(|o| o.values()));
                collect(&resource["resources"], all);
            }
        }
        let mut all = Vec::new();
        collect(&self.0["resources"], &mut all);
        all
    }

    /// The method that this verb and path are.
    fn method(&self, verb: &str, path: &str) -> Option<&Value> {
        let plain = path.strip_prefix("/upload/");
        self.methods().into_iter().find(|m| {
            m["httpMethod"] == verb
                && plain.is_some() == m["mediaUpload"].is_object()
                && fits(m["flatPath"].as_str().unwrap(), plain.unwrap_or(&path[1..]))
        })
    }

    /// All that is wrong with `value` as a `schema`.
    fn faults(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            return self.faults(&self.0["schemas"][name], value, at, faults);
        }
        let wrong = match schema["type"].as_str() {
            Some("object") => match value.as_object() {
                None => true,
                Some(fields) => {
                    for (name, field) in fields {
                        let at = format!("{at}.{name}");
                        match schema["properties"].get(name) {
                            Some(inner) => self.faults(inner, field, &at, faults),
                            None => faults.push(format!("{at}: no such field")),
                        }
                    }
                    false
                }
            },
            Some("array") => match value.as_array() {
                None => true,
                Some(items) => {
                    for item in items {
                        self.faults(&schema["items"], item, &format!("{at}[]"), faults);
                    }
                    false
                }
            },
            Some("string") => !value.is_string(),
            Some("boolean") => !value.is_boolean(),
            Some("integer" | "number") => !value.is_number(),
            other => panic!("{at}: a schema of type {other:?} is not expected in a request"),
        };
        if wrong {
            faults.push(format!("{at}: {value} is no {}", schema["type"]));
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            faults.push(format!("{at}: {value} is none of {allowed:?}"));
        }
    }

    fn check(&self, request: &Value) -> Vec<String> {
        let (verb, path) = (
            request["method"].as_str().unwrap(),
            request["path"].as_str().unwrap(),
        );
        let Some(method) = self.method(verb, path) else {
            return vec![format!("{verb} {path}: no such method")];
        };
        let mut faults = Vec::new();
        let header = |name: &str| request["headers"][name].as_str().unwrap_or_default();
        let command = header("x-goog-upload-command");
        // Within a session the URL is the service's own, with its own query, and the body is bytes.
        let in_session = path.starts_with("/upload/") && !["", "start"].contains(&command);
        for (name, value) in request["query"].as_object().unwrap() {
            let known = [&method["parameters"], &self.0["parameters"]]
                .into_iter()
                .find_map(|parameters| parameters.get(name));
            match known {
                _ if in_session => {}
                None => faults.push(format!("no query parameter {name}")),
                Some(schema) => {
                    let text = value.as_str().unwrap();
                    let typed = match schema["type"].as_str() {
                        Some("boolean" | "integer") => {
                            serde_json::from_str(text).unwrap_or(json!(text))
                        }
                        _ => json!(text),
                    };
                    if schema["location"] != "query" {
                        faults.push(format!("{name} does not belong in the query"));
                    }
                    self.faults(schema, &typed, name, &mut faults);
                }
            }
        }
        match (&method["request"], &request["body"]) {
            _ if in_session => {}
            (Value::Null, Value::Null) => {}
            (Value::Null, body) => faults.push(format!("a body where none belongs: {body}")),
            // A service that breaks off has not read it.
            (_, Value::Null) if request["status"] != 200 && header("content-length") > "0" => {}
            (_, Value::Null) => faults.push("no body".to_owned()),
            (schema, body) => self.faults(schema, body, "body", &mut faults),
        }
        // The key opens everything but a session, whose URL is its own key; and it is never in a URL.
        let has_key = header("x-goog-api-key") == "present";
        if has_key == in_session {
            faults.push(format!("with the key: {has_key}"));
        }
        if request["query"].get("key").is_some() {
            faults.push("the key in the URL".to_owned());
        }
        faults
            .into_iter()
            .map(|fault| format!("{verb} {path}: {fault}"))
            .collect()
    }
}

/// `v1beta/fileSearchStores/{id}:importFile` and the like, against a real path.
fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(path).all(|(p, segment)| {
            match p.strip_prefix('{').and_then(|p| p.split_once('}')) {
                Some((_, verb)) => segment
                    .strip_suffix(verb)
                    .is_some_and(|id| !id.is_empty() && (!verb.is_empty() || !id.contains(':'))),
                None => *p == segment,
            }
        })
}

#[test]
fn the_check_itself_sees_what_is_wrong() {
    let api = Api::read();
    let start = |body: Value, path: &str| {
        json!({"method": "POST", "path": path, "query": {}, "body": body,
            "headers": {"x-goog-api-key": "present", "x-goog-upload-command": "start"}})
    };
    let path = "/upload/v1beta/fileSearchStores/a-b:uploadToFileSearchStore";
    let good = json!({"displayName": "x", "customMetadata": [{"key": "k", "stringValue": "v"}]});
    assert_eq!(api.check(&start(good, path)), Vec::<String>::new());
    for (body, path, words) in [
        (json!({"displayNam": "x"}), path, "no such field"),
        (json!({"displayName": 1}), path, "is no"),
        (json!({"customMetadata": {"key": "k"}}), path, "is no"),
        (
            json!({}),
            "/v1beta/fileSearchStores/a-b:uploadToFileSearchStore",
            "no such method",
        ),
        (Value::Null, path, "no body"),
    ] {
        let faults = api.check(&start(body.clone(), path));
        assert!(
            faults.len() == 1 && faults[0].contains(words),
            "{body}: {faults:?}"
        );
    }
}

#[test]
fn every_request_is_one_that_the_api_has() {
    let place = Place::new();
    place.files(40).file("living.md", "old words");
    let service = Service::start(&place, &["--fault-seed", "11"]);
    // Through trouble, so that queries, listings and document looks are among them.
    service.set_faults(json!({
        "error_503": 0.1, "reset_before": 0.05, "reset_within": 0.1, "lose_final_answer": 0.2
    }));
    let upload = || {
        place
            .upload(&service, &["--rpm", "0", "--max-attempts", "20"])
            .seen()
    };
    upload();
    service.set_faults(json!({
        "error_503": 0.0, "reset_before": 0.0, "reset_within": 0.0, "lose_final_answer": 0.0,
        "operation_fail": 1.0
    }));
    place.file("living.md", "new words");
    upload().exit(3);
    service.set_faults(json!({"operation_fail": 0.0}));
    place
        .upload(&service, &["--rpm", "0", "--retry-failed"])
        .seen()
        .exit(0);
    service.ledger().is_exactly(&place.docs());

    let api = Api::read();
    let requests = service.requests();
    let faults: Vec<String> = requests.iter().flat_map(|r| api.check(r)).collect();
    assert_eq!(faults, Vec::<String>::new());
    let kinds = [
        "store.list",
        "store.create",
        "upload.multipart",
        "upload.start",
        "upload.body",
        "upload.query",
        "operation.get",
        "document.delete",
    ];
    for kind in kinds {
        assert!(
            requests.iter().any(|r| r["kind"] == kind),
            "no {kind} among them"
        );
    }
    let shown = requests.iter().find(|r| r.to_string().contains(KEY));
    assert_eq!(shown, None);
}
