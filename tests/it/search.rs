use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::run::{KEY, Place, RunToEnd, Seen, Service};
use crate::scripted::{Scripted, send};

fn search_at(place: &Place, url: &str, args: &[&str]) -> Command {
    let mut command = place.objlib(&["search"]);
    command.args(args).args(["--endpoint", url]);
    command
        .env("GEMINI_API_KEY", KEY)
        .env_remove("OBJLIB_MODEL");
    command
}

fn search(place: &Place, service: &Service, args: &[&str]) -> Seen {
    search_at(place, &service.url, args).seen()
}

/// The one object of `--json`.
fn found(place: &Place, service: &Service, args: &[&str]) -> Value {
    let seen = search(place, service, &[args, &["--json"]].concat()).exit(0);
    let mut events = seen.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["event"], "search");
    assert_eq!(events[0]["exit"], 0);
    events.remove(0)
}

fn citations(found: &Value) -> &[Value] {
    found["citations"].as_array().unwrap()
}

/// `field` of every citation, in order of the alphabet.
fn all<'f>(found: &'f Value, field: &str) -> Vec<&'f str> {
    let all = citations(found).iter().map(|c| c[field].as_str().unwrap());
    let mut all: Vec<&str> = all.collect();
    all.sort_unstable();
    all
}

fn upload(place: &Place, service: &Service, args: &[&str]) {
    let mut command = place.objlib(&["upload"]);
    command.args(args).args(["--endpoint", &service.url]);
    command.env("GEMINI_API_KEY", KEY).seen().exit(0);
}

/// One folder with one file that answers, and one that does not.
fn asked() -> (Place, Service) {
    let place = Place::new();
    place
        .file(
            "rules/travel.md",
            "# Travel\n\nTravel is approved by the team lead.\n",
        )
        .file("lunch.md", "Lunch is at noon.\n");
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"]);
    (place, service)
}

#[test]
fn an_answer_cites_files_that_open() {
    let (place, service) = asked();
    let found = found(&place, &service, &["Who approves travel?"]);
    assert_eq!(found["model"], "gemini-3.5-flash");
    assert_eq!(found["query"], "Who approves travel?");
    assert_eq!(found["text"], "Travel is approved by the team lead. [1]\n");
    let [citation] = citations(&found) else {
        panic!("{found}");
    };
    assert_eq!(citation["n"], 1);
    assert_eq!(citation["library"], "docs");
    assert_eq!(citation["path"], "rules/travel.md");
    assert_eq!(citation["store"], found["stores"][0]);
    assert!(citation["page"].is_null());
    let path = Path::new(citation["local_path"].as_str().unwrap());
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(citation["passage"].as_str().unwrap()));
    assert!(path.is_absolute());

    // As the service is asked, by its documentation.
    let mut requests = service.requests();
    requests.retain(|r| r["kind"] == "generate");
    assert_eq!(requests.len(), 1);
    assert_eq!(
        requests[0]["path"],
        "/v1beta/models/gemini-3.5-flash:streamGenerateContent"
    );
    assert_eq!(requests[0]["query"], json!({"alt": "sse"}));
    assert_eq!(
        requests[0]["body"],
        json!({"contents": [{"role": "user", "parts": [{"text": "Who approves travel?"}]}],
               "tools": [{"fileSearch": {"fileSearchStoreNames": found["stores"]}}]})
    );
}

#[test]
fn a_person_reads_text_sources_and_the_beginning_of_passages() {
    let (place, service) = asked();
    let root = fs::canonicalize(place.docs()).unwrap();
    // Words need no quotation marks.
    let seen = search(&place, &service, &["who", "approves", "travel?"]).exit(0);
    let expected = format!(
        "Travel is approved by the team lead. [1]\n\n[1] docs: {}/rules/travel.md\n    # Travel\n",
        root.display()
    );
    assert_eq!(seen.stdout, expected);
    assert_eq!(seen.stderr, "");
    let seen = search(&place, &service, &["travel", "--passages"]).exit(0);
    let expected = format!(
        "[1] docs: {}/rules/travel.md\n    # Travel\n    \n    Travel is approved by the team lead.\n",
        root.display()
    );
    assert_eq!(seen.stdout, expected);
    let seen = search(&place, &service, &["travel", "--passages", "--json"]).exit(0);
    assert!(seen.events()[0]["text"].is_null());
}

