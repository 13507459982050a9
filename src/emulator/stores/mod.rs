//! Stores, their documents and operations.

use serde_json::{Value, json};

use super::data::records::{Document, Moment, Store};
use super::data::source::Source;
use super::http::answer::{Answer, error, forbidden, invalid, precondition};
use super::service::{Call, Service, whole};
use super::strict::rules::Rule;
use super::strict::{check, shapes};
use crate::clock::rfc3339;

pub mod documents;
pub mod files;
pub mod listing;
pub mod text;

type Result = rusqlite::Result<Answer>;

/// What a store may be made with; the first if nothing is said.
pub const EMBEDDING_MODELS: [&str; 2] =
    ["models/gemini-embedding-001", "models/gemini-embedding-2"];

/// Letters, digits and dashes of a display name, and a random end.
pub fn id_from(source: &mut Source, display_name: &str, dashes: bool) -> String {
    let kept: String = display_name
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            'a'..='z' | '0'..='9' => Some(c),
            ' ' if dashes => Some('-'),
            _ => None,
        })
        .take(27)
        .collect();
    let kept = kept.trim_matches('-');
    match kept.is_empty() {
        true => format!("{}-{}", source.token(12), source.token(12)),
        false => format!("{kept}-{}", source.token(12)),
    }
}

pub fn create(service: &Service, call: &Call<'_>) -> Result {
    let request = match check::read(&call.body, shapes::STORE, service.loose) {
        Ok(request) => request,
        Err(refused) => return Ok(refused),
    };
    let display_name = request["displayName"].as_str().unwrap_or_default();
    let is_long = check::chars(&request["displayName"]) > check::DISPLAY_NAME_CHARS_MAX;
    if is_long && !service.loose.has(Rule::Limits) {
        return Ok(invalid(
            "* CreateFileSearchStoreRequest.file_search_store.display_name: display_name cannot be \
             more than 512 characters long.\n",
        ));
    }
    let model = match request["embeddingModel"].as_str().unwrap_or_default() {
        "" => EMBEDDING_MODELS[0],
        model if EMBEDDING_MODELS.contains(&model) => model,
        model if service.loose.has(Rule::EmbeddingModels) => model,
        model => {
            return Ok(invalid(&format!(
                "* CreateFileSearchStoreRequest.file_search_store.embedding_model: {model} is not a model \
                 for embeddings.\n"
            )));
        }
    };
    let id = id_from(&mut whole(&service.source), display_name, true);
    let name = format!("fileSearchStores/{id}");
    let now = service.now();
    let made = {
        let database = whole(&service.database);
        database.add_store(&name, display_name, model, now)?;
        database.store(&name)?
    };
    match made {
        Some(store) => Ok(Answer::json(&wire(service, store)?)),
        // Deleted by somebody who guessed its name.
        None => Ok(no_store(&name)),
    }
}

fn wire(service: &Service, store: Store) -> rusqlite::Result<Value> {
    let now = service.moment();
    let counts = whole(&service.database).counts(&store.name, &now)?;
    let created = rfc3339(store.created_ms);
    let mut wire = json!({"name": store.name, "createTime": created, "updateTime": created,
        "embeddingModel": store.embedding_model});
    if !store.display_name.is_empty() {
        wire["displayName"] = json!(store.display_name);
    }
    for (field, n) in [
        ("activeDocumentsCount", counts.0),
        ("pendingDocumentsCount", counts.1),
        ("failedDocumentsCount", counts.2),
        ("sizeBytes", counts.3),
    ] {
        if n > 0 {
            wire[field] = json!(n.to_string());
        }
    }
    Ok(wire)
}

/// How many come on a page if the request does not say, and at the most.
pub struct PageSizes {
    pub default: u64,
    pub max: u64,
}

