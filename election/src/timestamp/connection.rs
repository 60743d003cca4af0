//! One connection, from its greeting to its end. Knows no policy: it says what happens.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy, sink},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, mpsc, watch},
    time::{Instant, timeout},
};

use crate::timestamp::{
    core::Event,
    mesh::{ConnectionId, Failure, Greeting},
    message::Address,
    stats::Stats,
    wire::{Fault, Hello, read_hello, read_state, write_hello},
};

/// A dial that has not connected by then has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// An end that has not said hello by then is closed.
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);

/// What all connections of one election share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) hello: Hello,
    /// A write that takes longer ends the connection.
    pub(crate) write_timeout: Duration,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) stats: watch::Sender<Stats>,
}

/// Dials, greets, and serves the connection to its end.
pub(crate) async fn dial(
    context: Arc<Context>,
    id: ConnectionId,
    address: Address,
    frames: watch::Receiver<Bytes>,
) {
    let (mut stream, greeting) = match greet_by_dial(&context, id, &address).await {
        Ok(greeted) => greeted,
        Err(fault) => {
            context.note(&fault, &format!("{}:{}", address.0, address.1));
            let failed = Event::Failed(address, failure(&fault));
            // Nobody receives it when the election is over.
            let _ = context.events.send(failed).await;
            return;
        }
    };
    context.serve(&mut stream, greeting, frames).await;
}

/// Greets who dialled this member, and serves the connection to its end.
pub(crate) async fn accept(
    context: Arc<Context>,
    id: ConnectionId,
    (mut stream, from): (TcpStream, SocketAddr),
    permit: OwnedSemaphorePermit,
    frames: watch::Receiver<Bytes>,
) {
    let began = Instant::now().into_std();
    let greeting = context.greet(&mut stream).await.map(|hello| Greeting {
        connection: id,
        began,
        dialled: None,
        address: address_of(&hello, from),
        node: hello.node,
    });
    drop(permit);
    match greeting {
        Ok(greeting) => context.serve(&mut stream, greeting, frames).await,
        Err(fault) => context.note(&fault, &from.to_string()),
    }
}

async fn greet_by_dial(
    context: &Context,
    id: ConnectionId,
    address: &Address,
) -> Result<(TcpStream, Greeting), Fault> {
    let connect = TcpStream::connect((address.0.as_str(), address.1));
    let mut stream = timeout(CONNECT_TIMEOUT, connect)
        .await
        .map_err(|_| Fault::Slow)??;
    let began = Instant::now().into_std();
    let hello = context.greet(&mut stream).await?;
    let greeting = Greeting {
        connection: id,
        began,
        dialled: Some(address.clone()),
        address: address_of(&hello, stream.peer_addr()?),
        node: hello.node,
    };
    Ok((stream, greeting))
}

impl Context {
    /// Exchanges hellos.
    async fn greet(&self, stream: &mut TcpStream) -> Result<Hello, Fault> {
        let exchange = async {
            stream.set_nodelay(true)?;
            write_hello(stream, &self.hello).await?;
            read_hello(stream, &self.hello.group).await
        };
        timeout(HELLO_TIMEOUT, exchange)
            .await
            .map_err(|_| Fault::Slow)?
    }

    /// Sends the latest frame and reports what comes, until the connection or the election ends.
    async fn serve(
        &self,
        stream: &mut TcpStream,
        greeting: Greeting,
        mut frames: watch::Receiver<Bytes>,
    ) {
        let id = greeting.connection;
        let peer = greeting.node.clone();
        self.stats
            .send_modify(|stats| stats.connections_opened += 1);
        // To be opened makes the core send a fresh snapshot, which is to be the first.
        frames.mark_unchanged();
        if self.events.send(Event::Opened(greeting)).await.is_err() {
            return;
        }
        let (mut from, to) = stream.split();
        let end = tokio::select! {
            end = self.read(id, &mut from) => end,
            end = self.write(to, frames) => match end {
                // To close with something unread could take back what was sent last.
                Ok(()) => copy(&mut from, &mut sink()).await.map(drop).map_err(Fault::Io),
                Err(fault) => Err(fault),
            },
        };
        if let Err(fault) = end {
            self.note(&fault, &peer.member);
        }
    }

