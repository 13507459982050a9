//! What the documents of a library carry besides their bytes: metadata, chunking, types; as it was asked for
//! once, kept with the library, and worked out for each file.
//!
//! Promises: what is given anew replaces what is kept, and an empty value takes it away; nothing here reads a
//! file, so that a dry run and an explanation work out the very same.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::mime::Types;
use super::{Skip, SkipReason};
use crate::client::Secrets;
use crate::error::{Error, Kind};
use crate::identity::{Chunking, MetadataEntry, Variant};
use crate::metadata::{self, Describing, Explained, Problem, Rules};
use crate::names::ApiKey;
use crate::state::Described;

/// Entries that a document can have (fact sheet 12), and how many of them objlib needs for its identity.
const ENTRIES_MAX: usize = 20;
const ENTRIES_OWN: usize = 3;

/// What holds for a library until something else is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LibrarySettings {
    /// The text of the rules file, as it was given.
    pub rules: Option<String>,
    /// `KEY=VALUE`, each as it was given.
    pub set: Vec<String>,
    pub types: Types,
    pub chunking: Option<Chunking>,
}

impl LibrarySettings {
    /// As the database keeps them.
    ///
    /// # Errors
    /// The database is damaged.
    pub fn read(library: &str, text: &str) -> Result<LibrarySettings, Error> {
        serde_json::from_str(text).map_err(|e| {
            Error::new(
                Kind::Database,
                format!("library `{library}`"),
                format!("its settings cannot be read: {e}"),
                "restore the database from a copy",
            )
        })
    }

    pub fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// What one call gives of it; `None`: nothing, so that what is kept holds.
#[derive(Debug, Clone, Default)]
pub struct GivenSettings {
    /// `Some(None)`: no rules from now on.
    pub rules: Option<Option<String>>,
    pub set: Option<Vec<String>>,
    pub types: Option<Types>,
    /// Words a chunk; 0: as the service likes.
    pub chunk_tokens: Option<u16>,
    pub overlap_tokens: Option<u16>,
    /// What nothing may name that describes a file. Kept nowhere.
    pub key: Option<ApiKey>,
}

impl GivenSettings {
    pub fn is_nothing(&self) -> bool {
        let GivenSettings {
            rules,
            set,
            types,
            chunk_tokens,
            overlap_tokens,
            key: _,
        } = self;
        rules.is_none()
            && set.is_none()
            && types.is_none()
            && chunk_tokens.is_none()
            && overlap_tokens.is_none()
    }

    /// # Errors
    /// The chunking makes no sense.
    pub fn over(&self, kept: &LibrarySettings) -> Result<LibrarySettings, Error> {
        Ok(LibrarySettings {
            rules: self.rules.clone().unwrap_or_else(|| kept.rules.clone()),
            set: self.set.clone().unwrap_or_else(|| kept.set.clone()),
            types: self.types.clone().unwrap_or_else(|| kept.types.clone()),
            chunking: self.chunking(kept.chunking)?,
        })
    }

