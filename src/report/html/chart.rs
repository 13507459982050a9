//! Charts: shapes in SVG that stretch with the page, words and numbers around them in HTML that do not.
//!
//! Each chart says in one sentence what it shows, for who cannot see it, and has its numbers in a table below.

use std::fmt::Write;

use super::details::Sample;
use super::markup::{row, text};
use crate::report::units;

/// Columns of a chart over time, at the most.
const COLUMNS_MAX: usize = 90;
/// Rows of the table below it.
const ROWS_MAX: usize = 12;
/// Lines across a chart.
const TICKS: f64 = 4.0;
/// Of a chart's height: what is not nothing is seen, be it ever so little.
const SEEN: f64 = 1.2;

/// A part of a stack, or a line: its words, and the class that colours it.
pub struct Series {
    pub name: &'static str,
    pub class: &'static str,
    /// One a column, or one a sample.
    pub values: Vec<Option<f64>>,
}

pub struct Chart {
    pub title: &'static str,
    pub unit: &'static str,
    /// What is said instead, if all that there is to draw is nothing.
    pub nothing: &'static str,
    /// What a value is as people read it.
    pub said: fn(f64) -> String,
    pub series: Vec<Series>,
    /// Where each column begins, as its label, and which of them stand below the chart.
    pub columns: Vec<String>,
    pub labels: Vec<(f64, String)>,
    pub shape: Shape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Over time: how much in each column, of each series.
    Stacks,
    /// Over time: in steps.
    Lines,
    /// Each column counts things of its own, so none may be left out of the table.
    Counts,
}

/// The time from the start of a run to its end, in columns of equal width.
pub struct Timeline<'d> {
    samples: &'d [Sample],
    seconds: f64,
    columns: usize,
}

impl<'d> Timeline<'d> {
    /// `None`: nothing was recorded.
    pub fn of(samples: &'d [Sample]) -> Option<Timeline<'d>> {
        let seconds = samples.last().map_or(0.0, |last| last.at);
        (seconds > 0.0).then(|| Timeline {
            samples,
            seconds,
            columns: (samples.len() - 1).clamp(1, COLUMNS_MAX),
        })
    }

    fn width(&self) -> f64 {
        self.seconds / self.columns as f64
    }

    /// How much a count grew in each column, a second.
    pub fn growth(&self, count: impl Fn(&Sample) -> f64) -> Vec<Option<f64>> {
        let at = |column: usize| self.count_at(column as f64 * self.width(), &count);
        let grown = |column| (at(column + 1) - at(column)).max(0.0) / self.width();
        (0..self.columns).map(grown).map(Some).collect()
    }

    /// Between two samples a count grows evenly, as far as is known.
    fn count_at(&self, at: f64, count: &impl Fn(&Sample) -> f64) -> f64 {
        let next = self.samples.partition_point(|sample| sample.at < at);
        let next = next.clamp(1, self.samples.len() - 1);
        let (a, b) = (&self.samples[next - 1], &self.samples[next]);
        let share = match b.at > a.at {
            true => ((at - a.at) / (b.at - a.at)).clamp(0.0, 1.0),
            false => 1.0,
        };
        count(a) + (count(b) - count(a)) * share
    }

    /// What a value was in the middle of each column.
    pub fn value(&self, value: impl Fn(&Sample) -> Option<f64>) -> Vec<Option<f64>> {
        let at = |column: usize| {
            let middle = (column as f64 + 0.5) * self.width();
            let next = self.samples.partition_point(|sample| sample.at <= middle);
            value(&self.samples[next.saturating_sub(1)])
        };
        (0..self.columns).map(at).collect()
    }

    pub fn columns(&self) -> Vec<String> {
        let begin = |column: usize| moment(column as f64 * self.width());
        (0..self.columns).map(begin).collect()
    }

    pub fn labels(&self) -> Vec<(f64, String)> {
        let steps = [
            0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0,
            1800.0,
        ];
        let hours = std::iter::successors(Some(3600.0), |hours| Some(hours * 2.0));
        let step = steps.into_iter().chain(hours);
        let mut step = step.skip_while(|step| self.seconds / step > 6.0);
        let step = step.next().unwrap_or(self.seconds);
        let label = |i: u32| {
            (
                step * f64::from(i) / self.seconds,
                moment(step * f64::from(i)),
            )
        };
        (0..).map(label).take_while(|(at, _)| *at <= 1.0).collect()
    }
}

/// "0 s", "2.5 s", "1:30 min", "2:05 h" after the start.
fn moment(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{} s", (seconds * 10.0).round() / 10.0),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{}:{:02} min", whole / 60, whole % 60),
        _ => format!("{}:{:02} h", whole / 3600, whole % 3600 / 60),
    }
}

