//! One run: a process group from its birth to the end of its leader.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};

use dormouse_core::RunId;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::watch;
use tokio::time::Instant;

use super::attendant::Attendant;
use super::guard::{GO, wait_a_little};
use super::launch::Newborn;
use super::output::{Source, Tail};
use crate::provider::Target;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The child exists and is not its program yet.
    Launching,
    /// The program executes.
    Running,
    /// The leader is stopped.
    Paused,
    /// It was asked to end.
    Stopping {
        /// When it is killed.
        kill_at: Instant,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) run: RunId,
    /// 128 and the signal's number where a signal ended it, as shells and engines say it.
    pub(super) exit_code: i32,
    /// Why it never became its program.
    pub(super) never_ran: Option<String>,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    None,
    Changed,
    Ended(Ending),
}

/// The tail of a target's output, shared by its runs, its attendant and whoever asks.
pub(super) type SharedTail = Arc<Mutex<Tail>>;

/// One run. Its phase ends with it: when the run is over, its watchers hear no more.
pub(super) struct Run {
    pub(super) id: RunId,
    target: Target,
    newborn: Newborn,
    phase: watch::Sender<Phase>,
    tail: SharedTail,
    never_ran: Option<String>,
}

impl Run {
    /// Takes a child over; it waits for [`Run::go`].
    pub(super) fn new(id: RunId, target: Target, newborn: Newborn, tail: SharedTail) -> Self {
        let phase = watch::Sender::new(Phase::Launching);
        Self { id, target, newborn, phase, tail, never_ran: None }
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(super) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(super) fn group(&self) -> Pid {
        self.newborn.group
    }

    pub(super) fn tail(&self) -> SharedTail {
        Arc::clone(&self.tail)
    }

    /// What attending to this run takes.
    pub(super) fn attendant(&self) -> Attendant {
        Attendant {
            run: self.id,
            target: self.target.clone(),
            phases: self.phases(),
            word: Arc::clone(&self.newborn.word),
            output: Arc::clone(&self.newborn.output),
            tail: self.tail(),
        }
    }

    /// Lets the child become its program.
    pub(super) fn go(&self) -> io::Result<()> {
        rustix::io::write(&*self.newborn.word, GO)?;
        Ok(())
    }

    /// Asks the group to end. A stopped group hears nothing, so it is continued.
    pub(super) fn stop(&mut self, signal: Signal, kill_at: Instant) {
        self.signal(signal);
        self.signal(Signal::CONT);
        self.enter(Phase::Stopping { kill_at });
    }

    /// Ends the group at once.
    pub(super) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.enter(Phase::Stopping { kill_at: Instant::now() });
    }

    /// Sends a signal to all of the group. A group without members is as good as signalled: its end
    /// is seen at the next look.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.newborn.group, signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(process = %self.target, group = %self.newborn.group, %error, "Cannot signal");
        }
    }

    /// Asks the kernel what became of the leader since the last look.
    pub(super) fn look(&mut self, before_reaping: impl FnOnce(Pid)) -> News {
        let leader = || WaitId::Pid(self.newborn.group);
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Whatever keeps us from asking, the child is no longer ours to wait for.
        if !matches!(waitid(leader(), ended), Ok(None)) {
            return News::Ended(self.end(before_reaping));
        }
        let moved = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::NOHANG;
        let moved = waitid(leader(), moved).ok().flatten();
        let next = match self.phase() {
            Phase::Launching => self.launched(),
            Phase::Running if moved.is_some_and(|status| status.stopped()) => Some(Phase::Paused),
            Phase::Paused if moved.is_some_and(|status| status.continued()) => Some(Phase::Running),
            // It ends, whatever is done to it on the way.
            Phase::Running | Phase::Paused | Phase::Stopping { .. } => None,
        };
        next.map_or(News::None, |next| {
            self.enter(next);
            News::Changed
        })
    }

    /// Kills the group and waits a little for the leader: for the end of everything. Whether the
    /// leader has ended.
    pub(super) fn abandon(mut self) -> bool {
        self.signal(Signal::KILL);
        wait_a_little(&mut self.newborn.leader)
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Whether the launcher became the program: then its end of the line is closed. A launcher that
    /// could not says why, and ends.
    fn launched(&mut self) -> Option<Phase> {
        let mut answer = [0; 512];
        match rustix::io::read(&*self.newborn.word, &mut answer) {
            Ok(0) if self.never_ran.is_none() => Some(Phase::Running),
            Ok(0) | Err(_) => None,
            Ok(length) => {
                self.never_ran = Some(String::from_utf8_lossy(&answer[..length]).into_owned());
                None
            }
        }
    }

    /// The leader has ended and is not reaped: its id, and its group's, cannot be anybody else's
    /// yet. What is left of the group is killed, and the guard is told, before that changes.
    fn end(&mut self, before_reaping: impl FnOnce(Pid)) -> Ending {
        if self.phase() == Phase::Launching {
            self.launched();
        }
        self.signal(Signal::KILL);
        self.drain();
        before_reaping(self.newborn.group);
        let status = self.newborn.leader.wait().ok();
        let exit_code = status.map_or(-1, exit_code);
        Ending { run: self.id, exit_code, never_ran: self.never_ran.take() }
    }

    /// The last words must be known before the end is.
    fn drain(&self) {
        let output = &*self.newborn.output;
        let read = |buffer: &mut [u8]| Ok(rustix::io::read(output, buffer)?);
        let _: Source = take_in(&self.tail, &self.target, read);
    }
}

/// Reads what is there of a target's output, into its tail and the log.
pub(super) fn take_in(
    tail: &SharedTail,
    target: &Target,
    read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> Source {
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    tail.drain(read, |line| tracing::debug!(process = %target, line, "Heard"))
}

fn exit_code(status: ExitStatus) -> i32 {
    let by_signal = || status.signal().map_or(-1, |signal| 128 + signal);
    status.code().unwrap_or_else(by_signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_by_signal_reads_as_shells_say_it() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }
}
