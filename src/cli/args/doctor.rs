//! What `objlib doctor` is asked about.

use clap::Args;

use super::remote::Remote;

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub remote: Remote,
    /// Ask the service nothing
    #[arg(long)]
    pub offline: bool,
}
