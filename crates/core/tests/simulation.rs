//! Ten thousand seeded fleets in seeded storms: every invariant holds after every step.

use dormouse_core::sim::{self, Report};

/// Seeds that are run when the environment does not say how many.
const SEEDS: u64 = 10_000;
/// Failing seeds after which no more are looked for.
const FAILURES_MAX: u64 = 5;

#[test]
fn every_invariant_holds_after_every_step_of_every_seed() {
    let first = number("DORMOUSE_SIM_FIRST", 1);
    let count = number("DORMOUSE_SIM_SEEDS", SEEDS);
    let failures_max = number("DORMOUSE_SIM_FAILURES", FAILURES_MAX);
    let (mut seeds, mut steps, mut served, mut denied) = (0, 0, 0, 0);
    let mut failures: Vec<String> = Vec::new();
    for seed in first..first + count {
        let report = sim::run(seed, sim::STEPS);
        seeds += 1;
        steps += report.steps;
        served += report.served;
        denied += report.denied;
        if !report.violations.is_empty() {
            failures.push(describe(&report));
        }
        if failures.len() as u64 == failures_max {
            break;
        }
    }
    println!(
        "simulation: {seeds} seeds from {first}, {steps} steps, {served} visitors served, \
         {denied} turned away, {} failures",
        failures.len()
    );
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert_eq!(seeds, count);
}

#[test]
fn the_same_seed_gives_the_same_transcript() {
    for seed in 1..=40 {
        let mut lines = Vec::new();
        let told = sim::run_telling(seed, sim::STEPS, &mut |line| lines.push(line.to_owned()));
        assert_eq!(told, sim::run(seed, sim::STEPS), "seed {seed}");
        let mut again = Vec::new();
        sim::run_telling(seed, sim::STEPS, &mut |line| again.push(line.to_owned()));
        assert_eq!(lines, again, "seed {seed}");
        assert!(lines.len() > 100, "seed {seed} has {} lines", lines.len());
    }
    assert_ne!(sim::run(1, sim::STEPS).transcript_hash, sim::run(2, sim::STEPS).transcript_hash);
}

fn describe(report: &Report) -> String {
    let seed = report.seed;
    let mut lines = vec![format!("replay with: dormouse sim --seed {seed} --steps {}", sim::STEPS)];
    lines.extend(report.violations.iter().take(3).map(|violation| format!("  {violation}")));
    lines.join("\n")
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
