//! What a client may ask of a container, with the engine's own rules of when it says no.

use std::sync::Arc;
use std::time::Duration;

use super::container::{Container, Status};
use super::life;
use super::shared::{Deed, Done, Refusal, Shared};
use super::spec::{ApiVersion, ContainerSpec, StopOrder};

/// The signal of a stop, unless said otherwise.
pub(super) const TERM: i32 = 15;
/// The signal that nothing survives.
pub(super) const KILL: i32 = 9;
/// How long a stop waits when neither the caller nor the container says.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a stop waits before it kills.
#[derive(Clone, Copy, Debug)]
pub(super) enum Grace {
    /// What the container says, or ten seconds.
    OfContainer,
    /// This long.
    For(Duration),
    /// For ever.
    Forever,
}

pub(super) fn create(shared: &Shared, spec: ContainerSpec) -> Result<String, Refusal> {
    let mut world = shared.world();
    if let Some(owner) = world.owner_of(&spec.name) {
        return Err(Refusal::new(409, name_taken(&spec.name, &owner.id)));
    }
    Ok(world.insert(spec))
}

/// Looks first and locks afterwards, as the engine does: of several starts at once, more than one
/// may be told that it was the one.
pub(super) async fn start(shared: Arc<Shared>, reference: String) -> Deed {
    let (id, turn) = shared.turn_of(&reference)?;
    let first_look = turn.acquire().await;
    let settled = shared.world().find(&id).and_then(|it| start_is_settled(&shared, it));
    drop(first_look);
    if let Some(answer) = settled {
        return answer;
    }
    let _turn = turn.acquire().await;
    let (delay, refusal) = {
        let world = shared.world();
        let container = world.find(&id).ok_or_else(|| Refusal::absent(&reference))?;
        match start_is_settled(&shared, container) {
            Some(Ok(_)) => return Ok(Done::Now),
            Some(Err(refusal)) => return Err(refusal),
            None => {}
        }
        (container.spec.behaviour.start_delay, container.spec.behaviour.refuse_start.clone())
    };
    tokio::time::sleep(delay).await;
    if let Some(message) = refusal {
        return Err(refuse_start(&shared, &id, message));
    }
    if let Some(container) = shared.world().find_mut(&id) {
        container.manually_stopped = false;
        container.restart_cancelled = false;
        container.restart_count = 0;
        container.failures_in_a_row = 0;
    }
    life::begin(&shared, &id).await?;
    Ok(Done::Now)
}

pub(super) async fn stop(
    shared: Arc<Shared>,
    reference: String,
    grace: Grace,
    signal: Option<i32>,
) -> Deed {
    let (id, serial, patience) = {
        let mut world = shared.world();
        let container = world.find_mut(&reference).ok_or_else(|| Refusal::absent(&reference))?;
        let Some(serial) = container.run_serial() else {
            return stop_what_does_not_run(&shared, container);
        };
        if shared.is_podman() && container.status == Status::Paused {
            return Err(improper_state(&container.id));
        }
        container.manually_stopped = true;
        container.restart_cancelled = true;
        if let Some(run) = container.run.as_mut() {
            run.stopping = true;
        }
        (container.id.clone(), serial, patience(grace, container))
    };
    let honours_signal = shared.config.api_version >= ApiVersion::new(1, 42);
    let signal = signal.filter(|_| honours_signal).unwrap_or(TERM);
    deliver(&shared, &id, signal);
    if !shared.has_ended(&id, serial, patience).await {
        deliver(&shared, &id, KILL);
    }
    if shared.config.stop_order == StopOrder::DieThenStop {
        shared.world().say(&id, "stop", &[]);
    }
    Ok(Done::Now)
}

pub(super) async fn kill(shared: Arc<Shared>, reference: String, signal: i32) -> Deed {
    let id = {
        let mut world = shared.world();
        let container = world.find_mut(&reference).ok_or_else(|| Refusal::absent(&reference))?;
        if !container.has_process() && !container.is_restarting() {
            let message =
                format!("Cannot kill container: {reference}: {}", not_running(&container.id));
            return Err(Refusal::new(409, message));
        }
        container.manually_stopped = true;
        container.restart_cancelled = true;
        if container.is_restarting() {
            container.status = Status::Exited;
            container.touched();
            return Ok(Done::Now);
        }
        container.id.clone()
    };
    deliver(&shared, &id, signal);
    Ok(Done::Now)
}

