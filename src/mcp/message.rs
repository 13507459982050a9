//! A line becomes a message of JSON-RPC 2.0, or an error of the protocol.

use serde_json::{Map, Value, json};

pub const PARSE_ERROR: i32 = -32700;
pub const INVALID_REQUEST: i32 = -32600;
pub const METHOD_NOT_FOUND: i32 = -32601;
pub const INVALID_PARAMS: i32 = -32602;
/// The revision 2026-07-28: a request is of a version that this server does not speak.
pub const UNSUPPORTED_VERSION: i32 = -32022;
/// Of this server's own: more calls at once than it takes.
pub const BUSY: i32 = -32000;

pub type Params = Map<String, Value>;

#[derive(Debug, PartialEq)]
pub enum Message {
    Request {
        /// A text or a whole number.
        id: Value,
        method: String,
        params: Params,
    },
    Notification {
        method: String,
        params: Params,
    },
    /// To nothing that was asked: this server asks nothing.
    Response,
}

/// An error of the protocol.
#[derive(Debug, PartialEq)]
pub struct Wrong {
    pub code: i32,
    pub why: String,
    pub data: Value,
}

impl Wrong {
    pub fn new(code: i32, why: impl Into<String>) -> Wrong {
        Wrong {
            code,
            why: why.into(),
            data: Value::Null,
        }
    }

    /// The answer to a request that is wrong. `id` is null where it cannot be known.
    pub fn answer(self, id: &Value) -> Value {
        let mut error = json!({"code": self.code, "message": self.why});
        if !self.data.is_null() {
            error["data"] = self.data;
        }
        json!({"jsonrpc": "2.0", "id": id, "error": error})
    }
}

/// # Errors
/// With the id of the request, as far as it has one.
pub fn read(line: &[u8]) -> Result<Message, (Value, Wrong)> {
    let wrong = |id: &Value, why: &str| Err((id.clone(), Wrong::new(INVALID_REQUEST, why)));
    let parsed = serde_json::from_slice(line);
    let message = match parsed.or_else(|e| serde_json::from_str(&mended(line)).map_err(|_| e)) {
        Ok(Value::Object(message)) => message,
        Ok(Value::Array(_)) => {
            return wrong(&Value::Null, "batches are not taken: one message a line");
        }
        Ok(_) => return wrong(&Value::Null, "a message is an object"),
        Err(e) => {
            let why = format!("this line is not JSON: {e}");
            return Err((Value::Null, Wrong::new(PARSE_ERROR, why)));
        }
    };
    let id = message.get("id");
    let known = id.filter(|id| is_id(id)).unwrap_or(&Value::Null);
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return wrong(known, "`jsonrpc` has to be \"2.0\"");
    }
    let method = match message.get("method") {
        Some(Value::String(method)) => method.clone(),
        Some(_) => return wrong(known, "`method` has to be a text"),
        None if message.contains_key("result") || message.contains_key("error") => {
            return Ok(Message::Response);
        }
        None => return wrong(known, "a message has a `method`"),
    };
    if id.is_some() && known.is_null() {
        return wrong(known, "`id` has to be a text or a whole number");
    }
    let params = match message.get("params") {
        None | Some(Value::Null) => Params::new(),
        Some(Value::Object(params)) => params.clone(),
        // Nobody answers a notification, however wrong it is.
        Some(_) if id.is_none() => return Ok(Message::Response),
        Some(_) => {
            let why = "`params` has to be an object";
            return Err((known.clone(), Wrong::new(INVALID_PARAMS, why)));
        }
    };
    Ok(match id {
        Some(id) => Message::Request {
            id: id.clone(),
            method,
            params,
        },
        None => Message::Notification { method, params },
    })
}

/// The line with U+FFFD for what no text can hold: bytes that are not UTF-8, and halves of surrogate pairs, which
/// models write when they are cut off. A request that cannot be read at all is one that nobody can answer.
fn mended(line: &[u8]) -> String {
    let unit = |escape: &str| u16::from_str_radix(escape.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let line = String::from_utf8_lossy(line);
    let (mut mended, mut rest) = (String::with_capacity(line.len()), &*line);
    while let Some(at) = rest.find('\\') {
        mended += &rest[..at];
        rest = &rest[at..];
        let (length, is_half) = match unit(rest) {
            Some(0xd800..0xdc00) => match rest.get(6..).and_then(unit) {
                Some(0xdc00..0xe000) => (12, false),
                _ => (6, true),
            },
            Some(n) => (6, (0xdc00..0xe000).contains(&n)),
            None => (rest.chars().take(2).map(char::len_utf8).sum(), false),
        };
        mended += if is_half { "\u{fffd}" } else { &rest[..length] };
        rest = &rest[length..];
    }
    mended + rest
}

/// Of a request, or of progress.
pub fn is_id(id: &Value) -> bool {
    id.is_string() || id.is_i64() || id.is_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> (Value, i32) {
        let (id, wrong) = read(line.as_bytes()).unwrap_err();
        (id, wrong.code)
    }

    #[test]
    fn a_wrong_message_is_told_why_under_its_own_id_where_it_has_one() {
        let none = Value::Null;
        for (line, id, expected) in [
            ("{", none.clone(), PARSE_ERROR),
            ("\u{0}", none.clone(), PARSE_ERROR),
            ("[]", none.clone(), INVALID_REQUEST),
            ("7", none.clone(), INVALID_REQUEST),
            ("{}", none.clone(), INVALID_REQUEST),
            (
                r#"{"jsonrpc":"1.0","id":3,"method":"ping"}"#,
                json!(3),
                INVALID_REQUEST,
            ),
            (r#"{"jsonrpc":"2.0","id":3}"#, json!(3), INVALID_REQUEST),
            (
                r#"{"jsonrpc":"2.0","id":"a","method":1}"#,
                json!("a"),
                INVALID_REQUEST,
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
                none.clone(),
                INVALID_REQUEST,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
                none,
                INVALID_REQUEST,
            ),
            (
                r#"{"jsonrpc":"2.0","id":3,"method":"ping","params":[]}"#,
                json!(3),
                INVALID_PARAMS,
            ),
        ] {
            assert_eq!(code(line), (id, expected), "{line}");
        }
        assert_eq!(read(b"\xff").unwrap_err().1.code, PARSE_ERROR);
    }

    #[test]
    fn what_no_text_can_hold_is_replaced_and_the_request_is_read() {
        for (given, expected) in [
            (&br"\ud800"[..], "\u{fffd}"),
            (br"a\uDC00b\ud83d", "a\u{fffd}b\u{fffd}"),
            (br"\ud800\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (br"\ud800\n\\\ud800\u00e9", "\u{fffd}\n\\\u{fffd}\u{e9}"),
            (br"\\ud800\ud800", "\\ud800\u{fffd}"),
            (b"\xff", "\u{fffd}"),
        ] {
            let line = br#"{"jsonrpc":"2.0","id":3,"method":"a","params":{"q":""#;
            let line = [line, given, br#""}}"#].concat();
            let Ok(Message::Request { id, params, .. }) = read(&line) else {
                panic!("{given:?}");
            };
            assert_eq!((id, &params["q"]), (json!(3), &json!(expected)));
        }
        for line in [r"\", r"\u", r"\ud8", r"\ud800é", "\\é"] {
            assert!(read(line.as_bytes()).is_err());
        }
    }

    #[test]
    fn answers_and_wrong_notifications_are_let_pass() {
        for line in [
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized","params":3}"#,
        ] {
            assert_eq!(read(line.as_bytes()).unwrap(), Message::Response, "{line}");
        }
    }
}
