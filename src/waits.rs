//! How long objlib waits: for an answer, for a document, for the service to recover.
//!
//! Owns no clock: it is a value, made once by the command line and handed down to whoever waits. What only
//! one module waits for, and no proof program has to shorten, is a constant of that module. Promises: what a
//! user gets is `Waits::default()`, whatever the environment says; shortened, all of it is shortened by the
//! same factor, so that what is longer than something else stays so.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Between two heartbeats of the lock. Shorter writes the database more often for nothing;
    /// longer brings the lock near the end of its lease whenever the disk is slow.
    pub lock_heartbeat: Duration,
    /// Requests are sent for so long after the lock was last seen to be ours. Shorter makes every slow
    /// commit hold requests up; longer lets a process that was suspended send beside the one that has
    /// taken its lock over.
    pub lock_lease: Duration,
    /// A holder of the lock without a heartbeat for so long is taken for dead, whatever its host. Shorter
    /// takes the lock from a machine that only swaps; longer keeps everyone out after a crash on another
    /// host.
    pub lock_stale_after: Duration,

    /// A plain request, from start to end; and the rest of any answer once its head has come, so that one
    /// which comes a byte a minute does not hold a thread. Shorter gives up answers that are on their way;
    /// longer holds a worker up at a dead connection.
    pub request: Duration,
    /// From the last byte of a body to its answer, for the service may work on it first; and from a question
    /// to the end of a model's answer. Shorter makes an
    /// upload that has succeeded look lost, and it is asked about; longer holds a worker up.
    pub final_answer: Duration,

    /// Before a service that failed is asked for the store again. Shorter asks an outage in vain; longer
    /// delays the first file.
    pub store_retry: Duration,
    /// Before a store whose creation has lost its answer is looked for, each time. Lists lag by seconds (fact
    /// sheet 11): shorter may not see it, and a second one of the same name is created.
    pub store_listed_within: Duration,
    /// From the last request that could have taken effect to a listing that proves something. Lists lag
    /// by 0.5 s at the median, with tails of 2 s (fact sheet 11): shorter takes what is there for absent, and
    /// sends it twice; longer delays the end of a run that has something in doubt.
    pub list_lag: Duration,
    /// Between two passes when nothing else says how long. Shorter spends the passes of a run while the
    /// service is still failing; longer lets it stand still.
    pub pass_pause: Duration,

    /// A temporary file that cannot be imported by then is given up, and its attempt fails. Most can at once
    /// (fact sheet 8), so that a longer wait keeps a worker for a file that will hardly come to anything.
    pub temporary_file_active_within: Duration,
    /// Between two looks whether a temporary file can be imported. Shorter costs requests, longer time.
    pub temporary_file_look: Duration,

    /// An upload without news for so long is looked at by both its operation and its document, and an
    /// import whose document has no name yet is looked for in the store. Small files end in 5 to 11 s (fact
    /// sheet 10): shorter doubles the requests of an ordinary file, longer finds a forgotten operation late.
    pub look_at_both_after: Duration,
    /// A document that is still missing so long after its submission, with its operation ended, is gone. It
    /// is seen by `get` within a second of its end (fact sheet 11); shorter may take one that is late for
    /// gone.
    pub document_seen_within: Duration,
    /// How long a failed document may take to heal. It has been seen to become active within 10 to 110 s
    /// (fact sheet 11): shorter gives files up that would have healed.
    pub failed_grace: Duration,
    /// An upload that has not ended after so long is left to the next run, so that a run always ends.
    /// Shorter leaves large files behind; longer keeps a run waiting for what will never come.
    pub news_within: Duration,

    /// What everything above is divided by, and `scaled` divides by: 1 for a user.
    divisor: u32,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits::divided_by(1)
    }
}

impl Waits {
    /// With `OBJLIB_HASTE=100` every wait is a hundredth of what it is.
    #[cfg(feature = "proof")]
    pub fn from_environment() -> Waits {
        let haste = std::env::var("OBJLIB_HASTE").ok();
        let haste = haste.and_then(|text| text.parse().ok());
        Waits::divided_by(haste.unwrap_or(1).max(1))
    }

    pub(crate) fn divided_by(divisor: u32) -> Waits {
        let seconds = |seconds| Duration::from_secs(seconds) / divisor;
        Waits {
            lock_heartbeat: seconds(10),
            lock_lease: seconds(30),
            lock_stale_after: seconds(60),
            request: seconds(60),
            final_answer: seconds(300),
            store_retry: seconds(1),
            store_listed_within: seconds(5),
            list_lag: seconds(15),
            pass_pause: seconds(1),
            temporary_file_active_within: seconds(300),
            temporary_file_look: seconds(2),
            look_at_both_after: seconds(30),
            document_seen_within: seconds(15),
            failed_grace: seconds(120),
            news_within: seconds(30 * 60),
            divisor,
        }
    }

    /// A wait that is computed, and so is no field: a backoff, a limiter's interval, a learned poll time.
    pub fn scaled(&self, wait: Duration) -> Duration {
        wait / self.divisor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_waits_the_computed_time() {
        let wait = Duration::from_nanos(1_234_567_891);
        assert_eq!(Waits::default().scaled(wait), wait);
    }

    /// The safety of the lock rests on this order, shortened or not: the heartbeat renews the lease well
    /// before it ends, and nobody takes the lock while the lease lasts.
    #[test]
    fn the_lock_outlasts_its_lease_and_the_lease_two_heartbeats() {
        for divisor in [1, 7, 300] {
            let waits = Waits::divided_by(divisor);
            assert!(2 * waits.lock_heartbeat < waits.lock_lease, "{divisor}");
            assert!(waits.lock_lease < waits.lock_stale_after, "{divisor}");
        }
    }

    #[test]
    fn shortened_waits_and_computed_ones_keep_their_ratio() {
        let whole = Waits::default();
        let tenth = Waits::divided_by(10);
        assert_eq!(tenth.news_within, whole.news_within / 10);
        assert_eq!(tenth.scaled(whole.list_lag), tenth.list_lag);
    }
}
