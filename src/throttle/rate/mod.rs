//! The rate of one class of requests: free until the service says 429, then found from what it grants.
//!
//! A 429 pauses the class. After the pause one request goes first, as a probe; the others follow once it
//! was granted. A refused probe makes the pause five times as long. Between two 429s the service was out of
//! tokens twice, so what it granted between them, by the time between them, is its rate. A few 429s among many
//! grants are noise, of a service that is short of something else: they cost their pause, and what was known
//! stays.
//! Pure: the time comes from outside.

use std::time::{Duration, Instant};

pub use self::bucket::{Bucket, interval};
use self::granted::Granted;
use self::phase::{HOLD_FROM, Phase, Rise};
use self::refusals::Refusals;
use super::backoff;
use crate::waits::Waits;

mod bucket;
mod granted;
mod phase;
mod refusals;

/// Above this nothing is limited any more: the bucket costs more than it gives.
const UNLIMITED_PER_MINUTE: f64 = 1e6;
const PER_MINUTE_MIN: f64 = 1.0;

/// The first pause after a 429, if the service does not ask for more: so many tokens of the found rate, within
/// these bounds.
const PAUSE_TOKENS: f64 = 3.0;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_UNKNOWN: Duration = Duration::from_millis(500);
/// A refused probe makes it so much longer.
const PAUSE_GROWS: u32 = 5;
/// The longest while a per-minute quota may still be what refuses, and the longest at all.
const PAUSE_LONGEST_IN_MINUTE: Duration = Duration::from_secs(24);
const PAUSE_LONGEST: Duration = Duration::from_secs(300);
/// Refused for longer than this, it is no per-minute quota: requests are handed back instead of waiting.
const MINUTE: Duration = Duration::from_secs(60);
const SHUT_AFTER_PROBES: u32 = 3;
/// A probe that was not refused by then was granted: a 429 comes at once, an upload's answer may take long.
const PROBE_REFUSED_WITHIN: Duration = Duration::from_secs(5);
/// Who waits for a probe, or for a token of a rate that rises, asks again so soon.
const LOOK: Duration = Duration::from_millis(250);

/// A pause of this length says that what refused is a window: a bucket has its next token sooner.
const WINDOW_PAUSE: Duration = Duration::from_secs(5);
/// A measurement needs so many grants and so long: less is the noise of the network.
const MEASURED_GRANTS: u64 = 10;
const MEASURED_FOR: Duration = Duration::from_secs(1);
/// A search that measures less than this share of what it sent goes on, if so many grants make another 429
/// cheap.
const MEASURED_SHARE: f64 = 0.5;
const SEARCHED_GRANTS: u64 = 80;
/// A delay up to here is taken for the time to a bucket's next token.
const TOKEN_DELAY_MAX: Duration = Duration::from_secs(2);
/// That delay is at most one interval, so its rate is at the most this one; the search begins just below.
const BELOW_HINT: f64 = 0.5;
const HINT_DOUBLES: Duration = Duration::from_secs(2);
/// A 429 that comes too soon to measure anything.
const TOO_SOON: f64 = 0.8;
/// Where less than this was found, every 429 counts: a second one would be long in coming, and a pause costs few
/// requests.
const NOISE_FROM_PER_MINUTE: f64 = 300.0;
/// A 429 above the found rate confirms it, if what was measured is that near.
const CONFIRMS: f64 = 0.05;

#[derive(Debug)]
struct Pause {
    /// The 429 that began it.
    began: Instant,
    until: Instant,
    /// The first wait, that refused probes double.
    first: Duration,
    /// Probes refused so far.
    refused: u32,
    /// The service has said how long, the last time that it refused.
    is_told: bool,
    /// When the one that is out was sent.
    probe: Option<Instant>,
    /// What was granted in the minute before it.
    granted_before: f64,
    /// What was known before it, and stays so if it was noise.
    before: Known,
}

