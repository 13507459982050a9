//! What is given to files, by the documented example and by whatever comes.

use proptest::prelude::*;

use super::*;
use crate::identity::VALUE_BYTES_MAX;

const EXAMPLE: &str = include_str!("../../docs/rules.example.json");
const PAGE: &str = include_str!("../../docs/metadata.md");
const ROOM: usize = 17;

fn describing(rules: &str, set: &[&str]) -> Describing {
    let set = set.iter().map(|text| set_entry(text).unwrap()).collect();
    Describing::new(Some(Rules::parse(rules).unwrap()), set).unwrap()
}

/// As the documentation writes it: `course` 3, `tags` ["a","b"].
fn shown(entries: &[MetadataEntry]) -> String {
    let value = |value: &Value| match value {
        Value::StringValue(text) => format!("{text:?}"),
        Value::NumericValue(number) => number.to_string(),
        Value::StringListValue { values } => serde_json::to_string(values).unwrap(),
    };
    let entries = entries
        .iter()
        .map(|e| format!("`{}` {}", e.key, value(&e.value)));
    entries.collect::<Vec<_>>().join(", ")
}

#[test]
fn the_documented_example_gives_what_the_documentation_says() {
    let describing = describing(EXAMPLE, &[]);
    let table = PAGE.split("| path | rule | entries |\n").nth(1).unwrap();
    let rows: Vec<&str> = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let header = ["| path | rule | entries |", "| --- | --- | --- |"].map(str::to_owned);
    let is = rows.iter().map(|row| {
        let path = row.split('`').nth(1).unwrap();
        let described = describing.of(path, None, ROOM).unwrap();
        let explained = describing.explain(path, None).unwrap();
        let rule = match explained.first().map(|e| e.source) {
            Some(Source::Rule { number, .. }) => number.to_string(),
            _ => "none".to_owned(),
        };
        assert_eq!(described.is_matched, rule != "none", "{path}");
        let entries = shown(&described.entries);
        format!("| `{path}` | {rule} | {entries} |").replace("|  |", "| |")
    });
    let is = header.into_iter().chain(is).collect::<Vec<_>>().join("\n");
    println!("{is}");
    assert!(rows.len() > 5 && PAGE.contains(&is), "it gives:\n{is}");
}

#[test]
fn the_nearer_to_the_file_wins_and_says_over_what() {
    let rules = r#"{"rules": [
        {"only": ["a*"], "constants": {"x": "first", "y": "first"}},
        {"constants": {"x": "second", "z": "second"}}
    ]}"#;
    let describing = describing(rules, &["x=set", "y=set", "w=set"]);
    let sidecar = br#"{"x": ["sidecar"]}"#;
    let lines = |path, sidecar| -> Vec<String> {
        let explained = describing.explain(path, sidecar).unwrap();
        let line = |e: &Explained| {
            let over: Vec<String> = e.over.iter().map(Source::to_string).collect();
            let entry = shown(std::slice::from_ref(&e.entry));
            format!("{entry} from {} over {}", e.source, over.join(", "))
        };
        explained.iter().map(line).collect()
    };
    assert_eq!(
        lines("a.md", Some(sidecar)),
        [
            "`w` \"set\" from --set over ",
            "`x` [\"sidecar\"] from sidecar over rule 1 (line 2), rule 2 (line 3), --set",
            "`y` \"first\" from rule 1 (line 2) over --set",
            "`z` \"second\" from rule 2 (line 3) over ",
        ]
    );
    let x = "`x` \"second\" from rule 2 (line 3) over --set";
    assert_eq!(lines("b.md", None)[1], x);
}

