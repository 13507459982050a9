//! `objlib purge`: shows what it would delete, asks, and deletes.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::app::purge::{self, Done, Found, Options, Sum};
use crate::cli::terminal::ask;
use crate::cli::terminal::listening::Listening;
use crate::cli::terminal::stdout::{say, written};
use crate::cli::terminal::words::complain;
use crate::cli::{args, settings};
use crate::clock::{Local, UnixMs, now_ms};
use crate::error::Error;
use crate::report::event::ndjson::timed;
use crate::report::next::quoted;
use crate::report::units::{bytes, count, time};
use crate::report::{Next, Style};
use crate::state::Reader;
use crate::text::one_line;
use crate::throttle::Concurrency;

/// Whoever was asked said no.
const EXIT_NOT_DONE: u8 = 1;

pub fn run(args: &args::Purge, database: &Path, style: Style) -> Result<u8, Error> {
    let endpoint_name = settings::endpoint_name(&args.remote.service)?;
    // Without an age, whatever a clock that was wrong once has recorded.
    let before = args.older_than.map_or(UnixMs::MAX, |age| {
        now_ms() - i64::try_from(age.0.as_millis()).unwrap_or(i64::MAX)
    });
    let options = Options {
        store: args.remote.store.name.clone(),
        endpoint_name,
        library: args.library.clone(),
        before,
        share_max_percent: args.max_share,
    };
    let found = purge::look(&options, database)?;
    let command = Command {
        args,
        database,
        style,
        next: settings::next(&args.remote, database, &options.endpoint_name),
    };
    if !style.json && !style.quiet {
        command.page(&found)?;
    }
    let done = command.act(&found, &options);
    if style.json {
        command.line(&found, &done);
    }
    let done = done?;
    if let Some(error) = &done.error {
        let error = Error {
            remedy: command.next.in_text(&error.remedy),
            ..error.clone()
        };
        complain(&error, style.verbose);
    }
    if !style.json && (!style.quiet || done.exit != 0) {
        command.closing(&found, &done)?;
    }
    Ok(done.exit)
}

struct Command<'a> {
    args: &'a args::Purge,
    database: &'a Path,
    style: Style,
    next: Next,
}