/// The service had nothing left then, after so many grants in all.
#[derive(Debug, Clone, Copy)]
struct Empty {
    at: Instant,
    granted: u64,
}

/// What 429s have told.
#[derive(Debug, Clone, Copy)]
struct Known {
    phase: Phase,
    /// Where the next measurement begins.
    empty: Option<Empty>,
    /// The longest delay since the search began that is a token's.
    hint: Option<Duration>,
}

/// What a request that asks is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    Paced,
    /// Its outcome decides for all that wait.
    Probe,
    NotBefore(Instant),
}

/// What a 429 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It belongs to one that was acted upon.
    Before,
    /// The pause goes on.
    Probe,
    /// A pause begins.
    Pause,
}

#[derive(Debug)]
pub struct Rate {
    ceiling: f64,
    is_paced: bool,
    waits: Waits,
    known: Known,
    bucket: Bucket,
    granted: Granted,
    refusals: Refusals,
    pause: Option<Pause>,
    /// 429s of requests sent before belong to an event that was acted upon.
    cut_at: Option<Instant>,
    /// When requests began to flow, after the last long pause.
    flows_since: Option<Instant>,
}

/// How a class may go.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Requests a minute; `None`: as many as the service grants.
    pub ceiling: Option<f64>,
    /// `false`: the service's pauses are kept, and nothing else.
    pub is_paced: bool,
    /// What an earlier run found, requests a minute.
    pub found: Option<f64>,
}

impl Rate {
    pub fn new(bounds: Bounds, waits: Waits, now: Instant) -> Rate {
        let ceiling = bounds.ceiling.unwrap_or(UNLIMITED_PER_MINUTE);
        let phase = match bounds.found {
            Some(rate) if bounds.is_paced && rate < ceiling => Phase::Found {
                rate: rate.max(PER_MINUTE_MIN),
                since: now,
                rise: Rise::Quick,
            },
            _ => Phase::Free,
        };
        Rate {
            ceiling,
            is_paced: bounds.is_paced,
            waits,
            known: Known {
                phase,
                empty: None,
                hint: None,
            },
            bucket: Bucket::default(),
            granted: Granted::new(now),
            refusals: Refusals::default(),
            pause: None,
            cut_at: None,
            flows_since: None,
        }
    }

    /// Requests a minute at `now`; `None`: no limit.
    pub fn per_minute(&self, now: Instant) -> Option<f64> {
        self.per_minute_in(self.known.phase, now)
    }

    fn per_minute_in(&self, phase: Phase, now: Instant) -> Option<f64> {
        let second = self.waits.scaled(Duration::from_secs(1)).as_secs_f64();
        let age = |since: Instant| now.saturating_duration_since(since).as_secs_f64() / second;
        let rate = match phase {
            _ if !self.is_paced => UNLIMITED_PER_MINUTE,
            phase => phase.per_minute(age).unwrap_or(self.ceiling),
        };
        let rate = rate.min(self.ceiling).max(PER_MINUTE_MIN);
        (rate < UNLIMITED_PER_MINUTE).then_some(rate)
    }

    /// The rate that was measured, requests a minute.
    pub fn found(&self) -> Option<f64> {
        self.known.phase.found()
    }

    /// Requests.
    pub fn granted_in_last_minute(&mut self, now: Instant) -> f64 {
        self.granted.in_last_minute(now)
    }

    pub fn paused_until(&self) -> Option<Instant> {
        self.pause.as_ref().map(|pause| pause.until)
    }

    /// It waits, and knows neither for how long nor its rate.
    pub fn is_guessing(&self) -> bool {
        let is_told = self.pause.as_ref().is_none_or(|pause| pause.is_told);
        !is_told && self.found().is_none()
    }

    /// Until when it waits, or soon, while a probe of its own is out.
    pub fn waits_until(&self, now: Instant) -> Option<Instant> {
        let pause = self.pause.as_ref()?;
        match pause.probe {
            _ if now < pause.until => Some(pause.until),
            Some(sent) if now < sent + self.waits.scaled(PROBE_REFUSED_WITHIN) => {
                Some(now + self.waits.scaled(LOOK))
            }
            Some(_) | None => None,
        }
    }

