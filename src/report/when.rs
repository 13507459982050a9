//! Moments as people tell them: "3 minutes ago", "today 02:10".

use crate::clock::Local;

use super::units::count;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// How long ago where that says most, else the day and the time by the clocks here.
pub fn when(at: Local, now: Local) -> String {
    let passed = now.ms.saturating_sub(at.ms);
    match passed {
        0..MINUTE_MS => return "just now".to_owned(),
        MINUTE_MS..HOUR_MS => {
            let minutes = count(passed.unsigned_abs() / MINUTE_MS.unsigned_abs(), "minute");
            return format!("{minutes} ago");
        }
        _ => {}
    }
    let shown = at.date_and_time();
    let day = match now.day() - at.day() {
        0 => "today",
        1 => "yesterday",
        _ => return shown,
    };
    match shown.split_once(' ') {
        Some((_, time)) => format!("{day} {time}"),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_a_moment_the_more_it_is_told_by_how_long_ago_it_was() {
        // 2026-11-26 01:30 in a zone two hours ahead, 23:30 of the day before by UTC.
        let now = 1_795_649_400_000;
        let zone = 2 * HOUR_MS;
        let told = |ago: i64| when(Local::new(now - ago, zone), Local::new(now, zone));
        assert_eq!(told(0), "just now");
        assert_eq!(told(MINUTE_MS), "1 minute ago");
        assert_eq!(told(59 * MINUTE_MS), "59 minutes ago");
        assert_eq!(told(80 * MINUTE_MS), "today 00:10");
        assert_eq!(told(100 * MINUTE_MS), "yesterday 23:50");
        assert_eq!(told(26 * HOUR_MS), "2026-11-24 23:30");
        // A clock that was wrong.
        assert_eq!(told(-3 * HOUR_MS), "today 04:30");
    }

    #[test]
    fn a_time_in_utc_says_so() {
        let now = Local::new(1_795_649_400_000, 0);
        let before = Local::new(now.ms - 2 * HOUR_MS, 0);
        assert_eq!(when(before, now), "today 21:30 UTC");
    }
}
