//! The proxy that the environment names, checked before anything is sent.
//!
//! ureq reads the same variables, but passes over one that it cannot use and connects directly: then a
//! request would leave by a way that nobody asked for. Promises: a variable that is set is followed or
//! is an error that names it; what it holds is never shown, since that may be a password.

use std::ffi::OsString;

use ureq::{Proxy, ProxyProtocol};

use crate::client::Endpoint;
use crate::error::{Error, Kind};

/// In this order, as curl has it; `HTTP_PROXY` last, for hosts that set nothing else.
const VARIABLES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "HTTP_PROXY",
    "http_proxy",
];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The proxy on the way to this endpoint, if there is one.
///
/// # Errors
/// `Kind::Usage` for a variable that names no proxy that can be used.
pub fn from_environment(endpoint: &Endpoint) -> Result<Option<Proxy>, Error> {
    proxy(endpoint, &|name| std::env::var_os(name))
}

fn proxy(
    endpoint: &Endpoint,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<Proxy>, Error> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let excepted = EXCEPTIONS.iter().find_map(|name| set(name));
    let excepted = excepted.is_some_and(|list| excepts(&list.to_string_lossy(), endpoint.host()));
    if endpoint.is_loopback() || excepted {
        return Ok(None);
    }
    let Some((name, value)) = VARIABLES.iter().find_map(|name| Some((*name, set(name)?))) else {
        return Ok(None);
    };
    usable(value).map(Some).map_err(|why| {
        Error::new(
            Kind::Usage,
            name,
            why,
            format!("set it to an address like http://proxy:8080, or unset it (`unset {name}`)"),
        )
    })
}

fn usable(value: OsString) -> Result<Proxy, &'static str> {
    const NO_ADDRESS: &str = "what it holds is not the address of a proxy";
    let value = value.into_string().map_err(|_| NO_ADDRESS)?;
    let proxy = Proxy::new(value.trim()).map_err(|_| NO_ADDRESS)?;
    // A port that is no port is taken for one that was left out.
    let authority = proxy.uri().authority().ok_or(NO_ADDRESS)?;
    let address = authority.as_str().rsplit('@').next().unwrap_or_default();
    let port = address.strip_prefix(authority.host()).unwrap_or_default();
    if authority.host().is_empty() || (!port.is_empty() && authority.port_u16().is_none()) {
        return Err(NO_ADDRESS);
    }
    match proxy.protocol() {
        ProxyProtocol::Http | ProxyProtocol::Https => Ok(proxy),
        _ => Err("objlib speaks HTTP with proxies, and this one is for SOCKS"),
    }
}

/// Whether a list like `localhost, .example.org, *` has the host: each entry is a host, with all that is
/// below it.
fn excepts(list: &str, host: &str) -> bool {
    list.split(',').map(str::trim).any(|entry| {
        let entry = entry.split_once(':').map_or(entry, |(name, _)| name);
        let name = entry.trim_start_matches('*').trim_start_matches('.');
        let name = name.to_ascii_lowercase();
        let below = host.strip_suffix(&name);
        entry == "*"
            || (!name.is_empty() && below.is_some_and(|b| b.is_empty() || b.ends_with('.')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOGLE: &str = "https://generativelanguage.googleapis.com";

    fn of(endpoint: &str, variables: &[(&str, &str)]) -> Result<Option<Proxy>, Error> {
        let variable = |name: &str| {
            let set = variables.iter().find(|(set, _)| *set == name);
            set.map(|(_, value)| OsString::from(value))
        };
        proxy(&Endpoint::parse(endpoint).unwrap(), &variable)
    }

    #[test]
    fn a_proxy_that_is_named_is_used() {
        for name in VARIABLES {
            for value in [
                "http://user:secret@proxy:3128",
                "proxy:3128",
                "https://proxy:3128/",
            ] {
                let proxy = of(GOOGLE, &[(name, value)]).unwrap().unwrap();
                assert_eq!((proxy.host(), proxy.port()), ("proxy", 3128), "{value}");
            }
            assert!(of(GOOGLE, &[(name, "")]).unwrap().is_none());
            assert!(
                of("http://127.0.0.1:8765", &[(name, "nonsense:")])
                    .unwrap()
                    .is_none()
            );
        }
        let two = [("ALL_PROXY", "http://all"), ("https_proxy", "http://own")];
        assert_eq!(of(GOOGLE, &two).unwrap().unwrap().host(), "own");
    }

    #[test]
    fn what_cannot_be_used_is_an_error_that_shows_nothing_of_it() {
        for name in VARIABLES {
            for value in [
                "http://user:secret@",
                "http://user:secret@proxy:port",
                "http://user:secret@proxy:99999",
                "socks5://user:secret@proxy:1080",
                "ftp://user:secret@proxy",
                "http://user secret",
                "/secret/path",
                "http://user:secret@proxy name",
            ] {
                let error = of(GOOGLE, &[(name, value)]).unwrap_err();
                assert_eq!(error.kind, Kind::Usage, "{value}");
                let text = error.to_string();
                assert!(text.starts_with(&format!("{name}: ")), "{text}");
                assert!(!text.contains("secret"), "{text}");
            }
        }
    }

    #[test]
    fn exceptions_are_honoured() {
        for (list, direct) in [
            ("*", true),
            ("localhost, .googleapis.com", true),
            ("*.googleapis.com", true),
            ("GoogleApis.com:443", true),
            ("generativelanguage.googleapis.com", true),
            ("apis.com", false),
            ("other.org,", false),
            (".", false),
            ("", false),
        ] {
            for name in EXCEPTIONS {
                let set = [(name, list), ("HTTPS_PROXY", "http://proxy")];
                assert_eq!(of(GOOGLE, &set).unwrap().is_none(), direct, "{list}");
            }
        }
    }
}
