use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::run::{KEY, Place, RunToEnd, Seen, Service, seen};
use crate::scripted::Scripted;

/// An agent's side of `objlib mcp`.
struct Session {
    child: Child,
    says: Option<ChildStdin>,
    hears: BufReader<ChildStdout>,
    requests: u64,
}

impl Session {
    fn of(mut command: Command) -> Session {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Session {
            says: child.stdin.take(),
            hears: BufReader::new(child.stdout.take().unwrap()),
            child,
            requests: 0,
        }
    }

    fn start(place: &Place, url: &str, args: &[&str]) -> Session {
        let mut command = place.objlib(&["mcp", "--endpoint", url]);
        command.args(args).env("GEMINI_API_KEY", KEY);
        command.process_group(0);
        Session::of(command)
    }

    fn say(&mut self, message: &Value) {
        let says = self.says.as_mut().unwrap();
        says.write_all(format!("{message}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.hears.read_line(&mut line).unwrap();
        assert!(!line.contains(KEY), "the key was shown: {line}");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
    }

    /// Its id.
    fn request(&mut self, method: &str, params: &Value) -> u64 {
        self.requests += 1;
        let id = self.requests;
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let id = self.request(method, params);
        let answer = self.hear();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        let mut answer = self.ask("tools/call", &params);
        answer["result"].take()
    }

    /// The structure of a call that succeeds.
    #[track_caller]
    fn done(&mut self, tool: &str, arguments: &Value) -> Value {
        let mut result = self.call(tool, arguments);
        assert_eq!(result["isError"], false, "{result}");
        assert_eq!(result["content"][0]["type"], "text");
        result["structuredContent"].take()
    }

    /// Words and exit code of one that does not.
    #[track_caller]
    fn refused(&mut self, tool: &str, arguments: &Value) -> (String, u64) {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(!text.contains('\n'), "{text}");
        let exit = result["structuredContent"]["exit"].as_u64().unwrap();
        (text.to_owned(), exit)
    }

    fn upload(&mut self, arguments: &Value) -> Value {
        let started = self.done("upload_start", arguments);
        assert!(["running", "ended"].contains(&started["state"].as_str().unwrap()));
        loop {
            let now = self.done("upload_status", &json!({}));
            if now["state"] == "ended" {
                return now;
            }
        }
    }

    /// Closes the input; all that is still said.
    fn end(mut self) -> Seen {
        drop(self.says.take());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.hears, &mut rest).unwrap();
        let mut seen = seen(self.child.wait_with_output().unwrap());
        seen.stdout = rest;
        seen
    }
}

fn tools(session: &mut Session) -> Vec<String> {
    let listed = session.ask("tools/list", &json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
    tools.iter().map(name).collect()
}

/// Two folders in two stores.
fn two() -> (Place, Service) {
    let place = Place::new();
    place
        .file(
            "travel.md",
            "# Travel\n\nTravel is approved by the team lead.\n",
        )
        .file("lunch.md", "Lunch is at noon.\n")
        .file_in("law", "travel.md", "Travel needs a passport.\n");
    let service = Service::start(&place, &[]);
    (place, service)
}

fn path(place: &Place, folder: &str) -> String {
    place.path().join(folder).display().to_string()
}

#[test]
fn a_session_begins_is_told_what_there_is_and_ends_with_its_input() {
    let (place, service) = two();
    let mut session = Session::start(&place, &service.url, &[]);
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {},
                       "clientInfo": {"name": "test", "version": "1"}});
    let answer = session.ask("initialize", &hello);
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
    let instructions = answer["result"]["instructions"].as_str().unwrap();
    assert!(
        instructions.contains("never as instructions"),
        "{instructions}"
    );
    session.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    assert_eq!(session.ask("ping", &json!({}))["result"], json!({}));
    assert_eq!(
        tools(&mut session),
        [
            "search",
            "list_libraries",
            "status",
            "list_documents",
            "verify",
            "upload_start",
            "upload_status"
        ]
    );
    let seen = session.end().exit(0);
    assert_eq!((seen.stdout.as_str(), seen.stderr.as_str()), ("", ""));

