use serde_json::{Value, json};

use crate::run::{Ledger, Place, RunToEnd, Service};

const FILES: usize = 300;

/// Uploads `FILES` files, whose operations take `base` milliseconds and up to `more`, in a service with these
/// faults besides; all of them are there exactly once.
fn followed(base: u64, more: u64, faults: Value) -> (Place, Service) {
    let place = Place::new();
    place.files(FILES);
    let service = Service::start(&place, &["--fault-seed", "7"]);
    service.set_faults(faults);
    service.set_faults(
        json!({"operation_delay_ms": base, "operation_jitter_ms": more,
        "latency_ms": 20}),
    );
    let args = ["--rpm", "0", "--concurrency", "8"];
    let seen = place.upload(&service, &args).seen().exit(0);
    assert_eq!(seen.summary()["indexed"], FILES);
    service.ledger().is_exactly(&place.docs());
    (place, service)
}

fn looks(ledger: &Ledger) -> f64 {
    let looks =
        ["document.get", "document.list", "operation.get"].map(|kind| ledger.requests(kind));
    println!("get, list, poll: {looks:?}");
    looks.iter().sum::<u64>() as f64 / FILES as f64
}

/// The targets are 0.2 and 0.5 looks a file (`cargo bench --bench looks`); a loaded machine takes longer for all
/// else, so that files come apart.
#[test]
fn many_operations_are_looked_at_with_one_request() {
    for (base, more, most) in [(1500, 300, 0.5), (500, 9000, 1.0)] {
        let (_place, service) = followed(base, more, json!({}));
        let looks = looks(&service.ledger());
        assert!(
            looks <= most,
            "{base} to {} ms: {looks} a file",
            base + more
        );
    }
}

#[test]
fn a_refused_page_token_costs_single_looks_and_no_document() {
    let (_place, service) = followed(300, 300, json!({"page_token_refused": 1.0}));
    assert!(service.fired("page_token_refused") >= 1);
    let looks = looks(&service.ledger());
    assert!(looks <= 3.0, "{looks} a file");
}

#[test]
fn lists_that_lag_lose_no_document() {
    let (_place, service) = followed(300, 300, json!({"list_lag_ms": 2000}));
    assert!(service.fired("list_lag_ms") >= 1);
    let looks = looks(&service.ledger());
    assert!(looks <= 3.0, "{looks} a file");
}

#[test]
fn pages_that_lose_and_repeat_documents_lose_none_of_ours() {
    for fault in ["list_lose_one", "list_lose_page", "list_repeat_page"] {
        let (_place, service) = followed(300, 300, json!({fault: 0.5}));
        assert!(service.fired(fault) >= 1, "{fault}");
        let looks = looks(&service.ledger());
        assert!(looks <= 3.0, "{fault}: {looks} a file");
    }
}

#[test]
fn two_hosts_that_fill_one_store_find_each_its_own() {
    let place = Place::new();
    place.files(FILES);
    for i in 0..FILES {
        place.file_in("other", &format!("{i}.md"), format!("of the other {i}"));
    }
    let service = Service::start(&place, &["--fault-seed", "7"]);
    place.file_in("first", "one.md", "the store is made");
    let upload = |folder: &str| {
        let mut upload = place.objlib(&["upload", folder, "--json", "--rpm", "0", "--endpoint"]);
        upload.args([&service.url, "--db", &format!("{folder}.db")]);
        upload.env("GEMINI_API_KEY", crate::run::KEY);
        upload
    };
    upload("first").seen().exit(0);
    service.set_faults(
        json!({"operation_delay_ms": 500, "operation_jitter_ms": 500,
        "latency_ms": 10}),
    );
    std::thread::scope(|scope| {
        let runs =
            ["docs", "other"].map(|folder| scope.spawn(move || upload(folder).seen().exit(0)));
        for run in runs {
            let seen = run.join().unwrap();
            assert_eq!(seen.summary()["indexed"], FILES);
        }
    });
    let ledger = service.ledger();
    assert_eq!(
        ledger.0["documents"].as_array().unwrap().len(),
        2 * FILES + 1
    );
    assert_eq!(ledger.0["duplicates"], 0);
    assert_eq!(ledger.0["violations"], json!([]));
}

/// The store holds far more than anybody would list to save a few looks; an earlier run has been at its end.
#[test]
fn the_next_run_reads_on_where_the_last_one_stopped() {
    let (place, service) = followed(300, 0, json!({}));
    for i in 0..30 {
        place.file(&format!("new/{i}.md"), format!("new {i}"));
    }
    let before = service.requests().len();
    let args = ["--rpm", "0", "--concurrency", "8"];
    place.upload(&service, &args).seen().exit(0);
    service.ledger().is_exactly(&place.docs());
    let requests = service.requests();
    let lists: Vec<&Value> = requests[before..]
        .iter()
        .filter(|request| request["kind"] == "document.list")
        .collect();
    assert!((1..=20).contains(&lists.len()), "{}", lists.len());
    for list in lists {
        assert!(list["query"]["pageToken"].is_string(), "{list}");
    }
}