pub(super) async fn restart(shared: Arc<Shared>, reference: String, grace: Grace) -> Deed {
    let id = shared.turn_of(&reference)?.0;
    if shared.world().find(&id).is_some_and(Container::has_process) {
        stop(Arc::clone(&shared), id.clone(), grace, None).await?;
    }
    start(Arc::clone(&shared), id.clone()).await?;
    shared.world().say(&id, "restart", &[]);
    Ok(Done::Now)
}

pub(super) async fn pause(shared: Arc<Shared>, reference: String) -> Deed {
    let (id, turn) = shared.turn_of(&reference)?;
    let _turn = turn.acquire_owned().await;
    let mut world = shared.world();
    let container = world.find_mut(&id).ok_or_else(|| Refusal::absent(&reference))?;
    let wrong_state = if container.is_restarting() {
        Some(format!("Container {id} is restarting, wait until the container is running"))
    } else if !container.has_process() {
        Some(not_running(&id))
    } else if container.status == Status::Paused {
        Some(format!("Container {id} is already paused"))
    } else {
        None
    };
    if let Some(message) = wrong_state {
        return Err(if shared.is_podman() {
            improper_state(&id)
        } else {
            Refusal::new(409, message)
        });
    }
    container.set_frozen(true);
    world.say(&id, "pause", &[]);
    Ok(Done::Now)
}

pub(super) async fn unpause(shared: Arc<Shared>, reference: String) -> Deed {
    let (id, turn) = shared.turn_of(&reference)?;
    let _turn = turn.acquire_owned().await;
    let mut world = shared.world();
    let container = world.find_mut(&id).ok_or_else(|| Refusal::absent(&reference))?;
    if container.status != Status::Paused {
        return Err(Refusal::new(500, format!("Container {id} is not paused")));
    }
    container.set_frozen(false);
    world.say(&id, "unpause", &[]);
    Ok(Done::Now)
}

pub(super) fn rename(shared: &Shared, reference: &str, name: &str) -> Deed {
    let mut world = shared.world();
    let container = world.find(reference).ok_or_else(|| Refusal::absent(reference))?;
    let (id, old_name) = (container.id.clone(), container.spec.name.clone());
    if name.is_empty() {
        return Err(Refusal::new(400, "Neither old nor new names may be empty"));
    }
    if old_name == name {
        let message = "Renaming a container with the same name as its current name";
        return Err(Refusal::new(400, message));
    }
    if let Some(owner) = world.owner_of(name) {
        let message = format!("Error when allocating new name: {}", name_taken(name, &owner.id));
        return Err(Refusal::new(409, message));
    }
    if let Some(container) = world.find_mut(&id) {
        name.clone_into(&mut container.spec.name);
        container.touched();
    }
    world.say(&id, "rename", &[("oldName", format!("/{old_name}"))]);
    Ok(Done::Now)
}

pub(super) async fn remove(shared: Arc<Shared>, reference: String, force: Force) -> Deed {
    let (id, delay) = {
        let mut world = shared.world();
        let container = world.find_mut(&reference).ok_or_else(|| Refusal::absent(&reference))?;
        let id = container.id.clone();
        if container.status == Status::Removing {
            let message = format!("removal of container {reference} is already in progress");
            return Err(Refusal::new(409, message));
        }
        if container.has_process() && force == Force::No {
            return Err(remove_refused(&shared, container));
        }
        container.manually_stopped = true;
        container.restart_cancelled = true;
        (id, container.spec.behaviour.remove_delay)
    };
    deliver(&shared, &id, KILL);
    if let Some(container) = shared.world().find_mut(&id) {
        container.status = Status::Removing;
        container.touched();
    }
    tokio::time::sleep(delay).await;
    let action = if shared.is_podman() { "remove" } else { "destroy" };
    shared.world().remove(&id, action);
    Ok(Done::Now)
}

/// Whether a removal may kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// A running container stays.
    No,
    /// A running container is killed first.
    Yes,
}

