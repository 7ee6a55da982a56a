//! Shares the addresses of TCP and UDP listeners out: an address leads to one workload, the first
//! that asked for it, and never takes what the gateway listens on itself.

use std::collections::BTreeMap;

use dormouse_core::WorkloadId;
use dormouse_core::findings::Finding;

use super::assemble::Bench;
use super::{ListenerSpec, Protocol};
use crate::config::{Gateway, Listen, Origin};

/// The listeners of each workload.
pub(super) type Listeners = BTreeMap<WorkloadId, Vec<ListenerSpec>>;

/// Who has which address, by what can clash at all.
type Owners = BTreeMap<(Protocol, u16), Vec<(Listen, Owner)>>;

#[derive(Clone, Copy)]
enum Owner {
    /// The gateway, under this key.
    Gateway(&'static str),
    /// A workload, by its place in the order of asking.
    Workload(usize),
}

/// Gives every address to the first workload that asks for it; the others go without that one
/// listener. A misconfigured workload asks last, so that it takes nothing from one that works.
pub(super) fn share_out(bench: &mut Bench<'_>) -> Listeners {
    let broken = |id: &&WorkloadId| bench.drafts[*id].misconfigured.is_some();
    let (last, first): (Vec<&WorkloadId>, Vec<&WorkloadId>) = bench.order.iter().partition(broken);
    let order: Vec<&WorkloadId> = first.into_iter().chain(last).collect();
    let mut owners = of_gateway(&bench.settings.gateway);
    let mut listeners = Listeners::new();
    let mut findings = Vec::new();
    for (number, id) in order.iter().enumerate() {
        for wish in &bench.drafts[*id].listeners {
            let taken = taken(&owners, wish, &order).or_else(|| keeps(bench, wish, id));
            if let Some(by) = taken {
                findings.push(clash(wish, &by).about(id.as_str()));
                continue;
            }
            let slot = owners.entry(slot_of(wish)).or_default();
            slot.push((wish.listen.clone(), Owner::Workload(number)));
            listeners.entry((*id).clone()).or_default().push(wish.clone());
        }
    }
    bench.findings.extend(findings);
    listeners
}

fn of_gateway(gateway: &Gateway) -> Owners {
    let mut owners = Owners::new();
    for (key, listens) in [("http", &gateway.http), ("admin", &gateway.admin)] {
        for listen in listens {
            if let Some(port) = listen.port() {
                let slot = owners.entry((Protocol::Tcp, port)).or_default();
                slot.push((listen.clone(), Owner::Gateway(key)));
            }
        }
    }
    owners
}

/// Who has an address that leaves no room for `wish`.
fn taken(owners: &Owners, wish: &ListenerSpec, order: &[&WorkloadId]) -> Option<String> {
    let slot = owners.get(&slot_of(wish))?;
    let (_, owner) = slot.iter().find(|(listen, _)| listen.overlaps(&wish.listen))?;
    Some(match owner {
        Owner::Gateway(key) => format!("gateway.{key}"),
        Owner::Workload(number) => order[*number].to_string(),
    })
}

/// Who had an address before and still asks for it: with labels, nobody who comes later takes it
/// away, whatever they are called. The file may.
fn keeps(bench: &Bench<'_>, wish: &ListenerSpec, asks: &WorkloadId) -> Option<String> {
    let holder = bench.held.listeners.get(&wish.address()).filter(|holder| *holder != asks)?;
    let draft = bench.drafts.get(holder)?;
    let still_asks = draft.misconfigured.is_none()
        && draft.listeners.iter().any(|own| own.address() == wish.address());
    let both_labelled =
        draft.origin == Origin::Labels && bench.drafts[asks].origin == Origin::Labels;
    (still_asks && both_labelled).then(|| holder.to_string())
}

fn slot_of(listener: &ListenerSpec) -> (Protocol, u16) {
    (listener.protocol, listener.listen.port().unwrap_or_default())
}

fn clash(wish: &ListenerSpec, by: &str) -> Finding {
    let protocol = wish.protocol.as_str();
    let message = format!("the {protocol} address `{}` leads to `{by}` already", wish.listen);
    Finding::error("duplicate-listener", message)
        .at(wish.place.clone())
        .with_hint("an address leads to one workload; listen on another port or address")
}
