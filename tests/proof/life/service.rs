//! The service of the model: documents, operations, sessions and temporary files, in a clock of ticks. A tick
//! is a second.

use std::collections::BTreeMap;

use objlib::client::{Ended, FileState, Submitted, TemporaryFile};
use objlib::names::{DocumentName, FileName, OperationName};

/// The size of every file.
pub const SIZE: u64 = 10;
/// Lists show a document after so many ticks at the latest; a request is under way for fewer.
pub const LIST_LAG: u64 = 20;
pub const FLIGHT: u64 = 10;
/// When an operation of the ordinary sort ends, and when a failed document heals that does so.
const ENDS_AFTER: u64 = 2;
const HEALS_AFTER: u64 = 60;

/// A library's file in a store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Link {
    pub library: usize,
    pub store: usize,
}

/// How a document and its operation fare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Luck {
    Good,
    Failed,
    /// Failed, and well again after a while.
    Heals,
    /// It holds fewer bytes than the file.
    Short,
    /// The operation never says that it has ended.
    NeverDone,
    /// The operation ends well, and does not name its document.
    Nameless,
    /// The operation says that it failed, whatever the document is.
    OperationFailed {
        code: i32,
    },
    /// The operation is forgotten at once.
    Forgotten,
}

impl Luck {
    /// What is not good, in the order in which `odds` are given for it.
    pub const BAD: [Luck; 8] = [
        Luck::Failed,
        Luck::Short,
        Luck::Heals,
        Luck::NeverDone,
        Luck::Nameless,
        Luck::OperationFailed { code: 3 },
        Luck::OperationFailed { code: 13 },
        Luck::Forgotten,
    ];
}

/// A document at the service.
pub struct Document {
    pub link: Link,
    pub version: u32,
    pub luck: Luck,
    /// From when on `get` says active, and from when on lists show it.
    pub active_at: u64,
    pub listed_at: u64,
}

impl Document {
    pub fn is_whole(&self) -> bool {
        self.luck != Luck::Short
    }

    pub fn size(&self) -> u64 {
        SIZE - u64::from(!self.is_whole())
    }

    pub fn has_failed(&self, now: u64) -> bool {
        match self.luck {
            Luck::Failed => true,
            Luck::Heals => now < self.active_at + HEALS_AFTER,
            _ => false,
        }
    }

    pub fn is_active(&self, now: u64) -> bool {
        self.active_at <= now && !self.has_failed(now)
    }
}

/// What an operation is about; it outlives its document.
pub struct Operation {
    pub document: u64,
    pub luck: Luck,
    pub ends_at: u64,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Status {
    Active,
    /// Ended, with the operation or the temporary file that it made.
    Final(Option<u64>),
    /// Ended without success, and says so.
    Dead,
    Gone,
}

pub struct Session {
    pub link: Link,
    pub version: u32,
    /// The temporary file that its end makes; none: a document.
    pub file: Option<u64>,
    pub status: Status,
}

/// A request that has left and has not arrived.
pub struct UnderWay {
    pub due: u64,
    pub effect: Effect,
}

#[derive(Clone, Copy)]
pub enum Effect {
    Finalize(u64),
    /// An upload in one request.
    Upload {
        link: Link,
        version: u32,
    },
    Import {
        link: Link,
        version: u32,
        file: u64,
    },
    Delete(u64),
}

#[derive(Default)]
pub struct Service {
    pub now: u64,
    pub next: u64,
    pub documents: BTreeMap<u64, Document>,
    pub operations: BTreeMap<u64, Operation>,
    pub sessions: BTreeMap<u64, Session>,
    /// Temporary files: the version they hold.
    pub files: BTreeMap<u64, u32>,
    pub under_way: Vec<UnderWay>,
    /// Deleted documents that lists still show.
    pub ghosts: BTreeMap<u64, (Link, u32)>,
}

impl Service {
    pub fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn arrive(&mut self) {
        let now = self.now;
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|u| u.due <= now);
        self.under_way = later;
        for request in due {
            self.now = request.due;
            self.take_effect(request.effect, Luck::Good);
        }
        self.now = now;
    }

    /// The operation, or the temporary file, that came of it.
    pub fn take_effect(&mut self, effect: Effect, luck: Luck) -> Option<u64> {
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
            Effect::Upload { link, version } => Some(self.document(link, version, luck)),
            Effect::Import {
                link,
                version,
                file,
            } => {
                self.files.get(&file)?;
                // Whether a temporary file is whole is seen before it is imported.
                let luck = match luck {
                    Luck::Short => Luck::Good,
                    luck => luck,
                };
                Some(self.document(link, version, luck))
            }
            Effect::Delete(id) => {
                self.delete(id);
                Some(id)
            }
        }
    }

    /// Makes one, and says by which operation.
    fn document(&mut self, link: Link, version: u32, luck: Luck) -> u64 {
        let (document, operation) = (self.id(), self.id());
        let ends_at = self.now + ENDS_AFTER;
        let made = Document {
            link,
            version,
            luck,
            active_at: ends_at,
            listed_at: self.now + LIST_LAG / 2,
        };
        self.documents.insert(document, made);
        let made = Operation {
            document,
            luck,
            ends_at,
        };
        self.operations.insert(operation, made);
        operation
    }

    /// How the end of a body names what it made.
    pub fn submitted(&self, operation: u64) -> Ended {
        let document = self.operations[&operation].document;
        let size = self.documents.get(&document).map(Document::size);
        Ended::Document(Submitted {
            operation: Some(OperationName::new(name(operation).as_str())),
            document: Some(name(document)),
            size_bytes: size,
        })
    }

    pub fn forget(&mut self, file: u64) {
        self.files.remove(&file);
    }

    pub fn delete(&mut self, id: u64) {
        if let Some(document) = self.documents.remove(&id) {
            self.ghosts.insert(id, (document.link, document.version));
        }
    }
}

pub fn name(id: u64) -> DocumentName {
    DocumentName::new(format!("fileSearchStores/s/documents/{id}"))
}

pub fn number(name: &str) -> u64 {
    name.rsplit('/').next().unwrap().parse().unwrap()
}

pub fn file(id: u64) -> TemporaryFile {
    TemporaryFile {
        name: FileName::new(format!("files/{id}")),
        state: FileState::Active,
        size_bytes: Some(SIZE),
    }
}
