//! The configuration file: TOML, read whole, with every finding at once and each at its place.
//!
//! [`load`] reads the file with what it includes and answers with [`Settings`] and findings; there
//! are settings only where no finding is an error. `default.toml` beside this file is the
//! reference of every key.

mod address;
mod defaults;
mod environment;
mod gateway;
mod include;
pub(crate) mod report;
mod secret;
pub(crate) mod section;
pub(crate) mod settings;
pub(crate) mod treatment;
pub(crate) mod tree;
pub(crate) mod values;
pub(crate) mod workload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dormouse_core::findings::Finding;

use report::{EnvLookup, Report};

pub use address::{Authority, DockerAddress, Listen};
pub use defaults::{DEFAULT_FILE, locate};
pub use secret::Secret;
pub use settings::{
    AdminToken, DockerSpec, EnvironmentKind, EnvironmentSpec, Gateway, Origin, Scope, Settings,
    TlsSpec,
};

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
    let settings = settings::read(read.entries, &mut report);
    let settings = (report.error_count() == 0).then_some(settings);
    Loaded {
        settings,
        findings: report.into_findings(),
        sources: read.sources,
        files: read.files,
        folders: read.folders,
    }
}

#[cfg(test)]
mod tests;
