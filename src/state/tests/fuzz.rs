//! (tests) Whatever has become of the file on disk, reading and writing it ends, in a result or in an error of
//! one line; never in a panic.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::error::Error;
use crate::identity::{ContentKey, Identity, Sha256, Variant};
use crate::names::{DocumentName, FileName, StoreName};
use crate::shutdown::Shutdown;
use crate::state::change::{Cause, Change, Charge, Described, PinnedStore, Reading, SeenFile, Way};
use crate::state::durable::UploadId;
use crate::state::reader::{Libraries, Missing, Reader};
use crate::state::upload_state::UploadState;
use crate::state::writer;
use crate::waits::Waits;

const FILES: i64 = 60;
const STORE: i64 = 1;

fn shutdown() -> Arc<Shutdown> {
    Arc::new(Shutdown::new(Duration::ZERO))
}

fn content(i: i64) -> ContentKey {
    ContentKey {
        sha256: Sha256::of(&i.to_le_bytes()),
        variant: Variant::of("docs", &[]),
    }
}

fn file(i: i64) -> SeenFile {
    let path = format!("folder {}/note-{i}.md", i % 7);
    SeenFile {
        is_new: true,
        path_value: path.clone(),
        path,
        reading: Reading {
            size_bytes: 10,
            mtime_ns: 0,
            hashed_ms: 0,
            sha256: content(i).sha256,
            mime: "text/markdown".to_owned(),
        },
        described: Described::by_nothing("docs"),
    }
}

/// Rows in every state, as the bytes of a closed database.
fn whole() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("library.db");
    let started = writer::start(&path, shutdown(), &Waits::default()).unwrap();
    let writer = started.thread.writer();
    let added = Change::LibraryAdded {
        name: "docs".to_owned(),
        root: "/docs".to_owned(),
    };
    let library = writer.commit(added).unwrap().row;
    for i in 0..FILES {
        let file = file(i);
        let seen = Change::FileSeen { library, file };
        writer.send(seen, |_| {});
    }
    let pinned = Change::StorePinned(PinnedStore {
        endpoint: "e".to_owned(),
        display_name: "s".to_owned(),
        name: StoreName::new("fileSearchStores/s"),
        by_display_name: true,
        embedding_model: None,
    });
    let store = writer.commit(pinned).unwrap().row;
    assert_eq!(store, STORE);
    let run = writer.commit(Change::RunStarted { store }).unwrap().row;
    writer.commit(Change::Linked { library, store }).unwrap();
    writer.commit(Change::Queued { library, store }).unwrap();
    let batch = writer.commit(Change::BatchOpened { run, number: 1 });
    let batch = batch.unwrap().row;
    for i in 1..=FILES {
        let upload = UploadId(i);
        let step = i % 5;
        if step > 0 {
            writer.intent(upload, batch, Way::Session).unwrap();
        }
        let document = DocumentName::new(format!("fileSearchStores/s/documents/d-{i}"));
        if step > 1 {
            let document = Some(document.clone());
            writer.submitted(upload, None, document, |_| {});
        }
        match step {
            3 => writer.send(
                Change::Activated {
                    upload,
                    document,
                    keeps_temporary: false,
                },
                |_| {},
            ),
            4 => writer.send(
                Change::Rejected {
                    upload,
                    cause: cause(),
                    document: None,
                },
                |_| {},
            ),
            _ => {}
        }
    }
    writer.commit(Change::Flush).unwrap();
    drop(writer);
    started.thread.close().unwrap();
    fs::read(path).unwrap()
}

fn cause() -> Cause {
    Cause {
        kind: "refused",
        words: "no".to_owned(),
    }
}

#[track_caller]
fn is_said_plainly(error: &Error) {
    let words = error.to_string();
    assert!(!words.contains(char::is_control), "{words:?}");
    assert!(
        words.contains("library.db") || words.contains("state machine"),
        "{words}"
    );
}

fn missing() -> Missing {
    Missing {
        libraries: vec![1],
        before: i64::MAX,
    }
}

