//! All data as one JSON document, and back.
//!
//! Promises: what is imported is what was exported, name by name and time by time; an import is whole or changes
//! nothing, and what is wrong is named with its place. Left out is what no restart keeps either, the bytes of
//! uploads under way, and what only a fault shows, deleted documents in lists.

use std::collections::BTreeMap;

use rusqlite::types::{Value as Cell, ValueRef};
use rusqlite::{OptionalExtension, params_from_iter};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::database::Database;
use crate::emulator::strict::rules::nearest;

/// Of the document; another one is refused.
const FORMAT: u64 = 1;

/// What a field holds.
#[derive(Clone, Copy)]
enum Is {
    Text,
    MaybeText,
    Json,
    /// A whole number from 0 to this.
    Number(i64),
    MaybeNumber(i64),
}
use Is::{Json, MaybeNumber, MaybeText, Number, Text};

/// Until the year 9999, which is as far as times are written.
const MS: Is = Number(253_402_300_799_999);
const BYTES: i64 = 1 << 40;
const BOOLEAN: Is = Number(1);
const WORDS: Is = Number(u16::MAX as i64);

/// The tables and their columns, in the order in which one needs the other.
const TABLES: [(&str, &[(&str, Is)]); 5] = [
    (
        "stores",
        &[
            ("name", Text),
            ("display_name", Text),
            ("created_ms", MS),
            ("embedding_model", Text),
        ],
    ),
    (
        "documents",
        &[
            ("name", Text),
            ("store", Text),
            ("display_name", Text),
            ("metadata", Json),
            ("mime", Text),
            ("size", Number(BYTES)),
            ("sha256", Text),
            ("created_ms", MS),
            ("ready_ms", MS),
            ("fails", Number(2)),
            ("chunk_words", WORDS),
            ("chunk_overlap", WORDS),
            ("text", Text),
        ],
    ),
    (
        "operations",
        &[
            ("name", Text),
            ("document", Text),
            ("ready_ms", MS),
            ("fails", BOOLEAN),
            ("never_done", BOOLEAN),
            ("response", Json),
        ],
    ),
    (
        "files",
        &[
            ("name", Text),
            ("display_name", Text),
            ("mime", Text),
            ("size", Number(BYTES)),
            ("sha256", Text),
            ("created_ms", MS),
            ("text", Text),
            ("fails", BOOLEAN),
        ],
    ),
    (
        "sessions",
        &[
            ("id", Text),
            ("target", Text),
            ("request", Json),
            ("mime", Text),
            ("length", MaybeNumber(BYTES)),
            ("status", Text),
            ("answer_status", MaybeNumber(999)),
            ("answer", MaybeText),
            ("created_ms", MS),
        ],
    ),
];

/// What is called as nothing here can be.
const MISNAMED: &str = "
    SELECT name FROM stores WHERE name NOT GLOB 'fileSearchStores/?*'
    UNION ALL SELECT name FROM files WHERE name NOT GLOB 'files/?*'
    UNION ALL SELECT name FROM documents AS d WHERE NOT EXISTS (SELECT 1 FROM stores AS s
        WHERE s.name = d.store AND instr(d.name, s.name || '/documents/') = 1)
    LIMIT 1";

impl Is {
    /// `None`: it is something else.
    fn read(self, given: Option<Value>) -> Option<Cell> {
        match (self, given) {
            (Text | MaybeText, Some(Value::String(text))) => Some(Cell::Text(text)),
            (Json, Some(value)) => Some(Cell::Text(value.to_string())),
            (MaybeText | MaybeNumber(_), None | Some(Value::Null)) => Some(Cell::Null),
            (Number(max) | MaybeNumber(max), Some(value)) => value
                .as_i64()
                .filter(|n| (0..=max).contains(n))
                .map(Cell::Integer),
            _ => None,
        }
    }

    fn words(self) -> String {
        match self {
            Text | MaybeText => "a text".to_owned(),
            Json => "there".to_owned(),
            Number(max) | MaybeNumber(max) => format!("a whole number from 0 to {max}"),
        }
    }
}

