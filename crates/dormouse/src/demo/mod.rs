//! `dormouse demo`: the whole house on a machine that has nothing, with workloads that are built
//! into the binary.
//!
//! A web page that takes two seconds to start, and an API that needs a database: all of them child
//! processes that sleep after fifteen seconds without a visitor. State lives in a temporary folder
//! that is removed at the end.

pub mod app;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// The hidden subcommand that runs one of the demo's workloads.
pub const APP_SUBCOMMAND: &str = "__demo-app";

/// The port of visitors, when it is free.
const HTTP_PORT: u16 = 8080;
/// The port of the admin side, when it is free.
const ADMIN_PORT: u16 = 9900;

/// A demo's temporary folder and the addresses that its configuration names.
#[derive(Debug)]
pub struct Stage {
    folder: tempfile::TempDir,
    http: SocketAddr,
    admin: SocketAddr,
}

/// Why the demo could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No temporary folder could be made.
    #[error("a temporary folder")]
    Folder(#[source] io::Error),
    /// No port was free.
    #[error("a free port on the loopback address")]
    Port(#[source] io::Error),
    /// The path of the running program is not known.
    #[error("the path of the running program")]
    Program(#[source] io::Error),
    /// The house could not be put together.
    #[error(transparent)]
    Serve(#[from] crate::serve::ServeError),
    /// The configuration could not be written.
    #[error("the configuration {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Stage {
    /// Makes the folder, finds ports and writes the configuration.
    ///
    /// # Errors
    /// When any of it cannot be done.
    pub fn set() -> Result<Self, DemoError> {
        let folder = tempfile::Builder::new().prefix("dormouse-demo-").tempdir();
        let folder = folder.map_err(DemoError::Folder)?;
        let http = free_address(HTTP_PORT).map_err(DemoError::Port)?;
        let admin = free_address(ADMIN_PORT).map_err(DemoError::Port)?;
        let stage = Self { folder, http, admin };
        let program = std::env::current_exe().map_err(DemoError::Program)?;
        let path = stage.file();
        std::fs::write(&path, stage.configuration(&program))
            .map_err(|source| DemoError::Write { path, source })?;
        Ok(stage)
    }

    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("dormouse.toml")
    }

    /// What to try, for a person.
    pub fn invitation(&self) -> String {
        let (http, admin) = (self.http.port(), self.admin.port());
        format!(
            "\
dormouse demo: three workloads, all asleep. Wake them:

  a web page that takes 2 s to start   http://web.localhost:{http}/
  an API that needs a database         http://api.localhost:{http}/
  what is going on                     http://127.0.0.1:{admin}/api/v1/workloads

  curl http://api.localhost:{http}/      wakes db, then api, and answers
  dormouse list --url http://127.0.0.1:{admin}
  dormouse explain db --url http://127.0.0.1:{admin}

They sleep again 15 s after their last visitor. Ctrl-C ends the demo and removes
{folder}
",
            folder = self.folder.path().display(),
        )
    }

    fn configuration(&self, program: &Path) -> String {
        let program = toml::Value::String(program.display().to_string());
        let state = toml::Value::String(self.folder.path().join("state").display().to_string());
        let (http, admin) = (self.http, self.admin);
        format!(
            r#"[gateway]
http = "{http}"
admin = "{admin}"
state = {state}
drain = "2s"

[defaults]
idle_timeout = "15s"
stop_timeout = "2s"

[workload.web]
command = [{program}, "{APP_SUBCOMMAND}", "web"]
hosts = ["web.localhost"]
loading = {{ title = "A slow web page" }}

[workload.api]
command = [{program}, "{APP_SUBCOMMAND}", "api"]
hosts = ["api.localhost"]
needs = ["db"]

[workload.db]
command = [{program}, "{APP_SUBCOMMAND}", "db"]
"#
        )
    }
}

/// Sets the stage, tells what to try, and serves until Ctrl-C.
///
/// # Errors
/// When the stage cannot be set or the house cannot be put together.
pub async fn run() -> Result<(), DemoError> {
    let stage = Stage::set()?;
    let mut out = io::stdout().lock();
    // A closed pipe is no reason not to serve.
    let _ = out.write_all(stage.invitation().as_bytes()).and_then(|()| out.flush());
    drop(out);
    crate::serve::run(Some(stage.file())).await?;
    Ok(())
}

/// The loopback address with this port, or with any that is free.
fn free_address(port: u16) -> io::Result<SocketAddr> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bind(port).or_else(|_| bind(0))?.local_addr()
}
