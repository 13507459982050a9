//! A question to one or more stores, and its answer with citations that lead to files on this machine.
//!
//! Promises: needs no lock and no database, and changes nothing; a document is found here through its own
//! metadata (library and path) and the database, never through an address that the service gives; no path
//! leads out of its library's folder.

use std::path::{Component, Path, PathBuf};

use super::connect::{self, known_store_name};
use super::{Call, Target};
use crate::client::{Client, Failure, FailureKind, HOLDS_THE_KEY, Passage, Question, Reply};
use crate::error::{Error, Kind};
use crate::identity::{LIBRARY_KEY, MetadataEntry, PATH_KEY, Value};
use crate::names::StoreName;
use crate::state::Reader;
use crate::text;

/// What was asked for.
pub struct Options {
    pub target: Target,
    /// Display names or resource names, one to five.
    pub stores: Vec<String>,
    pub query: String,
    /// Without `models/` in front.
    pub model: String,
    /// Only documents of this library.
    pub library: Option<String>,
    /// Only documents that this is true of: the service's filter language.
    pub filter: Option<String>,
    /// Passages that the model gets to read.
    pub top_k: Option<u16>,
}

/// What came of it.
#[derive(Debug)]
pub struct Found {
    pub stores: Vec<StoreName>,
    /// With the numbers of citations behind the words that rest on them.
    pub text: String,
    /// In the order of their numbers, from 1 on.
    pub citations: Vec<Citation>,
    /// Nothing was found, of a library that the database does not know though it knows others: the line for people.
    pub unknown: Option<String>,
    /// Why the service did not answer, or not to the end.
    pub blocked: Option<String>,
}

/// A passage of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Citation {
    pub passage: Passage,
    pub library: Option<String>,
    /// In the library, as the document has it: a long one is there as its hash.
    pub path: Option<String>,
    pub local: Local,
}

/// Where the file of a document is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    Here(PathBuf),
    /// It was there, and the last scan did not find it.
    Missing(PathBuf),
    Unknown,
}

/// Hands on the answer's text as it comes.
///
/// # Errors
/// No such store; the question was refused.
pub fn run(call: &Call<'_>, options: &Options, say: &mut dyn FnMut(&str)) -> Result<Found, Error> {
    connect::asking(call, &options.target, |client, reader| {
        let stores = resolved(options, client, reader)?;
        let filter = filter(options.filter.as_deref(), options.library.as_deref());
        let question = Question {
            text: &options.query,
            model: &options.model,
            stores: &stores,
            filter: filter.as_deref(),
            top_k: options.top_k,
        };
        let reply = client
            .search(&question, say)
            .map_err(|failure| refused(&failure, options, filter.as_deref()))?;
        let (numbers, citations) = citations(&reply, reader)?;
        let library = options.library.as_deref();
        let unknown = match library.filter(|_| citations.is_empty()) {
            Some(name) => unknown(name, reader)?,
            None => None,
        };
        Ok(Found {
            unknown,
            text: marked(&reply, &numbers),
            blocked: reply.blocked,
            stores,
            citations,
        })
    })
}

/// What is said of a library that is none of those here. Another machine may have sent it.
fn unknown(name: &str, reader: &Reader) -> Result<Option<String>, Error> {
    if reader.library_named(name)?.is_some() {
        return Ok(None);
    }
    let all = reader.libraries()?;
    let names = all.iter().map(|library| library.name.as_str());
    Ok((!all.is_empty()).then(|| text::unknown("library", name, names)))
}

