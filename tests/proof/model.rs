//! The model: one file in each of two libraries, their rows and a simple service in memory; random answers,
//! losses, delays, crashes, expiries and late visibility; millions of steps. The libraries share names and
//! often contents; a store each, and one that both go into.
//!
//! What a run does with a row is decided by `objlib::pipeline::rules`, the functions that the program
//! itself asks; the order of commits and requests is the worker's. At every step at most one document of
//! a store, library and content may exist, and none in a store that its library is not linked with, and
//! `indexed` must be true; once the service is well again, a few rounds must leave exactly one for each link.
//! A failing case is made as small as it can be: every choice is a byte, zero is "all is
//! well", and what can be zero without curing the case becomes zero.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use objlib::client::{Ended, Failure, FailureKind, File, FileState, SessionState, Submitted};
use objlib::names::{DocumentName, FileName, OperationName};
use objlib::pipeline::rules::{self, Asked, MethodChoice, Next, Staged, Standing};
use objlib::state::upload_state::Event;
use objlib::state::{Method, UploadState};

use crate::{Options, table};

const SIZE: u64 = 10;
/// Lists show a document after so many ticks at the latest; a request is under way for fewer.
const LIST_LAG: u64 = 20;
const FLIGHT: u64 = 10;
/// Commands under faults, and rounds of them in peace that must be enough.
const RUNS: usize = 9;
const CALM_ROUNDS: usize = 4;

/// A store's own commands: the libraries that go into it.
const COMMANDS: [&[usize]; 3] = [&[0], &[1], &[0, 1]];

/// A library's file in a store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Link {
    library: usize,
    store: usize,
}

/// The process died here.
struct Crash;
type Step<T> = Result<T, Crash>;

/// Where all chance comes from; replays and shrinks.
struct Choices {
    bytes: Vec<u8>,
    at: usize,
    rng: Option<fastrand::Rng>,
}

impl Choices {
    /// 0 is "all is well"; the others come up `odds` times in 256 each.
    fn pick(&mut self, odds: &[u8]) -> usize {
        if self.at == self.bytes.len() {
            match &mut self.rng {
                Some(rng) => self.bytes.push(rng.u8(..)),
                None => return 0,
            }
        }
        let byte = u32::from(self.bytes[self.at]);
        self.at += 1;
        let mut top = 256;
        for (i, odds) in odds.iter().enumerate() {
            top -= u32::from(*odds);
            if byte >= top {
                return i + 1;
            }
        }
        0
    }
}

/// A document at the service.
struct Document {
    link: Link,
    version: u32,
    whole: bool,
    failed: bool,
    /// From when on `get` says active, and from when on lists show it.
    active_at: u64,
    listed_at: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Status {
    Active,
    Final(Option<u64>),
    /// Ended without success, and says so.
    Dead,
    Gone,
}

struct Session {
    link: Link,
    version: u32,
    /// The temporary file that its end makes; none: a document.
    file: Option<u64>,
    status: Status,
}

/// A request that has left and has not arrived.
struct UnderWay {
    due: u64,
    effect: Effect,
}

#[derive(Clone, Copy)]
enum Effect {
    Finalize(u64),
    Import { link: Link, version: u32, file: u64 },
}

#[derive(Default)]
struct Service {
    now: u64,
    next: u64,
    documents: BTreeMap<u64, Document>,
    sessions: BTreeMap<u64, Session>,
    /// Temporary files: the version they hold.
    files: BTreeMap<u64, u32>,
    under_way: Vec<UnderWay>,
    /// Deleted documents that lists still show.
    ghosts: BTreeMap<u64, (Link, u32)>,
}

/// A row, as it is on disk.
#[derive(Clone, Debug)]
struct Row {
    link: Link,
    version: u32,
    state: UploadState,
    method: Method,
    session: Option<u64>,
    importing: bool,
    /// What the operation or the document is known by; an import's operation has no document yet.
    operation: Option<u64>,
    document: Option<u64>,
    temporary: Option<u64>,
    direct_faults: u32,
}

/// The files, their rows, the service, and the process between them.
struct World {
    choices: Choices,
    service: Service,
    rows: Vec<Row>,
    links: BTreeSet<Link>,
    /// Of each library the content on disk now; and the newest there ever was.
    versions: [u32; 2],
    newest: u32,
    choice: MethodChoice,
    calm: bool,
    listed: bool,
    steps: u64,
    broken: Option<String>,
    story: Vec<String>,
}

impl Service {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn arrive(&mut self) {
        let now = self.now;
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|u| u.due <= now);
        self.under_way = later;
        for request in due {
            self.now = request.due;
            self.take_effect(request.effect, 0);
        }
        self.now = now;
    }

