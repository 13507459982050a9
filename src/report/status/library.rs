//! A library, a line for people and an object for programs, and what is kept with it.

use serde_json::{Value, json};

use crate::report::units::{bytes, count};
use crate::scan::LibrarySettings;
use crate::text::one_line;

/// A folder under a name, and where it goes.
#[derive(Debug, Clone)]
pub struct LibraryLine {
    pub name: String,
    pub root: String,
    pub files: u64,
    pub bytes: u64,
    pub missing: u64,
    pub left_out: u64,
    pub skipped: u64,
    pub stores: Vec<StoreLine>,
    pub settings: LibrarySettings,
}

#[derive(Debug, Clone)]
pub struct StoreLine {
    pub display_name: String,
    pub name: String,
    pub endpoint: String,
    /// The database knows another one of this display name.
    pub has_twin: bool,
}

impl LibraryLine {
    pub fn to_json(&self) -> Value {
        json!({"name": self.name, "root": self.root, "files": self.files, "bytes": self.bytes,
               "missing": self.missing, "left_out": self.left_out, "skipped": self.skipped,
               "settings": self.settings,
               "stores": self.stores.iter().map(StoreLine::to_json).collect::<Vec<_>>()})
    }

    pub fn to_text(&self) -> String {
        let stores: Vec<String> = self.stores.iter().map(StoreLine::shown).collect();
        let goes = match stores.is_empty() {
            true => "not sent anywhere yet".to_owned(),
            false => format!("goes into {}", stores.join(", ")),
        };
        one_line(&format!(
            "library   {}  {}  {} ({}), {goes}",
            self.name,
            self.root,
            count(self.files, "file"),
            bytes(self.bytes)
        ))
    }
}

impl StoreLine {
    /// What tells it from every other store of the database; not one line yet.
    pub(super) fn shown(&self) -> String {
        match self.has_twin {
            false => self.display_name.clone(),
            true => format!("{} ({}) at {}", self.display_name, self.name, self.endpoint),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"display_name": self.display_name, "name": self.name, "endpoint": self.endpoint})
    }
}

/// What is kept with a library, a line each; `rules` is the whole text.
pub fn settings_text(settings: &LibrarySettings) -> String {
    let mut lines = Vec::new();
    for text in &settings.set {
        lines.push(format!("set       {}", one_line(text)));
    }
    for (extension, mime) in settings.types.each() {
        lines.push(format!("type      .{} as {mime}", one_line(extension)));
    }
    if let Some(chunking) = settings.chunking {
        let (tokens_max, overlap) = (chunking.tokens_max(), chunking.overlap_tokens());
        lines.push(format!(
            "chunks    up to {tokens_max} words, {overlap} of them shared"
        ));
    }
    if let Some(rules) = &settings.rules {
        let rules = rules.trim_end().lines().map(one_line);
        lines.push("rules".to_owned());
        lines.extend(rules.map(|line| format!("  {line}")));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
