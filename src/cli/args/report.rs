//! What can be asked of `objlib report`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct Report {
    /// Run, by the number that `run_start` has in --json [default: the last one]
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(i64).range(1..))]
    pub run: Option<i64>,
    /// Page to write, one file that needs nothing else (- for stdout)
    #[arg(long, value_name = "FILE|-", required = true)]
    pub html: PathBuf,
}
