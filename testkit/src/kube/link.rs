//! The ways to the server: ports of their own, each of which can fail by itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::front::Front;
use super::gate::{Gate, Gated};
use crate::ports;

/// A way to the API: a port of its own, whose connections can be lost without those of others. What
/// is done to it is done when the call returns.
///
/// A group of which one member is cut off gets one link for each member.
#[derive(Debug, Clone)]
pub struct Link {
    address: SocketAddr,
    orders: mpsc::UnboundedSender<(Order, std_mpsc::Sender<Result<()>>)>,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Silence,
    Refuse,
    Heal,
    Break,
}

impl Link {
    pub(crate) fn open(
        runtime: &Handle,
        front: Arc<Front>,
        tls: Arc<ServerConfig>,
    ) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (orders, queue) = mpsc::unbounded_channel();
        let way = Way {
            address,
            listener: Some(listener),
            gate: Arc::new(Gate::default()),
            connections: JoinSet::new(),
            front,
            tls: TlsAcceptor::from(tls),
        };
        runtime.spawn(way.run(queue));
        Ok(Self { address, orders })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the API by this link.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// A black hole: connections stay, and new ones are accepted, but nothing is read or sent, not
    /// even the answer to a TLS hello. What is sent meanwhile arrives after
    /// [`heal`](Self::heal), even if its sender has given up: a delayed write takes effect.
    ///
    /// # Errors
    ///
    /// When the server has ended.
    pub fn silence(&self) -> Result<()> {
        self.order(Order::Silence)
    }

    /// The API is away: connections are closed, new ones refused.
    ///
    /// # Errors
    ///
    /// When the server has ended.
    pub fn refuse(&self) -> Result<()> {
        self.order(Order::Refuse)
    }

    /// Back to normal.
    ///
    /// # Errors
    ///
    /// When the port cannot be listened on again, or the server has ended.
    pub fn heal(&self) -> Result<()> {
        self.order(Order::Heal)
    }

    /// Closes all connections once; new ones are served.
    ///
    /// # Errors
    ///
    /// When the server has ended.
    pub fn break_off(&self) -> Result<()> {
        self.order(Order::Break)
    }

    fn order(&self, order: Order) -> Result<()> {
        let (done, is_done) = std_mpsc::channel();
        self.orders
            .send((order, done))
            .ok()
            .context("the server has ended")?;
        is_done.recv().context("the server has ended")?
    }
}

/// The server's end of a link.
struct Way {
    address: SocketAddr,
    /// `None` while connections are refused.
    listener: Option<TcpListener>,
    gate: Arc<Gate>,
    connections: JoinSet<()>,
    front: Arc<Front>,
    tls: TlsAcceptor,
}

impl Way {
    async fn run(
        mut self,
        mut orders: mpsc::UnboundedReceiver<(Order, std_mpsc::Sender<Result<()>>)>,
    ) {
        // While nobody can give orders any more, it goes on as it is.
        loop {
            let accept = async {
                match &self.listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((order, done)) = orders.recv() => {
                    let outcome = self.obey(order).await;
                    // Who gave the order may have stopped waiting.
                    let _ = done.send(outcome);
                }
                accepted = accept => match accepted {
                    Ok((stream, _)) => self.serve(stream),
                    Err(error) => {
                        eprintln!("the Kubernetes API cannot accept a connection: {error}");
                        // Such as too many open files: it may pass.
                        sleep(Duration::from_millis(10)).await;
                    }
                },
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    async fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Silence => self.gate.shut(),
            Order::Refuse => {
                self.listener = None;
                self.connections.shutdown().await;
                self.gate.open();
            }
            Order::Break => self.connections.shutdown().await,
            Order::Heal => {
                if self.listener.is_none() {
                    let listener = TcpListener::bind(self.address).await;
                    self.listener = Some(listener.context("cannot listen again")?);
                }
                self.gate.open();
            }
        }
        Ok(())
    }

    fn serve(&mut self, stream: TcpStream) {
        let (tls, front) = (self.tls.clone(), Arc::clone(&self.front));
        let gated = Gated {
            stream,
            gate: Arc::clone(&self.gate),
        };
        self.connections.spawn(async move {
            // Errors of a connection are its client's, or a fault that was asked for.
            let Ok(stream) = tls.accept(gated).await else {
                return;
            };
            let service = service_fn(move |request| Arc::clone(&front).serve(request));
            let _ = http1::Builder::new()
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