/// A page's size and the place where it begins, or the refusal.
pub fn page(
    service: &Service,
    call: &Call<'_>,
    message: &str,
    sizes: PageSizes,
) -> std::result::Result<(u64, i64), Answer> {
    let PageSizes { default, max } = sizes;
    let is_loose = service.loose.has(Rule::PageSize);
    let size = match call.query("pageSize", "page_size") {
        "" | "0" => Some(default),
        text => match text.parse() {
            Ok(n) if (1..=max).contains(&n) => Some(n),
            Ok(n) if n > max && is_loose => Some(max),
            _ => None,
        },
    };
    let size = size.ok_or_else(|| {
        invalid(&format!(
            "* {message}.page_size: page_size must be between 1 and {max}.\n"
        ))
    })?;
    let after = match call.query("pageToken", "page_token") {
        "" => Some(0),
        text => text.strip_prefix("after-").and_then(|n| n.parse().ok()),
    };
    let after = after
        .ok_or_else(|| invalid(&format!("* {message}.page_token: page_token is invalid.\n")))?;
    Ok((size, after))
}

pub fn list(service: &Service, call: &Call<'_>) -> Result {
    let (size, after) = match page(
        service,
        call,
        "ListFileSearchStoresRequest",
        PageSizes {
            default: 10,
            max: 20,
        },
    ) {
        Ok(page) => page,
        Err(refused) => return Ok(refused),
    };
    let lag = whole(&service.dice).plan.store_lag_ms;
    let visible = service.now().saturating_sub_unsigned(lag);
    if whole(&service.database).has_store_since(visible)? {
        whole(&service.dice).fire("store_lag_ms");
    }
    let mut stores = whole(&service.database).stores(after, visible, size + 1)?;
    let more = stores.len() as u64 > size;
    stores.truncate(size as usize);
    let last = stores.last().map_or(after, |store| store.number);
    let mut out = json!({});
    if !stores.is_empty() {
        let stores = stores.into_iter().map(|s| wire(service, s));
        out["fileSearchStores"] = Value::Array(stores.collect::<rusqlite::Result<_>>()?);
    }
    if more {
        out["nextPageToken"] = json!(format!("after-{last}"));
    }
    Ok(Answer::json(&out))
}

/// 403 for what is not there, 400 for what cannot be.
pub fn no_store(name: &str) -> Answer {
    let id = name.strip_prefix("fileSearchStores/").unwrap_or(name);
    match check::is_id(id) {
        true => forbidden(
            "You do not have permission to access the FileSearchStore or it may not exist.",
        ),
        false => invalid("Invalid FileSearchStore name."),
    }
}

/// `GET …/media/*`: the images that answers cite. None is kept here, and no answer names one.
pub fn media(service: &Service, call: &Call<'_>) -> Result {
    let store = call.path.split("/media/").next().unwrap_or_default();
    if whole(&service.database).store(store)?.is_none() {
        return Ok(no_store(store));
    }
    let words =
        "Media does not exist: this local service reads no images, so its answers cite none.";
    Ok(error(404, words, Vec::new()))
}

pub fn get(service: &Service, call: &Call<'_>) -> Result {
    let store = whole(&service.database).store(call.path)?;
    match store {
        Some(store) => Ok(Answer::json(&wire(service, store)?)),
        None => Ok(no_store(call.path)),
    }
}

pub fn delete(service: &Service, call: &Call<'_>) -> Result {
    let now = service.moment();
    let database = whole(&service.database);
    if database.store(call.path)?.is_none() {
        return Ok(no_store(call.path));
    }
    let counts = database.counts(call.path, &now)?;
    if counts.0 + counts.1 + counts.2 > 0 && !call.force() {
        return Ok(precondition("Cannot delete non-empty FileSearchStore."));
    }
    database.together(|| database.delete_store(call.path))?;
    Ok(Answer::json(&json!({})))
}

/// `what`: Document or Operation.
fn missing(service: &Service, call: &Call<'_>, what: &str) -> Answer {
    if service.roll(call.kind, "missing_403", |p| p.missing_403) {
        let id = call.path.rsplit('/').next().unwrap_or_default();
        return forbidden(&format!(
            "You do not have permission to access the {what} {id} or it may not exist."
        ));
    }
    let words = match what {
        // As the service says it.
        "Document" => "Documents does not exist.".to_owned(),
        what => format!("{what} does not exist."),
    };
    error(404, &words, Vec::new())
}