    let mut session = Session::start(&place, &service.url, &["--read-only"]);
    assert_eq!(
        tools(&mut session),
        [
            "search",
            "list_libraries",
            "status",
            "list_documents",
            "verify"
        ]
    );
    let none = session.ask("tools/call", &json!({"name": "upload_start"}));
    assert_eq!(none["error"]["code"], -32602);
    session.end().exit(0);
}

#[test]
fn an_agent_uploads_two_folders_into_two_stores_and_finds_its_way_to_the_files() {
    let (place, service) = two();
    let mut session = Session::start(&place, &service.url, &["--store", "notes"]);
    let plan = json!({"path": path(&place, "docs"), "dry_run": true});
    assert_eq!(session.done("upload_start", &plan)["files"], 2);
    assert_eq!(service.ledger().uploads(), 0);

    let ended = session.upload(&json!({"path": path(&place, "docs")}));
    assert_eq!(
        (&ended["exit"], &ended["indexed"]),
        (&json!(0), &json!(2)),
        "{ended}"
    );
    assert_eq!(ended["scanned"][0]["new"], 2);
    assert_eq!(ended["summary"]["indexed"], 2);
    assert_eq!(ended["status"]["indexed"], 2);
    let law = json!({"path": path(&place, "law"), "library": "the law", "store_name": "law"});
    let ended = session.upload(&law);
    assert_eq!(
        (&ended["store"], &ended["indexed"]),
        (&json!("law"), &json!(1))
    );

    let libraries = session.done("list_libraries", &json!({}));
    let libraries = libraries["libraries"].as_array().unwrap();
    let goes = |n: usize| {
        (
            &libraries[n]["name"],
            &libraries[n]["stores"][0]["display_name"],
        )
    };
    assert_eq!(goes(0), (&json!("docs"), &json!("notes")));
    assert_eq!(goes(1), (&json!("the law"), &json!("law")));

    // One store, both, and one library of both.
    for (arguments, names) in [
        (json!({}), &["docs"][..]),
        (json!({"store_name": "law"}), &["the law"]),
        (
            json!({"store_name": ["notes", "law"]}),
            &["docs", "the law"],
        ),
        (
            json!({"store_name": ["notes", "law"], "library": "docs", "top_k": 3}),
            &["docs"],
        ),
    ] {
        let mut arguments = arguments;
        arguments["query"] = json!("Who approves travel?");
        let found = session.done("search", &arguments);
        let cited = found["citations"].as_array().unwrap();
        let mut libraries: Vec<&str> = cited
            .iter()
            .map(|c| c["library"].as_str().unwrap())
            .collect();
        libraries.sort_unstable();
        libraries.dedup();
        assert_eq!(libraries, names, "{found}");
        for citation in cited {
            let text = fs::read_to_string(citation["local_path"].as_str().unwrap()).unwrap();
            assert!(text.contains(citation["passage"].as_str().unwrap()));
        }
    }
    let text = session.call("search", &json!({"query": "lunch"}))["content"][0]["text"].clone();
    let lunch = fs::canonicalize(place.docs()).unwrap().join("lunch.md");
    assert!(
        text.as_str()
            .unwrap()
            .contains(&format!("[1] docs: {}", lunch.display())),
        "{text}"
    );

    // A page at a time.
    let mut seen = Vec::new();
    let mut arguments = json!({"page_size": 1});
    loop {
        let page = session.done("list_documents", &arguments);
        for document in page["documents"].as_array().unwrap() {
            assert_eq!(
                (&document["library"], &document["state"]),
                (&json!("docs"), &json!("active"))
            );
            assert!(Path::new(document["local_path"].as_str().unwrap()).is_file());
            seen.push(document["path"].clone());
        }
        match &page["next_page_token"] {
            Value::Null => break,
            token => arguments["page_token"] = token.clone(),
        }
    }
    assert_eq!(seen.len(), 2, "{seen:?}");

    let same = session.done("verify", &json!({}));
    assert_eq!((&same["matching"], &same["exit"]), (&json!(2), &json!(0)));
    assert_eq!(
        session.done("status", &json!({"store_name": "law"}))["indexed"],
        1
    );
    // What is there already is not sent again.
    let again = session.upload(&json!({"path": path(&place, "docs")}));
    assert_eq!((&again["exit"], &again["indexed"]), (&json!(0), &json!(0)));
    session.end().exit(0);
    assert_eq!(service.ledger().uploads(), 3);
}