#[test]
fn passages_are_cut_as_the_upload_asked_and_the_whole_text_is_searched() {
    let place = Place::new();
    let pages = format!(
        "{}\u{c}the ferns of page two\u{c}nothing",
        "word ".repeat(20_000)
    );
    place.file("book.txt", &pages);
    let service = Service::start(&place, &[]);
    upload(
        &place,
        &service,
        &[
            "docs",
            "--max-tokens-per-chunk",
            "25",
            "--max-overlap-tokens",
            "5",
        ],
    );
    let found = found(&place, &service, &["ferns"]);
    // Between two steps of 20 words the overlap shows them twice, or not.
    for citation in citations(&found) {
        let passage = citation["passage"].as_str().unwrap();
        assert!(
            passage.contains("ferns") && passage.split_whitespace().count() <= 25,
            "{passage}"
        );
        assert!([1, 2].contains(&citation["page"].as_u64().unwrap()));
    }
    assert!(
        found["text"]
            .as_str()
            .unwrap()
            .starts_with("the ferns of page two")
    );
}

#[test]
fn a_filter_takes_what_rules_gave() {
    let place = Place::new();
    place
        .file("2024/notes.md", "Ferns grow in the shade.")
        .file("2026/notes.md", "Ferns grow in the shade, too.")
        .file(
            "Course 3/Year1/part-7/Lesson 00042 – title.txt",
            "Ferns, again.",
        );
    let service = Service::start(&place, &[]);
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.example.json");
    upload(
        &place,
        &service,
        &["docs", "--metadata", rules, "--set", "dept=law"],
    );
    let paths = |filter: &str| {
        let found = found(&place, &service, &["ferns", "--filter", filter]);
        all(&found, "path").len()
    };
    assert_eq!(paths("course = 3 AND year = 1"), 1);
    assert_eq!(paths("dept = \"law\""), 3);
    assert_eq!(paths("course = 3 OR dept = \"law\""), 3);
    let found = found(
        &place,
        &service,
        &["ferns", "--filter", "course >= 3", "--library", "docs"],
    );
    assert!(all(&found, "path")[0].starts_with("Course 3/"));
    let entries = citations(&found)[0]["metadata"].as_array().unwrap();
    assert!(
        entries
            .iter()
            .all(|e| !e["key"].as_str().unwrap().starts_with("objlib_"))
    );
    assert!(entries.contains(&json!({"key": "course", "numericValue": 3.0})));
}

#[test]
fn libraries_with_the_same_paths_and_several_stores_are_told_apart() {
    let place = Place::new();
    place
        .file_in("a", "note.md", "Ferns in the first folder.")
        .file_in("b", "note.md", "Ferns in the second folder.")
        .file_in("c", "note.md", "Ferns in the third folder.");
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["a", "b"]);
    upload(
        &place,
        &service,
        &["c", "--store", "other", "--library", "my \"third\""],
    );
    let both = found(&place, &service, &["ferns"]);
    assert_eq!(all(&both, "library"), ["a", "b"]);
    for citation in citations(&both) {
        let text = fs::read_to_string(citation["local_path"].as_str().unwrap()).unwrap();
        assert_eq!(citation["passage"], text);
    }
    let one = found(&place, &service, &["ferns", "--library", "b"]);
    assert_eq!(all(&one, "library"), ["b"]);
    let args = [
        "ferns", "--store", "objlib", "--store", "other", "--store", "objlib",
    ];
    let three = found(&place, &service, &args);
    assert_eq!(all(&three, "library"), ["a", "b", "my \"third\""]);
    assert_eq!(three["stores"].as_array().unwrap().len(), 2);
    let third = found(
        &place,
        &service,
        &[&args[..], &["--library", "my \"third\""]].concat(),
    );
    assert_eq!(citations(&third).len(), 1);
    assert_eq!(citations(&third)[0]["store"], third["stores"][1]);
    let two = found(&place, &service, &[&args[..], &["--top-k", "2"]].concat());
    assert_eq!(citations(&two).len(), 2);
    // By its resource name, and from the environment.
    let name = third["stores"][1].as_str().unwrap();
    let mut command = search_at(&place, &service.url, &["ferns", "--json"]);
    let seen = command.env("OBJLIB_STORE", name).seen().exit(0);
    assert_eq!(all(&seen.events()[0], "library"), ["my \"third\""]);
}

