//! What a scan asks of the database and tells it.
//!
//! `Catalog` answers from the reader; `Recorder` sends findings to the writer, without waiting for
//! each, and waits for all of them at the end.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use super::{Describer, Known, Record, Skip};
use crate::clock::{self, UnixMs};
use crate::error::Error;
use crate::poison;
use crate::state::reader::LibraryRow;
use crate::state::{Change, Described, KnownFile, Reader, SeenFile, SkipRow, Writer};

/// One library of the database.
pub struct Catalog<'r> {
    reader: &'r Reader,
    library: i64,
    /// Nothing was recorded of this library before, so there is nothing to look up.
    is_new: bool,
    describer: Describer,
    lookups: Cell<u32>,
    found_again: Cell<u32>,
}

/// Lookups that share a read transaction: opening one costs as much as a lookup. Not all of them: while
/// one is open, the write-ahead log cannot start anew.
const LOOKUPS: u32 = 256;

impl<'r> Catalog<'r> {
    pub fn new(
        reader: &'r Reader,
        library: i64,
        describer: Describer,
    ) -> Result<Catalog<'r>, Error> {
        Ok(Catalog {
            describer,
            reader,
            library,
            is_new: !reader.knows_any(library)?,
            lookups: Cell::new(0),
            found_again: Cell::new(0),
        })
    }
}

/// Before the first lookup, so that it sees all that was recorded before, and again at times.
fn renew_at_times(reader: &Reader, lookups: &Cell<u32>) -> Result<(), Error> {
    let done = lookups.get();
    if done.is_multiple_of(LOOKUPS) {
        reader.renew()?;
    }
    lookups.set(done.wrapping_add(1));
    Ok(())
}

impl Known for Catalog<'_> {
    fn file(&self, path: &str) -> Result<Option<KnownFile>, Error> {
        if self.is_new {
            return Ok(None);
        }
        renew_at_times(self.reader, &self.lookups)?;
        self.reader.file(self.library, path)
    }

    fn extent(&self) -> Result<(u64, i64), Error> {
        self.reader.extent(self.library)
    }

    fn is_found_again(&self, id: i64) -> Result<bool, Error> {
        renew_at_times(self.reader, &self.found_again)?;
        self.reader.is_found_again(id)
    }

    fn each_present(&self, each: &mut dyn FnMut(i64, &str)) -> Result<(), Error> {
        self.reader.each_present(self.library, each)
    }

    fn describer(&self) -> &Describer {
        &self.describer
    }
}

pub struct Recorder<'w> {
    writer: &'w Writer,
    library: i64,
    began_ms: UnixMs,
    failure: Arc<Mutex<Option<Error>>>,
}

impl<'w> Recorder<'w> {
    pub fn new(writer: &'w Writer, library: &LibraryRow) -> Recorder<'w> {
        Recorder {
            writer,
            library: library.id,
            began_ms: clock::now_ms(),
            failure: Arc::default(),
        }
    }

    /// Waits until everything is on disk. `ended`: the scan came to its end; `whole`: it looked at all
    /// there is, so that what went and what came can be told from what moved: so many files did.
    pub fn finish(mut self, ended: bool, whole: bool) -> Result<u64, Error> {
        self.settle()?;
        if !ended {
            return Ok(0);
        }
        let moved = if whole { self.match_moves()? } else { 0 };
        self.writer.commit(Change::ScanEnded {
            library: self.library,
            scan: self.began_ms,
            whole,
        })?;
        Ok(moved)
    }

    fn match_moves(&self) -> Result<u64, Error> {
        let mut moved = 0;
        loop {
            let library = self.library;
            let page = self.writer.commit(Change::MovesMatched { library })?;
            if page.row == 0 {
                return Ok(moved);
            }
            moved += page.rows;
        }
    }

    fn send(&self, change: Change) -> Result<(), Error> {
        self.check()?;
        let failure = Arc::clone(&self.failure);
        self.writer.send(change, move |done| {
            if let Err(e) = done {
                poison::lock(&failure).get_or_insert(e);
            }
        });
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        poison::lock(&self.failure).clone().map_or(Ok(()), Err)
    }
}

impl Record for Recorder<'_> {
    fn file(&mut self, file: SeenFile) -> Result<(), Error> {
        self.send(Change::FileSeen {
            library: self.library,
            file,
        })
    }

    fn described(
        &mut self,
        known: &KnownFile,
        path: &str,
        described: Described,
    ) -> Result<(), Error> {
        self.send(Change::FileDescribed {
            library: self.library,
            file: known.id,
            path: path.to_owned(),
            described,
        })
    }

    fn skip(&mut self, skip: Skip) -> Result<(), Error> {
        self.send(Change::FileSkipped(SkipRow {
            library: self.library,
            path: skip.path,
            reason: skip.reason.label(),
            detail: skip.detail,
            scan: self.began_ms,
        }))
    }

    fn missing(&mut self, id: i64) -> Result<(), Error> {
        self.send(Change::FileMissing { file: id })
    }

    fn left_out(&mut self, id: i64) -> Result<(), Error> {
        self.send(Change::FileLeftOut { file: id })
    }

    fn settle(&mut self) -> Result<(), Error> {
        self.writer.commit(Change::Flush)?;
        self.check()
    }
}
