//! What differs between the store and the database, in a private table that SQLite keeps on disk and
//! deletes by itself: after the loss of a database everything differs, and a store may hold a million
//! documents.
//!
//! Promises: differences come back in the order in which they were found; memory does not grow with
//! their number.

use rusqlite::{Connection, Row, params};

use super::listed::{failed, private};
use crate::error::Error;
use crate::identity::{ContentKey, Sha256, Variant};
use crate::names::DocumentName;
use crate::state::UploadId;

/// One difference, and with it what a repair does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    pub kind: DriftKind,
    /// The library's name, and the path there.
    pub library: String,
    pub path: String,
    pub mend: Mend,
}

/// The number is what the table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriftKind {
    /// The store holds a file's content, and the database does not know.
    TakeBack = 0,
    /// A second document of the same identity, while the row's own is listed.
    Duplicate = 1,
    /// The row says `indexed`, the store has no such document.
    Gone = 2,
    /// The document is not the whole file.
    Broken = 3,
    /// The document names a file that the database does not know.
    Unknown = 4,
    /// The service could not index the document.
    Failed = 5,
    /// The document is of content that its file has no more.
    Stale = 6,
    /// The document is of the file's content, but carries other metadata than it should.
    Metadata = 7,
}

impl DriftKind {
    pub const ALL: [DriftKind; 8] = [
        DriftKind::TakeBack,
        DriftKind::Duplicate,
        DriftKind::Gone,
        DriftKind::Broken,
        DriftKind::Unknown,
        DriftKind::Failed,
        DriftKind::Stale,
        DriftKind::Metadata,
    ];
}

/// What a repair does about a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// The document becomes its file's: what is not current any more is deleted by the upload that
    /// replaces it.
    TakeBack {
        file: i64,
        size_bytes: u64,
        content: ContentKey,
        document: DocumentName,
    },
    /// The document is deleted; the row that claims it is forgotten, and the next upload sends the file
    /// again.
    Delete {
        document: DocumentName,
        upload: Option<UploadId>,
    },
    /// The row is forgotten, and the next upload sends the file again.
    Forget {
        upload: UploadId,
    },
    /// The row is told what its document really is, so that the next upload replaces it.
    Relabel {
        upload: UploadId,
        size_bytes: Option<u64>,
        content: ContentKey,
    },
    /// The file is gone from disk: it is recorded as missing, so that a purge can delete its document.
    Remember {
        library: i64,
        size_bytes: u64,
        content: ContentKey,
        document: DocumentName,
    },
    Nothing,
}

/// The differences of one comparison.
pub struct DriftTable {
    conn: Connection,
    /// By kind.
    counts: [u64; DriftKind::ALL.len()],
    deletions: u64,
    /// By kind.
    left_alone: [u64; DriftKind::ALL.len()],
}

const COLUMNS: &str =
    "kind, library, path, mend, owner, upload, size_bytes, sha256, variant, document";

/// How the table tells the sorts of `Mend`.
const TAKE_BACK: i64 = 0;
const DELETE: i64 = 1;
const FORGET: i64 = 2;
const RELABEL: i64 = 3;
const REMEMBER: i64 = 4;
const NOTHING: i64 = 5;

/// What a `Mend` is about, column by column.
#[derive(Default)]
struct Columns<'d> {
    mend: i64,
    /// The file, or the library of one that nothing is known of.
    owner: Option<i64>,
    upload: Option<UploadId>,
    size_bytes: Option<u64>,
    content: Option<&'d ContentKey>,
    document: Option<&'d DocumentName>,
}

impl Mend {
    fn columns(&self) -> Columns<'_> {
        match self {
            Mend::TakeBack {
                file,
                size_bytes,
                content,
                document,
            } => Columns {
                mend: TAKE_BACK,
                owner: Some(*file),
                size_bytes: Some(*size_bytes),
                content: Some(content),
                document: Some(document),
                ..Columns::default()
            },
            Mend::Delete { document, upload } => Columns {
                mend: DELETE,
                upload: *upload,
                document: Some(document),
                ..Columns::default()
            },
            Mend::Forget { upload } => Columns {
                mend: FORGET,
                upload: Some(*upload),
                ..Columns::default()
            },
            Mend::Relabel {
                upload,
                size_bytes,
                content,
            } => Columns {
                mend: RELABEL,
                upload: Some(*upload),
                size_bytes: *size_bytes,
                content: Some(content),
                ..Columns::default()
            },
            Mend::Remember {
                library,
                size_bytes,
                content,
                document,
            } => Columns {
                mend: REMEMBER,
                owner: Some(*library),
                size_bytes: Some(*size_bytes),
                content: Some(content),
                document: Some(document),
                ..Columns::default()
            },
            Mend::Nothing => Columns {
                mend: NOTHING,
                ..Columns::default()
            },
        }
    }
}

