//! HTTP/1.1 over a socket of our own, since the faults need it: a connection may be reset before,
//! within and after a request.
//!
//! Owns one connection. Promises: heads and bodies are bounded; a body is read only as far as somebody
//! wants it; what is malformed ends the connection with 400.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::answer::{Answer, Fate};

const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
/// A client that says nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(300);

/// A request's head.
#[derive(Debug, Clone)]
pub struct Head {
    pub method: String,
    /// Decoded, without the query.
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Head {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// The rest of a request, read as far as somebody wants it.
pub struct BodyReader<'c> {
    from: &'c mut BufReader<TcpStream>,
    left: Left,
}

#[derive(Debug, Clone, Copy)]
enum Left {
    Bytes(u64),
    /// Bytes of the chunk that is being read.
    Chunked {
        chunk: u64,
        ended: bool,
    },
}

impl Read for BodyReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.left {
            Left::Bytes(0) | Left::Chunked { ended: true, .. } => Ok(0),
            Left::Bytes(left) => {
                let n = self.read_some(out, left)?;
                self.left = Left::Bytes(left - n as u64);
                Ok(n)
            }
            Left::Chunked { chunk: 0, .. } => {
                let chunk = self.next_chunk()?;
                self.left = Left::Chunked {
                    chunk,
                    ended: chunk == 0,
                };
                self.read(out)
            }
            Left::Chunked { chunk, .. } => {
                let n = self.read_some(out, chunk)?;
                let chunk = chunk - n as u64;
                if chunk == 0 {
                    self.line()?;
                }
                self.left = Left::Chunked {
                    chunk,
                    ended: false,
                };
                Ok(n)
            }
        }
    }
}

impl BodyReader<'_> {
    /// As announced; `None` for chunks.
    pub fn announced(&self) -> Option<u64> {
        match self.left {
            Left::Bytes(n) => Some(n),
            Left::Chunked { .. } => None,
        }
    }

    fn read_some(&mut self, out: &mut [u8], left: u64) -> io::Result<usize> {
        let want = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match self.from.read(&mut out[..want])? {
            0 if want > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => Ok(n),
        }
    }

    fn next_chunk(&mut self) -> io::Result<u64> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if size == 0 {
            // Trailers, up to the empty line.
            while !self.line()?.is_empty() {}
        }
        Ok(size)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut *self.from).take(1024).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

