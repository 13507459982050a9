//! What an upload would send, as the scan finds it now. Records nothing, sends nothing, and takes no lock.

use std::collections::BTreeMap;
use std::path::Path;

use crate::app::connect;
use crate::app::folders::describe::{self, Described as DescribedLibrary};
use crate::app::folders::{Folders, roots};
use crate::app::upload;
use crate::error::Error;
use crate::identity::ContentKey;
use crate::library::{self, Found};
use crate::pipeline::following::pages::PAGE_DOCUMENTS;
use crate::pipeline::rules::{MethodChoice, OneRequests};
use crate::report::UploadPlan;
use crate::scan::{Catalog, Filter, Record, Skip, mime};
use crate::shutdown::Shutdown;
use crate::state::reader::{LibraryRow, StoreRow};
use crate::state::{Described, KnownFile, Reader, Reading, SeenFile, Support};
use crate::throttle::Rpm;

/// What was asked for; a plan needs no key.
pub struct Options {
    pub store: String,
    pub endpoint_name: String,
    pub folders: Folders,
    pub rpm: Rpm,
    pub method: MethodChoice,
    pub limit: Option<u64>,
}

/// Requests of a small file that goes directly; its document is looked at by a page of many.
const IN_ONE_REQUEST: u64 = 1;
/// Start and body.
const BY_SESSION: u64 = 2;
/// Besides, a look at the document, which has no name before its operation ends, the import, one poll of its operation, and the temporary file's deletion.
const STAGED: u64 = 6;
/// The service counts about three times the input (fact sheet 3).
const STORAGE_FACTOR: u64 = 3;
/// USD 0.15 per million tokens (fact sheet 13), some four bytes a token.
const USD_PER_BYTE: f64 = 0.15 / 1e6 / 4.0;
/// Files named as the largest.
const LARGEST_MAX: usize = 5;
/// No library has it, since ids begin at 1: of a folder that is new nothing is known.
const NOBODY: i64 = 0;

/// What would be sent, counted as it is found.
struct Wanted {
    limit: Option<u64>,
    method: MethodChoice,
    support: Support,
    requests: u64,
    /// Files whose documents are looked at by pages.
    in_pages: u64,
    files: u64,
    bytes: u64,
    by_type: BTreeMap<String, (u64, u64)>,
    largest: Vec<(String, u64)>,
    /// Files whose documents are to carry something else, though they hold what they held.
    described: u64,
    skipped: u64,
}

impl Wanted {
    fn new(options: &Options, support: Support) -> Wanted {
        Wanted {
            limit: options.limit,
            method: options.method,
            support,
            requests: 0,
            in_pages: 0,
            files: 0,
            bytes: 0,
            by_type: BTreeMap::new(),
            largest: Vec::new(),
            described: 0,
            skipped: 0,
        }
    }

    /// Of a file that is sent once, without a failure.
    fn requests_of(&self, bytes: u64) -> u64 {
        let is_small = OneRequests::new(self.support).takes(bytes, false);
        match self.method {
            MethodChoice::Staged => STAGED,
            MethodChoice::Auto | MethodChoice::Direct if is_small => IN_ONE_REQUEST,
            MethodChoice::Auto | MethodChoice::Direct => BY_SESSION,
        }
    }

    fn file(&mut self, path: &str, mime: &str, bytes: u64) {
        if self.limit.is_some_and(|limit| self.files >= limit) {
            return;
        }
        self.files += 1;
        self.bytes += bytes;
        let requests = self.requests_of(bytes);
        self.requests += requests;
        self.in_pages += u64::from(requests != STAGED);
        let of_type = self.by_type.entry(mime.to_owned()).or_default();
        of_type.0 += 1;
        of_type.1 += bytes;
        let place = self.largest.partition_point(|(_, size)| *size >= bytes);
        if place < LARGEST_MAX {
            self.largest.insert(place, (path.to_owned(), bytes));
            self.largest.truncate(LARGEST_MAX);
        }
    }
}

pub fn plan(options: &Options, database: &Path, shutdown: &Shutdown) -> Result<UploadPlan, Error> {
    let reader = Reader::of(database)?;
    let name = &options.store;
    let store = connect::known_store(&reader, &options.endpoint_name, name)?;
    let support = store.as_ref().map(|store| store.one_request);
    let mut wanted = Wanted::new(options, support.unwrap_or(Support::Untried));
    let folders = &options.folders;
    let libraries = match folders.dirs.is_empty() {
        true => recorded(&reader, store.as_ref(), folders, &mut wanted)?,
        false => found(&reader, store.as_ref(), folders, shutdown, &mut wanted)?,
    };
    let in_flight = match &store {
        Some(store) => {
            let libraries = libraries.iter().map(|library| library.id).collect();
            let counts = reader.upload_counts(store.id, &libraries)?;
            counts.uploading + counts.processing
        }
        None => 0,
    };
    let rate_per_min = match options.rpm {
        Rpm::Ceiling(n) => Some(f64::from(n.get())),
        Rpm::Auto => connect::peaks(&reader, &options.endpoint_name)?.write,
        Rpm::Unlimited => None,
    };
    let mut by_type: Vec<(String, u64, u64)> = wanted
        .by_type
        .into_iter()
        .map(|(mime, (files, bytes))| (mime, files, bytes))
        .collect();
    by_type.sort_by_key(|(_, _, bytes)| std::cmp::Reverse(*bytes));
    let requests = wanted.requests + wanted.in_pages.div_ceil(PAGE_DOCUMENTS);
    Ok(UploadPlan {
        store: name.clone(),
        // Unless it is pinned, only the service could tell, and a dry run asks nothing.
        store_exists: store.map(|_| true),
        files: wanted.files,
        bytes: wanted.bytes,
        by_type,
        largest: wanted.largest,
        described: wanted.described,
        requests,
        rate_per_min,
        seconds: rate_per_min.map(|rate| requests as f64 / rate * 60.0),
        storage_bytes: wanted.bytes * STORAGE_FACTOR,
        cost_usd: wanted.bytes as f64 * USD_PER_BYTE,
        in_flight,
        skipped: wanted.skipped,
    })
}

