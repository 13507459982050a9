//! Documents of files that are not there any more are deleted, and what is known of the files is forgotten.
//!
//! Promises: nothing is deleted that was not missing, or left out, at the time that is asked about, and that
//! a scan has found so; a share of a library's documents that is larger than allowed is refused as a whole.
//! Nothing is sent before the lock is held, and what was shown before that is looked at again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::connect::{self, Pace, Reached};
use super::{Call, Target, exit_of_stop};
use crate::clock::UnixMs;
use crate::error::{Error, Kind};
use crate::library;
use crate::pipeline::dispatch::selection::Selection;
use crate::pipeline::reconcile::store::{Resolve, Resolved};
use crate::pipeline::rules::MethodChoice;
use crate::pipeline::run::{self, Ended};
use crate::pipeline::{self, Parts, forget};
use crate::state::reader::{GoneFile, LibraryRow, Missing, StoreRow};
use crate::state::writer::{self, Started};
use crate::state::{Change, Reader, RunTotals, UploadId};
use crate::throttle::{Concurrency, Rpm};

/// How often a service that fails is waited for, and passes without any progress are made.
const PATIENCE: u32 = 3;
/// Nothing is sent, so that a batch never fills.
const BATCH_SIZE: u64 = 1;

/// What was asked for.
pub struct Options {
    /// Display name or resource name.
    pub store: String,
    /// What the database knows the service by.
    pub endpoint_name: String,
    /// Only this library.
    pub library: Option<String>,
    /// Files that were missing, or left out, at this time.
    pub before: UnixMs,
    /// A larger share of a library's documents in the store is refused.
    pub share_max_percent: u64,
}

/// What a purge would delete.
pub struct Found {
    pub store: StoreRow,
    pub missing: Missing,
    /// Those that have something to delete, by name.
    pub libraries: Vec<OfLibrary>,
    /// Documents whose deletion was decided before, and is not confirmed yet.
    pub begun: u64,
    /// The first few files, each with its library.
    pub named: Vec<(String, String)>,
}

/// What it would delete of one library.
pub struct OfLibrary {
    pub library: LibraryRow,
    pub missing: Sum,
    pub left_out: Sum,
    /// Uploads of such files that an earlier run has left on their way: first it is found out what became of
    /// them.
    pub on_the_way: u64,
    /// All that the library has in the store, or on its way there.
    pub documents: u64,
    /// Files that were missing at the last scan and are there now, and the first of them.
    back: u64,
    first_back: Option<String>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    pub files: u64,
    pub documents: u64,
    pub bytes: u64,
    /// Since when the first of them is so.
    pub since_ms: Option<UnixMs>,
}

impl Sum {
    fn add(&mut self, file: &GoneFile) {
        self.files += u64::from(file.is_first);
        self.documents += 1;
        self.bytes += file.bytes;
        let since_ms = self.since_ms.unwrap_or(file.since_ms);
        self.since_ms = Some(since_ms.min(file.since_ms));
    }
}

impl OfLibrary {
    fn new(library: LibraryRow, documents: u64) -> OfLibrary {
        OfLibrary {
            library,
            missing: Sum::default(),
            left_out: Sum::default(),
            on_the_way: 0,
            documents,
            back: 0,
            first_back: None,
        }
    }

    fn add(&mut self, file: &GoneFile) {
        let sum = match file.is_left_out {
            true => &mut self.left_out,
            false => &mut self.missing,
        };
        sum.add(file);
        if !file.is_left_out && self.library.root.join(&file.path).is_file() {
            self.back += 1;
            self.first_back.get_or_insert_with(|| file.path.clone());
        }
    }

    /// As many documents as may go.
    fn to_delete(&self) -> u64 {
        self.missing.documents + self.left_out.documents + self.on_the_way
    }
}

impl Found {
    /// Of all of it.
    pub fn count(&self, of: fn(&Sum) -> u64) -> u64 {
        let sums = self.libraries.iter();
        sums.map(|l| of(&l.missing) + of(&l.left_out)).sum()
    }

    /// Nothing is to be asked of the service.
    pub fn is_nothing(&self) -> bool {
        self.libraries.is_empty() && self.begun == 0
    }

