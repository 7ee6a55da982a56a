//! Files that change under a watch, and files that turn bad.

use std::fs;

use notify::event::{CreateKind, DataChange, ModifyKind};

use super::*;

/// How long a test waits for what has to come.
const DEADLINE: Duration = Duration::from_secs(20);

struct Scene {
    folder: tempfile::TempDir,
    reloader: Reloader,
    watch: Watch,
    signals: mpsc::Receiver<()>,
}

impl Scene {
    /// A file under a watch that has settled.
    async fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dormouse.toml");
        fs::write(&path, text).unwrap();
        let reloader = Reloader::open(Some(path)).unwrap();
        let (mut watch, signals) = Watch::start().unwrap();
        watch.follow(reloader.last()).unwrap();
        let mut scene = Self { folder, reloader, watch, signals };
        assert!(matches!(scene.next().await, Reload::Unchanged));
        scene
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// What the next signal comes to.
    async fn next(&mut self) -> Reload {
        let signal = tokio::time::timeout(DEADLINE, self.signals.recv()).await;
        signal.expect("a change gives a signal").expect("the watch lives");
        let reload = self.reloader.reload();
        self.watch.follow(self.reloader.last()).unwrap();
        reload
    }

    /// Reloads until the settings have changed.
    async fn next_change(&mut self) -> Arc<Settings> {
        loop {
            if let Reload::Changed(settings) = self.next().await {
                return settings;
            }
        }
    }

    fn drain_secs(&self) -> u64 {
        self.reloader.settings().gateway.drain.as_secs()
    }
}

fn drain(secs: u64) -> String {
    format!("include = [\"conf.d/*.toml\"]\n[gateway]\ndrain = \"{secs}s\"\n")
}

#[tokio::test]
async fn a_file_that_is_written_in_place_or_replaced_is_read_again() {
    let mut scene = Scene::new(&drain(1)).await;
    scene.write("dormouse.toml", &drain(2));
    assert_eq!(scene.next_change().await.gateway.drain.as_secs(), 2);
    // As editors do: a new file takes the name. Twice, for a watch on the file itself would have
    // been lost with the first.
    for secs in [3, 4] {
        scene.write("dormouse.toml.new", &drain(secs));
        let at = |name| scene.folder.path().join(name);
        fs::rename(at("dormouse.toml.new"), at("dormouse.toml")).unwrap();
        assert_eq!(scene.next_change().await.gateway.drain.as_secs(), secs);
    }
}

#[tokio::test]
async fn a_bad_file_keeps_the_good_settings_and_says_so() {
    let mut scene = Scene::new(&drain(1)).await;
    scene.write("dormouse.toml", "[gateway]\ndrian = \"2s\"\n");
    while !matches!(scene.next().await, Reload::Refused) {}
    assert_eq!(scene.drain_secs(), 1);
    let last = scene.reloader.last();
    assert_eq!(last.findings[0].hint.as_deref(), Some("did you mean `drain`?"));
    assert!(last.sources.values().next().unwrap().contains("drian"));
    fs::remove_file(scene.folder.path().join("dormouse.toml")).unwrap();
    while scene.reloader.last().findings[0].slug != "unreadable-file" {
        scene.next().await;
    }
    assert_eq!(scene.drain_secs(), 1);
    scene.write("dormouse.toml", &drain(5));
    assert_eq!(scene.next_change().await.gateway.drain.as_secs(), 5);
    assert_eq!(scene.reloader.last().findings, []);
}

#[tokio::test]
async fn a_file_that_was_emptied_keeps_the_good_settings_and_says_so() {
    let mut scene = Scene::new(&drain(1)).await;
    scene.write("dormouse.toml", "\n");
    while !matches!(scene.next().await, Reload::Refused) {}
    assert_eq!((scene.drain_secs(), scene.reloader.last().findings[0].slug), (1, "empty-file"));
    scene.write("dormouse.toml", &drain(2));
    assert_eq!(scene.next_change().await.gateway.drain.as_secs(), 2);
}