    /// Nothing was granted for so long that waiting for it makes no sense.
    pub fn is_shut(&self, now: Instant) -> bool {
        self.pause.as_ref().is_some_and(|pause| {
            now.saturating_duration_since(pause.began) >= self.waits.scaled(MINUTE)
                && pause.refused >= SHUT_AFTER_PROBES
        })
    }

    /// Whether a request may start now; takes nothing. `is_first`: before others that wait for the same token.
    pub fn ready(&mut self, now: Instant, is_first: bool) -> Ready {
        if let Some(until) = self.waits_until(now) {
            return Ready::NotBefore(until);
        }
        match &self.pause {
            Some(Pause { probe: None, .. }) => return Ready::Probe,
            Some(_) => self.resume(now),
            None => {}
        }
        let Some(interval) = self.interval(now) else {
            return Ready::Paced;
        };
        let interval = match is_first {
            true => interval / 2,
            false => interval,
        };
        match self.bucket.free(now, interval) {
            free if free <= now => Ready::Paced,
            free => Ready::NotBefore(free.min(now + self.waits.scaled(LOOK))),
        }
    }

    /// A request starts, as `ready` has said.
    pub fn take(&mut self, now: Instant) {
        if let Some(pause) = &mut self.pause {
            pause.probe = Some(now);
        } else if let Some(interval) = self.interval(now) {
            self.bucket.take(now, interval);
        }
    }

    /// Says whether who waits should ask again.
    pub fn granted(&mut self, is_probe: bool, now: Instant) -> bool {
        self.granted.count(now);
        self.refusals.granted();
        self.flows_since.get_or_insert(now);
        let ends = is_probe && self.pause.as_ref().is_some_and(|p| p.probe.is_some());
        if ends {
            self.resume(now);
        }
        ends
    }

    /// No answer, or one that says nothing of the quota. Says whether who waits should ask again.
    pub fn unanswered(&mut self, is_probe: bool) -> bool {
        let probe = self.pause.as_mut().filter(|_| is_probe);
        probe.is_some_and(|pause| pause.probe.take().is_some())
    }

    /// A rate 429 for a request sent at `sent_at`.
    pub fn limited(
        &mut self,
        sent_at: Instant,
        is_probe: bool,
        asked: Option<Duration>,
        now: Instant,
    ) -> Seen {
        let asked = backoff::honoured(asked);
        self.refusals.refused();
        let before = self.known;
        if let Some(asked) = asked.filter(|asked| *asked <= TOKEN_DELAY_MAX) {
            self.known.hint = self.known.hint.max(Some(asked));
        }
        let is_probe = is_probe && self.pause.is_some();
        if !is_probe && self.cut_at.is_some_and(|cut| sent_at <= cut) {
            if let (Some(pause), Some(asked)) = (&mut self.pause, asked) {
                pause.until = pause.until.max(now + self.waits.scaled(asked));
            }
            return Seen::Before;
        }
        self.cut_at = Some(now);
        let seen = match &mut self.pause {
            Some(pause) => {
                pause.probe = None;
                pause.refused += 1;
                pause.granted_before = self.granted.in_last_minute(now);
                Seen::Probe
            }
            None => {
                self.measure(now);
                self.pause = Some(Pause {
                    began: now,
                    until: now,
                    first: self.first_pause(),
                    refused: 0,
                    is_told: false,
                    probe: None,
                    granted_before: self.granted.in_last_minute(now),
                    before,
                });
                Seen::Pause
            }
        };
        self.pause_on(asked, now);
        seen
    }

    /// Whether the one that decides now was sent then.
    pub fn is_probe(&self, sent_at: Instant) -> bool {
        let pause = self.pause.as_ref();
        pause.is_some_and(|pause| pause.probe == Some(sent_at))
    }