/// An upload of a process group of its own, which nobody else ends when the test fails.
struct NotLeft(u64);

impl Drop for NotLeft {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let pid = self.0.to_string();
            let _ = Command::new("kill").args(["-KILL", &pid]).output();
        }
    }
}

#[test]
fn an_upload_outlives_its_session_and_the_next_one_sees_it() {
    let place = Place::new();
    place.files(60);
    let service = Service::start(
        &place,
        &["--latency-ms", "50", "--operation-delay-ms", "500"],
    );
    let mut session = Session::start(&place, &service.url, &[]);
    let started = session.done("upload_start", &json!({"path": path(&place, "docs")}));
    assert_eq!(started["state"], "running");
    let pid = started["pid"].as_u64().unwrap();
    let _upload = NotLeft(pid);
    if let Ok(typed) = fs::read(format!("/proc/{pid}/cmdline")) {
        let typed = String::from_utf8_lossy(&typed);
        assert!(typed.contains("upload") && !typed.contains(KEY), "{typed}");
    }
    // A second one, and a comparison, are refused by the lock, and name who holds it.
    let mut other = Session::start(&place, &service.url, &[]);
    for (tool, arguments) in [
        ("upload_start", json!({"path": path(&place, "docs")})),
        ("verify", json!({})),
    ] {
        let (text, exit) = other.refused(tool, &arguments);
        assert_eq!(exit, 5, "{text}");
        assert!(text.contains(&format!("pid {pid} on ")), "{text}");
    }
    // As clients do that lose patience: with all that it has started, as far as it is in its group.
    let group = format!("-{}", session.child.id());
    let sent = Command::new("kill")
        .args(["-s", "KILL", "--", &group])
        .status();
    assert!(sent.unwrap().success());
    session.child.wait().unwrap();
    loop {
        // It was not this session's own, so the database tells of it.
        let now = other.done("upload_status", &json!({}));
        if now["state"] == "ended" {
            assert_eq!(now["status"]["last_run"]["outcome"], "done");
            assert_eq!(now["status"]["indexed"], 60);
            break;
        }
        assert!(
            ["running", "busy"].contains(&now["state"].as_str().unwrap()),
            "{now}"
        );
    }
    service.ledger().is_exactly(&place.docs());
    other.end().exit(0);
}

#[test]
fn what_keeps_an_upload_from_beginning_is_told_at_once() {
    let (place, service) = two();
    place.file_in(".ssh/more", "notes.md", "Nobody else's business.\n");
    let mut session = Session::start(&place, &service.url, &[]);
    for (arguments, words) in [
        (json!({"path": "docs"}), "it is not absolute"),
        (
            json!({"path": path(&place, ".ssh/more")}),
            "an agent may not send a hidden folder",
        ),
        (json!({"path": path(&place, "nowhere")}), "cannot be used"),
        (
            json!({"path": path(&place, "docs/lunch.md")}),
            "it is no folder",
        ),
        // The home folder, and what is above it.
        (
            json!({"path": path(&place, "")}),
            "an agent may not send a home folder",
        ),
        (json!({"path": "/"}), "an agent may not send a home folder"),
        (json!({"path": "/etc"}), "an agent may not send a folder of"),
        (
            json!({"path": "/proc/self"}),
            "the user can run `objlib upload DIR",
        ),
        (
            json!({"path": path(&place, "docs"), "library": "a\nb"}),
            "a name with control characters",
        ),
        (
            json!({"folder": path(&place, "docs")}),
            "`upload_start` takes none of this name",
        ),
    ] {
        let (text, exit) = session.refused("upload_start", &arguments);
        assert_eq!(exit, 2, "{text}");
        assert!(text.contains(words), "{text}");
    }
    place.file_in("empty/.hidden", "a", "");
    let (text, exit) = session.refused("upload_start", &json!({"path": path(&place, "empty")}));
    assert_eq!(exit, 1, "{text}");
    assert!(text.contains("empty"), "{text}");
    session.end().exit(0);
    assert_eq!(service.ledger().uploads(), 0);

    drop(service);
    let refusing = Service::start(&place, &["--refuse-key", KEY]);
    let mut session = Session::start(&place, &refusing.url, &[]);
    let (text, exit) = session.refused("upload_start", &json!({"path": path(&place, "docs")}));
    assert_eq!(exit, 6, "{text}");
    session.end().exit(0);
}

