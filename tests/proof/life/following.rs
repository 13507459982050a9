//! What the model does with an upload that the service has: what `Indexing` says, and the one listing of a
//! run.

use std::time::Duration;

use objlib::client::{self, DocumentState, Failure, FailureKind};
use objlib::names::DocumentName;
use objlib::pipeline::rules::Step as Next;
use objlib::pipeline::rules::{End, Heard, Indexing, Listed};
use objlib::state::UploadState;
use objlib::state::upload_state::Event;
use objlib::waits::Waits;

use super::service::{Effect, LIST_LAG, Link, Luck, SIZE, name, number};
use super::{Reply, Step, World};

/// Steps of one upload in one run; then the run is stopped. Enough for the longest way in peace.
const STEPS_MAX: u32 = 40;
/// Looks grow rarer up to this many ticks.
const LOOK_EVERY_MAX: u64 = 128;

impl World {
    /// As a poller does, until the upload is settled or left to the next run. `since`: when it was submitted,
    /// as far as this run knows.
    pub fn follow(&mut self, i: usize, mut indexing: Indexing) -> Step<()> {
        let since = self.service.now;
        let waits = Waits::default();
        let mut looks = 0;
        for _ in 0..STEPS_MAX {
            let heard = match indexing.next(&waits) {
                Next::LookAtOperation => {
                    let answer = self.get_operation(i)?;
                    indexing.operation_answered(answer, self.age(since), &waits)
                }
                Next::LookAtDocument(name) => {
                    let answer = self.get_document(i, &name)?;
                    indexing.document_answered(answer, SIZE, self.age(since), &waits)
                }
                Next::Delete(name) => {
                    let answer = self.delete_document(&name)?;
                    indexing.deleted(answer, self.age(since), &waits)
                }
                Next::AwaitListing(_) => {
                    let listed = self.list_once(i)?;
                    indexing.listed(listed);
                    Heard::News
                }
                Next::End(end) => return self.end(i, end),
            };
            match heard {
                Heard::News => {}
                Heard::StillRunning => {
                    if indexing.awaits_listing(self.age(since), &waits) && self.pick(&[128]) == 0 {
                        let listed = self.list_once(i)?;
                        indexing.listed(listed);
                    }
                    looks += 1;
                    self.tick((1 << looks).min(LOOK_EVERY_MAX));
                }
                Heard::NoAnswer { in_a_row, .. } => self.tick((1 << in_a_row).min(LOOK_EVERY_MAX)),
                Heard::LeftToNextRun | Heard::StopsRun(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn age(&self, since: u64) -> Duration {
        Duration::from_secs(self.service.now - since)
    }

    fn end(&mut self, i: usize, end: End) -> Step<()> {
        match end {
            End::Indexed(document) => self.activated(i, number(document.as_str())),
            End::TryAgain(_) => self.hand_back(i, "failed, and nothing is left of it"),
            End::HandBack => self.hand_back(i, "nothing came of it"),
            End::Reject(_) => self.reject(i),
            End::InDoubt(_) => Ok(()),
        }
    }

    fn read<T>(&mut self, reply: Reply<Result<T, Failure>>) -> Result<T, Failure> {
        match reply {
            _ if self.pick(&[6]) == 1 => senseless(),
            Reply::Answer(answer) => answer,
            Reply::Lost => Err(Failure::new(FailureKind::Transient, "no answer")),
        }
    }

    fn get_operation(&mut self, i: usize) -> Step<Result<client::Operation, Failure>> {
        let id = self.rows[i].operation;
        let reply = self.ask("poll", |service| {
            let missing = || Failure::new(FailureKind::Missing, "no such operation");
            let operation = id.and_then(|id| service.operations.get(&id));
            let operation = operation.ok_or_else(missing)?;
            let document = Some(name(operation.document));
            Ok(match operation.luck {
                Luck::Forgotten => return Err(missing()),
                Luck::NeverDone => client::Operation::Running,
                _ if service.now < operation.ends_at => client::Operation::Running,
                Luck::OperationFailed { code } => client::Operation::Failed {
                    code,
                    message: "failed".to_owned(),
                },
                Luck::Nameless => client::Operation::Done { document: None },
                _ => client::Operation::Done { document },
            })
        })?;
        Ok(self.read(reply))
    }

    fn get_document(
        &mut self,
        i: usize,
        of: &DocumentName,
    ) -> Step<Result<client::Document, Failure>> {
        let id = number(of.as_str());
        let trouble = self.pick(&[6, 3]);
        let is_garbled = self.garbled && !self.calm;
        // Somebody deletes it. Of an import whose operation never ends, and whose document nobody has named,
        // that could never be known.
        let is_named = self.rows[i].document == Some(id);
        if trouble == 2 && is_named && !is_garbled {
            self.say(format!("{id} vanishes"));
            self.service.delete(id);
        }
        let document = self.service.documents.get(&id);
        // Of a document that has failed or is short, the operation's word would not be true.
        let is_well = document.is_none_or(|d| d.is_whole() && !d.has_failed(self.service.now));
        let reply = self.ask("document get", |service| {
            // Now and then it is not seen yet, though it is there.
            let document = service.documents.get(&id).filter(|_| trouble != 1);
            let missing = || Failure::new(FailureKind::Missing, "no such document");
            let document = document.ok_or_else(missing)?;
            Ok(client::Document {
                name: name(id),
                state: match service.now {
                    now if document.is_active(now) => DocumentState::Active,
                    now if now < document.active_at => DocumentState::Pending,
                    _ => DocumentState::Failed,
                },
                identity: None,
                size_bytes: Some(document.size()),
                changed_after: None,
            })
        })?;
        Ok(match reply {
            Reply::Answer(_) if is_garbled && is_well => senseless(),
            Reply::Answer(answer) => answer,
            Reply::Lost => Err(Failure::new(FailureKind::Transient, "no answer")),
        })
    }

    /// May be under way for long, as long as the run lives.
    fn delete_document(&mut self, of: &DocumentName) -> Step<Result<(), Failure>> {
        let effect = Effect::Delete(number(of.as_str()));
        let reply = self.make("delete", effect)?;
        let reply = match reply {
            Reply::Answer(_) => Reply::Answer(Ok(())),
            Reply::Lost => Reply::Lost,
        };
        Ok(self.read(reply))
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

    /// The import of a row has no answer, or its session is gone.
    pub fn look_up(&mut self, i: usize) -> Step<()> {
        match self.list_once(i)? {
            Listed::Found(document) => {
                let id = number(document.as_str());
                self.event(i, Event::Submitted, "found in the store", |row| {
                    row.operation = None;
                    row.document = Some(id);
                    row.unaskable = false;
                })?;
                self.follow(i, Indexing::submitted(false, Some(document), None))
            }
            Listed::Absent => self.hand_back(i, "absent"),
            Listed::InVain => Ok(()),
        }
    }

    /// The one listing of a run, for one row.
    fn list_once(&mut self, i: usize) -> Step<Listed> {
        if self.listed {
            return Ok(Listed::InVain);
        }
        self.listed = true;
        self.tick(LIST_LAG);
        let fault = self.pick(&[20, 20, 40]);
        let row = self.rows[i].clone();
        let (store, own) = (row.link.store, (row.link, row.version));
        let claimed: Vec<u64> = self.rows.iter().filter_map(|r| r.document).collect();
        let listing = self.ask("list", |service| {
            let here = |link: &Link| link.store == store;
            let documents = service.documents.iter().filter(|(_, d)| here(&d.link));
            let counted = documents.clone().count();
            let mut shown: Vec<(u64, (Link, u32))> = documents
                .filter(|(_, d)| d.listed_at <= service.now)
                .map(|(id, d)| (*id, (d.link, d.version)))
                .collect();
            match fault {
                // Breaks off, loses one, shows deleted ones.
                1 => return (Vec::new(), false),
                2 => drop(shown.pop()),
                3 => {
                    let ghosts = service.ghosts.iter().map(|(id, of)| (*id, *of));
                    shown.extend(ghosts.filter(|(_, (link, _))| here(link)));
                }
                _ => {}
            }
            let whole = shown.len() >= counted;
            // In order of creation.
            shown.sort();
            (shown, whole)
        })?;
        let Reply::Answer((shown, is_whole)) = listing else {
            return Ok(Listed::InVain);
        };
        let mut of_another = shown
            .iter()
            .filter(|(id, identity)| *identity == own && !claimed.contains(id));
        let found = of_another.next().map(|(id, _)| *id);
        let is_shown = |id: &u64| shown.iter().any(|(shown, _)| shown == id);
        Ok(match found.or(row.document.filter(is_shown)) {
            Some(id) => Listed::Found(name(id)),
            None if is_whole && row.state != UploadState::Pending => Listed::Absent,
            None => Listed::InVain,
        })
    }
}

fn senseless<T>() -> Result<T, Failure> {
    Err(Failure::new(FailureKind::BadAnswer, "no sense"))
}
