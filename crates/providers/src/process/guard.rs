//! The guard: a second process of the same program, which kills our process groups when we die.
//!
//! A process that is killed cannot clean up, so somebody else must. The guard holds one end of a
//! socket; the other end is held by dormouse alone. It is told each group before the group's
//! program runs (`+123`) and when the group is gone (`-123`). When the socket ends, dormouse is
//! dead, and the guard kills every group that is left, stopped ones included.
//!
//! Between the birth of a child and the word to the guard dormouse may die as well. Therefore a
//! child is born as a *launcher*: the same program once more, which waits on its standard input for
//! the word to go on and only then becomes the program that was ordered. If dormouse dies first,
//! the launcher reads the end of its input and leaves.
//!
//! The guard lives in a process group of its own, where a ^C at the terminal does not reach it, and
//! lets SIGTERM, SIGINT and SIGHUP pass. If it is killed nonetheless, another takes its place.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::SignalKind;

/// How to run the guard: a program (absolute, or found in `PATH`) and the arguments that lead it to
/// [`run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardCommand {
    /// The program.
    pub program: PathBuf,
    /// The arguments before those that this module adds.
    pub args: Vec<OsString>,
}

/// The guard as dormouse holds it.
pub(super) struct Guard {
    process: Child,
    line: UnixStream,
}

/// The word that turns a guard's command into a launcher.
const LAUNCH: &str = "launch";
/// The byte with which a launcher is told to go on.
pub(super) const GO: &[u8] = b"\n";
/// What a launcher ends with when it cannot become the program.
const EXIT_CANNOT_RUN: u8 = 127;
/// How long a guard that was told to end may take.
const GUARD_END_MAX: Duration = Duration::from_millis(200);

/// What the hidden subcommand of [`GuardCommand`] calls, with the arguments after its own name.
/// Ends when dormouse does; as a launcher it returns only when the program cannot be run.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    match args.next() {
        None => stand_guard(),
        Some(word) if word == LAUNCH => launch(args),
        Some(_) => ExitCode::from(2),
    }
}

impl GuardCommand {
    /// This very program, also after its file was replaced, with the arguments that lead it to
    /// [`run`].
    pub fn current_program<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self { program: PathBuf::from("/proc/self/exe"), args }
    }

    /// The command that waits for [`GO`] on its standard input and then becomes `command`.
    pub(super) fn launcher(&self, command: &[String]) -> Command {
        let mut launcher = Command::new(&self.program);
        launcher.args(&self.args).arg(LAUNCH).args(command);
        launcher
    }
}

impl Guard {
    /// Starts a guard that knows no group.
    pub(super) fn stand(command: &GuardCommand) -> io::Result<Self> {
        let (line, end) = UnixStream::pair()?;
        // A guard that was stopped by somebody must not stop us.
        line.set_nonblocking(true)?;
        let process = Command::new(&command.program)
            .args(&command.args)
            .stdin(Stdio::from(OwnedFd::from(end)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { process, line })
    }

    /// Puts a group under its care.
    pub(super) fn add(&mut self, group: Pid) -> io::Result<()> {
        self.tell(format!("+{group}\n").as_bytes())
    }

    /// Says that a group is gone.
    pub(super) fn remove(&mut self, group: Pid) -> io::Result<()> {
        self.tell(format!("-{group}\n").as_bytes())
    }

    /// Whether it is still there.
    pub(super) fn stands(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Lets it go; it kills what it was not told to be gone. Returns when it has ended, or when that
    /// takes too long.
    pub(super) fn dismiss(mut self) {
        drop(self.line);
        wait_a_little(&mut self.process);
    }

    /// Ends it without a word to any group.
    pub(super) fn kill(mut self) {
        let _ = self.process.kill();
        wait_a_little(&mut self.process);
    }

    /// One write for each line: a line is never cut.
    fn tell(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.line.write(line)?;
        if written == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// Reaps `process` if it ends very soon. Blocks for [`GUARD_END_MAX`] at most.
pub(super) fn wait_a_little(process: &mut Child) -> bool {
    const STEP: Duration = Duration::from_millis(1);
    let steps = GUARD_END_MAX.as_millis() / STEP.as_millis();
    for _ in 0..steps {
        if !matches!(process.try_wait(), Ok(None)) {
            return true;
        }
        std::thread::sleep(STEP);
    }
    false
}

/// The life of a guard.
fn stand_guard() -> ExitCode {
    let Ok(_deaf) = turn_deaf() else {
        return ExitCode::FAILURE;
    };
    let groups = listen(io::stdin().lock());
    for group in groups {
        // One that ended meanwhile is what we wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
    ExitCode::SUCCESS
}

/// Takes the deadly effect off the signals that end whole services and sessions. The handlers stay
/// for as long as the process.
fn turn_deaf() -> io::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let context = runtime.enter();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        // Nobody reads the notices; that the handler is there is enough.
        drop(tokio::signal::unix::signal(kind)?);
    }
    drop(context);
    Ok(runtime)
}

/// The groups that are left when the line ends, in whichever way.
fn listen(line: impl BufRead) -> HashSet<Pid> {
    let mut groups = HashSet::new();
    for word in line.lines().map_while(Result::ok) {
        let Some((sign, group)) = word.split_at_checked(1) else {
            continue;
        };
        let Some(group) = group.parse().ok().and_then(group_of) else {
            continue;
        };
        match sign {
            "+" => groups.insert(group),
            "-" => groups.remove(&group),
            _ => continue,
        };
    }
    groups
}

/// A group that a child of ours can have: never our own, never "everybody".
fn group_of(number: i32) -> Option<Pid> {
    if number > 1 { Pid::from_raw(number) } else { None }
}

/// Waits for the word, then becomes the program.
fn launch(mut command: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(program) = command.next() else {
        return ExitCode::from(2);
    };
    let mut word = [0; 1];
    if !matches!(io::stdin().lock().read(&mut word), Ok(1)) {
        // Nobody is left to run it for.
        return ExitCode::from(EXIT_CANNOT_RUN);
    }
    // The input is a socket, so an answer can go back the way the word came. This copy of it is
    // closed by becoming the program and by nothing else, which is the answer that all went well.
    let Ok(answer) = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3) else {
        return ExitCode::from(EXIT_CANNOT_RUN);
    };
    let error = Command::new(&program).args(command).stdin(Stdio::null()).exec();
    let why = format!("cannot run {}: {error}", program.display());
    let _ = rustix::io::write(&answer, why.as_bytes());
    ExitCode::from(EXIT_CANNOT_RUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(lines: &str) -> Vec<i32> {
        let groups = listen(lines.as_bytes()).into_iter();
        let mut groups: Vec<i32> = groups.map(|group| group.as_raw_nonzero().get()).collect();
        // The groups are a set: nothing depends on the order in which they are killed.
        groups.sort_unstable();
        groups
    }

    #[test]
    fn the_groups_that_are_left_are_those_not_gone() {
        assert_eq!(left("+12\n+13\n-12\n+14\n"), [13, 14]);
    }

    #[test]
    fn a_cut_or_odd_line_names_no_group() {
        assert_eq!(left("+\n\nxyz\n+0\n+1\n+-5\n*7\n+99999999999\n+8"), [8]);
    }

    #[test]
    fn words_that_lead_nowhere_are_refused() {
        assert_eq!(run(["dance".into()]), ExitCode::from(2));
        assert_eq!(run([LAUNCH.into()]), ExitCode::from(2));
    }
}