/// The least round number that is not below `value`.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0, 10.0].map(|n| n * power);
    round
        .into_iter()
        .find(|n| *n >= value * 0.999)
        .unwrap_or(value)
}

impl Chart {
    /// Between two lines across, and where the axis ends.
    fn scale(&self) -> (f64, f64) {
        let column = |i: usize| {
            let values = self.series.iter().map(|s| s.values[i].unwrap_or(0.0));
            match self.shape {
                Shape::Lines => values.fold(0.0, f64::max),
                Shape::Stacks | Shape::Counts => values.sum(),
            }
        };
        let highest = (0..self.columns.len()).map(column).fold(0.0, f64::max);
        let step = round_up(highest / TICKS);
        (step, step * (highest / step - 0.001).ceil().max(1.0))
    }

    pub fn draw(&self, html: &mut String) {
        if self.highest() <= 0.0 {
            let Chart { title, nothing, .. } = self;
            let _ = write!(
                html,
                "<figure><figcaption><h3>{title}</h3></figcaption><p>{nothing}</p></figure>"
            );
            return;
        }
        let (step, top) = self.scale();
        let n = self.columns.len();
        let most = text(&(self.said)(self.highest()));
        let Chart { title, unit, .. } = self;
        let wide = match self.series.len() {
            0 | 1 => "",
            _ => " class=\"all\"",
        };
        let _ = write!(
            html,
            "<figure{wide}><figcaption><h3>{title}</h3> <small>{unit}</small></figcaption>"
        );
        self.legend(html);
        html.push_str("<div class=\"plot\"><div class=\"y\" aria-hidden=\"true\">");
        let lines = (top / step).round() as u32;
        for line in 0..=lines {
            let at = f64::from(line) / f64::from(lines) * 100.0;
            let said = text(&(self.said)(f64::from(line) * step));
            let _ = write!(html, "<span style=\"bottom:{at:.1}%\">{said}</span>");
        }
        let _ = write!(
            html,
            "</div><svg viewBox=\"0 0 {n} 100\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{title}, {unit}: {most} at the most. The numbers are in the table below.\">"
        );
        for line in 0..=lines {
            let at = 100.0 - f64::from(line) / f64::from(lines) * 100.0;
            let _ = write!(html, "<path class=\"grid\" d=\"M0 {at:.1}H{n}\"/>");
        }
        match self.shape {
            Shape::Lines => self.lines(html, top),
            Shape::Stacks | Shape::Counts => self.stacks(html, top),
        }
        for (i, column) in self.columns.iter().enumerate() {
            let said = text(&format!("{column}: {}", self.said_of(i)));
            let _ = write!(
                html,
                "<rect class=\"hit\" x=\"{i}\" width=\"1\" height=\"100\"><title>{said}</title></rect>"
            );
        }
        html.push_str("</svg><div class=\"x\" aria-hidden=\"true\">");
        for (at, label) in &self.labels {
            let at = at * 100.0;
            let _ = write!(html, "<span style=\"left:{at:.1}%\">{}</span>", text(label));
        }
        html.push_str("</div></div>");
        self.table(html);
        html.push_str("</figure>");
    }

    fn highest(&self) -> f64 {
        let all = self.series.iter().flat_map(|s| s.values.iter().flatten());
        all.copied().fold(0.0, f64::max)
    }

    /// One series needs no name besides the title's.
    fn legend(&self, html: &mut String) {
        if self.series.len() < 2 {
            return;
        }
        html.push_str("<p class=\"legend\">");
        for Series { name, class, .. } in &self.series {
            let _ = write!(html, "<span><i class=\"{class}\"></i>{name}</span> ");
        }
        html.push_str("</p>");
    }

    fn said_of(&self, column: usize) -> String {
        let mut said = String::new();
        for series in &self.series {
            let value = series.values[column].map_or("no limit".to_owned(), self.said);
            let separator = if said.is_empty() { "" } else { ", " };
            let _ = match self.series.len() {
                1 => write!(said, "{value}"),
                _ => write!(said, "{separator}{} {value}", series.name),
            };
        }
        said
    }