impl Command<'_> {
    fn act(&self, found: &Found, options: &Options) -> Result<Done, Error> {
        let left = found.count(|sum| sum.documents) + found.begun;
        let nothing = |exit| Done {
            deleted: 0,
            left,
            error: None,
            exit,
        };
        let concurrency = Concurrency::Default.ceiling();
        let listening = Listening::start(self.style, concurrency, Duration::ZERO);
        let done = (|| {
            found.check(self.args.max_share)?;
            if self.args.dry_run {
                return Ok(nothing(0));
            }
            if !found.libraries.is_empty() && !self.args.yes {
                ask::can_ask("purge")?;
            }
            listening.listen()?;
            let call = listening.call(self.database);
            if found.is_nothing() {
                return purge::forget(&call, found).map(|()| nothing(0));
            }
            let target = settings::target(&self.args.remote)?;
            let question = format!("delete {}?", self.what(found));
            let is_wanted = found.libraries.is_empty()
                || self.args.yes
                || ask::ask(&question, &listening.shutdown);
            match is_wanted {
                true => purge::run(&call, &target, options),
                false => Ok(nothing(EXIT_NOT_DONE)),
            }
        })();
        match (listening.end(), done) {
            (Some(exit), Err(_)) => Ok(nothing(exit)),
            (Some(exit), Ok(done)) => Ok(Done { exit, ..done }),
            (None, done) => done,
        }
    }

    /// The same purge, carried out.
    fn again(&self) -> String {
        let mut words = "purge".to_owned();
        if let Some(name) = &self.args.library {
            words.push_str(&format!(" --library {}", quoted(name)));
        }
        if let Some(age) = self.args.older_than {
            words.push_str(&format!(" --older-than {age}"));
        }
        self.next.line(&words)
    }

    /// "3 documents (1.2 kB) of 2 files from store `objlib`".
    fn what(&self, found: &Found) -> String {
        format!(
            "{} ({}) of {} from store `{}`",
            count(found.count(|sum| sum.documents), "document"),
            bytes(found.count(|sum| sum.bytes)),
            count(found.count(|sum| sum.files), "file"),
            one_line(&found.store.display_name)
        )
    }

    /// What it would delete, before anything is deleted.
    fn page(&self, found: &Found) -> Result<(), Error> {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let mut lines = Vec::new();
        let reader = Reader::open(self.database)?;
        for of in &found.libraries {
            for (what, sum) in [("missing", &of.missing), ("left out", &of.left_out)] {
                if sum.documents > 0 {
                    let since = sum.since_ms.map(|ms| since(reader.local(ms)));
                    let since = since.unwrap_or_default();
                    lines.push(row(&of.library.name, what, sum, of.documents) + &since);
                }
            }
        }
        if !lines.is_empty() {
            let _ = writeln!(
                out,
                "{:<16}  {:<8}  {:>9}  {:>9}  {:>9}  {:>9}  since",
                "library", "what", "files", "documents", "in store", "size"
            );
        }
        for line in lines {
            let _ = writeln!(out, "{line}");
        }
        let mut name = |library: &str, path: &str| {
            let _ = writeln!(out, "  {}", one_line(&format!("{library}: {path}")));
        };
        let files = found.count(|sum| sum.files);
        match self.style.verbose {
            true => purge::each_named(found, self.database, &mut name)?,
            false => found
                .named
                .iter()
                .for_each(|(library, path)| name(library, path)),
        }
        let more = files.saturating_sub(found.named.len() as u64);
        if more > 0 && !self.style.verbose {
            let _ = writeln!(out, "  … ({more} more: --verbose names them)");
        }
        let on_the_way: u64 = found.libraries.iter().map(|of| of.on_the_way).sum();
        if on_the_way > 0 {
            let uploads = count(on_the_way, "upload");
            let _ = writeln!(
                out,
                "besides {uploads} of such files that an earlier run has left on the way"
            );
        }
        if found.begun > 0 {
            let documents = count(found.begun, "document");
            let _ = writeln!(out, "besides {documents} whose deletion was begun before");
        }
        written(out.flush()).map(drop)
    }

    fn closing(&self, found: &Found, done: &Done) -> Result<(), Error> {
        let files = count(found.count(|sum| sum.files), "file");
        let line = match (self.args.dry_run, done.exit, done.left) {
            _ if found.is_nothing() => "nothing to purge".to_owned(),
            (true, ..) => format!("nothing was deleted; next: `{}`", self.again()),
            (false, 0, _) => format!("deleted {} of {files}", count(done.deleted, "document"),),
            (false, _, left) => format!(
                "deleted {}, left {left}; next: `{}`",
                count(done.deleted, "document"),
                self.again()
            ),
        };
        match (say(&format!("{line}\n")), self.args.dry_run) {
            (Err(error), true) => Err(error),
            // What was done is done.
            _ => Ok(()),
        }
    }

    fn line(&self, found: &Found, done: &Result<Done, Error>) {
        let (deleted, left, exit) = match done {
            Ok(done) => (done.deleted, done.left, done.exit),
            Err(error) => {
                let left = found.count(|sum| sum.documents) + found.begun;
                (0, left, error.kind.exit_code())
            }
        };
        let line = json!({
            "event": "purge", "store": found.store.display_name,
            "dry_run": self.args.dry_run, "files": found.count(|sum| sum.files),
            "documents": found.count(|sum| sum.documents), "bytes": found.count(|sum| sum.bytes),
            "deleted": deleted, "left": left, "exit": exit});
        let _ = say(&(timed(line) + "\n"));
    }
}

fn row(library: &str, what: &str, sum: &Sum, documents: u64) -> String {
    format!(
        "{:<16}  {what:<8}  {:>9}  {:>9}  {documents:>9}  {:>9}  ",
        one_line(library),
        sum.files,
        sum.documents,
        bytes(sum.bytes)
    )
}

fn since(since: Local) -> String {
    let ms = u64::try_from(now_ms() - since.ms).unwrap_or(0);
    let age = time(Duration::from_millis(ms));
    let day: String = since.date_and_time().chars().take(10).collect();
    format!("{day} ({age})")
}