    /// `luck`: 1 the document fails, 2 it is short.
    fn take_effect(&mut self, effect: Effect, luck: usize) -> Option<u64> {
        match effect {
            Effect::Finalize(id) => {
                let session = self.sessions.get(&id)?;
                if session.status != Status::Active {
                    return None;
                }
                let (link, version, file) = (session.link, session.version, session.file);
                let made = match file {
                    Some(file) => {
                        self.files.insert(file, version);
                        file
                    }
                    None => self.document(link, version, luck),
                };
                self.sessions.get_mut(&id)?.status = Status::Final(Some(made));
                Some(made)
            }
            Effect::Import {
                link,
                version,
                file,
            } => {
                self.files.get(&file)?;
                Some(self.document(link, version, luck))
            }
        }
    }

    fn document(&mut self, link: Link, version: u32, luck: usize) -> u64 {
        let id = self.id();
        let document = Document {
            link,
            version,
            whole: luck != 2,
            failed: luck == 1,
            active_at: self.now + 2,
            listed_at: self.now + LIST_LAG / 2,
        };
        self.documents.insert(id, document);
        id
    }

    fn is_active(&self, id: u64) -> bool {
        self.documents
            .get(&id)
            .is_some_and(|d| d.active_at <= self.now && !d.failed)
    }
}

fn name(id: u64) -> DocumentName {
    DocumentName::new(format!("fileSearchStores/s/documents/{id}"))
}

fn number(name: &str) -> u64 {
    name.rsplit('/').next().unwrap().parse().unwrap()
}

/// How one request went.
enum Reply<T> {
    Answer(T),
    /// Nobody knows whether it took effect.
    Lost,
}

impl World {
    fn say(&mut self, what: String) {
        if self.choices.rng.is_none() {
            self.story.push(format!("{:>4} {what}", self.service.now));
        }
    }

    fn pick(&mut self, odds: &[u8]) -> usize {
        match self.calm {
            true => 0,
            false => self.choices.pick(odds),
        }
    }

    fn tick(&mut self, ticks: u64) {
        self.service.now += ticks;
        self.service.arrive();
        self.steps += 1;
        self.check();
    }

    fn crash(&mut self, what: &str) -> Crash {
        self.say(format!("died {what}"));
        Crash
    }

    /// What must hold at every instant.
    fn check(&mut self) {
        let mut seen = Vec::with_capacity(self.service.documents.len());
        for document in self.service.documents.values() {
            let (link, version) = (document.link, document.version);
            if !self.links.contains(&link) {
                self.broken
                    .get_or_insert_with(|| format!("a document without a link: {link:?}"));
            }
            if seen.contains(&(link, version)) {
                self.broken
                    .get_or_insert_with(|| format!("two documents of version {version}, {link:?}"));
            }
            seen.push((link, version));
        }
        for row in &self.rows {
            let held = row.document.and_then(|d| self.service.documents.get(&d));
            let is_its = |d: &Document| (d.link, d.version) == (row.link, row.version);
            let is_true = held.is_some_and(|d| d.whole && !d.failed && is_its(d));
            if row.state == UploadState::Indexed && !is_true {
                self.broken
                    .get_or_insert(format!("not really indexed: {row:?}"));
            }
        }
    }

    /// A durable step: the process may die before it or after it.
    fn commit(&mut self, i: usize, what: &str, change: impl FnOnce(&mut Row)) -> Step<()> {
        match self.pick(&[6, 6]) {
            1 => Err(self.crash(&format!("before the commit: {what}"))),
            dies => {
                change(&mut self.rows[i]);
                self.say(format!("commit: {what}"));
                self.tick(0);
                match dies {
                    2 => Err(self.crash("after it")),
                    _ => Ok(()),
                }
            }
        }
    }

