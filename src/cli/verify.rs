//! `objlib verify`: compare, show, and with `--repair` act.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::args;
use super::connect::{self, Pace};
use super::settings;
use super::signals;
use crate::clock::{now_ms, rfc3339};
use crate::error::{Error, Kind};
use crate::pipeline::store::Resolve;
use crate::pipeline::verify::{Plan, Verify};
use crate::report::{Next, Progress, Reporter, Style};
use crate::shutdown::{Shutdown, Stop};
use crate::state::drift::DriftKind;
use crate::state::{Reader, writer};
use crate::text::{json_line, one_line};
use crate::throttle::Rpm;

/// Files named per kind of difference, unless `--verbose`.
const NAMED_MAX: u64 = 5;
/// One thread asks.
const CONCURRENCY: usize = 1;
/// How often a service that fails is waited for.
const PATIENCE: u32 = 3;

/// The exit codes of this command.
const CLEAN: u8 = 0;
const DRIFT: u8 = 3;

pub fn run(args: &args::Verify, database: &Path, style: Style) -> Result<u8, Error> {
    let endpoint_name = settings::endpoint_name(&args.remote)?;
    let service = settings::service(&args.remote)?;
    // Nothing is known yet: then there is nothing to compare.
    drop(Reader::open(database)?);
    let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
    signals::listen(&shutdown)?;
    let started = writer::start(database, Arc::clone(&shutdown))?;
    let writer = started.thread.writer();
    let reader = Reader::open(database)?;
    let done = connect::with_service(&service, database, |endpoint, key| {
        let pace = Pace {
            rpm: Rpm::Auto,
            concurrency: CONCURRENCY,
            endpoint_name: &endpoint_name,
        };
        let lease = started.thread.lease();
        let service = (endpoint, key);
        let (_, client) = connect::client(&args.remote, service, &pace, &reader, lease, &shutdown)?;
        let name = &args.remote.store.name;
        let reporter = Reporter::start(style, Arc::new(Progress::new(0)));
        let events = reporter.sender();
        let resolve = Resolve {
            wanted: name,
            endpoint: &endpoint_name,
            reader: &reader,
            writer: &writer,
            client: &client,
            events: &events,
            shutdown: &shutdown,
            patience: PATIENCE,
        };
        let store = resolve.existing();
        drop(events);
        reporter.finish();
        let Some(store) = store? else {
            return Err(Error::new(
                Kind::Store,
                format!("store `{name}`"),
                "there is no store of this name",
                "name another one with --store; the first upload into it creates it",
            ));
        };
        let verify = Verify {
            store: &store.row,
            client: &client,
            reader: &reader,
            writer: &writer,
            shutdown: &shutdown,
            share_max_percent: args.max_share,
        };
        let plan = verify.compare()?;
        let left = match args.repair {
            true => verify.repair(&plan)?,
            false => plan.drift.total(),
        };
        Ok((plan, left))
    });
    drop(writer);
    let closed = started.thread.close();
    match (shutdown.reason(), &done) {
        (Some(Stop::Interrupt), _) => return Ok(signals::EXIT_INTERRUPTED),
        (Some(Stop::Terminate), _) => return Ok(signals::EXIT_TERMINATED),
        _ => closed?,
    }
    let (plan, left) = done?;
    let exit = if left == 0 { CLEAN } else { DRIFT };
    let mut out = BufWriter::new(std::io::stdout().lock());
    match style.json {
        true => print_line(&mut out, &plan, args.repair, left, exit),
        false if style.quiet => {}
        false => {
            let next = settings::next(&args.remote, database, &endpoint_name);
            let name = one_line(&args.remote.store.name);
            let shown = Page {
                name: &name,
                repair: args.repair,
                left,
                verbose: style.verbose,
            };
            print_page(&mut out, &plan, &shown, &next)?;
        }
    }
    // Whoever read this has seen enough.
    let _ = out.flush();
    Ok(exit)
}

