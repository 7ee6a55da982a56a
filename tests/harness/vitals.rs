//! What a running dormouse takes of its machine: memory, open files, tasks.

use std::fmt;
use std::time::Duration;

use super::house::House;

/// The measures of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vitals {
    /// Memory of its own that is in use, in KiB.
    pub(crate) memory_kib: u64,
    /// Open files, sockets among them.
    pub(crate) files: u64,
    /// Tasks of its runtime.
    pub(crate) tasks: u64,
}

impl Vitals {
    /// Measures a house.
    ///
    /// # Panics
    /// When it does not run, or does not answer.
    pub(crate) async fn of(house: &House) -> Self {
        let memory_kib = memory_kib(house.pid());
        let files = std::fs::read_dir(format!("/proc/{}/fd", house.pid())).unwrap().count() as u64;
        let tasks = metric(house, "dormouse_tasks").await;
        Self { memory_kib, files, tasks }
    }

    /// What there is more of than there was before.
    pub(crate) fn beyond(self, before: Self) -> Self {
        Self {
            memory_kib: self.memory_kib.saturating_sub(before.memory_kib),
            files: self.files.saturating_sub(before.files),
            tasks: self.tasks.saturating_sub(before.tasks),
        }
    }

    /// Whether each is at most what `bound` says, and which is not.
    pub(crate) fn within(self, bound: Self) -> Result<(), String> {
        let is_within = self.memory_kib <= bound.memory_kib
            && self.files <= bound.files
            && self.tasks <= bound.tasks;
        if is_within { Ok(()) } else { Err(format!("{self} is more than {bound}")) }
    }
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory_kib, files, tasks } = self;
        write!(f, "{:.1} MiB, {files} files, {tasks} tasks", *memory_kib as f64 / 1024.0)
    }
}

/// The memory of a process that is its own, in KiB: pages of its program come and go with what it
/// executes.
pub(crate) fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The processor time that a process has used so far, all its threads together.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    // User and system time, in the hundredths of a second that Linux tells everybody.
    let ticks = after_name.split_whitespace().skip(11).take(2);
    Duration::from_millis(10 * ticks.map(|text| text.parse::<u64>().unwrap()).sum::<u64>())
}

/// The value of a metric without labels.
pub(crate) async fn metric(house: &House, name: &str) -> u64 {
    let page = house.admin.call("GET", "/metrics", "").await.text();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}
