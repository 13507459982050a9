use std::fs;
use std::path::Path;

fn each_source(folder: &Path, each: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => each_source(&path, each),
            false => each(&path, &fs::read_to_string(&path).unwrap()),
        }
    }
}

/// What a file uses of its own crate: `error` of `crate::error::Error`.
fn used(text: &str) -> impl Iterator<Item = &str> {
    let end = |rest: &str| rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    text.split("crate::")
        .skip(1)
        .map(move |rest| &rest[..end(rest).unwrap_or(rest.len())])
}

#[test]
fn the_emulator_shares_nothing_with_the_client() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    each_source(&src.join("emulator"), &mut |path, text| {
        for name in used(text) {
            seen += 1;
            let allowed = ["clock", "error", "emulator"].contains(&name);
            assert!(allowed, "{} uses {name}", path.display());
        }
    });
    assert!(seen > 5, "the emulator's sources were not found");
    // And nobody but the command line, and `--emulator` behind it, starts it.
    each_source(&src, &mut |path, text| {
        let relative = path.strip_prefix(&src).unwrap();
        let may = ["app", "cli", "emulator"]
            .iter()
            .any(|may| relative.starts_with(may));
        let uses = used(text).any(|name| name == "emulator");
        assert!(may || !uses, "{} uses the emulator", path.display());
    });
}

/// What the state shares with scans, runs and reports lives in it, or below it.
#[test]
fn the_state_knows_none_of_its_users() {
    let below = [
        "clock", "error", "identity", "names", "panic", "poison", "proof", "shutdown", "state",
        "waits",
    ];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    each_source(&src.join("state"), &mut |path, text| {
        for name in used(text) {
            seen += 1;
            assert!(below.contains(&name), "{} uses {name}", path.display());
        }
    });
    assert!(seen > 20, "the sources of the state were not found");
}

/// Whoever runs SQL declares it with `statements!`, so that `src/state/tests/explain.rs` explains it: only these
/// speak to SQLite themselves. Opening comes before there is anything to explain, and what a listing showed
/// is a private table of its own.
#[test]
fn no_sql_runs_that_is_not_declared() {
    let speaks = [
        "statement.rs",
        "open/mod.rs",
        "migrations.rs",
        "listed.rs",
        "drift.rs",
    ];
    let words = [
        ".prepare",
        ".execute",
        ".query",
        ".pragma",
        "Statement::new(",
    ];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    each_source(&src, &mut |path, text| {
        let relative = path.strip_prefix(&src).unwrap();
        let is_test = text.starts_with("//! (tests)");
        if relative.starts_with("emulator")
            || relative == Path::new("cli/commands/emulator.rs")
            || is_test
        {
            return;
        }
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        if !relative.starts_with("state") {
            assert!(
                !product.contains("rusqlite"),
                "{} knows SQLite",
                path.display()
            );
            return;
        }
        seen += 1;
        let may = speaks.iter().any(|name| relative.ends_with(name));
        for word in words {
            assert!(may || !product.contains(word), "{}: {word}", path.display());
        }
    });
    assert!(seen > 15, "the sources of the state were not found");
}

#[test]
fn no_async_runtime_comes_in() {
    let lock = include_str!("../../Cargo.lock");
    for name in ["tokio", "async-std", "smol", "futures-executor", "hyper"] {
        assert!(
            !lock.contains(&format!("name = \"{name}\"")),
            "{name} came in"
        );
    }
}

/// The table of faults in `docs/emulator.md` is that of the code, and every fault that has a flag is in it.
#[test]
fn the_page_of_the_emulator_names_every_fault() {
    let page = include_str!("../../docs/emulator.md");
    let plan = serde_json::to_value(objlib::emulator::Faults::default()).unwrap();
    let mut known: Vec<String> = plan.as_object().unwrap().keys().cloned().collect();
    let (_, table) = page.split_once("## Faults").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut told: Vec<String> = Vec::new();
    for row in rows {
        let (name, rest) = row.split_once('`').unwrap();
        let flag = format!("`--{}`", name.replace('_', "-"));
        let has_none = ["only_kinds", "calls", "outages"].contains(&name);
        assert_eq!(rest.contains(&flag), !has_none, "{row}");
        told.push(name.to_owned());
    }
    known.sort();
    told.sort();
    assert_eq!(told, known);
}

/// What `docs/architecture.md` and `docs/emulator.md` name as the proof of a claim is there.
#[test]
fn every_test_that_the_pages_name_exists() {
    let page = include_str!("../../docs/architecture.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    for folder in ["src", "tests/it", "tests/proof"] {
        each_source(&root.join(folder), &mut |_, text| sources.push_str(text));
    }
    let names = |is: fn(&str) -> bool| page.split('`').skip(1).step_by(2).filter(move |n| is(n));
    let mut tests = 0;
    for test in names(|n| n.matches('_').count() > 2 && !n.contains([' ', '/'])) {
        tests += 1;
        assert!(sources.contains(&format!("fn {test}()")), "no test {test}");
    }
    for line in include_str!("../../docs/emulator.md").lines() {
        let Some(cell) = line.rsplit('|').nth(1).filter(|_| line.starts_with("| ")) else {
            continue;
        };
        let named = cell.split('`').skip(1).step_by(2);
        for test in named.filter(|n| n.matches('_').count() > 2) {
            tests += 1;
            assert!(sources.contains(&format!("fn {test}()")), "no test {test}");
        }
    }
    let mut mutations = 0;
    for patch in names(|n| n.contains('-') && !n.contains([' ', '/', '.']) && !n.starts_with('-')) {
        mutations += 1;
        let path = root.join(format!("tests/mutations/{patch}.patch"));
        assert!(path.exists(), "no mutation {patch}");
    }
    assert!(
        tests > 5 && mutations > 8,
        "{tests} tests, {mutations} mutations"
    );
}
