//! `multipart/related` (RFC 2046, 2387): a body is taken apart while it comes.
//!
//! Owns what was read and not handed on yet, a few blocks at the most. Promises: a part ends at a delimiter
//! line and nowhere else; a body without its closing delimiter is not whole.

use std::collections::BTreeMap;
use std::io::{self, Read};

/// Read at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// Of a part.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// RFC 2046, 5.1.1.
const BOUNDARY_CHARS_MAX: usize = 70;

/// Why a body cannot be taken apart.
#[derive(Debug)]
pub enum Broken {
    /// The client has broken off, or a fault has.
    Connection,
    /// It is not what it should be.
    Malformed(&'static str),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Broken {
        Broken::Connection
    }
}

/// A header's value and its parameters: `text/plain; charset=utf-8`. Names are in lower case.
pub struct ContentType {
    pub essence: String,
    parameters: BTreeMap<String, String>,
}

impl ContentType {
    /// `None`: no type.
    pub fn parse(text: &str) -> Option<ContentType> {
        let mut fields = text.split(';').map(str::trim);
        let essence = fields.next()?.to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/')?;
        let is_type = !kind.is_empty() && !subtype.is_empty() && !subtype.contains('/');
        let parameters = fields
            .filter_map(|field| field.split_once('='))
            .map(|(name, value)| {
                let value = value.trim().trim_matches('"').to_owned();
                (name.trim().to_ascii_lowercase(), value)
            })
            .collect();
        is_type.then_some(ContentType {
            essence,
            parameters,
        })
    }

    /// A boundary that can be one.
    pub fn boundary(&self) -> Option<&str> {
        let boundary = self.parameters.get("boundary")?;
        let is_one = (1..=BOUNDARY_CHARS_MAX).contains(&boundary.len());
        is_one.then_some(boundary)
    }
}

/// The headers of a part, by their names in lower case.
pub type PartHead = BTreeMap<String, String>;

pub struct Parts<R> {
    from: R,
    /// Read and not handed on.
    buffer: Vec<u8>,
    /// CRLF, two dashes and the boundary.
    delimiter: Vec<u8>,
    begun: bool,
}

impl<R: Read> Parts<R> {
    pub fn new(from: R, boundary: &str) -> Parts<R> {
        Parts {
            from,
            // The first delimiter may stand at the very beginning, where no line ends before it.
            buffer: b"\r\n".to_vec(),
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            begun: false,
        }
    }

