//! TLS towards an engine: the system's roots and our own, a certificate of ours where one is asked
//! for.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::ProviderError;
use crate::docker::endpoint::{Pem, TlsOptions};

/// The name that the engine's certificate must carry; an address is one too.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, ProviderError> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| ProviderError::Misconfigured(format!("{host:?} is no name for a certificate")))
}

pub(in crate::docker) fn client_config(
    options: &TlsOptions,
) -> Result<ClientConfig, ProviderError> {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&crypto))
        .with_safe_default_protocol_versions()
        .map_err(|cause| misfit("the TLS versions", &cause))?;
    // A certificate that is of no use is said also where nobody would look at it.
    let own = options.ca.as_ref().map(|ca| certificates("ca", ca)).transpose()?;
    let builder = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustsAnyone(crypto)))
    } else {
        builder.with_root_certificates(roots(own.unwrap_or_default())?)
    };
    match (&options.cert, &options.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates("cert", cert)?, private_key(key)?)
            .map_err(|cause| misfit("cert and key", &cause)),
        (Some(_), None) => {
            Err(ProviderError::Misconfigured("cert is of no use without key".into()))
        }
        (None, Some(_)) => {
            Err(ProviderError::Misconfigured("key is of no use without cert".into()))
        }
    }
}

/// The system's roots and our own. Without any of our own, all engines share one store.
fn roots(own: Vec<CertificateDer<'static>>) -> Result<Arc<RootCertStore>, ProviderError> {
    let system = system_roots();
    if own.is_empty() {
        return Ok(system);
    }
    let mut roots = RootCertStore::clone(&system);
    for certificate in own {
        roots.add(certificate).map_err(|cause| misfit("ca", &cause))?;
    }
    Ok(Arc::new(roots))
}

/// Read once: there are more than a hundred, and an environment may be made anew often.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::warn!(%error, "Skipped some of the system's certificates");
        }
        roots.add_parsable_certificates(native.certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}

fn certificates(what: &str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, ProviderError> {
    let read: Result<Vec<_>, pem::Error> = match pem {
        Pem::Text(text) => CertificateDer::pem_slice_iter(text.as_bytes()).collect(),
        Pem::File(path) => CertificateDer::pem_file_iter(path).and_then(Iterator::collect),
    };
    let found = read.map_err(|cause| flaw(&place(what, pem), &cause))?;
    if found.is_empty() {
        return Err(ProviderError::Misconfigured(format!(
            "{} has no certificate in it",
            place(what, pem)
        )));
    }
    Ok(found)
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, ProviderError> {
    match pem {
        Pem::Text(text) => PrivateKeyDer::from_pem_slice(text.as_bytes()),
        Pem::File(path) => PrivateKeyDer::from_pem_file(path),
    }
    .map_err(|cause| flaw(&place("key", pem), &cause))
}

fn place(what: &str, pem: &Pem) -> String {
    match pem {
        Pem::Text(_) => what.to_owned(),
        Pem::File(path) => format!("{what} ({})", path.display()),
    }
}

/// What is wrong with PEM, without what stands in it: it may be a key.
fn flaw(what: &str, cause: &pem::Error) -> ProviderError {
    let why = match cause {
        pem::Error::Io(cause) => return misfit(what, cause),
        pem::Error::MissingSectionEnd { .. } => "a section of it has no end",
        pem::Error::IllegalSectionStart { .. } => "a section of it does not begin as one",
        pem::Error::Base64Decode(_) => "it is not base64",
        pem::Error::NoItemsFound => "nothing of that kind is in it",
        _ => "it is no PEM",
    };
    ProviderError::Misconfigured(format!("{what} cannot be used: {why}"))
}

fn misfit(what: &str, cause: &dyn std::error::Error) -> ProviderError {
    ProviderError::Misconfigured(format!("{what} cannot be used: {cause}"))
}

/// What `insecure` means: signatures are checked, whose they are is not.
#[derive(Debug)]
struct TrustsAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustsAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
