//! A certificate authority of our own, and the server's certificate.

use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;

/// What the server shows, and what clients trust.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) server: Arc<ServerConfig>,
    /// The authority's certificate, in PEM.
    pub(crate) ca: String,
    /// The server's certificate and its key, in PEM.
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) public_key: String,
}

impl Identity {
    /// A fresh one, for 127.0.0.1 and localhost.
    pub(crate) fn new() -> Result<Self> {
        let mut ca = named("bellwether testkit CA", &[])?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);

        let key = KeyPair::generate()?;
        let server = named("kube-apiserver", &["127.0.0.1", "localhost"])?;
        let certificate = server.signed_by(&key, &issuer)?;
        let (key_pem, public_key) = (key.serialize_pem(), key.public_key_pem());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        // Named here, since a process default may be missing or another.
        let provider = Arc::new(ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            server: Arc::new(server),
            ca: ca_certificate.pem(),
            certificate: certificate.pem(),
            key: key_pem,
            public_key,
        })
    }
}

/// Each with a name of its own, since OpenSSL takes equal names for the same certificate.
fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).into()).collect();
    let mut parameters = CertificateParams::new(hosts)?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    Ok(parameters)
}
