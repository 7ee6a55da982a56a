//! Ways to a fake engine over TCP and TLS, and servers that are none.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;

/// A certificate authority of a test.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(super) struct Identity {
    pub(super) cert: String,
    pub(super) key: String,
}

/// A TCP port that leads somewhere.
pub(super) struct Door {
    pub(super) at: SocketAddr,
    opened: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Vouches for a name or an address.
    pub(super) fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Identity { cert: cert.pem(), key: key.serialize_pem() }
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server that takes only clients whom this authority vouches for.
    pub(super) fn acceptor(&self, server: &Identity) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()).unwrap();
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto);
        let builder = tls().with_client_cert_verifier(verifier.build().unwrap());
        server.serve(builder)
    }
}

impl Identity {
    /// A server that takes any client.
    pub(super) fn open_acceptor(&self) -> TlsAcceptor {
        self.serve(tls().with_no_client_auth())
    }

    fn serve(
        &self,
        builder: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
    ) -> TlsAcceptor {
        let cert = CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![cert], key).unwrap()))
    }
}

fn tls() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(crypto).with_safe_default_protocol_versions().unwrap()
}

impl Door {
    /// To an engine's socket, over TLS where there is an acceptor.
    pub(super) async fn to(socket: &Path, acceptor: Option<TlsAcceptor>) -> Self {
        let socket = socket.to_owned();
        Self::open(move |stream| lead(stream, socket.clone(), acceptor.clone())).await
    }

    /// To a server that reads a request, writes `head`, then `more` for ever if there is any; it
    /// stays open, or closes.
    pub(super) async fn to_nonsense(answer: Answer) -> Self {
        Self::open(move |stream| nonsense(stream, answer)).await
    }

    async fn open<F: Future<Output = ()> + Send>(
        handle: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (opened, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let door = Self { at, opened: Arc::clone(&opened), open: Arc::clone(&open) };
        let handle = Arc::new(handle);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let (handle, open) = (Arc::clone(&handle), Arc::clone(&open));
                tokio::spawn(async move {
                    handle(stream).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        door
    }

    /// Connections that are open.
    pub(super) fn open_now(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Connections that were ever opened.
    pub(super) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// As the `config` of an environment.
    pub(super) fn http(&self) -> Value {
        json!({"type": "http", "host": self.at.ip(), "port": self.at.port()})
    }

    /// As the `config` of an environment behind TLS; `more` is added.
    pub(super) fn https(&self, host: &str, more: Value) -> Value {
        let mut config = json!({"type": "https", "host": host, "port": self.at.port()});
        let more = more.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(more);
        config
    }
}

async fn lead(stream: TcpStream, socket: PathBuf, acceptor: Option<TlsAcceptor>) {
    match acceptor {
        None => join(stream, &socket).await,
        Some(acceptor) => {
            // A client that is turned away is the client's to report.
            if let Ok(stream) = acceptor.accept(stream).await {
                join(stream, &socket).await;
            }
        }
    }
}

async fn join(mut stream: impl AsyncRead + AsyncWrite + Unpin, socket: &Path) {
    let mut engine = UnixStream::connect(socket).await.unwrap();
    // Either side may leave when it likes.
    let _ = copy_bidirectional(&mut stream, &mut engine).await;
}

/// What a server answers that is no engine.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) head: &'static str,
    pub(super) then: Then,
}

/// What follows an answer.
#[derive(Clone, Copy)]
pub(super) enum Then {
    /// Nothing, for ever.
    Stall,
    /// The same for ever.
    Repeat(&'static str),
    /// The end of the connection.
    Close,
}

async fn nonsense(mut stream: TcpStream, answer: Answer) {
    let mut request = [0; 4096];
    let Ok(1..) = stream.read(&mut request).await else { return };
    if stream.write_all(answer.head.as_bytes()).await.is_err() {
        return;
    }
    match answer.then {
        Then::Close => {}
        Then::Stall => while let Ok(1..) = stream.read(&mut request).await {},
        Then::Repeat(more) => while stream.write_all(more.as_bytes()).await.is_ok() {},
    }
}
