//! Fleets and policies that a seed draws: chains, shared needs, jobs, short and endless idleness.

use std::time::Duration;

use super::body::Body;
use super::chance::Chance;
use super::log::Keep;
use super::random::Random;
use super::world::World;
use crate::id::WorkloadId;
use crate::load::IdleBelow;
use crate::observation::RunId;
use crate::policy::{Adopt, Need, OnRestFailure, Policy, Readiness, Rest, Until};

/// The largest fleet.
const WORKLOADS_MAX: u64 = 12;
/// The most environments.
const ENVIRONMENTS_MAX: u64 = 3;
/// How much of a tape lays the fleet out; the rest is its luck.
const LAYOUT_BYTES: usize = 64;
/// Runs that were there before the first one of ours.
const FIRST_RUN: u64 = 1_000_000;

/// Draws a fleet with everything around it.
pub(super) fn draw(seed: u64, keep: Keep) -> World<Chance> {
    let mut random = Random::new(seed);
    let fleet_seed = random.draw();
    let luck = Random::new(random.draw());
    lay_out(random, fleet_seed, luck, keep)
}

/// The same, as a tape decides.
pub(super) fn draw_taped(tape: &[u8]) -> World<Chance> {
    let (layout, luck) = tape.split_at(tape.len().min(LAYOUT_BYTES));
    lay_out(Random::taped(layout), 0, Random::taped(luck), Keep::HashOnly)
}

fn lay_out(mut random: Random, fleet_seed: u64, luck: Random, keep: Keep) -> World<Chance> {
    let mut world = World::new(fleet_seed, Chance::new(luck), keep);
    world.lateness = random.millis(0, 20);
    for environment in 0..=random.below(ENVIRONMENTS_MAX) {
        world.add_environment(&format!("e{environment}"));
    }
    let jobs = random.draw() & random.draw() & random.draw();
    for w in 0..=random.index(usize::try_from(WORKLOADS_MAX).expect("a small number")) {
        let environment = random.index(world.environments.len());
        let body = draw_body(&mut random, w);
        let earlier: Vec<WorkloadId> = world.workloads.iter().map(|it| it.id.clone()).collect();
        let policy = draw_policy(&mut random, &earlier, jobs);
        world.add_workload(environment, &format!("w{w}"), policy, body);
    }
    world.fate.jobs = u32::try_from(jobs & 0xFFF).expect("twelve bits fit");
    world
}

/// Draws a policy that needs some of `earlier` ones only, so that no cycle comes about. Of those,
/// the ones in `jobs` run to their end.
pub(super) fn draw_policy(random: &mut Random, earlier: &[WorkloadId], jobs: u64) -> Policy {
    let idle = random.chance(900).then(|| random.millis(500, 40_000));
    let idle_below = IdleBelow {
        cpu_millipercent: random.chance(300).then_some(5_000),
        net_bytes: random.chance(150).then_some(1_024),
    };
    Policy {
        idle_timeout: idle,
        idle_below,
        wake_timeout: random.millis(2_000, 60_000),
        rest: random.pick(&[Rest::Stop, Rest::Stop, Rest::Pause, Rest::Kill]),
        stop_signal: None,
        stop_timeout: random.millis(0, 10_000),
        drain_timeout: random.millis(0, 20_000),
        on_rest_failure: random.pick(&[OnRestFailure::Keep, OnRestFailure::Kill]),
        adopt: random.pick(&[Adopt::Keep, Adopt::Keep, Adopt::Rest]),
        needs: draw_needs(random, earlier, jobs),
        readiness: Readiness::Auto,
        ports: Vec::new(),
        udp_ports: Vec::new(),
    }
}

/// The longest that a drawn policy allows idleness to last.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(40);

fn draw_needs(random: &mut Random, earlier: &[WorkloadId], jobs: u64) -> Vec<Need> {
    let density = random.pick(&[0, 150, 400]);
    let mut needs = Vec::new();
    for (position, on) in earlier.iter().enumerate() {
        if random.chance(density) {
            let until = if jobs & (1 << position) != 0 {
                random.pick(&[Until::Completed, Until::Completed, Until::Completed, Until::Started])
            } else {
                random.pick(&[Until::Ready, Until::Ready, Until::Started])
            };
            let on = on.clone();
            needs.push(Need { on, until });
        }
    }
    needs
}

fn draw_body(random: &mut Random, w: usize) -> Body {
    let run = RunId(FIRST_RUN + u64::try_from(w).expect("a small number"));
    match random.below(10) {
        0..4 => Body::Stopped { exit: Some(0) },
        4..6 => Body::Running { run, ready: true },
        6 => Body::Running { run, ready: false },
        7 => Body::Paused { run, ready: true },
        8 => Body::Stopped { exit: None },
        _ => Body::Absent,
    }
}
