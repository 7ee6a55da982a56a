//! Two houses on one engine: each says which workloads it keeps, where the others of this machine
//! can read it, and leaves alone what another one keeps already.
//!
//! Two keepers of one container would rest it under each other's visitors. Each process holds a
//! file of its own locked for as long as it lives, so that the claims of one that has died count no
//! more, however it died.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::config::{EnvironmentKind, EnvironmentSpec};
use crate::registry::Registry;

/// How often it is looked again whether another house has let go of what we want.
pub(crate) const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(2);
/// The folder of the claims, below the first of the places that can be written.
const FOLDER: &str = "dormouse/claims";
/// Whoever reads or writes claims holds this file locked.
const DOOR: &str = "door";
/// What the names of the claims begin with.
const PREFIX: &str = "claim-";
/// How often it is tried to get through the door, and the pause between.
const DOOR_TRIES: u32 = 100;
const DOOR_PAUSE: Duration = Duration::from_millis(10);
/// A claim that is longer than this is not read.
const CLAIM_BYTES_MAX: u64 = 64 << 20;

/// What this house keeps, and where it says so.
pub(crate) struct Claims {
    /// None where this machine has no place for claims: then others are not seen.
    folder: Option<PathBuf>,
    who: String,
    own: Option<Own>,
}

/// This house's own file, locked for as long as it is open.
struct Own {
    file: NamedTempFile,
    written: BTreeMap<String, BTreeSet<String>>,
}

/// What one house keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    /// Who, for people.
    who: String,
    /// The targets by the engine that they live on.
    kept: BTreeMap<String, BTreeSet<String>>,
}

impl Claims {
    /// Finds the first place where claims can be kept.
    pub(crate) fn open(who: String) -> Self {
        let places = places();
        let folder = places.iter().find_map(|(root, folder)| match prepare(root, folder) {
            Ok(folder) => Some(folder),
            Err(error) => {
                tracing::debug!(root = %root.display(), %error, "Cannot keep claims here");
                None
            }
        });
        if folder.is_none() {
            tracing::warn!(?places, "Cannot see other houses: there is no place for claims");
        }
        Self { folder, who, own: None }
    }

    /// Claims what the registry defines, and marks as misconfigured what another house keeps
    /// already. Answers whether there is any such workload.
    pub(crate) async fn stake(&mut self, registry: &mut Registry) -> bool {
        let Some(folder) = self.folder.clone() else { return false };
        match self.stake_in(&folder, registry).await {
            Ok(refused) => refused,
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "Could not stake our claims");
                false
            }
        }
    }

    async fn stake_in(&mut self, folder: &Path, registry: &mut Registry) -> io::Result<bool> {
        let _door = pass_door(folder).await?;
        // Behind the door, so that nobody finds it before it is locked.
        let mut own = match self.own.take() {
            Some(own) => own,
            None => Own::create(folder)?,
        };
        let others = others(folder, own.file.path())?;
        let (kept, refused) = share_out(registry, &others);
        own.keep(&self.who, kept)?;
        self.own = Some(own);
        Ok(refused)
    }
}

impl Own {
    fn create(folder: &Path) -> io::Result<Self> {
        let file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(folder)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { file, written: BTreeMap::new() })
    }

    fn keep(&mut self, who: &str, kept: BTreeMap<String, BTreeSet<String>>) -> io::Result<()> {
        if kept == self.written {
            return Ok(());
        }
        let text = serde_json::to_vec(&Claim { who: who.to_owned(), kept: kept.clone() })?;
        let file = self.file.as_file_mut();
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(&text)?;
        self.written = kept;
        Ok(())
    }
}

/// What is ours, by engine, and whether anything that we define is another house's.
fn share_out(
    registry: &mut Registry,
    others: &[Claim],
) -> (BTreeMap<String, BTreeSet<String>>, bool) {
    let engines: BTreeMap<_, _> = registry
        .environments
        .iter()
        .filter_map(|(name, spec)| Some((name.clone(), engine_of(spec)?)))
        .collect();
    let mut kept: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut refused = false;
    for spec in registry.workloads.values_mut() {
        let Some(engine) = engines.get(&spec.environment) else { continue };
        let target = spec.target.to_string();
        if let Some(holder) = others.iter().find(|claim| claim.keeps(engine, &target)) {
            refused = true;
            spec.misconfigured.get_or_insert_with(|| {
                format!("another dormouse keeps `{target}` already: {}", holder.who)
            });
        } else if spec.misconfigured.is_none() {
            kept.entry(engine.clone()).or_default().insert(target);
        }
    }
    (kept, refused)
}

