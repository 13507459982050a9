//! The command line: what was typed becomes parts, parts become a run, a run an exit code.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::FromArgMatches;

use self::args::{Cli, Command};
use self::commands::{doctor, library, purge, report, scan, search, status, store, upload, verify};
use self::terminal::words::{self, complain};
use crate::error::Error;
use crate::panic;

pub mod args;

/// Typed → checked.
pub mod settings;

/// A file a command.
pub mod commands;

/// The tools of `objlib mcp`.
pub mod mcp;

/// stdout, stderr, questions, signals.
pub mod terminal;

mod completion;

/// The command line with all that explains it.
pub mod help;

/// Parses, runs, and turns the result into the exit code of the contract.
pub fn main() -> ExitCode {
    panic::install(|error| {
        complain(error, false);
    });
    let typed: Vec<OsString> = std::env::args_os().collect();
    let exit = panic::caught("objlib", || match parse(&typed) {
        Ok(cli) => run(&cli),
        Err(e) => words::usage(&e, &typed),
    });
    ExitCode::from(exit.unwrap_or_else(|e| complain(&e, false)))
}

fn parse(typed: &[OsString]) -> Result<Cli, clap::Error> {
    let words = typed.get(1..).unwrap_or_default();
    let command = help::command().color(words::color_of_help(words));
    let mut command = match words.is_empty() {
        // Help is what is wanted, whatever the environment says.
        true => command,
        false => help::environment::applied(command, words, help::is_long_help(words)),
    };
    let mut matches = command.try_get_matches_from_mut(typed)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|e| e.format(&mut command))
}

fn run(cli: &Cli) -> u8 {
    let style = settings::style(&cli.global);
    let database = match (settings::database(&cli.global), &cli.command) {
        // Packages are built where nobody is at home.
        (
            Err(_),
            Command::Completions { .. }
            | Command::Man { .. }
            | Command::Complete(_)
            | Command::Doctor(_),
        ) => Ok(PathBuf::new()),
        #[cfg(feature = "emulator")]
        (Err(_), Command::Emulator(_)) => Ok(PathBuf::new()),
        (database, _) => database,
    };
    let done = database.and_then(|database| match &cli.command {
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
        Command::Doctor(args) => doctor::run(args, settings::database(&cli.global), style),
        #[cfg(feature = "emulator")]
        Command::Emulator(args) => commands::emulator::run(args, style).map(|()| 0),
        Command::Completions { shell } => {
            terminal::stdout::say(completion::script(*shell)).map(|()| 0)
        }
        Command::Man { dir } => help::man::run(dir.as_deref()).map(|()| 0),
        Command::Complete(args) => completion::complete(args, &database).map(|()| 0),
    });
    done.unwrap_or_else(|e| complain(&in_its_place(e, cli), cli.global.verbose))
}

/// The error with commands in its hint that mean this database, store and service.
fn in_its_place(error: Error, cli: &Cli) -> Error {
    let Ok(database) = settings::database(&cli.global) else {
        return error;
    };
    let at = |store: &str, service| settings::next_typed(store, service, &database);
    let next = match &cli.command {
        Command::Verify(args) => at(&args.remote.store.name, &args.remote.service),
        Command::Purge(args) => at(&args.remote.store.name, &args.remote.service),
        Command::Search(args) => at(&args.stores[0], &args.service),
        Command::Store(args) => at(args.about().0, args.about().1),
        _ => settings::next_here(&database),
    };
    Error {
        remedy: next.in_text(&error.remedy),
        ..error
    }
}
