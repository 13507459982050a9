//! `objlib store`: the stores of the account, and what is known of them here.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::app::Target;
use crate::app::store::{self, Found};
use crate::cli::args::{self, EmbeddingModel, Stores};
use crate::cli::settings;
use crate::cli::terminal::ask;
use crate::cli::terminal::listening::Listening;
use crate::cli::terminal::stdout::say;
use crate::clock::{now_ms, rfc3339};
use crate::error::Error;
use crate::report::units::{bytes, count};
use crate::report::{Next, Style};
use crate::state::reader::figures::Share;
use crate::text::{json_line, one_line};

/// Whoever was asked said no.
const EXIT_NOT_DONE: u8 = 1;

pub fn run(args: &Stores, database: &Path, style: Style) -> Result<u8, Error> {
    let (name, service) = args.about();
    if let Stores::Delete { yes: false, .. } = args {
        ask::can_ask("store delete")?;
    }
    let command = Command {
        target: settings::target_at(name, service)?,
        service,
        database,
        style,
    };
    let listening = Listening::start(style, 0, Duration::ZERO);
    listening.listen()?;
    let done = command.run(args, &listening);
    if let Some(exit) = listening.end() {
        return Ok(exit);
    }
    let (text, exit) = done?;
    say(&text).map(|()| exit)
}

/// What was typed, but for what to do.
struct Command<'a> {
    target: Target,
    service: &'a args::Service,
    database: &'a Path,
    style: Style,
}

impl Command<'_> {
    /// What is said, and the exit code.
    fn run(&self, args: &Stores, listening: &Listening) -> Result<(String, u8), Error> {
        let call = &listening.call(self.database);
        let text = match args {
            Stores::List { .. } => self.list(&store::list(call, &self.target)?),
            Stores::Show(_) => self.pages(&store::show(call, &self.target)?),
            Stores::Create {
                named,
                embedding_model,
            } => {
                let made = store::create(call, &self.target, model(*embedding_model).as_deref())?;
                let next = self.next_for(&named.name).line("upload DIR");
                self.said("created", &made, &next)
            }
            Stores::Delete { yes, force, .. } => {
                let confirm = |found: &Found| -> Result<bool, Error> {
                    Ok(*yes || ask::ask(&question(found), &listening.shutdown))
                };
                match store::delete(call, &self.target, *force, &confirm)? {
                    Some(gone) => self.said("deleted", &gone, ""),
                    None => return Ok((String::new(), EXIT_NOT_DONE)),
                }
            }
        };
        Ok((text, 0))
    }

    fn list(&self, stores: &[Found]) -> String {
        match self.style.json {
            true => lines(stores, |found| json_line(&to_json(found))),
            false if stores.is_empty() => {
                let next = self.next_for(args::DEFAULT_STORE).line("upload DIR");
                format!("no store yet: `{next}`\n")
            }
            false => lines(stores, to_line),
        }
    }

    fn pages(&self, stores: &[Found]) -> String {
        match self.style.json {
            true => lines(stores, |found| json_line(&to_json(found))),
            false => {
                let name = |found: &Found| match stores.len() {
                    1 => self.target.store.clone(),
                    _ => found.name.to_string(),
                };
                lines(stores, |found| to_page(found, &self.next_for(&name(found))))
            }
        }
    }

    fn next_for(&self, name: &str) -> Next {
        let endpoint = &self.target.endpoint_name;
        settings::next_for(name, self.service, self.database, endpoint)
    }

    fn said(&self, what: &str, found: &Found, then: &str) -> String {
        if self.style.json {
            let mut line = to_json(found);
            line[what] = json!(true);
            return json_line(&line) + "\n";
        }
        let then = match then {
            "" => String::new(),
            then => format!("; next: `{then}`"),
        };
        match self.style.quiet {
            true => String::new(),
            false => format!("{what} store {}{then}\n", named(found)),
        }
    }
}

fn model(given: Option<EmbeddingModel>) -> Option<String> {
    let value = given?.to_possible_value()?;
    Some(value.get_name().to_owned())
}

fn lines(stores: &[Found], line: impl Fn(&Found) -> String) -> String {
    stores.iter().map(|found| line(found) + "\n").collect()
}

