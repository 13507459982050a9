use std::collections::BTreeMap;
use std::process::Command;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::run::{KEY, Place, RunToEnd, Seen, Service, begun};

/// A page that is well-formed, needs nothing else, and what its table of numbers says.
struct Page {
    html: String,
    numbers: BTreeMap<String, String>,
}

impl Page {
    #[track_caller]
    fn read(html: String) -> Page {
        well_formed(&html);
        assert!(!html.contains(KEY));
        for way_out in [
            "src=", "href=", "url(", "@import", "<script", "<link", "<img",
        ] {
            assert!(!html.contains(way_out), "{way_out}");
        }
        let cells = html.split("<tr><td><code>").skip(1);
        let number = |cell: &str| {
            let (name, rest) = cell.split_once("</code></td><td>")?;
            let (value, _) = rest.split_once("</td>")?;
            Some((name.to_owned(), value.to_owned()))
        };
        let numbers = cells.filter_map(number).collect();
        Page { html, numbers }
    }

    /// Each field of a run's summary stands on it.
    #[track_caller]
    fn says(&self, summary: &Value) {
        let fields = summary.as_object().unwrap().iter();
        let fields = fields.filter(|(name, _)| !["event", "time"].contains(&name.as_str()));
        for (name, value) in fields {
            let said = &self.numbers[name];
            match value {
                Value::String(value) => assert_eq!(said, value, "{name}"),
                // The page rounds as JSON does, but writes zeros out.
                _ => assert_eq!(
                    said.parse::<f64>().unwrap(),
                    value.as_f64().unwrap(),
                    "{name}"
                ),
            }
        }
    }

    #[track_caller]
    fn has(&self, words: &str) -> &Page {
        assert!(self.html.contains(words), "no `{words}` in\n{}", self.html);
        self
    }
}

/// Elements end in the order in which they began, and attributes are quoted.
#[track_caller]
fn well_formed(html: &str) {
    let mut open = Vec::new();
    for tag in html.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag that ends");
        assert!(!text.contains('>'), "{text}");
        if let Some(ended) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(ended));
        } else if !tag.ends_with('/') && !tag.starts_with("!doctype") {
            open.push(tag.split(' ').next().unwrap());
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty() && html.ends_with("</html>\n"), "{open:?}");
}

/// `objlib report` to stdout.
#[track_caller]
fn report(place: &Place, args: &[&str]) -> Page {
    let seen = place.objlib(&["report", "--html", "-"]).args(args).seen();
    Page::read(seen.exit(0).stdout)
}

fn page(place: &Place, name: &str) -> Page {
    Page::read(std::fs::read_to_string(place.path().join(name)).unwrap())
}

/// What is wrong, and what to do: nothing else is said.
#[track_caller]
fn error_and_hint(seen: &Seen) {
    let lines: Vec<&str> = seen.stderr.lines().collect();
    let is_error =
        lines.len() == 2 && lines[0].starts_with("error: ") && lines[1].starts_with("hint: ");
    assert!(is_error, "{}", seen.stderr);
}

/// Until the run has kept what it had done so far.
fn until_recorded(place: &Place) {
    let db = Connection::open(place.db()).unwrap();
    let count = || {
        db.query_row("SELECT count(*) FROM run_details", [], |r| {
            r.get::<_, i64>(0)
        })
    };
    while count().unwrap_or(0) == 0 {
        std::thread::yield_now();
    }
}

