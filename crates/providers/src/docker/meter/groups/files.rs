//! The files with a container's counters, kept open and read anew from their beginnings.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dormouse_core::limits;
use dormouse_core::usage::{RawSample, Traffic};
use rustix::process::{Resource, getrlimit};

use super::counters::{self, HostCpu};
use super::place::{Place, Version};
use crate::docker::meter::Scope;

/// A read that brings less than this has brought everything: the kernel hands out whole lines, as
/// many as fit a page.
const ALL_BYTES: usize = 3 << 10;
/// The share of the files this process may open that may be kept open here.
const SHARE: u64 = 4;

/// How many more files may be kept open.
pub(super) struct Budget {
    left: usize,
}

/// What files are read into, over and over.
pub(super) struct Buffer(Vec<u8>);

/// A file of counters: open, or by its path where too many are open already.
pub(super) enum Kept {
    Open(File),
    Path(PathBuf),
}

/// The files of one container.
pub(super) struct Counters {
    version: Version,
    cpu: Kept,
    memory: Kept,
    memory_stat: Kept,
    network: Option<Kept>,
    disk: Option<Kept>,
}

impl Budget {
    pub(super) fn of_this_process() -> Self {
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / SHARE;
        Self {
            left: usize::try_from(allowed).map_or(usize::MAX, |n| n).min(limits::METER_FILES_MAX),
        }
    }

    pub(super) fn give_back(&mut self, counters: &Counters) {
        self.left += counters.open_files();
    }
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self(vec![0; 16 << 10])
    }
}

impl Kept {
    /// Opens it, whether or not it is kept open afterwards: what cannot be opened cannot be read.
    pub(super) fn open(path: PathBuf, budget: &mut Budget) -> io::Result<Self> {
        let file = File::open(&path)?;
        if budget.left == 0 {
            return Ok(Self::Path(path));
        }
        budget.left -= 1;
        Ok(Self::Open(file))
    }

    /// All of it, as it is now.
    pub(super) fn read<'a>(&self, buffer: &'a mut Buffer) -> io::Result<&'a str> {
        let bytes = match self {
            Self::Open(file) => read_all(file, buffer)?,
            Self::Path(path) => read_all(&File::open(path)?, buffer)?,
        };
        std::str::from_utf8(&buffer.0[..bytes]).map_err(io::Error::other)
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

impl Counters {
    pub(super) fn open(
        place: &Place,
        pid: Option<u32>,
        scope: Scope,
        budget: &mut Budget,
    ) -> io::Result<Self> {
        let left = budget.left;
        let opened = Self::open_each(place, pid, scope, budget);
        if opened.is_err() {
            budget.left = left;
        }
        opened
    }

    fn open_each(
        place: &Place,
        pid: Option<u32>,
        scope: Scope,
        budget: &mut Budget,
    ) -> io::Result<Self> {
        let [cpu, memory, disk] = names(place.version);
        let (network, disk) = match scope {
            Scope::CpuAndMemory => (None, None),
            Scope::All => {
                let network = pid.filter(|pid| has_own_network(*pid));
                let network = network.map(|pid| format!("/proc/{pid}/net/dev").into());
                (network, place.disk.as_ref().map(|folder| folder.join(disk)))
            }
        };
        let mut optional =
            |path: Option<PathBuf>| path.and_then(|path| Kept::open(path, budget).ok());
        let (network, disk) = (optional(network), optional(disk));
        Ok(Self {
            version: place.version,
            cpu: Kept::open(place.cpu.join(cpu), budget)?,
            memory: Kept::open(place.memory.join(memory), budget)?,
            memory_stat: Kept::open(place.memory.join("memory.stat"), budget)?,
            network,
            disk,
        })
    }

    pub(super) fn read(
        &self,
        host: HostCpu,
        wall_nanos: u64,
        buffer: &mut Buffer,
    ) -> io::Result<RawSample> {
        let (cpu_of, cache): (fn(&str) -> Option<u64>, _) = match self.version {
            Version::V1 => (counters::number, "total_inactive_file"),
            Version::V2 => (counters::cpu_stat, "inactive_file"),
        };
        Ok(RawSample {
            wall_nanos,
            cpu_nanos: cpu_of(self.cpu.read(buffer)?).ok_or_else(no_counter)?,
            host_cpu_nanos: Some(host.nanos),
            cpus: host.cpus,
            memory_bytes: counters::number(self.memory.read(buffer)?).ok_or_else(no_counter)?,
            cache_bytes: counters::named(self.memory_stat.read(buffer)?, cache).unwrap_or_default(),
            network: self.network(buffer),
            disk: self.disk(buffer),
        })
    }

    fn network(&self, buffer: &mut Buffer) -> Option<Traffic> {
        counters::net_dev(self.network.as_ref()?.read(buffer).ok()?)
    }

    fn disk(&self, buffer: &mut Buffer) -> Option<Traffic> {
        let text = self.disk.as_ref()?.read(buffer).ok()?;
        Some(match self.version {
            Version::V1 => counters::blkio(text),
            Version::V2 => counters::io_stat(text),
        })
    }

    fn open_files(&self) -> usize {
        let optional = self.network.iter().chain(&self.disk);
        let all = [&self.cpu, &self.memory, &self.memory_stat].into_iter().chain(optional);
        all.filter(|kept| kept.is_open()).count()
    }
}

/// The first process in a group, where it has one of its own.
pub(super) fn first_process(folder: &Path) -> Option<u32> {
    let processes = std::fs::read_to_string(folder.join("cgroup.procs")).ok()?;
    processes.lines().next()?.parse().ok().filter(|pid| *pid > 0)
}

