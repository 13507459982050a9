//! Where the proof programs end the process or a thread.
//!
//! In a normal build all of it compiles to nothing; only the feature `proof` gives it a meaning.
//! Promises: `point` never returns if it is the one that was asked for, and leaves nothing behind that
//! a killed process would not.

/// A place `before` or `after` a step that something else rests on. With the feature `proof` and
/// `OBJLIB_CRASH_AT="before step"` (or `"after step#3"` for the third time) the process ends here.
#[cfg(not(feature = "proof"))]
#[inline(always)]
pub fn point(_when: &'static str, _step: &'static str) {}

/// A place in a thread that passes no `point`. With the feature `proof` and `OBJLIB_PANIC_AT="walk"`, or with the
/// name of a `point`, the thread panics there.
#[cfg(not(feature = "proof"))]
#[inline(always)]
pub fn mishap(_place: &'static str) {}

#[cfg(feature = "proof")]
pub use armed::{mishap, point};

#[cfg(feature = "proof")]
mod armed {
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::sync::{Mutex, OnceLock};

    /// Name and how often it has to be met.
    fn asked() -> Option<&'static (String, u64)> {
        static ASKED: OnceLock<Option<(String, u64)>> = OnceLock::new();
        let asked = || {
            let text = std::env::var("OBJLIB_CRASH_AT").ok()?;
            Some(match text.split_once('#') {
                Some((name, times)) => (name.to_owned(), times.parse().ok()?),
                None => (text, 1),
            })
        };
        ASKED.get_or_init(asked).as_ref()
    }

    pub fn point(when: &'static str, step: &'static str) {
        static MET: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
        let name = format!("{when} {step}");
        let mut met = crate::poison::lock(&MET);
        let times = met.entry(name.clone()).or_default();
        *times += 1;
        // One line a visit, so that a program can learn which points a run meets, and how often.
        if let Ok(path) = std::env::var("OBJLIB_POINTS") {
            let open = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path);
            if let Ok(mut file) = open {
                let _ = writeln!(file, "{name}");
            }
        }
        if asked().is_some_and(|(which, n)| *which == name && n == times) {
            // No destructor runs, nothing is flushed.
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
        drop(met);
        mishap(&name);
    }

    pub fn mishap(place: &str) {
        static ASKED: OnceLock<Option<String>> = OnceLock::new();
        let asked = ASKED.get_or_init(|| std::env::var("OBJLIB_PANIC_AT").ok());
        if asked.as_deref() == Some(place) {
            panic!("asked for by the proof");
        }
    }
}
