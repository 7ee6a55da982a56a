//! The configuration file: TOML, read whole, with every finding at once and each at its place.
//!
//! [`load`] reads the file with what it includes and answers with [`Settings`] and findings; there
//! are settings only where no finding is an error. `default.toml` beside this file is the
//! reference of every key.

pub(crate) mod address;
pub mod check;
mod defaults;
mod environment;
mod gateway;
mod home;
mod include;
pub(crate) mod listeners;
mod mask;
pub(crate) mod quantities;
pub(crate) mod report;
pub(crate) mod routes;
mod secret;
pub(crate) mod section;
pub(crate) mod settings;
pub(crate) mod shared;
pub(crate) mod treatment;
pub(crate) mod tree;
pub(crate) mod values;
mod watch;
pub(crate) mod workload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dormouse_core::findings::{Finding, Place};

use crate::registry::{Found, assemble};
use report::{EnvLookup, Report};

pub use address::{DockerAddress, Listen};
pub use defaults::{DEFAULT_FILE, locate};
pub use secret::Secret;
pub use settings::{
    AdminToken, DockerSpec, EnvironmentKind, EnvironmentSpec, Gateway, Origin, Scope, Settings,
    TlsSpec,
};
pub use watch::{HookSpec, WatchSpec};

/// What came of reading a file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the file says; absent where a finding is an error.
    pub settings: Option<Settings>,
    /// Everything there is to say about it.
    pub findings: Vec<Finding>,
    /// The texts that the findings' places point into.
    pub sources: Sources,
    /// Every file that was read or should have been, the first one first.
    pub files: Vec<PathBuf>,
    /// The folders in which a new file could be included.
    pub folders: Vec<PathBuf>,
}

/// The texts of the files that were read.
pub type Sources = BTreeMap<PathBuf, Arc<str>>;

/// Reads the file at `path` with everything it includes.
pub fn load(path: &Path) -> Loaded {
    load_with(path, &|name| std::env::var(name).ok())
}

/// Reads the file at `path`, looking env vars up with `env`.
pub(crate) fn load_with(path: &Path, env: EnvLookup<'_>) -> Loaded {
    let mut report = Report::new(env);
    let read = include::read_all(path, &mut report);
    judge(read, report)
}

/// Reads `text` as the file at `path` that includes nothing.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn load_text(text: String, path: &Path, env: EnvLookup<'_>) -> Loaded {
    let mut report = Report::new(env);
    let read = include::read_alone(text, path, &mut report);
    judge(read, report)
}

fn judge(read: include::Read, mut report: Report<'_>) -> Loaded {
    let withheld = secret::env_vars(&read.entries);
    let mut settings = settings::read(read.entries, &mut report);
    settings.withhold(&withheld);
    let good = report.error_count() == 0;
    let mut findings = without_echoes(report.into_findings(), &read.sources);
    if !good && findings.iter().all(|finding| finding.slug != "syntax") {
        findings.extend(clashes(&settings));
    }
    let settings = good.then_some(settings);
    findings.sort_by_key(|finding| order_of(finding, &read.files));
    Loaded { settings, findings, sources: read.sources, files: read.files, folders: read.folders }
}

/// How the workloads of a file that has errors clash. What they need is left out, for it may be
/// what could not be read.
fn clashes(settings: &Settings) -> impl Iterator<Item = Finding> {
    let findings = assemble(0, settings, &Found::new()).findings;
    findings.into_iter().filter(|finding| finding.slug != "unknown-need")
}

/// What follows an error of syntax may only be its echo: a table that was never closed swallows
/// what comes after it. Only what stands on a line before such an error in its file, and can be
/// judged without the rest, is told beside it.
fn without_echoes(mut findings: Vec<Finding>, sources: &Sources) -> Vec<Finding> {
    let mut broken: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.slug == "syntax") {
        if let Some(Place::File { path, span }) = &finding.place {
            let before = sources.get(&**path).and_then(|text| text.get(..span.start));
            let line_start = before.and_then(|text| text.rfind('\n')).unwrap_or(0);
            let first = broken.entry(path.to_path_buf()).or_insert(line_start);
            *first = line_start.min(*first);
        }
    }
    if broken.is_empty() {
        return findings;
    }
    findings.retain(|finding| match (finding.slug, &finding.place) {
        ("syntax" | "unreadable-file", _) => true,
        ("unknown-key" | "bad-value" | "not-yet", Some(Place::File { path, span })) => {
            broken.get(&**path).is_none_or(|first| span.start < *first)
        }
        _ => false,
    });
    findings
}

/// Findings are told file by file, from the top down; what stands nowhere comes first.
fn order_of(finding: &Finding, files: &[PathBuf]) -> Option<(usize, usize)> {
    match &finding.place {
        Some(Place::File { path, span }) => {
            Some((files.iter().position(|file| *file == **path)?, span.start))
        }
        Some(Place::Label { .. }) | None => None,
    }
}

#[cfg(test)]
mod tests;