    /// The head of the next part; `None` after the last. The part before must have been read to its end.
    pub fn next(&mut self) -> Result<Option<PartHead>, Broken> {
        if !self.begun {
            self.begun = true;
            self.content(&mut |_| Ok::<(), Broken>(()))?;
        }
        let rest = self.line()?;
        match rest.as_slice() {
            [b'-', b'-', ..] => return Ok(None),
            padding if padding.trim_ascii().is_empty() => {}
            _ => {
                return Err(Broken::Malformed(
                    "A boundary line has something behind it.",
                ));
            }
        }
        let mut head = PartHead::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Some(head));
            }
            let line = String::from_utf8_lossy(&line);
            let Some((name, value)) = line.split_once(':') else {
                return Err(Broken::Malformed("A part has a header that is none."));
            };
            head.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }

    /// Hands on all of a part, piece by piece, until `take` refuses one.
    pub fn content<E: From<Broken>>(
        &mut self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            if let Some(end) = find(&self.buffer, &self.delimiter) {
                let piece: Vec<u8> = self.buffer.drain(..end).collect();
                self.buffer.drain(..self.delimiter.len());
                return take(&piece);
            }
            // The delimiter may have begun in what stays.
            let sure = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            let piece: Vec<u8> = self.buffer.drain(..sure).collect();
            take(&piece)?;
            if !self.more()? {
                return Err(Broken::Malformed("The closing boundary is missing.").into());
            }
        }
    }

    /// Up to the next line end, which is left out. A closing delimiter may be the end of all.
    fn line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return Ok(line);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(Broken::Malformed("The head of a part is too long."));
            }
            if !self.more()? {
                return match self.buffer.starts_with(b"--") {
                    true => Ok(std::mem::take(&mut self.buffer)),
                    false => Err(Broken::Malformed("The closing boundary is missing.")),
                };
            }
        }
    }

    /// `false`: there is no more.
    fn more(&mut self) -> Result<bool, Broken> {
        let held = self.buffer.len();
        self.buffer.resize(held + BLOCK_BYTES, 0);
        let read = self.from.read(&mut self.buffer[held..]);
        let n = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(held + n);
        read?;
        Ok(n > 0)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == wanted[0]) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads only a few bytes at once, as a slow connection gives them.
    struct Slow<'b>(&'b [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(out.len());
            self.0.read(&mut out[..n])
        }
    }

    fn parts(bytes: &[u8], at_once: usize) -> Result<Vec<(PartHead, Vec<u8>)>, Broken> {
        let mut parts = Parts::new(Slow(bytes, at_once), "B");
        let mut all = Vec::new();
        while let Some(head) = parts.next()? {
            let mut content = Vec::new();
            parts.content(&mut |piece| -> Result<(), Broken> {
                content.extend_from_slice(piece);
                Ok(())
            })?;
            all.push((head, content));
        }
        Ok(all)
    }

    #[test]
    fn a_body_comes_apart_at_its_delimiter_lines_only() {
        let body = b"before\r\n--B \r\na: b\r\nC: d: e\r\n\r\none\r\n--A\r\n--B\r\n\r\n--B\r\r\n\n\r\n--B--";
        for at_once in [1, 2, 3, 1000] {
            let parts = parts(body, at_once).unwrap();
            assert_eq!(parts.len(), 2);
            assert_eq!(parts[0].1, b"one\r\n--A");
            assert_eq!(
                (parts[0].0["a"].as_str(), parts[0].0["c"].as_str()),
                ("b", "d: e")
            );
            assert_eq!(parts[1].1, b"--B\r\r\n\n");
        }
    }

    #[test]
    fn what_does_not_end_with_the_closing_delimiter_is_refused() {
        for body in [
            &b""[..],
            b"--B",
            b"--B\r\n",
            b"--B\r\n\r\none",
            b"--B\r\n\r\none\r\n--B",
            b"--B\r\n\r\none\r\n--B-",
            b"--Bx\r\n\r\none\r\n--B--",
            b"--B\r\nno header\r\n\r\none\r\n--B--",
        ] {
            let all = parts(body, 1000);
            assert!(matches!(all, Err(Broken::Malformed(_))), "{body:?}");
        }
    }

    #[test]
    fn a_type_has_its_parameters() {
        let of = |text| ContentType::parse(text).map(|t| t.boundary().map(str::to_owned));
        assert_eq!(
            of("multipart/related; boundary=B"),
            Some(Some("B".to_owned()))
        );
        assert_eq!(
            of("Multipart/Related;x=y; Boundary=\"a b\""),
            Some(Some("a b".to_owned()))
        );
        assert_eq!(of("multipart/related"), Some(None));
        assert_eq!(of("multipart/related; boundary="), Some(None));
        for none in ["", "text", "text/", "/plain", "a/b/c"] {
            assert!(of(none).is_none(), "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_content_comes_out_as_it_went_in(
            content in proptest::collection::vec(any::<u8>(), 0..300), at_once in 1usize..400
        ) {
            let body = [b"--B\r\n\r\n", content.as_slice(), b"\r\n--B--\r\n"].concat();
            prop_assume!(find(&[b"\r\n", content.as_slice()].concat(), b"\r\n--B").is_none());
            prop_assert_eq!(&parts(&body, at_once).unwrap()[0].1, &content);
        }

        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parts(&bytes, 7);
        }
    }
}
