use proptest::prelude::*;

use super::*;

fn report(details: Option<&str>, edit: impl FnOnce(&mut Run)) -> RunReport {
    let mut run = Run {
        instance: String::new(),
        store_id: None,
        heard_ms: None,
        run: 7,
        store: Some([
            "docs".into(),
            "fileSearchStores/docs-1".into(),
            "emulator".into(),
        ]),
        version: "0.1.0".into(),
        started_ms: 0,
        ended_ms: Some(2000),
        outcome: "done".into(),
        exit: Some(0),
        totals: RunTotals::default(),
        limited_by: Some("quota".into()),
    };
    edit(&mut run);
    RunReport {
        run,
        details: details.map(Details::read),
        began: Local::new(0, 3_600_000),
        now: Local::new(3000, 0),
    }
}

/// The names of elements that are open at the end; each end tag must be that of the last one.
fn open_elements(html: &str) -> Vec<&str> {
    let mut open = Vec::new();
    for tag in html.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let name = tag.split([' ', '/']).next().unwrap();
        match tag.strip_prefix('/') {
            Some(ended) => assert_eq!(open.pop(), Some(ended)),
            None if tag.ends_with('/') || tag.starts_with('!') => {}
            None => open.push(name),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    open
}

#[test]
fn a_run_of_an_older_objlib_has_its_numbers_and_says_that_there_is_no_more() {
    let page = report(None, |run| run.totals.indexed = 5).page();
    assert!(page.contains("No course of this run is on record"));
    assert!(page.contains("<td><code>indexed</code></td><td>5</td>"));
    assert!(page.contains("Held back by the service's quota"));
    assert!(page.contains("2.5 files/s"));
    assert!(page.contains("Began 1970-01-01 01:00 (1970-01-01 00:00 UTC), store"));
    assert_eq!(open_elements(&page), Vec::<&str>::new());
}

#[test]
fn a_killed_run_shows_what_it_had_done() {
    let record = r#"{"seconds": 4, "totals": {"indexed": 12, "bytes": 1000, "requests": 20},
        "samples": [[1000, 5, 400, 0, 8, 0, 0, 0, null, 4], [4000, 12, 1000, 0, 18, 1, 0, 1, 60.5, 5]]}"#;
    let killed = report(Some(record), |run| {
        run.ended_ms = None;
        run.exit = None;
        run.outcome = "killed".into();
        run.limited_by = None;
    });
    let page = killed.page();
    assert!(page.contains("Killed before its end"));
    assert!(page.contains("<td><code>indexed</code></td><td>12</td>"));
    assert!(page.contains("3.0 files/s"));
    assert_eq!(open_elements(&page), Vec::<&str>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Names of files and stores, words of the service, and a record that somebody has changed by hand.
    #[test]
    fn nothing_foreign_is_markup(
        foreign in "(?s)([<>&\"'/=a-c]|</[a-z]+>|<script>|\u{202e}|\u{0}|.){0,30}", number in any::<f64>()
    ) {
        let record = serde_json::json!({
            "seconds": number, "error": foreign,
            "samples": [[number, number, number, 0, number, 1, 2, 3, number, number]],
            "times": {"looks": [1, 2, number]},
            "causes": [[foreign, 1, 2, foreign]],
            "slowest": [[foreign, foreign, 1, 1, foreign, number]],
        });
        let hostile = report(Some(&record.to_string()), |run| {
            run.store = Some([foreign.clone(), foreign.clone(), foreign.clone()]);
            run.limited_by = Some(foreign.clone());
            run.version = foreign.clone();
            run.outcome = foreign.clone();
        });
        let page = hostile.page();
        prop_assert_eq!(open_elements(&page), Vec::<&str>::new());
        prop_assert!(!page.contains("<script"));
        let known = ["html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "h3", "em",
            "p", "ul", "li", "span", "b", "small", "section", "svg", "rect", "path", "figure", "figcaption", "div",
            "details", "summary", "table", "tr", "th", "td", "i", "code", "footer", "!doctype"];
        for tag in page.split('<').skip(1) {
            let name = tag.split([' ', '>', '/']).find(|part| !part.is_empty()).unwrap();
            prop_assert!(known.contains(&name), "{}", name);
        }
    }
}
