//! Status and body of an answer that is no success → what kind of failure it is, with the service's own
//! words kept.
//!
//! The rules are those of the fact sheet, section 14. Promises: any bytes can be read; what somebody else
//! than the service has answered is never taken for the service's word.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

use super::{Failure, FailureKind, cut, shortened};
use crate::client::wire::json::unmarked;

/// A number of seconds that is larger than this is nonsense; it only has to stay computable.
const DELAY_SECONDS_MAX: f64 = 1e9;

/// Characters of the service's words that `-v` shows.
const DETAILS_CHARS_MAX: usize = 2000;

/// What the request was about, since 403 and 404 mean different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Calls that name no store: create, list.
    Account,
    /// A store itself: get it, list its documents, start an upload into it.
    Store,
    /// One document, operation or temporary file.
    Object,
    /// One upload session. What answers for these is a part of the service with manners of its own: it
    /// speaks HTML as well (fact sheet 14: "non-JSON bodies").
    Session,
}

impl About {
    /// Whether "not found" is about this one thing, and not about the store or the key.
    fn is_one_thing(self) -> bool {
        match self {
            About::Object | About::Session => true,
            About::Account | About::Store => false,
        }
    }
}

/// An answer that is not a success.
pub struct Refusal<'a> {
    pub status: u16,
    pub retry_after: Option<&'a str>,
    /// Where a redirect leads to; nobody follows it.
    pub location: Option<&'a str>,
    pub body: &'a [u8],
    pub about: About,
}

/// Google's error envelope, as far as it can be read.
#[derive(Debug, Default)]
struct Status {
    status: String,
    message: String,
    details: Vec<Detail>,
}

/// The union of the details that matter; each is absent in the others.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    retry_delay: String,
    reason: String,
    violations: Vec<Violation>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Violation {
    quota_id: String,
    quota_metric: String,
}

pub fn classify(answer: Refusal<'_>) -> Failure {
    let status = envelope(answer.body);
    if status.is_none() && is_page(answer.body) && is_foreign_page(answer.status, answer.about) {
        return not_the_service(answer.status, answer.location, answer.body);
    }
    let words = match &status {
        Some(s) if s.message.is_empty() => s.status.clone(),
        Some(s) => s.message.clone(),
        None => String::from_utf8_lossy(answer.body).into_owned(),
    };
    let status = status.unwrap_or_default();
    let asked = status
        .details
        .iter()
        .find_map(|d| parse_duration(&d.retry_delay));
    let words = match words.trim().is_empty() {
        true => "no explanation".to_owned(),
        false => shortened(&words),
    };
    let kind = kind(answer.status, answer.about, &words, &status);
    if kind == FailureKind::NotTheService {
        return not_the_service(answer.status, answer.location, answer.body);
    }
    Failure {
        kind,
        status: Some(answer.status),
        words,
        details: details(answer.status, &status),
        delay: asked.or_else(|| answer.retry_after.and_then(retry_after)),
    }
}

/// `HTTP 400 INVALID_ARGUMENT, API_KEY_INVALID: …`; the service gives its answers no number (fact sheet 14).
fn details(code: u16, status: &Status) -> String {
    let reasons = status.details.iter().map(|detail| &detail.reason);
    let names = std::iter::once(&status.status).chain(reasons);
    let names: Vec<&str> = names
        .map(String::as_str)
        .filter(|name| !name.is_empty())
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => cut(
            &format!("HTTP {code} {}: {}", names.join(", "), status.message),
            DETAILS_CHARS_MAX,
        ),
    }
}

/// HTML, whatever its kind.
pub fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// Whether a page with this status comes from somebody else than the service. A page in the place of the
/// service's error must not be believed: "404" from a login page would make a document look deleted.
fn is_foreign_page(code: u16, about: About) -> bool {
    match code {
        401 | 403 | 405 | 407 => true,
        // A gateway before the service is slow or overloaded: that passes.
        408 | 429 | 500.. => false,
        _ => about != About::Session,
    }
}

/// An answer that only somebody else can have given.
pub fn not_the_service(status: u16, location: Option<&str>, body: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(body);
    let leads = location.map_or_else(String::new, |to| format!(", it leads to {to}"));
    let words = format!("no answer of the service{leads}: {text}");
    Failure {
        status: Some(status),
        ..Failure::new(
            FailureKind::NotTheService,
            words.trim_end().trim_end_matches(':'),
        )
    }
}

/// Now and then the envelope comes in an array of one. A detail of another shape is passed over.
fn envelope(body: &[u8]) -> Option<Status> {
    let mut body: Value = serde_json::from_slice(unmarked(body)).ok()?;
    if let Value::Array(array) = body {
        body = array.into_iter().next()?;
    }
    let error = body.get("error")?;
    let text = |key| error.get(key).and_then(Value::as_str).unwrap_or_default();
    let details = error.get("details").and_then(Value::as_array);
    Some(Status {
        status: text("status").to_owned(),
        message: text("message").to_owned(),
        details: details
            .into_iter()
            .flatten()
            .map(|detail| Detail::deserialize(detail).unwrap_or_default())
            .collect(),
    })
}

