//! The address by which the client called: what upload URLs and the `uri` of files begin with.
//!
//! It is that of the `Host` header, unless a proxy stands in front that is trusted to tell another one.

use super::Head;
use super::answer::{Answer, error};

#[derive(Debug, Clone, Copy)]
pub struct Address {
    /// Of this service's own port.
    pub is_tls: bool,
    /// Whether `X-Forwarded-Proto` and `X-Forwarded-Host` decide.
    pub trust_forwarded: bool,
}

impl Address {
    pub fn scheme(self) -> &'static str {
        match self.is_tls {
            true => "https",
            false => "http",
        }
    }

    /// Scheme and authority; or the refusal of a header that a URL cannot be made of.
    pub fn of(self, head: &Head) -> Result<String, Answer> {
        let scheme = self.told(head, "X-Forwarded-Proto", is_scheme)?;
        let authority = self.told(head, "X-Forwarded-Host", is_authority)?;
        Ok(format!(
            "{}://{}",
            scheme.unwrap_or(self.scheme()),
            authority.unwrap_or(head.header("host"))
        ))
    }

    /// What a header tells that is trusted. Of several proxies the first one in the list is the client's.
    fn told<'h>(
        self,
        head: &'h Head,
        name: &str,
        is_fine: fn(&str) -> bool,
    ) -> Result<Option<&'h str>, Answer> {
        let value = head.header(&name.to_ascii_lowercase());
        let first = value.split(',').next().unwrap_or_default().trim();
        match first {
            _ if !self.trust_forwarded || value.is_empty() => Ok(None),
            first if is_fine(first) => Ok(Some(first)),
            _ => Err(error(
                400,
                &format!("{name} is {value:?}, and no URL can be made of that."),
                Vec::new(),
            )),
        }
    }
}

fn is_scheme(value: &str) -> bool {
    matches!(value, "http" | "https")
}

/// A name or an address, and perhaps a port.
fn is_authority(value: &str) -> bool {
    let (host, port) = match value.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (value, None),
    };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let is_host = match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let mut letters = host.bytes();
            !host.is_empty() && letters.all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        }
    };
    is_host && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::http::parse;

    fn of(address: Address, headers: &str) -> Result<String, u16> {
        let head = format!("GET / HTTP/1.1\r\nHost: inner:8765\r\n{headers}\r\n");
        address
            .of(&parse(head.as_bytes()).unwrap())
            .map_err(|refused| refused.status)
    }

    const BEHIND: Address = Address {
        is_tls: false,
        trust_forwarded: true,
    };

    #[test]
    fn the_proxy_tells_the_address_only_where_it_is_trusted() {
        let told = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: files.test\r\n";
        assert_eq!(of(BEHIND, told).unwrap(), "https://files.test");
        let alone = Address {
            trust_forwarded: false,
            ..BEHIND
        };
        assert_eq!(of(alone, told).unwrap(), "http://inner:8765");
        let over_tls = Address {
            is_tls: true,
            ..alone
        };
        assert_eq!(of(over_tls, told).unwrap(), "https://inner:8765");
    }

    #[test]
    fn one_header_may_come_alone_and_of_several_proxies_the_first_counts() {
        assert_eq!(of(BEHIND, "").unwrap(), "http://inner:8765");
        assert_eq!(
            of(BEHIND, "X-Forwarded-Proto: https\r\n").unwrap(),
            "https://inner:8765"
        );
        assert_eq!(
            of(BEHIND, "X-Forwarded-Host: [2001:db8::1]:443, b\r\n").unwrap(),
            "http://[2001:db8::1]:443"
        );
        let twice = "X-Forwarded-Host: a.test:8443\r\nX-Forwarded-Host: b\r\n";
        assert_eq!(of(BEHIND, twice).unwrap(), "http://a.test:8443");
    }

    #[test]
    fn what_no_url_can_be_made_of_is_refused() {
        for bad in [
            "Proto: ftp",
            "Proto: https://",
            "Proto: ,https",
            "Host: a b",
            "Host: a/b",
            "Host: a@b",
            "Host: a\tb",
            "Host: a:b",
            "Host: a:99999",
            "Host: :80",
            "Host: [::1",
            "Host: [nonsense]",
            "Host: ::1",
            "Host: ä",
            "Host: , a",
        ] {
            let header = format!("X-Forwarded-{bad}\r\n");
            assert_eq!(of(BEHIND, &header).unwrap_err(), 400, "{bad}");
        }
    }
}