/// A document as it is now.
pub fn wire_of(service: &Service, document: &Document, now: &Moment) -> Value {
    if document.has_healed(now) {
        whole(&service.dice).fire("document_heals_ms");
    }
    document.wire(now)
}

/// Of what cannot be the name of a document.
fn ill_formed(service: &Service, name: &str) -> Option<Answer> {
    let mut ids = name.split('/').skip(1).step_by(2);
    let is_fine = service.loose.has(Rule::DocumentIds) || ids.all(check::is_id);
    (!is_fine).then(|| invalid("Invalid Document name."))
}

pub fn get_document(service: &Service, call: &Call<'_>) -> Result {
    if let Some(refused) = ill_formed(service, call.path) {
        return Ok(refused);
    }
    let document = whole(&service.database).document(call.path)?;
    let lag = whole(&service.dice).plan.get_lag_ms;
    let visible = service.now().saturating_sub_unsigned(lag);
    Ok(match document {
        Some(document) if document.created_ms > visible => {
            whole(&service.dice).fire("get_lag_ms");
            missing(service, call, "Document")
        }
        Some(document) => Answer::json(&wire_of(service, &document, &service.moment())),
        None => missing(service, call, "Document"),
    })
}

pub fn delete_document(service: &Service, call: &Call<'_>) -> Result {
    if let Some(refused) = ill_formed(service, call.path) {
        return Ok(refused);
    }
    let (now, haunts) = (
        service.moment(),
        whole(&service.dice).plan.list_ghost_ms > 0,
    );
    let is_recorded = whole(&service.ledger).is_recording();
    let database = whole(&service.database);
    let Some(document) = database.document(call.path)? else {
        drop(database);
        return Ok(missing(service, call, "Document"));
    };
    if !call.force() {
        return Ok(precondition("Cannot delete non-empty Document."));
    }
    database.together(|| {
        if haunts {
            database.add_ghost(&document, &now)?;
        }
        database.delete_document(call.path)
    })?;
    let mut others = Vec::new();
    if is_recorded {
        for key in ["objlib_path", "objlib_sha256"] {
            let text = document.entry(key).unwrap_or_default();
            others.extend(database.documents_saying(&document.store, text)?);
        }
    }
    // Whoever asks for the ledger holds it while they wait for the database.
    drop(database);
    if is_recorded {
        whole(&service.ledger).deleted(&document, &others, &now);
    }
    Ok(Answer::json(&json!({})))
}

pub fn operation(service: &Service, call: &Call<'_>) -> Result {
    if service.roll(call.kind, "poll_name_only", |p| p.poll_name_only) {
        return Ok(Answer::json(&json!({"name": call.path})));
    }
    let Some(operation) = whole(&service.database).operation(call.path)? else {
        return Ok(missing(service, call, "Operation"));
    };
    if operation.never_done {
        whole(&service.dice).fire("operation_never_done");
    }
    let running = service.now() < operation.ready_ms || operation.never_done;
    Ok(Answer::json(&match (running, operation.fails) {
        (true, _) => json!({"name": call.path}),
        (false, true) => json!({"name": call.path, "done": true, "error": {
            "code": 3, "message": "The document could not be processed."}}),
        (false, false) => {
            json!({"name": call.path, "done": true, "response": operation.response})
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_derived_as_observed() {
        let source = &mut Source::new(None);
        assert!(id_from(source, "Team Handbook", true).starts_with("team-handbook-"));
        assert!(id_from(source, "A Survey.txt", false).starts_with("asurveytxt-"));
        assert!(id_from(source, &"x".repeat(500), false).len() <= 40);
        assert_eq!(id_from(source, "…", true).len(), 25);
    }
}