    /// A store holds what its libraries do, so that no share of it is larger than each of theirs.
    ///
    /// # Errors
    /// More than `percent` of a library's documents would go, or that of a file which is back and was not
    /// scanned since.
    pub fn check(&self, percent: u64) -> Result<(), Error> {
        for of in &self.libraries {
            if let Some(first) = &of.first_back {
                return Err(Error::new(
                    Kind::Input,
                    format!("library `{}`", of.library.name),
                    format!(
                        "{} of its missing files are there again, `{first}` first",
                        of.back
                    ),
                    format!(
                        "run `objlib scan '{}'` before the purge; nothing was deleted",
                        of.library.root.display()
                    ),
                ));
            }
            let deletions = of.to_delete();
            if deletions * 100 > of.documents * percent {
                return Err(Error::new(
                    Kind::Store,
                    format!("library `{}`", of.library.name),
                    format!(
                        "the purge would delete {deletions} of its {} documents in store `{}`, more than {percent} %: refused",
                        of.documents, self.store.display_name
                    ),
                    "check that nothing is missing that should be there (is the disk mounted?), or allow it \
                     with --max-share; nothing was deleted",
                ));
            }
        }
        Ok(())
    }
}

/// What came of it.
pub struct Done {
    /// Documents that are confirmed to be gone.
    pub deleted: u64,
    /// Documents that are still to be deleted.
    pub left: u64,
    /// What stopped it.
    pub error: Option<Error>,
    pub exit: u8,
}

/// Files named one by one.
const NAMED_MAX: usize = 5;

/// What a purge would delete, as far as the database knows. Takes no lock and sends nothing.
///
/// # Errors
/// The store, or the library, is not known here.
pub fn look(options: &Options, database: &Path) -> Result<Found, Error> {
    find(options, &Reader::open(database)?)
}

fn find(options: &Options, reader: &Reader) -> Result<Found, Error> {
    let store = connect::known_store(reader, &options.endpoint_name, &options.store)?;
    let store = store.ok_or_else(|| {
        let unknown = Error::new(
            Kind::Store,
            format!("store `{}`", options.store),
            "nothing was ever sent into it from here",
            "name another one with --store (`objlib status` shows where libraries go)",
        );
        connect::not_there(reader, &options.endpoint_name, &options.store, unknown)
    })?;
    let mut libraries = reader.linked(store.id)?;
    if let Some(name) = &options.library {
        let wanted = library::named(reader, name)?;
        libraries.retain(|library| library.id == wanted.id);
    }
    let missing = Missing {
        libraries: libraries.iter().map(|library| library.id).collect(),
        before: options.before,
    };
    let shares = reader.shares(store.id, &missing.libraries.iter().copied().collect())?;
    let mut of_each: BTreeMap<i64, OfLibrary> = BTreeMap::new();
    for library in libraries {
        let share = shares.get(&library.id).copied().unwrap_or_default();
        let documents = share.indexed + share.under_way;
        of_each.insert(library.id, OfLibrary::new(library, documents));
    }
    let mut named = Vec::new();
    each_file(reader, store.id, &missing, &mut |file| {
        let Some(of) = of_each.get_mut(&file.library) else {
            return;
        };
        of.add(&file);
        if named.len() < NAMED_MAX && file.is_first {
            named.push((of.library.name.clone(), file.path));
        }
    })?;
    reader.gone_on_the_way(store.id, &missing, &mut |library| {
        if let Some(of) = of_each.get_mut(&library) {
            of.on_the_way += 1;
        }
    })?;
    let mut libraries: Vec<OfLibrary> = of_each.into_values().collect();
    libraries.retain(|of| of.to_delete() > 0);
    libraries.sort_by(|a, b| a.library.name.cmp(&b.library.name));
    Ok(Found {
        begun: reader.unwanted_count(store.id)?,
        store,
        missing,
        libraries,
        named,
    })
}

/// Every file that a purge is about, by pages.
fn each_file(
    reader: &Reader,
    store: i64,
    missing: &Missing,
    each: &mut dyn FnMut(GoneFile),
) -> Result<(), Error> {
    let mut after = UploadId(0);
    loop {
        let page = reader.purgeable(store, missing, after)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.upload;
        page.into_iter().for_each(&mut *each);
    }
}

/// Calls `each` with library and path of every file that a purge is about.
pub fn each_named(
    found: &Found,
    database: &Path,
    each: &mut dyn FnMut(&str, &str),
) -> Result<(), Error> {
    let reader = Reader::open(database)?;
    let of = |id: i64| found.libraries.iter().find(|of| of.library.id == id);
    each_file(&reader, found.store.id, &found.missing, &mut |file| {
        if let (true, Some(of)) = (file.is_first, of(file.library)) {
            each(&of.library.name, &file.path);
        }
    })
}

