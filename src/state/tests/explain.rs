//! (tests) Every statement that the program can run, explained by SQLite against a filled database.
//!
//! What is meant for one row or one page must find it by an index, whatever the size of the tables: no scan
//! of a table that grows with the library, no sorting of what was found, no index that SQLite makes for
//! itself for the length of one statement. What has to read all rows says why, and sorts them no more. `cargo test --lib explain -- --nocapture` prints all plans.

use std::collections::BTreeMap;
use std::fmt;

use rusqlite::Connection;

use crate::state::{apply, lock, open, reader};

/// How much of the tables that grow with the library a statement reads.
#[derive(Clone, Copy)]
pub enum Reads {
    /// One row, or the few rows that belong to one file, document or run.
    Single,
    /// A bounded number of rows, from a place on, in the order of an index.
    Page,
    /// As many rows as there are, and why.
    All(&'static str),
}

impl fmt::Display for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reads::Single => f.write_str("one row"),
            Reads::Page => f.write_str("one page"),
            Reads::All(why) => write!(f, "all rows: {why}"),
        }
    }
}

/// A statement, as `statements!` lists it.
pub struct Declared {
    pub file: &'static str,
    pub name: &'static str,
    pub reads: Reads,
    pub sql: String,
}

fn all() -> Vec<Declared> {
    let files = [
        lock::declared(),
        open::mark::declared(),
        reader::all_declared(),
        apply::all_declared(),
    ];
    files.into_iter().flatten().collect()
}

/// By what a plan may go through a table row by row: it has as many rows as somebody has named folders and
/// stores, or it is the list of a parameter, or what an inner query has found already, or it is none.
const SMALL: [&str; 10] = [
    "CONSTANT",
    "libraries",
    "l",
    "stores",
    "library_stores",
    "s",
    "upload_locks",
    "rates",
    "operation_times",
    "rarray",
];

/// Columns of which one value belongs to few rows.
const SELECTIVE: [&str; 9] = [
    "rowid=",
    "id=",
    "file_id=",
    "moved_to=",
    "path=",
    "path_value=",
    "sha256=",
    "document=",
    "run_id=",
];

const FILES: i64 = 3000;

/// Three libraries, two stores, two of the libraries in both; uploads in every state, some of content that
/// is not current any more; skips, runs and batches.
fn fill(conn: &Connection) {
    let numbers = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {FILES}) "
    );
    let uploads = |store: i64, current: i64, offset: i64| {
        format!(
            "{numbers} INSERT INTO uploads (file_id, library_id, store_id, sha256, variant,
                 size_bytes, current, status, queued, document, temp_file, error_kind, error,
                 since_ms, created_ms, updated_ms)
             SELECT i, 1 + i % 3, {store}, randomblob(32), zeroblob(16), 10, {current},
                 CASE i % 10 WHEN 0 THEN 'uploading' WHEN 1 THEN 'processing' WHEN 2 THEN 'failed'
                     WHEN 3 THEN 'pending' WHEN 4 THEN 'superseded' WHEN 5 THEN 'retired'
                     ELSE 'indexed' END,
                 i, 'documents/' || {store} || '/' || (i + {offset}),
                 CASE WHEN i % 100 = 3 THEN 'files/' || i END,
                 CASE i % 10 WHEN 2 THEN 'refused' END,
                 CASE i % 10 WHEN 2 THEN 'no ' || (i % 7) END, i, i, i
             FROM n WHERE {current} = 1 OR i % 5 = 0;"
        )
    };
    conn.execute_batch(&format!(
        "BEGIN;
         INSERT INTO libraries VALUES (1, 'a', '/a', '', 0, 0), (2, 'b', '/b', '', 0, 0), (3, 'c', '/c', '', 0, 0);
         INSERT INTO stores VALUES (1, 'fileSearchStores/s', 's', 'e', 1, 0, NULL, 'works', NULL, 0),
             (2, 'fileSearchStores/t', 't', 'e', 1, 0, NULL, 'works', 't', 20);
         INSERT INTO library_stores SELECT l.id, s.id, 0, NULL FROM libraries l, stores s;
         {numbers} INSERT INTO files (id, library_id, path, path_value, size_bytes, mtime_ns, hashed_ms,
             sha256, variant, mime, unmatched, state, first_seen_ms, last_seen_ms)
         SELECT i, 1 + i % 3, 'f' || i, 'f' || i, 10, 0, 0, randomblob(32), zeroblob(16), 'text/plain',
             i % 9 = 0, CASE i % 20 WHEN 0 THEN 'missing' WHEN 1 THEN 'left_out' ELSE 'present' END, 0, 0 FROM n;
         {numbers} INSERT INTO skipped_files SELECT 1 + i % 3, 's' || i, 'empty', '0 bytes', i FROM n;
         {numbers} INSERT INTO runs (instance, host, pid, version, store_id, started_ms, ended_ms, outcome)
         SELECT i, 'h', 1, 'v', 1 + i % 2, i, i, 'done' FROM n;
         {numbers} INSERT INTO upload_batches (run_id, number, status, started_ms)
         SELECT i, 1, 'done', i FROM n;
         {numbers} INSERT INTO run_details SELECT i, '{{}}' FROM n;
         {}{}{}{} COMMIT;",
        uploads(1, 1, 0),
        uploads(2, 1, 0),
        uploads(1, 0, FILES),
        uploads(2, 0, FILES),
    ))
    .unwrap();
}

