use std::io::Cursor;
use std::sync::mpsc;

use proptest::prelude::*;

use super::*;

/// Tools that wait for nothing but to be stopped.
struct Fakes {
    definitions: Value,
    /// Tells that `wait` has begun.
    began: Mutex<Option<mpsc::Sender<()>>>,
}

impl Fakes {
    fn new() -> Fakes {
        let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}});
        let tool = |name: &str| json!({"name": name, "inputSchema": schema});
        Fakes {
            definitions: json!([tool("echo"), tool("wait"), tool("panic")]),
            began: Mutex::default(),
        }
    }
}

impl Tools for Fakes {
    fn instructions(&self) -> &str {
        "Be careful."
    }

    fn definitions(&self) -> &Value {
        &self.definitions
    }

    fn call(&self, call: &mut Call<'_>) -> Result<ToolResult, Failed> {
        match call.tool {
            "panic" => panic!("on purpose"),
            "wait" => {
                if let Some(began) = poison::lock(&self.began).take() {
                    began.send(()).unwrap();
                }
                assert!(
                    !call.shutdown.sleep(Duration::from_secs(600)),
                    "nobody stopped it"
                );
            }
            _ => (call.say)("half way"),
        }
        let text = call.arguments.text("text").unwrap_or_default().to_owned();
        let structured = json!({"text": text});
        Ok(ToolResult { text, structured })
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        poison::lock(&self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn messages(&self) -> Vec<Value> {
        let written = poison::lock(&self.0).clone();
        let lines = written.split_inclusive(|byte| *byte == b'\n');
        lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

/// All that is answered to these lines.
fn answered(lines: impl Into<Vec<u8>>) -> Vec<Value> {
    let written = Written::default();
    let input = Cursor::new(lines.into());
    let shutdown = Shutdown::new(Duration::ZERO);
    serve(
        Box::new(Fakes::new()),
        input,
        Box::new(written.clone()),
        &shutdown,
    )
    .unwrap();
    written.messages()
}

fn request(id: impl Into<Value>, method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params}).to_string()
        + "\n"
}

fn call(id: impl Into<Value>, tool: &str, arguments: Value) -> String {
    request(
        id,
        "tools/call",
        json!({"name": tool, "arguments": arguments}),
    )
}

#[test]
fn the_clients_version_is_taken_if_it_is_known_and_else_the_newest_is_offered() {
    for (asked, answer) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
    ] {
        let line = request(
            0,
            "initialize",
            json!({"protocolVersion": asked, "capabilities": {}}),
        );
        let result = &answered(line)[0]["result"];
        assert_eq!(result["protocolVersion"], answer);
        assert_eq!(result["serverInfo"]["name"], "objlib");
        assert_eq!(result["instructions"], "Be careful.");
        assert!(result["capabilities"]["tools"].is_object());
    }
    let wrong = &answered(request(0, "initialize", json!({})))[0];
    assert_eq!(wrong["error"]["code"], INVALID_PARAMS);
}

#[test]
fn a_request_without_a_handshake_says_its_version_itself() {
    let meta =
        |version: &str| json!({"_meta": {"io.modelcontextprotocol/protocolVersion": version}});
    let answers = answered(
        request(1, "server/discover", meta("2026-07-28"))
            + &request(2, "tools/list", meta("2026-07-28"))
            + &request(3, "tools/list", meta("2027-01-01"))
            + &request(4, "tools/list", json!({})),
    );
    assert_eq!(
        answers[0]["result"]["supportedVersions"],
        json!(["2026-07-28"])
    );
    assert_eq!(answers[1]["result"]["resultType"], "complete");
    assert_eq!(answers[2]["error"]["code"], -32022);
    assert_eq!(answers[2]["error"]["data"]["requested"], "2027-01-01");
    assert!(answers[3]["result"]["resultType"].is_null());
    assert_eq!(answers[3]["result"]["tools"].as_array().unwrap().len(), 3);
}

#[test]
fn a_tool_answers_with_text_and_structure_and_tells_of_its_progress_to_who_asks() {
    let mut asking = json!({"name": "echo", "arguments": {"text": "hello"}});
    let quiet = answered(request("a", "tools/call", asking.clone()));
    let result = json!({"content": [{"type": "text", "text": "hello"}],
                        "structuredContent": {"text": "hello"}, "isError": false});
    assert_eq!(
        quiet,
        [json!({"jsonrpc": "2.0", "id": "a", "result": result})]
    );
    asking["_meta"] = json!({"progressToken": 7});
    let told = answered(request("a", "tools/call", asking));
    assert_eq!(told[0]["method"], "notifications/progress");
    assert_eq!(
        told[0]["params"],
        json!({"progressToken": 7, "progress": 1, "message": "half way"})
    );
    assert_eq!(told[1]["result"], result);
}

#[test]
fn what_is_wrong_with_a_call_is_told_where_the_model_sees_it() {
    let error = |line: String| {
        let result = answered(line)[0]["result"].clone();
        assert_eq!(result["isError"], true);
        assert_eq!(
            result["content"][0]["text"],
            result["structuredContent"]["error"]
        );
        result["content"][0]["text"].as_str().unwrap().to_owned()
    };
    assert!(error(call(1, "echo", json!({"txet": "a"}))).contains("did you mean `text`?"));
    let bug = error(call(1, "panic", json!({})));
    assert!(bug.starts_with("tool: internal error at ") && !bug.contains("on purpose"));
    let protocol = |line: String| answered(line)[0]["error"].clone();
    let none = protocol(call(1, "ecco", json!({})));
    assert_eq!(none["code"], INVALID_PARAMS);
    assert_eq!(
        none["message"],
        "there is no tool `ecco`: did you mean `echo`? There are `echo`, `wait`, `panic`"
    );
    assert_eq!(protocol(call(1, "echo", json!([])))["code"], INVALID_PARAMS);
    let nameless = request(1, "tools/call", json!({}));
    assert_eq!(protocol(nameless)["code"], INVALID_PARAMS);
    let unknown = request(1, "resources/list", json!({}));
    assert_eq!(protocol(unknown)["code"], METHOD_NOT_FOUND);
}

#[test]
fn a_line_that_is_too_long_is_let_pass_and_the_next_is_read() {
    let long = "x".repeat(3 << 20) + "\n";
    let answers = answered(long + "\n  \r\n" + &request(1, "ping", json!({})));
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["error"]["code"], PARSE_ERROR);
    assert_eq!(answers[1], json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    // The last line needs no end.
    assert_eq!(
        answered(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).len(),
        1
    );
    assert_eq!(answered("x".repeat(3 << 20)).len(), 1);
}

/// Input that a test writes as it goes on.
struct Typed(mpsc::Receiver<String>, Cursor<Vec<u8>>);

impl Read for Typed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.position() == self.1.get_ref().len() as u64 {
            self.1 = Cursor::new(self.0.recv().unwrap_or_default().into_bytes());
        }
        self.1.read(buffer)
    }
}

