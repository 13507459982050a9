//! What can be typed. Help and usage errors come from here; nothing is looked up.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::identity::CHUNK_TOKENS;
use crate::throttle::{Rpm, Tier, bandwidth::BytesPerSecond};

mod age;
mod doctor;
#[cfg(feature = "emulator")]
mod emulator;
#[cfg(feature = "emulator")]
mod faults;
mod mcp;
mod remote;
mod report;
mod search;

pub use age::Age;
pub use doctor::Doctor;
#[cfg(feature = "emulator")]
pub use emulator::Emulator;
pub use mcp::Mcp;
pub use remote::{DEFAULT_STORE, Remote, Service, Store, store_name};
pub use report::Report;
pub use search::{Search, model_name};

#[derive(Debug, Parser)]
#[command(
    name = "objlib",
    version,
    long_version = env!("OBJLIB_LONG_VERSION"),
    about = "Gets every document of a folder, exactly once, into a Gemini File Search store",
    after_help = "Try it without a key:  objlib upload --emulator DIR\n\
                  All about a command, with examples:  objlib COMMAND --help\n\
                  Most options can be set for good: OBJLIB_STORE is --store, and so on\n\
                  Exit codes: 0 done, 1 error, 2 usage, 3 some files failed, 4 run again, \
                  5 locked, 6 key refused, 130/143 interrupted",
    propagate_version = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Database of files and uploads [default: $XDG_DATA_HOME/objlib/library.db]
    #[arg(long, global = true, help_heading = "Everywhere", value_name = "PATH")]
    pub db: Option<PathBuf>,
    /// Machine-readable output: one JSON object a line on stdout
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Say only what is wrong
    #[arg(
        short,
        long,
        global = true,
        help_heading = "Everywhere",
        conflicts_with = "verbose"
    )]
    pub quiet: bool,
    /// Say what happens to every file
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub verbose: bool,
    /// No progress bars
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        hide_short_help = true
    )]
    pub no_progress: bool,
    /// Colours on a terminal
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        value_name = "WHEN",
        default_value = "auto",
        hide_short_help = true
    )]
    pub color: Color,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodArg {
    Auto,
    /// One resumable upload into the store
    Direct,
    /// A temporary file of the Files API, imported into the store
    Staged,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record what is in one or more folders: new, changed and missing files
    Scan(Scan),
    /// Upload what is pending; with DIR, scan it first
    Upload(Box<Upload>),
    /// Compare database and store both ways, and repair what differs
    Verify(Box<Verify>),
    /// Delete the documents of files that are not there any more
    Purge(Box<Purge>),
    /// Ask the stores; the answer cites the files that it rests on
    Search(Box<Search>),
    /// What is done, what waits and why, and what to do next
    Status(Status),
    /// One page of a run: how fast it went, what held it back, what failed
    Report(Report),
    /// The folders that are known, under their names, and where they go
    #[command(subcommand)]
    Library(Library),
    /// The stores of the account, and what is known of them here
    #[command(subcommand)]
    Store(Box<Stores>),
    /// Let agents search, look and upload: Model Context Protocol over stdin and stdout
    Mcp(Box<Mcp>),
    /// Whether an upload would work here: database, disk, key, service, store, a line each
    Doctor(Box<Doctor>),
    /// Run a local File Search service for trying and testing
    #[cfg(feature = "emulator")]
    Emulator(Box<Emulator>),
    /// Print the script that makes a shell complete commands, options and names
    Completions {
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual's main page, or write a page of every command into a folder
    Man {
        /// Folder for the pages, made if it is not there
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// What the scripts of `completions` ask
    #[command(hide = true)]
    Complete(Complete),
}

/// What completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    #[value(alias = "pwsh")]
    Powershell,
}

#[derive(Debug, Args)]
pub struct Complete {
    /// The word at the cursor, as far as it was typed
    #[arg(long, default_value = "")]
    pub current: String,
    /// The words between the program and the cursor
    #[arg(last = true)]
    pub words: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct Scan {
    /// Folders to scan
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    #[command(flatten)]
    pub options: ScanOptions,
    /// Record nothing; show what metadata the document of this file gets, and from where
    #[arg(long, value_name = "PATH")]
    pub explain: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Library {
    /// Every library with its folder, its files and the stores it goes into
    List,
    /// One library
    Show {
        #[arg(id = "library", value_name = "NAME")]
        name: String,
    },
    /// Another name; it is part of each document, so all of them are sent again and then replaced
    Rename {
        #[arg(id = "library", value_name = "NAME")]
        name: String,
        #[arg(value_name = "NEW")]
        new: String,
    },
    /// Forget the folder and its files; documents that are in a store stay there
    Forget {
        #[arg(id = "library", value_name = "NAME")]
        name: String,
    },
}

const SCANNED: &str = "What is scanned";

#[derive(Debug, Args)]
pub struct ScanOptions {
    /// Name of the folder's library [default: the last part of its path]
    #[arg(long, help_heading = SCANNED, value_name = "NAME")]
    pub library: Option<String>,
    /// Only files whose relative path matches; may be given several times
    #[arg(long, help_heading = SCANNED, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Not the files whose relative path matches; wins over --include
    #[arg(long, help_heading = SCANNED, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Only the files named in FILE, one relative path a line (- for stdin)
    #[arg(long, help_heading = SCANNED, hide_short_help = true, value_name = "FILE|-")]
    pub files_from: Option<PathBuf>,
    /// Read every file again, even if size and time say that it is unchanged
    #[arg(long, help_heading = SCANNED, hide_short_help = true)]
    pub rehash: bool,
    /// Go on although more than half of the known files are gone
    #[arg(long, help_heading = SCANNED)]
    pub accept_missing: bool,
    #[command(flatten)]
    pub kept: KeptOptions,
}

const KEPT: &str = "Kept with the library until given anew; an empty value takes it away";

#[derive(Debug, Args)]
pub struct KeptOptions {
    /// Rules that give documents metadata by their paths (docs/metadata.md)
    #[arg(long, value_name = "RULES.json", help_heading = KEPT,
          value_parser = clap::builder::OsStringValueParser::new())]
    pub metadata: Option<OsString>,
    /// Metadata of every document: KEY=text, KEY=3, KEY=["a","b"]; may be given several times
    #[arg(long, value_name = "KEY=VALUE", help_heading = KEPT)]
    pub set: Vec<String>,
    /// Type that files with this extension go as; may be given several times
    #[arg(long, hide_short_help = true, value_name = "EXT=TYPE", help_heading = KEPT)]
    pub mime: Vec<String>,
    /// Words of a chunk, 21 to 512; 0: as the service likes
    #[arg(long, hide_short_help = true, value_name = "N", help_heading = KEPT, value_parser = chunk_tokens)]
    pub max_tokens_per_chunk: Option<u16>,
    /// Words that a chunk shares with the one before it
    #[arg(long, hide_short_help = true, value_name = "N", help_heading = KEPT,
          value_parser = clap::value_parser!(u16).range(0..=511))]
    pub max_overlap_tokens: Option<u16>,
}

