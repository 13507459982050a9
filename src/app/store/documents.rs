//! What a store holds, as the service lists it, a page at a time.
//!
//! Promises: needs no lock and no database, and changes nothing; where a file is on this machine is told as it
//! is told of a citation.

use crate::app::search::{Local, local, store_name};
use crate::app::{Call, Target, connect};
use crate::client::{Document, Failure, FailureKind};
use crate::error::{Error, Kind};
use crate::names::StoreName;

/// What was asked for.
pub struct Options {
    pub target: Target,
    /// Up to `client::PAGE_DOCUMENTS_MAX`.
    pub page_size: u8,
    /// Of the page before; `None`: the first.
    pub page_token: Option<String>,
}

/// Documents in order of their creation.
pub struct Page {
    pub store: StoreName,
    pub documents: Vec<Listed>,
    /// `None`: this is the last page.
    pub next: Option<String>,
}

pub struct Listed {
    pub document: Document,
    pub display_name: String,
    pub local: Local,
}

/// # Errors
/// No such store; the page was refused.
pub fn page(call: &Call<'_>, options: &Options) -> Result<Page, Error> {
    let target = &options.target;
    connect::asking(call, target, |client, reader| {
        let store = store_name(&target.store, target, client, reader)?;
        let token = options.page_token.as_deref();
        let page = client
            .documents_shown(&store, token, options.page_size)
            .map_err(|failure| refused(&failure, token, &target.store))?;
        let mut documents = Vec::new();
        for (document, display_name) in page.documents {
            let local = match &document.identity {
                Some(identity) => local(&identity.library, &identity.path, reader)?,
                None => Local::Unknown,
            };
            documents.push(Listed {
                document,
                display_name,
                local,
            });
        }
        Ok(Page {
            store,
            documents,
            next: page.next,
        })
    })
}

fn refused(failure: &Failure, token: Option<&str>, store: &str) -> Error {
    match token {
        Some(token) if failure.kind == FailureKind::Permanent => Error::new(
            Kind::Usage,
            format!("page_token `{token}`"),
            failure.to_string(),
            "give the next_page_token of the page before, or leave it out for the first page",
        ),
        _ => failure.to_error(store),
    }
}