    fn event(
        &mut self,
        i: usize,
        event: Event,
        what: &str,
        change: impl FnOnce(&mut Row),
    ) -> Step<()> {
        let before = self.rows[i].state;
        match before.after(event) {
            Ok(next) => self.commit(i, what, |row| {
                row.state = next;
                change(row);
            }),
            Err(e) => {
                self.broken.get_or_insert(format!("{e}: {what}"));
                Err(Crash)
            }
        }
    }

    /// A request that only reads, or whose effect may come twice.
    fn ask<T>(&mut self, what: &str, answer: impl FnOnce(&mut Service) -> T) -> Step<Reply<T>> {
        let went = self.pick(&[10, 10, 5, 5]);
        self.say(format!(
            "{what}{}",
            ["", ": not sent", ": answer lost"]
                .get(went)
                .unwrap_or(&": dies")
        ));
        if went == 3 {
            return Err(Crash);
        }
        if went == 1 {
            self.tick(1);
            return Ok(Reply::Lost);
        }
        let answer = answer(&mut self.service);
        self.tick(1);
        match went {
            4 => Err(Crash),
            2 => Ok(Reply::Lost),
            _ => Ok(Reply::Answer(answer)),
        }
    }

    /// A request that makes something: it may also be under way for long, whether or not the sender lives.
    fn make(&mut self, what: &str, effect: Effect) -> Step<Reply<Option<u64>>> {
        let went = self.pick(&[8, 8, 5, 5, 8, 5]);
        let luck = match went {
            0 => self.pick(&[6, 6]),
            _ => 0,
        };
        let words = [
            "",
            ": not sent",
            ": answer lost",
            ": dies before",
            ": dies after",
            ": late",
            ": late, dies",
        ];
        self.say(format!("{what}{}", words[went]));
        if matches!(went, 5 | 6) {
            let due = self.service.now + FLIGHT - 1;
            self.service.under_way.push(UnderWay { due, effect });
        }
        let made = match went {
            0 | 2 | 4 => self.service.take_effect(effect, luck),
            _ => None,
        };
        self.tick(1);
        match went {
            0 => Ok(Reply::Answer(made)),
            3 | 4 | 6 => Err(Crash),
            _ => Ok(Reply::Lost),
        }
    }

    /// It gets new content, that which it had before, or that which the other library has.
    fn file_changes(&mut self, library: usize) {
        let version = self.versions[library];
        self.versions[library] = match self.pick(&[90, 50]) {
            1 if version > 1 => version - 1,
            2 => self.versions[1 - library],
            _ => self.newest + 1,
        };
        let version = self.versions[library];
        self.newest = self.newest.max(version);
        self.say(format!("the file of {library} holds version {version}"));
    }

    fn is_current(&self, row: &Row) -> bool {
        row.version == self.versions[row.link.library]
    }

    /// One run of the program: `upload` of the store's libraries.
    fn run(&mut self, store: usize) -> Step<()> {
        self.say(format!("upload {:?} to store {store}", COMMANDS[store]));
        self.listed = false;
        let libraries = COMMANDS[store];
        for library in libraries {
            if self.pick(&[20]) == 1 {
                self.file_changes(*library);
            }
            self.scan(*library);
        }
        for library in libraries {
            self.link(Link {
                library: *library,
                store,
            })?;
        }
        for i in 0..self.rows.len() {
            if self.rows[i].link.store == store {
                self.recover(i)?;
            }
        }
        for i in 0..self.rows.len() {
            let row = &self.rows[i];
            let is_asked_for = row.link.store == store && libraries.contains(&row.link.library);
            if row.state == UploadState::Pending && is_asked_for && self.is_current(row) {
                self.upload(i)?;
            }
        }
        self.leftovers(store)
    }

    /// From here on the library goes into the store.
    fn link(&mut self, link: Link) -> Step<()> {
        if !self.links.contains(&link) {
            let dies = self.pick(&[6, 6]);
            if dies == 1 {
                return Err(self.crash("before the link"));
            }
            self.links.insert(link);
            self.say(format!("commit: {link:?}"));
            if dies == 2 {
                return Err(self.crash("after it"));
            }
        }
        self.queue(link);
        Ok(())
    }

