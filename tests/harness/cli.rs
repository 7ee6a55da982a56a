//! The command line of the real binary, as a person uses it.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::testapp::DORMOUSE;

/// How long one command may take.
const COMMAND_MAX: Duration = Duration::from_secs(60);

/// What a command came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The exit status.
    pub(crate) code: Option<i32>,
    /// What it wrote to standard output.
    pub(crate) stdout: String,
    /// What it wrote to standard error.
    pub(crate) stderr: String,
}

/// Runs `dormouse` with these arguments to its end.
///
/// # Panics
/// When it does not end in time.
pub(crate) async fn dormouse(arguments: &[&str]) -> Outcome {
    let mut command = Command::new(DORMOUSE);
    command.args(arguments).env("NO_COLOR", "1").stdin(Stdio::null()).kill_on_drop(true);
    let output: Output = timeout(COMMAND_MAX, command.output()).await.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}
