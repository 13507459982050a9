//! HTTP/1.1 over a socket of our own, since the faults need it: a connection may be reset before,
//! within and after a request.
//!
//! Owns one connection. Promises: heads and bodies are bounded; a body is read only as far as somebody
//! wants it; what is malformed ends the connection with 400; a panic of whoever answers ends it with 500.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use percent_encoding::percent_decode_str;

use answer::{Answer, Fate};
use stream::{Socket, Stream, Tls};

pub mod address;
pub mod answer;
pub mod local;
pub mod stream;

const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
const TRAILERS_MAX: usize = 100;
/// A client that says nothing, or reads nothing of its answer, for so long is gone.
const IDLE: Duration = Duration::from_secs(300);
/// A head that is still not whole after this, however steadily its bytes drip in, is refused.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// Of a body that nobody wants so much is read before the connection is closed: more than the largest
/// file, so that a client is not cut off while it sends one that is refused.
const UNWANTED_BYTES_MAX: u64 = 1 << 32;

/// A request's head.
#[derive(Debug, Clone)]
pub struct Head {
    /// Of HTTP/1.x.
    pub minor: u8,
    pub method: String,
    /// Decoded, without the query.
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// Names in lower case; the values of one that came several times are joined by commas.
    pub headers: BTreeMap<String, String>,
}

impl Head {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// The rest of a request, read as far as somebody wants it.
pub struct BodyReader<'c> {
    from: &'c mut BufReader<Stream>,
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