/// The lines of a plan. The connection promises that no value of a parameter changes it.
fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut explained = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let count = explained.parameter_count();
    let nothing = std::iter::repeat_n(rusqlite::types::Null, count);
    let lines = explained.query_map(rusqlite::params_from_iter(nothing), |r| r.get(3));
    lines.unwrap().map(Result::unwrap).collect()
}

/// What of a plan is refused.
fn faults(statement: &Declared, plan: &[String]) -> Vec<String> {
    let reads_much = plan
        .iter()
        .any(|line| (line.starts_with("SEARCH ") || line.starts_with("SCAN ")) && !is_small(line));
    let is_refused = |line: &&String| match statement.reads {
        _ if line.contains("AUTOMATIC") => true,
        _ if line.contains("TEMP B-TREE FOR GROUP BY") => reads_much,
        Reads::All(_) => false,
        _ if line.contains("TEMP B-TREE") => reads_much,
        _ if is_small(line) => false,
        _ if line.starts_with("SCAN ") => true,
        _ if line.starts_with("SEARCH ") => !narrow(statement, line),
        _ => false,
    };
    plan.iter().filter(is_refused).cloned().collect()
}

/// The table, or its alias, that a line of a plan is about.
fn table(line: &str) -> &str {
    line.split(' ').nth(1).unwrap_or_default()
}

fn is_small(line: &str) -> bool {
    SMALL.contains(&table(line)) || table(line).starts_with("(subquery")
}

/// Whether a search reads no more than it should: the rows of one value that few rows have, or, where a
/// page is meant, a range of an index that was made for it, or the one end of such an index.
fn narrow(statement: &Declared, line: &str) -> bool {
    let terms = line.rsplit_once('(').map_or("", |(_, terms)| terms);
    let mut terms = terms.split([' ', ')']).filter(|term| *term != "AND");
    // Whether a row that goes, or comes, is referred to: SQLite looks for the first such row.
    let is_foreign_key = !statement.sql.contains(table(line));
    let one_end = !line.contains('(')
        || statement
            .sql
            .trim_end_matches(')')
            .ends_with("DESC LIMIT 1");
    let by_any_id = line.contains("PRIMARY KEY (rowid>");
    terms.any(|term| {
        let is_range = term.contains(['>', '<']) && !by_any_id;
        SELECTIVE.iter().any(|column| term.starts_with(column))
            || matches!(statement.reads, Reads::Page) && is_range
    }) || one_end
        || is_foreign_key
}

#[test]
fn every_statement_runs_on_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("library.db");
    let (conn, ()) = open::writing(&path, |_| Ok(())).unwrap();
    fill(&conn);
    let statements = all();
    assert!(statements.len() < open::STATEMENTS_CACHED);
    let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Statistics, which a person may have had gathered, are no reason for another plan.
    for analyzed in [false, true] {
        if analyzed {
            conn.execute_batch("ANALYZE").unwrap();
        }
        println!("\n# {} statements, analyzed: {analyzed}", statements.len());
        for statement in &statements {
            let plan = plan(&conn, &statement.sql);
            let words: Vec<&str> = statement.sql.split_whitespace().collect();
            let name = format!("{} {}", statement.file, statement.name);
            println!("\n{name}: {}\n  {}", statement.reads, words.join(" "));
            plan.iter().for_each(|line| println!("    {line}"));
            let faults = faults(statement, &plan);
            if !faults.is_empty() {
                refused.insert(format!("{name}, analyzed: {analyzed}"), faults);
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
}

/// Each index costs time at every change of its table.
#[test]
fn every_index_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("library.db");
    let (conn, ()) = open::writing(&path, |_| Ok(())).unwrap();
    let plans: Vec<String> = all().iter().flat_map(|s| plan(&conn, &s.sql)).collect();
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql LIKE 'CREATE INDEX%'";
    let mut named = conn.prepare(sql).unwrap();
    let named = named.query_map([], |r| r.get::<_, String>(0)).unwrap();
    for index in named.map(Result::unwrap) {
        let used = plans.iter().any(|line| line.contains(&index));
        assert!(used, "no statement uses {index}");
    }
}
