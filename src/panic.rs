//! A panic, in whatever thread, becomes an `Error` that stops the run.
//!
//! Owns the place of the first panic of this process. Promises: a thread whose work goes through `caught`
//! never takes another with it, and prints nothing itself: the error is said once, where errors are said.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::OnceLock;

use crate::error::{Error, Kind};

static PLACE: OnceLock<String> = OnceLock::new();

thread_local! {
    /// Somebody on this thread turns a panic into an error.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Instead of Rust's own message, which is written to stderr at once, in several lines and through the bars.
/// Who asks for a backtrace gets that message all the same. `uncaught` tells of a panic that nobody catches.
pub fn install(uncaught: impl Fn(&Error) + Send + Sync + 'static) {
    let standard = take_hook();
    let backtrace = std::env::var_os("RUST_BACKTRACE").is_some_and(|v| v != "0");
    set_hook(Box::new(move |panic| {
        if let Some(place) = panic.location() {
            PLACE.get_or_init(|| place.to_string());
        }
        if backtrace {
            standard(panic);
        } else if !IS_CAUGHT.get() {
            let thread = std::thread::current();
            uncaught(&error(thread.name().unwrap_or("a thread")));
        }
    }));
}

/// Does the work of a thread, `what`. What it was in the middle of changing must not be used any more, unless
/// every change of it is whole.
pub fn caught<T>(what: &str, work: impl FnOnce() -> T) -> Result<T, Error> {
    let outer = IS_CAUGHT.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_CAUGHT.set(outer);
    done.map_err(|_| error(what))
}

/// A thread that panicked, as a user is told. The message of the panic is not shown: it may hold anything.
pub fn error(what: &str) -> Error {
    let place = PLACE.get().map_or("an unknown place", String::as_str);
    Error::new(
        Kind::Bug,
        what,
        format!("internal error at {place}"),
        "run again (nothing that was confirmed is lost) and please report this",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_work_without_one_its_result() {
        assert_eq!(caught("counting", || 1), Ok(1));
        let error = caught("counting", || -> u8 { panic!("no number") }).unwrap_err();
        assert_eq!((error.kind, error.what.as_str()), (Kind::Bug, "counting"));
        assert!(!error.to_string().contains("no number"), "{error}");
    }
}
