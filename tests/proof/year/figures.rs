//! What the nights have cost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::folder::Folder;
use super::{Weather, Year};
use crate::run::{Ledger, Place, RunToEnd, Service};
use crate::table;

/// What one kind of night has cost.
#[derive(Default)]
pub struct Sum {
    pub nights: usize,
    /// Documents that had to be sent.
    pub changed: usize,
    pub runs: usize,
    pub kills: usize,
    /// Nights after which the ledger equalled the folders, and no changed file was without a document.
    pub exact: usize,
    pub requests: BTreeMap<String, u64>,
}

impl Sum {
    pub fn requests_of(&self, kind: &str) -> u64 {
        self.requests.get(kind).copied().unwrap_or(0)
    }
}

impl Year {
    pub fn print(&self, seed: u64) {
        let files: usize = self.folders.iter().map(Folder::len).sum();
        let deeds: Vec<String> = self
            .deeds
            .iter()
            .map(|(deed, n)| format!("{n} {deed:?}"))
            .collect();
        println!(
            "{files} files in two libraries, {} documents in two stores, of them {} of missing files",
            self.expected.len(),
            self.expected.missing()
        );
        println!("by day: {}", deeds.join(", "));
        println!(
            "by night: {} documents purged, {} deleted by hand and sent again after `verify --repair`",
            self.purged, self.damaged
        );
        let mut head = vec!["nights", "number", "documents to send", "runs", "kills"];
        let kinds: BTreeSet<&str> = self
            .sums
            .values()
            .flat_map(|sum| sum.requests.iter().filter(|(_, n)| **n > 0))
            .map(|(kind, _)| kind.as_str())
            .collect();
        head.extend(["upload requests", "exact"]);
        let name = |(is_quiet, weather): (bool, Weather)| {
            let what = if is_quiet {
                "nothing changed"
            } else {
                "changes"
            };
            match weather {
                Weather::Calm => format!("{what}, calm"),
                Weather::Rough => format!("{what}, faults"),
            }
        };
        let rows: Vec<Vec<String>> = self
            .sums
            .iter()
            .map(|(kind, sum)| {
                let sent = sum.requests_of("upload.start") + sum.requests_of("upload.multipart");
                let numbers = [
                    sum.nights,
                    sum.changed,
                    sum.runs,
                    sum.kills,
                    sent as usize,
                    sum.exact,
                ];
                let numbers = numbers.iter().map(usize::to_string);
                std::iter::once(name(*kind)).chain(numbers).collect()
            })
            .collect();
        table(&head, &rows);
        println!("\nrequests a document that had to be sent");
        let busy: Vec<_> = self
            .sums
            .iter()
            .filter(|(_, sum)| sum.changed > 0)
            .collect();
        let names: Vec<String> = busy.iter().map(|(kind, _)| name(**kind)).collect();
        let head: Vec<&str> = ["request"]
            .into_iter()
            .chain(names.iter().map(String::as_str))
            .collect();
        let rows: Vec<Vec<String>> = kinds
            .iter()
            .map(|kind| {
                let cells = busy.iter().map(|(_, sum)| {
                    format!("{:.2}", sum.requests_of(kind) as f64 / sum.changed as f64)
                });
                std::iter::once((*kind).to_owned()).chain(cells).collect()
            })
            .collect();
        table(&head, &rows);
        let faults: Vec<String> = self
            .faults
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(f, n)| format!("{n} {f}"))
            .collect();
        println!(
            "\nfaults that fired: {}\nagain: --seed {seed}",
            faults.join(", ")
        );
        assert!(!faults.is_empty(), "no fault fired");
    }
}

/// What a night costs in which nothing has changed, in time and in requests.
pub fn unchanged(files: usize) {
    let place = Place::new();
    place.files(files);
    let service = Service::start(&place, &[]);
    place.upload(&service, &["--rpm", "0"]).seen().exit(0);
    let before = service.ledger();
    let began = Instant::now();
    place.upload(&service, &[]).seen().exit(0);
    let seconds = began.elapsed().as_secs_f64();
    let after = service.ledger();
    let all = |ledger: &Ledger| ledger.0["requestsTotal"].as_u64().unwrap();
    println!();
    table(
        &["unchanged files", "upload requests", "requests", "seconds"],
        &[vec![
            files.to_string(),
            (after.uploads() - before.uploads()).to_string(),
            (all(&after) - all(&before)).to_string(),
            format!("{seconds:.2}"),
        ]],
    );
}