/// The stores by their resource names, each once.
fn resolved(options: &Options, client: &Client, reader: &Reader) -> Result<Vec<StoreName>, Error> {
    let mut names: Vec<StoreName> = Vec::new();
    for wanted in &options.stores {
        let name = store_name(wanted, &options.target, client, reader)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The store of a name, which the service is asked for if the database does not know it.
pub(super) fn store_name(
    wanted: &str,
    target: &Target,
    client: &Client,
    reader: &Reader,
) -> Result<StoreName, Error> {
    match known_store_name(reader, &target.endpoint_name, wanted)? {
        Some(name) => Ok(name),
        None => find(wanted, client)?.ok_or_else(|| {
            let unknown = Error::new(
                Kind::Store,
                format!("store `{wanted}`"),
                "there is no store of this name, or it belongs to another key",
                "`objlib store list` shows all; the first `objlib upload DIR` into it makes it",
            );
            connect::not_there(reader, &target.endpoint_name, wanted, unknown)
        }),
    }
}

fn find(wanted: &str, client: &Client) -> Result<Option<StoreName>, Error> {
    let cannot =
        |kind, why: &str, remedy: &str| Error::new(kind, format!("store `{wanted}`"), why, remedy);
    if wanted.starts_with(StoreName::PREFIX) {
        let remedy = "give a name like fileSearchStores/handbook-q3v9x0k2m4ab, or a display name";
        let name = StoreName::parse(wanted);
        return match name.is_some() {
            true => Ok(name),
            false => Err(cannot(
                Kind::Usage,
                "this is no resource name of a store",
                remedy,
            )),
        };
    }
    let found = client.find_stores(wanted);
    let found = found.map_err(|failure| failure.to_error(wanted))?;
    match found.as_slice() {
        [store] => Ok(Some(store.name.clone())),
        [] => Ok(None),
        several => {
            let names: Vec<&str> = several.iter().map(|store| store.name.as_str()).collect();
            let why = format!("several stores have this name: {}", names.join(", "));
            Err(cannot(
                Kind::Store,
                &why,
                "name one of them: --store fileSearchStores/…",
            ))
        }
    }
}

/// Both conditions. The one that was given stands in parentheses, so that it means what it means alone.
fn filter(given: Option<&str>, library: Option<&str>) -> Option<String> {
    let library = library.map(|name| {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{LIBRARY_KEY} = \"{quoted}\"")
    });
    let given = given.filter(|given| !given.trim().is_empty());
    match (given, library) {
        (Some(given), Some(library)) => Some(format!("({given}) AND {library}")),
        (Some(given), None) => Some(given.to_owned()),
        (None, library) => library,
    }
}

/// A position in the condition that was given, instead of one in that which was sent, where a parenthesis
/// stands before it.
fn as_given(words: &str) -> String {
    const BEFORE: &str = "position ";
    let Some((before, after)) = words.split_once(BEFORE) else {
        return words.to_owned();
    };
    let end = after
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(after.len());
    match after[..end].parse::<u64>() {
        Ok(position) if position > 0 => {
            format!("{before}{BEFORE}{}{}", position - 1, &after[end..])
        }
        _ => words.to_owned(),
    }
}

/// Why there is no answer, as a user is told.
fn refused(failure: &Failure, options: &Options, filter: Option<&str>) -> Error {
    let says = |text: &str| failure.words.to_ascii_lowercase().contains(text);
    let model = format!("model `{}`", options.model);
    let mut why = failure.to_string();
    if options.library.is_some() && options.filter.is_some() {
        why = as_given(&why);
    }
    let error = match (failure.kind, failure.status, filter) {
        _ if failure.words == HOLDS_THE_KEY => Error::new(
            Kind::Usage,
            "question, filter or model",
            HOLDS_THE_KEY,
            "leave it out; a key that others have seen is better replaced",
        ),
        // Stores are named in the body: it is the model that the path names.
        (FailureKind::StoreRefused, Some(404), _) => Error::new(
            Kind::Usage,
            model,
            why,
            "name another one with --model; https://ai.google.dev/gemini-api/docs/models lists them",
        ),
        (FailureKind::Permanent, Some(400), Some(filter)) if says("filter") || says("rhs") => {
            Error::new(
                Kind::Usage,
                "filter",
                why,
                format!("correct --filter (docs/metadata.md shows what works); sent was: {filter}"),
            )
        }
        (FailureKind::Permanent, Some(400), _) if says("model") => {
            Error::new(Kind::Usage, model, why, "name another one with --model")
        }
        (FailureKind::Permanent, ..) => Error::new(
            Kind::Network,
            "question",
            why,
            "check --filter, --top-k and --model; the service says no more",
        ),
        _ => failure.to_error(&options.stores.join("`, `")),
    };
    error.with_details(&failure.details)
}

/// The number of each passage's citation, and the citations: of equal passages there is one.
fn citations(reply: &Reply, reader: &Reader) -> Result<(Vec<Option<usize>>, Vec<Citation>), Error> {
    let (mut numbers, mut citations) = (Vec::new(), Vec::<Citation>::new());
    for passage in &reply.passages {
        // A chunk that is no passage of a document.
        if *passage == Passage::default() {
            numbers.push(None);
            continue;
        }
        let known = citations.iter().position(|known| known.passage == *passage);
        let at = match known {
            Some(at) => at,
            None => {
                citations.push(citation(passage, reader)?);
                citations.len() - 1
            }
        };
        numbers.push(Some(at + 1));
    }
    Ok((numbers, citations))
}

fn citation(passage: &Passage, reader: &Reader) -> Result<Citation, Error> {
    let entry = |key: &str| text_of(&passage.metadata, key).map(str::to_owned);
    let (library, path) = (entry(LIBRARY_KEY), entry(PATH_KEY));
    let local = match (&library, &path) {
        (Some(library), Some(path)) => local(library, path, reader)?,
        _ => Local::Unknown,
    };
    Ok(Citation {
        passage: passage.clone(),
        library,
        path,
        local,
    })
}

fn text_of<'e>(entries: &'e [MetadataEntry], key: &str) -> Option<&'e str> {
    entries.iter().find_map(|entry| match &entry.value {
        Value::StringValue(text) if entry.key == key => Some(text.as_str()),
        _ => None,
    })
}

