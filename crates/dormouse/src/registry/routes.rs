//! Shares the routes out: a pattern leads to one workload, the first that asked for it.

use std::collections::BTreeMap;

use dormouse_core::WorkloadId;
use dormouse_core::findings::Finding;
use dormouse_core::routes::Pattern;

use super::RouteSpec;
use super::assemble::Bench;
use crate::config::settings::Origin;

/// The routes of each workload.
pub(super) type Routes = BTreeMap<WorkloadId, Vec<RouteSpec>>;

/// Gives every pattern to the first workload that asks for it; the others go without that one
/// route. A misconfigured workload asks last, so that it takes nothing from one that works.
pub(super) fn share_out(bench: &mut Bench<'_>) -> Routes {
    let broken = |id: &&WorkloadId| bench.drafts[*id].misconfigured.is_some();
    let (last, first): (Vec<&WorkloadId>, Vec<&WorkloadId>) = bench.order.iter().partition(broken);
    let mut owners: BTreeMap<&Pattern, &WorkloadId> = BTreeMap::new();
    let mut routes = Routes::new();
    let mut findings = Vec::new();
    for id in first.into_iter().chain(last) {
        let wishes = &bench.drafts[id].routes;
        let mut own = Vec::with_capacity(wishes.len());
        for wish in wishes {
            let owner = owners.get(&wish.spec.pattern).copied();
            match owner.or_else(|| keeps(bench, &wish.spec.pattern, id)) {
                None => {
                    owners.insert(&wish.spec.pattern, id);
                    own.push(wish.spec.clone());
                }
                Some(owner) => {
                    let message = format!("`{}` leads to `{owner}` already", wish.spec.pattern);
                    let finding = Finding::error("duplicate-route", message)
                        .at(wish.place.clone())
                        .about(id.as_str())
                        .with_hint("a hostname and path leads to one workload");
                    findings.push(finding);
                }
            }
        }
        routes.insert(id.clone(), own);
    }
    bench.findings.extend(findings);
    routes
}

/// Who had a pattern before and still asks for it: with labels, nobody who comes later takes it
/// away, whatever they are called. The file may.
fn keeps<'b>(bench: &'b Bench<'_>, pattern: &Pattern, asks: &WorkloadId) -> Option<&'b WorkloadId> {
    let holder = bench.held.patterns.get(pattern).filter(|holder| *holder != asks)?;
    let draft = bench.drafts.get(holder)?;
    let still_asks = draft.misconfigured.is_none()
        && draft.routes.iter().any(|wish| wish.spec.pattern == *pattern);
    let both_labelled =
        draft.origin == Origin::Labels && bench.drafts[asks].origin == Origin::Labels;
    (still_asks && both_labelled).then_some(holder)
}
