//! Lists of documents, and how they may be wrong.
//!
//! A page is put together from what is there, what was deleted and still shows, and what an earlier
//! page has shown already; then something may be left out. Store counters know nothing of it.

use serde_json::{Value, json};

use crate::emulator::http::answer::{Answer, error, invalid};
use crate::emulator::service::{Call, Service, whole};
use crate::emulator::stores::{PageSizes, no_store, page, wire_of};

type Result<T> = rusqlite::Result<T>;

/// Number and look of a document.
type Listed = (i64, Value);

pub fn documents(service: &Service, call: &Call<'_>) -> Result<Answer> {
    let store = call.path.trim_end_matches("/documents");
    let (size, after) = match page(
        service,
        call,
        "ListDocumentsRequest",
        PageSizes {
            default: 10,
            max: 20,
        },
    ) {
        Ok(page) => page,
        Err(refused) => return Ok(refused),
    };
    if after > 0 && service.roll(call.kind, "page_token_refused", |p| p.page_token_refused) {
        return Ok(invalid(
            "* ListDocumentsRequest.page_token: page_token is invalid.\n",
        ));
    }
    if after > 0 && service.roll(call.kind, "list_error_page2", |p| p.list_error_page2) {
        return Ok(error(
            503,
            "The service is currently unavailable.",
            Vec::new(),
        ));
    }
    if whole(&service.database).store(store)?.is_none() {
        return Ok(no_store(store));
    }
    let mut shown = repeated(service, call, store, after, size)?;
    let (own, more) = own(service, store, after, size - shown.len() as u64)?;
    let last = own.last().map_or(after, |(number, _)| *number);
    shown.extend(own);
    lose(service, call, &mut shown);
    let mut out = json!({});
    if more {
        out["nextPageToken"] = json!(format!("after-{last}"));
    }
    if !shown.is_empty() {
        out["documents"] = shown.into_iter().map(|(_, wire)| wire).collect();
    }
    Ok(Answer::json(&out))
}

/// The page's own documents, and whether more come after it.
fn own(service: &Service, store: &str, after: i64, size: u64) -> Result<(Vec<Listed>, bool)> {
    let (lag, ghost) = {
        let plan = &whole(&service.dice).plan;
        (plan.list_lag_ms, plan.list_ghost_ms)
    };
    let at = service.moment();
    let visible = at.now.saturating_sub_unsigned(lag);
    let since = at.now.saturating_sub_unsigned(ghost);
    if lag > 0 && whole(&service.database).has_document_since(store, visible)? {
        whole(&service.dice).fire("list_lag_ms");
    }
    let (there, ghosts) = {
        let database = whole(&service.database);
        (
            database.documents(store, after, visible, size + 1)?,
            database.ghosts(store, after, since, size + 1)?,
        )
    };
    let haunted: Vec<i64> = ghosts.iter().map(|(number, _)| *number).collect();
    let there = there
        .into_iter()
        .map(|(number, d)| (number, wire_of(service, &d, &at)));
    let mut entries: Vec<Listed> = there.chain(ghosts).collect();
    entries.sort_by_key(|(number, _)| *number);
    let more = entries.len() as u64 > size;
    entries.truncate(size as usize);
    if entries.iter().any(|(number, _)| haunted.contains(number)) {
        whole(&service.dice).fire("list_ghost_ms");
    }
    Ok((entries, more))
}

/// Documents of the page before, that fill up to half of this one.
fn repeated(
    service: &Service,
    call: &Call<'_>,
    store: &str,
    after: i64,
    size: u64,
) -> Result<Vec<Listed>> {
    let before = match after {
        0 => Vec::new(),
        _ => whole(&service.database).documents_up_to(store, after, size / 2)?,
    };
    let repeats =
        !before.is_empty() && service.roll(call.kind, "list_repeat_page", |p| p.list_repeat_page);
    let at = service.moment();
    Ok(match repeats {
        true => before.iter().map(|(n, d)| (*n, d.wire(&at))).collect(),
        false => Vec::new(),
    })
}

fn lose(service: &Service, call: &Call<'_>, shown: &mut Vec<Listed>) {
    let mut dice = whole(&service.dice);
    if shown.is_empty() {
        return;
    }
    if dice.roll(call.kind, "list_lose_page", |p| p.list_lose_page) {
        shown.clear();
    } else if dice.roll(call.kind, "list_lose_one", |p| p.list_lose_one) {
        let lost = dice.pick(shown.len());
        shown.remove(lost);
    }
}
