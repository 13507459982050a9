//! What a rules file is refused for, and with which words.

use super::*;

const EXAMPLE: &str = include_str!("../../../docs/rules.example.json");

/// The error of a file, as it is shown.
#[track_caller]
fn refused(text: &str) -> String {
    Rules::parse(text).expect_err("a mistake").to_string()
}

/// The error of a file whose third line is this rule.
#[track_caller]
fn bad_rule(rule: &str) -> String {
    refused(&format!("{{\n\"rules\": [\n{rule}\n]\n}}"))
}

#[test]
fn a_mistake_in_the_json_is_named_with_its_line() {
    let mend = "mend it; docs/metadata.md shows a rules file";
    for (text, error) in [
        ("", "line 1: EOF while parsing a value"),
        ("{\n\"rules\": [\n,", "line 3: expected value"),
        ("{\"rules\": [{}]}\nx", "line 2: trailing characters"),
        ("{\n}", "line 2: missing field `rules`"),
        ("[]", "line 1: the file is not an object"),
        ("\n\n[]", "line 3: the file is not an object"),
        ("\n\n{\n,", "line 4: key must be a string"),
        (
            "{\"rules\": 3}",
            "line 1: invalid type: integer `3`, expected a sequence",
        ),
        (
            "{\n\"rule\": []}",
            "line 2: unknown field `rule`, expected `$schema` or `rules`",
        ),
        (
            "{\"rules\": [],\n\"rules\": []}",
            "line 2: duplicate field `rules`",
        ),
    ] {
        assert_eq!(refused(text), format!("{error}: {mend}"), "{text}");
    }
    for (rule, error) in [
        (
            "{\n\"paths\": 3}",
            "line 4: unknown field `paths`, expected one of `path`, `only`, `except`, `entries`, `constants`",
        ),
        (
            "{\"path\": 3, \"constants\": {\"a\": 1}}",
            "line 3: invalid type: integer `3`, expected a string",
        ),
        (
            "{\"entries\": {\"a\": \"a\"}, \"path\": \"(?<a>.)\"}",
            "line 3: the entry a is not an object",
        ),
        (
            "{\"constants\": {\"a\":\ntrue}}",
            "line 4: invalid type: boolean `true`, expected a text, a number or a list of texts",
        ),
        (
            "{\"constants\": {\"a\": [\"x\",\n3]}}",
            "line 4: invalid type: integer `3`, expected a string",
        ),
        (
            "{\"constants\": {\"a\": 1,\n\"a\": 2}}",
            "line 4: a is given twice",
        ),
        (
            "{\"constants\": {\n\"a b\": 1}}",
            "line 4: \"a b\" cannot be a key: one is of a-z, A-Z, 0-9 and _, a letter first",
        ),
        (
            "{\"constants\": {\"ObjLib_path\": \"x\"}}",
            "line 3: the key ObjLib_path is reserved: keys that begin with objlib_ are objlib's own",
        ),
        (
            "{\"path\": \"(?<a>.)\",\n\"entries\": {\"a\": {\"group\": \"a\", \"as\": \"text\"}}}",
            "line 4: unknown variant `text`, expected one of `string`, `number`, `list`",
        ),
    ] {
        assert_eq!(bad_rule(rule), format!("{error}: {mend}"), "{rule}");
    }
}

#[test]
fn an_expression_has_so_many_groups() {
    let rule = |groups: usize| {
        let path = "(.)".repeat(groups);
        format!("{{\"path\": \"{path}\", \"constants\": {{\"a\": 1}}}}")
    };
    let fits = format!("{{\"rules\": [{}]}}", rule(GROUPS_MAX));
    assert!(Rules::parse(&fits).is_ok());
    let error = "line 3: the expression: 51 groups, 50 is the limit: \
                 make those that no entry uses (?:…)";
    assert_eq!(bad_rule(&rule(GROUPS_MAX + 1)), error);
}

#[test]
fn a_single_backslash_is_told_of() {
    let remedy = "in JSON write a backslash twice: \"\\\\.\" or \"\\\\d\"";
    let error = format!("line 3: invalid escape: {remedy}");
    assert_eq!(
        bad_rule("{\"path\": \"a\\d\", \"constants\": {\"a\": 1}}"),
        error
    );
}

