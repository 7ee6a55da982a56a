//! What dormouse is told in secret reaches nothing that it starts.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::fs;
use std::path::Path;

use harness::client::{fetch, get};
use harness::house::House;
use harness::{PATIENCE, eventually, testapp};

/// In every secret, and nowhere else.
const CANARY: &str = "canary-5e3a";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_the_configuration_reach_no_workload_and_no_command() {
    let folder = tempfile::tempdir().unwrap();
    let notes = ["probe", "hook"].map(|name| folder.path().join(name));
    let [probe, hook] = notes.each_ref().map(|note| {
        let script = "env > $0.$$ && mv $0.$$ $0";
        format!("{{ command = [\"sh\", \"-c\", \"{script}\", \"{}\"] }}", note.display())
    });
    let marker = format!("secrets-{}", std::process::id());
    let binary = testapp::binary().display();
    let configuration = format!(
        "[watch.commands]\nprobe = {probe}\non_ready = {hook}\n\
         [watch.other]\nprobe = \"tcp://127.0.0.1:9\"\non_down = {{ env = \"HOOK_URL\" }}\n\
         [workload.process]\ncommand = [\"{binary}\", \"PORT=$PORT\", \"MARK={marker}\"]\n\
         hosts = [\"process.test\"]\nenv = {{ OWN = \"mine\" }}\n"
    );
    let url = format!("http://127.0.0.1:9/{CANARY}");
    let variables = [("HOOK_URL", &*url), ("DORMOUSE_TOKEN", CANARY), ("ORDINARY", "passes")];
    let house = House::start_with(&configuration, &variables).await;
    assert_eq!(fetch(house.http, get("process.test", "/instance")).await.status, 200);
    let noted = async || notes.iter().all(|note| note.exists());
    eventually(PATIENCE, "the probe and the hook have run", noted).await;

    let process = env_of(&marker);
    assert!(process.contains("OWN=mine"), "{process}");
    let [probe, hook] = notes.map(|note| fs::read_to_string(note).unwrap());
    for env in [process, probe, hook] {
        assert!(env.contains("ORDINARY=passes"), "{env}");
        assert!(!env.contains(CANARY), "{env}");
    }
}

/// The env vars of the process with this word among its arguments.
fn env_of(marker: &str) -> String {
    let bears = |folder: &Path| {
        let line = fs::read(folder.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(marker)
    };
    let mut folders = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let folder = folders.find(|folder| bears(folder)).unwrap();
    String::from_utf8_lossy(&fs::read(folder.join("environ")).unwrap()).into_owned()
}
