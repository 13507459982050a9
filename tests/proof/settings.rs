//! What is kept with a library, and what that makes of a file's metadata: worked out anew here, without the
//! product's code.

use std::collections::BTreeMap;
use std::path::Path;

use fastrand::Rng;
use serde_json::{Value, json};

/// The sidecar of `a.md` is `a.md.meta.json`.
pub const SIDECAR: &str = ".meta.json";

/// Entries of a document by key: a text, a number or a list of texts.
pub type Entries = BTreeMap<String, Value>;

/// Settings of a library.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    rules: Rules,
    set: Set,
    chunking: Option<(u16, u16)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Rules {
    #[default]
    None,
    Shelves,
    Numbers,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Set {
    #[default]
    None,
    Draft,
    Final,
}

/// Where a file stands, and which are large.
const SHELVES: &str = r#"{"rules": [
    {"path": "shelf (?<shelf>[0-9]+)/(?<colour>[^/]+)/[^/]+",
     "entries": {"shelf": {"group": "shelf", "as": "number"}, "colour": {"group": "colour", "as": "string"}}},
    {"only": ["*.txt"], "constants": {"size": "large"}}]}"#;

/// Its number; and what is on one shelf only. Both rules give `level`: the first counts.
const NUMBERS: &str = r#"{"rules": [
    {"except": ["*.txt"], "path": ".*/note (?<number>[0-9]+)\\.md",
     "entries": {"number": {"group": "number", "as": "number"}}, "constants": {"level": 2}},
    {"only": ["/shelf 1/**"], "constants": {"level": 1, "tags": ["first", "shelf"]}}]}"#;

/// Constants and chunking, as `OTHER_FLAGS` ask for them.
pub const OTHER: Settings = Settings {
    rules: Rules::None,
    set: Set::Draft,
    chunking: Some((200, 20)),
};
pub const OTHER_FLAGS: [&str; 8] = [
    "--set",
    "status=draft",
    "--set",
    "shelf=0",
    "--max-tokens-per-chunk",
    "200",
    "--max-overlap-tokens",
    "20",
];

impl Settings {
    /// One of them is another one now, and the flags that say so. `place`: where a rules file is written.
    pub fn change(&mut self, place: &Path, rng: &mut Rng) -> Vec<String> {
        let before = *self;
        loop {
            let flags = match rng.usize(..3) {
                0 => self.change_rules(place, rng),
                1 => self.change_set(rng),
                _ => self.change_chunking(rng),
            };
            if *self != before {
                return flags;
            }
        }
    }

    fn change_rules(&mut self, place: &Path, rng: &mut Rng) -> Vec<String> {
        self.rules = [Rules::None, Rules::Shelves, Rules::Numbers][rng.usize(..3)];
        let text = match self.rules {
            Rules::None => return vec!["--metadata".into(), String::new()],
            Rules::Shelves => SHELVES,
            Rules::Numbers => NUMBERS,
        };
        let file = place.join("rules.json");
        std::fs::write(&file, text).unwrap();
        vec!["--metadata".into(), file.display().to_string()]
    }

    fn change_set(&mut self, rng: &mut Rng) -> Vec<String> {
        self.set = [Set::None, Set::Draft, Set::Final][rng.usize(..3)];
        let given: &[&str] = match self.set {
            Set::None => &[""],
            Set::Draft => &["status=draft", "shelf=0"],
            Set::Final => &["status=final"],
        };
        let flags = given.iter().flat_map(|set| ["--set", set]);
        flags.map(str::to_owned).collect()
    }

    fn change_chunking(&mut self, rng: &mut Rng) -> Vec<String> {
        self.chunking = [None, Some((200, 20)), Some((512, 0))][rng.usize(..3)];
        let (tokens, overlap) = self.chunking.unwrap_or((0, 0));
        let flag = |name: &str, n: u16| [name.to_owned(), n.to_string()];
        let mut flags = flag("--max-tokens-per-chunk", tokens).to_vec();
        if tokens > 0 {
            flags.extend(flag("--max-overlap-tokens", overlap));
        }
        flags
    }

    /// What the document of a file carries beside its identity.
    pub fn entries(&self, path: &str, sidecar: Option<&Entries>) -> Entries {
        let mut entries = match self.set {
            Set::None => Entries::new(),
            Set::Draft => entries(json!({"status": "draft", "shelf": 0})),
            Set::Final => entries(json!({"status": "final"})),
        };
        entries.extend(self.rules.entries(path));
        entries.extend(sidecar.cloned().unwrap_or_default());
        if let Some((tokens, overlap)) = self.chunking {
            entries.insert(
                "objlib_chunking".into(),
                format!("{tokens}/{overlap}").into(),
            );
        }
        entries
    }
}

impl Rules {
    fn entries(self, path: &str) -> Entries {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let (stem, ending) = name.rsplit_once('.').unwrap();
        let place = folder.split_once('/');
        let shelf = place.and_then(|(shelf, _)| shelf.strip_prefix("shelf ")?.parse::<u32>().ok());
        let number = stem
            .strip_prefix("note ")
            .and_then(|n| n.parse::<u32>().ok());
        let mut found = Entries::new();
        let mut add = |of: Value| found.extend(entries(of));
        match self {
            Rules::None => {}
            Rules::Shelves => {
                if let (Some(shelf), Some((_, colour))) = (shelf, place) {
                    add(json!({"shelf": shelf, "colour": colour}));
                }
                if ending == "txt" {
                    add(json!({"size": "large"}));
                }
            }
            Rules::Numbers => {
                if shelf == Some(1) {
                    add(json!({"level": 1, "tags": ["first", "shelf"]}));
                }
                if let (Some(number), true, "md") = (number, shelf.is_some(), ending) {
                    add(json!({"level": 2, "number": number}));
                }
            }
        }
        found
    }
}

/// Of a flat object. All numbers are floats.
pub fn entries(object: Value) -> Entries {
    let Value::Object(object) = object else {
        panic!("{object}");
    };
    let float = |value: Value| match value.as_f64() {
        Some(number) => json!(number),
        None => value,
    };
    object.into_iter().map(|(k, v)| (k, float(v))).collect()
}

/// As a document carries them; without what tells which file it is.
pub fn carried(metadata: &Value) -> Entries {
    let mut carried = Entries::new();
    for entry in metadata.as_array().into_iter().flatten() {
        let key = entry["key"].as_str().unwrap();
        if ["objlib_library", "objlib_path", "objlib_sha256"].contains(&key) {
            continue;
        }
        let value = match (&entry["stringValue"], &entry["stringListValue"]["values"]) {
            (Value::Null, Value::Null) => json!(entry["numericValue"].as_f64()),
            (Value::Null, list) => list.clone(),
            (text, _) => text.clone(),
        };
        carried.insert(key.to_owned(), value);
    }
    carried
}
