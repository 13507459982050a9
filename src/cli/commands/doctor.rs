//! `objlib doctor`: whether an upload would work here, a line for each thing that it needs.

use std::path::PathBuf;

use serde_json::json;

use crate::app::Service;
use crate::app::doctor::{self, Finding};
use crate::cli::args;
use crate::cli::help::environment;
use crate::cli::settings;
use crate::cli::terminal::stdout::say;
use crate::error::{Error, Kind};
use crate::report::Style;
use crate::report::event::ndjson::timed;
use crate::text::one_line;

/// The exit code that an upload would end with now, as far as this can be told.
pub fn run(
    args: &args::Doctor,
    database: Result<PathBuf, Error>,
    style: Style,
) -> Result<u8, Error> {
    let mut stopped: Option<Kind> = None;
    let mut said = Ok(());
    let mut take = |finding: Finding| {
        let stops = finding.trouble.as_ref().and_then(|trouble| trouble.stops);
        stopped = stopped.or(stops);
        let is_wanted = !style.quiet || style.json || finding.trouble.is_some();
        if is_wanted && said.is_ok() {
            said = say(&match style.json {
                true => to_json(&finding),
                false => to_text(&finding, style.color),
            });
        }
    };
    take(Finding::fine(
        "program",
        concat!("objlib ", env!("OBJLIB_LONG_VERSION")),
    ));
    let target = settings::target_or_findings(&args.remote, &mut take);
    let waits = settings::waits();
    let reader = match &database {
        Ok(database) => doctor::here(database, &waits, &mut take),
        Err(e) => {
            take(Finding::wrong("database", e));
            None
        }
    };
    // The embedded service's data lie beside the database.
    let target =
        target.filter(|target| database.is_ok() || !matches!(target.service, Service::Emulator));
    let database = &database.unwrap_or_default();
    if let Some(target) = &target {
        if !args.offline {
            doctor::there(database, target, waits, &mut take);
        }
        if let Some(reader) = reader
            .as_ref()
            .filter(|_| !matches!(target.service, Service::Emulator))
        {
            take(doctor::quota(reader, &target.endpoint_name));
        }
        for name in ["OBJLIB_RPM", "OBJLIB_TIER"] {
            if let Some(value) = environment::set(name) {
                let value = value.to_string_lossy();
                let text = format!("{name}={value}: uploads keep to that");
                take(Finding::fine("ceiling", text));
            }
        }
    }
    said.map(|()| stopped.map_or(0, Kind::exit_code))
}

fn state(finding: &Finding) -> &'static str {
    match &finding.trouble {
        None => "ok",
        Some(trouble) if trouble.stops.is_none() => "warning",
        Some(_) => "wrong",
    }
}

fn to_json(finding: &Finding) -> String {
    let mut line = json!({
        "event": "check", "check": finding.check, "state": state(finding),
        "text": finding.text});
    if let Some(trouble) = &finding.trouble {
        line["hint"] = json!(trouble.remedy);
    }
    timed(line) + "\n"
}

fn to_text(finding: &Finding, color: bool) -> String {
    let state = state(finding);
    let style = match state {
        "ok" => console::Style::new().green(),
        "warning" => console::Style::new().yellow(),
        _ => console::Style::new().red(),
    };
    let mark = style.force_styling(color).apply_to(format!("{state:<8}"));
    let mut text = format!("{mark} {:<9} {}\n", finding.check, one_line(&finding.text));
    if let Some(trouble) = &finding.trouble {
        text += &format!("{:18} hint: {}\n", "", one_line(&trouble.remedy));
    }
    text
}