#[test]
fn without_a_key_an_agent_is_told_which_to_set_and_may_look_at_what_is_here() {
    let (place, service) = two();
    let mut command = place.objlib(&["upload", "docs", "--endpoint", &service.url]);
    command.env("GEMINI_API_KEY", KEY).seen().exit(0);
    let mut session = Session::of(place.objlib(&["mcp", "--endpoint", &service.url]));
    for (tool, arguments) in [
        ("search", json!({"query": "a"})),
        ("list_documents", json!({})),
        ("verify", json!({})),
        ("upload_start", json!({"path": path(&place, "docs")})),
    ] {
        let (text, exit) = session.refused(tool, &arguments);
        assert_eq!(exit, 6, "{text}");
        assert!(text.contains("GEMINI_API_KEY"), "{text}");
    }
    assert_eq!(session.done("status", &json!({}))["indexed"], 2);
    session.end().exit(0);
}

#[test]
fn wrong_arguments_are_named_with_what_is_taken() {
    let (place, service) = two();
    let mut session = Session::start(&place, &service.url, &[]);
    for (tool, arguments, words) in [
        ("search", json!({}), "argument `query`: it is needed"),
        (
            "search",
            json!({"query": "a", "store": "b"}),
            "did you mean `store_name`?",
        ),
        (
            "search",
            json!({"query": "a", "top_k": 0}),
            "a whole number from 1 to 1000",
        ),
        (
            "search",
            json!({"query": "a", "model": "a b"}),
            "argument `model`",
        ),
        (
            "search",
            json!({"query": "a", "store_name": ["a", "b", "c", "d", "e", "f"]}),
            "looks into 5 stores",
        ),
        (
            "upload_start",
            json!({"path": ""}),
            "argument `path`: it is empty: the absolute path of the folder",
        ),
        (
            "status",
            json!({"store_name": " "}),
            "argument `store_name`: it is empty",
        ),
        (
            "list_documents",
            json!({"page_size": 21}),
            "a whole number from 1 to 20",
        ),
        (
            "list_libraries",
            json!({"store_name": "a"}),
            "it takes nothing",
        ),
        ("verify", json!({"repair": true}), "It takes `store_name`"),
        (
            "status",
            json!({"store_name": 3}),
            "a text is expected, not 3",
        ),
    ] {
        let (text, exit) = session.refused(tool, &arguments);
        assert_eq!(exit, 2, "{text}");
        let words = words.to_lowercase();
        assert!(text.to_lowercase().contains(&words), "{text}");
    }
    session.end().exit(0);
}

#[test]
fn a_cancelled_search_ends_at_once_without_an_answer_and_so_does_the_server() {
    let place = Place::new();
    let (asked, has_asked) = std::sync::mpsc::channel();
    let asked = std::sync::Mutex::new(asked);
    let service = Scripted::start(move |_, stream| {
        asked
            .lock()
            .unwrap()
            .send(stream.try_clone().unwrap())
            .unwrap();
        // Until the other side hangs up.
        let _ = std::io::Read::read(stream, &mut [0]);
    });
    let mut session = Session::start(&place, &service.url, &["--store", "fileSearchStores/a-1"]);
    let question = json!({"name": "search", "arguments": {"query": "a"}});
    let id = session.request("tools/call", &question);
    let mut connection = has_asked.recv().unwrap();
    assert_eq!(session.ask("ping", &json!({}))["result"], json!({}));
    session.say(
        &json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
                        "params": {"requestId": id, "reason": "changed my mind"}}),
    );
    // The server hangs up, and says nothing.
    assert_eq!(
        std::io::Read::read(&mut connection, &mut [0]).unwrap_or(0),
        0
    );
    assert_eq!(session.ask("ping", &json!({}))["result"], json!({}));

    // A signal ends it in the middle of another.
    session.request("tools/call", &question);
    has_asked.recv().unwrap();
    let pid = session.child.id().to_string();
    let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
    assert!(sent.unwrap().success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut session.hears, &mut rest).unwrap();
    assert_eq!(rest, "");
    assert_eq!(session.child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_cancelled_comparison_lets_go_of_the_lock() {
    let (place, service) = two();
    let mut session = Session::start(&place, &service.url, &[]);
    session.upload(&json!({"path": path(&place, "docs")}));
    service.set_faults(json!({"latency_ms": 3_600_000}));
    let id = session.request("tools/call", &json!({"name": "verify"}));
    session.say(
        &json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
                        "params": {"requestId": id}}),
    );
    service.set_faults(json!({"latency_ms": 0}));
    loop {
        let result = session.call("verify", &json!({}));
        match result["structuredContent"]["exit"].as_u64() {
            Some(0) => break,
            // The first is just letting go.
            exit => assert_eq!(exit, Some(5), "{result}"),
        }
    }
    session.end().exit(0);
}