fn chunk_tokens(given: &str) -> Result<u16, String> {
    let fits = |n: &u16| *n == 0 || CHUNK_TOKENS.contains(n);
    let tokens = given.parse().ok().filter(fits);
    tokens.ok_or_else(|| {
        let (least, most) = (CHUNK_TOKENS.start(), CHUNK_TOKENS.end());
        format!("the service takes {least} to {most} (0: as it likes)")
    })
}

/// What the service computes a store's vectors with, for good (fact sheet 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EmbeddingModel {
    /// Text
    #[value(name = "models/gemini-embedding-001", alias = "gemini-embedding-001")]
    Text,
    /// Text and images
    #[value(name = "models/gemini-embedding-2", alias = "gemini-embedding-2")]
    Multimodal,
}

#[derive(Debug, Subcommand)]
pub enum Stores {
    /// Every store of the account, and those known here that are gone
    List {
        #[command(flatten)]
        service: Service,
    },
    /// One store: the service's counters beside what the database holds
    Show(StoreNamed),
    /// A store of this display name, unless there is one
    Create {
        #[command(flatten)]
        named: StoreNamed,
        /// For good: text, or text and images [default: the service's, which is text]
        #[arg(long, value_name = "MODEL")]
        embedding_model: Option<EmbeddingModel>,
    },
    /// Delete a store, and what is known of it here; the files on disk stay
    Delete {
        #[command(flatten)]
        named: StoreNamed,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Also if it is not empty, with all its documents
        #[arg(long)]
        force: bool,
    },
}

impl Stores {
    /// The name, empty where none is asked for, and the service.
    pub fn about(&self) -> (&str, &Service) {
        match self {
            Stores::List { service } => ("", service),
            Stores::Show(named) | Stores::Create { named, .. } | Stores::Delete { named, .. } => {
                (&named.name, &named.service)
            }
        }
    }
}

#[derive(Debug, Args)]
pub struct StoreNamed {
    /// Display name, or fileSearchStores/…
    #[arg(id = "store", value_name = "NAME", value_parser = store_name)]
    pub name: String,
    #[command(flatten)]
    pub service: Service,
}

const PACE: &str = "How fast";

