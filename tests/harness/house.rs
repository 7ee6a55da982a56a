//! A running `dormouse serve`, with a configuration in a folder of its own.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::{Deref, DerefMut, Range};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tempfile::TempDir;

use super::admin::Admin;
use super::binary::Binary;
use super::{PATIENCE, eventually};

/// A running house. Dropping it ends it like a crash, and fails the test where an error was logged
/// that nobody expected.
pub(crate) struct House {
    /// Its admin side.
    pub(crate) admin: Admin,
    /// Where its visitors come in.
    pub(crate) http: SocketAddr,
    admin_address: SocketAddr,
    binary: Binary,
    folder: TempDir,
}

impl House {
    /// Starts `dormouse serve` with a configuration: everything but its `[gateway]`. Waits until it
    /// answers.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) async fn start(configuration: &str) -> Self {
        Self::start_with(configuration, &[]).await
    }

    /// The same with env vars of its own.
    pub(crate) async fn start_with(configuration: &str, variables: &[(&str, &str)]) -> Self {
        raise_open_files();
        let folder = tempfile::Builder::new().prefix("dormouse-story-").tempdir().unwrap();
        let (http, admin_address) = (free_address(), free_address());
        write_configuration(folder.path(), (http, admin_address), configuration);
        let file = folder.path().join("dormouse.toml");
        let binary = Binary::start_with(&["serve", "-c", file.to_str().unwrap()], variables);
        let admin = Admin::at(admin_address);
        let mut house = Self { admin, http, admin_address, binary, folder };
        house.until_up().await;
        house
    }

    /// Writes another configuration over the present one, as an editor does: a new file takes the
    /// old one's name.
    pub(crate) fn rewrite(&self, configuration: &str) {
        write_configuration(self.folder.path(), (self.http, self.admin_address), configuration);
    }

    /// Writes another configuration into the present file itself, as `echo >` does.
    pub(crate) fn write_over(&self, configuration: &str) {
        let text =
            whole_configuration(self.folder.path(), (self.http, self.admin_address), configuration);
        std::fs::write(self.file(), text).unwrap();
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("dormouse.toml")
    }

    /// Starts it again with the same folder and the same addresses, after killing it where it still
    /// runs.
    pub(crate) async fn start_again(&mut self) {
        self.binary.launch_again();
        self.until_up().await;
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        self.binary.end_by(Signal::TERM).await
    }

    async fn until_up(&mut self) {
        let admin = self.admin;
        let binary = Mutex::new(&mut self.binary);
        let up = async || {
            {
                let mut binary = binary.lock().unwrap();
                let ended = binary.ended();
                assert!(ended.is_none(), "dormouse ended: {ended:?}\n{}", binary.end_of_log());
            }
            admin.is_up().await
        };
        eventually(PATIENCE, "dormouse answers on its admin side", up).await;
    }
}

impl Deref for House {
    type Target = Binary;

    fn deref(&self) -> &Binary {
        &self.binary
    }
}

impl DerefMut for House {
    fn deref_mut(&mut self) -> &mut Binary {
        &mut self.binary
    }
}

/// Lets this process, and those that it starts, open as many files as the system allows.
pub(crate) fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// An address of this machine on which nothing listens at this moment.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Not one that the system gives to connections: it would be taken when a house is started
    // again at the address that it had.
    const PORTS: Range<u32> = 20_000..32_000;
    let count = PORTS.end - PORTS.start;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(step < count, "every port is taken");
        let port = PORTS.start + std::process::id().wrapping_mul(17).wrapping_add(step) % count;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn write_configuration(folder: &Path, addresses: (SocketAddr, SocketAddr), rest: &str) {
    let draft = folder.join("dormouse.toml.draft");
    std::fs::write(&draft, whole_configuration(folder, addresses, rest)).unwrap();
    std::fs::rename(draft, folder.join("dormouse.toml")).unwrap();
}

fn whole_configuration(
    folder: &Path,
    (http, admin): (SocketAddr, SocketAddr),
    rest: &str,
) -> String {
    let mut text = String::new();
    let state = folder.join("state");
    writeln!(text, "[gateway]\nhttp = \"{http}\"\nadmin = \"{admin}\"").unwrap();
    writeln!(text, "state = \"{}\"\ndrain = \"2s\"\n\n{rest}", state.display()).unwrap();
    text
}
