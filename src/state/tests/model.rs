//! (tests) Random changes, legal and not, against a simple model of the rows.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::Connection;

use crate::identity::Sha256;
use crate::names::{DocumentName, OperationName, SessionUrl, StoreName};
use crate::state::change::{
    Cause, Change, Charge, Described, NextTime, PinnedStore, Reading, Refusal, SeenFile, Way,
};
use crate::state::durable::UploadId;
use crate::state::lock::Holder;
use crate::state::open;
use crate::state::upload_state::{Event, UploadState};

const FILES: i64 = 4;

struct Rows {
    conn: Connection,
    me: Holder,
    store: i64,
    batch: i64,
    _folder: tempfile::TempDir,
}

impl Rows {
    fn new() -> Rows {
        let folder = tempfile::tempdir().unwrap();
        let conn = open::writing(&folder.path().join("l.db"), |_| Ok(()))
            .unwrap()
            .0;
        // What is tested is not the disk.
        conn.pragma_update(None, "synchronous", "OFF").unwrap();
        let mut rows = Rows {
            conn,
            me: Holder::this_process(),
            store: 0,
            batch: 0,
            _folder: folder,
        };
        let added = Change::LibraryAdded {
            name: "docs".to_owned(),
            root: "/docs".to_owned(),
        };
        let library = rows.apply(&added).unwrap();
        for i in 0..FILES {
            rows.apply(&seen(library, i, 0)).unwrap();
        }
        rows.store = rows
            .apply(&Change::StorePinned(PinnedStore {
                endpoint: "e".to_owned(),
                display_name: "s".to_owned(),
                name: StoreName::new("fileSearchStores/s"),
                by_display_name: true,
                embedding_model: None,
            }))
            .unwrap();
        let store = rows.store;
        let run = rows.apply(&Change::RunStarted { store }).unwrap();
        // The files were known before the link, so they are queued by it.
        rows.apply(&Change::Linked { library, store }).unwrap();
        rows.apply(&Change::Queued { library, store }).unwrap();
        rows.batch = rows.apply(&Change::BatchOpened { run, number: 1 }).unwrap();
        rows
    }

    /// As the writer does.
    fn apply(&self, change: &Change) -> Result<i64, Refusal> {
        change
            .apply_whole(&self.conn, &self.me)
            .map(|applied| applied.row)
    }

    fn states(&self) -> BTreeMap<i64, UploadState> {
        let sql = "SELECT id, status FROM uploads ORDER BY id";
        let mut rows = self.conn.prepare(sql).unwrap();
        let state = |text: String| UploadState::parse(&text).unwrap();
        let rows = rows.query_map([], |r| Ok((r.get(0)?, state(r.get(1)?))));
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn number(&self, sql: &str) -> i64 {
        self.conn.query_row(sql, [], |r| r.get(0)).unwrap()
    }
}

fn seen(library: i64, i: i64, version: u8) -> Change {
    let path = format!("f{i}");
    Change::FileSeen {
        library,
        file: SeenFile {
            // A guess that is wrong must not matter.
            is_new: version.is_multiple_of(2),
            path_value: path.clone(),
            path,
            reading: Reading {
                size_bytes: 10,
                mtime_ns: 0,
                hashed_ms: 0,
                sha256: Sha256::of(&[version]),
                mime: "text/plain".to_owned(),
            },
            described: Described::by_nothing("docs"),
        },
    }
}

/// What happens to an upload, and the event that the state machine is asked about.
#[derive(Debug, Clone, Copy)]
enum Step {
    Intent,
    Submitted,
    Activated,
    HandedBack(Charge),
    Rejected,
    Deleted,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Intent),
        3 => Just(Step::Submitted),
        3 => Just(Step::Activated),
        1 => Just(Step::HandedBack(Charge::Attempt)),
        1 => Just(Step::HandedBack(Charge::Nothing)),
        1 => Just(Step::Rejected),
        1 => Just(Step::Deleted),
    ]
}

