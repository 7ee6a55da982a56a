//! The data plane: everything that touches bytes of user traffic.
//!
//! A request finds its [`Site`] by hostname and path, asks the [`Gatekeeper`] for admission, waits
//! where the gate is shut, and is passed on to the workload's [`Upstream`]. Nothing here knows why
//! a gate is shut.

mod counters;
mod gatekeeper;
mod http;
mod listener;
mod loading;
mod navigation;
mod pool;
mod proxy;
mod relay;
mod rescue;
mod reserved;
mod settings;
mod site;
mod tcp;
mod udp;
mod waiting;
mod workers;

pub use counters::{CodeClass, CodeClasses, Counters, HeldRejected, SiteCounters};
#[cfg(any(test, feature = "fuzz"))]
pub use http::fuzz;

pub use gatekeeper::{Admission, Gatekeeper, LeaseKind, Moment, Story, Upstream, WaitOutcome};
pub use proxy::{Proxy, Routes, Sites};
pub use relay::PassedBytes;
pub use settings::ProxySettings;
pub use site::{Held, Loading, Scheme, Site};
pub use tcp::{TcpEnds, TcpRoute, TcpSite};
pub use udp::{UdpDropped, UdpDrops, UdpListener, UdpRoute, UdpSite};
pub use workers::Workers;
