//! A Docker Engine of a test's own, to be killed and started again: the machine's engine is left
//! alone.
//!
//! ```text
//! root namespace ── veth ── namespace of its own: dockerd, docker0 ── containers
//! ```
//! It has its own containerd, folders and bridge: two engines in one network namespace take each
//! other's bridge away. A route leads from here to its containers, and none from there to anywhere
//! else.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a daemon may take to answer, or to end.
const DAEMON_MAX: Duration = Duration::from_secs(30);
/// How long one call of the clean-up may take.
const CALL_MAX: Duration = Duration::from_secs(10);
/// The pause between two looks at a daemon.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Engines that may exist at a time; also the third byte of their addresses.
const PLACES: u32 = 250;

/// An engine of one's own. Dropping it ends it and removes everything that it left.
pub struct PrivateEngine {
    place: Place,
    folder: PathBuf,
    live_restore: LiveRestore,
    containerd: Child,
    dockerd: Option<Child>,
}

/// What becomes of containers while their engine is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveRestore {
    /// They go on, and the engine finds them again.
    On,
    /// They are ended with the engine, or when it comes back.
    Off,
}

/// A network namespace of its own, and the link to it.
struct Place {
    number: u32,
}

impl PrivateEngine {
    /// Starts one, unless this machine cannot and `DORMOUSE_TEST_DOCKER` does not say `required`.
    ///
    /// # Panics
    /// When it is required and cannot be started.
    pub fn of_machine(live_restore: LiveRestore) -> Option<Self> {
        let required = std::env::var("DORMOUSE_TEST_DOCKER").is_ok_and(|it| it == "required");
        match Self::start(live_restore) {
            Ok(engine) => Some(engine),
            Err(error) if required => panic!("no private engine: {error}"),
            Err(error) => {
                println!("skipped: no private engine: {error}");
                None
            }
        }
    }

    /// Starts one, and waits until it answers. Needs root, `ip`, `nsenter`, `containerd` and
    /// `dockerd`.
    ///
    /// # Errors
    /// Where one of them is missing or refuses.
    pub fn start(live_restore: LiveRestore) -> io::Result<Self> {
        let place = Place::open()?;
        let folder = tempfile::Builder::new().prefix("dormouse-engine-").tempdir()?.keep();
        std::fs::write(folder.join("daemon.json"), "{}")?;
        std::fs::write(folder.join("containerd.toml"), containerd_settings(&folder))?;
        let settings = ["--config".to_owned(), text(&folder, "containerd.toml")];
        let containerd = place.spawn("containerd", &settings, &folder.join("containerd.log"))?;
        let mut engine = Self { place, folder, live_restore, containerd, dockerd: None };
        engine.restart()?;
        Ok(engine)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// Kills its process, as a crash would; its socket stays, and nobody listens on it.
    pub fn kill(&mut self) {
        if let Some(mut dockerd) = self.dockerd.take() {
            // One that has ended cannot be killed, and is as dead.
            let _ = dockerd.kill();
            let _ = dockerd.wait();
        }
    }

    /// Asks its process to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not.
    pub fn terminate(&mut self) -> io::Result<()> {
        match self.dockerd.take() {
            Some(mut dockerd) => terminate(&mut dockerd),
            None => Ok(()),
        }
    }

    /// Starts its process again with everything that it had, killing the old one where it still
    /// runs. It answers when this ends.
    ///
    /// # Errors
    /// When it does not answer in time; the last lines of its log are in the error.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        let mut arguments: Vec<String> =
            ["--iptables=false", "--ip6tables=false"].map(Into::into).into();
        for (name, file) in [
            ("--config-file", "daemon.json"),
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "docker.pid"),
            ("--containerd", "containerd.sock"),
        ] {
            arguments.extend([name.to_owned(), text(&self.folder, file)]);
        }
        let socket = self.socket();
        arguments.extend(["--host".to_owned(), format!("unix://{}", socket.display())]);
        arguments.extend(["--bip".to_owned(), self.place.bridge()]);
        if self.live_restore == LiveRestore::On {
            arguments.push("--live-restore".to_owned());
        }
        let log = self.folder.join("dockerd.log");
        let dockerd = self.dockerd.insert(self.place.spawn("dockerd", &arguments, &log)?);
        let give_up_at = Instant::now() + DAEMON_MAX;
        while call(&socket, "GET", "/_ping").is_err() {
            let ended = dockerd.try_wait()?.is_some();
            if ended || Instant::now() > give_up_at {
                return Err(io::Error::other(format!("dockerd does not answer: {}", tail(&log))));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Removes its containers, so that no process of theirs outlives it.
    fn empty(&mut self) -> io::Result<()> {
        if self.dockerd.is_none() {
            self.restart()?;
        }
        let listing = call(&self.socket(), "GET", "/containers/json?all=1")?;
        let listing: Value = serde_json::from_str(&listing).map_err(io::Error::other)?;
        for container in listing.as_array().into_iter().flatten() {
            let id = container["Id"].as_str().unwrap_or_default();
            call(&self.socket(), "DELETE", &format!("/containers/{id}?force=1"))?;
        }
        Ok(())
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        let emptied = self.empty();
        let ended = self.terminate().and_then(|()| terminate(&mut self.containerd));
        let removed =
            unmount_below(&self.folder).and_then(|()| std::fs::remove_dir_all(&self.folder));
        for outcome in [emptied, ended, removed] {
            if let Err(error) = outcome {
                println!("a private engine leaves {} behind: {error}", self.folder.display());
            }
        }
    }
}

impl Place {
    /// Takes the first number that nobody has: creating a namespace fails where it exists.
    fn open() -> io::Result<Self> {
        let first = std::process::id() % PLACES;
        for step in 0..PLACES {
            let number = (first + step) % PLACES;
            match ip(&["netns", "add", &namespace(number)]) {
                Ok(()) => {
                    let place = Self { number };
                    return place.link().map(|()| place);
                }
                Err(error) if error.to_string().contains("File exists") => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("every place for a private engine is taken"))
    }

    fn link(&self) -> io::Result<()> {
        let (namespace, number) = (self.namespace(), self.number);
        let (near, far) = (self.near_end(), format!("dmouse{number}b"));
        let far_address = format!("10.214.{number}.2");
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far])?;
        ip(&["link", "set", &far, "netns", &namespace])?;
        ip(&["address", "add", &format!("10.214.{number}.1/30"), "dev", &near])?;
        ip(&["link", "set", &near, "up"])?;
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        ip(&["-n", &namespace, "address", "add", &format!("{far_address}/30"), "dev", &far])?;
        ip(&["-n", &namespace, "link", "set", &far, "up"])?;
        ip(&["route", "add", &format!("10.213.{number}.0/24"), "via", &far_address])
    }

    fn namespace(&self) -> String {
        namespace(self.number)
    }

    fn near_end(&self) -> String {
        format!("dmouse{}a", self.number)
    }

    /// The address of the engine's own bridge.
    fn bridge(&self) -> String {
        format!("10.213.{}.1/24", self.number)
    }

    /// Starts a daemon in the namespace. Only the network is another one: `ip netns exec` would
    /// hide the control groups.
    fn spawn(&self, program: &str, arguments: &[String], log: &Path) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(log)?;
        Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.namespace()))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The link may never have been made, and may have gone with its other end.
        let _ = ip(&["link", "delete", &self.near_end()]);
        if let Err(error) = ip(&["netns", "delete", &self.namespace()]) {
            println!("a private engine leaves its network namespace behind: {error}");
        }
    }
}

