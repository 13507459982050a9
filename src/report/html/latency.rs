//! How long answers took: a chart for each kind of request, and their percentiles.

use std::fmt::Write;
use std::time::Duration;

use super::chart::{Chart, Series, Shape, number};
use super::markup::row;
use crate::client::wire::meter::{BUCKETS, KINDS, up_to_ms};
use crate::report::units::time;

/// In the order of `KINDS`.
const TITLES: [&str; KINDS.len()] = [
    "Uploads in one request",
    "Upload sessions",
    "Looks at documents",
    "Other requests",
];

pub fn draw(times: &[[u64; BUCKETS]; KINDS.len()], html: &mut String) {
    let all = |bucket: usize| times.iter().map(|kind| kind[bucket]).sum::<u64>();
    let used = |bucket: &usize| all(*bucket) > 0;
    let (Some(first), Some(last)) = ((0..BUCKETS).find(used), (0..BUCKETS).rfind(used)) else {
        return;
    };
    // One axis for all kinds, so that they can be compared.
    let shown = first..=last;
    let n = last - first + 1;
    html.push_str("<section><h2>How long answers took</h2><div class=\"charts\">");
    for (title, kind) in TITLES.into_iter().zip(times) {
        if kind.iter().all(|n| *n == 0) {
            continue;
        }
        let every = n.div_ceil(6);
        // A column holds what took up to its right edge.
        let label = |i: usize| ((i + 1) as f64 / n as f64, said(first + i));
        Chart {
            title,
            nothing: "None.",
            unit: "requests, by time until the answer",
            said: number,
            series: vec![Series {
                name: "requests",
                class: "s1",
                values: shown.clone().map(|i| Some(kind[i] as f64)).collect(),
            }],
            columns: shown
                .clone()
                .map(|i| format!("up to {}", said(i)))
                .collect(),
            labels: (every / 2..n).step_by(every).map(label).collect(),
            shape: Shape::Counts,
        }
        .draw(html);
    }
    html.push_str("</div><div class=\"wide\"><table>");
    row(
        html,
        "th",
        &[
            &"requests",
            &"answers",
            &"median",
            &"90 %",
            &"99 %",
            &"longest",
        ],
    );
    for (title, kind) in TITLES.into_iter().zip(times) {
        let answers: u64 = kind.iter().sum();
        if answers == 0 {
            continue;
        }
        let cells = [0.5, 0.9, 0.99, 1.0].map(|share| said(percentile(kind, answers, share)));
        let [median, p90, p99, longest] = &cells;
        row(html, "td", &[&title, &answers, median, p90, p99, longest]);
    }
    let _ = write!(
        html,
        "</table></div><p class=\"note\">Each time is rounded up, by 19 % at the most.</p></section>"
    );
}

/// The bucket up to which so large a share of the answers came.
fn percentile(kind: &[u64; BUCKETS], answers: u64, share: f64) -> usize {
    let wanted = (answers as f64 * share).ceil() as u64;
    let mut seen = 0;
    let reached = kind.iter().position(|n| {
        seen += n;
        seen >= wanted
    });
    reached.unwrap_or(BUCKETS - 1)
}

fn said(bucket: usize) -> String {
    let ms = up_to_ms(bucket);
    match ms < 10.0 {
        true => format!("{} ms", number(ms)),
        false => time(Duration::from_secs_f64(ms / 1000.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_bucket_that_reaches_it() {
        let mut kind = [0; BUCKETS];
        (kind[4], kind[9], kind[40]) = (50, 49, 1);
        let at = |share| percentile(&kind, 100, share);
        assert_eq!([at(0.5), at(0.51), at(0.99), at(1.0)], [4, 9, 9, 40]);
        assert_eq!(
            (said(0), said(2), said(40)),
            ("1 ms".into(), "1.41 ms".into(), "1.0 s".into())
        );
    }
}
