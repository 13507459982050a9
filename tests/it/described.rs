//! What documents carry besides their bytes: rules, sidecars, constants, chunking, types.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::run::{KEY, Place, RunToEnd, Seen, Service};

const LESSON: &str = "Course 3/Year1/part-7/Lesson 00042 – title.txt";
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.example.json");

fn get(service: &Service, path: &str) -> Value {
    let answer = ureq::get(format!("{}/v1beta/{path}", service.url))
        .header("x-goog-api-key", KEY)
        .call()
        .unwrap();
    serde_json::from_reader(answer.into_body().into_reader()).unwrap()
}

/// The user's entries of each document, by path: `key=value`, in order.
fn described(service: &Service) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for store in get(service, "fileSearchStores")["fileSearchStores"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let store = store["name"].as_str().unwrap();
        let page = get(service, &format!("{store}/documents?pageSize=20"));
        assert!(page["nextPageToken"].is_null(), "more than a page");
        for document in page["documents"].as_array().into_iter().flatten() {
            let entries = document["customMetadata"].as_array().unwrap();
            let of = |key: &str| entries.iter().find(|e| e["key"] == key);
            let path = of("objlib_path").unwrap()["stringValue"].as_str().unwrap();
            let own = ["objlib_library", "objlib_path", "objlib_sha256"];
            let mut lines: Vec<String> = entries
                .iter()
                .filter(|e| !own.contains(&e["key"].as_str().unwrap()))
                .map(|e| {
                    let mut fields = e.as_object().unwrap().clone();
                    let key = fields.remove("key").unwrap();
                    format!("{}={}", key.as_str().unwrap(), Value::from(fields))
                })
                .collect();
            lines.sort();
            assert_eq!(
                all.insert(path.to_owned(), lines),
                None,
                "{path} is there twice"
            );
        }
    }
    all
}

fn of(service: &Service, path: &str) -> Vec<String> {
    described(service).remove(path).unwrap_or_default()
}

fn upload(place: &Place, service: &Service, args: &[&str]) -> Seen {
    place
        .upload(service, &[&["--rpm", "0"], args].concat())
        .seen()
}

/// How many files the scan found new, changed, and changed only in what describes them.
fn found(seen: &Seen) -> [u64; 3] {
    let event = &seen.events()[0];
    assert_eq!(event["event"], "scan_done", "{event}");
    ["new", "changed", "described"].map(|field| event[field].as_u64().unwrap())
}

/// Documents that were begun by this.
fn begun(service: &Service, act: impl FnOnce()) -> u64 {
    let before = service.ledger().uploads();
    act();
    service.ledger().uploads() - before
}

#[test]
fn rules_give_documents_what_a_search_filters_by() {
    let place = Place::new();
    place.file(LESSON, "Torts are civil wrongs.");
    place.file(
        "Course 4/Year2/part-1/Lesson 00001 – other.txt",
        "Torts again.",
    );
    place.file("elsewhere.md", "Torts as well.");
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["--metadata", EXAMPLE]).exit(0);
    let lesson = of(&service, LESSON);
    for entry in [
        r#"course={"numericValue":3"#,
        r#"year={"numericValue":1"#,
        "lesson={\"numericValue\":42",
    ] {
        assert!(
            lesson.iter().any(|line| line.starts_with(entry)),
            "{entry}: {lesson:?}"
        );
    }
    assert_eq!(of(&service, "elsewhere.md"), [""; 0]);
    let unmatched = place
        .objlib(&["status", "--unmatched"])
        .seen()
        .exit(0)
        .stdout;
    assert_eq!(unmatched, "docs: elsewhere.md\n");

    let store = get(&service, "fileSearchStores")["fileSearchStores"][0]["name"].clone();
    let question = json!({"contents": [{"role": "user", "parts": [{"text": "torts"}]}],
        "tools": [{"fileSearch": {"fileSearchStoreNames": [store],
            "metadataFilter": "course = 3 AND year = 1"}}]});
    let answer = ureq::post(format!(
        "{}/v1beta/models/gemini-2.5-flash:generateContent",
        service.url
    ))
    .header("x-goog-api-key", KEY)
    .send(question.to_string())
    .unwrap();
    let answer: Value = serde_json::from_reader(answer.into_body().into_reader()).unwrap();
    let chunks = answer["candidates"][0]["groundingMetadata"]["groundingChunks"].as_array();
    let titles: Vec<&str> = chunks
        .unwrap()
        .iter()
        .map(|c| c["retrievedContext"]["title"].as_str().unwrap())
        .collect();
    assert_eq!(titles, [LESSON]);
}

