//! The command line: what was typed becomes parts, parts become a run, a run an exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use self::args::{Cli, Command};
use crate::error::Error;
use crate::panic;
use crate::text::one_line;

pub mod args;
pub mod settings;

pub mod proxy;

mod listening;

mod ask;

pub mod scan;

pub mod upload;

pub mod library;

pub mod status;

pub mod store;

pub mod verify;

pub mod purge;
pub mod report;
pub mod search;

pub mod mcp;

#[cfg(feature = "emulator")]
pub mod emulator;

pub mod signals;

/// Parses, runs, and turns the result into the exit code of the contract.
pub fn main() -> ExitCode {
    panic::install(|error| warn(&error.to_string()));
    let exit = panic::caught("objlib", || match Cli::try_parse() {
        Ok(cli) => run(&cli),
        Err(e) => usage(&e),
    });
    ExitCode::from(exit.unwrap_or_else(|e| complain(&e)))
}

fn run(cli: &Cli) -> u8 {
    let style = settings::style(&cli.global);
    let done = settings::database(&cli.global).and_then(|database| match &cli.command {
        Command::Scan(args) => scan::run(args, &database, style),
        Command::Upload(args) => Ok(upload::run(args, &database, style)),
        Command::Verify(args) => verify::run(args, &database, style),
        Command::Purge(args) => purge::run(args, &database, style),
        Command::Search(args) => search::run(args, &database, style),
        Command::Status(args) => status::run(args, &database, style),
        Command::Mcp(args) => mcp::run(args, &database, style),
        Command::Report(args) => report::run(args, &database, style),
        Command::Library(args) => library::run(args, &database, style),
        Command::Store(args) => store::run(args, &database, style),
        #[cfg(feature = "emulator")]
        Command::Emulator(args) => emulator::run(args, style).map(|()| 0),
    });
    done.unwrap_or_else(|e| complain(&e))
}

/// One line on stderr. Somebody may have closed it, or its disk may be full: that costs the text only.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "objlib: {text}");
}

fn complain(e: &Error) -> u8 {
    warn(&e.to_string());
    e.kind.exit_code()
}

/// Help and version go out as they are; a mistake becomes one line.
fn usage(e: &clap::Error) -> u8 {
    match e.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // A closed stdout is no reason to complain.
            let _ = e.print();
            u8::try_from(e.exit_code()).unwrap_or(2)
        }
        _ => {
            let text = e.to_string();
            let cause = text.split("\n\n").next().unwrap_or(&text);
            let cause: Vec<&str> = cause.lines().map(str::trim).collect();
            let cause = cause.join(" ");
            let cause = cause.strip_prefix("error: ").unwrap_or(&cause);
            warn(&format!("{}: see `objlib --help`", one_line(cause)));
            2
        }
    }
}