impl DriftTable {
    pub fn new() -> Result<DriftTable, Error> {
        // The indexes hold the files that get a document back, and those that are remembered.
        let schema = format!(
            "CREATE TABLE drift (number INTEGER PRIMARY KEY, kind INTEGER NOT NULL,
                 library TEXT NOT NULL, path TEXT NOT NULL, mend INTEGER NOT NULL, owner INTEGER,
                 upload INTEGER, size_bytes INTEGER, sha256 BLOB, variant BLOB, document TEXT) STRICT;
             CREATE INDEX drift_taken_back ON drift (owner) WHERE mend = {TAKE_BACK};
             CREATE INDEX drift_remembered ON drift (path) WHERE mend = {REMEMBER};"
        );
        Ok(DriftTable {
            conn: private(&schema).map_err(|e| failed(&e))?,
            counts: [0; DriftKind::ALL.len()],
            deletions: 0,
            left_alone: [0; DriftKind::ALL.len()],
        })
    }

    pub fn add(&mut self, drift: &Drift) -> Result<(), Error> {
        let insert = format!(
            "INSERT INTO drift ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        );
        let columns = drift.mend.columns();
        let key = columns.content;
        self.conn
            .prepare_cached(&insert)
            .and_then(|mut s| {
                s.execute(params![
                    drift.kind as i64,
                    drift.library,
                    drift.path,
                    columns.mend,
                    columns.owner,
                    columns.upload.map(|upload| upload.0),
                    columns.size_bytes.map(|n| n as i64),
                    key.map(|key| key.sha256.as_bytes().as_slice()),
                    key.map(|key| key.variant.as_bytes().as_slice()),
                    columns.document.map(DocumentName::as_str)
                ])
            })
            .map_err(|e| failed(&e))?;
        self.counts[drift.kind as usize] += 1;
        self.deletions += u64::from(columns.mend == DELETE);
        self.left_alone[drift.kind as usize] += u64::from(columns.mend == NOTHING);
        Ok(())
    }

    pub fn count(&self, kind: DriftKind) -> u64 {
        self.counts[kind as usize]
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Documents that a repair deletes.
    pub fn deletions(&self) -> u64 {
        self.deletions
    }

    /// Differences of one kind that the repair does nothing about.
    pub fn left_alone(&self, kind: DriftKind) -> u64 {
        self.left_alone[kind as usize]
    }

    /// Differences that the repair does nothing about.
    pub fn left_alone_in_all(&self) -> u64 {
        self.left_alone.iter().sum()
    }

    /// Whether the file gets a document with this content back, so that it needs no second one.
    pub fn takes_back(&self, file: i64, content: &ContentKey) -> Result<bool, Error> {
        let ContentKey { sha256, variant } = content;
        let select = format!(
            "SELECT 1 FROM drift WHERE mend = {TAKE_BACK} AND owner = ?1 AND sha256 = ?2 AND variant = ?3"
        );
        self.conn
            .prepare_cached(&select)
            .and_then(|mut s| s.exists(params![file, sha256.as_bytes(), variant.as_bytes()]))
            .map_err(|e| failed(&e))
    }

    /// The content with which a file that nothing else is known of is recorded as missing.
    pub fn remembers(&self, library: i64, path: &str) -> Result<Option<ContentKey>, Error> {
        let select = format!(
            "SELECT {COLUMNS} FROM drift WHERE mend = {REMEMBER} AND path = ?2 AND owner = ?1"
        );
        let find = || {
            let mut statement = self.conn.prepare_cached(&select)?;
            let mut rows = statement.query_map(params![library, path], content)?;
            rows.next().transpose()
        };
        find().map_err(|e: rusqlite::Error| failed(&e))
    }

    /// Calls `each` with the first `most` differences of one kind, or of any.
    pub fn each(
        &self,
        kind: Option<DriftKind>,
        most: u64,
        each: &mut dyn FnMut(Drift) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let select = format!(
            "SELECT {COLUMNS} FROM drift WHERE ?1 IS NULL OR kind = ?1 ORDER BY number LIMIT ?2"
        );
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let fail = |e: rusqlite::Error| failed(&e);
        let mut statement = self.conn.prepare_cached(&select).map_err(fail)?;
        let asked = params![kind.map(|kind| kind as i64), most];
        let mut rows = statement.query(asked).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            each(drift(row).map_err(fail)?)?;
        }
        Ok(())
    }
}