#[test]
fn a_path_that_is_held_as_its_hash_is_found_again() {
    let place = Place::new();
    let long = format!("{}/ferns.md", ["folder of a very long name"; 12].join("/"));
    place.file(&long, "Ferns at the end of a long way.");
    let service = Service::start(&place, &[]);
    upload(&place, &service, &["docs"]);
    let found = found(&place, &service, &["ferns"]);
    let citation = &citations(&found)[0];
    assert!(citation["path"].as_str().unwrap().starts_with("sha256:"));
    let local = citation["local_path"].as_str().unwrap();
    assert!(local.ends_with("/ferns.md") && Path::new(local).exists());
    // Elsewhere only the document's title has the readable end.
    let elsewhere = Place::new();
    let seen = search(&elsewhere, &service, &["ferns"]).exit(0);
    assert!(
        seen.stdout.contains("/ferns.md (not known here)"),
        "{}",
        seen.stdout
    );
}

#[test]
fn what_is_not_known_here_is_shown_by_library_and_path() {
    let (place, service) = asked();
    let elsewhere = Place::new();
    let seen = search(&elsewhere, &service, &["travel"]).exit(0);
    assert!(
        seen.stdout
            .contains("[1] docs: rules/travel.md (not known here)\n"),
        "{}",
        seen.stdout
    );
    assert!(found(&elsewhere, &service, &["travel"])["citations"][0]["local_path"].is_null());
    assert!(!elsewhere.db().exists());
    // Here, but gone.
    fs::remove_file(place.docs().join("rules/travel.md")).unwrap();
    place.objlib(&["scan", "docs"]).seen().exit(0);
    let seen = search(&place, &service, &["travel"]).exit(0);
    assert!(
        seen.stdout.contains("rules/travel.md (no longer there)\n"),
        "{}",
        seen.stdout
    );
}

#[test]
fn nothing_found_is_3() {
    let (place, service) = asked();
    upload(&place, &service, &["docs", "--store", "other"]);
    let seen = search(&place, &service, &["xylophone"]).exit(3);
    assert!(
        seen.stdout
            .ends_with("nothing was found in store `objlib`\n"),
        "{}",
        seen.stdout
    );
    let seen = search(&place, &service, &["xylophone", "--json"]).exit(3);
    assert_eq!(seen.events()[0]["exit"], 3);
    assert_eq!(seen.events()[0]["citations"], json!([]));
    // Another machine's, or a slip.
    let seen = search(&place, &service, &["travel", "--library", "doc"]).exit(3);
    let words =
        "in store `objlib`; nothing is known here of a library `doc`; did you mean `docs`?\n";
    assert!(seen.stdout.ends_with(words), "{}", seen.stdout);
    let seen = search(&place, &service, &["xylophone", "--library", "docs"]).exit(3);
    assert!(!seen.stdout.contains("known"), "{}", seen.stdout);
    let mut create = place.objlib(&["store", "create", "empty", "--endpoint", &service.url]);
    create.env("GEMINI_API_KEY", KEY).seen().exit(0);
    search(&place, &service, &["travel", "--store", "empty"]).exit(3);
    search(
        &place,
        &service,
        &["travel", "--passages", "--filter", "year = 3"],
    )
    .exit(3);
}

