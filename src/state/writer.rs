//! The writer: the only thread that changes the database.
//!
//! Owns the writing connection and the lock row. Drains what is waiting, applies it in one
//! transaction, commits, then acknowledges all of it. Promises: an acknowledgement means synced to
//! disk; after a failed commit, or once the lock is somebody else's, nothing more is accepted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::change::{Applied, Change, Refusal, Way};
use super::durable::{Durable, Intent, Unaskable, UploadId};
use super::lock::{self, Holder, Lease};
use super::open::mark::Mark;
use super::open::{self, DatabaseFiles};
use crate::clock;
use crate::error::{Error, Kind};
use crate::names::{DocumentName, OperationName, SessionUrl};
use crate::panic;
use crate::poison;
use crate::proof;
use crate::shutdown::{Shutdown, Stop};
use crate::waits::Waits;

/// Changes in one transaction: bounds its memory and how long an acknowledgement waits.
const GROUP_CHANGES_MAX: usize = 2048;
/// How long a group that nobody waits for is kept open for more: each commit costs a sync of the disk.
const PATIENCE: Duration = Duration::from_millis(20);
/// Changes that may wait; beyond it their senders do.
const QUEUE_CHANGES_MAX: usize = 2048;

/// Whoever waits for a change is told exactly once, also when the writer's thread dies with it in hand.
struct Ack(Option<Then>);

type Then = Box<dyn FnOnce(Result<Applied, Error>) + Send>;

impl Ack {
    fn tell(mut self, done: Result<Applied, Error>) {
        if let Some(then) = self.0.take() {
            then(done);
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(Err(ended()));
        }
    }
}

struct Request {
    change: Change,
    /// A thread does nothing else until it is told.
    is_waited_for: bool,
    ack: Ack,
}

/// The way to the writer thread; cheap to clone.
#[derive(Clone)]
pub struct Writer {
    // Boxes: of a queue that is nearly empty only the places are in memory.
    queue: Sender<Box<Request>>,
}

/// The running thread. `close` ends it and releases the lock.
pub struct WriterThread {
    writer: Writer,
    lease: Arc<Lease>,
    thread: JoinHandle<()>,
    failure: Arc<Mutex<Option<Error>>>,
}

/// What `start` found in the lock row.
pub struct Started {
    pub thread: WriterThread,
    /// The dead objlib whose lock was taken over.
    pub taken_over: Option<Holder>,
    /// The database may be an older copy of itself: before anything is sent, its stores are looked at.
    pub looks_again: bool,
}

/// Opens the database, takes the lock, starts the thread.
///
/// # Errors
/// The database cannot be opened, or is damaged since its last objlib died (`Kind::Database`); or a
/// living objlib holds it (`Kind::Locked`).
pub fn start(path: &Path, shutdown: Arc<Shutdown>, waits: &Waits) -> Result<Started, Error> {
    let me = Holder::this_process();
    let stale_after = waits.lock_stale_after;
    let mark = Mark::of(path);
    let first = |tx: &Transaction<'_>| {
        let taken_over = lock::take(tx, path, &me, clock::now_ms(), stale_after)?;
        let looks_again = mark.look_again(tx).map_err(|e| open::error(path, &e))?;
        Ok((taken_over, looks_again))
    };
    let (conn, (taken_over, looks_again)) = open::writing(path, first)?;
    if looks_again {
        mark.set(&conn);
    }
    if taken_over.is_some() {
        open::check(&conn, path)?;
    }
    let lease = Arc::new(Lease::taken(waits.lock_lease));
    let (queue, requests) = bounded(QUEUE_CHANGES_MAX);
    let failure = Arc::new(Mutex::new(None));
    let state = State {
        conn,
        me,
        lease: Arc::clone(&lease),
        heartbeat: waits.lock_heartbeat,
        files: DatabaseFiles::of(path),
        mark,
        path: path.to_owned(),
        shutdown,
        failure: Arc::clone(&failure),
    };
    let thread = thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || {
            let (shutdown, failure) = (Arc::clone(&state.shutdown), Arc::clone(&state.failure));
            if let Err(e) = panic::caught("writer", || state.run(&requests)) {
                poison::lock(&failure).get_or_insert(e);
                shutdown.stop(Stop::Error);
                // A bounded channel keeps what nobody takes: whoever sent it is told by its `Ack` only here.
                requests.iter().for_each(drop);
            }
        })
        .map_err(|e| Error::new(Kind::System, "writer", e.to_string(), "free some memory"))?;
    Ok(Started {
        thread: WriterThread {
            writer: Writer { queue },
            lease,
            thread,
            failure,
        },
        taken_over,
        looks_again,
    })
}

