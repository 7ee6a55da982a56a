//! The command probe and the command hook: one program, run to its end, with all that it started.

use std::collections::BTreeSet;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// Bytes kept of what a program says on its way out.
const COMPLAINT_MAX: usize = 4 << 10;

/// Why a program did not end well.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is nothing to run.
    #[error("no program is named")]
    Empty,
    /// It cannot be run.
    #[error("{program} cannot be run: {source}")]
    Spawn {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended with another code than 0.
    #[error("{program} ended with {status}{}", said(.complaint))]
    Ended {
        /// Which.
        program: String,
        /// How.
        status: std::process::ExitStatus,
        /// The last line that it wrote to its standard error; may be empty.
        complaint: String,
    },
}

/// Runs a program with these env vars beside ours, except those that are withheld. When this future is dropped, the program and
/// everything in its process group is killed.
///
/// # Errors
/// When it cannot be run, or ends with another code than 0.
pub async fn run(
    words: &[String],
    withheld: &BTreeSet<String>,
    env: &[(&str, &str)],
) -> Result<(), CommandError> {
    let (program, arguments) = words.split_first().ok_or(CommandError::Empty)?;
    let cannot = |source| CommandError::Spawn { program: program.clone(), source };
    let mut command = Command::new(program);
    for name in withheld {
        command.env_remove(name);
    }
    command.args(arguments).envs(env.iter().copied()).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(cannot)?;
    let mut group = Group::of(child.id());
    let stderr = child.stderr.take();
    let listen = async {
        match stderr {
            Some(stderr) => last_line(stderr).await,
            None => String::new(),
        }
    };
    tokio::pin!(listen);
    let mut complaint = None;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(cannot)?,
            said = &mut listen, if complaint.is_none() => complaint = Some(said),
        }
    };
    // Its number may belong to somebody else from now on.
    group.0 = None;
    if status.success() {
        return Ok(());
    }
    let complaint = match complaint {
        Some(said) => said,
        // What it has left running may hold the pipe open for ever.
        None => tokio::time::timeout(std::time::Duration::from_millis(100), listen)
            .await
            .unwrap_or_default(),
    };
    Err(CommandError::Ended { program: program.clone(), status, complaint })
}

/// Kills a process group when it is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may have ended by itself a moment ago.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// The last line of the last bytes; reads all there is, so that nobody waits for a full pipe.
async fn last_line(mut stream: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut part) = (Vec::new(), [0; 1024]);
    while let Ok(length @ 1..) = stream.read(&mut part).await {
        kept.extend_from_slice(&part[..length]);
        let surplus = kept.len().saturating_sub(COMPLAINT_MAX);
        kept.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&kept);
    text.trim_end().lines().next_back().unwrap_or_default().trim().to_owned()
}

fn said(complaint: &str) -> String {
    if complaint.is_empty() { String::new() } else { format!(": {complaint}") }
}