#[test]
fn a_cancelled_call_stops_is_not_answered_and_its_id_is_free_again() {
    let (typing, typed) = mpsc::channel();
    let (began, has_begun) = mpsc::channel();
    let fakes = Fakes::new();
    *poison::lock(&fakes.began) = Some(began);
    let written = Written::default();
    let output = Box::new(written.clone());
    let serving = thread::spawn(move || {
        let input = io::BufReader::new(Typed(typed, Cursor::default()));
        let shutdown = Shutdown::new(Duration::ZERO);
        serve(Box::new(fakes), input, output, &shutdown).unwrap();
    });
    typing.send(call(1, "wait", json!({}))).unwrap();
    has_begun.recv().unwrap();
    // While it waits, others are answered, and its id is taken.
    typing.send(request(2, "ping", json!({}))).unwrap();
    typing.send(call(1, "echo", json!({}))).unwrap();
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    typing.send(format!("{cancel}\n{cancel}\n")).unwrap();
    typing
        .send(call(1, "echo", json!({"text": "again"})))
        .unwrap();
    drop(typing);
    serving.join().unwrap();
    let answers = written.messages();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(
        (&answers[0]["id"], &answers[0]["result"]),
        (&json!(2), &json!({}))
    );
    assert_eq!(answers[1]["error"]["code"], INVALID_REQUEST);
    assert_eq!(answers[2]["result"]["structuredContent"]["text"], "again");
}