    /// All of it; `None` if it is longer than this.
    pub fn whole(&mut self, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.take(bytes_max + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 <= bytes_max).then_some(bytes))
    }

    fn is_at_its_end(&self) -> bool {
        matches!(
            self.left,
            Left::Bytes(0) | Left::Chunked { ended: true, .. }
        )
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
        if size > 0 {
            return Ok(size);
        }
        for _ in 0..TRAILERS_MAX {
            if self.line()?.is_empty() {
                return Ok(0);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
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
pub fn serve(socket: &Arc<TcpStream>, tls: Option<&Tls>, handle: Handler<'_>) {
    let _ = socket.set_nodelay(true);
    let _ = socket.set_read_timeout(Some(IDLE));
    let _ = socket.set_write_timeout(Some(IDLE));
    let plain = || Stream::Plain(Socket(Arc::clone(socket)));
    // Whatever goes wrong with a connection ends it, and it alone.
    match tls.map(|tls| Stream::secured(socket, tls)) {
        None => serve_over(plain(), handle),
        Some(Ok(Some(stream))) => serve_over(stream, handle),
        Some(Ok(None)) => serve_over(plain(), &|_, _| {
            Fate::Answer(Answer::text(
                400,
                "This service is called by https:// only.",
            ))
        }),
        Some(Err(_)) => {}
    }
}

fn serve_over(stream: Stream, handle: Handler<'_>) {
    let mut from = BufReader::with_capacity(64 * 1024, stream);
    while let Ok(Some(true)) = exchange(&mut from, handle) {}
    from.get_mut().end();
}

/// `None`: the client is done. Otherwise whether the connection lives on.
fn exchange(from: &mut BufReader<Stream>, handle: Handler<'_>) -> io::Result<Option<bool>> {
    let Some(head) = read_head(from, HEAD_TIME_MAX)? else {
        return Ok(None);
    };
    let framed = head.and_then(|head| framing(&head).map(|left| (head, left)));
    let Some((head, left)) = framed else {
        let answer = Answer::text(400, "Bad Request");
        return write(from.get_mut(), &answer, false).map(|()| Some(false));
    };
    if head.header("expect").eq_ignore_ascii_case("100-continue") {
        from.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = BodyReader { from, left };
    // A panic is a mistake of ours. It may cost its own client an answer, and nobody else anything.
    let handled = panic::catch_unwind(AssertUnwindSafe(|| handle(&head, &mut body)));
    let panicked = handled.is_err();
    let fate = handled.unwrap_or_else(|_| {
        let words = "An internal error has occurred.";
        Fate::Answer(answer::error(500, words, Vec::new()))
    });
    if matches!(fate, Fate::Reset) {
        // A linger time of zero makes the close a reset.
        let _ =
            rustix::net::sockopt::set_socket_linger(from.get_ref().socket(), Some(Duration::ZERO));
        return Ok(Some(false));
    }
    // What nobody wanted has to be read before the next request.
    io::copy(&mut body.by_ref().take(UNWANTED_BYTES_MAX), &mut io::sink())?;
    let keep = wants_more(&head) && body.is_at_its_end() && !panicked;
    match fate {
        // The head of what a GET would get, and nothing after it.
        Fate::Answer(answer) if head.method == "HEAD" => {
            let bytes = head_of(&answer, answer.body.len(), keep);
            from.get_mut().write_all(&bytes).map(|()| Some(keep))
        }
        fate => send(from.get_mut(), &fate, keep).map(Some),
    }
}

/// How the end of the body is known. `None`: in no way, or in two, so that client and service could
/// take different bytes for the next request.
fn framing(head: &Head) -> Option<Left> {
    let length = head.header("content-length");
    match head.header("transfer-encoding") {
        "" if length.is_empty() => Some(Left::Bytes(0)),
        "" if length.bytes().all(|b| b.is_ascii_digit()) => length.parse().ok().map(Left::Bytes),
        coding if coding.eq_ignore_ascii_case("chunked") && length.is_empty() => {
            Some(Left::Chunked {
                chunk: 0,
                ended: false,
            })
        }
        _ => None,
    }
}

/// Whether the client may send another request on this connection.
fn wants_more(head: &Head) -> bool {
    let mut tokens = head.header("connection").split(',').map(str::trim);
    head.minor > 0 && !tokens.any(|token| token.eq_ignore_ascii_case("close"))
}

/// Whether the connection lives on.
fn send(to: &mut Stream, fate: &Fate, keep: bool) -> io::Result<bool> {
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
fn stall(from: &mut Stream, wait: Duration) -> io::Result<()> {
    let started = Instant::now();
    loop {
        let left = wait.saturating_sub(started.elapsed());
        // A time-out of zero is none at all.
        if left.is_zero() {
            return Ok(());
        }
        from.socket().set_read_timeout(Some(left))?;
        if from.read(&mut [0; 512])? == 0 {
            return Ok(());
        }
    }
}

/// Outer `None`: nothing more comes. Inner `None`: not HTTP, too long, or too slow.
fn read_head(from: &mut impl BufRead, within: Duration) -> io::Result<Option<Option<Head>>> {
    let mut bytes = Vec::new();
    let mut began = None;
    loop {
        let got = from.fill_buf()?;
        let began = *began.get_or_insert_with(Instant::now);
        if got.is_empty() && bytes.is_empty() {
            return Ok(None);
        }
        let is_slow = !bytes.is_empty() && began.elapsed() >= within;
        if got.is_empty() || is_slow || bytes.len() >= HEAD_BYTES_MAX {
            return Ok(Some(None));
        }
        let newline = got.iter().position(|b| *b == b'\n');
        let line = newline.map_or(got.len(), |i| i + 1);
        bytes.extend_from_slice(&got[..line]);
        from.consume(line);
        if bytes.ends_with(b"\n\r\n") || bytes.ends_with(b"\n\n") {
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
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for header in request.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        headers
            .entry(header.name.to_ascii_lowercase())
            .and_modify(|all| *all = format!("{all}, {value}"))
            .or_insert(value);
    }
    Some(Head {
        minor: request.version?,
        method: request.method?.to_owned(),
        path: decode(path),
        query: query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(&value.replace('+', " "))))
            .collect(),
        headers,
    })
}

/// Percent-decoding; what is not valid stays as it is.
fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn write(to: &mut Stream, answer: &Answer, keep: bool) -> io::Result<()> {
    let mut out = head_of(answer, answer.body.len(), keep);
    out.extend_from_slice(&answer.body);
    to.write_all(&out)
}

fn head_of(answer: &Answer, length: usize, keep: bool) -> Vec<u8> {
    let reason = match answer.status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    };
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut out = format!(
        "HTTP/1.1 {} {reason}\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: {length}\r\n",
        answer.status, date, answer.content_type
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

    #[test]
    fn a_header_that_comes_twice_is_one_with_both_values() {
        let head = parse(b"GET / HTTP/1.1\r\nHost: localhost\r\nhost: evil\r\n\r\n").unwrap();
        assert_eq!(head.header("host"), "localhost, evil");
    }

    #[test]
    fn a_body_whose_end_is_told_twice_or_not_at_all_is_refused() {
        let framed = |headers: &str| {
            let head = format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n");
            framing(&parse(head.as_bytes()).unwrap()).is_some()
        };
        assert!(framed("content-length: 5"));
        assert!(framed("transfer-encoding: Chunked"));
        for refused in [
            "content-length: 5\r\ntransfer-encoding: chunked",
            "content-length: 5\r\ncontent-length: 6",
            "content-length: +5",
            "content-length: 99999999999999999999",
            "transfer-encoding: gzip, chunked",
        ] {
            assert!(!framed(refused), "{refused}");
        }
    }

    #[test]
    fn a_head_that_drips_in_too_slowly_is_refused() {
        let bytes = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let read = |within| read_head(&mut &bytes[..], within).unwrap().unwrap();
        assert!(read(HEAD_TIME_MAX).is_some());
        assert!(read(Duration::ZERO).is_none());
    }

    #[test]
    fn a_panic_of_the_handler_is_answered_with_500() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client
            .write_all(b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc")
            .unwrap();
        // Returns by itself, since the connection ends, although the client has not closed it.
        let socket = Arc::new(listener.accept().unwrap().0);
        serve(&socket, None, &|_, _| panic!("on purpose"));
        drop(socket);
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 500 "), "{said}");
        assert!(said.contains("\r\nConnection: close\r\n"), "{said}");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
