//! Typed → checked: flag over environment over default.
//!
//! Below here nobody sees clap or reads the environment.

use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{self, Color, Global, KeptOptions, Remote, ScanOptions};
use crate::app::doctor::Finding;
use crate::app::folders::Folders;
use crate::app::{Service, Target};
use crate::cli::terminal::words;
use crate::client::Endpoint;
use crate::client::wire::tls::Tls;
use crate::error::{Error, Kind};
use crate::metadata::{RULES_BYTES_MAX, Rules};
use crate::names::ApiKey;
use crate::pipeline::reconcile::store;
use crate::report::{Next, Style};
use crate::scan::mime::Types;
use crate::scan::{self, Describer, GivenSettings, LibrarySettings};
use crate::throttle::{Rpm, Tier};
use crate::waits::Waits;

pub mod proxy;
pub mod secret;

pub const DEFAULT_ENDPOINT: &str = "https://generativelanguage.googleapis.com";
/// The variable that other programs know the endpoint by.
const BASE_URL: &str = "GOOGLE_GEMINI_BASE_URL";
/// Between two frames on a terminal, which looks steady to the eye.
const FRAME: Duration = Duration::from_millis(200);
/// Between two lines of progress where there is none.
const LINE: Duration = Duration::from_secs(10);
/// A key has some 40 characters; a file that is longer than this holds something else.
const KEY_FILE_BYTES_MAX: u64 = 4096;

pub fn database(global: &Global) -> Result<PathBuf, Error> {
    match &global.db {
        Some(path) => Ok(path.clone()),
        None => default_database(),
    }
}

fn default_database() -> Result<PathBuf, Error> {
    let set = |name: &str| std::env::var_os(name).filter(|v: &OsString| !v.is_empty());
    let data = match (set("XDG_DATA_HOME"), set("HOME")) {
        (Some(data), _) => PathBuf::from(data),
        (None, Some(home)) => PathBuf::from(home).join(".local/share"),
        (None, None) => {
            return Err(Error::new(
                Kind::Usage,
                "database",
                "neither HOME nor XDG_DATA_HOME is set",
                "name a file with --db PATH",
            ));
        }
    };
    Ok(data.join("objlib/library.db"))
}

/// How long everything waits: nothing but a proof program may shorten it.
pub fn waits() -> Waits {
    #[cfg(feature = "proof")]
    return Waits::from_environment();
    #[cfg(not(feature = "proof"))]
    Waits::default()
}

/// What a command line needs besides its own options to mean this database, whatever the environment says.
pub fn next_here(database: &Path) -> Next {
    let next = Next::default();
    let is_default = default_database().is_ok_and(|default| default == database)
        && std::env::var_os("OBJLIB_DB").is_none_or(|set| set == *database.as_os_str());
    match is_default {
        true => next,
        false => next.with_database(database),
    }
}

/// The same for this store at this service, as the database knows it.
pub fn next_at(database: &Path, store: &str, endpoint: &str) -> Next {
    let mut next = next_here(database);
    let environment = |name: &str| {
        let value = std::env::var_os(name)?.to_string_lossy().into_owned();
        (!value.trim().is_empty()).then_some(value)
    };
    let set = environment("OBJLIB_STORE");
    if store != args::DEFAULT_STORE || set.is_some_and(|set| set.trim() != store) {
        next = next.with_store(store);
    }
    if endpoint == store::EMULATOR {
        return next.with_emulator();
    }
    let set = environment(BASE_URL);
    match endpoint == DEFAULT_ENDPOINT && set.is_none() {
        true => next,
        false => next.with_endpoint(endpoint),
    }
}

/// The same for what was typed: the key's file and the certificates go along.
pub fn next(remote: &Remote, database: &Path, endpoint: &str) -> Next {
    next_for(&remote.store.name, &remote.service, database, endpoint)
}

/// The same where it is not known yet whether it can be used.
pub fn next_typed(store: &str, service: &args::Service, database: &Path) -> Next {
    match endpoint_name(service) {
        Ok(endpoint) => next_for(store, service, database, &endpoint),
        Err(_) => next_here(database),
    }
}