#[test]
fn more_calls_than_may_wait_are_refused_and_a_stop_ends_all() {
    let (typing, typed) = mpsc::channel();
    let written = Written::default();
    let output = Box::new(written.clone());
    let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
    let stop = Arc::clone(&shutdown);
    let serving = thread::spawn(move || {
        let input = io::BufReader::new(Typed(typed, Cursor::default()));
        serve(Box::new(Fakes::new()), input, output, &shutdown).unwrap();
    });
    let most = THREADS + WAITING_MAX;
    for id in 0..most + 10 {
        typing.send(call(id, "wait", json!({}))).unwrap();
    }
    typing.send(request("end", "ping", json!({}))).unwrap();
    while !written
        .messages()
        .iter()
        .any(|answer| answer["id"] == "end")
    {
        thread::yield_now();
    }
    stop.stop(Stop::Terminate);
    serving.join().unwrap();
    let answers = written.messages();
    let refused = answers
        .iter()
        .filter(|answer| answer["error"]["code"] == BUSY);
    // A thread may have taken none yet when the queue was full.
    assert!((10..=10 + THREADS).contains(&refused.count()));
    assert!(
        answers
            .iter()
            .all(|answer| answer["id"] == "end" || answer["error"]["code"] == BUSY)
    );
    drop(typing);
}

/// Somebody who has gone.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_server_ends_when_nobody_reads_its_answers() {
    let (typing, typed) = mpsc::channel();
    typing.send(request(1, "ping", json!({}))).unwrap();
    let input = io::BufReader::new(Typed(typed, Cursor::default()));
    let shutdown = Shutdown::new(Duration::ZERO);
    serve(Box::new(Fakes::new()), input, Box::new(Gone), &shutdown).unwrap();
    drop(typing);
}

fn a_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        "[a-z/_]{0,12}".prop_map(Value::from),
        Just(json!("2.0")),
        Just(json!("tools/call")),
        Just(json!("initialize")),
        Just(json!("echo")),
        Just(json!("2026-07-28")),
    ];
    let name = prop_oneof![
        Just("_meta".to_owned()),
        Just("name".to_owned()),
        Just("arguments".to_owned()),
        Just("text".to_owned()),
        Just("protocolVersion".to_owned()),
        Just("progressToken".to_owned()),
        Just("io.modelcontextprotocol/protocolVersion".to_owned()),
        "[a-z]{0,4}",
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(name.clone(), inner, 0..5)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

/// A line that is nearly a message.
fn a_line() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![
        Just(json!("tools/call")),
        Just(json!("tools/list")),
        Just(json!("initialize")),
        Just(json!("server/discover")),
        Just(json!("notifications/cancelled")),
        a_value(),
    ];
    let message =
        (a_value(), method, a_value(), any::<[bool; 4]>()).prop_map(|(id, method, params, has)| {
            let mut message = json!({});
            for (name, value, has) in [
                ("jsonrpc", json!("2.0"), has[0]),
                ("id", id, has[1]),
                ("method", method, has[2]),
                ("params", params, has[3]),
            ] {
                if has {
                    message[name] = value;
                }
            }
            message.to_string().into_bytes()
        });
    let bytes = prop::collection::vec(any::<u8>(), 0..60);
    prop_oneof![message, bytes].prop_map(|mut line| {
        line.retain(|byte| *byte != b'\n');
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A request is answered once, anything else that is no answer itself once at the most.
    #[test]
    fn no_line_makes_it_panic_or_answer_twice(line in a_line()) {
        let answers = answered(line.clone());
        let progress = |answer: &&Value| answer["method"] == "notifications/progress";
        let count = answers.iter().filter(|answer| !progress(answer)).count();
        prop_assert!(count <= 1, "{answers:?}");
        if let Ok(Message::Request { id, .. }) = read(&line) {
            prop_assert_eq!(count, 1);
            prop_assert_eq!(&answers.last().unwrap()["id"], &id);
        }
        for answer in &answers {
            prop_assert_eq!(&answer["jsonrpc"], "2.0");
            let is_bug = answer.to_string().contains("internal error");
            prop_assert!(!is_bug || String::from_utf8_lossy(&line).contains("panic"));
        }
    }
}