    fn stacks(&self, html: &mut String, top: f64) {
        for column in 0..self.columns.len() {
            let mut below = 0.0;
            for series in &self.series {
                let height = series.values[column].unwrap_or(0.0) / top * 100.0;
                if height <= 0.0 {
                    continue;
                }
                let height = height.max(SEEN);
                below += height;
                let (x, y, class) = (column as f64 + 0.06, 100.0 - below, series.class);
                let _ = write!(
                    html,
                    "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\" width=\".88\" height=\"{height:.2}\"/>"
                );
            }
        }
    }

    /// In steps, each a column wide; broken where there is no value.
    fn lines(&self, html: &mut String, top: f64) {
        for series in &self.series {
            let mut path = String::new();
            let mut is_drawing = false;
            for (i, value) in series.values.iter().enumerate() {
                if let Some(value) = value {
                    let y = 100.0 - value / top * 100.0;
                    let _ = match is_drawing {
                        true => write!(path, "V{y:.2}H{}", i + 1),
                        false => write!(path, "M{i} {y:.2}H{}", i + 1),
                    };
                }
                is_drawing = value.is_some();
            }
            let _ = write!(html, "<path class=\"line {}\" d=\"{path}\"/>", series.class);
        }
    }

    fn table(&self, html: &mut String) {
        html.push_str("<details><summary>Numbers</summary><table>");
        let mut head: Vec<&dyn std::fmt::Display> = vec![&"from"];
        head.extend(
            self.series
                .iter()
                .map(|s| &s.name as &dyn std::fmt::Display),
        );
        row(html, "th", &head);
        let every = match self.shape {
            Shape::Counts => 1,
            Shape::Stacks | Shape::Lines => self.columns.len().div_ceil(ROWS_MAX),
        };
        for column in (0..self.columns.len()).step_by(every) {
            let label = text(&self.columns[column]);
            let said = self.series.iter().map(|s| match s.values[column] {
                Some(value) => text(&(self.said)(value)),
                None => "no limit".to_owned(),
            });
            let said: Vec<String> = said.collect();
            let mut cells: Vec<&dyn std::fmt::Display> = vec![&label];
            cells.extend(said.iter().map(|said| said as &dyn std::fmt::Display));
            row(html, "td", &cells);
        }
        html.push_str("</table></details>");
    }
}

/// "0", "2.5", "120".
pub fn number(value: f64) -> String {
    let digits = if value < 10.0 { 100.0 } else { 10.0 };
    let digits = if value < 100.0 { digits } else { 1.0 };
    format!("{}", (value * digits).round() / digits)
}

/// "1.2 MB".
pub fn bytes(value: f64) -> String {
    units::bytes(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, indexed: f64) -> Sample {
        Sample {
            at,
            indexed,
            ..Sample::default()
        }
    }

    #[test]
    fn what_is_drawn_over_time_adds_up_to_what_was_counted() {
        let mut samples = vec![Sample::default()];
        // Unevenly, as where the interval has doubled.
        samples.extend((1..200).map(|i| sample(f64::from(i * i) / 100.0, f64::from(3 * i))));
        let timeline = Timeline::of(&samples).unwrap();
        let growth = timeline.growth(|s| s.indexed);
        assert_eq!(growth.len(), COLUMNS_MAX);
        let all: f64 = growth
            .iter()
            .flatten()
            .map(|a_second| a_second * timeline.width())
            .sum();
        assert!((all - 597.0).abs() < 0.001, "{all}");
    }

    #[test]
    fn a_run_of_no_time_has_no_chart() {
        assert!(Timeline::of(&[]).is_none());
        assert!(Timeline::of(&[Sample::default(); 3]).is_none());
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, round) in [
            (0.3, 0.5),
            (1.0, 1.0),
            (1.1, 2.0),
            (2.2, 2.5),
            (73.0, 100.0),
        ] {
            assert!((round_up(value) - round).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn there_are_few_labels_whatever_the_length() {
        for seconds in [0.3, 1.0, 59.0, 61.0, 3599.0, 90_000.0, 1e7] {
            let samples = [Sample::default(), sample(seconds, 1.0)];
            let labels = Timeline::of(&samples).unwrap().labels();
            assert!((2..8).contains(&labels.len()), "{seconds}: {labels:?}");
        }
    }
}