#[test]
fn what_cannot_be_asked_is_one_line_that_says_what_to_do() {
    let (place, service) = asked();
    let line = |args: &[&str], exit, words: &[&str]| {
        let seen = search(&place, &service, args).exit(exit);
        assert_eq!(seen.stdout, "");
        assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
        for word in words {
            assert!(seen.stderr.contains(word), "{word}: {}", seen.stderr);
        }
    };
    line(
        &["travel", "--filter", "year => 3"],
        2,
        &[
            "filter",
            "at position 7",
            "correct --filter",
            "sent was: year => 3",
        ],
    );
    line(
        &["travel", "--filter", "(a = 1", "--library", "x"],
        2,
        &["at position", "sent was: ((a = 1) AND"],
    );
    line(
        &["travel", "--model", "models/gemini-1"],
        2,
        &["model `gemini-1`", "not found", "--model"],
    );
    line(&["travel", "--model", "a/../b"], 2, &["--model"]);
    line(
        &["travel", "--store", "nowhere"],
        1,
        &["store `nowhere`", "objlib store list"],
    );
    line(
        &["travel", "--store", "fileSearchStores/nowhere-1"],
        1,
        &[
            "store `fileSearchStores/nowhere-1`",
            "missing or belongs to another key",
        ],
    );
    line(
        &["travel", "--store", "fileSearchStores/../x"],
        2,
        &["no resource name"],
    );
    line(&["  "], 2, &["nothing to ask"]);
    line(&["travel", "--library", " "], 2, &["--library"]);
    line(&["travel", "--top-k", "0"], 2, &["--top-k"]);
    let six: Vec<String> = (0..6).map(|i| format!("--store=s{i}")).collect();
    let mut args: Vec<&str> = six.iter().map(String::as_str).collect();
    args.push("travel");
    line(&args, 2, &["--store", "5 stores at once"]);
    line(&[&format!("what is {KEY}")], 2, &["contains the API key"]);
}

#[test]
fn a_blocked_answer_is_said_to_be_blocked() {
    let (place, service) = asked();
    for fault in ["prompt_blocked", "answer_blocked"] {
        service.set_faults(json!({ fault: 1 }));
        let seen = search(&place, &service, &["travel"]).exit(1);
        assert!(
            seen.stderr
                .contains("the service has stopped it (SAFETY)\nhint: ask in other words")
        );
        assert_eq!(seen.stdout, "");
        search(&place, &service, &["travel", "--json"]).exit(1);
        assert_eq!(service.fired(fault), 2);
        service.set_faults(json!({ fault: 0 }));
    }
}

#[test]
fn a_refused_key_and_a_service_in_trouble_have_their_codes() {
    let place = Place::new();
    place.file("a.md", "Ferns grow.");
    let service = Service::start(&place, &["--refuse-key", "another"]);
    upload(&place, &service, &["docs"]);
    let mut refused = search_at(&place, &service.url, &["ferns"]);
    refused.env("GEMINI_API_KEY", "another").seen().exit(6);
    let mut none = search_at(&place, &service.url, &["ferns"]);
    none.env_remove("GEMINI_API_KEY").seen().exit(6);
    // Once in trouble, the second try is answered.
    for trouble in [
        "500",
        "wrong_json",
        "cut_answer",
        "reset_after",
        "empty_answer",
    ] {
        let before = service.fired("calls");
        service.set_faults(json!({"calls": [{"call": 1, "kind": trouble}]}));
        let seen = search(&place, &service, &["ferns", "--json"]).exit(0);
        assert_eq!(
            seen.events()[0]["citations"][0]["path"],
            "a.md",
            "{trouble}"
        );
        assert_eq!(service.fired("calls"), before + 1, "{trouble}");
    }
}