impl WriterThread {
    pub fn writer(&self) -> Writer {
        self.writer.clone()
    }

    pub fn lease(&self) -> Arc<Lease> {
        Arc::clone(&self.lease)
    }

    /// The first failed commit, if there was one.
    pub fn failure(&self) -> Option<Error> {
        poison::lock(&self.failure).clone()
    }

    /// Waits until everything that was sent is committed, then releases the lock. Every clone of the
    /// `Writer` must be gone.
    pub fn close(self) -> Result<(), Error> {
        drop(self.writer);
        if self.thread.join().is_err() {
            return Err(ended());
        }
        match poison::lock(&self.failure).take() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }
}

impl Writer {
    /// Applies the change and waits until it is on disk.
    pub fn commit(&self, change: Change) -> Result<Applied, Error> {
        // Not a channel: whoever waits there spins at first, and this takes a sync of the disk.
        let told = Arc::new((Mutex::new(None), Condvar::new()));
        let tell = Arc::clone(&told);
        let then = move |done| {
            *poison::lock(&tell.0) = Some(done);
            tell.1.notify_one();
        };
        self.request(change, true, Box::new(then));
        // The `Ack` speaks whatever happens.
        let done = told
            .1
            .wait_while(poison::lock(&told.0), |done| done.is_none());
        let mut done = done.unwrap_or_else(PoisonError::into_inner);
        done.take().unwrap_or_else(|| Err(ended()))
    }

    /// Applies the change without waiting; `then` is called on the writer's thread once it is on
    /// disk, or with the error. It must be quick.
    pub fn send(&self, change: Change, then: impl FnOnce(Result<Applied, Error>) + Send + 'static) {
        self.request(change, false, Box::new(then));
    }

    fn request(&self, change: Change, is_waited_for: bool, then: Then) {
        let request = Box::new(Request {
            change,
            is_waited_for,
            ack: Ack(Some(then)),
        });
        // Where the thread has ended it is dropped, and that tells.
        let _ = self.queue.send(request);
    }

    /// Write-ahead rule 1: durable before the first request of an upload.
    pub fn intent(&self, upload: UploadId, batch: i64, way: Way) -> Result<Durable<Intent>, Error> {
        self.commit(Change::Intent { upload, batch, way })?;
        Ok(Durable::committed(Intent { upload }))
    }

    /// The same of an upload in one request; should that be refused, the intent holds for a session.
    pub fn intent_of_one_request(
        &self,
        upload: UploadId,
        batch: i64,
    ) -> Result<(Durable<Intent>, Durable<Unaskable>), Error> {
        let intent = self.intent(upload, batch, Way::OneRequest)?;
        Ok((intent, Durable::committed(Unaskable { upload })))
    }

    /// Write-ahead rule 2: durable before the request that finalizes the upload.
    pub fn session_opened(
        &self,
        upload: UploadId,
        url: SessionUrl,
    ) -> Result<Durable<SessionUrl>, Error> {
        self.commit(Change::SessionOpened {
            upload,
            url: url.clone(),
        })?;
        Ok(Durable::committed(url))
    }
}