/// Without a folder: what the database knows of.
fn recorded(
    reader: &Reader,
    store: Option<&StoreRow>,
    folders: &Folders,
    wanted: &mut Wanted,
) -> Result<Vec<LibraryRow>, Error> {
    let libraries = match &folders.name {
        Some(name) => vec![library::named(reader, name)?],
        None => {
            let mut libraries = match store {
                Some(store) => reader.linked(store.id)?,
                None => Vec::new(),
            };
            let new = reader.never_sent()?.into_iter();
            libraries.extend(new.filter(|library| library.scanned_ms.is_some()));
            libraries
        }
    };
    let selection = upload::selection(&libraries, folders)?;
    let ids = selection.libraries();
    reader.each_unsettled(
        store.map(|s| s.id),
        &ids,
        &mut |library, path, mime, bytes| {
            if selection.selects(library, path) {
                wanted.file(path, mime, bytes);
            }
        },
    )?;
    wanted.skipped = reader.skipped_counts(&ids)?.values().sum();
    Ok(libraries)
}

/// With folders: what a scan finds there now.
fn found(
    reader: &Reader,
    store: Option<&StoreRow>,
    folders: &Folders,
    shutdown: &Shutdown,
    wanted: &mut Wanted,
) -> Result<Vec<LibraryRow>, Error> {
    let mut libraries = Vec::new();
    for root in roots(folders)? {
        let filter = Filter::new(&root, &folders.options)?;
        let library: Found = library::resolve(reader, &root, folders.name.as_deref(), &filter)?;
        let id = library.row().map_or(NOBODY, |row| row.id);
        let given = &folders.options.given;
        let DescribedLibrary { describer, .. } = describe::library(reader, &library, given, store)?;
        let catalog = Catalog::new(reader, id, describer)?;
        let mut planning = Planning {
            reader,
            store: store.map(|s| s.id),
            takes_images: store.is_some_and(StoreRow::takes_images),
            library: id,
            wanted,
        };
        let stop = || shutdown.is_stopping();
        let found = crate::scan::run(&root, &folders.options, &catalog, &mut planning, &stop)?;
        wanted.described += found.described;
        libraries.extend(library.row().cloned());
    }
    Ok(libraries)
}

/// Counts what a scan finds instead of recording it.
struct Planning<'a> {
    reader: &'a Reader,
    store: Option<i64>,
    takes_images: bool,
    library: i64,
    wanted: &'a mut Wanted,
}

impl Planning<'_> {
    fn present(
        &mut self,
        path: &str,
        content: &ContentKey,
        (mime, size_bytes): (&str, u64),
    ) -> Result<(), Error> {
        let reader = self.reader;
        if mime::is_image(mime) && !self.takes_images {
            return Ok(());
        }
        if !reader.settled(self.library, path, content, self.store)? {
            self.wanted.file(path, mime, size_bytes);
        }
        Ok(())
    }
}

impl Record for Planning<'_> {
    fn file(&mut self, file: SeenFile) -> Result<(), Error> {
        let Reading {
            sha256,
            mime,
            size_bytes,
            ..
        } = &file.reading;
        let content = ContentKey {
            sha256: *sha256,
            variant: file.described.variant,
        };
        self.present(&file.path, &content, (mime, *size_bytes))
    }

    fn described(
        &mut self,
        known: &KnownFile,
        path: &str,
        described: Described,
    ) -> Result<(), Error> {
        let content = ContentKey {
            sha256: known.content.sha256,
            variant: described.variant,
        };
        self.present(path, &content, (&known.mime, known.size_bytes))
    }

    fn unchanged(&mut self, known: &KnownFile, path: &str) -> Result<(), Error> {
        self.present(path, &known.content, (&known.mime, known.size_bytes))
    }

    fn skip(&mut self, _skip: Skip) -> Result<(), Error> {
        self.wanted.skipped += 1;
        Ok(())
    }

    fn missing(&mut self, _id: i64) -> Result<(), Error> {
        Ok(())
    }

    fn left_out(&mut self, _id: i64) -> Result<(), Error> {
        Ok(())
    }
}