fn kind(code: u16, about: About, words: &str, status: &Status) -> FailureKind {
    let says = |text: &str| words.to_ascii_lowercase().contains(text);
    let key = status.details.iter().any(|d| blames_key(&d.reason)) || says("consumer 'api_key:");
    let missing = says("may not exist") || says("does not exist") || says("not found");
    match code {
        400 | 403 if key => FailureKind::KeyRefused,
        400 if says("api key not valid") || says("api key expired") => FailureKind::KeyRefused,
        400 if says("already been terminated") => FailureKind::SessionDead,
        400 if says("failed to create file") => FailureKind::Transient,
        400 | 415 if says("mime") => FailureKind::UnsupportedMime,
        401 => FailureKind::KeyRefused,
        403 if about.is_one_thing() && missing => FailureKind::Missing,
        // An import names a file as well as a store.
        400 | 403 | 404 if about == About::Store && missing && says("the file ") => {
            FailureKind::Missing
        }
        403 if says("unregistered callers") || says("api key") => FailureKind::KeyRefused,
        403 if about == About::Store => FailureKind::StoreRefused,
        403 => FailureKind::KeyRefused,
        404 | 410 if about.is_one_thing() => FailureKind::Missing,
        404 if about == About::Store => FailureKind::StoreRefused,
        408 | 502 | 504 => FailureKind::Transient,
        429 => limit(words, status),
        503 if says("failed to count tokens") => FailureKind::CountTokens,
        // "Network Authentication Required": what a login page is meant to say.
        511 => FailureKind::NotTheService,
        500.. => FailureKind::Transient,
        400..=499 => FailureKind::Permanent,
        // Nothing of this API answers so: a redirect leads to a login page.
        _ => FailureKind::NotTheService,
    }
}

/// Reasons of google.rpc.ErrorInfo that are about the key or the project behind it, whatever was asked.
fn blames_key(reason: &str) -> bool {
    reason.starts_with("API_KEY_")
        || reason.starts_with("CONSUMER_")
        || ["SERVICE_DISABLED", "BILLING_DISABLED"].contains(&reason)
}

/// The four sorts of 429.
fn limit(words: &str, status: &Status) -> FailureKind {
    let says = |text: &str| words.to_ascii_lowercase().contains(text);
    let mut violations = status.details.iter().flat_map(|d| &d.violations);
    if says("storage limit")
        || violations
            .clone()
            .any(|v| v.quota_metric.contains("storage_bytes"))
    {
        return FailureKind::StorageFull;
    }
    if violations.any(|v| v.quota_id.contains("PerDay")) {
        return FailureKind::DailyQuota;
    }
    if says("credits are depleted") {
        return FailureKind::KeyRefused;
    }
    FailureKind::RateLimited
}

/// A proto Duration: "37s", "3.957525076s". Absurd values saturate.
fn parse_duration(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(DELAY_SECONDS_MAX)))
}