/// Hands a signal to the process: a thaw comes with it unless it kills, as in the real engine.
pub(super) fn deliver(shared: &Arc<Shared>, id: &str, signal: i32) {
    let mut world = shared.world();
    let Some(container) = world.find(id) else {
        return;
    };
    let Some(run) = &container.run else { return };
    let (serial, signals) = (run.serial, run.signals.clone());
    let paused = container.status == Status::Paused;
    world.say(id, "kill", &[("signal", signal.to_string())]);
    if signal == KILL {
        drop(world);
        life::end(shared, id, serial, 128 + KILL);
        return;
    }
    if paused {
        if let Some(container) = world.find_mut(id) {
            container.set_frozen(false);
        }
        world.say(id, "unpause", &[]);
    }
    // A full queue means that the process has been told often enough.
    let _ = signals.try_send(signal);
}

/// The number of a signal that is written `TERM`, `SIGTERM` or `15`.
pub(super) fn signal_number(text: &str) -> Result<i32, Refusal> {
    const NAMES: [(&str, i32); 9] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("KILL", KILL),
        ("USR1", 10),
        ("USR2", 12),
        ("TERM", TERM),
        ("CONT", 18),
        ("WINCH", 28),
    ];
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_name = NAMES.iter().find(|(name, _)| *name == bare).map(|(_, number)| *number);
    by_name
        .or_else(|| bare.parse().ok().filter(|number| (1..=64).contains(number)))
        .ok_or_else(|| Refusal::new(400, format!("Invalid signal: {text}")))
}

/// The answer to a start that does not start anything.
fn start_is_settled(shared: &Shared, container: &Container) -> Option<Deed> {
    match container.status {
        Status::Paused if shared.is_podman() => Some(Err(improper_state(&container.id))),
        Status::Paused => {
            let message = "cannot start a paused container, try unpause instead";
            Some(Err(Refusal::new(409, message)))
        }
        Status::Running
            if shared.is_podman() && container.run.as_ref().is_some_and(|run| run.stopping) =>
        {
            Some(Err(improper_state(&container.id)))
        }
        Status::Running | Status::Restarting => Some(Ok(Done::Already)),
        Status::Removing | Status::Dead => {
            let message = "container is marked for removal and cannot be started";
            Some(Err(Refusal::new(409, message)))
        }
        Status::Created | Status::Exited => None,
    }
}

fn refuse_start(shared: &Shared, id: &str, message: String) -> Refusal {
    if let Some(container) = shared.world().find_mut(id) {
        container.exit_code = 127;
        container.error.clone_from(&message);
        container.touched();
    }
    Refusal::new(400, message)
}

fn stop_what_does_not_run(shared: &Shared, container: &mut Container) -> Deed {
    if container.is_restarting() {
        container.manually_stopped = true;
        container.restart_cancelled = true;
        container.status = Status::Exited;
        container.touched();
        return Ok(Done::Now);
    }
    if shared.is_podman() && container.status == Status::Created {
        return Err(improper_state(&container.id));
    }
    Ok(Done::Already)
}

fn patience(grace: Grace, container: &Container) -> Option<Duration> {
    match grace {
        Grace::OfContainer => Some(container.spec.stop_timeout.unwrap_or(STOP_TIMEOUT)),
        Grace::For(time) => Some(time),
        Grace::Forever => None,
    }
}

fn remove_refused(shared: &Shared, container: &Container) -> Refusal {
    if shared.is_podman() {
        return improper_state(&container.id);
    }
    let (id, paused) = (&container.id, container.status == Status::Paused);
    let (state, advice) = if paused {
        ("paused", "Unpause and then stop the container")
    } else {
        ("running", "Stop the container")
    };
    let message = format!(
        "You cannot remove a {state} container {id}. {advice} before attempting removal or force \
         remove"
    );
    Refusal::new(409, message)
}

fn not_running(id: &str) -> String {
    format!("Container {id} is not running")
}

fn improper_state(id: &str) -> Refusal {
    Refusal::new(500, format!("container {id}: container state improper"))
}

fn name_taken(name: &str, owner: &str) -> String {
    format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You \
         have to remove (or rename) that container to be able to reuse that name."
    )
}