/// The same for another store.
pub fn next_for(store: &str, service: &args::Service, database: &Path, endpoint: &str) -> Next {
    let mut next = next_at(database, store, endpoint);
    if let Some(path) = service.api_key_file.as_deref().filter(|path| *path != "-") {
        next = next.with_file("--api-key-file", path);
    }
    // What the environment says goes along by itself.
    let set = |path: &Path| std::env::var_os("SSL_CERT_FILE").is_some_and(|set| set == path);
    if let Some(path) = service.ca_file.as_deref().filter(|path| !set(path)) {
        next = next.with_file("--ca-file", path);
    }
    next
}

pub fn style(global: &Global) -> Style {
    let terminal = std::io::stderr().is_terminal() && !words::is_dumb();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let color = |terminal: bool| match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && !plain,
    };
    let progress = terminal && !global.no_progress && !global.quiet;
    Style {
        json: global.json,
        quiet: global.quiet,
        verbose: global.verbose,
        progress,
        redraw: waits().scaled(if progress { FRAME } else { LINE }),
        color: color(terminal),
        color_out: color(std::io::stdout().is_terminal() && !words::is_dumb()),
    }
}

/// The store and its service.
pub fn target(remote: &Remote) -> Result<Target, Error> {
    target_at(&remote.store.name, &remote.service)
}

/// The same for a store that was named without a flag.
pub fn target_at(store: &str, given: &args::Service) -> Result<Target, Error> {
    let target = Target {
        store: store.to_owned(),
        endpoint_name: endpoint_name(given)?,
        service: service(given)?,
        ca_file: given.ca_file.clone(),
    };
    secret::keep_out(secret::of(&target.service).as_ref(), &[("store", store)])?;
    Ok(target)
}

fn service(given: &args::Service) -> Result<Service, Error> {
    #[cfg(feature = "emulator")]
    if given.emulator {
        return Ok(Service::Emulator);
    }
    let endpoint = endpoint(given)?;
    if let Some(path) = given
        .api_key_file
        .as_deref()
        .filter(|path| others_can_read(path))
    {
        let named = path.display();
        words::warn(&format!(
            "{named}: group or others can read the key in it: {}",
            private(path)
        ));
    }
    Ok(Service::Remote {
        proxy: proxy::from_environment(&endpoint)?,
        endpoint,
        key: key(given)?.1,
    })
}

/// The same, with what there is to say of its parts; `None` if a part cannot be used.
pub fn target_or_findings(remote: &Remote, say: &mut dyn FnMut(Finding)) -> Option<Target> {
    let given = &remote.service;
    let done = target_with_findings(&remote.store.name, given, say);
    match done {
        Ok(target) => Some(target),
        Err((check, e)) => {
            say(Finding::wrong(check, &e));
            None
        }
    }
}

fn target_with_findings(
    store: &str,
    given: &args::Service,
    say: &mut dyn FnMut(Finding),
) -> Result<Target, (&'static str, Error)> {
    let at = |check| move |e| (check, e);
    let target = |service| {
        Ok(Target {
            store: store.to_owned(),
            endpoint_name: endpoint_name(given).map_err(at("service"))?,
            service,
            ca_file: given.ca_file.clone(),
        })
    };
    #[cfg(feature = "emulator")]
    if given.emulator {
        say(Finding::fine("key", "the embedded service needs none"));
        secret::keep_out(secret::known().as_ref(), &[("store", store)]).map_err(at("store"))?;
        return target(Service::Emulator);
    }
    let endpoint = endpoint(given).map_err(at("service"))?;
    Tls::new(given.ca_file.as_deref()).map_err(at("service"))?;
    let proxy = proxy::from_environment(&endpoint).map_err(at("proxy"))?;
    let way = match &proxy {
        Some(_) => "requests go through the one that the environment names",
        None => "none: requests go to the service directly",
    };
    say(Finding::fine("proxy", way));
    let (source, key) = key(given).map_err(at("key"))?;
    let text = format!("from {source}");
    let open = given
        .api_key_file
        .as_deref()
        .filter(|path| others_can_read(path));
    say(match (open, &given.api_key) {
        (Some(path), _) => Finding::warning(
            "key",
            text + ", which group or others can read",
            private(path),
        ),
        (None, Some(_)) => Finding::warning(
            "key",
            text + ", where other users of this machine see it",
            "put it into a file and name that with --api-key-file, or set GEMINI_API_KEY",
        ),
        (None, None) => Finding::fine("key", text),
    });
    secret::keep_out(Some(&key), &[("store", store)]).map_err(at("store"))?;
    target(Service::Remote {
        proxy,
        endpoint,
        key,
    })
}

