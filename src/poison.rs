//! Mutexes after a panic.
//!
//! A thread that panics while it holds a mutex poisons it: everybody who locks it later gets an error, and
//! would panic as well. Here a panic already stops the whole run (`pipeline::run`), and what the mutexes of
//! this program hold is whole at any instant, since each change under them is a single step; so the others
//! go on with it until they have stopped in good order.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Locks, whether or not somebody has panicked while holding the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets go of the lock until it is told to look again, or this time has passed.
pub fn wait<'m, T>(
    told: &Condvar,
    held: MutexGuard<'m, T>,
    at_most: Duration,
) -> MutexGuard<'m, T> {
    let waited = told.wait_timeout(held, at_most);
    waited.unwrap_or_else(PoisonError::into_inner).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_another_thread_is_no_panic_of_this_one() {
        let mutex = Mutex::new(1);
        let panicked = std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let mut held = lock(&mutex);
                *held = 2;
                std::panic::resume_unwind(Box::new("on purpose"));
            });
            holder.join().is_err()
        });
        assert!(panicked && mutex.is_poisoned());
        assert_eq!(*lock(&mutex), 2);
    }
}
