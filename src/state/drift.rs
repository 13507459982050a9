//! What differs between the store and the database, in a private table that SQLite keeps on disk and
//! deletes by itself: after the loss of a database everything differs, and a store may hold a million
//! documents.
//!
//! Promises: differences come back in the order in which they were found; memory does not grow with
//! their number.

use rusqlite::{Connection, Row, params};

use super::UploadId;
use super::listed::{failed, private};
use crate::error::Error;
use crate::identity::{ContentKey, Sha256, Variant};
use crate::names::DocumentName;

/// One difference, and with it what a repair does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// The store holds a file's content, and the database does not know: its row becomes `indexed`.
    TakeBack {
        path: String,
        file: i64,
        size_bytes: u64,
        content: ContentKey,
        document: DocumentName,
    },
    /// A second document of the same identity, while the row's own is listed: deleted.
    Duplicate {
        path: String,
        document: DocumentName,
    },
    /// The row says `indexed`, the store has no such document: the next upload sends it again.
    Gone { path: String, upload: UploadId },
    /// The document failed or is not the whole file: deleted, and the next upload sends it again.
    Broken {
        path: String,
        upload: Option<UploadId>,
        document: DocumentName,
    },
    /// The document names a file that the database does not know: left alone.
    Unknown { path: String },
}

/// The number is what the table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriftKind {
    TakeBack = 0,
    Duplicate = 1,
    Gone = 2,
    Broken = 3,
    Unknown = 4,
}

impl DriftKind {
    pub const ALL: [DriftKind; 5] = [
        DriftKind::TakeBack,
        DriftKind::Duplicate,
        DriftKind::Gone,
        DriftKind::Broken,
        DriftKind::Unknown,
    ];
}

impl Drift {
    pub fn kind(&self) -> DriftKind {
        match self {
            Drift::TakeBack { .. } => DriftKind::TakeBack,
            Drift::Duplicate { .. } => DriftKind::Duplicate,
            Drift::Gone { .. } => DriftKind::Gone,
            Drift::Broken { .. } => DriftKind::Broken,
            Drift::Unknown { .. } => DriftKind::Unknown,
        }
    }

    pub fn path(&self) -> &str {
        match self {
            Drift::TakeBack { path, .. }
            | Drift::Duplicate { path, .. }
            | Drift::Gone { path, .. }
            | Drift::Broken { path, .. }
            | Drift::Unknown { path } => path,
        }
    }
}

/// The differences of one comparison.
pub struct DriftTable {
    conn: Connection,
    /// By kind.
    counts: [u64; DriftKind::ALL.len()],
}

const COLUMNS: &str = "kind, path, file, upload, size_bytes, sha256, variant, document";

