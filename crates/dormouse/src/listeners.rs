//! Where addresses of workloads' own become sockets: bound before a registry is taken, led to its
//! gates when it is, and kept open for as long as some workload asks for them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::findings::Finding;
use dormouse_core::{WorkloadId, limits};
use dormouse_keeper::Gate;
use dormouse_proxy::{Held, Proxy, SiteCounters, TcpEnds, TcpRoute, TcpSite};
use dormouse_proxy::{UdpListener, UdpRoute, UdpSite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Listen, Origin};
use crate::gatekeeping::Gatekeeping;
use crate::listen::{bind_tcp, bind_udp};
use crate::metrics::SiteTable;
use crate::registry::{ListenerSpec, Protocol, Registry, WorkloadSpec};

/// What no two listeners can have.
type Address = (Protocol, Listen);

/// The open listeners of workloads. Whoever applies registries has them, and no other.
pub(crate) struct Listeners {
    proxy: Proxy<Gatekeeping>,
    attended: Attended,
    open: BTreeMap<Address, Open>,
}

/// Who waits for the listeners to end, and ends them.
#[derive(Clone, Default)]
pub struct Attended {
    /// Every listener's task.
    pub tasks: TaskTracker,
    /// Ends them all.
    pub end: CancellationToken,
}

/// The sockets that a registry asks for and that were not open before. Closed where they are
/// dropped.
#[derive(Default)]
pub(crate) struct Bound(BTreeMap<Address, Socket>);

/// Why a registry cannot have an address that its file asks for.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on the {} address {}", protocol.as_str(), listen)]
pub struct NoAddress {
    protocol: Protocol,
    listen: Listen,
    workload: WorkloadId,
    place: dormouse_core::findings::Place,
    #[source]
    source: io::Error,
}

enum Socket {
    Tcp(TcpListener),
    Udp(UdpListener),
}

/// One open listener.
struct Open {
    leads: Leads,
    gate: Arc<Gate>,
    way: Way,
    end: CancellationToken,
    task: JoinHandle<()>,
}

/// Where a listener leads, as far as a new registry can change it.
#[derive(Clone, PartialEq, Eq)]
struct Leads {
    workload: WorkloadId,
    port: u16,
    held: Held,
    connection_idle: Option<Duration>,
}

/// What a registry's workloads are joined with: their gates, and what is counted of them.
#[derive(Clone, Copy)]
pub(crate) struct Ties<'a> {
    pub(crate) gates: &'a BTreeMap<WorkloadId, Arc<Gate>>,
    pub(crate) counters: &'a SiteTable,
}

/// The same of one workload.
struct Tie<'a> {
    gate: &'a Arc<Gate>,
    counters: &'a Arc<SiteCounters>,
}

/// What leads a running listener elsewhere.
enum Way {
    Tcp(TcpRoute<Arc<Gate>>),
    Udp(UdpRoute<Arc<Gate>>),
}

impl Listeners {
    pub(crate) fn new(proxy: Proxy<Gatekeeping>, attended: Attended) -> Self {
        Self { proxy, attended, open: BTreeMap::new() }
    }

    /// Binds what the registry asks for and is not open. A label that asks for what cannot be had
    /// costs its workload that one listener, and is told by a finding.
    ///
    /// # Errors
    /// When the file asks for what cannot be had: then nothing of it may hold.
    pub(crate) fn bind(&self, registry: &mut Registry) -> Result<Bound, NoAddress> {
        let mut bound = Bound::default();
        let mut refused = Vec::new();
        for spec in registry.workloads.values() {
            for listener in &spec.listeners {
                let address = listener.address();
                if self.open.contains_key(&address) {
                    continue;
                }
                match (Socket::bind(listener), spec.origin) {
                    (Ok(socket), _) => {
                        bound.0.insert(address, socket);
                    }
                    (Err(error), Origin::File) => return Err(no_address(spec, listener, error)),
                    (Err(error), Origin::Labels) => {
                        refused.push(no_address(spec, listener, error));
                    }
                }
            }
        }
        for refusal in refused {
            if let Some(spec) = registry.workloads.get_mut(&refusal.workload) {
                spec.listeners.retain(|it| it.address() != refusal.address());
            }
            registry.findings.push(refusal.finding());
        }
        Ok(bound)
    }

    /// Leads every listener to where the registry says, opens what was bound for it and closes
    /// what nobody asks for any more.
    pub(crate) async fn take(&mut self, mut bound: Bound, registry: &Registry, ties: Ties<'_>) {
        let mut wanted = BTreeSet::new();
        for spec in registry.workloads.values() {
            let Some(tie) = ties.of(&spec.id) else { continue };
            for listener in &spec.listeners {
                let address = listener.address();
                let leads = leads(spec, listener);
                match (self.open.get_mut(&address), bound.0.remove(&address)) {
                    (Some(open), _) => open.lead_to(leads, &tie),
                    (None, Some(socket)) => {
                        let open = self.begin(socket, leads, &tie);
                        self.open.insert(address.clone(), open);
                    }
                    (None, None) => continue,
                }
                wanted.insert(address);
            }
        }
        self.close_all_but(&wanted).await;
    }

