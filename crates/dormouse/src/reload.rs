//! Reads the file again when it changes, and keeps what was good.
//!
//! [`Watch`] says that something changed, [`Reloader`] reads again. Nothing here applies anything:
//! the composition asks [`Reloader::reload_when_written`] after each signal of the watch, and
//! [`Reloader::reload`] after a SIGHUP and when somebody asks for it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dormouse_core::findings::Finding;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::config::{Loaded, Settings, Sources, load};

/// How long files must be left alone before they are read: editors write in several steps.
const QUIET: Duration = Duration::from_millis(100);

/// The longest that a signal waits for files to be left alone.
const PATIENCE: Duration = Duration::from_secs(1);

/// A file that was written more recently than this may be in the midst of it.
const WRITING_MAX: Duration = Duration::from_millis(50);

/// How often files that are being written all the time are looked at before they are taken as they
/// are.
const READINGS_MAX: u32 = 20;

/// The last good settings, and what there is to say about the last reading.
#[derive(Debug)]
pub struct Reloader {
    path: Option<PathBuf>,
    settings: Arc<Settings>,
    last: Reading,
}

/// What the last reading found, good or bad.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Everything there is to say.
    pub findings: Vec<Finding>,
    /// The texts that the findings point into.
    pub sources: Sources,
    /// Every file that was read or should have been.
    pub files: Vec<PathBuf>,
    /// The folders in which a new file could be included.
    pub folders: Vec<PathBuf>,
}

/// What a reload came to.
#[derive(Clone, Debug)]
pub enum Reload {
    /// There are new settings.
    Changed(Arc<Settings>),
    /// The files say what they said before.
    Unchanged,
    /// The files have errors; the good settings stay.
    Refused,
}

impl Reloader {
    /// Reads the file at `path` for the first time, or takes what holds without a file.
    ///
    /// # Errors
    /// What was read, when it has errors: there is nothing good to keep yet.
    pub fn open(path: Option<PathBuf>) -> Result<Self, Box<Loaded>> {
        let Some(file) = &path else {
            let settings = Arc::new(Settings::without_file());
            return Ok(Self { path, settings, last: Reading::default() });
        };
        let mut loaded = load(file);
        match loaded.settings.take() {
            Some(settings) => Ok(Self { path, settings: Arc::new(settings), last: loaded.into() }),
            None => Err(Box::new(loaded)),
        }
    }

    /// Reads the file again.
    pub fn reload(&mut self) -> Reload {
        let Some(file) = &self.path else {
            return Reload::Unchanged;
        };
        let loaded = load(file);
        self.take(loaded)
    }

    /// Reads the file again as soon as nobody seems to write it any more. Who writes over a file
    /// empties it first, and the beginning of a good file may be a good file.
    pub async fn reload_when_written(&mut self) -> Reload {
        let Some(file) = self.path.clone() else {
            return Reload::Unchanged;
        };
        let mut loaded = load(&file);
        for _ in 1..READINGS_MAX {
            if !loaded.files.iter().any(|file| is_being_written(file)) {
                break;
            }
            tokio::time::sleep(WRITING_MAX).await;
            loaded = load(&file);
        }
        self.take(loaded)
    }

    fn take(&mut self, mut loaded: Loaded) -> Reload {
        let settings = loaded.settings.take();
        let emptied = self.path.as_ref().is_some_and(|file| is_blank(file, &loaded.sources));
        let outcome = match settings {
            None => Reload::Refused,
            Some(settings) if settings == *self.settings => Reload::Unchanged,
            Some(_) if emptied => {
                loaded.findings.push(
                    Finding::error("empty-file", "there is nothing in the file any more")
                        .with_hint("write it again, or start dormouse anew"),
                );
                Reload::Refused
            }
            Some(settings) => {
                self.settings = Arc::new(settings);
                Reload::Changed(self.settings.clone())
            }
        };
        self.last = loaded.into();
        outcome
    }

    /// Goes back to `settings`, because of what was found when the ones of the file were tried.
    pub fn take_back(&mut self, settings: Arc<Settings>, found: Finding) {
        self.settings = settings;
        self.last.findings.push(found);
    }

    /// The last good settings.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// What the last reading found. After a refused reload these are the errors of the bad file.
    pub fn last(&self) -> &Reading {
        &self.last
    }
}

impl From<Loaded> for Reading {
    fn from(loaded: Loaded) -> Self {
        let Loaded { settings: _, findings, sources, files, folders } = loaded;
        Self { findings, sources, files, folders }
    }
}

/// Whether a file was written a moment ago. One from the future, by another machine's clock, may
/// have been.
fn is_being_written(file: &Path) -> bool {
    let modified = std::fs::metadata(file).and_then(|metadata| metadata.modified());
    modified
        .is_ok_and(|at| SystemTime::now().duration_since(at).map_or(true, |ago| ago < WRITING_MAX))
}

fn is_blank(file: &Path, sources: &Sources) -> bool {
    sources.get(file).is_some_and(|text| text.trim().is_empty())
}

/// Why files cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system gives no watcher.
    #[error("the system's file watcher")]
    Watcher(#[source] notify::Error),
    /// One folder cannot be watched.
    #[error("the folder {}", folder.display())]
    Folder {
        /// Which one.
        folder: PathBuf,
        /// Why.
        #[source]
        source: notify::Error,
    },
}