impl DriftTable {
    pub fn new() -> Result<DriftTable, Error> {
        // The index holds the files that get a document back (kind 0), and those only.
        let schema = "CREATE TABLE drift (number INTEGER PRIMARY KEY, kind INTEGER NOT NULL,
                 path TEXT NOT NULL, file INTEGER, upload INTEGER, size_bytes INTEGER, sha256 BLOB,
                 variant BLOB, document TEXT) STRICT;
             CREATE INDEX drift_taken_back ON drift (file) WHERE kind = 0;";
        Ok(DriftTable {
            conn: private(schema).map_err(|e| failed(&e))?,
            counts: [0; DriftKind::ALL.len()],
        })
    }

    pub fn add(&mut self, drift: &Drift) -> Result<(), Error> {
        let (mut row, mut key) = ((None, None, None), None);
        let mut named = None;
        match drift {
            Drift::TakeBack {
                file,
                size_bytes,
                content,
                document,
                ..
            } => {
                row = (Some(*file), None, Some(*size_bytes as i64));
                key = Some(content);
                named = Some(document);
            }
            Drift::Duplicate { document, .. } => named = Some(document),
            Drift::Gone { upload, .. } => row.1 = Some(upload.0),
            Drift::Broken {
                upload, document, ..
            } => {
                row.1 = upload.map(|upload| upload.0);
                named = Some(document);
            }
            Drift::Unknown { .. } => {}
        }
        let (file, upload, size_bytes) = row;
        let insert =
            format!("INSERT INTO drift ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
        let kind = drift.kind();
        self.conn
            .prepare_cached(&insert)
            .and_then(|mut s| {
                s.execute(params![
                    kind as i64,
                    drift.path(),
                    file,
                    upload,
                    size_bytes,
                    key.map(|key| key.sha256.as_bytes().as_slice()),
                    key.map(|key| key.variant.as_bytes().as_slice()),
                    named.map(DocumentName::as_str)
                ])
            })
            .map_err(|e| failed(&e))?;
        self.counts[kind as usize] += 1;
        Ok(())
    }

    pub fn count(&self, kind: DriftKind) -> u64 {
        self.counts[kind as usize]
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether the file gets a document with this content back, so that it needs no second one.
    pub fn takes_back(&self, file: i64, content: &ContentKey) -> Result<bool, Error> {
        if self.count(DriftKind::TakeBack) == 0 {
            return Ok(false);
        }
        let ContentKey { sha256, variant } = content;
        self.conn
            .prepare_cached(
                "SELECT 1 FROM drift WHERE kind = 0 AND file = ?1 AND sha256 = ?2 AND variant = ?3",
            )
            .and_then(|mut s| s.exists(params![file, sha256.as_bytes(), variant.as_bytes()]))
            .map_err(|e| failed(&e))
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
    let path = r.get(1)?;
    let upload = r.get::<_, Option<i64>>(3)?.map(UploadId);
    let document = || r.get::<_, String>(7).map(DocumentName::new);
    Ok(match r.get::<_, i64>(0)? {
        0 => Drift::TakeBack {
            path,
            file: r.get(2)?,
            size_bytes: r.get::<_, i64>(4)?.unsigned_abs(),
            content: content(r)?,
            document: document()?,
        },
        1 => Drift::Duplicate {
            path,
            document: document()?,
        },
        2 => Drift::Gone {
            path,
            upload: upload.ok_or(rusqlite::Error::InvalidQuery)?,
        },
        3 => Drift::Broken {
            path,
            upload,
            document: document()?,
        },
        _ => Drift::Unknown { path },
    })
}

fn content(r: &Row<'_>) -> rusqlite::Result<ContentKey> {
    let sha256 = Sha256::from_slice(&r.get::<_, Vec<u8>>(5)?);
    let variant = Variant::from_slice(&r.get::<_, Vec<u8>>(6)?);
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

    fn one_of_each() -> [Drift; 6] {
        let document = |n: u32| DocumentName::new(format!("fileSearchStores/s/documents/{n}"));
        let path = |p: &str| p.to_owned();
        [
            Drift::TakeBack {
                path: path("a.md"),
                file: 7,
                size_bytes: 10,
                content: content(b"a"),
                document: document(1),
            },
            Drift::Duplicate {
                path: path("a.md"),
                document: document(2),
            },
            Drift::Gone {
                path: path("b.md"),
                upload: UploadId(3),
            },
            Drift::Broken {
                path: path("c.md"),
                upload: None,
                document: document(3),
            },
            Drift::Broken {
                path: path("d.md"),
                upload: Some(UploadId(4)),
                document: document(4),
            },
            Drift::Unknown { path: path("e.md") },
        ]
    }

    #[test]
    fn every_difference_comes_back_as_it_was_found() {
        let mut table = DriftTable::new().unwrap();
        let found = one_of_each();
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
        assert_eq!((counts, table.total()), ([1, 1, 1, 2, 1], 6));
    }

    #[test]
    fn a_file_is_taken_back_with_the_content_that_was_found_and_no_other() {
        let mut table = DriftTable::new().unwrap();
        assert!(!table.takes_back(7, &content(b"a")).unwrap());
        for drift in &one_of_each() {
            table.add(drift).unwrap();
        }
        assert!(table.takes_back(7, &content(b"a")).unwrap());
        assert!(!table.takes_back(7, &content(b"b")).unwrap());
        assert!(!table.takes_back(3, &content(b"a")).unwrap());
    }
}
