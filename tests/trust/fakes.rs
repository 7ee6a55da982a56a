//! A house before a fake engine, for what would need luck, or thousands of containers, on a real
//! one.

use std::fmt::Write as _;
use std::path::Path;

use dormouse_testkit::engine::ContainerSpec;

use crate::harness::client::Answer;

/// Where the fake's containers listen.
const PORT: u16 = 8080;

/// The engine behind a socket as the environment `local`.
pub(crate) fn environment(socket: &Path) -> String {
    format!("[environment.local]\ndocker = \"unix://{}\"\nlabels = false\n", socket.display())
}

/// The section of a workload that is called like its container.
pub(crate) fn workload(name: &str, keys: &str) -> String {
    let mut section = String::new();
    writeln!(section, "[workload.{name}]\ntarget = \"local/{name}\"\nhosts = [\"{name}.test\"]")
        .unwrap();
    writeln!(section, "port = {PORT}\n{keys}").unwrap();
    section
}

/// A container that answers who it is.
pub(crate) fn container(name: &str) -> ContainerSpec {
    ContainerSpec::named(name).serving(PORT)
}

/// The answer is that of the container itself, and of no other.
pub(crate) fn answered_by(answer: std::io::Result<Answer>, name: &str) -> Result<(), String> {
    match answer {
        Ok(answer) if answer.status == 200 && answer.header("x-container") == name => Ok(()),
        Ok(answer) => {
            let by = answer.header("x-container").to_owned();
            Err(format!("{name}: {} by {by:?}: {}", answer.status, answer.text()))
        }
        Err(error) => Err(format!("{name}: {error}")),
    }
}
