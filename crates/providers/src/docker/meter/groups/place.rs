//! Where the kernel keeps the counters of one container: out of the mounts of this machine and the
//! control groups of one of the container's processes. Nothing here touches a file.

use std::path::{Path, PathBuf};

/// How many hexadecimal digits a whole id has.
const ID_DIGITS: usize = 64;

/// The hierarchies of control groups that are mounted here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mounts {
    cpu: Option<Mount>,
    memory: Option<Mount>,
    disk: Option<Mount>,
    unified: Option<Mount>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// The part of the hierarchy that is visible.
    root: String,
    /// Where.
    point: String,
}

/// The folders with a container's counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: Version,
    pub(super) cpu: PathBuf,
    pub(super) memory: PathBuf,
    pub(super) disk: Option<PathBuf>,
}

/// The kernel's two kinds of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// The place of one container, which tells that of every other one with the same parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    place: Place,
    id: String,
}

impl Mounts {
    /// Reads `/proc/self/mountinfo`.
    pub(super) fn parse(mountinfo: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            let Some((place, kind)) = line.split_once(" - ") else { continue };
            let mut place = place.split(' ').skip(3).map(unescaped);
            let (Some(root), Some(point)) = (place.next(), place.next()) else { continue };
            let mut kind = kind.split(' ');
            let (kind, options) = (kind.next().unwrap_or(""), kind.nth(1).unwrap_or(""));
            let mount = Mount { root, point };
            match kind {
                "cgroup2" => mounts.unified = Some(mount),
                "cgroup" => mounts.add_v1(&mount, options),
                _ => {}
            }
        }
        mounts
    }

    fn add_v1(&mut self, mount: &Mount, options: &str) {
        for controller in options.split(',') {
            match controller {
                "cpuacct" => self.cpu = Some(mount.clone()),
                "memory" => self.memory = Some(mount.clone()),
                "blkio" => self.disk = Some(mount.clone()),
                _ => {}
            }
        }
    }
}

impl Mount {
    /// Where a group of this hierarchy is seen.
    fn folder(&self, group: &str) -> Option<PathBuf> {
        let below = match self.root.as_str() {
            "/" => group,
            root => {
                group.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/'))?
            }
        };
        if below.split('/').any(|step| step == "..") {
            return None;
        }
        Some(Path::new(&self.point).join(below.trim_start_matches('/')))
    }
}

impl Place {
    /// Where the container `id` is counted, by what `/proc/PID/cgroup` says of a process that should
    /// be one of its own. A group that does not bear the id is not believed: the process may be
    /// another one by now, or one of another machine.
    pub(super) fn find(mounts: &Mounts, groups: &str, id: &str) -> Option<Self> {
        if !is_id(id) {
            return None;
        }
        if let (Some(cpu), Some(memory)) = (&mounts.cpu, &mounts.memory) {
            let of = |mount: &Mount, controller| mount.folder(group_of(groups, controller, id)?);
            return Some(Self {
                version: Version::V1,
                cpu: of(cpu, "cpuacct")?,
                memory: of(memory, "memory")?,
                disk: mounts.disk.as_ref().and_then(|disk| of(disk, "blkio")),
            });
        }
        let folder = mounts.unified.as_ref()?.folder(group_of(groups, "", id)?)?;
        Some(Self {
            version: Version::V2,
            cpu: folder.clone(),
            memory: folder.clone(),
            disk: Some(folder),
        })
    }
}

impl Pattern {
    pub(super) fn new(place: Place, id: &str) -> Self {
        Self { place, id: id.to_owned() }
    }

    /// Where the container `id` is if it has the same parent; a folder that bears its id is its own.
    pub(super) fn place_of(&self, id: &str) -> Option<Place> {
        if !is_id(id) {
            return None;
        }
        let renamed = |folder: &Path| folder.to_str().map(|path| path.replace(&self.id, id).into());
        Some(Place {
            version: self.place.version,
            cpu: renamed(&self.place.cpu)?,
            memory: renamed(&self.place.memory)?,
            disk: self.place.disk.as_deref().and_then(renamed),
        })
    }
}

/// Whether this is a whole id, which can stand in a path and is nobody else's.
fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The group of a controller, `""` for version 2, cut behind the step that bears the id: what runs
/// inside may have made groups of its own below.
fn group_of<'a>(groups: &'a str, controller: &str, id: &str) -> Option<&'a str> {
    let path = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    let end = path.rfind(id)? + id.len();
    let step_end = path[end..].find('/').map_or(path.len(), |slash| end + slash);
    Some(&path[..step_end])
}

