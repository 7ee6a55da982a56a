//! The ways to an engine: HTTP, TLS with certificates on both sides, ssh, and what an agent in
//! front of an engine asks for.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod place;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dormouse_providers::docker::{
    DockerConfig, DockerEndpoint, DockerProvider, Pem, Secret, SshTarget, TlsOptions,
};
use dormouse_providers::{FeedItem, Provider, ProviderError, StartOrder, Target};
use dormouse_testkit::engine::{FakeEngine, stock};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use place::{is_running, is_stopped, provider_at, soon};

const NAME: &str = "engine.test";

/// A certificate authority of this test, and whom it has vouched for.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

struct Identity {
    cert: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Identity { cert: cert.pem(), key: key.serialize_pem() }
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server that takes only clients whom this authority vouches for.
    fn acceptor(&self, server: &Identity) -> TlsAcceptor {
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&crypto))
                .build()
                .unwrap();
        let config = ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(server.cert.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Identity {
    fn options(&self, ca: &str) -> TlsOptions {
        TlsOptions {
            ca: Some(Pem::Text(ca.to_owned())),
            cert: Some(Pem::Text(self.cert.clone())),
            key: Some(Pem::Text(self.key.clone())),
            server_name: Some(NAME.to_owned()),
            insecure: false,
        }
    }
}

/// A TCP port that leads to the engine's socket, over TLS where there is an acceptor.
async fn door(socket: PathBuf, acceptor: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (socket, acceptor) = (socket.clone(), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => join(stream, &socket).await,
                    // A client that is turned away is the client's to report.
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            join(stream, &socket).await;
                        }
                    }
                }
            });
        }
    });
    at
}

async fn join(mut stream: impl AsyncRead + AsyncWrite + Unpin, socket: &Path) {
    let mut engine = UnixStream::connect(socket).await.unwrap();
    // Either side may leave when it likes.
    let _ = copy_bidirectional(&mut stream, &mut engine).await;
}

/// Starts, looks, stops and follows over that way.
async fn works(engine: &FakeEngine, endpoint: DockerEndpoint) {
    let name = "app";
    if engine.state_of(name).is_none() {
        engine.by_hand().create(stock::obedient(name).publishing(80, "0.0.0.0")).unwrap();
    }
    let (target, provider) = (Target::new(name), provider_at(endpoint));
    let mut feed = provider.feed();
    let started = provider.start(&target, &StartOrder::default(), soon()).await.unwrap();
    assert!(is_running(started.condition));
    assert!(!started.candidates(80).is_empty());
    engine.by_hand().kill(name, "KILL").await.unwrap();
    let seen = async { while !tells_of_a_stop(feed.recv().await.expect("a feed never ends")) {} };
    tokio::time::timeout(place::PATIENCE, seen).await.unwrap();
    provider.shutdown().await;
}

