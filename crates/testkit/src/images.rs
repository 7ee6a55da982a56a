//! Images and containers for tests against a real engine: images are made in memory and imported,
//! and every container goes away with whoever made it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::engine::{ContainerSpec, RawAnswer, RawClient, RestartPolicy};

/// Where the machine's engine listens.
pub const ENGINE_SOCKET: &str = "/var/run/docker.sock";
/// The repository of every image made here; the tag is a hash of the content.
const REPOSITORY: &str = "dormouse-test";
/// How long the removal of one container may take at the end.
const CLEANUP_MAX: Duration = Duration::from_secs(15);

/// A root file system in the form that the engine imports.
#[derive(Clone, Debug)]
pub struct Image {
    archive: Bytes,
}

/// The machine's own engine. What was created through it is removed when it is dropped, also in a
/// panic, by the ids that the engine gave.
pub struct RealEngine {
    client: RawClient,
    socket: PathBuf,
    created: Mutex<Vec<String>>,
}

impl Image {
    /// Busybox with the names under which tests call it.
    pub fn busybox() -> io::Result<Self> {
        let mut archive = Archive::new();
        archive.file("bin/busybox", &std::fs::read("/bin/busybox")?)?;
        for name in ["sh", "sleep", "echo", "cat", "true", "false", "httpd", "nc", "wget"] {
            archive.link(&format!("bin/{name}"), "busybox")?;
        }
        archive.finish()
    }

    /// Busybox, and `binary` as `/app` with every library that `ldd` names.
    pub fn of_binary(binary: &Path) -> io::Result<Self> {
        let mut archive = Archive::new();
        archive.file("bin/busybox", &std::fs::read("/bin/busybox")?)?;
        archive.link("bin/sh", "busybox")?;
        archive.file("app", &std::fs::read(binary)?)?;
        for library in libraries(binary)? {
            let inside = library.strip_prefix("/").unwrap_or(&library);
            archive.file(&inside.display().to_string(), &std::fs::read(&library)?)?;
        }
        archive.finish()
    }

    /// The name under which it is imported: equal content has an equal name.
    pub fn name(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.archive.hash(&mut hasher);
        format!("{REPOSITORY}:{:016x}", hasher.finish())
    }
}

impl RealEngine {
    /// The engine on `socket`, if one answers there.
    pub async fn at(socket: &Path) -> Option<Self> {
        let client = RawClient::new(socket);
        let answer = client.read("/_ping").await.ok()?;
        (answer.status == 200).then(|| Self {
            client,
            socket: socket.to_owned(),
            created: Mutex::default(),
        })
    }

    /// The machine's engine; `None` where there is none and `DORMOUSE_TEST_DOCKER` does not say
    /// `required`.
    ///
    /// # Panics
    /// When it is required and does not answer.
    pub async fn of_machine() -> Option<Self> {
        let engine = Self::at(Path::new(ENGINE_SOCKET)).await;
        let required = std::env::var("DORMOUSE_TEST_DOCKER").is_ok_and(|it| it == "required");
        assert!(engine.is_some() || !required, "no engine answers on {ENGINE_SOCKET}");
        if engine.is_none() {
            println!("skipped: no engine answers on {ENGINE_SOCKET}");
        }
        engine
    }

