//! What a person does to containers behind everybody's back; it leaves no trace among the calls.

use std::sync::Arc;
use std::time::Duration;

use super::container::Status;
use super::deeds::{self, Force, Grace};
use super::life;
use super::shared::{Deed, Done, Refusal, Shared};
use super::spec::ContainerSpec;

/// A person at the engine's machine. Every method answers whether there was anything to do.
#[derive(Clone, Copy)]
pub struct ByHand<'a> {
    shared: &'a Arc<Shared>,
}

/// Whether there was anything to do, or why the engine refused.
pub type HandResult = Result<bool, Refusal>;

impl<'a> ByHand<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Creates a container, and answers its id.
    pub fn create(&self, spec: ContainerSpec) -> Result<String, Refusal> {
        deeds::create(self.shared, spec)
    }

    /// Starts it.
    pub async fn start(&self, name: &str) -> HandResult {
        self.said(deeds::start(Arc::clone(self.shared), name.to_owned()).await).await
    }

    /// Stops it, killing it after `grace`.
    pub async fn stop(&self, name: &str, grace: Duration) -> HandResult {
        let us = Arc::clone(self.shared);
        self.said(deeds::stop(us, name.to_owned(), Grace::For(grace), None).await).await
    }

    /// Sends it a signal, such as `KILL` or `HUP`.
    pub async fn kill(&self, name: &str, signal: &str) -> HandResult {
        let signal = deeds::signal_number(signal)?;
        self.said(deeds::kill(Arc::clone(self.shared), name.to_owned(), signal).await).await
    }

    /// Stops and starts it.
    pub async fn restart(&self, name: &str) -> HandResult {
        let us = Arc::clone(self.shared);
        self.said(deeds::restart(us, name.to_owned(), Grace::OfContainer).await).await
    }

    /// Freezes it.
    pub async fn pause(&self, name: &str) -> HandResult {
        self.said(deeds::pause(Arc::clone(self.shared), name.to_owned()).await).await
    }

    /// Thaws it.
    pub async fn unpause(&self, name: &str) -> HandResult {
        self.said(deeds::unpause(Arc::clone(self.shared), name.to_owned()).await).await
    }

    /// Gives it another name.
    pub fn rename(&self, name: &str, new_name: &str) -> HandResult {
        said(deeds::rename(self.shared, name, new_name))
    }

    /// Removes it, killing it first where it runs.
    pub async fn remove(&self, name: &str) -> HandResult {
        self.said(deeds::remove(Arc::clone(self.shared), name.to_owned(), Force::Yes).await).await
    }

    /// Its process ends by itself; false when it has none.
    pub fn crash(&self, name: &str, exit_code: i32) -> bool {
        let run = {
            let world = self.shared.world();
            world.find(name).and_then(|it| Some((it.id.clone(), it.run_serial()?)))
        };
        let Some((id, serial)) = run else {
            return false;
        };
        life::end(self.shared, &id, serial, exit_code);
        true
    }

    /// Leaves it `dead`, as a removal that failed half-way does.
    pub fn leave_dead(&self, name: &str) {
        self.crash(name, 137);
        if let Some(container) = self.shared.world().find_mut(name) {
            container.status = Status::Dead;
            container.touched();
        }
    }

    async fn said(&self, deed: Deed) -> HandResult {
        self.shared.wait_for_readers().await;
        said(deed)
    }

    /// Asks every process to end, as an engine does that is going down in order.
    pub(super) async fn stop_everything(&self) {
        let running: Vec<_> = {
            let mut world = self.shared.world();
            let ids: Vec<_> = world.containers().iter().map(|it| it.id.clone()).collect();
            let mut running = Vec::new();
            for id in ids {
                let Some(container) = world.find_mut(&id) else {
                    continue;
                };
                container.restart_cancelled = true;
                running.extend(container.run_serial().map(|serial| (id, serial)));
            }
            running
        };
        for (id, serial) in running {
            deeds::deliver(self.shared, &id, deeds::TERM);
            let patience = Some(Duration::from_secs(10));
            if !self.shared.has_ended(&id, serial, patience).await {
                deeds::deliver(self.shared, &id, deeds::KILL);
            }
            self.shared.world().say(&id, "stop", &[]);
        }
    }

    /// Every process ends without a word, as the engine is not there to say it.
    pub(super) fn kill_everything(&self) {
        let running: Vec<_> = {
            let world = self.shared.world();
            let run = |it: &super::container::Container| Some((it.id.clone(), it.run_serial()?));
            world.containers().iter().filter_map(run).collect()
        };
        for (id, serial) in running {
            life::end(self.shared, &id, serial, 128 + deeds::KILL);
        }
    }

    /// What an engine does with what it finds when it starts: the restart policies decide.
    pub(super) async fn settle_after_engine_start(&self) {
        let wanted: Vec<_> = {
            let mut world = self.shared.world();
            let ids: Vec<_> = world.containers().iter().map(|it| it.id.clone()).collect();
            let mut wanted = Vec::new();
            for id in ids {
                let Some(container) = world.find_mut(&id) else {
                    continue;
                };
                container.restart_cancelled = false;
                if container.is_restarting() {
                    container.status = Status::Exited;
                }
                if !container.has_process() && container.wants_start_with_the_engine() {
                    wanted.push(id);
                }
            }
            wanted
        };
        for id in wanted {
            // What cannot be started stays as it was, as with the real engine.
            let _ = life::begin(self.shared, &id).await;
        }
    }
}

fn said(deed: Deed) -> HandResult {
    deed.map(|done| done == Done::Now)
}
