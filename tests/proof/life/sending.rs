//! What the model does with a file until the service has it: recovery, one request, session, body, import. The order of
//! commits and requests is the worker's, and what follows from an answer is said by `rules`.

use objlib::client::{Ended, Failure, FailureKind, SessionState, Unanswered};
use objlib::pipeline::rules::{
    self, AfterFileLook, AfterOneRequest, AfterQuery, Indexing, Next, NoDocument, RowState, Told,
    Unclear,
};
use objlib::state::Method;
use objlib::state::upload_state::Event;

use super::service::{Effect, SIZE, Session, Status, file, name, number};
use super::{Reply, Step, World};

impl World {
    pub fn recover(&mut self, i: usize) -> Step<()> {
        let upload = &self.rows[i];
        let row = RowState {
            state: upload.state,
            session: upload.session.is_some(),
            unaskable: upload.unaskable,
        };
        match rules::next(row) {
            Next::Nothing => Ok(()),
            Next::HandBack => self.hand_back(i, "handed back unasked"),
            Next::Poll => {
                let document = upload.document.map(name);
                self.follow(i, Indexing::inherited(upload.operation.is_some(), document))
            }
            Next::LookUp => self.look_up(i),
            Next::Ask => self.ask_session(i),
        }
    }

    pub fn hand_back(&mut self, i: usize, what: &str) -> Step<()> {
        self.event(i, Event::HandedBack, what, |row| {
            row.session = None;
            row.operation = None;
            row.document = None;
            row.unaskable = false;
        })
    }

