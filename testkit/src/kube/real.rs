//! A real API server behind the front: etcd and kube-apiserver, started from the folder that
//! `KUBEBUILDER_ASSETS` names.
//!
//! Both take seconds to start, so that a process keeps the ones it has started, and lends each to
//! one test after the other, emptied between them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use nix::unistd::geteuid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::call::Call;
use super::reply::{Backend, Payload, Reply};
use super::status::Failure;
use super::tls::Identity;
use crate::claim::{Claim, claim};
use crate::{Process, Program, ports, until};

/// How long etcd and kube-apiserver together may take to start, on a machine that is busy.
const START: Duration = Duration::from_secs(180);
/// How long one answer may take meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many lines of a watch may wait.
const WAITING: usize = 16;
/// By which the front is known to the server, as an administrator.
const TOKEN: &str = "bellwether-testkit";

/// Those that were started and are not in use. They end with this process.
static IDLE: Mutex<Vec<Real>> = Mutex::new(Vec::new());

/// A running etcd with its kube-apiserver. Both end with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct Real {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    _running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    _apiserver: Process,
    _etcd: Process,
    _claim: Claim,
}

/// The folder with etcd and kube-apiserver, if there shall be a real server.
pub(crate) fn assets() -> Option<PathBuf> {
    let folder = std::env::var_os("KUBEBUILDER_ASSETS")?;
    (!folder.is_empty()).then(|| folder.into())
}

impl Real {
    /// One that is idle, or else a new one. Blocks until it answers, by way of a runtime that must
    /// run elsewhere.
    pub(crate) fn borrow(assets: &Path, runtime: &Handle) -> Result<Self> {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| Self::start(assets, runtime), Ok)
    }

    /// Keeps it for the next test. It must be empty, and not in use.
    pub(crate) fn give_back(&self) {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(self.clone());
    }

    fn start(assets: &Path, runtime: &Handle) -> Result<Self> {
        let (directory, claim) = directory()?;
        let at = |name: &str| directory.join(name);
        let identity = Identity::new()?;
        fs::write(at("server.crt"), &identity.certificate)?;
        fs::write(at("server.key"), &identity.key)?;
        // Service accounts need a key to be signed with, though nobody uses them here.
        fs::write(at("accounts.pub"), &identity.public_key)?;
        let admin = format!("{TOKEN},testkit,testkit,\"system:masters\"\n");
        fs::write(at("tokens.csv"), admin)?;
        let etcd_url = format!("http://127.0.0.1:{}", ports::free()?);
        let etcd = Program::new(assets.join("etcd"))
            .args(["--data-dir".as_ref(), at("etcd").as_os_str()])
            .args(["--listen-client-urls", &etcd_url])
            .args(["--advertise-client-urls", &etcd_url])
            .args(["--listen-peer-urls", "http://127.0.0.1:0"])
            .args(["--unsafe-no-fsync", "--log-level", "error"])
            .log(at("etcd.log"))
            .spawn()?;
        let port = ports::free()?;
        let mut apiserver = Program::new(assets.join("kube-apiserver"))
            .args(["--etcd-servers", &etcd_url])
            .args(["--bind-address", "127.0.0.1"])
            .args(["--advertise-address", "127.0.0.1"])
            .args(["--secure-port", &port.to_string()])
            .args(["--tls-cert-file".as_ref(), at("server.crt").as_os_str()])
            .args([
                "--tls-private-key-file".as_ref(),
                at("server.key").as_os_str(),
            ])
            .args(["--token-auth-file".as_ref(), at("tokens.csv").as_os_str()])
            .args(["--authorization-mode", "RBAC"])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args([
                "--service-account-key-file".as_ref(),
                at("accounts.pub").as_os_str(),
            ])
            .args([
                "--service-account-signing-key-file".as_ref(),
                at("server.key").as_os_str(),
            ])
            // No controller makes the accounts that pods would need.
            .args(["--disable-admission-plugins", "ServiceAccount"])
            .args(["--service-cluster-ip-range", "10.0.0.0/24"])
            // It would write an endpointslice of its own.
            .args(["--endpoint-reconciler-type", "none"])
            .log(at("apiserver.log"))
            .spawn()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let tls = client(&identity)?;
        let ready = until(START, "the real API server", || {
            match apiserver.exit_status()? {
                None => is_ready(address, &tls, runtime).map(|()| None),
                ended => Ok(ended),
            }
        });
        let log = || last_words(&at("apiserver.log"));
        if let Some(ended) = ready.with_context(log)? {
            bail!("it has ended: {ended}; {}", log());
        }
        Ok(Self {
            address,
            tls,
            _running: Arc::new(Running {
                _apiserver: apiserver,
                _etcd: etcd,
                _claim: claim,
            }),
        })
    }
}