/// Everything that reads.
fn read(path: &Path) -> Result<(), Error> {
    let reader = Reader::open(path)?;
    let identity = Identity {
        library: "docs".to_owned(),
        path: "folder 1/note-1.md".to_owned(),
        content: content(1),
    };
    let libraries: Libraries = [1].into_iter().collect();
    let document = DocumentName::new("fileSearchStores/s/documents/d-2");
    let store = StoreName::new("fileSearchStores/s");
    let start = UploadId(0);
    let errors = [
        reader.pending(STORE, &libraries, i64::MIN, i64::MAX).err(),
        reader.unfinished(STORE, start).err(),
        reader.unfinished_like(STORE, &identity).err(),
        reader.claimant(&document).err(),
        reader.is_claimed(&document).err(),
        reader.files_like(STORE, &identity).err(),
        reader.indexed(STORE, start).err(),
        reader.unwanted(STORE, start).err(),
        reader.unwanted_count(STORE).err(),
        reader.purgeable(STORE, &missing(), start).err(),
        reader.gone_on_the_way(STORE, &missing(), &mut |_| {}).err(),
        reader.over(1, i64::MAX, 0).err(),
        reader.is_found_again(3).err(),
        reader.leftovers(STORE, start).err(),
        reader.last_queued(STORE).err(),
        reader.on_the_way(STORE).err(),
        reader.outdated_on_the_way(STORE, &libraries).err(),
        reader.libraries().err(),
        reader.library_named("docs").err(),
        reader.linked(STORE).err(),
        reader.never_sent().err(),
        reader.stores_of(1).err(),
        reader.to_queue(STORE, &libraries).err(),
        reader.not_begun_to_queue(STORE, &libraries).err(),
        reader.holds_below(1, "folder 1").err(),
        reader.renew().err(),
        reader.file(1, "folder 1/note-1.md").err(),
        reader.extent(1).err(),
        reader.each_present(1, &mut |_, _| {}).err(),
        reader.each_present_size(1, &mut |_, _| {}).err(),
        reader.store_named(&store).err(),
        reader.store_pinned("e", "s").err(),
        reader.stores().err(),
        reader.worker(Waits::default().lock_stale_after).err(),
        reader.rate("e", "write").err(),
        reader.upload_counts(STORE, &libraries).err(),
        reader.file_counts(&libraries).err(),
        reader.last_run(Waits::default().lock_stale_after).err(),
        reader.next_error(STORE, "").err(),
        reader.failed_for(STORE, "no", start).err(),
        reader.skipped(1, "").err(),
        reader
            .each_skipped_for("empty", &libraries, &mut |_, _| {})
            .err(),
        reader
            .each_unsettled(Some(STORE), &libraries, &mut |_, _, _, _| {})
            .err(),
        reader
            .settled(1, "folder 1/note-1.md", &content(1), Some(STORE))
            .err(),
    ];
    errors.iter().flatten().for_each(is_said_plainly);
    for state in UploadState::ALL {
        let errors = [
            reader
                .each_in_state(STORE, &libraries, (state, 0), &mut |_| {})
                .err(),
            reader.reasons(STORE, state).err(),
        ];
        errors.iter().flatten().for_each(is_said_plainly);
    }
    Ok(())
}

/// What a run writes, in its order; the first refusal ends it, as it ends a run.
fn write(path: &Path) -> Result<(), Error> {
    let started = writer::start(path, shutdown(), &Waits::default())?;
    let writer = started.thread.writer();
    let changes = [
        Change::RunStarted { store: STORE },
        Change::RetriedFailed {
            upload: UploadId(4),
        },
        Change::Intent {
            upload: UploadId(5),
            batch: 1,
            way: Way::Staged(FileName::fresh()),
        },
        Change::HandedBack {
            upload: UploadId(1),
            back: crate::state::HandBack {
                charge: Charge::Attempt,
                cause: Some(cause()),
                next: crate::state::NextTime::Same,
                document: None,
            },
        },
        Change::FileMissing { file: 3 },
        Change::MovesMatched { library: 1 },
        Change::Purged {
            store: STORE,
            missing: missing(),
            after: UploadId(0),
        },
        Change::Deleted {
            upload: UploadId(3),
        },
        Change::FileForgotten { file: 3 },
        Change::EndedForgotten {
            store: STORE,
            before: i64::MAX,
        },
        Change::LibraryRenamed {
            library: 1,
            name: "papers".to_owned(),
        },
        Change::Queued {
            library: 1,
            store: STORE,
        },
    ];
    let done = changes
        .into_iter()
        .try_for_each(|change| writer.commit(change).map(|_| ()));
    drop(writer);
    started.thread.close()?;
    done
}

/// What a disk can do to a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(usize, u8),
    Zero(usize),
    Swap(usize, usize),
    Cut(usize),
}

const SECTOR: usize = 512;

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len().max(1);
        let sector = |n: usize| (n % length) / SECTOR * SECTOR;
        match *self {
            _ if bytes.len() < SECTOR => {}
            Damage::Flip(at, with) => bytes[at % length] ^= with,
            Damage::Zero(at) => {
                let at = sector(at);
                let end = (at + SECTOR).min(length);
                bytes[at..end].fill(0);
            }
            Damage::Swap(a, b) => {
                for i in 0..SECTOR {
                    let (a, b) = (sector(a) + i, sector(b) + i);
                    if a < length && b < length {
                        bytes.swap(a, b);
                    }
                }
            }
            Damage::Cut(at) => bytes.truncate(at % length),
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = || any::<usize>();
    prop_oneof![
        4 => (place(), 1u8..).prop_map(|(at, with)| Damage::Flip(at, with)),
        // The header, and the first page with the schema.
        2 => (0usize..4096, 1u8..).prop_map(|(at, with)| Damage::Flip(at, with)),
        2 => place().prop_map(Damage::Zero),
        1 => (place(), place()).prop_map(|(a, b)| Damage::Swap(a, b)),
        1 => place().prop_map(Damage::Cut),
    ]
}

#[test]
fn a_whole_file_is_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("library.db");
    fs::write(&path, whole()).unwrap();
    read(&path).unwrap();
    write(&path).unwrap();
}

#[test]
fn any_damage_is_survived_or_said_in_one_line() {
    let whole = whole();
    let refused = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(250));
    let done = runner.run(
        &(vec(damage(), 1..6), any::<bool>()),
        |(all, log_as_well)| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("library.db");
            let mut bytes = whole.clone();
            all.iter().for_each(|damage| damage.apply(&mut bytes));
            fs::write(&path, &bytes).unwrap();
            if log_as_well {
                // A write-ahead log that never belonged to it.
                fs::write(folder.path().join("library.db-wal"), &bytes).unwrap();
            }
            for error in [read(&path).err(), write(&path).err(), read(&path).err()] {
                error.iter().for_each(is_said_plainly);
                refused.set(refused.get() + u32::from(error.is_some()));
            }
            Ok(())
        },
    );
    done.unwrap();
    assert!(refused.get() > 0, "nothing was ever noticed");
}
