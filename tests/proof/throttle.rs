//! The throttle against modelled services, in virtual time: hours in seconds.
//!
//! The decisions are those of the gate (`objlib::throttle::core`); modelled are the clients that ask for
//! their turn, to upload and now and then to look, and a service with a hidden quota of one of several shapes.
//! Of each run five things are judged by their median, the first four against the targets of design section 9:
//! the share of what a perfectly paced client would have been granted in the first 75 s, the same later, the
//! same from a minute after the quota was halved or doubled, the 429s of the first 75 s, and how late a look
//! was at the most. Then the same with 429s that come at any rate, judged
//! by what their pauses leave.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use fastrand::Rng;
use objlib::throttle::core::{Pass, Throttle, Turn, Verdict};
use objlib::throttle::{Class, Concurrency, GateSettings, Peaks, Rpm};
use objlib::waits::Waits;

use crate::Options;

const SHARE_MIN: f64 = 0.90;
const CEILING_SHARE_MIN: f64 = 0.98;
const LIMITED_SHARE: f64 = 0.02;
/// 429s that a process may cause of a quota where that is more: all in flight meet it at once.
const LIMITED_MIN: f64 = 10.0;
/// What `--concurrency` is by default; with more, more is in flight when a quota is met.
const CONCURRENCY: usize = Concurrency::DEFAULT;

const FIRST: f64 = 75.0;
const CHANGED: f64 = 195.0;
const FOUND_AGAIN: f64 = 255.0;
const END: f64 = 495.0;
/// A share of what the pauses leave, where 429s come at any rate.
const NOISE_SHARE_MIN: f64 = 0.80;
/// So long noise asks for, and so long is the pause if it does not say; seconds.
const NOISE_DELAY: f64 = 1.0;
const UNTOLD_DELAY: f64 = 0.5;
const NO_QUOTA: f64 = 1e7;
const READERS: usize = 4;
/// A look that is due waits no longer, where no closed window holds up everything; seconds.
const LATE_MAX: f64 = 5.0;
/// How often an upload that was granted is followed by looks, of one reader or of more: about one look for ten files.
const LOOKED_AFTER: f64 = 0.04;
/// One more reader at once for so much of the quota, requests a minute.
const LOOKED_AT_ONCE: f64 = 150.0;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// Saves up a second of its rate, at least 20 requests.
    SmallBucket,
    /// Saves up ten seconds of its rate.
    LargeBucket,
    Fixed,
    Sliding,
    /// Writes and reads are counted apart, both in fixed windows.
    Apart,
    /// Only starts count, in a bucket; bodies are free.
    StartsOnly,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Retry {
    Exact,
    None,
    Absurd,
}

/// One quota of a service.
struct Quota {
    shape: Shape,
    per_minute: f64,
    /// Where the minutes of a fixed window begin.
    phase: f64,
    granted: VecDeque<f64>,
    tokens: f64,
    filled: f64,
}

impl Quota {
    fn new(shape: Shape, per_minute: f64, phase: f64) -> Quota {
        let mut quota = Quota {
            shape,
            per_minute,
            phase,
            granted: VecDeque::new(),
            tokens: 0.0,
            filled: 0.0,
        };
        quota.tokens = quota.burst();
        quota
    }

    fn burst(&self) -> f64 {
        match self.shape {
            Shape::SmallBucket => (self.per_minute / 60.0).max(20.0),
            Shape::LargeBucket | Shape::StartsOnly => (self.per_minute / 6.0).max(1.0),
            Shape::Fixed | Shape::Sliding | Shape::Apart => 0.0,
        }
    }

    /// What a perfectly paced client is granted in so many seconds.
    fn due(&self, seconds: f64) -> f64 {
        self.burst() + self.per_minute * seconds / 60.0
    }

