//! `objlib scan`.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use crate::app;
use crate::app::folders::describe::Explanation;
use crate::cli::args;
use crate::cli::settings::{self, secret};
use crate::cli::terminal::listening::Listening;
use crate::cli::terminal::stdout::say;
use crate::cli::terminal::words;
use crate::error::Error;
use crate::metadata::Explained;
use crate::report::Style;
use crate::report::event::ndjson::timed;
use crate::report::units::count;
use crate::text::one_line;

/// Something could not be read: the same exit code as for files that failed.
const EXIT_UNREADABLE: u8 = 3;

pub fn run(args: &args::Scan, database: &Path, style: Style) -> Result<u8, Error> {
    let mut folders = settings::folders(&args.dirs, &args.options)?;
    secret::keep_out_of(&mut folders, secret::known())?;
    if let Some(path) = &args.explain {
        let explained = app::folders::describe::explain(database, &folders, path)?;
        return say(&explanation(&explained, style)).map(|()| 0);
    }
    let listening = Listening::start(style, 0, Duration::ZERO);
    listening.listen()?;
    let scanned = app::scan::run(&listening.call(database), &folders);
    let error = listening.shutdown.error();
    let stopped = listening.end();
    let unreadable = scanned?.unreadable;
    if let Some(error) = error {
        return Err(error);
    }
    Ok(match stopped {
        Some(exit) => exit,
        None if unreadable > 0 => {
            let files = count(unreadable, "file or folder");
            let skipped = settings::next_here(database).line("status --skipped");
            words::warn(&format!(
                "{files} could not be read, or not be described: see `{skipped}`"
            ));
            EXIT_UNREADABLE
        }
        None => 0,
    })
}

/// What a document will carry, a line an entry.
fn explanation(explained: &Explanation, style: Style) -> String {
    let Explanation {
        library,
        path,
        entries,
        is_matched,
        left_out,
    } = explained;
    if style.json {
        let entries: Vec<serde_json::Value> = entries
            .iter()
            .map(|e| {
                let over: Vec<String> = e.over.iter().map(ToString::to_string).collect();
                serde_json::json!({"entry": e.entry, "from": e.source.to_string(), "over": over})
            })
            .collect();
        let mut line = serde_json::json!({"event": "explain",
            "library": library, "path": path, "matched": is_matched, "entries": entries});
        if let Some(why) = left_out {
            line["left_out"] = why.as_str().into();
        }
        return timed(line) + "\n";
    }
    let rules = match is_matched {
        true => "",
        false => " (no rule met it)",
    };
    let mut text = format!("{}: {}{rules}\n", one_line(library), one_line(path));
    if let Some(why) = left_out {
        let _ = writeln!(text, "  left out, not sent: {}", one_line(why));
    }
    let width = |e: &Explained| e.entry.key.chars().count();
    let width = entries.iter().map(width).max().unwrap_or(0);
    for Explained {
        entry,
        source,
        over,
    } in entries
    {
        let over: Vec<String> = over.iter().map(ToString::to_string).collect();
        let over = match over.is_empty() {
            true => String::new(),
            false => format!(", over {}", over.join(", ")),
        };
        let key = one_line(&entry.key);
        let value = one_line(&entry.value.to_string());
        // A String takes whatever is written to it.
        let _ = writeln!(text, "  {key:<width$} = {value}  ({source}{over})");
    }
    if entries.is_empty() {
        text.push_str("  nothing describes it\n");
    }
    text
}
