//! Random lives of the model in `life`, in memory: millions of steps, shrunk to the smallest case that breaks.

use std::time::Instant;

use crate::{Options, life, table};

pub fn run(options: &Options) {
    let steps_wanted: u64 = if options.long { 100_000_000 } else { 4_000_000 };
    let began = Instant::now();
    let (steps, lives) = match life::many(options.seed, steps_wanted) {
        Ok(lived) => lived,
        Err(smallest) => panic!("{smallest}"),
    };
    let seconds = began.elapsed().as_secs_f64();
    table(
        &["steps", "lives", "seconds", "broken"],
        &[vec![
            steps.to_string(),
            lives.to_string(),
            format!("{seconds:.1}"),
            "0".to_owned(),
        ]],
    );
}
