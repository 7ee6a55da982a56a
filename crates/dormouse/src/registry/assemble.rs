//! Lays file and labels together: the file wins, and whoever clashes is told so and hurts nobody
//! else.

use std::collections::BTreeMap;
use std::sync::Arc;

use dormouse_core::findings::{Finding, Place};
use dormouse_core::routes::Pattern;
use dormouse_core::{EnvironmentName, WorkloadId};
use dormouse_providers::Target;

use super::{
    Found, ListenerSpec, Protocol, Registry, RouteSpec, WorkloadSpec, listeners, needs, routes,
};
use crate::config::Listen;
use crate::config::Settings;
use crate::config::settings::{ComposeService, Draft, Origin};
use crate::config::shared::Shared;
use crate::labels;

/// The drafts of one registry, while it is being built.
pub(super) struct Bench<'a> {
    pub(super) drafts: BTreeMap<WorkloadId, Draft>,
    /// The order in which the first to ask for something gets it: the file's order, then ids.
    pub(super) order: Vec<WorkloadId>,
    pub(super) claims: BTreeMap<(EnvironmentName, Target), WorkloadId>,
    /// Who had each pattern and each address before.
    pub(super) held: Held,
    pub(super) findings: Vec<Finding>,
    pub(super) found: &'a Found,
    pub(super) settings: &'a Settings,
}

/// What led to whom in the registry before.
#[derive(Default)]
pub(super) struct Held {
    pub(super) patterns: BTreeMap<Pattern, WorkloadId>,
    pub(super) listeners: BTreeMap<(Protocol, Listen), WorkloadId>,
}

/// Builds the registry of `settings` and of the labels that were `found`.
pub fn assemble(version: u64, settings: &Settings, found: &Found) -> Registry {
    build(Held::default(), version, settings, found)
}

/// The same after `before`: a label takes no hostname from a container that has it already.
pub fn assemble_after(before: &Registry, settings: &Settings, found: &Found) -> Registry {
    build(Held::by(before), before.version + 1, settings, found)
}

fn build(held: Held, version: u64, settings: &Settings, found: &Found) -> Registry {
    let mut bench = Bench {
        held,
        drafts: BTreeMap::new(),
        order: Vec::new(),
        claims: BTreeMap::new(),
        findings: Vec::new(),
        found,
        settings,
    };
    for draft in &settings.workloads {
        bench.put_from_file(draft.clone());
    }
    bench.put_labelled();
    let mut needs = needs::resolve(&mut bench);
    let mut routes = routes::share_out(&mut bench);
    let mut listeners = listeners::share_out(&mut bench);
    let mut policies = Shared::default();
    let workloads = bench
        .drafts
        .into_iter()
        .map(|(id, draft)| {
            let needs = needs.remove(&id).unwrap_or_default();
            let routes = routes.remove(&id).unwrap_or_default();
            let listeners = listeners.remove(&id).unwrap_or_default();
            let mut policy = draft.treatment.policy;
            if !needs.is_empty() {
                Arc::make_mut(&mut policy).needs = needs;
            }
            policies.share(&mut policy);
            let spec = WorkloadSpec {
                id: id.clone(),
                environment: draft.environment,
                target: draft.target,
                launch: draft.launch,
                policy,
                routes,
                listeners,
                loading: draft.treatment.loading,
                held: draft.treatment.held,
                connection_idle: draft.treatment.connection_idle,
                misconfigured: draft.misconfigured,
                origin: draft.origin,
                place: draft.place,
            };
            (id, spec)
        })
        .collect();
    Registry {
        version,
        gateway: settings.gateway.clone(),
        environments: settings.environments.clone(),
        workloads,
        findings: bench.findings,
    }
}

impl Held {
    fn by(registry: &Registry) -> Self {
        let mut held = Self::default();
        for spec in registry.workloads.values() {
            let pattern = |route: &RouteSpec| (route.pattern.clone(), spec.id.clone());
            held.patterns.extend(spec.routes.iter().map(pattern));
            let address = |own: &ListenerSpec| (own.address(), spec.id.clone());
            held.listeners.extend(spec.listeners.iter().map(address));
        }
        held
    }
}

