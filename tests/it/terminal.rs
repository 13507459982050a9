use crate::run::{KEY, Place, RunToEnd, Seen, Service};
use crate::scripted::{Scripted, send};

/// An override of the direction, a space without width, a line separator, a tag, a mark of byte order,
/// an isolate, and the C1 form of the escape that begins a command to a terminal.
const TRICKS: [char; 7] = [
    '\u{202e}',
    '\u{200b}',
    '\u{2028}',
    '\u{e0041}',
    '\u{feff}',
    '\u{2066}',
    '\u{9b}',
];

#[track_caller]
fn is_plain(seen: &Seen) {
    for text in [&seen.stdout, &seen.stderr] {
        assert!(!text.contains(TRICKS), "{text:?}");
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text:?}"
        );
    }
}

/// A name with every one of them, and how it is shown.
fn name() -> (String, &'static str) {
    let tricks: String = TRICKS.iter().collect();
    (
        format!("in{tricks}\u{1b}[31m\nvoice.txt"),
        r"in\u{202e}\u{200b}\u{2028}\u{e0041}\u{feff}\u{2066}\u{9b}\u{1b}[31m\nvoice.txt",
    )
}

#[test]
fn a_files_name_steers_no_terminal() {
    let place = Place::new();
    let (name, shown) = name();
    place.file(&name, "words");
    let service = Service::start(&place, &[]);
    let remote = ["--endpoint", &service.url, "--store", "notes\u{202e}seton"];
    let run = |args: &[&str], exit: i32| {
        let mut command = place.objlib(args);
        let seen = command.env("GEMINI_API_KEY", KEY).seen().exit(exit);
        is_plain(&seen);
        seen
    };
    let plan = run(&[&["upload", "docs", "--dry-run"], &remote[..]].concat(), 0);
    assert!(plan.stdout.contains(shown), "{}", plan.stdout);
    // A refusal in the service's words, with the name in them.
    service.set_faults(serde_json::json!({"operation_fail": 1.0}));
    let args = ["upload", "docs", "--max-attempts", "1", "-v", "--rpm", "0"];
    let upload = run(&[&args, &remote[..]].concat(), 3);
    assert!(upload.stderr.contains(shown), "{}", upload.stderr);
    let failed = run(&["status", "--failed", "--store", remote[3]], 0);
    assert!(failed.stdout.contains(shown), "{}", failed.stdout);
    let json = run(&["status", "--failed", "--json", "--store", remote[3]], 0);
    let line: serde_json::Value = serde_json::from_str(json.stdout.trim_end()).unwrap();
    assert_eq!(line["path"], name);
    let status = run(&["status", "--store", remote[3]], 0);
    assert!(
        status.stdout.contains(r"notes\u{202e}seton"),
        "{}",
        status.stdout
    );
    service.set_faults(serde_json::json!({"operation_fail": 0.0}));
    let again = ["upload", "--retry-failed", "--json", "--rpm", "0"];
    let events = run(&[&again, &remote[..]].concat(), 0).events();
    let mut files = events.iter().filter(|e| e["event"] == "file");
    assert_eq!(files.next().unwrap()["path"], name);
    // The database is lost, so everything in the store is news to `verify`.
    std::fs::remove_file(place.db()).unwrap();
    place.file("other.txt", "other words");
    std::fs::remove_file(place.docs().join(&name)).unwrap();
    run(&["scan", "docs"], 0);
    let verify = run(&[&["verify", "-v"], &remote[..]].concat(), 3);
    assert!(verify.stdout.contains(shown), "{}", verify.stdout);
    run(&[&["verify", "--json"], &remote[..]].concat(), 3);
}

#[test]
fn the_services_words_steer_no_terminal() {
    let place = Place::new();
    place.file("a.txt", "words");
    let tricks: String = TRICKS.iter().collect();
    let body = serde_json::json!({"error": {"code": 400, "message": format!("no{tricks}way")}});
    let service = Scripted::start(move |_, stream| send(stream, 400, "", &body.to_string()));
    for mode in ["-v", "--json"] {
        let args = ["upload", "docs", mode, "--endpoint", &service.url];
        let seen = place
            .objlib(&args)
            .env("GEMINI_API_KEY", KEY)
            .seen()
            .exit(1);
        is_plain(&seen);
        assert!(
            seen.stderr.contains(r"no\u{202e}\u{200b}"),
            "{}",
            seen.stderr
        );
    }
}

#[test]
fn wrong_usage_steers_no_terminal() {
    let place = Place::new();
    let args = ["upload", "--rpm", "ten\u{202e}\u{9b}"];
    let seen = place.objlib(&args).seen().exit(2);
    is_plain(&seen);
    assert!(
        seen.stderr.contains(r"ten\u{202e}\u{9b}"),
        "{}",
        seen.stderr
    );
}
