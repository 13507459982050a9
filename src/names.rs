//! Names the service gives, and the two secrets: the API key and the URL of an upload session.
//!
//! Promises: `Debug` of a secret never shows it; a name of one sort is never taken for another.

use std::fmt;

macro_rules! resource_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            pub fn new(name: impl Into<String>) -> $name {
                $name(name.into())
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

resource_name!(
    /// `fileSearchStores/<id>`
    StoreName
);
resource_name!(
    /// `fileSearchStores/<store>/documents/<id>`
    DocumentName
);
resource_name!(
    /// `fileSearchStores/<store>/upload/operations/<id>` or `fileSearchStores/<store>/operations/<id>`
    OperationName
);
resource_name!(
    /// `files/<id>`: a temporary file of the Files API
    FileName
);

impl StoreName {
    /// What every resource name of a store begins with.
    pub const PREFIX: &'static str = "fileSearchStores/";

    /// `None` if the text is no resource name of a store: it would lead a request somewhere else.
    pub fn parse(text: &str) -> Option<StoreName> {
        let id = text.strip_prefix(StoreName::PREFIX)?;
        is_id(id).then(|| StoreName(text.to_owned()))
    }
}

impl DocumentName {
    /// `None` if the text does not name a document of a store.
    pub fn parse(text: &str) -> Option<DocumentName> {
        let store = StoreName::parse(text.split_once("/documents/")?.0)?;
        DocumentName::of_store(&store, text)
    }

    /// The name of a document of this very store. Whatever else a service names is none: a deletion or a
    /// look that followed it would meet somebody else's document.
    pub fn of_store(store: &StoreName, text: &str) -> Option<DocumentName> {
        let id = text
            .strip_prefix(store.as_str())?
            .strip_prefix("/documents/")?;
        is_id(id).then(|| DocumentName(text.to_owned()))
    }
}

impl OperationName {
    /// An operation of a store, of an upload or of an import; `None` for any other text.
    pub fn parse(text: &str) -> Option<OperationName> {
        let (store, id) = text
            .split_once("/upload/operations/")
            .or_else(|| text.split_once("/operations/"))?;
        StoreName::parse(store)?;
        is_id(id).then(|| OperationName(text.to_owned()))
    }

    /// The store that it works on.
    pub fn store(&self) -> Option<StoreName> {
        let id = self.0.strip_prefix(StoreName::PREFIX)?.split('/').next()?;
        StoreName::parse(&format!("{}{id}", StoreName::PREFIX))
    }
}

/// One segment of a path, of characters that mean nothing in a URL. The service makes ids of `[a-z0-9-]`
/// (fact sheet 3, 11); what is accepted here is a little wider and just as harmless.
fn is_id(text: &str) -> bool {
    let harmless = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !text.is_empty() && text.bytes().all(harmless)
}

impl FileName {
    /// A name of our own choosing: known, and recorded, before the file exists (fact sheet 8: up to 40
    /// of `[a-z0-9-]`).
    pub fn fresh() -> FileName {
        FileName(format!("files/objlib-{:032x}", fastrand::u128(..)))
    }
}

/// Where a resumable session is: path and query below the service's origin. The origin itself is not kept,
/// so that a session can never lead to another host, and is found again when the embedded service has
/// come back on another port. It is a credential: whoever has it may write to the session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionUrl(String);

impl SessionUrl {
    pub fn new(path_and_query: impl Into<String>) -> SessionUrl {
        SessionUrl(path_and_query.into())
    }
    /// For `Endpoint::session`, which makes the address of a request of it, and for the database.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionUrl(…)")
    }
}

/// The API key. Goes into one header of requests to the configured origin, nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// White space around a key comes from copying it; a key has none. `None` if nothing is left or
    /// if it could not be the value of a header.
    pub fn new(key: &str) -> Option<ApiKey> {
        let key = key.trim();
        let legal = !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic());
        legal.then(|| ApiKey(key.to_owned()))
    }
    /// Google's keys begin so (fact sheet 1). One that was pasted in the wrong place must not be shown
    /// as a file that is not there, or as an address that is none.
    pub fn is_like(text: &str) -> bool {
        text.starts_with("AIza") || text.starts_with("AQ.")
    }
    /// For the header, and to find it in what the service says.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let key = ApiKey::new(" AIzaSecret\n").unwrap();
        assert_eq!(key.expose(), "AIzaSecret");
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
        let url = SessionUrl::new("https://x/?upload_id=secret");
        assert_eq!(format!("{url:?}"), "SessionUrl(…)");
    }

    #[test]
    fn a_name_of_another_store_is_no_document_of_this_one() {
        let store = StoreName::new("fileSearchStores/s-1");
        let of = |text: &str| DocumentName::of_store(&store, text).is_some();
        assert!(of("fileSearchStores/s-1/documents/a-b_c1"));
        for text in [
            "",
            "fileSearchStores/s-1/documents/",
            "fileSearchStores/s-1/documents/a/../../x",
            "fileSearchStores/s-1/documents/a?force=true",
            "fileSearchStores/s-10/documents/a",
            "fileSearchStores/s-2/documents/a",
            "fileSearchStores/s-1",
            "https://other.example/fileSearchStores/s-1/documents/a",
        ] {
            assert!(!of(text), "{text}");
        }
        for text in ["upload/operations/o", "operations/o"] {
            let operation = OperationName::parse(&format!("{store}/{text}")).unwrap();
            assert_eq!(operation.store(), Some(store.clone()));
        }
        assert!(OperationName::parse("fileSearchStores/s-1/operations/o?x").is_none());
        assert!(OperationName::parse("operations/o").is_none());
        assert!(StoreName::parse("fileSearchStores/s-1").is_some());
        assert!(StoreName::parse("fileSearchStores/../files").is_none());
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_none() {
        assert!(ApiKey::new("").is_none());
        assert!(ApiKey::new("a\nb").is_none());
        assert!(ApiKey::new("schlüssel").is_none());
    }
}
