//! Bytes, times, moments and counts as people read them.

use std::time::Duration;

use super::progress::pace::Pace;
use crate::clock::Local;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// "1.5 MB": decimal, as disks and the service's limits are counted.
pub fn bytes(n: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

/// "350 ms", "4.2 s", "3 min 5 s", "2 h 10 min", "3 d 4 h".
pub fn time(t: Duration) -> String {
    let seconds = t.as_secs();
    match seconds {
        0 => format!("{} ms", t.as_millis()),
        1..60 => format!("{:.1} s", t.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// "12.5 files/s, 1.2 MB/s"; nothing of what does not move.
pub fn a_second(pace: &Pace) -> Option<String> {
    let sent = bytes(pace.bytes as u64);
    match (pace.files > 0.0, pace.bytes >= 1.0) {
        (false, false) => None,
        (false, true) => Some(format!("{sent}/s")),
        (true, _) => Some(format!("{:.1} files/s, {sent}/s", pace.files)),
    }
}

/// What counts down stands still for a second at a time: "5 s", "3 min 5 s".
pub fn countdown(t: Duration) -> String {
    let seconds = t.as_secs() + u64::from(t.subsec_nanos() > 0);
    match seconds {
        0..60 => format!("{seconds} s"),
        _ => time(Duration::from_secs(seconds)),
    }
}

/// "5 s left", and whether it will rather be less.
pub fn left(eta: Duration, pace: &Pace) -> String {
    let rising = match pace.is_rising {
        true => " (rate still rising)",
        false => "",
    };
    format!("{} left{rising}", countdown(eta))
}

/// "1 file", "2 files".
pub fn count(n: u64, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        _ => format!("{n} {one}s"),
    }
}

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
    fn sizes_times_and_counts_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(bytes(u64::MAX), "18446.7 PB");
        assert_eq!(time(Duration::from_millis(350)), "350 ms");
        assert_eq!(time(Duration::from_millis(4200)), "4.2 s");
        assert_eq!(time(Duration::from_secs(185)), "3 min 5 s");
        assert_eq!(time(Duration::from_secs(7800)), "2 h 10 min");
        assert_eq!(countdown(Duration::from_millis(4200)), "5 s");
        assert_eq!(countdown(Duration::from_millis(59_001)), "1 min 0 s");
        assert_eq!(time(Duration::from_secs(273_600)), "3 d 4 h");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(0, "file"), "0 files");
    }

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
