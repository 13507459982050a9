//! The service's address, checked once.
//!
//! Promises: plain HTTP only to this machine; no credentials in it; however one service is spelled, it has
//! one canonical name; a session's address always lies on the service itself.

use crate::error::{Error, Kind};
use crate::names::{ApiKey, SessionUrl};

/// Scheme, host, port and path prefix, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// As it was typed: requests go there.
    url: String,
    /// Scheme and authority of `url`.
    authority: String,
    /// The same for every spelling of one service: `localhost`, `127.0.0.1` and `[::1]` are one host, and a
    /// default port is not written.
    origin: String,
    prefix: String,
    loopback: bool,
    host: String,
}

impl Endpoint {
    /// # Errors
    /// `Kind::Usage` for anything but `https://…`, or `http://…` to a loopback address. The error shows
    /// the address only when it holds nothing that could be a password or a key.
    pub fn parse(url: &str) -> Result<Endpoint, Error> {
        Endpoint::parse_of("--endpoint", url)
    }

    /// The same for what an option or a variable of this name holds.
    ///
    /// # Errors
    /// As `parse`.
    pub fn parse_of(source: &str, url: &str) -> Result<Endpoint, Error> {
        let url = url.trim().trim_end_matches('/');
        let is_secret = url.contains(['@', '?', '#']) || ApiKey::is_like(url);
        let shown = match source {
            _ if is_secret => source.to_owned(),
            "--endpoint" => url.to_owned(),
            _ => format!("{source}: {url}"),
        };
        let bad = |why: &str, remedy: &str| Error::new(Kind::Usage, shown.as_str(), why, remedy);
        let check =
            &format!("give an address like https://host or http://127.0.0.1:8765 to {source}");
        let uri: ureq::http::Uri = url.parse().map_err(|_| bad("not an address", check))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(bad("not an address with http:// or https://", check));
        };
        if authority.as_str().contains('@') {
            return Err(bad("an address with a user name or password in it", check));
        }
        // A fragment is dropped by the parser, so it is looked for in the text.
        if uri.query().is_some() || url.contains('#') {
            return Err(bad("an address with a query or a fragment", check));
        }
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(bad("neither http nor https", check)),
        };
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() {
            return Err(bad("an address without a host", check));
        }
        let loopback = is_loopback(&host);
        if scheme == "http" && !loopback {
            return Err(bad(
                "plain HTTP to another machine would show the API key to everyone on the way",
                "use https://",
            ));
        }
        let port = authority.port_u16().filter(|port| *port != default_port);
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let one_name = match host.as_str() {
            "127.0.0.1" | "[::1]" => "localhost",
            other => other,
        };
        Ok(Endpoint {
            url: url.to_owned(),
            authority: format!("{scheme}://{authority}"),
            origin: format!("{scheme}://{one_name}{port}"),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            loopback,
            host,
        })
    }

    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// What the database knows the service by.
    pub fn canonical(&self) -> String {
        format!("{}{}", self.origin, self.prefix)
    }

    /// Without port, for messages.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// A session that the service has opened, if it is on the service itself.
    pub fn own_session(&self, url: &str) -> Option<SessionUrl> {
        let uri: ureq::http::Uri = url.parse().ok()?;
        let root = url.split(['?', '#']).next()?;
        let named = Endpoint::parse(root).ok()?;
        let path = uri.path_and_query()?.as_str();
        (named.origin == self.origin).then(|| SessionUrl::new(path))
    }

    /// Where a request of this session goes. `None` if what the database holds is no path: it would lead
    /// to a host that nobody has compared with the service's.
    pub fn session(&self, session: &SessionUrl) -> Option<String> {
        let path = session.expose();
        path.starts_with('/')
            .then(|| format!("{}{path}", self.authority))
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_http_goes_to_this_machine_only() {
        for url in [
            "http://127.0.0.1:1",
            "http://localhost:8765/x/",
            "http://[::1]:9",
        ] {
            assert!(Endpoint::parse(url).is_ok(), "{url}");
        }
        for url in [
            "http://example.com",
            "http://10.0.0.1",
            "http://127.0.0.1.evil.org",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in [
            "",
            "host",
            "ftp://h",
            "https://u:p@h",
            "https://h?x=1",
            "https://",
        ] {
            assert_eq!(Endpoint::parse(url).unwrap_err().kind, Kind::Usage, "{url}");
        }
    }

    #[test]
    fn what_is_refused_is_not_shown_if_it_may_hold_a_secret() {
        for url in [
            "https://secret@h",
            "https://u:secret@h",
            "https://h?key=secret",
            "https://h/p?key=secret",
            "https://h#secret",
            "https://h/ ?key=secret",
            "http://h?secret",
            "u:secret@h",
            "AIzaSecret",
        ] {
            let error = Endpoint::parse(url).unwrap_err();
            assert_eq!(error.kind, Kind::Usage, "{url}");
            let text = error.to_string().to_lowercase();
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_session_lies_on_the_service_itself_or_nowhere() {
        let e = Endpoint::parse("https://host/prefix").unwrap();
        let own = e
            .own_session("https://HOST:443/upload?upload_id=1")
            .unwrap();
        assert_eq!(own.expose(), "/upload?upload_id=1");
        assert_eq!(e.session(&own).unwrap(), "https://host/upload?upload_id=1");
        for foreign in [
            "https://host:444/upload",
            "http://host/upload",
            "https://host.evil.org/upload",
            "https://host@evil.org/upload",
            "/upload",
            "",
        ] {
            assert!(e.own_session(foreign).is_none(), "{foreign}");
        }
        for planted in ["https://host/upload?upload_id=1", "@evil.org/x", ""] {
            assert!(e.session(&SessionUrl::new(planted)).is_none(), "{planted}");
        }
    }

    #[test]
    fn every_spelling_of_a_service_has_one_name() {
        for (name, spellings) in [
            (
                "http://localhost:8765",
                &[
                    "http://127.0.0.1:8765",
                    "http://LOCALHOST:8765/",
                    "http://[::1]:8765",
                    " http://localhost:8765// ",
                ][..],
            ),
            ("https://host/x", &["https://host:443/x/", "https://HOST/x"]),
            ("http://localhost", &["http://127.0.0.1:80/"]),
        ] {
            for spelling in spellings {
                assert_eq!(Endpoint::parse(spelling).unwrap().canonical(), name);
            }
        }
        assert_ne!(
            Endpoint::parse("https://host/x").unwrap().canonical(),
            Endpoint::parse("https://host/y").unwrap().canonical()
        );
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,60}") {
            let _ = Endpoint::parse(&text);
        }
    }
}