fn change(step: Step, upload: UploadId, batch: i64) -> (Change, Event) {
    let document = DocumentName::new(format!("fileSearchStores/s/documents/{}", upload.0));
    let cause = || Cause {
        kind: "transient",
        words: "HTTP 503".to_owned(),
    };
    match step {
        Step::Intent => (
            Change::Intent {
                upload,
                batch,
                way: Way::OneRequest,
            },
            Event::Started,
        ),
        Step::Submitted => (
            Change::Submitted {
                upload,
                operation: Some(OperationName::new("o")),
                document: Some(document),
            },
            Event::Submitted,
        ),
        Step::Activated => (
            Change::Activated {
                upload,
                document,
                keeps_temporary: false,
            },
            Event::Activated,
        ),
        Step::HandedBack(charge) => (
            Change::HandedBack {
                upload,
                back: crate::state::HandBack {
                    charge,
                    cause: Some(cause()),
                    next: NextTime::Same,
                    document: None,
                },
            },
            Event::HandedBack,
        ),
        Step::Rejected => (
            Change::Rejected {
                upload,
                cause: cause(),
                document: None,
            },
            Event::Rejected,
        ),
        Step::Deleted => (Change::Deleted { upload }, Event::Replaced),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// After every change the rows are where the state machine says; what it lacks is refused and
    /// changes nothing; no content of a file is ever two rows; every file has its row.
    #[test]
    fn rows_follow_the_state_machine(
        steps in proptest::collection::vec((step(), 1..=FILES + 2, any::<bool>()), 1..60)
    ) {
        let rows = Rows::new();
        let mut model = rows.states();
        let mut attempts = 0;
        for (step, id, content_changes) in steps {
            let upload = UploadId(id);
            let (change, event) = change(step, upload, rows.batch);
            let legal = model.get(&id).and_then(|state| state.after(event).ok());
            let applied = rows.apply(&change).is_ok();
            prop_assert_eq!(applied, legal.is_some(), "{:?} on {:?}", step, model.get(&id));
            if let Some(next) = legal {
                model.insert(id, next);
                attempts += i64::from(matches!(
                    step,
                    Step::HandedBack(Charge::Attempt) | Step::Rejected
                ));
            }
            if let (Step::Deleted, true) = (step, applied) {
                // The content that the file still has is queued again, in a row of its own.
                let again = rows.states().into_iter().filter(|(row, _)| !model.contains_key(row));
                let again: Vec<_> = again.collect();
                prop_assert!(again.iter().all(|(_, state)| *state == UploadState::Pending));
                prop_assert!(again.len() <= 1);
                model.extend(again);
            }
            prop_assert_eq!(rows.states(), model.clone());
            prop_assert_eq!(rows.number("SELECT coalesce(sum(attempts), 0) FROM uploads"), attempts);
            // A session belongs to what is on its way, and to nothing else.
            prop_assert_eq!(rows.number(
                "SELECT count(*) FROM uploads WHERE session_url IS NOT NULL
                     AND status NOT IN ('uploading', 'processing')"), 0);
            // `status --failed` finds what has failed by its error.
            prop_assert_eq!(rows.number(
                "SELECT count(*) FROM uploads WHERE status = 'failed' AND error IS NULL"), 0);
            if content_changes && id <= FILES && applied {
                let library = 1;
                rows.apply(&seen(library, id - 1, 7)).unwrap();
                model = rows.states();
                attempts = rows.number("SELECT coalesce(sum(attempts), 0) FROM uploads");
            }
            prop_assert_eq!(rows.number(
                "SELECT count(*) FROM files f WHERE NOT EXISTS
                     (SELECT 1 FROM uploads u WHERE u.file_id = f.id AND u.sha256 = f.sha256
                      AND u.current = 1 AND u.status != 'superseded')"), 0);
            prop_assert_eq!(rows.number(
                "SELECT count(*) FROM (SELECT 1 FROM uploads WHERE current = 1
                     AND status NOT IN ('superseded', 'retired')
                     GROUP BY file_id, store_id HAVING count(*) > 1)"), 0);
        }
    }
}

#[test]
fn a_session_is_kept_through_submission_and_forgotten_at_the_end() {
    let rows = Rows::new();
    let upload = UploadId(1);
    let url = SessionUrl::new("https://h/upload?upload_id=1");
    let known = || rows.number("SELECT count(*) FROM uploads WHERE session_url IS NOT NULL");
    rows.apply(&change(Step::Intent, upload, rows.batch).0)
        .unwrap();
    rows.apply(&Change::SessionOpened {
        upload,
        url: url.clone(),
    })
    .unwrap();
    assert_eq!(known(), 1);
    rows.apply(&change(Step::Submitted, upload, rows.batch).0)
        .unwrap();
    rows.apply(&change(Step::Activated, upload, rows.batch).0)
        .unwrap();
    assert_eq!(known(), 0);
    // A session for a row that is not on its way is refused.
    let late = Change::SessionOpened { upload, url };
    assert!(matches!(rows.apply(&late), Err(Refusal::Illegal(_))));
}

/// An upload that was under way when its file moved may end last: its document is not the file's.
#[test]
fn an_upload_that_ends_after_its_file_has_moved_is_not_wanted() {
    let rows = Rows::new();
    let library = 1;
    let apply = |change: &Change| rows.apply(change).unwrap();
    let to_the_end = |upload, steps: &[Step]| {
        for step in steps {
            apply(&change(*step, UploadId(upload), rows.batch).0);
        }
    };
    apply(&Change::ScanEnded {
        library,
        scan: 0,
        whole: true,
    });
    to_the_end(1, &[Step::Intent, Step::Submitted]);
    let file = rows.number("SELECT file_id FROM uploads WHERE id = 1");
    apply(&Change::FileMissing { file });
    apply(&seen(library, 99, 0));
    apply(&Change::MovesMatched { library });
    let new = rows.number("SELECT max(id) FROM uploads");
    let moved = rows.number("SELECT count(*) FROM files WHERE state = 'moved'");
    assert_eq!(moved, 1);
    to_the_end(new, &[Step::Intent, Step::Submitted, Step::Activated]);
    let unwanted = || rows.number("SELECT coalesce(sum(id), 0) FROM uploads WHERE unwanted = 1");
    assert_eq!(unwanted(), 0);
    to_the_end(1, &[Step::Activated]);
    assert_eq!(unwanted(), 1);
}
