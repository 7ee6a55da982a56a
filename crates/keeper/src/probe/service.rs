//! One attempt to reach a service: connect, ask, judge.

use std::collections::BTreeSet;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use dormouse_core::limits;
use dormouse_providers::{ProviderError, TlsOptions};
use http::{Request, header};
use http_body_util::Full;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::command::{self, CommandError};
use super::dns::{self, Verdict};
use super::grpc;
use super::http::{USER_AGENT, exchange};
use super::target::{DnsTarget, GrpcTarget, HttpTarget, Peer, Target, Wire};

/// The statuses that count as reached when nothing is said.
const STATUS: RangeInclusive<u16> = 200..=399;

/// What is probed, and what counts as reached.
#[derive(Clone)]
pub struct Probe {
    target: Target,
    status: RangeInclusive<u16>,
    body: Option<String>,
    tls: Option<Tls>,
    withheld: BTreeSet<String>,
}

/// How TLS is spoken, ready to use.
#[derive(Clone)]
struct Tls {
    config: Arc<ClientConfig>,
    /// The name that the certificate must carry; the host when absent.
    server_name: Option<String>,
}

/// Why a service was not reached, as a sentence.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    /// The connection was not accepted.
    #[error("{peer}: {source}")]
    Connect {
        /// Where.
        peer: Peer,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket does not accept.
    #[error("{}: {source}", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host is no name that a certificate could carry.
    #[error("{0:?} is no name for a certificate")]
    ServerName(String),
    /// The options of TLS cannot be used.
    #[error(transparent)]
    TlsOptions(#[from] ProviderError),
    /// TLS was not agreed upon.
    #[error("TLS with {peer}: {source}")]
    Tls {
        /// With whom.
        peer: Peer,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What it answers is not HTTP.
    #[error("{peer} does not speak HTTP: {source}")]
    Http {
        /// Where.
        peer: Peer,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// It cannot be asked for.
    #[error("{0:?} cannot be asked for")]
    Request(String),
    /// It answered with another status.
    #[error("answered {status}, not {} to {}", wanted.start(), wanted.end())]
    Status {
        /// The answer's.
        status: u16,
        /// What counts.
        wanted: RangeInclusive<u16>,
    },
    /// It answered without what has to be in the answer.
    #[error("the answer has no {text:?} in its first {kept} bytes")]
    Body {
        /// What is missing.
        text: String,
        /// Bytes that were looked at.
        kept: usize,
    },
    /// The gRPC health service does not say `SERVING`.
    #[error("its gRPC health is {0}")]
    Grpc(String),
    /// The name is not known.
    #[error("{name}: {source}")]
    Resolve {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The name has no address.
    #[error("{0} has no such record")]
    NoRecord(String),
    /// The server does not answer for that name.
    #[error("{name}: {}", response_code(*.code))]
    Dns {
        /// Which.
        name: String,
        /// The response code.
        code: u16,
    },
    /// The program did not end well.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl Probe {
    /// A probe with the usual expectations: a status from 200 to 399, any body, TLS by this
    /// machine's roots.
    pub fn new(target: Target) -> Self {
        Self { target, status: STATUS, body: None, tls: None, withheld: BTreeSet::new() }
    }

    /// Only these statuses count as reached.
    #[must_use]
    pub fn expect_status(self, status: RangeInclusive<u16>) -> Self {
        Self { status, ..self }
    }

    /// Only an answer whose body has this text in its first mebibyte counts as reached.
    #[must_use]
    pub fn expect_body(self, text: impl Into<String>) -> Self {
        Self { body: Some(text.into()), ..self }
    }

    /// A program gets all env vars of ours but these.
    #[must_use]
    pub fn withhold(self, names: impl IntoIterator<Item = String>) -> Self {
        Self { withheld: names.into_iter().collect(), ..self }
    }

    /// Speaks TLS like this.
    ///
    /// # Errors
    /// When a certificate or a key cannot be used.
    pub fn with_tls(self, options: &TlsOptions) -> Result<Self, ProviderError> {
        let config = Arc::new(options.client_config()?);
        let server_name = options.server_name.clone();
        Ok(Self { tls: Some(Tls { config, server_name }), ..self })
    }

    /// What is probed.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// One attempt. Whoever calls bounds how long it may take; dropping it ends it.
    ///
    /// # Errors
    /// When the service was not reached, or answered otherwise than expected.
    pub async fn run(&self) -> Result<(), Unreached> {
        match &self.target {
            Target::Http(page) => self.page(page).await,
            Target::Tcp(peer) => connect(peer).await.map(drop),
            Target::Unix(path) => UnixStream::connect(path)
                .await
                .map(drop)
                .map_err(|source| Unreached::Socket { path: path.clone(), source }),
            Target::Dns(name) => resolve(name).await,
            Target::Grpc(service) => self.grpc(service).await,
            Target::Command(words) => Ok(command::run(words, &self.withheld, &[]).await?),
        }
    }

    /// Sends JSON, and judges the status of the answer.
    pub(super) async fn post(&self, json: Bytes) -> Result<(), Unreached> {
        let Target::Http(page) = &self.target else {
            return Err(Unreached::Request(self.target.to_string()));
        };
        let request = Request::post(page.path.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(json));
        self.judge(page, request).await
    }

    async fn page(&self, page: &HttpTarget) -> Result<(), Unreached> {
        self.judge(page, Request::get(page.path.as_str()).body(Full::default())).await
    }

    async fn judge(
        &self,
        page: &HttpTarget,
        request: Result<Request<Full<Bytes>>, http::Error>,
    ) -> Result<(), Unreached> {
        let peer = &page.peer;
        let cannot = || Unreached::Request(self.target.to_string());
        let mut request = request.map_err(|_| cannot())?;
        let host = page.authority.parse().map_err(|_| cannot())?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, host);
        headers.insert(header::USER_AGENT, header::HeaderValue::from_static(USER_AGENT));
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        let keep = if self.body.is_some() { limits::WATCH_BODY_BYTES_MAX } else { 0 };
        let broken = |source| Unreached::Http { peer: peer.clone(), source };
        let stream = connect(peer).await?;
        let answer = match page.wire {
            Wire::Plain => exchange(stream, request, keep).await,
            Wire::Tls => {
                exchange(self.encrypt(stream, peer, b"http/1.1").await?, request, keep).await
            }
        };
        let answer = answer.map_err(broken)?;
        if !self.status.contains(&answer.status) {
            let wanted = self.status.clone();
            return Err(Unreached::Status { status: answer.status, wanted });
        }
        match &self.body {
            Some(text) if !contains(&answer.body, text.as_bytes()) => {
                Err(Unreached::Body { text: text.clone(), kept: answer.body.len() })
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn grpc(&self, target: &GrpcTarget) -> Result<(), Unreached> {
        let peer = &target.peer;
        let stream = connect(peer).await?;
        let asked = match target.wire {
            Wire::Plain => grpc::ask(stream, peer, &target.service).await,
            Wire::Tls => {
                let stream = self.encrypt(stream, peer, b"h2").await?;
                grpc::ask(stream, peer, &target.service).await
            }
        };
        asked.map_err(|refusal| match refusal {
            grpc::Refusal::Broken(source) => Unreached::Http { peer: peer.clone(), source },
            grpc::Refusal::State(state) => Unreached::Grpc(state),
        })
    }

    async fn encrypt(
        &self,
        stream: TcpStream,
        peer: &Peer,
        protocol: &[u8],
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, Unreached> {
        let tls = match &self.tls {
            Some(tls) => tls.clone(),
            None => Tls { config: standard_tls()?, server_name: None },
        };
        let name = tls.server_name.unwrap_or_else(|| peer.host.clone());
        let server_name =
            ServerName::try_from(name.clone()).map_err(|_| Unreached::ServerName(name))?;
        let mut config = ClientConfig::clone(&tls.config);
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config))
            .connect(server_name, stream)
            .await
            .map_err(|source| Unreached::Tls { peer: peer.clone(), source })
    }
}

/// TLS by this machine's roots, read once.
fn standard_tls() -> Result<Arc<ClientConfig>, ProviderError> {
    static STANDARD: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = STANDARD.get() {
        return Ok(Arc::clone(config));
    }
    let config = Arc::new(TlsOptions::default().client_config()?);
    Ok(Arc::clone(STANDARD.get_or_init(|| config)))
}

async fn connect(peer: &Peer) -> Result<TcpStream, Unreached> {
    let connected = TcpStream::connect((peer.host.as_str(), peer.port)).await;
    connected.map_err(|source| Unreached::Connect { peer: peer.clone(), source })
}

async fn resolve(target: &DnsTarget) -> Result<(), Unreached> {
    let name = || target.name.clone();
    let Some(server) = &target.server else {
        let mut found = lookup_host((target.name.as_str(), 0))
            .await
            .map_err(|source| Unreached::Resolve { name: name(), source })?;
        let known = found.any(|at| match target.record {
            super::Record::A => at.is_ipv4(),
            super::Record::Aaaa => at.is_ipv6(),
        });
        return if known { Ok(()) } else { Err(Unreached::NoRecord(name())) };
    };
    let cannot = |source| Unreached::Connect { peer: server.clone(), source };
    let at = lookup_host((server.host.as_str(), server.port)).await.map_err(cannot)?.next();
    let at = at.ok_or_else(|| Unreached::NoRecord(server.host.clone()))?;
    match dns::ask(at, &target.name, target.record).await.map_err(cannot)? {
        Verdict::Known => Ok(()),
        Verdict::NoRecord => Err(Unreached::NoRecord(name())),
        Verdict::Refused(code) => Err(Unreached::Dns { name: name(), code }),
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

fn response_code(code: u16) -> String {
    match code {
        2 => "the server failed (SERVFAIL)".to_owned(),
        3 => "no such name (NXDOMAIN)".to_owned(),
        5 => "the server refuses (REFUSED)".to_owned(),
        other => format!("the server answers with code {other}"),
    }
}