impl Bench<'_> {
    /// Notes what is wrong with one workload, which cannot be woken from then on.
    pub(super) fn misconfigure(&mut self, id: &WorkloadId, finding: Finding) {
        if let Some(draft) = self.drafts.get_mut(id)
            && draft.misconfigured.is_none()
        {
            draft.misconfigured = Some(finding.message.clone());
        }
        self.findings.push(finding.about(id.as_str()));
    }

    /// The service that Compose made the target of `draft` for.
    pub(super) fn compose_of(&self, draft: &Draft) -> Option<ComposeService> {
        let labels = self.found.get(&draft.environment)?.get(&draft.target)?;
        labels::compose_service(labels)
    }

    fn put_from_file(&mut self, mut draft: Draft) {
        let id = draft.id.clone();
        let claim = (draft.environment.clone(), draft.target.clone());
        draft.compose = self.compose_of(&draft).map(Box::new);
        let place = draft.place.clone();
        self.drafts.insert(id.clone(), draft);
        self.order.push(id.clone());
        match self.claims.get(&claim) {
            None => {
                self.claims.insert(claim, id);
            }
            Some(first) => {
                let message =
                    format!("`{}/{}` is the target of `{first}` already", claim.0, claim.1);
                let finding = Finding::error("duplicate-target", message).at(place);
                self.misconfigure(
                    &id,
                    finding.with_hint("a target has one workload; give that one all routes"),
                );
            }
        }
    }

    fn put_labelled(&mut self) {
        let (found, settings) = (self.found, self.settings);
        for (environment, targets) in found {
            if !settings.environments.get(environment).is_some_and(|spec| spec.labels) {
                continue;
            }
            let mut renamed = Vec::new();
            for (target, labels) in targets {
                let labelled = labels::read(environment, target, labels, &settings.defaults);
                match labelled.draft {
                    Some(draft) if draft.id.name() != target.as_str() => {
                        renamed.push((draft, labelled.findings));
                    }
                    Some(draft) => self.put_labelled_one(draft, labelled.findings),
                    None => self.findings.extend(labelled.findings),
                }
            }
            // A container's own name is its runtime's word; nobody takes it away with a label.
            for (draft, findings) in renamed {
                self.put_labelled_one(draft, findings);
            }
        }
        let from_file = settings.workloads.len();
        self.order[from_file..].sort();
    }

    /// A thing that the file defines already keeps the file's definition whole.
    fn put_labelled_one(&mut self, draft: Draft, findings: Vec<Finding>) {
        let claim = (draft.environment.clone(), draft.target.clone());
        if let Some(id) = self.claims.get(&claim) {
            let message =
                format!("the labels of {} are ignored, for the file defines `{id}`", draft.target);
            let finding = Finding::warning("duplicate-workload", message).about(id.as_str());
            let hint = "remove the labels, or the workload from the file";
            self.findings.push(finding.at(draft.place).with_hint(hint));
            return;
        }
        self.findings.extend(findings);
        let id = draft.id.clone();
        if let Some(first) = self.drafts.get(&id) {
            let finding = name_taken(&id, first, &draft);
            self.findings.push(finding);
            return;
        }
        self.claims.insert(claim, id.clone());
        self.order.push(id.clone());
        self.drafts.insert(id, draft);
    }
}

fn name_taken(id: &WorkloadId, first: &Draft, second: &Draft) -> Finding {
    let place = Place::Label { target: second.target.as_str().into(), key: "dormouse.name".into() };
    let whose = match first.origin {
        Origin::File => "of a workload in the file",
        Origin::Labels => "of another container's workload",
    };
    let message = format!("{} is not served: `{id}` is the name {whose} already", second.target);
    Finding::error("duplicate-workload", message)
        .at(place)
        .about(id.as_str())
        .with_hint("give one of them another dormouse.name")
}