    pub fn reject(&mut self, i: usize) -> Step<()> {
        self.event(i, Event::Rejected, "failed for good", |row| {
            row.session = None;
            row.operation = None;
            row.document = None;
            row.unaskable = false;
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
                    SessionState::Final(Some(service.submitted(made)))
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
            AfterQuery::Resume(_) => self.send(i, session, true),
            AfterQuery::Cancel => self.cancel(i, session),
            AfterQuery::Take(ended) => self.ended(i, ended),
            AfterQuery::Fail(_) => self.hand_back(i, "the service ended it"),
            AfterQuery::LookAtFile => self.look_at_file(i),
            AfterQuery::LookUp => self.look_up(i),
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

    pub fn upload(&mut self, i: usize) -> Step<()> {
        let method = self.choice.method(self.rows[i].direct_faults);
        if let Some(old) = self.rows[i].temporary {
            let found = match self.ask("file get", |service| service.files.contains_key(&old))? {
                Reply::Answer(found) => found,
                Reply::Lost => return Ok(()),
            };
            let of_use =
                rules::staged(found.then(|| file(old)).as_ref(), SIZE) == AfterFileLook::Import;
            if of_use && method == Method::Staged {
                self.event(i, Event::Started, "intent", |row| row.method = method)?;
                return self.import(i, old);
            }
            if !self.discard(i, old)? {
                return Ok(());
            }
        }
        let row = &self.rows[i];
        let failed_before = row.attempts + row.direct_faults > 0;
        if method == Method::Direct && self.one_request.takes(SIZE, failed_before) {
            return self.upload_in_one_request(i);
        }
        let temporary = (method == Method::Staged).then(|| self.service.id());
        self.event(i, Event::Started, "intent", |row| {
            row.method = method;
            row.temporary = temporary;
            row.session = None;
            row.unaskable = false;
        })?;
        self.start(i)
    }

    /// The answer to a request that nobody can ask about says what becomes of its file, or the store does.
    fn upload_in_one_request(&mut self, i: usize) -> Step<()> {
        self.event(i, Event::Started, "intent of one request", |row| {
            row.method = Method::Direct;
            row.temporary = None;
            row.session = None;
            row.unaskable = true;
        })?;
        let (link, version) = (self.rows[i].link, self.rows[i].version);
        let (kind, was_whole) = match self.pick(&[8, 8, 6, 6, 6]) {
            // The file changed under it.
            1 => {
                self.file_changes(link.library);
                self.told(link.store, Told::Nothing);
                return self.hand_back(i, "changed, never whole");
            }
            // Broken off before the last bytes.
            2 => (FailureKind::Transient, false),
            // Refused: for now, for good, or with the known fault.
            3 => (FailureKind::RateLimited, true),
            4 => (FailureKind::Permanent, true),
            5 => (FailureKind::CountTokens, true),
            _ if self.refuses_form => (FailureKind::Permanent, true),
            _ => match self.make("upload", Effect::Upload { link, version })? {
                Reply::Answer(made) => {
                    self.told(link.store, Told::Works);
                    let ended = self.service.submitted(made.unwrap());
                    return self.ended(i, ended);
                }
                Reply::Lost => (FailureKind::Transient, true),
            },
        };
        self.tick(1);
        let failure = Failure::new(kind, "no document was named");
        match rules::after_one_request(&Unanswered { failure, was_whole }) {
            AfterOneRequest::LookUp => {
                self.told(link.store, Told::Lost);
                self.commit(i, "in doubt", |row| row.attempts += 1)?;
                self.look_up(i)
            }
            AfterOneRequest::BySession => {
                let told = match rules::refuses_the_form(kind) {
                    true => Told::Refused,
                    false => Told::Nothing,
                };
                self.told(link.store, told);
                self.start(i)
            }
            AfterOneRequest::NoDocument => {
                self.told(link.store, Told::Nothing);
                self.no_document(i, kind)
            }
        }
    }

    /// Nobody waits for the disk to have it.
    fn told(&mut self, store: usize, told: Told) {
        if let Some(support) = self.one_request.told(told)
            && self.pick(&[10]) == 0
        {
            self.support[store] = support;
        }
    }

    /// A session; its intent is on disk.
    fn start(&mut self, i: usize) -> Step<()> {
        let temporary = self.rows[i].temporary;
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
                self.commit(i, "session", |row| {
                    row.session = Some(session);
                    row.unaskable = false;
                })?;
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
                        let kinds = [
                            FailureKind::CountTokens,
                            FailureKind::SessionDead,
                            FailureKind::Permanent,
                        ];
                        let kind = kinds[self.pick(&[60, 20])];
                        return self.no_document(i, kind);
                    }
                }
                _ => {
                    whole = true;
                    match self.make("body", Effect::Finalize(session))? {
                        Reply::Answer(Some(made)) => {
                            let ended = match self.rows[i].method {
                                Method::Staged => Ended::File(file(made)),
                                Method::Direct => self.service.submitted(made),
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
        // Whether it was the last attempt.
        let is_last = self.pick(&[40]) == 1;
        match rules::unclear(FailureKind::Transient, is_last) {
            Unclear::CancelAndFail => self.cancel(i, session),
            _ => Ok(()),
        }
    }

    fn no_document(&mut self, i: usize, kind: FailureKind) -> Step<()> {
        let row = &mut self.rows[i];
        let has_other_way = self.choice.has_another_way(row.method);
        match rules::no_document(kind, false, has_other_way) {
            NoDocument::Reject => return self.reject(i),
            NoDocument::LessDirect => row.direct_faults += 1,
            _ => {}
        }
        self.hand_back(i, "the service ended it")
    }

    fn ended(&mut self, i: usize, ended: Ended) -> Step<()> {
        let submitted = match ended {
            Ended::File(file) => return self.import(i, number(file.name.as_str())),
            Ended::Document(submitted) => submitted,
        };
        let operation = submitted.operation.map(|o| number(o.as_str()));
        let document = submitted.document.as_ref().map(|d| number(d.as_str()));
        self.event(i, Event::Submitted, "submitted", |row| {
            row.operation = operation;
            row.document = document;
        })?;
        let held = submitted.size_bytes;
        self.follow(
            i,
            Indexing::submitted(operation.is_some(), submitted.document, held),
        )
    }

    fn import(&mut self, i: usize, id: u64) -> Step<()> {
        self.commit(i, "import started", |row| {
            row.unaskable = true;
            row.session = None;
        })?;
        let effect = Effect::Import {
            link: self.rows[i].link,
            version: self.rows[i].version,
            file: id,
        };
        match self.make("import", effect)? {
            Reply::Answer(Some(operation)) => {
                self.event(i, Event::Submitted, "submitted", |row| {
                    row.operation = Some(operation);
                    row.unaskable = false;
                })?;
                self.follow(i, Indexing::submitted(true, None, None))
            }
            // The temporary file is not there: refused.
            Reply::Answer(None) => self.hand_back(i, "import refused"),
            Reply::Lost => self.look_up(i),
        }
    }

    pub fn discard(&mut self, i: usize, id: u64) -> Step<bool> {
        match self.ask("file delete", |service| service.forget(id))? {
            Reply::Answer(()) => {
                self.commit(i, "temporary file gone", |row| row.temporary = None)?;
                Ok(true)
            }
            Reply::Lost => Ok(false),
        }
    }
}
