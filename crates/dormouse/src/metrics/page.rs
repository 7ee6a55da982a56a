//! Writes one scrape.

use std::fmt;
use std::sync::Arc;

use dormouse_core::WorkloadId;
use dormouse_keeper::{EnvironmentView, Gate, Kind};
use dormouse_wire::Phase;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::runtime::Handle;

use super::families::{
    ASLEEP_SECONDS, BUILD_INFO, CONNECTIONS_OPEN, ENGINE_REQUEST_SECONDS, ENVIRONMENT_UP,
    FEED_RESYNCS, Family, HELD_LEFT, HELD_REJECTED, HELD_REQUESTS, HTTP_REQUESTS, LEASES_CLOSED,
    LEASES_OPENED, LOADING_PAGES, RESTS, TASKS, TCP_BYTES, UDP_DROPPED, UPGRADED_OPEN,
    UPSTREAM_CONNECTS, UPSTREAM_RETRIES, WAITING, WAKE_SECONDS, WAKES, WATCH_UP, WORKLOAD_PHASE,
};
use super::traffic::{count, level};
use super::{Metrics, lock};

/// Everything that one scrape tells.
pub(super) struct Scrape {
    pub(super) metrics: Arc<Metrics>,
    pub(super) gates: Arc<Vec<Arc<Gate>>>,
    pub(super) environments: Vec<EnvironmentView>,
    /// Each watch, and whether its service is up.
    pub(super) watches: Vec<(Arc<str>, bool)>,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.wakes_and_rests(&mut encoder)?;
        self.gates(&mut encoder)?;
        self.sleep(&mut encoder)?;
        self.requests(&mut encoder)?;
        self.data_plane(&mut encoder)?;
        self.measured(&mut encoder)?;
        self.environments(&mut encoder)
    }
}