fn drift(r: &Row<'_>) -> rusqlite::Result<Drift> {
    let kind = DriftKind::ALL
        .into_iter()
        .find(|kind| r.get(0).is_ok_and(|n: i64| n == *kind as i64));
    let upload = r.get::<_, Option<i64>>(5)?.map(UploadId);
    let of_row = || upload.ok_or(rusqlite::Error::InvalidQuery);
    let size_bytes = r.get::<_, Option<i64>>(6)?.map(i64::unsigned_abs);
    let document = || r.get::<_, String>(9).map(DocumentName::new);
    Ok(Drift {
        kind: kind.ok_or(rusqlite::Error::InvalidQuery)?,
        library: r.get(1)?,
        path: r.get(2)?,
        mend: match r.get::<_, i64>(3)? {
            TAKE_BACK => Mend::TakeBack {
                file: r.get(4)?,
                size_bytes: size_bytes.unwrap_or(0),
                content: content(r)?,
                document: document()?,
            },
            DELETE => Mend::Delete {
                document: document()?,
                upload,
            },
            FORGET => Mend::Forget { upload: of_row()? },
            RELABEL => Mend::Relabel {
                upload: of_row()?,
                size_bytes,
                content: content(r)?,
            },
            REMEMBER => Mend::Remember {
                library: r.get(4)?,
                size_bytes: size_bytes.unwrap_or(0),
                content: content(r)?,
                document: document()?,
            },
            _ => Mend::Nothing,
        },
    })
}

fn content(r: &Row<'_>) -> rusqlite::Result<ContentKey> {
    let sha256 = Sha256::from_slice(&r.get::<_, Vec<u8>>(7)?);
    let variant = Variant::from_slice(&r.get::<_, Vec<u8>>(8)?);
    let content = sha256.zip(variant);
    content
        .map(|(sha256, variant)| ContentKey { sha256, variant })
        .ok_or(rusqlite::Error::InvalidQuery)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(of: &[u8]) -> ContentKey {
        ContentKey {
            sha256: Sha256::of(of),
            variant: Variant::of("docs", &[]),
        }
    }

    fn drift(kind: DriftKind, path: &str, mend: Mend) -> Drift {
        Drift {
            kind,
            library: "docs".to_owned(),
            path: path.to_owned(),
            mend,
        }
    }

    fn some_of_each() -> Vec<Drift> {
        let document = |n: u32| DocumentName::new(format!("fileSearchStores/s/documents/{n}"));
        let delete = |n, upload: Option<i64>| Mend::Delete {
            document: document(n),
            upload: upload.map(UploadId),
        };
        let take_back = |file, n| Mend::TakeBack {
            file,
            size_bytes: 10,
            content: content(b"a"),
            document: document(n),
        };
        let relabel = Mend::Relabel {
            upload: UploadId(5),
            size_bytes: None,
            content: content(b"b"),
        };
        let forget = Mend::Forget {
            upload: UploadId(3),
        };
        let remember = Mend::Remember {
            library: 7,
            size_bytes: 10,
            content: content(b"a"),
            document: document(7),
        };
        vec![
            drift(DriftKind::TakeBack, "a.md", take_back(7, 1)),
            drift(DriftKind::Duplicate, "a.md", delete(2, None)),
            drift(DriftKind::Gone, "b.md", forget),
            drift(DriftKind::Broken, "c.md", delete(3, None)),
            drift(DriftKind::Broken, "d.md", delete(4, Some(4))),
            drift(DriftKind::Unknown, "e.md", Mend::Nothing),
            drift(DriftKind::Unknown, "i.md", remember),
            drift(DriftKind::Failed, "f.md", delete(5, Some(6))),
            drift(DriftKind::Stale, "g.md", take_back(8, 6)),
            drift(DriftKind::Metadata, "h.md", relabel),
        ]
    }

    #[test]
    fn every_difference_comes_back_as_it_was_found() {
        let mut table = DriftTable::new().unwrap();
        let found = some_of_each();
        for drift in &found {
            table.add(drift).unwrap();
        }
        let read = |kind, most| {
            let mut read = Vec::new();
            let mut keep = |drift| {
                read.push(drift);
                Ok(())
            };
            table.each(kind, most, &mut keep).unwrap();
            read
        };
        assert_eq!(read(None, u64::MAX), found);
        assert_eq!(read(Some(DriftKind::Broken), u64::MAX), found[3..5]);
        assert_eq!(read(Some(DriftKind::Broken), 1), found[3..4]);
        let counts = DriftKind::ALL.map(|kind| table.count(kind));
        assert_eq!((counts, table.total()), ([1, 1, 1, 2, 2, 1, 1, 1], 10));
        assert_eq!((table.deletions(), table.left_alone_in_all()), (4, 1));
    }

    #[test]
    fn a_file_is_taken_back_with_the_content_that_was_found_and_no_other() {
        let mut table = DriftTable::new().unwrap();
        assert!(!table.takes_back(7, &content(b"a")).unwrap());
        for drift in &some_of_each() {
            table.add(drift).unwrap();
        }
        // As what is current, or as what is old.
        assert!(table.takes_back(7, &content(b"a")).unwrap());
        assert!(table.takes_back(8, &content(b"a")).unwrap());
        assert!(!table.takes_back(7, &content(b"b")).unwrap());
        assert!(!table.takes_back(3, &content(b"a")).unwrap());
        let remembers = |library, path| table.remembers(library, path).unwrap();
        assert_eq!(remembers(7, "i.md"), Some(content(b"a")));
        assert_eq!((remembers(8, "i.md"), remembers(7, "a.md")), (None, None));
    }
}
