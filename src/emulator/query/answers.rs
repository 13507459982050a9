//! Answers that were written beforehand: the first whose pattern fits a question is its answer.
//!
//! Promises: what is wrong anywhere is refused whole, with the entry and its line; a citation of a document that is
//! in one of the stores that are asked looks as a found one does.

use regex_lite::Regex;
use rusqlite::{OptionalExtension, params};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::passages::Passage;
use crate::emulator::data::database::{DOCUMENT, Database, document};
use crate::emulator::data::records::Document;
use crate::emulator::strict::rules::nearest;

/// In the order in which they are tried; none by default.
#[derive(Debug, Clone, Default)]
pub struct Answers(Vec<Scripted>);

#[derive(Debug, Clone)]
pub(super) struct Scripted {
    question: Regex,
    pub text: String,
    citations: Vec<Citation>,
}

#[derive(Debug, Clone)]
struct Citation {
    document: Named,
    passage: String,
}

/// What a citation calls its document.
#[derive(Debug, Clone)]
enum Named {
    Title(String),
    /// As objlib's metadata have it.
    Path(String),
}

impl Answers {
    /// `text`: a JSON list of `{question, text, citations: [{title or path, passage}]}`.
    ///
    /// # Errors
    /// What is wrong with which entry, for a person.
    pub fn of(text: &str) -> Result<Answers, String> {
        let entries: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|e| format!("not a JSON list: {e}"))?;
        let entries = entries.iter().enumerate().map(|(i, entry)| {
            scripted(entry.get()).map_err(|why| {
                let start = entry.get().as_ptr() as usize - text.as_ptr() as usize;
                let line = 1 + text[..start].matches('\n').count();
                format!("entry {} (line {line}): {why}", i + 1)
            })
        });
        entries.collect::<Result<_, _>>().map(Answers)
    }

    pub(super) fn to(&self, question: &str) -> Option<&Scripted> {
        self.0.iter().find(|one| one.question.is_match(question))
    }
}

impl Scripted {
    /// What it cites, as found in these stores; nothing where none is asked.
    pub fn passages(
        &self,
        database: &Database,
        stores: &[String],
    ) -> rusqlite::Result<Vec<Passage>> {
        let Some(first) = stores.first() else {
            return Ok(Vec::new());
        };
        let passage = |citation: &Citation| {
            let mut found = None;
            for store in stores {
                found = found.or(citation.document.find(database, store)?);
            }
            Ok(Passage {
                document: found.unwrap_or_else(|| citation.document.made_up(first)),
                text: citation.passage.clone(),
                page: None,
            })
        };
        self.citations.iter().map(passage).collect()
    }
}

impl Named {
    fn find(&self, database: &Database, store: &str) -> rusqlite::Result<Option<Document>> {
        match self {
            Named::Title(title) => database
                .conn
                .prepare_cached(&format!(
                    "SELECT {DOCUMENT} FROM documents WHERE store = ?1 AND display_name = ?2 ORDER BY number"
                ))?
                .query_row(params![store, title], document)
                .optional(),
            Named::Path(path) => {
                let all = database.documents_saying(store, path)?;
                let is = |d: &Document| d.entry("objlib_path") == Some(path);
                Ok(all.into_iter().find(is))
            }
        }
    }

    /// For one that is in no store.
    fn made_up(&self, store: &str) -> Document {
        let (Named::Title(name) | Named::Path(name)) = self;
        Document {
            store: store.to_owned(),
            display_name: name.clone(),
            ..Document::default()
        }
    }
}

fn scripted(entry: &str) -> Result<Scripted, String> {
    let mut given = object(parsed(entry)?, &["question", "text", "citations"])?;
    let pattern = text(&mut given, "question")?;
    let question = Regex::new(&pattern).map_err(|e| format!("`question` is no pattern: {e}"))?;
    let citations = match given.remove("citations") {
        None => Vec::new(),
        Some(Value::Array(all)) => all.into_iter().map(citation).collect::<Result<_, _>>()?,
        Some(_) => return Err("`citations` is not a list".to_owned()),
    };
    Ok(Scripted {
        question,
        text: text(&mut given, "text")?,
        citations,
    })
}

fn citation(given: Value) -> Result<Citation, String> {
    let mut given = object(given, &["title", "path", "passage"])?;
    let passage = text(&mut given, "passage")?;
    let document = match (given.contains_key("title"), given.contains_key("path")) {
        (true, false) => Named::Title(text(&mut given, "title")?),
        (false, true) => Named::Path(text(&mut given, "path")?),
        _ => return Err("a citation has either `title` or `path`".to_owned()),
    };
    Ok(Citation { document, passage })
}

fn parsed(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

fn object(given: Value, known: &[&str]) -> Result<Map<String, Value>, String> {
    let Value::Object(given) = given else {
        return Err(format!("{given} is not an object"));
    };
    match given.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(given),
        Some(name) => Err(format!(
            "no field is called `{name}`; the nearest is `{}`",
            nearest(name, known.iter().copied())
        )),
    }
}

fn text(given: &mut Map<String, Value>, name: &str) -> Result<String, String> {
    match given.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("`{name}` is not a text")),
        None => Err(format!("`{name}` is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_answer_is_named_with_its_entry_and_line() {
        let fine = r#"{"question": "a+", "text": "b"}"#;
        for (entry, why) in [
            (
                r#"{"question": "(", "text": "b"}"#,
                "`question` is no pattern: ",
            ),
            (r#"{"question": "a", "txt": "b"}"#, "the nearest is `text`"),
            (r#"{"question": "a"}"#, "`text` is missing"),
            (
                r#"{"question": 1, "text": "b"}"#,
                "`question` is not a text",
            ),
            ("7", "7 is not an object"),
            (
                r#"{"question": "a", "text": "b", "citations": [{"passage": "c"}]}"#,
                "either `title` or `path`",
            ),
            (
                r#"{"question": "a", "text": "b", "citations": {}}"#,
                "`citations` is not a list",
            ),
        ] {
            let said = Answers::of(&format!("[\n{fine},\n\n  {entry}]")).unwrap_err();
            assert!(
                said.starts_with("entry 2 (line 4): ") && said.contains(why),
                "{said}"
            );
        }
        let said = Answers::of("[\n{,]").unwrap_err();
        assert!(
            said.starts_with("not a JSON list: ") && said.contains("line 2"),
            "{said}"
        );
        assert!(Answers::of(&format!("[{fine}]")).is_ok_and(|all| all.to("caab").is_some()));
    }
}
