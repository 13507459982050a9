//! What each store should hold, and what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use objlib::identity::Sha256;
use serde_json::Value;

use super::folder::IGNORE;
use crate::run::{Ledger, for_each_file};
use crate::settings::{Entries, SIDECAR, Settings, carried, entries};

/// Store by display name, library, path.
pub type Place = (&'static str, &'static str, String);

/// What a document holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    sha256: String,
    entries: Entries,
}

/// What the stores should hold, night after night.
#[derive(Default)]
pub struct Expected {
    documents: BTreeMap<Place, Document>,
    /// Which of them are of files that are missing or not to be sent, and since which night.
    missing: BTreeMap<Place, usize>,
    /// What a search could find when the night began.
    findable: BTreeSet<Place>,
    /// Whose files have gone to another path since then.
    moved: BTreeSet<Place>,
}

/// What a folder holds now.
#[derive(Default)]
pub struct OnDisk {
    /// `None`: its sidecar cannot be used.
    files: BTreeMap<String, Option<Document>>,
    /// There as well, and not to be sent.
    ignored: BTreeSet<String>,
}

impl OnDisk {
    pub fn read(root: &Path, settings: &Settings) -> OnDisk {
        let rules = std::fs::read_to_string(root.join(IGNORE)).unwrap_or_default();
        let rules: BTreeSet<&str> = rules.lines().map(|line| &line[1..]).collect();
        let mut files = BTreeMap::new();
        let mut ignored = BTreeSet::new();
        for_each_file(root, &mut |file| {
            let path = file.strip_prefix(root).unwrap().to_str().unwrap();
            if path.ends_with(SIDECAR) || path == IGNORE {
                return;
            }
            if rules.contains(path) {
                ignored.insert(path.to_owned());
                return;
            }
            let sidecar = std::fs::read(root.join(format!("{path}{SIDECAR}"))).ok();
            let sidecar = sidecar.map(|bytes| serde_json::from_slice(&bytes).map(entries));
            let document = match sidecar {
                Some(Err(_)) => None,
                Some(Ok(own)) => Some(settings.entries(path, Some(&own))),
                None => Some(settings.entries(path, None)),
            };
            let document = document.map(|entries| Document {
                sha256: Sha256::of(&std::fs::read(file).unwrap()).to_string(),
                entries,
            });
            files.insert(path.to_owned(), document);
        });
        OnDisk { files, ignored }
    }

    /// Whether some sidecar cannot be used.
    pub fn is_garbled(&self) -> bool {
        self.files.values().any(Option::is_none)
    }
}

impl Expected {
    pub fn night_begins(&mut self) {
        self.findable = self.documents.keys().cloned().collect();
        self.moved.clear();
    }

    /// What a scan makes of files that are at another path now: of equal content, one that went and one that
    /// came, in the order of their paths. The documents at the old path go.
    pub fn moved(&mut self, library: &'static str, disk: &OnDisk) {
        let mut went: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut there = BTreeSet::new();
        let present = |place: &&Place| place.1 == library && !self.missing.contains_key(*place);
        for place in self.documents.keys().filter(present) {
            let path = place.2.as_str();
            there.insert(path);
            if !disk.files.contains_key(path) && !disk.ignored.contains(path) {
                let sha256 = self.documents[place].sha256.as_str();
                went.entry(sha256).or_default().insert(path);
            }
        }
        let mut moved = BTreeSet::new();
        for (path, document) in &disk.files {
            if let Some(document) = document
                && !there.contains(path.as_str())
                && let Some(went) = went.get_mut(document.sha256.as_str())
                && let Some(old) = went.pop_first()
            {
                moved.insert(old.to_owned());
            }
        }
        let is_moved = |place: &Place| place.1 == library && moved.contains(&place.2);
        let old = self.documents.keys().filter(|place| is_moved(place));
        self.moved.extend(old.cloned());
        self.missing.retain(|place, _| !is_moved(place));
        self.documents.retain(|place, _| !is_moved(place));
    }

    /// What an upload of the library makes of a store; how many documents it has to send.
    pub fn uploaded(
        &mut self,
        (store, library): (&'static str, &'static str),
        disk: &OnDisk,
        night: usize,
    ) -> usize {
        let mut sent = 0;
        // A document whose content is at another path now is replaced; one path takes the place of one.
        let is_here = |place: &Place| (place.0, place.1) == (store, library);
        let mut came: BTreeMap<&str, usize> = BTreeMap::new();
        for (path, document) in &disk.files {
            let place = (store, library, path.clone());
            let is_new = !self.documents.contains_key(&place) || self.missing.contains_key(&place);
            if let (true, Some(document)) = (is_new, document) {
                *came.entry(&document.sha256).or_default() += 1;
            }
        }
        self.documents.retain(|place, document| {
            let went = is_here(place)
                && !disk.files.contains_key(&place.2)
                && !self.missing.contains_key(place);
            let left = came
                .get_mut(document.sha256.as_str())
                .filter(|n| went && **n > 0);
            left.map(|n| *n -= 1).is_none()
        });
        for (path, document) in &disk.files {
            let place = (store, library, path.clone());
            self.missing.remove(&place);
            if let Some(document) = document
                && self.documents.get(&place) != Some(document)
            {
                self.documents.insert(place, document.clone());
                sent += 1;
            }
        }
        for place in self.documents.keys() {
            if is_here(place) && !disk.files.contains_key(&place.2) {
                self.missing.entry(place.clone()).or_insert(night);
            }
        }
        sent
    }