#[test]
fn an_explanation_says_which_rule_gave_what_and_records_nothing() {
    let place = Place::new();
    place
        .file(LESSON, "words")
        .file(&format!("{LESSON}.meta.json"), r#"{"year": 2}"#);
    let args = [
        "scan",
        "docs",
        "--metadata",
        EXAMPLE,
        "--set",
        "kind=any",
        "--explain",
        LESSON,
    ];
    let seen = place.objlib(&args).seen().exit(0);
    for words in [
        "course = 3",
        "rule 1 (line",
        "year   = 2  (sidecar, over rule 1",
        "over --set",
    ] {
        assert!(seen.stdout.contains(words), "{words}: {}", seen.stdout);
    }
    assert!(!place.db().exists());
    let seen = place
        .objlib(&[&args[..], &["--json"]].concat())
        .seen()
        .exit(0);
    let line = &seen.events()[0];
    assert_eq!(
        (&line["event"], &line["matched"]),
        (&json!("explain"), &json!(true))
    );
    // Where the user stands, and as an absolute path.
    let absolute = place.docs().join(LESSON);
    for path in [format!("docs/{LESSON}"), absolute.display().to_string()] {
        let args = ["scan", "docs", "--explain", &path];
        let seen = place.objlib(&args).seen().exit(0);
        assert!(
            seen.stdout.starts_with(&format!("docs: {LESSON}\n")),
            "{}",
            seen.stdout
        );
    }
    let outside = place
        .objlib(&["scan", "docs", "--explain", "/etc/hosts"])
        .seen()
        .exit(2);
    assert!(
        outside
            .stderr
            .contains("/etc/hosts: it lies in none of the folders"),
        "{}",
        outside.stderr
    );
}

#[test]
fn settings_are_kept_with_the_library_and_a_change_of_them_alone_replaces_its_documents() {
    let place = Place::new();
    place
        .file("a.md", "a")
        .file("b.md", "b")
        .file_in("other", "c.md", "c");
    let service = Service::start(&place, &[]);
    let both = ["other", "--rpm", "0"];
    place.upload(&service, &both).seen().exit(0);
    let first = upload(&place, &service, &["--set", "dept=law", "--set", "level=3"]).exit(0);
    assert_eq!(found(&first), [0, 2, 2]);
    let law = [
        r#"dept={"stringValue":"law"}"#,
        r#"level={"numericValue":3}"#,
    ];
    let numbers = |lines: Vec<String>| {
        lines
            .iter()
            .map(|l| l.replace("3.0", "3"))
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(of(&service, "a.md")), law);
    assert_eq!(of(&service, "c.md"), [""; 0], "another library");

    // A nightly run needs no flags, and sends nothing.
    let again = begun(&service, || {
        let seen = upload(&place, &service, &[]).exit(0);
        assert_eq!(found(&seen), [0, 0, 0]);
    });
    assert_eq!(again, 0);
    // What is new is described as the rest is.
    place.file("new.md", "new");
    upload(&place, &service, &[]).exit(0);
    assert_eq!(numbers(of(&service, "new.md")), law);

    let shown = place
        .objlib(&["library", "show", "docs"])
        .seen()
        .exit(0)
        .stdout;
    assert!(
        shown.contains("set       dept=law\nset       level=3\n"),
        "{shown}"
    );
    let shown = place
        .objlib(&["library", "show", "docs", "--json"])
        .seen()
        .exit(0);
    assert_eq!(
        shown.events()[0]["settings"]["set"],
        json!(["dept=law", "level=3"])
    );

    // A dry run says how many, and changes nothing.
    let planned = upload(&place, &service, &["--set", "dept=tax", "--dry-run"]).exit(0);
    let plan = planned
        .events()
        .into_iter()
        .find(|e| e["event"] == "plan")
        .unwrap();
    assert_eq!(
        (&plan["files"], &plan["described"]),
        (&json!(3), &json!(3)),
        "{plan}"
    );
    assert_eq!(numbers(of(&service, "a.md")), law);
    assert_eq!(
        begun(&service, || drop(upload(&place, &service, &[]).exit(0))),
        0
    );

    // Given anew they replace the kept ones; an empty value takes them away.
    upload(&place, &service, &["--set", "dept=tax"]).exit(0);
    assert_eq!(of(&service, "b.md"), [r#"dept={"stringValue":"tax"}"#]);
    // The name is part of each document; what describes it stays.
    place
        .objlib(&["library", "rename", "docs", "papers"])
        .seen()
        .exit(0);
    upload(&place, &service, &[]).exit(0);
    assert_eq!(of(&service, "b.md"), [r#"dept={"stringValue":"tax"}"#]);
    upload(&place, &service, &["--set", ""]).exit(0);
    assert_eq!(of(&service, "b.md"), [""; 0]);
    assert_eq!(described(&service).len(), 4);
    assert_eq!(service.ledger().0["duplicates"], 0);
}

#[test]
fn a_sidecar_describes_its_file_and_is_never_sent() {
    let place = Place::new();
    place
        .file("a.md", "a")
        .file("a.md.meta.json", r#"{"tags": ["x", "y"], "n": 7}"#);
    place
        .file("b.md", "b")
        .file("b.md.meta.json", r#"{"a": {"b": 1}}"#);
    place.file("c.md", "c").file("c.md.meta.json", "{");
    let many: BTreeMap<String, u32> = (0..18).map(|i| (format!("k{i}"), i)).collect();
    place
        .file("d.md", "d")
        .file("d.md.meta.json", json!(many).to_string());
    place.file("e.md", "e").file(
        "e.md.meta.json",
        json!({"long": "x".repeat(300)}).to_string(),
    );
    place
        .file("gone.md.meta.json", "{}")
        .file("plain.md", "plain");
    let service = Service::start(&place, &[]);
    upload(&place, &service, &[]).exit(3);
    let sent: Vec<String> = described(&service).into_keys().collect();
    assert_eq!(sent, ["a.md", "plain.md"]);
    assert!(
        of(&service, "a.md")
            .contains(&r#"tags={"stringListValue":{"values":["x","y"]}}"#.to_owned())
    );
    let skipped = place.objlib(&["status", "--skipped"]).seen().exit(0).stdout;
    for words in [
        "b.md: metadata that cannot be used",
        "c.md: metadata that cannot be used",
        "18",
        "long",
        "gone.md.meta.json: sidecar without its file",
    ] {
        assert!(skipped.contains(words), "{words}: {skipped}");
    }

    // Mended, changed, and taken away: each alone replaces the one document.
    let change = |path: &str, content: &str| {
        place.file(path, content);
        begun(&service, || {
            drop(upload(&place, &service, &["--include", "[ab].md"]).exit(0))
        })
    };
    assert_eq!(change("b.md.meta.json", r#"{"a": 1}"#), 1);
    assert_eq!(change("a.md.meta.json", r#"{"n": 8}"#), 1);
    assert_eq!(of(&service, "a.md").len(), 1);
    fs::remove_file(place.docs().join("a.md.meta.json")).unwrap();
    assert_eq!(change("unrelated.md", "x"), 1);
    assert_eq!(of(&service, "a.md"), [""; 0]);
    // One that breaks costs the document nothing.
    assert_eq!(
        begun(&service, || {
            place.file("b.md.meta.json", "[");
            upload(&place, &service, &["--include", "b.md"]).exit(3);
        }),
        0
    );
    assert_eq!(of(&service, "b.md").len(), 1);
    assert_eq!(service.ledger().0["duplicates"], 0);
}

#[test]
fn chunking_goes_along_whichever_way_a_file_takes() {
    let place = Place::new();
    place
        .file("small.md", "small")
        .file("large.md", "large ".repeat(60_000));
    let service = Service::start(&place, &[]);
    let sized = [
        "--max-tokens-per-chunk",
        "200",
        "--max-overlap-tokens",
        "20",
    ];
    upload(&place, &service, &sized).exit(0);
    let config = json!({"whiteSpaceConfig": {"maxTokensPerChunk": 200, "maxOverlapTokens": 20}});
    let entry = [r#"objlib_chunking={"stringValue":"200/20"}"#];
    let all = |entry: &[&str]| {
        for path in ["small.md", "large.md"] {
            assert_eq!(of(&service, path), entry);
        }
    };
    all(&entry);
    let starts = |kind: &str| -> Vec<Value> {
        let requests = service.requests().into_iter();
        requests
            .filter(|r| r["kind"] == kind)
            .map(|r| r["body"]["chunkingConfig"].clone())
            .collect()
    };
    assert_eq!(starts("upload.start"), std::slice::from_ref(&config));
    assert_eq!(
        begun(&service, || drop(upload(&place, &service, &[]).exit(0))),
        0
    );
    // The overlap is kept as long as it fits.
    upload(
        &place,
        &service,
        &["--max-tokens-per-chunk", "300", "--method", "staged"],
    )
    .exit(0);
    all(&[r#"objlib_chunking={"stringValue":"300/20"}"#]);
    let config = json!({"whiteSpaceConfig": {"maxTokensPerChunk": 300, "maxOverlapTokens": 20}});
    assert_eq!(starts("import"), [config.clone(), config]);
    upload(&place, &service, &["--max-tokens-per-chunk", "0"]).exit(0);
    all(&[]);
    assert_eq!(service.ledger().0["violations"], json!([]));
}

#[test]
fn a_type_that_the_user_gives_holds() {
    let place = Place::new();
    place
        .file("a.bin", b"\0\x01\x02")
        .file("b.log", "log")
        .file("u.txt", b"\xff\xfeh\0i\0");
    let service = Service::start(&place, &[]);
    let seen = upload(&place, &service, &[]).exit(0);
    assert_eq!(
        seen.events()[0]["skipped_by"],
        json!({"unsupported type": 1})
    );
    let skipped = place.objlib(&["status", "--skipped"]).seen().exit(0).stdout;
    assert!(skipped.contains("--mime bin=TYPE"), "{skipped}");
    upload(
        &place,
        &service,
        &["--mime", "bin=application/pdf", "--mime", ".LOG=text/csv"],
    )
    .exit(0);
    // Kept: what comes later is typed as well.
    place.file("c.log", "more");
    upload(&place, &service, &[]).exit(0);
    let ledger = service.ledger().0;
    let types: BTreeMap<&str, &str> = ledger["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| {
            (
                d["objlibPath"].as_str().unwrap(),
                d["mimeType"].as_str().unwrap(),
            )
        })
        .collect();
    // A document that stands keeps the type that it was sent with.
    let wanted = [
        ("a.bin", "application/pdf"),
        ("b.log", "text/plain"),
        ("c.log", "text/csv"),
        ("u.txt", "text/plain"),
    ];
    assert_eq!(types, BTreeMap::from(wanted));
}

#[test]
fn bad_settings_are_one_line_and_nothing_is_recorded() {
    let place = Place::new();
    place.file("a.md", "a");
    let rules = |text: &str| {
        let path = place.path().join("rules.json");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let refused = |args: &[&str], words: &[&str]| {
        let mut command = place.objlib(&["scan", "docs"]);
        let seen = command.args(args).seen().exit(2);
        assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
        for words in words {
            assert!(seen.stderr.contains(words), "{words}: {}", seen.stderr);
        }
        assert!(!place.db().exists(), "{args:?}");
    };
    let bad = [
        ("{", "line 1"),
        (
            "{\"rules\": [\n{\"path\": \"(\", \"constants\": {\"a\": 1}}]}",
            "line 2",
        ),
        ("{\"rules\": [{\"path\": \"x\",\n\"colour\": 1}]}", "colour"),
        (
            "{\"rules\": [\n{\"path\": \"(?<year>[0-9])\", \"constants\": {\"a\": 1}}]}",
            "year",
        ),
        (
            "{\"rules\": [{\"constants\": {\"a\": 1}},\n{\"constants\": {\"a\": 2}}]}",
            "line 2",
        ),
    ];
    for (text, words) in bad {
        refused(&["--metadata", &rules(text)], &["rules.json, line ", words]);
    }
    refused(
        &["--metadata", "nowhere.json"],
        &["nowhere.json", "cannot be read"],
    );
    refused(&["--set", "dept"], &["--set", "KEY=VALUE"]);
    refused(&["--set", "objlib_path=x"], &["objlib_path"]);
    refused(&["--set", "a=1", "--set", "a=2"], &["--set", "a"]);
    refused(&["--mime", "log"], &["--mime", "log"]);
    refused(&["--max-tokens-per-chunk", "20"], &["21 to 512"]);
    refused(
        &["--max-tokens-per-chunk", "50", "--max-overlap-tokens", "50"],
        &["--max-overlap-tokens", "50"],
    );
    let many: Vec<String> = (0..18)
        .flat_map(|i| ["--set".to_owned(), format!("k{i}={i}")])
        .collect();
    refused(
        &many.iter().map(String::as_str).collect::<Vec<_>>(),
        &["--set", "18", "17"],
    );
    // Whether an overlap alone makes sense is known by what is kept.
    let alone = place
        .objlib(&["scan", "docs", "--max-overlap-tokens", "5"])
        .seen()
        .exit(2);
    assert!(
        alone.stderr.contains("--max-tokens-per-chunk"),
        "{}",
        alone.stderr
    );
    let known = place
        .objlib(&["library", "list", "--json"])
        .seen()
        .exit(0)
        .stdout;
    assert_eq!(known, "");
    let seen = place.objlib(&["upload", "--set", "a=1"]).seen().exit(2);
    assert!(seen.stderr.contains("name the folder"), "{}", seen.stderr);
}

#[test]
fn images_go_only_where_a_store_makes_sense_of_them() {
    let place = Place::new();
    let jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF";
    place.file("a.md", "words").file("photo.JPG", jpeg);
    let service = Service::start(&place, &[]);
    let create = ["store", "create", "gallery", "--endpoint", &service.url];
    let model = ["--embedding-model", "models/gemini-embedding-2"];
    let mut create = place.objlib(&[&create[..], &model].concat());
    create.env("GEMINI_API_KEY", KEY).seen().exit(0);
    let sent = |store: &str| -> Vec<String> {
        let ledger = service.ledger().0;
        let documents = ledger["documents"].as_array().unwrap().iter();
        let here = documents.filter(|d| d["storeDisplayName"] == store);
        let line = |d: &Value| format!("{} {}", d["objlibPath"], d["mimeType"]).replace('"', "");
        let mut lines: Vec<String> = here.map(line).collect();
        lines.sort();
        lines
    };
    // Before it is known where the folder goes, an image is skipped, with the way out.
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let skipped = place.objlib(&["status", "--skipped"]).seen().exit(0).stdout;
    assert!(
        skipped.contains("photo.JPG") && skipped.contains("--embedding-model"),
        "{skipped}"
    );
    let dry = upload(&place, &service, &["--store", "gallery", "--dry-run"]).exit(0);
    let plan = dry
        .events()
        .into_iter()
        .find(|e| e["event"] == "plan")
        .unwrap();
    assert_eq!(plan["files"], 2, "{plan}");
    upload(&place, &service, &["--store", "gallery"]).exit(0);
    assert_eq!(
        sent("gallery"),
        ["a.md text/markdown", "photo.JPG image/jpeg"]
    );
    assert_eq!(
        begun(&service, || drop(
            upload(&place, &service, &["--store", "gallery"]).exit(0)
        )),
        0
    );

    // The same library in an ordinary store besides: the image goes nowhere else, and stays where it is.
    let counts = |store: &str| {
        let status = place
            .objlib(&["status", "--json", "--store", store])
            .seen()
            .exit(0);
        let status = status.events().remove(0);
        ["files", "indexed", "pending", "skipped"].map(|field| status[field].clone())
    };
    for _ in 0..2 {
        upload(&place, &service, &["--store", "brandnew"]).exit(0);
        assert_eq!(sent("brandnew"), ["a.md text/markdown"]);
        assert_eq!(counts("brandnew"), [json!(1), json!(1), json!(0), json!(0)]);
        assert_eq!(counts("gallery"), [json!(2), json!(2), json!(0), json!(0)]);
    }
    let dry = upload(&place, &service, &["--store", "third", "--dry-run"]).exit(0);
    let plan = dry
        .events()
        .into_iter()
        .find(|e| e["event"] == "plan")
        .unwrap();
    assert_eq!(plan["files"], 1, "{plan}");
    let dry = [
        "upload",
        "--dry-run",
        "--json",
        "--store",
        "third",
        "--endpoint",
        &service.url,
    ];
    let dry = place.objlib(&dry).seen().exit(0);
    let plan = dry
        .events()
        .into_iter()
        .find(|e| e["event"] == "plan")
        .unwrap();
    assert_eq!(plan["files"], 0, "{plan}");

    // Another library, in an ordinary store.
    place
        .file_in("plain", "b.md", "b")
        .file_in("plain", "photo.png", b"\x89PNG\r\n\x1a\n\0");
    let mut other = place.objlib(&["upload", "plain", "--endpoint", &service.url, "--rpm", "0"]);
    other.env("GEMINI_API_KEY", KEY).seen().exit(0);
    assert_eq!(sent("objlib"), ["b.md text/markdown"]);
}