/// `path`: as documents have it.
pub(super) fn local(library: &str, path: &str, reader: &Reader) -> Result<Local, Error> {
    let Some(library) = reader.library_named(library)? else {
        return Ok(Local::Unknown);
    };
    let Some(file) = reader.file_valued(library.id, path)? else {
        return Ok(Local::Unknown);
    };
    // No scan has ever found a path that leads out of its folder.
    let normal = |c: Component<'_>| matches!(c, Component::Normal(_));
    if !Path::new(&file.path).components().all(normal) {
        return Ok(Local::Unknown);
    }
    let path = library.root.join(&file.path);
    Ok(match file.present {
        true => Local::Here(path),
        false => Local::Missing(path),
    })
}

/// The text with `[n]` behind the words that rest on a citation.
fn marked(reply: &Reply, numbers: &[Option<usize>]) -> String {
    let sorted = |mut all: Vec<usize>| {
        all.sort_unstable();
        all.dedup();
        all
    };
    let ends = sorted(reply.supports.iter().map(|support| support.end).collect());
    let mut text = reply.text.clone();
    for end in ends.into_iter().rev() {
        let here = reply.supports.iter().filter(|support| support.end == end);
        let cited = here
            .flat_map(|support| &support.passages)
            .filter_map(|passage| numbers.get(*passage).copied().flatten());
        let cited = sorted(cited.collect()).into_iter();
        let mark: String = cited.map(|n| format!("[{n}]")).collect();
        if !mark.is_empty() && text.is_char_boundary(end) {
            text.insert_str(end, &format!(" {mark}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Support;

    #[test]
    fn a_librarys_name_is_quoted_and_a_filter_stays_itself() {
        let both = filter(Some("a = 1 OR b = 2"), Some("my \"best\" \\ docs"));
        assert_eq!(
            both.unwrap(),
            r#"(a = 1 OR b = 2) AND objlib_library = "my \"best\" \\ docs""#
        );
        assert_eq!(filter(Some("a = 1"), None).unwrap(), "a = 1");
        assert_eq!(filter(Some(" "), None), None);
        assert_eq!(
            as_given("syntax error at position 7: x"),
            "syntax error at position 6: x"
        );
        assert_eq!(as_given("no position"), "no position");
    }

    #[test]
    fn marks_stand_behind_their_words() {
        let support = |end, passages: &[usize]| Support {
            end,
            passages: passages.to_vec(),
        };
        let reply = Reply {
            text: "Größe. Mehr.".to_owned(),
            supports: vec![
                support(8, &[0, 2]),
                support(14, &[1]),
                support(14, &[0]),
                support(3, &[9]),
                support(99, &[0]),
            ],
            ..Reply::default()
        };
        let numbers = [Some(1), Some(2), Some(1)];
        assert_eq!(marked(&reply, &numbers), "Größe. [1] Mehr. [1][2]");
    }

    #[test]
    fn equal_passages_are_one_citation() {
        let passage = |title: &str, text: &str| Passage {
            title: title.to_owned(),
            text: text.to_owned(),
            ..Passage::default()
        };
        let reply = Reply {
            passages: vec![
                passage("a", "x"),
                Passage::default(),
                passage("b", "x"),
                passage("a", "x"),
            ],
            ..Reply::default()
        };
        let nothing = Reader::of(Path::new("/nonexistent/library.db")).unwrap();
        let (numbers, citations) = citations(&reply, &nothing).unwrap();
        assert_eq!(numbers, [Some(1), None, Some(2), Some(1)]);
        assert_eq!(citations.len(), 2);
        assert_eq!(citations[0].local, Local::Unknown);
    }
}
