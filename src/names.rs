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

impl FileName {
    /// A name of our own choosing: known, and recorded, before the file exists (fact sheet 8: up to 40
    /// of `[a-z0-9-]`).
    pub fn fresh() -> FileName {
        FileName(format!("files/objlib-{:032x}", fastrand::u128(..)))
    }
}

/// The URL of a resumable session. It is a credential: whoever has it may write to the session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionUrl(String);

impl SessionUrl {
    pub fn new(url: impl Into<String>) -> SessionUrl {
        SessionUrl(url.into())
    }
    /// For the request itself and for the database.
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
    fn a_key_that_no_header_can_carry_is_none() {
        assert!(ApiKey::new("").is_none());
        assert!(ApiKey::new("a\nb").is_none());
        assert!(ApiKey::new("schlüssel").is_none());
    }
}
