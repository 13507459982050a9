//! Progress where there is no terminal: a plain line now and then.

use super::{Snapshot, reading};
use crate::report::units::{a_second, bytes, countdown, left};
use crate::text::one_line;

pub fn line(s: &Snapshot) -> String {
    if let (false, Some(read)) = (s.running, &s.reading) {
        return reading::words(read);
    }
    let mut line = format!(
        "{} of {} files indexed, {} of {}",
        s.indexed,
        s.files,
        bytes(s.indexed_bytes),
        bytes(s.bytes)
    );
    if let Some(pace) = a_second(&s.pace) {
        line.push_str(&format!(", {pace}"));
    }
    if s.indexing > 0 {
        line.push_str(&format!(", {} being indexed", s.indexing));
    }
    if s.failed > 0 {
        line.push_str(&format!(", {} failed", s.failed));
    }
    if let Some(read) = &s.reading {
        line.push_str(&format!(", {}", reading::words(read)));
    }
    match (&s.paused, s.eta) {
        (Some((why, left)), _) => {
            line.push_str(&format!(
                ", paused for {}: {}",
                countdown(*left),
                one_line(why)
            ));
        }
        (None, Some(eta)) => line.push_str(&format!(", {}", left(eta, &s.pace))),
        (None, None) => {}
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::bars::tests::snapshot;
    use super::*;

    #[test]
    fn a_line_says_it_all() {
        assert_eq!(
            line(&snapshot()),
            "120 of 400 files indexed, 1.2 MB of 4.0 MB, 12.5 files/s, 140.0 kB/s, 7 being indexed, \
             2 failed, 23 s left"
        );
    }
}