    pub fn pause_at_least(&mut self, until: Option<Instant>) {
        if let (Some(pause), Some(until)) = (&mut self.pause, until) {
            pause.until = pause.until.max(until);
        }
    }

    pub fn pause_at_most(&mut self, until: Instant) {
        if let Some(pause) = &mut self.pause {
            pause.until = pause.until.min(until);
        }
    }

    /// What was sent so far, and is refused yet, tells nothing new.
    pub fn cut(&mut self, now: Instant) {
        self.cut_at = Some(now);
    }

    /// The pause was no concern of this rate.
    pub fn end_pause(&mut self, now: Instant) {
        if let Some(pause) = self.pause.take() {
            let waited = now.saturating_duration_since(pause.began);
            self.known = pause.before;
            self.known.phase.delay(waited);
            self.refusals = Refusals::default();
        }
    }

    /// Longer than to the next token, for which others may wait as well.
    fn first_pause(&self) -> Duration {
        self.found().map_or(PAUSE_UNKNOWN, |rate| {
            let tokens = interval(rate).mul_f64(PAUSE_TOKENS);
            tokens.clamp(PAUSE_MIN, PAUSE_UNKNOWN)
        })
    }

    /// Sets the end of the pause, by how often it was in vain.
    fn pause_on(&mut self, asked: Option<Duration>, now: Instant) {
        let Some(pause) = &mut self.pause else { return };
        pause.is_told = asked.is_some();
        let so_far = now.saturating_duration_since(pause.began);
        let grown = pause
            .first
            .saturating_mul(PAUSE_GROWS.saturating_pow(pause.refused.min(8)));
        let wait = match so_far < self.waits.scaled(MINUTE) {
            true => self.waits.scaled(grown.min(PAUSE_LONGEST_IN_MINUTE)),
            false => so_far.min(self.waits.scaled(PAUSE_LONGEST)),
        };
        pause.until = now + wait.max(self.waits.scaled(asked.unwrap_or_default()));
        // A window that was opened by our first request closes a minute after it.
        if asked.is_none()
            && let Some(since) = self.flows_since
        {
            let reopens = since + self.waits.scaled(MINUTE);
            let near = reopens.saturating_duration_since(now) <= self.waits.scaled(MINUTE) * 3 / 4;
            if reopens > now {
                pause.until = match near && pause.refused > 0 {
                    true => reopens,
                    false => pause.until.min(reopens),
                };
            }
        }
    }

    /// At a 429 that ends a flow of requests.
    fn measure(&mut self, now: Instant) {
        let here = Empty {
            at: now,
            granted: self.granted.total(),
        };
        let Some(empty) = self.known.empty else {
            self.known.empty = Some(here);
            return;
        };
        let granted = here.granted - empty.granted;
        let time = now.saturating_duration_since(empty.at);
        if granted >= MEASURED_GRANTS && time >= self.waits.scaled(MEASURED_FOR) {
            // Of a longer time only the last minute says what a window holds.
            let rate = match time < self.waits.scaled(MINUTE) {
                true => self.per_minute_of(granted as f64, time),
                false => self.granted.in_last_minute(now),
            };
            // Nothing was granted in that minute if nothing was asked for.
            let rate = rate.max(PER_MINUTE_MIN);
            let sent_at = self.per_minute(now).unwrap_or(UNLIMITED_PER_MINUTE);
            let may_go_on =
                matches!(self.known.phase, Phase::Searching { .. }) && granted >= SEARCHED_GRANTS;
            self.known.phase = match may_go_on && rate < sent_at * MEASURED_SHARE {
                // The search began so low that a small bucket overflowed: the rate is higher than that.
                true => Phase::Searching {
                    from: rate,
                    doubles: HINT_DOUBLES,
                    since: now,
                    is_measured: true,
                },
                false => Phase::Found {
                    rate,
                    since: now,
                    rise: Rise::Quick,
                },
            };
            self.known.empty = Some(here);
        } else if let Phase::Found { rate, .. } = &mut self.known.phase {
            *rate = (*rate * TOO_SOON).max(PER_MINUTE_MIN);
        }
    }

