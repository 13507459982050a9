//! What can be asked of `objlib search`.

use clap::Args;

use super::remote::{DEFAULT_STORE, Service, WHERE, store_name};

/// The model of the service's own examples, and not among those that it calls earlier (fact sheet 13).
pub const DEFAULT_MODEL: &str = "gemini-3.5-flash";

/// Also as the service spells it: `models/NAME`.
pub fn model_name(given: &str) -> Result<String, &'static str> {
    let name = given.trim();
    let name = name.strip_prefix("models/").unwrap_or(name);
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match !name.is_empty() && name.chars().all(legal) {
        true => Ok(name.to_owned()),
        false => Err("a name like gemini-3.5-flash is expected"),
    }
}

#[derive(Debug, Args)]
pub struct Search {
    /// What to ask
    #[arg(value_name = "QUERY", required = true, num_args = 1..)]
    pub query: Vec<String>,
    /// Store, by display name or resource name; may be given up to five times
    #[arg(
        id = "stores",
        long = "store",
        help_heading = WHERE,
        value_name = "NAME",
        default_value = DEFAULT_STORE,
        value_parser = store_name
    )]
    pub stores: Vec<String>,
    /// Only documents of this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
    /// Only documents whose metadata are so: 'year >= 2024 AND dept = "law"' (docs/metadata.md)
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,
    /// Passages that the model gets to read [default: the service's, which is 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub top_k: Option<u16>,
    /// Model that answers
    #[arg(long, value_name = "NAME", default_value = DEFAULT_MODEL,
          value_parser = model_name)]
    pub model: String,
    /// Show what was found, whole, without the model's words
    #[arg(long)]
    pub passages: bool,
    #[command(flatten)]
    pub service: Service,
}