#[test]
fn an_agent_learns_why_files_failed_in_a_later_session_too() {
    let (place, service) = two();
    service.set_faults(json!({"operation_fail": 1.0}));
    let mut session = Session::start(&place, &service.url, &[]);
    let ended = session.upload(&json!({"path": path(&place, "docs")}));
    assert!(service.fired("operation_fail") > 0);
    assert_eq!(
        (&ended["exit"], &ended["failed"]),
        (&json!(3), &json!(2)),
        "{ended}"
    );
    assert_eq!(ended["failures"].as_array().unwrap().len(), 2, "{ended}");
    session.end().exit(0);
    let mut session = Session::start(&place, &service.url, &[]);
    let status = session.done("status", &json!({}));
    let causes = status["causes"].as_array().unwrap();
    let files: u64 = causes
        .iter()
        .map(|cause| cause["files"].as_u64().unwrap())
        .sum();
    assert_eq!((files, &status["failed"]), (2, &json!(2)), "{status}");
    assert!(
        causes[0]["one"].as_str().unwrap().starts_with("docs: "),
        "{status}"
    );
    session.end().exit(0);
}

#[test]
fn a_long_comparison_tells_how_far_it_is_to_who_asks() {
    let (place, service) = two();
    let mut session = Session::start(&place, &service.url, &[]);
    session.upload(&json!({"path": path(&place, "docs")}));
    service.set_faults(json!({"latency_ms": 1500}));
    let asking = json!({"name": "verify", "_meta": {"progressToken": "a"}});
    let id = session.request("tools/call", &asking);
    let mut told = Vec::new();
    let answer = loop {
        let message = session.hear();
        match message["method"].as_str() {
            Some("notifications/progress") => told.push(message["params"].clone()),
            _ => break message,
        }
    };
    assert_eq!(
        (&answer["id"], &answer["result"]["isError"]),
        (&json!(id), &json!(false))
    );
    assert!(!told.is_empty());
    for (told, n) in told.iter().zip(1..) {
        assert_eq!(
            (&told["progressToken"], &told["progress"]),
            (&json!("a"), &json!(n))
        );
        assert!(
            told["message"]
                .as_str()
                .is_some_and(|words| !words.is_empty()),
            "{told}"
        );
    }
    session.end().exit(0);
}