fn names(columns: &[(&str, Is)]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

impl Database {
    pub fn export(&self) -> rusqlite::Result<String> {
        let mut out = format!("{{\"format\": {FORMAT}");
        for (table, columns) in TABLES {
            let sql = format!("SELECT {} FROM {table} ORDER BY rowid", names(columns));
            let mut statement = self.conn.prepare(&sql)?;
            let mut rows = statement.query([])?;
            out += &format!(",\n\"{table}\": [");
            let mut between = "\n";
            while let Some(row) = rows.next()? {
                let mut object = Map::new();
                for (i, (name, is)) in columns.iter().enumerate() {
                    let value = match (row.get_ref(i)?, is) {
                        (ValueRef::Text(text), Json) => {
                            serde_json::from_slice(text).unwrap_or_default()
                        }
                        (ValueRef::Text(text), _) => json!(String::from_utf8_lossy(text)),
                        (ValueRef::Integer(n), _) => json!(n),
                        _ => Value::Null,
                    };
                    object.insert((*name).to_owned(), value);
                }
                out += between;
                out += &Value::Object(object).to_string();
                between = ",\n";
            }
            out += "]";
        }
        Ok(out + "}\n")
    }

    /// Instead of all that is here.
    ///
    /// # Errors
    /// What is wrong and where, for a person; nothing has changed.
    pub fn import(&self, text: &str) -> Result<(), String> {
        let given: BTreeMap<String, &RawValue> =
            serde_json::from_str(text).map_err(|e| format!("not a JSON object: {e}"))?;
        let known = || TABLES.iter().map(|(table, _)| *table);
        let is_known = |name: &str| name == "format" || known().any(|table| table == name);
        if let Some(name) = given.keys().find(|name| !is_known(name)) {
            let like = nearest(name, known());
            return Err(format!(
                "no list is called `{name}`; the nearest is `{like}`"
            ));
        }
        if given.get("format").map(|format| format.get()) != Some(&FORMAT.to_string()) {
            return Err(format!(
                "format is not {FORMAT}, which is what is read here"
            ));
        }
        let failed = |e: rusqlite::Error| e.to_string();
        let transaction = self.begin().map_err(failed)?;
        self.forget().map_err(failed)?;
        for (table, columns) in TABLES {
            if let Some(list) = given.get(table) {
                self.import_list(table, columns, list)?;
            }
        }
        let misnamed = self.conn.query_row(MISNAMED, [], |r| r.get(0)).optional();
        let misnamed: Option<String> = misnamed.map_err(failed)?;
        if let Some(name) = misnamed {
            return Err(format!(
                "{name}: not the name of a store, of a file, or of a document in a store that is there"
            ));
        }
        transaction.commit().map_err(failed)
    }

    fn import_list(
        &self,
        table: &str,
        columns: &[(&str, Is)],
        list: &RawValue,
    ) -> Result<(), String> {
        let rows: Vec<&RawValue> =
            serde_json::from_str(list.get()).map_err(|_| format!("{table} is not a list"))?;
        let sql = format!(
            "INSERT INTO {table} ({}) VALUES (?{})",
            names(columns),
            ", ?".repeat(columns.len() - 1)
        );
        let mut insert = self.conn.prepare(&sql).map_err(|e| e.to_string())?;
        for (i, row) in rows.iter().enumerate() {
            let mut row: Map<String, Value> = serde_json::from_str(row.get())
                .map_err(|_| format!("{table}[{i}] is not an object"))?;
            let mut cells = Vec::with_capacity(columns.len());
            for (name, is) in columns {
                let cell = is.read(row.remove(*name));
                cells.push(
                    cell.ok_or_else(|| format!("{table}[{i}].{name} is not {}", is.words()))?,
                );
            }
            if let Some(name) = row.keys().next() {
                let like = nearest(name, columns.iter().map(|(known, _)| *known));
                return Err(format!(
                    "{table}[{i}]: no field is called `{name}`; the nearest is `{like}`"
                ));
            }
            insert
                .execute(params_from_iter(cells))
                .map_err(|e| format!("{table}[{i}]: {e}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not in `TABLES` is lost in an export.
    #[test]
    fn every_column_is_exported_but_the_number() {
        let database = Database::open(None).unwrap();
        for (table, columns) in TABLES {
            let sql =
                format!("SELECT name FROM pragma_table_info('{table}') WHERE name != 'number'");
            let mut statement = database.conn.prepare(&sql).unwrap();
            let rows = statement.query_map([], |r| r.get(0)).unwrap();
            let mut there: Vec<String> = rows.map(Result::unwrap).collect();
            let mut told: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
            there.sort();
            told.sort_unstable();
            assert_eq!(told, there, "{table}");
        }
    }

    #[test]
    fn a_wrong_import_is_named_with_its_place_and_changes_nothing() {
        let database = Database::open(None).unwrap();
        let store = r#"{"name": "fileSearchStores/s", "display_name": "s", "created_ms": 5, "embedding_model": "m"}"#;
        let stores = |list: &str| format!(r#"{{"format": 1, "stores": [{list}]}}"#);
        database.import(&stores(store)).unwrap();
        let before = database.export().unwrap();
        for (given, why) in [
            ("[]".to_owned(), "not a JSON object"),
            ("{".to_owned(), "not a JSON object"),
            ("{}".to_owned(), "format is not 1"),
            (r#"{"format": 2}"#.to_owned(), "format is not 1"),
            (r#"{"format": 1, "store": []}"#.to_owned(), "`stores`"),
            (
                r#"{"format": 1, "stores": 3}"#.to_owned(),
                "stores is not a list",
            ),
            (stores("3"), "stores[0] is not an object"),
            (
                stores(&format!("{store}, {store}")),
                "stores[1]: UNIQUE constraint failed: stores.name",
            ),
            (
                stores(&store.replace("5", "-5")),
                "stores[0].created_ms is not a whole number from 0",
            ),
            (
                stores(&store.replace(r#""m""#, "null")),
                "stores[0].embedding_model is not a text",
            ),
            (
                stores(&store.replace("display_name", "displayName")),
                "stores[0].display_name is not a text",
            ),
            (
                stores(&store.replace(r#""created_ms""#, r#""size": 1, "created_ms""#)),
                "stores[0]: no field is called `size`",
            ),
            (
                stores(&store.replace("fileSearchStores/s", "s")),
                "s: not the name of a store",
            ),
        ] {
            let said = database.import(&given).unwrap_err();
            assert!(said.contains(why), "{given}: {said}");
            assert_eq!(database.export().unwrap(), before, "{given}");
        }
    }
}