    /// What a purge makes of a store; how many documents it deletes.
    pub fn purged(&mut self, store: &str, nights: usize, night: usize) -> usize {
        let is_due = |place: &Place, since: usize| place.0 == store && night - since >= nights;
        let due: Vec<Place> = self
            .missing
            .iter()
            .filter(|(place, since)| is_due(place, **since))
            .map(|(place, _)| place.clone())
            .collect();
        for place in &due {
            self.missing.remove(place);
            self.documents.remove(place);
        }
        due.len()
    }

    /// Documents of a store whose files are as they were when they were sent.
    pub fn unchanged(&self, store: &str, library: &str, disk: &OnDisk) -> Vec<&str> {
        let here = self
            .documents
            .iter()
            .filter(|(place, _)| (place.0, place.1) == (store, library));
        let same = here.filter(|(place, document)| {
            disk.files.get(&place.2).and_then(Option::as_ref) == Some(document)
        });
        same.map(|(place, _)| place.2.as_str()).collect()
    }

    pub fn len(&self) -> usize {
        self.documents.len()
    }

    pub fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Documents of files that are there.
    pub fn present(&self, store: &str) -> usize {
        let is_here = |place: &&Place| place.0 == store;
        let all = self.documents.keys().filter(is_here).count();
        all - self.missing.keys().filter(is_here).count()
    }

    /// `others`: documents by name that nobody may touch. `deleted`: how many deletions were looked at before.
    pub fn compare(&self, ledger: &Ledger, others: &BTreeSet<String>, deleted: usize) -> Wrong {
        let ledger = &ledger.0;
        let mut wrong = Wrong {
            files: ledger["temporaryFiles"].as_array().unwrap().len(),
            violations: ledger["violations"].as_array().unwrap().len(),
            ..Wrong::default()
        };
        let known: BTreeMap<Key, &Document> =
            self.documents.iter().map(|(p, d)| (key(p), d)).collect();
        let mut found: BTreeMap<Key, usize> = BTreeMap::new();
        let mut untouched = 0;
        let mut stores: BTreeMap<&str, &str> = BTreeMap::new();
        for document in ledger["documents"].as_array().unwrap() {
            if others.contains(text(document, "name")) {
                untouched += 1;
                continue;
            }
            let store = (text(document, "storeDisplayName"), text(document, "store"));
            let is_first = *stores.entry(store.0).or_insert(store.1) == store.1;
            let place = (
                store.0,
                text(document, "objlibLibrary"),
                text(document, "objlibPath"),
            );
            let Some(expected) = known.get(&place).filter(|_| is_first) else {
                wrong.orphan(document);
                continue;
            };
            if text(document, "state") != "STATE_ACTIVE"
                || text(document, "sha256") != expected.sha256
                || text(document, "metadataSha256") != expected.sha256
            {
                wrong.orphan(document);
                continue;
            }
            let carried = carried(&document["customMetadata"]);
            if carried != expected.entries {
                wrong.described += 1;
                wrong.say(format!("{carried:?} instead of {expected:?}: {document}"));
            }
            *found.entry(place).or_default() += 1;
        }
        wrong.foreign_touched = others.len() - untouched;
        for place in known.keys() {
            match found.get(place) {
                None => {
                    wrong.lost += 1;
                    wrong.say(format!("not there: {place:?}"));
                }
                Some(1) => {}
                Some(n) => {
                    wrong.doubled += 1;
                    wrong.say(format!("{n} times there: {place:?}"));
                }
            }
        }
        let findable: BTreeSet<Key> = self.findable.iter().map(key).collect();
        let deleted = &ledger["lastDeleted"].as_array().unwrap()[deleted..];
        for last in deleted {
            let store = stores
                .iter()
                .find(|(_, name)| **name == text(last, "store"));
            let store = store.map_or("", |(display_name, _)| display_name);
            let place = (store, text(last, "objlibLibrary"), text(last, "objlibPath"));
            let is_moved = self.moved.iter().any(|moved| key(moved) == place);
            let is_gap = match is_moved {
                true => last["contentElsewhere"] == false,
                false => findable.contains(&place) && known.contains_key(&place),
            };
            if is_gap {
                wrong.gaps += 1;
                wrong.say(format!("a search found nothing for a moment: {last}"));
            }
        }
        wrong
    }
}

type Key<'p> = (&'p str, &'p str, &'p str);

fn key((store, library, path): &Place) -> Key<'_> {
    (store, library, path)
}

fn text<'v>(document: &'v Value, field: &str) -> &'v str {
    document[field].as_str().unwrap_or_default()
}

/// What is wrong with the stores, counted; the first few in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// Documents that are not there.
    pub lost: usize,
    pub doubled: usize,
    /// Documents that should not be there: torn, old, failed, in the wrong store, of a purged file.
    pub orphans: usize,
    /// With other metadata than they should have.
    pub described: usize,
    /// Old documents that were deleted before the new one was active.
    pub gaps: usize,
    /// Temporary ones.
    pub files: usize,
    /// Documents of others that are gone.
    pub foreign_touched: usize,
    pub violations: usize,
    words: Vec<String>,
}

impl Wrong {
    fn say(&mut self, words: String) {
        if self.words.len() < 10 {
            self.words.push(words);
        }
    }

    fn orphan(&mut self, document: &Value) {
        self.orphans += 1;
        self.say(format!("should not be there: {document}"));
    }
}
