//! The real binary against the embedded service, as its own process, over real HTTP.

#![allow(clippy::unwrap_used)]

/// The builder: a folder, a service, a command, what was seen.
mod run;

/// A folder goes up whole; a second run has nothing to do.
mod upload;

/// Two of everything: folders, stores, databases, spellings.
mod libraries;

/// The service inside the test of another program.
mod embedded;

/// What is found in a folder, what is left out, and why.
mod scan;

/// What is read from disk, and what is not.
mod described;
mod disk;

/// A service that a test writes, answer by answer.
mod scripted;

/// A service that answers anything but what it should.
mod hostile;

/// The key and the sessions, planted in every answer, and looked for everywhere.
mod secrets;

/// Proxies, certificates, login pages: what stands between here and the service.
mod network;

/// What a terminal would obey or hide is spelled out.
mod terminal;

/// The bars, as a terminal shows them.
mod screen;

/// Faults of the service, each proven to have fired.
mod faults;

/// The emulator's own faults, by plain HTTP: each does what it says and is counted.
mod emulator;

/// What the emulator serves beyond stores and uploads, by plain HTTP.
mod served;

/// What it refuses, rule by rule, and what switches each rule off.
mod strict;

/// Who reaches it, what it says of that, and how it is emptied.
mod reach;

/// Its life: answers written beforehand, a seed, data out and in, one service a file.
mod life;

/// Uploads of one request, in the form that the service documents and in no other.
mod one_request;

/// Clients and files that the emulator must not trust.
mod strangers;

/// kill -9 and run again.
mod resume;

/// What an upload would meet, told beforehand.
mod doctor;

/// The table of all errors, made from the sources.
mod errors;
mod source;

/// Help, man pages, completions, variables.
mod help;

/// What is said of what is on disk, however much it is.
mod status;

/// The page of a run.
mod report;

/// Stores, seen, made and deleted.
mod store;

/// Questions, and answers that cite files of this machine.
mod search;

/// Agents, by the Model Context Protocol.
mod mcp;

/// Database and store compared, and made equal.
mod verify;

/// Damage by hand, of every class.
mod damaged;

/// Files that change, go or turn into something else while they are uploaded.
mod changing_files;

/// Ctrl-C, SIGTERM and the lock.
mod shutdown;

/// How many requests it takes to see operations end, and what pages of the listing may do to it.
mod looks;

/// Bad input: one line, the right exit code.
mod words;

/// Every request that the client sends, against the API's schema.
mod requests;

/// What the README says of flags, commands and dependencies is so.
mod readme;

/// Every command line in it runs.
mod readme_runs;

/// Borders that no compiler guards.
mod tidy;

/// Documents of files that are gone, and files at another path.
mod purge;
