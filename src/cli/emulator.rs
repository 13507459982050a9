//! `objlib emulator`: the local service as a program of its own; and beside a database for `--emulator`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::emulator::{Emulator, Faults, Options};
use crate::error::{Error, Kind};

#[derive(Debug, Args)]
pub struct EmulatorArgs {
    /// Port on 127.0.0.1; 0 takes any free one
    #[arg(long, default_value_t = 8765)]
    pub port: u16,
    /// Keep stores and documents in this file [default: in memory]
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Seed of all random faults
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Fault plan: a JSON object, or a file with one
    #[arg(long, value_name = "JSON|FILE")]
    pub faults: Option<String>,
    /// Refuse this API key (any other is taken); may be given several times
    #[arg(long, value_name = "KEY")]
    pub refuse_key: Vec<String>,
    /// Keep the last requests for GET /_emulator/requests
    #[arg(long)]
    pub record: bool,
    /// Ignore unknown fields in requests
    #[arg(long)]
    pub loose: bool,
    #[command(flatten)]
    pub fault: FaultFlags,
}

macro_rules! fault_flags {
    ($($name:ident: $kind:ty),* $(,)?) => {
        /// One flag a fault; the names are those of the plan.
        #[derive(Debug, Args)]
        #[command(next_help_heading = "Faults (probabilities are 0 to 1)")]
        pub struct FaultFlags {
            $(#[arg(long, value_name = "N")] pub $name: Option<$kind>,)*
        }

        impl FaultFlags {
            fn given(&self) -> Map<String, Value> {
                let mut given = Map::new();
                $(if let Some(value) = &self.$name {
                    given.insert(stringify!($name).to_owned(), json!(value));
                })*
                given
            }
        }
    };
}

fault_flags! {
    latency_ms: u64,
    latency_jitter_ms: u64,
    quota_per_min: f64,
    quota_write_per_min: f64,
    quota_read_per_min: f64,
    quota_shape: String,
    quota_retry_delay_s: f64,
    quota_per_day: u64,
    storage_limit_bytes: u64,
    error_503: f64,
    error_500: f64,
    error_429: f64,
    count_tokens_503: f64,
    empty_503: f64,
    html_502: f64,
    array_envelope: f64,
    reset_before: f64,
    reset_within: f64,
    reset_after: f64,
    lose_answer: f64,
    lose_final_answer: f64,
    operation_delay_ms: u64,
    operation_jitter_ms: u64,
    operation_fail: f64,
    operation_never_done: f64,
    poll_name_only: f64,
    list_lag_ms: u64,
    list_error_page2: f64,
    session_expiry_ms: u64,
    chunk_granularity: u64,
}

/// Serves until SIGINT or SIGTERM.
pub fn run(args: &EmulatorArgs) -> Result<(), Error> {
    let emulator = Emulator::start(Options {
        port: args.port,
        data: args.data.clone(),
        faults: plan(args)?,
        seed: args.seed,
        loose: args.loose,
        record: args.record,
        refuse_keys: args.refuse_key.clone(),
    })?;
    let fail = |e: std::io::Error| {
        Error::new(
            Kind::System,
            "emulator",
            e.to_string(),
            "check the limits of this process",
        )
    };
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(fail)?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", emulator.url())
        .and_then(|()| out.flush())
        .map_err(fail)?;
    signals.forever().next();
    emulator.stop();
    Ok(())
}

/// The plan's file or text, with the flags on top.
fn plan(args: &EmulatorArgs) -> Result<Faults, Error> {
    let bad = |why: String| {
        Error::new(
            Kind::Usage,
            "--faults",
            why,
            "give a JSON object with the names of the fault flags, like '{\"error_503\": 0.1}'",
        )
    };
    let mut plan = match &args.faults {
        None => json!({}),
        Some(given) => {
            let text = match given.trim_start().starts_with('{') {
                true => given.clone(),
                false => std::fs::read_to_string(given)
                    .map_err(|e| bad(format!("{given} cannot be read: {e}")))?,
            };
            serde_json::from_str(&text).map_err(|e| bad(format!("not JSON: {e}")))?
        }
    };
    let Value::Object(fields) = &mut plan else {
        return Err(bad("not a JSON object".to_owned()));
    };
    fields.extend(args.fault.given());
    serde_json::from_value(plan).map_err(|e| bad(e.to_string()))
}

/// The embedded service of `--emulator`: any port, its data beside the database.
pub fn beside(database: &Path) -> Result<Emulator, Error> {
    let mut data = database.as_os_str().to_owned();
    data.push(".emulator");
    Emulator::start(Options {
        data: Some(PathBuf::from(data)),
        ..Options::default()
    })
}
