//! The model: one file in each of two libraries, their rows and a simple service in memory; random answers,
//! losses, delays, crashes, expiries and late visibility; any number of steps. The libraries share names and
//! often contents; a store each, and one that both go into.
//!
//! What a run does with a row is decided by `objlib::pipeline::rules`, the functions that the program
//! itself asks; the order of commits and requests is the program's. At every step at most one document of
//! a store, library and content may exist, and none in a store that its library is not linked with, and
//! `indexed` must be true; once the service is well again, a few rounds must leave exactly one for each link.
//! A failing case is made as small as it can be: every choice is a byte, zero is "all is
//! well", and what can be zero without curing the case becomes zero.
//!
//! The proof program `model` lives millions of steps, a unit test of `rules` the short form.

use std::collections::BTreeSet;

use objlib::pipeline::rules::{MethodChoice, OneRequests};
use objlib::state::upload_state::Event;
use objlib::state::{Method, Support, UploadState};

use self::chance::Choices;
use self::service::{Document, Effect, FLIGHT, Link, Luck, Service, UnderWay};

pub use self::chance::many;

mod chance;

mod following;

mod sending;

mod service;

/// Commands under faults, and rounds of them in peace that must be enough.
const RUNS: usize = 9;
const CALM_ROUNDS: usize = 4;

/// A store's own commands: the libraries that go into it.
const COMMANDS: [&[usize]; 3] = [&[0], &[1], &[0, 1]];

/// The process died here.
struct Crash;
type Step<T> = Result<T, Crash>;

/// A row, as it is on disk.
#[derive(Clone, Debug)]
struct Row {
    link: Link,
    version: u32,
    state: UploadState,
    method: Method,
    session: Option<u64>,
    unaskable: bool,
    /// What the operation or the document is known by; an import's operation has no document yet.
    operation: Option<u64>,
    document: Option<u64>,
    temporary: Option<u64>,
    direct_faults: u32,
    /// That ended without success.
    attempts: u32,
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
    /// The service refuses uploads of one request.
    refuses_form: bool,
    /// What is on disk of that, a store each, and what this run knows.
    support: [Support; 3],
    one_request: OneRequests,
    calm: bool,
    /// What the service says of documents makes no sense in this run.
    garbled: bool,
    listed: bool,
    steps: u64,
    broken: Option<String>,
    story: Vec<String>,
}

/// How one request went.
enum Reply<T> {
    Answer(T),
    /// Nobody knows whether it took effect.
    Lost,
}

impl World {
    fn say(&mut self, what: String) {
        if self.choices.is_replay() {
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
            let is_true =
                held.is_some_and(|d| d.is_whole() && d.is_active(self.service.now) && is_its(d));
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
            0 => self.pick(&[6, 6, 6, 4, 4, 4, 4, 4]),
            _ => 0,
        };
        let luck = luck.checked_sub(1).map_or(Luck::Good, |bad| Luck::BAD[bad]);
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
        self.one_request = OneRequests::new(self.support[store]);
        self.garbled = self.pick(&[20]) == 1;
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
            if !is_asked_for || !self.is_current(row) {
                continue;
            }
            // `--retry-failed`, mostly.
            if row.state == UploadState::Failed && self.pick(&[60]) == 0 {
                self.event(i, Event::Retried, "tried again", |_| {})?;
            }
            if self.rows[i].state == UploadState::Pending {
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
                unaskable: false,
                operation: None,
                document: None,
                temporary: None,
                direct_faults: 0,
                attempts: 0,
            });
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
                UploadState::Pending | UploadState::Failed => row.version != current,
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
        let now = self.service.now;
        let active = |(_, d): (&u64, &Document)| d.is_active(now).then_some((d.link, d.version));
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