fn namespace(number: u32) -> String {
    format!("dormouse-test-{number}")
}

fn containerd_settings(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "version = 2\nroot = \"{folder}/containerd/root\"\nstate = \"{folder}/containerd/state\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = \"{folder}/containerd.sock\"\n"
    )
}

fn text(folder: &Path, file: &str) -> String {
    folder.join(file).display().to_string()
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {}: {}", arguments.join(" "), complaint.trim())))
}

/// Asks a daemon to end; kills it where it does not.
fn terminate(daemon: &mut Child) -> io::Result<()> {
    let status = Command::new("kill").arg(daemon.id().to_string()).status()?;
    let give_up_at = Instant::now() + DAEMON_MAX;
    while status.success() && Instant::now() < give_up_at {
        if daemon.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    daemon.kill()?;
    daemon.wait()?;
    Err(io::Error::other("a daemon had to be killed"))
}

/// One call without a runtime to wait in: a drop has none. Answers the body.
fn call(socket: &Path, method: &str, path: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(CALL_MAX))?;
    stream.set_write_timeout(Some(CALL_MAX))?;
    // An answer to HTTP/1.0 ends with its connection, and is never chunked.
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: engine\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let fine = head.split(' ').nth(1).is_some_and(|status| status.starts_with('2'));
    if fine { Ok(body.to_owned()) } else { Err(io::Error::other(answer)) }
}

/// Unmounts what the daemons left mounted below their own folder: removing must not cross a mount.
fn unmount_below(folder: &Path) -> io::Result<()> {
    for mount in mounts_below(folder)?.iter().rev() {
        Command::new("umount").arg(mount).status()?;
    }
    let left = mounts_below(folder)?;
    if left.is_empty() { Ok(()) } else { Err(io::Error::other(format!("mounted: {left:?}"))) }
}

/// The mount points below a folder, in the order in which they were mounted.
fn mounts_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    Ok(points.filter(|point| point.starts_with(folder)).collect())
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
