//! The verbs that need no running dormouse.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use clap_complete::Shell;
use dormouse_core::sim;
use dormouse_wire::Exit;
use serde_json::json;

use super::complaint::Complaint;
use super::print;
use crate::config::DEFAULT_FILE;
use crate::config::check::{self, EXIT_GOOD, Form};

/// `dormouse check`.
pub(super) fn check(file: Option<&Path>, json: bool) -> Result<Exit, Complaint> {
    let form = match json {
        true => Form::Json,
        false => Form::for_people(io::stdout().is_terminal()),
    };
    match check::run(file, form, &mut io::stdout().lock())? {
        EXIT_GOOD => Ok(Exit::Ok),
        _ => Ok(Exit::ConfigInvalid),
    }
}

/// `dormouse sim`.
pub(super) fn sim(seed: u64, steps: u64, tell: bool, json: bool) -> Result<Exit, Complaint> {
    let mut told = Ok(());
    let report = match tell {
        true => sim::run_telling(seed, steps, &mut |line| {
            if told.is_ok() {
                told = print::text(&format!("{line}\n"));
            }
        }),
        false => sim::run(seed, steps),
    };
    told?;
    let broken: Vec<String> =
        report.violations.iter().map(|broken| format!("{broken:?}")).collect();
    if json {
        print::json(&json!({
            "seed": report.seed,
            "workloads": report.workloads,
            "storm_steps": report.storm_steps,
            "steps": report.steps,
            "lasted_ms": report.lasted.as_millis(),
            "served": report.served,
            "denied": report.denied,
            "transcript_hash": format!("{:016x}", report.transcript_hash),
            "violations": broken,
        }))?;
    } else {
        print::text(&format!(
            "seed {}: {} workloads, {} steps ({} in the storm), {} served, {} denied, {} s on its \
             clock, transcript {:016x}, {} violations\n",
            report.seed,
            report.workloads,
            report.steps,
            report.storm_steps,
            report.served,
            report.denied,
            report.lasted.as_millis() / 1000,
            report.transcript_hash,
            broken.len(),
        ))?;
        for violation in &broken {
            print::line(violation)?;
        }
    }
    Ok(if broken.is_empty() { Exit::Ok } else { Exit::Failed })
}

/// `dormouse init`.
pub(super) fn init() -> Result<Exit, Complaint> {
    print::text(DEFAULT_FILE)?;
    Ok(Exit::Ok)
}

/// `dormouse completions`.
pub(super) fn completions(shell: Shell) -> Result<Exit, Complaint> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "dormouse", &mut text);
    print::text(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Ok)
}

/// `dormouse man`.
pub(super) fn man() -> Result<Exit, Complaint> {
    let mut text = Vec::new();
    clap_mangen::Man::new(super::command()).render(&mut text)?;
    for verb in super::command().get_subcommands() {
        text.extend(format!(".SH {}\n", verb.get_name().to_uppercase()).into_bytes());
        let man = clap_mangen::Man::new(verb.clone());
        man.render_synopsis_section(&mut text)?;
        man.render_description_section(&mut text)?;
        man.render_options_section(&mut text)?;
    }
    print::text(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Ok)
}
