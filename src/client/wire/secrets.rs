//! The key and the address of a session, cut out of whatever the service says.
//!
//! A service quotes what it was sent: Google's own answer to a suspended key names the key. So each
//! answer passes through here before anything is read from it, and what follows (results, failures,
//! the database, the terminal) never held a secret. Owns the secrets, each as the texts that it may be
//! quoted as. Promises: a secret is found under up to `LAYERS` of escaping (percent signs, JSON,
//! HTML, in any order), as base64 and as hexadecimal digits; what is left of JSON is still JSON.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine};

use crate::names::ApiKey;

const KEY: &[u8] = b"[key]";
const SESSION: &[u8] = b"[session]";
/// Whatever follows this in an address opens a session (fact sheet 5), ours or not.
const UPLOAD_ID: &[u8] = b"upload_id=";
/// A shorter text is no secret but the password of a test service. It would be found in innocent words,
/// and a document whose path is not what it was is a document lost.
const CHARS_MIN: usize = 12;
/// HTML within JSON within JSON is the deepest that has been seen.
const LAYERS: u32 = 3;

/// One way to write a secret down.
struct Needle {
    text: Vec<u8>,
    /// So many of its first characters give enough away: a quotation may be cut short.
    chars_min: usize,
    any_case: bool,
    word: &'static [u8],
}

/// The bytes that a secret or an escape can begin with.
type Begins = [bool; 256];

pub struct Secrets {
    key: Vec<Needle>,
    upload_id: [Needle; 1],
    /// Of all of these: each answer needs it.
    begins: Begins,
}

impl Secrets {
    pub fn new(key: &ApiKey) -> Secrets {
        let (key, upload_id) = (spellings(key.expose().as_bytes(), KEY), [whole(UPLOAD_ID)]);
        let mut begins = std::array::from_fn(|byte| is_escape(byte as u8));
        add_begins(&mut begins, &key);
        add_begins(&mut begins, &upload_id);
        Secrets {
            key,
            upload_id,
            begins,
        }
    }

    /// Whether a text that is about to be sent names the key.
    pub fn appear_in(&self, text: &str) -> bool {
        matches!(self.cut_out(text), Cow::Owned(_))
    }

    /// A text of this machine, to be shown or recorded, without the key.
    pub fn out_of(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.cut_out(text)).into_owned()
    }

    fn cut_out<'t>(&self, text: &'t str) -> Cow<'t, [u8]> {
        cut(text.as_bytes(), &self.begins, &[&self.key])
    }

    /// What cuts one answer: the key, the sessions at these addresses (the one that was asked, the one
    /// that the answer opens), and whatever else calls itself an `upload_id`.
    pub fn and_sessions<'u>(&self, urls: impl Iterator<Item = &'u str>) -> Cut<'_> {
        let sessions: Vec<Needle> = urls.flat_map(of_session).collect();
        let mut begins = self.begins;
        add_begins(&mut begins, &sessions);
        Cut {
            secrets: self,
            sessions,
            begins,
        }
    }
}

fn add_begins(begins: &mut Begins, needles: &[Needle]) {
    for needle in needles {
        for (byte, begins) in (0..=u8::MAX).zip(begins.iter_mut()) {
            *begins |= needle.is(0, byte);
        }
    }
}

/// An address that opens a session, without its host, and the identifiers in it.
fn of_session(url: &str) -> Vec<Needle> {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.find('/').map_or("", |slash| &path[slash..]);
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let ids = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| name.ends_with("id"))
        .flat_map(|(_, id)| spellings(id.as_bytes(), SESSION));
    let mut needles: Vec<Needle> = ids.collect();
    if path.len() >= CHARS_MIN {
        needles.insert(0, whole(path.as_bytes()));
    }
    needles
}

/// Of an address the beginning tells nothing: other addresses have it too.
fn whole(text: &[u8]) -> Needle {
    Needle {
        text: text.to_vec(),
        chars_min: text.len(),
        any_case: true,
        word: SESSION,
    }
}

