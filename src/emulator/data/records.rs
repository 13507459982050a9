//! What the service keeps, and what it looks like at a moment.

use serde_json::{Value, json};
use sha2::Digest;

use crate::clock::{UnixMs, rfc3339};
use crate::emulator::faults::plan::Faults;

/// Files of the Files API are kept for 48 hours.
const FILE_KEPT_MS: i64 = 48 * 3600 * 1000;

/// A point in time, and what the plan makes of it. All of it is looked at when somebody asks, so that
/// a change of the plan holds for what is already here.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: UnixMs,
    /// Documents that failed and were ready then have healed.
    pub healed: UnixMs,
    /// Files made then or before are processed.
    processed: UnixMs,
    file_kept_ms: i64,
}

impl Moment {
    pub fn of(plan: &Faults, now: UnixMs) -> Moment {
        let ago = |ms: u64| now.saturating_sub_unsigned(ms);
        let kept = plan.file_kept_ms;
        Moment {
            now,
            healed: plan.document_heals_ms.map_or(UnixMs::MIN, ago),
            processed: ago(plan.file_processing_ms),
            file_kept_ms: kept.map_or(FILE_KEPT_MS, |ms| i64::try_from(ms).unwrap_or(i64::MAX)),
        }
    }

    /// Files made later than this are kept.
    pub fn kept_since(&self) -> UnixMs {
        self.now.saturating_sub(self.file_kept_ms)
    }
}

/// How the processing of a document ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    #[default]
    Active = 0,
    /// The operation names an error.
    Failed = 1,
    /// The operation does not; the document may heal.
    FailedAlone = 2,
}

#[derive(Debug, Clone)]
pub struct Store {
    /// In order of creation; never given away again, since page tokens hold it.
    pub number: i64,
    pub name: String,
    pub display_name: String,
    pub created_ms: UnixMs,
    pub embedding_model: String,
}

#[derive(Debug, Clone, Default)]
pub struct Document {
    pub name: String,
    pub store: String,
    pub display_name: String,
    pub metadata: Value,
    pub mime: String,
    pub size: u64,
    pub sha256: String,
    pub created_ms: UnixMs,
    pub ready_ms: UnixMs,
    pub end: End,
}

/// What of a document a search reads.
pub struct Searchable {
    pub text: String,
    pub chunking: Chunking,
}

/// How a text is cut into passages: white-space-separated words of one, and how many of them it shares with the
/// one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunking {
    pub words: u16,
    pub overlap: u16,
}

impl Chunking {
    /// As an upload's request has it. The service does not say what it takes where none is given.
    pub fn of(request: &Value) -> Chunking {
        let given = &request["chunkingConfig"]["whiteSpaceConfig"];
        let number = |field: &str| given[field].as_u64().and_then(|n| u16::try_from(n).ok());
        let words = number("maxTokensPerChunk").unwrap_or(200);
        Chunking {
            words,
            overlap: number("maxOverlapTokens").unwrap_or(words / 10),
        }
    }
}

impl Document {
    pub fn state(&self, at: &Moment) -> &'static str {
        match self.end {
            _ if at.now < self.ready_ms => "STATE_PENDING",
            End::Active => "STATE_ACTIVE",
            End::FailedAlone if self.has_healed(at) => "STATE_ACTIVE",
            End::Failed | End::FailedAlone => "STATE_FAILED",
        }
    }

    /// The text of a metadata entry.
    pub fn entry(&self, key: &str) -> Option<&str> {
        let mut entries = self.metadata.as_array().into_iter().flatten();
        entries.find(|e| e["key"] == key)?["stringValue"].as_str()
    }

    pub fn has_healed(&self, at: &Moment) -> bool {
        self.end == End::FailedAlone && self.ready_ms <= at.healed
    }

    /// As the API shows it: what has its default value is left out.
    pub fn wire(&self, at: &Moment) -> Value {
        let mut wire = json!({
            "name": self.name, "state": self.state(at), "sizeBytes": self.size.to_string(),
            "mimeType": self.mime, "createTime": rfc3339(self.created_ms),
            "updateTime": rfc3339(self.ready_ms.min(at.now)),
        });
        if !self.display_name.is_empty() {
            wire["displayName"] = json!(self.display_name);
        }
        if self.metadata.as_array().is_some_and(|m| !m.is_empty()) {
            wire["customMetadata"] = self.metadata.clone();
        }
        wire
    }
}

#[derive(Debug, Clone)]
pub struct StoredFile {
    pub name: String,
    pub display_name: String,
    pub mime: String,
    pub size: u64,
    pub sha256: String,
    pub created_ms: UnixMs,
    pub text: String,
    pub fails: bool,
}

impl StoredFile {
    pub fn state(&self, at: &Moment) -> &'static str {
        match (self.created_ms > at.processed, self.fails) {
            (true, _) => "PROCESSING",
            (false, true) => "FAILED",
            (false, false) => "ACTIVE",
        }
    }

    pub fn expires_ms(&self, at: &Moment) -> UnixMs {
        self.created_ms.saturating_add(at.file_kept_ms)
    }

    pub fn is_kept(&self, at: &Moment) -> bool {
        at.now < self.expires_ms(at)
    }

    /// Gone before its 48 hours are over.
    pub fn went_early(&self, at: &Moment) -> bool {
        !self.is_kept(at) && at.now < self.created_ms.saturating_add(FILE_KEPT_MS)
    }
}

/// What was uploaded.
pub struct Content {
    pub size: u64,
    pub sha256: String,
    /// As much of it as is kept for searching.
    pub text: String,
}

impl Content {
    pub fn empty() -> Content {
        Content::of(&sha2::Sha256::new(), 0, &[])
    }

    pub fn of(hasher: &sha2::Sha256, size: u64, text: &[u8]) -> Content {
        let digest = hasher.clone().finalize();
        Content {
            size,
            sha256: digest.iter().map(|b| format!("{b:02x}")).collect(),
            text: match text.contains(&0) {
                true => String::new(),
                false => String::from_utf8_lossy(text).into_owned(),
            },
        }
    }
}

#[derive(Debug, Clone)]
pub struct Session {
    pub id: String,
    /// A store's name, or `files`.
    pub target: String,
    pub request: Value,
    pub mime: String,
    pub length: Option<u64>,
    pub status: String,
    pub answer: Option<(u16, String)>,
    pub created_ms: UnixMs,
}

pub struct Operation {
    pub ready_ms: UnixMs,
    pub fails: bool,
    pub never_done: bool,
    pub response: Value,
}