impl Writer {
    /// Write-ahead rule 1 for the second half of the staged way: durable before the import is sent.
    pub fn import_started(&self, upload: UploadId) -> Result<Durable<Unaskable>, Error> {
        self.commit(Change::ImportStarted { upload })?;
        Ok(Durable::committed(Unaskable { upload }))
    }
}

/// What the poll queue gets once a submission is on disk.
pub type OnDisk = (Option<Durable<OperationName>>, Option<DocumentName>);

impl Writer {
    /// Write-ahead rule 3: durable before the first poll. Does not wait; `then` gets the names.
    pub fn submitted(
        &self,
        upload: UploadId,
        operation: Option<OperationName>,
        document: Option<DocumentName>,
        then: impl FnOnce(Result<OnDisk, Error>) + Send + 'static,
    ) {
        let change = Change::Submitted {
            upload,
            operation: operation.clone(),
            document: document.clone(),
        };
        self.send(change, move |done| {
            then(done.map(|_| (operation.map(Durable::committed), document)));
        });
    }
}

struct State {
    conn: Connection,
    me: Holder,
    lease: Arc<Lease>,
    /// Between two beats of the lock.
    heartbeat: Duration,
    files: DatabaseFiles,
    mark: Mark,
    path: PathBuf,
    shutdown: Arc<Shutdown>,
    failure: Arc<Mutex<Option<Error>>>,
}

