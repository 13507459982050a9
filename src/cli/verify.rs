//! `objlib verify`: compare, show, and with `--repair` act.

use std::io::Write;
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
use crate::pipeline::verify::{Drift, Plan, Verify};
use crate::report::{Next, Progress, Reporter, Style};
use crate::shutdown::{Shutdown, Stop};
use crate::state::{Reader, writer};
use crate::text::{json_line, one_line};
use crate::throttle::Rpm;

/// Files named per kind of difference, unless `--verbose`.
const NAMED_MAX: usize = 5;
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
    let reporter = Reporter::start(style, Arc::new(Progress::new(0)), &shutdown);
    signals::listen(&shutdown, reporter.urgent())?;
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
        let Some(store) = resolve.existing()? else {
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
            false => plan.drift.len(),
        };
        Ok((plan, left))
    });
    drop(writer);
    let closed = started.thread.close();
    reporter.finish();
    match (shutdown.reason(), &done) {
        (Some(Stop::Interrupt), _) => return Ok(signals::EXIT_INTERRUPTED),
        (Some(Stop::Terminate), _) => return Ok(signals::EXIT_TERMINATED),
        _ => closed?,
    }
    let (plan, left) = done?;
    let exit = if left == 0 { CLEAN } else { DRIFT };
    let text = match style.json {
        true => line(&plan, args.repair, left, exit),
        false if style.quiet => String::new(),
        false => {
            let next = settings::next(&args.remote, database, &endpoint_name);
            page(&plan, args, left, &next, style.verbose)
        }
    };
    let mut out = std::io::stdout().lock();
    // Whoever read this has seen enough.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(exit)
}

/// Each kind of difference: its name in JSON, and what is said and done about it.
const KINDS: [(&str, &str, &str); 5] = [
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

fn kind(drift: &Drift) -> usize {
    match drift {
        Drift::TakeBack { .. } => 0,
        Drift::Duplicate { .. } => 1,
        Drift::Gone { .. } => 2,
        Drift::Broken { .. } => 3,
        Drift::Unknown { .. } => 4,
    }
}

fn counts(plan: &Plan) -> [usize; KINDS.len()] {
    let mut counts = [0; KINDS.len()];
    for drift in &plan.drift {
        counts[kind(drift)] += 1;
    }
    counts
}

fn line(plan: &Plan, repair: bool, left: usize, exit: u8) -> String {
    let mut line = json!({
        "event": "verify", "time": rfc3339(now_ms()), "documents": plan.documents,
        "matching": plan.matching, "foreign": plan.foreign, "elsewhere": plan.elsewhere, "in_doubt": plan.in_doubt,
        "repaired": if repair { plan.drift.len() - left } else { 0 }, "exit": exit});
    for ((name, ..), n) in KINDS.iter().zip(counts(plan)) {
        line[*name] = json!(n);
    }
    json_line(&line) + "\n"
}

fn page(plan: &Plan, args: &args::Verify, left: usize, next: &Next, verbose: bool) -> String {
    let name = one_line(&args.remote.store.name);
    let mut lines = vec![format!(
        "store `{name}`: {} documents, {} match the database",
        plan.documents, plan.matching
    )];
    for (i, n) in counts(plan).into_iter().enumerate().filter(|(_, n)| *n > 0) {
        let (_, what, then) = KINDS[i];
        let done = if args.repair { "" } else { "would be " };
        lines.push(format!("  {n} {what}: {done}{then}"));
        let named = plan.drift.iter().filter(|d| kind(d) == i);
        let most = if verbose { usize::MAX } else { NAMED_MAX };
        lines.extend(
            named
                .take(most)
                .map(|d| format!("      {}", one_line(d.path()))),
        );
        if n > most {
            lines.push(format!("      … ({} more: --verbose names them)", n - most));
        }
    }
    if plan.foreign > 0 {
        lines.push(format!(
            "  {} not put there by objlib: left alone",
            plan.foreign
        ));
    }
    if plan.elsewhere > 0 {
        lines.push(format!(
            "  {} of libraries that this database does not know: left alone",
            plan.elsewhere
        ));
    }
    if plan.in_doubt > 0 {
        lines.push(format!(
            "  {} still on the way: `objlib upload` settles them",
            plan.in_doubt
        ));
    }
    let resend = plan.drift.iter().any(|d| matches!(kind(d), 2 | 3));
    lines.push(match (plan.drift.is_empty(), args.repair, left) {
        (true, ..) => "they agree".to_owned(),
        (_, false, _) => format!("next: `{}`", next.line("verify --repair")),
        (_, true, 0) if resend => format!("repaired; next: `{}`", next.line("upload")),
        (_, true, 0) => "repaired".to_owned(),
        (_, true, left) => format!("{left} differences are left"),
    });
    lines.join("\n") + "\n"
}
