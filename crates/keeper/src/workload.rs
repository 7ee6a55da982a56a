//! What the loop keeps of one workload beside the core's entry.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dormouse_core::policy::Readiness;
use dormouse_core::{Epoch, Policy, RunId, Timestamp, WorkloadId};
use dormouse_providers::{Candidate, LaunchSpec, Target};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::gate::{Gate, Opening};
use crate::probe::{ProbeProgress, Proven};
use crate::sightings::Sightings;
use crate::view::PinView;
use crate::witness::WakeTimes;

/// One workload of the loop.
pub(crate) struct Workload {
    pub(crate) target: Target,
    pub(crate) launch: Option<Arc<LaunchSpec>>,
    pub(crate) gate: Arc<Gate>,
    /// The last look; probes listen for the next.
    pub(crate) sightings: Sightings,
    /// Absent before the first of it: most of many sleepers were never woken.
    affairs: Option<Box<Affairs>>,
}

/// What is under way for one workload, and what is remembered of its last wake.
#[derive(Default)]
pub(crate) struct Affairs {
    /// What the last probe found, until the gate opens to it.
    pub(crate) proven: Option<Proven>,
    /// How far the probe in flight has come, where one is.
    pub(crate) probing: Option<watch::Receiver<ProbeProgress>>,
    /// The run that was last ready: a pause keeps it.
    pub(crate) ready_run: Option<RunId>,
    /// The start, probe or rest in flight.
    pub(crate) in_flight: Option<(Epoch, AbortHandle)>,
    /// Waits for a closed gate to drain.
    pub(crate) drain: Option<AbortHandle>,
    /// Reads the log of a failure that is about to be told.
    pub(crate) log: Option<AbortHandle>,
    pub(crate) pin: Option<PinView>,
    pub(crate) wake: Option<WakeUnderWay>,
    pub(crate) last_wake_times: Option<WakeTimes>,
}

/// The clock readings of a wake that has not ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WakeUnderWay {
    pub(crate) began: Timestamp,
    pub(crate) start_sent: Option<Timestamp>,
    pub(crate) probe_sent: Option<Timestamp>,
}

impl Workload {
    /// One of which nothing is known yet.
    pub(crate) fn new(target: Target, launch: Option<Arc<LaunchSpec>>, gate: Arc<Gate>) -> Self {
        Self { target, launch, gate, sightings: Sightings::default(), affairs: None }
    }

    pub(crate) fn id(&self) -> &WorkloadId {
        self.gate.id()
    }

    /// What is under way for it, where anything ever was.
    pub(crate) fn affairs(&self) -> Option<&Affairs> {
        self.affairs.as_deref()
    }

    /// What is under way for it, to be taken or added to.
    pub(crate) fn affairs_mut(&mut self) -> &mut Affairs {
        self.affairs.get_or_insert_default()
    }

    /// The port that is probed and that routes lead to by default. One that nobody named, but only
    /// declares, says nothing about a workload that datagrams alone lead to: it counts there only
    /// where its owner asks for a probe of it.
    pub(crate) fn main_port(&self, policy: &Policy) -> Option<u16> {
        let asked = match policy.readiness {
            Readiness::Auto | Readiness::Engine | Readiness::Running => !policy.is_udp_alone(),
            Readiness::Tcp | Readiness::Http { .. } | Readiness::Grpc { .. } => true,
        };
        let declared = || self.sightings.last().and_then(|seen| seen.default_port);
        policy.ports.first().copied().or_else(|| if asked { declared() } else { None })
    }

    /// What counts as ready now. A run that was ready before it was paused has only to answer
    /// again: the engine's health verdict of a paused container is stale or wrong, and its next
    /// one may be half a minute away.
    pub(crate) fn readiness(&self, policy: &Policy) -> Readiness {
        let run = self.sightings.last().and_then(|seen| seen.condition.run());
        let ready_run = self.affairs().and_then(|affairs| affairs.ready_run);
        let resumed = run.is_some() && run == ready_run;
        match &policy.readiness {
            Readiness::Auto | Readiness::Engine if resumed => match self.main_port(policy) {
                Some(_) => Readiness::Tcp,
                None => Readiness::Running,
            },
            wished @ (Readiness::Auto
            | Readiness::Engine
            | Readiness::Running
            | Readiness::Tcp
            | Readiness::Http { .. }
            | Readiness::Grpc { .. }) => wished.clone(),
        }
    }

    /// The opening to what the last probe found. Ports that the probe did not touch are reached
    /// the same way as the one that it did.
    pub(crate) fn opening(&self, epoch: u64, proven: Proven, policy: &Policy) -> Opening {
        let main = self.main_port(policy);
        let probed = main.zip(proven.at);
        let way = proven.at.map(|at| at.ip());
        let sighting = self.sightings.last();
        let tcp = |port| sighting.map(|seen| seen.candidates(port)).unwrap_or_default();
        let udp = |port| sighting.map(|seen| seen.udp_candidates(port)).unwrap_or_default();
        let unprobed = policy.ports.iter().filter(|port| Some(**port) != probed.map(|(p, _)| p));
        let unprobed = unprobed.filter_map(|port| the_same_way(*port, &tcp(*port), way));
        let udp_ports = policy.udp_ports.iter();
        Opening {
            epoch,
            ports: probed.into_iter().chain(unprobed).collect(),
            udp_ports: udp_ports.filter_map(|p| the_same_way(*p, &udp(*p), way)).collect(),
            warm: std::sync::Mutex::new(proven.warm),
            attached: std::sync::OnceLock::new(),
        }
    }

    /// Shuts its gate for good: what was proven holds no longer.
    pub(crate) fn shut(&mut self) {
        self.gate.shut();
        if let Some(affairs) = &mut self.affairs {
            affairs.proven = None;
        }
    }