    /// `Err`: seconds until it would be granted.
    fn request(&mut self, at: f64) -> Result<(), f64> {
        match self.shape {
            Shape::SmallBucket | Shape::LargeBucket | Shape::StartsOnly => {
                let grown = (at - self.filled) * self.per_minute / 60.0;
                self.tokens = (self.tokens + grown).min(self.burst());
                self.filled = at;
                if self.tokens < 1.0 {
                    return Err((1.0 - self.tokens) * 60.0 / self.per_minute);
                }
                self.tokens -= 1.0;
                Ok(())
            }
            Shape::Fixed | Shape::Apart => {
                let start = ((at + self.phase) / 60.0).floor() * 60.0 - self.phase;
                self.in_window(at, start, start + 60.0)
            }
            Shape::Sliding => {
                let oldest = self.granted.front().copied().unwrap_or(at);
                self.in_window(at, at - 60.0, oldest + 60.0)
            }
        }
    }

    fn in_window(&mut self, at: f64, since: f64, free: f64) -> Result<(), f64> {
        while self.granted.front().is_some_and(|t| *t < since) {
            self.granted.pop_front();
        }
        if self.granted.len() as f64 >= self.per_minute {
            return Err((free - at).max(0.001));
        }
        self.granted.push_back(at);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    shape: Shape,
    quota: f64,
    retry: Retry,
    rpm: Rpm,
    /// What the quota becomes in the middle, as a factor.
    change: f64,
    processes: usize,
    latency: f64,
    concurrency: usize,
    /// The share of all requests that is refused whatever the rate.
    noise: f64,
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Start,
    Body,
    Read,
}

impl Step {
    fn class(self) -> Class {
        match self {
            Step::Start | Step::Body => Class::Write,
            Step::Read => Class::Read,
        }
    }
}

/// One thread of a process, and the request that it has under way.
struct Actor {
    process: usize,
    step: Step,
    pass: Option<Pass>,
    answer: Verdict,
    /// When a look became due.
    since: f64,
}

struct Process {
    throttle: Throttle,
    busy: usize,
    idle: Vec<usize>,
    /// Readers with nothing to look at; where reads have a quota of their own they always look.
    resting: Vec<usize>,
    waiting: [VecDeque<usize>; 2],
    /// When it looks next, in nanoseconds.
    looks_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Look(usize),
    Arrive(usize),
    Answer(usize),
}

/// What a run did between two moments.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    granted: f64,
    sent: f64,
    limited: f64,
    /// Starts of any kind, for a ceiling: the most in one minute.
    in_a_minute: usize,
    /// The longest that a look was late; seconds.
    late: f64,
}

