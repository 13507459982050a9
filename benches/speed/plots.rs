//! Three pictures of an upload, as SVG: throughput under a quota that nobody told, files a second over the
//! concurrency, requests a file over the time that operations take.

use std::fs;
use std::path::Path;
use std::time::Duration;

use objlib::emulator::Faults;
use plotters::prelude::*;
use serde_json::json;

use super::service::{Folder, SMALL, service, upload};

const SIZE: (u32, u32) = (720, 360);

struct Picture<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    /// What the line is held against.
    ideal: Vec<(f64, f64)>,
    measured: Vec<(f64, f64)>,
}

pub fn draw(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    quota(&folder.join("quota.svg"));
    concurrency(&folder.join("concurrency.svg"));
    requests(&folder.join("requests.svg"));
}

/// Accepted uploads in each second.
fn quota(path: &Path) {
    const SECONDS: usize = 75;
    const PER_MINUTE: f64 = 1200.0;
    let faults = Faults {
        latency_ms: 100,
        ..plan(json!({"quota_per_min": PER_MINUTE, "quota_shape": "bucket", "quota_burst": 20}))
    };
    let service = service(faults);
    let folder = Folder::new(1300, SMALL);
    let uploaded = upload(&folder, &service, &[]);
    let seconds = |time: &str| {
        let time: jiff::Timestamp = time.parse().expect("a time");
        Duration::try_from(time.duration_since(jiff::Timestamp::UNIX_EPOCH)).expect("after 1970")
    };
    let files = uploaded
        .events
        .iter()
        .filter(|event| event["event"] == "file");
    let times: Vec<Duration> = files
        .map(|event| seconds(event["time"].as_str().expect("a time")))
        .collect();
    let first = times.iter().min().copied().unwrap_or_default();
    let mut counts = vec![0.0; SECONDS];
    for time in &times {
        let second = (*time - first).as_secs() as usize;
        if second < SECONDS {
            counts[second] += 1.0;
        }
    }
    let last = times
        .iter()
        .map(|time| (*time - first).as_secs() as usize)
        .max()
        .unwrap_or(0);
    let measured = counts.iter().enumerate().take(last.min(SECONDS));
    save(
        path,
        &Picture {
            title: "A hidden quota of 1,200 requests a minute, default flags",
            x: "seconds",
            y: "files indexed a second",
            ideal: vec![(0.0, PER_MINUTE / 60.0), (last as f64, PER_MINUTE / 60.0)],
            measured: measured.map(|(second, n)| (second as f64, *n)).collect(),
        },
    );
}

fn plan(plan: serde_json::Value) -> Faults {
    serde_json::from_value(plan).expect("a plan")
}

fn concurrency(path: &Path) {
    const LATENCY_MS: u64 = 200;
    let files_a_second = |workers: usize| {
        let faults = Faults {
            latency_ms: LATENCY_MS,
            ..Faults::default()
        };
        let folder = Folder::new(60 * workers.max(4), SMALL);
        let flags = ["--concurrency", &workers.to_string()];
        let uploaded = upload(&folder, &service(faults), &flags);
        folder.files as f64 / uploaded.number("seconds")
    };
    let steps = [1, 2, 4, 8, 16, 32];
    let ideal = |workers: usize| workers as f64 * 1000.0 / LATENCY_MS as f64;
    save(
        path,
        &Picture {
            title: "Small files a second at 200 ms a request",
            x: "--concurrency",
            y: "files/s",
            ideal: steps.map(|n| (n as f64, ideal(n))).to_vec(),
            measured: steps.map(|n| (n as f64, files_a_second(n))).to_vec(),
        },
    );
}

fn requests(path: &Path) {
    let requests = |seconds: f64| {
        let faults = Faults {
            latency_ms: 50,
            operation_delay_ms: (seconds * 1000.0) as u64,
            operation_jitter_ms: (seconds * 200.0) as u64,
            ..Faults::default()
        };
        let folder = Folder::new(1000, SMALL);
        let uploaded = upload(&folder, &service(faults), &[]);
        uploaded.number("requests") / folder.files as f64
    };
    let steps = [0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
    save(
        path,
        &Picture {
            title: "Requests a file, looks included; one is the upload itself",
            x: "seconds that an operation takes",
            y: "requests a file",
            ideal: steps.map(|s| (s, 1.0)).to_vec(),
            measured: steps.map(|s| (s, requests(s))).to_vec(),
        },
    );
}

fn save(path: &Path, picture: &Picture<'_>) {
    let all = || picture.ideal.iter().chain(&picture.measured);
    let x_max = all().map(|(x, _)| *x).fold(1.0, f64::max);
    let y_max = all().map(|(_, y)| *y).fold(1.0, f64::max) * 1.15;
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    let drawn = || -> Result<(), Box<dyn std::error::Error>> {
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(picture.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..x_max, 0.0..y_max)?;
        chart
            .configure_mesh()
            .x_desc(picture.x)
            .y_desc(picture.y)
            .light_line_style(WHITE)
            .draw()?;
        let grey = RGBColor(150, 150, 150).stroke_width(2);
        chart.draw_series(LineSeries::new(picture.ideal.clone(), grey))?;
        let blue = RGBColor(30, 90, 200).stroke_width(2);
        chart.draw_series(LineSeries::new(picture.measured.clone(), blue))?;
        root.present()?;
        Ok(())
    };
    drawn().expect("a picture");
    println!("{}", path.display());
}