/// The ways in which a secret can be quoted; none for what is too short to be one.
fn spellings(secret: &[u8], word: &'static [u8]) -> Vec<Needle> {
    if secret.len() < CHARS_MIN {
        return Vec::new();
    }
    let needle = |text: Vec<u8>, chars_min, any_case| Needle {
        text,
        chars_min,
        any_case,
        word,
    };
    let hex = secret.iter().flat_map(|byte| hex_digits(*byte)).collect();
    let mut all = vec![
        needle(secret.to_vec(), CHARS_MIN, true),
        needle(hex, 2 * CHARS_MIN, true),
    ];
    // In base64 three bytes are four characters, so a text within a longer one is written in three ways.
    all.extend((0..3).map(|before| needle(base64_within(secret, before), CHARS_MIN, false)));
    all
}

fn hex_digits(byte: u8) -> [u8; 2] {
    let digit = |n: u8| b"0123456789abcdef"[usize::from(n)];
    [digit(byte >> 4), digit(byte & 15)]
}

/// The characters of base64 that depend on the secret alone, with `before` bytes of something else in
/// front of it.
fn base64_within(secret: &[u8], before: usize) -> Vec<u8> {
    let text = [&b"..."[..before], secret].concat();
    let digits = BASE64_STANDARD_NO_PAD.encode(&text).into_bytes();
    // A digit is six bits: those that begin within what stands before and those that end behind the
    // secret hold bits of a neighbour as well.
    let own = (before * 8).div_ceil(6)..text.len() * 8 / 6;
    digits[own].to_vec()
}

/// The secrets of one request.
pub struct Cut<'s> {
    secrets: &'s Secrets,
    sessions: Vec<Needle>,
    begins: Begins,
}

impl Cut<'_> {
    /// The same without any secret.
    pub fn all<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let secrets = self.secrets;
        let needles = [&secrets.key, &self.sessions, &secrets.upload_id[..]];
        cut(bytes, &self.begins, &needles)
    }

    /// The same for the address of a session, which has to stay one.
    pub fn key_only<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        cut(bytes, &self.begins, &[&self.secrets.key])
    }

    pub fn words(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.all(text.as_bytes())).into_owned()
    }
}

/// A copy only where something is cut out. An answer may be megabytes, and nearly no byte of it begins a
/// secret.
fn cut<'b>(bytes: &'b [u8], begins: &Begins, needles: &[&[Needle]]) -> Cow<'b, [u8]> {
    let mut out = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(ahead) = bytes[at..].iter().position(|b| begins[usize::from(*b)]) {
        at += ahead;
        let rest = &bytes[at..];
        match found(rest, needles) {
            Some((length, word)) => {
                out.extend_from_slice(&bytes[copied..at]);
                out.extend_from_slice(word);
                at += length;
                copied = at;
            }
            // A backslash and what it escapes stay together, or what is left would be no JSON.
            None => at += rest.len().min(if rest[0] == b'\\' { 2 } else { 1 }),
        }
    }
    if copied == 0 {
        return Cow::Borrowed(bytes);
    }
    out.extend_from_slice(&bytes[copied..]);
    Cow::Owned(out)
}

/// How many bytes of the text's beginning are a secret, and what takes their place.
fn found(text: &[u8], needles: &[&[Needle]]) -> Option<(usize, &'static [u8])> {
    let mut near: Vec<&Needle> = Vec::new();
    for needles in needles {
        near.extend(needles.iter().filter(|needle| needle.may_begin(text)));
    }
    if near.is_empty() {
        return None;
    }
    // A secret with a percent sign in it is itself only with the right number of layers off.
    (0..=LAYERS).rev().find_map(|layers| {
        let (first, _) = peeled(text, layers)?;
        let mut candidates = near.iter().filter(|needle| needle.is(0, first));
        candidates.find_map(|needle| Some((needle.length_in(text, layers)?, needle.word)))
    })
}

impl Needle {
    fn is(&self, at: usize, byte: u8) -> bool {
        let own = self.text[at];
        match byte {
            // The alphabet of base64 for addresses.
            b'-' if own == b'+' => true,
            b'_' if own == b'/' => true,
            _ if self.any_case => byte.eq_ignore_ascii_case(&own),
            _ => byte == own,
        }
    }