impl State {
    fn run(mut self, requests: &Receiver<Box<Request>>) {
        let mut beat_due = Instant::now() + self.heartbeat;
        loop {
            // A new one each time: a scan fills two thousand places, an upload a handful.
            let mut group = Vec::new();
            match requests.recv_deadline(beat_due) {
                Ok(first) => group.push(*first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let room = GROUP_CHANGES_MAX - group.len();
            group.extend(requests.try_iter().take(room).map(|request| *request));
            gather(
                &mut group,
                requests,
                beat_due.min(Instant::now() + PATIENCE),
            );
            let beat = Instant::now() >= beat_due;
            if beat {
                proof::mishap("heartbeat");
                beat_due = Instant::now() + self.heartbeat;
            }
            self.commit_group(group, beat);
        }
        if poison::lock(&self.failure).is_none() {
            // Not released only if the disk fails now; then the next run takes it over.
            let _ = lock::release(&self.conn, &self.me);
        }
    }

    fn commit_group(&mut self, group: Vec<Request>, beat: bool) {
        let failed = poison::lock(&self.failure).clone();
        let done = match failed {
            Some(e) => Err(e),
            None => self.transact(&group, beat),
        };
        match done {
            Ok(results) => {
                for (request, result) in group.into_iter().zip(results) {
                    if let Err(e) = &result {
                        self.fail(e);
                    }
                    request.ack.tell(result);
                }
            }
            Err(e) => {
                self.fail(&e);
                for request in group {
                    request.ack.tell(Err(e.clone()));
                }
            }
        }
    }

    /// The first failure stays: from here on nothing is accepted, and the run stops.
    fn fail(&self, e: &Error) {
        poison::lock(&self.failure).get_or_insert_with(|| e.clone());
        self.shutdown.stop(Stop::Error);
    }

    /// A change that the state machine refuses does not undo the others; an error of the database fails all.
    /// Only a bug is ever refused, and a savepoint costs as much as the change that it is for: without them first.
    fn transact(
        &mut self,
        group: &[Request],
        beat: bool,
    ) -> Result<Vec<Result<Applied, Error>>, Error> {
        self.files.check()?;
        for request in group {
            proof::point("before", request.change.step());
        }
        let results = match self.attempt(group, beat, false)? {
            Some(results) => results,
            None => self.attempt(group, beat, true)?.unwrap_or_default(),
        };
        self.lease.confirm();
        for request in group {
            proof::point("after", request.change.step());
        }
        let is_of_runs = |r: &Request| {
            matches!(
                r.change,
                Change::RunStarted { .. } | Change::RunEnded { .. }
            )
        };
        if group.iter().any(is_of_runs) {
            self.mark.set(&self.conn);
        }
        Ok(results)
    }

    /// One transaction. `None`: a change was refused that may have been applied by half, and nothing is committed.
    fn attempt(&mut self, group: &[Request], beat: bool, savepoints: bool) -> Attempt {
        let path = self.path.clone();
        let fail = |e: rusqlite::Error| open::error(&path, &e);
        let tx = Transaction::new(&mut self.conn, TransactionBehavior::Immediate).map_err(fail)?;
        let mine = match beat {
            true => lock::beat(&tx, &self.me, clock::now_ms()),
            false => lock::is_mine(&tx, &self.me),
        };
        if !mine.map_err(fail)? {
            return Err(lost(&path));
        }
        let mut results = Vec::with_capacity(group.len());
        for Request { change, .. } in group {
            let done = match savepoints {
                true => change.apply_whole(&tx, &self.me),
                false => change.apply(&tx, &self.me),
            };
            results.push(match done {
                Ok(applied) => Ok(applied),
                Err(Refusal::Sql(e)) => return Err(fail(e)),
                Err(Refusal::Illegal(why)) if savepoints => Err(bug(why)),
                Err(Refusal::Illegal(_)) => {
                    tx.rollback().map_err(fail)?;
                    return Ok(None);
                }
            });
        }
        tx.commit().map_err(fail)?;
        Ok(Some(results))
    }
}

/// What each change of a group came to.
type Attempt = Result<Option<Vec<Result<Applied, Error>>>, Error>;

/// Fills the group up, until it holds something that somebody waits for.
fn gather(group: &mut Vec<Request>, requests: &Receiver<Box<Request>>, until: Instant) {
    let mut is_waited = group.is_empty() || group.iter().any(|request| request.is_waited_for);
    while !is_waited && group.len() < GROUP_CHANGES_MAX {
        let Ok(request) = requests.recv_deadline(until) else {
            return;
        };
        is_waited = request.is_waited_for;
        group.push(*request);
    }
}

fn lost(path: &Path) -> Error {
    Error::new(
        Kind::Locked,
        path.display().to_string(),
        "another objlib has taken the lock over (this one was suspended, or the clock jumped)",
        "let the other one finish; nothing is lost",
    )
}

fn bug(why: String) -> Error {
    Error::new(
        Kind::Bug,
        "state machine",
        why,
        "please report this; nothing that was confirmed is lost",
    )
}

/// It ends before its users only by a panic.
fn ended() -> Error {
    panic::error("writer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_change_is_alone_in_being_undone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
        let started = start(&path, shutdown, &Waits::default()).unwrap();
        let writer = started.thread.writer();
        // The thread is held up until all three wait, so that they are one group.
        let (go_on, held_up) = bounded::<()>(1);
        writer.send(Change::Flush, move |_| held_up.recv().unwrap());
        let (tell, told) = bounded(3);
        let library = |name: &str| Change::LibraryAdded {
            name: name.to_owned(),
            root: format!("/{name}"),
        };
        let nobodys = Change::Deleted {
            upload: UploadId(7),
        };
        for change in [library("a"), nobodys, library("b")] {
            let tell = tell.clone();
            writer.send(change, move |done| tell.send(done.is_ok()).unwrap());
        }
        go_on.send(()).unwrap();
        let done: Vec<bool> = told.iter().take(3).collect();
        assert_eq!(done, [true, false, true]);
        drop(writer);
        assert_eq!(started.thread.close().unwrap_err().kind, Kind::Bug);
        let libraries = open::reading(&path).unwrap().query_row(
            "SELECT group_concat(name) FROM libraries",
            [],
            |r| r.get::<_, String>(0),
        );
        assert_eq!(libraries.unwrap(), "a,b");
    }
}