/// An empty folder that no other process uses. What is kept to the end of the process cannot be
/// cleared away then, so that the folders have numbers, and the next process clears them.
fn directory() -> Result<(PathBuf, Claim)> {
    for number in 0.. {
        if let Some(claim) = claim("kube", number)? {
            let name = format!("bellwether-kube-{}-{number}", geteuid());
            let path = std::env::temp_dir().join(name);
            if path.exists() {
                fs::remove_dir_all(&path)
                    .with_context(|| format!("cannot clear {}", path.display()))?;
            }
            fs::create_dir(&path)?;
            return Ok((path, claim));
        }
    }
    bail!("every folder is claimed")
}

/// Whether it answers, and the namespace `default` is there, which it makes last.
fn is_ready(address: SocketAddr, tls: &Arc<ClientConfig>, runtime: &Handle) -> Result<()> {
    for path in ["/readyz", "/api/v1/namespaces/default"] {
        let call = Call::bare(&Method::GET, &path.parse()?, Bytes::new());
        let tls = Arc::clone(tls);
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        runtime.spawn(async move {
            // Who asked may have stopped waiting.
            let _ = answer.send(forward(address, tls, call).await);
        });
        let reply = answered.recv_timeout(PATIENCE)??;
        ensure!(reply.code.is_success(), "{path}: {}", reply.code);
    }
    Ok(())
}

fn last_words(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(20)..];
    format!("kube-apiserver does not start:\n{}", last.join("\n"))
}

#[async_trait]
impl Backend for Real {
    async fn answer(&self, call: Call) -> Reply {
        match forward(self.address, Arc::clone(&self.tls), call).await {
            Ok(reply) => reply,
            Err(error) => Failure::internal(&format!("the real API server: {error:#}")).into(),
        }
    }
}

/// Asks by a connection of its own, so that no call waits for another.
async fn forward(address: SocketAddr, tls: Arc<ClientConfig>, call: Call) -> Result<Reply> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    let stream = TlsConnector::from(tls).connect(name, stream).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its errors are those of the request, too. It ends when the sender and the body are dropped.
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(&call.method)
        .uri(call.uri.clone())
        .header(header::HOST, address.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
    for (name, value) in [
        (header::CONTENT_TYPE, &call.content_type),
        (header::ACCEPT, &call.accept),
        (header::USER_AGENT, &call.user_agent),
    ] {
        if !value.is_empty() {
            request = request.header(name, value);
        }
    }
    let response = sender
        .send_request(request.body(Full::new(call.body))?)
        .await?;
    let (head, body) = response.into_parts();
    let text = |name: header::HeaderName| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    let is_stream = call.verb == "watch" && head.status.is_success();
    Ok(Reply {
        code: head.status,
        content_type: text(header::CONTENT_TYPE).into(),
        retry_after: text(header::RETRY_AFTER).parse().unwrap_or(0),
        body: if is_stream {
            Payload::Stream(stream_of(body, sender))
        } else {
            Payload::Whole(body.collect().await?.to_bytes())
        },
    })
}

/// The lines of a watch, until either side ends it. The sender keeps the connection open.
fn stream_of(mut body: Incoming, sender: http1::SendRequest<Full<Bytes>>) -> mpsc::Receiver<Bytes> {
    let (lines, received) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let _open = sender;
        loop {
            let frame = tokio::select! {
                () = lines.closed() => return,
                frame = body.frame() => frame,
            };
            let Some(Ok(frame)) = frame else {
                return;
            };
            if let Ok(bytes) = frame.into_data()
                && lines.send(bytes).await.is_err()
            {
                return;
            }
        }
    });
    received
}

/// Trusts the certificate of this server and no other.
fn client(identity: &Identity) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(identity.ca.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