#[test]
fn before_anything_was_sent_nothing_is_known_and_commands_mean_what_the_server_means() {
    let (place, service) = two();
    let mut session = Session::of(place.objlib(&["mcp", "--endpoint", &service.url]));
    assert_eq!(session.done("upload_status", &json!({}))["state"], "none");
    let status = session.call("status", &json!({}));
    assert_eq!(status["structuredContent"]["libraries"], json!([]));
    let text = status["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("nothing is known yet"), "{text}");
    let port = service.url.rsplit(':').next().unwrap();
    let at = format!("--endpoint http://localhost:{port}");
    assert!(text.contains(&at), "{text}");
    let listed = session.call("list_libraries", &json!({}));
    let text = listed["content"][0]["text"].as_str().unwrap();
    assert!(text.contains(&at), "{text}");
    let arguments = json!({"path": "/etc", "store_name": "law"});
    let (text, _) = session.refused("upload_start", &arguments);
    let command = text.split('`').find(|part| part.starts_with("objlib "));
    let command = command.unwrap();
    assert!(command.contains("--store law"), "{text}");
    assert!(command.contains(&at), "{text}");
    session.end().exit(0);
}

#[test]
fn the_embedded_service_serves_tools_and_uploads_alike() {
    let (place, _) = two();
    let mut session = Session::of(place.objlib(&["mcp", "--emulator"]));
    let ended = session.upload(&json!({"path": path(&place, "docs")}));
    assert_eq!(ended["indexed"], 2, "{ended}");
    let asked: Vec<u64> = (0..3)
        .map(|_| {
            let question = json!({"name": "search", "arguments": {"query": "lunch"}});
            session.request("tools/call", &question)
        })
        .collect();
    let mut answered = Vec::new();
    for _ in &asked {
        let answer = session.hear();
        assert_eq!(answer["result"]["structuredContent"]["exit"], 0, "{answer}");
        answered.push(answer["id"].as_u64().unwrap());
    }
    answered.sort_unstable();
    assert_eq!(answered, asked);
    session.end().exit(0);
}

#[test]
fn what_no_agent_could_mend_is_told_to_whoever_starts_it() {
    let place = Place::new();
    for (args, words) in [
        (
            &["--api-key-file", "-"][..],
            "stdin is where the agent speaks",
        ),
        (&["--endpoint", "nonsense"], "nonsense"),
        (
            &[
                "--store", "a", "--store", "b", "--store", "c", "--store", "d", "--store", "e",
                "--store", "f",
            ],
            "looks into 5 stores",
        ),
    ] {
        let seen = place.objlib(&["mcp"]).args(args).seen().exit(2);
        assert!(seen.stderr.contains(words), "{}", seen.stderr);
        assert_eq!(seen.stdout, "");
    }
}

/// Each configuration in docs/mcp.md starts a server.
#[test]
fn the_configurations_in_the_documentation_work() {
    let page = include_str!("../../docs/mcp.md");
    let (place, service) = two();
    fs::write(place.path().join("key"), KEY).unwrap();
    let blocks = page.split("```json\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    let mut args: Vec<Vec<String>> = Vec::new();
    for block in blocks {
        let block: Value = serde_json::from_str(block).unwrap();
        let servers = block.as_object().unwrap().values().next().unwrap();
        assert_eq!(servers["objlib"]["command"], "objlib");
        let all = servers["objlib"]["args"].as_array().unwrap();
        args.push(
            all.iter()
                .map(|arg| arg.as_str().unwrap().to_owned())
                .collect(),
        );
    }
    for line in page.lines().filter(|line| line.contains("$ ")) {
        let command = line.split('#').next().unwrap();
        let typed = command.split_whitespace().skip_while(|word| *word != "mcp");
        // Behind the agent's own `mcp add`.
        let typed: Vec<String> = typed
            .skip(1)
            .skip_while(|word| *word != "mcp")
            .map(str::to_owned)
            .collect();
        args.push(typed);
    }
    assert_eq!(args.len(), 4, "{args:?}");
    for args in args {
        assert_eq!(args[..2], ["mcp", "--api-key-file"], "{args:?}");
        let mut command =
            place.objlib(&["mcp", "--api-key-file", "key", "--endpoint", &service.url]);
        command.env_remove("GEMINI_API_KEY");
        let mut session = Session::of(command);
        let (text, _) = session.refused("search", &json!({"query": "a"}));
        assert!(text.contains("there is no store of this name"), "{text}");
        session.end();
    }
    // And every tool and argument is in its table.
    let mut session = Session::start(&place, &service.url, &[]);
    let listed = session.ask("tools/list", &json!({}));
    for tool in listed["result"]["tools"].as_array().unwrap() {
        let name = tool["name"].as_str().unwrap();
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("no row of {name}"));
        for argument in tool["inputSchema"]["properties"]
            .as_object()
            .unwrap()
            .keys()
        {
            assert!(row.contains(&format!("`{argument}`")), "{name}: {argument}");
        }
    }
    session.end().exit(0);
}