struct World {
    case: Case,
    origin: Instant,
    rng: Rng,
    write: Quota,
    read: Option<Quota>,
    actors: Vec<Actor>,
    processes: Vec<Process>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
    now: f64,
    starts: VecDeque<f64>,
    seen: Seen,
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

impl World {
    fn new(case: Case) -> World {
        let origin = Instant::now();
        let mut rng = Rng::with_seed(case.seed);
        let phase = rng.f64() * 60.0;
        let settings = GateSettings {
            rpm: case.rpm,
            concurrency: match case.concurrency {
                CONCURRENCY => Concurrency::Default,
                asked => Concurrency::Asked(asked),
            },
            peaks: Peaks::default(),
            waits: Waits::default(),
        };
        let has_reads = case.shape == Shape::Apart;
        let mut actors = Vec::new();
        let processes = (0..case.processes)
            .map(|process| {
                let mut actor = |step| {
                    actors.push(Actor {
                        process,
                        step,
                        pass: None,
                        answer: Verdict::Answered,
                        since: 0.0,
                    });
                    actors.len() - 1
                };
                let idle = (0..case.concurrency).map(|_| actor(Step::Start)).collect();
                let readers: Vec<usize> = (0..READERS).map(|_| actor(Step::Read)).collect();
                let (asking, resting) = match has_reads {
                    true => (readers, Vec::new()),
                    false => (Vec::new(), readers),
                };
                Process {
                    throttle: Throttle::new(settings, origin),
                    busy: 0,
                    idle,
                    resting,
                    waiting: [VecDeque::new(), asking.into()],
                    looks_at: u64::MAX,
                }
            })
            .collect();
        World {
            case,
            origin,
            write: Quota::new(case.shape, case.quota, phase),
            read: has_reads.then(|| Quota::new(case.shape, case.quota / 2.0, rng.f64() * 60.0)),
            rng,
            actors,
            processes,
            events: BinaryHeap::new(),
            number: 0,
            now: 0.0,
            starts: VecDeque::new(),
            seen: Seen::default(),
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.origin + Duration::from_nanos(nanos(seconds))
    }

    fn schedule(&mut self, seconds: f64, event: Event) {
        self.number += 1;
        self.events
            .push(Reverse((nanos(seconds), self.number, event)));
    }

    fn change(&mut self) {
        self.write.per_minute *= self.case.change;
        if let Some(read) = &mut self.read {
            read.per_minute *= self.case.change;
        }
    }

    /// What was seen until then, since the last call.
    fn until(&mut self, end: f64) -> Seen {
        if self.now == 0.0 {
            (0..self.processes.len()).for_each(|p| self.look(p));
        }
        while let Some(Reverse((at, _, event))) = self.events.peek().copied() {
            if at >= nanos(end) {
                break;
            }
            self.events.pop();
            self.now = at as f64 / 1e9;
            match event {
                Event::Look(process) if self.processes[process].looks_at == at => {
                    self.processes[process].looks_at = u64::MAX;
                    self.look(process);
                }
                // An earlier look has taken its place.
                Event::Look(_) => {}
                Event::Arrive(actor) => self.arrive(actor),
                Event::Answer(actor) => self.answer(actor),
            }
        }
        self.now = end;
        if self.read.is_none() {
            self.count_looks_that_wait();
        }
        std::mem::take(&mut self.seen)
    }

    /// Whoever may go goes.
    fn look(&mut self, number: usize) {
        let now = self.at(self.now);
        let mut gone = Vec::new();
        let mut next = f64::INFINITY;
        let process = &mut self.processes[number];
        while process.busy < process.throttle.concurrency() {
            let Some(actor) = process.idle.pop() else {
                break;
            };
            process.busy += 1;
            process.waiting[0].push_back(actor);
        }
        for class in [Class::Write, Class::Read] {
            while let Some(actor) = process.waiting[class as usize].pop_front() {
                match process.throttle.enter(class, now) {
                    Turn::Now(pass) => {
                        self.actors[actor].pass = Some(pass);
                        gone.push(actor);
                    }
                    Turn::Later(at) | Turn::Refused(at) => {
                        process.waiting[class as usize].push_front(actor);
                        next = next.min((at - self.origin).as_secs_f64() + 1e-6);
                        break;
                    }
                }
            }
        }
        if next.is_finite() && nanos(next) < process.looks_at {
            process.looks_at = nanos(next);
            self.schedule(next, Event::Look(number));
        }
        for actor in gone {
            self.starts.push_back(self.now);
            while self.starts.front().is_some_and(|t| *t <= self.now - 60.0) {
                self.starts.pop_front();
            }
            self.seen.in_a_minute = self.seen.in_a_minute.max(self.starts.len());
            let there = self.now + self.half_latency();
            self.schedule(there, Event::Arrive(actor));
        }
    }

    fn half_latency(&mut self) -> f64 {
        self.case.latency / 2.0 * (0.8 + 0.4 * self.rng.f64())
    }

    fn arrive(&mut self, actor: usize) {
        let step = self.actors[actor].step;
        let is_noise = self.case.noise > 0.0 && self.rng.f64() < self.case.noise;
        let counts = self.counts(step);
        let result = match (step, &mut self.read) {
            _ if is_noise => Err(NOISE_DELAY),
            _ if !counts => Ok(()),
            (Step::Read, Some(read)) => read.request(self.now),
            _ => self.write.request(self.now),
        };
        let counted = f64::from(u8::from(counts));
        self.seen.sent += counted;
        self.actors[actor].answer = match result {
            Ok(()) => {
                self.seen.granted += counted;
                Verdict::Answered
            }
            Err(wait) => {
                self.seen.limited += 1.0;
                let delay = match self.case.retry {
                    Retry::Exact => Some(Duration::from_secs_f64(wait)),
                    Retry::None => None,
                    Retry::Absurd => Some(Duration::from_secs(u64::MAX / 4)),
                };
                Verdict::RateLimited { delay }
            }
        };
        let back = self.now + self.half_latency();
        self.schedule(back, Event::Answer(actor));
    }

    fn counts(&self, step: Step) -> bool {
        step == Step::Start || self.case.shape != Shape::StartsOnly
    }

    fn answer(&mut self, number: usize) {
        let now = self.at(self.now);
        let actor = &mut self.actors[number];
        let process = &mut self.processes[actor.process];
        let pass = actor.pass.take().unwrap();
        process.throttle.report(&pass, actor.answer, now);
        let has_body = self.case.shape == Shape::StartsOnly;
        let class = actor.step.class();
        let mut uploaded = false;
        match (actor.step, actor.answer) {
            (Step::Start, Verdict::Answered) if has_body => {
                actor.step = Step::Body;
                process.waiting[0].push_back(number);
            }
            (Step::Start | Step::Body, Verdict::Answered) => {
                actor.step = Step::Start;
                process.busy -= 1;
                process.idle.push(number);
                uploaded = true;
            }
            (Step::Read, Verdict::Answered) if self.read.is_none() => {
                process.resting.push(number);
                self.seen.late = self.seen.late.max(self.now - actor.since);
            }
            _ => process.waiting[class as usize].push_back(number),
        }
        let process = actor.process;
        if uploaded && self.rng.f64() < LOOKED_AFTER {
            self.looks_are_due(process);
        }
        self.look(process);
    }

    /// A look that is never granted is late as well.
    fn count_looks_that_wait(&mut self) {
        let is_due = |(number, actor): &(usize, &Actor)| {
            let resting = &self.processes[actor.process].resting;
            actor.step == Step::Read && !resting.contains(number)
        };
        let due = self.actors.iter().enumerate().filter(is_due);
        let late = due.map(|(_, actor)| self.now - actor.since);
        self.seen.late = late.fold(self.seen.late, f64::max);
    }

    /// Where little is granted, little is there to be looked at at once.
    fn looks_are_due(&mut self, process: usize) {
        let at_once = (self.case.quota / LOOKED_AT_ONCE).ceil() as usize;
        let looks = 1 + self.rng.usize(..at_once.clamp(1, READERS));
        let process = &mut self.processes[process];
        let rest = process.resting.len().saturating_sub(looks);
        for reader in process.resting.drain(rest..) {
            self.actors[reader].since = self.now;
            process.waiting[1].push_back(reader);
        }
    }

    /// What a perfectly paced client would be granted in so many seconds: what the quota gives, and what
    /// can be sent at this latency.
    fn due(&self, seconds: f64, with_burst: bool) -> f64 {
        let reach = |actors: usize, requests: f64| {
            (actors * self.case.processes) as f64 * seconds / self.case.latency / requests
        };
        let of = |quota: &Quota, reach: f64| {
            let burst = if with_burst { 0.0 } else { quota.burst() };
            (quota.due(seconds) - burst).min(reach)
        };
        let requests = match self.case.shape {
            Shape::StartsOnly => 2.0,
            _ => 1.0,
        };
        let write = of(&self.write, reach(self.case.concurrency, requests));
        write
            + self
                .read
                .as_ref()
                .map_or(0.0, |q| of(q, reach(READERS, 1.0)))
    }
}

impl Case {
    /// Else latency and concurrency hold it back, and nothing is proven of the throttle.
    fn is_bounded_by_quota(&self) -> bool {
        let reach = (self.concurrency * self.processes) as f64 / self.latency;
        reach > 1.5 * self.quota / 60.0
    }

