//! From a request to its fate: where it comes from, control plane, faults, key, route.
//!
//! The order is the service's: what the network breaks, then overload and quotas, then the key, then
//! the call itself, then what breaks its answer.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::Logged;
use super::faults::plan::Trouble;
use super::faults::troubles::Luck;
use super::http::answer::{self, Answer, Fate};
use super::http::{BodyReader, Head, local};
use super::query::{embeddings, interactions, models, search};
use super::service::{Asked, Call, JSON_BYTES_MAX, Service, whole};
use super::stores::{self, files, listing};
use super::uploads::{one_request, sessions};

pub mod control;
#[cfg(test)]
mod fuzz;

/// What is served, for whoever asks for something else.
const SERVED: &str = "fileSearchStores (create, get, list, delete, importFile, documents, operations, media), \
    upload/…/fileSearchStores/*:uploadToFileSearchStore, files (get, list, delete, download, register), \
    upload/…/files, models (get, list, generateContent, streamGenerateContent, countTokens, embedContent, \
    batchEmbedContents), interactions (create)";
/// Headers of an answer that a page may read.
const EXPOSED: &str = "X-GUploader-UploadID, X-Goog-Upload-Status, X-Goog-Upload-URL, X-Goog-Upload-Control-URL, \
    X-Goog-Upload-Chunk-Granularity, X-Goog-Upload-Size-Received";

/// How an upload is sent.
#[derive(Clone, Copy)]
struct Form<'a> {
    protocol: &'a str,
    command: &'a str,
}