    /// What the scan finds gets a row in each store that the library is linked with.
    fn scan(&mut self, library: usize) {
        let version = self.versions[library];
        for row in &mut self.rows {
            if row.link.library == library
                && row.version != version
                && row.state == UploadState::Pending
                && row.document.is_none()
                && row.temporary.is_none()
            {
                row.state = UploadState::Retired;
            }
        }
        let links: Vec<Link> = self.links.iter().copied().collect();
        for link in links.into_iter().filter(|link| link.library == library) {
            self.queue(link);
        }
    }

    fn queue(&mut self, link: Link) {
        let version = self.versions[link.library];
        let known = |r: &Row| !matches!(r.state, UploadState::Retired | UploadState::Superseded);
        let mut rows = self.rows.iter();
        if !rows.any(|r| (r.link, r.version) == (link, version) && known(r)) {
            self.rows.push(Row {
                link,
                version,
                state: UploadState::Pending,
                method: Method::Direct,
                session: None,
                importing: false,
                operation: None,
                document: None,
                temporary: None,
                direct_faults: 0,
            });
        }
    }

    fn recover(&mut self, i: usize) -> Step<()> {
        let row = &self.rows[i];
        let standing = Standing {
            state: row.state,
            session: row.session.is_some(),
            importing: row.importing,
            named: row.operation.is_some() || row.document.is_some(),
        };
        match rules::next(standing) {
            Next::Nothing => Ok(()),
            Next::HandBack => self.hand_back(i, "handed back unasked"),
            Next::Poll => self.poll(i),
            Next::LookUp => self.look_up(i),
            Next::Ask => self.ask_session(i),
        }
    }

    fn hand_back(&mut self, i: usize, what: &str) -> Step<()> {
        self.event(i, Event::HandedBack, what, |row| {
            row.session = None;
            row.operation = None;
            row.document = None;
            row.importing = false;
        })
    }

    fn query(&mut self, id: u64) -> Step<Reply<SessionState>> {
        let expires = self.pick(&[10]) == 1;
        let replayed = self.pick(&[20]) == 0;
        self.ask("query", |service| {
            let Some(session) = service.sessions.get_mut(&id) else {
                return SessionState::Gone;
            };
            if expires && session.status == Status::Active {
                // With what was under way for it: an expired session takes nothing in.
                session.status = Status::Gone;
            }
            match (session.status, session.file) {
                (Status::Active, _) => SessionState::Active { received: 0 },
                (Status::Gone, _) => SessionState::Gone,
                _ if expires => SessionState::Gone,
                (Status::Dead, _) => SessionState::Dead(Failure::new(
                    FailureKind::SessionDead,
                    "ended without success",
                )),
                (Status::Final(Some(made)), None) if replayed => {
                    SessionState::Final(Some(Ended::Document(Submitted {
                        operation: Some(OperationName::new(name(made).as_str())),
                        document: Some(name(made)),
                        size_bytes: None,
                    })))
                }
                (Status::Final(Some(made)), Some(_)) if replayed => {
                    SessionState::Final(Some(Ended::File(file(made))))
                }
                (Status::Final(_), _) => SessionState::Final(None),
            }
        })
    }

    fn ask_session(&mut self, i: usize) -> Step<()> {
        let session = self.rows[i].session.unwrap();
        let state = match self.query(session)? {
            Reply::Answer(state) => state,
            Reply::Lost => return Ok(()),
        };
        let current = self.is_current(&self.rows[i]);
        match rules::asked(state, self.rows[i].method, current) {
            Asked::Resume(_) => self.send(i, session, true),
            Asked::Cancel => self.cancel(i, session),
            Asked::Take(ended) => self.ended(i, ended),
            Asked::Fail(_) => self.hand_back(i, "the service ended it"),
            Asked::LookAtFile => self.look_at_file(i),
            Asked::LookUp => self.look_up(i),
        }
    }

    fn cancel(&mut self, i: usize, session: u64) -> Step<()> {
        let cancelled = self.ask("cancel", |service| {
            let session = service.sessions.get_mut(&session);
            session.is_some_and(|s| {
                let active = s.status == Status::Active;
                if active {
                    s.status = Status::Gone;
                }
                active
            })
        })?;
        match cancelled {
            Reply::Answer(true) => self.hand_back(i, "cancelled"),
            Reply::Answer(false) | Reply::Lost => Ok(()),
        }
    }