#[test]
fn no_rules_give_what_set_gives() {
    let set = vec![set_entry("b=1").unwrap(), set_entry("a=1").unwrap()];
    let describing = Describing::new(None, set).unwrap();
    let described = describing.of("x.md", None, ROOM).unwrap();
    assert_eq!(shown(&described.entries), "`a` 1, `b` 1");
    assert!(!described.is_matched && !describing.is_empty());
    assert!(Describing::default().is_empty());
    let twice = vec![set_entry("a=1").unwrap(), set_entry("a=2").unwrap()];
    assert_eq!(
        Describing::new(None, twice).unwrap_err(),
        "a is given twice"
    );
}

#[test]
fn a_path_is_met_in_any_normal_form() {
    let rules = r#"{"rules": [{"only": ["caf\u00e9/*"], "path": "cafe\u0301/(?<t>.*)",
        "entries": {"t": {"group": "t"}}}]}"#;
    let describing = describing(rules, &[]);
    for path in ["caf\u{e9}/e\u{301}", "cafe\u{301}/\u{e9}"] {
        let described = describing.of(path, None, ROOM).unwrap();
        assert_eq!(shown(&described.entries), "`t` \"\u{e9}\"", "{path:?}");
    }
}

#[test]
fn the_whole_path_is_matched() {
    let rules = r#"{"rules": [{"path": "a|b/c", "constants": {"k": 1}}]}"#;
    let describing = describing(rules, &[]);
    for (path, is_matched) in [
        ("a", true),
        ("b/c", true),
        ("a/c", false),
        ("xa", false),
        ("a\n", false),
    ] {
        assert_eq!(
            describing.of(path, None, ROOM).unwrap().is_matched,
            is_matched,
            "{path:?}"
        );
    }
}

#[test]
fn what_a_group_matched_is_trimmed_and_nothing_gives_nothing() {
    let rules = r#"{"rules": [{"path": "(?<t>[^;]*)(;(?<l>[^;]*))?(;(?<n>[^;]*))?", "entries": {
        "t": {"group": "t"}, "n": {"group": "n", "as": "number"},
        "l": {"group": "l", "as": "list", "separator": "+"}}}]}"#;
    let describing = describing(rules, &[]);
    for (path, entries) in [
        (
            " a b ;x+ y,z ++;-007.50",
            "`l` [\"x\",\"y,z\"], `n` -7.5, `t` \"a b\"",
        ),
        ("a", "`t` \"a\""),
        (" ; + ; ", ""),
    ] {
        let described = describing.of(path, None, ROOM).unwrap();
        assert_eq!(shown(&described.entries), entries, "{path}");
        assert!(described.is_matched);
    }
    for no_number in ["seven", "1e3", "inf", "nan", "1.2.3", "-", "\u{663}"] {
        let problem = describing
            .of(&format!("a;;{no_number}"), None, ROOM)
            .unwrap_err();
        let expected = format!("n (rule 1 (line 1)): {no_number:?} is not a number");
        assert_eq!(problem.to_string(), expected);
        // A nearer source mends it.
        let sidecar = br#"{"n": 7}"#.as_slice();
        assert!(
            describing
                .of(&format!("a;;{no_number}"), Some(sidecar), ROOM)
                .is_ok()
        );
    }
}

