//! Lines of the page about the run that is under way, or was the last.

use std::time::Duration;

use super::{LastRun, Status, StoreStatus};
use crate::clock::Local;
use crate::report::tone::Tone;
use crate::report::units::{countdown, time, when};
use crate::state::reader::KILLED;
use crate::text::one_line;

/// Of fewer files nobody can tell how long the others take: the first ones wait for the service.
const ENOUGH_FILES: u64 = 10;

impl Status {
    fn passed(&self, since: Local) -> Duration {
        Duration::from_millis(u64::try_from(self.now.ms - since.ms).unwrap_or(0))
    }

    /// Of a run in two lines, so that its figures stand on a narrow terminal as well.
    pub(super) fn works(&self, color: bool) -> Vec<String> {
        let Some((since, worker)) = &self.worker else {
            return Vec::new();
        };
        let who = format!(
            "pid {} on {}",
            worker.holder.pid,
            one_line(&worker.holder.host)
        );
        let Some(last) = self.last_run.as_ref().filter(|_| self.is_running) else {
            let working = Tone::UnderWay.paint("working", color);
            let began = when(*since, self.now);
            return vec![format!("{working}   {who}, began {began}")];
        };
        let (run, began) = (&last.run, when(last.started, self.now));
        let running = format!(
            "{}   run {}{}, {who}, began {began}",
            Tone::UnderWay.paint("running", color),
            run.run,
            self.into(last)
        );
        let mut line = format!(
            "so far    {} indexed, {} failed",
            run.totals.indexed, run.totals.failed
        );
        let passed = self.passed(last.started);
        if run.totals.indexed > 0 && !passed.is_zero() {
            let rate = run.totals.indexed as f64 / passed.as_secs_f64();
            line.push_str(&format!(", {rate:.1} files/s"));
            let store = self
                .stores
                .iter()
                .find(|s| s.id.is_some() && s.id == run.store_id);
            let is_enough = |left: &u64| *left > 0 && run.totals.indexed >= ENOUGH_FILES;
            if let Some(left) = store.map(StoreStatus::left).filter(is_enough) {
                let left = Duration::from_secs_f64((left as f64 / rate).min(1e9));
                line.push_str(&format!(", about {} left", countdown(left)));
            }
        }
        vec![running, line]
    }

    /// Which store a run was about, unless it is the one that is shown.
    fn into(&self, last: &LastRun) -> String {
        match (&last.into, &self.stores[..]) {
            (Some(store), [shown]) if shown.id != last.run.store_id => Some(store),
            (Some(store), [_, _, ..]) => Some(store),
            _ => None,
        }
        .map_or_else(String::new, |store| {
            format!(", into {}", one_line(&store.shown()))
        })
    }

    pub(super) fn ended(&self, last: &LastRun, color: bool) -> String {
        let run = &last.run;
        let began = when(last.started, self.now);
        if run.outcome == KILLED {
            let heard = match last.heard {
                Some(heard) => format!(" (last seen alive {})", when(heard, self.now)),
                None => String::new(),
            };
            return format!(
                "last run  began {began}, {}{heard}: {} indexed, {} failed until then{}",
                Tone::Failed.paint(KILLED, color),
                run.totals.indexed,
                run.totals.failed,
                self.into(last)
            );
        }
        let took = run.ended_ms.map_or_else(String::new, |ended| {
            let ms = u64::try_from(ended - run.started_ms).unwrap_or(0);
            format!(", took {}", time(Duration::from_millis(ms)))
        });
        format!(
            "last run  began {began}{took}, {}: {} indexed, {} failed, {} left{}",
            one_line(&run.outcome),
            run.totals.indexed,
            run.totals.failed,
            run.totals.pending + run.totals.processing,
            self.into(last)
        )
    }
}