/// The kernel writes blanks and the like in a path as three octal digits.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let code = (*first == b'\\').then(|| behind.get(..3)).flatten();
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = &behind[3..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "cd95a75f0edc5aac723ee84b4b0d5fb6d3b7dfa35d531ebe58abd95ce7cbe44f";

    const SPLIT_V1: &str = include_str!("../../../../tests/fixtures/groups/mountinfo-v1-split");
    const JOINED_V1: &str = include_str!("../../../../tests/fixtures/groups/mountinfo-v1-joined");
    const V2: &str = include_str!("../../../../tests/fixtures/groups/mountinfo-v2");
    const NESTED_V1: &str = include_str!("../../../../tests/fixtures/groups/mountinfo-v1-nested");

    const CGROUPFS_V1: &str = include_str!("../../../../tests/fixtures/groups/cgroup-v1-cgroupfs");
    const SYSTEMD_V1: &str = include_str!("../../../../tests/fixtures/groups/cgroup-v1-systemd");
    const PARENT_V1: &str = include_str!("../../../../tests/fixtures/groups/cgroup-v1-parent");
    const CGROUPFS_V2: &str = include_str!("../../../../tests/fixtures/groups/cgroup-v2-cgroupfs");
    const SYSTEMD_V2: &str = include_str!("../../../../tests/fixtures/groups/cgroup-v2-systemd");
    const INNER_V2: &str =
        include_str!("../../../../tests/fixtures/groups/cgroup-v2-inner-systemd");
    const PODMAN_V2: &str = include_str!("../../../../tests/fixtures/groups/cgroup-v2-podman");
    const FOREIGN: &str = include_str!("../../../../tests/fixtures/groups/cgroup-v1-foreign");

    fn folders(mountinfo: &str, groups: &str) -> Option<(Version, [String; 3])> {
        let place = Place::find(&Mounts::parse(mountinfo), groups, ID)?;
        let short = |path: &Path| path.display().to_string().replace(ID, "ID");
        let disk = place.disk.as_deref().map(short).unwrap_or_default();
        Some((place.version, [short(&place.cpu), short(&place.memory), disk]))
    }

    fn v1(mountinfo: &str, groups: &str) -> [String; 3] {
        let (version, folders) = folders(mountinfo, groups).expect("it is found");
        assert_eq!(version, Version::V1);
        folders
    }

    fn v2(groups: &str) -> String {
        let (version, [cpu, memory, disk]) = folders(V2, groups).expect("it is found");
        assert_eq!((version, &cpu, &cpu), (Version::V2, &memory, &disk));
        cpu
    }

    #[test]
    fn every_layout_of_version_1_is_found() {
        let root = "/sys/fs/cgroup";
        let plain = [
            format!("{root}/cpuacct/docker/ID"),
            format!("{root}/memory/docker/ID"),
            format!("{root}/blkio/docker/ID"),
        ];
        assert_eq!(v1(SPLIT_V1, CGROUPFS_V1), plain);
        let systemd = [
            format!("{root}/cpu,cpuacct/system.slice/docker-ID.scope"),
            format!("{root}/memory/system.slice/docker-ID.scope"),
            format!("{root}/blkio/system.slice/docker-ID.scope"),
        ];
        assert_eq!(v1(JOINED_V1, SYSTEMD_V1), systemd);
        let parent = [
            format!("{root}/cpuacct/tenants/a/ID"),
            format!("{root}/memory/tenants/a/ID"),
            format!("{root}/blkio/tenants/a/ID"),
        ];
        assert_eq!(v1(SPLIT_V1, PARENT_V1), parent);
    }

    #[test]
    fn every_layout_of_version_2_is_found() {
        assert_eq!(v2(CGROUPFS_V2), "/sys/fs/cgroup/docker/ID");
        assert_eq!(v2(SYSTEMD_V2), "/sys/fs/cgroup/system.slice/docker-ID.scope");
        assert_eq!(v2(PODMAN_V2), "/sys/fs/cgroup/machine.slice/libpod-ID.scope");
    }

    #[test]
    fn groups_that_the_container_made_below_its_own_are_counted_with_it() {
        assert_eq!(v2(INNER_V2), "/sys/fs/cgroup/system.slice/docker-ID.scope");
    }

    #[test]
    fn a_hierarchy_of_which_only_a_part_is_mounted_shows_only_that_part() {
        assert_eq!(folders(NESTED_V1, CGROUPFS_V1), None);
        let below = CGROUPFS_V1.replace("/docker/", "/docker/outer/docker/");
        let [cpu, ..] = v1(NESTED_V1, &below);
        assert_eq!(cpu, "/sys/fs/cgroup/cpuacct/docker/ID");
    }

    #[test]
    fn a_process_that_is_not_the_containers_is_not_believed() {
        assert_eq!(folders(SPLIT_V1, FOREIGN), None);
        assert_eq!(folders(SPLIT_V1, ""), None);
        assert_eq!(folders(V2, &format!("0::/../{ID}\n")), None);
        assert_eq!(folders("", CGROUPFS_V1), None);
        let mounts = Mounts::parse(SPLIT_V1);
        assert_eq!(Place::find(&mounts, CGROUPFS_V1, &ID[..12]), None);
    }

    #[test]
    fn one_place_tells_that_of_its_siblings() {
        let sibling = "0".repeat(ID_DIGITS);
        let place = |id: &str| {
            Place::find(&Mounts::parse(JOINED_V1), &SYSTEMD_V1.replace(ID, id), id).expect("found")
        };
        let pattern = Pattern::new(place(ID), ID);
        assert_eq!(pattern.place_of(&sibling), Some(place(&sibling)));
        assert_eq!(pattern.place_of("../../etc"), None);
    }

    #[test]
    fn odd_paths_are_read_as_they_are() {
        assert_eq!(unescaped(r"/a\040b\134c"), r"/a b\c");
        assert_eq!(unescaped(r"/a\04"), r"/a\04");
    }
}
