//! Local by proof: which requests are answered at all.
//!
//! The port is open on loopback only, but a web page in a browser on this machine can reach it too.
//! Two headers give such a page away, and the browser lets no page change them. `Host` is the name the
//! client believes it talks to: a page whose own host name was pointed to 127.0.0.1 (DNS rebinding) still
//! says that name. `Origin` is the site the page came from. Programs send a loopback `Host` by
//! themselves and no `Origin`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::answer::{Answer, error, forbidden};
use crate::emulator::http::Head;

/// Who else is let in.
#[derive(Debug, Clone, Default)]
pub struct Doors {
    /// Whoever calls this service by an address, since the port is open beyond loopback. An address cannot be
    /// pointed elsewhere, unlike a name.
    pub addresses: bool,
    /// Whoever calls it by one of these names.
    pub hosts: Vec<String>,
    /// Pages of these sites, exactly so.
    pub origins: Vec<String>,
}

impl Doors {
    fn know_host(&self, authority: &str) -> bool {
        let host = without_port(authority);
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        self.addresses && bare.unwrap_or(host).parse::<IpAddr>().is_ok()
            || self
                .hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(host))
    }
}

/// The refusal of a request that does not come from this machine's own programs and pages, nor from whoever else is
/// let in.
pub fn refusal(head: &Head, doors: &Doors) -> Option<Answer> {
    let host = head.header("host");
    if host.is_empty() {
        return Some(error(400, "The Host header is missing.", Vec::new()));
    }
    if !is_loopback(host) && !doors.know_host(host) {
        return Some(forbidden(&format!(
            "This service answers on its own machine only: Host must be localhost, 127.0.0.1 or [::1], \
             and is {host:?}. (--allow-host NAME lets another one in.)"
        )));
    }
    match head.headers.get("origin") {
        Some(origin) if !is_loopback_origin(origin) && !doors.origins.contains(origin) => {
            Some(forbidden(&format!(
                "This service answers no page of another site: Origin is {origin:?}. \
                 (--allow-origin lets one in.)"
            )))
        }
        _ => None,
    }
}

/// `localhost`, 127.0.0.0/8 or `[::1]`, with or without a port.
fn is_loopback(authority: &str) -> bool {
    let host = without_port(authority);
    let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    match v6 {
        Some(v6) => v6.parse().is_ok_and(|a: Ipv6Addr| a.is_loopback()),
        None if host.eq_ignore_ascii_case("localhost") => true,
        None => host.parse().is_ok_and(|a: Ipv4Addr| a.is_loopback()),
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn is_loopback_origin(origin: &str) -> bool {
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_by_name_and_by_address() {
        for host in [
            "localhost",
            "LocalHost:8765",
            "127.0.0.1:1",
            "127.8.9.10",
            "[::1]",
            "[::1]:80",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "example.com:127",
            "127.0.0.1@example.com",
            "127.1",
            "0.0.0.0",
            "10.0.0.1:80",
            "[::]",
            "[::ffff:10.0.0.1]",
            "::1",
            "localhost, example.com",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn others_are_let_in_by_address_or_by_name() {
        let doors = Doors {
            addresses: true,
            hosts: vec!["gemini".to_owned()],
            ..Doors::default()
        };
        for host in [
            "192.168.1.5:8765",
            "[fe80::1]:8765",
            "Gemini:8765",
            "gemini",
        ] {
            assert!(doors.know_host(host), "{host}");
            assert!(!Doors::default().know_host(host), "{host}");
        }
        for host in [
            "gemini.example.com",
            "example.com",
            "192.168.1.5.example.com",
            "",
        ] {
            assert!(!doors.know_host(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_local_only_as_a_web_address() {
        assert!(is_loopback_origin("http://localhost:3000"));
        assert!(is_loopback_origin("https://127.0.0.1"));
        for origin in [
            "null",
            "",
            "localhost",
            "http://example.com",
            "file://localhost",
            "http://localhost/x",
        ] {
            assert!(!is_loopback_origin(origin), "{origin}");
        }
    }
}