/// Each kind of difference, as `DriftKind` counts them: its name in JSON, and what is said and done about
/// it.
const KINDS: [(&str, &str, &str); DriftKind::ALL.len()] = [
    (
        "taken_back",
        "in the store, unknown to the database",
        "taken back",
    ),
    ("duplicates", "in the store twice", "deleted there"),
    (
        "gone",
        "indexed, but gone from the store",
        "sent again by `objlib upload`",
    ),
    (
        "broken",
        "in the store, but failed or not whole",
        "deleted there, and sent again by `objlib upload`",
    ),
    (
        "unknown",
        "in the store, of files that no scan has seen",
        "left alone",
    ),
];

fn print_line(out: &mut impl Write, plan: &Plan, repair: bool, left: u64, exit: u8) {
    let mut line = json!({
        "event": "verify", "time": rfc3339(now_ms()), "documents": plan.documents,
        "matching": plan.matching, "foreign": plan.foreign, "elsewhere": plan.elsewhere, "in_doubt": plan.in_doubt,
        "repaired": if repair { plan.drift.total() - left } else { 0 }, "exit": exit});
    for ((name, ..), kind) in KINDS.iter().zip(DriftKind::ALL) {
        line[*name] = json!(plan.drift.count(kind));
    }
    let _ = writeln!(out, "{}", json_line(&line));
}

/// What the page says beside the plan.
struct Page<'a> {
    /// Of the store.
    name: &'a str,
    /// The plan was carried out.
    repair: bool,
    /// Differences that are left.
    left: u64,
    /// Every file is named.
    verbose: bool,
}

/// Written as it is read: with `--verbose` there may be a million names. An error of the output is not
/// looked at, as everywhere: whoever read it has seen enough.
fn print_page(
    out: &mut impl Write,
    plan: &Plan,
    shown: &Page<'_>,
    next: &Next,
) -> Result<(), Error> {
    let _ = writeln!(
        out,
        "store `{}`: {} documents, {} match the database",
        shown.name, plan.documents, plan.matching
    );
    let most = if shown.verbose { u64::MAX } else { NAMED_MAX };
    for (kind, (_, what, then)) in DriftKind::ALL.into_iter().zip(KINDS) {
        let n = plan.drift.count(kind);
        if n == 0 {
            continue;
        }
        let done = if shown.repair { "" } else { "would be " };
        let _ = writeln!(out, "  {n} {what}: {done}{then}");
        plan.drift.each(Some(kind), most, &mut |drift| {
            let _ = writeln!(out, "      {}", one_line(drift.path()));
            Ok(())
        })?;
        if n > most {
            let _ = writeln!(out, "      … ({} more: --verbose names them)", n - most);
        }
    }
    for (n, what) in [
        (plan.foreign, "not put there by objlib: left alone"),
        (
            plan.elsewhere,
            "of libraries that this database does not know: left alone",
        ),
        (
            plan.in_doubt,
            "still on the way: `objlib upload` settles them",
        ),
    ] {
        if n > 0 {
            let _ = writeln!(out, "  {n} {what}");
        }
    }
    let _ = writeln!(out, "{}", closing(plan, shown, next));
    Ok(())
}

/// The last line: what to do next.
fn closing(plan: &Plan, shown: &Page<'_>, next: &Next) -> String {
    let resend = [DriftKind::Gone, DriftKind::Broken];
    let resend = resend.iter().any(|kind| plan.drift.count(*kind) > 0);
    match (plan.drift.total(), shown.repair, shown.left) {
        (0, ..) => "they agree".to_owned(),
        (_, false, _) => format!("next: `{}`", next.line("verify --repair")),
        (_, true, 0) if resend => format!("repaired; next: `{}`", next.line("upload")),
        (_, true, 0) => "repaired".to_owned(),
        (_, true, left) => format!("{left} differences are left"),
    }
}
