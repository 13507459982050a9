use objlib::emulator::{Emulator, Faults, Options, Tls};
use serde_json::{Value, json};

use crate::emulator::Raw;
use crate::run::Place;
use crate::served::{START, ask, passages, refused, start};

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

    assert_eq!(raw.service.get("health"), json!({"status": "ok"}));
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

#[test]
fn a_profile_is_a_plan_and_flags_go_on_top() {
    let raw = Raw::start(&[
        "--profile",
        "realistic",
        "--faults",
        r#"{"latency_ms": 1}"#,
        "--latency-jitter-ms",
        "2",
    ]);
    let plan = raw.service.get("faults");
    assert_eq!(
        (&plan["latency_ms"], &plan["latency_jitter_ms"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(plan["search_lag_ms"], 7000);
}

#[test]
fn it_runs_inside_a_test_and_ends_with_its_value() {
    let place = Place::new();
    let start = || {
        Emulator::start(Options {
            data: Some(place.path().join("s.db")),
            ..Options::default()
        })
        .unwrap()
    };
    let service = start();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let create = |service: &Emulator| {
        let url = format!("{}/v1beta/fileSearchStores?key=k", service.url());
        let answer = agent.post(&url).send(r#"{"displayName": "s"}"#);
        answer.map(|answer| answer.status().as_u16())
    };
    let stores = |service: &Emulator| {
        let url = format!("{}/v1beta/fileSearchStores?key=k", service.url());
        let mut answer = agent.get(&url).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    };
    assert_eq!(create(&service).unwrap(), 200);
    service.set_faults(Faults {
        error_503: 1.0,
        ..Faults::default()
    });
    assert_eq!(create(&service).unwrap(), 503);
    service.set_faults(Faults::default());
    let one = stores(&service);
    assert!(one.contains("fileSearchStores/s-"), "{one}");

    // The agent keeps its connection, and it is closed all the same: the data are free.
    let url = service.url();
    drop(service);
    let gone = agent.get(format!("{url}/_emulator/health")).call();
    assert!(gone.is_err(), "{gone:?}");
    let service = start();
    assert_eq!(stores(&service), one);
    service.clear().unwrap();
    assert_eq!(stores(&service), "{}");
}

/// Uploads to a service inside this test, and looks at what is there.
fn is_reached(service: &Emulator, args: &[&str]) {
    let place = Place::new();
    // In one request, and in a session at the URL that the service gives out.
    place
        .file("small.md", "ferns\n")
        .file("large.md", "ferns and mosses\n".repeat(40_000));
    let mut command = place.objlib(&["upload", "docs", "--endpoint", &service.url()]);
    let seen = command.args(args).env("GEMINI_API_KEY", "k").output();
    assert!(seen.as_ref().unwrap().status.success(), "{seen:?}");
    let ledger = service.ledger().unwrap();
    assert_eq!(ledger["documents"].as_array().unwrap().len(), 2, "{ledger}");
    assert_eq!(ledger["requests"]["upload.body"], 1, "{ledger}");
}

const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/own.pem");
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/own-ca.pem");

#[test]
fn it_speaks_tls_with_a_certificate_that_is_given() {
    let service = Emulator::start(Options {
        tls: Some(Tls::of(OWN.as_ref(), OWN.as_ref()).unwrap()),
        ..Options::default()
    })
    .unwrap();
    assert!(service.url().starts_with("https://127.0.0.1:"));
    is_reached(&service, &["--ca-file", AUTHORITY]);
    // Plain HTTP is told so in its own language.
    let plain = service.url().replace("https:", "http:");
    let mut answer = ureq::get(plain)
        .config()
        .http_status_as_error(false)
        .build()
        .call()
        .unwrap();
    assert_eq!(answer.status(), 400);
    let words = answer.body_mut().read_to_string().unwrap();
    assert!(words.contains("https://"), "{words}");
}

#[test]
fn it_listens_on_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // This machine has none.
    }
    for (host, url) in [("::1", "http://[::1]:"), ("::", "http://[::1]:")] {
        let service = Emulator::start(Options {
            host: Some(host.parse().unwrap()),
            ..Options::default()
        })
        .unwrap();
        assert!(service.url().starts_with(url), "{}", service.url());
        is_reached(&service, &[]);
    }
}

#[test]
fn the_address_that_a_proxy_tells_is_taken_only_when_it_is_trusted() {
    let told = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "files.test"),
    ];
    let upload_url = |raw: &Raw| {
        let begun = start(raw, &[START[0], START[1], told[0], told[1]], &json!({}));
        begun.upload("url").to_owned()
    };
    let raw = Raw::start(&["--trust-forwarded"]);
    let url = upload_url(&raw);
    assert!(
        url.starts_with("https://files.test/upload/v1beta/"),
        "{url}"
    );
    let bad = start(&raw, &[("x-forwarded-host", "a/b")], &json!({}));
    let words = refused(&bad, 400, "INVALID_ARGUMENT");
    assert!(words.contains("X-Forwarded-Host"), "{words}");

    let raw = Raw::start(&[]);
    let url = upload_url(&raw);
    assert!(url.starts_with(&raw.service.url), "{url}");
}
