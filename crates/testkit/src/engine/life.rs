//! The life of a container's process: its birth, its answers to signals, its health, its death.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::app::{self, Sockets};
use super::container::{LogLine, Run, Status};
use super::shared::{Refusal, Shared};
use super::spec::{OnTerm, Publish, StopOrder};
use super::void::Void;

/// Signals that may wait for a process.
const SIGNALS_MAX: usize = 64;
/// A run that lasted this long forgets the failures before it.
const CALM: Duration = Duration::from_secs(10);
/// The restart policy's first wait, doubling at each failure in a row.
const RESTART_DELAY_MIN: Duration = Duration::from_millis(100);
/// The restart policy's longest wait.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(60);

/// Starts a process in container `id`, which has none.
pub(super) async fn begin(shared: &Arc<Shared>, id: &str) -> Result<(), Refusal> {
    let plan = Plan::draw_up(shared, id)?;
    let sockets = match Sockets::bind(&plan).await {
        Ok(sockets) => sockets,
        Err(error) => {
            plan.give_up(shared);
            let message = format!("driver failed programming external connectivity: {error}");
            return Err(Refusal::new(500, message));
        }
    };
    let end = shared.ended.child_token();
    let (signals, inbox) = mpsc::channel(SIGNALS_MAX);
    let frozen = watch::Sender::new(false);
    let process = Process {
        shared: Arc::clone(shared),
        id: id.to_owned(),
        serial: plan.serial,
        frozen: frozen.subscribe(),
    };
    let identity = plan.identity(shared, id);
    let published = plan.published_at(sockets.host_ports());
    if let (Some(servers), Some(at)) = (sockets.serve(identity, frozen.subscribe()), plan.serve) {
        let (end, shared_too) = (end.clone(), Arc::clone(shared));
        shared.tasks.spawn(async move {
            until_ended(end, servers).await;
            leave_void(&shared_too, at);
        });
    }
    shared.tasks.spawn(until_ended(end.clone(), process.live(inbox)));
    let mut world = shared.world();
    for network in plan.addresses.keys() {
        world.say_network(id, network, "connect");
    }
    let began_ns = world.now_ns();
    let run = Run {
        serial: plan.serial,
        pid: 10_000 + plan.serial,
        addresses: plan.addresses,
        published,
        signals,
        frozen,
        began_ns,
        stopping: false,
        _end: end.drop_guard(),
    };
    if let Some(container) = world.find_mut(id) {
        container.run_began(run);
        let output = container.spec.behaviour.output.clone();
        for (index, text) in (1_u64..).zip(output) {
            container.wrote(LogLine { at_ns: began_ns + index, stream: 1, text });
        }
    }
    if shared.is_podman() {
        world.say(id, "init", &[]);
    }
    world.say(id, "start", &[]);
    Ok(())
}

/// Ends run `serial` of container `id`, if that is the one that runs.
pub(super) fn end(shared: &Arc<Shared>, id: &str, serial: u64, exit_code: i32) {
    let mut world = shared.world();
    let now_ns = world.now_ns();
    let Some(container) = world.find_mut(id) else {
        return;
    };
    if container.run_serial() != Some(serial) {
        return;
    }
    let Some(run) = container.run_ended(exit_code, now_ns) else {
        return;
    };
    if run.stopping && shared.config.stop_order == StopOrder::StopThenDie {
        world.say(id, "stop", &[]);
    }
    world.say(id, "die", &[("exitCode", exit_code.to_string())]);
    for (network, address) in &run.addresses {
        world.say_network(id, network, "disconnect");
        world.give_back_address(*address);
    }
    if shared.is_podman() {
        world.say(id, "cleanup", &[]);
    }
    let lasted = Duration::from_nanos(now_ns.saturating_sub(run.began_ns));
    if !world.up {
        return;
    }
    let Some(container) = world.find_mut(id) else {
        return;
    };
    if container.wants_restart() {
        container.failures_in_a_row =
            if lasted >= CALM { 0 } else { container.failures_in_a_row.saturating_add(1) };
        container.restart_count += 1;
        container.status = Status::Restarting;
        container.touched();
        let delay = restart_delay(container.failures_in_a_row);
        shared.tasks.spawn(start_again(Arc::clone(shared), id.to_owned(), delay));
    }
}

/// What a start decided before it touched a socket.
pub(super) struct Plan {
    serial: u64,
    addresses: BTreeMap<String, std::net::IpAddr>,
    /// What to publish, with the host ports that are still open.
    pub(super) publish: Vec<Publish>,
    /// The address and port of the served application.
    pub(super) serve: Option<SocketAddr>,
    pub(super) listen_delay: Duration,
}

impl Plan {
    fn draw_up(shared: &Shared, id: &str) -> Result<Self, Refusal> {
        let mut world = shared.world();
        let serial = world.next_serial();
        let spec = world.find(id).map(|it| it.spec.clone()).ok_or_else(|| Refusal::absent(id))?;
        let first = match spec.network_mode.as_str() {
            "default" => "bridge",
            other => other,
        };
        let shared_stack = matches!(first, "host" | "none");
        let names = (!shared_stack).then_some(first).into_iter();
        let names = names.chain(spec.networks.iter().map(String::as_str));
        let mut addresses = BTreeMap::new();
        for name in names {
            let address = world.take_address(spec.serve.is_some());
            addresses.insert(name.to_owned(), address);
        }
        let ip = addresses.get(first).or(addresses.values().next()).copied();
        let ip = ip.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
        Ok(Self {
            serial,
            serve: spec.serve.map(|port| SocketAddr::new(ip, port)),
            publish: spec.published,
            listen_delay: spec.behaviour.listen_delay,
            addresses,
        })
    }