/// Beside an upload that holds the lock.
#[test]
fn a_search_waits_for_nobody() {
    let (place, service) = asked();
    place.files(40);
    service.set_faults(json!({"latency_ms": 300, "only_kinds": []}));
    let mut upload = place.upload(&service, &["--concurrency", "1"]);
    let mut upload = upload
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sent = service.ledger().uploads();
    while service.ledger().uploads() == sent {
        assert!(upload.try_wait().unwrap().is_none(), "the upload is over");
    }
    found(&place, &service, &["travel"]);
    assert!(upload.try_wait().unwrap().is_none(), "the upload is over");
    upload.kill().unwrap();
    upload.wait().unwrap();
}

#[test]
fn on_a_terminal_the_text_comes_first_and_then_its_sources() {
    let (place, service) = asked();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let line = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut command = search_at(&place, &service.url, &["who approves travel"]);
    command.stdout(line);
    let mut child = command.spawn().unwrap();
    drop(command);
    let (mut terminal, mut shown) = (File::from(terminal), Vec::new());
    // It ends with an error, when nobody holds the other side any more.
    let _ = terminal.read_to_end(&mut shown);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let shown = String::from_utf8(shown).unwrap().replace("\r\n", "\n");
    let start = "Travel is approved by the team lead.\n\n[1] docs: ";
    assert!(shown.starts_with(start), "{shown:?}");
}