/// What the database knows the service by: the emulator's port changes, its stores do not.
pub fn endpoint_name(given: &args::Service) -> Result<String, Error> {
    #[cfg(feature = "emulator")]
    if given.emulator {
        return Ok(store::EMULATOR.to_owned());
    }
    Ok(endpoint(given)?.canonical())
}

/// The same where a service is asked for, and none is taken by itself.
pub fn endpoint_typed(given: &args::Status) -> Result<Option<String>, Error> {
    #[cfg(feature = "emulator")]
    if given.emulator {
        return Ok(Some(store::EMULATOR.to_owned()));
    }
    let typed = given.endpoint.as_deref().map(parsed).transpose()?;
    Ok(typed.map(|endpoint| endpoint.canonical()))
}

/// A blank one is the default.
fn parsed(url: &str) -> Result<Endpoint, Error> {
    Endpoint::parse(match url.trim().is_empty() {
        true => DEFAULT_ENDPOINT,
        false => url,
    })
}

fn endpoint(given: &args::Service) -> Result<Endpoint, Error> {
    if let Some(url) = given.endpoint.as_deref() {
        return parsed(url);
    }
    match variable(BASE_URL)? {
        None => Endpoint::parse(DEFAULT_ENDPOINT),
        Some(url) => Endpoint::parse_of(BASE_URL, &url),
    }
}

/// What a variable holds, if it is set to something. One that cannot be read is never taken for one that is
/// not set: what was meant to go elsewhere would go to the default.
fn variable(name: &str) -> Result<Option<String>, Error> {
    let value = std::env::var_os(name).map(OsString::into_string);
    let value = value.transpose().map_err(|_| {
        let remedy = format!("set it anew, or unset it (`unset {name}`)");
        Error::new(Kind::Usage, name, "what it holds is not UTF-8", remedy)
    })?;
    Ok(value.filter(|value| !value.trim().is_empty()))
}

/// Where it is from, and the key.
fn key(given: &args::Service) -> Result<(String, ApiKey), Error> {
    let (source, text) = match (&given.api_key, &given.api_key_file) {
        (Some(key), _) => ("--api-key".to_owned(), key.clone()),
        (None, Some(path)) => (path.display().to_string(), key_file(path)?),
        (None, None) => key_of_environment()?.ok_or_else(no_key)?,
    };
    let key = ApiKey::new(&text).ok_or_else(|| {
        Error::new(
            Kind::Key,
            &source,
            "this is not an API key (empty, or with characters no key has)",
            "copy the key again from https://aistudio.google.com/apikey",
        )
    });
    Ok((source.clone(), key?))
}

/// The variable, and what it holds.
fn key_of_environment() -> Result<Option<(String, String)>, Error> {
    let set = |name: &str| Ok(variable(name)?.map(|value| (name.to_owned(), value)));
    match set("GOOGLE_API_KEY")? {
        None => set("GEMINI_API_KEY"),
        found => Ok(found),
    }
}

fn no_key() -> Error {
    Error::new(
        Kind::Key,
        "API key",
        "none given",
        "set GEMINI_API_KEY or use --api-key-file (a key: https://aistudio.google.com/apikey), \
         or try --emulator, which needs none",
    )
}

fn key_file(path: &Path) -> Result<String, Error> {
    let named = path.display().to_string();
    let text = read_bounded(path, KEY_FILE_BYTES_MAX).map_err(|why| {
        // Mistyped, it is the key itself that stands in the place of the file.
        let what = match ApiKey::is_like(&named) {
            true => "--api-key-file (what it names looks like a key)",
            false => &named,
        };
        Error::new(
            Kind::Key,
            what,
            why,
            "name a file that holds just the key with --api-key-file",
        )
    })?;
    Ok(text)
}

/// The command that makes a file one's own.
fn private(path: &Path) -> String {
    let quoted = path.display().to_string().replace('\'', "'\\''");
    format!("chmod 600 '{quoted}'")
}

