//! `objlib emulator`: the local service as a program of its own.

use std::io::{self, Write};

use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::args;
use crate::cli::terminal::words;
use crate::clock::{now_ms, rfc3339};
use crate::emulator::{Answers, Emulator, Faults, Logged, Loose, Options, Tls};
use crate::error::{Error, Kind};
use crate::report::Style;
use crate::text::one_line;

/// What stands in for a key where none is needed.
const ANY_KEY: &str = "local";

/// Serves until SIGINT or SIGTERM.
pub fn run(args: &args::Emulator, style: Style) -> Result<(), Error> {
    let log: Option<fn(&Logged<'_>)> = match (style.json, style.verbose) {
        (true, _) => Some(log_json),
        (false, true) => Some(log_line),
        (false, false) => None,
    };
    let emulator = Emulator::start(Options {
        host: Some(args.host),
        port: args.port,
        allow_hosts: args.allow_host.clone(),
        allow_origins: args.allow_origin.clone(),
        tls: match (&args.tls_cert, &args.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls::of(certificate, key)?),
            _ => None,
        },
        trust_forwarded: args.trust_forwarded,
        log,
        data: args.data.clone(),
        faults: plan(args)?,
        seed: args.seed,
        fault_seed: args.fault_seed,
        answers: answers(args)?,
        loose: args
            .loose
            .iter()
            .copied()
            .fold(Loose::default(), Loose::and),
        record: args.record,
        refuse_keys: args.refuse_key.clone(),
        require_key: None,
    })?;
    let fail = |e: io::Error| {
        Error::new(
            Kind::System,
            "emulator",
            e.to_string(),
            "check the limits of this process",
        )
    };
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(fail)?;
    if !args.host.is_loopback() {
        words::warn(&format!(
            "{}: whoever reaches this address can read, change and delete everything here",
            args.host
        ));
    }
    // In one piece, since whoever starts this as a child may read one line and no more.
    let mut out = io::stdout();
    out.write_all(banner(&emulator.url(), style.json).as_bytes())
        .and_then(|()| out.flush())
        .map_err(fail)?;
    signals.forever().next();
    emulator.stop();
    Ok(())
}

fn banner(url: &str, json: bool) -> String {
    match json {
        true => event(json!({"event": "listening", "url": url})),
        false => format!(
            "listening on {url}\n\nexport GOOGLE_GEMINI_BASE_URL={url}\nexport GEMINI_API_KEY={ANY_KEY}\n"
        ),
    }
}

fn event(mut event: Value) -> String {
    event["time"] = json!(rfc3339(now_ms()));
    format!("{event}\n")
}

/// A client may send any path; it must not move the cursor of whoever reads along.
fn log_line(request: &Logged<'_>) {
    let status = request
        .status
        .map_or("no answer".to_owned(), |status| status.to_string());
    let time = rfc3339(now_ms());
    let (method, path) = (one_line(request.method), one_line(request.path));
    // Nobody need read along.
    let _ = writeln!(
        io::stderr().lock(),
        "{time} {method} {path} {status} {} ms",
        request.ms
    );
}

fn log_json(request: &Logged<'_>) {
    let line = event(
        json!({"event": "request", "method": request.method, "path": request.path,
        "status": request.status, "ms": request.ms}),
    );
    let _ = io::stdout().lock().write_all(line.as_bytes());
}

fn answers(args: &args::Emulator) -> Result<Answers, Error> {
    let Some(path) = &args.answers else {
        return Ok(Answers::default());
    };
    std::fs::read_to_string(path)
        .map_err(|e| format!("cannot be read: {e}"))
        .and_then(|text| Answers::of(&text))
        .map_err(|why| {
            Error::new(
                Kind::Usage,
                format!("--answers {}", path.display()),
                why,
                "give a file like '[{\"question\": \"open\", \"text\": \"At nine.\"}]'",
            )
        })
}

/// The profile, with the plan's file or text on top, and on top of that the flags.
fn plan(args: &args::Emulator) -> Result<Faults, Error> {
    let bad = |why: String| {
        Error::new(
            Kind::Usage,
            "--faults",
            why,
            "give a JSON object with the names of the fault flags, like '{\"error_503\": 0.1}'",
        )
    };
    let given = match &args.faults {
        None => json!({}),
        Some(given) => {
            let (text, file) = match given.trim_start().starts_with('{') {
                true => (given.clone(), String::new()),
                false => (
                    std::fs::read_to_string(given)
                        .map_err(|e| bad(format!("{given} cannot be read: {e}")))?,
                    format!("{given} is "),
                ),
            };
            serde_json::from_str(&text).map_err(|e| bad(format!("{file}not JSON: {e}")))?
        }
    };
    let (mut plan, Value::Object(given)) = (args.profile.clone(), given) else {
        return Err(bad("not a JSON object".to_owned()));
    };
    // A profile is an object always.
    if let Value::Object(fields) = &mut plan {
        fields.extend(given);
        fields.extend(args.fault.0.clone());
    }
    Faults::of(plan).map_err(|why| {
        Error::new(
            Kind::Usage,
            "a fault of --faults or of a flag",
            why,
            "`objlib emulator --help` names them all",
        )
    })
}