/// A service whose answer to every question is this stream.
fn answering(stream: impl Into<String>) -> Scripted {
    let stream = stream.into();
    Scripted::start(move |request, to| match request.line.starts_with("POST") {
        true => send(to, 200, "content-type: text/event-stream\r\n", &stream),
        false => send(to, 404, "", "{}"),
    })
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

const ANY_STORE: [&str; 3] = ["q", "--store", "fileSearchStores/any-1"];

#[test]
fn odd_answers_are_read_as_far_as_they_make_sense() {
    let place = Place::new();
    let ask = |stream: String, args: &[&str]| {
        let service = answering(stream);
        search_at(&place, &service.url, &[&ANY_STORE[..], args].concat()).seen()
    };
    let text = |text: &str| json!({"candidates": [{"content": {"parts": [{ "text": text }]}}]});
    // An answer that rests on nothing.
    let seen = ask(event(&text("I do not know.")), &[]).exit(3);
    assert_eq!(
        seen.stdout,
        "I do not know.\n\nnothing was found in store `fileSearchStores/any-1`\n"
    );
    // A document that somebody else put there, on a page, twice.
    let mut foreign = text("So it is.");
    let chunk =
        json!({"retrievedContext": {"title": "Book\u{1b}[2J", "text": "x\ny", "pageNumber": 12}});
    foreign["candidates"][0]["groundingMetadata"] = json!({"groundingChunks": [chunk, chunk, {}],
        "groundingSupports": [{"segment": {"endIndex": 9}, "groundingChunkIndices": [1, 0, 2, 77]}]});
    let seen = ask(event(&foreign), &[]).exit(0);
    assert_eq!(
        seen.stdout,
        "So it is. [1]\n\n[1] Book\\u{1b}[2J (not put there by objlib), page 12\n    x\n"
    );
    // Nothing that steers a terminal.
    let seen = ask(event(&text("a\u{1b}[31m\u{202e}b\nc")), &[]).exit(3);
    assert!(
        seen.stdout.starts_with("a\\u{1b}[31m\\u{202e}b\nc\n"),
        "{}",
        seen.stdout
    );
    // A whole answer in the place of a stream.
    let whole = Scripted::start(move |_, to| send(to, 200, "", &foreign.to_string()));
    search_at(&place, &whole.url, &ANY_STORE).seen().exit(0);
    for broken in ["", "data: {\n\n", "data: 3\n\n", "<html>"] {
        let seen = ask(broken.to_owned(), &[]).exit(1);
        assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
    }
    // An error after the first words: they are not asked for again.
    let error = json!({"error": {"code": 503, "status": "UNAVAILABLE", "message": "overloaded"}});
    let service = answering(event(&text("So")) + &event(&error));
    let seen = search_at(&place, &service.url, &ANY_STORE).seen().exit(1);
    assert!(seen.stderr.contains("overloaded"), "{}", seen.stderr);
    assert_eq!(service.requests("POST").len(), 1);
}

#[test]
fn a_path_that_leads_out_of_its_folder_is_not_believed() {
    let (place, _service) = asked();
    let chunk = |path: &str| {
        json!({"retrievedContext": {"title": "t", "text": path, "customMetadata": [
            {"key": "objlib_library", "stringValue": "docs"},
            {"key": "objlib_path", "stringValue": path}]}})
    };
    let paths = [
        "../library.db",
        "/etc/passwd",
        "rules/../lunch.md",
        "lunch.md",
    ];
    let chunks: Vec<Value> = paths.iter().map(|path| chunk(path)).collect();
    let service = answering(event(&json!({"candidates": [{
        "content": {"parts": [{"text": "x"}]}, "groundingMetadata": {"groundingChunks": chunks}}]})));
    let args = [&ANY_STORE[..], &["--json"]].concat();
    let seen = search_at(&place, &service.url, &args).seen().exit(0);
    let found = seen.events().remove(0);
    let known: Vec<bool> = citations(&found)
        .iter()
        .map(|c| !c["local_path"].is_null())
        .collect();
    assert_eq!(known, [false, false, false, true]);
}

/// `seen` fails wherever the key is shown.
#[test]
fn the_key_is_cut_out_wherever_the_service_quotes_it() {
    let place = Place::new();
    let (front, back) = KEY.split_at(3);
    let piece =
        |text: &str| event(&json!({"candidates": [{"content": {"parts": [{ "text": text }]}}]}));
    let sources = json!({"candidates": [{"groundingMetadata": {"groundingChunks": [
        {"retrievedContext": {"title": KEY, "text": format!("a {KEY} b"), "customMetadata": [
            {"key": "objlib_library", "stringValue": KEY}, {"key": KEY, "stringValue": "x"}]}}]}}]});
    let stream = piece(&format!("key {front}")) + &piece(&format!("{back} end")) + &event(&sources);
    let service = answering(stream);
    for args in [
        &[][..],
        &["--json"],
        &["--passages"],
        &["--passages", "--json"],
    ] {
        let args = [&ANY_STORE[..], args].concat();
        let seen = search_at(&place, &service.url, &args).seen().exit(0);
        assert!(seen.stdout.contains("[key]"), "{}", seen.stdout);
    }
    for (status, blocked) in [
        (
            400,
            json!({"error": {"code": 400, "message": format!("bad filter, key {KEY}")}}),
        ),
        (200, json!({"promptFeedback": {"blockReason": KEY}})),
    ] {
        let service = Scripted::start(move |_, to| send(to, status, "", &blocked.to_string()));
        let args = [&ANY_STORE[..], &["--filter", "a = 1"]].concat();
        let seen = search_at(&place, &service.url, &args).seen();
        assert!(seen.stderr.contains("[key]"), "{}", seen.stderr);
    }
}

#[test]
fn what_is_active_and_not_searchable_yet_is_not_found_yet() {
    let (place, service) = asked();
    service.set_faults(json!({"search_lag_ms": 3_600_000}));
    search(&place, &service, &["who approves travel?"]).exit(3);
    assert!(service.fired("search_lag_ms") > 0);
    service.set_faults(json!({"search_lag_ms": 0}));
    search(&place, &service, &["who approves travel?"]).exit(0);
}
