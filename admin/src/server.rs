use std::{collections::VecDeque, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use secrecy::SecretString;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet, yield_now},
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use crate::{
    Error, Report, Request, changes::REQUEST_TIMEOUT, guard::Guard, probes::Metrics, routes::router,
};

/// More connections than any set of probes, dashboards and operators keeps open at once.
const MAX_CONNECTIONS: usize = 64;
/// For a request's head to arrive in.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For a connection in all: the head, the longest request, and a reader of the answer that is slow.
const CONNECTION_TIMEOUT: Duration = REQUEST_TIMEOUT.saturating_add(Duration::from_secs(10));
/// For the answers that are due when the node ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two tries when the system is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A request line and its headers, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Where a node's HTTP face listens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AdminConfig {
    /// The address and port; port 0 lets the system choose.
    pub listen: SocketAddr,
}

impl AdminConfig {
    /// Listens on `listen`.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen }
    }
}

/// A node's HTTP face that has its port and does not answer yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    metrics: Metrics,
    guard: Guard,
}

impl Admin {
    /// Takes the port.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on.
    pub async fn bind(config: AdminConfig) -> Result<Self, Error> {
        let listen = |source| Error::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self {
            listener,
            address,
            metrics: Metrics::default(),
            guard: Guard::default(),
        })
    }

    /// Where it listens, with the port that the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Shows at `/metrics` what `render` says at each request, in Prometheus's text format.
    ///
    /// It is called on the thread that serves the request, so it must be quick.
    #[must_use]
    pub fn with_metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Metrics::new(render);
        self
    }

    /// Takes requests that change something from whoever gives `token`, and from nobody else; an
    /// empty one lets nobody in. Without this they are taken from this machine only.
    #[must_use]
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.guard = Guard::with_token(token);
        self
    }

    /// Answers until `shutdown` completes; requests under way then have 2 seconds to end.
    ///
    /// What a client does wrong ends that client's connection and nothing else. `requests` needs
    /// room for two: a switchover, and a pause or its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the port and cuts every connection at once. A request that was
    /// handed to the application goes on either way.
    pub async fn run(
        self,
        report: watch::Receiver<Arc<Report>>,
        requests: mpsc::Sender<Request>,
        shutdown: impl Future<Output = ()>,
    ) {
        let router = router(report, requests, self.metrics, self.guard);
        let (ending, ended) = watch::channel(());
        let mut connections = Connections::default();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    connections.add(serve(stream, peer, router.clone(), ended.clone()));
                    // A crowd that waits to be accepted must not push out, within one turn, those
                    // whose requests are there already.
                    yield_now().await;
                }
                Err(error) => {
                    warn!(%error, "cannot accept an admin connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        drop(ending);
        connections.drain().await;
    }
}

/// The open connections, bounded in number; dropping them cuts all.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    oldest_first: VecDeque<AbortHandle>,
}

impl Connections {
    /// Requests take milliseconds, so the oldest of many connections is one that says nothing.
    fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.oldest_first.retain(|task| !task.is_finished());
        if self.oldest_first.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            debug!("too many admin connections: ending the oldest");
            oldest.abort();
        }
        self.oldest_first.push_back(self.tasks.spawn(connection));
    }

    async fn drain(mut self) {
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(DRAIN_TIMEOUT, all_ended).await.is_err() {
            debug!("cutting the admin connections that are left");
        }
    }
}

/// One request and its answer.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut ended: watch::Receiver<()>,
) {
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        // A client that closes its side after the request still wants the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = timeout(CONNECTION_TIMEOUT, async {
        tokio::select! {
            served = connection.as_mut() => return served,
            _ = ended.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    });
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an admin connection failed"),
        Err(_) => debug!("an admin connection took too long"),
    }
}