#[tokio::test]
async fn a_file_in_the_midst_of_being_written_is_read_when_it_is_whole() {
    let Scene { folder, mut reloader, .. } = Scene::new(&drain(1)).await;
    let path = folder.path().join("dormouse.toml");
    fs::write(&path, "[gateway]\ndrain = \"2s\"\n").unwrap();
    // However late this test is, the file has just been written.
    let soon = SystemTime::now() + Duration::from_secs(60);
    fs::File::options().write(true).open(&path).unwrap().set_modified(soon).unwrap();
    let reading = reloader.reload_when_written();
    let writing = async { fs::write(&path, drain(3)).unwrap() };
    let (reload, ()) = tokio::join!(reading, writing);
    let Reload::Changed(settings) = reload else { panic!("{reload:?}") };
    assert_eq!(settings.gateway.drain.as_secs(), 3);
}

#[tokio::test]
async fn files_that_come_into_an_included_folder_are_read() {
    let mut scene = Scene::new(&drain(1)).await;
    fs::create_dir(scene.folder.path().join("conf.d")).unwrap();
    scene.write("conf.d/a.toml", "[workload.a]\ncommand = [\"a\"]\n");
    assert_eq!(scene.next_change().await.workloads.len(), 1);
    scene.write("conf.d/b.toml", "[workload.b]\ncommand = [\"b\"]\n");
    assert_eq!(scene.next_change().await.workloads.len(), 2);
    fs::remove_dir_all(scene.folder.path().join("conf.d")).unwrap();
    while !scene.next_change().await.workloads.is_empty() {}
    fs::create_dir(scene.folder.path().join("conf.d")).unwrap();
    scene.write("conf.d/c.toml", "[workload.c]\ncommand = [\"c\"]\n");
    assert_eq!(scene.next_change().await.workloads[0].id.name(), "c");
}

#[tokio::test]
async fn what_a_link_leads_to_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real.toml");
    fs::write(&real, drain(1)).unwrap();
    let mut scene = Scene::new(&drain(1)).await;
    let link = scene.folder.path().join("dormouse.toml");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    while !scene.watch.watched.contains(&fs::canonicalize(folder.path()).unwrap()) {
        scene.next().await;
    }
    fs::write(&real, drain(7)).unwrap();
    assert_eq!(scene.next_change().await.gateway.drain.as_secs(), 7);
}

#[test]
fn only_changes_of_files_that_matter_are_covered() {
    let reading = Reading {
        files: vec!["/etc/dormouse/main.conf".into()],
        folders: vec!["/etc/dormouse/conf.d".into()],
        ..Reading::default()
    };
    let interest = Interest::of(&reading);
    let event = |kind, path: &str| Event::new(kind).add_path(path.into());
    let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    assert!(interest.covers(&event(written, "/etc/dormouse/main.conf")));
    assert!(interest.covers(&event(written, "/etc/dormouse/conf.d/new.toml")));
    assert!(interest.covers(&event(EventKind::Create(CreateKind::Folder), "/etc/dormouse/conf.d")));
    assert!(interest.covers(&event(EventKind::Create(CreateKind::Any), "/etc/dormouse/..data")));
    assert!(!interest.covers(&event(written, "/etc/dormouse/access.log")));
    let read = EventKind::Access(AccessKind::Open(AccessMode::Read));
    assert!(!interest.covers(&event(read, "/etc/dormouse/main.conf")));
}

#[tokio::test]
async fn the_signals_end_with_the_watch() {
    let Scene { watch, mut signals, .. } = Scene::new(&drain(1)).await;
    drop(watch);
    let end = tokio::time::timeout(DEADLINE, async { while signals.recv().await.is_some() {} });
    end.await.expect("the channel closes");
}

#[test]
fn there_is_nothing_to_keep_when_the_first_file_is_bad() {
    let missing = Reloader::open(Some("/nowhere/dormouse.toml".into())).unwrap_err();
    assert_eq!(missing.findings.len(), 1);
    let mut without = Reloader::open(None).unwrap();
    assert!(matches!(without.reload(), Reload::Unchanged));
}