    fn look_at_file(&mut self, i: usize) -> Step<()> {
        let Some(id) = self.rows[i].temporary else {
            return self.hand_back(i, "no temporary file");
        };
        match self.ask("file get", |service| service.files.contains_key(&id))? {
            Reply::Answer(true) => self.import(i, id),
            Reply::Answer(false) => self.hand_back(i, "temporary file is not there"),
            Reply::Lost => Ok(()),
        }
    }

    fn upload(&mut self, i: usize) -> Step<()> {
        let method = self.choice.method(self.rows[i].direct_faults);
        if let Some(old) = self.rows[i].temporary {
            let found = match self.ask("file get", |service| service.files.contains_key(&old))? {
                Reply::Answer(found) => found,
                Reply::Lost => return Ok(()),
            };
            let of_use = rules::staged(found.then(|| file(old)).as_ref(), SIZE) == Staged::Import;
            if of_use && method == Method::Staged {
                self.event(i, Event::Started, "intent", |row| row.method = method)?;
                return self.import(i, old);
            }
            if !self.discard(i, old)? {
                return Ok(());
            }
        }
        let temporary = (method == Method::Staged).then(|| self.service.id());
        self.event(i, Event::Started, "intent", |row| {
            row.method = method;
            row.temporary = temporary;
            row.session = None;
            row.importing = false;
        })?;
        let (link, version) = (self.rows[i].link, self.rows[i].version);
        let started = self.ask("start", |service| {
            let id = service.id();
            let session = Session {
                link,
                version,
                file: temporary,
                status: Status::Active,
            };
            service.sessions.insert(id, session);
            id
        })?;
        match started {
            Reply::Answer(session) => {
                self.commit(i, "session", |row| row.session = Some(session))?;
                self.send(i, session, false)
            }
            Reply::Lost => self.hand_back(i, "no session is known"),
        }
    }