/// Where there is nothing to delete: files of which nothing is left in any store are forgotten all the same.
pub fn forget(call: &Call<'_>, found: &Found) -> Result<(), Error> {
    let started = writer::start(call.database, Arc::clone(call.shutdown), &call.waits)?;
    let reader = Reader::open(call.database)?;
    let done = forget::files(&found.missing, &reader, &started.thread.writer());
    let closed = started.thread.close();
    done?;
    closed
}

/// Carries it out.
///
/// # Errors
/// What kept it from beginning; what stopped it later is in the answer, with what was done until then.
pub fn run(call: &Call<'_>, target: &Target, options: &Options) -> Result<Done, Error> {
    let started = writer::start(call.database, Arc::clone(call.shutdown), &call.waits)?;
    let done = connect::with_service(&target.service, call.database, |reached| {
        let purge = Purge {
            call,
            target,
            options,
            started: &started,
        };
        purge.run(reached)
    });
    let closed = started.thread.close();
    let done = done?;
    closed?;
    Ok(done)
}

/// One purge, with the lock in its hands.
struct Purge<'a> {
    call: &'a Call<'a>,
    target: &'a Target,
    options: &'a Options,
    started: &'a Started,
}

impl Purge<'_> {
    fn run(&self, reached: Reached) -> Result<Done, Error> {
        let Purge {
            call,
            target,
            started,
            ..
        } = self;
        let reader = Reader::open(call.database)?;
        let pace = Pace {
            rpm: Rpm::Auto,
            concurrency: Concurrency::Default,
            lease: started.thread.lease(),
            shutdown: call.shutdown,
            waits: call.waits,
        };
        let (gate, client) = connect::client(target, reached, pace, &reader)?;
        let writer = started.thread.writer();
        let resolve = Resolve {
            wanted: &target.store,
            endpoint: &target.endpoint_name,
            reader: &reader,
            writer: &writer,
            client: &client,
            events: &*call.events,
            shutdown: call.shutdown,
            waits: &call.waits,
            patience: PATIENCE,
        };
        let documents = resolve
            .existing()?
            .map_or(0, |Resolved { documents, .. }| documents);
        // Nobody else changes anything any more.
        let found = find(self.options, &reader)?;
        found.check(self.options.share_max_percent)?;
        let purge_documents = found.count(|sum| sum.documents);
        let settings = pipeline::RunSettings {
            purge_documents,
            store: found.store,
            documents,
            selection: Selection::default(),
            purge: Some(found.missing),
            concurrency: Concurrency::Default.ceiling(),
            batch_size: BATCH_SIZE,
            limit: None,
            retry_failed: false,
            passes: PATIENCE,
            max_attempts: 1,
            types: BTreeMap::new(),
            bandwidth: None,
            method: MethodChoice::Auto,
        };
        let parts = Parts {
            client,
            gate,
            shutdown: Arc::clone(call.shutdown),
            writer,
            reader,
            progress: Arc::clone(call.progress),
            events: Arc::clone(&call.events),
            waits: call.waits,
        };
        let (ended, parts) = run::run(&settings, parts)?;
        self.finish(ended, &parts)
    }

    /// Counts what the database says now, and has the run recorded.
    fn finish(&self, ended: Ended, parts: &Parts) -> Result<Done, Error> {
        let found = find(self.options, &parts.reader)?;
        let on_the_way = found.libraries.iter().map(|of| of.on_the_way);
        let left = found.count(|sum| sum.documents) + on_the_way.sum::<u64>() + found.begun;
        let stopped = exit_of_stop(&parts.shutdown);
        let exit = match (&ended.error, stopped) {
            (Some(error), _) => error.kind.exit_code(),
            (None, Some(exit)) => exit,
            (None, None) if left > 0 => 4,
            (None, None) => 0,
        };
        let requests = parts.client.counts();
        let totals = RunTotals {
            recovered: ended.tally.recovered.get(),
            indexed: ended.tally.indexed.get(),
            bytes: ended.tally.bytes.get(),
            requests: requests.requests,
            polls: requests.polls,
            retries: requests.retries,
            ..RunTotals::default()
        };
        // After a failed commit nothing can be written.
        if parts.writer.commit(Change::Flush).is_ok() {
            parts.writer.commit(Change::RunEnded {
                run: ended.run,
                outcome: if exit == 0 {
                    "purged"
                } else {
                    "purge not finished"
                },
                exit,
                totals: Box::new(totals),
                limited_by: "nothing",
            })?;
        }
        Ok(Done {
            deleted: ended.tally.deleted.get(),
            left,
            error: ended.error,
            exit,
        })
    }
}