#[test]
fn a_sidecar_that_is_no_flat_object_is_unusable() {
    let of = |sidecar: &[u8]| Describing::default().of("a.md", Some(sidecar), ROOM);
    let flat = "expected a text, a number or a list of texts";
    for (sidecar, why) in [
        ("", "line 1: EOF while parsing a value".to_owned()),
        ("{\n\"a\": 1,}", "line 2: trailing comma".to_owned()),
        ("[1]", "line 1: invalid type: sequence, expected an object of entries".to_owned()),
        ("{\"a\":\n{}}", format!("line 2: invalid type: map, {flat}")),
        ("{\"a\": null}", format!("line 1: invalid type: null, {flat}")),
        ("{\"a\": true}", format!("line 1: invalid type: boolean `true`, {flat}")),
        ("{\"a\": [[]]}", "line 1: invalid type: sequence, expected a string".to_owned()),
        ("{\"a\": 1,\n\"a\": 1}", "line 2: a is given twice".to_owned()),
        ("{\"a\": 1e999}", "line 1: number out of range".to_owned()),
        ("{\"a\": \"\\ud800\"}", "line 1: unexpected end of hex escape".to_owned()),
        ("{\"objlib_sha256\": 1}", "line 1: the key objlib_sha256 is reserved: keys that begin with objlib_ are objlib's own".to_owned()),
    ] {
        assert_eq!(of(sidecar.as_bytes()), Err(Problem::Sidecar { why }), "{sidecar}");
    }
    let why = "line 2: not UTF-8".to_owned();
    assert_eq!(of(b"{\n\"a\": \"\xff\"}"), Err(Problem::Sidecar { why }));
    let large = format!("{{\"a\": 1{}}}", " ".repeat(SIDECAR_BYTES_MAX - 7));
    let shown = of(large.as_bytes()).unwrap_err().to_string();
    assert_eq!(shown, "its .meta.json: 65537 bytes, 65536 is the limit");
    assert!(of(large.replacen(' ', "", 1).as_bytes()).is_ok());
    assert_eq!(of(b"\xef\xbb\xbf{\"a\": 1}").unwrap().entries.len(), 1);
    assert_eq!(of(b" {} ").unwrap().entries, []);
}

#[test]
fn what_is_said_of_a_file_is_short_whatever_is_in_its_sidecar() {
    let long = "é".repeat(20_000);
    for sidecar in [
        format!("\"{long}\""),
        format!("{{\"{long}\": 1}}"),
        format!("{{\"{}\": 1}}", "k".repeat(60_000)),
        format!("{{\"a\": \"{long}\"}}"),
    ] {
        let problem = Describing::default().of("a.md", Some(sidecar.as_bytes()), ROOM);
        let said = problem.unwrap_err().to_string();
        assert!(said.chars().count() < 300, "{said}");
    }
}

#[test]
fn what_is_over_a_limit_is_named_with_key_size_and_limit() {
    let rules = r#"{"rules": [{"path": "(?<t>.*)", "entries": {"t": {"group": "t"}}}]}"#;
    let describing = describing(rules, &[]);
    let of = |sidecar: &str| {
        let problem = describing
            .of("x", Some(sidecar.as_bytes()), ROOM)
            .unwrap_err();
        assert!(!matches!(problem, Problem::Sidecar { .. }), "{sidecar}");
        problem.to_string()
    };
    let long = describing.of(&"x".repeat(257), None, ROOM).unwrap_err();
    assert_eq!(
        long.to_string(),
        "t (rule 1 (line 1)): a text of 257 bytes, 256 is the limit"
    );
    let long = of(&format!("{{\"a\": \"{}\"}}", "x".repeat(257)));
    assert_eq!(long, "a (sidecar): a text of 257 bytes, 256 is the limit");
    assert_eq!(of("{\"a\": []}"), "a (sidecar): an empty list");
    let many = (0..ROOM)
        .map(|i| format!("\"k{i}\": 1"))
        .collect::<Vec<_>>();
    let many = format!("{{{}}}", many.join(","));
    assert_eq!(of(&many), "18 entries, a document has room for 17");
    assert!(describing.of("x", Some(many.as_bytes()), ROOM + 1).is_ok());
}

#[test]
fn a_document_does_not_grow_without_end() {
    let of = |last: usize| {
        let texts = |items| vec!["x".repeat(128); items];
        let sidecar = serde_json::json!({"a": texts(60), "b": texts(3), "c": "x".repeat(last)});
        Describing::default().of("x", Some(sidecar.to_string().as_bytes()), ROOM)
    };
    assert_eq!(of(125).unwrap().entries.len(), 3);
    let problem = of(126).unwrap_err().to_string();
    assert_eq!(problem, "8193 bytes of keys and values, 8192 is the limit");
}

