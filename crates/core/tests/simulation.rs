//! Ten thousand seeded fleets in seeded storms: every invariant holds after every step.

use dormouse_core::sim::{self, Report};

/// Seeds that are run when the environment does not say how many.
const SEEDS: u64 = 10_000;
/// Failing seeds that are shown.
const SHOWN_MAX: usize = 5;

#[test]
fn every_invariant_holds_after_every_step_of_every_seed() {
    let (first, count) = (number("DORMOUSE_SIM_FIRST", 1), number("DORMOUSE_SIM_SEEDS", SEEDS));
    let mut steps = 0;
    let mut served = 0;
    let mut denied = 0;
    let mut failures: Vec<Report> = Vec::new();
    for seed in first..first + count {
        let report = sim::run(seed, sim::STEPS);
        steps += report.steps;
        served += report.served;
        denied += report.denied;
        if !report.violations.is_empty() {
            failures.push(report);
        }
    }
    println!(
        "simulation: {count} seeds from {first}, {steps} steps, {served} visitors served, {denied} turned away, {} failures",
        failures.len()
    );
    let shown: Vec<String> = failures.iter().take(SHOWN_MAX).map(describe).collect();
    assert!(
        failures.is_empty(),
        "{} of {count} seeds failed:\n{}",
        failures.len(),
        shown.join("\n")
    );
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