    /// A client of it, for everything that has no method here.
    pub fn client(&self) -> &RawClient {
        &self.client
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Imports the image unless it is there, and answers its name.
    pub async fn ensure(&self, image: &Image) -> io::Result<String> {
        let name = image.name();
        if self.client.read(&format!("/images/{name}/json")).await?.status == 200 {
            return Ok(name);
        }
        let (repository, tag) = name.split_once(':').unwrap_or((&name, "latest"));
        let path = format!("/images/create?fromSrc=-&repo={repository}&tag={tag}");
        expect(self.client.call("POST", &path, image.archive.clone()).await?, &[200])?;
        Ok(name)
    }

    /// Removes an image, unless something uses it.
    pub async fn remove_image(&self, name: &str) -> io::Result<()> {
        expect(self.client.delete(&format!("/images/{name}")).await?, &[200, 404, 409]).map(drop)
    }

    /// Creates a container from the spec's own image, and answers its id. What only a fake can be
    /// told is left out.
    pub async fn create(&self, spec: &ContainerSpec) -> io::Result<String> {
        let path = format!("/containers/create?name={}", spec.name);
        let answer = self.client.post_json(&path, &creation(spec)).await?;
        let id = expect(answer, &[201])?.json()["Id"].as_str().unwrap_or_default().to_owned();
        self.created().push(id.clone());
        Ok(id)
    }

    /// Creates a container that runs the spec's command in busybox.
    pub async fn create_busybox(&self, spec: &ContainerSpec) -> io::Result<String> {
        let image = self.ensure(&Image::busybox()?).await?;
        self.create(&ContainerSpec { image, ..spec.clone() }).await
    }

    /// Starts it; already running is success.
    pub async fn start(&self, name: &str) -> io::Result<()> {
        self.act(name, "start", &[204, 304]).await
    }

    /// Stops it, killing it after `grace`; already stopped is success.
    pub async fn stop(&self, name: &str, grace: Duration) -> io::Result<()> {
        self.act(name, &format!("stop?t={}", grace.as_secs()), &[204, 304]).await
    }

    /// Sends it a signal, such as `KILL` or `HUP`.
    pub async fn kill(&self, name: &str, signal: &str) -> io::Result<()> {
        self.act(name, &format!("kill?signal={signal}"), &[204]).await
    }

    /// Freezes it.
    pub async fn pause(&self, name: &str) -> io::Result<()> {
        self.act(name, "pause", &[204]).await
    }

    /// Thaws it.
    pub async fn unpause(&self, name: &str) -> io::Result<()> {
        self.act(name, "unpause", &[204]).await
    }

    /// Stops and starts it.
    pub async fn restart(&self, name: &str) -> io::Result<()> {
        self.act(name, "restart?t=1", &[204]).await
    }

    /// Gives it another name.
    pub async fn rename(&self, name: &str, new_name: &str) -> io::Result<()> {
        self.act(name, &format!("rename?name={new_name}"), &[204]).await
    }

    /// Removes it, killing it first where it runs.
    pub async fn remove(&self, name: &str) -> io::Result<()> {
        let path = format!("/containers/{name}?force=1");
        expect(self.client.delete(&path).await?, &[204]).map(drop)
    }

    /// What an inspect says of it.
    pub async fn inspect(&self, name: &str) -> io::Result<Value> {
        let answer = self.client.read(&format!("/containers/{name}/json")).await?;
        expect(answer, &[200]).map(|answer| answer.json())
    }

    /// How often the engine itself says that it has started what is called `name`, as far back as
    /// it remembers.
    pub async fn starts_since(&self, since: SystemTime, name: &str) -> io::Result<usize> {
        let seconds = |moment: SystemTime| {
            let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
            format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
        };
        let filters = json!({"container": [name], "type": ["container"], "event": ["start"]});
        let filters: String =
            filters.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (since, until) = (seconds(since), seconds(SystemTime::now()));
        let path = format!("/events?since={since}&until={until}&filters={filters}");
        let answer = expect(self.client.read(&path).await?, &[200])?;
        Ok(answer.body.iter().filter(|byte| **byte == b'\n').count())
    }

    async fn act(&self, name: &str, act: &str, fine: &[u16]) -> io::Result<()> {
        let answer = self.client.post(&format!("/containers/{name}/{act}")).await?;
        expect(answer, fine).map(drop)
    }

    fn created(&self) -> MutexGuard<'_, Vec<String>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RealEngine {
    fn drop(&mut self) {
        for id in self.created().drain(..) {
            // One that a test has removed itself is gone already.
            let _ = remove_blocking(&self.socket, &id);
        }
    }
}

/// The body of a creation.
fn creation(spec: &ContainerSpec) -> Value {
    let exposed: Map<String, Value> =
        spec.exposed.iter().map(|port| (format!("{port}/tcp"), json!({}))).collect();
    let mut bindings = Map::new();
    for publish in &spec.published {
        let port = publish.host_port.map_or_else(String::new, |port| port.to_string());
        let binding = json!([{"HostIp": publish.host_ip, "HostPort": port}]);
        bindings.insert(format!("{}/tcp", publish.port), binding);
    }
    let retries = match spec.restart_policy {
        RestartPolicy::OnFailure { retries_max } => retries_max,
        RestartPolicy::No | RestartPolicy::Always | RestartPolicy::UnlessStopped => 0,
    };
    let mut body = json!({
        "Image": spec.image,
        "Cmd": spec.command,
        "Labels": spec.labels,
        "ExposedPorts": exposed,
        "HostConfig": {
            "NetworkMode": spec.network_mode,
            "PortBindings": bindings,
            "RestartPolicy": {"Name": spec.restart_policy.as_str(), "MaximumRetryCount": retries},
        },
    });
    if let Some(timeout) = spec.stop_timeout {
        body["StopTimeout"] = json!(timeout.as_secs());
    }
    if let Some(health) = &spec.health {
        let verdict = if health.passes.first() == Some(&false) { "false" } else { "true" };
        let interval = u64::try_from(health.interval.as_nanos()).unwrap_or(u64::MAX);
        body["Healthcheck"] = json!({
            "Test": ["CMD-SHELL", verdict], "Interval": interval, "Timeout": 5_000_000_000_u64,
            "Retries": health.retries});
    }
    body
}

fn expect(answer: RawAnswer, fine: &[u16]) -> io::Result<RawAnswer> {
    if fine.contains(&answer.status) {
        return Ok(answer);
    }
    Err(io::Error::other(format!("the engine answered {}: {}", answer.status, answer.message())))
}

/// Removes a container without a runtime to wait in: a drop has none.
fn remove_blocking(socket: &Path, id: &str) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(CLEANUP_MAX))?;
    stream.set_write_timeout(Some(CLEANUP_MAX))?;
    let request = format!(
        "DELETE /containers/{id}?force=1 HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

/// The files that `ldd` names for a binary; none for a static one.
fn libraries(binary: &Path) -> io::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(binary).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let path = |line: &str| {
        let after = line.split_once("=>").map_or(line, |(_, path)| path).trim();
        let path = after.split_whitespace().next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    Ok(text.lines().filter_map(path).collect())
}

/// A tar archive whose bytes depend on its content alone.
struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let mut header = Self::header(tar::EntryType::Regular);
        header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
        self.0.append_data(&mut header, path, content)
    }

    fn link(&mut self, path: &str, to: &str) -> io::Result<()> {
        let mut header = Self::header(tar::EntryType::Symlink);
        header.set_size(0);
        self.0.append_link(&mut header, path, to)
    }

    fn header(kind: tar::EntryType) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    fn finish(self) -> io::Result<Image> {
        Ok(Image { archive: Bytes::from(self.0.into_inner()?) })
    }
}
