//! Shows what is measured: of a workload, of an environment, now and before.

use axum::Json;
use axum::extract::{Path, State};
use dormouse_core::WorkloadId;
use dormouse_core::usage::{Rates, Usage};
use dormouse_wire as wire;

use super::App;
use super::moment::{duration_text, rfc3339};
use super::naming::Named;
use super::trouble::Trouble;
use super::workloads::view_of;
use crate::metering::{Board, DiskReading, EnvironmentReading, Reading, TotalsReading};

/// What a workload uses and has used: the last readings of its counters.
#[utoipa::path(
    get, path = "/api/v1/workloads/{name}/metrics", tag = "workloads",
    params(("name" = String, Path, description = super::contract::NAME)),
    responses(
        (status = 200, description = "The readings, oldest first: show them.",
            body = wire::WorkloadMetrics),
        (status = 404, description = super::contract::NOT_FOUND, body = wire::Problem),
        (status = 409, description = super::contract::AMBIGUOUS, body = wire::Problem),
    ),
)]
pub(super) async fn of_workload(
    State(app): State<App>,
    Named(id): Named,
) -> Result<Json<wire::WorkloadMetrics>, Trouble> {
    let view = view_of(&app, &id).await?;
    let freed = freed_bytes(&app.board, &id, view.explanation.phase);
    Ok(Json(wire::WorkloadMetrics {
        workload: id.to_string(),
        sample_interval: sample_interval(&app, id.environment()),
        usage: app.board.workload(&id).map(reading),
        memory_freed_bytes: freed.unwrap_or_default(),
        history: app.board.workload_history(&id).into_iter().map(reading).collect(),
    }))
}

/// What an environment uses and has used, and what its runtime keeps on disk.
#[utoipa::path(
    get, path = "/api/v1/environments/{name}/metrics", tag = "house",
    params(("name" = String, Path, description = "The environment's name.")),
    responses(
        (status = 200, description = "The readings, oldest first: show them.",
            body = wire::EnvironmentMetrics),
        (status = 404, description = super::contract::NO_ENVIRONMENT, body = wire::Problem),
    ),
)]
pub(super) async fn of_environment(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<wire::EnvironmentMetrics>, Trouble> {
    if !app.registry().environments.contains_key(name.as_str()) {
        return Err(Trouble::NoSuchEnvironment(name));
    }
    let known = app.board.environment(&name).unwrap_or_default();
    let views = app.keeper.views().await?;
    let of_here = views.iter().filter(|view| view.explanation.id.environment() == name);
    let freed = of_here
        .filter_map(|view| freed_bytes(&app.board, &view.explanation.id, view.explanation.phase));
    Ok(Json(wire::EnvironmentMetrics {
        sample_interval: sample_interval(&app, &name),
        host: known.host.as_ref().map(|host| wire::Host {
            cpus: host.cpus,
            memory_bytes: host.memory_bytes,
            version: host.version.clone(),
        }),
        usage: environment_usage(&known),
        disk_usage: known.disk.map(disk_usage),
        memory_freed_bytes: freed.sum(),
        last_error: known.last_error.clone(),
        history: app
            .board
            .environment_history(&name)
            .into_iter()
            .filter_map(|totals| totals_reading(&known, totals))
            .collect(),
        environment: name,
    }))
}

/// A reading of a workload.
pub(super) fn reading(reading: Reading) -> wire::Usage {
    let Usage { cpu_percent, memory_bytes, network, disk } = reading.usage;
    wire::Usage {
        at: rfc3339(reading.at_ms),
        cpu_percent,
        memory_bytes,
        network: network.map(rates),
        disk: disk.map(rates),
    }
}

/// The last reading of an environment.
pub(super) fn environment_usage(known: &EnvironmentReading) -> Option<wire::EnvironmentUsage> {
    totals_reading(known, known.last?)
}

/// What an environment keeps on disk.
pub(super) fn disk_usage(disk: DiskReading) -> wire::DiskUsage {
    wire::DiskUsage {
        at: rfc3339(disk.at_ms),
        images_bytes: disk.images_bytes,
        containers_bytes: disk.containers_bytes,
        volumes_bytes: disk.volumes_bytes,
        build_cache_bytes: disk.build_cache_bytes,
    }
}

/// The memory that the sleep of a workload has freed; nothing while it is awake.
pub(super) fn freed_bytes(board: &Board, id: &WorkloadId, phase: &str) -> Option<u64> {
    (wire::Phase::from_word(phase) == wire::Phase::Asleep).then(|| board.freed_bytes(id))
}

fn totals_reading(
    known: &EnvironmentReading,
    reading: TotalsReading,
) -> Option<wire::EnvironmentUsage> {
    let host = known.host.as_ref()?;
    let totals = reading.totals;
    Some(wire::EnvironmentUsage {
        at: rfc3339(reading.at_ms),
        cpu_percent: totals.host_cpu_percent(host.cpus)?,
        memory_bytes: totals.memory_bytes,
        memory_percent: totals.memory_percent(host.memory_bytes)?,
        network: rates(totals.network),
        disk: rates(totals.disk),
        counted: totals.counted,
        failed: reading.failed,
    })
}

fn rates(rates: Rates) -> wire::Rates {
    wire::Rates { in_bytes_per_second: rates.in_bytes, out_bytes_per_second: rates.out_bytes }
}

fn sample_interval(app: &App, environment: &str) -> Option<String> {
    let registry = app.registry();
    registry.environments.get(environment)?.sample_interval.map(duration_text)
}
