//! The settings of the data plane, with their defaults and bounds.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

/// How the data plane treats its clients and upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// Peers whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a client may take over the head of a request.
    pub header_timeout: Duration,
    /// How long a client connection may be open without a request.
    pub idle_connection_timeout: Duration,
    /// How long a connection to an upstream may be kept without a request.
    pub idle_upstream_timeout: Duration,
    /// How long a connection attempt to an upstream may take.
    pub connect_timeout: Duration,
    /// How long an upstream may take until the head of its answer. Long polls count.
    pub answer_timeout: Duration,
    /// Bytes of a request's head; a larger one is answered with 431.
    pub header_bytes_max: usize,
    /// Header lines of a request; more are answered with 431.
    pub header_count_max: usize,
    /// Client connections that are open at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// Requests that one HTTP/2 connection may have open at once.
    pub streams_max: u32,
    /// The largest buffer of a connection for the bytes of bodies.
    pub body_buffer_bytes: usize,
    /// How long open connections may go on once the data plane is asked to end.
    pub drain: Duration,
}

/// Idle HTTP/1.1 connections that are kept for one upstream address and one worker thread.
pub(crate) const IDLE_UPSTREAM_MAX: usize = 256;
/// Connection attempts to one upstream address at once: below the usual listen backlog of 128.
pub(crate) const CONNECTING_MAX: usize = 64;
/// HTTP/2 connections to one upstream address.
pub(crate) const H2_UPSTREAM_MAX: usize = 8;
/// How often a request may find that its upstream cannot be reached, or has closed the connection
/// before it read anything of the request, before the client is told.
pub(crate) const ATTEMPTS_MAX: usize = 5;
/// The first pause before the gatekeeper is asked again; doubles with each attempt.
pub(crate) const REOPEN_DELAY: Duration = Duration::from_millis(10);
/// Bytes of one request's body that are read while it is held.
pub(crate) const READ_AHEAD_MAX: usize = 16 << 10;
/// How often a held request whose body is not read to its end looks whether its client has left.
pub(crate) const LEFT_CHECK_EVERY: Duration = Duration::from_secs(1);
/// The bytes that one worker thread copies at once between the two ends of a connection.
pub(crate) const RELAY_BUFFER_BYTES: usize = 64 << 10;
/// A read of at least this many bytes makes the next one go through a pipe.
pub(crate) const BULK_BYTES_MIN: usize = 32 << 10;
/// What a pipe holds. A system that grants less has the bytes copied.
pub(crate) const PIPE_BYTES: usize = 1 << 20;
/// Pipes in use at once; further connections have their bytes copied.
pub(crate) const PIPES_MAX: usize = 64;
/// Empty pipes that are kept for the next connection that has much to say.
pub(crate) const PIPES_SPARE_MAX: usize = 16;
/// A pooled connection that was used within this time carries any request; an older one only
/// those that may be repeated, because its upstream may be about to close it.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// How often idle upstream connections are looked through.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How often an event stream says that it is alive.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(15);

impl ProxySettings {
    /// Whether the forwarded headers of a peer are believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer.to_canonical()))
    }
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            header_timeout: Duration::from_secs(20),
            idle_connection_timeout: Duration::from_secs(120),
            idle_upstream_timeout: Duration::from_secs(55),
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(3600),
            header_bytes_max: 32 << 10,
            header_count_max: 100,
            connections_max: 32_768,
            streams_max: 256,
            body_buffer_bytes: 128 << 10,
            drain: Duration::from_secs(30),
        }
    }
}