    async fn read(&self, id: ConnectionId, from: impl AsyncRead + Unpin) -> Result<(), Fault> {
        let mut from = BufReader::new(from);
        loop {
            let state = read_state(&mut from).await?;
            if self.events.send(Event::Heard(id, state)).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn write(
        &self,
        mut to: impl AsyncWrite + Unpin,
        mut frames: watch::Receiver<Bytes>,
    ) -> Result<(), Fault> {
        // The sender goes when the election ends, after its last frame.
        while frames.changed().await.is_ok() {
            let frame = frames.borrow_and_update().clone();
            let write = timeout(self.write_timeout, to.write_all(&frame));
            write.await.map_err(|_| Fault::Slow)??;
        }
        to.shutdown().await?;
        Ok(())
    }

    /// Counts a fault and says it.
    fn note(&self, fault: &Fault, peer: &str) {
        self.stats.send_modify(|stats| stats.count(fault));
        let cause = std::error::Error::source(fault);
        match fault {
            Fault::Io(_) | Fault::Slow => tracing::debug!(peer, cause, "{fault}"),
            Fault::Version { .. } | Fault::Group(_) | Fault::Oversize(_) | Fault::Garbage => {
                tracing::warn!(peer, "closed a connection: {fault}");
            }
        }
    }
}

/// Where the sender of a hello can be dialled.
fn address_of(hello: &Hello, from: SocketAddr) -> Address {
    let host = hello
        .host
        .clone()
        .unwrap_or_else(|| from.ip().to_canonical().to_string());
    (host, hello.port)
}

fn failure(fault: &Fault) -> Failure {
    match fault {
        Fault::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => Failure::Refused,
        Fault::Io(_) | Fault::Slow => Failure::Silent,
        Fault::Version { .. } | Fault::Group(_) | Fault::Oversize(_) | Fault::Garbage => {
            Failure::Foreign
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::NodeId;

    fn context() -> Context {
        Context {
            hello: Hello {
                group: "flock".into(),
                node: NodeId {
                    member: "a".into(),
                    incarnation: Uuid::nil(),
                },
                host: None,
                port: 1,
            },
            write_timeout: Duration::from_secs(1),
            events: mpsc::channel(1).0,
            stats: watch::Sender::new(Stats::default()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (here, _there) = tokio::io::duplex(10);
        let (frames_in, mut frames) = watch::channel(Bytes::from_static(&[0; 100]));
        frames.mark_changed();
        let end = context().write(here, frames).await;
        assert!(matches!(end, Err(Fault::Slow)), "{end:?}");
        drop(frames_in);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_late_gets_the_latest_and_then_the_end() {
        use tokio::io::AsyncReadExt;

        let (here, mut there) = tokio::io::duplex(10);
        let (frames_in, mut frames) = watch::channel(Bytes::from_static(&[1; 20]));
        frames.mark_changed();
        let context = context();
        let read = async {
            // The first is on its way, the second is not sent yet.
            let mut some = [0; 5];
            there.read_exact(&mut some).await.expect("it is sent");
            frames_in.send_replace(Bytes::from_static(&[2; 20]));
            frames_in.send_replace(Bytes::from_static(&[3; 20]));
            drop(frames_in);
            let mut rest = Vec::new();
            there.read_to_end(&mut rest).await.expect("it ends");
            rest
        };
        let (end, rest) = tokio::join!(context.write(here, frames), read);
        end.expect("all was sent");
        assert_eq!(rest, [[1; 15].as_slice(), &[3; 20]].concat());
    }
}