    /// The overlap that is kept goes on to hold as long as it fits.
    fn chunking(&self, kept: Option<Chunking>) -> Result<Option<Chunking>, Error> {
        let tokens_max = match (self.chunk_tokens, kept) {
            (Some(0), _) | (None, None) => None,
            (Some(tokens), _) => Some(tokens),
            (None, Some(kept)) => Some(kept.tokens_max()),
        };
        let Some(tokens_max) = tokens_max else {
            return match self.overlap_tokens {
                None | Some(0) => Ok(None),
                Some(_) => Err(Error::new(
                    Kind::Usage,
                    "--max-overlap-tokens",
                    "there are no chunks of a known size to overlap",
                    "give --max-tokens-per-chunk as well",
                )),
            };
        };
        let kept = kept.map_or(0, Chunking::overlap_tokens);
        let overlap = match self.overlap_tokens {
            Some(given) => given,
            None if kept < tokens_max => kept,
            None => 0,
        };
        match Chunking::new(tokens_max, overlap) {
            Some(chunking) => Ok(Some(chunking)),
            None => Err(Error::new(
                Kind::Usage,
                "--max-overlap-tokens",
                format!("{overlap} words cannot be shared by chunks of {tokens_max}"),
                "give fewer than --max-tokens-per-chunk",
            )),
        }
    }
}

/// Works out what describes each file of a library.
pub struct Describer {
    library: String,
    describing: Describing,
    has_rules: bool,
    chunking: Option<Chunking>,
    pub types: Types,
    /// What would be sent, and be recorded, is looked at for them.
    pub secrets: Option<Secrets>,
    /// Of a file without a sidecar, where no rule may change it from file to file.
    plain: Option<Described>,
}

impl Describer {
    /// # Errors
    /// The rules, or what is set, make no sense.
    pub fn new(library: &str, settings: &LibrarySettings) -> Result<Describer, Error> {
        let mut describer = Describer {
            library: library.to_owned(),
            describing: describing(settings)?,
            has_rules: settings.rules.is_some(),
            chunking: settings.chunking,
            types: settings.types.clone(),
            secrets: None,
            plain: None,
        };
        if settings.rules.is_none() {
            let plain = describer.of("", None);
            describer.plain = Some(plain.map_err(|skip| {
                let remedy = "give fewer or shorter ones";
                Error::new(Kind::Usage, "--set", skip.detail, remedy)
            })?);
        }
        Ok(describer)
    }

    /// `sidecar`: the bytes of the file's own description, if it has one.
    ///
    /// # Errors
    /// Why the file is skipped.
    pub fn of(&self, path: &str, sidecar: Option<&[u8]>) -> Result<Described, Skip> {
        if let (None, Some(plain)) = (sidecar, &self.plain) {
            return Ok(plain.clone());
        }
        let room = ENTRIES_MAX - ENTRIES_OWN - usize::from(self.chunking.is_some());
        let found = self
            .describing
            .of(path, sidecar, room)
            .map_err(|problem| skip(path, &problem))?;
        let mut entries = found.entries;
        entries.extend(self.chunking.map(Chunking::entry));
        let text = serde_json::json!(entries).to_string();
        if self.secrets.as_ref().is_some_and(|s| s.appear_in(&text)) {
            return Err(skip(path, &Problem::Key));
        }
        Ok(Described {
            variant: Variant::of(&self.library, &entries),
            metadata: Arc::from(text),
            is_matched: found.is_matched || !self.has_rules,
        })
    }

    /// A file whose path holds the key is not recorded by it: neither may the document carry it.
    pub fn refuses(&self, path: &str) -> Option<Skip> {
        let shown = self.secrets.as_ref()?.out_of(path);
        (shown != path).then(|| Skip {
            path: shown,
            reason: SkipReason::Metadata,
            detail: "its path contains the API key: rename the file, and make a new key".to_owned(),
        })
    }