#[test]
fn a_rule_that_cannot_be_meant_is_named_with_its_line() {
    let long = format!("{{\"constants\": {{\"a\": \"{}\"}}}}", "x".repeat(257));
    for (rule, error) in [
        ("", "line 2: there is no rule in it: give it a rule"),
        (
            "{}",
            "line 3: the rule gives nothing: give it entries or constants",
        ),
        (
            "{\n\"path\": \"a(\", \"constants\": {\"a\": 1}}",
            "line 4: the expression: found open group without closing ')': mend it; docs/metadata.md says what there is",
        ),
        (
            "{\"path\": \"a)|(b\", \"constants\": {\"a\": 1}}",
            "line 3: the expression: found closing ')' without matching '(': mend it; docs/metadata.md says what there is",
        ),
        (
            "{\"path\": \"(.?){2000}\", \"constants\": {\"a\": 1}}",
            "line 3: the expression: compiled regex exceeded size limit: mend it; docs/metadata.md says what there is",
        ),
        (
            "{\"path\": \".*\",\n\"entries\": {\"a\": {\"group\": \"b\"}}}",
            "line 4: a is to come from the group b, which path lacks: name it in path: (?<name>…)",
        ),
        (
            "{\"entries\": {\"a\": {\"group\": \"b\"}}}",
            "line 3: a is to come from a group, and the rule has no path: give the rule a path, or make it a constant",
        ),
        (
            "{\n\n\"path\": \"(?<b>.)\", \"constants\": {\"a\": 1}}",
            "line 5: no entry uses the group b: use it, or make it (?:…)",
        ),
        (
            "{\"path\": \"(?<b>.)\", \"entries\": {\"a\": {\"group\": \"b\", \"separator\": \",\"}}}",
            "line 3: a separator that separates nothing in a: give one to a list, not empty",
        ),
        (
            "{\"only\": [\"a\",\n\"{b\"], \"constants\": {\"a\": 1}}",
            "line 4: error parsing glob '{b': unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?): give one like \"*.md\" or \"drafts/**\"",
        ),
        (
            "{\"except\": [\n\" \"], \"constants\": {\"a\": 1}}",
            "line 4: an empty glob: give one like \"*.md\" or \"drafts/**\"",
        ),
        (
            "{\"only\": [], \"constants\": {\"a\": 1}}",
            "line 3: no globs: give one, or leave the field out",
        ),
        (
            "{\"only\": [\"drafts/\"], \"constants\": {\"a\": 1}}",
            "line 3: the glob \"drafts/\" is for folders, and a rule is for files: add ** for what is below them",
        ),
        (
            long.as_str(),
            "line 3: a: a text of 257 bytes, 256 is the limit: give what fits, or nothing",
        ),
        (
            "{\"constants\": {\"a\": []}}",
            "line 3: a: an empty list: give what fits, or nothing",
        ),
    ] {
        assert_eq!(bad_rule(rule), error, "{rule}");
    }
}

#[test]
fn two_rules_for_the_same_files_do_not_give_one_key() {
    let again = "line 4: a is given to the same files in line 3 already: \
                 give the rules different globs in only or except, or the key one source";
    for rules in [
        "{\"constants\": {\"a\": 1}},\n{\"constants\": {\"a\": 1}}",
        "{\"path\": \"(?<a>.)\", \"entries\": {\"a\": {\"group\": \"a\"}},\n\"constants\": {\"a\": 1}}",
        "{\"only\": [\"x\", \"y\"], \"constants\": {\"a\": 1}},\n{\"only\": [\"y\", \"x\"], \"constants\": {\"a\": 1}}",
    ] {
        assert_eq!(bad_rule(rules), again, "{rules}");
    }
    for scope in ["\"only\": [\"x\"]", "\"except\": [\"x\"]"] {
        let constants = "\"constants\": {\"a\": 1}";
        let apart = format!("{{\"rules\": [{{{constants}}}, {{{scope}, {constants}}}]}}");
        assert_eq!(Rules::parse(&apart).unwrap().iter().count(), 2);
    }
}

#[test]
fn a_file_is_bounded_and_may_begin_with_a_mark() {
    let largest = format!("{EXAMPLE}{}", " ".repeat(RULES_BYTES_MAX - EXAMPLE.len()));
    assert!(Rules::parse(&largest).is_ok());
    let error = "line 1: 1048577 bytes, 1048576 is the limit: give fewer rules";
    assert_eq!(refused(&format!("{largest} ")), error);
    let rules = Rules::parse(&format!("\u{feff}{EXAMPLE}")).unwrap();
    let lines: Vec<usize> = rules.iter().map(|rule| rule.line).collect();
    let begin = EXAMPLE.lines().zip(1..).filter(|(l, _)| *l == "    {");
    assert_eq!(lines, begin.map(|(_, line)| line).collect::<Vec<_>>());
}

/// What the schema says of names is what the types say: an unknown field's error lists them.
#[test]
fn the_schema_has_the_fields_of_the_file() {
    let schema = include_str!("../../../docs/rules.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let rule = &schema["$defs"]["rule"];
    let entry = &schema["$defs"]["entry"];
    for (object, error) in [
        (&schema, refused("{\"?\": 1}")),
        (rule, bad_rule("{\"?\": 1}")),
        (
            entry,
            bad_rule("{\"path\": \".\", \"entries\": {\"a\": {\"?\": 1}}}"),
        ),
    ] {
        let names = object["properties"].as_object().unwrap().keys();
        let mut names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        let (_, listed) = error.split_once("expected ").unwrap();
        let mut listed: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
        listed.sort_unstable();
        names.sort_unstable();
        assert_eq!(
            names,
            listed.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>()
        );
        assert_eq!(object["additionalProperties"], false);
    }
    let forms = bad_rule(
        "{\"path\": \"(?<a>.)\", \"entries\": {\"a\": {\"group\": \"a\", \"as\": \"?\"}}}",
    );
    for form in entry["properties"]["as"]["enum"].as_array().unwrap() {
        assert!(
            forms.contains(&format!("`{}`", form.as_str().unwrap())),
            "{form}"
        );
    }
    let value = &schema["$defs"]["value"]["anyOf"];
    assert_eq!(value[1]["maximum"].as_f64(), Some(entry::NUMBER_MAX));
    assert_eq!(value[2]["maxItems"], entry::LIST_ITEMS_MAX);
    assert_eq!(schema["$defs"]["key"]["maxLength"], entry::KEY_BYTES_MAX);
}
