//! What can be asked of `objlib emulator`, but for its faults.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::faults::{FaultFlags, HEADING};
use crate::emulator::{Loose, profile};

#[derive(Debug, Args)]
pub struct Emulator {
    /// Port to listen on; 0 takes any free one
    #[arg(long, default_value_t = 8765)]
    pub port: u16,
    /// Keep stores and documents in this file [default: in memory]
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Fix faults, ids and times: the same requests, one after the other, get the same answers
    #[arg(long, conflicts_with = "fault_seed")]
    pub seed: Option<u64>,
    /// Fix the faults alone
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub fault_seed: u64,
    /// Answer questions as this file says: a JSON list of {question: PATTERN, text, citations: [{title, passage}]}
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
    /// Fault plan: a JSON object, or a file with one
    #[arg(long, value_name = "JSON|FILE")]
    pub faults: Option<String>,
    /// What the service is like: fast, realistic or hostile; --faults and the flags of faults go on top
    #[arg(
        long,
        value_name = "NAME",
        default_value = "fast",
        value_parser = profile,
        help_heading = HEADING
    )]
    pub profile: Value,
    /// Refuse this API key (any other is taken); may be given several times
    #[arg(long, value_name = "KEY")]
    pub refuse_key: Vec<String>,
    /// Keep the last requests for GET /_emulator/requests
    #[arg(long)]
    pub record: bool,
    /// Switch off this rule by which requests are refused, like models or top-k; without RULE all of them
    #[arg(long, value_name = "RULE", num_args = 0..=1, default_missing_value = "all", value_delimiter = ',', value_parser = Loose::of)]
    pub loose: Vec<Loose>,
    /// Address to listen on, like ::1; any but loopback lets others use, change and delete everything
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = address)]
    pub host: IpAddr,
    /// Let clients call the service by this name; may be given several times
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Answer pages of this site, like http://app.test:3000; may be given several times
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub allow_origin: Vec<String>,
    /// Speak TLS, with the certificate of this PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate; may be the same file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Behind a proxy: upload URLs and addresses of files begin as X-Forwarded-Proto and X-Forwarded-Host say
    #[arg(long)]
    pub trust_forwarded: bool,
    #[command(flatten)]
    pub fault: FaultFlags,
}

/// Also as a URL has it, `[::1]`, and by the name that every machine has for itself.
fn address(given: &str) -> Result<IpAddr, String> {
    let bare = given.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    match bare.unwrap_or(given) {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        address => address.parse().map_err(|_| {
            "not an address of this machine, like 127.0.0.1, ::1 or 0.0.0.0".to_owned()
        }),
    }
}

/// As browsers write one: a scheme and a host, and nothing behind them.
fn origin(given: &str) -> Result<String, String> {
    let authority = given
        .strip_prefix("http://")
        .or_else(|| given.strip_prefix("https://"))
        .unwrap_or_default();
    let is_fine = !authority.is_empty()
        && authority
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"/*?#@".contains(&b));
    match is_fine {
        true => Ok(given.to_ascii_lowercase()),
        false => Err("not an origin as browsers write it, like http://app.test:3000".to_owned()),
    }
}