fn to_json(found: &Found) -> Value {
    let (indexed, indexed_bytes) = found.own();
    let libraries = found.libraries.iter().map(|(name, share)| {
        json!({"name": name, "indexed": share.indexed, "bytes": share.bytes,
               "under_way": share.under_way, "pending": share.pending, "failed": share.failed})
    });
    let mut line = json!({
        "event": "store", "time": rfc3339(now_ms()), "name": found.name.as_str(),
        "display_name": found.display_name, "known": found.row.is_some(),
        "gone": found.remote.is_none(), "differs": differs(found), "indexed": indexed,
        "bytes": indexed_bytes, "libraries": libraries.collect::<Vec<_>>()});
    if let Some(remote) = &found.remote {
        line["active"] = json!(remote.active);
        line["pending"] = json!(remote.pending);
        line["failed"] = json!(remote.failed);
        line["size_bytes"] = json!(remote.size_bytes);
        if let Some(model) = &remote.embedding_model {
            line["embedding_model"] = json!(model);
        }
    }
    line
}

/// Whether `verify` would have something to say, as far as counters tell.
fn differs(found: &Found) -> bool {
    let own = found.own().0;
    found.row.is_some()
        && found
            .remote
            .as_ref()
            .is_none_or(|remote| remote.active != own || remote.failed > 0)
}

fn named(found: &Found) -> String {
    one_line(&format!("`{}` ({})", found.display_name, found.name))
}

fn documents(n: u64, size: u64) -> String {
    format!("{} ({})", count(n, "document"), bytes(size))
}

/// What it holds, and whose that is.
fn holds(found: &Found) -> String {
    let there = match &found.remote {
        Some(remote) => documents(remote.documents(), remote.size_bytes),
        None => "gone, or another key's".to_owned(),
    };
    let own = match (found.row, found.own()) {
        (None, _) => "not known here".to_owned(),
        (Some(_), (n, size)) => {
            let names: Vec<&str> = found.libraries.iter().map(|(name, _)| &**name).collect();
            let of = match names.is_empty() {
                true => String::new(),
                false => format!(", of {}", names.join(", ")),
            };
            format!("known here: {}{of}", documents(n, size))
        }
    };
    format!("{there}; {own}")
}

fn to_line(found: &Found) -> String {
    one_line(&format!(
        "store     {}  {}  {}",
        found.display_name,
        found.name,
        holds(found)
    ))
}

fn to_page(found: &Found, next: &Next) -> String {
    let mut lines = vec![format!("store     {}", named(found))];
    lines.push(match &found.remote {
        Some(remote) => one_line(&format!(
            "service   {}: {} active, {} pending, {} failed{}",
            documents(remote.documents(), remote.size_bytes),
            remote.active,
            remote.pending,
            remote.failed,
            remote
                .embedding_model
                .as_ref()
                .map_or_else(String::new, |model| format!("; {model}"))
        )),
        None => "service   has no such store, or it belongs to another key".to_owned(),
    });
    if found.row.is_none() {
        lines.push("here      not known".to_owned());
    }
    for (name, share) in &found.libraries {
        lines.push(one_line(&format!("library   {name}  {}", in_words(share))));
    }
    lines.push(format!(
        "next      {}",
        match (&found.remote, differs(found)) {
            (None, _) => format!(
                "`{}` sends everything again; `objlib store delete` forgets it",
                next.line("upload --recreate-store")
            ),
            (Some(remote), true) => format!(
                "{} active there, {} known here: `{}` tells which",
                remote.active,
                found.own().0,
                next.line("verify")
            ),
            (Some(_), false) => "nothing: the counters agree".to_owned(),
        }
    ));
    lines.join("\n")
}

fn in_words(share: &Share) -> String {
    format!(
        "{}, {} under way, {} pending, {} failed",
        documents(share.indexed, share.bytes),
        share.under_way,
        share.pending,
        share.failed
    )
}

fn question(found: &Found) -> String {
    let what = one_line(&format!("{}: {}", named(found), holds(found)));
    match found.remote {
        Some(_) => format!("Delete store {what}?"),
        None => format!("Forget store {what}?"),
    }
}
