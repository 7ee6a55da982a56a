//! Watches as a library: follow whether services can be reached, with closures as probes and hooks.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicBool, Ordering};
//!
//! use dormouse::watch::{Manager, Spec, State};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let database = Arc::new(AtomicBool::new(true));
//! let manager = Manager::new();
//! let probed = Arc::clone(&database);
//! let watch = manager.watch(
//!     Spec::new("database", move || {
//!         let is_up = probed.load(Ordering::SeqCst);
//!         async move { if is_up { Ok(()) } else { Err("connection refused") } }
//!     })
//!     .on_ready(|change| async move { println!("{} is up", change.name) })
//!     .on_down(|change| async move { println!("{} is down: {:?}", change.name, change.error) }),
//! )?;
//! watch.changes().wait_for(|status| status.state == State::Up).await?;
//! assert!(watch.is_ready());
//!
//! // A caller who sees it fail need not wait for the next poll.
//! database.store(false, Ordering::SeqCst);
//! watch.report_failure("connection reset");
//! watch.changes().wait_for(|status| status.state == State::Down).await?;
//! assert_eq!(watch.last_error().as_deref(), Some("connection refused"));
//! manager.stop_all().await;
//! # Ok(())
//! # }
//! ```
//!
//! What is probed need not be a closure of yours: [`Probe`] reaches pages, ports, sockets, names,
//! gRPC services and programs.
//!
//! ```no_run
//! use dormouse::watch::{Manager, Probe, Settings, Spec};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = Manager::new();
//! let probe = Probe::new("http://ha.lan:8123/api".parse()?).expect_status(200..=200);
//! let often = Settings { poll_interval: std::time::Duration::from_secs(15), ..Settings::default() };
//! let policy = often.validated().map_err(|flaws| flaws[0])?;
//! let spec = Spec::new("homeassistant", move || {
//!     let probe = probe.clone();
//!     async move { probe.run().await }
//! });
//! manager.watch(spec.policy(policy))?;
//! # Ok(())
//! # }
//! ```

mod configured;
mod hook;

pub use configured::Watches;
pub(crate) use hook::{notice, word};

pub use dormouse_core::watch::{Flaw, Policy, Settings, State};
pub use dormouse_keeper::probe::{Probe, Target, TargetError, Unreached};
pub use dormouse_keeper::watch::{Change, Manager, Spec, Status, TooMany, Watch};
