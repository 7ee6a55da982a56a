//! What is measured, on a scrape: of the configured workloads and environments only.

use std::fmt;

use dormouse_core::usage::Rates;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::gauge::ConstGauge;

use super::families::{
    ENVIRONMENT_CPU, ENVIRONMENT_DISK, ENVIRONMENT_DISK_USAGE, ENVIRONMENT_MEMORY,
    ENVIRONMENT_NETWORK, Family, MEMORY_FREED, WORKLOAD_CPU, WORKLOAD_DISK, WORKLOAD_MEMORY,
    WORKLOAD_NETWORK,
};
use super::page::{Scrape, Series};
use crate::metering::{Board, EnvironmentReading, Reading};

/// Takes the rates out of a reading, where it has some.
type RatesOf<T> = fn(&T) -> Option<Rates>;

impl Scrape {
    pub(super) fn measured(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let empty = Board::default();
        let board = self.metrics.board.get().map_or(&empty, |board| &**board);
        self.measured_workloads(board, encoder)?;
        self.measured_environments(board, encoder)
    }

    fn measured_workloads(
        &self,
        board: &Board,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> fmt::Result {
        let ids = || self.gates.iter().map(|gate| gate.id());
        let readings: Vec<_> =
            ids().filter_map(|id| board.workload(id).map(|reading| (id, reading))).collect();
        let mut series = Series::begin(encoder, &WORKLOAD_CPU)?;
        for (id, reading) in &readings {
            let busy = ConstGauge::new(reading.usage.cpu_percent / 100.0);
            series.of_workload(id, &[], &busy)?;
        }
        let mut series = Series::begin(encoder, &WORKLOAD_MEMORY)?;
        for (id, reading) in &readings {
            series.of_workload(id, &[], &bytes(reading.usage.memory_bytes))?;
        }
        let moved: [(&Family, RatesOf<Reading>); 2] = [
            (&WORKLOAD_NETWORK, |reading| reading.usage.network),
            (&WORKLOAD_DISK, |reading| reading.usage.disk),
        ];
        for (family, rates) in moved {
            let mut series = Series::begin(encoder, family)?;
            for (id, reading) in &readings {
                for (direction, rate) in directions(rates(reading)) {
                    series.of_workload(id, &[direction], &ConstGauge::new(rate))?;
                }
            }
        }
        let mut series = Series::begin(encoder, &MEMORY_FREED)?;
        for gate in self.gates.iter() {
            let is_asleep = gate.published().phase == dormouse_wire::Phase::Asleep.as_str();
            let freed = if is_asleep { board.freed_bytes(gate.id()) } else { 0 };
            series.of_workload(gate.id(), &[], &bytes(freed))?;
        }
        Ok(())
    }

    fn measured_environments(
        &self,
        board: &Board,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> fmt::Result {
        let names = self.environments.iter().map(|view| view.name.as_str());
        let known: Vec<_> =
            names.filter_map(|name| board.environment(name).map(|known| (name, known))).collect();
        let mut series = Series::begin(encoder, &ENVIRONMENT_CPU)?;
        for (name, known) in &known {
            let cpus = known.host.as_ref().map_or(0, |host| host.cpus);
            let percent = known.last.and_then(|last| last.totals.host_cpu_percent(cpus));
            if let Some(percent) = percent {
                series.of(&[name], &ConstGauge::new(percent / 100.0))?;
            }
        }
        let mut series = Series::begin(encoder, &ENVIRONMENT_MEMORY)?;
        for (name, known) in &known {
            if let Some(last) = known.last {
                series.of(&[name], &bytes(last.totals.memory_bytes))?;
            }
        }
        let moved: [(&Family, RatesOf<EnvironmentReading>); 2] = [
            (&ENVIRONMENT_NETWORK, |known| Some(known.last?.totals.network)),
            (&ENVIRONMENT_DISK, |known| Some(known.last?.totals.disk)),
        ];
        for (family, rates) in moved {
            let mut series = Series::begin(encoder, family)?;
            for (name, known) in &known {
                for (direction, rate) in directions(rates(known)) {
                    series.of(&[name, direction], &ConstGauge::new(rate))?;
                }
            }
        }
        let mut series = Series::begin(encoder, &ENVIRONMENT_DISK_USAGE)?;
        for (name, known) in &known {
            let Some(disk) = known.disk else { continue };
            let kinds = [
                ("images", disk.images_bytes),
                ("containers", disk.containers_bytes),
                ("volumes", disk.volumes_bytes),
                ("build_cache", disk.build_cache_bytes),
            ];
            for (kind, size) in kinds {
                series.of(&[name, kind], &bytes(size))?;
            }
        }
        Ok(())
    }
}

fn directions(rates: Option<Rates>) -> impl Iterator<Item = (&'static str, f64)> {
    rates.into_iter().flat_map(|rates| [("in", rates.in_bytes), ("out", rates.out_bytes)])
}

fn bytes(bytes: u64) -> ConstGauge<f64> {
    ConstGauge::new(bytes as f64)
}
