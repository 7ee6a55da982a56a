//! Every golden scenario in `scenarios/` goes as it is written.

use std::fs;
use std::path::{Path, PathBuf};

use dormouse_core::scenario;

/// So many must be there; fewer means that they were not found.
const SCENARIOS_MIN: usize = 20;

#[test]
fn every_scenario_goes_as_it_is_written() {
    let files = scenarios();
    assert!(files.len() >= SCENARIOS_MIN, "only {} scenarios were found", files.len());
    let failures: Vec<String> = files.iter().filter_map(|file| play(file)).collect();
    println!("scenarios: {} played, {} failures", files.len(), failures.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

#[test]
fn a_scenario_that_goes_otherwise_says_where() {
    let text = "workload blog\nat 0s request blog as ann\nexpect start blog\nexpect 3s open blog\n";
    let mismatch = scenario::play(text).expect_err("a start and a probe take two seconds");
    assert_eq!(mismatch.line, 4);
    assert!(mismatch.message.contains("got it at 2s"), "{mismatch}");

    let text = "workload blog\nat 0s request blog as ann\nexpect open blog\n";
    let mismatch = scenario::play(text).expect_err("it is started first");
    assert_eq!(mismatch.line, 3);
    assert!(mismatch.message.contains("got `start blog` at 0s"), "{mismatch}");

    let text = "workload blog\nat 0s request blog as ann\nnothing until 5s\n";
    let mismatch = scenario::play(text).expect_err("something happens");
    assert!(mismatch.message.contains("expected nothing"), "{mismatch}");

    let mismatch = scenario::play("workload blog idle=soon").expect_err("no duration");
    assert!(mismatch.message.contains("`soon` is not a duration"), "{mismatch}");

    let mismatch = scenario::play("at 0s dance").expect_err("nobody dances");
    assert!(mismatch.message.contains("`dance` is not something that can be done"), "{mismatch}");
}

fn play(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_string_lossy().into_owned();
    let text = fs::read_to_string(file).ok()?;
    let mismatch = scenario::play(&text).err()?;
    Some(format!("scenarios/{name}:{mismatch}"))
}

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let listed = fs::read_dir(&folder).expect("the folder of scenarios is there");
    let mut files: Vec<PathBuf> = listed
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}
