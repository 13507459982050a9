//! Bytes, times and counts as people read them.

use std::time::Duration;

use super::progress::pace::Pace;

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

/// "12.5 files/s, 1.2 MB/s".
pub fn a_second(pace: &Pace) -> String {
    format!("{:.1} files/s, {}/s", pace.files, bytes(pace.bytes as u64))
}

/// "4.2 s left", and whether it will rather be less.
pub fn left(eta: Duration, pace: &Pace) -> String {
    let rising = match pace.is_rising {
        true => " (rate still rising)",
        false => "",
    };
    format!("{} left{rising}", time(eta))
}

/// "1 file", "2 files".
pub fn count(n: u64, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        _ => format!("{n} {one}s"),
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
        assert_eq!(time(Duration::from_secs(273_600)), "3 d 4 h");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(0, "file"), "0 files");
    }
}