    /// As the client's `finish`: a broken body asks before it goes on.
    fn send(&mut self, i: usize, session: u64, resumed: bool) -> Step<()> {
        let mut whole = resumed;
        for _ in 0..3 {
            match self.pick(&[10, 8, 6]) {
                // The file changed under it.
                1 => {
                    self.file_changes(self.rows[i].link.library);
                    return match whole {
                        true => self.cancel(i, session),
                        false => self.hand_back(i, "changed, never whole"),
                    };
                }
                // Broken off before the last bytes.
                2 => self.tick(1),
                // The service says that it is over, without success.
                3 => {
                    let known = self.service.sessions.get_mut(&session);
                    if let Some(known) = known
                        && known.status == Status::Active
                    {
                        known.status = Status::Dead;
                        // The answer may be lost on its way.
                        if self.pick(&[30]) == 1 {
                            self.tick(1);
                            continue;
                        }
                        let fault = self.choice.has_another_way(self.rows[i].method);
                        self.rows[i].direct_faults += u32::from(fault);
                        return self.hand_back(i, "the service ended it");
                    }
                }
                _ => {
                    whole = true;
                    match self.make("body", Effect::Finalize(session))? {
                        Reply::Answer(Some(made)) => {
                            let ended = match self.rows[i].method {
                                Method::Staged => Ended::File(file(made)),
                                Method::Direct => Ended::Document(Submitted {
                                    operation: Some(OperationName::new(name(made).as_str())),
                                    document: Some(name(made)),
                                    size_bytes: None,
                                }),
                            };
                            return self.ended(i, ended);
                        }
                        // Already terminated, or no answer.
                        Reply::Answer(None) | Reply::Lost => {}
                    }
                }
            }
            match self.query(session)? {
                Reply::Answer(SessionState::Active { .. }) => {}
                Reply::Answer(SessionState::Final(Some(ended))) => return self.ended(i, ended),
                Reply::Answer(SessionState::Dead(_)) => {
                    return self.hand_back(i, "the service ended it");
                }
                Reply::Answer(SessionState::Gone) if !whole => {
                    return self.hand_back(i, "gone, and never whole");
                }
                Reply::Answer(SessionState::Final(None) | SessionState::Gone) | Reply::Lost => {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn ended(&mut self, i: usize, ended: Ended) -> Step<()> {
        match ended {
            Ended::File(file) => self.import(i, number(file.name.as_str())),
            Ended::Document(submitted) => {
                let document = number(submitted.document.unwrap().as_str());
                self.event(i, Event::Submitted, "submitted", |row| {
                    row.operation = Some(document);
                    row.document = Some(document);
                })?;
                self.poll(i)
            }
        }
    }

    fn import(&mut self, i: usize, id: u64) -> Step<()> {
        self.commit(i, "import started", |row| {
            row.importing = true;
            row.session = None;
        })?;
        let effect = Effect::Import {
            link: self.rows[i].link,
            version: self.rows[i].version,
            file: id,
        };
        match self.make("import", effect)? {
            Reply::Answer(Some(document)) => {
                self.event(i, Event::Submitted, "submitted", |row| {
                    row.operation = Some(document);
                    row.importing = false;
                })?;
                self.poll(i)
            }
            // The temporary file is not there: refused.
            Reply::Answer(None) => self.hand_back(i, "import refused"),
            Reply::Lost => self.look_up(i),
        }
    }

    fn poll(&mut self, i: usize) -> Step<()> {
        if let Some(id) = self.rows[i].document {
            return self.look_at(i, id);
        }
        // An import's operation names its document when it has ended well.
        let id = self.rows[i].operation.unwrap();
        for _ in 0..4 {
            self.tick(2);
            let ended = self.ask("poll", |service| {
                let document = service.documents.get(&id)?;
                let ended = document.active_at <= service.now;
                Some((ended, document.failed))
            })?;
            match ended {
                Reply::Answer(Some((true, false))) => return self.look_at(i, id),
                Reply::Answer(None | Some((true, true))) => return self.look_up(i),
                Reply::Answer(Some((false, _))) | Reply::Lost => {}
            }
        }
        Ok(())
    }

    fn look_at(&mut self, i: usize, id: u64) -> Step<()> {
        for _ in 0..4 {
            self.tick(2);
            // Now and then it is not seen yet, though it is there.
            let unseen = self.pick(&[8]) == 1;
            let seen = self.ask("document get", |service| {
                let document = service.documents.get(&id).filter(|_| !unseen)?;
                Some((
                    document.active_at <= service.now,
                    document.failed,
                    document.whole,
                ))
            })?;
            match seen {
                Reply::Answer(Some((true, false, whole)))
                    if rules::is_whole(Some(if whole { SIZE } else { SIZE - 1 }), SIZE) =>
                {
                    return self.activated(i, id);
                }
                Reply::Answer(Some((true, ..))) => {
                    // Failed or short: it must be gone before there is another one.
                    return match self.ask("delete", |service| service.delete(id))? {
                        Reply::Answer(()) => self.hand_back(i, "failed, and deleted"),
                        Reply::Lost => Ok(()),
                    };
                }
                Reply::Answer(Some((false, ..))) | Reply::Lost => {}
                Reply::Answer(None) => return self.look_up(i),
            }
        }
        Ok(())
    }

    fn activated(&mut self, i: usize, id: u64) -> Step<()> {
        let mut kept = self.rows[i].temporary;
        if let Some(old) = kept
            && let Reply::Answer(()) = self.ask("file delete", |service| service.forget(old))?
        {
            kept = None;
        }
        self.event(i, Event::Activated, "indexed", |row| {
            row.document = Some(id);
            row.session = None;
            row.temporary = kept;
        })
    }

    /// The one listing of a run.
    fn look_up(&mut self, i: usize) -> Step<()> {
        if self.listed {
            return Ok(());
        }
        self.listed = true;
        self.tick(LIST_LAG);
        let fault = self.pick(&[20, 20, 20]);
        let row = self.rows[i].clone();
        let (store, own) = (row.link.store, (row.link, row.version));
        let claimed: Vec<u64> = self.rows.iter().filter_map(|r| r.document).collect();
        let listing = self.ask("list", |service| {
            let now = service.now;
            let here = |d: &&Document| d.link.store == store;
            let counted = service.documents.values().filter(here).count();
            let mut shown: Vec<(u64, (Link, u32))> = service
                .documents
                .iter()
                .filter(|(_, d)| here(d) && d.listed_at <= now)
                .map(|(id, d)| (*id, (d.link, d.version)))
                .collect();
            match fault {
                // Breaks off, loses one, shows deleted ones.
                1 => return (Vec::new(), false),
                2 => drop(shown.pop()),
                3 => shown.extend(
                    service
                        .ghosts
                        .iter()
                        .filter(|(_, (link, _))| link.store == store)
                        .map(|(id, identity)| (*id, *identity)),
                ),
                _ => {}
            }
            let whole = shown.len() >= counted;
            (shown, whole)
        })?;
        let Reply::Answer((shown, whole)) = listing else {
            return Ok(());
        };
        let found = shown
            .iter()
            .find(|(id, identity)| *identity == own && !claimed.contains(id))
            .or_else(|| shown.iter().find(|(id, _)| row.document == Some(*id)))
            .copied();
        match (found, row.state) {
            (Some((id, _)), UploadState::Uploading) => {
                self.event(i, Event::Submitted, "found in the store", |row| {
                    row.operation = Some(id);
                    row.document = Some(id);
                    row.importing = false;
                })?;
                self.poll(i)
            }
            (Some((id, _)), _) => self.look_at(i, id),
            (None, _) if !whole => Ok(()),
            (None, _) => self.hand_back(i, "absent"),
        }
    }

    fn discard(&mut self, i: usize, id: u64) -> Step<bool> {
        match self.ask("file delete", |service| service.forget(id))? {
            Reply::Answer(()) => {
                self.commit(i, "temporary file gone", |row| row.temporary = None)?;
                Ok(true)
            }
            Reply::Lost => Ok(false),
        }
    }

    fn leftovers(&mut self, store: usize) -> Step<()> {
        for i in 0..self.rows.len() {
            let row = self.rows[i].clone();
            if row.link.store != store {
                continue;
            }
            let current = self.versions[row.link.library];
            let new_is_there = self.rows.iter().any(|r| {
                r.link == row.link && r.version == current && r.state == UploadState::Indexed
            });
            if row.version != current && row.state == UploadState::Indexed && new_is_there {
                let id = row.document.unwrap();
                // Rows are right until the commit: what is deleted is not claimed to be indexed.
                if let Reply::Answer(()) = self.delete_replaced(i, id)? {}
            }
            let unneeded = match row.state {
                UploadState::Indexed | UploadState::Superseded => true,
                UploadState::Pending => row.version != current,
                _ => false,
            };
            if let Some(old) = row.temporary
                && unneeded
            {
                self.discard(i, old)?;
            }
        }
        Ok(())
    }

    fn delete_replaced(&mut self, i: usize, id: u64) -> Step<Reply<()>> {
        // Between the deletion and its commit the row still says `indexed`, of content that nobody has
        // any more: the one moment that the check below leaves out.
        self.rows[i].state = UploadState::Superseded;
        let reply = self.ask("delete", |service| service.delete(id));
        match reply {
            Ok(Reply::Answer(())) => {
                if self.pick(&[6]) == 1 {
                    self.rows[i].state = UploadState::Superseded;
                    return Err(self.crash("before the commit: superseded"));
                }
                Ok(Reply::Answer(()))
            }
            Ok(Reply::Lost) | Err(Crash) => {
                let there = self.service.documents.contains_key(&id);
                if there {
                    self.rows[i].state = UploadState::Indexed;
                }
                reply
            }
        }
    }
}

impl Service {
    fn forget(&mut self, file: u64) {
        self.files.remove(&file);
    }

    fn delete(&mut self, id: u64) {
        if let Some(document) = self.documents.remove(&id) {
            self.ghosts.insert(id, (document.link, document.version));
        }
    }
}

fn file(id: u64) -> File {
    File {
        name: FileName::new(format!("files/{id}")),
        state: FileState::Active,
        size_bytes: Some(SIZE),
    }
}

impl World {
    /// At the end each library's file is once in each store that it goes into, and nothing else is anywhere.
    fn not_exact(&self) -> Option<String> {
        let stores = COMMANDS.iter().enumerate();
        let wanted = stores.flat_map(|(store, libraries)| {
            let link = move |library: &usize| Link {
                library: *library,
                store,
            };
            libraries.iter().map(link)
        });
        let wanted: BTreeSet<(Link, u32)> = wanted
            .map(|link| (link, self.versions[link.library]))
            .collect();
        let active =
            |(id, d): (&u64, &Document)| self.service.is_active(*id).then_some((d.link, d.version));
        let found: Vec<_> = self.service.documents.iter().map(active).collect();
        let whole = found.len() == wanted.len()
            && found.iter().all(|d| d.is_some_and(|d| wanted.contains(&d)))
            && self.service.files.is_empty();
        (!whole).then(|| {
            format!(
                "at the end: documents {found:?}, {} temporary files, rows {:?}",
                self.service.files.len(),
                self.rows
            )
        })
    }
}

/// What was broken, and the story.
type Broken = (String, Vec<String>);

/// A whole life: runs under faults, then runs in peace. The second value: how many steps it took.
fn live(choices: Choices) -> (Choices, u64, Result<(), Broken>) {
    let mut world = World {
        choices,
        service: Service::default(),
        rows: Vec::new(),
        links: BTreeSet::new(),
        versions: [1, 1],
        newest: 1,
        choice: MethodChoice::Auto,
        calm: false,
        listed: false,
        steps: 0,
        broken: None,
        story: Vec::new(),
    };
    world.choice = match world.choices.pick(&[85, 85]) {
        0 => MethodChoice::Direct,
        1 => MethodChoice::Staged,
        _ => MethodChoice::Auto,
    };
    for run in 0..RUNS + CALM_ROUNDS * COMMANDS.len() {
        world.calm = run >= RUNS;
        let store = match world.calm {
            true => (run - RUNS) % COMMANDS.len(),
            // Zero is the store that both go into.
            false => (world.pick(&[85, 85]) + 2) % COMMANDS.len(),
        };
        world.say(format!(
            "run {run}{}",
            if world.calm { ", in peace" } else { "" }
        ));
        let _ = world.run(store);
        // Whatever was still under way when the process died arrives before the next one lists.
        let pause = world.pick(&[60]) as u64 * FLIGHT;
        world.tick(pause);
        if world.broken.is_some() {
            break;
        }
    }
    if world.broken.is_none() {
        world.tick(FLIGHT);
        world.broken = world.not_exact();
    }
    let result = match world.broken {
        Some(why) => Err((why, world.story)),
        None => Ok(()),
    };
    (world.choices, world.steps, result)
}

/// As few and as small choices as still break it.
fn shrink(mut bytes: Vec<u8>) -> Vec<u8> {
    let breaks = |bytes: &[u8]| {
        let choices = Choices {
            bytes: bytes.to_vec(),
            at: 0,
            rng: None,
        };
        live(choices).2.is_err()
    };
    let mut size = bytes.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + size).min(bytes.len());
            let mut less = bytes.clone();
            less.drain(at..end);
            let mut calmer = bytes.clone();
            calmer[at..end].fill(0);
            if breaks(&less) {
                bytes = less;
            } else {
                if calmer != bytes && breaks(&calmer) {
                    bytes = calmer;
                }
                at = end;
            }
        }
        size /= 2;
    }
    bytes
}

pub fn run(options: &Options) {
    let steps_wanted: u64 = if options.long { 100_000_000 } else { 4_000_000 };
    let began = Instant::now();
    let mut rng = fastrand::Rng::with_seed(options.seed);
    let (mut lives, mut steps) = (0u64, 0u64);
    while steps < steps_wanted {
        let choices = Choices {
            bytes: Vec::new(),
            at: 0,
            rng: Some(rng.fork()),
        };
        let (choices, took, result) = live(choices);
        lives += 1;
        steps += took;
        if result.is_err() {
            let bytes = shrink(choices.bytes);
            let smallest = Choices {
                bytes: bytes.clone(),
                at: 0,
                rng: None,
            };
            let (_, _, result) = live(smallest);
            let (why, story) = result.unwrap_err();
            println!("{}\nchoices {bytes:?}", story.join("\n"));
            panic!("life {lives} of seed {}: {why}", options.seed);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    table(
        &["steps", "lives", "seconds", "broken"],
        &[vec![
            steps.to_string(),
            lives.to_string(),
            format!("{seconds:.1}"),
            "0".to_owned(),
        ]],
    );
}