    /// Whether the text can begin with it: up to the first escape, which may be anything, all is the same.
    fn may_begin(&self, text: &[u8]) -> bool {
        for (at, byte) in text.iter().enumerate().take(self.chars_min) {
            if is_escape(*byte) {
                return true;
            }
            if !self.is(at, *byte) {
                return false;
            }
        }
        true
    }

    /// The length of the secret at the text's beginning.
    fn length_in(&self, text: &[u8], layers: u32) -> Option<usize> {
        let (mut length, mut chars) = (0, 0);
        while chars < self.text.len()
            && let Some((byte, bytes)) = peeled(&text[length..], layers)
            && self.is(chars, byte)
        {
            length += bytes;
            chars += 1;
        }
        if chars < self.chars_min {
            return None;
        }
        if self.text == UPLOAD_ID {
            length += value_length(&text[length..], layers);
        }
        Some(length)
    }
}

/// A value ends where the address that it is in could end.
fn value_length(text: &[u8], layers: u32) -> usize {
    let mut length = 0;
    while let Some((byte, bytes)) = peeled(&text[length..], layers)
        && (byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
    {
        length += bytes;
    }
    length
}

/// Whether an escape can begin so: of addresses, of JSON, of HTML.
fn is_escape(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'&')
}

/// The first character of the text when `layers` of escaping are taken off, and how many bytes it took.
/// Each layer is read through the one below it.
fn peeled(text: &[u8], layers: u32) -> Option<(u8, usize)> {
    let plain = (*text.first()?, 1);
    if layers == 0 || !is_escape(plain.0) {
        return Some(plain);
    }
    let below = peeled(text, layers - 1)?;
    let escape = Escape {
        text: &text[below.1..],
        layers: layers - 1,
    };
    let escaped = match below.0 {
        b'%' => escape.hex(2),
        b'\\' => escape.after_backslash(),
        b'&' => escape.entity(),
        _ => None,
    };
    Some(escaped.map_or(below, |(byte, length)| (byte, below.1 + length)))
}

/// What follows `%`, `\` or `&`.
struct Escape<'t> {
    text: &'t [u8],
    /// Below this one.
    layers: u32,
}

impl Escape<'_> {
    fn at(&self, offset: usize) -> Option<(u8, usize)> {
        let (byte, length) = peeled(self.text.get(offset..)?, self.layers)?;
        Some((byte, offset + length))
    }

    /// So many digits that name a character of ASCII: no secret has others.
    fn hex(&self, digits: usize) -> Option<(u8, usize)> {
        let (mut value, mut end) = (0, 0);
        for _ in 0..digits {
            let (byte, next) = self.at(end)?;
            value = value * 16 + char::from(byte).to_digit(16)?;
            end = next;
        }
        Some((u8::try_from(value).ok()?, end))
    }

    fn after_backslash(&self) -> Option<(u8, usize)> {
        let (byte, end) = self.at(0)?;
        let rest = Escape {
            text: &self.text[end..],
            layers: self.layers,
        };
        let hex = match byte {
            b'u' => rest.hex(4),
            b'x' => rest.hex(2),
            _ => None,
        };
        Some(hex.map_or((byte, end), |(byte, length)| (byte, end + length)))
    }

    /// `&#65;`, `&#x41;` or one of the five names that every writer of HTML uses.
    fn entity(&self) -> Option<(u8, usize)> {
        const NAMES: [(&[u8], u8); 5] = [
            (b"amp", b'&'),
            (b"lt", b'<'),
            (b"gt", b'>'),
            (b"quot", b'"'),
            (b"apos", b'\''),
        ];
        /// Zeros may stand before the digits.
        const CHARS_MAX: usize = 10;
        let (mut name, mut end) = (Vec::new(), 0);
        loop {
            let (byte, next) = self.at(end)?;
            end = next;
            match byte {
                b';' => break,
                b'#' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' if name.len() < CHARS_MAX => {
                    name.push(byte.to_ascii_lowercase());
                }
                _ => return None,
            }
        }
        let value = match name.as_slice() {
            [b'#', b'x', hex @ ..] => {
                u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?
            }
            [b'#', decimal @ ..] => std::str::from_utf8(decimal).ok()?.parse().ok()?,
            name => NAMES.iter().find(|(known, _)| *known == name)?.1,
        };
        Some((value, end))
    }
}

#[cfg(test)]
mod tests;
