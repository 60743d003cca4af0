//! Reaching another node, and checking that it is the one.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, tcp},
    sync::watch,
    time::timeout,
};

use crate::{
    Member, NodeId,
    net::{
        Fault,
        frame::Inbox,
        hello::{self, Hello, Purpose},
    },
};

/// Who this node is, as it says at each connection.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) group: String,
    pub(crate) id: NodeId,
    charter: OnceLock<u128>,
}

impl Identity {
    /// A node, and the founding that it belongs to, 0 if to none yet.
    pub(crate) fn new(group: String, id: NodeId, charter: u128) -> Self {
        let joined = OnceLock::new();
        if charter != 0 {
            joined.get_or_init(|| charter);
        }
        Self {
            group,
            id,
            charter: joined,
        }
    }

    /// The founding that this node belongs to; 0 if to none yet.
    pub(crate) fn charter(&self) -> u128 {
        self.charter.get().copied().unwrap_or(0)
    }

    /// Joins the group of this founding, for ever; `false` if the node already belongs to another
    /// one.
    #[must_use]
    pub(crate) fn join(&self, charter: u128) -> bool {
        *self.charter.get_or_init(|| charter) == charter
    }
}

/// Where members are at present: what discovery says now is better than what the log says of then.
#[derive(Clone, Debug)]
pub(crate) struct Book(watch::Receiver<BTreeSet<Member>>);

impl Book {
    pub(crate) fn new(wanted: watch::Receiver<BTreeSet<Member>>) -> Self {
        Self(wanted)
    }

    fn address(&self, member: &Member) -> (String, u16) {
        let wanted = self.0.borrow();
        let now = wanted.iter().find(|known| known.name == member.name);
        let now = now.unwrap_or(member);
        (now.host.clone(), now.port)
    }
}

/// A connection whose other end is the one that was wanted.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) reads: tcp::OwnedReadHalf,
    pub(crate) writes: tcp::OwnedWriteHalf,
    pub(crate) inbox: Inbox,
    /// What is still to be written.
    pub(crate) outbox: BytesMut,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, max_message: usize) -> Self {
        let (reads, writes) = stream.into_split();
        Self {
            reads,
            writes,
            inbox: Inbox::new(max_message),
            outbox: BytesMut::new(),
        }
    }

    /// Writes all that is to be written.
    pub(crate) async fn flush(&mut self) -> Result<(), Fault> {
        use tokio::io::AsyncWriteExt as _;
        self.writes.write_all_buf(&mut self.outbox).await?;
        Ok(())
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Fault> {
        self.inbox.next(&mut self.reads).await
    }
}

/// How other nodes are dialled.
#[derive(Clone, Debug)]
pub(crate) struct Dialler {
    pub(crate) identity: Arc<Identity>,
    pub(crate) book: Book,
    /// Connecting and greeting take at most this long.
    pub(crate) within: Duration,
    pub(crate) max_message: usize,
}

impl Dialler {
    /// Reaches a node and greets it.
    pub(crate) async fn dial(
        &self,
        purpose: Purpose,
        id: NodeId,
        member: &Member,
    ) -> Result<Connection, Fault> {
        let (host, port) = self.book.address(member);
        let greeted = async {
            let mut stream = TcpStream::connect((host.as_str(), port)).await?;
            prepare(&stream)?;
            let hello = Hello {
                purpose,
                group: self.identity.group.clone(),
                from: self.identity.id,
                to: id,
                charter: self.identity.charter(),
            };
            hello::say(&mut stream, &hello).await?;
            hello::hear_answer(&mut stream).await?;
            Ok(Connection::new(stream, self.max_message))
        };
        timeout(self.within, greeted)
            .await
            .map_err(|_| Fault::Slow(self.within))?
    }
}

/// Sends without delay, and finds out in time that the other machine is gone.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