/// Only a file has readers to keep out: a pipe (`<(pass show key)`) or stdin has one.
fn others_can_read(path: &Path) -> bool {
    path.as_os_str() != "-"
        && std::fs::metadata(path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o044 != 0)
}

/// # Errors
/// One name for several folders; a list that cannot be read.
pub fn folders(dirs: &[PathBuf], options: &ScanOptions) -> Result<Folders, Error> {
    if options.library.is_some() && dirs.len() > 1 {
        return Err(Error::new(
            Kind::Usage,
            "--library",
            "one name for several folders",
            "scan one folder at a time, or leave it out",
        ));
    }
    let folders = Folders {
        dirs: dirs.to_vec(),
        name: options.library.clone(),
        options: scan_options(options)?,
    };
    match dirs.is_empty() && !folders.options.given.is_nothing() {
        true => Err(Error::new(
            Kind::Usage,
            "--metadata, --set, --mime and the chunk sizes",
            "they take effect when a folder is scanned, and none is given",
            "name the folder as well",
        )),
        false => Ok(folders),
    }
}

/// An account's tier is a ceiling like any other.
pub fn rpm(rpm: Rpm, tier: Option<Tier>) -> Rpm {
    match tier {
        Some(tier) => NonZeroU32::new(tier.rpm()).map_or(Rpm::Auto, Rpm::Ceiling),
        None => rpm,
    }
}

fn scan_options(options: &ScanOptions) -> Result<scan::Options, Error> {
    Ok(scan::Options {
        include: options.include.clone(),
        exclude: options.exclude.clone(),
        files_from: options
            .files_from
            .as_deref()
            .map(scan::List::read)
            .transpose()?,
        rehash: options.rehash,
        accept_missing: options.accept_missing,
        given: given(&options.kept)?,
    })
}

/// What is to hold for the libraries of this call from now on. All of it is looked at before anything is
/// recorded.
fn given(options: &KeptOptions) -> Result<GivenSettings, Error> {
    // `--set ""` is the only way to say that there are none any more.
    let not_blank = |given: &[String]| -> Option<Vec<String>> {
        let some = given.iter().filter(|g| !g.trim().is_empty()).cloned();
        (!given.is_empty()).then(|| some.collect())
    };
    let types = not_blank(&options.mime).map(Types::parse);
    let wrong = |why| Error::new(Kind::Usage, "--mime", why, "give an extension and a type");
    let set = not_blank(&options.set);
    let given = GivenSettings {
        rules: options
            .metadata
            .as_deref()
            .map(Path::new)
            .map(rules)
            .transpose()?,
        set,
        types: types.transpose().map_err(wrong)?,
        chunk_tokens: options.max_tokens_per_chunk,
        overlap_tokens: options.max_overlap_tokens,
        key: None,
    };
    // An overlap alone makes sense if chunks are kept.
    if given.chunk_tokens.is_some() || given.overlap_tokens.is_none() {
        Describer::new("", &given.over(&LibrarySettings::default())?)?;
    }
    Ok(given)
}

/// The text of a rules file that can be used; `None` for an empty name.
fn rules(path: &Path) -> Result<Option<String>, Error> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let named = path.display();
    let text = read_bounded(path, RULES_BYTES_MAX as u64).map_err(|why| {
        let remedy = "name a file of rules with --metadata; docs/metadata.md shows one";
        Error::new(Kind::Usage, named.to_string(), why, remedy)
    })?;
    match Rules::parse(&text) {
        Ok(_) => Ok(Some(text)),
        Err(e) => {
            let at = format!("{named}, line {}", e.line);
            Err(Error::new(Kind::Usage, at, e.reason, e.remedy))
        }
    }
}

/// A file, or stdin for `-`, as text.
fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, String> {
    let source: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(path).map_err(|e| format!("cannot be read: {e}"))?),
    };
    let mut text = String::new();
    source
        .take(bytes_max + 1)
        .read_to_string(&mut text)
        .map_err(|e| format!("cannot be read: {e}"))?;
    match text.len() as u64 > bytes_max {
        true => Err(format!("longer than {bytes_max} bytes")),
        false => Ok(text),
    }
}
