//! `objlib search`: a question, its answer, and the files that the answer rests on.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::search::{self, Citation, Found, Local, Options};
use crate::cli::args;
use crate::cli::settings;
use crate::cli::terminal::listening::Listening;
use crate::cli::terminal::stdout::say;
use crate::clock::{now_ms, rfc3339};
use crate::error::{Error, Kind};
use crate::identity::{CHUNKING_KEY, LIBRARY_KEY, PATH_KEY, SHA256_KEY, library_name};
use crate::report::Style;
use crate::text::{json_line, lines, one_line};

/// The service looks into so many stores at once (fact sheet 13).
pub(in crate::cli) const STORES_MAX: usize = 5;
/// Characters of a passage's first line that are shown.
const FIRST_LINE_CHARS_MAX: usize = 100;

/// Entries that say which file a document is.
const OWN_KEYS: [&str; 4] = [LIBRARY_KEY, PATH_KEY, SHA256_KEY, CHUNKING_KEY];

/// The exit codes of this command.
const FOUND: u8 = 0;
const NOTHING_FOUND: u8 = 3;

pub fn run(args: &args::Search, database: &Path, style: Style) -> Result<u8, Error> {
    let options = options(args)?;
    // Nothing is drawn beside words that come by and by.
    let style = Style {
        progress: false,
        ..style
    };
    let streams = !style.json && !args.passages && std::io::stdout().is_terminal();
    let listening = Listening::start(style, 0, Duration::ZERO);
    listening.listen()?;
    let mut screen = Screen::default();
    let done = search::run(&listening.call(database), &options, &mut |words| {
        if streams {
            screen.show(words);
        }
    });
    if let Some(exit) = listening.end() {
        return Ok(exit);
    }
    let found = done?;
    if let Some(reason) = found.blocked.as_ref().filter(|_| !args.passages) {
        screen.end();
        return Err(Error::new(
            Kind::Network,
            "answer",
            format!("the service has stopped it ({reason})"),
            "ask in other words, or another model (--model); --passages shows what was found",
        ));
    }
    let exit = exit(&found);
    screen.end();
    let text = match style.json {
        true => json_line(&to_json(&found, &options, args.passages, exit)) + "\n",
        false => {
            let page = Page {
                stores: &options.stores,
                passages: args.passages,
                said: streams,
            };
            page.of(&found)
        }
    };
    say(&text).map(|()| exit)
}

pub(in crate::cli) fn exit(found: &Found) -> u8 {
    match found.citations.is_empty() {
        true => NOTHING_FOUND,
        false => FOUND,
    }
}

/// A terminal that shows words as they come.
#[derive(Default)]
struct Screen {
    has_words: bool,
    /// White space that may be the last.
    held: String,
}

impl Screen {
    /// Whoever has closed it has seen enough.
    fn show(&mut self, words: &str) {
        let words = std::mem::take(&mut self.held) + words;
        let shown = words.trim_end();
        words[shown.len()..].clone_into(&mut self.held);
        self.has_words |= !shown.is_empty();
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(lines(shown).as_bytes());
        let _ = out.flush();
    }

    /// The last line ends.
    fn end(&mut self) {
        if std::mem::take(&mut self.has_words) {
            self.held.clear();
            let _ = std::io::stdout().lock().write_all(b"\n");
        }
    }
}

fn options(args: &args::Search) -> Result<Options, Error> {
    let query = args.query.join(" ");
    if query.trim().is_empty() {
        let why = "there is nothing to ask";
        return Err(Error::new(Kind::Usage, "QUERY", why, "ask something"));
    }
    if args.stores.len() > STORES_MAX {
        return Err(Error::new(
            Kind::Usage,
            "--store",
            format!("the service looks into {STORES_MAX} stores at once"),
            "name fewer, and ask again for the others",
        ));
    }
    let library = args.library.as_deref().map(|given| {
        library_name(given).map_err(|why| {
            let what = format!("--library `{given}`");
            Error::new(Kind::Usage, what, why, "`objlib library list` shows them")
        })
    });
    Ok(Options {
        target: settings::target_at(&args.stores[0], &args.service)?,
        stores: args.stores.clone(),
        query,
        model: args.model.clone(),
        library: library.transpose()?,
        filter: args.filter.clone(),
        top_k: args.top_k,
    })
}