    /// Ends the wake under way, if one is: how long it took.
    pub(crate) fn end_wake(&mut self, now: Timestamp) -> Option<WakeTimes> {
        let affairs = self.affairs.as_mut()?;
        let times = affairs.wake.take()?.times(now);
        affairs.last_wake_times = Some(times);
        Some(times)
    }

    /// Ends the start, probe or rest in flight, if it is this one.
    pub(crate) fn abandon(&mut self, epoch: Epoch) {
        let in_flight = self.affairs.as_mut().map(|affairs| &mut affairs.in_flight);
        let this = in_flight.and_then(|it| it.take_if(|(asked, _)| *asked == epoch));
        if let Some((_, task)) = this {
            task.abort();
        }
    }

    /// Ends everything that runs on its behalf.
    pub(crate) fn abandon_all(&mut self) {
        let Some(affairs) = self.affairs.take() else { return };
        let tasks = [affairs.drain, affairs.log, affairs.in_flight.map(|(_, task)| task)];
        for task in tasks.into_iter().flatten() {
            task.abort();
        }
    }
}

/// The candidate of `port` that lies on the address that is known to work, or the preferred one.
fn the_same_way(
    port: u16,
    candidates: &[Candidate],
    way: Option<IpAddr>,
) -> Option<(u16, SocketAddr)> {
    let same = candidates.iter().find(|candidate| way == Some(candidate.at.ip()));
    same.or(candidates.first()).map(|candidate| (port, candidate.at))
}

impl WakeUnderWay {
    pub(crate) fn times(self, ended: Timestamp) -> WakeTimes {
        let start_sent = self.start_sent.unwrap_or(ended);
        let probe_sent = self.probe_sent.unwrap_or(ended);
        let started_from = self.start_sent.unwrap_or(probe_sent);
        WakeTimes {
            needs: start_sent.min(probe_sent).since(self.began),
            start: probe_sent.since(started_from),
            ready: ended.since(probe_sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use dormouse_core::observation::Health;
    use dormouse_core::{Condition, fleet};
    use dormouse_providers::{Address, Sighting, Transport, Via};
    use tokio::time::Instant;

    use super::*;
    use crate::clock::Clock;
    use crate::gate::{Published, Summons};

    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    /// One that runs, declares the TCP port 8080, and publishes a port of each transport.
    fn workload() -> Workload {
        let id = WorkloadId::parse("test/w").expect("an id");
        let published = Arc::new(Published { phase: "unknown", why: String::new() });
        let summons = Arc::new(Summons::new(Clock::start()));
        let gate = Arc::new(Gate::new(id, fleet::Key(0), published, summons));
        let mut workload = Workload::new(Target::new("w"), None, gate);
        let published = |transport, at| Address::Published {
            port: 53,
            transport,
            at: (Ipv4Addr::LOCALHOST, at).into(),
        };
        workload.sightings.see(Sighting {
            condition: Condition::Running { run: RunId(1), health: Health::Unhealthy },
            as_of: Instant::now(),
            addresses: vec![
                published(Transport::Tcp, 1053),
                published(Transport::Udp, 2053),
                Address::Own { ip: OWN, via: Via::Direct },
            ],
            default_port: Some(8080),
        });
        workload
    }

    fn policy(ports: &[u16], udp_ports: &[u16], readiness: Readiness) -> Policy {
        let (ports, udp_ports) = (ports.to_vec(), udp_ports.to_vec());
        Policy { ports, udp_ports, readiness, ..Policy::default() }
    }

    #[test]
    fn a_declared_port_is_not_probed_where_datagrams_are_all_there_is() {
        let workload = workload();
        for readiness in [Readiness::Auto, Readiness::Engine] {
            let port = |policy: &Policy| workload.main_port(policy);
            assert_eq!(port(&policy(&[], &[53], readiness.clone())), None);
            assert_eq!(port(&policy(&[], &[], readiness.clone())), Some(8080));
            assert_eq!(port(&policy(&[9000], &[53], readiness)), Some(9000));
        }
        assert_eq!(workload.main_port(&policy(&[], &[53], Readiness::Tcp)), Some(8080));
    }

    #[test]
    fn a_resumed_run_has_only_to_answer_again_or_to_run_where_nobody_can_ask() {
        let mut workload = workload();
        let (web, game) =
            (policy(&[80], &[], Readiness::Auto), policy(&[], &[53], Readiness::Auto));
        assert_eq!(workload.readiness(&web), Readiness::Auto);
        assert_eq!(workload.readiness(&game), Readiness::Auto);
        workload.affairs_mut().ready_run = Some(RunId(1));
        assert_eq!(workload.readiness(&web), Readiness::Tcp);
        assert_eq!(workload.readiness(&game), Readiness::Running);
    }

    #[test]
    fn an_opening_leads_to_ports_of_udp_by_their_own_addresses() {
        let workload = workload();
        let opening = |at: Option<SocketAddr>, policy: &Policy| {
            workload.opening(1, Proven { at, warm: None }, policy)
        };
        let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let both = policy(&[53], &[53, 54], Readiness::Auto);
        let opened = opening(Some(local(1053)), &both);
        assert_eq!(opened.ports, [(53, local(1053))]);
        assert_eq!(opened.udp_ports, [(53, local(2053)), (54, (OWN, 54).into())]);
        let opened = opening(Some((OWN, 53).into()), &both);
        assert_eq!(opened.udp_ports, [(53, (OWN, 53).into()), (54, (OWN, 54).into())]);
        let opened = opening(None, &policy(&[], &[53], Readiness::Auto));
        assert_eq!((opened.ports, opened.udp_ports), (vec![], vec![(53, local(2053))]));
    }
}
