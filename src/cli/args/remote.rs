//! Where to: the store, its service, and the key.

use std::path::PathBuf;

use clap::Args;

/// The same everywhere.
pub const DEFAULT_STORE: &str = "objlib";

/// The service takes display names up to 512 characters (fact sheet 3).
const STORE_NAME_CHARS_MAX: usize = 512;

/// White space around a name comes from copying it.
pub fn store_name(given: &str) -> Result<String, &'static str> {
    match given.trim() {
        "" => Err("a store needs a name that is not blank"),
        name if name.chars().count() > STORE_NAME_CHARS_MAX => {
            Err("the name of a store has 512 characters at the most")
        }
        name => Ok(name.to_owned()),
    }
}

/// Over the options of a store and its service.
pub const WHERE: &str = "Where to";

#[derive(Debug, Args)]
pub struct Store {
    /// Store, by display name (or fileSearchStores/… by resource name)
    #[arg(
        id = "store",
        long = "store",
        help_heading = WHERE,
        value_name = "NAME",
        default_value = DEFAULT_STORE,
        value_parser = store_name
    )]
    pub name: String,
}

#[derive(Debug, Args)]
pub struct Remote {
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub service: Service,
}

#[derive(Debug, Clone, Args)]
pub struct Service {
    /// Service to talk to [env: GOOGLE_GEMINI_BASE_URL] [default: Google's]
    #[arg(long, help_heading = WHERE, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Use the embedded local service, kept beside the database; no key needed
    #[cfg(feature = "emulator")]
    #[arg(long, help_heading = WHERE, conflicts_with = "endpoint")]
    pub emulator: bool,
    /// API key; visible to other users of this machine, so prefer the other ways
    #[arg(
        long,
        help_heading = WHERE,
        hide_short_help = true,
        value_name = "KEY",
        conflicts_with = "api_key_file"
    )]
    pub api_key: Option<String>,
    /// File that holds the API key (- for stdin) [env: GOOGLE_API_KEY, GEMINI_API_KEY hold the key]
    #[arg(long, help_heading = WHERE, value_name = "PATH")]
    pub api_key_file: Option<PathBuf>,
    /// Certificates to trust in addition to the built-in ones (PEM)
    #[arg(
        long,
        help_heading = WHERE,
        hide_short_help = true,
        value_name = "PATH",
        env = "SSL_CERT_FILE",
        hide_env_values = true
    )]
    pub ca_file: Option<PathBuf>,
}