    fn per_minute_of(&self, granted: f64, time: Duration) -> f64 {
        let minute = self.waits.scaled(MINUTE).as_secs_f64();
        granted * minute / time.as_secs_f64().max(1e-6)
    }

    /// The probe was granted.
    fn resume(&mut self, now: Instant) {
        let Some(pause) = self.pause.take() else {
            return;
        };
        let waited = now.saturating_duration_since(pause.began);
        let was_window = waited >= self.waits.scaled(WINDOW_PAUSE);
        if self.is_noise(&pause) {
            self.known = pause.before;
            self.known.phase.delay(waited);
        } else {
            self.refusals.acted_upon();
            self.known.phase = self.phase_after(&pause, now);
            if was_window {
                self.known.empty = Some(Empty {
                    at: now,
                    granted: self.granted.total(),
                });
            }
        }
        if was_window {
            self.flows_since = Some(now);
        }
        self.bucket.begin(now);
    }

    /// Whether the 429 of a pause that is over says nothing of the rate.
    fn is_noise(&self, pause: &Pause) -> bool {
        let before = pause.before.phase;
        if self.refusals.are_a_quotas() {
            return false;
        }
        let (Some(found), Some(measured)) = (before.found(), self.found()) else {
            return true;
        };
        let is_above = self.per_minute_in(before, pause.began) > Some(found);
        let is_near = (measured / found - 1.0).abs() < CONFIRMS;
        found >= NOISE_FROM_PER_MINUTE && !(is_above && is_near)
    }

    fn phase_after(&self, pause: &Pause, now: Instant) -> Phase {
        let waited = now.saturating_duration_since(pause.began);
        let was_window = waited >= self.waits.scaled(WINDOW_PAUSE);
        match self.known.phase {
            _ if was_window && pause.granted_before >= 1.0 => Phase::Found {
                rate: pause.granted_before,
                since: now,
                rise: Rise::Gentle,
            },
            Phase::Found { rate, .. } => Phase::Found {
                rate,
                since: now,
                rise: Rise::Quick,
            },
            Phase::Searching {
                from,
                is_measured: true,
                ..
            } => Phase::Searching {
                from,
                doubles: HINT_DOUBLES,
                since: now,
                is_measured: false,
            },
            Phase::Free | Phase::Searching { .. } => self.search(waited, pause.granted_before, now),
        }
    }

    /// Where a search begins, or goes on: at what a bucket's delay says, or at what was granted since the
    /// first 429, which others may have a share in.
    fn search(&self, waited: Duration, granted_before: f64, now: Instant) -> Phase {
        let hint = self
            .known
            .hint
            .map(|hint| BELOW_HINT * self.per_minute_of(1.0, self.waits.scaled(hint)));
        let seen = self.known.empty.map_or(1.0, |empty| {
            let granted = (self.granted.total() - empty.granted).max(1) as f64;
            self.per_minute_of(granted, now.saturating_duration_since(empty.at))
        });
        let is_first = self.known.phase == Phase::Free;
        let (from, doubles) = match hint {
            Some(hint) if is_first => (hint, HINT_DOUBLES),
            Some(hint) => (hint.min(seen), HINT_DOUBLES),
            None => (
                seen.max(granted_before * HOLD_FROM),
                waited
                    .max(interval(granted_before.max(1.0)))
                    .clamp(PAUSE_UNKNOWN / 2, HINT_DOUBLES),
            ),
        };
        Phase::Searching {
            from,
            doubles,
            since: now,
            is_measured: false,
        }
    }

    /// Between two requests; `None`: no limit.
    pub fn interval(&self, now: Instant) -> Option<Duration> {
        self.per_minute(now)
            .map(|per_minute| self.waits.scaled(interval(per_minute)))
    }
}

#[cfg(test)]
mod tests;
