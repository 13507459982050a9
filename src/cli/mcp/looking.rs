//! The tools that only look: search, libraries, status, documents, verify.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Toolbox, library, wrong};
use crate::app;
use crate::app::search::Local;
use crate::app::store::documents::{self, Listed};
use crate::cli::commands::{search, status, verify};
use crate::cli::{args, settings};
use crate::client::{DocumentState, PAGE_DOCUMENTS_MAX};
use crate::error::{Error, Kind};
use crate::mcp::{Arguments, Call, Failed, ToolResult};
use crate::report::Progress;
use crate::state::reader::figures::behind;
use crate::state::{Reader, UploadId};
use crate::text::one_line;

/// Causes of failures that are told, each with one file that met it.
const CAUSES_MAX: usize = 10;

impl Toolbox {
    pub fn search(&self, call: &mut Call<'_>) -> Result<ToolResult, Failed> {
        let given = &call.arguments;
        let stores = self.stores(given)?;
        let model = given.text("model").map(args::model_name).transpose();
        let top_k = given.number("top_k").map(u16::try_from).transpose();
        let options = app::search::Options {
            target: self.target(&stores[0])?,
            stores,
            query: given.text("query").unwrap_or_default().to_owned(),
            model: model
                .map_err(|why| wrong("model", why))?
                .unwrap_or_else(|| self.args.model.clone()),
            library: library(given)?,
            filter: given.text("metadata_filter").map(str::to_owned),
            // The schema has no larger one.
            top_k: top_k.unwrap_or_default(),
        };
        let progress = Arc::new(Progress::new(0));
        let asked = self.call(call.shutdown, &progress);
        let found = app::search::run(&asked, &options, &mut *call.say)?;
        if let Some(reason) = &found.blocked {
            return Err(Failed::from(Error::new(
                Kind::Network,
                "answer",
                format!("the service has stopped it ({reason})"),
                "ask in other words, or another model",
            )));
        }
        let page = search::Page {
            stores: &options.stores,
            passages: false,
            said: false,
        };
        Ok(ToolResult {
            text: page.of(&found),
            structured: search::to_json(&found, &options, false, search::exit(&found)),
        })
    }

    pub fn list_libraries(&self) -> Result<ToolResult, Failed> {
        let reader = Reader::of(&self.database)?;
        let all = reader.libraries()?;
        let files = reader.file_counts_by_library(&all.iter().map(|row| row.id).collect())?;
        let (mut text, mut lines) = (String::new(), Vec::new());
        for row in &all {
            let counts = files.get(&row.id).copied().unwrap_or_default();
            let line = app::status::library_line(&reader, row, &counts)?;
            text += &(line.to_text() + "\n");
            lines.push(line.to_json());
        }
        if lines.is_empty() {
            let how = "no folder is known yet: the user runs `objlib upload DIR`, or upload_start sends one\n";
            text = self.next(&self.args.stores[0]).in_text(how);
        }
        Ok(ToolResult {
            text,
            structured: json!({"libraries": lines}),
        })
    }

    pub fn status(&self, given: &Arguments<'_>) -> Result<ToolResult, Failed> {
        let (structured, text) = self.status_of(&self.store(given)?)?;
        Ok(ToolResult { text, structured })
    }

    /// What `objlib status` prints, for programs and for people, and why files have failed.
    pub fn status_of(&self, store: &str) -> Result<(Value, String), Error> {
        // An agent may ask before anything was sent.
        let reader = Reader::of(&self.database)?;
        let mut status = status::of(&reader, &self.database, store)?;
        if status.stores[0].id.is_none() {
            // What is not in the database, this server knows.
            status.stores[0].next = self.next(store);
        }
        let mut lines = status.lines(false);
        let mut causes = Vec::new();
        for store in status.stores.iter().filter_map(|store| store.id) {
            let mut from = String::new();
            while causes.len() < CAUSES_MAX
                && let Some((error, files)) = reader.next_error(store, &from)?
            {
                let failed = reader.failed_for(store, &error, UploadId(0))?;
                let one = failed
                    .first()
                    .map(|file| format!("{}: {}", file.library, file.path));
                let one = one.unwrap_or_default();
                lines.push(one_line(&format!("failed    {files} ({one}): {error}")));
                from = behind(&error);
                causes.push(json!({"error": error, "files": files, "one": one}));
            }
        }
        let mut structured = status.to_json();
        structured["causes"] = json!(causes);
        Ok((structured, lines.join("\n") + "\n"))
    }

    pub fn list_documents(&self, call: &mut Call<'_>) -> Result<ToolResult, Failed> {
        let given = &call.arguments;
        let size = given.number("page_size").map(u8::try_from);
        let store = self.store(given)?;
        let options = documents::Options {
            target: self.target(&store)?,
            page_size: size.and_then(Result::ok).unwrap_or(PAGE_DOCUMENTS_MAX),
            page_token: given.text("page_token").map(str::to_owned),
        };
        let progress = Arc::new(Progress::new(0));
        let page = documents::page(&self.call(call.shutdown, &progress), &options)?;
        let shown: Vec<Value> = page.documents.iter().map(to_json).collect();
        let mut text = match shown.len() {
            0 => format!("store `{store}` has no document here\n"),
            _ => page.documents.iter().map(to_line).collect(),
        };
        if let Some(next) = &page.next {
            text += &format!("more: page_token {}\n", one_line(next));
        }
        let structured =
            json!({"store": page.store.as_str(), "documents": shown, "next_page_token": page.next});
        Ok(ToolResult { text, structured })
    }

    pub fn verify(&self, call: &mut Call<'_>) -> Result<ToolResult, Failed> {
        let store = self.store(&call.arguments)?;
        let options = app::verify::Options {
            target: self.target(&store)?,
            repair: false,
            share_max_percent: 0,
        };
        let (plan, left) = self.watched(call, |asked| app::verify::run(asked, &options))?;
        let endpoint = &options.target.endpoint_name;
        let next = settings::next_for(&store, &self.args.service, &self.database, endpoint);
        Ok(ToolResult {
            text: verify::to_text(&plan, &store, &next)?,
            structured: verify::with_differences(&plan, left)?,
        })
    }
}

fn state(listed: &Listed) -> &'static str {
    match listed.document.state {
        DocumentState::Pending => "pending",
        DocumentState::Active => "active",
        DocumentState::Failed => "failed",
    }
}

fn to_json(listed: &Listed) -> Value {
    let document = &listed.document;
    let local = match &listed.local {
        Local::Here(path) => Some(path.to_string_lossy()),
        Local::Missing(_) | Local::Unknown => None,
    };
    let identity = document.identity.as_ref();
    json!({"name": document.name.as_str(), "display_name": listed.display_name, "state": state(listed),
           "size_bytes": document.size_bytes, "library": identity.map(|identity| &identity.library),
           "path": identity.map(|identity| &identity.path), "local_path": local})
}

fn to_line(listed: &Listed) -> String {
    let library = listed
        .document
        .identity
        .as_ref()
        .map(|identity| &identity.library);
    let file = match (&listed.local, library) {
        (Local::Here(path), Some(library)) => format!("{library}: {}", path.display()),
        (Local::Missing(path), Some(library)) => {
            format!("{library}: {} (no longer there)", path.display())
        }
        (_, Some(library)) => format!("{library}: {} (not known here)", listed.display_name),
        (_, None) => format!("{} (not put there by objlib)", listed.display_name),
    };
    format!("{}  {}\n", state(listed), one_line(&file))
}
