//! How time and memory grow with the number of files, and how a scan compares with what a shell has for
//! the same work. Prints Markdown tables; machines are noisy, so no time is ever asserted.
//!
//!     cargo bench --bench growth                # 100,000 files against 10,000
//!     cargo bench --bench growth -- 1000000     # a million: 5 GB in TMPDIR
//!
//! The two sides of a ratio are measured one after the other, several times; the median of the ratios is
//! printed. Files are in the system's cache, since all of them have just been written.

mod library;
#[path = "../shared/measure.rs"]
mod measure;
mod service;

use std::process::{Command, Stdio};

use library::{Age, Library};
use measure::Run;
use service::Service;

/// The size that a larger one is held against.
const SMALL: usize = 10_000;
const LARGE_DEFAULT: usize = 100_000;
/// A million files take a minute a step: three runs of each are what can be waited for.
const PAIRS: usize = 3;

/// Every run of one step, a pair of them at a time: at the small size and at the large one.
struct Row {
    what: &'static str,
    runs: Vec<(Run, Run)>,
}

struct Bench {
    small: Library,
    large: Library,
    rows: Vec<Row>,
}

impl Bench {
    /// What `prepare` does is not measured.
    fn step(
        &mut self,
        what: &'static str,
        prepare: &dyn Fn(&Library),
        command: &dyn Fn(&Library) -> Command,
    ) {
        eprintln!("{what}");
        let measured = |library: &Library| {
            prepare(library);
            run(&mut command(library))
        };
        let pair = |_| (measured(&self.small), measured(&self.large));
        let runs = (0..PAIRS).map(pair).collect();
        self.rows.push(Row { what, runs });
    }

    /// A command of somebody else over the large folder.
    fn other(&self, command: &dyn Fn(&Library) -> Command) -> Vec<f64> {
        let seconds = |_| run(&mut command(&self.large)).seconds;
        (0..PAIRS).map(seconds).collect()
    }

    /// Seconds of each run at the large size.
    fn seconds(&self, what: &str) -> Vec<f64> {
        let row = self.rows.iter().find(|row| row.what == what);
        let runs = row.map(|row| row.runs.as_slice()).unwrap_or_default();
        runs.iter().map(|(_, large)| large.seconds).collect()
    }

    fn print(&self) {
        let (small, large) = (self.small.files, self.large.files);
        println!(
            "| | {small} files | {large} files | time a file against {small} (range) | CPU a file \
             against {small} | peak memory |\n| --- | --- | --- | --- | --- | --- |"
        );
        for row in &self.rows {
            let each = |of: fn(&Run) -> f64, side: fn(&(Run, Run)) -> &Run| {
                row.runs.iter().map(|pair| of(side(pair))).collect()
            };
            let growth = |of: fn(&Run) -> f64| {
                let per_file = |(s, l): &(Run, Run)| of(l) / large as f64 / (of(s) / small as f64);
                row.runs.iter().map(per_file).collect()
            };
            let peak = row.runs.iter().map(|(_, large)| large.peak_mib);
            println!(
                "| {} | {:.2} s | {:.2} s | {} | {:.2} | {:.1} MiB |",
                row.what,
                median(each(|run| run.seconds, |pair| &pair.0)),
                median(each(|run| run.seconds, |pair| &pair.1)),
                with_range(growth(|run| run.seconds)),
                median(growth(|run| run.cpu_seconds)),
                peak.fold(0.0, f64::max)
            );
        }
    }
}

const FIRST: &str = "first scan";
const RESCAN: &str = "rescan";
const TOUCHED: &str = "rescan after all were touched";

