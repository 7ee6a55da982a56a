//! A simulated world around a [`crate::Fleet`]: seeded fleets, seeded storms, and a witness that
//! holds every step against the invariants of the lifecycle.
//!
//! It lives here and not among the test tools because it is as pure as what it tests (no clock, no
//! I/O, dice of its own), and because the shipped binary replays seeds with it.
//!
//! A run has three parts. In the *storm*, visitors, people and faults do what the seed lets them
//! do. Then everything is *calm*: what nobody wants must fall asleep (L2). At *dawn* everything is
//! wanted once more, and everybody must be served (L1).

pub(crate) mod agenda;
pub(crate) mod body;
mod chance;
mod dawn;
pub(crate) mod fate;
mod fleets;
pub(crate) mod gate;
mod keeper;
pub(crate) mod log;
mod random;
pub(crate) mod runtime;
mod storm;
pub(crate) mod visitors;
mod witness;
pub(crate) mod world;

pub use witness::Violation;

use crate::time::Timestamp;
use agenda::Happening;
use chance::Chance;
use log::Keep;
use world::{Beat, World};

/// Steps of the storm when nobody says how many.
pub const STEPS: u64 = 300;

/// What became of one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed that decided everything.
    pub seed: u64,
    /// Steps that the fleet was asked to take in the storm.
    pub storm_steps: u64,
    /// All steps that the fleet was asked to take.
    pub steps: u64,
    /// How many workloads it had.
    pub workloads: usize,
    /// How long it lasted, on the simulated clock.
    pub lasted: Timestamp,
    /// Visitors that were served.
    pub served: u64,
    /// Visitors that were told why not.
    pub denied: u64,
    /// Of every line of the transcript (FNV-1a): equal seeds and steps give equal hashes.
    pub transcript_hash: u64,
    /// Invariants that did not hold.
    pub violations: Vec<Violation>,
}

/// Runs one seed for so many steps of storm, then through the calm and the dawn.
pub fn run(seed: u64, steps: u64) -> Report {
    simulate(seed, steps, Keep::HashOnly, &mut |_| {})
}

/// The same, with every line of the transcript.
pub fn run_telling(seed: u64, steps: u64, tell: &mut dyn FnMut(&str)) -> Report {
    simulate(seed, steps, Keep::Lines, tell)
}

/// Runs what the bytes of a tape decide, for so many steps or until the tape has ended, then the
/// calm and the dawn. A search for a sequence that breaks an invariant writes tapes.
pub fn run_tape(tape: &[u8], steps: u64) -> Report {
    let world = fleets::draw_taped(tape);
    play(
        world,
        0,
        &mut |world| world.inputs >= steps || world.fate.random.is_off_tape(),
        &mut |_| {},
    )
}

fn simulate(seed: u64, steps: u64, keep: Keep, tell: &mut dyn FnMut(&str)) -> Report {
    play(fleets::draw(seed, keep), seed, &mut |world| world.inputs >= steps, tell)
}

fn play(
    mut world: World<Chance>,
    seed: u64,
    is_over: &mut dyn FnMut(&World<Chance>) -> bool,
    tell: &mut dyn FnMut(&str),
) -> Report {
    world.open();
    world.agenda.add(world.now, Happening::Acts);
    while !is_over(&world) && world.witness.violations().is_empty() {
        weather(&mut world, Timestamp(u64::MAX));
        say(&mut world, tell);
    }
    let storm_steps = world.inputs;
    if world.witness.violations().is_empty() {
        world.see_through_to_dawn(&mut |world| say(world, tell));
    }
    say(&mut world, tell);
    let (served, denied) = world.witness.visitors();
    Report {
        seed,
        storm_steps,
        steps: world.inputs,
        workloads: world.workloads.len(),
        lasted: world.now,
        served,
        denied,
        transcript_hash: world.log.hash(),
        violations: world.witness.violations().to_vec(),
    }
}

/// One beat of the storm.
fn weather(world: &mut World<Chance>, until: Timestamp) {
    match world.beat(until) {
        Beat::Acts => world.act(),
        Beat::Done | Beat::Quiet => {}
    }
}

fn say(world: &mut World<Chance>, tell: &mut dyn FnMut(&str)) {
    for line in world.log.take_lines() {
        tell(&line.to_string());
    }
}