impl Scrape {
    fn wakes_and_rests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let workloads = lock(&self.metrics.workloads);
        let mut series = Series::begin(encoder, &WAKES)?;
        for (id, tally) in workloads.iter() {
            for ((cause, outcome), &number) in tally.deeds().into_iter().flat_map(|it| &it.wakes) {
                series.of_workload(id, &[cause, outcome], &ConstCounter::new(number))?;
            }
        }
        let mut series = Series::begin(encoder, &WAKE_SECONDS)?;
        for (id, tally) in workloads.iter() {
            let Some(parts) = tally.deeds().and_then(|it| it.parts.as_ref()) else { continue };
            series.of_workload(id, &["needs"], &parts.needs)?;
            series.of_workload(id, &["start"], &parts.start)?;
            series.of_workload(id, &["ready"], &parts.ready)?;
        }
        let mut series = Series::begin(encoder, &RESTS)?;
        for (id, tally) in workloads.iter() {
            for ((rest, outcome), &number) in tally.deeds().into_iter().flat_map(|it| &it.rests) {
                series.of_workload(id, &[rest, outcome], &ConstCounter::new(number))?;
            }
        }
        Ok(())
    }

    fn gates(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut series = Series::begin(encoder, &WORKLOAD_PHASE)?;
        for gate in self.gates.iter() {
            let now = gate.published().phase;
            for phase in Phase::ALL {
                let is_now = i64::from(phase.as_str() == now);
                series.of_workload(gate.id(), &[phase.as_str()], &ConstGauge::new(is_now))?;
            }
        }
        let mut series = Series::begin(encoder, &LEASES_OPENED)?;
        for gate in self.gates.iter() {
            for kind in [Kind::Request, Kind::Connection, Kind::Flow] {
                let opened = ConstCounter::new(gate.opened(kind));
                series.of_workload(gate.id(), &[kind.as_str()], &opened)?;
            }
        }
        let mut workloads = lock(&self.metrics.workloads);
        let mut series = Series::begin(encoder, &LEASES_CLOSED)?;
        for gate in self.gates.iter() {
            // One that has just been forgotten must not be remembered again.
            let mut tally = workloads.get_mut(gate.id());
            let open = gate.counts();
            let kinds = [
                (Kind::Request, open.request),
                (Kind::Connection, open.connection),
                (Kind::Flow, open.flow),
            ];
            for (index, (kind, open)) in kinds.into_iter().enumerate() {
                let opened = gate.opened(kind);
                let closed = tally.as_mut().map(|tally| tally.closed(index, opened, open));
                let closed = closed.unwrap_or_else(|| opened.saturating_sub(u64::from(open)));
                series.of_workload(gate.id(), &[kind.as_str()], &ConstCounter::new(closed))?;
            }
        }
        let mut series = Series::begin(encoder, &WAITING)?;
        for gate in self.gates.iter() {
            let waiting = ConstGauge::new(i64::from(gate.waiting()));
            series.of_workload(gate.id(), &[], &waiting)?;
        }
        Ok(())
    }

    fn sleep(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut series = Series::begin(encoder, &ASLEEP_SECONDS)?;
        for (id, tally) in lock(&self.metrics.workloads).iter() {
            let slept = ConstCounter::new(tally.slept().as_secs_f64());
            series.of_workload(id, &[], &slept)?;
        }
        Ok(())
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut series = Series::begin(encoder, &HTTP_REQUESTS)?;
        let sites = self.metrics.traffic.get().map(|traffic| traffic.sites()).unwrap_or_default();
        for (id, site) in sites.iter() {
            for (class, number) in site.answers.read() {
                series.of_workload(id, &[class.as_str()], &ConstCounter::new(number))?;
            }
        }
        let mut series = Series::begin(encoder, &TCP_BYTES)?;
        for (id, site) in sites.iter() {
            for (direction, bytes) in
                [("received", &site.tcp_bytes.received), ("sent", &site.tcp_bytes.sent)]
            {
                series.of_workload(id, &[direction], &ConstCounter::new(count(bytes)))?;
            }
        }
        Ok(())
    }

    fn data_plane(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let idle = dormouse_proxy::Counters::default();
        let counters = self.metrics.traffic.get().map_or(&idle, |traffic| &*traffic.counters);
        let rejected = &counters.held_rejected;
        let mut series = Series::begin(encoder, &HELD_REJECTED)?;
        series.of(&["requests"], &ConstCounter::new(count(&rejected.requests)))?;
        series.of(&["per_client"], &ConstCounter::new(count(&rejected.per_client)))?;
        let mut series = Series::begin(encoder, &UDP_DROPPED)?;
        for (why, number) in counters.udp_dropped.read() {
            series.of(&[why.as_str()], &ConstCounter::new(number))?;
        }
        for (family, gauge) in [
            (&HELD_REQUESTS, &counters.held),
            (&CONNECTIONS_OPEN, &counters.connections_open),
            (&UPGRADED_OPEN, &counters.upgraded_open),
        ] {
            Series::begin(encoder, family)?.only(&ConstGauge::new(level(gauge)))?;
        }
        for (family, counter) in [
            (&HELD_LEFT, &counters.held_left),
            (&LOADING_PAGES, &counters.loading_pages),
            (&UPSTREAM_CONNECTS, &counters.upstream_connects),
            (&UPSTREAM_RETRIES, &counters.upstream_retries),
        ] {
            Series::begin(encoder, family)?.only(&ConstCounter::new(count(counter)))?;
        }
        Ok(())
    }

    fn environments(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut series = Series::begin(encoder, &ENVIRONMENT_UP)?;
        for environment in &self.environments {
            let up = i64::from(environment.reachable == Some(true));
            series.of(&[environment.name.as_str()], &ConstGauge::new(up))?;
        }
        let mut series = Series::begin(encoder, &WATCH_UP)?;
        for (name, up) in &self.watches {
            series.of(&[name], &ConstGauge::new(i64::from(*up)))?;
        }
        let mut series = Series::begin(encoder, &FEED_RESYNCS)?;
        for environment in &self.environments {
            let resyncs = ConstCounter::new(environment.resyncs);
            series.of(&[environment.name.as_str()], &resyncs)?;
        }
        let mut series = Series::begin(encoder, &ENGINE_REQUEST_SECONDS)?;
        for (operation, times) in &lock(&self.metrics.house).engine_calls {
            series.of(&[operation], times)?;
        }
        let own = Handle::try_current().map_or(0, |it| it.metrics().num_alive_tasks());
        let of_visitors = self.metrics.traffic.get().map_or(0, |it| it.workers.tasks_alive());
        let tasks = i64::try_from(own + of_visitors).unwrap_or(i64::MAX);
        Series::begin(encoder, &TASKS)?.only(&ConstGauge::new(tasks))?;
        let version = env!("CARGO_PKG_VERSION");
        Series::begin(encoder, &BUILD_INFO)?.of(&[version], &ConstGauge::new(1i64))
    }
}

/// The series of one metric.
pub(super) struct Series<'a> {
    encoder: MetricEncoder<'a>,
    names: &'static [&'static str],
}

impl<'a> Series<'a> {
    pub(super) fn begin(
        encoder: &'a mut DescriptorEncoder<'_>,
        family: &Family,
    ) -> Result<Self, fmt::Error> {
        let (name, help) = (family.name, family.help);
        let encoder = encoder.encode_descriptor(name, help, None, family.kind)?;
        Ok(Self { encoder, names: family.labels })
    }

    /// A series of one workload; `values` are the labels after environment and workload.
    pub(super) fn of_workload(
        &mut self,
        id: &WorkloadId,
        values: &[&str],
        metric: &impl EncodeMetric,
    ) -> fmt::Result {
        let mut all = vec![id.environment(), id.name()];
        all.extend(values);
        self.of(&all, metric)
    }

    pub(super) fn of(&mut self, values: &[&str], metric: &impl EncodeMetric) -> fmt::Result {
        debug_assert_eq!(values.len(), self.names.len());
        let labels: Vec<(&str, &str)> =
            self.names.iter().copied().zip(values.iter().copied()).collect();
        metric.encode(self.encoder.encode_family(&labels)?)
    }

    /// The only series of a metric without labels.
    fn only(self, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.encoder)
    }
}
