//! The page of a run, from what the database holds. Needs no lock and no service.

use std::path::Path;

use crate::clock::now_ms;
use crate::error::{Error, Kind};
use crate::report::html::{Details, RunReport};
use crate::state::Reader;
use crate::waits::Waits;

/// `run`: the last one, if none is named.
///
/// # Errors
/// There is no such run, or none at all.
pub fn report(database: &Path, run: Option<i64>, waits: &Waits) -> Result<RunReport, Error> {
    let reader = Reader::open(database)?;
    // Row and record are those of one moment, also while the run goes on.
    reader.renew()?;
    let Some(newest) = reader.newest_run()? else {
        return Err(Error::new(
            Kind::Input,
            database.display().to_string(),
            "there was no run yet, so there is nothing to report",
            "run `objlib upload DIR` first",
        ));
    };
    let wanted = run.unwrap_or(newest);
    let Some(row) = reader.run(wanted, waits.lock_stale_after)? else {
        return Err(unknown(&reader, wanted, waits)?);
    };
    Ok(RunReport {
        details: reader.run_details(wanted)?.map(|json| Details::read(&json)),
        began: reader.local(row.started_ms),
        run: row,
        now: reader.local(now_ms()),
    })
}

/// Runs that are named where there is none of a number.
const NAMED_MAX: usize = 5;

fn unknown(reader: &Reader, wanted: i64, waits: &Waits) -> Result<Error, Error> {
    let mut known = Vec::new();
    for number in reader.newest_runs()?.into_iter().take(NAMED_MAX) {
        if let Some(run) = reader.run(number, waits.lock_stale_after)? {
            let began = reader.local(run.started_ms).to_the_second();
            let (outcome, indexed) = (&run.outcome, run.totals.indexed);
            known.push(format!(
                "{number} of {began} ({outcome}, {indexed} indexed)"
            ));
        }
    }
    Ok(Error::new(
        Kind::Input,
        format!("run {wanted}"),
        "there is none of this number",
        format!("the last ones are {}", known.join(", ")),
    ))
}