/// What kind of call a path and method are; `None`: no such route.
fn kind(method: &str, upload: bool, path: &str, form: Form<'_>) -> Option<&'static str> {
    let command = form.command;
    let parts: Vec<&str> = path.split('/').collect();
    let body = command.contains("upload") || command.contains("finalize");
    Some(match (method, upload, parts.as_slice()) {
        ("POST" | "PUT", true, ["files"] | ["fileSearchStores", _]) if command == "query" => {
            "upload.query"
        }
        ("POST" | "PUT", true, ["files"] | ["fileSearchStores", _]) if command == "cancel" => {
            "upload.cancel"
        }
        ("POST" | "PUT", true, ["files"] | ["fileSearchStores", _]) if body => "upload.body",
        ("POST", true, ["files"]) => "file.start",
        ("POST", true, ["fileSearchStores", s]) if s.ends_with(":uploadToFileSearchStore") => {
            match (form.protocol, command) {
                ("multipart", "") => "upload.multipart",
                ("raw", "") => "upload.raw",
                _ => "upload.start",
            }
        }
        ("POST", false, ["fileSearchStores"]) => "store.create",
        ("GET", false, ["fileSearchStores"]) => "store.list",
        ("POST", false, ["fileSearchStores", s]) if s.ends_with(":importFile") => "import",
        ("GET", false, ["fileSearchStores", _]) => "store.get",
        ("DELETE", false, ["fileSearchStores", _]) => "store.delete",
        ("GET", false, ["fileSearchStores", _, "documents"]) => "document.list",
        ("GET", false, ["fileSearchStores", _, "documents", _]) => "document.get",
        ("DELETE", false, ["fileSearchStores", _, "documents", _]) => "document.delete",
        ("GET", false, ["fileSearchStores", _, "operations", _]) => "operation.get",
        ("GET", false, ["fileSearchStores", _, "upload", "operations", _]) => "operation.get",
        ("GET", false, ["files"]) => "file.list",
        ("POST", false, ["files:register"]) => "file.register",
        ("GET", false, ["files", f]) if f.ends_with(":download") => "file.download",
        ("GET", false, ["files", _]) => "file.get",
        ("DELETE", false, ["files", _]) => "file.delete",
        ("GET", false, ["fileSearchStores", _, "media", _]) => "media.get",
        ("GET", false, ["models"]) => "model.list",
        ("GET", false, ["models", _]) => "model.get",
        ("POST", false, ["models", m]) => match models::named(m).1 {
            "generateContent" | "streamGenerateContent" => "generate",
            "countTokens" => "count_tokens",
            "embedContent" | "batchEmbedContents" => "embed",
            _ => return None,
        },
        ("POST", false, ["interactions"]) => "interact",
        _ => return None,
    })
}

impl Service {
    pub fn handle(&self, head: &Head, body: &mut BodyReader<'_>) -> Fate {
        let began = Instant::now();
        let refused = local::refusal(head, &self.doors);
        let fate = match refused.or_else(|| self.address.of(head).err()) {
            Some(refused) => Fate::Answer(refused),
            None => self.for_its_page(head, self.routed(head, body)),
        };
        if let Some(log) = self.log {
            log(&Logged {
                method: &head.method,
                path: &head.path,
                status: fate.status(),
                ms: began.elapsed().as_millis() as u64,
            });
        }
        fate
    }

    /// A page of a site that was let in may read the answer; the browser asks for that.
    fn for_its_page(&self, head: &Head, fate: Fate) -> Fate {
        let origin = head.header("origin");
        if !self.doors.origins.iter().any(|known| known == origin) {
            return fate;
        }
        fate.map(|answer| {
            answer
                .with("Access-Control-Allow-Origin", origin)
                .with("Access-Control-Expose-Headers", EXPOSED)
                .with("Vary", "Origin")
        })
    }

    fn routed(&self, head: &Head, body: &mut BodyReader<'_>) -> Fate {
        if head.method == "OPTIONS"
            && self
                .doors
                .origins
                .iter()
                .any(|o| o == head.header("origin"))
        {
            let answer = Answer::text(200, "")
                .with("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
                .with(
                    "Access-Control-Allow-Headers",
                    head.header("access-control-request-headers"),
                );
            return Fate::Answer(answer);
        }
        if self.require_key.is_none()
            && let Some(path) = head.path.strip_prefix("/_emulator/")
        {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            let answer = control::handle(self, path, head, body);
            self.connections.fetch_add(1, Ordering::Relaxed);
            return Fate::Answer(answer);
        }
        let command = head.header("x-goog-upload-command").to_ascii_lowercase();
        let Some((upload, path)) = version(&head.path) else {
            return Fate::Answer(Answer::text(404, "Not Found"));
        };
        let form = Form {
            protocol: &one_request::protocol(head),
            command: &command,
        };
        let Some(kind) = kind(&head.method, upload, path, form) else {
            let route = format!("{} {}", head.method, head.path);
            whole(&self.ledger).violation(format!("no route: {route}"));
            return Fate::Answer(answer::error(
                404,
                &format!("{route} is not served by this local service. Served: {SERVED}."),
                Vec::new(),
            ));
        };
        let now = {
            let mut source = whole(&self.source);
            source.step();
            source.now()
        };
        let number = whole(&self.ledger).request(kind, head, now);
        let asked = Asked {
            kind,
            head,
            path,
            command: &command,
            number,
        };
        let fate = self.with_faults(&asked, body);
        whole(&self.ledger).answered(number, fate.status());
        fate
    }

    fn with_faults(&self, asked: &Asked<'_>, body: &mut BodyReader<'_>) -> Fate {
        let luck = Luck::of(self, asked.kind);
        let latency = {
            let mut dice = whole(&self.dice);
            let (base, jitter) = (dice.plan.latency_ms, dice.plan.latency_jitter_ms);
            dice.between(base, jitter)
        };
        thread::sleep(Duration::from_millis(latency));
        if luck.meets(Trouble::ResetBefore) {
            return Fate::Reset;
        }
        let within = luck.rolls("reset_within", |p| p.reset_within);
        if within && !asked.carries_a_file() {
            return Fate::Reset;
        }
        if let Some(refused) = luck.refusal() {
            return Fate::Answer(refused);
        }
        let done = match self.key(asked.kind, asked.head) {
            Some(refused) => Some(refused),
            None if asked.carries_a_file() => {
                let after = luck.meets(Trouble::ResetAfter);
                let reset = sessions::Reset { within, after };
                match asked.kind {
                    "upload.body" => sessions::body(self, asked.head, asked.command, body, reset),
                    _ => one_request::upload(self, asked, body, reset),
                }
            }
            None => self.read_and_call(asked, &luck, body),
        };
        let Some(answer) = done else {
            return Fate::Reset;
        };
        let is_end = answer.status == 200 && asked.ends_an_upload();
        luck.deliver(answer, is_end)
    }

    fn read_and_call(
        &self,
        asked: &Asked<'_>,
        luck: &Luck<'_>,
        body: &mut BodyReader<'_>,
    ) -> Option<Answer> {
        let bytes = body.whole(JSON_BYTES_MAX).ok()?;
        whole(&self.ledger).body(asked.number, bytes.as_deref().unwrap_or_default());
        if luck.meets(Trouble::ResetAfter) {
            return None;
        }
        let Some(bytes) = bytes else {
            return Some(answer::invalid(&format!(
                "Request payload size exceeds the limit: {JSON_BYTES_MAX} bytes."
            )));
        };
        let call = Call {
            kind: asked.kind,
            head: asked.head,
            path: asked.path,
            body: bytes,
        };
        Some(self.call(&call))
    }

    fn call(&self, call: &Call<'_>) -> Answer {
        let result = match call.kind {
            "store.create" => stores::create(self, call),
            "store.list" => stores::list(self, call),
            "store.get" => stores::get(self, call),
            "store.delete" => stores::delete(self, call),
            "document.list" => listing::documents(self, call),
            "document.get" => stores::get_document(self, call),
            "document.delete" => stores::delete_document(self, call),
            "operation.get" => stores::operation(self, call),
            "upload.start" | "file.start" => sessions::start(self, call),
            "upload.query" => sessions::query(self, call),
            "upload.cancel" => sessions::cancel(self, call),
            "file.list" => files::list(self, call),
            "file.get" => files::get(self, call),
            "file.delete" => files::delete(self, call),
            "import" => files::import(self, call),
            "file.download" => files::download(self, call),
            "file.register" => files::register(self, call),
            "media.get" => stores::media(self, call),
            "model.get" => models::get(self, call),
            "model.list" => models::list(self, call),
            "generate" => search::generate(self, call),
            "count_tokens" => models::count_tokens(self, call),
            "embed" => embeddings::embed(self, call),
            "interact" => interactions::create(self, call),
            _ => Ok(Answer::text(404, "Not Found")),
        };
        // An error of our own database is the service's 500.
        result.unwrap_or_else(|e| answer::error(500, &e.to_string(), Vec::new()))
    }

    /// An upload's URL is its own credential; everything else needs a key.
    fn key(&self, kind: &str, head: &Head) -> Option<Answer> {
        if matches!(kind, "upload.body" | "upload.query" | "upload.cancel") {
            return None;
        }
        let key = match head.header("x-goog-api-key") {
            "" => head.query.get("key").map_or("", String::as_str),
            key => key,
        };
        if key.is_empty() {
            return Some(answer::no_key());
        }
        let is_refused = self.refuse_keys.iter().any(|k| k == key);
        let is_another = self.require_key.as_ref().is_some_and(|k| k != key);
        (is_refused || is_another).then(answer::bad_key)
    }
}

/// `/v1beta/x` and `/upload/v1beta/x`: whether it is an upload, and `x`.
fn version(path: &str) -> Option<(bool, &str)> {
    let path = path.strip_prefix("/resumable").unwrap_or(path);
    let (upload, path) = match path.strip_prefix("/upload/") {
        Some(rest) => (true, rest),
        None => (false, path.strip_prefix('/')?),
    };
    let (version, rest) = path.split_once('/')?;
    matches!(version, "v1" | "v1beta" | "v1alpha").then_some((upload, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_route_and_every_route_a_kind() {
        let store = "fileSearchStores/s";
        let upload = format!("{store}:uploadToFileSearchStore");
        let uploads = [
            ("resumable", "start"),
            ("resumable", "query"),
            ("resumable", "cancel"),
            ("resumable", "upload, finalize"),
            ("multipart", ""),
            ("raw", ""),
        ];
        let routes = [
            ("POST", true, "files".to_owned(), "start"),
            ("POST", false, "fileSearchStores".to_owned(), ""),
            ("GET", false, "fileSearchStores".to_owned(), ""),
            ("POST", false, format!("{store}:importFile"), ""),
            ("GET", false, store.to_owned(), ""),
            ("DELETE", false, store.to_owned(), ""),
            ("GET", false, format!("{store}/documents"), ""),
            ("GET", false, format!("{store}/documents/d"), ""),
            ("DELETE", false, format!("{store}/documents/d"), ""),
            ("GET", false, format!("{store}/upload/operations/o"), ""),
            ("GET", false, "files".to_owned(), ""),
            ("GET", false, "files/f".to_owned(), ""),
            ("DELETE", false, "files/f".to_owned(), ""),
            ("POST", false, "files:register".to_owned(), ""),
            ("GET", false, "files/f:download".to_owned(), ""),
            ("GET", false, format!("{store}/media/m"), ""),
            ("GET", false, "models".to_owned(), ""),
            ("GET", false, "models/m".to_owned(), ""),
            ("POST", false, "models/m:generateContent".to_owned(), ""),
            ("POST", false, "models/m:countTokens".to_owned(), ""),
            ("POST", false, "models/m:embedContent".to_owned(), ""),
            ("POST", false, "interactions".to_owned(), ""),
        ];
        let form = |command| Form {
            protocol: "",
            command,
        };
        let mut kinds: Vec<&str> = routes
            .iter()
            .map(|(method, upload, path, command)| {
                kind(method, *upload, path, form(command)).unwrap()
            })
            .collect();
        kinds.extend(uploads.map(|(protocol, command)| {
            let form = Form { protocol, command };
            kind("POST", true, &upload, form).unwrap()
        }));
        kinds.sort_unstable();
        assert_eq!(kinds, crate::emulator::faults::plan::KINDS);
    }
}
