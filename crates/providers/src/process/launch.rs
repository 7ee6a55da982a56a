//! Bringing a child into the world: in its own group, under guard, and waiting for the word.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::Pid;
use tokio::net::unix::pipe;

use super::guard::GuardCommand;
use crate::provider::{LaunchSpec, ProviderError};

/// A child that waits for the word to become its program.
pub(super) struct Newborn {
    pub(super) leader: Child,
    /// The leader's id, and that of its group.
    pub(super) group: Pid,
    /// Takes the word; ends when the program runs, and says why when it cannot.
    pub(super) word: Arc<tokio::net::UnixStream>,
    /// What the program writes, standard output and error in one.
    pub(super) output: Arc<pipe::Receiver>,
}

/// Starts the launcher of `spec`.
pub(super) fn bear(
    guard: &GuardCommand,
    spec: &LaunchSpec,
    port: u16,
) -> Result<Newborn, ProviderError> {
    if spec.command.is_empty() {
        return Err(ProviderError::Misconfigured("its command is empty".into()));
    }
    if let Some(folder) = spec.folder.as_deref().filter(|folder| !folder.is_dir()) {
        let folder = folder.display();
        return Err(ProviderError::Misconfigured(format!("its folder {folder} does not exist")));
    }
    spawn(launcher(guard, spec, port))
        .map_err(|error| ProviderError::Refused(format!("no new process: {error}")))
}

fn launcher(guard: &GuardCommand, spec: &LaunchSpec, port: u16) -> Command {
    let port = port.to_string();
    let command: Vec<_> = spec.command.iter().map(|word| word.replace("$PORT", &port)).collect();
    let mut launcher = guard.launcher(&command);
    for name in &spec.withheld {
        launcher.env_remove(name);
    }
    launcher.envs(&spec.env).env("PORT", port).process_group(0);
    if let Some(folder) = &spec.folder {
        launcher.current_dir(folder);
    }
    launcher
}

fn spawn(mut launcher: Command) -> io::Result<Newborn> {
    let (word, end) = UnixStream::pair()?;
    word.set_nonblocking(true)?;
    let word = Arc::new(tokio::net::UnixStream::from_std(word)?);
    let (output, sink) = io::pipe()?;
    let output = Arc::new(pipe::Receiver::from_owned_fd(output.into())?);
    let leader = launcher
        .stdin(Stdio::from(OwnedFd::from(end)))
        .stdout(sink.try_clone()?)
        .stderr(sink)
        .spawn()?;
    let group = Pid::from_child(&leader);
    Ok(Newborn { leader, group, word, output })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_stands_in_every_argument_that_asks_for_it() {
        let guard = GuardCommand::current_program(["guard"]);
        let command = ["./app", "--listen=127.0.0.1:$PORT", "$PORT"].map(String::from).to_vec();
        let spec = LaunchSpec { command, ..LaunchSpec::default() };
        let launcher = launcher(&guard, &spec, 81);
        let args: Vec<_> = launcher.get_args().collect();
        assert_eq!(args, ["guard", "launch", "./app", "--listen=127.0.0.1:81", "81"]);
        let env: Vec<_> = launcher.get_envs().collect();
        assert_eq!(env, [("PORT".as_ref(), Some("81".as_ref()))]);
    }

    #[tokio::test]
    async fn what_cannot_be_born_is_misconfigured() {
        let guard = GuardCommand::current_program(["guard"]);
        let mut spec = LaunchSpec::default();
        let empty = bear(&guard, &spec, 1).err();
        assert_eq!(empty, Some(ProviderError::Misconfigured("its command is empty".into())));
        spec.command = vec!["true".into()];
        spec.folder = Some("/nowhere/at/all".into());
        let nowhere = bear(&guard, &spec, 1).err().map(|error| error.to_string());
        assert_eq!(nowhere.as_deref(), Some("its folder /nowhere/at/all does not exist"));
    }
}
