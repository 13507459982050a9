//! What can be asked of `objlib mcp`.

use clap::Args;

use super::remote::{DEFAULT_STORE, Service, store_name};
use super::search::{DEFAULT_MODEL, model_name};

#[derive(Debug, Clone, Args)]
#[command(after_help = "Register it with an agent:\n  \
                  claude mcp add --scope user objlib -- objlib mcp\n  \
                  gemini mcp add --scope user objlib objlib mcp\n\
                  More, and what an agent can do with it: docs/mcp.md")]
pub struct Mcp {
    /// Store that is meant where the agent names none; may be given up to five times: all of them are
    /// searched, the others are about the first
    #[arg(
        id = "stores",
        long = "store",
        value_name = "NAME",
        env = "OBJLIB_STORE",
        default_value = DEFAULT_STORE,
        value_parser = store_name
    )]
    pub stores: Vec<String>,
    /// Model that answers where the agent names none
    #[arg(long, value_name = "NAME", env = "OBJLIB_MODEL", default_value = DEFAULT_MODEL,
          value_parser = model_name)]
    pub model: String,
    /// Without the tools that send files
    #[arg(long)]
    pub read_only: bool,
    #[command(flatten)]
    pub service: Service,
}