/// The files for processor time, memory and block devices.
fn names(version: Version) -> [&'static str; 3] {
    match version {
        Version::V1 => {
            ["cpuacct.usage", "memory.usage_in_bytes", "blkio.throttle.io_service_bytes_recursive"]
        }
        Version::V2 => ["cpu.stat", "memory.current", "io.stat"],
    }
}

/// Whether what its interfaces move is its own traffic: on the host's network it is everybody's.
fn has_own_network(pid: u32) -> bool {
    let network_of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/net"));
    let Ok(own) = network_of(&pid.to_string()) else { return false };
    let hosts = [network_of("1"), network_of("self")];
    !hosts.iter().flatten().any(|host| *host == own)
}

fn read_all(file: &File, buffer: &mut Buffer) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        let read = file.read_at(&mut buffer.0[filled..], filled as u64)?;
        filled += read;
        if read < ALL_BYTES && filled < buffer.0.len() {
            return Ok(filled);
        }
        if filled == buffer.0.len() {
            if filled >= limits::METER_FILE_BYTES_MAX {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
            buffer.0.resize(filled * 2, 0);
        }
    }
}

fn no_counter() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: HostCpu = HostCpu { nanos: 77, cpus: 2 };

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a writable folder");
        }
        folder
    }

    fn place(folder: &tempfile::TempDir, version: Version) -> Place {
        let path = folder.path().to_owned();
        Place { version, cpu: path.clone(), memory: path.clone(), disk: Some(path) }
    }

    fn v1() -> tempfile::TempDir {
        folder(&[
            ("cpuacct.usage", "545471801\n"),
            ("memory.usage_in_bytes", "421888\n"),
            ("memory.stat", "cache 9\ninactive_file 1\ntotal_inactive_file 8192\n"),
            ("blkio.throttle.io_service_bytes_recursive", "8:0 Read 5\n8:0 Write 6\nTotal 11\n"),
        ])
    }

    #[test]
    fn both_versions_are_read_into_the_same_sample() {
        let v2 = folder(&[
            ("cpu.stat", "usage_usec 545471\nuser_usec 1\n"),
            ("memory.current", "421888\n"),
            ("memory.stat", "anon 1\ninactive_file 8192\n"),
            ("io.stat", "8:0 rbytes=5 wbytes=6 rios=1\n"),
        ]);
        let expected = |cpu_nanos| RawSample {
            wall_nanos: 3,
            cpu_nanos,
            host_cpu_nanos: Some(77),
            cpus: 2,
            memory_bytes: 421_888,
            cache_bytes: 8_192,
            network: None,
            disk: Some(Traffic { in_bytes: 5, out_bytes: 6 }),
        };
        let cases = [(v1(), Version::V1, 545_471_801), (v2, Version::V2, 545_471_000)];
        for (folder, version, cpu_nanos) in cases {
            let mut budget = Budget { left: 100 };
            let place = place(&folder, version);
            let counters = Counters::open(&place, None, Scope::All, &mut budget).expect("readable");
            let sample = counters.read(HOST, 3, &mut Buffer::new()).expect("readable");
            assert_eq!(sample, expected(cpu_nanos), "{version:?}");
        }
    }

    #[test]
    fn a_file_that_is_kept_open_shows_what_it_says_now() {
        let folder = v1();
        let place = place(&folder, Version::V1);
        let mut buffer = Buffer::new();
        let mut budget = Budget { left: 2 };
        let counters =
            Counters::open(&place, None, Scope::CpuAndMemory, &mut budget).expect("open");
        assert_eq!((counters.open_files(), budget.left), (2, 0), "the third is opened each time");
        for (text, nanos) in [("1\n", 1), ("22\n", 22), ("333\n", 333)] {
            std::fs::write(folder.path().join("cpuacct.usage"), text).expect("writable");
            let sample = counters.read(HOST, 0, &mut buffer).expect("readable");
            assert_eq!(sample.cpu_nanos, nanos);
        }
        budget.give_back(&counters);
        assert_eq!(budget.left, 2);
    }

    #[test]
    fn what_is_no_counter_is_an_error_and_never_a_zero() {
        let folder = v1();
        let place = place(&folder, Version::V1);
        let mut budget = Budget { left: 9 };
        let counters =
            Counters::open(&place, None, Scope::CpuAndMemory, &mut budget).expect("open");
        std::fs::write(folder.path().join("memory.usage_in_bytes"), "").expect("writable");
        assert!(counters.read(HOST, 0, &mut Buffer::new()).is_err());
        std::fs::remove_file(folder.path().join("cpuacct.usage")).expect("removable");
        let left = budget.left;
        assert!(Counters::open(&place, None, Scope::CpuAndMemory, &mut budget).is_err());
        assert_eq!(budget.left, left, "what was opened before is closed again");
    }

    #[test]
    fn a_file_longer_than_the_buffer_is_read_whole() {
        let line = "some_field_of_no_interest 1\n";
        let text = format!("{}total_inactive_file 5\n", line.repeat(2_000));
        let folder = folder(&[("memory.stat", &text)]);
        let mut budget = Budget { left: 1 };
        let kept = Kept::open(folder.path().join("memory.stat"), &mut budget).expect("open");
        let mut buffer = Buffer::new();
        let read = kept.read(&mut buffer).expect("readable");
        assert_eq!(counters::named(read, "total_inactive_file"), Some(5));
    }

    #[test]
    fn on_the_network_of_this_process_nothing_is_its_own_traffic() {
        assert!(!has_own_network(std::process::id()));
        assert!(!has_own_network(u32::MAX));
    }
}