    fn begin(&self, socket: Socket, leads: Leads, tie: &Tie<'_>) -> Open {
        let end = self.attended.end.child_token();
        let (way, task) = match socket {
            Socket::Tcp(listener) => {
                let route = TcpRoute::new(leads.tcp_site(tie));
                let served = self.proxy.clone();
                let serving = route.clone();
                let shutdown = self.attended.end.clone();
                let ends = TcpEnds { closed: end.clone(), shutdown };
                let task = self.attended.tasks.spawn(async move {
                    if let Err(error) = served.serve_tcp(listener, serving, ends).await {
                        tracing::error!(%error, "Stopped listening for connections");
                    }
                });
                (Way::Tcp(route), task)
            }
            Socket::Udp(listener) => {
                let route = UdpRoute::new(leads.udp_site(tie));
                let served = self.proxy.clone();
                let (serving, stop) = (route.clone(), end.clone());
                let task = self.attended.tasks.spawn(async move {
                    if let Err(error) = served.serve_udp(listener, serving, stop).await {
                        tracing::error!(%error, "Stopped listening for datagrams");
                    }
                });
                (Way::Udp(route), task)
            }
        };
        Open { leads, gate: Arc::clone(tie.gate), way, end, task }
    }

    async fn close_all_but(&mut self, wanted: &BTreeSet<Address>) {
        let unwanted: Vec<Address> =
            self.open.keys().filter(|address| !wanted.contains(address)).cloned().collect();
        for (address, open) in unwanted.iter().filter_map(|it| Some((it, self.open.remove(it)?))) {
            open.end.cancel();
            match open.way {
                // Its socket is free when it has ended, which takes no longer than a moment.
                Way::Udp(_) => drop(open.task.await),
                // Its socket is free as soon, and it ends with the last of its connections.
                Way::Tcp(_) => {}
            }
            tracing::info!(protocol = address.0.as_str(), address = %address.1, "Closed a listener");
        }
    }
}

impl Socket {
    fn bind(listener: &ListenerSpec) -> io::Result<Self> {
        match listener.protocol {
            Protocol::Tcp => bind_tcp(&listener.listen).map(Self::Tcp),
            Protocol::Udp => bind_udp(&listener.listen).map(Self::Udp),
        }
    }
}

impl Open {
    /// The flows of what leads to the same place as before go on, and so does every connection.
    fn lead_to(&mut self, leads: Leads, tie: &Tie<'_>) {
        if self.leads == leads && Arc::ptr_eq(&self.gate, tie.gate) {
            return;
        }
        match &self.way {
            Way::Tcp(route) => route.lead_to(leads.tcp_site(tie)),
            Way::Udp(route) => route.lead_to(leads.udp_site(tie)),
        }
        (self.leads, self.gate) = (leads, Arc::clone(tie.gate));
    }
}

impl<'a> Ties<'a> {
    fn of(self, id: &WorkloadId) -> Option<Tie<'a>> {
        Some(Tie { gate: self.gates.get(id)?, counters: self.counters.get(id)? })
    }
}

impl Leads {
    fn tcp_site(&self, tie: &Tie<'_>) -> TcpSite<Arc<Gate>> {
        TcpSite {
            key: Arc::clone(tie.gate),
            workload: self.workload.name().to_owned(),
            port: self.port,
            held: self.held,
            connection_idle: self.connection_idle,
            counters: Arc::clone(tie.counters),
        }
    }

    fn udp_site(&self, tie: &Tie<'_>) -> UdpSite<Arc<Gate>> {
        UdpSite {
            key: Arc::clone(tie.gate),
            workload: self.workload.name().to_owned(),
            port: self.port,
            silence: self.connection_idle.unwrap_or(limits::UDP_SILENCE),
            bytes_max: self.held.bytes,
        }
    }
}

impl NoAddress {
    /// The same for whoever reads the findings of a configuration.
    pub(crate) fn finding(&self) -> Finding {
        let finding = Finding::error("cannot-listen", format!("{self}: {}", self.source));
        finding
            .at(self.place.clone())
            .about(self.workload.as_str())
            .with_hint("free it, or listen on an address of this machine that is free")
    }

    fn address(&self) -> Address {
        (self.protocol, self.listen.clone())
    }
}

fn no_address(spec: &WorkloadSpec, listener: &ListenerSpec, source: io::Error) -> NoAddress {
    NoAddress {
        protocol: listener.protocol,
        listen: listener.listen.clone(),
        workload: spec.id.clone(),
        place: listener.place.clone(),
        source,
    }
}

fn leads(spec: &WorkloadSpec, listener: &ListenerSpec) -> Leads {
    Leads {
        workload: spec.id.clone(),
        port: listener.port,
        held: spec.held,
        connection_idle: spec.connection_idle,
    }
}