/// An expression over which one that goes back and tries again would never come to an end.
#[test]
fn no_expression_hangs() {
    let rules = r#"{"rules": [{"path": "(?<a>((a*)*)*)b", "entries": {"a": {"group": "a"}}},
        {"only": ["x"], "path": "(a?){30}(a){30}(.*){30}c", "constants": {"a": 1}}]}"#;
    let describing = describing(rules, &[]);
    assert!(
        !describing
            .of(&"a".repeat(4000), None, ROOM)
            .unwrap()
            .is_matched
    );
}

fn fits(entry: &MetadataEntry) -> bool {
    let text_fits = |text: &String| (1..=VALUE_BYTES_MAX).contains(&text.len());
    !entry.key.is_empty()
        && entry.key.len() <= KEY_BYTES_MAX
        && match &entry.value {
            Value::StringValue(text) => text_fits(text),
            Value::NumericValue(number) => number.abs() <= NUMBER_MAX,
            Value::StringListValue { values } => {
                (1..=LIST_ITEMS_MAX).contains(&values.len()) && values.iter().all(text_fits)
            }
        }
}

/// JSON that is nearly what is wanted.
fn json() -> impl Strategy<Value = String> {
    let word = "[a-z_(?<>)*.\\\\é]{0,6}|rules|path|only|entries|constants|group|as|list|[a-c]";
    let leaf = prop_oneof![
        word.prop_map(|text| serde_json::to_string(&text).unwrap()),
        any::<f32>().prop_map(|number| number.to_string()),
        "x{0,300}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just("null".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let member = (word, inner.clone())
            .prop_map(|(key, value)| format!("{}:{value}", serde_json::to_string(&key).unwrap()));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..5)
                .prop_map(|items| format!("{{{}}}", items.join(",\n"))),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_breaks_the_parsers(text in "\\PC{0,80}", json in json()) {
        for text in [&text, &json] {
            if let Err(error) = Rules::parse(text) {
                prop_assert!((1..=text.lines().count().max(1)).contains(&error.line), "{error}");
            }
            let rules = format!("{{\"rules\": [{text}]}}");
            let _ = Rules::parse(&rules);
            if let Ok(entry) = set_entry(text) {
                prop_assert!(fits(&entry));
            }
            if let Ok(entry) = set_entry(&format!("k={text}")) {
                prop_assert!(fits(&entry));
            }
        }
    }

    #[test]
    fn what_is_given_fits(
        path in "\\PC{0,300}|[a-z]{0,9};([a-z é,]|,){0,300};[0-9.-]{0,12}",
        sidecar in prop_oneof![Just(None), json().prop_map(Some), "[{}a\":,0-9]{0,20}".prop_map(Some)],
        room in 0..20usize,
    ) {
        let rules = r#"{"rules": [
            {"path": "(?<t>[^;]*);?(?<l>[^;]*);?(?<n>.*)", "entries": {"t": {"group": "t"},
             "n": {"group": "n", "as": "number"}, "l": {"group": "l", "as": "list"}}},
            {"only": ["*a*"], "constants": {"t": "x", "c": ["y"]}}]}"#;
        let describing = describing(rules, &["s=1", "t=2"]);
        let sidecar = sidecar.as_ref().map(|text| text.as_bytes());
        match describing.of(&path, sidecar, room) {
            Ok(Described { entries, .. }) => {
                prop_assert!(entries.iter().map(entry::bytes).sum::<usize>() <= DOCUMENT_BYTES_MAX);
                prop_assert!(entries.len() <= room && entries.iter().all(fits), "{entries:?}");
                prop_assert!(entries.is_sorted_by(|a, b| a.key < b.key), "{entries:?}");
                let explained = describing.explain(&path, sidecar).unwrap();
                prop_assert_eq!(entries, explained.into_iter().map(|e| e.entry).collect::<Vec<_>>());
            }
            Err(problem) => prop_assert!(!problem.to_string().is_empty()),
        }
    }
}