#[test]
fn the_page_of_a_run_with_faults_says_what_its_summary_says() {
    let place = Place::new();
    place.files(60);
    let hostile = "part 1/</td><script>alert('\"&amp;')<b>.md";
    place.file(&hostile.replace("</", "<\u{202e}"), "x".repeat(50_000));
    let service = Service::start(
        &place,
        &[
            "--error-500",
            "0.05",
            "--operation-fail",
            "0.1",
            "--fault-seed",
            "3",
        ],
    );
    let seen = place
        .upload(&service, &["--report", "run.html", "--max-attempts", "2"])
        .seen();
    assert!(service.fired("error_500") > 0 && service.fired("operation_fail") > 0);
    let summary = seen.summary();
    let page = page(&place, "run.html");
    page.says(&summary);
    page.has("Run 1 into <em>objlib</em>")
        .has("Requests by outcome")
        .has("How long answers took")
        .has("<h2>Failures by cause</h2>")
        .has("<h2>Slowest files</h2>");
    // What was recorded adds up: every request was granted or not, and every file has its time.
    let db = Connection::open(place.db()).unwrap();
    let details: String = db
        .query_row("SELECT details FROM run_details", [], |r| r.get(0))
        .unwrap();
    let details: Value = serde_json::from_str(&details).unwrap();
    let last = details["samples"].as_array().unwrap().last().unwrap();
    let outcomes: u64 = (4..8).map(|i| last[i].as_u64().unwrap()).sum();
    assert_eq!(json!(outcomes), summary["requests"]);
    assert_eq!(
        (&last[1], &last[5]),
        (&summary["indexed"], &summary["throttled"])
    );
    let times = details["times"].as_object().unwrap().values();
    let times = times.flat_map(|kind| kind.as_array().unwrap());
    assert_eq!(times.map(|n| n.as_u64().unwrap()).sum::<u64>(), outcomes);
    // And `report` makes the same page.
    report(&place, &["1"]).says(&summary);
}

#[test]
fn a_living_run_is_running_and_a_dead_one_killed_with_what_they_had_done() {
    let place = Place::new();
    place.files(120);
    let service = Service::start(&place, &["--latency-ms", "150"]);
    let mut run = begun(&place, &service, &[]);
    until_recorded(&place);
    report(&place, &[]).has("Still running").has("Over time");
    run.kill().unwrap();
    run.wait().unwrap();
    let killed = report(&place, &[]);
    killed.has("Killed before its end").has("Over time");
    let done: u64 = killed.numbers["requests"].parse().unwrap();
    assert!(
        done > 0 && killed.numbers["exit"] == "–",
        "{:?}",
        killed.numbers
    );
    // And so it stays, when the next run has taken over from it.
    service.set_faults(json!({}));
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    report(&place, &["1"]).has("Killed before its end");
    report(&place, &[]).has("Run 2 into").has(">Done<");
}

#[test]
fn after_ctrl_c_there_is_a_page_too() {
    let place = Place::new();
    place.files(120);
    let service = Service::start(&place, &["--latency-ms", "50"]);
    let run = begun(&place, &service, &["--report", "run.html"]);
    let pid = run.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let summary = crate::run::seen(run.wait_with_output().unwrap())
        .exit(130)
        .summary();
    let page = page(&place, "run.html");
    page.says(&summary);
    page.has("Interrupted: run it again to continue (exit code 130)");
}

#[test]
fn a_run_without_work_has_a_page_and_so_has_each_of_two_stores() {
    let place = Place::new();
    place.files(3);
    let service = Service::start(&place, &[]);
    let upload = |store: &str| {
        let seen = place.upload(&service, &["--store", store]).seen();
        seen.exit(0).summary()
    };
    let runs = [upload("first"), upload("<second> & more"), upload("first")];
    report(&place, &["1"])
        .has("into <em>first</em>")
        .says(&runs[0]);
    let second = report(&place, &["2"]);
    second
        .has("into <em>&lt;second&gt; &amp; more</em>")
        .says(&runs[1]);
    let empty = report(&place, &[]);
    empty
        .has("Run 3 into")
        .has("There was nothing to send")
        .says(&runs[2]);
    // A wrong number names those that there are.
    let wrong = place.objlib(&["report", "9", "--html", "-"]).seen().exit(1);
    for known in [
        "run 9: there is none",
        "3 of 20",
        "2 of 20",
        "1 of 20",
        "(done, 0 indexed)",
    ] {
        assert!(wrong.stderr.contains(known), "{}", wrong.stderr);
    }
    second.has(", library <em>docs</em>, by objlib");
    error_and_hint(&wrong);
    // Of a store that is gone its runs remain.
    let delete = [
        "store",
        "delete",
        "first",
        "--yes",
        "--force",
        "--endpoint",
        &service.url,
    ];
    place
        .objlib(&delete)
        .env("GEMINI_API_KEY", KEY)
        .seen()
        .exit(0);
    report(&place, &["1"]).has("<h1>Run 1</h1>").says(&runs[0]);
}