/// Follows files by their folders, so that one that is replaced, removed or made anew is followed
/// still. Ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    interest: Arc<Mutex<Interest>>,
    nudge: mpsc::Sender<()>,
    debounce: JoinHandle<()>,
}

/// Which events of the watched folders matter.
#[derive(Debug, Default)]
struct Interest {
    /// The names of files, and of folders that could come to be.
    names: BTreeSet<OsString>,
    extensions: BTreeSet<OsString>,
}

impl Watch {
    /// Starts a watch that follows nothing yet, and the channel of its signals. A signal that is
    /// not taken yet stands for all that come after it.
    ///
    /// # Errors
    /// When the system gives no watcher.
    pub fn start() -> Result<(Self, mpsc::Receiver<()>), WatchError> {
        let (nudge, nudges) = mpsc::channel(1);
        let (signal, signals) = mpsc::channel(1);
        let interest = Arc::new(Mutex::new(Interest::default()));
        let watcher = notify::recommended_watcher({
            let (interest, nudge) = (interest.clone(), nudge.clone());
            move |event: notify::Result<Event>| {
                let matters = event.as_ref().map_or(true, |event| {
                    interest.lock().unwrap_or_else(PoisonError::into_inner).covers(event)
                });
                if matters {
                    // Full is fine: a nudge is on its way already.
                    let _ = nudge.try_send(());
                }
            }
        })
        .map_err(WatchError::Watcher)?;
        let debounce = tokio::spawn(debounce(nudges, signal));
        let watched = BTreeSet::new();
        Ok((Self { watcher, watched, interest, nudge, debounce }, signals))
    }

    /// Follows what was read last, and nothing else. Folders that were not watched before give a
    /// signal, for something may have changed in them before they were.
    ///
    /// # Errors
    /// When a folder cannot be watched; the others are.
    pub fn follow(&mut self, reading: &Reading) -> Result<(), WatchError> {
        let wanted = folders_of(reading);
        *self.interest.lock().unwrap_or_else(PoisonError::into_inner) = Interest::of(reading);
        for folder in self.watched.difference(&wanted) {
            // It may be gone already, which is as good.
            let _ = self.watcher.unwatch(folder);
        }
        let mut outcome = Ok(());
        let mut watched = BTreeSet::new();
        for folder in wanted {
            // Watched ones too: a folder may have been made anew under its name.
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    watched.insert(folder);
                }
                Err(source) => outcome = Err(WatchError::Folder { folder, source }),
            }
        }
        if !watched.is_subset(&self.watched) {
            let _ = self.nudge.try_send(());
        }
        self.watched = watched;
        outcome
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.debounce.abort();
    }
}

impl Interest {
    fn of(reading: &Reading) -> Self {
        let mut interest = Self::default();
        for file in &reading.files {
            interest.names.extend(file.file_name().map(OsString::from));
            interest.extensions.extend(file.extension().map(OsString::from));
            if let Ok(real) = std::fs::canonicalize(file) {
                interest.names.extend(real.file_name().map(OsString::from));
            }
        }
        interest.extensions.insert("toml".into());
        for folder in &reading.folders {
            interest.names.extend(folder.iter().map(OsString::from));
        }
        interest
    }

    /// Reading a file is no reason to read it again, and neither is what else goes on in its
    /// folder.
    fn covers(&self, event: &Event) -> bool {
        let changes = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            EventKind::Any
            | EventKind::Create(_)
            | EventKind::Modify(_)
            | EventKind::Remove(_)
            | EventKind::Other => true,
        };
        changes && (event.need_rescan() || event.paths.iter().any(|path| self.names_path(path)))
    }

    fn names_path(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default();
        self.names.contains(name)
            || path.extension().is_some_and(|extension| self.extensions.contains(extension))
            // Mounted configuration maps switch all files at once by a link of such a name.
            || name.to_string_lossy().starts_with("..")
    }
}

/// The folders to watch: those of the files, of what the files are links to, and those into which
/// a file could be put, or the nearest one above that exists.
fn folders_of(reading: &Reading) -> BTreeSet<PathBuf> {
    let real = reading.files.iter().filter_map(|file| std::fs::canonicalize(file).ok());
    let files = reading.files.iter().cloned().chain(real);
    let parents = files.filter_map(|file| file.parent().map(Path::to_path_buf));
    parents
        .chain(reading.folders.iter().cloned())
        .filter_map(|folder| nearest_folder(&folder))
        .collect()
}

fn nearest_folder(folder: &Path) -> Option<PathBuf> {
    let here = |folder: &Path| {
        if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_path_buf() }
    };
    folder.ancestors().map(here).find(|folder| folder.is_dir())
}

/// Turns many nudges into one signal, once they have ended or gone on for too long.
async fn debounce(mut nudges: mpsc::Receiver<()>, signal: mpsc::Sender<()>) {
    while nudges.recv().await.is_some() {
        let patience_ends = Instant::now() + PATIENCE;
        loop {
            let quiet_at = (Instant::now() + QUIET).min(patience_ends);
            match timeout_at(quiet_at, nudges.recv()).await {
                Ok(Some(())) if Instant::now() < patience_ends => {}
                Ok(Some(())) | Err(_) => break,
                Ok(None) => return,
            }
        }
        if let Err(mpsc::error::TrySendError::Closed(())) = signal.try_send(()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