fn main() {
    // `cargo bench` passes flags of its own.
    let mut sizes = std::env::args().filter_map(|arg| arg.parse().ok());
    let large = sizes.next().unwrap_or(LARGE_DEFAULT);
    eprintln!("making {SMALL} and {large} files");
    let mut bench = Bench {
        small: Library::new(SMALL),
        large: Library::new(large),
        rows: Vec::new(),
    };
    let (sums, find) = scans(&mut bench);
    lists(&mut bench);
    uploads(&mut bench);
    bench.print();
    let (first, rescan) = (bench.seconds(FIRST), bench.seconds(RESCAN));
    let touched = bench.seconds(TOUCHED);
    println!("\n| at {large} files | ratio (range) |\n| --- | --- |");
    for (what, ratios) in [
        (
            "files/s of a first scan as a share of `sha256sum`, two at a time",
            ratios(&sums, &first),
        ),
        (
            "time of a rescan as a multiple of `find -printf`",
            ratios(&rescan, &find),
        ),
        (
            "time of a rescan after all were touched as a multiple of a first scan",
            ratios(&touched, &first),
        ),
    ] {
        println!("| {what} | {} |", with_range(ratios));
    }
}

fn nothing(_: &Library) {}

fn run(command: &mut Command) -> Run {
    measure::run(command, Stdio::null())
}

/// Seconds of `sha256sum` and of `find` over the same files as well.
fn scans(bench: &mut Bench) -> (Vec<f64>, Vec<f64>) {
    let scan = |library: &Library| library.objlib(&["scan"], true);
    bench.step(FIRST, &Library::forget, &scan);
    let sums = bench.other(&|library| {
        let mut command = Command::new("sh");
        let line = "find \"$0\" -type f -print0 | xargs -0 -P2 -n256 sha256sum";
        command.args(["-c", line]).arg(&library.docs);
        command
    });
    bench.step(RESCAN, &nothing, &scan);
    let find = bench.other(&|library| {
        let mut command = Command::new("find");
        command.arg(&library.docs).args(["-printf", "%s %T@ %p\n"]);
        command
    });
    bench.step(TOUCHED, &|library| library.touch(Age::Hour), &scan);
    (sums, find)
}

/// `--files-from` with a line for each file.
fn lists(bench: &mut Bench) {
    bench.step("`--files-from`, all listed", &nothing, &|library| {
        library.objlib(&["scan", "--files-from", &library.list(true)], true)
    });
    bench.step(
        "`--files-from`, all listed are missing",
        &Library::forget,
        &|library| library.objlib(&["scan", "--files-from", &library.list(false)], true),
    );
}

/// Everything that needs a service: the embedded one, then one beside objlib, so that the memory of the
/// service is not counted.
fn uploads(bench: &mut Bench) {
    let start = ["upload", "--emulator", "--rpm", "0", "--limit", "10"];
    for library in [&bench.small, &bench.large] {
        // Scans as well, and makes the store.
        run(&mut library.objlib(&start, true));
    }
    bench.step("start of `upload --limit 10`", &nothing, &|library| {
        library.objlib(&start, false)
    });
    let services = [&bench.small, &bench.large].map(Service::holding_everything);
    let endpoint = |library: &Library| {
        let service = services
            .iter()
            .find(|service| service.files == library.files);
        service.map(Service::url).unwrap_or_default()
    };
    let at = |library: &Library, words: &[&str]| {
        let endpoint = endpoint(library);
        let words: Vec<&str> = words
            .iter()
            .copied()
            .chain(["--endpoint", &endpoint])
            .collect();
        library.objlib(&words, false)
    };
    bench.step("`verify`, everything has drifted", &nothing, &|library| {
        at(library, &["verify"])
    });
    for library in [&bench.small, &bench.large] {
        eprintln!("verify --repair");
        run(&mut at(library, &["verify", "--repair"]));
    }
    bench.step("`verify`, everything matches", &nothing, &|library| {
        at(library, &["verify"])
    });
    bench.step("`status`", &nothing, &|library| {
        library.objlib(&["status", "--json"], false)
    });
    bench.step("dry run", &nothing, &|library| {
        let endpoint = endpoint(library);
        library.objlib(&["upload", "--dry-run", "--endpoint", &endpoint], true)
    });
}

fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn with_range(of: Vec<f64>) -> String {
    let least = of.iter().copied().fold(f64::INFINITY, f64::min);
    let most = of.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({least:.2} to {most:.2})", median(of))
}
