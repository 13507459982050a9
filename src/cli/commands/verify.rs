//! `objlib verify`: compare, show, and with `--repair` act.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::app;
use crate::cli::terminal::listening::Listening;
use crate::cli::terminal::stdout::written;
use crate::cli::{args, settings};
use crate::clock::{now_ms, rfc3339};
use crate::error::Error;
use crate::pipeline::reconcile::verify::RepairPlan;
use crate::report::event::ndjson::timed;
use crate::report::units::count;
use crate::report::{Next, Style};
use crate::state::comparison::drift::DriftKind;
use crate::text::{json_line, one_line};

/// Files named per kind of difference, unless `--verbose`.
const NAMED_MAX: u64 = 5;

/// Differences that an agent is told of by name.
const DIFFERENCES_MAX: u64 = 100;

/// The exit codes of this command.
const CLEAN: u8 = 0;
const DRIFT: u8 = 3;

pub fn run(args: &args::Verify, database: &Path, style: Style) -> Result<u8, Error> {
    let options = app::verify::Options {
        target: settings::target(&args.remote)?,
        repair: args.repair,
        share_max_percent: args.max_share,
    };
    let listening = Listening::start(style, 0, Duration::ZERO);
    listening.listen()?;
    let done = app::verify::run(&listening.call(database), &options);
    if let Some(exit) = listening.end() {
        return Ok(exit);
    }
    let (plan, left) = done?;
    let exit = if left == 0 { CLEAN } else { DRIFT };
    let mut out = BufWriter::new(std::io::stdout().lock());
    match style.json {
        true => {
            if style.verbose {
                print_differences(&mut out, &plan)?;
            }
            let line = to_json(&plan, args.repair, left, exit);
            let _ = writeln!(out, "{}", json_line(&line));
        }
        false if style.quiet => {}
        false => {
            let endpoint = &options.target.endpoint_name;
            let next = settings::next(&args.remote, database, endpoint);
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
    written(out.flush())?;
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
        "in the store, but not whole",
        "deleted there, and sent again by `objlib upload`",
    ),
    (
        "unknown",
        "in the store, of files that no scan has seen",
        "recorded as missing where they are gone from disk: then `objlib purge` deletes them",
    ),
    (
        "failed",
        "in the store, but failed there",
        "deleted there, and sent again by `objlib upload`",
    ),
    (
        "stale",
        "in the store, of older content",
        "deleted there, as soon as the new content is in the store",
    ),
    (
        "metadata",
        "in the store, with other metadata",
        "deleted there, as soon as the same with the right ones is in the store",
    ),
];

/// A line for each, which may be a million.
fn print_differences(out: &mut impl Write, plan: &RepairPlan) -> Result<(), Error> {
    plan.drift.each(None, u64::MAX, &mut |drift| {
        let (kind, ..) = KINDS[drift.kind as usize];
        let line = json!({"event": "difference", "kind": kind,
                          "library": drift.library, "path": drift.path});
        let _ = writeln!(out, "{}", timed(line));
        Ok(())
    })
}

/// For an agent: the line of `--json`, and the first differences by name.
pub(in crate::cli) fn with_differences(plan: &RepairPlan, left: u64) -> Result<Value, Error> {
    let mut line = to_json(plan, false, left, if left == 0 { CLEAN } else { DRIFT });
    let mut differences = Vec::new();
    plan.drift.each(None, DIFFERENCES_MAX, &mut |drift| {
        let (kind, ..) = KINDS[drift.kind as usize];
        differences.push(json!({"kind": kind, "library": drift.library, "path": drift.path}));
        Ok(())
    })?;
    line["differences"] = json!(differences);
    Ok(line)
}

/// For an agent: the page, which names the first few of each kind.
pub(in crate::cli) fn to_text(
    plan: &RepairPlan,
    store: &str,
    next: &Next,
) -> Result<String, Error> {
    let mut text = Vec::new();
    let shown = Page {
        name: &one_line(store),
        repair: false,
        left: plan.drift.total(),
        verbose: false,
    };
    print_page(&mut text, plan, &shown, next)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn to_json(plan: &RepairPlan, repair: bool, left: u64, exit: u8) -> Value {
    let mut line = json!({
        "event": "verify", "time": rfc3339(now_ms()), "documents": plan.documents,
        "matching": plan.matching, "foreign": plan.foreign, "elsewhere": plan.elsewhere, "in_doubt": plan.in_doubt,
        "under_way": plan.under_way, "unsent": plan.unsent,
        "repaired": if repair { plan.drift.total() - left } else { 0 }, "exit": exit});
    for ((name, ..), kind) in KINDS.iter().zip(DriftKind::ALL) {
        line[*name] = json!(plan.drift.count(kind));
    }
    line
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

/// Written as it is read: with `--verbose` there may be a million names. An error of the output is
/// looked at in the end, when what it kept is written.
fn print_page(
    out: &mut impl Write,
    plan: &RepairPlan,
    shown: &Page<'_>,
    next: &Next,
) -> Result<(), Error> {
    let _ = writeln!(
        out,
        "store `{}`: {}, {} match the database",
        shown.name,
        count(plan.documents, "document"),
        plan.matching
    );
    let most = if shown.verbose { u64::MAX } else { NAMED_MAX };
    for (kind, (_, what, then)) in DriftKind::ALL.into_iter().zip(KINDS) {
        let n = plan.drift.count(kind);
        if n == 0 {
            continue;
        }
        let done = if shown.repair { "" } else { "would be " };
        let done = match plan.drift.left_alone(kind) {
            0 => format!("{done}{then}"),
            left if left == n => "left alone".to_owned(),
            left => format!("{} {done}{then}, {left} left alone", n - left),
        };
        let _ = writeln!(out, "  {n} {what}: {done}");
        plan.drift.each(Some(kind), most, &mut |drift| {
            let path = format!("{}: {}", drift.library, drift.path);
            let _ = writeln!(out, "      {}", one_line(&path));
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
            plan.strangers,
            "of these were never sent from here: right if the database was lost; if another machine or database \
             uses the library's name, `objlib library rename` one of them before any repair",
        ),
        (
            plan.drift.left_alone_in_all(),
            "of these no scan has seen, but they may be on disk: `objlib scan` their folder",
        ),
        (
            plan.in_doubt,
            "still on the way: `objlib upload` settles them",
        ),
    ] {
        if n > 0 {
            let _ = writeln!(out, "  {n} {}", next.in_text(what));
        }
    }
    let _ = writeln!(out, "{}", closing(plan, shown, next));
    Ok(())
}

/// What is under way, or not sent yet, is no difference; but nobody is to take it for being there.
fn agree(plan: &RepairPlan, next: &Next) -> String {
    let (under_way, unsent) = (plan.under_way, plan.unsent);
    let upload = next.line("upload");
    match (under_way, unsent) {
        (0, 0) => "they agree".to_owned(),
        (0, n) => format!(
            "they agree; {} still to be sent: `{upload}`",
            count(n, "file")
        ),
        (n, 0) => format!(
            "they agree; {} still on the way: `{upload}`",
            count(n, "file")
        ),
        _ => format!(
            "they agree; {} still on the way and {unsent} to be sent: `{upload}`",
            count(under_way, "file")
        ),
    }
}

/// The last line: what to do next.
fn closing(plan: &RepairPlan, shown: &Page<'_>, next: &Next) -> String {
    let resend = [
        DriftKind::Gone,
        DriftKind::Broken,
        DriftKind::Failed,
        DriftKind::Stale,
        DriftKind::Metadata,
    ];
    let resend = resend.iter().any(|kind| plan.drift.count(*kind) > 0);
    match (plan.drift.total(), shown.repair, shown.left) {
        (0, ..) => agree(plan, next),
        (total, false, _) if total > plan.drift.left_alone_in_all() => {
            // Whoever only follows the last line is not to take what is another's.
            let only_if = match plan.strangers {
                0 => "",
                _ => ", if they are this database's own",
            };
            format!("next{only_if}: `{}`", next.line("verify --repair"))
        }
        (_, true, 0) if resend => format!("repaired; next: `{}`", next.line("upload")),
        (_, true, 0) => "repaired".to_owned(),
        (.., 1) => "1 difference is left".to_owned(),
        (.., left) => format!("{left} differences are left"),
    }
}
