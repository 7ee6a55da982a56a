//! The guard's side of the table: one guard, there while anything runs.

use std::io;

use rustix::process::Pid;

use super::guard::{Guard, GuardCommand};

/// Keeps a guard. It comes with the first run, and is replaced when somebody killed it.
pub(super) struct Ward {
    command: GuardCommand,
    guard: Option<Guard>,
}

impl Ward {
    pub(super) fn new(command: GuardCommand) -> Self {
        Self { command, guard: None }
    }

    pub(super) fn command(&self) -> &GuardCommand {
        &self.command
    }

    /// Puts a group under guard, beside those that are.
    ///
    /// # Errors
    /// When no guard can be had: then nothing may run.
    pub(super) fn add(&mut self, group: Pid, others: &[Pid]) -> io::Result<()> {
        if let Some(guard) = &mut self.guard
            && guard.add(group).is_ok()
        {
            return Ok(());
        }
        self.stand(others)?.add(group)
    }

    /// Says that a group is gone.
    pub(super) fn remove(&mut self, group: Pid) {
        if let Some(guard) = &mut self.guard
            && guard.remove(group).is_err()
        {
            // One that does not hear might kill whoever is given this number next.
            self.kill();
        }
    }

    /// Replaces a guard that is gone, for as long as there is something to guard.
    pub(super) fn look_after_guard(&mut self, groups: &[Pid]) {
        if groups.is_empty() || self.guard.as_mut().is_some_and(Guard::stands) {
            return;
        }
        if let Err(error) = self.stand(groups) {
            tracing::warn!(%error, "Nothing guards the processes against our own death");
        }
    }

    /// Lets the guard go.
    pub(super) fn dismiss(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
    }

    fn stand(&mut self, groups: &[Pid]) -> io::Result<&mut Guard> {
        self.kill();
        let mut guard = Guard::stand(&self.command)?;
        for group in groups {
            guard.add(*group)?;
        }
        Ok(self.guard.insert(guard))
    }

    fn kill(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.kill();
        }
    }
}