pub(in crate::cli) fn to_json(found: &Found, options: &Options, passages: bool, exit: u8) -> Value {
    let stores: Vec<&str> = found.stores.iter().map(|name| name.as_str()).collect();
    let citations = found.citations.iter().zip(1..);
    let citations: Vec<Value> = citations.map(|(citation, n)| cited(citation, n)).collect();
    let mut line = json!({
        "event": "search", "time": rfc3339(now_ms()), "query": options.query, "model": options.model,
        "stores": stores, "text": found.text, "citations": citations, "exit": exit});
    if passages && let Some(fields) = line.as_object_mut() {
        fields.remove("text");
    }
    line
}

fn cited(citation: &Citation, n: usize) -> Value {
    let passage = &citation.passage;
    let local = match &citation.local {
        Local::Here(path) => Some(path.to_string_lossy()),
        Local::Missing(_) | Local::Unknown => None,
    };
    let mut line = json!({
        "n": n, "store": passage.store.as_ref().map(|name| name.as_str()),
        "title": passage.title, "library": citation.library, "path": citation.path,
        "local_path": local});
    if let Some(page) = passage.page {
        line["page"] = json!(page);
    }
    if !passage.text.is_empty() {
        line["passage"] = json!(passage.text);
    }
    // What objlib itself wrote is said already.
    let entries = passage.metadata.iter();
    let own: Vec<_> = entries
        .filter(|entry| !OWN_KEYS.contains(&entry.key.as_str()))
        .collect();
    if !own.is_empty() {
        line["metadata"] = json!(own);
    }
    line
}

/// What a person reads.
pub(in crate::cli) struct Page<'a> {
    /// As they were named.
    pub stores: &'a [String],
    /// Whole passages, and nothing that the model says.
    pub passages: bool,
    /// The text was shown as it came.
    pub said: bool,
}

impl Page<'_> {
    pub fn of(&self, found: &Found) -> String {
        let mut page = String::new();
        let text = lines(found.text.trim_end());
        if !self.passages && !text.is_empty() {
            if !self.said {
                page = text + "\n";
            }
            page += "\n";
        }
        if found.citations.is_empty() {
            let stores = self.stores.join("`, `");
            page += &one_line(&format!("nothing was found in store `{stores}`"));
            if let Some(unknown) = &found.unknown {
                page += &format!("; {unknown}");
            }
            return page + "\n";
        }
        for (citation, n) in found.citations.iter().zip(1..) {
            page += &format!("[{n}] {}\n", self.source(citation));
            for line in self.quoted(&citation.passage.text).lines() {
                page += &format!("    {line}\n");
            }
        }
        page
    }

    /// Where the passage is from.
    fn source(&self, citation: &Citation) -> String {
        let passage = &citation.passage;
        let path = citation.path.as_deref().unwrap_or_default();
        // Of a long path the document's title has the readable end.
        let name = match path.is_empty() || path.starts_with("sha256:") {
            true => &passage.title,
            false => path,
        };
        let library = citation.library.as_deref();
        let mut source = match (&citation.local, library) {
            (Local::Here(path), Some(library)) => format!("{library}: {}", path.display()),
            (Local::Missing(path), Some(library)) => {
                format!("{library}: {} (no longer there)", path.display())
            }
            (_, Some(library)) => format!("{library}: {name} (not known here)"),
            (_, None) => format!("{name} (not put there by objlib)"),
        };
        if let Some(page) = passage.page {
            source += &format!(", page {page}");
        }
        if let Some(store) = passage.store.as_ref().filter(|_| self.stores.len() > 1) {
            source += &format!(", in {store}");
        }
        one_line(&source)
    }

    fn quoted(&self, passage: &str) -> String {
        if self.passages {
            return lines(passage);
        }
        let mut all = passage.lines().map(str::trim);
        let first = one_line(all.find(|line| !line.is_empty()).unwrap_or_default());
        match first.char_indices().nth(FIRST_LINE_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &first[..end]),
            None => first,
        }
    }
}