    /// Of what quota and latency allow, the share that is left if everybody waits at each 429 of the noise, and
    /// then for the one that goes first.
    fn left_by_noise(&self) -> f64 {
        let delay = match self.retry {
            Retry::Exact => NOISE_DELAY,
            Retry::None | Retry::Absurd => UNTOLD_DELAY,
        };
        let per_second = (self.concurrency as f64 / self.latency).min(self.quota / 60.0);
        1.0 / (1.0 + per_second * self.noise * (delay + self.latency))
    }

    /// Quotas that it meets.
    fn quotas(&self) -> usize {
        if self.shape == Shape::Apart { 2 } else { 1 }
    }
}

/// What is judged of one run.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    first: f64,
    after: f64,
    changed: f64,
    limited: f64,
    /// 429s of the first 75 s, as a share of how many there may be.
    limited_of_allowed: f64,
    in_a_minute: usize,
    /// The longest that a look was late, seconds.
    late: f64,
}

fn live(case: Case) -> Outcome {
    let mut world = World::new(case);
    let first = world.until(FIRST);
    let first_share = first.granted / world.due(FIRST, true);
    let after = world.until(CHANGED);
    let after_share = after.granted / world.due(CHANGED - FIRST, false);
    world.change();
    world.until(FOUND_AGAIN);
    let changed = world.until(END);
    let allowed =
        (LIMITED_SHARE * first.sent).max(LIMITED_MIN * (case.processes * case.quotas()) as f64);
    Outcome {
        first: first_share,
        after: after_share,
        changed: changed.granted / world.due(END - FOUND_AGAIN, false),
        limited: first.limited / first.sent,
        limited_of_allowed: first.limited / allowed,
        in_a_minute: first.in_a_minute.max(after.in_a_minute),
        late: first.late.max(after.late),
    }
}

const SHAPES: [(Shape, &str); 6] = [
    (Shape::SmallBucket, "bucket, burst 1 s, at least 20"),
    (Shape::LargeBucket, "bucket, burst 10 s"),
    (Shape::Fixed, "fixed window"),
    (Shape::Sliding, "sliding window"),
    (Shape::Apart, "writes and reads apart"),
    (Shape::StartsOnly, "starts only"),
];
const QUOTAS: [f64; 4] = [60.0, 600.0, 1200.0, 6000.0];
const RETRIES: [(Retry, &str); 3] = [
    (Retry::Exact, "exact"),
    (Retry::None, "none"),
    (Retry::Absurd, "absurd"),
];

/// A median of few runs scatters, so the short form forgives a little: how much of a share, and how many
/// times the 429s.
#[derive(Debug, Clone, Copy)]
struct Slack {
    share: f64,
    limited: f64,
}

/// Ten runs a row are a sample, not a measurement: they are always the same ones, so that the short form says
/// whether a decision of the throttle has changed. The long form draws its runs from the seed that it prints.
const SHORT_SEED: u64 = 7;

pub fn run(options: &Options) {
    let seed = if options.long {
        options.seed
    } else {
        SHORT_SEED
    };
    let (seeds, slack) = match options.long {
        true => (
            200,
            Slack {
                share: 0.0,
                limited: 1.0,
            },
        ),
        false => (
            10,
            Slack {
                share: 0.03,
                limited: 1.25,
            },
        ),
    };
    let mut missed = Vec::new();
    println!(
        "\n{seeds} runs a row: half of them with default flags, the others 1 to 3 processes with concurrency 1 to 32; latency 20 ms to 1 s; median (worst)\n"
    );
    println!(
        "| shape | a minute | RetryInfo | first 75 s | after | halved | doubled | 429s | of allowed | latest look, s |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (shape, name) in SHAPES {
        for quota in QUOTAS {
            for (retry, retry_name) in RETRIES {
                let mut rng = Rng::with_seed(seed);
                let cases = (0..seeds).map(|i| Case {
                    shape,
                    quota,
                    retry,
                    rpm: match rng.u8(..4) {
                        0 => ceiling(quota * 2.0),
                        _ => Rpm::Auto,
                    },
                    change: if i / 2 % 2 == 0 { 0.5 } else { 2.0 },
                    processes: if i % 2 == 0 { 1 } else { rng.usize(1..=3) },
                    latency: *rng.choice(&[0.02, 0.2, 1.0]).unwrap(),
                    concurrency: match i % 2 {
                        0 => CONCURRENCY,
                        _ => *rng.choice(&[1, 7, 32]).unwrap(),
                    },
                    noise: 0.0,
                    seed: rng.u64(..),
                });
                let cases = cases.filter(Case::is_bounded_by_quota);
                let label = format!("{name} | {quota} | {retry_name}");
                missed.extend(row(&label, cases, slack));
            }
        }
    }
    ceilings(seed, seeds, &mut missed);
    noises(seed, seeds.max(20), slack, &mut missed);
    for miss in &missed {
        println!("missed: {miss}");
    }
    assert!(missed.is_empty(), "{} targets are missed", missed.len());
}

fn ceiling(per_minute: f64) -> Rpm {
    Rpm::Ceiling(NonZeroU32::new(per_minute as u32).unwrap())
}

/// Prints a row; the targets that it misses.
fn row(label: &str, cases: impl Iterator<Item = Case>, slack: Slack) -> Vec<String> {
    let outcomes: Vec<(Case, Outcome)> = cases.map(|case| (case, live(case))).collect();
    let all = |_: &Case| true;
    let default = |case: &Case| case.processes == 1 && case.concurrency == CONCURRENCY;
    let column = |of: fn(&Outcome) -> f64, which: &dyn Fn(&Case) -> bool, worst_is_most: bool| {
        let chosen = outcomes.iter().filter(|(case, _)| which(case));
        let mut values: Vec<f64> = chosen.map(|(_, outcome)| of(outcome)).collect();
        values.sort_by(f64::total_cmp);
        let worst = if worst_is_most {
            values.last()
        } else {
            values.first()
        };
        (
            values.get(values.len() / 2).copied().unwrap_or(1.0),
            worst.copied().unwrap_or(1.0),
        )
    };
    let shares = [
        column(|o| o.first, &all, false),
        column(|o| o.after, &all, false),
        column(|o| o.changed, &|case| case.change < 1.0, false),
        column(|o| o.changed, &|case| case.change > 1.0, false),
    ];
    let limited = column(|o| o.limited, &default, true);
    let allowed = column(|o| o.limited_of_allowed, &default, true);
    let late = column(|o| o.late, &all, true);
    let cells: Vec<String> = shares
        .iter()
        .map(|(median, worst)| format!("{median:.2} ({worst:.2})"))
        .collect();
    println!(
        "| {label} | {} | {:.1} % ({:.0} %) | {:.1} ({:.1}) | {:.1} ({:.0}) |",
        cells.join(" | "),
        limited.0 * 100.0,
        limited.1 * 100.0,
        allowed.0,
        allowed.1,
        late.0,
        late.1
    );
    let mut missed = Vec::new();
    let has_window = |(case, _): &(Case, Outcome)| {
        matches!(case.shape, Shape::Fixed | Shape::Sliding | Shape::Apart)
    };
    if late.0 > LATE_MAX && !outcomes.iter().any(has_window) {
        missed.push(format!("{label}: a look was {:.1} s late", late.0));
    }
    for ((median, _), what) in shares
        .iter()
        .zip(["first 75 s", "after", "halved", "doubled"])
    {
        if *median < SHARE_MIN - slack.share {
            missed.push(format!("{label}: {what}: {median:.3}"));
        }
    }
    if allowed.0 > slack.limited {
        missed.push(format!(
            "{label}: 429s: {:.2} of what is allowed",
            allowed.0
        ));
    }
    missed
}

/// A ceiling that the service grants with 2 % to spare.
fn ceilings(seed: u64, seeds: usize, missed: &mut Vec<String>) {
    println!("\n| --rpm | shape | first 75 s of the ceiling | most in a minute | 429s |");
    println!("| --- | --- | --- | --- | --- |");
    for (shape, name) in [
        (Shape::SmallBucket, "bucket, burst 1 s, at least 20"),
        (Shape::Fixed, "fixed window"),
        (Shape::Sliding, "sliding window"),
    ] {
        for rpm in [60.0, 600.0, 1200.0, 6000.0] {
            let mut rng = Rng::with_seed(seed);
            let outcomes: Vec<(f64, usize, f64)> = (0..seeds.min(20))
                .map(|_| {
                    let outcome = live(Case {
                        shape,
                        quota: rpm * 1.02,
                        retry: Retry::Exact,
                        rpm: ceiling(rpm),
                        change: 1.0,
                        processes: 1,
                        latency: 0.02,
                        concurrency: CONCURRENCY,
                        noise: 0.0,
                        seed: rng.u64(..),
                    });
                    (outcome.after * 1.02, outcome.in_a_minute, outcome.limited)
                })
                .collect();
            let share = outcomes.iter().map(|o| o.0).fold(f64::INFINITY, f64::min);
            let most = outcomes.iter().map(|o| o.1).max().unwrap();
            let limited = outcomes.iter().map(|o| o.2).fold(0.0, f64::max);
            println!("| {rpm} | {name} | {share:.3} | {most} | {limited:.4} |");
            if share < CEILING_SHARE_MIN || most as f64 > rpm || limited > 0.0 {
                missed.push(format!("--rpm {rpm}, {name}"));
            }
        }
    }
}

/// 429s that come at any rate, alone and on top of a quota.
fn noises(seed: u64, seeds: usize, slack: Slack, missed: &mut Vec<String>) {
    println!("\n| 429s at any rate | shape | a minute | RetryInfo | first 75 s | after |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (noise, shape, quota) in [
        (0.003, Shape::LargeBucket, NO_QUOTA),
        (0.01, Shape::LargeBucket, NO_QUOTA),
        (0.01, Shape::SmallBucket, 1200.0),
        (0.01, Shape::LargeBucket, 1200.0),
        (0.01, Shape::Fixed, 1200.0),
        (0.01, Shape::Sliding, 1200.0),
    ] {
        for (retry, retry_name) in &RETRIES[..2] {
            let mut rng = Rng::with_seed(seed);
            let outcomes: Vec<(f64, f64)> = (0..seeds)
                .map(|_| {
                    let case = Case {
                        shape,
                        quota,
                        retry: *retry,
                        rpm: Rpm::Auto,
                        change: 1.0,
                        processes: 1,
                        latency: 0.1,
                        concurrency: CONCURRENCY,
                        noise,
                        seed: rng.u64(..),
                    };
                    let outcome = live(case);
                    let left = case.left_by_noise();
                    (outcome.first / left, outcome.after / left)
                })
                .collect();
            let (first, worst_first) = median_and_least(outcomes.iter().map(|o| o.0));
            let (after, worst_after) = median_and_least(outcomes.iter().map(|o| o.1));
            let a_minute = if quota == NO_QUOTA {
                "none".to_owned()
            } else {
                quota.to_string()
            };
            let label = format!(
                "{:.1} % | {shape:?} | {a_minute} | {retry_name}",
                noise * 100.0
            );
            println!("| {label} | {first:.2} ({worst_first:.2}) | {after:.2} ({worst_after:.2}) |");
            if first.min(after) < NOISE_SHARE_MIN - slack.share {
                missed.push(label);
            }
        }
    }
}

fn median_and_least(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0])
}
