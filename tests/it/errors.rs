//! `docs/errors.md` is whole: it is made from the sources, and what tests see is in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::run::Place;
use crate::run::RunToEnd;
use crate::source::{self, Row};

const PAGE: &str = "docs/errors.md";

const HEAD: &str = "\
# Errors

Every error has two lines on stderr, `error: THING: CAUSE` and `hint: WHAT TO DO`, and an exit code. This page
is made from the sources (`OBJLIB_BLESS=1 cargo test --test it errors::` writes it); `…` stands for a name, a
number, or words of the system or the service, and *or* parts what one place may say. A mistake on the command
line is an error of exit code 2 in the words of the parser, with what was probably meant. A file that fails does
not end a run: its cause is in `objlib status --failed`.
";

const MEANING: [(u8, &str); 5] = [
    (
        1,
        "Stopped by an error: database, disk, network set-up, store, input, a bug",
    ),
    (2, "Wrong usage"),
    (4, "Stopped with files still to do: run again"),
    (5, "Another objlib works on the database"),
    (6, "The key was refused, or there is none"),
];

fn page(rows: &[Row]) -> String {
    let mut by_exit: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for row in rows {
        let cell = |text: &str| text.replace('|', "\\|");
        let line = format!(
            "| {}: {} | {} |",
            cell(&row.what),
            cell(&row.why),
            cell(&row.remedy)
        );
        by_exit.entry(row.exit).or_default().push(line);
    }
    let mut page = HEAD.to_owned();
    for (exit, meaning) in MEANING {
        let mut lines = by_exit.remove(&exit).unwrap_or_default();
        lines.sort();
        lines.dedup();
        page += &format!("\n## {exit}: {meaning}\n\n| `error:` | `hint:` |\n| --- | --- |\n");
        page += &(lines.join("\n") + "\n");
    }
    assert!(by_exit.is_empty(), "{by_exit:#?}");
    page
}

#[test]
fn the_table_of_all_errors_is_whole() {
    let rows = source::rows();
    assert!(rows.len() > 110, "only {} errors were found", rows.len());
    let made = page(rows);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os("OBJLIB_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    for (line, (made, written)) in made.lines().zip(written.lines()).enumerate() {
        assert_eq!(
            written,
            made,
            "{PAGE}, line {}: OBJLIB_BLESS=1 makes it anew",
            line + 1
        );
    }
    assert_eq!(
        written.lines().count(),
        made.lines().count(),
        "OBJLIB_BLESS=1 makes it anew"
    );
}

#[test]
fn an_error_that_is_not_in_the_table_is_noticed() {
    let seen = Place::new().objlib(&["status"]).seen().exit(1);
    source::all_known(&seen.stderr);
    assert!(!source::is_known(
        "error: moon: it is full",
        "hint: wait for a week"
    ));
}