/// Seconds, or an HTTP date.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(DELAY_SECONDS_MAX as u64)));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    let wait = date.duration_since(SystemTime::now()).unwrap_or_default();
    Some(wait.min(Duration::from_secs(DELAY_SECONDS_MAX as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(status: u16, about: About, body: &str) -> Failure {
        classify(Refusal {
            status,
            retry_after: None,
            location: None,
            body: body.as_bytes(),
            about,
        })
    }

    fn message(text: &str) -> String {
        serde_json::json!({"error": {"message": text, "code": 0, "status": "X"}}).to_string()
    }

    #[test]
    fn every_class_of_the_fact_sheet_has_its_kind() {
        use About as A;
        use FailureKind as K;
        let cases = [
            (
                400,
                A::Store,
                "API key not valid. Please pass a valid API key.",
                K::KeyRefused,
            ),
            (
                400,
                A::Object,
                "Upload has already been terminated.",
                K::SessionDead,
            ),
            (400, A::Store, "Failed to create file.", K::Transient),
            (
                400,
                A::Object,
                "Unsupported MIME type: application/x",
                K::UnsupportedMime,
            ),
            (
                400,
                A::Store,
                "Request contains an invalid argument.",
                K::Permanent,
            ),
            (401, A::Account, "bad token", K::KeyRefused),
            (
                403,
                A::Account,
                "Method doesn't allow unregistered callers",
                K::KeyRefused,
            ),
            (
                403,
                A::Store,
                "Method doesn't allow unregistered callers",
                K::KeyRefused,
            ),
            (
                403,
                A::Store,
                "The caller does not have permission",
                K::StoreRefused,
            ),
            (
                403,
                A::Object,
                "You do not have permission to access the File x or it may not exist.",
                K::Missing,
            ),
            (404, A::Object, "not there", K::Missing),
            (404, A::Store, "not there", K::StoreRefused),
            (408, A::Object, "", K::Transient),
            (409, A::Object, "offset mismatch", K::Permanent),
            (
                429,
                A::Store,
                "You exceeded your current quota",
                K::RateLimited,
            ),
            (
                429,
                A::Store,
                "You exceeded your spend-based rate limit",
                K::RateLimited,
            ),
            (
                429,
                A::Store,
                "Your prepayment credits are depleted",
                K::KeyRefused,
            ),
            (
                429,
                A::Store,
                "Corpus has reached the storage limit of 1000000000 bytes.",
                K::StorageFull,
            ),
            (500, A::Store, "", K::Transient),
            (502, A::Store, "<html>Bad Gateway</html>", K::Transient),
            (503, A::Store, "Failed to count tokens.", K::CountTokens),
            (503, A::Store, "", K::Transient),
            (504, A::Store, "", K::Transient),
            (302, A::Store, "", K::NotTheService),
            (511, A::Store, "", K::NotTheService),
            (
                403,
                A::Store,
                "Permission denied: Consumer 'api_key:[key]' has been suspended.",
                K::KeyRefused,
            ),
            (
                403,
                A::Object,
                "Your API key was reported as leaked. Please use another API key.",
                K::KeyRefused,
            ),
            (404, A::Session, "not there", K::Missing),
        ];
        for (status, about, text, kind) in cases {
            assert_eq!(
                of(status, about, &message(text)).kind,
                kind,
                "{status} {text}"
            );
        }
    }

    #[test]
    fn the_details_tell_the_day_from_the_minute_and_name_the_delay() {
        let body = |id: &str| {
            serde_json::json!([{"error": {"code": 429, "message": "quota", "details": [
                {"@type": "x/google.rpc.Help", "links": []},
                {"@type": "x/google.rpc.RetryInfo", "retryDelay": "36.5s"},
                {"@type": "x/google.rpc.QuotaFailure", "violations": [
                    {"quotaMetric": "m", "quotaId": id, "quotaValue": "60"}]}]}}])
            .to_string()
        };
        let minute = of(429, About::Store, &body("RequestsPerMinutePerProject"));
        assert_eq!(minute.kind, FailureKind::RateLimited);
        assert_eq!(minute.delay, Some(Duration::from_millis(36_500)));
        let day = of(429, About::Store, &body("RequestsPerDayPerProject"));
        assert_eq!(day.kind, FailureKind::DailyQuota);
    }

    #[test]
    fn a_page_is_nobodys_error_but_a_gateways_that_passes() {
        use About as A;
        use FailureKind as K;
        for (status, about, kind) in [
            (400, A::Store, K::NotTheService),
            (401, A::Account, K::NotTheService),
            (403, A::Store, K::NotTheService),
            (404, A::Object, K::NotTheService),
            (407, A::Session, K::NotTheService),
            (403, A::Session, K::NotTheService),
            (404, A::Session, K::Missing),
            (408, A::Object, K::Transient),
            (429, A::Store, K::RateLimited),
            (502, A::Store, K::Transient),
        ] {
            let page = of(status, about, "\n<!doctype html><title>Log in</title>");
            assert_eq!(page.kind, kind, "{status} {about:?}");
        }
    }

    #[test]
    fn a_reason_that_is_about_the_key_counts_whatever_was_asked() {
        for reason in [
            "CONSUMER_SUSPENDED",
            "API_KEY_SERVICE_BLOCKED",
            "SERVICE_DISABLED",
        ] {
            let body = serde_json::json!({"error": {"code": 403, "message": "Permission denied.",
                "status": "PERMISSION_DENIED", "details": [{"reason": reason}]}});
            for about in [About::Account, About::Store, About::Object, About::Session] {
                let failure = of(403, about, &body.to_string());
                assert_eq!(failure.kind, FailureKind::KeyRefused, "{reason}");
            }
        }
    }

    #[test]
    fn absurd_delays_stay_computable() {
        let delay = parse_duration("9223372036854775807s").unwrap();
        assert_eq!(delay, Duration::from_secs_f64(DELAY_SECONDS_MAX));
        assert_eq!(parse_duration("-1s"), None);
        assert_eq!(parse_duration("NaNs"), None);
        assert_eq!(retry_after("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            retry_after("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn what_is_not_json_keeps_its_text_on_one_line() {
        let failure = of(502, About::Store, "<html>\n <b>Bad\u{1b}[31m Gateway</b>");
        assert_eq!(
            failure.to_string(),
            "HTTP 502: <html> <b>Bad\\u{1b}[31m Gateway</b>"
        );
    }

    proptest! {
        #[test]
        fn any_answer_can_be_read(
            status in 100u16..=999,
            body in proptest::collection::vec(any::<u8>(), 0..400),
            after in "\\PC{0,40}",
        ) {
            for about in [About::Account, About::Store, About::Object, About::Session] {
                let failure = classify(Refusal {
                    status,
                    retry_after: Some(&after),
                    location: Some(&after),
                    body: &body,
                    about,
                });
                prop_assert!(!failure.words.contains('\n'));
            }
        }
        #[test]
        fn any_duration_can_be_read(text in "\\PC{0,30}") {
            let _ = parse_duration(&text);
            let _ = retry_after(&text);
        }
    }
}