    /// Which source gives which entry.
    ///
    /// # Errors
    /// Why the file is skipped.
    pub fn explain(&self, path: &str, sidecar: Option<&[u8]>) -> Result<Vec<Explained>, Skip> {
        let found = self.describing.explain(path, sidecar);
        found.map_err(|problem| skip(path, &problem))
    }
}

fn describing(settings: &LibrarySettings) -> Result<Describing, Error> {
    let rules = settings.rules.as_deref().map(Rules::parse).transpose();
    let rules = rules.map_err(|e| {
        Error::new(
            Kind::Usage,
            "the rules of the library",
            e.to_string(),
            "give corrected ones with --metadata",
        )
    })?;
    let unusable = |what: String, why: String| {
        let remedy = "give KEY=VALUE once a key: a number, a text or a JSON list of texts";
        Error::new(Kind::Usage, what, why, remedy)
    };
    let set: Result<Vec<MetadataEntry>, Error> = settings
        .set
        .iter()
        .map(|text| metadata::set_entry(text).map_err(|why| unusable(format!("--set {text}"), why)))
        .collect();
    Describing::new(rules, set?).map_err(|why| unusable("--set".to_owned(), why))
}

fn skip(path: &str, problem: &Problem) -> Skip {
    Skip {
        path: path.to_owned(),
        reason: SkipReason::Metadata,
        detail: problem.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(chunk: Option<u16>, overlap: Option<u16>) -> GivenSettings {
        GivenSettings {
            chunk_tokens: chunk,
            overlap_tokens: overlap,
            ..GivenSettings::default()
        }
    }

    fn kept(tokens_max: u16, overlap: u16) -> LibrarySettings {
        LibrarySettings {
            chunking: Chunking::new(tokens_max, overlap),
            ..LibrarySettings::default()
        }
    }

    #[test]
    fn what_is_given_replaces_what_is_kept_and_an_empty_value_takes_it_away() {
        let kept = LibrarySettings {
            rules: Some("{}".to_owned()),
            set: vec!["a=b".to_owned()],
            types: Types::parse(["log=text/csv"]).unwrap(),
            chunking: Chunking::new(100, 10),
        };
        assert_eq!(GivenSettings::default().over(&kept).unwrap(), kept);
        let none = GivenSettings {
            rules: Some(None),
            set: Some(Vec::new()),
            types: Some(Types::default()),
            ..tokens(Some(0), None)
        };
        assert_eq!(none.over(&kept).unwrap(), LibrarySettings::default());
        let other = GivenSettings {
            set: Some(vec!["c=d".to_owned()]),
            ..GivenSettings::default()
        };
        let then = other.over(&kept).unwrap();
        assert_eq!((then.set, then.rules), (vec!["c=d".to_owned()], kept.rules));
    }

    #[test]
    fn an_overlap_belongs_to_chunks_that_it_fits_in() {
        let chunking = |given: GivenSettings, kept: &LibrarySettings| {
            given.over(kept).map(|then| then.chunking).ok()
        };
        let nothing = LibrarySettings::default();
        assert_eq!(
            chunking(tokens(Some(200), None), &nothing),
            Some(Chunking::new(200, 0))
        );
        assert_eq!(chunking(tokens(None, Some(20)), &nothing), None);
        assert_eq!(
            chunking(tokens(Some(200), None), &kept(100, 10)),
            Some(Chunking::new(200, 10))
        );
        assert_eq!(
            chunking(tokens(None, Some(20)), &kept(100, 10)),
            Some(Chunking::new(100, 20))
        );
        assert_eq!(
            chunking(tokens(Some(50), None), &kept(100, 60)),
            Some(Chunking::new(50, 0))
        );
        assert_eq!(chunking(tokens(Some(50), Some(50)), &nothing), None);
        assert_eq!(chunking(tokens(Some(0), None), &kept(100, 60)), Some(None));
    }

    #[test]
    fn settings_come_back_from_the_database_as_they_went_in() {
        let settings = LibrarySettings {
            rules: Some("{\"rules\": []}".to_owned()),
            set: vec!["a=1".to_owned()],
            types: Types::parse(["log=text/csv"]).unwrap(),
            chunking: Chunking::new(100, 10),
        };
        let read = LibrarySettings::read("docs", &settings.to_text()).unwrap();
        assert_eq!(read, settings);
        assert_eq!(
            LibrarySettings::read("docs", "{}").unwrap(),
            LibrarySettings::default()
        );
        assert!(LibrarySettings::read("docs", "[").is_err());
    }

    #[test]
    fn a_file_without_a_description_is_what_it_was_before_there_were_any() {
        let describer = Describer::new("docs", &LibrarySettings::default()).unwrap();
        let described = describer.of("a.md", None).unwrap();
        assert_eq!(described.variant, Variant::of("docs", &[]));
        assert_eq!((&*described.metadata, described.is_matched), ("[]", true));
    }
}