fn tells_of_a_stop(item: FeedItem) -> bool {
    match item {
        FeedItem::Changed(found) | FeedItem::Listed(found) => is_stopped(found.sighting.condition),
        FeedItem::Resync | FeedItem::ResyncDone | FeedItem::Lost { .. } => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_works() {
    let engine = FakeEngine::docker().await;
    let at = door(engine.socket().to_path_buf(), None).await;
    works(&engine, DockerEndpoint::parse(&format!("tcp://{at}")).unwrap()).await;
    works(&engine, DockerEndpoint::parse(&format!("http://localhost:{}", at.port())).unwrap())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_certificates_on_both_sides_works() {
    let engine = FakeEngine::docker().await;
    let authority = Authority::new();
    let (server, client) = (authority.identity(NAME), authority.identity("us"));
    let at = door(engine.socket().to_path_buf(), Some(authority.acceptor(&server))).await;
    let endpoint =
        |tls| DockerEndpoint::parse(&format!("https://{at}")).unwrap().with_tls(tls).unwrap();
    works(&engine, endpoint(client.options(&authority.pem()))).await;

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(Pem::File(path))
    };
    let from_files = TlsOptions {
        ca: file("ca.pem", &authority.pem()),
        cert: file("cert.pem", &client.cert),
        key: file("key.pem", &client.key),
        ..client.options("")
    };
    works(&engine, endpoint(from_files)).await;

    let careless = TlsOptions {
        ca: None,
        server_name: None,
        insecure: true,
        ..client.options(&authority.pem())
    };
    works(&engine, endpoint(careless)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_trusts_nobody_it_was_not_told_to() {
    let engine = FakeEngine::docker().await;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (server, client) = (authority.identity(NAME), authority.identity("us"));
    let at = door(engine.socket().to_path_buf(), Some(authority.acceptor(&server))).await;
    let good = client.options(&authority.pem());
    let cases = [
        ("another authority", TlsOptions { ca: Some(Pem::Text(stranger.pem())), ..good.clone() }),
        ("another name", TlsOptions { server_name: Some("other.test".into()), ..good.clone() }),
        ("the address for a name", TlsOptions { server_name: None, ..good.clone() }),
        ("no certificate of ours", TlsOptions { cert: None, key: None, ..good.clone() }),
        ("a stranger's certificate", stranger.identity("us").options(&authority.pem())),
    ];
    for (case, tls) in cases {
        let endpoint =
            DockerEndpoint::parse(&format!("https://{at}")).unwrap().with_tls(tls).unwrap();
        let outcome = provider_at(endpoint).list(soon()).await;
        assert!(matches!(outcome, Err(ProviderError::Unreachable(_))), "{case}: {outcome:?}");
    }
    assert_eq!(engine.calls(), []);
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_misconfigured() {
    let client = Authority::new().identity("us");
    let good = client.options(&client.cert);
    let cases = [
        ("a certificate without key", TlsOptions { key: None, ..good.clone() }),
        ("a key without certificate", TlsOptions { cert: None, ..good.clone() }),
        ("no PEM", TlsOptions { ca: Some(Pem::Text("x".into())), ..good.clone() }),
        ("no file", TlsOptions { ca: Some(Pem::File("/nonexistent/ca".into())), ..good.clone() }),
        ("a certificate for a key", TlsOptions { key: good.cert.clone(), ..good.clone() }),
        ("no name", TlsOptions { server_name: Some("a b".into()), ..good.clone() }),
    ];
    for (case, tls) in cases {
        let endpoint = DockerEndpoint::parse("https://h").unwrap().with_tls(tls).unwrap();
        let config = DockerConfig { endpoint, token: None, network: None };
        let outcome = DockerProvider::new(config).map(|_| ());
        let Err(ProviderError::Misconfigured(reason)) = outcome else { panic!("{case}") };
        assert!(!reason.contains("PRIVATE"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_works() {
    if Command::new("docker").arg("--version").output().is_err() {
        println!("skipped: there is no docker command to stand in for the other end of ssh");
        return;
    }
    let engine = FakeEngine::docker().await;
    let folder = tempfile::tempdir().unwrap();
    // What ssh would run on the other machine.
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {folder}/args\nexec docker -H unix://{socket} system dial-stdio\n",
        folder = folder.path().display(),
        socket = engine.socket().display(),
    );
    works(&engine, over_ssh(stand_in(folder.path(), &script))).await;
    let args = std::fs::read_to_string(folder.path().join("args")).unwrap();
    let args = args.lines().next().unwrap();
    assert!(args.ends_with("-p 2222 -T -- me@localhost docker system dial-stdio"), "{args}");
    assert!(args.contains("-o BatchMode=yes"), "{args}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ssh_complains_about_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let script = "#!/bin/sh\necho 'me@localhost: Permission denied (publickey).' >&2\nexit 255\n";
    let provider = provider_at(over_ssh(stand_in(folder.path(), script)));
    let Err(ProviderError::Unreachable(reason)) = provider.list(soon()).await else {
        panic!("ssh has failed")
    };
    assert!(reason.contains("Permission denied"), "{reason}");
    let provider = provider_at(over_ssh("/nonexistent/ssh".into()));
    assert!(matches!(provider.list(soon()).await, Err(ProviderError::Unreachable(_))));
}

fn over_ssh(program: PathBuf) -> DockerEndpoint {
    let destination = "me@localhost".to_owned();
    DockerEndpoint::Ssh(SshTarget { destination, port: Some(2222), program })
}

fn stand_in(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("ssh");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_goes_with_every_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let provider = DockerProvider::new(DockerConfig {
        endpoint: DockerEndpoint::parse(&endpoint).unwrap(),
        token: Some(Secret::new("canary")),
        network: None,
    })
    .unwrap();
    let heads = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        let mut head = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap().filter(|line| !line.is_empty()) {
            head.push(line);
        }
        head
    };
    let asked = provider.list(soon());
    let head = tokio::select! {
        head = heads => head,
        outcome = asked => panic!("nobody has answered: {outcome:?}"),
    };
    assert_eq!(head[0], "GET /version HTTP/1.1");
    assert!(head.contains(&"x-hawser-token: canary".to_owned()), "{head:?}");

    let unusable = DockerProvider::new(DockerConfig {
        endpoint: DockerEndpoint::parse(&endpoint).unwrap(),
        token: Some(Secret::new("canary\r\nx: y")),
        network: None,
    });
    let Err(ProviderError::Misconfigured(reason)) = unusable.map(|_| ()) else {
        panic!("no header may carry that")
    };
    assert!(!reason.contains("canary"), "{reason}");
}
