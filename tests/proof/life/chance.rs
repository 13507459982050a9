//! Lives by chance: one after the other, and the smallest that breaks.

use std::collections::BTreeSet;

use objlib::pipeline::rules::{MethodChoice, OneRequests};
use objlib::state::Support;

use super::service::{Effect, FLIGHT, Service, UnderWay};
use super::{CALM_ROUNDS, COMMANDS, RUNS, World};

/// Where all chance comes from; replays and shrinks.
pub struct Choices {
    bytes: Vec<u8>,
    at: usize,
    rng: Option<fastrand::Rng>,
}

impl Choices {
    /// 0 is "all is well"; the others come up `odds` times in 256 each.
    pub fn pick(&mut self, odds: &[u8]) -> usize {
        if self.at == self.bytes.len() {
            match &mut self.rng {
                Some(rng) => self.bytes.push(rng.u8(..)),
                None => return 0,
            }
        }
        let byte = u32::from(self.bytes[self.at]);
        self.at += 1;
        let mut top = 256;
        for (i, odds) in odds.iter().enumerate() {
            top -= u32::from(*odds);
            if byte >= top {
                return i + 1;
            }
        }
        0
    }

    /// Of random bytes.
    fn random(rng: fastrand::Rng) -> Choices {
        Choices {
            bytes: Vec::new(),
            at: 0,
            rng: Some(rng),
        }
    }

    /// Of these bytes, and then all is well.
    fn replayed(bytes: &[u8]) -> Choices {
        Choices {
            bytes: bytes.to_vec(),
            at: 0,
            rng: None,
        }
    }

    pub fn is_replay(&self) -> bool {
        self.rng.is_none()
    }
}

/// What was broken, and the story.
type Broken = (String, Vec<String>);

/// A whole life: runs under faults, then runs in peace. The second value: how many steps it took.
fn live(choices: Choices) -> (Choices, u64, Result<(), Broken>) {
    let mut world = World {
        choices,
        service: Service::default(),
        rows: Vec::new(),
        links: BTreeSet::new(),
        versions: [1, 1],
        newest: 1,
        choice: MethodChoice::Auto,
        refuses_form: false,
        support: [Support::Untried; 3],
        one_request: OneRequests::new(Support::Untried),
        calm: false,
        garbled: false,
        listed: false,
        steps: 0,
        broken: None,
        story: Vec::new(),
    };
    world.choice = match world.choices.pick(&[85, 85]) {
        0 => MethodChoice::Direct,
        1 => MethodChoice::Staged,
        _ => MethodChoice::Auto,
    };
    world.refuses_form = world.choices.pick(&[40]) == 1;
    for run in 0..RUNS + CALM_ROUNDS * COMMANDS.len() {
        world.calm = run >= RUNS;
        let store = match world.calm {
            true => (run - RUNS) % COMMANDS.len(),
            // Zero is the store that both go into.
            false => (world.pick(&[85, 85]) + 2) % COMMANDS.len(),
        };
        world.say(format!(
            "run {run}{}",
            if world.calm { ", in peace" } else { "" }
        ));
        let _ = world.run(store);
        // A deletion without an answer is never under way for longer than the run that asked for it.
        let deletes = |u: &UnderWay| matches!(u.effect, Effect::Delete(_));
        if world.service.under_way.iter().any(deletes) {
            world.tick(FLIGHT);
        }
        // Whatever was still under way when the process died arrives before the next one lists.
        let pause = world.pick(&[60]) as u64 * FLIGHT;
        world.tick(pause);
        if world.broken.is_some() {
            break;
        }
    }
    if world.broken.is_none() {
        world.tick(FLIGHT);
        world.broken = world.not_exact();
    }
    let result = match world.broken {
        Some(why) => Err((why, world.story)),
        None => Ok(()),
    };
    (world.choices, world.steps, result)
}

/// As few and as small choices as still break it.
fn shrink(mut bytes: Vec<u8>) -> Vec<u8> {
    let breaks = |bytes: &[u8]| live(Choices::replayed(bytes)).2.is_err();
    let mut size = bytes.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + size).min(bytes.len());
            let mut less = bytes.clone();
            less.drain(at..end);
            let mut calmer = bytes.clone();
            calmer[at..end].fill(0);
            if breaks(&less) {
                bytes = less;
            } else {
                if calmer != bytes && breaks(&calmer) {
                    bytes = calmer;
                }
                at = end;
            }
        }
        size /= 2;
    }
    bytes
}

/// Lives until so many steps are done; steps and lives, or the smallest life that breaks.
pub fn many(seed: u64, steps_wanted: u64) -> Result<(u64, u64), String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut lives, mut steps) = (0u64, 0u64);
    while steps < steps_wanted {
        let (choices, took, result) = live(Choices::random(rng.fork()));
        lives += 1;
        steps += took;
        if result.is_err() {
            let bytes = shrink(choices.bytes);
            let (why, story) = live(Choices::replayed(&bytes)).2.unwrap_err();
            let story = story.join("\n");
            return Err(format!(
                "{story}\nchoices {bytes:?}\nlife {lives} of seed {seed}: {why}"
            ));
        }
    }
    Ok((steps, lives))
}
