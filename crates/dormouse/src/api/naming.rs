//! Finds the workload that a caller names: by its id, or by its name alone where that is unique.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use dormouse_core::WorkloadId;

use super::App;
use super::trouble::Trouble;
use crate::config::report::nearest;
use crate::registry::Registry;

/// The workload that the path names.
pub(super) struct Named(pub(super) WorkloadId);

impl FromRequestParts<App> for Named {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Trouble> {
        let Path(name) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|rejection| Trouble::BadRequest(rejection.body_text()))?;
        let registry = app.registry();
        resolve(&registry, &name).map(Self)
    }
}

/// Reads `environment/name`, `environment~name` or `name`.
pub(super) fn resolve(registry: &Registry, name: &str) -> Result<WorkloadId, Trouble> {
    let as_id =
        |text: &str| WorkloadId::parse(text).filter(|id| registry.workloads.contains_key(id));
    if let Some(id) = as_id(name).or_else(|| as_id(&name.replacen('~', "/", 1))) {
        return Ok(id);
    }
    let mut named: Vec<&WorkloadId> =
        registry.workloads.keys().filter(|id| id.name() == name).collect();
    match (named.pop(), named.as_slice()) {
        (Some(only), []) => Ok(only.clone()),
        (Some(last), _) => Err(Trouble::Ambiguous {
            name: name.to_owned(),
            candidates: named.into_iter().chain([last]).map(ToString::to_string).collect(),
        }),
        (None, _) => Err(Trouble::NoSuchWorkload {
            name: name.to_owned(),
            near: nearest_name(registry, name),
        }),
    }
}

fn nearest_name(registry: &Registry, name: &str) -> Option<String> {
    let ids = registry.workloads.keys();
    let known = ids.flat_map(|id| [id.name(), id.as_str()]);
    nearest(name, known).map(str::to_owned)
}