#[derive(Debug, Args)]
pub struct Upload {
    /// Folders to scan first
    #[arg(value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub scan: ScanOptions,
    /// Files a batch; batches are for reporting, they hold nothing up
    #[arg(long, hide_short_help = true, value_name = "N", default_value_t = 150,
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub batch_size: u64,
    /// Files uploaded at once, at the most [default: 10, reached by and by]
    #[arg(help_heading = PACE, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: Option<u16>,
    /// Send nothing; say what would be sent
    #[arg(long)]
    pub dry_run: bool,
    /// At the end, also after Ctrl-C, write a page of the run there, as `objlib report` does
    #[arg(long, value_name = "FILE.html", conflicts_with = "dry_run")]
    pub report: Option<PathBuf>,
    /// Requests a minute: auto finds the limit, N is a ceiling, 0 means none
    #[arg(
        help_heading = PACE,
        long,
        value_name = "auto|0|N",
        default_value = "auto",
        conflicts_with = "tier",
        allow_negative_numbers = true
    )]
    pub rpm: Rpm,
    /// Ceiling by account tier: free (5), tier1 (20), tier2 (200), tier3 (2000 a minute)
    #[arg(help_heading = PACE, long, value_name = "TIER")]
    pub tier: Option<Tier>,
    /// Bytes a second, all uploads together (500K, 2M, 1.5MiB)
    #[arg(help_heading = PACE, long, value_name = "RATE")]
    pub bwlimit: Option<BytesPerSecond>,
    /// The way a file takes: auto goes direct, and staged for a file that the direct way fails twice
    #[arg(
        long,
        hide_short_help = true,
        value_name = "WAY",
        default_value = "auto"
    )]
    pub method: MethodArg,
    /// Start at most N files
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// If the store was deleted at the service: make it anew and send everything again
    #[arg(long, hide_short_help = true)]
    pub recreate_store: bool,
    /// Try files again that failed for good
    #[arg(long)]
    pub retry_failed: bool,
    /// Give up after so many passes in a row without any progress
    #[arg(long, hide_short_help = true, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub passes: u32,
    /// Tries of one file before it counts as failed
    #[arg(long, hide_short_help = true, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub max_attempts: u32,
    /// Seconds that transfers in flight get after the first Ctrl-C
    #[arg(long, hide_short_help = true, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub grace: u64,
}

#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    pub remote: Remote,
    /// Make them equal: take back what the store holds, forget what it has lost, and delete second
    /// documents of one file and documents that failed or are not whole; without it, only show
    #[arg(long)]
    pub repair: bool,
    /// Refuse a repair that would delete a larger share of the documents of these libraries, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50,
          value_parser = clap::value_parser!(u64).range(0..=100))]
    pub max_share: u64,
}

#[derive(Debug, Args)]
pub struct Purge {
    #[command(flatten)]
    pub remote: Remote,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
    /// Only files that have been missing, or left out, for so long (s, m, h, d, w)
    #[arg(long, value_name = "30d")]
    pub older_than: Option<Age>,
    /// Show what would be deleted; delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Refuse to delete a larger share of a library's documents in the store, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50,
          value_parser = clap::value_parser!(u64).range(0..=100))]
    pub max_share: u64,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub store: Store,
    /// Only stores of the service at this address
    #[arg(long, help_heading = remote::WHERE, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Only stores of the embedded local service
    #[cfg(feature = "emulator")]
    #[arg(long, help_heading = remote::WHERE, conflicts_with = "endpoint")]
    pub emulator: bool,
    /// List the files that failed, with their causes
    #[arg(long)]
    pub failed: bool,
    /// List what the last scans skipped, with the reasons
    #[arg(long, conflicts_with = "failed")]
    pub skipped: bool,
    /// List the files that no rule of their library met
    #[arg(long, conflicts_with_all = ["failed", "skipped"])]
    pub unmatched: bool,
    /// Show it again every two seconds, until Ctrl-C
    #[arg(long, conflicts_with_all = ["failed", "skipped", "unmatched"])]
    pub watch: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn an_age_has_a_unit() {
        let age = |text: &str| text.parse::<Age>().map(|age| age.0.as_secs()).ok();
        assert_eq!(age("90s"), Some(90));
        assert_eq!(age("2m"), Some(120));
        assert_eq!(age("36h"), Some(129_600));
        assert_eq!(age("30d"), Some(2_592_000));
        assert_eq!(age("0w"), Some(0));
        let said = |text: &str| text.parse::<Age>().unwrap().to_string();
        assert_eq!(
            (said("30d"), said("7d"), said("0h")),
            ("30d".into(), "1w".into(), "0s".into())
        );
        let bad = [
            "",
            "d",
            "30",
            "-1d",
            "1.5d",
            "30 d",
            "30é",
            "99999999999999999999d",
            "9999999999999999999w",
        ];
        assert!(bad.iter().all(|text| age(text).is_none()));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
