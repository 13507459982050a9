//! Answers: JSON, Google's error envelope, and what is not JSON.

use std::time::Duration;

use serde_json::{Value, json};

/// What becomes of a request's connection.
pub enum Fate {
    Answer(Answer),
    /// Each byte of the body takes so long.
    Drip(Answer, Duration),
    /// So many bytes are announced, half of the body is sent.
    Cut(Answer, usize),
    /// Nothing is sent, and the connection stays open for so long.
    Stall(Duration),
    /// The client gets no answer.
    Reset,
}

impl Fate {
    /// The same with another answer, where there is one.
    pub fn map(self, of: impl FnOnce(Answer) -> Answer) -> Fate {
        match self {
            Fate::Answer(answer) => Fate::Answer(of(answer)),
            Fate::Drip(answer, pause) => Fate::Drip(of(answer), pause),
            other => other,
        }
    }

    /// As the client sees it; `None`: it sees none.
    pub fn status(&self) -> Option<u16> {
        match self {
            Fate::Answer(answer) | Fate::Drip(answer, _) | Fate::Cut(answer, _) => {
                Some(answer.status)
            }
            Fate::Stall(_) | Fate::Reset => None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(value: &Value) -> Answer {
        Answer {
            status: 200,
            content_type: "application/json; charset=UTF-8",
            headers: Vec::new(),
            body: value.to_string().into_bytes(),
        }
    }

    pub fn text(status: u16, text: &str) -> Answer {
        Answer {
            status,
            content_type: "text/plain; charset=utf-8",
            headers: Vec::new(),
            body: text.as_bytes().to_vec(),
        }
    }

    /// Server-sent events, as they are on the wire.
    pub fn events(text: &str) -> Answer {
        Answer {
            content_type: "text/event-stream",
            ..Answer::text(200, text)
        }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }
}

/// `{"error": {code, status, message, details}}`
pub fn error(status: u16, message: &str, details: Vec<Value>) -> Answer {
    let mut error = json!({"code": status, "message": message, "status": canonical(status)});
    if !details.is_empty() {
        error["details"] = Value::Array(details);
    }
    Answer {
        status,
        ..Answer::json(&json!({ "error": error }))
    }
}

pub fn invalid(message: &str) -> Answer {
    error(400, message, Vec::new())
}

pub fn precondition(message: &str) -> Answer {
    let mut answer = error(400, message, Vec::new());
    let text =
        String::from_utf8_lossy(&answer.body).replace("INVALID_ARGUMENT", "FAILED_PRECONDITION");
    answer.body = text.into_bytes();
    answer
}

/// 400 with the field that is wrong.
pub fn bad_request(field: &str, message: &str) -> Answer {
    error(
        400,
        message,
        vec![json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": field, "description": message}]})],
    )
}

pub fn bad_key() -> Answer {
    error(
        400,
        "API key not valid. Please pass a valid API key.",
        vec![
            json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID", "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"}}),
            json!({"@type": "type.googleapis.com/google.rpc.LocalizedMessage",
                "locale": "en-US", "message": "API key not valid. Please pass a valid API key."}),
        ],
    )
}

pub fn no_key() -> Answer {
    error(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). Please \
         use API Key or other form of API consumer identity to call this API.",
        Vec::new(),
    )
}

/// A store, or an object of one, that is not there or not ours: the service does not say which.
pub fn forbidden(message: &str) -> Answer {
    error(403, message, Vec::new())
}

/// A rate or daily quota.
pub fn quota(quota_id: &str, value: f64, retry: Option<f64>) -> Answer {
    let mut details = vec![
        json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
            "quotaMetric": "generativelanguage.googleapis.com/file_search_requests",
            "quotaId": quota_id, "quotaDimensions": {"location": "global"},
            "quotaValue": format!("{value:.0}")}]}),
        json!({"@type": "type.googleapis.com/google.rpc.Help", "links": [{
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}]}),
    ];
    let mut message = "You exceeded your current quota, please check your plan.".to_owned();
    if let Some(seconds) = retry {
        message.push_str(&format!(" Please retry in {seconds}s."));
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{seconds}s")}));
    }
    error(429, &message, details)
}

fn canonical(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ALREADY_EXISTS",
        413 => "INVALID_ARGUMENT",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}