/// Makes the folder, whose every part below `root` has to be our own: what anybody can write there
/// would tell us what to leave alone.
fn prepare(root: &Path, folder: &str) -> io::Result<PathBuf> {
    let folder = root.join(folder);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let us = rustix::process::getuid().as_raw();
    for part in folder.ancestors().take_while(|part| *part != root) {
        let found = std::fs::symlink_metadata(part)?;
        if !found.is_dir() || found.uid() != us || found.mode() & 0o022 != 0 {
            let why = format!("{} is not ours alone", part.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
    }
    open_door(&folder)?;
    Ok(folder)
}

fn open_door(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).open(folder.join(DOOR))
}

/// Nobody else reads or writes claims for as long as the answer lives.
async fn pass_door(folder: &Path) -> io::Result<File> {
    let door = open_door(folder)?;
    for _ in 0..DOOR_TRIES {
        match flock(&door, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(door),
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(DOOR_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "another house holds the door"))
}

/// The claims of every other house that lives. What a dead one left is removed.
fn others(folder: &Path, own: &Path) -> io::Result<Vec<Claim>> {
    let mut others = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_claim = path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(PREFIX));
        if is_claim && path != own {
            others.extend(living_claim(&path)?);
        }
    }
    Ok(others)
}

impl Claim {
    fn keeps(&self, engine: &str, target: &str) -> bool {
        self.kept.get(engine).is_some_and(|targets| targets.contains(target))
    }
}

/// Where claims may stand, best first: a root, and the folder below it where all of this machine's
/// houses of this user look.
fn places() -> Vec<(PathBuf, String)> {
    let own_root = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own_root = own_root.filter(|root| root.is_absolute());
    let roots = [PathBuf::from("/run")].into_iter().chain(own_root);
    let user = rustix::process::getuid().as_raw();
    let last = (std::env::temp_dir(), format!("dormouse-{user}/claims"));
    roots.map(|root| (root, FOLDER.to_owned())).chain([last]).collect()
}

/// What an engine is called by whoever reaches it from this machine; nothing where nobody else can.
fn engine_of(spec: &EnvironmentSpec) -> Option<String> {
    match &spec.kind {
        EnvironmentKind::Docker(docker) => {
            let address = docker.address.to_string();
            let real = address
                .strip_prefix("unix://")
                .and_then(|path| Path::new(path).canonicalize().ok());
            Some(real.map_or(address, |path| format!("unix://{}", path.display())))
        }
        EnvironmentKind::Process => None,
    }
}

/// The claim in a file whose owner lives.
fn living_claim(path: &Path) -> io::Result<Option<Claim>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        // Another one that looks at the same time may have removed it.
        let _ = std::fs::remove_file(path);
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(CLAIM_BYTES_MAX).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::{Claim, Own, others, prepare};

    fn claim(who: &str, engine: &str, target: &str) -> Claim {
        let kept = [(engine.to_owned(), [target.to_owned()].into())].into();
        Claim { who: who.to_owned(), kept }
    }

    #[test]
    fn the_claims_of_the_living_count_and_those_of_the_dead_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Own::create(folder.path()).unwrap();
        let mut two = Own::create(folder.path()).unwrap();
        let expected = claim("another", "unix:///e", "web");
        two.keep("another", expected.kept.clone()).unwrap();
        one.keep("us", claim("us", "unix:///e", "db").kept).unwrap();
        let seen = others(folder.path(), one.file.path()).unwrap();
        assert_eq!(seen, [expected]);
        assert!(seen[0].keeps("unix:///e", "web") && !seen[0].keeps("unix:///e", "db"));
        assert!(!seen[0].keeps("unix:///f", "web"));
        // One that is killed leaves its file, and lets go of its lock.
        let path = two.file.into_temp_path().keep().unwrap();
        assert_eq!(others(folder.path(), one.file.path()).unwrap(), []);
        assert!(!path.exists(), "the dead one's file is gone");
        drop(one);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_folder_that_others_can_write_is_no_place_for_claims() {
        let root = tempfile::tempdir().unwrap();
        assert!(prepare(root.path(), "ours/claims").is_ok());
        let ours = root.path().join("ours");
        std::fs::set_permissions(&ours, Permissions::from_mode(0o777)).unwrap();
        assert!(prepare(root.path(), "ours/claims").is_err(), "anybody can write above it");
        std::os::unix::fs::symlink(root.path(), root.path().join("elsewhere")).unwrap();
        assert!(prepare(root.path(), "elsewhere/claims").is_err(), "it is somewhere else");
    }
}