/// What answers a request.
type Handler<'h> = &'h dyn Fn(&Head, &mut BodyReader<'_>) -> Fate;

/// Serves one connection until either side ends it.
pub fn serve(stream: TcpStream, handle: Handler<'_>) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(IDLE));
    let mut from = BufReader::with_capacity(64 * 1024, stream);
    // Whatever goes wrong with a connection ends it, and it alone.
    while let Ok(Some(keep)) = exchange(&mut from, handle) {
        if !keep {
            return;
        }
    }
}

/// `None`: the client is done. Otherwise whether the connection lives on.
fn exchange(from: &mut BufReader<TcpStream>, handle: Handler<'_>) -> io::Result<Option<bool>> {
    let Some(head) = read_head(from)? else {
        return Ok(None);
    };
    let Some(head) = head else {
        let answer = Answer::text(400, "Bad Request");
        return write(from.get_mut(), &answer, false).map(|()| Some(false));
    };
    let chunked = head
        .header("transfer-encoding")
        .eq_ignore_ascii_case("chunked");
    let length = head.header("content-length");
    let left = match (chunked, length.parse()) {
        (true, _) => Left::Chunked {
            chunk: 0,
            ended: false,
        },
        (false, Ok(n)) => Left::Bytes(n),
        (false, Err(_)) if length.is_empty() => Left::Bytes(0),
        (false, Err(_)) => {
            let answer = Answer::text(400, "Bad Request");
            return write(from.get_mut(), &answer, false).map(|()| Some(false));
        }
    };
    if head.header("expect").eq_ignore_ascii_case("100-continue") {
        from.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let keep = !head.header("connection").eq_ignore_ascii_case("close");
    let mut body = BodyReader { from, left };
    let fate = handle(&head, &mut body);
    if matches!(fate, Fate::Reset) {
        // A linger time of zero makes the close a reset.
        let _ = rustix::net::sockopt::set_socket_linger(from.get_ref(), Some(Duration::ZERO));
        return Ok(Some(false));
    }
    // What nobody wanted has to be read before the next request.
    io::copy(&mut body, &mut io::sink())?;
    send(from.get_mut(), &fate, keep).map(Some)
}

/// Whether the connection lives on.
fn send(to: &mut TcpStream, fate: &Fate, keep: bool) -> io::Result<bool> {
    match fate {
        Fate::Answer(answer) => write(to, answer, keep).map(|()| keep),
        Fate::Drip(answer, pause) => {
            to.write_all(&head_of(answer, answer.body.len(), keep))?;
            for byte in answer.body.chunks(1) {
                thread::sleep(*pause);
                to.write_all(byte)?;
            }
            Ok(keep)
        }
        Fate::Cut(answer, announced) => {
            to.write_all(&head_of(answer, *announced, true))?;
            to.write_all(&answer.body[..answer.body.len() / 2])?;
            Ok(false)
        }
        Fate::Stall(wait) => stall(to, *wait).map(|()| false),
        Fate::Reset => Ok(false),
    }
}

/// Ends early only if the client goes away.
fn stall(from: &mut TcpStream, wait: Duration) -> io::Result<()> {
    let started = Instant::now();
    loop {
        let left = wait.saturating_sub(started.elapsed());
        // A time-out of zero is none at all.
        if left.is_zero() {
            return Ok(());
        }
        from.set_read_timeout(Some(left))?;
        if from.read(&mut [0; 512])? == 0 {
            return Ok(());
        }
    }
}

/// Outer `None`: nothing more comes. Inner `None`: not HTTP.
fn read_head(from: &mut BufReader<TcpStream>) -> io::Result<Option<Option<Head>>> {
    let mut bytes = Vec::new();
    loop {
        let line_start = bytes.len();
        let room = HEAD_BYTES_MAX - bytes.len();
        let n = (&mut *from)
            .take(room as u64)
            .read_until(b'\n', &mut bytes)?;
        if n == 0 {
            return Ok(match bytes.is_empty() {
                true => None,
                false => Some(None),
            });
        }
        if matches!(&bytes[line_start..], b"\r\n" | b"\n") && line_start > 0 {
            return Ok(Some(parse(&bytes)));
        }
    }
}

pub fn parse(bytes: &[u8]) -> Option<Head> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    if !request.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let target = request.path?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Some(Head {
        method: request.method?.to_owned(),
        path: decode(path),
        query: query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(&value.replace('+', " "))))
            .collect(),
        headers: request
            .headers
            .iter()
            .map(|h| {
                let value = String::from_utf8_lossy(h.value).trim().to_owned();
                (h.name.to_ascii_lowercase(), value)
            })
            .collect(),
    })
}

/// Percent-decoding; what is not valid stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |j: usize| bytes.get(j).and_then(|b| (*b as char).to_digit(16));
        match (bytes[i], hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 3;
            }
            (byte, ..) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn write(to: &mut TcpStream, answer: &Answer, keep: bool) -> io::Result<()> {
    let mut out = head_of(answer, answer.body.len(), keep);
    out.extend_from_slice(&answer.body);
    to.write_all(&out)
}

fn head_of(answer: &Answer, length: usize, keep: bool) -> Vec<u8> {
    let reason = match answer.status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Status",
    };
    let mut out = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {length}\r\n",
        answer.status, answer.content_type
    );
    for (name, value) in &answer.headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    if !keep {
        out.push_str("Connection: close\r\n");
    }
    out.push_str("\r\n");
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_head_is_taken_apart() {
        let head = parse(
            b"GET /v1/a%20b?pageToken=x%2Fy&force=True HTTP/1.1\r\nX-Goog-Api-Key: k\r\n\r\n",
        )
        .unwrap();
        assert_eq!(head.path, "/v1/a b");
        assert_eq!(head.query["pageToken"], "x/y");
        assert_eq!(head.header("x-goog-api-key"), "k");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