    fn identity(&self, shared: &Shared, id: &str) -> app::Identity {
        let name = shared.world().find(id).map_or_else(String::new, |it| it.spec.name.clone());
        app::Identity { container: name, id: id.to_owned(), run: self.serial }
    }

    /// The published ports with those host ports that were bound, or numbers of no meaning where
    /// nothing is served.
    fn published_at(&self, bound: &[u16]) -> Vec<Publish> {
        let decided = |(index, publish): (usize, &Publish)| {
            let serial = u16::try_from(self.serial % 20_000).unwrap_or_default();
            let made_up = 32_768 + serial + u16::try_from(index).unwrap_or_default();
            let port = bound.get(index).copied().or(publish.host_port).unwrap_or(made_up);
            Publish { host_port: Some(port), ..publish.clone() }
        };
        self.publish.iter().enumerate().map(decided).collect()
    }

    fn give_up(&self, shared: &Shared) {
        let mut world = shared.world();
        for address in self.addresses.values() {
            world.give_back_address(*address);
        }
    }
}

/// One life, as the task that lives it.
struct Process {
    shared: Arc<Shared>,
    id: String,
    serial: u64,
    frozen: watch::Receiver<bool>,
}

impl Process {
    async fn live(mut self, mut signals: mpsc::Receiver<i32>) {
        let (crash, interval) = self.fate();
        let mut death = crash;
        let mut check = interval.map(|interval| Instant::now() + interval);
        loop {
            tokio::select! {
                Some(signal) = signals.recv() => {
                    if let Some(told) = self.answer_to(signal)
                        && death.is_none_or(|(at, _)| told.0 < at)
                    {
                        death = Some(told);
                    }
                }
                () = reach(death.map(|(at, _)| at)) => {
                    self.thawed().await;
                    let code = death.map_or(0, |(_, code)| code);
                    end(&self.shared, &self.id, self.serial, code);
                    return;
                }
                () = reach(check) => {
                    self.thawed().await;
                    self.check_health();
                    check = interval.map(|interval| Instant::now() + interval);
                }
            }
        }
    }

    /// When and how it ends by itself, and how often its health is checked.
    fn fate(&self) -> (Option<(Instant, i32)>, Option<Duration>) {
        let world = self.shared.world();
        let Some(container) = world.find(&self.id) else {
            return (None, None);
        };
        let crash = container.spec.behaviour.crash;
        let interval = container.spec.health.as_ref().map(|plan| plan.interval);
        (crash.map(|(after, code)| (Instant::now() + after, code)), interval)
    }

    /// When a signal ends it, and with which code.
    fn answer_to(&self, signal: i32) -> Option<(Instant, i32)> {
        if signal != super::deeds::TERM {
            return None;
        }
        let world = self.shared.world();
        match world.find(&self.id)?.spec.behaviour.on_term {
            OnTerm::Exit { after, code } => Some((Instant::now() + after, code)),
            OnTerm::Ignore => None,
        }
    }

    fn check_health(&self) {
        let mut world = self.shared.world();
        let checked = world
            .find_mut(&self.id)
            .filter(|container| container.run_serial() == Some(self.serial))
            .and_then(super::container::Container::health_checked);
        let Some((passed, verdict)) = checked else {
            return;
        };
        let exec = [("execID", super::world::hex_id(self.serial))];
        world.say(&self.id, "exec_create: /bin/sh -c check", &exec);
        world.say(&self.id, "exec_start: /bin/sh -c check", &exec);
        let code = if passed { "0" } else { "1" };
        let ended = [exec[0].clone(), ("exitCode", code.to_owned())];
        world.say(&self.id, "exec_die", &ended);
        if let Some(verdict) = verdict {
            world.say(&self.id, &format!("health_status: {}", verdict.as_str()), &[]);
        }
    }

    async fn thawed(&mut self) {
        // The sender lives as long as this run.
        let _ = self.frozen.wait_for(|frozen| !frozen).await;
    }
}

/// The restart policy's next start, unless somebody has cancelled it meanwhile.
async fn start_again(shared: Arc<Shared>, id: String, delay: Duration) {
    let incarnation = shared.incarnation();
    let attempt = async {
        tokio::time::sleep(delay).await;
        let Ok((_, turn)) = shared.turn_of(&id) else {
            return;
        };
        let _turn = turn.acquire_owned().await;
        let still = shared.world().find(&id).is_some_and(|it| it.status == Status::Restarting);
        let failed = still && begin(&shared, &id).await.is_err();
        if failed && let Some(container) = shared.world().find_mut(&id) {
            container.status = Status::Exited;
            container.touched();
        }
    };
    incarnation.run_until_cancelled(attempt).await;
}

fn restart_delay(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (RESTART_DELAY_MIN * 2_u32.pow(doublings)).min(RESTART_DELAY_MAX)
}

async fn until_ended(end: CancellationToken, task: impl Future<Output = ()>) {
    end.run_until_cancelled(task).await;
}

/// Nobody is at the address of what has ended, unless somebody else has it already.
fn leave_void(shared: &Shared, at: SocketAddr) {
    if shared.ended.is_cancelled() || !shared.world().is_free(at.ip()) {
        return;
    }
    // Where it cannot be bound, somebody else is there.
    if let Ok(void) = Void::at(at) {
        shared.world().leave_void(at.ip(), void);
    }
}

/// Waits for a moment that may never come.
async fn reach(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
