//! What must be true of the kernel's counters, whatever stands in their files.

use std::path::{Component, Path};

use super::counters::{self, HostCpu};
use super::place::{Mounts, Pattern, Place};

/// The container whose folder is looked for.
const ID: &str = "cd95a75f0edc5aac723ee84b4b0d5fb6d3b7dfa35d531ebe58abd95ce7cbe44f";
/// Where the kernel shows its groups.
const ROOT: &str = "/sys/fs/cgroup";
const MOUNTS: [&str; 3] = [
    include_str!("../../../../tests/fixtures/groups/mountinfo-v1-joined"),
    include_str!("../../../../tests/fixtures/groups/mountinfo-v1-nested"),
    include_str!("../../../../tests/fixtures/groups/mountinfo-v2"),
];

/// A file of counters, each of which reads whatever it is given.
pub(in crate::docker) fn counters(text: &str) {
    assert!(counters::cpu_stat(text).is_none_or(|nanos| nanos.is_multiple_of(1_000)));
    if let Some(HostCpu { cpus, .. }) = counters::proc_stat(text) {
        assert!(text.starts_with("cpu ") && (cpus as usize) < text.lines().count());
    }
    for line in text.lines() {
        if let Some((name, said)) = line.split_once(' ')
            && let Some(number) = counters::number(said)
        {
            assert!(counters::named(line, name) == Some(number), "{line:?}");
        }
    }
    let twice = format!("{text}\n{text}");
    for read in [counters::blkio, counters::io_stat] {
        let (once, twice) = (read(text), read(&twice));
        assert_eq!(twice.in_bytes, once.in_bytes.saturating_mul(2), "{text:?}");
        assert_eq!(twice.out_bytes, once.out_bytes.saturating_mul(2), "{text:?}");
    }
    let _ = counters::net_dev(text);
}

/// The groups of a process, whose names come from whoever made them, and then mounts that are odd.
pub(in crate::docker) fn places(text: &str) {
    for mounts in MOUNTS {
        let Some(place) = Place::find(&Mounts::parse(mounts), text, ID) else { continue };
        assert!(is_of_the_container(&place), "{place:?}");
        let other = ID.replace('c', "0");
        let sibling = Pattern::new(place, ID).place_of(&other);
        assert!(sibling.is_none_or(|place| !place.cpu.ends_with(ID)));
    }
    let own = format!("0::/docker/{ID}\n5:cpuacct:/docker/{ID}\n6:memory:/docker/{ID}\n");
    let _ = Place::find(&Mounts::parse(text), &own, ID);
}

/// Whether every folder lies below the kernel's own, and bears the whole id.
fn is_of_the_container(place: &Place) -> bool {
    let folders = [Some(&place.cpu), Some(&place.memory), place.disk.as_ref()];
    folders.into_iter().flatten().all(|folder| {
        let climbs = folder.components().any(|part| part == Component::ParentDir);
        let last = folder.file_name().is_some_and(|name| name.to_string_lossy().contains(ID));
        !climbs && last && folder.starts_with(Path::new(ROOT))
    })
}