/// Made by the last objlib that recorded no course of its runs.
#[test]
fn a_run_of_yesterdays_database_says_that_no_course_is_on_record() {
    let place = Place::new();
    std::fs::write(place.db(), include_bytes!("../old/schema-7.db")).unwrap();
    let version = || {
        let db = Connection::open(place.db()).unwrap();
        db.pragma_query_value(None, "user_version", |r| r.get::<_, i32>(0))
            .unwrap()
    };
    let as_it_was = |page: &Page| {
        page.has("No course of this run is on record: an older objlib did it");
        assert_eq!(
            (
                page.numbers["indexed"].as_str(),
                page.numbers["seconds"].as_str()
            ),
            ("5", "0.537")
        );
    };
    as_it_was(&report(&place, &[]));
    let status = |place: &Place| {
        place
            .objlib(&["status", "--store", "old", "--json"])
            .seen()
            .exit(0)
            .stdout
    };
    let before: Value = serde_json::from_str(&status(&place)).unwrap();
    assert_eq!(version(), 7);
    // Whoever writes migrates it, and nothing is lost.
    place.file("new.md", "new");
    place
        .objlib(&["scan", "docs", "--library", "new", "-q"])
        .seen()
        .exit(0);
    assert_eq!(version(), 8);
    as_it_was(&report(&place, &[]));
    let after: Value = serde_json::from_str(&status(&place)).unwrap();
    assert_eq!(
        (&before["indexed"], &before["last_run"]),
        (&after["indexed"], &after["last_run"])
    );
    assert_eq!(before["indexed"], 5);
}

#[test]
fn bad_places_for_a_page_are_said_before_the_run() {
    let place = Place::new();
    place.files(3);
    std::fs::create_dir(place.path().join("folder")).unwrap();
    let one_error = |seen: Seen, exit: i32, words: &str| {
        let seen = seen.exit(exit);
        error_and_hint(&seen);
        assert!(seen.stderr.contains(words), "{}", seen.stderr);
    };
    let none = place.objlib(&["report", "--html", "run.html"]).seen();
    one_error(none, 1, "there is no database yet");
    place.objlib(&["scan", "docs", "-q"]).seen().exit(0);
    let none = place.objlib(&["report", "--html", "run.html"]).seen();
    one_error(none, 1, "there was no run yet");
    let service = Service::start(&place, &[]);
    for (path, exit, words) in [
        (
            "none/run.html",
            1,
            "none/run.html: the page cannot be written: No such file",
        ),
        (
            "folder",
            1,
            "folder: the page cannot be written: is a directory",
        ),
        ("-", 2, "name a file"),
    ] {
        let seen = place.upload(&service, &["--report", path]).seen();
        one_error(seen, exit, words);
        assert!(service.ledger().uploads() == 0 && !place.path().join("none").exists());
    }
    // The disk may still be full at the end: the run is done, and its exit code says that the page is not.
    let full = place
        .upload(&service, &["--report", "/dev/full"])
        .seen()
        .exit(1);
    assert!(
        full.stderr
            .contains("/dev/full: the page cannot be written"),
        "{}",
        full.stderr
    );
    assert_eq!(
        (&full.summary()["indexed"], &full.summary()["exit"]),
        (&json!(3), &json!(1))
    );
    let twice = place.objlib(&["report", "--html", "-", "--json"]).seen();
    one_error(twice, 2, "no room for a page");
    let json = place
        .objlib(&["report", "--html", "run.html", "--json"])
        .seen()
        .exit(0);
    let [event] = json.events().try_into().unwrap();
    assert_eq!(
        (&event["event"], &event["run"], &event["path"]),
        (&json!("report"), &json!(1), &json!("run.html"))
    );
}
